"""What a simulated module prints. Lines are built here and nowhere else, after the logs of real modules.

Nothing is shared with the code that parses them, so that an error there cannot hide here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from skstack.simulator.models import Model

CRLF = b"\r\n"
ALL_NODES = "FF02:0000:0000:0000:0000:0000:0000:0001"
ECHONET_PORT = 3610
PANA_PORT = 716


@cache
def link_local(mac: str) -> str:
    """Return the IPv6 address that belongs to *mac* (16 hex digits): FE80::/64, the U/L bit flipped.

    Source: BP35A1 command reference 4.33.
    """
    raw = bytearray.fromhex(mac)
    raw[0] ^= 0x02
    text = raw.hex().upper()
    return "FE80:0000:0000:0000:" + ":".join(text[i : i + 4] for i in range(0, 16, 4))


@dataclass(frozen=True, slots=True)
class Beacon:
    """One PAN as a scan hears it."""

    channel: int  # 0x21 to 0x3C
    pan_id: int
    mac: str
    lqi: int  # RSSI = 0.275 * LQI - 104.27 dBm
    pairing_id: str


@dataclass(frozen=True, slots=True)
class Datagram:
    """One UDP datagram from the air."""

    sender_mac: str
    payload: bytes
    destination: str | None = None  # None: the module
    port: int = ECHONET_PORT
    secured: bool = True


class Printer:
    """Builds the lines of one model."""

    def __init__(self, model: Model) -> None:
        """Know the model's own address and whether it prints the side."""
        self._model = model
        self.own_address = link_local(model.mac)
        self._side = " 0" if model.has_side else ""

    def event(self, number: int, address: str, param: str | None = None) -> bytes:
        """Return an EVENT line. Source: BP35A1 command reference 5.11; the side from logs."""
        if number == 0x25:
            param = self._model.connected_param
        tail = "" if param is None else f" {param}"
        return f"EVENT {number:02X} {address}{self._side}{tail}".encode() + CRLF

    def description(self, beacon: Beacon, *, with_pairing_id: bool) -> bytes:
        """Return an EPANDESC block. Source: BP35A1 command reference 5.7; the side from logs."""
        lines = [
            "EPANDESC",
            f"  Channel:{beacon.channel:02X}",
            "  Channel Page:09",
            f"  Pan ID:{beacon.pan_id:04X}",
            f"  Addr:{beacon.mac}",
            f"  LQI:{beacon.lqi:02X}",
        ]
        if self._model.has_side:
            lines.append("  Side:0")
        if with_pairing_id:
            lines.append(f"  PairID:{beacon.pairing_id}")
        return b"".join(line.encode() + CRLF for line in lines)

    def datagram(self, datagram: Datagram, *, hex_payload: bool, lqi: int | None) -> bytes:
        """Return an ERXUDP line of 9, 10 or 11 fields; *lqi* is what register SA2 adds.

        Source: BP35A1 command reference 5.1 and 4.34.
        """
        port = f"{datagram.port:04X}"
        destination = datagram.destination or self.own_address
        fields = ["ERXUDP", link_local(datagram.sender_mac), destination, port, port, datagram.sender_mac]
        if self._model.has_side and lqi is not None:
            fields.append(f"{lqi:02X}")
        fields.append(f"{datagram.secured:d}")
        if self._model.has_side:
            fields.append("0")
        fields.append(f"{len(datagram.payload):04X}")
        body = datagram.payload.hex().upper().encode() if hex_payload else datagram.payload
        return " ".join(fields).encode() + b" " + body + CRLF

    def info(self, channel: str, pan_id: str) -> bytes:
        """Return the EINFO line. Source: BP35A1 command reference 4.2."""
        last = "0" if self._model.has_side else "FFFE"
        fields = f"EINFO {self.own_address} {self._model.mac} {channel} {pan_id} {last}"
        return fields.encode() + self._model.info_tail.encode() + CRLF
