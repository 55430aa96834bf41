"""The radio half of a simulated module: scans, and datagrams to and from the meter.

It plans everything on the module's agenda and prints through the module's UART.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from skstack.echonet.frame import Frame
from skstack.simulator.air import Air
from skstack.simulator.audit import Sent
from skstack.simulator.habits import Reply, apply
from skstack.simulator.lines import ALL_NODES, CRLF, Beacon, Datagram
from skstack.simulator.memory import CHANNELS, OVER_LIMIT, PAIRING_ID
from skstack.simulator.pana_client import PanaClient, PanaSession
from skstack.simulator.uart import Scope

_WITH_PAIRING_ID = 2  # the mode of a scan; 3: without


class Radio:
    """Scans, sends, receives; joins through its PANA client."""

    def __init__(self, air: Air, neighbours: Sequence[Beacon]) -> None:
        """Listen to what is in the *air*, the beacons of *neighbours* among it."""
        self.air = air
        self.pana = PanaClient(air, connected=self._begin_session)
        self._neighbours = neighbours
        self._thinking = Scope()  # of the meter about a request that another one displaces
        self._scanning: Scope | None = None

    def restart(self) -> None:
        """Forget everything: registers, credentials, session, scan, and every response on its way."""
        self.pana.forget()
        self.air.restart()

    # --- scans

    def scan(self, mode: int, mask: int, duration: int, at: float) -> None:
        """Begin a scan, unless one is under way: channel after channel, each beacon in the time of its channel.

        The second one gets OK all the same, and the EVENT 22 that comes is the first one's: seen on a BP35A1. In
        mode 2 only coordinators with the requested pairing ID respond.
        Source: BP35A1 command reference 4.12. The times within a channel are those of a log of a BP35A1, whose scan of
        duration 6 printed EVENT 20 early and EPANDESC at the end of the channel, 0.65 s later, and EVENT 22 after the
        last channel.
        """
        air = self.air
        if self._scanning is air.boot:
            return
        self._scanning = air.boot
        channel_s = air.timing.scan_channel_s(duration)
        listened = [channel for channel in CHANNELS if mask >> (channel - CHANNELS[0]) & 1]
        heard = air.faults.hearing(self._answering(mode, at), len(listened))
        for number, channel in enumerate(listened):
            for beacon in heard:
                if beacon.channel == channel:
                    self._plan_beacon(beacon, mode, at + number * channel_s, channel_s)
        end_at = at + len(listened) * channel_s
        air.agenda.plan(end_at, self._end_scan, air.boot)
        if heard and air.faults.describes_late():
            self._plan_beacon(heard[0], mode, end_at, air.timing.scan_gap_s)

    def _answering(self, mode: int, at: float) -> list[Beacon]:
        """Return the beacons in the air."""
        options, wanted = self.air.meter.options, self.air.memory.registers[PAIRING_ID]
        own = Beacon(options.channel, options.pan_id, options.mac, options.lqi, options.route_b_id[-8:])
        in_the_air = [own, *self._neighbours] if at >= self.air.faults.silent_until else self._neighbours
        return [beacon for beacon in in_the_air if mode != _WITH_PAIRING_ID or beacon.pairing_id == wanted]

    def _plan_beacon(self, beacon: Beacon, mode: int, start: float, channel_s: float) -> None:
        air = self.air
        air.plan_line(start + 0.1 * channel_s, air.printer.event(0x20, air.printer.own_address))
        description = air.printer.description(beacon, with_pairing_id=mode == _WITH_PAIRING_ID)
        air.plan_line(start + channel_s, description)

    def _end_scan(self, at: float) -> None:
        self._scanning = None
        self.air.say(self.air.printer.event(0x22, self.air.printer.own_address), at)

    # --- the limit on sending

    def limit(self, over: bool, at: float) -> None:
        """Say that the hour's sending time is used up (EVENT 32), or that there is some again (EVENT 33)."""
        air = self.air
        air.memory.registers[OVER_LIMIT] = f"{over:d}"
        left_at = air.say(air.printer.event(0x32 if over else 0x33, air.printer.own_address), at)
        if over:
            air.audit.close(0x32, left_at)
        else:
            air.audit.reopen(0x32)

    # --- to the meter

    def send(self, address: str, payload: bytes, secure: int, at: float) -> float | None:
        """Send one datagram, as SKSENDTO; return when its EVENT 21 has been said, None if there is no key for it."""
        air, session = self.air, self.pana.session
        if secure == 1 and session is None:
            return None
        secured = secure != 0 and session is not None
        sent = Sent(at, payload, secured)
        air.audit.note(sent)
        done_at = at + air.timing.send_s
        param = self._send_result(address, at)
        air.plan_line(done_at, air.printer.event(0x21, address, f"{param:02d}"))
        reached_at = self._plan_second_attempt(address, done_at) if param == 2 else done_at
        if param != 1 and secured and session is not None:
            air.audit.requested(sent)
            air.agenda.plan(reached_at, lambda now: self._reach_meter(payload, now), session)
        return done_at

    def _send_result(self, address: str, at: float) -> int:
        session = self.pana.session
        blocked = self.air.memory.is_on(OVER_LIMIT) or (session is not None and session.renewing)
        if blocked or (address != ALL_NODES and not self.air.reaches(address, at)):
            return 1
        return self.air.faults.send_param()

    def _plan_second_attempt(self, address: str, at: float) -> float:
        """Plan what follows EVENT 21 02: the neighbour responds, and the module sends by itself. Return when."""
        again_at = at + self.air.timing.send_s
        self.air.plan_line(again_at, self.air.printer.event(0x02, address))
        self.air.plan_line(again_at, self.air.printer.event(0x21, address, "00"))
        return again_at

    # --- from the meter

    def _reach_meter(self, payload: bytes, at: float) -> None:
        if not self.pana.hears(self.pana.session, at):
            return
        response = self.air.meter.respond(payload, at)
        if response is None:
            return
        self._thinking.over = True
        self._thinking = Scope()
        request = Frame.from_bytes(payload)
        usual_s = self.air.timing.response_s([each.epc for each in request.properties])
        for reply in self._habitual(Reply(request, response, at, usual_s)):
            self.air.agenda.plan(at + reply.delay_s, self._deliver(reply, self._thinking), self.pana.session)

    def _habitual(self, reply: Reply) -> list[Reply]:
        """Return what the habits of the meter, and then those of the air, make of *reply*."""
        return [last for said in apply(self.air.meter.habits, reply) for last in apply(self.air.faults.habits, said)]

    def _deliver(self, reply: Reply, thinking: Scope) -> Callable[[float], None]:
        datagram = Datagram(self.air.meter_mac, reply.payload)

        def deliver(at: float) -> None:
            if reply.begins_anew and thinking.over:
                return
            left_at = self.air.print_datagram(datagram, at)
            if math.isfinite(left_at):
                self.air.agenda.plan(left_at, lambda _: self.air.audit.responded(reply.payload), self.air.boot)

        return deliver

    def _begin_session(self, session: PanaSession, at: float) -> None:
        """Plan what the meter announces by itself as long as the session lasts."""
        self.air.agenda.plan(at + self.air.timing.instance_list_s, self._announce_instances, session)
        self.air.agenda.plan(self.air.meter.next_half_hour(at), self._half_hour, session)

    def _announce_instances(self, at: float) -> None:
        if self.pana.hears(self.pana.session, at):
            self._announce(self.air.meter.instance_list(), ALL_NODES, at)
            if self.air.model.blank_lines_after_join:
                self.air.say(CRLF * self.air.model.blank_lines_after_join, at)

    def _half_hour(self, at: float) -> None:
        self.announce(at)
        if self.pana.session is not None:
            self.air.agenda.plan(self.air.meter.next_half_hour(at), self._half_hour, self.pana.session)

    def announce(self, at: float) -> None:
        """Let the meter announce its half-hour values, if there is a session."""
        announced = self.air.meter.half_hour(at) if self.pana.hears(self.pana.session, at) else None
        if announced is not None:
            self._announce(announced, None, at)

    def _announce(self, payload: bytes, destination: str | None, at: float) -> None:
        for reply in self._habitual(Reply(None, payload, at)):
            datagram = Datagram(self.air.meter_mac, reply.payload, destination)
            if reply.delay_s:
                self.air.agenda.plan(at + reply.delay_s, partial(self.air.print_datagram, datagram), self.air.boot)
            else:
                self.air.print_datagram(datagram, at)
