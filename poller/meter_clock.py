"""The meter's clock (97, 98) beside the machine's: how far they are apart, looked at in each session."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from poller.clock import TimeSource
from poller.room import Room
from skstack.errors import SkStackError
from skstack.meter import Meter
from skstack.session import Session
from storage.records import RadioEventRow, Row

logger = logging.getLogger(__name__)

MINUTE = timedelta(minutes=1)
WORTH_A_WARNING = timedelta(minutes=5)  # half-hour rows and polls are then visibly out of step
TRIES = 3
RETRY_S = 60.0
LATER_S = 600.0  # after so many tries without an answer: others need not wait any longer
GIVE_UP_S = 3600.0  # since the first of them
_COMPARE_EVERY_S = 86_400.0
_STEP_S = 60.0  # a jump of the machine's clock that calls for another look


class MeterClock:
    """Tells the time as the meter has it.

    *on_compared* is told by how much the meter is ahead (negative: behind); None: the clocks cannot be compared, since
    the meter has no clock, or has not told its time for an hour.
    """

    def __init__(
        self,
        session: Session,
        meter: Meter,
        *,
        clock: TimeSource,
        room: Room,
        on_compared: Callable[[timedelta | None], None] = lambda _ahead: None,
    ) -> None:
        self._session = session
        self._meter = meter
        self._clock = clock
        self._room = room
        self._on_compared = on_compared
        self.ahead = timedelta(0)
        """By how much the meter's clock is ahead of ours; negative: behind; zero: the same to the minute."""
        self._session_number = 0  # the one in which we last tried
        self._tries_left = 0
        self._is_asked_later = False  # the tries are used up, and the answer is still wanted
        self._silent_since = float("inf")  # the first try without an answer; -inf: long ago, and given up
        self._not_before = float("-inf")
        self._compared_at = float("-inf")
        self._step_from_s = 0.0  # the machine's clock less its monotonic one, when compared
        self._rows: list[Row] = []

    def now(self) -> datetime:
        """Return the time by the meter's clock, to about a minute, aware UTC."""
        return self._clock.now() + self.ahead

    @property
    def is_settled(self) -> bool:
        """Whether the clocks were compared in this session, or cannot be."""
        return self._session_number == self._session.link.sessions and not self._tries_left

    def due_at(self) -> float:
        """Return when the meter's clock is to be read (monotonic seconds)."""
        if not self._session.up or not self._meter.is_identified:
            return float("inf")
        self._take_shown()
        if self._session_number != self._session.link.sessions or self._is_stale():
            self._session_number = self._session.link.sessions
            self._tries_left = TRIES
            self._not_before = float("-inf")
        is_wanted = self._tries_left or self._is_asked_later
        return max(self._not_before, self._clock.monotonic()) if is_wanted else float("inf")

    def act(self, until: float) -> bool:
        """Read the meter's clock if there is room before *until*; False: there is none."""
        if not self._room.fits("clock", until):
            return False
        self._tries_left = max(0, self._tries_left - 1)
        self._compared_at = self._clock.monotonic()
        self._step_from_s = self._offset_s()
        try:
            shown = self._room.ask("clock", lambda deadline: self._meter.read_clock(until=deadline), until)
        except SkStackError as error:
            logger.debug("the meter's clock was not read: %s", error)
            self._unanswered()
            return True
        self._settle(shown, self._clock.now())
        return True

    def rows(self) -> list[Row]:
        """Return the rows gathered since the last call."""
        self._take_shown()  # before the first round of a session is stored: by then it must be known how it is dated
        rows, self._rows = self._rows, []
        return rows

    def _take_shown(self) -> None:
        """Compare the clocks by what the meter told when the session began."""
        if self._session_number == self._session.link.sessions or not self._meter.is_identified:
            return
        told = self._meter.shown_clock
        if told is None and self._meter.has_clock:
            return  # it did not answer that: to be asked
        self._session_number = self._session.link.sessions
        age = timedelta(seconds=self._clock.monotonic() - told.read_at if told else 0.0)
        self._compared_at = self._clock.monotonic()
        self._step_from_s = self._offset_s()
        self._settle(told.shown if told else None, self._clock.now() - age)

    def _settle(self, shown: datetime | None, now: datetime) -> None:
        """Take note of what the meter has *shown* when it was *now* by our clock; None: it has no clock."""
        self._tries_left = 0
        self._is_asked_later = False
        self._silent_since = float("inf")
        if shown is None:
            self._on_compared(None)
        else:
            self._compare(shown, now)

    def _unanswered(self) -> None:
        """Ask again: soon, then later, and after an hour no more in this session."""
        now = self._clock.monotonic()
        self._silent_since = min(self._silent_since, now)
        if self._tries_left:
            self._not_before = now + RETRY_S
            return
        self._not_before = now + LATER_S
        self._is_asked_later = now < self._silent_since + GIVE_UP_S
        if self._is_asked_later:
            return
        if self._silent_since > float("-inf"):
            self._silent_since = float("-inf")
            logger.warning("the meter has not told its time for an hour: the machine's clock is not compared with it")
        self._on_compared(None)

    def _compare(self, shown: datetime, now: datetime) -> None:
        """Take note of the difference to the minute that the meter *shown* has; within that minute there is none."""
        self.ahead = timedelta(0)
        if now < shown:
            self.ahead = shown - now
        elif now >= shown + MINUTE:
            self.ahead = shown + MINUTE - now
        seconds = self.ahead.total_seconds()
        detail = "the meter's clock is " + ("ahead" if seconds > 0 else "behind" if seconds < 0 else "the same")
        level = logging.WARNING if abs(self.ahead) >= WORTH_A_WARNING else logging.DEBUG
        logger.log(level, "%s by %.0f s", detail, abs(seconds))
        self._rows.append(RadioEventRow(now, "clock_difference", abs(seconds), detail=detail))
        self._on_compared(self.ahead)

    def _is_stale(self) -> bool:
        """Whether the machine's clock was set since it was compared, or that was a day ago."""
        if self._tries_left:
            return False
        too_old = self._clock.monotonic() >= self._compared_at + _COMPARE_EVERY_S
        return too_old or abs(self._offset_s() - self._step_from_s) > _STEP_S

    def _offset_s(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()
