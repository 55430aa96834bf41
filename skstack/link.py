"""The link: the module, the meter that was found, the PANA session with it, and whether sending is allowed.

The only writer of all that: every line that is received brings it up to date, and every command that changes it passes
here. It decides nothing: recovery.py says what is done next, session.py sends the requests.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from skstack import commands
from skstack.commands import Command, ResponseT
from skstack.driver import COMMAND_TIMEOUT_S, Module
from skstack.errors import (
    AuthenticationFailedError,
    CommandFailedError,
    ModuleRestartedError,
    PortLostError,
    SendFailedError,
    SendUnconfirmedError,
    SessionLostError,
    SkStackError,
    SkStackTimeoutError,
)
from skstack.events import HANDSHAKES, TRANSITIONS, Act, Dialect, Event, EventCode, Line, Pana, PanDescription

logger = logging.getLogger(__name__)

_LIMIT_S = 3700.0  # ARIB STD-T108 counts the sending time of an hour
_MOST_ALIKE = 5  # events of one kind between two takings; the rest is counted
_MOST_EVENTS = 200
_WRONG_FORM = ("ER05", "ER06")  # the number of arguments, or one of them

_FAILURES: Mapping[int, Callable[[], SessionLostError]] = {
    EventCode.PANA_FAILED: partial(AuthenticationFailedError, "PANA authentication failed (EVENT 24)"),
    EventCode.PANA_CLOSE_REQUESTED: partial(SessionLostError, "the meter ended the session (EVENT 26)"),
    EventCode.PANA_CLOSED: partial(SessionLostError, "the session was ended (EVENT 27)"),
    EventCode.PANA_CLOSE_TIMEOUT: partial(SessionLostError, "the session was ended without a response (EVENT 28)"),
}
_NOT_SENT, _LOOKING_FOR_PEER = 1, 2  # EVENT 21; command reference 5.11


@dataclass(frozen=True, slots=True)
class RadioEvent:
    """Something worth remembering about the link. Times in seconds, signal in dBm.

    *happened_at*: monotonic; *times*: how often it happened since the events were taken last.
    """

    kind: str
    happened_at: float
    duration_s: float | None = None
    channel: int | None = None
    pan_id: int | None = None
    signal_dbm: float | None = None
    detail: str | None = None
    times: int = 1


@dataclass(slots=True)
class Sending:
    """One datagram handed to the module, and what became of it.

    *sent_at*: when it was written (monotonic). *accepted*: the module said OK. *result*: the parameter of its EVENT 21:
    0 sent, 1 not sent (also where the command came in garbled), 2 the meter is being looked for; None: not known yet.
    """

    sent_at: float = 0.0
    accepted: bool = False
    result: int | None = None

    @property
    def failed(self) -> bool:
        """The module has given up: a busy channel, no acknowledgement, or its hourly limit."""
        return self.result == _NOT_SENT

    @property
    def send_error(self) -> SkStackError | None:
        """Why there may have been no response; None: it was sent."""
        if self.failed:
            return SendFailedError(
                "the module could not send: weak radio or a busy channel (EVENT 21 01), or a disturbed line (FAIL ER09)"
            )
        if self.result is None:
            return SendUnconfirmedError("neither a response nor EVENT 21 came: unknown whether the request was sent")
        return None


class Link:
    """What is known of the module, the meter and the session; everything that changes it passes here.

    *sleep* passes the time of a wait while no port is open.

    *module*: None while no port is open. *peer*: the meter's PAN, also while there is no session; None before one was
    found. *pana*: the state of the session, and *state_since* when it began. *limited_since*: since when the module is
    over its hourly sending limit; None: it is not. *failure*: what keeps the link down, or did so last. Times are
    monotonic seconds.
    Counts: *sessions* that were established, *renewals* of one, *responses* of the meter (one proves the link), and
    *lines* that have come, of any kind.
    """

    def __init__(self, *, monotonic: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._monotonic = monotonic
        self._sleep = sleep
        self.module: Module | None = None
        self.peer: PanDescription | None = None
        self.pana = Pana.CLOSED
        self.state_since = 0.0  # when the PANA state began
        self.limited_since: float | None = None  # EVENT 32: over the hourly sending limit
        self.failure: SkStackError = SessionLostError("not joined yet")
        self.sessions = 0
        self.renewals = 0
        self.responses = 0
        self.lines = 0
        self._sending: Sending | None = None  # what the next EVENT 21 is about
        self._echoes = 0
        self._proven_dialect: Dialect | None = None  # in which the meter has responded, since the port was opened
        self._other_dialect: Dialect | None = None  # than the one in which a command was refused last
        self._events: list[RadioEvent] = []

    # --- how it stands

    @property
    def attached(self) -> Module:
        """The module. Raises: PortLostError: no port is open."""
        if self.module is None:
            raise PortLostError("the port is closed")
        return self.module

    @property
    def joined(self) -> bool:
        """There is a session, and we know with whom: an EVENT 25 may come before any PAN was found."""
        return self.pana is Pana.OPEN and self.peer is not None

    @property
    def up(self) -> bool:
        """There is a session, and sending is allowed."""
        return self.joined and self.limited_since is None

    @property
    def down_reason(self) -> str:
        """Say why nothing may be sent now."""
        if self.limited_since is not None:
            return "the module is over its hourly sending limit (EVENT 32)"
        if self.pana is Pana.EXPIRED:
            return "the module is renewing its session (EVENT 29)"
        return str(self.failure)

    # --- the module

    def attach(self, module: Module) -> None:
        """Take a module that was just set up: it has no session, no limit, and its echo is off."""
        self._move(Act.GIVE_UP, None)
        self._lift_limit()
        self.module = replace(module, dialect=self._proven_dialect or self._other_dialect or module.dialect)
        self._echoes = module.stack.echoes

    def detach(self, failure: SkStackError | None = None) -> None:
        """Close the port, if it is open; *failure*: it was lost. What the module said of a limit goes with it."""
        if self.module is not None:
            self.module.stack.close()
            self.module = self._proven_dialect = None
            self._move(Act.GIVE_UP, None)
            self._lift_limit()
            if failure is not None:
                self.record("port_lost", detail=str(failure))
        if failure is not None:
            self.failure = failure

    def execute(self, command: Command[ResponseT], *, timeout_s: float = COMMAND_TIMEOUT_S) -> ResponseT:
        """Execute a *command*. Raises: as SkStack.execute."""
        return self.attached.stack.execute(command, timeout_s=timeout_s)

    def execute_in_dialect(self, command: Callable[[Dialect], Command[ResponseT]]) -> ResponseT:
        """Execute a command whose form depends on the dialect.

        If the module refuses that form, set-ups from then on use the other one, until it is refused: some sticks speak
        another dialect than their EINFO says. Source: hsakoh/broute-mqtt, issues 1 and 2. Raises: as SkStack.execute.
        """
        module = self.attached
        try:
            return module.stack.execute(command(module.dialect))
        except CommandFailedError as error:
            if error.code in _WRONG_FORM and self._proven_dialect is None:
                self._other_dialect = module.dialect.other
            raise

    def receive(self, timeout_s: float) -> Line | None:
        """Wait for a line, take note of it and return it; None when none came. Raises: PortLostError, StoppedError."""
        module = self.module
        if module is None:
            self._sleep(timeout_s)
            return None
        line = module.stack.receive(timeout_s)
        if line is not None:
            self.lines += 1
            if isinstance(line, Event) and line.is_ours:
                self._note(line)
        return line

    def collect(self) -> int:
        """Return how many lines have already arrived. Raises: PortLostError, StoppedError."""
        return self.attached.stack.collect()

    def check_restart(self) -> None:
        """See whether the module has restarted behind our back: echo on again, or the PAN ID register at its default.

        Raises: ModuleRestartedError: it has. SkStackTimeoutError: it does not respond at all. PortLostError.
        """
        pan_id = self._read_register("S3")
        has_restarted = (pan_id or "").upper() == "FFFF" and self.peer is not None and self.peer.pan_id != 0xFFFF
        if has_restarted or self.attached.stack.echoes != self._echoes:
            raise ModuleRestartedError("the module has restarted")

    def check_limit(self) -> None:
        """Read from the module whether it may send (register SFB), in case EVENT 32 or 33 was lost.

        Raises: SkStackTimeoutError, PortLostError.
        """
        value = self._read_register("SFB") or ""
        # In case EVENT 33 was lost and SFB says nothing that we understand.
        is_hour_over = self.limited_since is not None and self._monotonic() >= self.limited_since + _LIMIT_S
        if re.fullmatch("0*1", value):
            self._impose_limit()
        elif re.fullmatch("0+", value) or is_hour_over:
            self._lift_limit()

    # --- the session

    def choose(self, peer: PanDescription) -> None:
        """Take *peer* for the meter to join."""
        self.peer = peer

    def set_pan(self, peer: PanDescription) -> None:
        """Set the module to the PAN of *peer* (registers S2, S3), before a handshake. Raises: as SkStack.execute."""
        self.execute(commands.write_register("S2", f"{peer.channel:02X}"))
        self.execute(commands.write_register("S3", f"{peer.pan_id:04X}"))

    def authenticate(self, peer: PanDescription, *, again: bool) -> None:
        """Begin a handshake with *peer*: SKREJOIN where *again*, else SKJOIN. EVENT 25 or 24 ends it.

        Raises: as SkStack.execute; the handshake is then under way all the same if only the OK was lost.
        """
        if again:
            self._move(Act.REJOIN, None)
            self.execute(commands.REJOIN)
            return
        self._move(Act.GIVE_UP, None)
        self._move(Act.JOIN, None)
        self.execute(commands.join(peer.address))

    def suspect(self, failure: SkStackError) -> None:
        """Give up a session that the module may still believe in."""
        self._move(Act.SUSPECT, failure)

    def give_up(self, failure: SkStackError) -> None:
        """Note that there is no session, on either side; *failure* keeps the link down from now on."""
        self._move(Act.GIVE_UP, failure)
        self.failure = failure

    def note_response(self) -> None:
        """Note that the meter has responded to a request."""
        self.responses += 1
        self._proven_dialect = self.attached.dialect

    def terminate(self, *, timeout_s: float) -> None:
        """Let the module end the session, if it may have one: EVENT 27 or 28 follows.

        Raises: as SkStack.execute.
        """
        if self.module is not None and self.pana is not Pana.CLOSED:
            self.execute(commands.TERMINATE, timeout_s=timeout_s)

    def send(self, payload: bytes) -> Sending:
        """Hand a datagram for the meter to the module.

        What is returned learns from the EVENT 21 that follows, until the next datagram is sent. It comes before the OK
        or soon after; others, after one that settled it, are of the module's own datagrams (PANA).
        Raises: SessionLostError: no session, or silence is due. CommandFailedError. PortLostError, StoppedError.
        """
        peer, module = self.peer, self.module
        if not self.up or peer is None or module is None:  # there is a session only with both
            raise SessionLostError(self.down_reason)
        self._sending = sending = Sending()
        try:
            self.execute_in_dialect(lambda dialect: commands.send_udp(dialect, peer.address, payload))
            sending.accepted = True
        except SkStackTimeoutError:  # it may have been sent nevertheless
            sending.accepted = False
        except CommandFailedError as error:
            if error.code != "ER09":
                raise
            sending.result = _NOT_SENT
        sending.sent_at = module.stack.written_at
        return sending

    # --- what happened

    def record(
        self,
        kind: str,
        duration_s: float | None = None,
        *,
        peer: PanDescription | None = None,
        detail: str | None = None,
    ) -> None:
        """Keep an event until it is taken; of repetitions, keep the first few and count the rest."""
        key = (kind, peer.pan_id if peer else None, detail)
        alike = [place for place, each in enumerate(self._events) if (each.kind, each.pan_id, each.detail) == key]
        if len(alike) >= _MOST_ALIKE:
            last = self._events[alike[-1]]
            self._events[alike[-1]] = replace(last, times=last.times + 1)
        elif len(self._events) < _MOST_EVENTS:
            event = RadioEvent(kind, self._monotonic(), duration_s, detail=detail)
            if peer is not None:
                event = replace(event, channel=peer.channel, pan_id=peer.pan_id, signal_dbm=peer.signal_dbm)
            self._events.append(event)

    def take_events(self) -> list[RadioEvent]:
        """Return what happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    # --- events of the module

    def _note(self, event: Event) -> None:
        if event.code == EventCode.UDP_SENT:
            self._note_sent(event.param)
        elif event.code == EventCode.SEND_LIMIT_REACHED:
            self._impose_limit()
        elif event.code == EventCode.SEND_LIMIT_LIFTED:
            self._lift_limit()
        else:
            failure = _FAILURES.get(event.code)
            self._move(event.code, failure() if failure else None)

    def _note_sent(self, param: int | None) -> None:
        if self._sending is not None:
            self._sending.result = param
            if param != _LOOKING_FOR_PEER:
                self._sending = None

    def _move(self, trigger: int | Act, failure: SkStackError | None) -> None:
        """Change the PANA state as the table says, and record what that means."""
        before, after = self.pana, TRANSITIONS[self.pana].get(trigger)
        if after is None:
            return
        lasted_s = self._monotonic() - self.state_since
        self.pana = after
        self.state_since = self._monotonic()
        if failure is not None:
            self.failure = failure
        if after is Pana.OPEN:
            self._opened(before, lasted_s)
            return
        self._sending = None
        if after is Pana.EXPIRED:
            self.record("expired")
        elif before in HANDSHAKES:
            self.record("join_failed", lasted_s, peer=self.peer, detail=str(failure) if failure else None)
        elif failure is not None and before in (Pana.OPEN, Pana.EXPIRED):  # else we end it, to begin a new one
            self.record("lost", detail=str(failure))

    def _opened(self, before: Pana, lasted_s: float) -> None:
        if before in (Pana.OPEN, Pana.EXPIRED):
            self.record("renewed", lasted_s if before is Pana.EXPIRED else None)
        elif before in HANDSHAKES:
            self.record("join", lasted_s, peer=self.peer)
        if before in (Pana.CLOSED, Pana.JOINING):
            self.sessions += 1
        else:
            self.renewals += 1

    def _impose_limit(self) -> None:
        if self.limited_since is None:
            self.limited_since = self._monotonic()
            logger.error("the module has used up its hourly sending time (EVENT 32): silent until it may send again")
            self.record("limited")

    def _lift_limit(self) -> None:
        if self.limited_since is not None:
            duration_s = self._monotonic() - self.limited_since
            logger.info("the limit on sending has ended after %.0f s", duration_s)
            self.record("unlimited", duration_s)
            self.limited_since = None

    def _read_register(self, name: str) -> str | None:
        """Return the value of an S register as the module prints it; None if it has no such register.

        Raises: SkStackTimeoutError, PortLostError.
        """
        try:
            return self.execute(commands.read_register(name)).value
        except CommandFailedError:
            return None
