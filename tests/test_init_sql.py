"""init.sql against a real PostgreSQL: the tables, what they refuse, and the views to the last digit."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib.metadata import PackageNotFoundError, PackagePath
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extras
import pytest

from storage import schema
from storage.embedded.programs import installed_programs
from storage.errors import StorageError
from storage.records import TABLES
from storage.schema import init_sql_path

JST_MIDNIGHT = datetime(2024, 2, 28, 15, 0, tzinfo=UTC)  # 2024-02-29 00:00 in Japan
HALF_HOUR = timedelta(minutes=30)


HOME = "insert into site (site_id, name) overriding system value values (1, 'home')"


@pytest.fixture(scope="module")
def shared_connection(module_database_url: str) -> Iterator[Any]:
    """Connect to a database that no test of this module changes for good."""
    with closing(psycopg2.connect(module_database_url)) as opened:
        yield opened


@pytest.fixture
def cursor(shared_connection: Any) -> Iterator[Any]:
    """Open a transaction in which site 1 is there; it is rolled back."""
    with shared_connection.cursor() as opened:
        opened.execute(HOME)
        yield opened
    shared_connection.rollback()


def put_meter(
    cursor: Any,
    since: datetime,
    *,
    unit: str = "0.1",
    coefficient: int = 1,
    digits: int | None = 6,
    identity: tuple[str | None, str | None] = (None, None),
) -> None:
    cursor.execute(
        "insert into meter (site_id, since, coefficient, unit_kwh, digits, manufacturer, serial_number) "
        "values (1, %s, %s, %s, %s, %s, %s)",
        (since, coefficient, Decimal(unit), digits, *identity),
    )


def put_registers(cursor: Any, start: datetime, *registers: tuple[str, str] | None) -> None:
    """Put registers (import, export) half an hour apart; None: that one is missing."""
    for number, both in enumerate(registers):
        if both is not None:
            cursor.execute(
                "insert into energy (site_id, registered_at, import_kwh, export_kwh, source) "
                "values (1, %s, %s, %s, 'notified')",
                (start + number * HALF_HOUR, *map(Decimal, both)),
            )


def half_hours(cursor: Any) -> list[tuple[str | None, str | None]]:
    """Read used and sold as text, so that every digit counts."""
    cursor.execute("select used_kwh::text, sold_kwh::text from energy_half_hour where site_id = 1 order by started_at")
    return list(cursor.fetchall())


def days(cursor: Any) -> list[tuple[date, str | None, str | None]]:
    cursor.execute("select day, used_kwh::text, sold_kwh::text from energy_day where site_id = 1 order by day")
    return list(cursor.fetchall())


def test_psql_applies_the_file_twice_as_documented_and_keeps_the_rows(empty_database_url: str) -> None:
    psql = max(installed_programs().items())[1] / "psql"
    command = [str(psql), "-1", "-v", "ON_ERROR_STOP=1", "-q", "-f", str(init_sql_path()), empty_database_url]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60).stderr == ""
    with closing(psycopg2.connect(empty_database_url)) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute("insert into site (name) values ('home')")
        again = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert again.returncode == 0, again.stderr
        with connection, connection.cursor() as cursor:
            cursor.execute("select site_id, name from site")
            assert cursor.fetchall() == [(1, "home")]


def test_nothing_is_ever_dropped_or_emptied() -> None:
    statements = re.sub(r"--.*", "", init_sql_path().read_text("utf-8")).lower()
    assert not re.search(r"\b(drop|truncate|delete|update)\b", statements)


def test_columns_are_the_fields_of_the_row_classes(cursor: Any) -> None:
    for row_class, table in TABLES.items():
        cursor.execute(
            "select column_name from information_schema.columns where table_schema = 'public' and table_name = %s",
            (table,),
        )
        columns = {name for (name,) in cursor.fetchall()}
        assert columns == {"site_id"} | {field.name for field in fields(row_class)}, table


def test_every_table_leads_its_key_with_the_site_and_the_time(cursor: Any) -> None:
    cursor.execute(
        "select indrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index "
        "join pg_class on pg_class.oid = indrelid "
        "where indisprimary and relnamespace = 'public'::regnamespace"
    )
    keys = {table: re.sub(r".*\((.*)\)", r"\1", definition) for table, definition in cursor.fetchall()}
    assert keys == {
        "site": "site_id",
        "meter": "site_id, since",
        "power": "site_id, measured_at",
        "energy": "site_id, registered_at",
        "cpu_temperature": "site_id, measured_at",
        "co2": "site_id, measured_at",
        "bme280": "site_id, measured_at",
        "radio_event": "site_id, happened_at, kind",
    }


def test_every_table_view_and_column_is_explained(cursor: Any) -> None:
    cursor.execute(
        "select relname, coalesce(attname, '') from pg_class "
        "left join pg_attribute on attrelid = pg_class.oid and attnum > 0 "
        "where relnamespace = 'public'::regnamespace and relkind in ('r', 'v') "
        "and (obj_description(pg_class.oid, 'pg_class') is null or col_description(pg_class.oid, attnum) is null)"
    )
    assert cursor.fetchall() == []


@pytest.mark.parametrize(
    "statement",
    [
        # 0xE7: 7FFFFFFE no data, 7FFFFFFF over, 80000000 under; 0xE8: 7FFE, 7FFF, 8000 in steps of 0.1 A.
        "insert into power (site_id, measured_at, power_w) values (1, now(), 2147483646)",
        "insert into power (site_id, measured_at, power_w) values (1, now(), 2147483647)",
        "insert into power (site_id, measured_at, power_w) values (1, now(), -2147483648)",
        "insert into power (site_id, measured_at, current_r_a) values (1, now(), 3276.6)",
        "insert into power (site_id, measured_at, current_t_a) values (1, now(), -3276.8)",
        "insert into power (site_id, measured_at, import_kwh) values (1, now(), -0.1)",
        "insert into power (site_id, measured_at, export_kwh) values (1, now(), 'NaN')",
        "insert into energy (site_id, registered_at, import_kwh, source) values (1, '2024-01-01 00:00Z', 1, 'guess')",
        "insert into energy (site_id, registered_at, import_kwh, source) values (1, '2024-01-01 00:10Z', 1, 'read')",
        "insert into energy (site_id, registered_at, source) values (1, '2024-01-01 00:30:00.5Z', 'read')",
        "insert into meter (site_id, since, unit_kwh, digits) values (1, now(), 0.1, 9)",
        "insert into meter (site_id, since, unit_kwh) values (1, now(), 0)",
        "insert into meter (site_id, since, unit_kwh, coefficient) values (1, now(), 0.1, 0)",
        "insert into cpu_temperature (site_id, measured_at, temperature_c) values (1, now(), 'NaN')",
        "insert into co2 (site_id, measured_at, co2_ppm, warming_up) values (1, now(), 10001, false)",
        "insert into bme280 (site_id, measured_at, temperature_c, humidity_pct, pressure_hpa) "
        "values (1, now(), 85.1, 50, 1000)",
        "insert into bme280 (site_id, measured_at, temperature_c, humidity_pct, pressure_hpa) "
        "values (1, now(), 20, 100.1, 1000)",
        "insert into bme280 (site_id, measured_at, temperature_c, humidity_pct, pressure_hpa) "
        "values (1, now(), 20, 50, 299)",
        "insert into radio_event (site_id, happened_at, kind, channel) values (1, now(), 'scan', 61)",
        "insert into radio_event (site_id, happened_at, kind, pan_id) values (1, now(), 'scan', 65536)",
    ],
)
def test_a_value_that_cannot_be_true_is_refused(cursor: Any, statement: str) -> None:
    with pytest.raises(psycopg2.errors.CheckViolation):
        cursor.execute(statement)


def test_the_ends_of_the_meters_ranges_are_taken(cursor: Any) -> None:
    # 0xE7: 80000001 to 7FFFFFFD. 0xE8: 8001 to 7FFD. Registers: 99,999,999 x 999,999 x 10,000 kWh.
    most = Decimal(99_999_999) * 999_999 * 10_000
    rows = [(-2_147_483_647, Decimal("-3276.7"), Decimal(0)), (2_147_483_645, Decimal("3276.5"), most)]
    for second, (power_w, current_a, register_kwh) in enumerate(rows):
        cursor.execute(
            "insert into power (site_id, measured_at, power_w, current_r_a, current_t_a, import_kwh, export_kwh) "
            "values (1, %s, %s, %s, %s, %s, %s)",
            (JST_MIDNIGHT + timedelta(seconds=second), power_w, current_a, current_a, register_kwh, register_kwh),
        )
    cursor.execute("select power_w, current_r_a, import_kwh from power order by measured_at")
    assert cursor.fetchall() == rows


def test_a_power_row_and_its_index_take_at_most_120_bytes(cursor: Any) -> None:
    cursor.execute(
        "insert into power (measured_at, site_id, power_w, current_r_a, current_t_a, import_kwh, export_kwh) "
        "select '2024-01-01'::timestamptz + n * interval '1 minute', 1, 3421, 17.1, 18.2, 123456.7 + n / 10, 6543.2 "
        "from generate_series(1, 20000) as n"
    )
    cursor.execute("select (pg_relation_size('power') + pg_relation_size('power_pkey')) / 20000.0")
    assert cursor.fetchone()[0] <= 120


def test_a_role_that_may_only_select_and_insert_can_do_nothing_else(connection: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(HOME)
    text = init_sql_path().read_text("utf-8")
    documented = re.findall(r"^-- +((?:create role|grant) .*;)$", text, re.MULTILINE)
    assert len(documented) == 4
    cursor.execute("drop role if exists power_writer")
    for statement in documented:
        cursor.execute(statement)
    try:
        cursor.execute("set role power_writer")
        cursor.execute("insert into site (name) values ('shed') on conflict do nothing")
        cursor.execute("insert into co2 (site_id, measured_at, co2_ppm, warming_up) values (1, now(), 400, true)")
        cursor.execute("select * from energy_half_hour, energy_day")
        for forbidden in ("update co2 set co2_ppm = 1", "delete from co2", "truncate co2", "drop table co2"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(forbidden)
    finally:
        cursor.execute("reset role")
        cursor.execute("drop owned by power_writer; drop role power_writer")


def test_half_hours_are_the_differences_of_the_registers(cursor: Any) -> None:
    put_meter(cursor, JST_MIDNIGHT)
    put_registers(cursor, JST_MIDNIGHT, ("100.1", "5.0"), ("100.6", "5.0"), ("100.6", "7.3"))
    # 100.6 - 100.1 = 0.5; 100.6 - 100.6 = 0.0; 5.0 - 5.0 = 0.0; 7.3 - 5.0 = 2.3
    assert half_hours(cursor) == [("0.5", "0.0"), ("0.0", "2.3")]


def test_a_missing_register_leaves_two_half_hours_empty(cursor: Any) -> None:
    put_meter(cursor, JST_MIDNIGHT)
    put_registers(cursor, JST_MIDNIGHT, ("1.0", "0.0"), ("1.5", "0.0"), None, ("2.5", "0.1"), ("3.1", "0.1"))
    assert half_hours(cursor) == [("0.5", "0.0"), (None, None), (None, None), ("0.6", "0.0")]


def test_a_meter_without_export_has_no_sold_energy(cursor: Any) -> None:
    for number, register in enumerate(("1.0", "1.5")):
        cursor.execute(
            "insert into energy (site_id, registered_at, import_kwh, source) values (1, %s, %s, 'read')",
            (JST_MIDNIGHT + number * HALF_HOUR, Decimal(register)),
        )
    assert half_hours(cursor) == [("0.5", None)]


@pytest.mark.parametrize(
    ("unit", "coefficient", "digits", "before", "after", "used"),
    [
        ("0.1", 1, 6, "99999.9", "0.4", "0.5"),  # wraps at 10^6 x 0.1 = 100,000.0
        ("0.01", 3, 6, "29999.94", "1.20", "1.26"),  # at 10^6 x 0.03 = 30,000.00
        ("1", 1, 8, "99999998", "1", "3"),  # at 10^8
        ("0.0001", 1, 4, "0.9999", "0.0001", "0.0002"),  # at 10^4 x 0.0001 = 1.0000
    ],
)
def test_a_register_that_wraps_goes_on_from_zero(
    cursor: Any, unit: str, coefficient: int, digits: int, before: str, after: str, used: str
) -> None:
    put_meter(cursor, JST_MIDNIGHT, unit=unit, coefficient=coefficient, digits=digits)
    put_registers(cursor, JST_MIDNIGHT, (before, before), (after, after))
    assert half_hours(cursor) == [(used, used)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("61234.5", "0.3"),  # back to zero from the middle: a new meter
        ("61234.5", "61234.4"),  # a register does not fall
        ("0.3", "61234.5"),  # 61 MWh in half an hour
        ("10.0", "110.1"),  # more than 100 kWh in half an hour
        ("161234.5", "61234.4"),  # from above the 100,000 kWh of the register: no wrap gives a rise
    ],
)
def test_a_difference_that_cannot_be_true_is_null(cursor: Any, before: str, after: str) -> None:
    put_meter(cursor, JST_MIDNIGHT)
    put_registers(cursor, JST_MIDNIGHT, (before, "1.0"), (after, "1.2"))
    assert half_hours(cursor) == [(None, "0.2")]


def test_a_rise_beyond_half_of_the_register_is_a_fall_of_something_else(cursor: Any) -> None:
    # Four digits of 0.01 kWh: 100 kWh all around, so a rise of more than 50 cannot be told from a fall.
    put_meter(cursor, JST_MIDNIGHT, unit="0.01", digits=4)
    put_registers(cursor, JST_MIDNIGHT, ("10.00", "99.00"), ("60.00", "49.00"), ("10.00", "99.01"))
    # 50.00; 49.00 - 99.00 + 100.00 = 50.00. Then 10.00 - 60.00 + 100.00 = 50.00, and 99.01 - 49.00 = 50.01.
    assert half_hours(cursor) == [("50.00", "50.00"), ("50.00", None)]


def test_an_import_register_of_exactly_zero_is_no_register(cursor: Any) -> None:
    """The memory of a meter holds zeros for the time before it served."""
    put_meter(cursor, JST_MIDNIGHT)
    put_registers(cursor, JST_MIDNIGHT, ("0", "0"), ("0", "0"), ("0.1", "0.0"), ("0.4", "0.2"))
    assert half_hours(cursor) == [(None, None), (None, None), ("0.3", "0.2")]


SAME, OTHER = ("000016", "A1"), ("000016", "B2")


@pytest.mark.parametrize(
    ("before", "after", "is_exchange"),
    [
        (SAME, SAME, False),  # the scale told again
        (SAME, OTHER, True),
        (SAME, ("00001B", "A1"), True),  # two makers may give the same number
        (SAME, ("000016", None), True),
        ((None, None), (None, None), True),  # no serial number: nothing says that it is the same
        ((None, "A1"), (None, "A1"), True),
    ],
)
def test_only_the_same_maker_and_serial_number_are_the_same_meter(
    cursor: Any, before: tuple[str | None, str | None], after: tuple[str | None, str | None], is_exchange: bool
) -> None:
    put_meter(cursor, JST_MIDNIGHT - timedelta(days=9), identity=before)
    put_meter(cursor, JST_MIDNIGHT + timedelta(minutes=10), identity=after)
    put_registers(cursor, JST_MIDNIGHT, ("10.0", "2.0"), ("10.5", "2.0"), ("10.7", "2.1"))
    across = (None, None) if is_exchange else ("0.5", "0.0")
    assert half_hours(cursor) == [across, ("0.2", "0.1")]
    assert days(cursor) == [(date(2024, 2, 29), None, None)]


def test_a_meter_that_is_seen_again_and_then_exchanged_is_exchanged_once(cursor: Any) -> None:
    put_meter(cursor, JST_MIDNIGHT - timedelta(days=9), identity=SAME, digits=None)
    put_meter(cursor, JST_MIDNIGHT + timedelta(minutes=10), identity=SAME, digits=4)  # wraps at 1,000.0 from here on
    put_meter(cursor, JST_MIDNIGHT + timedelta(minutes=70), identity=OTHER, digits=4)
    put_registers(
        cursor, JST_MIDNIGHT, ("999.0", "0"), ("999.5", "0"), ("0.5", "0"), ("3.5", "0"), ("4.0", "0"), ("4.5", "0")
    )
    assert [used for used, _ in half_hours(cursor)] == ["0.5", "1.0", None, "0.5", "0.5"]


def test_a_register_that_only_the_export_lacks_breaks_no_day(cursor: Any) -> None:
    put_meter(cursor, JST_MIDNIGHT)
    put_registers(cursor, JST_MIDNIGHT, *[(f"{100 + n / 10:.1f}", f"{5 + n / 10:.1f}") for n in range(49)])
    cursor.execute(
        "update energy set export_kwh = null where registered_at > %s and registered_at < %s",
        (JST_MIDNIGHT + 3 * HALF_HOUR, JST_MIDNIGHT + 9 * HALF_HOUR),
    )
    cursor.execute("update energy set import_kwh = null where registered_at = %s", (JST_MIDNIGHT + 30 * HALF_HOUR,))
    assert days(cursor) == [(date(2024, 2, 29), "4.8", "4.8")]
    cursor.execute("update energy set export_kwh = null where registered_at = %s", (JST_MIDNIGHT,))
    assert days(cursor) == [(date(2024, 2, 29), "4.8", None)]


def test_a_false_step_makes_its_day_null_and_spoils_no_other(cursor: Any) -> None:
    put_meter(cursor, JST_MIDNIGHT)
    registers = [(f"{200 + n / 10 - (50 if n > 10 else 0):.1f}", "1.0") for n in range(97)]
    put_registers(cursor, JST_MIDNIGHT, *registers)
    assert days(cursor) == [(date(2024, 2, 29), None, "0.0"), (date(2024, 3, 1), "4.8", "0.0")]


VERSION_1_0 = Path(__file__).parent / "data" / "init_1_0.sql"


def test_a_database_of_version_1_0_is_brought_up_to_date_and_loses_nothing(empty_database_url: str) -> None:
    """Version 1.0 wrote a row of "meter" for the same meter wherever it told its scale anew."""
    with closing(psycopg2.connect(empty_database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(VERSION_1_0.read_text("utf-8"))
        cursor.execute(HOME)
        put_meter(cursor, JST_MIDNIGHT - timedelta(days=30), identity=SAME)
        put_meter(cursor, JST_MIDNIGHT + 5 * HALF_HOUR, identity=SAME)
        put_meter(cursor, JST_MIDNIGHT + 70 * HALF_HOUR + timedelta(minutes=17), identity=OTHER)
        put_registers(cursor, JST_MIDNIGHT, *[(f"{100 + n / 10:.1f}", "1.0") for n in range(145)])
        cursor.execute("create view my_own as select * from energy_between(1, now(), now())")
        cursor.execute("create view my_days as select day, used_kwh from energy_day")
        assert days(cursor)[0] == (date(2024, 2, 29), None, None)
        held = {}
        for table in ("site", "meter", "energy"):
            cursor.execute(f"select * from {table} order by 1, 2")
            held[table] = cursor.fetchall()
        for _ in range(2):
            cursor.execute(init_sql_path().read_text("utf-8"))
        for table, rows in held.items():
            cursor.execute(f"select * from {table} order by 1, 2")
            assert cursor.fetchall() == rows
        assert [used for _, used, _ in days(cursor)] == ["4.8", None, "4.8"]
        cursor.execute("select used_kwh::text from my_days order by day")
        assert cursor.fetchall() == [("4.8",), (None,), ("4.8",)]
        cursor.execute("select count(*) from my_own")
        assert cursor.fetchall() == [(0,)]


def test_no_function_reads_a_table(cursor: Any) -> None:
    """Citus refuses functions that read distributed tables; immutable ones of plain values run anywhere."""
    cursor.execute(
        "select proname, provolatile from pg_proc where pronamespace = 'public'::regnamespace and prokind = 'f'"
    )
    assert cursor.fetchall() == [("energy_step_kwh", "i")]


def test_without_a_known_meter_no_wrap_is_assumed(cursor: Any) -> None:
    put_registers(cursor, JST_MIDNIGHT, ("99999.9", "1.0"), ("0.4", "1.1"))
    assert half_hours(cursor) == [(None, "0.1")]


def test_a_meter_that_counts_in_thousands_may_rise_by_one_count(cursor: Any) -> None:
    put_meter(cursor, JST_MIDNIGHT, unit="1000", digits=6)
    put_registers(cursor, JST_MIDNIGHT, ("5000", "1000"), ("6000", "3000"))
    assert half_hours(cursor) == [("1000", None)]


def test_a_half_hour_in_which_the_meter_was_exchanged_is_null(cursor: Any) -> None:
    put_meter(cursor, JST_MIDNIGHT - timedelta(days=300))
    put_meter(cursor, JST_MIDNIGHT + timedelta(minutes=47), unit="0.01")
    put_registers(cursor, JST_MIDNIGHT, ("10.0", "2.0"), ("10.5", "2.0"), ("11.00", "2.50"), ("11.25", "2.50"))
    # The new meter happens to go on where the old one ended: 10.5 -> 11.00 is no difference all the same.
    assert half_hours(cursor) == [("0.5", "0.0"), (None, None), ("0.25", "0.00")]


def test_each_half_hour_wraps_by_the_meter_of_its_time(cursor: Any) -> None:
    put_meter(cursor, JST_MIDNIGHT, digits=4)  # wraps at 1,000.0
    put_meter(cursor, JST_MIDNIGHT + timedelta(minutes=60), digits=5)  # wraps at 10,000.0
    put_registers(
        cursor,
        JST_MIDNIGHT,
        *[("999.8", "0.0"), ("0.1", "0.0"), ("9999.6", "0.0"), ("0.1", "0.0")],
    )
    # 0.1 - 999.8 + 1000.0 = 0.3; exchanged at 60 minutes; 0.1 - 9999.6 + 10000.0 = 0.5
    assert half_hours(cursor) == [("0.3", "0.0"), (None, None), ("0.5", "0.0")]


def test_history_from_before_the_first_meter_was_seen_is_of_that_meter(cursor: Any) -> None:
    put_registers(cursor, JST_MIDNIGHT, ("99999.9", "0.0"), ("0.4", "0.0"), ("0.6", "0.0"))
    put_meter(cursor, JST_MIDNIGHT + timedelta(minutes=45))
    assert half_hours(cursor) == [("0.5", "0.0"), ("0.2", "0.0")]


def test_a_day_runs_from_midnight_to_midnight_in_japan_in_every_session(cursor: Any) -> None:
    put_meter(cursor, JST_MIDNIGHT)
    # 97 registers over two days: 0.5 kWh a half hour on the first day (24.0), 0.1 on the second (4.8).
    first = [(f"{100 + n * 5 / 10:.1f}", "0.0") for n in range(48)]
    second = [(f"{124 + n / 10:.1f}", "0.0") for n in range(49)]
    put_registers(cursor, JST_MIDNIGHT, *first, *second)
    for zone in ("America/New_York", "Asia/Tokyo", "UTC"):
        cursor.execute("select set_config('timezone', %s, false)", (zone,))
        assert days(cursor) == [(date(2024, 2, 29), "24.0", "0.0"), (date(2024, 3, 1), "4.8", "0.0")]
        assert len(half_hours(cursor)) == 96


def test_gaps_inside_a_day_do_not_harm_its_sum_but_a_missing_midnight_does(cursor: Any) -> None:
    put_meter(cursor, JST_MIDNIGHT)
    registers: list[tuple[str, str] | None] = [None] * 145
    registers[0], registers[48], registers[143] = ("99990.0", "1.0"), ("2.5", "1.5"), ("9.0", "2.0")
    put_registers(cursor, JST_MIDNIGHT, *registers)
    # 2.5 - 99990.0 + 100000.0 = 12.5. The third midnight is missing, so the second and third day are not known.
    assert days(cursor) == [
        (date(2024, 2, 29), "12.5", "0.5"),
        (date(2024, 3, 1), None, None),
        (date(2024, 3, 2), None, None),
    ]


def test_a_day_with_an_exchange_of_the_meter_is_null(cursor: Any) -> None:
    put_meter(cursor, JST_MIDNIGHT - timedelta(days=9))
    put_meter(cursor, JST_MIDNIGHT + timedelta(hours=10))
    registers: list[tuple[str, str] | None] = [None] * 97
    registers[0], registers[48], registers[96] = ("50.0", "1.0"), ("60.0", "1.5"), ("61.0", "1.5")
    put_registers(cursor, JST_MIDNIGHT, *registers)
    assert days(cursor) == [(date(2024, 2, 29), None, None), (date(2024, 3, 1), "1.0", "0.0")]


def test_sites_do_not_mix(cursor: Any) -> None:
    cursor.execute("insert into site (site_id, name) overriding system value values (2, 'shed')")
    put_registers(cursor, JST_MIDNIGHT, ("1.0", "0.0"), ("1.5", "0.0"))
    cursor.execute(
        "insert into energy (site_id, registered_at, import_kwh, source) "
        "select 2, registered_at, import_kwh * 3, 'history' from energy"
    )
    cursor.execute("select site_id, used_kwh::text from energy_half_hour order by site_id")
    assert cursor.fetchall() == [(1, "0.5"), (2, "1.5")]


def test_a_year_of_half_hours_agrees_with_the_counts_behind_it(cursor: Any) -> None:
    """17,520 half hours of a known load; the register wraps once, one register in 97 is missing."""
    digits, first_count = 6, 950_000  # x 0.1 kWh: the register wraps when 5,000 kWh were used
    counts = [(n * 7919) % 11 for n in range(17_520)]  # 0 to 10 counts each half hour, 87,599 to 87,600 in all
    registers, total = [first_count], first_count
    for count in counts:
        total += count
        registers.append(total % 10**digits)
    assert total > 10**digits
    put_meter(cursor, JST_MIDNIGHT, digits=digits)
    kept = [(JST_MIDNIGHT + n * HALF_HOUR, Decimal(r) / 10) for n, r in enumerate(registers) if n % 97 != 5]
    psycopg2.extras.execute_values(
        cursor, "insert into energy (site_id, source, registered_at, import_kwh) values %s", kept, "(1, 'read', %s, %s)"
    )
    cursor.execute("select used_kwh from energy_half_hour order by started_at")
    expected = [
        None if n % 97 == 5 or (n + 1) % 97 == 5 else Decimal(count).scaleb(-1) for n, count in enumerate(counts)
    ]
    assert [used for (used,) in cursor.fetchall()] == expected
    cursor.execute("select used_kwh from energy_day order by day")
    by_day = [
        None if (48 * d) % 97 == 5 or (48 * d + 48) % 97 == 5 else Decimal(sum(counts[48 * d : 48 * d + 48])).scaleb(-1)
        for d in range(365)
    ]
    assert [used for (used,) in cursor.fetchall()] == by_day


def test_the_newest_half_hours_are_found_without_making_all_the_others(cursor: Any) -> None:
    put_meter(cursor, JST_MIDNIGHT)
    cursor.execute(
        "insert into energy (site_id, source, registered_at, import_kwh) "
        "select 1, 'history', %s + n * interval '30 minutes', 1 + n * 0.1 from generate_series(0, 48000) as n",
        (JST_MIDNIGHT,),
    )
    cursor.execute("analyze energy")
    cursor.execute(
        "explain (analyze, format json) select used_kwh from energy_half_hour where site_id = 1 "
        "order by started_at desc limit 48"
    )
    ((plan,),) = cursor.fetchall()

    def loops_over_energy(node: dict[str, Any]) -> list[int]:
        own = [node["Actual Loops"]] if node.get("Alias") in ("earlier", "later") else []
        return own + [loops for part in node.get("Plans", []) for loops in loops_over_energy(part)]

    assert loops_over_energy(plan[0]["Plan"]) == [48, 48]


def test_one_day_of_ten_years_is_read_in_a_blink(cursor: Any) -> None:
    put_meter(cursor, JST_MIDNIGHT)
    cursor.execute(
        "insert into energy (site_id, source, registered_at, import_kwh) "
        "select 1, 'history', %s + n * interval '30 minutes', n * 0.1 from generate_series(0, 175200) as n",
        (JST_MIDNIGHT,),
    )
    cursor.execute("analyze energy")
    cursor.execute("set statement_timeout = '2s'")
    cursor.execute(
        "select count(used_kwh), sum(used_kwh)::text from energy_half_hour "
        "where site_id = 1 and started_at >= '2030-01-01 00:00+09' and started_at < '2030-01-02 00:00+09'"
    )
    assert cursor.fetchone() == (48, "4.8")


def test_the_file_is_found_beside_the_rooms() -> None:
    assert init_sql_path() == Path(__file__).resolve().parent.parent / "init.sql"


# --- where it is


def test_an_installed_wheel_finds_it_among_its_data_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing stands beside the rooms there. Source: Python packaging, data-files go below the environment's root."""
    monkeypatch.setattr(schema, "__file__", str(tmp_path / "lib" / "storage" / "schema.py"))
    shared = tmp_path / "share" / "power-consumption" / "init.sql"
    listed = PackagePath("../../../share/power-consumption/init.sql")
    monkeypatch.setattr(listed, "locate", lambda: shared, raising=False)
    monkeypatch.setattr("importlib.metadata.files", lambda _name: [PackagePath("version.py"), listed])
    assert init_sql_path() == shared


@pytest.mark.parametrize("is_installed", [True, False])
def test_an_installation_without_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_installed: bool
) -> None:
    def files(name: str) -> list[PackagePath]:
        if not is_installed:
            raise PackageNotFoundError(name)
        return [PackagePath("version.py")]

    monkeypatch.setattr(schema, "__file__", str(tmp_path / "lib" / "storage" / "schema.py"))
    monkeypatch.setattr("importlib.metadata.files", files)
    with pytest.raises(StorageError, match="install power-consumption again"):
        init_sql_path()
