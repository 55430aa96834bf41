"""Which meter is installed: a row when it is first seen, and a row and an event when it was exchanged.

A meter is another one when its maker or its serial number says so, twice; or, where it gives none, when its registers
count in another way, or start a new course and stay on it. A single wrong number is no exchange, nor is a new release.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from poller.clock import Clock
from poller.idle_tasks.scheduler import Keep, Pause, Subtask, Task, query
from skstack import HalfHour, Meter, Poll
from skstack.echonet import EnergyScale, MeterIdentity, register_difference
from storage.gaps import KnownMeter, LastRegisters, known_meter, last_registers
from storage.records import MeterRow, RadioEventRow

if TYPE_CHECKING:
    from storage.connection import Cursor

logger = logging.getLogger(__name__)

_MOMENT = timedelta(seconds=1)  # the times in the database are whole seconds
_POLLS_ON_NEW_COURSE, _HALF_HOURS_ON_NEW_COURSE = 3, 2


# What distinguishes two meters; the scale does only where they give no names.
_NAMES = {"manufacturer": "manufacturer", "serial_number": "serial number"}
_SCALE = {"coefficient": "coefficient", "unit_kwh": "unit (kWh)", "digits": "number of digits"}


@dataclass(frozen=True, slots=True)
class _Sighting:
    """A meter in service since row.since; *reason*: how it differs from the one before, "": not at all."""

    row: MeterRow
    reason: str


class _Course:
    """The course of the registers: it identifies the meter where no serial number does."""

    def __init__(self) -> None:
        self.last: LastRegisters | None = None
        self.before: LastRegisters | None = None  # the ones before *last*
        # Registers that do not continue from those, each with whether it is of a half hour.
        self._new: list[tuple[LastRegisters, bool]] = []

    def follow(self, seen: LastRegisters, row: MeterRow, *, of_half_hour: bool) -> LastRegisters | None:
        """Return the first registers of a new course that has lasted, if the meter of *row* is on one."""
        if self.last is None or row.serial_number is not None or not _falls(self.last, seen, row):
            self.before, self.last = self.last, seen
            self._new.clear()
            return None
        if self.before is not None and not _falls(self.before, seen, row):
            self.last = seen  # the last one was a single value too high
            self._new.clear()
            return None
        if self._new and _falls(self._new[-1][0], seen, row):
            self._new.clear()
        self._new.append((seen, of_half_hour))
        half_hours = sum(each for _, each in self._new)
        has_lasted = half_hours >= _HALF_HOURS_ON_NEW_COURSE or len(self._new) - half_hours >= _POLLS_ON_NEW_COURSE
        return self._new[0][0] if has_lasted else None


class InstalledMeter:
    """Two tasks: watch() compares what the meter says with what it said before, record() keeps what it has seen.

    What the database knows from before this run is compared with the first sighting. Nothing is compared before *clock*
    is settled: when a meter was installed is compared with dates in the database.
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
        self._half_hour: HalfHour | None = None
        self._course = _Course()
        self.serves_from: datetime | None = None
        """When the present meter replaced another one; None: as far as is known it was always there."""

    @property
    def is_settled(self) -> bool:
        """Whether it is known which meter responds in this session, and since when it is installed."""
        return self._is_recorded and not self._sightings and self._meter.is_identified

    # --- what is seen

    def watch(self) -> Task:
        """Watch the meter's identity, and whether its registers continue."""
        while True:
            yield Pause(is_over=lambda: self._said() not in (None, self._looked_at))
            if said := self._said():
                self._looked_at = said
                self._look(*said)

    def _said(self) -> tuple[MeterIdentity, EnergyScale, Poll, HalfHour | None] | None:
        """Return what there is to compare; None: nothing yet."""
        identity, poll = self._meter.identity, self._meter.last_poll
        if identity is None or identity.scale is None or poll is None:
            return None
        is_known = self._meter.is_identified and self._clock.is_settled
        return (identity, identity.scale, poll, self._meter.last_half_hour) if is_known else None

    def _look(self, identity: MeterIdentity, scale: EnergyScale, poll: Poll, half_hour: HalfHour | None) -> None:
        row = _meter_row(identity, scale, self._clock.at(self._meter.identified_at))
        if self._current is None:
            self._see(row, "")
        elif reason := _difference(self._current, row):
            self._see(row, reason)
        elif _is_rescaled(self._current, row):
            self._see(replace(row, since=self._clock.now()), "")
        else:
            self._current = row  # its names may have come after the row was written
        if poll is not self._poll:
            self._poll = poll
            self._polls += 1
            seen = LastRegisters(self._clock.at(poll.arrived_at), poll.reading.import_kwh, poll.reading.export_kwh)
            self._follow(row, seen, of_half_hour=False)
        if half_hour is not None and half_hour != self._half_hour:
            self._half_hour = half_hour
            seen = LastRegisters(half_hour.registered_at, half_hour.import_kwh, half_hour.export_kwh)
            last = self._course.last
            if last is None or seen.known_at >= last.known_at:  # one from before the last poll is nothing new
                self._follow(row, seen, of_half_hour=True)

    def _follow(self, row: MeterRow, seen: LastRegisters, *, of_half_hour: bool) -> None:
        if seen.import_kwh is None and seen.export_kwh is None:
            return
        last = self._course.last
        first = self._course.follow(seen, row, of_half_hour=of_half_hour)
        if first is not None and last is not None:
            self._see(replace(row, since=first.known_at), _fall(last, first))
            self._course.last = seen

    def _see(self, row: MeterRow, reason: str) -> None:
        """Note a sighting. If it is another meter, it served from right after the last register of the one before."""
        last = self._course.last
        if reason and last is not None:
            row = replace(row, since=min(row.since, last.known_at.replace(microsecond=0) + _MOMENT))
        self._current = row
        self._course = _Course()
        self._sightings.append(_Sighting(row, reason))

    # --- what is recorded

    def record(self) -> Task:
        """Compare the first sighting with what the database knows; keep it, and every exchange after it."""
        yield Pause(is_over=lambda: bool(self._sightings))
        if not self._is_recorded:
            known, last = yield from query("its meter", self._query_known)
            self._course.before = self._course.before or last
            yield from self._keep_first(self._sightings[0].row, known, last)
            self._is_recorded = True
            self._sightings.popleft()
        while True:
            yield Pause(is_over=lambda: bool(self._sightings))
            yield from self._keep(self._sightings[0])
            self._sightings.popleft()

    def _query_known(self, cursor: Cursor, site_id: int) -> tuple[KnownMeter | None, LastRegisters | None]:
        """Return the meter in service, and the last registers from before this run."""
        started_at = self._clock.now() - timedelta(seconds=self._clock.monotonic() - self._started_s)
        return known_meter(cursor, site_id), last_registers(cursor, site_id, before=started_at)

    def _keep_first(self, row: MeterRow, known: KnownMeter | None, last: LastRegisters | None) -> Subtask[None]:
        if known is None:
            yield Keep([row])
            return
        reason = _difference(known.row, row)
        if not reason and self._fall_since(last, known.row, row):  # one register alone may be a slip
            yield Pause(is_over=lambda: self._polls >= _POLLS_ON_NEW_COURSE)
            reason = self._fall_since(last, known.row, row)
        since = min(last.known_at + _MOMENT, row.since) if reason and last else row.since
        row = replace(row, since=max(since, known.row.since + _MOMENT))
        self.serves_from = known.serves_from
        if reason or _is_rescaled(known.row, row):
            yield from self._keep(_Sighting(row, reason))

    def _fall_since(self, last: LastRegisters | None, known: MeterRow, row: MeterRow) -> str:
        """Say how the registers fell between two runs, where no serial numbers tell more; "": they did not."""
        seen = self._course.last
        are_told = known.serial_number is not None and row.serial_number is not None
        if are_told or last is None or seen is None or not _falls(last, seen, row):
            return ""
        return _fall(last, seen)

    def _keep(self, sighting: _Sighting) -> Subtask[None]:
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


def _difference(old: MeterRow, new: MeterRow) -> str:
    """Say in what *new* is another meter; "": in nothing. What one of the two did not say makes no difference."""
    for name, shown in (_NAMES if _are_named(old, new) else _NAMES | _SCALE).items():
        was, is_now = getattr(old, name), getattr(new, name)
        if was is not None and is_now is not None and was != is_now:
            return f"its {shown} was {was} and is {is_now}"
    return ""


def _is_rescaled(old: MeterRow, new: MeterRow) -> bool:
    """Whether the registers of the same meter count in another way; without names, that would mean an exchange."""
    is_same = all(getattr(new, name) in (None, getattr(old, name)) for name in _SCALE)
    return _are_named(old, new) and not is_same


def _are_named(*rows: MeterRow) -> bool:
    """Whether each has all names: only then two rows can be of the same meter. Source: meter_service in init.sql."""
    return all(getattr(row, name) is not None for row in rows for name in _NAMES)


def _falls(old: LastRegisters, new: LastRegisters, row: MeterRow) -> bool:
    """Whether a register of the meter of *row* went back without a wrap."""
    count_kwh = row.coefficient * row.unit_kwh
    pairs = ((old.import_kwh, new.import_kwh), (old.export_kwh, new.export_kwh))
    return any(
        register_difference(int(later / count_kwh), int(earlier / count_kwh), row.digits) is None
        for earlier, later in pairs
        if earlier is not None and later is not None
    )


def _fall(old: LastRegisters, new: LastRegisters) -> str:
    return (
        f"its registers went from {old.import_kwh} and {old.export_kwh} kWh (import, export) "
        f"back to {new.import_kwh} and {new.export_kwh} kWh"
    )
