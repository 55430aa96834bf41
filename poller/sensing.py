"""The room's sensors beside the meter: read while its response is awaited, each failing on its own."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from sensors.errors import SensorError, SensorNotReadyError
from storage.records import Bme280Row, Co2Row, CpuTemperatureRow, Reading
from wording import counted

if TYPE_CHECKING:  # a driver is imported only if its sensor is in use
    from sensors.bme280 import Bme280
    from sensors.mhz19 import Mhz19

logger = logging.getLogger(__name__)

_Result = queue.SimpleQueue[Reading | SensorError]  # of one order
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


class Sensing:
    """One sensor's part in a round: started at the tick, collected at its end.

    It reads in the caller's thread, as a virtual clock needs it. Each kind of failure is logged once, and so is the end
    of them.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._result: _Result = queue.SimpleQueue()  # of this round: what comes later finds nobody
        self._is_reading = False
        self._failures = 0
        self._said: set[type[SensorError]] = set()

    def start(self, measured_at: datetime) -> None:
        """Begin to read, unless the last reading is still under way."""
        self._result = queue.SimpleQueue()
        if self._is_reading:
            self._result.put(SensorError(f"{self._source.name} is still busy with an earlier reading"))
        else:
            self._is_reading = True
            self._order(measured_at)

    def collect(self, timeout_s: float, *, should_stop: Callable[[], bool] = lambda: False) -> Reading | None:
        """Return the row; None if there is none within *timeout_s*.

        What *should_stop* cuts short is no failure of the sensor.
        """
        result = self._awaited(timeout_s, should_stop)
        if isinstance(result, SensorError):
            self._note_failure(result)
            return None
        if result is not None and self._failures:
            logger.info("%s is back after %s", self._source.name, counted(self._failures, "failed reading"))
            self._failures = 0
            self._said.clear()
        return result

    def close(self) -> None:
        """Let the sensor go."""
        self._source.close()

    def _order(self, measured_at: datetime) -> None:
        self._read(measured_at, self._result)

    def _read(self, measured_at: datetime, result: _Result) -> None:
        found: Reading | SensorError
        try:
            found = self._source.read(measured_at)
        except SensorError as error:
            found = error
        except Exception:  # the edge of a sensor: a bug in one must not end the others
            logger.exception("%s: a fault of the program", self._source.name)
            found = SensorError(f"{self._source.name}: a fault of the program")
        self._is_reading = False
        result.put(found)

    def _awaited(self, timeout_s: float, should_stop: Callable[[], bool]) -> Reading | SensorError | None:
        """Return what came of the order, an error too where nothing did; None: stopped before."""
        until = time.monotonic() + timeout_s
        while True:
            is_stopped = should_stop()
            left_s = 0.0 if is_stopped else max(0.0, until - time.monotonic())
            with suppress(queue.Empty):
                return self._result.get(timeout=min(left_s, _LOOK_S))
            if is_stopped:
                return None
            if not left_s:
                return SensorError(f"{self._source.name} did not respond in time")

    def _note_failure(self, error: SensorError) -> None:
        self._failures += 1
        if type(error) in self._said:
            logger.debug("%s (%d times in a row)", error, self._failures)
            return
        self._said.add(type(error))
        level = logging.INFO if isinstance(error, SensorNotReadyError) else logging.WARNING
        logger.log(level, "%s; no reading of the %s is stored until it responds again", error, self._source.name)


class ThreadSensing(Sensing):
    """Reads in a worker of its own, so that a hung bus or a silent sensor never delays the meter.

    A reading that is not there when the round ends is given up; while the worker is busy with it, no other starts.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=f"sensor {source.name}", daemon=True).start()

    def close(self) -> None:
        """Let the worker end and close the sensor when it is through with its last order."""
        self._orders.put(None)

    def _order(self, measured_at: datetime) -> None:
        self._orders.put(partial(self._read, measured_at, self._result))

    def _work(self) -> None:
        while order := self._orders.get():
            order()
        self._source.close()
