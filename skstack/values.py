"""What a module can say: one frozen class for each kind of line, every field parsed.

Nothing here shows a secret in its repr: not the Route-B ID (a PANA frame carries it in clear), not the PairID.

Source of the forms: BP35A1 command reference 4 and 5; what dual-stack modules print differently was observed on BP35C2,
RS-WSUHA-P and RL7023 Stick-D/DSS (tests/data/transcripts).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from ipaddress import IPv6Address

ECHONET_PORT = 0x0E1A


class EventCode(IntEnum):
    """EVENT numbers. Others (40 to 57: the HAN side) stay plain ints. Source: BP35A1 command reference 5.11."""

    NEIGHBOR_SOLICITED = 0x01
    NEIGHBOR_ADVERTISED = 0x02
    PINGED = 0x05
    SCAN_ENDED = 0x1E  # named once in the reference; real modules send SCAN_DONE
    ENERGY_SCAN_DONE = 0x1F
    BEACON_RECEIVED = 0x20
    UDP_SENT = 0x21  # param 0 sent, 1 failed, 2 looking for the neighbour first
    SCAN_DONE = 0x22
    PANA_FAILED = 0x24
    PANA_CONNECTED = 0x25  # also after each renewal
    PANA_CLOSE_REQUESTED = 0x26  # by the meter
    PANA_CLOSED = 0x27
    PANA_CLOSE_TIMEOUT = 0x28  # closed nevertheless
    PANA_EXPIRED = 0x29
    SEND_LIMIT_REACHED = 0x32  # ARIB STD-T108: so many seconds an hour
    SEND_LIMIT_LIFTED = 0x33
    WOKE_UP = 0xC0  # without an address


class Dialect(Enum):
    """How a module wants SKSCAN and SKSENDTO. Told by the last field of EINFO, not by the product's name."""

    SINGLE = "single"
    """Single-hop edition (BP35A1, RL7023 Stick-D/IPS): no side argument."""
    DUAL = "dual"
    """Dual stack (BP35C0, BP35C2, RS-WSUHA-P, RL7023 Stick-D/DSS): side 0 is the B-route, 1 the HAN."""


@dataclass(frozen=True, slots=True)
class StatusOk:
    """OK, with the value that ROPT and RUART add."""

    value: str | None = None


@dataclass(frozen=True, slots=True)
class StatusFail:
    """FAIL ERnn. Source: BP35A1 command reference 9."""

    code: str


@dataclass(frozen=True, slots=True)
class Event:
    """EVENT: something happened by itself. Source: BP35A1 command reference 5.11; side: dual-stack modules."""

    code: int  # an EventCode where the number is known
    address: IPv6Address | None = None
    side: int | None = None
    param: int | None = None


@dataclass(frozen=True, slots=True)
class UdpReceived:
    """ERXUDP: a datagram. Source: BP35A1 command reference 5.1; side and LQI: dual-stack modules.

    On other ports than ECHONET's the payload may hold the Route-B ID: only its length is shown.
    """

    sender: IPv6Address
    destination: IPv6Address
    remote_port: int
    local_port: int
    sender_mac: bytes
    lqi: int | None  # see signal_dbm
    secured: bool  # the radio frame was encrypted
    side: int | None
    payload: bytes

    def __repr__(self) -> str:
        is_echonet = self.remote_port == self.local_port == ECHONET_PORT
        shown = self.payload.hex() if is_echonet else f"{len(self.payload)} bytes"
        return (
            f"UdpReceived({self.sender} port {self.remote_port:04X} to {self.destination} port {self.local_port:04X},"
            f" lqi={self.lqi}, secured={self.secured}, side={self.side}, payload={shown})"
        )


@dataclass(frozen=True, slots=True)
class TcpReceived:
    """ERXTCP: data on a TCP connection. We never open one, and no published capture shows it."""

    sender: IPv6Address
    remote_port: int
    local_port: int
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pong:
    """EPONG: the answer to SKPING."""

    sender: IPv6Address


@dataclass(frozen=True, slots=True)
class TcpStatus:
    """ETCP: a TCP connection changed; only status 1 (connected) names the peer. As ERXTCP, not to be expected."""

    status: int
    handle: int
    address: IPv6Address | None = None
    remote_port: int | None = None
    local_port: int | None = None


@dataclass(frozen=True, slots=True)
class ListHeader:
    """EADDR, ENEIGHBOR, EPANDESC, EEDSCAN, EHANDLE or EPORT: lines of its kind follow."""

    name: str


@dataclass(frozen=True, slots=True)
class PanField:
    """An indented "Key:Value" line of EPANDESC. Source: BP35A1 command reference 5.7."""

    key: str
    value: str

    def __repr__(self) -> str:
        # Only what is known to be public is shown: a damaged key must not uncover the PairID.
        value = self.value if self.key in _PUBLIC_PAN_KEYS else "****"
        return f"PanField(key={self.key!r}, value={value!r})"


_PUBLIC_PAN_KEYS = frozenset({"Channel", "Channel Page", "Pan ID", "Addr", "LQI", "Side"})


@dataclass(frozen=True, slots=True)
class EnergyScan:
    """The line after EEDSCAN: (channel, level) pairs; a level is what signal_dbm takes."""

    levels: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class NeighborLine:
    """A line after ENEIGHBOR: an address, its MAC and its 16-bit short address."""

    address: IPv6Address
    mac: bytes
    short_address: int


@dataclass(frozen=True, slots=True)
class HandleLine:
    """A line after EHANDLE: a TCP handle, the peer's address and both ports. As ERXTCP, not to be expected."""

    handle: int
    address: IPv6Address
    remote_port: int
    local_port: int


@dataclass(frozen=True, slots=True)
class AddressLine:
    """A bare IPv6 address: the whole answer to SKLL64, or a line after EADDR."""

    address: IPv6Address


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """EINFO: the module itself. Source: BP35A1 command reference 4.2; the side in the last field: observed."""

    address: IPv6Address
    mac: bytes
    channel: int
    pan_id: int
    dialect: Dialect | None  # None: the last field is neither FFFE nor 0 or 1


@dataclass(frozen=True, slots=True)
class RegisterValue:
    """ESREG: the value of the register that was asked for, as hex digits.

    A long one is not shown: register S0A is the pairing ID.
    """

    value: str

    def __repr__(self) -> str:
        shown = repr(self.value) if len(self.value) <= 4 else f"{len(self.value)} digits"
        return f"RegisterValue({shown})"


@dataclass(frozen=True, slots=True)
class StackVersion:
    """EVER: the version of SKSTACK IP, such as 1.2.10."""

    version: str


@dataclass(frozen=True, slots=True)
class AppVersion:
    """EAPPVER: the version of the firmware around it, such as rev26e."""

    version: str


@dataclass(frozen=True, slots=True)
class Echo:
    """The module repeats one of our commands. Only its keyword is kept: the rest may be a password."""

    command: str


@dataclass(frozen=True, slots=True)
class UnknownLine:
    """A well-formed line that is none of the above. It may be the torn rest of an echo: never log raw."""

    raw: bytes

    def __repr__(self) -> str:
        return f"UnknownLine({len(self.raw)} bytes)"


Line = (
    StatusOk
    | StatusFail
    | Event
    | UdpReceived
    | TcpReceived
    | Pong
    | TcpStatus
    | ListHeader
    | PanField
    | EnergyScan
    | NeighborLine
    | HandleLine
    | AddressLine
    | ModuleInfo
    | RegisterValue
    | StackVersion
    | AppVersion
    | Echo
    | UnknownLine
)
