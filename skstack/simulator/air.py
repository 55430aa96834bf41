"""What the parts of a simulated radio share: the meter in reach, the memory, and the lines that are printed."""

from __future__ import annotations

from collections.abc import Callable

from skstack.simulator.audit import Audit
from skstack.simulator.faults import Faults
from skstack.simulator.lines import Datagram, Printer, link_local
from skstack.simulator.memory import CHANNEL, PAN_ID, PRINTS_LQI, Memory
from skstack.simulator.meter import SimulatedMeter
from skstack.simulator.models import Model, Timing
from skstack.simulator.uart import Agenda, Scope

Say = Callable[[bytes, float], float]  # prints at a time; returns when the line will have left (inf: it never will)


class Air:
    """A module of a *model* near *meter*. The module hands in its agenda and its UART."""

    def __init__(self, meter: SimulatedMeter, *, model: Model, timing: Timing, agenda: Agenda, say: Say) -> None:
        """Start as after a reset, with nothing wrong."""
        self.meter = meter
        self.model = model
        self.timing = timing
        self.agenda = agenda
        self.say = say
        self.printer = Printer(model)
        self.faults = Faults()
        self.audit = Audit()
        self.memory = Memory()
        self.hex_payload = True
        self.boot = Scope()  # the module until it restarts

    @property
    def meter_mac(self) -> str:
        """The meter's MAC address."""
        return self.meter.options.mac

    @property
    def meter_address(self) -> str:
        """The meter's link-local address."""
        return link_local(self.meter_mac)

    def restart(self) -> None:
        """Forget registers and credentials, and what was going on."""
        self.boot.over = True
        self.boot = Scope()
        self.memory = Memory()
        self.audit.reopen(0x32)

    def reaches(self, address: str, at: float) -> bool:
        """Return whether the meter is at *address*, tuned in to, and in reach at *at*."""
        options, registers = self.meter.options, self.memory.registers
        tuned = (registers[CHANNEL], registers[PAN_ID]) == (f"{options.channel:02X}", f"{options.pan_id:04X}")
        return tuned and address == self.meter_address and at >= self.faults.silent_until

    def is_paired(self) -> bool:
        """Return whether the host has set the credentials that the meter accepts."""
        options = self.meter.options
        return (self.memory.route_b_id, self.memory.password) == (options.route_b_id, options.password)

    def plan_line(self, at: float, line: bytes, within: Scope | None = None) -> None:
        """Print *line* at *at*, unless *within* is over by then, or the module has restarted where it is not given."""
        self.agenda.plan(at, lambda now: self.say(line, now), within or self.boot)

    def print_datagram(self, datagram: Datagram, at: float) -> float:
        """Print a datagram that came out of the air; return when the line will have left."""
        lqi = self.meter.options.lqi if self.memory.is_on(PRINTS_LQI) else None
        return self.say(self.printer.datagram(datagram, hex_payload=self.hex_payload, lqi=lqi), at)
