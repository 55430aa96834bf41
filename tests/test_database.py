"""The writer against a real PostgreSQL: what it stores, how it fails, what it never shows."""

from __future__ import annotations

import logging
import os
import re
import shlex
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from storage.connection import connect, masked, secrets_of, shown_dsn
from storage.database import Database
from storage.embedded import EmbeddedServer
from storage.errors import DatabaseUnreachableError, MissingTablesError, UnreadableUrlError
from storage.gaps import known_meter
from storage.records import Bme280Row, Co2Row, CpuTemperatureRow, EnergyRow, MeterRow, PowerRow, RadioEventRow, Round
from storage.schema import init_sql_path
from tests.lab.database import FIRST_AT, full_round, power_row, round_of

ODD_PASSWORD = "s3cr3t/p@ss:w%rd"  # a fake, made of what urls stumble over


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with closing(Database.from_url(database_url, site="home")) as opened:
        yield opened


def select(connection: Any, statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def test_a_row_of_every_table_arrives_with_every_value(database: Database, connection: Any) -> None:
    assert database.write([full_round(1)]) == ()
    at = FIRST_AT + timedelta(minutes=1)
    assert select(connection, "select measured_at, power_w, current_r_a, current_t_a from power") == [
        (at, 1, Decimal("17.1"), None)
    ]
    # Text: 0.30 keeps its zero, so the register's own digits survive.
    assert select(connection, "select import_kwh::text, export_kwh::text from power") == [("12345.6", "0.30")]
    assert select(connection, "select measured_at, temperature_c from cpu_temperature") == [(at, 48.312)]
    assert select(connection, "select co2_ppm, temperature_c, warming_up from co2") == [(512, None, True)]
    assert select(connection, "select temperature_c, humidity_pct, pressure_hpa from bme280") == [
        (-0.5, 45.25, 1013.25)
    ]
    assert select(
        connection, "select happened_at, kind, duration_s, channel, pan_id, signal_dbm, detail from radio_event"
    ) == [(at, "scan", 1.5, 33, 0x8888, -61.5, 'found "it" \u2713')]
    assert select(connection, "select registered_at, import_kwh::text, export_kwh, source from energy") == [
        (datetime(2024, 3, 1, 0, 30, tzinfo=UTC), "1.10", None, "read")
    ]
    assert select(
        connection,
        "select since, manufacturer, serial_number, release, coefficient, unit_kwh, digits from meter",
    ) == [(at, "000016", "ABC123", "F", 1, Decimal("0.1"), 6)]


def test_writing_the_same_reading_twice_changes_nothing(database: Database, connection: Any) -> None:
    database.write([round_of(1)])
    assert database.write([round_of(1), round_of(2), round_of(2)]) == ()
    assert select(connection, "select power_w from power order by measured_at") == [(1,), (2,)]


def test_an_empty_round_is_written_without_a_word(database: Database) -> None:
    assert database.write([Round(())]) == ()


def test_two_writers_of_one_new_site_share_its_number(database_url: str, connection: Any) -> None:
    with (
        closing(Database.from_url(database_url, site="home")) as one,
        closing(Database.from_url(database_url, site="home")) as other,
        closing(Database.from_url(database_url, site="shed")) as shed,
    ):
        for number, each in enumerate((one, other, one, shed)):
            each.write([round_of(number)])
    assert select(
        connection, "select name, count(*) from power join site using (site_id) group by name order by name"
    ) == [("home", 3), ("shed", 1)]


def test_select_and_insert_are_all_the_privileges_it_needs(database_url: str, connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("drop role if exists test_writer")
        cursor.execute("create role test_writer login")
        cursor.execute("grant select, insert on all tables in schema public to test_writer")
    try:
        url = database_url.replace("//postgres@", "//test_writer@")
        with closing(Database.from_url(url, site="home")) as database:
            database.check()
            assert database.write([full_round(1)]) == ()
            assert database.query(known_meter) is not None
    finally:
        with connection.cursor() as cursor:
            cursor.execute("drop owned by test_writer; drop role test_writer")


def test_refused_rows_are_named_and_all_others_are_stored(database: Database, connection: Any) -> None:
    overflow = power_row(2, power_w=2_147_483_647)  # 0x7FFFFFFF, "over": never a power
    too_long = power_row(3, power_w=2**40)
    with_nul = RadioEventRow(FIRST_AT, "scan", detail="a\0b")
    refused = database.write([round_of(1), Round((overflow, too_long)), Round((with_nul, power_row(4)))])
    assert [each.row for each in refused] == [overflow, too_long, with_nul]
    assert "power_power_w_check" in refused[0].reason
    assert "out of range" in refused[1].reason
    assert "NUL" in refused[2].reason
    assert select(connection, "select power_w from power order by measured_at") == [(1,), (4,)]


TRIGGER = """
create function unwanted() returns trigger language plpgsql as
    $$ begin if new.power_w = 2 then {action}; end if; return new; end $$;
create {trigger} on power {deferred} for each row execute function unwanted()
"""


@pytest.mark.parametrize(
    "made",
    [
        "create unique index on power (power_w)",
        TRIGGER.format(action="raise exception 'no'", trigger="trigger strict before insert", deferred=""),
        TRIGGER.format(action="return null", trigger="trigger silent before insert", deferred=""),
        TRIGGER.format(
            action="raise check_violation using constraint = 'late'",
            trigger="constraint trigger late after insert",
            deferred="deferrable initially deferred",
        ),
    ],
    ids=["index", "trigger that raises", "trigger that drops", "deferred constraint"],
)
def test_what_the_household_added_to_a_table_keeps_out_no_other_row_and_none_silently(
    database: Database, connection: Any, made: str
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(made)
    unwanted = power_row(9, power_w=2)
    assert database.write([round_of(1), round_of(3)]) == ()
    if "unique" in made:
        assert database.write([round_of(2)]) == ()
    [refused] = database.write([Round((unwanted,)), round_of(4)])
    assert (refused.row, refused.is_conflict) == (unwanted, False)
    watts = {watts for (watts,) in select(connection, "select power_w from power")}
    assert watts - {2} == {1, 3, 4}


def test_a_text_too_long_for_an_index_is_refused_and_the_rest_is_stored(database: Database, connection: Any) -> None:
    """A B-tree takes at most 2,704 bytes, packed. Source: PostgreSQL documentation, "B-Tree Indexes"."""
    unpackable = RadioEventRow(FIRST_AT, "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range(3000)))
    [refused] = database.write([Round((unpackable, power_row(1)))])
    assert (refused.row, refused.is_conflict) == (unpackable, False)
    assert select(connection, "select power_w from power") == [(1,)]


def test_the_first_round_of_a_new_site_may_hold_a_refused_row(database: Database, connection: Any) -> None:
    assert len(database.write([Round((power_row(1, power_w=2_147_483_647),))])) == 1
    assert database.write([round_of(2)]) == ()
    assert select(connection, "select power_w from power") == [(2,)]


def test_a_site_that_was_removed_under_us_is_added_again_and_no_row_is_blamed(
    database: Database, connection: Any
) -> None:
    database.write([round_of(1)])
    with connection.cursor() as cursor:
        cursor.execute("delete from power; delete from site")
    assert database.write([round_of(2)]) == ()
    assert select(connection, "select power_w from power") == [(2,)]


def test_a_connection_that_turns_out_dead_is_opened_anew_and_the_write_done_once_more(
    database: Database, connection: Any
) -> None:
    """As after idle_session_timeout, or where a pooler or a router ends what is idle."""
    database.write([round_of(1)])
    with connection.cursor() as cursor:
        cursor.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'power-consumption'"
        )
    assert database.write([round_of(2)]) == ()
    assert select(connection, "select power_w from power order by measured_at") == [(1,), (2,)]


@pytest.mark.system
def test_a_server_that_is_stopped_and_started_is_unreachable_in_between(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, fsync=False)
    server.start()
    with closing(Database.from_url(server.url(), site="home")) as database:
        database.write([round_of(1)])
        server.close()
        for _ in range(2):
            with pytest.raises(DatabaseUnreachableError):
                database.write([round_of(2)])
        with server:
            database.write([round_of(2)])
            with closing(psycopg2.connect(server.url())) as connection:
                assert select(connection, "select power_w from power order by measured_at") == [(1,), (2,)]


def test_a_lock_that_is_held_makes_it_away_not_stuck(
    database: Database, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.connection.LOCK_TIMEOUT_S", 1)
    database.write([round_of(1)])
    database.close()
    with closing(psycopg2.connect(connection.dsn)) as blocker, blocker.cursor() as cursor:
        cursor.execute("lock table power in access exclusive mode")
        with pytest.raises(DatabaseUnreachableError, match="lock timeout"):
            database.write([round_of(2)])


def test_what_the_server_does_for_us_is_bounded_within_the_transaction_and_nothing_is_left_behind(
    database: Database, database_url: str
) -> None:
    """A pooler in transaction mode hands the connection on: what is set for longer would cancel another's query."""
    asked = "select current_setting('statement_timeout'), current_setting('lock_timeout')"

    def ask(cursor: Any, _site_id: int) -> Any:
        cursor.execute(asked)
        return cursor.fetchall(), cursor.connection

    shown, lent = database.query(ask)
    assert shown == [("10s", "5s")]
    with closing(connect(database_url)) as fresh:
        assert select(lent, asked) == select(fresh, asked) == [("0", "0")]
    assert lent.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_IDLE


def test_a_vanished_peer_is_noticed(database_url: str) -> None:
    with closing(connect(database_url)) as connection:
        parameters = connection.get_dsn_parameters()
    assert parameters["application_name"] == "power-consumption"
    assert parameters["keepalives_idle"] == "15"
    assert parameters["tcp_user_timeout"] == "15000"


def test_what_the_url_says_goes_before_our_own_settings(database_url: str) -> None:
    with closing(connect(f"{database_url}&application_name=shed")) as connection:
        assert connection.get_dsn_parameters()["application_name"] == "shed"


@contextmanager
def accepting_and_silent() -> Iterator[int]:
    """Listen on a port, accept connections and say nothing: a proxy whose server is gone."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_server_to_be_preferred_is_left_to_libpq(database_url: str) -> None:
    """Which server is a standby only libpq knows; this one is none, and the only one (libpq, target_session_attrs)."""
    with (
        closing(connect(f"{database_url}&target_session_attrs=prefer-standby")) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("select pg_is_in_recovery()")
        assert cursor.fetchone() == (False,)


def test_an_address_that_the_url_gives_is_the_only_one_tried() -> None:
    """The name of the host is then for certificates alone (libpq, hostaddr); nobody listens on port 1."""
    with pytest.raises(DatabaseUnreachableError, match=r"hostaddr=127\.0\.0\.1 port=1: Connection refused"):
        connect("host=record.invalid hostaddr=127.0.0.1 port=1 user=me dbname=home")


def test_a_server_that_accepts_and_says_nothing_is_given_up_in_the_time_that_the_url_gives() -> None:
    with accepting_and_silent() as port:
        began = time.monotonic()
        with pytest.raises(DatabaseUnreachableError, match="no response within 1 s"):
            connect(f"postgresql://me@127.0.0.1:{port}/home?connect_timeout=1")
        assert 0.9 < time.monotonic() - began < 4.0


def test_a_host_that_does_not_respond_keeps_nobody_from_the_next(
    database_url: str, postgres_server: EmbeddedServer
) -> None:
    directory = parse_dsn(postgres_server.url())["host"]
    with accepting_and_silent() as port:
        url = f"host=127.0.0.1,{directory} port={port},5432 user=postgres dbname=postgres connect_timeout=1"
        with closing(connect(url)) as connection:
            assert select(connection, "select 1") == [(1,)]


def backend_pid(cursor: Any, _site_id: int) -> int:
    cursor.execute("select pg_backend_pid()")
    return int(cursor.fetchone()[0])


def test_a_server_that_stops_in_the_middle_of_a_statement_costs_no_more_than_the_deadline(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is frozen never responds, and its kernel goes on acknowledging."""
    monkeypatch.setattr("storage.connection.Connection.response_timeout_s", 0.3)
    pid = database.query(backend_pid)
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert database.write([round_of(1)]) == ()  # over another connection
        assert time.monotonic() - began < 12.0  # of the 15 that a response may take otherwise
        assert database.query(backend_pid) != pid
    finally:
        os.kill(pid, signal.SIGCONT)


class StopError(Exception):
    """Somebody wants to end."""


def test_who_wakes_us_is_served_while_the_server_is_awaited_and_may_end_the_wait(database: Database) -> None:
    wake_fd = os.eventfd(0, os.EFD_NONBLOCK)
    woken: list[int] = []

    def on_wake() -> None:
        woken.append(os.eventfd_read(wake_fd))
        if len(woken) == 2:
            raise StopError

    database.wake_fd, database.on_wake = wake_fd, on_wake

    def sleep(cursor: Any, _site_id: int) -> None:
        cursor.execute("select pg_sleep(8)")

    wakers = [threading.Timer(delay_s, lambda: os.eventfd_write(wake_fd, 1)) for delay_s in (0.3, 0.6)]
    for waker in wakers:
        waker.start()
    began = time.monotonic()
    with pytest.raises(StopError):
        database.query(sleep)
    assert time.monotonic() - began < 7.5
    for waker in wakers:
        waker.join()
    assert database.write([round_of(1)]) == ()
    database.close()
    os.close(wake_fd)


def test_a_row_that_is_there_already_is_no_news_whatever_its_source(database: Database, connection: Any) -> None:
    """A real is no float of Python, a numeric(6,1) has one digit: what is compared is what the column holds."""
    stored = full_round(1)
    assert database.write([stored]) == ()
    assert database.write([stored]) == ()
    energy = next(row for row in stored.rows if isinstance(row, EnergyRow))
    assert database.write([Round((replace(energy, source="history"),))]) == ()
    power = replace(power_row(1), current_r_a=Decimal("17.10000"), import_kwh=Decimal("12345.600"))
    assert database.write([Round((power,))]) == ()
    assert select(connection, "select source from energy") == [("read",)]


def test_a_row_that_says_less_than_what_is_there_is_no_conflict(database: Database) -> None:
    assert database.write([round_of(1)]) == ()
    assert database.write([Round((replace(power_row(1), power_w=None, import_kwh=None),))]) == ()


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (PowerRow, {"power_w": 999}),
        (PowerRow, {"current_r_a": Decimal("17.2")}),
        (PowerRow, {"import_kwh": Decimal("12345.7")}),
        (PowerRow, {"current_t_a": Decimal("5.0")}),
        (EnergyRow, {"export_kwh": Decimal("5.0"), "source": "history"}),
        (EnergyRow, {"import_kwh": Decimal("1.11")}),
        (CpuTemperatureRow, {"temperature_c": 48.313}),
        (Co2Row, {"warming_up": False}),
        (Bme280Row, {"pressure_hpa": 1013.5}),
        (MeterRow, {"serial_number": "ABC124"}),
        (RadioEventRow, {"detail": "another"}),
    ],
)
def test_a_row_whose_place_is_taken_by_another_is_reported_and_changes_nothing(
    database: Database, connection: Any, kind: type[Any], change: dict[str, Any]
) -> None:
    assert database.write([full_round(1)]) == ()
    [row] = [row for row in full_round(1).rows if isinstance(row, kind)]
    other = replace(row, **change)
    [rejected] = database.write([Round((other, power_row(7)))])
    assert (rejected.row, rejected.is_conflict) == (other, True)
    assert re.fullmatch(r"another row has its place: \w+ at 2024-0\S+ \S+ UTC", rejected.reason)
    assert select(connection, "select count(*) from power") == [(2,)]
    assert database.write([full_round(1)]) == ()


def test_where_a_row_may_not_be_compared_with_what_is_there_none_is_blamed(
    database: Database, database_url: str, connection: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """As of a table spread over machines that cannot be joined so; here its values may not be read."""
    caplog.set_level(logging.DEBUG)
    assert database.write([full_round(1)]) == ()
    with connection.cursor() as cursor:
        cursor.execute(
            "create role test_blind login; grant select, insert on all tables in schema public to test_blind;"
            " revoke select on co2 from test_blind; grant select (site_id, measured_at) on co2 to test_blind"
        )
    try:
        [row] = [row for row in full_round(1).rows if isinstance(row, Co2Row)]
        with closing(Database.from_url(database_url.replace("//postgres@", "//test_blind@"), site="home")) as blind:
            assert list(blind.write([Round((replace(row, co2_ppm=row.co2_ppm + 1), power_row(7)))])) == []
    finally:
        with connection.cursor() as cursor:
            cursor.execute("drop owned by test_blind; drop role test_blind")
    assert select(connection, "select co2_ppm from co2") == [(row.co2_ppm,)]
    assert select(connection, "select count(*) from power") == [(2,)]
    assert "cannot be compared: permission denied for table co2" in caplog.text


def test_two_rows_for_one_place_in_one_round_are_one_row_and_one_conflict(database: Database, connection: Any) -> None:
    [rejected] = database.write([Round((power_row(1), power_row(1, power_w=999)))])
    assert rejected.row == power_row(1, power_w=999)
    assert select(connection, "select power_w from power") == [(1,)]


@pytest.fixture(params=["SQL_ASCII", "LATIN1"])
def database_in_another_encoding(request: pytest.FixtureRequest, postgres_server: EmbeddedServer) -> Iterator[str]:
    name = f"test_{request.param.lower()}"
    with closing(psycopg2.connect(postgres_server.url("postgres"))) as administrator:
        administrator.autocommit = True
        with administrator.cursor() as cursor:
            cursor.execute(f"create database {name} template template0 encoding {request.param} locale 'C'")
            with closing(psycopg2.connect(postgres_server.url(name))) as owner, owner, owner.cursor() as tables:
                tables.execute(init_sql_path().read_text("utf-8").encode())
            yield postgres_server.url(name)
            cursor.execute(f"drop database {name} with (force)")


def test_a_database_in_another_encoding_takes_what_its_letters_can_say(database_in_another_encoding: str) -> None:
    """2713, a check mark, is in no LATIN1; SQL_ASCII takes any bytes."""
    with closing(Database.from_url(database_in_another_encoding, site="maison d'été")) as database:
        refused = database.write([full_round(1)])
    assert [type(each.row) for each in refused] == ([RadioEventRow] if "latin1" in database_in_another_encoding else [])
    with closing(connect(database_in_another_encoding)) as connection:
        assert select(connection, "select name, power_w from power join site using (site_id)") == [("maison d'été", 1)]


def test_a_site_that_the_database_has_no_letters_for_keeps_the_rounds_waiting(
    database_in_another_encoding: str,
) -> None:
    with closing(Database.from_url(database_in_another_encoding, site="自宅")) as database:
        if "sql_ascii" in database_in_another_encoding:
            assert database.write([round_of(1)]) == ()
            return
        for _ in range(2):
            with pytest.raises(
                DatabaseUnreachableError, match=r"the site '自宅' cannot be stored: .*LATIN1.*: write another name as"
            ):
                database.write([round_of(1)])


@pytest.mark.parametrize("site", ["", "a\0b", "a\ud800b"])
def test_a_site_that_no_database_takes_blames_no_row(database_url: str, site: str) -> None:
    with (
        closing(Database.from_url(database_url, site=site)) as database,
        pytest.raises(DatabaseUnreachableError, match="cannot be stored"),
    ):
        database.write([round_of(1)])


def test_rows_without_a_partition_wait_until_there_is_one(database: Database, connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("alter table power rename to all_power")
        cursor.execute("create table power (like all_power) partition by range (measured_at)")
    # Behind a row that is refused for what it says: then the rows are tried one by one.
    for rounds in ([round_of(1)], [Round((RadioEventRow(FIRST_AT, "a\0b"), power_row(1)))]):
        with pytest.raises(DatabaseUnreachableError, match="no partition"):
            database.write(rounds)
    with connection.cursor() as cursor:
        cursor.execute("create table later partition of power default")
    assert database.write([round_of(1)]) == ()
    assert select(connection, "select power_w from power") == [(1,)]


def test_missing_tables_come_with_the_exact_command(empty_database_url: str) -> None:
    with closing(Database.from_url(empty_database_url, site="home")) as database:
        for ask in (database.check, lambda: database.write([round_of(1)])):
            with pytest.raises(MissingTablesError) as caught:
                ask()
            command = re.escape(f"psql -q -1 -v ON_ERROR_STOP=1 -f {init_sql_path()} ")
            assert re.search(command + r"'user=postgres dbname=test_\d+ host=", str(caught.value))
            assert "\n" not in str(caught.value)


def test_a_database_half_made_names_what_is_missing(connection: Any, database: Database) -> None:
    with connection.cursor() as cursor:
        cursor.execute("drop table co2; drop view energy_day")
    with pytest.raises(MissingTablesError, match=r"\(co2, energy_day\)"):
        database.check()


def test_a_role_without_privileges_counts_as_unreachable_so_that_nothing_is_rejected(
    database_url: str, connection: Any
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("drop role if exists test_nobody")
        cursor.execute("create role test_nobody login")
    try:
        with (
            closing(Database.from_url(database_url.replace("//postgres@", "//test_nobody@"), site="home")) as database,
            pytest.raises(DatabaseUnreachableError, match="permission denied") as caught,
        ):
            database.write([round_of(1)])
        assert "grant this user its rights" in caught.value.remedy
    finally:
        with connection.cursor() as cursor:
            cursor.execute("drop role test_nobody")


def test_a_read_only_server_counts_as_unreachable(database_url: str, connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("select format('alter database %I set default_transaction_read_only = on', current_database())")
        cursor.execute(cursor.fetchone()[0])
    with (
        closing(Database.from_url(database_url, site="home")) as database,
        pytest.raises(DatabaseUnreachableError, match="read-only"),
    ):
        database.write([round_of(1)])


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:s3cr3t@127.0.0.1:1/home",  # nobody listens
        "postgresql://user:s3cr3t%2Fp%40ss%3Aw%25rd@127.0.0.1:1/home",
        f"postgresql://user:{ODD_PASSWORD}@127.0.0.1:1/home",  # not encoded: libpq takes pieces for host and port
        "postgresql://user:s3cr3t@pass@127.0.0.1:1/home",
        "postgresql://user:s3cr3t/pass@127.0.0.1:1/home",
        "postgresql://user:s3cr3t%zz@127.0.0.1:1/home",
        "host=127.0.0.1 port=1 user=user password=s3cr3t",
        "host=127.0.0.1 port=1 password=s3cr3t and a blank",
        "s3cr3t",
    ],
)
def test_no_password_is_ever_shown(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []

    def write() -> None:
        with closing(Database.from_url(url, site="home")) as database:
            shown.extend((repr(database), shown_dsn(url)))
            database.write([round_of(1)])

    with pytest.raises((DatabaseUnreachableError, UnreadableUrlError)) as caught:
        write()
    logging.getLogger("test").error("the round failed", exc_info=caught.value)
    said = "".join((*shown, str(caught.value), repr(caught.value), caplog.text))
    for piece in ("s3cr3t", "p@ss", "pass@", "w%rd", "blank"):
        assert piece not in said.replace("password", "")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:pw@[::1]:5433/home", "user=me dbname=home host=::1 port=5433"),
        (
            "postgresql://me:pw@one:5432,[fe80::2]:5433/home?target_session_attrs=read-write",
            "user=me dbname=home host=one,fe80::2 port=5432,5433 target_session_attrs=read-write",
        ),
        ("postgresql:///?service=house&password=pw", "service=house"),
        ("postgresql://:pw@", "postgresql://"),  # all else is said in PGHOST and its like
        (
            "postgresql://me:pw@db/home?options=-csearch_path%3Dhouse",
            "user=me dbname=home host=db options=-csearch_path=house",
        ),
        (
            "postgresql://db/home?sslmode=verify-full&sslcert=%2Fetc%2Fc.pem&sslkey=/etc/k.pem&sslpassword=pw",
            "dbname=home host=db sslmode=verify-full sslcert=/etc/c.pem sslkey=/etc/k.pem",
        ),
        ("host='/tmp/a b' dbname='my home' user=me@home password=pw", "user=me@home dbname='my home' host='/tmp/a b'"),
    ],
)
def test_what_is_shown_of_a_url_is_all_but_its_secrets_and_psql_takes_it(url: str, shown: str) -> None:
    assert sorted(shlex.split(shown_dsn(url))) == sorted(shlex.split(shown))  # libpq has its own order
    told = parse_dsn(url)
    assert parse_dsn(shown_dsn(url)) == {key: told[key] for key in told if key not in ("password", "sslpassword")}


@pytest.mark.parametrize("secrets", [("fake-pass", "fake-pass-0001"), ("fake-pass-0001", "fake-pass")])
def test_a_secret_that_begins_as_another_does_is_hidden_to_its_end(secrets: tuple[str, str]) -> None:
    assert masked("tried fake-pass-0001 and fake-pass", secrets) == "tried **** and ****"


@pytest.mark.parametrize(
    "url",
    [
        "dbname=home =",
        "postgresql://me:50%@db/home",
        "postgresql://me:half@other@db/home",
        "postgresql://me:half/other@db/home",
        "postgresql://me@db/home?sslmod=require",  # no setting of libpq
        "postgresql://me@db:0/home",
        "postgresql://me@db:5432,other:65536/home",
    ],
)
def test_nothing_is_shown_of_a_url_that_cannot_be_read_and_nothing_is_tried(url: str) -> None:
    with pytest.raises(UnreadableUrlError) as caught:
        Database.from_url(url, site="home")
    assert str(caught.value).startswith("the database url cannot be read: write it as postgresql://user@host/database,")
    assert not [piece for piece in ("half", "50%", "other", "65536", "sslmod=") if piece in str(caught.value)]


def test_an_unreachable_server_says_where_it_was_looked_for() -> None:
    with (
        closing(Database.from_url("postgresql://me:pw@127.0.0.1:1/home", site="home")) as database,
        pytest.raises(DatabaseUnreachableError) as caught,
    ):
        database.check()
    assert str(caught.value).startswith("cannot connect to user=me dbname=home host=127.0.0.1 port=1: ")
    assert "refused" in str(caught.value)


# --- databases that are spread over servers, and those that keep rows out


def test_tables_that_take_no_statement_for_several_of_them_are_written_one_by_one(
    database: Database, connection: Any
) -> None:
    """As Citus responds where tables are spread over servers: 0A000, feature_not_supported."""
    with connection.cursor() as cursor:
        cursor.execute("""
            create function refuse_with() returns trigger language plpgsql as $$
            begin
                if current_query() like '%with % as (insert%' then
                    raise exception 'not supported over several servers' using errcode = '0A000';
                end if;
                return new;
            end $$;
            create trigger refuse_with before insert on power for each row execute function refuse_with()
        """)
    assert database.write([full_round(1)]) == ()
    assert database.write([full_round(2)]) == ()
    for table in ("power", "cpu_temperature", "co2", "bme280", "radio_event", "energy", "meter"):
        assert select(connection, f"select count(*) from {table}") == [(2,)]


def test_a_table_that_takes_none_of_our_statements_keeps_the_rounds_waiting(
    database: Database, connection: Any
) -> None:
    """PostgreSQL documentation, INSERT: "on conflict" does not work on tables with rules for INSERT."""
    with connection.cursor() as cursor:
        cursor.execute("create table journal (line text)")
        cursor.execute("create rule also as on insert to power do also insert into journal values ('x')")
    for _ in range(2):
        with pytest.raises(DatabaseUnreachableError, match=r"rules.*: the tables are not as init\.sql makes them"):
            database.write([round_of(1)])
    with connection.cursor() as cursor:
        cursor.execute("drop rule also on power")
    assert database.write([round_of(1)]) == ()
    assert select(connection, "select power_w from power") == [(1,)]


def test_a_site_that_something_keeps_out_is_said(database: Database, connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("""
            create function keep_out() returns trigger language plpgsql as $$ begin return null; end $$;
            create trigger keep_out before insert on site for each row execute function keep_out()
        """)
    with pytest.raises(DatabaseUnreachableError, match=r"site 'home' cannot be read after it was added: .* a trigger"):
        database.write([round_of(1)])


@pytest.mark.parametrize("table", ["site", "power"])
def test_a_table_whose_row_level_security_lets_nothing_in_keeps_the_rounds_waiting(
    connection: Any, database_url: str, table: str
) -> None:
    """Source: PostgreSQL documentation, "Row Security Policies": where no policy exists, nothing is permitted."""
    with connection.cursor() as cursor:
        cursor.execute(
            "create role test_guarded login; grant select, insert on all tables in schema public to test_guarded"
        )
        cursor.execute(f"alter table {table} enable row level security")
        try:
            url = database_url.replace("//postgres@", "//test_guarded@")
            with closing(Database.from_url(url, site="home")) as database:
                with pytest.raises(DatabaseUnreachableError, match="where row-level security is on, it needs policies"):
                    database.write([round_of(1)])
                cursor.execute(f"create policy all_rows on {table} using (true)")
                assert database.write([round_of(1)]) == ()
        finally:
            cursor.execute("drop owned by test_guarded; drop role test_guarded")


def test_a_table_of_the_same_name_that_comes_first_is_said(connection: Any, database: Database) -> None:
    with connection.cursor() as cursor:
        cursor.execute("create schema nearer; create table nearer.power (id integer)")
        cursor.execute(f"alter database {connection.info.dbname} set search_path = nearer, public")
    with pytest.raises(MissingTablesError, match="or this user's search_path leads past them"):
        database.write([round_of(1)])


@pytest.mark.parametrize("password", ["e", "postgres", "refused", "connection"])
def test_a_password_that_is_a_word_is_not_revealed_by_a_mask_in_innocent_text(password: str) -> None:
    """A reader could take the masked word for what it is; nor does the mask hide what the remedy is found by."""
    with pytest.raises(DatabaseUnreachableError) as caught:
        connect(f"postgresql://postgres:{password}@127.0.0.1:1/d")
    assert caught.value.what == "cannot connect to user=postgres dbname=d host=127.0.0.1 port=1: Connection refused"
    assert "listens on this port" in caught.value.remedy


def test_a_long_secret_of_letters_is_masked_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> NoReturn:
        raise psycopg2.OperationalError("the pooler refuses kQzPwmXnVbTrLong, and correcthorsebatterystaple")

    monkeypatch.setattr("psycopg2.connect", fail)
    with pytest.raises(DatabaseUnreachableError) as caught:
        connect("postgresql://u:kQzPwmXnVbTrLong@h/d?sslpassword=correcthorsebatterystaple")
    assert "the pooler refuses ****, and ****" in caught.value.what


def test_the_secrets_of_a_url_are_all_its_passwords() -> None:
    assert set(secrets_of("postgresql://u:one@h/d?sslpassword=two&sslkey=k")) == {"one", "two"}
    assert secrets_of("") == []
    assert secrets_of("dbname=home =") == []
