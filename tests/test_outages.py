"""A poller in virtual time whose database is away now and then, from a seed: nothing is lost or there twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from poller.sensing import Source
from storage.connection import connect
from storage.database import Database, RefusedRow
from storage.errors import DatabaseAwayError
from storage.records import CpuTemperatureRow, PowerRow, Round
from storage.spool import Spool
from storage.store import Store, Writer
from tests.test_loop import Home

MINUTES_A_DAY = 1440


class Unreliable:
    """A database that is away in the given spans, and now and then fails after it has stored."""

    def __init__(self, database: Writer, now: Callable[[], datetime], seed: int, days: int) -> None:
        self._database = database
        self._now = now
        self._random = random.Random(seed)
        begin = now()
        self._spans = []
        for _ in range(4 * days):
            away_from = begin + timedelta(minutes=self._random.uniform(0, days * MINUTES_A_DAY))
            self._spans.append((away_from, away_from + timedelta(minutes=self._random.expovariate(1 / 45))))
        self.failures = 0

    def write(self, rounds: Sequence[Round]) -> tuple[RefusedRow, ...]:
        if any(since <= self._now() < until for since, until in self._spans):
            self.failures += 1
            raise DatabaseAwayError("connection refused")
        refused = self._database.write(rounds)
        if self._random.random() < 0.005:
            self.failures += 1
            raise DatabaseAwayError("the connection was lost after the commit")
        return refused

    def close(self) -> None:
        self._database.close()


class Remembering:
    """Stands before the store and remembers what it has returned for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.rounds: list[Round] = []

    def write(self, stored: Round, /) -> None:
        self._store.write(stored)
        self.rounds.append(stored)


class Kept:
    """A database that keeps each row once, as PostgreSQL does."""

    def __init__(self) -> None:
        self.rows: dict[tuple[type, datetime], object] = {}

    def write(self, rounds: Sequence[Round]) -> tuple[RefusedRow, ...]:
        for stored in rounds:
            for row in stored.rows:
                if isinstance(row, PowerRow | CpuTemperatureRow):
                    self.rows.setdefault((type(row), row.measured_at), row)
        return ()

    def close(self) -> None:
        return


def poll_through_outages(home: Home, unreliable: Unreliable, spool: Spool, days: int) -> Remembering:
    """Poll for *days*, then let the database be there until all is delivered."""
    store = Store(unreliable, spool, monotonic=home.clock.monotonic, now=home.clock.now)
    remembering = Remembering(store)
    home.store_in(remembering)
    home.run_minutes(days * MINUTES_A_DAY)
    for _ in range(100):
        home.clock.sleep(600.0)
        if not store.deliver():
            break
    assert store.deliver() == 0
    store.close()
    return remembering


def new_home() -> Home:
    return Home(sources=[Source("CPU temperature", lambda tick: CpuTemperatureRow(tick, 48.3))])


def rows_of(rounds: Sequence[Round]) -> dict[tuple[type, datetime], object]:
    rows = [row for stored in rounds for row in stored.rows if isinstance(row, PowerRow | CpuTemperatureRow)]
    return {(type(row), row.measured_at): row for row in rows}


@pytest.mark.parametrize("days", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_polls_through_random_outages_lose_nothing(tmp_path: Path, days: int) -> None:
    home, kept = new_home(), Kept()
    unreliable = Unreliable(kept, home.clock.now, seed=days, days=days)
    remembering = poll_through_outages(home, unreliable, Spool(tmp_path / "spool.sqlite3"), days)
    assert unreliable.failures > 10 * days
    assert len(remembering.rounds) >= days * MINUTES_A_DAY
    assert kept.rows == rows_of(remembering.rounds)


@pytest.mark.parametrize("days", [1, pytest.param(7, marks=pytest.mark.slow)])
def test_a_real_database_ends_with_each_row_once(tmp_path: Path, database_url: str, connection: Any, days: int) -> None:
    home = new_home()
    database = Database(lambda: connect(database_url), site="home")
    unreliable = Unreliable(database, home.clock.now, seed=days, days=days)
    remembering = poll_through_outages(home, unreliable, Spool(tmp_path / "spool.sqlite3"), days)
    kept = rows_of(remembering.rounds)
    with connection.cursor() as cursor:
        for kind, table in ((PowerRow, "power"), (CpuTemperatureRow, "cpu_temperature")):
            cursor.execute(f"select measured_at from {table} order by measured_at")
            stored = [moment for (moment,) in cursor.fetchall()]
            assert stored == sorted(moment for each, moment in kept if each is kind)
