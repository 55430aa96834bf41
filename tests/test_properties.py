"""The meter's properties: power, currents, one poll as a reading, who the meter is, and whatever bytes come."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skstack import FrameError
from skstack.echonet import METER, EnergyScale, Epc, Frame, MeterIdentity, MeterReading, decode_power_w
from skstack.echonet.device import decode_maker_code, decode_release, decode_serial_number
from skstack.echonet.frame import parse_property_map
from skstack.echonet.history import decode_day_history, decode_scheduled_energy
from skstack.echonet.identity import Recognition, decode_identity
from skstack.echonet.properties import (
    CURRENT_NO_DATA,
    CURRENT_OVERFLOW,
    CURRENT_UNDERFLOW,
    POWER_NO_DATA,
    POWER_OVERFLOW,
    POWER_UNDERFLOW,
    decode_current_a,
    decode_reading,
)
from skstack.echonet.registers import decode_coefficient, decode_digits, decode_register, decode_unit_kwh

TENTHS = EnergyScale(1, Decimal("0.1"), 6)
NOTHING = MeterReading(None, None, None, None, None)


def values(hexa: str) -> dict[int, bytes]:
    """Return the EDTs of a frame given in hex."""
    return Frame.from_bytes(bytes.fromhex(hexa)).edt_by_epc()


# --- E7


@pytest.mark.parametrize(
    ("hexa", "power_w"),
    [
        ("00000000", 0),
        ("000002AE", 686),
        ("FFFFFDF4", -524),
        ("FFFFF856", -1962),  # 23_vkgtaro_rl7023_e7_negative_selling
        ("000004A8", 1192),  # 11_ak1211_bp35a1_get_e7_e8_pair
        ("0000001B", 27),  # 18_vkgtaro_rl7023_inf_d5_steals_first_response
        ("7FFFFFFD", 2_147_483_645),
        ("80000001", -2_147_483_647),
    ],
)
def test_power_is_signed_watts(hexa: str, power_w: int) -> None:
    assert decode_power_w(bytes.fromhex(hexa)) == power_w


@pytest.mark.parametrize("hexa", ["7FFFFFFE", "7FFFFFFF", "80000000"])
def test_power_that_is_not_measured_or_out_of_range_is_none(hexa: str) -> None:
    assert decode_power_w(bytes.fromhex(hexa)) is None


def test_the_codes_without_data_are_those_of_the_standard() -> None:
    assert (POWER_NO_DATA, POWER_OVERFLOW, POWER_UNDERFLOW) == (2_147_483_646, 2_147_483_647, -2_147_483_648)
    assert (CURRENT_NO_DATA, CURRENT_OVERFLOW, CURRENT_UNDERFLOW) == (32_766, 32_767, -32_768)


# --- E8


@pytest.mark.parametrize(
    ("hexa", "current_r", "current_t"),
    [
        ("00140064", "2.0", "10.0"),
        ("FFEC7FFE", "-2.0", None),
        ("00620022", "9.8", "3.4"),  # 11_ak1211_bp35a1_get_e7_e8_pair
        ("00000082", "0.0", "13.0"),  # 24_hakase329_rl7023_three_properties
        ("00280028", "4.0", "4.0"),  # 49_yakumosaki_bp35a1_get_e7_e8
        ("00147FFE", "2.0", None),  # 34_sugimura_facilities_7ffe_and_no_data
        ("7FFD8001", "3276.5", "-3276.7"),
        ("7FFE7FFF", None, None),
        ("8000FFFF", None, "-0.1"),
        ("00037FFF", "0.3", None),
    ],
)
def test_currents_are_signed_tenths_of_an_ampere(hexa: str, current_r: str | None, current_t: str | None) -> None:
    decoded = decode_current_a(bytes.fromhex(hexa))
    assert [current if current is None else str(current) for current in decoded] == [current_r, current_t]


@pytest.mark.parametrize("wrong", [0, 2, 3, 5, 8])
def test_power_and_currents_of_a_wrong_length_are_refused(wrong: int) -> None:
    with pytest.raises(FrameError, match=f"power is 4 bytes, not {wrong}"):
        decode_power_w(bytes(wrong))
    with pytest.raises(FrameError, match=f"currents is 4 bytes, not {wrong}"):
        decode_current_a(bytes(wrong))


# --- a reading


def test_one_poll_of_six_properties_is_a_reading() -> None:
    response = values(
        "1081 06E1 028801 05FF01 72 06 80 01 30 88 01 42 E7 04 00000698 E8 04 00A0 0028 E0 04 0004F3FD E3 04 0000000B"
    )
    assert decode_reading(response, TENTHS) == MeterReading(
        power_w=1688,
        current_r_a=Decimal("16.0"),
        current_t_a=Decimal("4.0"),
        import_kwh=Decimal("32460.5"),
        export_kwh=Decimal("1.1"),
    )


def test_a_meter_without_a_coefficient_still_gives_its_energy() -> None:
    response = values("1081 0006 028801 05FF01 52 03 D3 00 E1 01 01 E0 04 0001E240")
    scale = decode_identity(response, frozenset({Epc.COEFFICIENT})).scale
    assert scale == EnergyScale(1, Decimal("0.1"), None)
    assert decode_reading(response, scale).import_kwh == Decimal("12345.6")


def test_the_coefficient_multiplies_the_energy() -> None:
    response = values("1081 0007 028801 05FF01 72 03 D3 04 0000000A E1 01 02 E0 04 00BC614E")
    scale = decode_identity(response).scale
    assert scale == EnergyScale(10, Decimal("0.01"), None)
    assert decode_reading(response, scale).import_kwh == Decimal("1234567.8")


def test_what_did_not_come_is_none(caplog: pytest.LogCaptureFixture) -> None:
    assert decode_reading({}, TENTHS) == NOTHING
    assert not caplog.records


def test_what_was_not_measured_is_none_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    none = bytes.fromhex("FFFFFFFE")
    power, currents = bytes.fromhex("7FFFFFFE"), bytes.fromhex("7FFE7FFE")
    response: dict[int, bytes] = {
        Epc.POWER: power,
        Epc.CURRENTS: currents,
        Epc.IMPORT_ENERGY: none,
        Epc.EXPORT_ENERGY: none,
    }
    assert decode_reading(response, TENTHS) == NOTHING
    assert not caplog.records


def test_without_a_scale_energy_is_none_and_power_is_not() -> None:
    response: dict[int, bytes] = {Epc.POWER: bytes.fromhex("000002AE"), Epc.IMPORT_ENERGY: bytes.fromhex("0001E240")}
    assert decode_reading(response, None) == MeterReading(686, None, None, None, None)


@pytest.mark.parametrize(
    ("broken", "edt", "lost"),
    [
        (Epc.POWER, "0002AE", {"power_w"}),
        (Epc.CURRENTS, "0014", {"current_r_a", "current_t_a"}),
        (Epc.IMPORT_ENERGY, "FFFFFFFF", {"import_kwh"}),
        (Epc.EXPORT_ENERGY, "05F5E100", {"export_kwh"}),
    ],
)
def test_one_broken_property_costs_only_itself_and_one_warning(
    broken: Epc, edt: str, lost: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    response: dict[int, bytes] = {
        Epc.POWER: bytes.fromhex("000002AE"),
        Epc.CURRENTS: bytes.fromhex("00140064"),
        Epc.IMPORT_ENERGY: bytes.fromhex("0001E240"),
        Epc.EXPORT_ENERGY: bytes.fromhex("00000005"),
    }
    response[broken] = bytes.fromhex(edt)
    reading = decode_reading(response, TENTHS)
    assert {name for name in MeterReading.__slots__ if getattr(reading, name) is None} == lost
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"EPC {broken:02X} ({broken.name})" in record.getMessage()


# --- who the meter is


IDENTITY: dict[
    int, bytes
] = {  # 34_sugimura_facilities_7ffe_and_no_data; 9F in the bitmap form of 28_cracker_property_maps
    Epc.STANDARD_VERSION: bytes.fromhex("00004600"),
    Epc.MAKER_CODE: bytes.fromhex("000016"),
    Epc.SERIAL_NUMBER: bytes.fromhex("413137583037343137350000"),
    Epc.COEFFICIENT: bytes.fromhex("00000001"),
    Epc.DIGITS: bytes.fromhex("06"),
    Epc.ENERGY_UNIT: bytes.fromhex("02"),
    Epc.GET_MAP: bytes.fromhex("1941414160404000624300414040430202"),
}
GET_MAP = frozenset(bytes.fromhex("808182888a8d97989d9e9fd3d7e0e1e2e3e4e5e7e8eaebeced"))


def test_a_real_meter_says_who_it_is() -> None:
    assert decode_identity(IDENTITY) == MeterIdentity(
        manufacturer="000016",
        serial_number="A17X074175",
        release="F",
        scale=EnergyScale(1, Decimal("0.01"), 6),
    )


def test_a_meter_that_said_nothing_is_nobody() -> None:
    assert decode_identity({}) == MeterIdentity(None, None, None, None)


def test_a_coefficient_the_meter_has_but_did_not_send_is_not_guessed() -> None:
    without = {epc: edt for epc, edt in IDENTITY.items() if epc != Epc.COEFFICIENT}
    assert decode_identity(without).scale is None


def test_a_meter_that_refuses_its_coefficient_counts_by_one() -> None:
    without = {epc: edt for epc, edt in IDENTITY.items() if epc != Epc.COEFFICIENT}
    assert decode_identity(without, frozenset({Epc.COEFFICIENT})).scale == EnergyScale(1, Decimal("0.01"), 6)


# --- whether it is the same meter

OURS = MeterIdentity("000016", "A17X074175", "F", EnergyScale(1, Decimal("0.01"), 6))
ANOTHER = MeterIdentity("000016", "B99X000001", "F", EnergyScale(1, Decimal("0.1"), 6))


def test_one_wrong_digit_once_is_no_other_meter() -> None:
    recognition = Recognition()
    recognition.note(OURS, 0.0)
    assert not recognition.note(replace(OURS, serial_number="A77X074175"), 10.0)
    assert not recognition.is_sure
    assert not recognition.note(OURS, 20.0)
    assert (recognition.known, recognition.is_sure, recognition.since) == (OURS, True, 0.0)


def test_a_meter_is_another_one_when_it_says_so_twice_and_since_it_said_so_first() -> None:
    recognition = Recognition()
    recognition.note(OURS, 0.0)
    assert [recognition.note(ANOTHER, at) for at in (10.0, 20.0)] == [False, True]
    assert (recognition.known, recognition.is_sure, recognition.since) == (ANOTHER, True, 10.0)


def test_a_scale_without_a_name_does_not_end_a_suspicion_of_another_meter() -> None:
    another = replace(OURS, serial_number="B99X000001")
    recognition = Recognition()
    recognition.note(OURS, 0.0)
    recognition.note(another, 10.0)
    recognition.note(MeterIdentity(None, None, "F", OURS.scale), 20.0)
    assert not recognition.is_sure
    assert recognition.note(another, 30.0)
    assert (recognition.known, recognition.is_sure, recognition.since) == (another, True, 10.0)


def test_a_meter_without_a_name_is_known_by_its_scale() -> None:
    nameless = MeterIdentity(None, None, "F", OURS.scale)
    recognition = Recognition()
    recognition.note(nameless, 0.0)
    recognition.suspect(10.0)
    recognition.note(nameless, 20.0)
    assert recognition.is_sure


def test_two_different_wrong_responses_are_no_agreement() -> None:
    recognition = Recognition()
    recognition.note(OURS, 0.0)
    assert not recognition.note(ANOTHER, 10.0)
    assert not recognition.note(replace(ANOTHER, serial_number="C00X000002"), 20.0)
    assert recognition.known == OURS
    assert not recognition.is_sure


def test_another_release_or_less_given_is_the_same_meter() -> None:
    recognition = Recognition()
    recognition.note(OURS, 0.0)
    recognition.note(MeterIdentity("000016", None, "G", None), 10.0)
    assert recognition.is_sure
    assert recognition.known == replace(OURS, release="G")


@pytest.mark.parametrize(("epc", "edt"), [(Epc.COEFFICIENT, "00000000"), (Epc.ENERGY_UNIT, "05")])
def test_a_broken_scale_is_no_scale(epc: Epc, edt: str, caplog: pytest.LogCaptureFixture) -> None:
    assert decode_identity({**IDENTITY, epc: bytes.fromhex(edt)}).scale is None
    assert len(caplog.records) == 1


def test_broken_digits_cost_only_the_digits(caplog: pytest.LogCaptureFixture) -> None:
    assert decode_identity({**IDENTITY, Epc.DIGITS: b"\x09"}).scale == EnergyScale(1, Decimal("0.01"), None)
    assert len(caplog.records) == 1


# --- whatever comes

# What decodes each property that we use, alone.
DECODERS: dict[int, Callable[[bytes], object]] = {
    Epc.STANDARD_VERSION: decode_release,
    Epc.MAKER_CODE: decode_maker_code,
    Epc.SERIAL_NUMBER: decode_serial_number,
    Epc.GET_MAP: parse_property_map,
    Epc.COEFFICIENT: decode_coefficient,
    Epc.DIGITS: decode_digits,
    Epc.IMPORT_ENERGY: decode_register,
    Epc.ENERGY_UNIT: decode_unit_kwh,
    Epc.IMPORT_DAY_HISTORY: decode_day_history,
    Epc.EXPORT_ENERGY: decode_register,
    Epc.EXPORT_DAY_HISTORY: decode_day_history,
    Epc.POWER: decode_power_w,
    Epc.CURRENTS: decode_current_a,
    Epc.SCHEDULED_IMPORT: decode_scheduled_energy,
    Epc.SCHEDULED_EXPORT: decode_scheduled_energy,
}


def test_every_frame_of_the_transcripts_is_read_decoded_and_written_back() -> None:
    transcripts = (Path(__file__).parent / "data" / "transcripts").glob("*.json")
    texts = [text for path in transcripts for text in re.findall(r"\b1081(?:[0-9A-F]{2}){10,}\b", path.read_text())]
    assert len(texts) > 70
    for text in texts:
        frame = Frame.from_bytes(bytes.fromhex(text))
        assert frame.to_bytes().hex().upper() == text
        if frame.seoj == METER:
            assert None not in [DECODERS[epc](edt) for epc, edt in frame.edt_by_epc().items() if epc in DECODERS]


@given(st.sampled_from([*DECODERS.values()]), st.data())
def test_any_bytes_are_a_value_or_a_frame_error(decode: Callable[[bytes], object], data: st.DataObject) -> None:
    length = data.draw(st.sampled_from([0, 1, 2, 3, 4, 5, 7, 11, 12, 15, 16, 17, 23, 194]) | st.integers(0, 255))
    edt = data.draw(st.binary(min_size=length, max_size=length))
    with suppress(FrameError):
        decode(edt)


@pytest.mark.system
@given(st.dictionaries(st.sampled_from(Epc), st.binary(max_size=8)))
def test_no_response_breaks_a_reading_or_an_identity(response: dict[int, bytes]) -> None:
    reading = decode_reading(response, TENTHS)
    assert reading.current_r_a is None or abs(reading.current_r_a) <= Decimal("3276.7")
    identity = decode_identity(response)
    assert identity.scale is None or identity.scale.unit_kwh > 0


def test_all_a_poll_needs_fits_into_one_get() -> None:
    epcs = [Epc.POWER, Epc.CURRENTS, Epc.IMPORT_ENERGY, Epc.EXPORT_ENERGY]
    frame = Frame.get(1, epcs)
    assert frame.deoj == METER
    assert frame.to_bytes() == bytes.fromhex("1081 0001 05FF01 028801 62 04 E7 00 E8 00 E0 00 E3 00")
