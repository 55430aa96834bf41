"""No row with a wrong date: what is held, what passes, and what date it gets."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from poller.clock_guard import ClockGuard, is_synchronised, read_boot_id
from skstack.echonet.frame import Frame, Property
from storage.records import CpuTemperatureRow, EnergyRow, MeterRow, PowerRow, RadioEventRow, Round, Row
from storage.spool import Spool
from tests.lab.home import MINUTE, NOON, Home

WRONG = datetime(2025, 1, 1, tzinfo=UTC)
RIGHT = datetime(2026, 6, 1, 3, 0, tzinfo=UTC)
OFF = RIGHT - WRONG


class Machine:
    """A machine whose clock shows WRONG when it has run for 100 s, and a store that keeps rows."""

    def __init__(self, path: Path, *, boot_id: str = "boot 1", synchronised: bool = False) -> None:
        self.path = path
        self.boot_id = boot_id
        self.synchronised = synchronised
        self.running_s = 100.0
        self.shown = WRONG
        self.rows: list[Row] = []
        self.start()

    def start(self) -> None:
        """Start the program."""
        self.spool = Spool(self.path)
        self.guard = ClockGuard(
            self,
            self.spool,
            clock=self,
            boot_id=self.boot_id,
            is_synchronised=lambda: self.synchronised,
            memory_rounds=3,
        )

    def now(self) -> datetime:
        return self.shown

    def monotonic(self) -> float:
        return self.running_s

    def sleep(self, seconds: float) -> None:
        self.running_s += seconds
        self.shown += timedelta(seconds=seconds)

    def write(self, stored: Round, /) -> None:
        self.rows.extend(stored.rows)

    def read(self, power_w: int) -> None:
        """Read the meter, and wait a minute."""
        self.guard.write(Round((PowerRow(self.shown, power_w, None, None, None, None),)))
        self.sleep(60)

    def set_clock(self) -> None:
        """Let the time server set the clock, which has run since: it is RIGHT plus what has passed."""
        self.shown = RIGHT + timedelta(seconds=self.running_s - 100.0)

    def times(self) -> list[datetime]:
        """Return the times of the readings that were stored."""
        return [row.measured_at for row in self.rows if isinstance(row, PowerRow)]

    def close(self) -> None:
        self.guard.close()
        self.spool.close()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with closing(Machine(tmp_path / "spool.sqlite3")) as made:
        yield made


def test_before_anybody_has_vouched_for_the_clock_nothing_is_dated(machine: Machine) -> None:
    machine.read(100)
    assert machine.rows == []


def test_a_clock_that_agrees_with_the_meter_dates_what_was_held(machine: Machine) -> None:
    machine.read(100)
    machine.guard.compared(timedelta(minutes=4))
    machine.read(200)
    assert machine.rows == [
        PowerRow(WRONG, 100, None, None, None, None),
        PowerRow(WRONG + MINUTE, 200, None, None, None, None),
    ]


def test_a_clock_that_the_kernel_vouches_for_is_trusted(machine: Machine) -> None:
    machine.synchronised = True
    machine.read(100)
    assert len(machine.rows) == 1


def test_the_kernel_has_the_last_word(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    machine.synchronised = True
    machine.guard.compared(OFF)
    machine.read(100)
    assert len(machine.rows) == 1
    assert "it is the meter's that is wrong" in caplog.text


def test_a_clock_once_set_by_a_server_stays_right_when_the_server_is_lost(machine: Machine) -> None:
    machine.synchronised = True
    machine.read(100)
    machine.synchronised = False
    machine.guard.compared(OFF)
    machine.read(200)
    assert len(machine.rows) == 2


@pytest.mark.parametrize("ahead", [OFF, -OFF, timedelta(hours=5)])
def test_what_was_held_against_the_meter_is_dated_once_a_server_has_set_the_clock(
    machine: Machine, ahead: timedelta
) -> None:
    machine.guard.compared(ahead)
    machine.read(100)
    machine.set_clock()
    machine.synchronised = True
    machine.read(200)
    assert machine.times() == [RIGHT, RIGHT + MINUTE]


def test_a_meter_without_a_clock_holds_nothing_up(machine: Machine) -> None:
    machine.guard.compared(None)
    machine.read(100)
    assert len(machine.rows) == 1


def test_a_meter_that_falls_silent_does_not_make_a_wrong_clock_right(machine: Machine) -> None:
    machine.guard.compared(OFF)
    machine.guard.compared(None)
    machine.read(100)
    assert machine.rows == []


@pytest.mark.parametrize("ahead", [timedelta(hours=-24, seconds=-1), timedelta(hours=24, seconds=1)])
def test_more_than_a_day_off_is_held_until_it_is_right(machine: Machine, ahead: timedelta) -> None:
    machine.guard.compared(ahead)
    for _ in range(60):
        machine.read(100)
    assert machine.rows == []


@pytest.mark.parametrize("ahead", [timedelta(hours=-24), timedelta(seconds=-1), timedelta(minutes=5)])
def test_a_clock_that_is_ahead_or_minutes_behind_is_trusted(machine: Machine, ahead: timedelta) -> None:
    machine.guard.compared(ahead)
    machine.read(100)
    assert len(machine.rows) == 1


@pytest.mark.parametrize("ahead", [timedelta(minutes=5, seconds=1), timedelta(hours=5), timedelta(hours=24)])
def test_a_clock_left_standing_is_given_a_quarter_of_an_hour_to_be_set(
    machine: Machine, ahead: timedelta, caplog: pytest.LogCaptureFixture
) -> None:
    machine.guard.compared(ahead)
    for _ in range(15):
        machine.read(100)
    assert machine.rows == []
    machine.read(200)
    assert machine.times() == [WRONG + number * MINUTE for number in range(16)]
    assert caplog.text.count("no time server has set the machine's clock") == 1


def test_a_clock_that_nobody_sets_is_waited_for_once(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    machine.guard.compared(timedelta(hours=5))
    machine.sleep(900)
    machine.read(100)
    machine.guard.compared(timedelta(hours=5))
    machine.read(200)
    assert len(machine.rows) == 2
    assert caplog.text.count("no time server has set the machine's clock") == 1


def test_a_new_session_does_not_begin_the_wait_anew(machine: Machine) -> None:
    machine.guard.compared(timedelta(hours=5))
    machine.sleep(600)
    machine.guard.compared(timedelta(hours=5))
    machine.sleep(300)
    machine.read(100)
    assert len(machine.rows) == 1


def test_a_clock_that_is_set_by_hand_ends_the_wait(machine: Machine) -> None:
    machine.guard.compared(timedelta(hours=5))
    machine.read(100)
    machine.set_clock()
    machine.guard.compared(timedelta(0))
    machine.read(200)
    assert machine.times() == [RIGHT, RIGHT + MINUTE]


def test_once_the_clock_is_set_every_reading_gets_the_time_at_which_it_was_taken(machine: Machine) -> None:
    machine.guard.compared(OFF)
    for power_w in (100, 200, 300):
        machine.read(power_w)
    machine.set_clock()
    machine.guard.compared(timedelta(0))
    machine.read(400)
    assert machine.rows == [
        PowerRow(RIGHT + number * MINUTE, (number + 1) * 100, None, None, None, None) for number in range(4)
    ]


def test_every_row_that_the_machine_has_dated_is_held_and_moved(machine: Machine) -> None:
    machine.guard.compared(OFF)
    machine.guard.write(Round((CpuTemperatureRow(WRONG, 48.3), RadioEventRow(WRONG, "scan", 3.5))))
    machine.set_clock()
    machine.guard.compared(timedelta(0))
    machine.read(100)
    assert machine.rows[:-1] == [CpuTemperatureRow(RIGHT, 48.3), RadioEventRow(RIGHT, "scan", 3.5)]


def test_since_when_a_meter_hangs_there_is_never_moved(machine: Machine) -> None:
    meter = MeterRow(RIGHT - timedelta(days=1), "000016", "SIM0000001", "F", 1, Decimal("0.1"), 6)
    machine.guard.compared(OFF)
    machine.guard.write(Round((meter,)))
    assert machine.rows == [meter]


def test_the_half_hours_have_the_meters_time_and_pass(machine: Machine) -> None:
    half_hour = EnergyRow(RIGHT, Decimal("1.0"), None, "notified")
    machine.guard.compared(OFF)
    machine.guard.write(Round((PowerRow(WRONG, 100, None, None, None, None), half_hour)))
    assert machine.rows == [half_hour]


def test_readings_get_whole_seconds_also_when_the_clock_is_set_between_two(machine: Machine) -> None:
    machine.guard.compared(OFF)
    machine.read(100)
    machine.set_clock()
    machine.shown += timedelta(seconds=0.3)
    machine.guard.compared(timedelta(0))
    machine.read(200)
    assert next(row.measured_at for row in machine.rows if isinstance(row, PowerRow)) == RIGHT


def test_what_is_held_survives_a_restart_of_the_program(machine: Machine) -> None:
    machine.guard.compared(OFF)
    machine.read(100)
    machine.close()
    machine.start()
    machine.set_clock()
    machine.guard.compared(timedelta(0))
    machine.read(200)
    assert [row.measured_at for row in machine.rows if isinstance(row, PowerRow)] == [RIGHT, RIGHT + MINUTE]


def test_what_an_earlier_run_of_the_machine_held_is_set_aside_and_reported(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.guard.compared(OFF)
    machine.read(100)
    machine.close()
    machine.boot_id = "boot 2"
    machine.start()
    machine.set_clock()
    machine.guard.compared(timedelta(0))
    machine.read(200)
    assert [row.power_w for row in machine.rows if isinstance(row, PowerRow)] == [200]
    assert machine.spool.count_set_aside() == 1
    assert "1 rounds were read in an earlier run of the machine" in caplog.text


def test_what_is_held_is_not_delivered_with_the_rest(machine: Machine) -> None:
    machine.spool.append(Round((CpuTemperatureRow(RIGHT, 1.0),)))
    machine.guard.compared(OFF)
    machine.read(100)
    machine.spool.append(Round((CpuTemperatureRow(RIGHT, 2.0),)))
    waiting = machine.spool.peek(10)
    assert machine.spool.count() == len(waiting) == 2
    machine.spool.remove_up_to(waiting[-1][0])
    assert len(machine.spool.held(10)) == 1


def test_a_spool_out_of_order_keeps_them_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    machine = Machine(in_the_way / "spool.sqlite3")
    machine.guard.compared(OFF)
    machine.read(100)
    machine.read(200)
    assert caplog.text.count("held in memory only") == 1
    in_the_way.unlink()
    machine.set_clock()
    machine.guard.compared(timedelta(0))
    machine.read(300)
    assert [row.measured_at for row in machine.rows if isinstance(row, PowerRow)] == [
        RIGHT,
        RIGHT + MINUTE,
        RIGHT + 2 * MINUTE,
    ]
    machine.close()


@pytest.fixture
def blocked(tmp_path: Path) -> Iterator[Machine]:
    """Give a machine whose clock is wrong, and whose spool cannot be opened while blocked.path.parent is a file."""
    (tmp_path / "file").write_text("")
    machine = Machine(tmp_path / "file" / "spool.sqlite3")
    machine.guard.compared(OFF)
    yield machine
    machine.spool.close()


def test_a_full_memory_loses_the_oldest_and_says_so(blocked: Machine, caplog: pytest.LogCaptureFixture) -> None:
    for power_w in (100, 200, 300, 400, 500):
        blocked.read(power_w)
    assert caplog.text.count("3 held rounds fill the memory") == 1
    blocked.set_clock()
    blocked.guard.compared(timedelta(0))
    blocked.read(600)
    assert [row.power_w for row in blocked.rows if isinstance(row, PowerRow)] == [300, 400, 500, 600]


def test_what_is_lost_from_memory_at_the_end_is_counted(blocked: Machine, caplog: pytest.LogCaptureFixture) -> None:
    for power_w in (100, 200, 300, 400):
        blocked.read(power_w)
    blocked.guard.close()
    assert "4 held rounds are lost" in caplog.text


def test_the_end_brings_to_the_spool_what_is_in_memory(blocked: Machine, caplog: pytest.LogCaptureFixture) -> None:
    blocked.read(100)
    blocked.path.parent.unlink()
    blocked.guard.close()
    assert "lost" not in caplog.text
    assert len(blocked.spool.held(10)) == 1


def test_the_end_dates_what_is_in_memory_if_the_clock_is_right_by_then(blocked: Machine) -> None:
    blocked.read(100)
    blocked.set_clock()
    blocked.synchronised = True
    blocked.guard.close()
    assert blocked.times() == [RIGHT]


def test_a_long_wait_is_dated_in_parts(machine: Machine) -> None:
    machine.guard.compared(OFF)
    machine.guard.write(Round((CpuTemperatureRow(WRONG, 0.0),)))
    with closing(sqlite3.connect(machine.path)) as file, file:
        file.execute(
            "insert into round (body, boot_id, monotonic_s) select body, boot_id, monotonic_s from round, "
            "(with recursive n(i) as (select 1 union all select i + 1 from n where i < 700) select i from n)"
        )
    machine.set_clock()
    machine.guard.compared(timedelta(0))
    sizes = []
    for _ in range(3):
        before = len(machine.rows)
        machine.read(1)
        sizes.append(len(machine.rows) - before)
    assert sizes == [501, 202, 1]  # 500 and 201 that were held, and one reading each


def test_many_that_cannot_be_read_do_not_hide_one_that_can(machine: Machine) -> None:
    machine.guard.compared(OFF)
    machine.guard.write(Round((CpuTemperatureRow(WRONG, 0.0),)))
    with closing(sqlite3.connect(machine.path)) as file, file:
        file.execute(
            "insert into round (body, boot_id, monotonic_s) select 'not json', boot_id, monotonic_s from round, "
            "(with recursive n(i) as (select 1 union all select i + 1 from n where i < 600) select i from n)"
        )
        file.execute(
            "insert into round (body, boot_id, monotonic_s) select body, boot_id, monotonic_s from round limit 1"
        )
    machine.set_clock()
    machine.guard.compared(timedelta(0))
    for _ in range(3):
        machine.read(1)
    assert len([row for row in machine.rows if isinstance(row, CpuTemperatureRow)]) == 2
    assert machine.spool.count_set_aside() == 600


def test_a_held_round_that_cannot_be_read_is_set_aside(machine: Machine) -> None:
    machine.guard.compared(OFF)
    machine.read(100)
    with closing(sqlite3.connect(machine.path)) as file, file:
        file.execute("update round set body = 'not json'")
    machine.set_clock()
    machine.guard.compared(timedelta(0))
    machine.read(200)
    assert machine.spool.count_set_aside() == 1
    assert len(machine.rows) == 1


def test_the_boot_id_is_the_same_for_one_run_of_the_machine(tmp_path: Path) -> None:
    assert read_boot_id() == read_boot_id()
    path = tmp_path / "boot_id"
    path.write_text("0f1e2d3c-0000-4000-8000-000000000000\n")
    assert read_boot_id(path) == "0f1e2d3c-0000-4000-8000-000000000000"


def test_without_a_boot_id_each_process_is_on_its_own(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert read_boot_id(missing) != read_boot_id(missing)


def test_the_kernel_can_be_asked_whether_its_clock_is_synchronised() -> None:
    assert is_synchronised() in (True, False)


class GuardedHome(Home):
    """A home whose rounds pass the guard."""

    def __init__(self, url: str, spool: Spool, **options: Any) -> None:
        self.guard: ClockGuard | None = None
        self.is_synchronised = False
        self.is_mute = False
        super().__init__(url, **options)
        self.guard = ClockGuard(
            _Direct(super().write),
            spool,
            clock=self.clock,
            boot_id="boot 1",
            is_synchronised=lambda: self.is_synchronised,
        )

    def compared(self, ahead: timedelta | None) -> None:
        if self.guard is not None:
            self.guard.compared(ahead)

    def is_clock_right(self) -> bool:
        return self.guard is not None and self.guard.is_trusted

    def write(self, stored: Round, /) -> None:
        if self.guard is not None:
            self.guard.write(stored)

    def polls(self) -> list[datetime]:
        """Return the times of the polls in the record."""
        return [at.astimezone(UTC) for (at,) in self.execute("select measured_at from power order by measured_at")]


class _Direct:
    def __init__(self, write: Any) -> None:
        self.write = write


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with closing(Spool(tmp_path / "spool.sqlite3")) as made:
        yield made


def minutes(count: int) -> list[datetime]:
    return [NOON + number * MINUTE for number in range(count)]


def test_a_machine_that_starts_400_days_back_dates_nothing_before_its_clock_is_set(
    database_url: str, spool: Spool
) -> None:
    home = GuardedHome(database_url, spool, days_before=2, machine_ahead=timedelta(days=-400, seconds=0.25))
    home.run_until(NOON + 30 * MINUTE)
    assert home.execute("select measured_at from power union all select happened_at from radio_event") == []
    assert home.half_hours().keys() >= {NOON}  # the half hours are the meter's own
    home.machine_ahead = timedelta(0)
    home.run_until(NOON + 40 * MINUTE)
    assert home.polls() == minutes(40)
    assert min(since for (since,) in home.execute("select since from meter")) >= NOON


def test_a_machine_that_was_off_for_five_hours_dates_nothing_before_a_server_has_set_its_clock(
    database_url: str, spool: Spool
) -> None:
    home = GuardedHome(database_url, spool, days_before=2, machine_ahead=timedelta(hours=-5))
    home.run_until(NOON + 3 * MINUTE)
    assert home.polls() == []
    home.machine_ahead = timedelta(0)
    home.is_synchronised = True
    home.run_until(NOON + 10 * MINUTE)
    assert home.polls() == minutes(10)
    ((since,),) = home.execute("select since from meter")
    assert NOON < since < NOON + 10 * MINUTE


def test_a_wrong_clock_of_the_meter_keeps_nothing_from_a_machine_that_follows_a_server(
    database_url: str, spool: Spool
) -> None:
    home = GuardedHome(database_url, spool, days_before=2)
    home.is_synchronised = True
    home.tamper(_a_year_back)
    home.run_until(NOON + 5 * MINUTE)
    assert home.polls() == minutes(5)


def test_a_meter_that_does_not_tell_its_time_is_asked_for_an_hour_before_the_clock_is_trusted(
    database_url: str, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    home = GuardedHome(database_url, spool, days_before=2)
    home.tamper(lambda request, answer: None if _asks_for_the_time(request) else answer)
    home.run_until(NOON + 60 * MINUTE)
    assert home.polls() == []
    home.run_until(NOON + 80 * MINUTE)
    assert home.polls() == minutes(80)
    assert caplog.text.count("the meter has not told its time for an hour") == 1


def test_a_lost_answer_about_the_time_is_made_up_for_ten_minutes_later(database_url: str, spool: Spool) -> None:
    home = GuardedHome(database_url, spool, days_before=2, machine_ahead=timedelta(days=-400))
    home.tamper(lambda request, answer: None if _asks_for_the_time(request) and home.is_mute else answer)
    home.is_mute = True
    home.run_until(NOON + 8 * MINUTE)
    home.is_mute = False
    home.machine_ahead = timedelta(0)
    home.run_until(NOON + 16 * MINUTE)
    assert home.polls() == minutes(16)


def _asks_for_the_time(request: Frame) -> bool:
    return 0x97 in {each.epc for each in request.properties}


def _a_year_back(request: Frame, answer: Frame | None) -> Frame | None:
    """Let the meter show 2025. Source: ECHONET Device Objects, super class, EPC 98: the year in two bytes."""
    if answer is None or not _asks_for_the_time(request):
        return answer
    dated = [Property(0x98, b"\x07\xe9" + each.edt[2:]) if each.epc == 0x98 else each for each in answer.properties]
    return request.answer(answer.esv, tuple(dated))
