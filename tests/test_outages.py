"""A poller in virtual time whose database is unreachable now and then, from a seed: nothing is lost or there twice."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from poller.sensing import Source
from storage.records import CpuTemperatureRow, PowerRow, Row
from tests.lab.database import Unreliable, key_of
from tests.lab.home import Home

pytestmark = pytest.mark.system

KINDS = (PowerRow, CpuTemperatureRow)


def poll_through_outages(data_dir: Path, days: int, url: str | None = None) -> Home:
    """Poll for *days*, then let the database be there until all is delivered."""
    home = Home(
        url,
        data_dir=data_dir,
        outages=(days, days),
        idle_tasks=False,
        sensors=lambda _clock: [Source("CPU temperature", lambda tick: CpuTemperatureRow(tick, 48.3))],
    )
    home.run(timedelta(days=days))
    home.deliver()
    home.close()
    assert isinstance(home.writer, Unreliable)
    assert home.writer.failures > 10 * days
    assert len(home.rounds) >= days * 1440
    return home


def kept(rows: list[Row]) -> dict[tuple[object, ...], Row]:
    return {key_of(row): row for row in rows}


@pytest.mark.parametrize("days", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_polls_through_random_outages_lose_nothing(tmp_path: Path, days: int) -> None:
    home = poll_through_outages(tmp_path, days)
    assert kept(home.database.rows) == kept([row for stored in home.rounds for row in stored.rows])


@pytest.mark.parametrize("days", [1, pytest.param(7, marks=pytest.mark.slow)])
def test_a_real_database_ends_with_each_row_once(tmp_path: Path, database_url: str, connection: Any, days: int) -> None:
    home = poll_through_outages(tmp_path, days, database_url)
    with connection.cursor() as cursor:
        for kind, table in zip(KINDS, ("power", "cpu_temperature"), strict=True):
            cursor.execute(f"select measured_at from {table} order by measured_at")
            assert [moment for (moment,) in cursor.fetchall()] == sorted(row.measured_at for row in home.of(kind))
