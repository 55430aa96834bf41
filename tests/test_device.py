"""What any ECHONET device reports about itself. Hex of real meters names its transcript in tests/data/transcripts/."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from skstack import FrameError
from skstack.echonet import decode_clock
from skstack.echonet.device import decode_maker_code, decode_release, decode_serial_number


@pytest.mark.parametrize(
    ("decode", "hexa", "value"),
    [
        (decode_release, "00004600", "F"),  # 26_cracker_identity_props
        (decode_maker_code, "000016", "000016"),
        (decode_serial_number, "463234473336363530350000", "F24G366505"),
        (decode_serial_number, "413137583037343137350000", "A17X074175"),  # 34_sugimura_facilities_7ffe_and_no_data
        (decode_release, "00005201", "R"),  # by the table of the standard
    ],
)
def test_a_property_means_what_its_table_says(decode: Callable[[bytes], object], hexa: str, value: object) -> None:
    assert decode(bytes.fromhex(hexa)) == value


@pytest.mark.parametrize(
    ("decode", "length"), [(decode_release, 4), (decode_maker_code, 3), (decode_serial_number, 12)]
)
def test_every_other_length_is_refused(decode: Callable[[bytes], object], length: int) -> None:
    for wrong in set(range(20)) - {length}:
        with pytest.raises(FrameError):
            decode(b"A" * wrong)


@pytest.mark.parametrize(
    ("decode", "hexa"),
    [
        (decode_release, "010D0100"),  # the version of a node profile, not of a meter
        (decode_release, "00006600"),
        (decode_serial_number, "4632344733363635303500FF"),
        (decode_serial_number, "463200473336363530350000"),  # NUL inside
    ],
)
def test_a_value_outside_its_table_is_refused(decode: Callable[[bytes], object], hexa: str) -> None:
    with pytest.raises(FrameError):
        decode(bytes.fromhex(hexa))


def test_a_text_may_be_padded_with_blanks_or_be_blank() -> None:
    assert decode_serial_number(b"  A17X0741  ") == "A17X0741"
    assert decode_serial_number(b"A17 X0741 \0\0") == "A17 X0741"
    assert decode_serial_number(bytes(12)) is None


def test_the_clock_is_japan_time() -> None:
    # 26_cracker_identity_props: 2026-05-20 14:26 in Japan
    assert decode_clock(bytes.fromhex("0E1A"), bytes.fromhex("07EA0514")) == datetime(2026, 5, 20, 5, 26, tzinfo=UTC)
    assert decode_clock(b"\x00\x00", bytes.fromhex("07E80101")) == datetime(2023, 12, 31, 15, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("time_hex", "date_hex"),
    [
        ("0E", "07EA0514"),
        ("0E1A", "07EA05"),
        ("1800", "07EA0514"),
        ("173C", "07EA0514"),
        ("0E1A", "FFFFFFFF"),
        ("0E1A", "07E70D01"),
        ("0000", "00010101"),  # the first hours of year 1 lie before any UTC date
    ],
)
def test_a_clock_that_shows_no_time_is_refused(time_hex: str, date_hex: str) -> None:
    with pytest.raises(FrameError):
        decode_clock(bytes.fromhex(time_hex), bytes.fromhex(date_hex))
