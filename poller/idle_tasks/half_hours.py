"""The half-hour record: what the meter announces at every :00 and :30, or what is read where it did not.

Source of the five minutes: AIF specification of the low-voltage meter 1.01, sections 3.2.1 and 3.3.1.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from functools import partial

from poller.clock import EPOCH, TimeSource, last_tick, next_tick
from poller.idle_tasks.meter_clock import MeterClock
from poller.idle_tasks.scheduler import Keep, Pause, Subtask, Task, attempt
from skstack import HalfHour, Meter, Session, SessionLostError
from skstack.echonet import Epc
from storage.records import EnergyRow, EnergySource

logger = logging.getLogger(__name__)

HALF_HOUR_S = 1800
ANNOUNCED_WITHIN = timedelta(minutes=5)
ATTEMPTS = 4
RETRY_S = 120.0
# A time stamp further than this from the meter's own clock is wrong. One ahead of it would store a value too early
# and hide the half hours up to it.
_LATEST_AHEAD, _OLDEST = timedelta(minutes=5), timedelta(days=1)


class HalfHours:
    """Two tasks: keep_announced() takes what the meter announces, read_missing() reads what it did not.

    The second begins at minute 5 and 35, and gives up after a few attempts.
    """

    def __init__(self, session: Session, meter: Meter, meter_clock: MeterClock, clock: TimeSource) -> None:
        self._session = session
        self._meter = meter
        self._meter_clock = meter_clock
        self._clock = clock
        self._latest = EPOCH  # half hour that was kept
        self._given_up = EPOCH
        self._has_dropped = False

    def keep_announced(self) -> Task:
        """Keep what was announced, once the meter and its time are known."""
        while True:
            yield Pause(is_over=self._has_announced)
            for half_hour in self._meter.take_half_hours():
                yield from self._keep(half_hour, "notified")

    def _has_announced(self) -> bool:
        is_known = self._meter.is_identified and self._meter_clock.is_settled
        return is_known and bool(self._session.notifications)

    def read_missing(self) -> Task:
        """Read the registers of the last half hour, where they were not announced within five minutes."""
        while True:
            yield Pause(is_over=self._can_read)
            due_at = self._clock.monotonic() + self._due_in_s()
            yield Pause(until=due_at, is_over=lambda: self._due_in_s() <= 0)
            if self._can_read() and self._due_in_s() <= 0:
                try:
                    yield from self._read(last_tick(self._meter_clock.now(), HALF_HOUR_S))
                except SessionLostError:
                    continue  # the next session reads it, if that comes soon

    def _can_read(self) -> bool:
        is_known = self._session.up and self._meter.is_identified and self._meter_clock.is_settled
        return is_known and self._meter.offers(Epc.SCHEDULED_IMPORT)

    def _due_in_s(self) -> float:
        """Return in how many seconds the next half hour that is neither there nor given up is overdue."""
        now = self._meter_clock.now()
        boundary = last_tick(now, HALF_HOUR_S)
        if max(self._latest, self._given_up) >= boundary:
            boundary = next_tick(now, HALF_HOUR_S)
        return (boundary + ANNOUNCED_WITHIN - now).total_seconds()

    def _read(self, boundary: datetime) -> Subtask[None]:
        """Read, a few times, until the half hour of *boundary* is there. Raises: SessionLostError."""
        for _attempt in range(ATTEMPTS):
            half_hour = yield from attempt(
                "half hour",
                lambda until: self._meter.read_half_hour(until=until),
                timeout_s=self._session.timings.longest_wait_s,
            )
            if half_hour is not None:
                yield from self._keep(half_hour, "read")
            last = self._meter.last_half_hour
            retry_at = self._clock.monotonic() + RETRY_S
            yield Pause(until=retry_at, is_over=partial(self._has_come, boundary, last))
            if (late := self._meter.last_half_hour) is not None and late is not last:
                yield from self._keep(late, "read")
            if not self._is_missing(boundary):
                return
        self._given_up = boundary

    def _has_come(self, boundary: datetime, last: HalfHour | None) -> bool:
        """Whether nothing is missing any more, or another half hour than the *last* came after it was given up."""
        return self._meter.last_half_hour is not last or not self._is_missing(boundary)

    def _is_missing(self, boundary: datetime) -> bool:
        """Whether the half hour of *boundary* is not there and can still be read."""
        return self._latest < boundary == last_tick(self._meter_clock.now(), HALF_HOUR_S)

    def _keep(self, half_hour: HalfHour, source: EnergySource) -> Subtask[None]:
        at = half_hour.registered_at
        if not -_OLDEST <= at - self._meter_clock.now() <= _LATEST_AHEAD:
            level = logging.DEBUG if self._has_dropped else logging.WARNING
            logger.log(level, "a register is dropped: its time %s is not that of the meter's clock", at)
            self._has_dropped = True
        elif at == self._latest or (source == "read" and at < self._latest):
            return  # announced twice, or read too early: still the half hour before
        else:
            self._latest = max(self._latest, at)
            yield Keep([EnergyRow(at, half_hour.import_kwh, half_hour.export_kwh, source)])
