"""The writer against a real PostgreSQL: what it stores, how it fails, what it never shows."""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from storage.connection import connect, masked_url
from storage.database import Database
from storage.embedded import EmbeddedServer
from storage.errors import DatabaseAwayError, MissingTablesError
from storage.records import MeterRow, RadioEventRow, Round
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
    database.write([Round((power_row(1, power_w=999),)), round_of(2), round_of(2)])
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
            assert database.check().startswith("PostgreSQL ")
            assert database.write([full_round(1)]) == ()
            assert database.latest_meter() is not None
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
    with pytest.raises(DatabaseAwayError):
        database.write([round_of(2)])
    assert database.write([round_of(2)]) == ()
    assert select(connection, "select power_w from power") == [(2,)]


def test_a_lost_connection_is_reported_and_the_next_write_opens_another(database: Database, connection: Any) -> None:
    database.write([round_of(1)])
    with connection.cursor() as cursor:
        cursor.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'power-consumption'"
        )
    with pytest.raises(DatabaseAwayError, match=r"terminating connection|server closed the connection"):
        database.write([round_of(2)])
    database.write([round_of(2)])
    assert select(connection, "select power_w from power order by measured_at") == [(1,), (2,)]


def test_a_server_that_is_stopped_and_started_is_away_in_between(tmp_path: Path) -> None:
    keeper = EmbeddedServer(tmp_path, fsync=False)
    keeper.start()
    with closing(Database.from_url(keeper.url(), site="home")) as database:
        database.write([round_of(1)])
        keeper.close()
        for _ in range(2):
            with pytest.raises(DatabaseAwayError):
                database.write([round_of(2)])
        with keeper:
            database.write([round_of(2)])
            with closing(psycopg2.connect(keeper.url())) as connection:
                assert select(connection, "select power_w from power order by measured_at") == [(1,), (2,)]


def test_a_lock_that_is_held_makes_it_away_not_stuck(
    database: Database, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.connection.LOCK_TIMEOUT_S", 1)
    database.write([round_of(1)])
    database.close()
    with closing(psycopg2.connect(connection.dsn)) as blocker, blocker.cursor() as cursor:
        cursor.execute("lock table power in access exclusive mode")
        with pytest.raises(DatabaseAwayError, match="lock timeout"):
            database.write([round_of(2)])


def test_every_wait_of_a_connection_is_bounded(database_url: str) -> None:
    with closing(connect(database_url)) as connection:
        parameters = connection.get_dsn_parameters()
        shown = select(connection, "select current_setting('statement_timeout'), current_setting('lock_timeout')")
    assert shown == [("10s", "5s")]
    assert parameters["application_name"] == "power-consumption"
    assert parameters["connect_timeout"] == "5"
    assert parameters["keepalives_idle"] == "15"
    assert parameters["tcp_user_timeout"] == "15000"


def test_what_the_url_says_goes_before_our_own_settings(database_url: str) -> None:
    with closing(connect(f"{database_url}&application_name=shed&connect_timeout=3")) as connection:
        parameters = connection.get_dsn_parameters()
    assert (parameters["application_name"], parameters["connect_timeout"]) == ("shed", "3")


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
            with pytest.raises(DatabaseAwayError, match=r"the site '自宅' cannot be stored: .*LATIN1"):
                database.write([round_of(1)])


@pytest.mark.parametrize("site", ["", "a\0b", "a\ud800b"])
def test_a_site_that_no_database_takes_blames_no_row(database_url: str, site: str) -> None:
    with (
        closing(Database.from_url(database_url, site=site)) as database,
        pytest.raises(DatabaseAwayError, match="cannot be stored"),
    ):
        database.write([round_of(1)])


def test_rows_without_a_partition_wait_until_there_is_one(database: Database, connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("alter table power rename to all_power")
        cursor.execute("create table power (like all_power) partition by range (measured_at)")
    # Behind a row that is refused for what it says: then the rows are tried one by one.
    for rounds in ([round_of(1)], [Round((RadioEventRow(FIRST_AT, "a\0b"), power_row(1)))]):
        with pytest.raises(DatabaseAwayError, match="no partition"):
            database.write(rounds)
    with connection.cursor() as cursor:
        cursor.execute("create table later partition of power default")
    assert database.write([round_of(1)]) == ()
    assert select(connection, "select power_w from power") == [(1,)]


def test_closing_leaves_a_connection_alone_over_which_another_thread_asks(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server process that was frozen in mid-statement: psycopg2 itself would wait for it without end."""
    monkeypatch.setattr("storage.database.CLOSE_TIMEOUT_S", 0.1)
    with database.transaction() as (cursor, _):
        cursor.execute("select pg_backend_pid()")
        found = cursor.fetchone()
    assert found is not None
    os.kill(found[0], signal.SIGSTOP)
    asking = threading.Thread(target=database.check)
    asking.start()
    try:
        while database._in_use.acquire(blocking=False):
            database._in_use.release()
            time.sleep(0.005)
        closing_it = threading.Thread(target=database.close)
        closing_it.start()
        closing_it.join(20)
        assert not closing_it.is_alive()
        assert asking.is_alive()
    finally:
        os.kill(found[0], signal.SIGCONT)
        asking.join(20)
    database.close()
    assert database.write([round_of(1)]) == ()


def test_missing_tables_come_with_the_exact_command(empty_database_url: str) -> None:
    with closing(Database.from_url(empty_database_url, site="home")) as database:
        for ask in (database.check, lambda: database.write([round_of(1)])):
            with pytest.raises(MissingTablesError) as caught:
                ask()
            command = re.escape(f"psql -1 -v ON_ERROR_STOP=1 -f {init_sql_path()} ")
            assert re.search(command + r"'?postgresql://postgres@/test_\d+\?host=", str(caught.value))
            assert "\n" not in str(caught.value)


def test_a_database_half_made_names_what_is_missing(connection: Any, database: Database) -> None:
    with connection.cursor() as cursor:
        cursor.execute("drop table co2; drop view energy_day")
    with pytest.raises(MissingTablesError, match=r"\(co2, energy_day\)"):
        database.check()


def test_a_role_without_privileges_is_away_so_that_nothing_is_set_aside(database_url: str, connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("drop role if exists test_nobody")
        cursor.execute("create role test_nobody login")
    try:
        with (
            closing(Database.from_url(database_url.replace("//postgres@", "//test_nobody@"), site="home")) as database,
            pytest.raises(DatabaseAwayError, match="permission denied"),
        ):
            database.write([round_of(1)])
    finally:
        with connection.cursor() as cursor:
            cursor.execute("drop role test_nobody")


def test_a_read_only_server_is_away(database_url: str, connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("select format('alter database %I set default_transaction_read_only = on', current_database())")
        cursor.execute(cursor.fetchone()[0])
    with (
        closing(Database.from_url(database_url, site="home")) as database,
        pytest.raises(DatabaseAwayError, match="read-only"),
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
    with closing(Database.from_url(url, site="home")) as database, pytest.raises(DatabaseAwayError) as caught:
        database.write([round_of(1)])
    logging.getLogger("test").error("the round failed", exc_info=caught.value)
    shown = "".join((str(caught.value), repr(caught.value), repr(database), masked_url(url), caplog.text))
    for piece in ("s3cr3t", "p@ss", "pass@", "w%rd", "blank"):
        assert piece not in shown.replace("password", "")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:pw@db.example:5433/home?sslmode=require", "postgresql://me@db.example:5433/home"),
        ("postgresql://db.example/home", "postgresql://db.example/home"),
        ("postgresql://me@/home?host=%2Frun%2Fpg", "postgresql://me@/home?host=/run/pg"),
        ("host=db.example dbname=home password=pw", "postgresql://db.example/home"),
        ("dbname=home =", "postgresql://****"),
    ],
)
def test_a_masked_url_still_tells_where_it_leads(url: str, shown: str) -> None:
    assert masked_url(url) == shown


def test_an_unreachable_server_says_where_it_was_looked_for() -> None:
    with (
        closing(Database.from_url("postgresql://me:pw@127.0.0.1:1/home", site="home")) as database,
        pytest.raises(DatabaseAwayError) as caught,
    ):
        database.check()
    assert str(caught.value).startswith("cannot connect to postgresql://me@127.0.0.1:1/home: ")
    assert "refused" in str(caught.value)


def test_the_latest_meter_is_the_one_in_service(database: Database) -> None:
    assert database.latest_meter() is None
    older = MeterRow(FIRST_AT, "000016", "A1", "F", 1, Decimal("0.1"), 6)
    newer = replace(older, since=FIRST_AT + timedelta(days=1), serial_number="B2", unit_kwh=Decimal("0.01"), digits=8)
    database.write([Round((newer, older))])
    assert database.latest_meter() == newer


def test_meters_are_those_of_the_own_site(database_url: str, database: Database) -> None:
    with closing(Database.from_url(database_url, site="shed")) as shed:
        shed.write([full_round(0)])
        assert shed.latest_meter() is not None
    assert database.latest_meter() is None
