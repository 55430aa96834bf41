"""The room's sensors beside the meter: read while its answer is awaited, each failing on its own."""

from __future__ import annotations

import logging
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sensors.errors import SensorError, SensorNotReadyError
from storage.records import Bme280Row, Co2Row, CpuTemperatureRow, Reading

if TYPE_CHECKING:  # a driver is imported where its sensor is asked for
    from sensors.bme280 import Bme280
    from sensors.mhz19 import Mhz19

logger = logging.getLogger(__name__)

_LOOK_S = 0.2  # while a reading is awaited: whether the poller is to stop


@dataclass(frozen=True, slots=True)
class Source:
    """A sensor by name. *read* gets the time that its row is to carry, and raises SensorError; *close* ends it.

    *is_shared*: another program may read it at the same time.
    """

    name: str
    read: Callable[[datetime], Reading]
    close: Callable[[], None] = lambda: None
    is_shared: bool = False


def cpu_source(read_c: Callable[[], float]) -> Source:
    """Return what *read_c* reads, in degrees Celsius, as a sensor."""
    return Source("CPU temperature", lambda measured_at: CpuTemperatureRow(measured_at, read_c()), is_shared=True)


def mhz19_source(sensor: Mhz19) -> Source:
    """Return an MH-Z19 with its rows."""

    def read(measured_at: datetime) -> Reading:
        reading = sensor.read()
        return Co2Row(measured_at, reading.co2_ppm, reading.temperature_c, reading.warming_up)

    return Source("MH-Z19", read, sensor.close)


def bme280_source(sensor: Bme280) -> Source:
    """Return a BME280 with its rows."""

    def read(measured_at: datetime) -> Reading:
        reading = sensor.read()
        return Bme280Row(measured_at, reading.temperature_c, reading.humidity_pct, reading.pressure_hpa)

    return Source("BME280", read, sensor.close)


class Sensing(ABC):
    """One sensor's part in a round: started at the tick, collected at its end.

    How it fails is said once of each kind, and that it is back.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._failures = 0
        self._said: set[type[SensorError]] = set()

    @abstractmethod
    def start(self, measured_at: datetime) -> None:
        """Begin to read."""

    @abstractmethod
    def collect(self, timeout_s: float, *, should_stop: Callable[[], bool] = lambda: False) -> Reading | None:
        """Return the row, waiting up to *timeout_s* and not while *should_stop*; None if there is none this time."""

    @abstractmethod
    def close(self) -> None:
        """Let the sensor go."""

    def _read(self, measured_at: datetime) -> Reading | SensorError:
        try:
            return self._source.read(measured_at)
        except SensorError as error:
            return error

    def _judged(self, result: Reading | SensorError) -> Reading | None:
        """Return the row; None and a line in the log for an error."""
        if not isinstance(result, SensorError):
            if self._failures:
                logger.info("%s is back after %d failed readings", self._source.name, self._failures)
                self._failures = 0
                self._said.clear()
            return result
        self._failures += 1
        if type(result) in self._said:
            logger.debug("%s (%d times in a row)", result, self._failures)
            return None
        self._said.add(type(result))
        level = logging.INFO if isinstance(result, SensorNotReadyError) else logging.WARNING
        logger.log(level, "%s; no reading of the %s is stored until it responds again", result, self._source.name)
        return None


class InlineSensing(Sensing):
    """Reads in the caller's thread: for a virtual clock."""

    def start(self, measured_at: datetime) -> None:
        """Read at once."""
        self._result = self._read(measured_at)

    def collect(self, timeout_s: float, *, should_stop: Callable[[], bool] = lambda: False) -> Reading | None:
        """Return what start read."""
        return self._judged(self._result)

    def close(self) -> None:
        """Let the sensor go."""
        self._source.close()


class ThreadSensing(Sensing):
    """Reads in a worker of its own, so that a hung bus or a silent sensor never delays the meter.

    A reading that is not there when the round ends is given up; while the worker is busy with it, no other starts.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._orders: queue.SimpleQueue[datetime | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Reading | SensorError] = queue.SimpleQueue()
        self._busy = False  # an order is under way
        self._awaited = False  # and it is this round's
        threading.Thread(target=self._work, name=f"sensor {source.name}", daemon=True).start()

    def start(self, measured_at: datetime) -> None:
        """Order a reading, unless the last one is still under way."""
        while not self._results.empty():  # a reading that came after its round
            self._results.get()
            self._busy = False
        if not self._busy:
            self._busy = self._awaited = True
            self._orders.put(measured_at)

    def collect(self, timeout_s: float, *, should_stop: Callable[[], bool] = lambda: False) -> Reading | None:
        """Return the row that was ordered, if it comes in time; what a stop cuts short is no failure of the sensor."""
        if not self._awaited:
            return self._judged(SensorError(f"{self._source.name} is still busy with an earlier reading"))
        self._awaited = False
        until = time.monotonic() + timeout_s
        while True:
            wait_s = 0.0 if should_stop() else min(until - time.monotonic(), _LOOK_S)
            try:
                result = self._results.get(timeout=max(0.0, wait_s))
            except queue.Empty:
                if should_stop():
                    return None
                if time.monotonic() >= until:
                    return self._judged(SensorError(f"{self._source.name} did not respond in time"))
            else:
                self._busy = False
                return self._judged(result)

    def close(self) -> None:
        """Let the worker end and close the sensor when it is through with its last order."""
        self._orders.put(None)

    def _work(self) -> None:
        while (measured_at := self._orders.get()) is not None:
            try:
                result = self._read(measured_at)
            except Exception:  # the edge of this worker: a bug in one sensor must not end the others
                logger.exception("%s: a fault of the program", self._source.name)
                result = SensorError(f"{self._source.name}: a fault of the program")
            self._results.put(result)
        self._source.close()
