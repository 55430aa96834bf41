"""The radio half of a simulated module: scans, the PANA session, datagrams to and from the meter.

It plans everything on the module's agenda and prints through the module's UART. It also keeps what a checker of our
manners wants to know: every send, and every send that should not have been.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from skstack import simulated_pana
from skstack.echonet import Esv, Frame
from skstack.errors import FrameError
from skstack.simulated_faults import Faults
from skstack.simulated_lines import ALL_NODES, CRLF, PANA_PORT, Beacon, Datagram, Printer, link_local
from skstack.simulated_meter import SimulatedMeter
from skstack.simulated_models import Credentials, Model, Timing
from skstack.simulated_uart import Agenda

CHANNELS = range(0x21, 0x3D)
_RENEWAL_SHARE = 0.8  # of the lifetime; command reference 4.5
_TOLERANCE_S = 0.05  # what a host may need to see an EVENT that has just left
_AIRTIME_S_A_BYTE = 8 / 100_000  # 100 kbit/s
_HEADERS_BYTES = 60  # MAC, IPv6 and UDP around a payload

Say = Callable[[bytes, float], float]  # prints at a time; returns when the line will have left


@dataclass(slots=True)
class Settings:
    """What the module remembers until it restarts: registers and credentials."""

    channel: int = 0x21
    pan_id: int = 0xFFFF
    pairing_id: str = "CCDDEEFF"
    password: str | None = field(default=None, repr=False)
    route_b_id: str | None = field(default=None, repr=False)
    renews: bool = True  # S17
    prints_lqi: bool = False  # SA2
    over_limit: bool = False  # SFB
    airtime_s: float = 0.0  # SFD


class Sent(NamedTuple):
    """One SKSENDTO that was accepted: when its last byte had come (Unix seconds), and what it was."""

    at: float
    payload: bytes
    secured: bool


@dataclass(slots=True)
class Life:
    """Something that ends, and with it what was planned within it: the module until it restarts, a session."""

    over: bool = False


@dataclass(slots=True)
class Session(Life):
    """A PANA session with the meter that hung there when it began."""

    number: int = 0
    meter_generation: int = 0
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
        self.answer_timer_s = 20.0
        self.sends: list[Sent] = []
        self.violations: list[str] = []
        self._meter = meter
        self._model = model
        self._credentials = credentials
        self._timing = timing
        self._neighbours = neighbours
        self._agenda = agenda
        self._say = say
        self._printer = Printer(model)
        self._boot = Life()
        self._scanning = False
        self._joining = False
        self._sessions = 0
        self._asked_at: float | None = None
        self._closed_at: dict[int, float] = {}  # EVENT 29 or 32 -> when its line had left

    @property
    def meter_address(self) -> str:
        """The meter's link-local address."""
        return link_local(self._meter.options.mac)

    def restart(self) -> None:
        """Forget everything: registers, credentials, session, scan, and every answer on its way."""
        self._boot.over = True
        self._boot = Life()
        self._end_session()
        self.settings = Settings()
        self._scanning = self._joining = False
        self._closed_at.clear()

    # --- scanning

    def scan(self, mode: int, mask: int, duration: int, at: float) -> None:
        """Listen on the channels of *mask*, one after the other. While a scan runs, another is not begun."""
        if self._scanning:
            return  # it was answered OK all the same, on a BP35A1
        self._scanning = True
        channel_s = self._timing.scan_channel_s(duration)
        heard = [] if mode == 0 or self._missed(at) else self._audible(mode)
        listened = [channel for channel in CHANNELS if mask >> (channel - CHANNELS[0]) & 1]
        for number, channel in enumerate(listened):
            for beacon in heard:
                if beacon.channel == channel:
                    self._plan_beacon(beacon, mode, at + number * channel_s, channel_s)
        self._plan(at + len(listened) * channel_s, lambda end: self._end_scan(mode, listened, end), self._boot)
        if heard and self.faults.describes_late():
            self._plan_beacon(heard[0], mode, at + len(listened) * channel_s, self._timing.scan_gap_s)

    def _missed(self, at: float) -> bool:
        return self.faults.scan_misses() or self.faults.meter_is_silent(at)

    def _audible(self, mode: int) -> list[Beacon]:
        options = self._meter.options
        own = Beacon(options.channel, options.pan_id, options.mac, options.lqi, self._credentials.pairing_id)
        # Mode 2 asks for the pairing ID; only coordinators that have it answer.
        wanted = self.settings.pairing_id
        return [beacon for beacon in (own, *self._neighbours) if mode == 3 or beacon.pairing_id == wanted]

    def _plan_beacon(self, beacon: Beacon, mode: int, start: float, channel_s: float) -> None:
        """EVENT 20 comes early in the channel's time, its description at the end of it, as in a log of a BP35A1."""
        event = self._printer.event(0x20, self._printer.own_address)
        description = self._printer.description(beacon, with_pairing_id=mode == 2)
        self._plan(start + 0.1 * channel_s, lambda now: self._say(event, now), self._boot)
        self._plan(start + channel_s, lambda now: self._say(description, now), self._boot)

    def _end_scan(self, mode: int, listened: list[int], at: float) -> None:
        self._scanning = False
        if mode == 0:
            self._say(self._printer.event(0x1F, self._printer.own_address), at)
            self._say(self._printer.energy(listened), at)
        else:
            self._say(self._printer.event(0x22, self._printer.own_address), at)

    # --- the session

    def join(self, address: str, at: float) -> bool:
        """Begin a handshake with *address*; False if one is going on."""
        if self._joining:
            return False
        self._end_session()
        self._joining = True
        step_s = self._timing.pana_step_s
        looking = self._printer.event(0x21, address, "02")
        self._plan(at + step_s / 2, lambda now: self._say(looking, now), self._boot)
        if not self._reaches(address, at):
            self._plan(at + self._timing.unreachable_s, lambda now: self._refuse(address, now), self._boot)
            return True
        fails = self.faults.join_fails() or not self._is_paired()
        self._sessions += 1
        number = self._sessions
        messages = simulated_pana.handshake(
            self._credentials.route_b_id, number, self._meter.options.session_lifetime_s
        )
        found = self._printer.event(0x02, address)
        self._plan(at + step_s, lambda now: self._say(found, now), self._boot)
        for turn, message in enumerate(messages[: 2 if fails else 4], start=1):
            self._plan(at + (1 + turn) * step_s, self._pana_step(message), self._boot)
        if fails:
            self._plan(at + self._timing.refusal_s, lambda now: self._refuse(address, now), self._boot)
        else:
            self._plan(at + 6 * step_s, lambda now: self._connect(number, now), self._boot)
        return True

    def _reaches(self, address: str, at: float) -> bool:
        options, settings = self._meter.options, self.settings
        tuned = (settings.channel, settings.pan_id) == (options.channel, options.pan_id)
        return tuned and address == self.meter_address and not self.faults.meter_is_silent(at)

    def _is_paired(self) -> bool:
        wanted = (self._credentials.route_b_id, self._credentials.password)
        return (self.settings.route_b_id, self.settings.password) == wanted

    def _pana_step(self, message: bytes) -> Callable[[float], None]:
        """A message of the meter, and EVENT 21 for the module's own answer to it."""
        datagram = Datagram(self._meter.options.mac, message, self._printer.own_address, PANA_PORT, secured=False)
        confirmed = self._printer.event(0x21, self.meter_address, "00")

        def step(now: float) -> None:
            self._print_datagram(datagram, now)
            self._say(confirmed, now)

        return step

    def _refuse(self, address: str, at: float) -> None:
        self._joining = False
        self._end_session()
        self._say(self._printer.event(0x24, address), at)

    def _connect(self, number: int, at: float) -> None:
        self._joining = False
        session = Session(number=number, meter_generation=self._meter.generation)
        self.session = session
        self._confirm(session, at)
        self._plan(at + self._timing.instance_list_s, self._announce_instances, session)
        self._plan(self._meter.next_half_hour(at), self._half_hour, session)

    def _confirm(self, session: Session, at: float) -> None:
        """EVENT 25, and what follows from it: the next renewal, or the end."""
        session.renewing = False
        self._closed_at.pop(0x29, None)
        self._say(self._printer.event(0x25, self.meter_address), at)
        lifetime_s = self._meter.options.session_lifetime_s
        number = session.number
        self._plan(at + _RENEWAL_SHARE * lifetime_s, lambda now: self._renew(number, now), session)
        self._plan(at + lifetime_s, lambda now: self._expire_unless_renewed(number, now), session)

    def _renew(self, number: int, at: float) -> None:
        """Renew by itself at four fifths of the lifetime. If the meter is away, wait for the end of it."""
        if self.session and self.session.number == number and self.settings.renews and not self._meter_is_away(at):
            self._reauthenticate(at)

    def _expire_unless_renewed(self, number: int, at: float) -> None:
        if self.session and self.session.number == number:
            self.expire(at)

    def rejoin(self, at: float) -> bool:
        """Authenticate again, as SKREJOIN; False without a session."""
        if self.session is None:
            return False
        self._reauthenticate(at)
        return True

    def _reauthenticate(self, at: float) -> None:
        session = self.session
        if session is None:
            return
        done_at = at + 3 * self._timing.pana_step_s
        if self._meter_is_away(at) or self.faults.join_fails():
            address = self.meter_address
            self._plan(done_at, lambda now: self._refuse(address, now), session)
            return
        self._sessions += 1
        session.number = self._sessions
        message = simulated_pana.result(session.number, self._meter.options.session_lifetime_s)
        self._plan(at + 2 * self._timing.pana_step_s, self._pana_step(message), session)
        self._plan(done_at, lambda now: self._confirm(session, now), session)

    def _meter_is_away(self, at: float) -> bool:
        exchanged = self.session is not None and self.session.meter_generation != self._meter.generation
        return exchanged or self.faults.meter_is_silent(at)

    def expire(self, at: float) -> None:
        """The lifetime is over: EVENT 29, then the module authenticates by itself (register S17) or is done."""
        if self.session is None:
            return
        self._closed_at[0x29] = self._say(self._printer.event(0x29, self.meter_address), at)
        if self.settings.renews:
            self.session.renewing = True
            self._reauthenticate(at)
        else:
            self._end_session()

    def end_session(self, number: int, at: float) -> None:
        """The session is over, and EVENT *number* says so."""
        self._end_session()
        self._say(self._printer.event(number, self.meter_address), at)

    def limit(self, over: bool, at: float) -> None:
        """The hour's sending time is used up (EVENT 32), or there is some again (EVENT 33)."""
        self.settings.over_limit = over
        left_at = self._say(self._printer.event(0x32 if over else 0x33, self._printer.own_address), at)
        if over:
            self._closed_at[0x32] = left_at
        else:
            self._closed_at.pop(0x32, None)

    def terminate(self, at: float) -> bool:
        """End the session, as SKTERM; False without one. EVENT 28 if the meter does not answer."""
        session = self.session
        if session is None:
            return False
        self._say(self._printer.event(0x21, self.meter_address, "02"), at)
        if self._meter_is_away(at):
            self._plan(at + self._timing.terminate_timeout_s, lambda now: self.end_session(0x28, now), session)
            return True
        farewell = simulated_pana.termination(session.number)
        datagram = Datagram(self._meter.options.mac, farewell, self._printer.own_address, PANA_PORT, secured=False)
        end_at = at + self._timing.terminate_s
        self._plan(end_at, lambda now: self._print_datagram(datagram, now), session)
        self._plan(end_at, lambda now: self.end_session(0x27, now), session)
        return True

    def _end_session(self) -> None:
        if self.session is not None:
            self.session.over = True
        self.session = None
        self._asked_at = None
        self._closed_at.pop(0x29, None)

    # --- datagrams

    def send(self, address: str, payload: bytes, secure: int, at: float) -> float | None:
        """Send one datagram, as SKSENDTO; return when its EVENT 21 has been said, None if there is no key for it."""
        session = self.session
        if secure == 1 and session is None:
            return None
        secured = secure != 0 and session is not None
        self._note(payload, secured, at)
        self.settings.airtime_s += (len(payload) + _HEADERS_BYTES) * _AIRTIME_S_A_BYTE
        done_at = at + self._timing.send_s
        param = self._send_result(address, at)
        self._plan(done_at, lambda now: self._say(self._printer.event(0x21, address, f"{param:02d}"), now), self._boot)
        if param == 2:
            self._plan_second_try(address, done_at)
        if param != 1 and secured and session is not None:
            self._expect_answer(payload, at)
            self._plan(done_at, lambda now: self._reach_meter(payload, now), session)
        return done_at

    def _send_result(self, address: str, at: float) -> int:
        settings = self.settings
        blocked = settings.over_limit or (self.session is not None and self.session.renewing)
        if blocked or (address != ALL_NODES and not self._reaches(address, at)):
            return 1
        return self.faults.send_param()

    def _plan_second_try(self, address: str, at: float) -> None:
        found, sent = self._printer.event(0x02, address), self._printer.event(0x21, address, "00")
        again_at = at + self._timing.send_s
        self._plan(again_at, lambda now: self._say(found, now), self._boot)
        self._plan(again_at, lambda now: self._say(sent, now), self._boot)

    def _reach_meter(self, payload: bytes, at: float) -> None:
        if self._meter_is_away(at):
            return
        answer = self._meter.answer(payload, at)
        if answer is None or self.session is None:
            return
        answered_at = at + self._timing.answer_s([prop.epc for prop in Frame.from_bytes(payload).properties])
        datagram = Datagram(self._meter.options.mac, answer, self._printer.own_address)
        for reply in self.faults.replies(datagram):
            self._plan(answered_at + reply.late_s, self._deliver(reply.datagram), self.session)

    def _deliver(self, datagram: Datagram) -> Callable[[float], None]:
        def deliver(at: float) -> None:
            left_at = self._print_datagram(datagram, at)
            self._plan(left_at, self._answered, self._boot)

        return deliver

    def _answered(self, _at: float) -> None:
        self._asked_at = None

    def _announce_instances(self, at: float) -> None:
        if not self._meter_is_away(at):
            self._print_datagram(Datagram(self._meter.options.mac, self._meter.instance_list(), ALL_NODES), at)
            if self._model.blank_lines_after_join:
                self._say(CRLF * self._model.blank_lines_after_join, at)

    def _half_hour(self, at: float) -> None:
        self.announce(at)
        if self.session is not None:
            self._plan(self._meter.next_half_hour(at), self._half_hour, self.session)

    def announce(self, at: float) -> None:
        """Let the meter announce its half-hour values, if there is a session."""
        if self.session is not None and not self._meter_is_away(at):
            datagram = Datagram(self._meter.options.mac, self._meter.half_hour(at), self._printer.own_address)
            self._print_datagram(datagram, at)

    def ping(self, address: str, at: float) -> None:
        """Ask *address* for an ICMP echo; whoever is there answers."""
        if self._reaches(address, at):
            echoed = f"EPONG {address}".encode() + CRLF
            self._plan(at + self._timing.reply_s, lambda now: self._say(echoed, now), self._boot)

    def _print_datagram(self, datagram: Datagram, at: float) -> float:
        lqi = self._meter.options.lqi if self.settings.prints_lqi else None
        return self._say(self._printer.datagram(datagram, hex_payload=self.hex_payload, lqi=lqi), at)

    # --- manners

    def _note(self, payload: bytes, secured: bool, at: float) -> None:
        self.sends.append(Sent(at, payload, secured))
        for number, closed_at in self._closed_at.items():
            if at > closed_at + _TOLERANCE_S:
                self.violations.append(f"{at:.3f}: sent {at - closed_at:.3f} s after EVENT {number:X}")
        asks = _wants_answer(payload)
        if asks and self._asked_at is not None and at < self._asked_at + self.answer_timer_s - _TOLERANCE_S:
            waited_s = at - self._asked_at
            self.violations.append(f"{at:.3f}: asked again {waited_s:.3f} s after a question without an answer yet")

    def _expect_answer(self, payload: bytes, at: float) -> None:
        if _wants_answer(payload):
            self._asked_at = at

    def _plan(self, at: float, action: Callable[[float], object], within: Life) -> None:
        """Do *action* at *at*, unless *within* is over by then."""

        def unless_over(now: float) -> None:
            if not within.over:
                action(now)

        self._agenda.plan(at, unless_over)


def _wants_answer(payload: bytes) -> bool:
    try:
        return Frame.from_bytes(payload).esv in (Esv.GET, Esv.SET_C, Esv.INF_REQ, Esv.SET_GET)
    except FrameError:
        return False
