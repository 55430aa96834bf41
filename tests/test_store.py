"""The store: no round it has taken is lost or stored twice, and none waits for a database that does not answer."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from storage.database import Database
from storage.embedded import EmbeddedServer
from storage.errors import SpoolError, SpoolFullError
from storage.records import PowerRow, RadioEventRow, Round, Row
from storage.spool import Spool
from storage.store import Store
from tests.lab.clock import LabClock
from tests.lab.database import FIRST_AT, FakeDatabase, full_round, power_row, round_of

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


class StubbornSpool(Spool):
    """A spool whose disk is full, or cannot be read, on demand."""

    is_full = is_unreadable = False
    peeks = 0

    def peek(self, limit: int) -> list[tuple[int, Round]]:
        self.peeks += 1
        if self.is_unreadable:
            raise SpoolError("the disk gives no answer")
        return super().peek(limit)

    def append(self, *rounds: Round) -> None:
        if self.is_full:
            raise SpoolFullError("the disk is full: make room")
        super().append(*rounds)

    def remove_up_to(self, round_id: int) -> None:
        super().remove_up_to(round_id)
        if self.is_full:
            raise SpoolFullError("the disk is full: make room")


@pytest.fixture
def clock() -> LabClock:
    return LabClock(FIRST_AT)


@pytest.fixture
def database() -> FakeDatabase:
    return FakeDatabase()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[StubbornSpool]:
    with closing(StubbornSpool(tmp_path / "spool.sqlite3")) as opened:
        yield opened


@pytest.fixture
def store(database: FakeDatabase, spool: StubbornSpool, clock: LabClock) -> Store:
    return Store(database, spool, monotonic=clock.monotonic, now=clock.now)


@pytest.fixture
def threaded(database: FakeDatabase, spool: StubbornSpool) -> Iterator[Store]:
    """Run a worker, with a write timeout that a test can afford to wait for."""
    store = Store(database, spool, write_timeout_s=0.2)
    store.start()
    wait_until(lambda: store._is_drained)
    yield store
    database.answers.set()
    store.close()


def wait_until(is_so: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait for a worker; the test fails where it takes longer than *timeout_s*."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.005)


def wait_until_delivered(store: Store) -> None:
    wait_until(lambda: store.status().waiting_rounds == 0)


def rounds_in(spool: Spool) -> list[Round]:
    return [stored for _, stored in spool.peek(10_000)]


def messages(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def test_a_round_goes_straight_to_the_database_and_leaves_the_disk_alone(
    store: Store, database: FakeDatabase, tmp_path: Path
) -> None:
    store.write(round_of(1))
    size_after_one = sum(each.stat().st_size for each in tmp_path.iterdir())
    for number in range(2, 50):
        store.write(round_of(number))
    assert database.watts() == list(range(1, 50))
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) == size_after_one


def test_while_the_database_is_away_rounds_are_on_disk_when_write_returns(
    store: Store, database: FakeDatabase, spool: Spool
) -> None:
    database.is_away = True
    for number in range(3):
        store.write(round_of(number))
        assert rounds_in(spool)[-1] == round_of(number)
    assert store.status().waiting_rounds == 3


def test_what_waited_is_delivered_in_order_before_the_new_round(
    store: Store, database: FakeDatabase, spool: Spool, clock: LabClock
) -> None:
    database.is_away = True
    for number in range(3):
        store.write(round_of(number))
    database.is_away = False
    clock.sleep(60)
    store.write(round_of(3))
    assert database.watts() == [0, 1, 2, 3]
    assert spool.count() == 0


def test_more_than_one_batch_is_delivered_in_order(store: Store, database: FakeDatabase, spool: Spool) -> None:
    spool.append(*(round_of(number) for number in range(1203)))
    assert store.deliver() == 0
    assert database.watts() == list(range(1203))
    assert database.attempts == 3  # of 500, 500 and 203 rounds


def test_the_next_run_delivers_what_the_last_one_left(database: FakeDatabase, spool: Spool, clock: LabClock) -> None:
    database.is_away = True
    first_run = Store(database, spool, monotonic=clock.monotonic, now=clock.now)
    first_run.write(round_of(1))
    first_run.close()
    assert database.is_closed
    database.is_away = False
    Store(database, spool, monotonic=clock.monotonic, now=clock.now).write(round_of(2))
    assert database.watts() == [1, 2]


def test_tries_are_1_2_4_up_to_60_seconds_apart(store: Store, database: FakeDatabase, clock: LabClock) -> None:
    database.is_away = True
    store.write(round_of(0))
    tried_at, began_at = [], clock.monotonic()
    for number in range(1, 400):
        before = database.attempts
        clock.sleep(1)
        store.write(round_of(number))
        if database.attempts > before:
            tried_at.append(clock.monotonic() - began_at)
    # 1, then 2, 4, 8, 16, 32 later, then every 60.
    assert tried_at == [1, 3, 7, 15, 31, 63, 123, 183, 243, 303, 363]


def test_an_outage_is_one_warning_then_silence_then_one_line(
    store: Store, database: FakeDatabase, clock: LabClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store.write(round_of(0))
    database.is_away = True
    for number in range(1, 31):
        clock.sleep(60)
        store.write(round_of(number))
    assert messages(caplog, logging.WARNING) == ["PostgreSQL is away, rounds go to the spool: connection refused"]
    database.is_away = False
    clock.sleep(60)
    store.write(round_of(31))
    # The first of the 30 rounds failed at 60 s, the 31st delivered them at 31 x 60 s.
    assert messages(caplog, logging.INFO) == ["PostgreSQL is back after 1800 s: 30 rounds delivered"]
    assert len(messages(caplog, logging.WARNING)) == 1


def test_a_long_outage_is_remembered_once_an_hour(
    store: Store, database: FakeDatabase, clock: LabClock, caplog: pytest.LogCaptureFixture
) -> None:
    database.is_away = True
    for number in range(3 * 60):
        store.write(round_of(number))
        clock.sleep(60)
    assert len(messages(caplog, logging.WARNING)) == 3  # at 0, 60 and 120 minutes


def test_the_status_tells_since_when_and_why(store: Store, database: FakeDatabase, clock: LabClock) -> None:
    store.write(round_of(0))
    status = store.status()
    assert (status.waiting_rounds, status.away_since, status.away_reason, status.spool_error) == (0, None, None, None)
    database.is_away, since = True, clock.now()
    for number in range(1, 4):
        store.write(round_of(number))
        clock.sleep(1)
    status = store.status()
    assert (status.waiting_rounds, status.away_since, status.away_reason) == (3, since, "connection refused")


def test_a_refused_row_is_set_aside_and_the_rest_of_its_round_is_stored(
    store: Store, database: FakeDatabase, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    database.refuses = lambda row: isinstance(row, PowerRow) and row.power_w == 13
    store.write(Round((power_row(12), power_row(13), power_row(14))))
    assert database.watts() == [12, 14]
    assert (spool.count(), spool.count_set_aside()) == (0, 1)
    (message,) = messages(caplog, logging.ERROR)
    assert "power_w=13" in message
    assert message.endswith("out of range")


def test_refused_rows_in_the_spool_do_not_block_those_behind(
    store: Store, database: FakeDatabase, spool: Spool
) -> None:
    database.refuses = lambda row: isinstance(row, PowerRow) and row.power_w is not None and row.power_w % 2 == 1
    spool.append(*(round_of(number) for number in range(10)))
    assert store.deliver() == 0
    assert database.watts() == [0, 2, 4, 6, 8]
    assert spool.count_set_aside() == 5


def test_with_neither_database_nor_disk_rounds_stay_in_memory_in_their_order(
    store: Store, database: FakeDatabase, spool: StubbornSpool, clock: LabClock, caplog: pytest.LogCaptureFixture
) -> None:
    database.is_away = True
    store.write(round_of(0))
    spool.is_full = True
    for number in range(1, 4):
        store.write(round_of(number))
    assert messages(caplog, logging.ERROR) == [
        "rounds that cannot be delivered are kept in memory only: the disk is full: make room"
    ]
    assert store.status().waiting_rounds == 4
    assert store.status().spool_error == "the disk is full: make room"
    database.is_away = False
    clock.sleep(60)
    store.write(round_of(4))
    assert database.watts() == [0, 1, 2, 3, 4]
    assert store.status().waiting_rounds == 0


def test_rounds_in_memory_go_to_disk_as_soon_as_there_is_room(
    store: Store, database: FakeDatabase, spool: StubbornSpool
) -> None:
    database.is_away = spool.is_full = True
    for number in range(3):
        store.write(round_of(number))
    spool.is_full = False
    store.write(round_of(3))
    assert rounds_in(spool) == [round_of(number) for number in range(4)]
    assert store.status().spool_error is None


def test_memory_is_bounded_and_the_oldest_goes_first(
    database: FakeDatabase, spool: StubbornSpool, clock: LabClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(database, spool, monotonic=clock.monotonic, now=clock.now, memory_rounds=5)
    database.is_away = spool.is_full = True
    for number in range(8):
        store.write(round_of(number))
    assert store.status().waiting_rounds == 5
    assert len([message for message in messages(caplog, logging.ERROR) if "lost" in message]) == 1
    database.is_away = False
    clock.sleep(60)
    assert store.deliver() == 0
    assert database.watts() == [3, 4, 5, 6, 7]


def test_a_full_disk_does_not_make_delivered_rounds_come_again(
    store: Store, database: FakeDatabase, spool: StubbornSpool, clock: LabClock
) -> None:
    database.is_away = True
    store.write(round_of(0))
    spool.is_full, database.is_away = True, False
    clock.sleep(60)
    assert store.deliver() == 0
    assert store.deliver() == 0
    assert database.attempts == 2  # one failed, one delivered


def test_an_unusable_spool_does_not_keep_rounds_from_a_healthy_database(
    database: FakeDatabase, tmp_path: Path, clock: LabClock
) -> None:
    (tmp_path / "data").write_text("a file where the directory should be")
    store = Store(database, Spool(tmp_path / "data" / "spool.sqlite3"), monotonic=clock.monotonic, now=clock.now)
    store.write(round_of(1))
    store.write(round_of(2))
    assert database.watts() == [1, 2]
    assert "cannot be used" in str(store.status().spool_error)


def test_a_spool_that_can_be_read_again_is_delivered(
    database: FakeDatabase, tmp_path: Path, clock: LabClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The directory is out of order at the start, with two rounds of the last run in it, and is mended later."""
    caplog.set_level(logging.INFO)
    directory = tmp_path / "data"
    with closing(Spool(directory / "spool.sqlite3")) as last_run:
        last_run.append(round_of(1), round_of(2))
    directory.rename(tmp_path / "away")
    directory.write_text("a file where the directory should be")
    store = Store(database, Spool(directory / "spool.sqlite3"), monotonic=clock.monotonic, now=clock.now)
    for number in range(3, 20):
        store.write(round_of(number))  # PostgreSQL is the only safe place
        assert database.watts()[-1] == number
        clock.sleep(1)
    assert len(messages(caplog, logging.ERROR)) == 1
    directory.unlink()
    (tmp_path / "away").rename(directory)
    clock.sleep(60)
    store.write(round_of(20))
    assert database.watts() == [*range(3, 20), 1, 2, 20]
    assert store.status().spool_error is None
    assert "the spool can be read again" in messages(caplog, logging.INFO)


def test_a_spool_that_cannot_be_read_is_tried_less_and_less_often(
    store: Store, spool: StubbornSpool, clock: LabClock
) -> None:
    spool.is_unreadable = True
    tried_at, began_at = [], clock.monotonic()
    for number in range(130):
        before = spool.peeks
        store.write(round_of(number))
        if spool.peeks > before:
            tried_at.append(clock.monotonic() - began_at)
        clock.sleep(1)
    # 1, 2, 4, 8, 16, 32, then 60 seconds after the one before.
    assert tried_at == [0, 1, 3, 7, 15, 31, 63, 123]


def test_a_text_that_no_encoding_takes_does_not_block_the_backlog(
    store: Store, database: FakeDatabase, clock: LabClock
) -> None:
    database.is_away = True
    broken_text = RadioEventRow(clock.now(), "scan", detail="a\ud800b")
    store.write(Round((broken_text,)))
    store.write(round_of(1))
    database.is_away = False
    clock.sleep(60)
    store.write(round_of(2))
    assert database.rows == [broken_text, power_row(1), power_row(2)]


def test_an_error_nobody_thought_of_keeps_the_round_and_is_logged_once(
    store: Store, database: FakeDatabase, spool: Spool, clock: LabClock, caplog: pytest.LogCaptureFixture
) -> None:
    def surprise(_row: Row) -> bool:
        raise UnicodeEncodeError("ascii", "自宅", 0, 2, "ordinal not in range(128)")

    database.refuses = surprise
    for number in range(3):
        store.write(round_of(number))
        clock.sleep(60)
    assert rounds_in(spool) == [round_of(0), round_of(1), round_of(2)]
    assert len(messages(caplog, logging.ERROR)) == 1
    database.refuses = lambda _row: False
    assert store.deliver() == 0
    assert database.watts() == [0, 1, 2]


def test_closing_with_rounds_nobody_took_says_how_many_are_lost(
    store: Store, database: FakeDatabase, spool: StubbornSpool, caplog: pytest.LogCaptureFixture
) -> None:
    database.is_away = spool.is_full = True
    store.write(round_of(0))
    store.write(round_of(1))
    store.close()
    assert "2 rounds are lost: neither PostgreSQL nor the spool took them" in messages(caplog, logging.ERROR)


# With the worker.


def test_the_worker_stores_a_round_before_write_returns(threaded: Store, database: FakeDatabase) -> None:
    for number in range(20):
        threaded.write(round_of(number))
        assert database.watts()[-1] == number


def test_a_database_that_hangs_does_not_hold_up_a_round(
    threaded: Store, database: FakeDatabase, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    database.answers.clear()
    for number in range(5):
        threaded.write(round_of(number))  # the database would hang for 30 s
    assert not database.answers.is_set()
    assert database.attempts == 1
    assert rounds_in(spool) == [round_of(number) for number in range(5)]
    database.answers.set()
    wait_until(lambda: threaded.status().waiting_rounds == 0 and threaded.status().away_since is None)
    assert database.watts() == [0, 1, 2, 3, 4]  # the late commit and its twin in the spool are one
    assert messages(caplog, logging.WARNING) == ["PostgreSQL is away, rounds go to the spool: no answer within 0.2 s"]


def test_the_worker_delivers_what_an_earlier_run_left(database: FakeDatabase, spool: Spool) -> None:
    spool.append(*(round_of(number) for number in range(700)))
    store = Store(database, spool)
    store.start()
    wait_until(lambda: spool.count() == 0)
    store.close()
    assert database.watts() == list(range(700))


def test_the_worker_comes_back_by_itself_after_an_outage(threaded: Store, database: FakeDatabase, spool: Spool) -> None:
    database.is_away = True
    for number in range(3):
        threaded.write(round_of(number))
    database.is_away = False
    wait_until(lambda: spool.count() == 0)  # the first retry is one second later
    threaded.write(round_of(3))
    wait_until(lambda: len(database.watts()) == 4)  # the worker may still be looking whether there is more
    assert database.watts() == [0, 1, 2, 3]


def test_an_error_nobody_thought_of_is_logged_and_loses_nothing(
    threaded: Store, database: FakeDatabase, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    def surprise(_row: Row) -> bool:
        raise RuntimeError("surprise")

    database.refuses = surprise
    threaded.write(round_of(1))
    assert rounds_in(spool) == [round_of(1)]
    assert "surprise" in caplog.text
    database.refuses = lambda _row: False
    wait_until(lambda: spool.count() == 0)
    assert database.watts() == [1]


def test_close_ends_in_time_even_if_the_database_hangs(database: FakeDatabase, spool: Spool) -> None:
    store = Store(database, spool, write_timeout_s=0.05)
    store.start()
    wait_until(lambda: store._is_drained)
    database.answers.clear()
    store.write(round_of(1))
    store.close(timeout_s=0.1)  # the database would hang for 30 s
    assert not database.is_closed
    assert rounds_in(spool) == [round_of(1)]
    database.answers.set()
    store.close()
    assert threading.active_count() == 1


# With a real PostgreSQL.


def stored_watts(url: str) -> list[int]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("select power_w from power order by measured_at")
        return [power_w for (power_w,) in cursor.fetchall()]


def write_fifty(store: Store) -> None:
    for number in range(50):
        store.write(full_round(number))


def test_two_stores_write_into_one_database_each_its_own_site(
    database_url: str, tmp_path: Path, connection: Any
) -> None:
    stores = [
        Store(Database.from_url(database_url, site=site), Spool(tmp_path / site / "spool.sqlite3"))
        for site in ("home", "shed")
    ]
    for store in stores:
        store.start()
    threads = [threading.Thread(target=write_fifty, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        wait_until_delivered(store)
        store.close()
    with connection.cursor() as cursor:
        cursor.execute("select name, count(*), sum(power_w) from power join site using (site_id) group by 1 order by 1")
        assert cursor.fetchall() == [("home", 50, 1225), ("shed", 50, 1225)]  # 0 + 1 + ... + 49 = 1225


def test_two_stores_may_deliver_one_spool_and_every_row_is_there_once(database_url: str, tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite3"
    with closing(Spool(path)) as spool:
        spool.append(*(round_of(number) for number in range(2000)))
    stores = [Store(Database.from_url(database_url, site="home"), Spool(path)) for _ in range(2)]
    for store in stores:
        store.start()
    for store in stores:
        wait_until_delivered(store)
        store.close()
    assert stored_watts(database_url) == list(range(2000))


def test_a_weeks_outage_drains_completely_while_rounds_go_on(database_url: str, tmp_path: Path) -> None:
    """How long this takes is measured by tests/benchmarks."""
    spool = Spool(tmp_path / "spool.sqlite3")
    spool.append(*(Round(full_round(number).rows[:4]) for number in range(10_080)))  # 40,320 rows
    store = Store(Database.from_url(database_url, site="home"), spool)
    store.start()
    number = 10_080
    while store.status().waiting_rounds:
        store.write(Round(full_round(number).rows[:4]))
        number += 1
        time.sleep(0.05)
    store.close()
    assert stored_watts(database_url) == list(range(number))


WRITE_UNTIL_KILLED = """
    import sys
    import time
    from pathlib import Path
    from tests.lab.database import round_of
    from storage.database import Database
    from storage.spool import Spool
    from storage.store import Store

    url, path, first, pause_s = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    store = Store(Database.from_url(url, site="home"), Spool(path), write_timeout_s=0.3)
    store.start()
    for number in range(first, first + 100_000):
        store.write(round_of(number))
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


def write_until_killed(
    url: str, path: Path, first: int, rounds: int, pause_s: float, on_round: Callable[[], None]
) -> int:
    """Write rounds from *first* on in a process that is killed after some; return the last one it told of."""
    command = [sys.executable, "-c", textwrap.dedent(WRITE_UNTIL_KILLED), url, str(path), str(first), str(pause_s)]
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
    ],
)
def test_kill_9_and_a_server_that_comes_and_goes_lose_nothing_and_store_nothing_twice(
    tmp_path: Path, kills: int, rounds: int, pause_s: float, outages_a_round: float
) -> None:
    """Every round for which write() returned is in the table exactly once."""
    choose = random.Random(20240229)
    path = tmp_path / "spool.sqlite3"
    server = EmbeddedServer(tmp_path, fsync=False)
    server.start()
    url, last = server.url(), -1

    def now_and_then() -> None:
        if choose.random() < outages_a_round:
            stop_or_start(server, tmp_path, choose)

    for _ in range(kills):
        last = write_until_killed(url, path, last + 1, rounds, pause_s, now_and_then)
    server.start()
    with server, closing(Spool(path)) as spool:
        next_run = Store(Database.from_url(url, site="home"), spool)
        assert next_run.deliver() == 0
        next_run.close()
        stored = stored_watts(url)
    assert stored[: last + 1] == list(range(last + 1))
    # Of a round that was on its way at the kill nothing is known: it may be there, once.
    assert stored[last + 1 :] in ([], [last + 1])
