"""A simulated Wi-SUN module with a simulated smart meter behind it: bytes and a time in, bytes with their time out.

It is written after the command reference and the logs of real modules, and shares nothing with the driver.
It has no clock and does no I/O; `python -m skstack.simulator` puts it on a pseudo terminal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from skstack.simulator.air import Air
from skstack.simulator.commands import PRODUCT_COMMANDS, Commands, Outcome
from skstack.simulator.lines import CRLF, Beacon, Datagram
from skstack.simulator.memory import ECHO
from skstack.simulator.meter import SimulatedMeter
from skstack.simulator.models import MODELS, REALISTIC, Model, Timing
from skstack.simulator.radio import Radio
from skstack.simulator.uart import Agenda, CommandReader, Outlet, Scope, TypedCommand


class SimulatedModule:
    """The module. Times are Unix seconds; *at* must never run backwards.

    *sends*: every datagram the host has sent. *violations*: those that break a rule: while another request is
    pending, or while the module must be silent. *faults*: what goes wrong the next time it can; so do the methods
    emit_event, restart, announce and inject, whose *at* may lie in the future.
    """

    reads = True  # see pseudo_terminal.Device

    def __init__(
        self,
        meter: SimulatedMeter,
        *,
        model: Model | None = None,
        hex_payload: bool = True,
        timing: Timing = REALISTIC,
        echo: bool = True,
        neighbours: Sequence[Beacon] = (),
    ) -> None:
        """Power up a *model* (by default a BP35C2) near *meter*."""
        self.model = model or MODELS["BP35C2"]
        self.meter = meter
        self.timing = timing
        self._agenda = Agenda()
        self._outlet = Outlet(timing.byte_s)
        self._reader = CommandReader(7 if self.model.has_side else 6, echoes_payload=self.model.echoes_payload)
        self._executing: Scope | None = None  # one command at a time; the next one waits, unread
        self._hung_until = 0.0
        self._air = Air(meter, model=self.model, timing=timing, agenda=self._agenda, say=self._say)
        # Tessera modules know only hexadecimal text; ROHM ones keep the choice in flash memory.
        self._air.hex_payload = hex_payload or not self.model.has_product_commands
        self._air.memory.registers[ECHO] = f"{echo:d}"
        self._radio = Radio(self._air, neighbours)
        self._commands = Commands(self._radio)
        self.faults = self._air.faults
        self.sends = self._air.audit.sends
        self.violations = self._air.audit.violations

    # --- the UART

    def receive(self, data: bytes, at: float) -> None:
        """Take bytes the host has written."""
        self._agenda.run(at)
        if at >= self._hung_until:
            self._reader.feed(data)
            self._interpret(at)
            self._agenda.run(at)

    def take_output(self, at: float) -> bytes:
        """Return everything that has left the module's UART by *at*, in order, and was not taken before."""
        self._agenda.run(at)
        return self._outlet.take(at)

    def next_output_at(self) -> float | None:
        """Return the earliest time at which something may have left the UART; None: nothing is going on."""
        return min((at for at in (self._outlet.next_at(), self._agenda.next_at()) if at is not None), default=None)

    def _say(self, text: bytes, at: float) -> float:
        """Print *text* and return when it will have left; while the module hangs: never."""
        return math.inf if at < self._hung_until else self._outlet.put(text, at)

    def _interpret(self, at: float) -> None:
        """Work through what was typed, up to the first command that keeps the module busy."""
        while self._executing is None and not self._reader.idle:
            echo, command = self._reader.next()
            if echo and self._air.memory.is_on(ECHO):
                self._say(echo, at)
            if command is not None and command.words:
                self._execute(command, at)

    def _execute(self, command: TypedCommand, at: float) -> None:
        name = command.words[0]
        refusal = self.faults.refusal(name)
        if refusal is not None:
            outcome = Outcome(f"FAIL {refusal}")
        elif command.payload is not None:
            outcome = self._commands.send(command.words[1:], command.payload, at)
        else:
            outcome = self._commands.execute(name, command.words[1:], at)
        usual_s = self.timing.command_s if outcome.after_s is None else outcome.after_s
        done_at = at + usual_s + self.timing.pause_s + self.faults.slowness_s(name)
        end = b"\r" if name in PRODUCT_COMMANDS and self.model.has_product_commands else CRLF
        status = b"" if outcome.status is None else outcome.status.encode() + end

        def complete(now: float) -> None:
            self._executing = None
            for line in (*outcome.lines, status):
                if line:
                    self._say(line, now)
            if outcome.then is not None:
                outcome.then(now)
            self._interpret(now)

        self._executing = Scope()
        self._agenda.plan(done_at, complete, self._executing)

    # --- faults, and what a checker reads

    @property
    def flash_writes(self) -> int:
        """How often WOPT, WUART or SKSAVE wrote to flash memory, which bears some ten thousand times."""
        return self._commands.flash_writes

    @property
    def has_session(self) -> bool:
        """True while there is a PANA session, also one that is being renewed."""
        return self._radio.pana.session is not None

    def set_response_timer(self, seconds: float, *, longest_s: float | None = None) -> None:
        """Let a request be repeated after *seconds* (20 by default), and a different one come after *longest_s*.

        Before that another is a violation. *longest_s* counts from the first attempt; None: as *seconds*.
        """
        self._air.audit.response_timer_s = seconds
        self._air.audit.longest_s = seconds if longest_s is None else longest_s

    def emit_event(self, number: int, at: float, *, times: int = 1, every_s: float = 0.0) -> None:
        """Let EVENT *number* come at *at*, with its true effect, and again *every_s* until it has come *times* times.

        24, 26: the session is over. 29: the module renews it by itself, which ends in EVENT 25, or 24 if a join was to
        fail. 32: nothing is sent until 33. Others are only printed.
        """
        pana, radio = self._radio.pana, self._radio
        effects: dict[int, Callable[[float], object]] = {
            0x24: lambda now: pana.end(0x24, now),
            0x26: lambda now: pana.end(0x26, now),
            0x29: pana.expire,
            0x32: lambda now: radio.limit(True, now),
            0x33: lambda now: radio.limit(False, now),
        }
        line = self._air.printer.event(number, self._air.meter_address)
        effect = effects.get(number) or (lambda now: self._say(line, now))
        for repetition in range(times):
            self._agenda.plan(at + repetition * every_s, effect)

    def restart(self, at: float, *, boot_line: bytes = b"") -> None:
        """Let the module restart by itself at *at*: everything forgotten, echo on again."""

        def begin_again(now: float) -> None:
            self._reader.forget()
            self._radio.restart()
            self._hung_until = now
            if self._executing is not None:
                self._executing.over = True
                self._executing = None
            if boot_line:
                self._say(boot_line, now)

        self._agenda.plan(at, begin_again)

    def hang(self, until: float) -> None:
        """Let the module hear and say nothing until then; what is typed or would be printed meanwhile is lost."""
        self._hung_until = until

    def announce(self, at: float) -> None:
        """Let the meter announce its half-hour values at *at*, out of turn."""
        self._agenda.plan(at, self._radio.announce)

    def inject(self, datagram: Datagram, at: float) -> None:
        """Let a datagram come out of the air at *at*, whoever sent it and whatever it says."""
        self._agenda.plan(at, lambda now: self._air.print_datagram(datagram, now))
