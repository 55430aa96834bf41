"""The half-hour record: what the meter tells at every :00 and :30, and asked for where it did not tell.

Source of the five minutes: AIF specification of the low-voltage meter, sections 3.2.1 and 3.3.1 (protocol facts 3.3).
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from poller.clock import TimeSource
from poller.meter_clock import MeterClock
from poller.room import Room
from skstack import HalfHour, Meter, Session, SkStackError
from skstack.echonet import Epc
from storage.records import EnergyRow, EnergySource, Row

logger = logging.getLogger(__name__)

HALF_HOUR = timedelta(minutes=30)
TOLD_WITHIN = timedelta(minutes=5)
TRIES = 4
RETRY_S = 120.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OUT_OF_STEP = timedelta(days=1)  # a time stamp further than this from the meter's own clock is none


def half_hour_before(at: datetime) -> datetime:
    """Return the last :00 or :30 up to *at*; Japan is whole hours away from UTC."""
    return _EPOCH + (at - _EPOCH) // HALF_HOUR * HALF_HOUR


class HalfHourRecord:
    """Takes what the meter tells; from minute 5 and 35 on asks for what it has not told, a few times."""

    def __init__(
        self, session: Session, meter: Meter, meter_clock: MeterClock, *, clock: TimeSource, room: Room
    ) -> None:
        self._session = session
        self._meter = meter
        self._meter_clock = meter_clock
        self._clock = clock
        self._room = room
        self._latest = _EPOCH
        self._asked_for = _EPOCH
        self._tries = 0
        self._not_before = float("-inf")
        self._rows: list[Row] = []

    def due_at(self) -> float:
        """Return when a register that was not told is to be asked for (monotonic seconds)."""
        if not (self._session.up and self._meter.is_identified and self._meter_clock.is_settled):
            return float("inf")
        if not self._meter.offers(Epc.SCHEDULED_IMPORT):
            return float("inf")
        self._take()
        now, meter_now = self._clock.monotonic(), self._meter_clock.now()
        boundary = half_hour_before(meter_now)
        if boundary != self._asked_for:
            self._asked_for, self._tries, self._not_before = boundary, 0, float("-inf")
        if self._latest >= boundary or self._tries >= TRIES:
            boundary += HALF_HOUR
        return max(now + (boundary + TOLD_WITHIN - meter_now).total_seconds(), self._not_before)

    def act(self, until: float) -> bool:
        """Ask for the registers of the last half hour if there is room before *until*; False: there is none."""
        if not self._room.fits("half hour", until):
            return False
        self._tries += 1
        self._not_before = self._clock.monotonic() + RETRY_S
        try:
            half_hour = self._room.ask("half hour", lambda deadline: self._meter.read_half_hour(until=deadline), until)
        except SkStackError as error:
            logger.debug("the half hour was not read: %s", error)
            return True
        if half_hour is not None:
            self._keep(half_hour, "read")
        return True

    def rows(self) -> list[Row]:
        """Return the rows gathered since the last call."""
        if self._meter_clock.is_settled:
            self._take()
        rows, self._rows = self._rows, []
        return rows

    def _take(self) -> None:
        for half_hour in self._meter.take_half_hours():
            self._keep(half_hour, "notified")

    def _keep(self, half_hour: HalfHour, source: EnergySource) -> None:
        at = half_hour.registered_at
        if abs(at - self._meter_clock.now()) > _OUT_OF_STEP:
            logger.warning("a register is dropped: its time %s is not that of the meter's clock", at)
            return
        if at == self._latest or (source == "read" and at < self._latest):
            return  # told twice, or asked for too early: still the half hour before
        self._latest = max(self._latest, at)
        self._rows.append(EnergyRow(at, half_hour.import_kwh, half_hour.export_kwh, source))
