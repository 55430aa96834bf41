"""Energy registers: counts, what scales them, and the difference of two."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skstack import FrameError
from skstack.echonet import EnergyScale, register_difference
from skstack.echonet.registers import (
    REGISTER_NO_DATA,
    UNIT_KWH_BY_CODE,
    decode_coefficient,
    decode_digits,
    decode_register,
    decode_unit_kwh,
)


@pytest.mark.parametrize(
    ("hexa", "raw"),
    [
        ("00000000", 0),
        ("0001E240", 123_456),
        ("00012631", 75_313),  # 19_vkgtaro_rl7023_d3_e1_e0
        ("0007A78D", 501_645),  # 34_sugimura_facilities_7ffe_and_no_data
        ("05F5E0FF", 99_999_999),
    ],
)
def test_a_register_is_a_count(hexa: str, raw: int) -> None:
    assert decode_register(bytes.fromhex(hexa)) == raw


def test_a_register_that_is_not_measured_is_none() -> None:
    assert REGISTER_NO_DATA == 0xFFFFFFFE
    assert decode_register(bytes.fromhex("FFFFFFFE")) is None


@pytest.mark.parametrize("hexa", ["05F5E100", "7FFFFFFE", "FFFFFFFD", "FFFFFFFF"])
def test_a_register_over_eight_digits_is_refused(hexa: str) -> None:
    with pytest.raises(FrameError, match="at most 99999999"):
        decode_register(bytes.fromhex(hexa))


@pytest.mark.parametrize(("hexa", "coefficient"), [("00000001", 1), ("0000000A", 10), ("000F423F", 999_999)])
def test_a_coefficient_is_1_to_999999(hexa: str, coefficient: int) -> None:
    assert decode_coefficient(bytes.fromhex(hexa)) == coefficient


@pytest.mark.parametrize("hexa", ["00000000", "000F4240", "FFFFFFFE"])
def test_a_coefficient_that_would_spoil_every_energy_is_refused(hexa: str) -> None:
    with pytest.raises(FrameError, match="1 to 999999"):
        decode_coefficient(bytes.fromhex(hexa))


@pytest.mark.parametrize(
    ("code", "unit"),
    [
        (0x00, "1"),
        (0x01, "0.1"),
        (0x02, "0.01"),
        (0x03, "0.001"),
        (0x04, "0.0001"),
        (0x0A, "10"),
        (0x0B, "100"),
        (0x0C, "1000"),
        (0x0D, "10000"),
    ],
)
def test_the_unit_of_each_code_is_exact(code: int, unit: str) -> None:
    assert str(decode_unit_kwh(bytes([code]))) == unit


def test_every_other_unit_code_is_refused() -> None:
    for code in set(range(256)) - set(UNIT_KWH_BY_CODE):
        with pytest.raises(FrameError, match="unknown energy unit"):
            decode_unit_kwh(bytes([code]))


def test_a_register_has_one_to_eight_digits() -> None:
    assert [decode_digits(bytes([digits])) for digits in range(1, 9)] == [1, 2, 3, 4, 5, 6, 7, 8]
    for digits in (0, 9, 255):
        with pytest.raises(FrameError, match="1 to 8 digits"):
            decode_digits(bytes([digits]))


@pytest.mark.parametrize(
    ("decode", "length"), [(decode_register, 4), (decode_coefficient, 4), (decode_unit_kwh, 1), (decode_digits, 1)]
)
def test_a_wrong_length_is_refused(decode: Callable[[bytes], object], length: int) -> None:
    for wrong in (0, length - 1, length + 1):
        with pytest.raises(FrameError, match=f"is {length} bytes, not {wrong}"):
            decode(bytes(wrong))


# --- kWh


@pytest.mark.parametrize(
    ("coefficient", "unit", "raw", "kwh"),
    [
        (1, "0.1", 123_456, "12345.6"),
        (10, "0.01", 12_345_678, "1234567.80"),
        (1, "0.1", 324_605, "32460.5"),
        (1, "0.01", 77_058, "770.58"),  # 12_ak1211_bp35a1_inf_ea_30min_unsolicited
        (1, "0.1", 3, "0.3"),  # a float product would be 0.30000000000000004
        (1, "0.1", 0, "0.0"),
        (1, "10", 123, "1230"),
        (999_999, "0.0001", 99_999_999, "9999989900.0001"),  # 99999999 x 999999 = 99999899000001
    ],
)
def test_energy_is_exact_and_prints_with_the_decimals_of_its_unit(
    coefficient: int, unit: str, raw: int, kwh: str
) -> None:
    assert str(EnergyScale(coefficient, Decimal(unit), None).kwh(raw)) == kwh


def test_no_count_is_no_energy() -> None:
    assert EnergyScale(1, Decimal("0.1"), 6).kwh(None) is None


@given(st.integers(1, 999_999), st.sampled_from(sorted(UNIT_KWH_BY_CODE.values())), st.integers(0, 99_999_999))
def test_every_energy_divides_back_into_its_count(coefficient: int, unit: Decimal, raw: int) -> None:
    kwh = EnergyScale(coefficient, unit, None).kwh(raw)
    assert kwh is not None
    assert int(kwh * 10_000) == raw * coefficient * int(unit * 10_000)


@pytest.mark.parametrize(
    ("coefficient", "unit", "digits", "reason"),
    [
        (0, "0.1", 6, "coefficient"),
        (1_000_000, "0.1", 6, "coefficient"),
        (1, "0.5", 6, "no unit"),
        (1, "0.1", 0, "digits"),
        (1, "0.1", 9, "digits"),
    ],
)
def test_a_scale_no_meter_can_have_cannot_be_built(coefficient: int, unit: str, digits: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        EnergyScale(coefficient, Decimal(unit), digits)


# --- from one count to the next


@pytest.mark.parametrize(
    ("new", "old", "digits", "rise"),
    [
        (123_466, 123_456, 6, 10),
        (123_456, 123_456, 6, 0),
        (3, 999_998, 6, 5),  # 999998, 999999, 0, 1, 2, 3
        (0, 99_999_999, 8, 1),
        (123_466, 123_456, None, 10),
    ],
)
def test_a_register_rises_also_over_its_wrap(new: int, old: int, digits: int | None, rise: int) -> None:
    assert register_difference(new, old, digits) == rise


@pytest.mark.parametrize(
    ("new", "old", "digits"),
    [
        (123_455, 123_456, 6),  # one count back would be a rise of 999999
        (0, 500_000, 6),  # half the range: no household does that between two readings
        (3, 999_998, 7),  # a register of seven digits does not wrap at six
        (3, 1_000_000, 6),  # more than the digits can show
        (3, 999_998, None),
    ],
)
def test_a_fall_that_is_no_wrap_is_no_difference(new: int, old: int, digits: int | None) -> None:
    assert register_difference(new, old, digits) is None


@given(st.integers(1, 8), st.data())
def test_any_rise_below_half_the_range_is_found_again(digits: int, data: st.DataObject) -> None:
    wrap = 10**digits
    old = data.draw(st.integers(0, wrap - 1))
    rise = data.draw(st.integers(0, wrap // 2 - 1))
    assert register_difference((old + rise) % wrap, old, digits) == rise
