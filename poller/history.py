"""Fills the holes of the half-hour record from the meter's own memory: today and 99 days back, newest first.

A day is chosen by its distance from today (E5), and the meter's answer carries that distance, not the date. So the
date comes from the meter's clock, nothing is asked around its midnight, and a day is read in one go or not at all.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING

from poller.clock import TimeSource
from poller.inquiry import Inquirer
from poller.meter_clock import MeterClock
from poller.meter_watch import MeterWatch
from poller.room import Room
from skstack import MeterHistory, Session, SkStackError
from skstack.echonet import JST, MAX_DAY_BACK, DayHistory, Epc, half_hours
from storage.holes import energy_gaps
from storage.records import EnergyRow, Round, Row

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class with a lower-case name

logger = logging.getLogger(__name__)

DAILY_S = 86_400.0
AROUND_MIDNIGHT = timedelta(minutes=10)
STILL_TO_BE_TOLD = timedelta(minutes=15)  # a half hour this young is notified or read by itself
DAY_TRIES = 3
GIVE_UP_AFTER_DAYS = 3  # in a row without any answer
_DAY = timedelta(days=1)


class _Step(Enum):
    CHOOSE = "choose"
    IMPORT = "import"
    EXPORT = "export"


@dataclass(slots=True)
class _DayUnit:
    """A day that is being read: its holes, how far we are, and what has come."""

    day: date
    wanted: frozenset[datetime]
    with_export: bool
    tries_left: int = DAY_TRIES
    step: _Step = _Step.CHOOSE
    day_back: int = 0
    imported: DayHistory | None = None


@dataclass(slots=True)
class _Tally:
    """What one run has done so far."""

    started_s: float
    filled: int = 0
    days: int = 0
    silent_days: int = 0  # in a row
    missing: int = 0
    planned: deque[tuple[date, frozenset[datetime]]] = field(default_factory=deque)


class Backfill:
    """Lists the holes at the start, in every new session and once a day, and reads them day by day.

    *write* keeps a day's rows as one round. What the meter does not remember is not asked for again before the next
    daily listing.
    """

    def __init__(
        self,
        session: Session,
        history: MeterHistory,
        meter_clock: MeterClock,
        watch: MeterWatch,
        write: Callable[[Round], None],
        *,
        clock: TimeSource,
        room: Room,
        inquirer: Inquirer,
    ) -> None:
        self._session = session
        self._history = history
        self._meter_clock = meter_clock
        self._watch = watch
        self._write = write
        self._clock = clock
        self._room = room
        self._inquiry = inquirer.about("missing half hours", self._ask_record)
        self._listed_session = 0
        self._daily_at = float("-inf")
        self._must_list = False
        self._forgotten: set[datetime] = set()  # the meter does not remember them
        self._unit: _DayUnit | None = None
        self._tally = _Tally(0.0)

    def due_at(self) -> float:
        """Return when to ask the record or the meter next (monotonic seconds)."""
        if not (self._session.up and self._watch.is_settled and self._meter_clock.is_settled):
            self._unit = None if self._unit is None else self._again(self._unit)
            return float("inf")
        if not self._history.offers_days:
            return float("inf")
        self._notice_occasions()
        if self._must_list:
            return self._inquiry.due_at()
        if self._unit is None and not self._tally.planned:
            return self._daily_at
        return max(self._room.not_before, self._clock.monotonic() + _until_past_midnight(self._meter_clock.now()))

    def act(self, until: float) -> bool:
        """List the holes, or put one request if there is room for it before *until*; False: there is none."""
        if self._must_list:
            return self._list()
        if self._unit is None:
            day, wanted = self._tally.planned.popleft()
            self._unit = _DayUnit(day, wanted, self._history.offers_export_days)
        return self._advance(self._unit, until)

    def rows(self) -> Sequence[Row]:
        """Return nothing: a day is written as soon as it is read."""
        return ()

    # --- which days

    def _notice_occasions(self) -> None:
        """List anew in a new session, and once a day; only then is everything asked for again."""
        if self._listed_session != self._session.number:
            self._listed_session = self._session.number
            self._must_list = True
        if self._clock.monotonic() >= self._daily_at:
            self._daily_at = self._clock.monotonic() + DAILY_S
            self._forgotten.clear()
            self._must_list = True

    def _ask_record(self, cursor: Cursor, site_id: int) -> list[datetime]:
        return energy_gaps(cursor, site_id, MAX_DAY_BACK, now=self._meter_clock.now())

    def _list(self) -> bool:
        holes = self._inquiry.answer()
        if holes is None:
            return True
        self._must_list = False
        self._unit = None
        newest = self._meter_clock.now() - STILL_TO_BE_TOLD
        oldest = self._watch.serves_from
        wanted: dict[date, set[datetime]] = {}
        for hole in holes:
            if hole <= newest and (oldest is None or hole >= oldest) and hole not in self._forgotten:
                wanted.setdefault(hole.astimezone(JST).date(), set()).add(hole)
        self._tally = _Tally(
            self._clock.monotonic(), planned=deque((day, frozenset(slots)) for day, slots in wanted.items())
        )
        if wanted:
            count = sum(map(len, wanted.values()))
            logger.info("%d half hours of %d days are missing: asking the meter", count, len(wanted))
        return True

    # --- one day

    def _advance(self, unit: _DayUnit, until: float) -> bool:
        """Take the next step of a day; False: there is no room for it before *until*."""
        if not self._room.fits(unit.step.value, until):
            return False
        day_back = (self._meter_clock.now().astimezone(JST).date() - unit.day).days
        if not 0 <= day_back <= MAX_DAY_BACK:
            self._finish(unit, {}, "out of the meter's reach")
            return True
        if unit.step is not _Step.CHOOSE and day_back != unit.day_back:
            self._unit = self._again(unit)  # midnight has passed: what was chosen is another day now
            return True
        unit.day_back = day_back
        try:
            self._take_step(unit, until)
        except SkStackError as error:
            logger.debug("history of %s: %s", unit.day, error)
            self._failed(unit)
        return True

    def _take_step(self, unit: _DayUnit, until: float) -> None:
        if unit.step is _Step.CHOOSE:
            if self._room.ask("choose", lambda end: self._history.choose_day(unit.day_back, until=end), until):
                unit.step = _Step.IMPORT
            else:
                self._finish(unit, {}, "refused by the meter")
            return
        epc = Epc.IMPORT_DAY_HISTORY if unit.step is _Step.IMPORT else Epc.EXPORT_DAY_HISTORY
        told = self._room.ask(unit.step.value, lambda end: self._history.read_day(epc, until=end), until)
        if told is None:
            self._finish(unit, {}, "refused by the meter")
        elif told.day_back != unit.day_back:
            self._failed(unit)  # of a day that somebody else has chosen, or that was chosen before
        elif unit.step is _Step.IMPORT and unit.with_export:
            unit.imported, unit.step = told, _Step.EXPORT
        elif unit.step is _Step.IMPORT:
            self._finish(unit, self._rows_of(unit, told, None), "")
        elif unit.imported is not None:
            self._finish(unit, self._rows_of(unit, unit.imported, told), "")

    def _rows_of(self, unit: _DayUnit, imported: DayHistory, exported: DayHistory | None) -> dict[datetime, EnergyRow]:
        """Return a row for each hole that the meter remembers, in every direction that it measures."""
        rows: dict[datetime, EnergyRow] = {}
        for slot, at in enumerate(half_hours(unit.day)):
            import_kwh = self._history.kwh(imported.slots[slot])
            export_kwh = self._history.kwh(exported.slots[slot]) if exported is not None else None
            if at in unit.wanted and import_kwh is not None and (exported is None or export_kwh is not None):
                rows[at] = EnergyRow(at, import_kwh, export_kwh, "history")
        return rows

    def _again(self, unit: _DayUnit) -> _DayUnit:
        """Begin a day anew: without the choice, what was read is worth nothing."""
        return _DayUnit(unit.day, unit.wanted, self._history.offers_export_days, unit.tries_left)

    def _failed(self, unit: _DayUnit) -> None:
        unit.tries_left -= 1
        if unit.tries_left > 0:
            self._unit = self._again(unit)
            return
        self._tally.silent_days += 1
        if self._tally.silent_days < GIVE_UP_AFTER_DAYS:
            self._finish(unit, {}, "not answered", answered=False)
            return
        logger.warning(
            "the meter does not answer when asked for its history, or not before the next poll is due: "
            "it is asked again tomorrow"
        )
        self._tally.planned.clear()
        self._finish(unit, {}, "not answered", answered=False)

    def _finish(self, unit: _DayUnit, rows: dict[datetime, EnergyRow], reason: str, *, answered: bool = True) -> None:
        tally = self._tally
        self._unit = None
        if answered:
            tally.silent_days = 0
            self._forgotten |= unit.wanted - rows.keys()
        if rows:
            self._write(Round(tuple(rows.values())))
        tally.days += 1
        tally.filled += len(rows)
        tally.missing += len(unit.wanted) - len(rows)
        result = f"{len(rows)} of {len(unit.wanted)} half hours" + (f" ({reason})" if reason else "")
        logger.info("history of %s: %s, %d days to go", unit.day, result, len(tally.planned))
        if not tally.planned:
            minutes = (self._clock.monotonic() - tally.started_s) / 60
            logger.info(
                "history: %d half hours of %d days filled in %.0f min, %d remain missing",
                tally.filled,
                tally.days,
                minutes,
                tally.missing,
            )


def _until_past_midnight(meter_now: datetime) -> float:
    """Return for how many seconds nothing may be asked, since the meter's midnight is near."""
    local = meter_now.astimezone(JST)
    since = local - local.replace(hour=0, minute=0, second=0, microsecond=0)
    if since < AROUND_MIDNIGHT:
        return (AROUND_MIDNIGHT - since).total_seconds()
    if since >= _DAY - AROUND_MIDNIGHT:
        return (_DAY + AROUND_MIDNIGHT - since).total_seconds()
    return 0.0
