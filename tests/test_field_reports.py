"""Meters, modules and places as people report them, of which nothing is lost: the whole poller beside each of them.

The household draws 600 W since the midnight before yesterday: 36 h x 0.6 kW = 21.6 kWh at the first tick, noon.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from skstack.simulator import MODELS, REALISTIC, Habit
from storage.records import EnergyRow, PowerRow
from tests.lab.clock import NOON
from tests.lab.habits import reframe, repeat, take
from tests.lab.home import Home
from tests.lab.scans import deaf_on_one_channel

MINUTE = timedelta(minutes=1)


def home_of(**options: Any) -> Home:
    return Home(idle_tasks=False, **{"start_import_kwh": 0, "start_export_kwh": 0, **options})


def polled(home: Home, minutes: int) -> list[PowerRow]:
    """Let so many ticks come and return the rows, each of which must be right in all that it tells."""
    home.run_minutes(minutes)
    rows: list[PowerRow] = home.of(PowerRow)
    for row in rows:
        assert row.power_w in (600, None)
        assert row.import_kwh in (None, *(home.registers(row.measured_at + late)[0] for late in (0 * MINUTE, MINUTE)))
    return rows


def complete(rows: list[PowerRow]) -> int:
    """Return how many rows lack nothing."""
    return sum(None not in (row.power_w, row.current_r_a, row.import_kwh, row.export_kwh) for row in rows)


def test_a_response_in_another_order_is_a_response() -> None:
    home = home_of()
    home.simulated.habits.append(Habit(reframe(lambda frame: frame._replace(properties=frame.properties[::-1]))))
    assert complete(polled(home, 10)) == 10


def test_a_coefficient_of_six_digits_is_exact() -> None:
    """999,999 x 0.1 kWh a count: 1,000 counts are 99,999,900 kWh."""
    home = home_of(coefficient=999_999, start_import_kwh=99_999_900)
    home.run_minutes(3)
    assert [row.import_kwh for row in home.of(PowerRow)] == [Decimal("99999900.0")] * 3


@pytest.mark.parametrize(
    ("code", "start_kwh", "kwh"),
    [
        (0x00, 70_000, "70021"),
        (0x01, 70_000, "70021.6"),
        (0x02, 70_000, "70021.60"),
        (0x03, 70_000, "70021.600"),
        (0x04, 7_000, "7021.6000"),
        (0x0A, 70_000, "70020"),
        (0x0B, 70_000, "70000"),
        (0x0C, 70_000, "70000"),
        (0x0D, 70_000, "70000"),
    ],
)
def test_every_unit_that_is_defined_is_read_exactly(code: int, start_kwh: int, kwh: str) -> None:
    home = home_of(unit_code=code, digits=8, start_import_kwh=start_kwh)
    home.run_minutes(1)
    [row] = home.of(PowerRow)
    assert row.import_kwh == Decimal(kwh)


@pytest.mark.parametrize("lacks", [{0xD7}, {0xEA, 0xEB}, {0x8D}, {0x97, 0x98}, {0xD7, 0xEA, 0xEB, 0x8D, 0x97, 0x98}])
def test_what_a_meter_lacks_beside_its_values_costs_no_row(lacks: set[int]) -> None:
    home = home_of(lacks=frozenset(lacks))
    assert complete(polled(home, 35)) == 35
    assert [row.registered_at for row in home.of(EnergyRow)] == ([] if 0xEA in lacks else [NOON, NOON + 30 * MINUTE])


def test_a_meter_without_a_register_is_read_without_it() -> None:
    rows = polled(home_of(lacks=frozenset({0xE0})), 10)
    assert [(row.power_w, row.import_kwh, row.export_kwh) for row in rows] == [(600, None, Decimal(0))] * 10


@pytest.mark.parametrize("seconds", [240.0, 4.4 * 3600])
def test_a_response_that_is_hours_late_costs_its_minutes_and_is_no_later_ones(seconds: float) -> None:
    home = home_of()
    polled(home, 5)
    home.simulated.habits.append(Habit(take(seconds), times=1))
    assert len(polled(home, int(seconds / 60) + 10)) >= 5 + int(seconds / 60) + 9


def test_a_session_that_is_ended_eight_times_as_soon_as_it_is_made_is_made_a_ninth_time() -> None:
    home = home_of(timing=REALISTIC)
    home.module.faults.end_sessions(0.1, count=8)
    rows = polled(home, 30)
    assert complete(rows) == len(rows) > 12


def test_a_scan_that_an_older_program_left_running_does_not_delay_the_first_row() -> None:
    home = home_of(timing=REALISTIC)
    home.module.receive(b"SKSCAN 2 FFFFFFFF 7 0\r\n", home.clock.time_s)
    rows = polled(home, 5)
    assert complete(rows) == len(rows) >= 3


def test_a_module_that_boots_for_twelve_seconds_and_says_zeros_is_waited_for() -> None:
    home = home_of(timing=REALISTIC)
    now = home.clock.time_s
    home.module.hang(now + 12.0)
    home.module.restart(now + 12.0, boot_line=bytes(40) + b"\r\n")
    rows = polled(home, 5)
    assert complete(rows) == len(rows) >= 3


@pytest.mark.parametrize("hex_payload", [True, False])
@pytest.mark.parametrize("model", MODELS)
def test_every_module_is_read_in_either_form_of_payload(model: str, hex_payload: bool) -> None:
    assert complete(polled(home_of(model=model, hex_payload=hex_payload), 3)) == 3


def test_where_scans_of_one_channel_hear_nothing_the_meter_is_found_all_the_same() -> None:
    home = home_of(timing=REALISTIC)
    home.module.faults.hearing = deaf_on_one_channel
    before = len(polled(home, 10))
    home.module.faults.fail_joins(2)  # SKREJOIN and SKJOIN: what follows is a scan
    home.module.emit_event(0x26, home.clock.time_s)
    assert len(polled(home, 10)) >= before + 8


def test_a_frame_that_gives_a_register_twice_is_no_row_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    home = home_of()
    home.simulated.habits.append(Habit(repeat(0xE0, lambda edt: edt[:-1] + b"\xff"), times=1))
    assert len(polled(home, 10)) >= 9
    assert "Traceback" not in caplog.text
