"""The meter's clock (97, 98), read once a session: our clock is compared with it, and a difference is recorded."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from poller.clock import TOLERANCE, Clock, span
from poller.idle_tasks.scheduler import Keep, Pause, Subtask, Task, attempt
from skstack import Meter, Session, SessionLostError
from storage.records import RadioEventRow

logger = logging.getLogger(__name__)

MINUTE = timedelta(minutes=1)
ATTEMPTS = 3
RETRY_S = 60.0
LATER_S = 600.0  # after so many attempts without a response: tasks that need the time wait no longer
GIVE_UP_AFTER = 8  # attempts: an hour


def beyond_minute(ahead: timedelta) -> timedelta:
    """Return by how much a clock that shows whole minutes is *ahead* at least; 0 where the minute leaves that open."""
    return max(ahead, timedelta(0)) or min(ahead + MINUTE, timedelta(0))


class MeterClock:
    """The time as the meter has it. Two tasks: follow() takes what it shows, read() reads what it did not."""

    def __init__(self, session: Session, meter: Meter, clock: Clock) -> None:
        self._session = session
        self._meter = meter
        self._clock = clock
        self._looked_at = 0  # the session in which reading it was begun
        self._taken_at: float | None = None  # when what was taken last was read
        self._session_number = 0  # the one in which the clock was shown, or given up
        self._minute_zero: datetime | None = None  # when monotonic() was 0, had the meter been at :00 of its minute
        self._is_said = False

    @property
    def ahead(self) -> timedelta:
        """By how much the meter's clock is ahead of ours (negative: behind), beyond what its minute leaves open."""
        if self._minute_zero is None:
            return timedelta(0)
        return beyond_minute(self._minute_zero - self._clock.zero)

    def now(self) -> datetime:
        """Return the time by the meter's clock, to about a minute, aware UTC."""
        return self._clock.now() + self.ahead

    @property
    def is_settled(self) -> bool:
        """Whether the meter has shown its time in this session, has no clock, or was read often enough."""
        return self._session_number == self._session.number > 0

    def follow(self) -> Task:
        """Take what the meter shows: as a session begins, when it is read, or when its response comes late."""
        while True:
            yield Pause(is_over=self._shows_more)
            if clock := self._meter.shown_clock:
                self._taken_at = clock.read_at
                yield from self._settle(clock.shown, clock.read_at)

    def _shows_more(self) -> bool:
        clock = self._meter.shown_clock
        return clock is not None and clock.read_at != self._taken_at

    def read(self) -> Task:
        """Read the meter's clock where a session began without it."""
        while True:
            yield Pause(is_over=self._has_to_look)
            self._looked_at = self._session.number
            try:
                yield from self._read(self._looked_at)
            except SessionLostError:
                self._looked_at = 0  # read again if the same session goes on

    def _has_to_look(self) -> bool:
        return self._looked_at != self._session.number and self._session.up and self._meter.has_looked_at_clock

    def _read(self, session_number: int) -> Subtask[None]:
        """Read the meter's clock, for an hour at most; follow() takes it. Raises: SessionLostError."""
        for number in range(1, GIVE_UP_AFTER + 1):
            if self._is_over(session_number):
                return
            if self._meter.has_clock:
                yield from attempt(
                    "clock",
                    lambda until: self._meter.read_clock(until=until),
                    timeout_s=self._session.timings.longest_wait_s,
                )
            if not self._meter.has_clock:
                yield from self._settle(None, self._clock.monotonic())
                return
            if number >= ATTEMPTS:
                self._session_number = session_number
            retry_at = self._clock.monotonic() + (RETRY_S if number < ATTEMPTS else LATER_S)
            yield Pause(until=retry_at, is_over=lambda: self._is_over(session_number))

    def _is_over(self, session_number: int) -> bool:
        """Whether the session has ended, or the meter has shown its clock."""
        return session_number != self._session.number or self._meter.shown_clock is not None

    def _settle(self, shown: datetime | None, read_at: float) -> Subtask[None]:
        """Take note of the minute that the meter has *shown* at *read_at* (monotonic); None: it has no clock."""
        self._session_number = self._session.number
        self._clock.compare(shown, read_at)
        self._minute_zero = shown - timedelta(seconds=read_at) if shown else None
        ahead = self.ahead
        if abs(ahead) <= TOLERANCE:
            return
        detail = "the meter's clock is ahead" if ahead > timedelta(0) else "the meter's clock is behind"
        if self._clock.follows_server and not self._is_said:
            self._is_said = True
            logger.warning("%s by %s; this machine follows a time server, and is right", detail, span(abs(ahead)))
        at = self._clock.at(read_at)
        yield Keep([RadioEventRow(at, "clock_difference", abs(ahead).total_seconds(), detail=detail)])
