"""The room's sensors beside the meter: read while its answer is awaited, each failing on its own."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sensors.errors import SensorError, SensorNotReadyError
from storage.records import Row

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """A sensor by name. *read* gets the time that its row is to carry, and raises SensorError; *close* ends it."""

    name: str
    read: Callable[[datetime], Row]
    close: Callable[[], None] = lambda: None


class Sensing(Protocol):
    """One sensor's part in a round: started at the tick, collected at its end."""

    def start(self, measured_at: datetime) -> None:
        """Begin to read."""

    def collect(self, timeout_s: float) -> Row | None:
        """Return the row, waiting up to *timeout_s*; None if there is none this time."""

    def close(self) -> None:
        """Let the sensor go."""


class _Outcomes:
    """Says once of each kind how a sensor fails, counts, and says when it is back."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._failures = 0
        self._said: set[type[SensorError]] = set()

    def failed(self, error: SensorError) -> None:
        self._failures += 1
        if type(error) in self._said:
            logger.debug("%s (%d times in a row)", error, self._failures)
            return
        self._said.add(type(error))
        level = logging.INFO if isinstance(error, SensorNotReadyError) else logging.WARNING
        logger.log(level, "%s; no %s is stored until it answers again", error, self._name)

    def succeeded(self) -> None:
        if self._failures:
            logger.info("%s is back after %d failed readings", self._name, self._failures)
            self._failures = 0
            self._said.clear()


class InlineSensing:
    """Reads in the caller's thread: for a virtual clock."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._outcomes = _Outcomes(source.name)
        self._row: Row | None = None

    def start(self, measured_at: datetime) -> None:
        """Read at once."""
        try:
            self._row = self._source.read(measured_at)
        except SensorError as error:
            self._row = None
            self._outcomes.failed(error)
        else:
            self._outcomes.succeeded()

    def collect(self, timeout_s: float) -> Row | None:
        """Return what start read."""
        row, self._row = self._row, None
        return row

    def close(self) -> None:
        """Let the sensor go."""
        self._source.close()


class ThreadSensing:
    """Reads in a worker of its own, so that a hung bus or a silent sensor never delays the meter.

    A reading that is not there when the round ends is given up; while the worker is busy with it, no other starts.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._outcomes = _Outcomes(source.name)
        self._orders: queue.SimpleQueue[datetime | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Row | SensorError] = queue.SimpleQueue()
        self._busy = False  # an order is under way
        self._awaited = False  # and it is this round's
        threading.Thread(target=self._work, name=f"sensor {source.name}", daemon=True).start()

    def start(self, measured_at: datetime) -> None:
        """Order a reading, unless the last one is still under way."""
        self._drain()
        if not self._busy:
            self._busy = self._awaited = True
            self._orders.put(measured_at)

    def collect(self, timeout_s: float) -> Row | None:
        """Return the row that was ordered, if it comes in time."""
        if not self._awaited:
            self._outcomes.failed(SensorError(f"{self._source.name} is still busy with an earlier reading"))
            return None
        self._awaited = False
        try:
            result = self._results.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            self._outcomes.failed(SensorError(f"{self._source.name} did not answer in time"))
            return None
        self._busy = False
        if isinstance(result, SensorError):
            self._outcomes.failed(result)
            return None
        self._outcomes.succeeded()
        return result

    def close(self) -> None:
        """Let the worker end and close the sensor when it is through with its last order."""
        self._orders.put(None)

    def _drain(self) -> None:
        """Throw away a reading that came after its round."""
        while not self._results.empty():
            self._results.get()
            self._busy = False

    def _work(self) -> None:
        while (measured_at := self._orders.get()) is not None:
            try:
                result: Row | SensorError = self._source.read(measured_at)
            except SensorError as error:
                result = error
            except Exception:  # the edge of this worker: a bug in one sensor must not end the others
                logger.exception("%s: a fault of the program", self._source.name)
                result = SensorError(f"{self._source.name}: a fault of the program")
            self._results.put(result)
        self._source.close()
