"""Registers at a time of the meter's own clock: the half-hour values, and the history of a day.

The meter gives Japan time; every time that leaves this module is aware UTC.
Source: ECHONET Device Objects (Appendix) release R, class 0x0288, EPC E2, E4, E5, EA, EB.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from struct import Struct

from skstack.echonet.device import JST
from skstack.echonet.frame import check_length
from skstack.echonet.registers import REGISTER_MAX, register_value
from skstack.errors import FrameError

HALF_HOUR = timedelta(minutes=30)
SLOTS_PER_DAY = 48
MAX_DAY_BACK = 99
DAY_NEVER_SET = 0xFF  # the day word of E2 and E4 where E5 was never set

_FIRST_YEAR = 2000  # an earlier year is a clock that was never set; no such meter existed
_SCHEDULED = Struct(">HBBBBBI")
_DAY = Struct(f">H{SLOTS_PER_DAY}I")


@dataclass(frozen=True, slots=True)
class ScheduledEnergy:
    """One register, in counts, as it stood exactly at a :00 or :30; raw None: not measured."""

    registered_at: datetime
    raw: int | None


@dataclass(frozen=True, slots=True)
class DayHistory:
    """One register at 00:00, 00:30 ... 23:30 of a day in Japan, in counts; None: missing, or still to come.

    *day_back*: 0 today, 1 yesterday, to 99, by the meter's clock; None: no day was ever chosen, discard the slots.
    Compare it with the day that was chosen: a late response for another day looks the same.
    """

    day_back: int | None
    slots: tuple[int | None, ...]


def half_hours(day: date) -> tuple[datetime, ...]:
    """Return the times of a DayHistory's 48 slots, for *day* in Japan."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=JST).astimezone(UTC)
    return tuple(midnight + slot * HALF_HOUR for slot in range(SLOTS_PER_DAY))


def decode_scheduled_energy(edt: bytes) -> ScheduledEnergy | None:
    """Decode the register of the last half hour (EA import, EB export); None: the meter has no such time yet.

    Raises: FrameError: not 11 bytes, a time off :00 and :30, or a register over its limit.
    """
    check_length("scheduled energy", edt, _SCHEDULED.size)
    *moment, count = _SCHEDULED.unpack(edt)
    registered_at = _utc(*moment)
    if registered_at is None:
        return None
    if registered_at.minute % 30 or registered_at.second:
        raise FrameError(f"scheduled energy of {registered_at:%H:%M:%S} is not on a half hour", edt)
    return ScheduledEnergy(registered_at, register_value(count, edt))


def decode_day_history(edt: bytes) -> DayHistory:
    """Decode history 1 (E2 import, E4 export); a register over its limit is missing, and costs no other.

    Raises: FrameError: not 194 bytes, or a day beyond 99.
    """
    check_length("history of a day", edt, _DAY.size)
    day_word, *counts = _DAY.unpack(edt)
    if day_word > MAX_DAY_BACK and day_word != DAY_NEVER_SET:
        raise FrameError(f"history is kept for {MAX_DAY_BACK} days, not {day_word}", edt)
    day_back = None if day_word == DAY_NEVER_SET else day_word
    return DayHistory(day_back, tuple(count if count <= REGISTER_MAX else None for count in counts))


def encode_history_day(day_back: int) -> bytes:
    """Return the EDT that sets history 1 (E5) to *day_back*: 0 today, to 99.

    Raises: ValueError: another day.
    """
    if not 0 <= day_back <= MAX_DAY_BACK:
        raise ValueError(f"a meter keeps today and {MAX_DAY_BACK} days back, not {day_back}")
    return bytes((day_back,))


def _utc(year: int, month: int, day: int, hour: int, minute: int, second: int) -> datetime | None:
    """Return the time the meter means; None where it is none: FF.. as delivered, or no date of the calendar."""
    if year < _FIRST_YEAR:
        return None
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=JST).astimezone(UTC)
    except ValueError:
        return None
