"""What any ECHONET device reports about itself, as far as we use it: release, maker, serial number, clock.

Source: ECHONET Device Objects (Appendix) release R, device object superclass. The numbers in brackets are EPCs.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone

from skstack.echonet.frame import check_length
from skstack.errors import FrameError

JST = timezone(timedelta(hours=9), "JST")
"""The zone of every clock in a meter; Japan has no summer time."""


def decode_release(edt: bytes) -> str:
    """Decode the release letter of the Appendix the device follows (82), "A" to "Z".

    Raises: FrameError: not 4 bytes, or no capital letter.
    """
    check_length("standard version", edt, 4)
    letter = chr(edt[2])
    if not "A" <= letter <= "Z":
        raise FrameError(f"a release is a letter, not {edt[2]:02X}", edt)
    return letter


def decode_maker_code(edt: bytes) -> str:
    """Decode the maker (8A), six hex digits: its member number in the ECHONET Consortium.

    Raises: FrameError: not 3 bytes.
    """
    check_length("maker code", edt, 3)
    return edt.hex().upper()


def decode_serial_number(edt: bytes) -> str | None:
    """Decode the serial number (8D), ASCII without its padding: NUL by the standard, blanks by some makers.

    None: only padding. Raises: FrameError: not 12 bytes of ASCII.
    """
    check_length("serial number", edt, 12)
    text = edt.rstrip(b"\0 ").lstrip(b" ")
    if not all(0x20 <= code <= 0x7E for code in text):
        raise FrameError("serial number is not printable ASCII", edt)
    return text.decode("ascii") or None


def decode_clock(time_edt: bytes, date_edt: bytes) -> datetime:
    """Decode the meter's clock from 97 and 98, aware UTC to the minute.

    Read both in one Get, or midnight may fall between them.
    Raises: FrameError: not 2 and 4 bytes, or no time of day and no date.
    """
    check_length("clock", time_edt, 2)
    check_length("calendar", date_edt, 4)
    try:
        day = date(int.from_bytes(date_edt[:2]), date_edt[2], date_edt[3])
        return datetime.combine(day, time(time_edt[0], time_edt[1]), JST).astimezone(UTC)
    except (ValueError, OverflowError) as error:  # the first hours of year 1 lie before any UTC date
        raise FrameError("clock and calendar show no time", time_edt + date_edt) from error
