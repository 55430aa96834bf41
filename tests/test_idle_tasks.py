"""What is done between two polls: the scheduler, and the half-hour record and the clocks beside a real database.

The household draws 600 W, 0.3 kWh a half hour; at noon 151.2 kWh are counted (see test_meter).
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from poller.idle_tasks.half_hours import HalfHours
from poller.idle_tasks.meter_clock import MeterClock
from poller.idle_tasks.scheduler import IdleTasks, Keep, Pause, Task, query, request
from poller.idle_tasks.time_budget import TimeBudget
from skstack import SessionLostError, SkStackTimeoutError
from skstack.echonet import JST, Frame, Property
from skstack.simulator import Habit, Reply
from storage.database import Database
from storage.errors import DatabaseUnreachableError, StorageError
from storage.records import EnergyRow, MeterRow, PowerRow, Round
from tests.lab.clock import HALF_HOUR, MINUTE, NOON
from tests.lab.database import run_at_once
from tests.lab.habits import announcements, late, lose, rewrite
from tests.lab.home import Home

AT_NOON_KWH = Decimal("151.2")
PROJECT = Path(__file__).parent.parent


def home_at(url: str, **options: object) -> Home:
    """Return a home whose record is complete up to now, so that there is no history to be read."""
    home = Home(url, days_before=10, **{"start_import_kwh": 0, "start_export_kwh": 0, **options})  # type: ignore[arg-type]  # by name
    home.execute(
        f"insert into site (name) values ('home'); insert into energy (site_id, registered_at, source) "
        f"select site_id, generate_series('{NOON}'::timestamptz - interval '101 days', '{NOON - HALF_HOUR}', "
        f"interval '30 minutes'), 'history' from site"
    )
    return home


def energy(home: Home) -> list[EnergyRow]:
    return [row for row in home.of(EnergyRow) if row.registered_at >= NOON]


def requested_by(reply: Reply) -> set[int]:
    """Return the properties that the request asks for; none where the meter speaks by itself."""
    return {each.epc for each in reply.request.properties} if reply.request is not None else set()


def polls(home: Home) -> list[PowerRow]:
    return [row for row in home.of(PowerRow) if row.power_w is not None]


def test_a_notification_is_kept_at_the_meters_own_time(database_url: str) -> None:
    home = home_at(database_url)
    home.run_until(NOON + timedelta(hours=1, minutes=1))
    assert energy(home) == [
        EnergyRow(NOON, AT_NOON_KWH, Decimal("0.0"), "notified"),
        EnergyRow(NOON + HALF_HOUR, AT_NOON_KWH + Decimal("0.3"), Decimal("0.0"), "notified"),
        EnergyRow(NOON + 2 * HALF_HOUR, AT_NOON_KWH + Decimal("0.6"), Decimal("0.0"), "notified"),
    ]
    assert home.requests(0xEA) == []


def test_a_register_that_was_not_notified_is_read_from_minute_five(database_url: str) -> None:
    home = home_at(database_url, notification_delay_s=1700.0)
    home.run_until(NOON + timedelta(minutes=20))
    assert energy(home) == [EnergyRow(NOON, AT_NOON_KWH, Decimal("0.0"), "read")]
    assert [at for at, _ in home.requests(0xEA)] == [pytest.approx(NOON + 5 * MINUTE, abs=timedelta(seconds=2))]


@pytest.mark.parametrize("ahead", [HALF_HOUR, timedelta(hours=10)])
def test_a_register_of_a_time_to_come_is_not_stored_and_mutes_no_half_hour(database_url: str, ahead: timedelta) -> None:
    """One odd time stamp of the meter changes nothing: the half hours after it are read and kept as ever."""
    later = (NOON + ahead).astimezone(JST)
    stamp = bytes((later.year >> 8, later.year & 0xFF, later.month, later.day, later.hour, later.minute, 0))
    home = home_at(database_url)
    for epc in (0xEA, 0xEB):
        odd = rewrite(epc, lambda edt: stamp + edt[7:])
        home.module.faults.habits.append(Habit(odd, announcements, times=1))
    home.run_until(NOON + HALF_HOUR + MINUTE)
    assert energy(home) == [
        EnergyRow(NOON, AT_NOON_KWH, Decimal("0.0"), "read"),
        EnergyRow(NOON + HALF_HOUR, AT_NOON_KWH + Decimal("0.3"), Decimal("0.0"), "notified"),
    ]


def test_what_is_notified_after_it_was_read_changes_nothing(database_url: str) -> None:
    home = home_at(database_url, notification_delay_s=600.0)
    home.run_until(NOON + timedelta(minutes=20))
    assert home.execute(f"select source from energy where registered_at = '{NOON}'") == [("read",)]


def test_a_register_is_requested_a_few_times_and_not_for_ever(database_url: str) -> None:
    home = home_at(database_url, notification_delay_s=1750.0)
    home.tamper(lambda request, response: None if 0xEA in {each.epc for each in request.properties} else response)
    home.run_until(NOON + timedelta(minutes=29))
    assert energy(home) == []
    times = sorted({at.replace(second=0, microsecond=0) for at, _ in home.requests(0xEA)})
    assert times[0] == NOON + 5 * MINUTE
    assert times[-1] < NOON + 15 * MINUTE
    assert len(polls(home)) == 29  # 12:00 to 12:28: every one of them on its tick
    assert home.poller.missed_ticks == 0


def test_a_notification_between_two_attempts_to_read_ends_them(database_url: str) -> None:
    home = home_at(database_url, notification_delay_s=400.0)  # at 12:06:40; the second attempt is due at 12:07:20
    home.tamper(lambda request, response: None if 0xEA in {each.epc for each in request.properties} else response)
    home.run_until(NOON + timedelta(minutes=29))
    assert energy(home) == [EnergyRow(NOON, AT_NOON_KWH, Decimal("0.0"), "notified")]
    assert {at.replace(second=0, microsecond=0) for at, _ in home.requests(0xEA)} == {NOON + 5 * MINUTE}


def test_a_register_whose_session_ends_while_it_is_read_is_read_in_the_next_one(database_url: str) -> None:
    home = home_at(database_url, notification_delay_s=1700.0)
    home.module.faults.habits.append(Habit(lose, lambda reply: 0xEA in requested_by(reply), times=1))
    home.run_until(NOON + 5 * MINUTE)
    home.later((5.0, lambda radio: radio.module.emit_event(0x26, radio.time_s)))
    home.run_until(NOON + timedelta(minutes=20))
    assert home.session.number == 2
    assert energy(home) == [EnergyRow(NOON, AT_NOON_KWH, Decimal("0.0"), "read")]


def test_only_the_direction_that_is_measured_is_kept(database_url: str) -> None:
    home = home_at(database_url, measures_export=False)
    home.run_until(NOON + MINUTE)
    assert energy(home) == [EnergyRow(NOON, AT_NOON_KWH, None, "notified")]


def test_a_row_without_one_of_its_directions_is_not_written(database_url: str) -> None:
    def without_export(request: Frame, response: Frame | None) -> Frame | None:
        """Let EB carry no data, though the register of now (E3) has some."""
        if response is None or request.properties[0].epc != 0xEA:
            return response
        imported, exported = response.properties
        return request.response(response.esv, (imported, Property(0xEB, exported.edt[:-4] + b"\xff\xff\xff\xfe")))

    home = home_at(database_url, notification_delay_s=1700.0)
    home.tamper(without_export)
    home.run_until(NOON + timedelta(minutes=20))
    assert len(home.requests(0xEB)) > 1
    assert energy(home) == []


def test_the_meters_clock_is_read_once_a_session_and_is_no_event_while_it_agrees(database_url: str) -> None:
    home = home_at(database_url)
    home.run_until(NOON + timedelta(minutes=5))
    home.module.emit_event(0x26, home.clock.time_s)
    home.run_until(NOON + timedelta(minutes=10))
    assert home.events("clock_difference") == []
    assert len(home.requests(0x97)) == 2


def test_a_difference_of_over_two_minutes_is_recorded_with_its_direction(database_url: str) -> None:
    home = home_at(database_url, machine_ahead=timedelta(minutes=20))
    home.run_until(NOON + timedelta(minutes=1))
    (event,) = home.events("clock_difference")
    # read at 12:00 and some moments by the meter, whose minute ends at 12:01: the machine has 12:20 and some moments
    assert event.duration_s == pytest.approx(19 * 60, abs=5)
    assert event.detail == "the meter's clock is behind"


def test_a_machine_whose_clock_is_set_need_not_read_the_meters_clock_again(database_url: str) -> None:
    home = home_at(database_url, machine_ahead=timedelta(minutes=-20), notification_delay_s=1700.0)
    home.run_until(NOON + timedelta(minutes=2))
    home.machine.ahead = timedelta(0)
    home.run_until(NOON + timedelta(minutes=20))
    assert [row.detail for row in home.events("clock_difference")] == ["the meter's clock is ahead"]
    assert len(home.requests(0x97)) == 1
    assert [at for at, _ in home.requests(0xEA)] == [pytest.approx(NOON + 5 * MINUTE, abs=timedelta(seconds=2))]


def test_half_hours_are_right_whatever_the_machines_clock_says(database_url: str) -> None:
    home = home_at(database_url, machine_ahead=timedelta(hours=-5, minutes=-13), notification_delay_s=1700.0)
    home.run_until(NOON + timedelta(minutes=40))
    assert [(row.registered_at, row.import_kwh) for row in energy(home)] == [
        (NOON, AT_NOON_KWH),
        (NOON + HALF_HOUR, AT_NOON_KWH + Decimal("0.3")),
    ]


def test_a_clock_that_cannot_be_read_is_requested_three_times(database_url: str) -> None:
    home = home_at(database_url)
    home.tamper(lambda request, response: None if 0x97 in {each.epc for each in request.properties} else response)
    home.run_until(NOON + timedelta(minutes=20))
    assert home.events("clock_difference") == []
    assert len({at.replace(second=0, microsecond=0) for at, _ in home.requests(0x97)}) <= 6  # 3 attempts of up to 20 s
    assert [row.registered_at for row in energy(home)] == [NOON]  # which does not wait for it for ever


def test_a_clock_that_could_not_be_read_over_the_limit_is_read_later_in_the_same_session(database_url: str) -> None:
    home = home_at(database_url, machine_ahead=timedelta(minutes=20))
    habit = Habit(lose, lambda reply: 0x97 in requested_by(reply))
    home.module.faults.habits.append(habit)
    home.run_until(NOON + MINUTE)
    home.module.emit_event(0x32, home.clock.time_s)
    home.module.faults.habits.remove(habit)
    home.run_until(NOON + 10 * MINUTE)
    assert home.events("clock_difference") == []
    home.module.emit_event(0x33, home.clock.time_s)
    home.run_until(NOON + 12 * MINUTE)
    assert home.session.number == 1
    assert [row.detail for row in home.events("clock_difference")] == ["the meter's clock is behind"]
    assert home.module.violations == []


def test_a_clock_that_stays_silent_until_the_session_ends_is_read_in_the_next_one(database_url: str) -> None:
    home = home_at(database_url, machine_ahead=timedelta(minutes=20))
    habit = Habit(lose, lambda reply: 0x97 in requested_by(reply))
    home.module.faults.habits.append(habit)
    home.run_until(NOON + 2 * MINUTE)
    home.module.faults.habits.remove(habit)
    home.module.emit_event(0x26, home.clock.time_s)
    home.run_until(NOON + 4 * MINUTE)
    assert home.session.number == 2
    assert [row.detail for row in home.events("clock_difference")] == ["the meter's clock is behind"]


def test_a_clock_that_stays_silent_as_a_session_begins_stalls_nothing() -> None:
    home = Home(days_before=10)
    home.tamper(lambda request, response: None if 0x97 in {each.epc for each in request.properties} else response)
    home.connect()
    began = home.clock.monotonic()
    home.poller.take_round(NOON, timeout_s=60.0)
    assert [row.power_w for row in home.of(PowerRow)] == [600]
    assert home.clock.monotonic() - began < 25.0  # the clock is awaited for 20 s, once
    assert home.requests(0x8A) == []  # who it is comes when the air is free again: 60 s after that request
    home.run_until(NOON + 3 * MINUTE)
    assert home.meter.is_identified
    assert home.meter.has_looked_at_clock


def test_nothing_is_requested_while_the_link_is_down(database_url: str) -> None:
    home = home_at(database_url)
    home.run_until(NOON + 2 * MINUTE)
    home.module.emit_event(0x32, home.clock.time_s)
    home.run_until(NOON + timedelta(minutes=20))
    assert home.module.violations == []
    assert home.requests(0xEA) == []


def test_a_database_that_hangs_delays_no_poll() -> None:
    asked: list[Future[Any]] = []

    def never_answered(_read: object, /) -> Future[Any]:
        asked.append(Future())
        return asked[-1]

    home = Home(days_before=1, query=never_answered, keep=lambda _stored: None)
    home.run_until(NOON + timedelta(minutes=10))
    assert home.poller.missed_ticks == 0
    assert home.poller.last_power is not None
    assert home.poller.last_power.measured_at == NOON + 9 * MINUTE
    assert len(asked) == 1  # and nobody queries again while there is no result


def test_a_single_round_is_stored_before_the_database_is_queried(database_url: str) -> None:
    asked_after: list[int] = []

    def query(read: Callable[[Any, int], Any], /) -> Future[Any]:
        asked_after.append(len(home.of(PowerRow)))
        return run_at_once(home.queries.database)(read)

    home = Home(database_url, takes_one_round=True, query=query)
    home.connect()
    home.poller.take_round(NOON, timeout_s=60.0)
    assert [row.power_w for row in home.of(PowerRow)] == [600]
    home.finish(60.0)
    assert set(asked_after) == {1}
    assert len(home.of(MeterRow)) == 1
    assert home.requests(0xE5, 0xEA) == []  # nor is the meter's history


def test_a_single_round_learns_who_the_meter_is_though_it_was_slow_to_respond(database_url: str) -> None:
    home = Home(database_url, takes_one_round=True)
    home.connect()
    home.module.faults.habits.append(late(10.0))
    home.poller.take_round(NOON, timeout_s=60.0)
    home.finish(5.0)
    assert len(home.of(MeterRow)) == 1


def test_a_single_round_without_a_response_ends_without_a_query() -> None:
    home = Home(takes_one_round=True)
    home.finish(60.0)
    assert home.queries.count == 0
    assert home.rounds == []


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_single_round_waits_for_no_database_that_does_not_respond(is_stopped: bool) -> None:
    home = Home(takes_one_round=True, query=lambda _read: Future(), keep=lambda _stored: None)
    home.connect()
    home.poller.take_round(NOON, timeout_s=60.0)
    began = home.clock.monotonic()
    home.finish(5.0, is_stopped=is_stopped)
    assert home.clock.monotonic() - began <= (0.0 if is_stopped else 5.1)


# --- faults of the program


def _fault(*_arguments: object) -> Task:
    raise ZeroDivisionError("a fault")


def test_a_faulty_task_leaves_the_rows_of_the_others(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HalfHours, "read_missing", _faulty_task)
    home = home_at(database_url)
    home.run_until(NOON + 5 * MINUTE)
    assert len(polls(home)) == 5
    assert [row.registered_at for row in energy(home)] == [NOON]
    assert len(home.of(MeterRow)) == 1


def test_a_task_that_always_fails_keeps_no_other_from_its_work(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HalfHours, "keep_announced", _faulty_task)
    home = Home(database_url, days_before=2)
    home.run_until(NOON + 20 * MINUTE)
    assert len(polls(home)) == 20
    assert home.poller.missed_ticks == 0
    assert NOON - HALF_HOUR in home.half_hours()  # read from the meter's memory


def test_a_fault_while_the_meters_clock_is_taken_ends_no_poll(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MeterClock, "now", _fault)
    home = home_at(database_url)
    home.run_until(NOON + 5 * MINUTE)
    assert len(polls(home)) == 5


def _faulty_task(_self: object) -> Task:
    yield Pause(until=0.0)
    raise ZeroDivisionError("a fault")


# --- the scheduler


class Bench:
    """A scheduler of some tasks, with a clock that stands still; what is queried is written down."""

    def __init__(self, *tasks: Callable[[], Task]) -> None:
        self.now_s = 0.0
        self.is_up = True
        self.free_at = 0.0
        self.asked: list[Future[Any]] = []
        self.kept: list[Round] = []
        self.idle = IdleTasks(
            tasks,
            query=self.query,
            keep=self.kept.append,
            budget=TimeBudget(lambda: self.now_s, usual_s=20.0, margin_s=0.5, free_at=lambda: self.free_at),
            monotonic=lambda: self.now_s,
            is_up=lambda: self.is_up,
        )

    def query(self, _read: object, /) -> Future[Any]:
        self.asked.append(Future())
        return self.asked[-1]


def test_one_request_is_put_at_a_time_and_the_most_urgent_first() -> None:
    put: list[str] = []

    def asking(name: str) -> Callable[[], Task]:
        def task() -> Task:
            for _ in range(2):
                yield from request(name, lambda _until: put.append(name), timeout_s=1.0)

        return task

    bench = Bench(asking("first"), asking("second"))
    for number in range(1, 5):
        assert bench.idle.work(60.0) == 0.0
        assert len(put) == number
    assert put == ["first", "first", "second", "second"]


def test_a_request_that_does_not_fit_waits_and_others_go_on() -> None:
    put: list[float] = []

    def asks() -> Task:
        yield from request("slow", put.append, timeout_s=20.0)

    def keeps() -> Task:
        yield Keep([])

    bench = Bench(asks, keeps)
    assert bench.idle.work(2.4) == 2.4  # 2 s, and 0.5 s of margin
    assert (put, len(bench.kept)) == ([], 1)
    bench.idle.work(60.0)
    assert put == [20.0]


def test_a_request_waits_until_the_air_is_free_and_holds_up_nobody_meanwhile() -> None:
    put: list[float] = []

    def asks() -> Task:
        yield from request("clock", put.append, timeout_s=20.0)

    bench = Bench(asks)
    bench.free_at = 12.0
    assert bench.idle.work(50.0) == 12.0
    assert put == []
    bench.now_s = 12.0
    bench.idle.work(50.0)
    assert put == [32.0]


def test_while_the_link_is_down_a_task_gets_an_error_in_place_of_a_response() -> None:
    told: list[type[Exception]] = []

    def asks() -> Task:
        while True:
            yield Pause(is_over=lambda: bench.is_up)
            try:
                yield from request("any", lambda _until: None, timeout_s=1.0)
            except SessionLostError as error:
                told.append(type(error))

    bench = Bench(asks)
    bench.idle.look()
    bench.is_up = False
    bench.idle.look()
    assert told == [SessionLostError]


def test_what_the_radio_raises_is_raised_in_the_task() -> None:
    told: list[str] = []

    def lost(until: float) -> None:
        raise SkStackTimeoutError("response", until)

    def asks() -> Task:
        try:
            yield from request("any", lost, timeout_s=3.0)
        except SkStackTimeoutError as error:
            told.append(str(error))

    Bench(asks).idle.work(60.0)
    assert told == ["no response within 3.0 s"]


def test_a_query_waits_for_its_result_and_is_put_once() -> None:
    found: list[str] = []

    def asks() -> Task:
        found.append((yield from query("a word", lambda _cursor, _site: "word")))

    bench = Bench(asks)
    for _ in range(3):
        bench.idle.look()
        bench.now_s += 100.0
    assert (len(bench.asked), found) == (1, [])
    bench.asked[0].set_result("answer")
    bench.idle.look()
    assert found == ["answer"]


def test_a_query_that_is_refused_again_and_again_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    def asks() -> Task:
        yield from query("its meter", lambda _cursor, _site: "word")

    bench = Bench(asks)
    for _ in range(3):
        bench.idle.look()
        bench.asked[-1].set_exception(StorageError("permission denied for table meter"))
        bench.idle.look()
        bench.now_s += 61.0
    said = "the database cannot be queried for its meter: permission denied for table meter"
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == [said]


def test_a_database_that_does_not_respond_is_queried_again_after_pauses_of_up_to_a_minute() -> None:
    def asks() -> Task:
        yield from query("a word", lambda _cursor, _site: "word")

    bench = Bench(asks)
    for pause_s in (5.0, 10.0, 20.0, 40.0, 60.0, 60.0):
        bench.idle.look()
        bench.asked[-1].set_exception(DatabaseUnreachableError("connection refused"))
        asked = len(bench.asked)
        assert bench.idle.work(bench.now_s) == bench.now_s + pause_s
        bench.now_s += pause_s - 0.1
        bench.idle.look()
        assert len(bench.asked) == asked
        bench.now_s += 0.1


def test_a_lasting_fault_is_tried_again_after_a_minute_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    begun: list[float] = []

    def fails() -> Task:
        begun.append(bench.now_s)
        yield Pause(until=0.0)
        raise ZeroDivisionError("a fault")

    bench = Bench(fails)
    for expected_s in (60.0, 120.0, 180.0):
        assert bench.idle.work(600.0) == expected_s
        bench.now_s = expected_s
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "a fault of the program in" in caplog.text
    assert "fails" in caplog.text
    assert "Traceback" in caplog.text


def test_another_kind_of_fault_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    faults = iter([ZeroDivisionError("one"), KeyError("another"), KeyError("and again")])

    def fails() -> Task:
        yield Pause(until=0.0)
        raise next(faults)

    bench = Bench(fails)
    for _ in range(3):
        bench.idle.look()
        bench.now_s += 60.0
    assert len(caplog.records) == 2


# --- the end, while the database does not respond


_ENDS_DURING_A_QUERY = """
import sys, threading
from pathlib import Path
from storage.database import Database
from storage.delivery import Delivery
from storage.outbox import Outbox

asked = threading.Event()

def read(cursor, _site_id):
    asked.set()
    cursor.execute("select pg_sleep(9)")

delivery = Delivery(Database.from_url(sys.argv[1], site="home"), Outbox(Path(sys.argv[2])))
delivery.start()
delivery.query(read)
assert asked.wait(30)
print("over", flush=True)
"""


def test_the_process_ends_in_the_middle_of_a_query(database_url: str, tmp_path: Path) -> None:
    Database.from_url(database_url, site="home").check()
    command = [sys.executable, "-c", _ENDS_DURING_A_QUERY, database_url, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=PROJECT, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "over\n"
        begun = time.monotonic()
        assert process.wait(30) == 0
    assert time.monotonic() - begun < 8.0
