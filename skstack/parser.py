"""Lines to values: what the module said.

parse_line has three outcomes: a value; an UnknownLine (well-formed, known to nobody); MalformedLineError.
"""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Callable
from functools import lru_cache, partial
from ipaddress import IPv6Address

from skstack.errors import MalformedLineError, may_hold_secret
from skstack.events import (
    PUBLIC_PAN_KEYS,
    Address,
    Dialect,
    Echo,
    Event,
    ForeignLine,
    Line,
    ModuleInfo,
    PanField,
    RegisterValue,
    StackVersion,
    StatusFail,
    StatusOk,
    UdpReceived,
    UnknownLine,
)
from skstack.lines import TRUNCATED, payload_span


def parse_line(line: bytes) -> Line:
    """Return what *line* (without its terminator) says. Pure: no state, no log.

    Raises: MalformedLineError: a known kind of line with broken fields, or bytes that are no printable ASCII.
    """
    if line.startswith(b"ERXUDP ") or line == b"ERXUDP":
        return _parse_udp(line)
    if len(line) <= _REPEATED_LINE_BYTES and (line == b"OK" or line.startswith(b"EVENT ")):
        return _parse_repeated(line)
    return _parse_other(line)


def shown(raw: bytes, line: Line) -> str:
    """Give *raw*, which was read as *line*, as it came; but where it may hold a secret, only what is known of it.

    A binary payload is shown in hex.
    """
    if raw.startswith(_ECHO_STARTS):  # what is glued before the line may be a password, or bytes that are no text
        return repr(line)
    match line:
        case StatusOk() | StatusFail() | Event() | ModuleInfo() | StackVersion():
            return raw.decode("ascii")
        case PanField() if line.key in PUBLIC_PAN_KEYS:
            return raw.decode("ascii")
        case UdpReceived() if line.is_echonet and not may_hold_secret(line.payload) and (span := payload_span(raw)):
            return raw[: span[0]].decode("ascii") + line.payload.hex().upper()
    return repr(line)


_REPEATED_LINE_BYTES = 64
_ECHO_STARTS = (b"S", b"R", b"W")  # of every command, and of no line that the module says


@lru_cache(maxsize=256)
def _parse_repeated(line: bytes) -> Line:
    """As _parse_other, remembered: weeks of the same few EVENT lines, none of which holds a secret."""
    return _parse_other(line)


def _parse_other(line: bytes) -> Line:
    if line.startswith(_ECHO_STARTS) and (echo := _parse_echo(line)) is not None:
        return echo
    if not _is_printable(line):
        raise MalformedLineError("not printable ASCII", line)
    text = line.decode("ascii").rstrip(" ")  # some firmware puts a space before the line end
    keyword, *fields = text.split(" ")
    try:
        if (parse := _PARSERS.get(keyword)) is not None:
            return parse(fields)
        if keyword in _FOREIGN:
            return ForeignLine(keyword)
        if text.startswith("  "):
            return _parse_pan_field(text)
        return UnknownLine(line)
    except ValueError as error:
        # The reason names what is wrong, never the value; the cause would show it.
        raise MalformedLineError(str(error), line) from None


# --- fields: each raises ValueError with a reason that does not repeat the value


def hex_field(token: str, digits: int, name: str) -> int:
    """Return a number of just so many hex digits: a field that lost one is no smaller number. Raises: ValueError."""
    if len(token) != digits or not _HEX.fullmatch(token):
        raise ValueError(f"{name} is not {digits} hex digits")
    return int(token, 16)


def _short_hex(token: str, name: str) -> int:
    if not 1 <= len(token) <= 2 or not _HEX.fullmatch(token):
        raise ValueError(f"{name} is not one or two hex digits")
    return int(token, 16)


def _mac(token: str) -> bytes:
    # 12 digits are no EUI-64, but a published client's test has them.
    if len(token) not in (12, 16) or not _HEX.fullmatch(token):
        raise ValueError("MAC address is not 16 hex digits")
    return unhexlify(token)


@lru_cache(maxsize=256)
def _address(token: str) -> Address:
    # IPv6Address alone would also take a zone ("%eth0") and an embedded IPv4 address.
    if not _ADDRESS_CHARACTERS.fullmatch(token):
        raise ValueError("address is not IPv6")
    try:
        return IPv6Address(token).exploded.upper()
    except ValueError:
        raise ValueError("address is not IPv6") from None


def _expect(fields: list[str], *counts: int) -> None:
    if len(fields) not in counts:
        raise ValueError(f"{len(fields)} fields instead of {' or '.join(map(str, counts))}")


_HEX = re.compile(r"[0-9A-Fa-f]+")
_ADDRESS_CHARACTERS = re.compile(r"[0-9A-Fa-f:]{2,39}")


# --- ERXUDP


def _parse_udp(line: bytes) -> UdpReceived:
    """ERXUDP <sender> <destination> <rport> <lport> <mac> [lqi] <secured> [side] <length> <payload>."""
    span = payload_span(line)
    if span is None:
        raise MalformedLineError("no ERXUDP header", line)
    start, length = span
    try:
        return _parse_udp_header(line[7 : start - 6])(_payload(line[start:], length))  # less "ERXUDP " and " 0000 "
    except ValueError as error:
        raise MalformedLineError(str(error), line) from None


@lru_cache(maxsize=64)
def _parse_udp_header(fields: bytes) -> Callable[[bytes], UdpReceived]:
    """Return what makes a datagram of its payload.

    Remembered: a session sees the same few headers for weeks, and they hold addresses only.
    """
    sender, destination, remote_port, local_port, mac, *rest = fields.decode("latin-1").split(" ")
    _expect(rest, 1, 2, 3)
    lqi = rest.pop(0) if len(rest) == 3 else None
    side = rest.pop() if len(rest) == 2 else None
    [secured] = rest
    is_secured = _short_hex(secured, "SECURED")
    if is_secured > 1:
        raise ValueError("SECURED is neither 0 nor 1")
    return partial(
        UdpReceived,
        _address(sender),
        _address(destination),
        hex_field(remote_port, 4, "remote port"),
        hex_field(local_port, 4, "local port"),
        _mac(mac),
        None if lqi is None else hex_field(lqi, 2, "LQI"),
        is_secured == 1,
        None if side is None else _short_hex(side, "side"),
    )


def _payload(printed: bytes, length: int) -> bytes:
    """Return the payload, printed as hex text or as it is. The declared *length* decides which."""
    text = printed.rstrip(b" ")  # some firmware puts a space before the line end
    if len(text) == 2 * length:
        try:
            return unhexlify(text)
        except ValueError:
            raise ValueError("payload is not hex") from None
    if len(printed) != length or printed.endswith(TRUNCATED):
        raise ValueError(f"payload is not {length} bytes")
    return printed


# --- the other kinds


def _parse_event(fields: list[str]) -> Event:
    """EVENT <number> [<address>] [<side>] [<parameter>]: the length tells which; no parameter without an address."""
    _expect(fields, 1, 2, 3, 4)
    number, *rest = fields
    address = _address(rest.pop(0)) if rest and len(rest[0]) != 1 else None
    side = _short_hex(rest.pop(0), "side") if len(rest) == 2 or (rest and len(rest[0]) == 1) else None
    param = _short_hex(rest.pop(0), "parameter") if rest and address is not None else None
    if rest:
        raise ValueError("fields are not an address, a side and a parameter")
    return Event(hex_field(number, 2, "EVENT number"), address, side, param)


def _parse_ok(fields: list[str]) -> StatusOk:
    _expect(fields, 0, 1)
    return StatusOk(fields[0] if fields else None)


def _parse_fail(fields: list[str]) -> StatusFail:
    _expect(fields, 1)
    if not re.fullmatch(r"ER\d\d", fields[0]):
        raise ValueError("error code is not ERnn")
    return StatusFail(fields[0])


def _parse_module_info(fields: list[str]) -> ModuleInfo:
    _expect(fields, 5)
    address, mac, channel, pan_id, last = fields
    # A short address, usually FFFE, stands where dual-stack firmware prints the side.
    dialect = Dialect.SINGLE if len(last) == 4 else {"0": Dialect.DUAL, "1": Dialect.DUAL}.get(last)
    if not _HEX.fullmatch(last):
        raise ValueError("last field is not hex")
    return ModuleInfo(
        _address(address), _mac(mac), hex_field(channel, 2, "channel"), hex_field(pan_id, 4, "PAN ID"), dialect
    )


def _parse_value(kind: Callable[[str], Line], fields: list[str]) -> Line:
    _expect(fields, 1)
    return kind(fields[0])


_FOREIGN = (
    *("EADDR", "ENEIGHBOR", "EPANDESC", "EEDSCAN", "EHANDLE", "EPORT"),  # the headers of tables
    *("ERXTCP", "ETCP", "EPONG", "EAPPVER"),
)

_PARSERS: dict[str, Callable[[list[str]], Line]] = {
    "OK": _parse_ok,
    "FAIL": _parse_fail,
    "EVENT": _parse_event,
    "EINFO": _parse_module_info,
    "ESREG": partial(_parse_value, RegisterValue),
    "EVER": partial(_parse_value, StackVersion),
}


def _parse_pan_field(text: str) -> PanField:
    match = _PAN_FIELD.fullmatch(text)
    if match is None:
        raise ValueError("indented, but no Key:Value")
    return PanField(match[1], match[2])


_PAN_FIELD = re.compile(r"  ([A-Za-z][A-Za-z0-9 ]*): ?([^ ]+)")


def _parse_echo(line: bytes) -> Line | None:
    """Return the echo's keyword, or the real line that is glued behind it; None where *line* is no echo.

    What we write without a line end (a payload, half a command) is echoed without one, and the next line follows.
    """
    if (glued := _GLUED_RESPONSE.match(line) or _GLUED_EVENT.match(line)) is not None:
        return parse_line(line[glued.end() :])
    if (echo := _ECHO.match(line)) is None:
        return None
    if line.endswith(TRUNCATED) or not (echo[1] == b"SKSENDTO" or _is_printable(line)):
        raise MalformedLineError("not printable ASCII", line)
    return Echo(echo[1].decode("ascii"))


_OUR_KEYWORD = r"(SK[A-Z]{3,9}|SKLL64|ROPT|WOPT|RUART|WUART)"
_ECHO = re.compile(rf"{_OUR_KEYWORD}(?: |\Z)".encode("ascii"))
# A response may follow a whole keyword. After arguments, which may be a password, or half a keyword, only what comes
# unsolicited is recognised, by its form.
_GLUED_RESPONSE = re.compile(rf"{_OUR_KEYWORD}(?=(?:{'|'.join((*_PARSERS, *_FOREIGN))})(?: |\Z))".encode("ascii"))
_GLUED_EVENT = re.compile(rb"[SRW].*?(?=ERXUDP [0-9A-Fa-f]{1,4}:|EVENT [0-9A-Fa-f]{2}(?: |\Z))", re.DOTALL)


def _is_printable(line: bytes) -> bool:
    return line.isascii() and line.decode("ascii").isprintable()
