"""The commands we send: their text, their quirks as data, their secrets masked.

What writes the module's flash memory (WOPT, WUART, SKSAVE) or wipes it (SKERASE) is not here: nothing we do needs it.
Source: BP35A1 command reference 4 (single-hop edition); the side argument of dual-stack modules: observed.
"""

from __future__ import annotations

import re
from typing import Generic, NamedTuple, TypeVar

from skstack.events import ECHONET_PORT, Address, Dialect, Line, ModuleInfo, RegisterValue, StackVersion, StatusOk
from skstack.lines import MAX_PAYLOAD_BYTES

ResponseT = TypeVar("ResponseT", bound=Line)

CHANNELS = range(0x21, 0x3D)
"""The 28 channels of the B-route, 922.5 to 927.9 MHz. Source: BP35A1 command reference 4.12, 8."""

_ALL_CHANNELS = 0xFFFFFFFF  # the mask of a scan
_B_ROUTE_SIDE = " 0"
_PORT = f"{ECHONET_PORT:04X}"
_MASK = "****"


class Command(NamedTuple, Generic[ResponseT]):
    """One command, what responds to it, and the syntax quirks the reference gives it.

    A *response* other than StatusOk is followed by an OK; an OK without it belongs to some other command.
    """

    line: str
    response: type[ResponseT]
    payload: bytes | None = None  # SKSENDTO: raw bytes right after the line, whose terminator is a space
    terminator: bytes = b"\r\n"  # ROPT ends with CR only
    secret: str = ""  # the end of the line, which is never shown

    @property
    def name(self) -> str:
        """The first word of the line."""
        return self.line.partition(" ")[0]

    def to_bytes(self) -> bytes:
        """Return what goes over the wire. After a payload nothing follows: a line end would be an empty command.

        Raises: ValueError: a line that is not printable ASCII; the text does not contain it. A CR in a password would
            start a second command.
        """
        if not (self.line.isascii() and self.line.isprintable()):
            raise ValueError("a command and its arguments must be printable ASCII (0x20 to 0x7E)")
        return self.line.encode("ascii") + (self.terminator if self.payload is None else b" " + self.payload)

    def __str__(self) -> str:
        """Show the line with its secret masked, and a payload in hex: a datagram of ours holds no secret."""
        line = self.line.removesuffix(self.secret) + _MASK if self.secret else self.line
        return line if self.payload is None else f"{line} {self.payload.hex().upper()}"

    def __repr__(self) -> str:
        return f"<Command {self}>"


RESET = Command("SKRESET", StatusOk)
"""SKRESET: all registers, credentials and the session go back to nothing. Source: BP35A1 command reference 4."""

ECHO_OFF = Command("SKSREG SFE 0", StatusOk)
"""Stop the module from repeating what we send, secrets included. This command itself is still echoed."""

STACK_VERSION = Command("SKVER", StackVersion)
"""SKVER: the response is EVER. A module with J11 (binary) firmware stays silent."""

MODULE_INFO = Command("SKINFO", ModuleInfo)
"""SKINFO: the response is EINFO, which shows the dialect. Source: BP35A1 command reference 4.2."""

REJOIN = Command("SKREJOIN", StatusOk)
"""SKREJOIN: renew the session; FAIL ER10 where there is none. Source: BP35A1 command reference 4.5."""

TERMINATE = Command("SKTERM", StatusOk)
"""SKTERM: end the session; OK, then EVENT 27 or 28; FAIL ER10 where there is none.

Source: BP35A1 command reference 4.6.
"""

PAYLOAD_MODE = Command("ROPT", StatusOk, terminator=b"\r")
"""ROPT: OK 00 where ERXUDP payloads are binary, OK 01 where they are hex text; Tessera modules say FAIL ER04.

The command and its responses end with CR alone. Source: BP35A1 command reference 4.35.
"""


def set_password(password: str) -> Command[StatusOk]:
    """SKSETPWD: 1 to 32 visible ASCII characters, 12 in practice; kept until reset.

    Source: BP35A1 command reference 4.19. Raises: ValueError.
    """
    if not re.fullmatch(r"[\x21-\x7E]{1,32}", password):
        raise ValueError("the password must be 1 to 32 visible ASCII characters")
    return Command(f"SKSETPWD {len(password):X} {password}", StatusOk, secret=password)


def set_route_b_id(route_b_id: str) -> Command[StatusOk]:
    """SKSETRBID: 32 hex digits, sent in upper case; kept until reset.

    Source: BP35A1 command reference 4.20. Raises: ValueError.
    """
    if not re.fullmatch(r"[0-9A-Fa-f]{32}", route_b_id):
        raise ValueError("the Route-B ID must be 32 hex digits")
    number = route_b_id.upper()
    return Command(f"SKSETRBID {number}", StatusOk, secret=number)


def scan(dialect: Dialect, *, duration: int, channel: int | None = None) -> Command[StatusOk]:
    """SKSCAN of one of CHANNELS or of all: OK at once, then EVENT 20 and EPANDESC for each PAN, EVENT 22 at the end.

    Mode 2: only coordinators with our pairing ID respond. duration is 0 to 14, see scan_seconds.
    Source: BP35A1 command reference 4.12. Raises: ValueError: no such channel.
    """
    mask = _ALL_CHANNELS if channel is None else 1 << CHANNELS.index(channel)  # bit 0 is channel 0x21
    side = "" if dialect is Dialect.SINGLE else _B_ROUTE_SIDE
    return Command(f"SKSCAN 2 {mask:08X} {duration:X}{side}", StatusOk)


def scan_seconds(duration: int, channels: int = len(CHANNELS)) -> float:
    """Seconds that a scan of so many channels takes: 9.6 ms x (2**duration + 1) each; 17.5 s for 28 at duration 6.

    Source: measurements; the BP35A1 command reference 4.12 says 10 ms.
    """
    return 0.0096 * ((1 << duration) + 1) * channels


def write_register(name: str, value: str) -> Command[StatusOk]:
    """SKSREG <name> <value>: set a virtual register until reset, such as S2 (channel) and S3 (PAN ID).

    *value* is upper-case hex digits without prefix. Source: BP35A1 command reference 4.1.
    """
    return Command(f"SKSREG {name} {value}", StatusOk)


def read_register(name: str) -> Command[RegisterValue]:
    """SKSREG <name>: the response is ESREG, then OK. Source: BP35A1 command reference 4.1."""
    return Command(f"SKSREG {name}", RegisterValue)


def join(address: Address) -> Command[StatusOk]:
    """SKJOIN: OK at once, then the PANA handshake, and EVENT 25 or 24. Source: BP35A1 command reference 4.4."""
    return Command(f"SKJOIN {address}", StatusOk)


def send_udp(dialect: Dialect, address: Address, payload: bytes) -> Command[StatusOk]:
    """SKSENDTO from UDP handle 1 to ECHONET's port: EVENT 21, then OK. 1 to 1232 bytes, always encrypted (sec 1).

    Source: BP35A1 command reference 4.7. Raises: ValueError.
    """
    if not 1 <= len(payload) <= MAX_PAYLOAD_BYTES:
        raise ValueError(f"a datagram has 1 to {MAX_PAYLOAD_BYTES} bytes, not {len(payload)}")
    side = "" if dialect is Dialect.SINGLE else _B_ROUTE_SIDE
    return Command(f"SKSENDTO 1 {address} {_PORT} 1{side} {len(payload):04X}", StatusOk, payload)
