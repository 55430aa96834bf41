"""The radio half of a simulated module: the PANA session, and datagrams to and from the meter.

It plans everything on the module's agenda and prints through the module's UART.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from skstack.echonet.frame import Frame
from skstack.simulator import pana
from skstack.simulator.audit import Audit, Sent
from skstack.simulator.faults import Faults, JoinFailure
from skstack.simulator.habits import Reply, apply
from skstack.simulator.lines import ALL_NODES, CRLF, PANA_PORT, Beacon, Datagram, Printer, link_local
from skstack.simulator.meter import SimulatedMeter
from skstack.simulator.models import Credentials, Model, Timing
from skstack.simulator.scan import WITH_PAIRING_ID, Scanner
from skstack.simulator.settings import Settings
from skstack.simulator.uart import Agenda, Life

_RENEWAL_SHARE = 0.8  # of the lifetime; command reference 4.5
_AIRTIME_S_A_BYTE = 8 / 100_000  # 100 kbit/s
_HEADERS_BYTES = 60  # MAC, IPv6 and UDP around a payload

Say = Callable[[bytes, float], float]  # prints at a time; returns when the line will have left (inf: it never will)


@dataclass(slots=True)
class Session(Life):
    """A PANA session with the meter that was there when it began."""

    number: int = 0
    meter_generation: int = 0
    confirmed_at: float = 0.0  # the last EVENT 25
    renewing: bool = False  # between EVENT 29 and EVENT 25 or 24


class Radio:
    """Scans, joins, sends. The module hands in what it shares: agenda, printer, UART."""

    def __init__(
        self,
        meter: SimulatedMeter,
        *,
        model: Model,
        credentials: Credentials,
        timing: Timing,
        neighbours: Sequence[Beacon],
        agenda: Agenda,
        say: Say,
    ) -> None:
        """Tune in to *meter*, which accepts only *credentials*, among *neighbours*."""
        self.settings = Settings()
        self.faults = Faults()
        self.session: Session | None = None
        self.hex_payload = True
        self.audit = Audit()
        self._meter = meter
        self._model = model
        self._credentials = credentials
        self._timing = timing
        self._neighbours = neighbours
        self._agenda = agenda
        self._say = say
        self._printer = Printer(model)
        self._boot = Life()
        self.joining = False
        self._late_connection = Life()  # an EVENT 25 that follows an EVENT 24
        self._thinking = Life()  # of the meter about a request that another one displaces
        self._sessions = 0
        self._scanner = Scanner(printer=self._printer, timing=timing, agenda=agenda, faults=self.faults, say=say)

    @property
    def meter_address(self) -> str:
        """The meter's link-local address."""
        return link_local(self.meter_mac)

    @property
    def meter_mac(self) -> str:
        """The meter's MAC address."""
        return self._meter.options.mac

    def restart(self) -> None:
        """Forget everything: registers, credentials, session, scan, and every answer on its way."""
        self._boot.over = self._late_connection.over = True
        self._boot = Life()
        self._end_session()
        self.settings = Settings()
        self.joining = False
        self.audit.reopen(0x32)

    def scan(self, mode: int, mask: int, duration: int, at: float) -> None:
        """Begin a scan. In mode 2 only coordinators answer that have the pairing ID asked for."""
        options, wanted = self._meter.options, self.settings.pairing_id
        own = Beacon(options.channel, options.pan_id, options.mac, options.lqi, self._credentials.pairing_id)
        in_the_air = [*self._neighbours] if self.faults.meter_is_silent(at) else [own, *self._neighbours]
        heard = [beacon for beacon in in_the_air if mode != WITH_PAIRING_ID or beacon.pairing_id == wanted]
        self._scanner.scan(mode, mask, duration, heard, at, self._boot)

    # --- the session

    def join(self, address: str, at: float) -> None:
        """Begin a handshake with *address*, as SKJOIN."""
        self._end_session()
        self.joining = True
        self._late_connection.over = True
        step_s = self._timing.pana_step_s
        looking = self._printer.event(0x21, address, "02")
        self._agenda.plan(at + step_s / 2, lambda now: self._say(looking, now), self._boot)
        if not self._reaches(address, at):
            self._agenda.plan(at + self._timing.unreachable_s, lambda now: self._refuse(address, now), self._boot)
            return
        failure = self.faults.join_failure() if self._is_paired() else JoinFailure()
        self._sessions += 1
        number = self._sessions
        messages = pana.handshake(self._credentials.route_b_id, number, self._meter.options.session_lifetime_s)
        found = self._printer.event(0x02, address)
        self._agenda.plan(at + step_s, lambda now: self._say(found, now), self._boot)
        for turn, message in enumerate(messages[: 2 if failure else 4], start=1):
            self._agenda.plan(at + (1 + turn) * step_s, self._pana_step(message), self._boot)
        if failure is None:
            self._agenda.plan(at + 6 * step_s, lambda now: self._connect(number, now), self._boot)
            return
        refused_at = at + self._timing.refusal_s
        self._agenda.plan(refused_at, lambda now: self._refuse(address, now), self._boot)
        if failure.connects_after_s is not None:
            self._late_connection = Life()
            connected_at = refused_at + failure.connects_after_s
            self._agenda.plan(connected_at, lambda now: self._connect(number, now), self._late_connection)

    def _reaches(self, address: str, at: float) -> bool:
        options, settings = self._meter.options, self.settings
        tuned = (settings.channel, settings.pan_id) == (options.channel, options.pan_id)
        return tuned and address == self.meter_address and not self.faults.meter_is_silent(at)

    def _is_paired(self) -> bool:
        wanted = (self._credentials.route_b_id, self._credentials.password)
        return (self.settings.route_b_id, self.settings.password) == wanted

    def _pana_step(self, message: bytes) -> Callable[[float], None]:
        """Return what prints a message of the meter, and EVENT 21 for the module's own answer to it."""
        datagram = Datagram(self.meter_mac, message, self._printer.own_address, PANA_PORT, secured=False)
        confirmed = self._printer.event(0x21, self.meter_address, "00")

        def step(now: float) -> None:
            self.print_datagram(datagram, now)
            self._say(confirmed, now)

        return step

    def _refuse(self, address: str, at: float) -> None:
        self.joining = False
        self._end_session()
        self._say(self._printer.event(0x24, address), at)

    def _connect(self, number: int, at: float) -> None:
        self.joining = False
        session = Session(number=number, meter_generation=self._meter.generation)
        self.session = session
        self._confirm(session, at)
        self._agenda.plan(at + self._timing.instance_list_s, self._announce_instances, session)
        self._agenda.plan(self._meter.next_half_hour(at), self._half_hour, session)

    def _confirm(self, session: Session, at: float) -> None:
        """EVENT 25, and what follows from it: the next renewal, or the end."""
        session.renewing = False
        session.confirmed_at = at
        self.audit.reopen(0x29)
        self._say(self._printer.event(0x25, self.meter_address), at)
        lifetime_s = self._meter.options.session_lifetime_s
        number = session.number
        self._agenda.plan(at + _RENEWAL_SHARE * lifetime_s, lambda now: self._renew(number, now), session)
        self._agenda.plan(at + lifetime_s, lambda now: self._expire_unless_renewed(number, now), session)

    def _renew(self, number: int, at: float) -> None:
        """Renew by itself at four fifths of the lifetime. If the meter is away, wait for the end of it."""
        if self.session and self.session.number == number and self.settings.renews and not self._meter_is_away(at):
            self.rejoin(at)

    def _expire_unless_renewed(self, number: int, at: float) -> None:
        if self.session and self.session.number == number:
            self.expire(at)

    def rejoin(self, at: float) -> None:
        """Authenticate again, as SKREJOIN and by itself."""
        session = self.session
        if session is None:
            return
        done_at = at + 3 * self._timing.pana_step_s
        fails = self._meter_is_away(at) or (self._is_forgotten(session, at) and self.faults.rejoin_fails())
        if fails or self.faults.join_failure():
            address = self.meter_address
            self._agenda.plan(done_at, lambda now: self._refuse(address, now), session)
            return
        self._sessions += 1
        session.number = self._sessions
        message = pana.result(session.number, self._meter.options.session_lifetime_s)
        self._agenda.plan(at + 2 * self._timing.pana_step_s, self._pana_step(message), session)
        self._agenda.plan(done_at, lambda now: self._confirm(session, now), session)

    def _meter_is_away(self, at: float) -> bool:
        exchanged = self.session is not None and self.session.meter_generation != self._meter.generation
        return exchanged or self.faults.meter_is_silent(at)

    def _is_forgotten(self, session: Session, at: float) -> bool:
        return self.faults.session_is_forgotten(at - session.confirmed_at)

    def _meter_hears(self, session: Session | None, at: float) -> bool:
        """Tell whether the meter takes what is encrypted for *session*."""
        return session is not None and not self._meter_is_away(at) and not self._is_forgotten(session, at)

    def expire(self, at: float) -> None:
        """End the lifetime: EVENT 29, after which the module authenticates by itself (register S17) or is done."""
        if self.session is None:
            return
        self.audit.close(0x29, self._say(self._printer.event(0x29, self.meter_address), at))
        if self.settings.renews:
            self.session.renewing = True
            self.rejoin(at)
        else:
            self._end_session()

    def end_session(self, number: int, at: float) -> None:
        """End the session, and say so with EVENT *number*."""
        self._end_session()
        self._say(self._printer.event(number, self.meter_address), at)

    def limit(self, over: bool, at: float) -> None:
        """Say that the hour's sending time is used up (EVENT 32), or that there is some again (EVENT 33)."""
        self.settings.over_limit = over
        left_at = self._say(self._printer.event(0x32 if over else 0x33, self._printer.own_address), at)
        if over:
            self.audit.close(0x32, left_at)
        else:
            self.audit.reopen(0x32)

    def begin_termination(self, at: float) -> None:
        """Print what SKTERM prints before its OK, as a BP35A1 does."""
        self._say(self._printer.event(0x21, self.meter_address, "02"), at)

    def terminate(self, at: float) -> None:
        """End the session, as SKTERM; EVENT 28 if the meter does not answer."""
        session = self.session
        if session is None:
            return
        if not self._meter_hears(session, at):
            self._agenda.plan(at + self._timing.terminate_timeout_s, lambda now: self.end_session(0x28, now), session)
            return
        farewell = pana.termination(session.number)
        datagram = Datagram(self.meter_mac, farewell, self._printer.own_address, PANA_PORT, secured=False)
        end_at = at + self._timing.terminate_s
        self._agenda.plan(end_at, lambda now: self.print_datagram(datagram, now), session)
        self._agenda.plan(end_at, lambda now: self.end_session(0x27, now), session)

    def _end_session(self) -> None:
        if self.session is not None:
            self.session.over = True
        self.session = None
        self.audit.answered()
        self.audit.reopen(0x29)

    # --- datagrams

    def send(self, address: str, payload: bytes, secure: int, at: float) -> float | None:
        """Send one datagram, as SKSENDTO; return when its EVENT 21 has been said, None if there is no key for it."""
        session = self.session
        if secure == 1 and session is None:
            return None
        secured = secure != 0 and session is not None
        sent = Sent(at, payload, secured)
        self.audit.note(sent)
        self.settings.airtime_s += (len(payload) + _HEADERS_BYTES) * _AIRTIME_S_A_BYTE
        done_at = at + self._timing.send_s
        param = self._send_result(address, at)
        self._agenda.plan(
            done_at, lambda now: self._say(self._printer.event(0x21, address, f"{param:02d}"), now), self._boot
        )
        reached_at = self._plan_second_try(address, done_at) if param == 2 else done_at
        if param != 1 and secured and session is not None:
            self.audit.asked(sent)
            self._agenda.plan(reached_at, lambda now: self._reach_meter(payload, now), session)
        return done_at

    def _send_result(self, address: str, at: float) -> int:
        settings = self.settings
        blocked = settings.over_limit or (self.session is not None and self.session.renewing)
        if blocked or (address != ALL_NODES and not self._reaches(address, at)):
            return 1
        return self.faults.send_param()

    def _plan_second_try(self, address: str, at: float) -> float:
        """Plan what follows EVENT 21 02: the neighbour answers, and the module sends by itself. Return when."""
        found, sent = self._printer.event(0x02, address), self._printer.event(0x21, address, "00")
        again_at = at + self._timing.send_s
        self._agenda.plan(again_at, lambda now: self._say(found, now), self._boot)
        self._agenda.plan(again_at, lambda now: self._say(sent, now), self._boot)
        return again_at

    def _reach_meter(self, payload: bytes, at: float) -> None:
        if not self._meter_hears(self.session, at):
            return
        answer = self._meter.answer(payload, at)
        if answer is None:
            return
        self._thinking.over = True
        self._thinking = Life()
        request = Frame.from_bytes(payload)
        usual_s = self._timing.answer_s([asked.epc for asked in request.properties])
        for reply in self._habitual(Reply(request, answer, at, usual_s)):
            self._agenda.plan(at + reply.delay_s, self._deliver(reply, self._thinking), self.session)

    def _habitual(self, reply: Reply) -> list[Reply]:
        """Return what the habits of the meter, and then those of the air, make of *reply*."""
        return [last for said in apply(self._meter.habits, reply) for last in apply(self.faults.habits, said)]

    def _deliver(self, reply: Reply, thinking: Life) -> Callable[[float], None]:
        datagram = Datagram(self.meter_mac, reply.payload, self._printer.own_address)

        def deliver(at: float) -> None:
            if reply.begins_anew and thinking.over:
                return
            left_at = self.print_datagram(datagram, at)
            if math.isfinite(left_at):
                self._agenda.plan(left_at, lambda _: self.audit.answered(), self._boot)

        return deliver

    def _announce_instances(self, at: float) -> None:
        if self._meter_hears(self.session, at):
            self._announce(self._meter.instance_list(), ALL_NODES, at)
            if self._model.blank_lines_after_join:
                self._say(CRLF * self._model.blank_lines_after_join, at)

    def _half_hour(self, at: float) -> None:
        self.announce(at)
        if self.session is not None:
            self._agenda.plan(self._meter.next_half_hour(at), self._half_hour, self.session)

    def announce(self, at: float) -> None:
        """Let the meter announce its half-hour values, if there is a session."""
        if self._meter_hears(self.session, at):
            self._announce(self._meter.half_hour(at), self._printer.own_address, at)

    def _announce(self, payload: bytes, destination: str, at: float) -> None:
        for reply in self._habitual(Reply(None, payload, at)):
            datagram = Datagram(self.meter_mac, reply.payload, destination)
            if reply.delay_s:
                self._agenda.plan(at + reply.delay_s, partial(self.print_datagram, datagram), self._boot)
            else:
                self.print_datagram(datagram, at)

    def ping(self, address: str, at: float) -> None:
        """Ask *address* for an ICMP echo; whoever is there answers."""
        if self._reaches(address, at):
            echoed = f"EPONG {address}".encode() + CRLF
            self._agenda.plan(at + self._timing.reply_s, lambda now: self._say(echoed, now), self._boot)

    def print_datagram(self, datagram: Datagram, at: float) -> float:
        """Print a datagram that came out of the air; return when the line will have left."""
        lqi = self._meter.options.lqi if self.settings.prints_lqi else None
        return self._say(self._printer.datagram(datagram, hex_payload=self.hex_payload, lqi=lqi), at)
