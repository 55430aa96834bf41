"""The PANA session of a simulated module: made, renewed, forgotten by the meter, ended.

Source: BP35A1 command reference 4.4 to 4.6; the times and the lines from the logs of real modules.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from skstack.simulator import pana_messages
from skstack.simulator.air import Air
from skstack.simulator.lines import PANA_PORT, Datagram
from skstack.simulator.memory import RENEWS
from skstack.simulator.uart import Scope

_RENEWAL_SHARE = 0.8  # of the lifetime; command reference 4.5


@dataclass(slots=True)
class PanaSession(Scope):
    """A PANA session with the meter that was there when it began."""

    number: int = 0
    meter_generation: int = 0
    confirmed_at: float = 0.0  # the last EVENT 25
    renewing: bool = False  # between EVENT 29 and EVENT 25 or 24
    term: Scope = field(default_factory=Scope)  # until it is renewed


class PanaClient:
    """The one session a module has at a time. *connected* is called with a new one, and when that was."""

    def __init__(self, air: Air, *, connected: Callable[[PanaSession, float], object]) -> None:
        """Start without a session."""
        self.session: PanaSession | None = None
        self.joining = False
        self._air = air
        self._connected = connected
        self._late_connection = Scope()  # an EVENT 25 that follows an EVENT 24
        self._sessions = 0

    def forget(self) -> None:
        """Lose the session, and any that is being made."""
        self._late_connection.over = True
        self.joining = False
        self._drop()

    def hears(self, session: PanaSession | None, at: float) -> bool:
        """Return whether the meter takes what is encrypted for *session*."""
        return session is not None and not self._meter_is_away(at) and not self._is_forgotten(session, at)

    # --- made

    def join(self, address: str, at: float) -> None:
        """Begin a handshake with *address*, as SKJOIN."""
        air, step_s = self._air, self._air.timing.pana_step_s
        self.forget()
        self.joining = True
        air.plan_line(at + step_s / 2, air.printer.event(0x21, address, "02"))
        if not air.reaches(address, at):
            air.agenda.plan(at + air.timing.unreachable_s, lambda now: self._refuse(address, now), air.boot)
            return
        connects_after_s = air.faults.join_failure() if air.is_paired() else math.inf
        number = self._next_number()
        messages = pana_messages.handshake(air.meter.options.route_b_id, number, air.meter.options.session_lifetime_s)
        air.plan_line(at + step_s, air.printer.event(0x02, address))
        for turn, message in enumerate(messages[: 4 if connects_after_s is None else 2], start=1):
            air.agenda.plan(at + (1 + turn) * step_s, self._pana_step(message), air.boot)
        if connects_after_s is None:
            air.agenda.plan(at + 6 * step_s, lambda now: self._connect(number, now), air.boot)
            return
        refused_at = at + air.timing.refusal_s
        air.agenda.plan(refused_at, lambda now: self._refuse(address, now), air.boot)
        if math.isfinite(connects_after_s):
            self._late_connection = Scope()
            connected_at = refused_at + connects_after_s
            air.agenda.plan(connected_at, lambda now: self._connect(number, now), self._late_connection)

    def _next_number(self) -> int:
        self._sessions += 1
        return self._sessions

    def _pana_step(self, message: bytes) -> Callable[[float], None]:
        """Return what prints a message of the meter, and EVENT 21 for the module's own response to it."""
        air, datagram = self._air, self._pana_datagram(message)
        confirmed = air.printer.event(0x21, air.meter_address, "00")

        def step(now: float) -> None:
            air.print_datagram(datagram, now)
            air.say(confirmed, now)

        return step

    def _pana_datagram(self, message: bytes) -> Datagram:
        return Datagram(self._air.meter_mac, message, port=PANA_PORT, secured=False)

    def _refuse(self, address: str, at: float) -> None:
        self.joining = False
        self._drop()
        self._air.say(self._air.printer.event(0x24, address), at)

    def _connect(self, number: int, at: float) -> None:
        self.joining = False
        self.session = PanaSession(number=number, meter_generation=self._air.meter.generation)
        self._confirm(self.session, at)
        self._connected(self.session, at)
        ends_after_s = self._air.faults.session_ends_after_s()
        if ends_after_s is not None:
            self._air.agenda.plan(at + ends_after_s, lambda now: self.end(0x26, now), self.session)

    def _confirm(self, session: PanaSession, at: float) -> None:
        """EVENT 25, and what follows from it: the next renewal, or the end."""
        air = self._air
        session.renewing = False
        session.confirmed_at = at
        air.audit.reopen(0x29)
        air.say(air.printer.event(0x25, air.meter_address), at)
        lifetime_s = air.meter.options.session_lifetime_s
        session.term.over = True
        session.term = Scope()
        air.agenda.plan(at + _RENEWAL_SHARE * lifetime_s, self._renew, session.term)
        air.agenda.plan(at + lifetime_s, self.expire, session.term)

    # --- renewed, or not

    def _renew(self, at: float) -> None:
        """Renew by itself at four fifths of the lifetime. If the meter is unreachable, wait for the end of it."""
        if self._air.memory.is_on(RENEWS) and not self._meter_is_away(at):
            self.rejoin(at)

    def rejoin(self, at: float) -> None:
        """Authenticate again, as SKREJOIN and by itself."""
        air, session = self._air, self.session
        if session is None:
            return
        done_at = at + 3 * air.timing.pana_step_s
        fails = self._meter_is_away(at) or (self._is_forgotten(session, at) and air.faults.rejoin_fails())
        if fails or air.faults.join_failure() is not None:
            address = air.meter_address
            air.agenda.plan(done_at, lambda now: self._refuse(address, now), session)
            return
        session.term.over = True
        session.number = self._next_number()
        message = pana_messages.result(session.number, air.meter.options.session_lifetime_s)
        air.agenda.plan(at + 2 * air.timing.pana_step_s, self._pana_step(message), session)
        air.agenda.plan(done_at, lambda now: self._confirm(session, now), session)

    def _meter_is_away(self, at: float) -> bool:
        exchanged = self.session is not None and self.session.meter_generation != self._air.meter.generation
        return exchanged or at < self._air.faults.silent_until

    def _is_forgotten(self, session: PanaSession, at: float) -> bool:
        return self._air.faults.session_is_forgotten(at - session.confirmed_at)

    def expire(self, at: float) -> None:
        """End the lifetime: EVENT 29, after which the module authenticates by itself (register S17) or is done."""
        if self.session is None:
            return
        air = self._air
        air.audit.close(0x29, air.say(air.printer.event(0x29, air.meter_address), at))
        if air.memory.is_on(RENEWS):
            self.session.renewing = True
            self.rejoin(at)
        else:
            self._drop()

    # --- ended

    def end(self, number: int, at: float) -> None:
        """End the session, and say so with EVENT *number*."""
        self._drop()
        self._air.say(self._air.printer.event(number, self._air.meter_address), at)

    def begin_termination(self, at: float) -> None:
        """Print what SKTERM prints before its OK, as a BP35A1 does."""
        self._air.say(self._air.printer.event(0x21, self._air.meter_address, "02"), at)

    def terminate(self, at: float) -> None:
        """End the session, as SKTERM; EVENT 28 if the meter does not respond."""
        air, session = self._air, self.session
        if session is None:
            return
        if not self.hears(session, at):
            air.agenda.plan(at + air.timing.terminate_timeout_s, lambda now: self.end(0x28, now), session)
            return
        farewell = self._pana_datagram(pana_messages.termination(session.number))
        end_at = at + air.timing.terminate_s
        air.agenda.plan(end_at, lambda now: air.print_datagram(farewell, now), session)
        air.agenda.plan(end_at, lambda now: self.end(0x27, now), session)

    def _drop(self) -> None:
        if self.session is not None:
            self.session.over = self.session.term.over = True
        self.session = None
        self._air.audit.forget()
        self._air.audit.reopen(0x29)
