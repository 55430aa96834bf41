"""What a module can say: one frozen class for each kind of line that we use, every field parsed.

And what follows from it: what a scan finds, and what the EVENTs mean for the PANA session.
Nothing here shows a secret in its repr: not the Route-B ID (a PANA frame carries it in clear), not the PairID.

Source of the forms: BP35A1 command reference 4 and 5; what dual-stack modules print differently was observed on BP35C2,
RS-WSUHA-P and RL7023 Stick-D/DSS (tests/data/transcripts).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto
from functools import lru_cache
from typing import NamedTuple

Address = str
"""An IPv6 address: eight groups of four upper-case digits, the only form that every module accepts (ER06 otherwise)."""

ECHONET_PORT = 0x0E1A
_B_ROUTE_SIDES = (None, 0)  # the HAN side of a dual-stack module is none of our business


class EventCode(IntEnum):
    """The EVENT numbers that mean something to us. Source: BP35A1 command reference 5.11."""

    SCAN_ENDED = 0x1E  # named once in the reference; real modules send SCAN_DONE
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


class Dialect(Enum):
    """How a module wants SKSCAN and SKSENDTO. Known by the last field of EINFO, not by the product's name."""

    SINGLE = "single"
    """Single-hop edition (BP35A1, RL7023 Stick-D/IPS): no side argument."""
    DUAL = "dual"
    """Dual stack (BP35C0, BP35C2, RS-WSUHA-P, RL7023 Stick-D/DSS): side 0 is the B-route, 1 the HAN."""

    @property
    def other(self) -> Dialect:
        """The one that this is not."""
        return Dialect.DUAL if self is Dialect.SINGLE else Dialect.SINGLE


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

    code: int  # see EventCode
    address: Address | None = None
    side: int | None = None
    param: int | None = None

    @property
    def is_ours(self) -> bool:
        """Whether it is of the B-route."""
        return self.side in _B_ROUTE_SIDES


class UdpReceived(NamedTuple):
    """ERXUDP: a datagram. Source: BP35A1 command reference 5.1; side and LQI: dual-stack modules.

    The payload may hold a secret, so a repr has its length only; parser.shown() shows what may be seen of it.
    """

    sender: Address
    destination: Address
    remote_port: int
    local_port: int
    sender_mac: bytes
    lqi: int | None  # see signal_dbm
    secured: bool  # the radio frame was encrypted
    side: int | None
    payload: bytes

    @property
    def is_echonet(self) -> bool:
        """Whether it is a frame of ECHONET Lite."""
        return self.remote_port == self.local_port == ECHONET_PORT

    def is_from(self, meter: Address) -> bool:
        """Whether it was encrypted for us and comes from *meter*, by the B-route."""
        return self.secured and self.side in _B_ROUTE_SIDES and self.sender == meter

    def __repr__(self) -> str:
        return (
            f"UdpReceived({self.sender} port {self.remote_port:04X} to {self.destination} port {self.local_port:04X},"
            f" lqi={self.lqi}, secured={self.secured}, side={self.side}, payload={len(self.payload)} bytes)"
        )


@dataclass(frozen=True, slots=True)
class PanField:
    """An indented "Key:Value" line of EPANDESC. Source: BP35A1 command reference 5.7."""

    key: str
    value: str

    def __repr__(self) -> str:
        # Only what is known to be public is shown: a damaged key must not uncover the PairID.
        value = self.value if self.key in PUBLIC_PAN_KEYS else "****"
        return f"PanField(key={self.key!r}, value={value!r})"


PUBLIC_PAN_KEYS = frozenset({"Channel", "Channel Page", "Pan ID", "Addr", "LQI", "Side"})


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """EINFO: the module itself. Source: BP35A1 command reference 4.2; the side in the last field: observed."""

    address: Address
    mac: bytes
    channel: int
    pan_id: int
    dialect: Dialect | None  # None: the last field is neither FFFE nor 0 or 1


@dataclass(frozen=True, slots=True)
class RegisterValue:
    """ESREG: the value of the register that was read, as hex digits.

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
class Echo:
    """The module repeats one of our commands. Only its keyword is kept: the rest may be a password."""

    command: str


@dataclass(frozen=True, slots=True)
class UnknownLine:
    """A well-formed line of no kind: of a table, or not known. It may be the torn rest of an echo: never log raw."""

    raw: bytes

    def __repr__(self) -> str:
        return f"UnknownLine({len(self.raw)} bytes)"


@dataclass(frozen=True, slots=True)
class ForeignLine:
    """A line that the module knows and that is none of ours: TCP, ping, the head of a table of its own."""

    keyword: str  # its first word


Line = (
    StatusOk
    | StatusFail
    | Event
    | UdpReceived
    | PanField
    | ModuleInfo
    | RegisterValue
    | StackVersion
    | Echo
    | ForeignLine
    | UnknownLine
)


# --- what a scan finds


def signal_dbm(lqi: int) -> float:
    """Return the received power in dBm for an LQI of 0 to 255. Source: two published clients."""
    return 0.275 * lqi - 104.27


@lru_cache(maxsize=16)
def link_local(mac: bytes) -> Address:
    """Return FE80::/64 and the MAC of 8 bytes with the universal/local bit flipped.

    Source: RFC 4291, appendix A. Raises: ValueError: not 8 bytes.
    """
    if len(mac) != 8:
        raise ValueError(f"a MAC address has 8 bytes, not {len(mac)}")
    return (b"\xfe\x80" + bytes(6) + bytes([mac[0] ^ 0x02]) + mac[1:]).hex(":", 2).upper()


@dataclass(frozen=True, slots=True)
class PanDescription:
    """A meter that responded to the scan. Source: BP35A1 command reference 5.7."""

    channel: int
    pan_id: int
    mac: bytes
    lqi: int | None = None
    side: int | None = None  # dual-stack modules only
    pair_id: str | None = field(default=None, repr=False)  # scan mode 2 only: the last 8 characters of the Route-B ID

    @property
    def address(self) -> Address:
        """The link-local address to join."""
        return link_local(self.mac)

    @property
    def signal_dbm(self) -> float | None:
        """The received power in dBm, None where the module gave no LQI."""
        return None if self.lqi is None else signal_dbm(self.lqi)


# --- what the EVENTs mean for the PANA session


class Pana(Enum):
    """The state of the PANA session, as far as the module's events show it. Source: command reference 5.11."""

    CLOSED = "closed"
    JOINING = "joining"
    REJOINING = "rejoining"  # the same session, authenticated anew
    OPEN = "open"
    EXPIRED = "expired"  # EVENT 29: the module renews it by itself; nothing may be sent until 24 or 25
    SUSPECT = "suspect"  # open for the module, suspect to us: SKREJOIN may still work


class Act(Enum):
    """What we do, or give up, that changes the PANA session as an EVENT of the module does."""

    JOIN = auto()  # SKJOIN is on its way
    REJOIN = auto()  # SKREJOIN is
    SUSPECT = auto()
    GIVE_UP = auto()  # no EVENT in time, refused, or reset: there is no session on either side


# The end of an older session (26, 27, 28) may still be reported while we join: it is not ours.
_HANDSHAKE: Mapping[int | Act, Pana] = {
    EventCode.PANA_CONNECTED: Pana.OPEN,
    EventCode.PANA_FAILED: Pana.CLOSED,
    Act.GIVE_UP: Pana.CLOSED,
}
_SESSION: Mapping[int | Act, Pana] = {
    **_HANDSHAKE,
    EventCode.PANA_CLOSE_REQUESTED: Pana.CLOSED,
    EventCode.PANA_CLOSED: Pana.CLOSED,
    EventCode.PANA_CLOSE_TIMEOUT: Pana.CLOSED,
}
TRANSITIONS: Mapping[Pana, Mapping[int | Act, Pana]] = {
    Pana.CLOSED: {Act.JOIN: Pana.JOINING, EventCode.PANA_CONNECTED: Pana.OPEN},
    Pana.JOINING: _HANDSHAKE,
    Pana.REJOINING: _HANDSHAKE,
    Pana.OPEN: {**_SESSION, EventCode.PANA_EXPIRED: Pana.EXPIRED, Act.SUSPECT: Pana.SUSPECT},
    Pana.EXPIRED: _SESSION,
    Pana.SUSPECT: {**_SESSION, EventCode.PANA_EXPIRED: Pana.EXPIRED, Act.REJOIN: Pana.REJOINING},
}
"""What follows from the number of an EVENT, or from an act, in a state; what is not listed changes nothing."""

HANDSHAKES = (Pana.JOINING, Pana.REJOINING)
"""The states in which one is under way."""
