"""Registers at a time: half hours, and the history of a day. Meters give Japan time, UTC+9."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest

from skstack import FrameError
from skstack.echonet import DayHistory, ScheduledEnergy, half_hours
from skstack.echonet.history import decode_day_history, decode_scheduled_energy, encode_history_day

NO_DATA = "FFFFFFFE"


# --- EA, EB: the register of the last half hour


@pytest.mark.parametrize(
    ("hexa", "registered_at", "raw"),
    [
        ("07E8030F0A1E00 0001E240", datetime(2024, 3, 15, 1, 30, tzinfo=UTC), 123_456),
        ("07E606150F1E00 00016CA7", datetime(2022, 6, 21, 6, 30, tzinfo=UTC), 93_351),
        ("07E60801141E00 00012D02", datetime(2022, 8, 1, 11, 30, tzinfo=UTC), 77_058),  # 12_ak1211
        ("07EA05140E0000 0000FE68", datetime(2026, 5, 20, 5, 0, tzinfo=UTC), 65_128),  # 30_cracker_ea_eb_get
        ("07EA0518161E00 00000016", datetime(2026, 5, 24, 13, 30, tzinfo=UTC), 22),  # 30_cracker_ea_eb_get
        ("07E50917091E00 0007A787", datetime(2021, 9, 23, 0, 30, tzinfo=UTC), 501_639),  # 34_sugimura
        ("07E80101000000 0001E240", datetime(2023, 12, 31, 15, 0, tzinfo=UTC), 123_456),
        ("07E8030F0A1E00 FFFFFFFE", datetime(2024, 3, 15, 1, 30, tzinfo=UTC), None),
    ],
)
def test_a_half_hour_value_has_its_time_in_utc(hexa: str, registered_at: datetime, raw: int | None) -> None:
    energy = decode_scheduled_energy(bytes.fromhex(hexa))
    assert energy == ScheduledEnergy(registered_at, raw)
    assert energy.registered_at.tzinfo is UTC


@pytest.mark.parametrize(
    "moment",
    [
        "FFFFFFFFFFFFFF",
        "00000000000000",
        "07E80D0F0A1E00",  # month 13
        "07E7021D0A1E00",  # 29 February 2023
        "07E8030F181E00",  # hour 24
        "07CF0C1F171E00",  # 1999: a clock that was never set
        "00010101000000",  # year 1, whose first hours no UTC date has
    ],
)
def test_a_half_hour_value_of_no_date_is_none(moment: str) -> None:
    assert decode_scheduled_energy(bytes.fromhex(moment + "0001E240")) is None


@pytest.mark.parametrize("moment", ["07E8030F0A1F00", "07E8030F0A0500", "07E8030F0A1E01", "07E8030F0A003B"])
def test_a_half_hour_value_off_the_half_hour_is_refused(moment: str) -> None:
    with pytest.raises(FrameError, match="not on a half hour"):
        decode_scheduled_energy(bytes.fromhex(moment + "0001E240"))


# --- E2, E4: a day


def test_a_day_of_48_registers_is_read() -> None:
    # Slot k: 123456 + 10 k, so slot 47 is 123926 = 0001E416.
    edt = bytes.fromhex("0001" + "".join(f"{123_456 + 10 * slot:08X}" for slot in range(48)))
    assert edt[:10].hex() == "00010001e2400001e24a"
    assert edt[-4:].hex() == "0001e416"
    assert decode_day_history(edt) == DayHistory(1, tuple(range(123_456, 123_927, 10)))


def test_the_half_hours_to_come_are_none() -> None:
    # Today at 10:05: 00:00 to 10:00 are 21 slots, 124000 + 3 k; the other 27 are still to come.
    edt = bytes.fromhex("0000" + "".join(f"{124_000 + 3 * slot:08X}" for slot in range(21)) + NO_DATA * 27)
    day = decode_day_history(edt)
    assert day.day_back == 0
    assert day.slots == (*range(124_000, 124_061, 3), *[None] * 27)


def test_a_real_day_is_read() -> None:
    # 31_cracker_e2_history: eleven days back, from 0000F766 = 63334 to 0000F7B6 = 63414 counts.
    edt = bytes.fromhex(
        "000B0000F7660000F7680000F76A0000F76C0000F76D0000F76F0000F7700000F7720000F7740000F7760000F7770000F779"
        "0000F77A0000F77C0000F77E0000F7800000F7810000F7830000F7840000F7860000F7880000F7890000F78B0000F78D"
        "0000F78E0000F7900000F7920000F7930000F7950000F7960000F7980000F79A0000F79C0000F79D0000F79F0000F7A0"
        "0000F7A20000F7A40000F7A60000F7A70000F7A90000F7AB0000F7AD0000F7AF0000F7B00000F7B20000F7B40000F7B6"
    )
    day = decode_day_history(edt)
    assert day.day_back == 11
    assert day.slots[:5] == (63_334, 63_336, 63_338, 63_340, 63_341)
    assert day.slots[-1] == 63_414


def test_a_day_that_was_never_chosen_has_no_number() -> None:
    # 34_sugimura_facilities_7ffe_and_no_data: E2 while E5 is FF
    assert decode_day_history(bytes.fromhex("00FF" + NO_DATA * 48)) == DayHistory(None, (None,) * 48)


@pytest.mark.parametrize("day_word", ["0064", "00FE", "0100", "FFFF"])
def test_a_day_beyond_99_is_refused(day_word: str) -> None:
    with pytest.raises(FrameError, match="99 days"):
        decode_day_history(bytes.fromhex(day_word + NO_DATA * 48))


@pytest.mark.parametrize("impossible", ["05F5E100", "7FFFFFFF", "FFFFFFFF"])
def test_an_impossible_register_of_a_day_is_missing_and_costs_no_other(impossible: str) -> None:
    """A register holds at most 99,999,999 counts (05F5E0FF)."""
    edt = bytes.fromhex("0001" + "05F5E0FF" + impossible + "0001E240" * 46)
    assert decode_day_history(edt) == DayHistory(1, (99_999_999, None, *[123_456] * 46))


def test_the_slots_of_a_day_begin_at_midnight_in_japan() -> None:
    times = half_hours(date(2024, 3, 15))
    assert len(times) == 48
    assert times[0] == datetime(2024, 3, 14, 15, 0, tzinfo=UTC)
    assert times[1] == datetime(2024, 3, 14, 15, 30, tzinfo=UTC)
    assert times[47] == datetime(2024, 3, 15, 14, 30, tzinfo=UTC)  # 23:30


# --- E5


def test_the_day_of_history_goes_from_today_to_99_days_back() -> None:
    assert [encode_history_day(day_back) for day_back in (0, 1, 99)] == [b"\x00", b"\x01", b"\x63"]


@pytest.mark.parametrize("day_back", [-1, 100, 255])
def test_no_other_day_can_be_chosen(day_back: int) -> None:
    with pytest.raises(ValueError, match="99 days back"):
        encode_history_day(day_back)


# --- whatever comes


@pytest.mark.parametrize(("decode", "length"), [(decode_scheduled_energy, 11), (decode_day_history, 194)])
def test_a_wrong_length_is_refused(decode: Callable[[bytes], object], length: int) -> None:
    for wrong in (0, length - 1, length + 1):
        with pytest.raises(FrameError, match=f"is {length} bytes, not {wrong}"):
            decode(bytes(wrong))
