"""The delivery: no round of the outbox is lost or stored twice, and none waits for a database that does not respond."""

from __future__ import annotations

import logging
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from storage.database import Database
from storage.delivery import Delivery
from storage.embedded import EmbeddedServer
from storage.errors import DatabaseUnreachableError, StorageError
from storage.outbox import REJECTED_NAME, Outbox
from storage.outbox_files import Rejected
from storage.records import PowerRow, RadioEventRow, Round, Row
from tests.lab.clock import LabClock
from tests.lab.database import FIRST_AT, FakeDatabase, full_round, power_row, round_of
from tests.lab.disk import Disk

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def clock() -> LabClock:
    return LabClock(FIRST_AT)


@pytest.fixture
def database() -> FakeDatabase:
    return FakeDatabase()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with closing(Outbox(tmp_path, fsync=False)) as opened:
        yield opened


@pytest.fixture
def delivery(database: FakeDatabase, outbox: Outbox, clock: LabClock) -> Delivery:
    """Deliver in virtual time, turn by turn."""
    return Delivery(database, outbox, monotonic=clock.monotonic)


@pytest.fixture
def running(database: FakeDatabase, outbox: Outbox) -> Iterator[Delivery]:
    """Deliver in the thread."""
    delivery = Delivery(database, outbox)
    delivery.start()
    yield delivery
    database.responds.set()
    delivery.close()


def work(delivery: Delivery) -> float:
    """Do all that is due; return the seconds until there is more."""
    while not (wait_s := delivery.turn()):
        pass
    return wait_s


def wait_until(is_so: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait for the thread; the test fails where it takes longer than *timeout_s*."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.005)


def append_all(outbox: Outbox, numbers: range) -> None:
    for number in numbers:
        outbox.append(round_of(number))


def messages(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


# --- in virtual time


def test_what_is_appended_is_delivered_in_order_and_taken_out(
    delivery: Delivery, outbox: Outbox, database: FakeDatabase
) -> None:
    for number in range(3):
        append_all(outbox, range(number, number + 1))
        work(delivery)
        assert database.watts()[-1] == number
        assert delivery.is_drained()
    assert (database.watts(), outbox.count()) == ([0, 1, 2], 0)


def test_more_than_one_batch_is_delivered_in_order(delivery: Delivery, outbox: Outbox, database: FakeDatabase) -> None:
    append_all(outbox, range(1203))
    work(delivery)
    assert database.watts() == list(range(1203))
    assert database.attempts == 3  # of 500, 500 and 203 rounds


@pytest.mark.parametrize(("left", "said"), [(1, "1 round"), (3, "3 rounds")])
def test_the_next_run_delivers_what_the_last_one_left(
    tmp_path: Path, database: FakeDatabase, caplog: pytest.LogCaptureFixture, left: int, said: str
) -> None:
    caplog.set_level(logging.INFO)
    with closing(Outbox(tmp_path, fsync=False)) as last_run:
        append_all(last_run, range(left))
    with closing(Outbox(tmp_path, fsync=False)) as outbox:
        append_all(outbox, range(left, left + 1))  # of this run
        work(Delivery(database, outbox))
        assert (database.watts(), outbox.count()) == ([*range(left + 1)], 0)
    assert messages(caplog, logging.INFO) == [f"{said} of an earlier run delivered"]


def test_a_round_of_this_run_is_none_of_an_earlier_one_also_after_the_disk_was_ill(
    delivery: Delivery, outbox: Outbox, database: FakeDatabase, clock: LabClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    work(delivery)
    outbox.error = "a disk that was ill for a moment"
    clock.sleep(1.0)
    work(delivery)
    append_all(outbox, range(1))
    clock.sleep(61.0)
    work(delivery)
    assert database.watts() == [0]
    assert "earlier run" not in caplog.text


def test_a_row_that_was_refused_and_whose_place_is_taken_now_is_not_said_to_be_stored(
    delivery: Delivery, outbox: Outbox, database: FakeDatabase, clock: LabClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    database.refuses = lambda row: True
    append_all(outbox, range(1, 3))
    work(delivery)
    database.refuses = lambda row: False
    database.write([Round((power_row(1, power_w=999),))])
    clock.sleep(90_000)
    work(delivery)
    assert (database.watts(), outbox.count_rejected()) == ([999, 2], 1)
    assert messages(caplog, logging.INFO) == ["stored now: 1 row that PostgreSQL had refused"]


def test_attempts_are_1_2_4_up_to_60_seconds_apart(
    delivery: Delivery, outbox: Outbox, database: FakeDatabase, clock: LabClock
) -> None:
    database.is_away = True
    append_all(outbox, range(1))
    tried_at, began_at = [], clock.monotonic()
    for number in range(1, 400):
        before = database.attempts
        work(delivery)
        if database.attempts > before:
            tried_at.append(clock.monotonic() - began_at)
        clock.sleep(1)
        append_all(outbox, range(number, number + 1))
    # 1, then 2, 4, 8, 16, 32 later, then every 60.
    assert tried_at == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303, 363]


def test_an_outage_is_one_warning_then_silence_then_one_line(
    delivery: Delivery, outbox: Outbox, database: FakeDatabase, clock: LabClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    append_all(outbox, range(1))
    work(delivery)
    caplog.clear()
    database.is_away = True
    for number in range(1, 31):
        append_all(outbox, range(number, number + 1))
        work(delivery)
        clock.sleep(60)
    assert messages(caplog, logging.WARNING) == [
        "PostgreSQL is unreachable, rounds wait in the outbox: connection refused"
    ]
    assert delivery.unreachable_reason == "connection refused"
    database.is_away = False
    work(delivery)
    assert messages(caplog, logging.INFO) == ["PostgreSQL is back after 1800 s: 30 rounds delivered"]
    assert len(messages(caplog, logging.WARNING)) == 1
    assert delivery.unreachable_reason is None


def test_a_long_outage_is_remembered_once_an_hour(
    delivery: Delivery, outbox: Outbox, database: FakeDatabase, clock: LabClock, caplog: pytest.LogCaptureFixture
) -> None:
    database.is_away = True
    for number in range(3 * 60):
        append_all(outbox, range(number, number + 1))
        work(delivery)
        clock.sleep(60)
    assert len(messages(caplog, logging.WARNING)) == 3  # at 0, 60 and 120 minutes


def test_another_reason_is_said_once_and_many_of_them_do_not_fill_the_log(
    delivery: Delivery, outbox: Outbox, database: FakeDatabase, clock: LabClock, caplog: pytest.LogCaptureFixture
) -> None:
    """After a failover: first read-only, then too many connections, then both in turn; then what always differs."""
    database.is_away = True
    append_all(outbox, range(1))
    for reason in ("read-only", "too many connections", "read-only", "too many connections"):
        database.reason = reason
        work(delivery)
        clock.sleep(60)
    assert messages(caplog, logging.WARNING) == [
        "PostgreSQL is unreachable, rounds wait in the outbox: read-only",
        "PostgreSQL is still unreachable: too many connections",
    ]
    for number in range(40):
        database.reason = f"lost connection {number}"
        work(delivery)
        clock.sleep(60)
    assert len(messages(caplog, logging.WARNING)) == 6


def test_a_refused_row_is_kept_apart_and_the_rest_of_its_round_is_stored(
    delivery: Delivery, outbox: Outbox, database: FakeDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    database.refuses = lambda row: isinstance(row, PowerRow) and row.power_w == 13
    outbox.append(Round((power_row(12), power_row(13), power_row(14))))
    append_all(outbox, range(15, 17))
    work(delivery)
    assert database.watts() == [12, 14, 15, 16]
    assert (outbox.count(), outbox.count_rejected()) == (0, 1)
    [said] = messages(caplog, logging.ERROR)
    assert "power_w=13" in said
    assert said.endswith("out of range")


@pytest.mark.parametrize("is_restarted", [False, True])
def test_what_was_refused_is_tried_again_once_a_day_and_at_the_next_start(
    delivery: Delivery, outbox: Outbox, database: FakeDatabase, clock: LabClock, is_restarted: bool
) -> None:
    """A constraint was too strict for a while, or a column too narrow."""
    work(delivery)
    database.refuses = lambda row: isinstance(row, PowerRow) and row.power_w in (3, 5)
    append_all(outbox, range(8))
    work(delivery)
    attempts = database.attempts
    clock.sleep(86_000)
    work(delivery)
    assert (database.attempts, outbox.count_rejected()) == (attempts, 2)
    database.refuses = lambda row: isinstance(row, PowerRow) and row.power_w == 5
    if is_restarted:
        delivery = Delivery(database, outbox, monotonic=clock.monotonic)
    else:
        clock.sleep(400)
    work(delivery)
    assert database.watts() == [0, 1, 2, 4, 6, 7, 3]
    assert outbox.count_rejected() == 1


def test_refused_rows_that_cannot_be_read_now_are_tried_again_the_day_after(
    delivery: Delivery, outbox: Outbox, database: FakeDatabase, clock: LabClock, tmp_path: Path
) -> None:
    work(delivery)
    database.refuses = lambda row: isinstance(row, PowerRow) and row.power_w == 2
    append_all(outbox, range(4))
    work(delivery)
    database.refuses = lambda _row: False
    kept = next(tmp_path.rglob(REJECTED_NAME))
    aside = kept.rename(tmp_path / "aside")
    kept.mkdir()
    clock.sleep(86_401)
    work(delivery)
    append_all(outbox, range(4, 5))
    work(delivery)
    assert database.watts() == [0, 1, 3, 4]  # nothing else is held up
    kept.rmdir()
    aside.rename(kept)
    clock.sleep(86_401)
    work(delivery)
    assert database.watts() == [0, 1, 3, 4, 2]
    assert outbox.count_rejected() == 0


def test_of_rows_refused_together_none_is_forgotten_while_one_is_refused_still(
    delivery: Delivery, outbox: Outbox, database: FakeDatabase
) -> None:
    """Version 1.0 may have kept several in one, and a flipped bit may leave none."""
    refused = [
        Rejected.of(stored, "out of range", is_final=False) for stored in (Round(()), full_round(1), full_round(2))
    ]
    outbox.adopt([], refused)
    database.refuses = lambda row: row == full_round(1).rows[2]
    work(delivery)
    assert [stored for _, stored in outbox.refused()] == [full_round(1)]
    assert delivery.unreachable_reason is None


def test_a_row_whose_place_is_taken_is_final_kept_and_said_once(
    delivery: Delivery, outbox: Outbox, database: FakeDatabase, clock: LabClock, caplog: pytest.LogCaptureFixture
) -> None:
    database.write([Round((power_row(number, power_w=100 + number),)) for number in range(1, 5)])
    append_all(outbox, range(6))
    work(delivery)
    outbox.append(Round((power_row(4, power_w=504),)))
    clock.sleep(90_000)
    work(delivery)
    assert database.watts() == [101, 102, 103, 104, 0, 5]
    assert (outbox.count(), outbox.count_rejected(), outbox.refused()) == (0, 5, [])
    [said] = messages(caplog, logging.ERROR)
    assert "another row has its place" in said
    assert "Do two pollers write as site 'home', or was the clock set back?" in said


def test_rounds_that_the_disk_does_not_take_are_delivered_from_memory(
    database: FakeDatabase, tmp_path: Path, clock: LabClock
) -> None:
    (tmp_path / "data").write_text("a file where the directory should be")
    outbox = Outbox(tmp_path / "data")
    delivery = Delivery(database, outbox, monotonic=clock.monotonic)
    for number in range(3):
        append_all(outbox, range(number, number + 1))
        work(delivery)
        assert database.watts()[-1] == number
        assert delivery.is_drained()
    assert outbox.count() == 0
    (tmp_path / "data").unlink()
    append_all(outbox, range(3, 4))
    clock.sleep(60)
    work(delivery)
    assert database.watts() == [0, 1, 2, 3]
    assert outbox.error is None
    outbox.close()


def test_a_file_that_can_be_read_again_is_delivered(database: FakeDatabase, tmp_path: Path, clock: LabClock) -> None:
    """The directory is out of order at the start, with two rounds of the last run in it, and is mended later."""
    directory = tmp_path / "data"
    with closing(Outbox(directory)) as last_run:
        append_all(last_run, range(1, 3))
    directory.rename(tmp_path / "moved")
    directory.write_text("a file where the directory should be")
    outbox = Outbox(directory)
    delivery = Delivery(database, outbox, monotonic=clock.monotonic)
    append_all(outbox, range(3, 5))
    work(delivery)
    assert database.watts() == [3, 4]
    directory.unlink()
    (tmp_path / "moved").rename(directory)
    clock.sleep(60)
    work(delivery)
    work(delivery)
    assert database.watts() == [3, 4, 1, 2]
    outbox.close()
    outbox.close()


def test_a_file_of_another_user_keeps_no_round_of_this_run_from_being_drained(
    database: FakeDatabase, tmp_path: Path, clock: LabClock
) -> None:
    (tmp_path / "outbox.rounds").mkdir()  # root may read any file, and no directory
    with closing(Outbox(tmp_path)) as outbox:
        delivery = Delivery(database, outbox, monotonic=clock.monotonic)
        append_all(outbox, range(1, 2))
        work(delivery)
        assert database.watts() == [1]
        assert delivery.is_drained()


def test_what_stands_in_a_file_that_cannot_be_read_now_is_not_drained(
    delivery: Delivery, outbox: Outbox, database: FakeDatabase, clock: LabClock, tmp_path: Path
) -> None:
    disk = Disk(tmp_path)
    append_all(outbox, range(1, 2))
    with disk.in_use():
        disk.bad_at = 0
        work(delivery)
        assert not delivery.is_drained()
        disk.bad_at = None
        clock.sleep(60)
        work(delivery)
    assert database.watts() == [1]
    assert delivery.is_drained()


def test_a_text_that_no_encoding_takes_does_not_block_the_rounds_behind_it(
    delivery: Delivery, outbox: Outbox, database: FakeDatabase, clock: LabClock
) -> None:
    broken_text = RadioEventRow(clock.now(), "scan", detail="a\ud800b")
    outbox.append(Round((broken_text,)))
    append_all(outbox, range(1))
    work(delivery)
    assert database.rows == [broken_text, power_row(0)]


def test_an_error_nobody_thought_of_keeps_the_rounds_and_is_logged_once(
    delivery: Delivery, outbox: Outbox, database: FakeDatabase, clock: LabClock, caplog: pytest.LogCaptureFixture
) -> None:
    def surprise(_row: Row) -> bool:
        raise UnicodeEncodeError("ascii", "自宅", 0, 2, "ordinal not in range(128)")

    database.refuses = surprise
    for number in range(3):
        append_all(outbox, range(number, number + 1))
        work(delivery)
        clock.sleep(60)
    assert outbox.count() == 3
    assert len(messages(caplog, logging.ERROR)) == 1
    database.refuses = lambda _row: False
    work(delivery)
    assert database.watts() == [0, 1, 2]


def test_a_query_sees_all_that_was_appended_before_it(
    delivery: Delivery, outbox: Outbox, database: FakeDatabase
) -> None:
    append_all(outbox, range(700))
    seen = delivery.query(lambda _cursor, _site_id: len(database.rows))
    work(delivery)
    assert seen.result(timeout=0) == 700


def test_a_query_that_cannot_be_run_says_so_at_once_and_one_that_fails_harms_nobody(
    delivery: Delivery, outbox: Outbox, database: FakeDatabase, clock: LabClock
) -> None:
    database.is_away = True
    append_all(outbox, range(1))
    pending = delivery.query(lambda _cursor, _site_id: 1)
    work(delivery)
    with pytest.raises(DatabaseUnreachableError, match="connection refused"):
        pending.result(timeout=0)
    database.is_away = False
    clock.sleep(60)

    def fail(_cursor: object, _site_id: int) -> None:
        raise KeyError("no such meter")

    failing, working = delivery.query(fail), delivery.query(lambda _cursor, site_id: site_id)
    work(delivery)
    with pytest.raises(KeyError, match="no such meter"):
        failing.result(timeout=0)
    assert working.result(timeout=0) == 1
    assert delivery.is_drained()


def test_an_outage_that_a_query_has_met_ends_when_the_database_responds_and_not_before(
    delivery: Delivery, database: FakeDatabase, clock: LabClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    work(delivery)
    database.is_away = True
    result = delivery.query(lambda _cursor, site_id: site_id)
    work(delivery)
    assert isinstance(result.exception(timeout=0), DatabaseUnreachableError)
    clock.sleep(2.0)
    work(delivery)  # nothing waits to be delivered, which is no sign that it is back
    assert delivery.unreachable_reason == "connection refused"
    database.is_away = False
    clock.sleep(4.0)
    work(delivery)
    assert delivery.is_drained()
    assert messages(caplog, logging.INFO) == ["PostgreSQL is back after 6 s: 0 rounds delivered"]


def test_a_query_that_a_database_refuses_which_responds_is_no_outage(
    delivery: Delivery, database: FakeDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def forbidden(_cursor: object, _site_id: int) -> NoReturn:
        raise DatabaseUnreachableError("permission denied for table meter")  # as Database says it

    work(delivery)
    result = delivery.query(forbidden)
    work(delivery)
    error = result.exception(timeout=0)
    assert isinstance(error, StorageError)
    assert not isinstance(error, DatabaseUnreachableError)
    assert "permission denied" in str(error)
    assert delivery.is_drained()
    assert messages(caplog, logging.INFO) == []


def test_queries_are_refused_while_the_next_attempt_waits(
    delivery: Delivery, outbox: Outbox, database: FakeDatabase
) -> None:
    database.is_away = True
    append_all(outbox, range(1))
    work(delivery)
    result = delivery.query(lambda _cursor, _site_id: 1)
    work(delivery)
    with pytest.raises(DatabaseUnreachableError):
        result.result(timeout=0)


# --- in the thread


def test_a_round_is_on_disk_when_append_returns_and_delivered_soon(
    running: Delivery, outbox: Outbox, database: FakeDatabase
) -> None:
    append_all(outbox, range(20))
    assert running.wait_until_drained(20.0)
    assert database.watts() == list(range(20))


def test_a_database_that_hangs_does_not_hold_up_a_round_or_the_end(
    running: Delivery, outbox: Outbox, database: FakeDatabase, tmp_path: Path
) -> None:
    assert running.wait_until_drained(20.0)
    database.responds.clear()
    began = time.monotonic()
    append_all(outbox, range(5))  # the database would hang for 30 s
    assert time.monotonic() - began < 15.0
    with closing(Outbox(tmp_path)) as after_kill_9:
        assert list(after_kill_9.oldest(10).rounds) == [round_of(number) for number in range(5)]
    assert not running.wait_until_drained(0.1)
    began = time.monotonic()
    running.close(0.1)
    assert time.monotonic() - began < 9.0  # of the 10 in which the poller ends
    assert not database.is_closed
    database.responds.set()
    running.close()


def test_it_comes_back_by_itself_after_an_outage(running: Delivery, outbox: Outbox, database: FakeDatabase) -> None:
    database.is_away = True
    append_all(outbox, range(3))
    wait_until(lambda: running.unreachable_reason is not None)
    database.is_away = False
    assert running.wait_until_drained(20.0)  # the first retry is one second later
    assert database.watts() == [0, 1, 2]


def test_waiting_ends_when_somebody_wants_to_stop(running: Delivery, outbox: Outbox, database: FakeDatabase) -> None:
    database.is_away = True
    append_all(outbox, range(1))
    began = time.monotonic()
    assert not running.wait_until_drained(20.0, should_stop=lambda: time.monotonic() > began + 0.2)
    assert time.monotonic() - began < 15.0


def test_the_end_brings_the_last_round_to_the_database_and_leaves_no_thread(
    database: FakeDatabase, outbox: Outbox
) -> None:
    before = set(threading.enumerate())  # one of an earlier test may end meanwhile
    delivery = Delivery(database, outbox)
    delivery.start()
    assert len(set(threading.enumerate()) - before) == 1
    append_all(outbox, range(1))
    result = delivery.query(lambda _cursor, _site_id: "answer")
    delivery.close(20.0)
    assert (database.watts(), database.is_closed) == ([0], True)
    assert set(threading.enumerate()) <= before
    assert result.done()


# --- with a real PostgreSQL


@contextmanager
def delivering(url: str, directory: Path, site: str = "home") -> Iterator[tuple[Outbox, Delivery]]:
    with closing(Outbox(directory)) as outbox, closing(Delivery(Database.from_url(url, site=site), outbox)) as delivery:
        delivery.start()
        yield outbox, delivery


def stored_watts(url: str) -> list[int]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("select power_w from power order by measured_at")
        return [power_w for (power_w,) in cursor.fetchall()]


def connections(connection: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from pg_stat_activity where application_name = 'power-consumption'")
        return int(cursor.fetchone()[0])


def test_two_sites_of_one_database_do_not_disturb_each_other(
    database_url: str, tmp_path: Path, connection: Any
) -> None:
    for site in ("home", "shed"):
        with delivering(database_url, tmp_path / site, site) as (outbox, delivery):
            for number in range(50):
                outbox.append(full_round(number))
            assert delivery.wait_until_drained(30.0)
    with connection.cursor() as cursor:
        cursor.execute("select name, count(*), sum(power_w) from power join site using (site_id) group by 1 order by 1")
        assert cursor.fetchall() == [("home", 50, 1225), ("shed", 50, 1225)]  # 0 + 1 + ... + 49 = 1225


def test_two_pollers_of_one_site_show_and_nothing_is_stored_twice(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        delivering(database_url, tmp_path / "one") as (one, first),
        delivering(database_url, tmp_path / "two") as (
            other,
            second,
        ),
    ):
        append_all(one, range(10))
        assert first.wait_until_drained(20.0)
        for number in range(10):
            other.append(Round((power_row(number, power_w=1000 + number),)))
        assert second.wait_until_drained(20.0)
        assert other.count_rejected() == 10
    assert stored_watts(database_url) == list(range(10))
    [said] = messages(caplog, logging.ERROR)
    assert "Do two pollers write as site 'home'" in said


def test_a_constraint_that_was_too_strict_for_a_while_costs_no_reading(
    database_url: str, tmp_path: Path, connection: Any
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("alter table power add constraint strict check (power_w < 3)")
        with delivering(database_url, tmp_path) as (outbox, delivery):
            append_all(outbox, range(8))
            assert delivery.wait_until_drained(20.0)
        assert stored_watts(database_url) == [0, 1, 2]
        cursor.execute("alter table power drop constraint strict")
    with delivering(database_url, tmp_path) as (outbox, delivery):
        wait_until(lambda: outbox.count_rejected() == 0)
    assert stored_watts(database_url) == list(range(8))


def test_idle_sessions_that_the_server_ends_are_no_outage(
    database_url: str, tmp_path: Path, connection: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """idle_session_timeout shorter than the interval of the poller (PostgreSQL documentation, since 14)."""
    caplog.set_level(logging.INFO)
    with connection.cursor() as cursor:
        cursor.execute("select format('alter database %I set idle_session_timeout = 100', current_database())")
        cursor.execute(cursor.fetchone()[0])
    with delivering(database_url, tmp_path) as (outbox, delivery):
        for number in range(4):
            append_all(outbox, range(number, number + 1))
            assert delivery.wait_until_drained(20.0)
            wait_until(lambda: connections(connection) == 0)
    assert stored_watts(database_url) == [0, 1, 2, 3]
    assert messages(caplog, logging.WARNING) == []


def test_a_weeks_outage_drains_completely_while_rounds_go_on(database_url: str, tmp_path: Path) -> None:
    """How long this takes is measured by tests/benchmarks."""
    with closing(Outbox(tmp_path, fsync=False)) as last_run:
        for number in range(10_080):
            last_run.append(Round(full_round(number).rows[:4]))  # 40,320 rows
    with delivering(database_url, tmp_path) as (outbox, delivery):
        number = 10_080
        while not delivery.is_drained():
            outbox.append(Round(full_round(number).rows[:4]))
            number += 1
            time.sleep(0.05)
        assert delivery.wait_until_drained(20.0)
    assert stored_watts(database_url) == list(range(number))


# --- a wire that is cut


class Wire:
    """A proxy before PostgreSQL that can be cut when what commits passes; the server gets it or not."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.cuts = 0
        self.choose: Callable[[], str] = lambda: "pass"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._upstream)
            downwards = threading.Thread(target=self._pump, args=(server, client, False), daemon=True)
            downwards.start()
            self._pump(client, server, True)
            downwards.join()

    def _pump(self, source: socket.socket, target: socket.socket, is_upwards: bool) -> None:
        try:
            while data := source.recv(65536):
                is_commit = is_upwards and (
                    b"insert into power" in data or b"commit\0" in data
                )  # alone it commits itself
                fate = self.choose() if is_commit else "pass"
                if fate == "pass":
                    target.sendall(data)
                    continue
                self.cuts += 1
                if fate == "cut after":
                    target.sendall(data)
                    time.sleep(0.02)
                break
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


@pytest.fixture
def wire(postgres_server: EmbeddedServer) -> Iterator[Wire]:
    directory = parse_dsn(postgres_server.url())["host"]
    with closing(Wire(f"{directory}/.s.PGSQL.5432")) as opened:
        yield opened


@pytest.mark.parametrize("cuts", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_a_commit_that_is_cut_before_or_behind_the_server_stores_every_round_once(
    database_url: str, tmp_path: Path, wire: Wire, caplog: pytest.LogCaptureFixture, cuts: int
) -> None:
    """Each is followed by a connection anew and the same rows once more."""
    choose = random.Random(cuts)
    wire.choose = lambda: choose.choice([*["pass"] * 4, "cut before", "cut after"])
    url = f"postgresql://postgres@127.0.0.1:{wire.port}/{parse_dsn(database_url)['dbname']}"
    with delivering(url, tmp_path) as (outbox, delivery):
        number = 0
        while wire.cuts < cuts:
            append_all(outbox, range(number, number + 1))
            number += 1
            assert delivery.wait_until_drained(120.0)
        wire.choose = lambda: "pass"
        assert delivery.wait_until_drained(120.0)
        assert outbox.count_rejected() == 0
    assert stored_watts(database_url) == list(range(number))
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


# --- kill -9 of everything

APPEND_UNTIL_KILLED = """
    import sys
    import time
    from pathlib import Path
    from tests.lab.database import round_of
    from storage.database import Database
    from storage.delivery import Delivery
    from storage.outbox import Outbox

    url, directory, first, pause_s = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    outbox = Outbox(directory)
    Delivery(Database.from_url(url, site="home"), outbox).start()
    for number in range(first, first + 100_000):
        outbox.append(round_of(number))
        print(number, flush=True)
        time.sleep(pause_s)
"""


def stop_or_start(server: EmbeddedServer, data_dir: Path, choose: random.Random) -> None:
    """Start the server if it is stopped; else stop it: with a fast shutdown, or at once and in mid-transaction."""
    postmaster = data_dir / "postgresql" / "data" / "postmaster.pid"
    if not postmaster.exists():
        server.start()
    elif choose.random() < 0.5:
        server.close()
    else:
        os.kill(int(postmaster.read_text().split("\n", 1)[0]), signal.SIGQUIT)  # PostgreSQL: immediate shutdown
        wait_until(lambda: not postmaster.exists())


def append_until_killed(
    url: str, directory: Path, first: int, rounds: int, pause_s: float, on_round: Callable[[], None]
) -> int:
    """Append rounds from *first* on in a process that is killed after some; return the last one it reported."""
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(APPEND_UNTIL_KILLED),
        url,
        str(directory),
        str(first),
        str(pause_s),
    ]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        last = first - 1
        for _ in range(rounds):
            last = int(child.stdout.readline())
            on_round()
        child.kill()
        return max([last, *map(int, child.stdout.read().split())])


@pytest.mark.parametrize(
    ("kills", "rounds", "pause_s", "outages_a_round"),
    [
        pytest.param(3, 150, 0.0, 0.015, id="seconds"),
        pytest.param(10, 12, 1.0, 0.1, id="two minutes", marks=pytest.mark.slow),
        pytest.param(500, 20, 0.0, 0.005, id="five hundred", marks=[pytest.mark.slow, pytest.mark.timeout(3000)]),
    ],
)
def test_kill_9_and_a_server_that_comes_and_goes_lose_nothing_and_store_nothing_twice(
    tmp_path: Path, kills: int, rounds: int, pause_s: float, outages_a_round: float
) -> None:
    """Every round for which append() returned is in the table exactly once."""
    choose = random.Random(20240229)
    server = EmbeddedServer(tmp_path, fsync=False)
    server.start()
    url, last = server.url(), -1

    def now_and_then() -> None:
        if choose.random() < outages_a_round:
            stop_or_start(server, tmp_path, choose)

    unsure: list[int] = []
    for _ in range(kills):
        unsure.append(last + 1)  # of a round that was on its way at the kill nothing is known: it may be there, once
        last = append_until_killed(url, tmp_path, last + 1, rounds, pause_s, now_and_then)
    unsure.append(last + 1)
    server.start()
    with server:
        with delivering(url, tmp_path) as (_, delivery):
            assert delivery.wait_until_drained(60.0)
        stored = stored_watts(url)
    assert [watts for watts in stored if watts <= last] == list(range(last + 1))
    assert [watts for watts in stored if watts > last] in ([], [last + 1])


def test_a_row_with_another_value_than_what_is_there_is_kept_across_the_end(database_url: str, tmp_path: Path) -> None:
    with delivering(database_url, tmp_path) as (outbox, delivery):
        append_all(outbox, range(1))
        outbox.append(Round((replace(power_row(0), power_w=5),)))
        assert delivery.wait_until_drained(20.0)
    with closing(Outbox(tmp_path)) as next_run:
        assert (next_run.count(), next_run.count_rejected()) == (0, 1)
