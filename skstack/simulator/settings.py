"""What a simulated module remembers until it restarts: its registers and the credentials it was given."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

CHANNELS = range(0x21, 0x3D)


@dataclass(slots=True)
class Settings:
    """Registers and credentials. Source: BP35A1 command reference 4.1.1; SA2 from modules of the dual dialect."""

    channel: int = 0x21
    pan_id: int = 0xFFFF
    pairing_id: str = "CCDDEEFF"
    password: str | None = field(default=None, repr=False)
    route_b_id: str | None = field(default=None, repr=False)
    renews: bool = True  # S17
    prints_lqi: bool = False  # SA2; no effect on the lines of a single-hop module
    over_limit: bool = False  # SFB
    airtime_s: float = 0.0  # SFD
    echo: bool = True  # SFE

    def read(self, register: str) -> str | None:
        """Return what ESREG prints for *register*, written S2 or S02; None: there is no such register."""
        values = {
            "2": f"{self.channel:02X}",
            "3": f"{self.pan_id:04X}",
            "7": "00000000",
            "A": self.pairing_id,
            "15": "0",
            "16": "00000384",
            "17": f"{self.renews:d}",
            "A0": "1",
            "A1": "1",
            "A2": f"{self.prints_lqi:d}",
            "FB": f"{self.over_limit:d}",
            "FD": f"{round(self.airtime_s * 1000):016X}",
            "FE": f"{self.echo:d}",
            "FF": "0",
        }
        return values.get(_short(register))

    def write(self, register: str, value: str) -> bool:
        """Take *value*; False if there is no such register or it cannot hold that."""
        name = _short(register)
        if name == "2" and re.fullmatch("[0-9A-F]{2}", value) and int(value, 16) in CHANNELS:
            self.channel = int(value, 16)
        elif name == "3" and re.fullmatch("[0-9A-F]{4}", value):
            self.pan_id = int(value, 16)
        elif name == "A" and len(value) == 8:
            self.pairing_id = value
        elif name == "FD" and set(value) == {"0"}:
            self.airtime_s = 0.0
        else:
            return self._write_switch(name, value)
        return True

    def _write_switch(self, name: str, value: str) -> bool:
        if value not in ("0", "1"):
            return False
        if name == "17":
            self.renews = value == "1"
        elif name == "A2":
            self.prints_lqi = value == "1"
        elif name == "FE":
            self.echo = value == "1"
        return name in ("15", "17", "A0", "A1", "A2", "FE", "FF")


def _short(written: str) -> str:
    """Return the register without its S and leading zeros."""
    return written[1:].lstrip("0") if written.startswith("S") else ""
