"""The whole poller for days while everything fails now and then: what the meter knew is in PostgreSQL, right, once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from storage.records import EnergyRow, PowerRow
from tests.lab.clock import HALF_HOUR, NOON
from tests.lab.faults import happenings, schedule
from tests.lab.home import Home
from tests.lab.sensors import Room

pytestmark = pytest.mark.system


@pytest.mark.parametrize("days", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_through_failing_radio_database_and_restarts_every_half_hour_is_right(
    tmp_path: Path, database_url: str, days: int
) -> None:
    room = Room(tmp_path)
    home = Home(
        database_url,
        days_before=10,
        start_import_kwh=0,
        start_export_kwh=0,
        data_dir=tmp_path,
        outages=(days, days),
        sensors=room.sources,
        planned=happenings(schedule(days, days=days, count=12 * days)),
    )
    for _ in range(4 * days):
        home.run(timedelta(hours=6))
        home.restart()
    home.run(timedelta(hours=3))  # quiet at the end: what is missing is read from the meter's memory
    home.deliver()
    home.close()

    half_hours = home.half_hours()
    wanted = [NOON + number * HALF_HOUR for number in range(48 * days + 1)]
    assert [at for at in wanted if at not in half_hours] == []
    true = {at: home.registers(at) for at in half_hours}
    assert {at: told for at, told in half_hours.items() if told != true[at]} == {}
    rows = home.execute("select measured_at, power_w from power order by measured_at")
    known = [watts for _, watts in rows if watts is not None]  # null: shortened answers, and power refused
    assert len(known) > 0.8 * days * 1440
    assert set(known) == {600}
    assert {row.measured_at for row in home.of(PowerRow)} == {at for at, _ in rows}
    assert {row.registered_at for row in home.of(EnergyRow)} == set(half_hours)
    assert home.module.violations == []
