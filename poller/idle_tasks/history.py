"""Fills the gaps of the half-hour record from the meter's own memory: today and 99 days back, newest first.

A day is chosen by its distance from today (E5), and the meter's response carries that distance, not the date. So the
date comes from the meter's clock, nothing is read around its midnight, and a day is read in one go or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from poller.clock import TimeSource
from poller.idle_tasks.meter_clock import MeterClock
from poller.idle_tasks.meter_identity import InstalledMeter
from poller.idle_tasks.scheduler import Keep, Pause, Subtask, Task, query, request
from skstack import MeterHistory, Session, SessionLostError, SkStackError
from skstack.echonet import JST, MAX_DAY_BACK, DayHistory, Epc, half_hours
from storage.gaps import energy_gaps
from storage.records import EnergyRow
from wording import counted

if TYPE_CHECKING:
    from storage.connection import Cursor

logger = logging.getLogger(__name__)

T = TypeVar("T")
Days = dict[date, frozenset[datetime]]  # the gaps of each day, newest first
Rows = dict[datetime, EnergyRow]

DAILY_S = 86_400.0
AROUND_MIDNIGHT = timedelta(minutes=10)
STILL_TO_COME = timedelta(minutes=15)  # a half hour this young is still announced, or read by half_hours.py
ATTEMPTS = 3  # at a day
EXPORT_REFUSALS = 2  # until a meter that lists what was sold has no days of it
GIVE_UP_AFTER_DAYS = 3  # in a row without any response
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class _Reading:
    """The result of reading a day, and why that is not all; *is_complete*: the meter has given all it has."""

    rows: Rows
    reason: str = ""
    is_complete: bool = True


class MeterDays:
    """The task is fill(). What the meter does not remember is not read again before the next day.

    *pause_s*: from the start of one of its requests to that of the next.
    """

    def __init__(
        self,
        session: Session,
        history: MeterHistory,
        meter_clock: MeterClock,
        installed: InstalledMeter,
        clock: TimeSource,
        *,
        pause_s: float,
    ) -> None:
        self._session = session
        self._history = history
        self._meter_clock = meter_clock
        self._installed = installed
        self._clock = clock
        self._pause_s = pause_s
        self._not_before = float("-inf")  # the next request (monotonic seconds)
        self._forgotten: set[datetime] = set()  # by the meter
        self._gives_export = False  # in days
        self._export_refusals = 0

    def fill(self) -> Task:
        """List the gaps at the start, in every new session and once a day, and fill them day by day."""
        daily_at = float("-inf")
        while True:
            yield Pause(is_over=self._can_read)
            session_number = self._session.number
            if self._clock.monotonic() >= daily_at:
                daily_at = self._clock.monotonic() + DAILY_S
                self._forgotten.clear()
            gaps = yield from query("missing half hours", self._query_gaps)
            try:
                yield from self._fill_days(self._by_day(gaps))
            except SessionLostError:
                continue  # the day under way is lost: list what is missing again
            yield Pause(until=daily_at, is_over=partial(self._is_over, session_number))

    def _can_read(self) -> bool:
        is_known = self._session.up and self._installed.is_settled and self._meter_clock.is_settled
        return is_known and self._history.offers_days

    def _is_over(self, session_number: int) -> bool:
        return self._session.number != session_number

    # --- which days

    def _query_gaps(self, cursor: Cursor, site_id: int) -> list[datetime]:
        return energy_gaps(cursor, site_id, MAX_DAY_BACK, now=self._meter_clock.now())

    def _by_day(self, gaps: Sequence[datetime]) -> Days:
        newest = self._meter_clock.now() - STILL_TO_COME
        oldest = self._installed.serves_from
        days: dict[date, set[datetime]] = {}
        for gap in gaps:
            if gap <= newest and (oldest is None or gap >= oldest) and gap not in self._forgotten:
                days.setdefault(gap.astimezone(JST).date(), set()).add(gap)
        return {day: frozenset(wanted) for day, wanted in days.items()}

    def _fill_days(self, days: Days) -> Subtask[None]:
        """Read *days* and keep what the meter remembers of their gaps. Raises: SessionLostError."""
        if not days:
            return
        wanted_in_all = sum(map(len, days.values()))
        missing, of_days = counted(wanted_in_all, "missing half hour"), counted(len(days), "day")
        logger.info("%s of %s to request from the meter", missing, of_days)
        started_s = self._clock.monotonic()
        filled = silent = 0
        for read, (day, wanted) in enumerate(days.items(), 1):
            reading = yield from self._read_day(day, wanted)
            if reading.rows:
                yield Keep(list(reading.rows.values()))
            if reading.is_complete:
                self._forgotten |= wanted - reading.rows.keys()
            silent = 0 if reading.is_complete else silent + 1
            filled += len(reading.rows)
            found = f"{len(reading.rows)} of {len(wanted)} half hours{reading.reason and f' ({reading.reason})'}"
            logger.info("history of %s: %s, %s to go", day, found, counted(len(days) - read, "day"))
            if silent == GIVE_UP_AFTER_DAYS:
                logger.warning(
                    "the meter does not respond to requests for its history, or not before the next poll is due: "
                    "it will be requested again tomorrow"
                )
                break
        minutes = (self._clock.monotonic() - started_s) / 60
        said = "history: %s of %s filled in %.0f min, %d remain missing"
        logger.info(said, counted(filled, "half hour"), counted(read, "day"), minutes, wanted_in_all - filled)

    # --- one day

    def _read_day(self, day: date, wanted: frozenset[datetime]) -> Subtask[_Reading]:
        """Choose and read *day*, a few times if that fails. Raises: SessionLostError."""
        failures = 0
        while failures < ATTEMPTS:
            yield from self._wait_past_midnight()
            days_back = self._days_back(day)
            if not 0 <= days_back <= MAX_DAY_BACK:
                return _Reading({}, "out of the meter's reach")
            try:
                histories = yield from self._read_chosen(days_back)
            except SessionLostError:
                raise
            except SkStackError:
                failures += 1
                continue
            if self._days_back(day) != days_back:
                continue  # midnight has passed meanwhile: what was chosen is another day now
            if histories is None:
                return _Reading({}, "refused by the meter")
            if histories:
                return _Reading(self._rows(day, wanted, *histories))
            failures += 1
        return _Reading({}, "no response", is_complete=False)

    def _read_chosen(self, days_back: int) -> Subtask[tuple[DayHistory, ...] | None]:
        """Choose a day and read it in each direction that the meter measures; None: it refuses.

        Empty: it is to be read again. What came is of another day, since somebody else has chosen one, or without
        what was sold, for the first time.
        Raises: SkStackError: no response.
        """
        if not (yield from self._send("choose", partial(self._history.choose_day, days_back))):
            return None
        read: list[DayHistory] = []
        epcs = (Epc.IMPORT_DAY_HISTORY, Epc.EXPORT_DAY_HISTORY)
        for epc in epcs if self._history.offers_export_days else epcs[:1]:
            history = yield from self._send(epc.name, partial(self._history.read_day, epc))
            if history is None:
                return self._without_export(read) if read else None
            if history.day_back != days_back:
                return ()
            read.append(history)
        self._gives_export |= len(read) == len(epcs)
        return tuple(read)

    def _without_export(self, read: Sequence[DayHistory]) -> tuple[DayHistory, ...] | None:
        """Return what is to be kept of a day of which the meter refuses what was sold, as _read_chosen.

        A meter that has never given it, and refuses it twice, remembers the import alone.
        """
        if self._gives_export:
            return None
        self._export_refusals += 1
        if self._export_refusals < EXPORT_REFUSALS and self._history.needs_export_days:
            return ()
        return tuple(read)

    def _send(self, kind: str, send: Callable[..., T]) -> Subtask[T]:
        """Send one request after the pause, and not around midnight. Raises: as _read_chosen."""
        yield Pause(until=self._not_before)
        yield from self._wait_past_midnight()

        def send_now(until: float) -> T:
            self._not_before = self._clock.monotonic() + self._pause_s
            return send(until=until)

        return (yield from request(kind, send_now, timeout_s=self._session.timings.longest_wait_s))

    def _rows(
        self, day: date, wanted: frozenset[datetime], imported: DayHistory, exported: DayHistory | None = None
    ) -> Rows:
        """Return a row for each gap that the meter remembers, in every direction that it measures."""
        rows: Rows = {}
        needs_export = exported is not None and self._history.needs_export_days
        for slot, at in enumerate(half_hours(day)):
            import_kwh = self._history.kwh(imported.slots[slot])
            export_kwh = self._history.kwh(exported.slots[slot]) if exported is not None else None
            if at in wanted and import_kwh is not None and not (needs_export and export_kwh is None):
                rows[at] = EnergyRow(at, import_kwh, export_kwh, "history")
        return rows

    # --- the meter's calendar

    def _days_back(self, day: date) -> int:
        return (self._meter_clock.now().astimezone(JST).date() - day).days

    def _wait_past_midnight(self) -> Subtask[None]:
        """Pause while the meter's midnight is near."""
        while (near_s := _past_midnight_in_s(self._meter_clock.now())) > 0:
            yield Pause(until=self._clock.monotonic() + near_s)


def _past_midnight_in_s(meter_now: datetime) -> float:
    """Return for how many seconds nothing may be read, since the meter's midnight is near."""
    local = meter_now.astimezone(JST)
    since = local - local.replace(hour=0, minute=0, second=0, microsecond=0)
    if since < AROUND_MIDNIGHT:
        return (AROUND_MIDNIGHT - since).total_seconds()
    if since >= _DAY - AROUND_MIDNIGHT:
        return (_DAY + AROUND_MIDNIGHT - since).total_seconds()
    return 0.0
