"""Keeps the link up in slices of time: listens while it is up, climbs the ladder while it is down."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from skstack import commands
from skstack.errors import PortLostError, SkStackError, SkStackTimeoutError
from skstack.events import Line
from skstack.link import Link, Pana, RadioEvent
from skstack.recovery import Climb, Ladder, Rung

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeeperTimings:
    """Seconds. Sources: protocol facts 2.1, 3.2 and 3.5."""

    renewal_timeout_s: float = 60.0  # after EVENT 29 without 24 or 25: join
    limit_check_s: float = 120.0  # register SFB, should EVENT 33 be lost
    transmit_time_every_s: float = 3600.0  # register SFD
    close_timeout_s: float = 4.0  # SKTERM is over with EVENT 27 or 28; a module that hangs costs no more than this


class LinkKeeper:
    """Runs *link* and *ladder*; *on_idle* is called whenever the link is up and no command is under way."""

    def __init__(
        self,
        link: Link,
        ladder: Ladder,
        *,
        on_idle: Callable[[], None],
        on_event: Callable[[RadioEvent], None],
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        should_stop: Callable[[], bool] = lambda: False,
        timings: KeeperTimings | None = None,
    ) -> None:
        self._link = link
        self._ladder = ladder
        self._on_idle = on_idle
        self._on_event = on_event
        self._monotonic = monotonic
        self._sleep = sleep
        self._should_stop = should_stop
        self._timings = timings or KeeperTimings()
        self._climb: Climb | None = None
        self._resume_at = 0.0
        self._transmit_time_at = 0.0
        self._limit_check_at = 0.0

    @property
    def up(self) -> bool:
        """There is a session, and sending is allowed."""
        return self._link.up and self._climb is None

    def run(self, until: float) -> None:
        """Listen, and climb while the link is down, until the monotonic time *until*. Raises nothing of the radio's."""
        while self._monotonic() < until and not self._should_stop():
            self._advance(until)

    def run_until_up(self, until: float) -> bool:
        """As run, but return True as soon as the link is up."""
        while not self.up and self._monotonic() < until and not self._should_stop():
            self._advance(until)
        return self.up

    def listen(self, until: float) -> Line | None:
        """Wait for one line, up to *until*, and take note of it. Raises: PortLostError."""
        wait_s = max(0.0, until - self._monotonic())
        if self._link.module is not None:
            return self._link.next_line(wait_s)
        self._sleep(wait_s)
        return None

    def lose(self, first: Rung, reason: str) -> None:
        """Give the session up for *reason* and start to climb, from the rung *first*, in the next slice."""
        self._ladder.report(f"the link is lost: {reason}")
        if first is Rung.REOPEN:
            self._link.detach(reason)  # a port that is gone must not be listened to: every wait would end at once
        else:
            self._link.doubt(reason)
        self._on_event(RadioEvent("port_lost" if first is Rung.REOPEN else "lost", detail=reason))
        self._start_climb(first)

    def close(self) -> None:
        """End the PANA session, so that the meter is free for the next one, and close the port. Raises nothing."""
        link = self._link
        self._climb = None
        deadline = self._monotonic() + self._timings.close_timeout_s
        try:
            if link.module is not None and (link.pana is not Pana.CLOSED or link.believed_open):
                link.command(lambda _: commands.terminate(), timeout_s=self._timings.close_timeout_s / 2)
                self._listen_until_closed(deadline)
        except SkStackError as error:  # ER10: there was no session any more
            logger.debug("ending the session: %s", error)
        finally:
            link.detach("closed")

    def _listen_until_closed(self, deadline: float) -> None:
        while self._link.pana is not Pana.CLOSED and self._monotonic() < deadline:
            self.listen(deadline)

    def _advance(self, until: float) -> None:
        """Wait for one line or one deadline, not longer than *until*, and act on it."""
        try:
            if self._climb is not None:
                self._continue_climb(self._climb, until)
            elif self._link.pana is Pana.CLOSED:
                if self._link.sessions:
                    self.lose(Rung.REJOIN, self._link.ending)
                else:
                    self._start_climb(Rung.REOPEN)
            else:
                self._rest(until)
        except PortLostError as error:
            self.lose(Rung.REOPEN, str(error))
        except SkStackError as error:
            self.lose(Rung.RESET, str(error))

    def _rest(self, until: float) -> None:
        """Listen while the link is up, or will be by itself."""
        link = self._link
        if link.up:
            self._on_idle()
            if self._monotonic() >= self._transmit_time_at:
                self._report_transmit_time()
            self.listen(min(until, self._transmit_time_at))
        elif link.limited_since is not None:
            self._limit_check_at = max(self._limit_check_at, link.limited_since + self._timings.limit_check_s)
            self.listen(min(until, self._limit_check_at))
            if self._monotonic() >= self._limit_check_at and link.limited_since is not None:
                self._limit_check_at = self._monotonic() + self._timings.limit_check_s
                link.check_limit()
        else:  # EVENT 29: the module renews the session by itself
            deadline = link.expired_at + self._timings.renewal_timeout_s
            self.listen(min(until, deadline))
            if link.pana is Pana.EXPIRED and self._monotonic() >= deadline:
                self.lose(
                    Rung.REJOIN, f"the module has not renewed its session in {self._timings.renewal_timeout_s:.0f} s"
                )

    def _report_transmit_time(self) -> None:
        """Record how long the radio has sent since the module started. Source: command reference, register SFD (ms)."""
        self._transmit_time_at = self._monotonic() + self._timings.transmit_time_every_s
        try:
            sent_s = int(self._link.read_register("SFD") or "", 16) / 1000
        except (SkStackTimeoutError, ValueError) as error:  # a lost line is no lost link; or there is no such register
            logger.debug("no transmit time: %s", error)
            return
        self._on_event(RadioEvent("transmit_time", sent_s))

    def _start_climb(self, first: Rung) -> None:
        self._climb = self._ladder.climb(first)
        self._resume_at = self._monotonic()
        self._transmit_time_at = self._resume_at + self._timings.transmit_time_every_s

    def _continue_climb(self, climb: Climb, until: float) -> None:
        """Give the climb the line it waits for, or the end of its patience, or the loss of its port."""
        try:
            try:
                waiting = self._monotonic() < self._resume_at
                line = self.listen(min(until, self._resume_at)) if waiting else None
            except PortLostError as error:
                self._resume_at = climb.throw(error)
            else:
                if line is not None or self._monotonic() >= self._resume_at:
                    self._resume_at = climb.send(line)
        except StopIteration:
            self._climb = None
