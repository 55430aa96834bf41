"""Fills the holes of the last hours from the one-minute registers that a second-generation meter keeps.

A row filled here has the registers and no power: the meter remembers energy only.
Source: ECHONET Device Objects (Appendix) release R, class 0x0288, EPC EE and EF: at most ten minutes an answer.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from poller.backfill import Backfill
from poller.clock import Clock
from poller.inquiry import Inquirer
from poller.meter_clock import MINUTE, MeterClock
from poller.meter_watch import MeterWatch
from poller.room import Room
from skstack.errors import SkStackError
from skstack.meter_history import MOST_MINUTES, MeterHistory, MinuteRegisters
from skstack.session import Session
from storage.database import Database
from storage.holes import minute_holes
from storage.records import PowerRow, Round, Row

logger = logging.getLogger(__name__)

REACH = timedelta(hours=6)  # how long a meter keeps its minutes is not documented
STILL_TO_COME = timedelta(minutes=3)  # the poll of so young a minute may be on its way
EVERY_S = 3600.0
LONGEST_INTERVAL_S = 60  # with polls further apart, most minutes are no holes
TRIES = 2
GIVE_UP_AFTER = 3  # questions in a row without an answer


@dataclass(slots=True)
class _Stretch:
    """Up to ten minutes that are read with one choice: the holes among them, newest first."""

    wanted: Sequence[datetime]
    tries_left: int = TRIES
    is_chosen: bool = False

    @property
    def count(self) -> int:
        """How many minutes there are from the newest hole back to the oldest one."""
        return (self.wanted[0] - self.wanted[-1]) // MINUTE + 1


class MinuteFill:
    """Lists the minutes without a row in every new session and every hour, and reads them when *days* has nothing."""

    def __init__(
        self,
        session: Session,
        history: MeterHistory,
        meter_clock: MeterClock,
        watch: MeterWatch,
        days: Backfill,
        queries: Database,
        write: Callable[[Round], None],
        *,
        clock: Clock,
        room: Room,
        inquirer: Inquirer,
        interval_s: int,
    ) -> None:
        self._session = session
        self._history = history
        self._meter_clock = meter_clock
        self._watch = watch
        self._days = days
        self._queries = queries
        self._write = write
        self._clock = clock
        self._room = room
        self._inquiry = inquirer.about("missing minutes", self._ask_record)
        self._is_wanted = interval_s <= LONGEST_INTERVAL_S
        self._listed_session = 0
        self._list_at = float("-inf")
        self._forgotten: set[datetime] = set()
        self._planned: deque[_Stretch] = deque()
        self._silent = 0
        self._filled = 0

    def due_at(self) -> float:
        """Return when to ask the record or the meter next (monotonic seconds)."""
        is_ready = self._session.up and self._watch.is_settled and self._meter_clock.is_settled
        is_ready = is_ready and not self._meter_clock.ahead  # the rows would carry the meter's time among ours
        if not (self._is_wanted and is_ready and self._history.offers_minutes and self._days.is_idle):
            if self._planned:
                self._planned[0].is_chosen = False
            return float("inf")
        if self._listed_session != self._session.link.sessions:
            self._listed_session = self._session.link.sessions
            self._list_at = float("-inf")
        if self._clock.monotonic() >= self._list_at:
            return self._inquiry.due_at()
        return self._room.not_before if self._planned else self._list_at

    def act(self, until: float) -> bool:
        """List the holes, or put one request if there is room for it before *until*; False: there is none."""
        if self._clock.monotonic() >= self._list_at:
            return self._list()
        return self._advance(self._planned[0], until)

    def rows(self) -> Sequence[Row]:
        """Return nothing: what was read is written at once."""
        return ()

    def _ask_record(self) -> list[datetime]:
        now = self._clock.now()
        first = (now - REACH).replace(second=0, microsecond=0)
        return minute_holes(self._queries, first, now - STILL_TO_COME)

    def _list(self) -> bool:
        holes = self._inquiry.answer()
        if holes is None:
            return True
        self._list_at = self._clock.monotonic() + EVERY_S
        self._silent = 0
        self._filled = 0
        self._planned.clear()
        oldest = max(self._clock.now() - REACH, self._watch.serves_from or datetime.min.replace(tzinfo=UTC))
        self._forgotten = {minute for minute in self._forgotten if minute >= oldest}
        self._planned.extend(_stretches(hole for hole in holes if hole >= oldest and hole not in self._forgotten))
        return True

    def _advance(self, stretch: _Stretch, until: float) -> bool:
        kind = "minutes" if stretch.is_chosen else "choose"
        if not self._room.fits(kind, until):
            return False
        try:
            if not stretch.is_chosen:
                newest, count = stretch.wanted[0], stretch.count
                stretch.is_chosen = self._room.ask(
                    kind, lambda end: self._history.choose_minutes(newest, count, until=end), until
                )
                if not stretch.is_chosen:
                    self._finish(stretch, ())
                return True
            told = self._room.ask(kind, lambda end: self._history.read_minutes(until=end), until)
        except SkStackError as error:
            logger.debug("minutes up to %s: %s", stretch.wanted[0], error)
            self._failed(stretch)
            return True
        if told and (told[0].registered_at, len(told)) != (stretch.wanted[0], stretch.count):
            self._failed(stretch)  # not what was chosen
        else:
            self._finish(stretch, told or ())
        return True

    def _failed(self, stretch: _Stretch) -> None:
        stretch.is_chosen = False
        stretch.tries_left -= 1
        if stretch.tries_left == 0:
            self._planned.popleft()
            self._silent += 1
        if self._silent >= GIVE_UP_AFTER:
            logger.warning("the meter does not answer when asked for its minutes: it is asked again in an hour")
            self._planned.clear()

    def _finish(self, stretch: _Stretch, told: Iterable[MinuteRegisters]) -> None:
        """Write what the meter remembers; do not ask for the rest again."""
        self._planned.popleft()
        self._silent = 0
        export_too = self._history.measures_export
        rows = {
            each.registered_at: PowerRow(each.registered_at, None, None, None, each.import_kwh, each.export_kwh)
            for each in told
            if each.import_kwh is not None and (each.export_kwh is not None or not export_too)
        }
        filled = tuple(rows[minute] for minute in stretch.wanted if minute in rows)
        self._forgotten.update(minute for minute in stretch.wanted if minute not in rows)
        if filled:
            self._write(Round(filled))
        self._filled += len(filled)
        if not self._planned:
            logger.info("history: %d minutes filled", self._filled)


def _stretches(newest_first: Iterable[datetime]) -> list[_Stretch]:
    """Group minutes so that each group spans at most ten."""
    groups: list[list[datetime]] = []
    for minute in newest_first:
        if groups and groups[-1][0] - minute < MOST_MINUTES * MINUTE:
            groups[-1].append(minute)
        else:
            groups.append([minute])
    return [_Stretch(group) for group in groups]
