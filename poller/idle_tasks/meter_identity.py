"""Which meter is installed: a row when it is first seen, and a row and an event when it was exchanged.

A meter is another one when its maker or its serial number says so, twice; or, where it tells no serial number, when its
registers start a new course and stay on it. A slip of a number is no exchange, and another release is none either.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from poller.clock import Clock
from poller.idle_tasks.scheduler import Keep, Part, Pause, Task, query
from skstack import HalfHour, Meter, Poll
from skstack.echonet import EnergyScale, MeterIdentity, register_difference
from storage.gaps import KnownMeter, LastRegisters, known_meter, last_registers
from storage.records import MeterRow, RadioEventRow

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class with a lower-case name

logger = logging.getLogger(__name__)

_MOMENT = timedelta(seconds=1)  # the times in the database are whole seconds
_POLLS_ON_NEW_COURSE, _HALF_HOURS_ON_NEW_COURSE = 3, 2


@dataclass(frozen=True, slots=True)
class _Sighting:
    """A meter that is in service since row.since; *reason*: how it differs from the one before, "": not at all."""

    row: MeterRow
    reason: str


class InstalledMeter:
    """Two tasks: watch() compares what the meter tells with what it told before, record() keeps what it has seen.

    What the database knows from before this run is compared with the first sight. Nothing is looked at before *clock*
    is settled: since when a meter is installed is compared with the dates of the database.
    """

    def __init__(self, meter: Meter, clock: Clock) -> None:
        self._meter = meter
        self._clock = clock
        self._started_s = clock.monotonic()
        self._sightings: deque[_Sighting] = deque()  # not recorded yet
        self._is_recorded = False
        self._looked_at: object = None
        self._current: MeterRow | None = None
        self._poll: Poll | None = None
        self._polls = 0  # that were looked at
        self._registers: LastRegisters | None = None  # of the last poll
        self._registers_before: LastRegisters | None = None  # and of the one before that
        self._half_hour: HalfHour | None = None
        self._new_course: list[LastRegisters] = []  # that does not go on from the last ones
        self._course_polls = self._course_half_hours = 0
        self.serves_from: datetime | None = None
        """The present meter took another one's place at that time; None: as far as is known it was always there."""

    @property
    def is_settled(self) -> bool:
        """Whether it is known which meter responds in this session, and since when it is installed."""
        return self._is_recorded and not self._sightings and self._meter.is_identified

    # --- what is seen

    def watch(self) -> Task:
        """Look at all that the meter tells: who it is, and whether its registers go on."""
        while True:
            yield Pause(is_over=lambda: self._told() not in (None, self._looked_at))
            self._looked_at = self._told()
            self._look()

    def _told(self) -> object:
        """Return what there is to be looked at, to be compared; None: nothing yet."""
        identity, poll = self._meter.identity, self._meter.last_poll
        if not (self._meter.is_identified and self._clock.is_settled) or poll is None:
            return None
        return identity, poll, self._meter.last_half_hour

    def _look(self) -> None:
        identity, poll, half_hour = self._meter.identity, self._meter.last_poll, self._meter.last_half_hour
        if identity is None or identity.scale is None or poll is None:
            return
        row = _meter_row(identity, identity.scale, self._clock.at(self._meter.identified_at))
        if self._current is None:
            self._see(row, "")
        elif reason := _difference(self._current, row):
            self._see(replace(row, since=self._since(row)), reason)
        elif _scale_of(row) != _scale_of(self._current):
            self._see(replace(row, since=self._clock.now()), "")
        if poll is not self._poll:
            self._poll = poll
            self._polls += 1
            seen = LastRegisters(self._clock.at(poll.arrived_at), poll.reading.import_kwh, poll.reading.export_kwh)
            self._look_at_registers(row, seen, of_polls=1)
        if half_hour is not None and half_hour is not self._half_hour:
            self._half_hour = half_hour
            seen = LastRegisters(half_hour.registered_at, half_hour.import_kwh, half_hour.export_kwh)
            self._look_at_registers(row, seen, of_half_hours=1)

    def _since(self, row: MeterRow) -> datetime:
        """Return the moment after the last poll of the meter before: every register from then on is the new one's."""
        if self._registers is None:
            return row.since
        return min(row.since, self._registers.known_at.replace(microsecond=0) + _MOMENT)

    def _look_at_registers(
        self, row: MeterRow, seen: LastRegisters, *, of_polls: int = 0, of_half_hours: int = 0
    ) -> None:
        """Follow the course of the registers: it tells who the meter is where no serial number does."""
        if seen.import_kwh is None and seen.export_kwh is None:
            return
        before, scale = self._registers, _scale_of(row)
        if before is None or row.serial_number is not None or not _falls(before, seen, scale):
            if before is None or seen.known_at >= before.known_at:
                self._registers_before, self._registers = before, seen
            self._new_course.clear()
            return
        if self._registers_before is not None and not _falls(self._registers_before, seen, scale):
            self._registers = seen  # the last one was too high, once
            self._new_course.clear()
            return
        if self._new_course and _falls(self._new_course[-1], seen, scale):
            self._new_course.clear()
        if not self._new_course:
            self._course_polls = self._course_half_hours = 0
        self._new_course.append(seen)
        self._course_polls += of_polls
        self._course_half_hours += of_half_hours
        if self._course_polls >= _POLLS_ON_NEW_COURSE or self._course_half_hours >= _HALF_HOURS_ON_NEW_COURSE:
            first = self._new_course[0]
            self._see(replace(row, since=self._since(replace(row, since=first.known_at))), _fall(before, first))
            self._registers = seen

    def _see(self, row: MeterRow, reason: str) -> None:
        self._current = row
        self._registers = self._registers_before = None
        self._new_course.clear()
        self._sightings.append(_Sighting(row, reason))

    # --- what is recorded

    def record(self) -> Task:
        """Compare the first sight with what the database knows; keep that and every exchange after it."""
        yield Pause(is_over=lambda: bool(self._sightings))
        if not self._is_recorded:
            known, last = yield from query("its meter", self._ask_database)
            self._registers_before = self._registers_before or last
            yield from self._keep_first(self._sightings[0], known, last)
            self._is_recorded = True
            self._sightings.popleft()
        while True:
            yield Pause(is_over=lambda: bool(self._sightings))
            yield from self._keep_row(self._sightings[0])
            self._sightings.popleft()

    def _ask_database(self, cursor: Cursor, site_id: int) -> tuple[KnownMeter | None, LastRegisters | None]:
        """Return the meter in service, and the last registers from before this run."""
        started_at = self._clock.now() - timedelta(seconds=self._clock.monotonic() - self._started_s)
        return known_meter(cursor, site_id), last_registers(cursor, site_id, before=started_at)

    def _keep_first(self, first: _Sighting, known: KnownMeter | None, last: LastRegisters | None) -> Part[None]:
        if known is None:
            yield Keep([first.row])
            return
        reason = _difference(known.row, first.row)
        if not reason and self._fall_since(first.row, last):  # one register alone may be a slip
            yield Pause(is_over=lambda: self._polls >= _POLLS_ON_NEW_COURSE)
            reason = self._fall_since(first.row, last)
        if reason:
            since = min(last.known_at + _MOMENT, first.row.since) if last else first.row.since
            row = replace(first.row, since=max(since, known.row.since + _MOMENT))
            yield from self._keep_row(_Sighting(row, reason))
        elif known.replaced:
            self.serves_from = known.row.since

    def _fall_since(self, row: MeterRow, last: LastRegisters | None) -> str:
        """Say how the registers fell between two runs; "": they did not."""
        seen = self._registers
        if row.serial_number is not None:
            return ""
        return _fall(last, seen) if last and seen and _falls(last, seen, _scale_of(row)) else ""

    def _keep_row(self, sighting: _Sighting) -> Part[None]:
        if not sighting.reason:
            logger.info("the registers of the meter count in another way from now on")
            yield Keep([sighting.row])
            return
        logger.warning("the meter was exchanged: %s", sighting.reason)
        self.serves_from = sighting.row.since
        yield Keep([sighting.row, RadioEventRow(self._clock.now(), "meter_changed", detail=sighting.reason)])


def _meter_row(identity: MeterIdentity, scale: EnergyScale, since: datetime) -> MeterRow:
    return MeterRow(
        since=since,
        manufacturer=identity.manufacturer,
        serial_number=identity.serial_number,
        release=identity.release,
        coefficient=scale.coefficient,
        unit_kwh=scale.unit_kwh,
        digits=scale.digits,
    )


_COMPARED = ("manufacturer", "serial_number")


def _scale_of(row: MeterRow) -> EnergyScale:
    return EnergyScale(row.coefficient, row.unit_kwh, row.digits)


def _difference(old: MeterRow, new: MeterRow) -> str:
    """Say in what *new* is another meter; "": in nothing. What one of the two did not tell makes no difference."""
    for name in _COMPARED:
        was, is_now = getattr(old, name), getattr(new, name)
        if was is not None and is_now is not None and was != is_now:
            return f"its {name.replace('_', ' ')} was {was} and is {is_now}"
    return ""


def _falls(old: LastRegisters, new: LastRegisters, scale: EnergyScale) -> bool:
    """Whether a register went back without a wrap."""
    pairs = ((old.import_kwh, new.import_kwh), (old.export_kwh, new.export_kwh))
    return any(
        register_difference(_counts(later, scale), _counts(earlier, scale), scale.digits) is None
        for earlier, later in pairs
        if earlier is not None and later is not None
    )


def _counts(kwh: Decimal, scale: EnergyScale) -> int:
    return int(kwh / (scale.coefficient * scale.unit_kwh))


def _fall(old: LastRegisters, new: LastRegisters) -> str:
    return (
        f"its registers went from {old.import_kwh} and {old.export_kwh} kWh (import, export) "
        f"back to {new.import_kwh} and {new.export_kwh} kWh"
    )
