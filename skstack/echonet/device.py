"""What any ECHONET device tells of itself: the superclass properties, and those of the node profile.

Source: ECHONET Device Objects (Appendix) release R, device object superclass; ECHONET Lite Specification, part 2,
6.11 (node profile). The numbers in brackets are EPCs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

from skstack.echonet.frame import check_length
from skstack.errors import FrameError

JST = timezone(timedelta(hours=9), "JST")
"""The zone of every clock in a meter; Japan has no summer time."""

_OPERATING_TIME_UNITS: Mapping[int, timedelta] = {
    0x41: timedelta(seconds=1),
    0x42: timedelta(minutes=1),
    0x43: timedelta(hours=1),
    0x44: timedelta(days=1),
}
_REMOTE_CONTROL_CODES = frozenset({0x41, 0x42, 0x61, 0x62})


@dataclass(frozen=True, slots=True)
class RouteBNumber:
    """The meter's Route-B identification number (C0). It is treated as a secret: repr and str do not show it."""

    number: bytes = field(repr=False)


def _switch(name: str, edt: bytes, on: int, off: int) -> bool:
    check_length(name, edt, 1)
    if edt[0] not in (on, off):
        raise FrameError(f"{name} is {on:02X} or {off:02X}, not {edt[0]:02X}", edt)
    return edt[0] == on


def _unsigned(name: str, edt: bytes, length: int) -> int:
    check_length(name, edt, length)
    return int.from_bytes(edt)


def _hex(name: str, edt: bytes, length: int) -> str:
    check_length(name, edt, length)
    return edt.hex().upper()


def _text(name: str, edt: bytes, length: int) -> str | None:
    """Return ASCII without its padding, NUL by the standard and blanks by some makers; None: only padding."""
    check_length(name, edt, length)
    text = edt.rstrip(b"\0 ").lstrip(b" ")
    if not all(0x20 <= code <= 0x7E for code in text):
        raise FrameError(f"{name} is not printable ASCII", edt)
    return text.decode("ascii") or None


def _date(name: str, edt: bytes) -> date:
    check_length(name, edt, 4)
    try:
        return date(int.from_bytes(edt[:2]), edt[2], edt[3])
    except ValueError as err:
        raise FrameError(f"{name} is no date", edt) from err


# --- the device superclass


def decode_operation_status(edt: bytes) -> bool:
    """Decode the operation status (80): True on. Raises: FrameError: neither 30 nor 31."""
    return _switch("operation status", edt, 0x30, 0x31)


def decode_location(edt: bytes) -> str:
    """Decode the place of installation (81) into its code, hex: 1 byte, or 17 from release C on.

    Raises: FrameError: another length.
    """
    if len(edt) not in (1, 17):
        raise FrameError(f"a location is 1 or 17 bytes, not {len(edt)}", edt)
    return edt.hex().upper()


def decode_release(edt: bytes) -> str:
    """Decode the release letter of the Appendix the device follows (82), "A" to "Z".

    Raises: FrameError: not 4 bytes, or no capital letter.
    """
    check_length("standard version", edt, 4)
    letter = chr(edt[2])
    if not "A" <= letter <= "Z":
        raise FrameError(f"a release is a letter, not {edt[2]:02X}", edt)
    return letter


def decode_identification_number(edt: bytes) -> str:
    """Decode the identification number (83), 34 hex digits. Raises: FrameError: not 17 bytes."""
    return _hex("identification number", edt, 17)


def decode_own_power_w(edt: bytes) -> int:
    """Decode what the device itself consumes (84), W. Raises: FrameError: not 2 bytes."""
    return _unsigned("own power", edt, 2)


def decode_own_energy_kwh(edt: bytes) -> Decimal:
    """Decode what the device itself has consumed (85), kWh in steps of 0.001. Raises: FrameError: not 4 bytes."""
    return Decimal(_unsigned("own energy", edt, 4)).scaleb(-3)


def decode_maker_fault_code(edt: bytes) -> str:
    """Decode the maker's fault code (86), hex. Raises: FrameError: empty, or over 255 bytes."""
    if not 1 <= len(edt) <= 0xFF:
        raise FrameError(f"a maker's fault code is 1 to 255 bytes, not {len(edt)}", edt)
    return edt.hex().upper()


def decode_current_limit_percent(edt: bytes) -> int:
    """Decode the current limit (87), 0 to 100 %. Raises: FrameError: not 1 byte, or over 100."""
    percent = _unsigned("current limit", edt, 1)
    if percent > 100:
        raise FrameError(f"a current limit is at most 100 %, not {percent}", edt)
    return percent


def decode_fault_status(edt: bytes) -> bool:
    """Decode the fault status (88): True where there is a fault. Raises: FrameError: neither 41 nor 42."""
    return _switch("fault status", edt, 0x41, 0x42)


def decode_fault_content(edt: bytes) -> int:
    """Decode the code of the latest fault (89); 0 none. Raises: FrameError: not 2 bytes."""
    return _unsigned("fault content", edt, 2)


def decode_maker_code(edt: bytes) -> str:
    """Decode the maker (8A), six hex digits: its member number in the ECHONET Consortium.

    Raises: FrameError: not 3 bytes.
    """
    return _hex("maker code", edt, 3)


def decode_place_code(edt: bytes) -> str:
    """Decode the maker's place of business (8B), six hex digits. Raises: FrameError: not 3 bytes."""
    return _hex("place code", edt, 3)


def decode_product_code(edt: bytes) -> str | None:
    """Decode the product code (8C); None: blank. Raises: FrameError: not 12 bytes of ASCII."""
    return _text("product code", edt, 12)


def decode_serial_number(edt: bytes) -> str | None:
    """Decode the serial number (8D); None: blank. Raises: FrameError: not 12 bytes of ASCII."""
    return _text("serial number", edt, 12)


def decode_manufacture_date(edt: bytes) -> date:
    """Decode the date of manufacture (8E). Raises: FrameError: not 4 bytes, or no date."""
    return _date("date of manufacture", edt)


def decode_power_saving(edt: bytes) -> bool:
    """Decode the power-saving mode (8F): True while saving. Raises: FrameError: neither 41 nor 42."""
    return _switch("power saving", edt, 0x41, 0x42)


def decode_remote_control(edt: bytes) -> int:
    """Decode the remote-control setting (93), its code: 41, 42, and from release H on 61, 62.

    Raises: FrameError: another code.
    """
    code = _unsigned("remote control", edt, 1)
    if code not in _REMOTE_CONTROL_CODES:
        raise FrameError(f"unknown remote-control setting {code:02X}", edt)
    return code


def decode_clock_time(edt: bytes) -> time:
    """Decode the clock (97), Japan time to the minute. Raises: FrameError: not 2 bytes, or no time of day."""
    check_length("clock", edt, 2)
    try:
        return time(edt[0], edt[1])
    except ValueError as err:
        raise FrameError("the clock shows no time of day", edt) from err


def decode_clock_date(edt: bytes) -> date:
    """Decode the calendar (98), Japan date. Raises: FrameError: not 4 bytes, or no date."""
    return _date("calendar", edt)


def decode_clock(time_edt: bytes, date_edt: bytes) -> datetime:
    """Decode the meter's clock from 97 and 98, aware UTC to the minute.

    Ask for both in one Get, or midnight parts them. For comparing only: never set a host's clock by it.
    Raises: FrameError: as decode_clock_time and decode_clock_date.
    """
    day, now = decode_clock_date(date_edt), decode_clock_time(time_edt)
    try:
        return datetime.combine(day, now, JST).astimezone(UTC)
    except OverflowError as err:  # the first hours of year 1 lie before any UTC date
        raise FrameError("calendar is no date", date_edt) from err


def decode_power_limit_w(edt: bytes) -> int:
    """Decode the power limit (99), W. Raises: FrameError: not 2 bytes."""
    return _unsigned("power limit", edt, 2)


def decode_operating_time(edt: bytes) -> timedelta:
    """Decode the total operating time (9A).

    Raises: FrameError: not 5 bytes, an unknown unit, or longer than a timedelta can be.
    """
    check_length("operating time", edt, 5)
    unit = _OPERATING_TIME_UNITS.get(edt[0])
    if unit is None:
        raise FrameError(f"unknown unit of operating time {edt[0]:02X}", edt)
    try:
        return int.from_bytes(edt[1:]) * unit
    except OverflowError as err:
        raise FrameError("operating time beyond measure", edt) from err


def decode_route_b_number(edt: bytes) -> RouteBNumber:
    """Decode the Route-B identification number (C0): 00, maker 3 bytes, 12 bytes of the maker's choice.

    Raises: FrameError: not 16 bytes, or not starting with 00; the error does not show the bytes.
    """
    if len(edt) != 16 or edt[0]:
        raise FrameError(f"a Route-B identification number is 00 and 15 bytes, not these {len(edt)}", b"")
    return RouteBNumber(edt)


# --- the node profile, where it differs


def decode_node_version(edt: bytes) -> str:
    """Decode the version of ECHONET Lite (82 of the node profile), such as "1.13". Raises: FrameError: not 4 bytes."""
    check_length("version", edt, 4)
    return f"{edt[0]}.{edt[1]}"


def decode_unique_id(edt: bytes) -> int:
    """Decode the unique id (BF of the node profile). Raises: FrameError: not 2 bytes."""
    return _unsigned("unique id", edt, 2)


def decode_instance_count(edt: bytes) -> int:
    """Decode how many objects the node has (D3 of the node profile). Raises: FrameError: not 3 bytes."""
    return _unsigned("number of instances", edt, 3)


def decode_class_count(edt: bytes) -> int:
    """Decode how many classes the node has, its profile included (D4). Raises: FrameError: not 2 bytes."""
    return _unsigned("number of classes", edt, 2)


def decode_class_list(edt: bytes) -> tuple[str, ...]:
    """Decode the classes of the node (D7 of the node profile), four hex digits each, such as "0288".

    Raises: FrameError: the count disagrees with what follows.
    """
    if not edt or len(edt) != 1 + 2 * edt[0]:
        raise FrameError("a class list whose count is wrong", edt)
    return tuple(edt[start : start + 2].hex().upper() for start in range(1, len(edt), 2))
