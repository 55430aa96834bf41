"""What is known of the module and its PANA session, brought up to date by every line that comes.

The link sends commands and watches; it decides nothing. The ladder climbs, the session asks.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from skstack import commands
from skstack.commands import Command
from skstack.driver import COMMAND_TIMEOUT_S
from skstack.errors import CommandFailedError, PortLostError, SessionLostError
from skstack.events import Dialect, Event, EventCode, Line, PanDescription, RegisterValue, UdpReceived
from skstack.module import Module

logger = logging.getLogger(__name__)

_LIMIT_S = 3700.0  # ARIB STD-T108 counts the sending time of an hour


class Pana(Enum):
    """The state of the PANA session, as far as the module's events tell. Source: command reference 5.11."""

    CLOSED = "closed"
    JOINING = "joining"
    OPEN = "open"
    EXPIRED = "expired"  # EVENT 29: the module renews it by itself; nothing may be sent until 24 or 25


@dataclass(frozen=True, slots=True)
class RadioEvent:
    """Something worth remembering about the link. Times in seconds, signal in dBm."""

    kind: str
    duration_s: float | None = None
    channel: int | None = None
    pan_id: int | None = None
    signal_dbm: float | None = None
    detail: str | None = None


@dataclass(slots=True)
class Sending:
    """One datagram handed to the module, and what became of it.

    *result*: the parameter of its EVENT 21: 0 sent, 1 not sent, 2 the meter is being looked for; None: not told yet.
    """

    result: int | None = None

    @property
    def failed(self) -> bool:
        """The module has given up: a busy channel, no acknowledgement, or its hourly limit."""
        return self.result == _NOT_SENT


_NOT_SENT, _LOOKING_FOR_PEER = 1, 2  # EVENT 21; command reference 5.11
_B_ROUTE_SIDES = (None, 0)  # the HAN side of a dual-stack module is none of our business
_ENDINGS = {
    EventCode.PANA_FAILED: "PANA authentication failed (EVENT 24)",
    EventCode.PANA_CLOSE_REQUESTED: "the meter ended the session (EVENT 26)",
    EventCode.PANA_CLOSED: "the session was ended (EVENT 27)",
    EventCode.PANA_CLOSE_TIMEOUT: "the session was ended without an answer (EVENT 28)",
}


class Link:
    """The module, the meter found, the session with it, and whether sending is allowed.

    *on_datagram* gets every UDP datagram, wanted or not; *on_event* what is worth remembering.
    """

    def __init__(
        self,
        *,
        on_datagram: Callable[[UdpReceived], None],
        on_event: Callable[[RadioEvent], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_datagram = on_datagram
        self._on_event = on_event
        self.monotonic = monotonic
        self.module: Module | None = None
        self.dialect = Dialect.SINGLE
        self.peer: PanDescription | None = None
        self.pana = Pana.CLOSED
        self.limited_since: float | None = None  # EVENT 32: over the hourly sending limit
        self.expired_at = 0.0
        self.sessions = 0  # how many were established: a new one may be with another meter
        self.lines = 0  # how many came, of any kind
        self.ending = "not joined yet"
        self.believed_open = False  # we gave the session up, the module did not: SKREJOIN may still work
        self._sending: Sending | None = None  # what the next EVENT 21 tells of
        self._echoes = 0

    @property
    def joined(self) -> bool:
        """There is a session, and we know with whom: an EVENT 25 may come unasked, after we forgot the PAN."""
        return self.pana is Pana.OPEN and self.peer is not None

    @property
    def up(self) -> bool:
        """There is a session, and sending is allowed."""
        return self.joined and self.limited_since is None

    @property
    def why_silent(self) -> str:
        """Say why nothing may be sent now."""
        if self.limited_since is not None:
            return "the module is over its hourly sending limit (EVENT 32)"
        if self.pana is Pana.EXPIRED:
            return "the module is renewing its session (EVENT 29)"
        return self.ending

    def attach(self, module: Module) -> None:
        """Take a module that was just set up: it has no session, and its echo is off."""
        self.module = module
        self.dialect = module.dialect
        self.pana = Pana.CLOSED
        self.believed_open = False
        self.limited_since = None
        self._sending = None
        self._echoes = module.stack.echoes

    def detach(self, reason: str) -> None:
        """Close the port, if it is open."""
        if self.module is not None:
            self.module.stack.close()
        self.module = None
        self.give_up(reason)

    def next_line(self, timeout_s: float) -> Line | None:
        """Wait for a line, take note of it and return it. Raises: PortLostError."""
        line = self._module().stack.next_line(timeout_s)
        if line is not None:
            self.lines += 1
            self.note(line)
        return line

    def command(self, build: Callable[[Dialect], Command], *, timeout_s: float = COMMAND_TIMEOUT_S) -> list[Line]:
        """Execute the command that *build* makes for the module's dialect.

        ER05 (wrong number of arguments) is answered with the other dialect, ER09 (garbled on the UART) by repeating,
        once each. Raises: as SkStack.execute.
        """
        stack = self._module().stack
        try:
            return stack.execute(build(self.dialect), timeout_s=timeout_s)
        except CommandFailedError as error:
            if error.code not in ("ER05", "ER09"):
                raise
            garbled = error.code == "ER09" or build(Dialect.SINGLE) == build(Dialect.DUAL)
        if garbled:
            return stack.execute(build(self.dialect), timeout_s=timeout_s)
        other = Dialect.SINGLE if self.dialect is Dialect.DUAL else Dialect.DUAL
        answer = stack.execute(build(other), timeout_s=timeout_s)
        logger.info("the module speaks the %s dialect after all", other.name.lower())
        self.dialect = other
        return answer

    def catch_up(self) -> None:
        """Take note of everything that has already arrived, without waiting. Raises: PortLostError."""
        for _ in range(self._module().stack.collect()):  # no more than that: a device may babble without end
            self.next_line(0.0)

    def send(self, payload: bytes, sending: Sending) -> None:
        """Hand a datagram for the meter to the module, unless what has already arrived forbids it.

        *sending* learns from the EVENT 21 that follows, until the next datagram is sent. It comes before the OK or
        soon after; others, after one that settled it, are of the module's own datagrams (PANA).
        Raises: SessionLostError: no session, or silence is due. Else as SkStack.execute.
        """
        self.catch_up()  # an EVENT 29 or 32 that is waiting to be read closes the gate before we write
        peer = self.peer
        if not self.up or peer is None:
            raise SessionLostError(self.why_silent)
        self._sending = sending
        self.command(lambda dialect: commands.send_udp(dialect, peer.address, payload))

    def read_register(self, name: str) -> str | None:
        """Return the value of an S register as the module prints it; None if it has no such register.

        Raises: SkStackTimeoutError, PortLostError.
        """
        try:
            answer = self.command(lambda _: commands.read_register(name))
        except CommandFailedError:
            return None
        return next((line.value for line in answer if isinstance(line, RegisterValue)), None)

    def check_limit(self) -> None:
        """Ask the module whether it may send (register SFB), should EVENT 32 or 33 have been lost.

        Raises: SkStackTimeoutError, PortLostError.
        """
        value = self.read_register("SFB") or ""
        if re.fullmatch("0+", value) or self._is_limit_over():
            self._lift_limit()
        elif re.fullmatch("0*1", value):
            self._impose_limit()

    def _is_limit_over(self) -> bool:
        """Whether the hour has passed: should EVENT 33 be lost, and SFB say nothing that we understand."""
        return self.limited_since is not None and self.monotonic() >= self.limited_since + _LIMIT_S

    def has_forgotten(self) -> bool:
        """Whether the module has restarted behind our back: echo on again, or the PAN ID register at its default.

        Raises: SkStackTimeoutError: it does not answer at all.
        """
        pan_id = self.read_register("S3")
        if self._module().stack.echoes != self._echoes:
            return True
        return (pan_id or "").upper() == "FFFF" and self.peer is not None and self.peer.pan_id != 0xFFFF

    def doubt(self, reason: str) -> None:
        """Give up a session that the module may still believe in."""
        self.believed_open = self.pana is Pana.OPEN
        self._close(reason)

    def give_up(self, reason: str) -> None:
        """Note that there is no session, on either side."""
        self._close(reason)
        self.believed_open = False

    def note(self, line: Line) -> None:
        """Bring the state up to date with one line."""
        if isinstance(line, UdpReceived):
            self._on_datagram(line)
        elif isinstance(line, Event) and line.side in _B_ROUTE_SIDES:
            self._note_event(line)

    def _note_event(self, event: Event) -> None:
        match event.code:
            case EventCode.UDP_SENT:
                self._note_sent(event.param)
            case EventCode.PANA_CONNECTED:
                self._note_connected()
            case EventCode.PANA_FAILED:
                self._close(_ENDINGS[EventCode.PANA_FAILED])
            case EventCode.PANA_CLOSE_REQUESTED | EventCode.PANA_CLOSED | EventCode.PANA_CLOSE_TIMEOUT:
                # While we join, the end of an older session may still be reported: it is not ours.
                if self.pana is not Pana.JOINING:
                    self._close(_ENDINGS[EventCode(event.code)])
            case EventCode.PANA_EXPIRED:
                if self.pana is Pana.OPEN:
                    self.pana = Pana.EXPIRED
                    self.expired_at = self.monotonic()
                    self._on_event(RadioEvent("expired"))
            case EventCode.SEND_LIMIT_REACHED:
                self._impose_limit()
            case EventCode.SEND_LIMIT_LIFTED:
                self._lift_limit()

    def _note_sent(self, param: int | None) -> None:
        if self._sending is not None:
            self._sending.result = param
            if param != _LOOKING_FOR_PEER:
                self._sending = None

    def _impose_limit(self) -> None:
        if self.limited_since is None:
            self.limited_since = self.monotonic()
            logger.error("the module has used up its hourly sending time (EVENT 32): silent until it may send again")
            self._on_event(RadioEvent("limited"))

    def _lift_limit(self) -> None:
        if self.limited_since is not None:
            duration_s = self.monotonic() - self.limited_since
            logger.info("the module may send again after %.0f s", duration_s)
            self._on_event(RadioEvent("unlimited", duration_s))
            self.limited_since = None

    def _note_connected(self) -> None:
        if self.pana is Pana.OPEN:
            self._on_event(RadioEvent("renewed"))
        elif self.pana is Pana.EXPIRED:
            self._on_event(RadioEvent("renewed", self.monotonic() - self.expired_at))
        else:
            self.sessions += 1
        self.pana = Pana.OPEN
        self.believed_open = False

    def _close(self, reason: str) -> None:
        self.pana = Pana.CLOSED
        self.ending = reason
        self._sending = None

    def _module(self) -> Module:
        if self.module is None:
            raise PortLostError("the port is closed")
        return self.module
