"""The whole poller for days while everything fails now and then: what was measured is in PostgreSQL, right, once.

A failure prints its seed and the smallest part of the schedule that fails alike.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from poller.app import App
from poller.clock import Clock
from poller.sensing import Sensing
from skstack import MeterHistory
from skstack.commands import Command
from storage.embedded import EmbeddedServer
from storage.records import Co2Row, PowerRow, Round, Row
from tests.lab.clock import DAY_S
from tests.lab.database import Unreliable
from tests.lab.disk import FAILING, Disk
from tests.lab.faults import Fault, schedule
from tests.lab.listening import listening
from tests.lab.troubles import TROUBLES, Trouble, troubles_of
from tests.lab.whole import Whole

pytestmark = pytest.mark.system

FAULTS_A_DAY, TROUBLES_A_DAY = 12, 14
Schedule = Sequence[Fault]


@dataclass(frozen=True)
class Place:
    """Where homes are: a *server* with an empty database at *url*, and a *directory*."""

    server: EmbeddedServer
    url: str
    directory: Path

    def problems(self, seed: int, planned: Schedule, *, days: float) -> list[str]:
        """Live through *planned*, and return every promise that was broken."""
        troubles = [each for each in planned if isinstance(each, Trouble)]
        faults = [each for each in planned if not isinstance(each, Trouble)]
        with tempfile.TemporaryDirectory(dir=self.directory) as directory, listening() as listener:
            self._empty()
            home = Whole(seed, faults, troubles, url=self.url, server=self.server, directory=Path(directory))
            try:
                home.run_all(days)
            finally:
                self.server.start()
            home.checker.check_recovery(days * DAY_S)
        return [*home.problems, *home.checker.problems, *home.module.violations, *listener.found]

    def _empty(self) -> None:
        with closing(psycopg2.connect(self.url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("truncate site cascade")


@pytest.fixture
def place(postgres_server: EmbeddedServer, database_url: str, tmp_path: Path) -> Place:
    return Place(postgres_server, database_url, tmp_path)


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


def check(place: Place, seed: int, *, days: float) -> None:
    """Live through the schedule of *seed*; if a promise is broken, say how to see it again with as little as can be."""
    planned: Schedule = [
        *schedule(seed, days=days, count=int(FAULTS_A_DAY * days)),
        *troubles_of(seed, days=days, count=int(TROUBLES_A_DAY * days)),
    ]
    if broken := place.problems(seed, planned, days=days):
        logging.getLogger(__name__).error("seed %d: %s", seed, broken)  # the smallest part may take longer than a test
        part = smallest(planned, lambda fewer: bool(place.problems(seed, fewer, days=days)))
        pytest.fail(f"seed {seed}: {broken[:10]}; the same with {part}: {place.problems(seed, part, days=days)[:10]}")


@pytest.fixture(autouse=True)
def _short_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_day_of_everything_at_once(place: Place, seed: int) -> None:
    check(place, seed, days=1.0)


@pytest.mark.slow
@pytest.mark.timeout(14_400)
def test_a_year_of_everything_at_once(place: Place) -> None:
    check(place, 1, days=365.0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4, 101))
def test_a_day_of_each_of_a_hundred_seeds(place: Place, seed: int) -> None:
    check(place, seed, days=1.0)


def test_the_days_hold_every_kind_of_trouble() -> None:
    kinds = {each.kind for seed in (1, 2, 3) for each in troubles_of(seed, days=1.0, count=TROUBLES_A_DAY)}
    assert kinds == TROUBLES.keys()


def test_every_kind_of_trouble_is_documented() -> None:
    page = (Path(__file__).parents[1] / "docs" / "faults.md").read_text("utf-8")
    assert {kind for kind in TROUBLES if f"\n| {kind} | " not in page} == set()


# --- the checks have teeth

SHORT_DAYS = 0.06


def test_nothing_is_found_where_nothing_is_wrong(place: Place) -> None:
    assert place.problems(1, [], days=SHORT_DAYS) == []


def test_a_delivery_that_loses_a_round_is_caught(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Unreliable.write
    monkeypatch.setattr(
        Unreliable, "write", lambda self, rounds: write(self, rounds[:-1] if len(rounds) > 5 else rounds)
    )
    away = Trouble(1800.0, "database away", 1200.0)
    assert_found("lost: PowerRow", place.problems(1, [away], days=SHORT_DAYS))


def test_a_delivery_that_changes_a_value_is_caught(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def more(row: Row) -> Row:
        return replace(row, power_w=row.power_w + 1) if isinstance(row, PowerRow) and row.power_w else row

    write = Unreliable.write
    monkeypatch.setattr(
        Unreliable, "write", lambda self, rounds: write(self, [Round(tuple(map(more, each.rows))) for each in rounds])
    )
    assert_found("changed on its way: PowerRow", place.problems(1, [], days=SHORT_DAYS))


def test_a_disk_that_kept_nothing_when_the_program_was_killed_is_caught(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = Unreliable.close

    def forget(self: Unreliable) -> None:
        """Its end is that of the program."""
        close(self)
        for file in place.directory.glob("*/data/*"):
            file.unlink()

    monkeypatch.setattr(Unreliable, "close", forget)
    planned = [Trouble(1800.0, "database away", 1200.0), Trouble(2400.0, "killed", 30.0)]
    assert_found("lost: PowerRow", place.problems(1, planned, days=SHORT_DAYS))


def test_a_clock_that_believes_any_machine_is_caught(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "is_settled", True)
    hours_off = Trouble(1800.0, "started without a time", 1200.0, amount=5)
    assert_found("the clock was", place.problems(1, [hours_off], days=SHORT_DAYS))


def test_a_reading_of_the_minute_before_is_caught(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    collect = Sensing.collect
    last: dict[int, Row | None] = {}

    def stale(self: Sensing, timeout_s: float, **options: Any) -> Row | None:
        row = collect(self, timeout_s, **options)
        before, last[id(self)] = last.get(id(self)), row
        return (
            replace(before, measured_at=row.measured_at)
            if isinstance(before, Co2Row) and isinstance(row, Co2Row)
            else row
        )

    monkeypatch.setattr(Sensing, "collect", stale)
    assert_found("Co2Row", place.problems(1, [], days=SHORT_DAYS))


def test_a_gap_that_is_not_filled_is_caught(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MeterHistory, "offers_days", False)
    assert_found("no half hour", place.problems(1, [Trouble(1750.0, "off", 2000.0)], days=SHORT_DAYS))


def test_a_secret_in_the_log_is_caught(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Command, "__str__", lambda self: self.to_bytes().decode())
    assert_found("a secret is logged", place.problems(1, [], days=SHORT_DAYS))


def test_an_end_that_takes_too_long_is_caught(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    close = App.close

    def close_late(self: App) -> None:
        self.clock.sleep(11.0)
        close(self)

    monkeypatch.setattr(App, "close", close_late)
    assert_found("after the signal", place.problems(1, [Trouble(1800.0, "stopped", 30.0)], days=SHORT_DAYS))


def test_a_disk_that_refuses_or_is_gone_hides_nothing_from_the_checks(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "data")
    (tmp_path / "data").mkdir()
    kept = tmp_path / "data" / "outbox.rejected"
    kept.write_text("a round")
    with disk.in_use():
        disk.refusal = FAILING
        with disk.shown() as directory:
            assert (directory / kept.name).read_text() == "a round"
        with pytest.raises(OSError, match="Input/output error"):
            kept.read_text()
        disk.go_away()
        with disk.shown() as directory:
            assert (directory / kept.name).read_text() == "a round"


def test_the_smallest_part_that_fails_is_found() -> None:
    faults = [Fault(float(number), "EVENT 26", 1.0) for number in range(11)]
    assert smallest(faults, lambda part: {faults[3], faults[8]} <= set(part)) == [faults[3], faults[8]]


def assert_found(what: str, problems: Sequence[str]) -> None:
    assert [problem for problem in problems if what in problem]
