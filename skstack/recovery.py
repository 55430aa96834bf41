"""The ladder back to a session, in one place: rejoin -> rescan -> reset -> reopen, and round again.

| rung   | what it does                                                  | what leads to the next one             |
| ------ | ------------------------------------------------------------- | -------------------------------------- |
| REJOIN | SKREJOIN while the module believes in a session, else SKJOIN  | EVENT 24, no EVENT 25 in time          |
| RESCAN | forgets the PAN, scans with rising duration, joins            | nothing found, EVENT 24                |
| RESET  | SKRESET, credentials, joins (scans first if no PAN is known)  | no answer, nothing found, EVENT 24     |
| REOPEN | closes and opens the port, then as RESET; every start is this | the device is missing, silent ...      |

A rung's first try comes at once; from the second on it waits, twice as long each time, until a reading is stored.
The climb is a generator: it yields the monotonic time it is willing to wait until and is sent the line that came, or
None. So it reads as one story, and yet the caller keeps its ticks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import IntEnum

from skstack import commands
from skstack.errors import (
    CommandFailedError,
    MeterNotFoundError,
    PortLostError,
    SessionLostError,
    SkStackError,
    SkStackTimeoutError,
)
from skstack.events import EventCode, Line, PanDescription
from skstack.link import Link, Pana, RadioEvent
from skstack.module import (
    BAUD_RATES,
    Credentials,
    ModuleNotAnsweringError,
    ModuleUnsupportedError,
    open_at,
    set_up,
    wake,
)
from skstack.pan_cache import PanCache, cache_key
from skstack.port import PortOpener
from skstack.scan import scan

logger = logging.getLogger(__name__)

Climb = Generator[float, Line | None, None]

_MOST_DOUBLINGS = 10  # of a pause; a stick that is away for days must not overflow a float
_MOST_REASONS = 100  # remembered, so that each is logged once


class Rung(IntEnum):
    """The steps of the ladder, the cheapest first."""

    REJOIN = 0
    RESCAN = 1
    RESET = 2
    REOPEN = 3


@dataclass(frozen=True, slots=True)
class LadderTimings:
    """How long each step may take, and how long to rest between two tries, in seconds."""

    join_timeout_s: float = 60.0  # 38 to 40 s is the worst estimate; protocol facts 3.2
    limit_check_s: float = 120.0  # how often SFB is read while EVENT 32 holds us, should EVENT 33 be lost
    first_pause_s: float = 10.0  # doubled with each try of a rung that did not lead to a reading
    longest_pause_s: float = 120.0
    longest_reopen_pause_s: float = 30.0  # looking for a missing device disturbs nobody


class Ladder:
    """Brings *link* up again. Never gives up; reports each reason once."""

    def __init__(
        self,
        link: Link,
        open_port: PortOpener,
        credentials: Credentials,
        *,
        cache: PanCache,
        on_event: Callable[[RadioEvent], None],
        monotonic: Callable[[], float] = time.monotonic,
        timings: LadderTimings | None = None,
    ) -> None:
        self._link = link
        self._open_port = open_port
        self._credentials = credentials
        self._cache = cache
        self._on_event = on_event
        self._monotonic = monotonic
        self._timings = timings or LadderTimings()
        self._last_channel: int | None = None
        self._last_rung: Rung | None = None
        self._refusals = 0
        self._tries = dict.fromkeys(Rung, 0)
        self._reported: dict[str, int] = {}
        self.last_error: SkStackError | None = None

    def reading_stored(self) -> None:
        """Start from the bottom, without pauses, the next time: the link has proved itself."""
        self._last_rung = None
        self._tries = dict.fromkeys(Rung, 0)
        self._reported.clear()
        self._refusals = 0
        self.last_error = None

    def climb(self, first: Rung) -> Climb:
        """Climb until the link is up, from *first* or from where the last climb ended without a reading."""
        rung = first if self._last_rung is None else max(first, _after(self._last_rung))
        started = self._monotonic()
        while True:
            try:
                yield from self._pause(rung)
                if not self._link.joined:  # else the module has come back by itself
                    self._tries[rung] += 1
                    self._last_rung = rung
                    yield from self._attempt(rung)
            except SkStackError as error:
                if isinstance(error, PortLostError):
                    self._link.detach(str(error))  # or every wait on it would end at once
                self._report(rung, error)
                rung = self._next_rung(rung, error)
            else:
                self._on_event(RadioEvent("recovered", self._monotonic() - started, detail=rung.name.lower()))
                return

    def _attempt(self, rung: Rung) -> Climb:
        match rung:
            case Rung.REJOIN:
                yield from self._rejoin()
            case Rung.RESCAN:
                yield from self._rescan()
            case Rung.RESET:
                yield from self._reset()
            case Rung.REOPEN:
                yield from self._reopen()

    def _rejoin(self) -> Climb:
        link = self._link
        self._check_memory()
        if link.peer is None:
            raise MeterNotFoundError("no PAN is known")
        if link.believed_open:
            try:
                yield from self._authenticate(link.peer, commands.rejoin())
            except (CommandFailedError, SessionLostError) as error:  # ER10: the module knows of no session
                logger.debug("SKREJOIN: %s", error)
            else:
                return
        yield from self._join(link.peer)

    def _rescan(self) -> Climb:
        self._check_memory()
        self._link.peer = None
        self._cache.drop(self._key())
        yield from self._find_and_join()

    def _check_memory(self) -> None:
        """Raise an error that leads to RESET if the module has restarted: it has no credentials any more."""
        if self._link.has_forgotten():
            raise _ModuleRestartedError("the module has restarted")

    def _reset(self) -> Climb:
        module = self._link.module
        if module is None:
            raise PortLostError("the port is closed")
        started = self._monotonic()
        if not wake(module.stack):
            raise SkStackTimeoutError("answer to SKVER", self._monotonic() - started)
        self._link.attach(set_up(module.stack, self._credentials, baud_rate=module.baud_rate))
        self._on_event(RadioEvent("reset"))
        yield from self._find_and_join()

    def _reopen(self) -> Climb:
        self._link.detach("the port is closed")
        for baud_rate in BAUD_RATES:
            module = open_at(baud_rate, self._open_port, self._credentials, monotonic=self._monotonic)
            if module is not None:
                break
            yield self._monotonic()  # each rate takes seconds: let the caller look at the clock
        else:
            raise ModuleNotAnsweringError("the module answers at no baud rate: is this device the Wi-SUN module?")
        self._link.attach(module)
        if self._link.peer is None:
            self._link.peer = self._cache.load(self._key())
        yield from self._find_and_join()

    def _find_and_join(self) -> Climb:
        link = self._link
        if link.peer is None:
            started = self._monotonic()
            link.peer = yield from scan(link, self._credentials.pairing_id, last_channel=self._last_channel)
            self._on_event(_event("scan", self._monotonic() - started, link.peer))
        yield from self._join(link.peer)

    def _join(self, peer: PanDescription) -> Climb:
        """Tune to *peer* and begin a session. Raises: as _authenticate."""
        link = self._link
        link.command(lambda _: commands.write_register("S2", f"{peer.channel:02X}"))
        link.command(lambda _: commands.write_register("S3", f"{peer.pan_id:04X}"))
        yield from self._authenticate(peer, commands.join(peer.address))

    def _authenticate(self, peer: PanDescription, command: commands.Command) -> Climb:
        """Join or rejoin *peer*. Raises: SessionLostError: refused, or nothing in time. Else as Link.command."""
        link = self._link
        yield from self._wait_for_limit()
        link.catch_up()  # an EVENT 25 from before is not an answer to what follows
        link.pana = Pana.JOINING
        started = self._monotonic()
        try:
            try:
                link.command(lambda _: command)
            except SkStackTimeoutError:
                link.catch_up()
                if link.pana is Pana.JOINING:  # else EVENT 24 or 25 has come, and only the OK was lost
                    raise
            while link.pana is Pana.JOINING:
                if self._monotonic() - started >= self._timings.join_timeout_s:
                    raise SessionLostError(f"the meter did not answer within {self._timings.join_timeout_s:.0f} s")
                yield started + self._timings.join_timeout_s
            if link.pana is not Pana.OPEN:
                raise SessionLostError(link.ending, EventCode.PANA_FAILED)
        except SkStackError as error:
            link.give_up(str(error))
            self._on_event(_event("join_failed", self._monotonic() - started, peer, str(error)))
            raise
        duration_s = self._monotonic() - started
        self._last_channel = peer.channel
        self._cache.save(self._key(), peer)
        logger.info("joined the meter on channel 0x%02X after %.1f s", peer.channel, duration_s)
        self._on_event(_event("join", duration_s, peer))

    def _wait_for_limit(self) -> Climb:
        """Stay silent while the module is over its hourly limit; ask it now and then, should EVENT 33 be lost."""
        while self._link.limited_since is not None:
            yield self._monotonic() + self._timings.limit_check_s
            if self._link.limited_since is not None:
                self._link.check_limit()

    def _pause(self, rung: Rung) -> Climb:
        """Wait before another try of *rung*; end early when the module comes back by itself."""
        tries = self._tries[rung]
        if not tries:
            return
        longest_s = self._timings.longest_reopen_pause_s if rung is Rung.REOPEN else self._timings.longest_pause_s
        doublings = min(tries - 1, _MOST_DOUBLINGS)
        until = self._monotonic() + min(longest_s, self._timings.first_pause_s * 2.0**doublings)
        while self._monotonic() < until and not self._link.joined:
            yield until

    def _next_rung(self, rung: Rung, error: SkStackError) -> Rung:
        """Say which rung an *error* on *rung* leads to."""
        if isinstance(error, PortLostError | ModuleNotAnsweringError | ModuleUnsupportedError):
            return Rung.REOPEN
        if isinstance(error, SessionLostError | MeterNotFoundError):
            return _after(rung)
        return Rung.RESET if rung < Rung.RESET else Rung.REOPEN  # restarted, silent, or refusing commands

    def _report(self, rung: Rung, error: SkStackError) -> None:
        self.last_error = error
        self.report(f"{_NAMES[rung]} failed: {error}")
        refused = isinstance(error, SessionLostError) and error.event_code == EventCode.PANA_FAILED
        self._refusals += refused
        if refused and self._refusals == 2 and self._link.peer is not None:
            logger.error("the meter was heard but opens no session: check the Route-B ID and the password")

    def report(self, reason: str) -> None:
        """Log each reason once until a reading is stored; count the rest."""
        if len(self._reported) > _MOST_REASONS:
            self._reported.clear()
        self._reported[reason] = self._reported.get(reason, 0) + 1
        if self._reported[reason] == 1:
            logger.warning("%s", reason)
        else:
            logger.debug("%s (%d times)", reason, self._reported[reason])

    def _key(self) -> str:
        module = self._link.module
        return cache_key(module.mac if module else b"", self._credentials.route_b_id)


_NAMES = {
    Rung.REJOIN: "joining again",
    Rung.RESCAN: "scanning and joining",
    Rung.RESET: "resetting the module and joining",
    Rung.REOPEN: "opening the module and joining",
}


class _ModuleRestartedError(SkStackError):
    """The module has lost its session, its credentials and its registers."""


def _after(rung: Rung) -> Rung:
    return Rung(rung + 1) if rung < Rung.REOPEN else Rung.RESCAN


def _event(kind: str, duration_s: float, peer: PanDescription, detail: str | None = None) -> RadioEvent:
    return RadioEvent(kind, duration_s, peer.channel, peer.pan_id, peer.signal_dbm, detail)
