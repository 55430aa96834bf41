"""What a simulated module remembers until it restarts: its registers and the credentials it was given."""

from __future__ import annotations

import re

CHANNELS = range(0x21, 0x3D)
CHANNEL, PAN_ID, PAIRING_ID, RENEWS, PRINTS_LQI, OVER_LIMIT, ECHO = "2", "3", "A", "17", "A2", "FB", "FE"

# What each register holds after a reset, and what may be written to it.
_REGISTERS = {
    CHANNEL: ("21", "2[1-9A-F]|3[0-9A-C]"),
    PAN_ID: ("FFFF", "[0-9A-F]{4}"),
    PAIRING_ID: ("CCDDEEFF", ".{8}"),
    RENEWS: ("1", "[01]"),
    PRINTS_LQI: ("0", "[01]"),  # no effect on the lines of a single-hop module
    OVER_LIMIT: ("0", ""),
    ECHO: ("1", "[01]"),
}


class Memory:
    """Credentials, and the registers that clients use. Source: BP35A1 command reference 4.1.1; SA2: a client."""

    def __init__(self) -> None:
        """Start as after a reset."""
        self.registers = {name: factory for name, (factory, _) in _REGISTERS.items()}
        self.password: str | None = None
        self.route_b_id: str | None = None

    def is_on(self, name: str) -> bool:
        """Return whether the register *name* is a switch that is on."""
        return self.registers[name] == "1"

    def read(self, register: str) -> str | None:
        """Return what ESREG prints for *register*, written S2 or S02; None: there is no such register."""
        return self.registers.get(_short(register))

    def write(self, register: str, value: str) -> bool:
        """Take *value*; False if there is no such register or it cannot hold that."""
        name = _short(register)
        _, allowed = _REGISTERS.get(name, ("", ""))
        if not re.fullmatch(allowed, value):
            return False
        self.registers[name] = value
        return True


def _short(written: str) -> str:
    """Return the register without its S and leading zeros."""
    return written[1:].lstrip("0") if written.startswith("S") else ""
