"""What a simulated module makes of each command: arguments checked as the module checks them, and the outcome.

Source: BP35A1 command reference 4; what else the other modules do, from their logs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from skstack.simulator.lines import CRLF, link_local
from skstack.simulator.memory import CHANNEL, PAIRING_ID, PAN_ID
from skstack.simulator.radio import Radio

_ADDRESS = re.compile(r"[0-9A-F]{4}(:[0-9A-F]{4}){7}")  # fully written out, upper case; else ER06
_MAX_PAYLOAD_BYTES = 1232
_UDP_HANDLES = ("1", "2")  # 3610 and 716 are open from the start


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command leads to: lines, then the status (None: SKLL64 has no status)."""

    status: str | None = "OK"
    lines: tuple[bytes, ...] = ()
    after_s: float | None = None  # None: the usual time
    then: Callable[[float], object] | None = None  # what begins once the status has been printed


_OK = Outcome()
_UNKNOWN = Outcome("FAIL ER04")
_WRONG_COUNT = Outcome("FAIL ER05")
_WRONG_FORM = Outcome("FAIL ER06")
_FAILED = Outcome("FAIL ER10")


class Commands:
    """Executes commands on the radio and its memory. Flash memory is here: it outlives a restart."""

    def __init__(self, radio: Radio) -> None:
        """Execute the commands of the module that has this *radio*."""
        self.flash_writes = 0
        self._radio = radio
        self._model = radio.air.model
        self._timing = radio.air.timing
        self._printer = radio.air.printer

    def execute(self, name: str, args: tuple[str, ...], at: float) -> Outcome:
        """Execute a command that is one line, and return its outcome."""
        entry = _COMMANDS.get(name)
        if entry is None or (name in PRODUCT_COMMANDS and not self._model.has_product_commands):
            return _UNKNOWN
        counts, execute = entry
        if name == "SKSCAN" and self._model.has_side:
            counts = (4,)
        if len(args) not in counts:
            return _WRONG_COUNT
        return execute(self, args, at)

    def send(self, args: tuple[str, ...], payload: bytes, at: float) -> Outcome:
        """Execute an SKSENDTO."""
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
        return Outcome(after_s=confirmed_at - at + self._timing.confirm_s)

    def _version(self, _args: tuple[str, ...], _at: float) -> Outcome:
        return Outcome(lines=(f"EVER {self._model.firmware}".encode() + CRLF,))

    def _application(self, _args: tuple[str, ...], _at: float) -> Outcome:
        if self._model.application is None:
            return _UNKNOWN
        return Outcome(lines=(f"EAPPVER {self._model.application}".encode() + CRLF,))

    def _info(self, _args: tuple[str, ...], _at: float) -> Outcome:
        registers = self._radio.air.memory.registers
        return Outcome(lines=(self._printer.info(registers[CHANNEL], registers[PAN_ID]),))

    def _reset(self, _args: tuple[str, ...], _at: float) -> Outcome:
        self._radio.restart()
        return Outcome(after_s=self._timing.reset_s)

    def _register(self, args: tuple[str, ...], _at: float) -> Outcome:
        memory = self._radio.air.memory
        if len(args) == 2:
            return _OK if memory.write(*args) else _WRONG_FORM
        own_mac = args[0] in ("S1", "S01") and self._model.has_side
        value = self._model.mac if own_mac else memory.read(args[0])
        return _WRONG_FORM if value is None else Outcome(lines=(f"ESREG {value}".encode() + CRLF,))

    def _password(self, args: tuple[str, ...], _at: float) -> Outcome:
        if not re.fullmatch("[0-9A-F]{1,2}", args[0]) or not 1 <= int(args[0], 16) <= 32:
            return _WRONG_FORM
        length = int(args[0], 16)
        # After a password that is too short, a real module takes whatever follows in memory; here: question marks.
        self._radio.air.memory.password = args[1][:length].ljust(length, "?")
        return _OK

    def _route_b_id(self, args: tuple[str, ...], _at: float) -> Outcome:
        memory = self._radio.air.memory
        memory.route_b_id, memory.registers[PAIRING_ID] = args[0], args[0][-8:]
        return _OK

    def _scan(self, args: tuple[str, ...], at: float) -> Outcome:
        mode, mask, duration = args[:3]
        formed = mode in ("2", "3") and re.fullmatch("[0-9A-Fa-f]{8}", mask) and re.fullmatch("[0-9A-E]", duration)
        if not formed or args[3:] not in ((), ("0",), ("1",)):
            return _WRONG_FORM
        wanted = int(mode), int(mask, 16), int(duration, 16)
        return Outcome(then=lambda now: self._radio.scan(*wanted, now))

    def _link_local(self, args: tuple[str, ...], _at: float) -> Outcome:
        if not re.fullmatch("[0-9A-Fa-f]{16}", args[0]):
            return _WRONG_FORM
        return Outcome(None, (link_local(args[0]).encode() + CRLF,), self._timing.address_s)

    def _join(self, args: tuple[str, ...], _at: float) -> Outcome:
        if not _ADDRESS.fullmatch(args[0]):
            return _WRONG_FORM
        return _FAILED if self._radio.pana.joining else Outcome(then=lambda now: self._radio.pana.join(args[0], now))

    def _rejoin(self, _args: tuple[str, ...], _at: float) -> Outcome:
        return Outcome(then=self._radio.pana.rejoin) if self._radio.pana.session else _FAILED

    def _terminate(self, _args: tuple[str, ...], at: float) -> Outcome:
        if not self._radio.pana.session:
            return _FAILED
        self._radio.pana.begin_termination(at)
        return Outcome(then=self._radio.pana.terminate)

    def _write_flash(self, _args: tuple[str, ...], _at: float) -> Outcome:
        """Note a write; what it would change is not simulated."""
        self.flash_writes += 1
        return _OK

    def _read_option(self, _args: tuple[str, ...], _at: float) -> Outcome:
        return Outcome(f"OK {self._radio.air.hex_payload:02d}")

    def _write_option(self, args: tuple[str, ...], at: float) -> Outcome:
        if args[0] not in ("00", "01"):
            return _WRONG_FORM
        self._radio.air.hex_payload = args[0] == "01"
        return self._write_flash(args, at)


PRODUCT_COMMANDS = frozenset({"ROPT", "WOPT", "RUART", "WUART"})  # ROHM's own; their responses end with CR alone

_Execute = Callable[[Commands, tuple[str, ...], float], Outcome]
_COMMANDS: dict[str, tuple[tuple[int, ...], _Execute]] = {
    "SKVER": ((0,), Commands._version),
    "SKAPPVER": ((0,), Commands._application),
    "SKINFO": ((0,), Commands._info),
    "SKRESET": ((0,), Commands._reset),
    "SKSREG": ((1, 2), Commands._register),
    "SKSETPWD": ((2,), Commands._password),
    "SKSETRBID": ((1,), Commands._route_b_id),
    "SKSCAN": ((3,), Commands._scan),
    "SKLL64": ((1,), Commands._link_local),
    "SKJOIN": ((1,), Commands._join),
    "SKREJOIN": ((0,), Commands._rejoin),
    "SKTERM": ((0,), Commands._terminate),
    "SKSENDTO": ((), lambda _module, _args, _at: _WRONG_COUNT),  # a line that ended before its payload
    "SKSAVE": ((0,), Commands._write_flash),
    "ROPT": ((0,), Commands._read_option),
    "WOPT": ((1,), Commands._write_option),
    "RUART": ((0,), lambda _module, _args, _at: Outcome("OK 80")),  # as in a log of an RS-WSUHA-P
    "WUART": ((1,), Commands._write_flash),
}
"""Each command: how many arguments it takes (SKSCAN one more in the dual dialect), and what executes it."""
