"""The meter's clock (97, 98), looked at once a session: the clock is told, and where the two differ it is recorded."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from poller.clock import TOLERANCE, Clock, span
from poller.room import Room
from skstack import Meter, Session, SkStackError
from storage.records import RadioEventRow, Row

logger = logging.getLogger(__name__)

MINUTE = timedelta(minutes=1)
TRIES = 3
RETRY_S = 60.0
LATER_S = 600.0  # after so many tries without an answer: others need not wait any longer
GIVE_UP_AFTER = 8  # tries: an hour


class MeterClock:
    """Tells the time as the meter has it."""

    def __init__(self, session: Session, meter: Meter, *, clock: Clock, room: Room) -> None:
        self._session = session
        self._meter = meter
        self._clock = clock
        self._room = room
        self._session_number = 0  # the one in which we last looked
        self._tries = 0
        self._not_before = float("inf")  # that is, it has answered, or is given up
        self._minute_zero: datetime | None = None  # when monotonic() was 0, had the meter been at :00 of its minute
        self._is_said = False
        self._rows: list[Row] = []

    @property
    def ahead(self) -> timedelta:
        """By how much the meter's clock is ahead of ours (negative: behind), beyond what its minute leaves open."""
        if self._minute_zero is None:
            return timedelta(0)
        ahead = self._minute_zero - self._clock.zero
        return max(ahead, timedelta(0)) or min(ahead + MINUTE, timedelta(0))

    def now(self) -> datetime:
        """Return the time by the meter's clock, to about a minute, aware UTC."""
        return self._clock.now() + self.ahead

    @property
    def is_settled(self) -> bool:
        """Whether the meter has told its time in this session, has no clock, or was asked often enough."""
        has_looked = self._session_number == self._session.number
        return has_looked and (self._tries >= TRIES or self._not_before == float("inf"))

    def due_at(self) -> float:
        """Return when the meter's clock is to be read (monotonic seconds)."""
        if not self._session.up or not self._meter.is_known:
            return float("inf")
        self._take_shown()
        return max(self._not_before, self._clock.monotonic())

    def act(self, until: float) -> bool:
        """Read the meter's clock if there is room before *until*; False: there is none."""
        if not self._room.fits("clock", until):
            return False
        self._tries += 1
        try:
            shown = self._room.ask("clock", lambda deadline: self._meter.read_clock(until=deadline), until)
        except SkStackError as error:
            logger.debug("the meter's clock was not read: %s", error)
            pause_s = RETRY_S if self._tries < TRIES else LATER_S
            self._not_before = float("inf") if self._tries >= GIVE_UP_AFTER else self._clock.monotonic() + pause_s
        else:
            self._settle(shown, self._clock.monotonic())
        return True

    def rows(self) -> list[Row]:
        """Return the rows gathered since the last call."""
        self._take_shown()  # before the first round of a session is stored: by then it must be known how it is dated
        rows, self._rows = self._rows, []
        return rows

    def _take_shown(self) -> None:
        """Take what the meter told as the session began; where it did not, it is to be asked."""
        if self._session_number == self._session.number or not self._meter.is_known:
            return
        self._session_number = self._session.number
        self._tries = 0
        told = self._meter.shown_clock
        if told is not None:
            self._settle(told.shown, told.read_at)
        elif self._meter.has_clock:
            self._not_before = float("-inf")
        else:
            self._settle(None, self._clock.monotonic())

    def _settle(self, shown: datetime | None, read_at: float) -> None:
        """Take note of the minute that the meter has *shown* at *read_at* (monotonic); None: it has no clock."""
        self._not_before = float("inf")
        self._clock.compare(shown, read_at)
        self._minute_zero = shown - timedelta(seconds=read_at) if shown else None
        ahead = self.ahead
        if abs(ahead) <= TOLERANCE:
            return
        detail = "the meter's clock is ahead" if ahead > timedelta(0) else "the meter's clock is behind"
        self._rows.append(
            RadioEventRow(self._clock.at(read_at), "clock_difference", abs(ahead).total_seconds(), detail=detail)
        )
        if self._clock.follows_server and not self._is_said:
            self._is_said = True
            logger.warning("%s by %s; this machine follows a time server, and is right", detail, span(abs(ahead)))
