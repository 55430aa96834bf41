"""A simulated Wi-SUN module with a simulated smart meter behind it: bytes and a time in, bytes with their time out.

It is written after the command reference and the logs of real modules, and shares nothing with the driver.
It has no clock and does no I/O; `python -m skstack.simulator` puts it on a pseudo terminal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from skstack.simulated_faults import Faults
from skstack.simulated_lines import CRLF, Beacon, Printer, link_local
from skstack.simulated_meter import SimulatedMeter
from skstack.simulated_models import MODELS, REALISTIC, Credentials, Dialect, Model, Timing
from skstack.simulated_radio import CHANNELS, Radio, Sent
from skstack.simulated_uart import Agenda, CommandReader, Outlet, Request

_ADDRESS = re.compile(r"[0-9A-F]{4}(:[0-9A-F]{4}){7}")  # fully written out, upper case; else ER06
_MAX_PAYLOAD_BYTES = 1232
_UDP_HANDLES = ("1", "2")  # 3610 and 716 are open from the start


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command is answered: lines before the status, and the status, which SKLL64 has none of."""

    status: str | None = "OK"
    lines: tuple[bytes, ...] = ()
    after_s: float | None = None  # None: the usual time


_OK = Answer()
_UNKNOWN = Answer("FAIL ER04")
_WRONG_COUNT = Answer("FAIL ER05")
_WRONG_FORM = Answer("FAIL ER06")
_FAILED = Answer("FAIL ER10")


class SimulatedModule:
    """The module. Times are Unix seconds; *at* must never run backwards.

    What a checker wants to know: .sends, .violations, .flash_writes. What can be made to go wrong: .faults, and the
    methods emit_event, restart, hang and announce, whose *at* may lie in the future.
    """

    def __init__(
        self,
        meter: SimulatedMeter,
        *,
        model: Model | None = None,
        dialect: Dialect = "dual",
        hex_payload: bool = True,
        credentials: Credentials | None = None,
        timing: Timing = REALISTIC,
        echo: bool = True,
        neighbours: Sequence[Beacon] = (),
    ) -> None:
        """Power up a *model* (by default the ROHM one of the *dialect*) near *meter*, which accepts *credentials*."""
        self.model = model or MODELS["BP35A1" if dialect == "single" else "BP35C2"]
        self.meter = meter
        self.timing = timing
        self.flash_writes = 0
        self._echo_at_start = self._echo = echo
        self._uart_option = "00"
        self._agenda = Agenda()
        self._outlet = Outlet(timing.byte_s)
        self._printer = Printer(self.model)
        self._reader = CommandReader(7 if self.model.has_side else 6, echoes_payload=self.model.echoes_payload)
        self._busy_until = 0.0
        self._hung_until = 0.0
        self._radio = Radio(
            meter,
            model=self.model,
            credentials=credentials or Credentials(),
            timing=timing,
            neighbours=neighbours,
            agenda=self._agenda,
            say=self._say,
        )
        # Tessera modules know only hexadecimal text; ROHM ones keep the choice in flash memory.
        self._radio.hex_payload = hex_payload or not self.model.has_product_commands

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
        times = [time for time in (self._outlet.next_at(), self._agenda.next_at()) if time is not None]
        return min(times, default=None)

    def _say(self, text: bytes, at: float) -> float:
        return at if at < self._hung_until else self._outlet.put(text, at)

    def _interpret(self, at: float) -> None:
        """Work through what was typed, up to the first command that keeps the module busy."""
        while at >= self._busy_until and not self._reader.idle:
            echo, request = self._reader.next()
            if echo and self._echo:
                self._say(echo, at)
            if request is not None and request.words:
                self._execute(request, at)

    def _execute(self, request: Request, at: float) -> None:
        name = request.words[0]
        refusal = self.faults.refusal(name)
        if refusal is not None:
            answer = Answer(f"FAIL {refusal}")
        elif request.payload is not None:
            answer = self._send(request.words[1:], request.payload, at)
        else:
            answer = self._answer(name, request.words[1:], at)
        done_at = at + (self.timing.command_s if answer.after_s is None else answer.after_s)
        end = b"\r" if name in _PRODUCT_COMMANDS and self.model.has_product_commands else CRLF
        status = b"" if answer.status is None else answer.status.encode() + end

        def reply(now: float) -> None:
            for line in (*answer.lines, status):
                if line:
                    self._say(line, now)
            self._interpret(now)

        self._busy_until = done_at
        self._agenda.plan(done_at, reply)

    def _answer(self, name: str, args: tuple[str, ...], at: float) -> Answer:
        entry = _COMMANDS.get(name)
        if entry is None or (name in _PRODUCT_COMMANDS and not self.model.has_product_commands):
            return _UNKNOWN
        counts, execute = entry
        expected = counts if name != "SKSCAN" or not self.model.has_side else (4,)
        if len(args) not in expected:
            return _WRONG_COUNT
        return execute(self, args, at)

    # --- faults and what a checker asks

    @property
    def faults(self) -> Faults:
        """What goes wrong the next time it can."""
        return self._radio.faults

    @property
    def sends(self) -> list[Sent]:
        """Every datagram the host has sent."""
        return self._radio.sends

    @property
    def violations(self) -> list[str]:
        """Every send that should not have been: over another question, or while the module had asked for silence."""
        return self._radio.violations

    @property
    def has_session(self) -> bool:
        """True while a PANA session stands, be it one that is being renewed."""
        return self._radio.session is not None

    def set_answer_timer(self, seconds: float) -> None:
        """Let a question count as unanswered after *seconds* (20 by default); until then another is a violation."""
        self._radio.answer_timer_s = seconds

    def emit_event(self, number: int, at: float) -> None:
        """Let EVENT *number* come at *at*, with its true effect.

        24, 26: the session is over. 29: the module renews it by itself, which ends in EVENT 25, or 24 if a join was to
        fail. 32: nothing is sent until 33. Others are only printed.
        """
        radio = self._radio
        effects: dict[int, Callable[[float], None]] = {
            0x24: lambda now: radio.end_session(0x24, now),
            0x26: lambda now: radio.end_session(0x26, now),
            0x29: radio.expire,
            0x32: lambda now: radio.limit(True, now),
            0x33: lambda now: radio.limit(False, now),
        }
        line = self._printer.event(number, radio.meter_address)
        self._agenda.plan(at, effects.get(number) or (lambda now: self._put(line, now)))

    def restart(self, at: float, *, boot_line: bytes = b"") -> None:
        """Let the module restart by itself at *at*: everything forgotten, echo on again."""

        def begin_again(now: float) -> None:
            self._reader.forget()
            self._forget()
            if boot_line:
                self._say(boot_line, now)

        self._agenda.plan(at, begin_again)

    def hang(self, until: float) -> None:
        """Let the module hear and say nothing until then; what is typed or would be printed meanwhile is lost."""
        self._hung_until = until

    def announce(self, at: float) -> None:
        """Let the meter announce its half-hour values at *at*, out of turn."""
        self._agenda.plan(at, self._radio.announce)

    def _put(self, line: bytes, at: float) -> None:
        self._say(line, at)

    def _forget(self) -> None:
        self._radio.restart()
        self._echo = self._echo_at_start
        self._busy_until = 0.0

    # --- commands

    def _send(self, args: tuple[str, ...], payload: bytes, at: float) -> Answer:
        handle, address, port, secure, *side, length = args
        fits = 1 <= len(payload) <= _MAX_PAYLOAD_BYTES and re.fullmatch("[0-9A-Fa-f]{4}", length)
        known = _ADDRESS.fullmatch(address) and re.fullmatch("[0-9A-F]{4}", port) and secure in ("0", "1", "2")
        if not fits or not known or side not in ([], ["0"], ["1"]):
            return _WRONG_FORM
        if handle not in _UDP_HANDLES:
            return _FAILED
        confirmed_at = self._radio.send(address, payload, int(secure), at)
        if confirmed_at is None:
            return _FAILED
        return Answer(after_s=confirmed_at - at + self.timing.confirm_s)

    def _version(self, _args: tuple[str, ...], _at: float) -> Answer:
        return Answer(lines=(f"EVER {self.model.firmware}".encode() + CRLF,))

    def _application(self, _args: tuple[str, ...], _at: float) -> Answer:
        if self.model.application is None:
            return _UNKNOWN
        return Answer(lines=(f"EAPPVER {self.model.application}".encode() + CRLF,))

    def _info(self, _args: tuple[str, ...], _at: float) -> Answer:
        settings = self._radio.settings
        return Answer(lines=(self._printer.info(settings.channel, settings.pan_id),))

    def _reset(self, _args: tuple[str, ...], _at: float) -> Answer:
        self._forget()
        return Answer(after_s=self.timing.reset_s)

    def _register(self, args: tuple[str, ...], _at: float) -> Answer:
        name = _register_name(args[0])
        if len(args) == 1:
            value = self._read_register(name)
            return _WRONG_FORM if value is None else Answer(lines=(f"ESREG {value}".encode() + CRLF,))
        return _OK if self._write_register(name, args[1]) else _WRONG_FORM

    def _read_register(self, name: str) -> str | None:
        settings = self._radio.settings
        values = {
            "2": f"{settings.channel:02X}",
            "3": f"{settings.pan_id:04X}",
            "7": "00000000",
            "A": settings.pairing_id,
            "15": "0",
            "16": "00000384",
            "17": f"{settings.renews:d}",
            "A0": "1",
            "A1": "1",
            "A2": f"{settings.prints_lqi:d}",
            "FB": f"{settings.over_limit:d}",
            "FD": f"{round(settings.airtime_s * 1000):016X}",
            "FE": f"{self._echo:d}",
            "FF": "0",
        }
        if self.model.has_side:
            values["1"] = self.model.mac
        return values.get(name)

    def _write_register(self, name: str, value: str) -> bool:
        settings = self._radio.settings
        if name == "2" and re.fullmatch("[0-9A-F]{2}", value) and int(value, 16) in CHANNELS:
            settings.channel = int(value, 16)
        elif name == "3" and re.fullmatch("[0-9A-F]{4}", value):
            settings.pan_id = int(value, 16)
        elif name == "A" and len(value) == 8:
            settings.pairing_id = value
        elif name == "FD" and set(value) == {"0"}:
            settings.airtime_s = 0.0
        elif value not in ("0", "1"):
            return False
        elif name == "17":
            settings.renews = value == "1"
        elif name == "A2":
            settings.prints_lqi = value == "1"  # no effect on the lines of a single-hop module
        elif name == "FE":
            self._echo = value == "1"
        else:
            return name in ("15", "A0", "A1", "FF")
        return True

    def _password(self, args: tuple[str, ...], _at: float) -> Answer:
        if not re.fullmatch("[0-9A-F]{1,2}", args[0]) or not 1 <= int(args[0], 16) <= 32:
            return _WRONG_FORM
        length = int(args[0], 16)
        # A real module takes whatever lies behind a password that is too short; here it is question marks.
        self._radio.settings.password = args[1][:length].ljust(length, "?")
        return _OK

    def _route_b_id(self, args: tuple[str, ...], _at: float) -> Answer:
        self._radio.settings.route_b_id = args[0]
        self._radio.settings.pairing_id = args[0][-8:]
        return _OK

    def _scan(self, args: tuple[str, ...], at: float) -> Answer:
        mode, mask, duration = args[:3]
        formed = mode in ("0", "2", "3") and re.fullmatch("[0-9A-Fa-f]{8}", mask) and re.fullmatch("[0-9A-E]", duration)
        if not formed or args[3:] not in ((), ("0",), ("1",)):
            return _WRONG_FORM
        self._radio.scan(int(mode), int(mask, 16), int(duration, 16), at + self.timing.command_s)
        return _OK

    def _link_local(self, args: tuple[str, ...], _at: float) -> Answer:
        if not re.fullmatch("[0-9A-Fa-f]{16}", args[0]):
            return _WRONG_FORM
        return Answer(None, (link_local(args[0]).encode() + CRLF,), self.timing.address_s)

    def _join(self, args: tuple[str, ...], at: float) -> Answer:
        if not _ADDRESS.fullmatch(args[0]):
            return _WRONG_FORM
        return _OK if self._radio.join(args[0], at + self.timing.command_s) else _FAILED

    def _rejoin(self, _args: tuple[str, ...], at: float) -> Answer:
        return _OK if self._radio.rejoin(at + self.timing.command_s) else _FAILED

    def _terminate(self, _args: tuple[str, ...], at: float) -> Answer:
        return _OK if self._radio.terminate(at) else _FAILED

    def _ping(self, args: tuple[str, ...], at: float) -> Answer:
        if not _ADDRESS.fullmatch(args[-1]):
            return _WRONG_FORM
        self._radio.ping(args[-1], at + self.timing.command_s)
        return _OK

    def _table(self, args: tuple[str, ...], _at: float) -> Answer:
        own, extra = self._printer.own_address, self.model.extra_lines
        tables = {
            "1": ["EADDR", own],
            "2": ["ENEIGHBOR", f"{self._radio.meter_address} {self.meter.options.mac} FFFE"],
            "E": ["EPORT", "3610", "716", "0", "0", "0", "0", *(["", "3610", "0", "0", "0"] if extra else [])],
        }
        if args[0] not in tables:
            return _WRONG_FORM
        return Answer(lines=tuple(line.encode() + CRLF for line in tables[args[0]]))

    def _add_neighbour(self, args: tuple[str, ...], _at: float) -> Answer:
        formed = _ADDRESS.fullmatch(args[0]) and re.fullmatch("[0-9A-F]{16}", args[1])
        return _OK if formed else _WRONG_FORM

    def _save(self, _args: tuple[str, ...], _at: float) -> Answer:
        self.flash_writes += 1
        return _OK

    def _read_option(self, _args: tuple[str, ...], _at: float) -> Answer:
        return Answer(f"OK {self._radio.hex_payload:02d}")

    def _write_option(self, args: tuple[str, ...], _at: float) -> Answer:
        if args[0] not in ("00", "01"):
            return _WRONG_FORM
        self._radio.hex_payload = args[0] == "01"
        self.flash_writes += 1
        return _OK

    def _read_uart(self, _args: tuple[str, ...], _at: float) -> Answer:
        return Answer(f"OK {self._uart_option}")

    def _write_uart(self, args: tuple[str, ...], _at: float) -> Answer:
        if not re.fullmatch("[0-9A-F]{2}", args[0]):
            return _WRONG_FORM
        self._uart_option = args[0]
        self.flash_writes += 1
        return _OK


def _register_name(written: str) -> str:
    """Return the register without its S and leading zeros: S2 and S02 are one."""
    return written[1:].lstrip("0") if written.startswith("S") else ""


_PRODUCT_COMMANDS = frozenset({"ROPT", "WOPT", "RUART", "WUART"})  # ROHM's own; answered with CR alone

_Execute = Callable[[SimulatedModule, tuple[str, ...], float], Answer]
_COMMANDS: dict[str, tuple[tuple[int, ...], _Execute]] = {
    "SKVER": ((0,), SimulatedModule._version),
    "SKAPPVER": ((0,), SimulatedModule._application),
    "SKINFO": ((0,), SimulatedModule._info),
    "SKRESET": ((0,), SimulatedModule._reset),
    "SKSREG": ((1, 2), SimulatedModule._register),
    "SKSETPWD": ((2,), SimulatedModule._password),
    "SKSETRBID": ((1,), SimulatedModule._route_b_id),
    "SKSCAN": ((3,), SimulatedModule._scan),
    "SKLL64": ((1,), SimulatedModule._link_local),
    "SKJOIN": ((1,), SimulatedModule._join),
    "SKREJOIN": ((0,), SimulatedModule._rejoin),
    "SKTERM": ((0,), SimulatedModule._terminate),
    "SKSENDTO": ((), lambda _module, _args, _at: _WRONG_COUNT),  # a line that ended before its payload
    "SKPING": ((1,), SimulatedModule._ping),
    "SKTABLE": ((1,), SimulatedModule._table),
    "SKADDNBR": ((2,), SimulatedModule._add_neighbour),
    "SKSAVE": ((0,), SimulatedModule._save),
    "ROPT": ((0,), SimulatedModule._read_option),
    "WOPT": ((1,), SimulatedModule._write_option),
    "RUART": ((0,), SimulatedModule._read_uart),
    "WUART": ((1,), SimulatedModule._write_uart),
}
"""Each command: how many arguments it takes (SKSCAN one more in the dual dialect), and what executes it."""


if __name__ == "__main__":
    from skstack.simulator_pty import main

    raise SystemExit(main())
