"""Registers at a time of the meter's own clock: the half-hour values, one-minute values and the three histories.

The meter tells Japan time; every time that leaves this module is aware UTC.
Source: ECHONET Device Objects (Appendix) release R, class 0x0288, EPC D0, E2, E4, E5, EA to EF.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from struct import Struct

from skstack.echonet.device import JST
from skstack.echonet.frame import check_length
from skstack.echonet.registers import register_value
from skstack.errors import FrameError

SLOTS_PER_DAY = 48
MAX_DAY_BACK = 99
DAY_NEVER_SET = 0xFF  # E5 as delivered, and the day word of E2 and E4 then

_FIRST_YEAR = 2000  # an earlier year is a clock that was never set; no such meter existed
_SCHEDULED = Struct(">HBBBBBI")
_MINUTE = Struct(">HBBBBBII")
_DAY = Struct(f">H{SLOTS_PER_DAY}I")
_TIME_AND_COUNT = Struct(">HBBBBB")
_PAIR = Struct(">II")


@dataclass(frozen=True, slots=True)
class HistorySteps:
    """One kind of history that is asked for by its newest time: the step between its values, and how many at most."""

    step: timedelta
    max_count: int

    def holds(self, minute: int) -> bool:
        """Tell whether values stand on this minute of the hour."""
        return timedelta(minutes=minute) % self.step == timedelta(0)


HALF_HOURS = HistorySteps(timedelta(minutes=30), 12)
"""History 2: EC, its time in ED."""
MINUTES = HistorySteps(timedelta(minutes=1), 10)
"""History 3: EE, its time in EF."""


@dataclass(frozen=True, slots=True)
class ScheduledEnergy:
    """One register, in counts, as it stood exactly at a :00 or :30; raw None: not measured."""

    registered_at: datetime
    raw: int | None


@dataclass(frozen=True, slots=True)
class RegisterPair:
    """Both registers, in counts, at one time; None: not measured."""

    registered_at: datetime
    import_raw: int | None
    export_raw: int | None


@dataclass(frozen=True, slots=True)
class DayHistory:
    """One register at 00:00, 00:30 ... 23:30 of a day in Japan, in counts; None: missing, or still to come.

    *day_back*: 0 today, 1 yesterday, to 99, by the meter's clock; None: no day was ever asked for, discard the slots.
    Compare it with the day that was asked for: a late answer for another day looks the same.
    """

    day_back: int | None
    slots: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class HistoryTime:
    """What ED or EF is set to: the newest value of the answer, and how many values it has."""

    newest_at: datetime
    count: int


def _utc(year: int, month: int, day: int, hour: int, minute: int, second: int = 0) -> datetime | None:
    """Return the time the meter means; None where it is none: FF.. as delivered, or no date of the calendar."""
    if year < _FIRST_YEAR:
        return None
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=JST).astimezone(UTC)
    except ValueError:
        return None


def half_hours(day: date) -> tuple[datetime, ...]:
    """Return the times of a DayHistory's 48 slots, for *day* in Japan."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=JST).astimezone(UTC)
    return tuple(midnight + slot * HALF_HOURS.step for slot in range(SLOTS_PER_DAY))


def decode_scheduled_energy(edt: bytes) -> ScheduledEnergy | None:
    """Decode the register of the last half hour (EA import, EB export); None: the meter has no such time yet.

    Raises: FrameError: not 11 bytes, a time off :00 and :30, or a register over its limit.
    """
    check_length("scheduled energy", edt, _SCHEDULED.size)
    *moment, count = _SCHEDULED.unpack(edt)
    registered_at = _utc(*moment)
    if registered_at is None:
        return None
    if not HALF_HOURS.holds(registered_at.minute) or registered_at.second:
        raise FrameError(f"scheduled energy of {registered_at:%H:%M:%S} is not on a half hour", edt)
    return ScheduledEnergy(registered_at, register_value(count, edt))


def decode_minute_energy(edt: bytes) -> RegisterPair | None:
    """Decode both registers of the last minute (D0); None: the meter has no such time yet.

    Raises: FrameError: not 15 bytes, or a register over its limit.
    """
    check_length("one-minute energy", edt, _MINUTE.size)
    *moment, import_count, export_count = _MINUTE.unpack(edt)
    registered_at = _utc(*moment)
    if registered_at is None:
        return None
    return RegisterPair(registered_at, register_value(import_count, edt), register_value(export_count, edt))


def decode_day_history(edt: bytes) -> DayHistory:
    """Decode history 1 (E2 import, E4 export).

    Raises: FrameError: not 194 bytes, a day beyond 99, or a register over its limit.
    """
    check_length("history of a day", edt, _DAY.size)
    day_word, *counts = _DAY.unpack(edt)
    if day_word > MAX_DAY_BACK and day_word != DAY_NEVER_SET:
        raise FrameError(f"history is kept for {MAX_DAY_BACK} days, not {day_word}", edt)
    day_back = None if day_word == DAY_NEVER_SET else day_word
    return DayHistory(day_back, tuple(register_value(count, edt) for count in counts))


def decode_half_hour_history(edt: bytes) -> tuple[RegisterPair, ...] | None:
    """Decode history 2 (EC), newest first; None: its time (ED) was never set.

    Raises: FrameError: wrong length, count or minute, or a register over its limit.
    """
    return _decode_history(edt, HALF_HOURS)


def decode_minute_history(edt: bytes) -> tuple[RegisterPair, ...] | None:
    """Decode history 3 (EE), newest first; None: its time (EF) was never set.

    Raises: FrameError: wrong length or count, or a register over its limit.
    """
    return _decode_history(edt, MINUTES)


def _decode_history(edt: bytes, kind: HistorySteps) -> tuple[RegisterPair, ...] | None:
    head = edt[: _TIME_AND_COUNT.size]
    newest = _decode_time(head, kind)
    check_length("history", edt, _TIME_AND_COUNT.size + _PAIR.size * head[-1])
    pairs = tuple(
        (register_value(import_count, edt), register_value(export_count, edt))
        for import_count, export_count in _PAIR.iter_unpack(edt[_TIME_AND_COUNT.size :])
    )
    if newest is None:
        return None
    return tuple(
        RegisterPair(newest.newest_at - back * kind.step, import_raw, export_raw)
        for back, (import_raw, export_raw) in enumerate(pairs)
    )


def decode_history_day(edt: bytes) -> int | None:
    """Decode the day history 1 is set to (E5), days back; None: never set.

    Raises: FrameError: not 1 byte, or beyond 99.
    """
    check_length("day of history", edt, 1)
    if edt[0] == DAY_NEVER_SET:
        return None
    if edt[0] > MAX_DAY_BACK:
        raise FrameError(f"history is kept for {MAX_DAY_BACK} days, not {edt[0]}", edt)
    return edt[0]


def encode_history_day(day_back: int) -> bytes:
    """Return the EDT that sets history 1 (E5) to *day_back*: 0 today, to 99.

    Raises: ValueError: another day.
    """
    if not 0 <= day_back <= MAX_DAY_BACK:
        raise ValueError(f"a meter keeps today and {MAX_DAY_BACK} days back, not {day_back}")
    return bytes((day_back,))


def decode_half_hour_history_time(edt: bytes) -> HistoryTime | None:
    """Decode what history 2 is set to (ED); None: never set.

    Raises: FrameError: not 7 bytes, a count outside 1 to 12, or a time off :00 and :30.
    """
    return _decode_time(edt, HALF_HOURS)


def decode_minute_history_time(edt: bytes) -> HistoryTime | None:
    """Decode what history 3 is set to (EF); None: never set.

    Raises: FrameError: not 7 bytes, or a count outside 1 to 10.
    """
    return _decode_time(edt, MINUTES)


def _decode_time(edt: bytes, kind: HistorySteps) -> HistoryTime | None:
    check_length("time of history", edt, _TIME_AND_COUNT.size)
    *moment, count = _TIME_AND_COUNT.unpack(edt)
    if not 1 <= count <= kind.max_count:
        raise FrameError(f"a history has 1 to {kind.max_count} values, not {count}", edt)
    newest_at = _utc(*moment)
    if newest_at is None:
        return None
    if not kind.holds(newest_at.minute):
        raise FrameError(f"history of {newest_at:%H:%M} is not on a half hour", edt)
    return HistoryTime(newest_at, count)


def encode_history_time(newest_at: datetime, count: int, kind: HistorySteps = HALF_HOURS) -> bytes:
    """Return the EDT that sets history 2 (ED, HALF_HOURS) or history 3 (EF, MINUTES): the newest time and the count.

    Raises: ValueError: a count the history cannot give, or a time that is naive, between two steps, or outside the
    years 2000 to 9999.
    """
    if newest_at.tzinfo is None:
        raise ValueError(f"{newest_at} has no time zone")
    if not 1 <= count <= kind.max_count:
        raise ValueError(f"a history has 1 to {kind.max_count} values, not {count}")
    try:
        local = newest_at.astimezone(JST)
    except OverflowError as err:
        raise ValueError(f"{newest_at} is no time of a meter") from err
    if local.second or local.microsecond or not kind.holds(local.minute):
        raise ValueError(f"{newest_at} is not on a step of {kind.step}")
    if local.year < _FIRST_YEAR:
        raise ValueError(f"{newest_at} is no time of a meter")
    return _TIME_AND_COUNT.pack(local.year, local.month, local.day, local.hour, local.minute, count)
