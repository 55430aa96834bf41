"""The whole poller for days while everything fails now and then: what was measured is in PostgreSQL, right, once.

A failure prints its seed and the smallest part of the schedule that fails alike.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest

from poller.clock import Clock
from storage.records import PowerRow, Round, Row
from tests.lab.clock import HALF_HOUR
from tests.lab.database import Unreliable
from tests.lab.faults import KINDS, Fault, schedule
from tests.lab.month import START
from tests.lab.whole import TROUBLES, Trouble, Whole, troubles_of

pytestmark = pytest.mark.system

FAULTS_A_DAY, TROUBLES_A_DAY = 12, 8
Schedule = Sequence[Fault]


def problems(seed: int, planned: Schedule, *, days: float, url: str, directory: Path) -> list[str]:
    """Live through *planned*, and return every promise that was broken."""
    directory.mkdir()
    empty(url)
    troubles = [each for each in planned if isinstance(each, Trouble)]
    faults = [each for each in planned if not isinstance(each, Trouble)]
    home = Whole(seed, faults, troubles, url=url, directory=directory)
    home.run_all(days)
    found = [*home.problems, *home.checker.problems, *home.module.violations]
    found += [f"lost: {row}" for row in home.lost_rows()]
    found += [f"changed on its way: {row}" for row in home.changed_rows()]
    half_hours = home.half_hours()
    wanted = [START + number * HALF_HOUR for number in range(1, int(days * 48) + 1)]
    found += [f"no half hour {at}" for at in wanted if at not in half_hours]
    return found


def empty(url: str) -> None:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("truncate site cascade")
    connection.close()


def smallest(planned: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """Return a part of *planned* that fails still, of which no half and no single one can be left out."""
    step = len(planned) // 2
    while step:
        for start in range(0, len(planned), step):
            fewer = [*planned[:start], *planned[start + step :]]
            if fails(fewer):
                return smallest(fewer, fails)
        step //= 2
    return planned


def check(seed: int, *, days: float, url: str, directory: Path) -> None:
    """Live through the schedule of *seed*; if a promise is broken, say how to see it again with as little as can be."""
    planned: Schedule = [
        *schedule(seed, days=days, count=int(FAULTS_A_DAY * days), kinds=KINDS.keys() - {"another meter"}),
        *troubles_of(seed, days=days, count=int(TROUBLES_A_DAY * days)),
    ]
    numbers = iter(range(1_000_000))

    def found(part: Schedule) -> list[str]:
        return problems(seed, part, days=days, url=url, directory=directory / str(next(numbers)))

    if broken := found(planned):
        part = smallest(planned, lambda fewer: bool(found(fewer)))
        pytest.fail(f"seed {seed}: {broken[:10]}; the same with {part}: {found(part)[:10]}")


@pytest.fixture(autouse=True)
def _short_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)


def test_a_day_of_everything_at_once(tmp_path: Path, database_url: str) -> None:
    check(1, days=1.0, url=database_url, directory=tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(14_400)
def test_a_year_of_everything_at_once(tmp_path: Path, database_url: str) -> None:
    check(1, days=365.0, url=database_url, directory=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 101))
def test_a_day_of_each_of_a_hundred_seeds(seed: int, tmp_path: Path, database_url: str) -> None:
    check(seed, days=1.0, url=database_url, directory=tmp_path)


# --- the checks have teeth


def test_a_delivery_that_loses_a_round_is_caught(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Unreliable.write
    monkeypatch.setattr(
        Unreliable, "write", lambda self, rounds: write(self, rounds[:-1] if len(rounds) > 5 else rounds)
    )
    away = Trouble(1800.0, "database away", 1200.0)
    found = problems(1, [away], days=0.1, url=database_url, directory=tmp_path / "home")
    assert [problem for problem in found if problem.startswith("lost: PowerRow")]


def test_a_delivery_that_changes_a_value_is_caught(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def more(row: Row) -> Row:
        return replace(row, power_w=row.power_w + 1) if isinstance(row, PowerRow) and row.power_w else row

    write = Unreliable.write
    monkeypatch.setattr(
        Unreliable, "write", lambda self, rounds: write(self, [Round(tuple(map(more, each.rows))) for each in rounds])
    )
    found = problems(1, [], days=0.1, url=database_url, directory=tmp_path / "home")
    assert [problem for problem in found if problem.startswith("changed on its way: PowerRow")]


def test_a_clock_that_believes_any_machine_is_caught(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clock, "is_settled", True)
    hours_off = Trouble(1800.0, "started without a time", 1200.0, amount=5)
    found = problems(1, [hours_off], days=0.1, url=database_url, directory=tmp_path / "home")
    assert [problem for problem in found if "was stored at" in problem]


def test_the_smallest_part_that_fails_is_found() -> None:
    faults = [Fault(float(number), "EVENT 26", 1.0) for number in range(11)]
    assert smallest(faults, lambda part: {faults[3], faults[8]} <= set(part)) == [faults[3], faults[8]]


def test_every_kind_of_trouble_is_documented() -> None:
    page = (Path(__file__).parents[1] / "docs" / "faults.md").read_text("utf-8")
    assert {kind for kind in TROUBLES if f"\n| {kind} | " not in page} == set()
