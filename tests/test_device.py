"""What any ECHONET device tells of itself. Hex of real meters names its transcript in tests/data/transcripts/."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest

from skstack.echonet.device import (
    RouteBNumber,
    decode_class_count,
    decode_class_list,
    decode_clock,
    decode_clock_date,
    decode_clock_time,
    decode_current_limit_percent,
    decode_fault_content,
    decode_fault_status,
    decode_identification_number,
    decode_instance_count,
    decode_location,
    decode_maker_code,
    decode_maker_fault_code,
    decode_manufacture_date,
    decode_node_version,
    decode_operating_time,
    decode_operation_status,
    decode_own_energy_kwh,
    decode_own_power_w,
    decode_place_code,
    decode_power_limit_w,
    decode_power_saving,
    decode_product_code,
    decode_release,
    decode_remote_control,
    decode_route_b_number,
    decode_serial_number,
    decode_unique_id,
)
from skstack.errors import FrameError


@pytest.mark.parametrize(
    ("decode", "hexa", "value"),
    [
        # 26_cracker_identity_props
        (decode_operation_status, "30", True),
        (decode_location, "61", "61"),
        (decode_release, "00004600", "F"),
        (decode_fault_status, "42", False),
        (decode_maker_code, "000016", "000016"),
        (decode_serial_number, "463234473336363530350000", "F24G366505"),
        (decode_clock_time, "0E1A", time(14, 26)),
        (decode_clock_date, "07EA0514", date(2026, 5, 20)),
        # 34_sugimura_facilities_7ffe_and_no_data
        (decode_serial_number, "413137583037343137350000", "A17X074175"),
        (decode_clock_time, "0929", time(9, 41)),
        (decode_clock_date, "07E50917", date(2021, 9, 23)),
        # by the tables of the standard
        (decode_operation_status, "31", False),
        (decode_fault_status, "41", True),
        (decode_location, "01" + "00" * 16, "01" + "00" * 16),
        (decode_release, "00005201", "R"),
        (decode_identification_number, "FE000016" + "00" * 13, "FE000016" + "00" * 13),
        (decode_own_power_w, "0102", 258),
        (decode_own_energy_kwh, "000004D2", Decimal("1.234")),
        (decode_maker_fault_code, "04000016AB", "04000016AB"),
        (decode_current_limit_percent, "64", 100),
        (decode_fault_content, "03E8", 1000),
        (decode_place_code, "0000AB", "0000AB"),
        (decode_product_code, "4142432D31" + "00" * 7, "ABC-1"),
        (decode_manufacture_date, "07E50917", date(2021, 9, 23)),
        (decode_power_saving, "41", True),
        (decode_power_saving, "42", False),
        (decode_remote_control, "61", 0x61),
        (decode_power_limit_w, "1770", 6000),
        (decode_operating_time, "41 0000003C", timedelta(seconds=60)),
        (decode_operating_time, "42 0000003C", timedelta(hours=1)),
        (decode_operating_time, "43 00000018", timedelta(days=1)),
        (decode_operating_time, "44 0000016D", timedelta(days=365)),
        # the node profile
        (decode_node_version, "010D0100", "1.13"),
        (decode_unique_id, "8001", 0x8001),
        (decode_instance_count, "000001", 1),
        (decode_class_count, "0002", 2),
        (decode_class_list, "010288", ("0288",)),
        (decode_class_list, "020288028A", ("0288", "028A")),
    ],
)
def test_a_property_means_what_its_table_says(decode: Callable[[bytes], object], hexa: str, value: object) -> None:
    assert decode(bytes.fromhex(hexa)) == value


@pytest.mark.parametrize(
    ("decode", "lengths"),
    [
        (decode_operation_status, {1}),
        (decode_location, {1, 17}),
        (decode_release, {4}),
        (decode_identification_number, {17}),
        (decode_own_power_w, {2}),
        (decode_own_energy_kwh, {4}),
        (decode_maker_fault_code, set(range(1, 256))),
        (decode_current_limit_percent, {1}),
        (decode_fault_status, {1}),
        (decode_fault_content, {2}),
        (decode_maker_code, {3}),
        (decode_place_code, {3}),
        (decode_product_code, {12}),
        (decode_serial_number, {12}),
        (decode_manufacture_date, {4}),
        (decode_power_saving, {1}),
        (decode_remote_control, {1}),
        (decode_clock_time, {2}),
        (decode_clock_date, {4}),
        (decode_power_limit_w, {2}),
        (decode_operating_time, {5}),
        (decode_route_b_number, {16}),
        (decode_node_version, {4}),
        (decode_unique_id, {2}),
        (decode_instance_count, {3}),
        (decode_class_count, {2}),
    ],
)
def test_every_other_length_is_refused(decode: Callable[[bytes], object], lengths: set[int]) -> None:
    for wrong in set(range(20)) | {256}:
        if wrong not in lengths:
            with pytest.raises(FrameError):
                decode(b"A" * wrong)


@pytest.mark.parametrize(
    ("decode", "hexa"),
    [
        (decode_operation_status, "32"),
        (decode_fault_status, "30"),
        (decode_power_saving, "40"),
        (decode_remote_control, "43"),
        (decode_current_limit_percent, "65"),
        (decode_release, "010D0100"),  # the version of a node profile, not of a meter
        (decode_release, "00006600"),
        (decode_serial_number, "4632344733363635303500FF"),
        (decode_serial_number, "463200473336363530350000"),  # NUL inside
        (decode_product_code, "E38182" + "00" * 9),
        (decode_manufacture_date, "07E70D01"),
        (decode_clock_date, "FFFFFFFF"),
        (decode_clock_time, "1800"),
        (decode_clock_time, "173C"),
        (decode_operating_time, "40 00000001"),
        (decode_operating_time, "44 FFFFFFFF"),  # eleven million years
        (decode_class_list, ""),
        (decode_class_list, "01"),
        (decode_class_list, "02 0288"),
    ],
)
def test_a_value_outside_its_table_is_refused(decode: Callable[[bytes], object], hexa: str) -> None:
    with pytest.raises(FrameError):
        decode(bytes.fromhex(hexa))


def test_a_text_may_be_padded_with_blanks_or_be_blank() -> None:
    assert decode_serial_number(b"  A17X0741  ") == "A17X0741"
    assert decode_serial_number(b"A17 X0741 \0\0") == "A17 X0741"
    assert decode_serial_number(bytes(12)) is None
    assert decode_product_code(b" " * 12) is None


def test_the_clock_is_japan_time() -> None:
    # 26_cracker_identity_props: 2026-05-20 14:26 in Japan
    assert decode_clock(bytes.fromhex("0E1A"), bytes.fromhex("07EA0514")) == datetime(2026, 5, 20, 5, 26, tzinfo=UTC)
    assert decode_clock(b"\x00\x00", bytes.fromhex("07E80101")) == datetime(2023, 12, 31, 15, 0, tzinfo=UTC)


def test_a_clock_before_any_utc_date_is_refused() -> None:
    with pytest.raises(FrameError, match="no date"):
        decode_clock(b"\x00\x00", bytes.fromhex("00010101"))


def test_the_route_b_number_is_never_shown() -> None:
    edt = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
    number = decode_route_b_number(edt)
    assert number == RouteBNumber(edt)
    assert number.number == edt
    assert repr(number) == str(number) == "RouteBNumber()"


@pytest.mark.parametrize("hexa", ["112233445566778899AABBCCDDEEFF00", "00112233445566778899AABBCCDDEE"])
def test_a_broken_route_b_number_is_not_shown_either(hexa: str) -> None:
    with pytest.raises(FrameError) as caught:
        decode_route_b_number(bytes.fromhex(hexa))
    assert "33" not in str(caught.value)
    assert caught.value.raw == b""
