"""Rounds as text: every digit comes back, and nothing else than what a column holds gets in or out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.records import (
    TABLES,
    Bme280Row,
    Co2Row,
    CpuTemperatureRow,
    EnergyRow,
    MeterRow,
    PowerRow,
    RadioEventRow,
    Round,
)
from storage.rows_json import MAX_BYTES, round_from_json, round_to_json
from tests.lab.database import full_round

AT = datetime(2024, 3, 1, tzinfo=UTC)

TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001 - made aware at once
KWH = st.none() | st.decimals(0, 10**12, places=4)
REALS = st.floats(-1e6, 1e6)
ROWS = st.one_of(
    st.builds(PowerRow, TIMES, st.none() | st.integers(-(2**31), 2**31), KWH, KWH, KWH, KWH),
    st.builds(EnergyRow, TIMES, KWH, KWH, st.sampled_from(["notified", "read", "history"])),
    st.builds(
        MeterRow,
        TIMES,
        st.none() | st.text(),
        st.none(),
        st.none(),
        st.integers(1, 999_999),
        KWH.filter(bool),
        st.none(),
    ),
    st.builds(CpuTemperatureRow, TIMES, REALS),
    st.builds(Co2Row, TIMES, st.integers(0, 5000), st.none() | st.integers(-40, 215), st.booleans()),
    st.builds(Bme280Row, TIMES, REALS, REALS, REALS),
    st.builds(RadioEventRow, TIMES, st.text(min_size=1), st.none() | REALS, detail=st.none() | st.text()),
)


@pytest.mark.system
def test_a_row_of_each_table_reads_back_as_it_was_written() -> None:
    stored = full_round(1)
    assert {type(row) for row in stored.rows} == set(TABLES)
    assert round_from_json(round_to_json(stored)) == stored


@pytest.mark.system
@given(st.lists(ROWS, max_size=7).map(lambda rows: Round(tuple(rows))))
def test_every_round_reads_back_as_it_was_written(stored: Round) -> None:
    text = round_to_json(stored)
    assert "\n" not in text
    assert round_from_json(text) == stored


def test_decimals_keep_their_trailing_zeros_and_times_become_utc() -> None:
    tokyo = datetime.fromisoformat("2024-03-01T09:00:00+09:00")
    text = round_to_json(Round((EnergyRow(tokyo, Decimal("1.10"), None, "read"),)))
    assert json.loads(text) == [
        [
            "energy",
            {"registered_at": "2024-03-01T00:00:00+00:00", "import_kwh": "1.10", "export_kwh": None, "source": "read"},
        ]
    ]


def co2(ppm: str, warming_up: str) -> str:
    at = "2024-03-01T00:00:00+00:00"
    return f'[["co2", {{"measured_at": "{at}", "co2_ppm": {ppm}, "temperature_c": 1, "warming_up": {warming_up}}}]]'


def energy(kwh: str, source: str) -> str:
    at = "2024-03-01T00:00:00+00:00"
    return f'[["energy", {{"registered_at": "{at}", "import_kwh": {kwh}, "export_kwh": null, "source": {source}}}]]'


@pytest.mark.parametrize(
    "text",
    ["", "7", "[[]]", '[["nothing", {}]]', '[["power", {"volts": 100}]]', '[["power", {}]]', "[[1, 2, 3]]",
     '[["cpu_temperature", {"measured_at": "yesterday", "temperature_c": 1.0}]]',
     '[["cpu_temperature", {"measured_at": "2024-03-01T00:00:00", "temperature_c": 1.0}]]',
     '[["cpu_temperature", {"measured_at": "0001-01-01T00:00:00+09:00", "temperature_c": 1.0}]]',
     '[["cpu_temperature", {"measured_at": "9999-12-31T23:00:00-09:00", "temperature_c": 1.0}]]',
     '[["cpu_temperature", {"measured_at": 1709251200, "temperature_c": 1.0}]]',
     '[["cpu_temperature", {"measured_at": "2024-03-01T00:00:00+00:00", "temperature_c": "1.0"}]]',
     '[["cpu_temperature", {"measured_at": "2024-03-01T00:00:00+00:00", "temperature_c": NaN}]]',
     '[["cpu_temperature", {"measured_at": "2024-03-01T00:00:00+00:00", "temperature_c": Infinity}]]',
     '[["cpu_temperature", {"measured_at": "2024-03-01T00:00:00+00:00", "temperature_c": null}]]',
     co2('5.5', 'false'), co2('true', 'false'), co2('5', '0'),
     energy('"x"', '"read"'), energy('1.1', '"read"'), energy('"NaN"', '"read"'), energy('"1"', '"told"'),
     "[" * 100_000 + "]" * 100_000,
     '[["power", ' * 50_000,
     json.dumps([["radio_event", {"happened_at": AT.isoformat(), "kind": "x" * MAX_BYTES}]]),
     ],
    ids=lambda text: text[:100],
)  # fmt: skip
def test_what_is_no_round_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        round_from_json(text)


NAIVE = datetime(2024, 3, 1)  # noqa: DTZ001 - it is to be refused
WRONG: list[Any] = [
    PowerRow(NAIVE, 1, None, None, None, None),
    PowerRow(AT, 1.5, None, None, None, None),  # type: ignore[arg-type]
    PowerRow(AT, True, None, None, None, None),
    PowerRow(AT, None, 1.4, None, None, None),  # type: ignore[arg-type]
    PowerRow(AT, None, Decimal("NaN"), None, None, None),
    PowerRow(AT, None, None, None, Decimal("Infinity"), None),
    PowerRow(None, 1, None, None, None, None),  # type: ignore[arg-type]
    CpuTemperatureRow(AT, float("nan")),
    CpuTemperatureRow(AT, None),  # type: ignore[arg-type]
    Co2Row(AT, 500, 20, 1),  # type: ignore[arg-type]
    EnergyRow(AT, None, None, "guessed"),  # type: ignore[arg-type]
    RadioEventRow(AT, None),  # type: ignore[arg-type]
    RadioEventRow(AT, "scan", detail="x" * MAX_BYTES),
]


@pytest.mark.parametrize("row", WRONG, ids=lambda row: repr(row)[:90])
def test_a_row_with_a_value_of_the_wrong_kind_is_not_written(row: Any) -> None:
    with pytest.raises(ValueError, match=r"expected|is the most"):
        round_to_json(Round((row,)))
