"""The link's life in one place: recover, stay up, recover ... Here it is decided what to do about a link that is down.

| step   | what it does                                                    | what leads to the next one           |
| ------ | --------------------------------------------------------------- | ------------------------------------ |
| REJOIN | SKREJOIN while the module may still have a session, else SKJOIN | EVENT 24, no EVENT 25 in time        |
| RESCAN | scans with rising duration; nothing heard: takes the last PAN   | nothing found and no PAN known; 24   |
| RESET  | SKRESET, credentials, joins (scans first if no PAN is known)    | no response, nothing found, EVENT 24 |
| REOPEN | closes and opens the port, then as RESET; every start is this   | the device is missing, silent ...    |

The first attempt of a step comes at once; each later one waits twice as long as the one before, until the meter has
responded to a request. A PAN is never forgotten: the last one that worked is kept until another one has worked.
A life is a generator (see driver.Waiting), into which errors are thrown, too. So it reads as one story, and yet the
caller keeps its ticks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from functools import partial
from typing import TypeVar

from backoff import Backoff
from skstack.driver import Module, Waiting
from skstack.errors import (
    CommandFailedError,
    MeterNotFoundError,
    MeterSilentError,
    ModuleNotRespondingError,
    ModuleUnsupportedError,
    PortLostError,
    SessionLostError,
    SkStackError,
    SkStackTimeoutError,
    StoppedError,
)
from skstack.events import HANDSHAKES, Line, Pana, PanDescription
from skstack.link import Link
from skstack.module import Credentials, StackOpener, open_module, reset
from skstack.pan_cache import PanCache
from skstack.scan import Search
from skstack.timings import RecoveryTimings

logger = logging.getLogger(__name__)

_SentT = TypeVar("_SentT")

_MOST_REASONS = 100  # remembered, so that each is logged once
_MANY_REFUSALS = 4  # a weak radio and a meter that is restarting refuse once or twice, too
_LISTEN_S = 3600.0


class _Step(IntEnum):
    """The steps of a recovery, the cheapest first."""

    REJOIN = 0
    RESCAN = 1
    RESET = 2
    REOPEN = 3


class _Pauses:
    """How long to rest before each step, and before another handshake with a meter that stays silent."""

    def __init__(self, timings: RecoveryTimings) -> None:
        self._timings = timings
        self._backoffs: dict[_Step, Backoff] = {}
        self._silence = Backoff(timings.silent_pause_s, timings.longest_silent_pause_s)
        self.silence_bearable_until = float("-inf")

    def before(self, step: _Step) -> float:
        """Return how long to rest before this attempt of *step*, and lengthen the next rest."""
        if step in self._backoffs:
            return self._backoffs[step].failed()
        timings = self._timings
        longest_s = timings.longest_reopen_pause_s if step is _Step.REOPEN else timings.longest_pause_s
        self._backoffs[step] = Backoff(timings.first_pause_s, longest_s)
        return 0.0

    def bear_silence(self, now: float) -> None:
        """Note that a handshake with a silent meter begins *now*: the next one is to come later."""
        self.silence_bearable_until = now + self._silence.failed()


class Recovery:
    """Brings *link* up, and up again. Never gives up; reports each reason once.

    *wake_at*: the monotonic time until which it is willing to wait for a line.
    """

    def __init__(
        self,
        link: Link,
        open_stack: StackOpener,
        credentials: Credentials,
        *,
        cache: PanCache | None,
        monotonic: Callable[[], float],
        timings: RecoveryTimings,
        baud_rates: Sequence[int],
    ) -> None:
        self._link = link
        self._credentials = credentials
        self._open_module = partial(open_module, baud_rates, open_stack, credentials)
        self._search = Search(link, credentials, cache=cache, monotonic=monotonic, log=self._report_once)
        self._monotonic = monotonic
        self._timings = timings
        self._pauses = _Pauses(timings)  # since the meter responded last
        self._responses = link.responses  # when they began
        self._check_limit_at = 0.0
        self._reported: dict[str, int] = {}
        self._has_said = False  # since the meter was joined last
        self._life: Waiting[None] | None = None
        self.wake_at = float("-inf")

    # --- how its life goes on

    def go_on(self, line: Line | None) -> None:
        """Begin the life of the link, or let it go on with the *line* that came; None: *wake_at* has come.

        Raises: StoppedError; nothing else of the radio's.
        """
        if self._life is None:
            self._begin_life()
        else:
            self._resume(self._life.send, line)

    def fail(self, error: SkStackError) -> None:
        """Report what went wrong; what follows is decided here. Raises: StoppedError."""
        life = self._life or self._begin_life()
        self._resume(life.throw, error)

    def end_life(self) -> None:
        """Do nothing more for the link; go_on() begins anew."""
        if self._life is not None:
            self._life.close()
        self._life, self.wake_at = None, float("-inf")

    def _begin_life(self) -> Waiting[None]:
        self._life = life = self._live()
        self._resume(life.send, None)
        return life

    def _resume(self, step: Callable[[_SentT], float], sent: _SentT) -> None:
        try:
            self.wake_at = step(sent)
        except BaseException:  # also a fault of our own: a generator that raised is exhausted for good
            self.end_life()  # the next one takes the link as it is
            raise

    def _live(self) -> Waiting[None]:
        """Recover the link, keep it up, and again.

        A fault of the program ends a life: the next one takes the link as it is, and rests as after any failure.
        """
        link = self._link
        step = _Step.REJOIN if link.module is not None else _Step.REOPEN
        rests = True
        while True:
            if not link.joined:
                yield from self._recover(step, rests=rests)
            joined_at = self._monotonic()
            try:
                yield from self._stay_up()
            except StoppedError:
                raise
            except SkStackError as error:
                if link.responses != self._responses:  # a meter that has responded has proved itself
                    self._pauses, self._responses = _Pauses(self._timings), link.responses
                    if self._monotonic() - joined_at >= self._timings.well_s:
                        self._reported.clear()
                rests = not isinstance(error, MeterSilentError)  # the meter completes handshakes: polls go on meanwhile
                if not rests:
                    self._pauses.bear_silence(self._monotonic())
                step = self._after_loss(error)

    # --- down

    def _recover(self, step: _Step, *, rests: bool) -> Waiting[None]:
        """Take one step after the other, from *step* on, until there is a session; *rests*: also before the first."""
        began = self._monotonic()
        while not self._link.joined:
            try:
                yield from self._until_joined(self._rest(self._pauses.before(step) if rests else 0.0))
                rests = True
                if not self._link.joined:
                    _, attempt = _STEPS[step]
                    yield from self._until_joined(attempt(self))
            except StoppedError:
                raise
            except SkStackError as error:
                step = self._after_failure(step, error)
        self._note_joined(step, began)

    def _until_joined(self, steps: Waiting[None]) -> Waiting[None]:
        """Pass *steps* on, but only until there is a session: the module may come back by itself."""
        try:
            until = next(steps)
            while True:
                try:
                    line = yield until
                except PortLostError as error:
                    until = steps.throw(error)
                else:
                    if self._link.joined:
                        return
                    until = steps.send(line)
        except StopIteration:
            return

    def _rest(self, seconds: float) -> Waiting[None]:
        until = self._monotonic() + seconds
        yield until
        while self._monotonic() < until:
            yield until

    def _rejoin(self) -> Waiting[None]:
        link = self._link
        link.check_restart()
        if link.peer is None:
            raise MeterNotFoundError("no PAN is known")
        if link.pana is Pana.SUSPECT:
            try:
                yield from self._authenticate(link.peer, again=True)
            except (CommandFailedError, SessionLostError) as error:  # ER10: the module knows of no session
                logger.debug("SKREJOIN: %s", error)
        yield from self._authenticate(link.peer)

    def _rescan(self) -> Waiting[None]:
        self._link.check_restart()
        yield from self._search.find()
        yield from self._join()

    def _reset(self) -> Waiting[None]:
        self._attach(reset(self._link.attached, self._credentials))
        self._link.record("reset")
        yield from self._join()

    def _reopen(self) -> Waiting[None]:
        link = self._link
        link.detach()
        self._attach((yield from self._open_module()))
        if link.peer is None:
            self._search.recall()
        yield from self._join()

    def _attach(self, module: Module) -> None:
        self._link.attach(module)
        dialect = self._link.attached.dialect.name.lower()
        self._report_once(f"module ready: firmware {module.firmware or 'unknown'}, {dialect} dialect")

    def _join(self) -> Waiting[None]:
        """Join the PAN that is known; find one first where there is none."""
        if self._link.peer is None:
            yield from self._search.find()
        if (peer := self._link.peer) is not None:
            yield from self._authenticate(peer)

    def _authenticate(self, peer: PanDescription, *, again: bool = False) -> Waiting[None]:
        """Join or rejoin *peer*. Raises: SessionLostError: refused, or nothing in time. Else as Link.execute."""
        link = self._link
        while (until := self._limit_holds_until()) is not None:
            yield until
        yield from self._catch_up()  # an EVENT 25 from before does not end the handshake that follows
        try:
            if not again:
                link.set_pan(peer)
            try:
                link.authenticate(peer, again=again)
            except SkStackTimeoutError:
                yield from self._catch_up()
                if link.pana in HANDSHAKES:  # else EVENT 24 or 25 has come: SKJOIN or SKREJOIN lost its OK alone
                    raise
            deadline = link.state_since + self._timings.join_timeout_s
            while link.pana in HANDSHAKES:
                if self._monotonic() >= deadline:
                    raise SessionLostError(f"the meter did not respond within {self._timings.join_timeout_s:.0f} s")
                yield deadline
        except SkStackError as error:
            link.give_up(error)
            raise
        self._search.note_refusal(peer)
        raise link.failure

    def _catch_up(self) -> Waiting[None]:
        """Process every line that has already arrived."""
        for _ in range(self._link.collect()):  # no more than that: a device may talk without end
            yield self._monotonic()

    def _limit_holds_until(self) -> float | None:
        """While the module is over its hourly limit, query it now and then in case EVENT 33 was lost.

        Return when to look again; None: nothing limits it.
        """
        if (since := self._link.limited_since) is None:
            return None
        self._check_limit_at = max(self._check_limit_at, since + self._timings.limit_check_s)
        if self._monotonic() >= self._check_limit_at:
            self._check_limit_at = self._monotonic() + self._timings.limit_check_s
            self._link.check_limit()
        return self._check_limit_at if self._link.limited_since is not None else None

    def _after_failure(self, step: _Step, error: SkStackError) -> _Step:
        """Say which step an *error* in *step* leads to."""
        if isinstance(error, PortLostError):
            self._link.detach(error)  # or every wait on it would end at once
        else:
            self._link.give_up(error)
        name, _ = _STEPS[step]
        self._report_once(f"{name} failed: {error}", logging.WARNING)
        if self._search.refusals == _MANY_REFUSALS and not self._link.sessions:
            self._report_once(
                "the meter was heard but opens no session: check the Route-B ID and the password", logging.ERROR
            )
        if isinstance(error, PortLostError | ModuleNotRespondingError | ModuleUnsupportedError):
            return _Step.REOPEN
        if isinstance(error, SessionLostError | MeterNotFoundError):
            return _Step(step + 1) if step < _Step.REOPEN else _Step.RESCAN
        return _Step.RESET if step < _Step.RESET else _Step.REOPEN  # restarted, silent, or refusing commands

    # --- up

    def _note_joined(self, step: _Step, began: float) -> None:
        link = self._link
        if link.sessions > 1:  # the first of a run brings nothing back
            link.record("recovered", self._monotonic() - began, detail=step.name.lower())
        if (peer := link.peer) is not None:
            level = logging.INFO if self._has_said or self._search.proven is None else logging.DEBUG
            logger.log(level, "joined the meter on channel 0x%02X", peer.channel)
            self._has_said = False
            self._search.note_joined(peer)

    def _stay_up(self) -> Waiting[None]:
        """Listen while there is a session, or the module renews it by itself. Raises: SkStackError: what ended that."""
        link = self._link
        while True:
            now = self._monotonic()
            until = self._limit_holds_until() or now + _LISTEN_S
            if link.pana is Pana.EXPIRED:  # EVENT 29: the module renews the session by itself
                until = min(until, link.state_since + self._timings.renewal_timeout_s)
                if now >= until:
                    raise SessionLostError(
                        f"the module has not renewed its session in {self._timings.renewal_timeout_s:.0f} s"
                    )
            elif not link.joined:
                raise link.failure
            try:
                yield until
            except MeterSilentError:
                if self._monotonic() >= self._pauses.silence_bearable_until:
                    raise

    def _after_loss(self, error: SkStackError) -> _Step:
        """Give up a link that was up, and say with which step its recovery begins."""
        self._report_once(f"the link is lost: {error}", logging.WARNING)
        if isinstance(error, PortLostError):
            self._link.detach(error)  # a port that is gone must not be listened to: every wait would end at once
            return _Step.REOPEN
        if isinstance(error, MeterSilentError):
            self._link.suspect(error)
            return _Step.REJOIN
        if isinstance(error, SessionLostError) or (isinstance(error, CommandFailedError) and error.code == "ER10"):
            self._link.give_up(error)
            return _Step.REJOIN
        self._link.suspect(error)  # silent, or refusing commands: the module and we are out of step
        return _Step.RESET

    # --- what is logged

    def _report_once(self, reason: str, level: int = logging.INFO) -> None:
        """Log each reason once until the link has done well for a while, and count its repetitions."""
        if len(self._reported) > _MOST_REASONS:
            self._reported.clear()
        self._reported[reason] = self._reported.get(reason, 0) + 1
        if self._reported[reason] == 1:
            self._has_said = True
            logger.log(level, "%s", reason)
        else:
            logger.debug("%s (%d times)", reason, self._reported[reason])


_STEPS: Mapping[_Step, tuple[str, Callable[[Recovery], Waiting[None]]]] = {
    _Step.REJOIN: ("joining again", Recovery._rejoin),
    _Step.RESCAN: ("scanning and joining", Recovery._rescan),
    _Step.RESET: ("resetting the module and joining", Recovery._reset),
    _Step.REOPEN: ("opening the module and joining", Recovery._reopen),
}
