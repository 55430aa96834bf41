"""docs/from_power_log.sql: the older program's record becomes ours, exactly, and without what is no measurement."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from storage.embedded import EmbeddedServer
from storage.embedded.programs import installed_programs, programs_for
from storage.filelock import FileLock
from storage.schema import init_sql_path

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "docs" / "from_power_log.sql"
DEBIAN = Path("/usr/lib/postgresql")

# As the older program makes them; R and T fold to lower case. Source: false-git/power-consumption, init.sql.
OLD_TABLES = """
create table power_log (
    id serial primary key, 係数 int, 積算電力量 int, 電力量単位 int, 瞬時電力 int, 瞬時電流_R int, 瞬時電流_T int,
    created_at timestamp not null default current_timestamp
);
create table temp_log (id serial primary key, temp int, created_at timestamp not null default current_timestamp);
create table co2_log (
    id serial primary key, co2 int, temp int, pressure int, ss int,
    created_at timestamp not null default current_timestamp
);
create table bme280_log (
    id serial primary key, temp real, pressure real, humidity real,
    created_at timestamp not null default current_timestamp
);
"""


def programs() -> dict[str, Path]:
    debian = {directory.parent.name: directory for directory in DEBIAN.glob("*/bin") if (directory / "initdb").exists()}
    return debian | {str(major): directory for major, directory in installed_programs().items()}


@pytest.fixture(scope="module", params=sorted(programs()))
def server_url(request: pytest.FixtureRequest, postgres_server: EmbeddedServer) -> Iterator[str]:
    """Run each PostgreSQL that this machine has; the newest of the wheel runs already."""
    if int(request.param) == max(installed_programs()):
        yield postgres_server.url("postgres")
        return
    with tempfile.TemporaryDirectory(prefix="pg") as directory:
        home, holding = Path(directory), FileLock(Path(directory) / "lock")
        assert holding.acquire()
        server = programs_for(programs()[request.param], home)

        def run(program: str, *arguments: str) -> None:
            server.run(program, "-D", "data", *arguments, cwd=home, timeout_s=60, holding=holding)

        run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale")
        run("pg_ctl", "-w", "-l", "log", "-o", f"-c listen_addresses= -c unix_socket_directories={home} -F", "start")
        try:
            yield f"postgresql://postgres@/postgres?host={home}"
        finally:
            run("pg_ctl", "-m", "immediate", "stop")
            holding.release()


@pytest.fixture
def old_and_new(server_url: str) -> Iterator[Any]:
    """Give a cursor in a schema of its own with both sets of tables, on a machine far from Japan."""
    with closing(psycopg2.connect(server_url)) as connection, connection.cursor() as cursor:
        cursor.execute("drop schema public cascade; create schema public; set time zone 'America/New_York'")
        cursor.execute(init_sql_path().read_text("utf-8"))
        cursor.execute(OLD_TABLES)
        yield cursor


def bring(cursor: Any) -> None:
    cursor.execute(SCRIPT.read_text("utf-8"))


def power_log(cursor: Any, *rows: tuple[object, ...]) -> None:
    """Insert coefficient, count, unit code, power, R, T; a minute apart, from 2024-01-01 08:59:30 in Japan."""
    for minute, row in enumerate(rows):
        cursor.execute(
            "insert into power_log (係数, 積算電力量, 電力量単位, 瞬時電力, 瞬時電流_r, 瞬時電流_t, created_at)"
            " values (%s, %s, %s, %s, %s, %s, timestamp '2024-01-01 08:59:30' + %s * interval '1 minute')",
            (*row, minute),
        )


def rows_of(cursor: Any, sql: str) -> list[Any]:
    cursor.execute(sql)
    return list(cursor.fetchall())


def test_a_reading_arrives_exactly_and_at_japan_s_time(old_and_new: Any) -> None:
    power_log(old_and_new, (1, 1234567, 1, 343, 14, -21))
    bring(old_and_new)
    [[measured_at, *values]] = rows_of(
        old_and_new,
        "select measured_at, power_w, current_r_a, current_t_a, import_kwh, export_kwh from power join site using"
        " (site_id) where name = 'home'",
    )
    assert measured_at == datetime(2023, 12, 31, 23, 59, 30, tzinfo=UTC)
    assert values == [343, Decimal("1.4"), Decimal("-2.1"), Decimal("123456.7"), None]


@pytest.mark.parametrize(
    ("coefficient", "count", "unit", "kwh"),
    [
        (1, 99999999, 0, "99999999"),
        (1, 3, 1, "0.3"),
        (20, 7, 2, "1.40"),
        (1, 12345678, 3, "12345.678"),
        (999999, 99999999, 4, "9999989900.0001"),
        (1, 5, 10, "50"),
        (1, 5, 11, "500"),
        (1, 5, 12, "5000"),
        (1, 5, 13, "50000"),
        (1, 0, 1, "0"),
        (None, 123, 1, "12.3"),  # a meter without a coefficient
        (0, 123, 1, None),
        (1000000, 123, 1, None),
        (1, 123, None, None),
        (1, 123, 5, None),
        (1, None, 1, None),
        (1, 100000000, 1, None),
        (1, -2, 1, None),  # FFFFFFFE as a signed number
    ],
)
def test_a_register_is_count_times_coefficient_times_unit_or_nothing(
    old_and_new: Any, coefficient: int | None, count: int | None, unit: int | None, kwh: str | None
) -> None:
    power_log(old_and_new, (coefficient, count, unit, 100, 1, 1))
    bring(old_and_new)
    [[brought]] = rows_of(old_and_new, "select import_kwh from power")
    assert brought == (None if kwh is None else Decimal(kwh))


def test_a_coefficient_that_is_missing_in_one_row_is_not_taken_for_one(old_and_new: Any) -> None:
    power_log(old_and_new, (20, 100, 1, 50, 1, 1), (None, 101, 1, 51, 1, 1))
    bring(old_and_new)
    assert rows_of(old_and_new, "select power_w, import_kwh from power order by 1") == [(50, Decimal(200)), (51, None)]


def test_the_meter_s_codes_are_no_measurements_and_a_row_of_nothing_else_stays_out(old_and_new: Any) -> None:
    """E7: 7FFFFFFE, 7FFFFFFF, 80000000; E8: 7FFE, 7FFF, 8000. Source: ECHONET Appendix, 0x0288."""
    power_log(
        old_and_new,
        (1, 10, 1, 2147483646, 32766, 32766),
        (1, 11, 1, 2147483647, 32767, 32767),
        (1, 12, 1, -2147483648, -32768, -32768),
        (1, 13, 1, 2147483645, 32765, -32767),
        (1, 14, 1, None, None, None),
        (1, None, 1, 2147483646, 32766, 32766),
        (None, None, None, None, None, None),
    )
    bring(old_and_new)
    nothing = (None, None, None)
    assert rows_of(old_and_new, "select power_w, current_r_a, current_t_a from power order by import_kwh") == [
        nothing,
        nothing,
        nothing,
        (2147483645, Decimal("3276.5"), Decimal("-3276.7")),
        nothing,
    ]


def test_the_other_sensors_arrive_without_what_is_no_measurement(old_and_new: Any) -> None:
    old_and_new.execute(
        """
        insert into temp_log (temp, created_at) values
            (48312, '2024-01-01 09:00'), (-5250, '2024-01-01 09:01'), (-650788984, '2024-01-01 09:02'),
            (null, '2024-01-01 09:03');
        insert into co2_log (co2, temp, pressure, ss, created_at) values
            (620, 25, 0, 0, '2024-01-01 09:00'), (700, -40, 0, 64, '2024-01-01 09:01'),
            (0, 0, 0, 0, '2024-01-01 09:02'), (410, 25, 0, 1, '2024-01-01 09:03'),
            (410, 25, 15000, 0, '2024-01-01 09:04'), (65535, 25, 0, 0, '2024-01-01 09:05'),
            (null, null, null, null, '2024-01-01 09:06');
        insert into bme280_log (temp, pressure, humidity, created_at) values
            (21.5, 1008.25, 50.5, '2024-01-01 09:00'), (21.5, 0, 50.5, '2024-01-01 09:01'),
            (21.5, 1008.25, null, '2024-01-01 09:02'), (85.5, 1008.25, 50.5, '2024-01-01 09:03'),
            ('NaN', 1008.25, 50.5, '2024-01-01 09:04');
        """
    )
    bring(old_and_new)
    nine = datetime(2024, 1, 1, 0, 0, tzinfo=UTC)
    assert rows_of(old_and_new, "select measured_at, temperature_c from cpu_temperature order by 1") == [
        (nine, pytest.approx(48.312)),
        (nine.replace(minute=1), -5.25),
    ]
    assert rows_of(old_and_new, "select co2_ppm, temperature_c, warming_up from co2 order by measured_at") == [
        (620, 25, False),
        (700, None, False),
    ]
    assert rows_of(old_and_new, "select measured_at, temperature_c, humidity_pct, pressure_hpa from bme280") == [
        (nine, 21.5, 50.5, 1008.25)
    ]


def test_it_is_safe_to_run_again_and_keeps_what_the_record_has(old_and_new: Any) -> None:
    power_log(old_and_new, (1, 10, 1, 343, 1, 1), (1, 11, 1, 344, 1, 1))
    old_and_new.execute(
        "insert into site (name) values ('home');"
        "insert into power (site_id, measured_at, power_w) values (1, '2024-01-01 08:59:30+09', 999)"
    )
    for _ in range(2):
        bring(old_and_new)
        assert rows_of(old_and_new, "select power_w from power order by measured_at") == [(999,), (344,)]
    power_log(old_and_new, (1, 10, 1, 343, 1, 1), (1, 11, 1, 344, 1, 1), (1, 12, 1, 345, 1, 1))
    bring(old_and_new)
    assert rows_of(old_and_new, "select power_w from power order by measured_at") == [(999,), (344,), (345,)]
    assert rows_of(old_and_new, "select count(*) from power_log") == [(5,)]


def test_missing_tables_and_columns_are_passed_over(old_and_new: Any) -> None:
    old_and_new.execute(
        "drop table power_log, temp_log, bme280_log; alter table co2_log drop column ss, drop column pressure;"
        "insert into co2_log (co2, temp) values (620, 25)"
    )
    bring(old_and_new)
    assert rows_of(old_and_new, "select co2_ppm from co2") == [(620,)]


def test_psql_runs_it_as_documented_for_a_site_by_name(database_url: str) -> None:
    with closing(psycopg2.connect(database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(OLD_TABLES)
        power_log(cursor, (1, 10, 1, 343, 1, 1))
    psql = max(installed_programs().items())[1] / "psql"
    done = subprocess.run(
        [str(psql), "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", str(SCRIPT), database_url],
        env={"PGOPTIONS": "-c power_log.site=離れ", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert "power_log: 1 readings are new in the record" in done.stderr
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        assert rows_of(cursor, "select name, power_w from power join site using (site_id)") == [("離れ", 343)]
