"""docs/schema.md and docs/scaling.md against a real PostgreSQL: columns, roles, queries, statements."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from storage.database import Database
from storage.embedded import EmbeddedServer
from storage.records import TABLES, PowerRow, Round
from tests.lab.documents import ROOT, beside, both_languages, code, prose, rows, section_named

SCHEMA = ROOT / "docs" / "schema.md"
SCALING = ROOT / "docs" / "scaling.md"


@pytest.fixture(scope="module")
def tables(module_database_url: str) -> Iterator[Any]:
    """Connect to a database with our tables, which is only looked at."""
    with closing(psycopg2.connect(module_database_url)) as opened:
        opened.set_session(readonly=True, autocommit=True)
        yield opened


# --- the schema


def columns_of(connection: Any, relation: str) -> list[tuple[str, str]]:
    """Return name and type of each column, in their order."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select column_name, data_type from information_schema.columns "
            "where table_schema = 'public' and table_name = %s order by ordinal_position",
            (relation,),
        )
        return list(cursor.fetchall())


TABLE_NAMES = ("site", *sorted(TABLES.values()))
VIEW_NAMES = ("energy_half_hour", "energy_day")


@pytest.mark.parametrize("table", TABLE_NAMES)
def test_the_columns_in_the_schema_are_those_of_the_database(tables: Any, table: str) -> None:
    documented = [(*code(cells[0]), cells[1]) for cells in rows(section_named(SCHEMA, table)) if len(cells) == 4]
    assert documented == columns_of(tables, table)


@pytest.mark.parametrize("row_class", TABLES, ids=TABLES.values())
def test_the_columns_in_the_schema_are_the_fields_of_the_rows(row_class: type) -> None:
    documented = {code(cells[0])[0] for cells in rows(section_named(SCHEMA, TABLES[row_class])) if len(cells) == 4}
    assert documented == {"site_id", *(field.name for field in fields(row_class))}


def test_the_views_in_the_schema_have_the_columns_of_the_database(tables: Any) -> None:
    text = section_named(SCHEMA, "Views")
    for view in VIEW_NAMES:
        (listed,) = re.findall(rf"\*\*`{view}`\*\*: (.*?): ", text)
        assert code(listed) == [name for name, _ in columns_of(tables, view)]


def test_the_kinds_of_radio_events_are_those_of_the_database(tables: Any) -> None:
    documented = {
        kind for cells in rows(section_named(SCHEMA, "radio_event")) if len(cells) == 2 for kind in code(cells[0])
    }
    with tables.cursor() as cursor:
        cursor.execute(
            "select col_description('radio_event'::regclass, attnum) from pg_attribute "
            "where attrelid = 'radio_event'::regclass and attname = 'kind'"
        )
        (comment,) = cursor.fetchone()
    assert documented == set(re.findall(r"\w+", comment))


@both_languages
def test_each_language_has_every_table_and_column(tables: Any, readme: Path) -> None:
    documented = {
        code(cells[0])[0]: code(cells[2])
        for cells in rows(beside(readme, "schema.md").read_text(encoding="utf-8"))
        if len(cells) == 3 and cells[0].strip("`") in TABLE_NAMES
    }
    assert documented == {table: [name for name, _ in columns_of(tables, table)] for table in TABLE_NAMES}
    assert set(VIEW_NAMES) <= set(code(prose(beside(readme, "schema.md"))))


# --- statements


@pytest.fixture
def two_sites(connection: Any) -> Any:
    """Give a database with two sites, a role for the poller and the last day of 2026 and the first of 2027 (Japan)."""
    with connection.cursor() as cursor:
        cursor.execute("insert into site (name) values ('home'), ('shed')")
        cursor.execute(
            "insert into power (measured_at, site_id, power_w) "
            "select minute, site_id, 500 from site, "
            "generate_series(timestamptz '2026-12-31 00:00+09', '2027-01-01 23:59+09', interval '1 minute') as minute"
        )
    return connection


@pytest.fixture
def roles(postgres_server: EmbeddedServer) -> Iterator[None]:
    """Make the roles that the documents grant to. They go after the database in which they were granted something."""
    with closing(psycopg2.connect(postgres_server.url("postgres"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("create role power_writer login; create role power_reader login")
            yield
            cursor.execute("drop role power_writer, power_reader")


def run_blocks(connection: Any, statements: Sequence[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def counts(connection: Any) -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute("select tableoid::regclass::text, count(*) from power group by 1")
        return dict(cursor.fetchall())


def sql_under(path: Path, heading: str) -> list[str]:
    return re.findall(r"^```sql\n(.*?)^```$", section_named(path, heading), re.MULTILINE | re.DOTALL)


MINUTES = 1440


@pytest.fixture
def partitioned(roles: None, two_sites: Any) -> Any:
    """Cut a table that holds a day on each side of the year's end, as the document says."""
    with two_sites.cursor() as cursor:
        cursor.execute("delete from power where measured_at >= '2027-01-01 00:00+09'")
    run_blocks(two_sites, sql_under(SCALING, "Time partitions")[:1])
    run_blocks(two_sites, [(ROOT / "init.sql").read_text(encoding="utf-8")])
    return two_sites


def test_partitioning_keeps_every_row_and_puts_new_ones_in_their_year(partitioned: Any, database_url: str) -> None:
    assert counts(partitioned) == {"power_until_2026": 2 * MINUTES}
    ticks = [datetime(2026, 12, 31, 14, 59, tzinfo=UTC), datetime(2026, 12, 31, 15, tzinfo=UTC)]  # Japan's midnight
    ticks.append(datetime(2028, 5, 1, tzinfo=UTC))
    database = Database.from_url(database_url, site="home")
    with closing(database):
        for _ in range(2):  # the same reading twice changes nothing
            refused = database.write([Round((PowerRow(tick, None, None, None, None, None),)) for tick in ticks])
            assert refused == ()
        database.check()
    assert counts(partitioned) == {"power_until_2026": 2 * MINUTES, "power_2027": 1, "power_later": 1}


def test_a_year_made_late_takes_its_rows_over_and_a_year_can_be_parted_with(partitioned: Any) -> None:
    _, make_2028, detach_2027 = sql_under(SCALING, "Time partitions")
    run_blocks(
        partitioned,
        ["insert into power (measured_at, site_id) values ('2027-06-01', 1), ('2028-06-01', 1), ('2030-01-01', 1)"],
    )
    run_blocks(partitioned, [make_2028])
    assert counts(partitioned) == {"power_until_2026": 2 * MINUTES, "power_2027": 1, "power_2028": 1, "power_later": 1}
    run_blocks(partitioned, [detach_2027])
    assert "power_2027" not in counts(partitioned)


def test_the_views_are_the_same_over_a_partitioned_table_of_half_hours(roles: None, two_sites: Any) -> None:
    in_the_day = "timestamptz '2026-12-31 00:00+09', timestamptz '2027-01-01 00:00+09', interval '30 minutes'"
    run_blocks(
        two_sites,
        [
            "insert into energy (registered_at, site_id, import_kwh, export_kwh, source) "
            f"select half_hour, site_id, 100 + number * site_id, 5, 'read' from site, generate_series({in_the_day}) "
            "with ordinality as slots (half_hour, number) where number <> 7",
        ],
    )
    views = [f"select * from {view} order by 1, 2" for view in VIEW_NAMES]
    before = [rows_of(two_sites, view) for view in views]
    (cut, *_) = sql_under(SCALING, "Time partitions")
    cut = re.sub(r"\bpower(?=_until|_pkey|_later|_\d|\b(?!_writer|_reader))", "energy", cut).replace(
        "measured_at", "registered_at"
    )
    # Nothing of the new year may be in the table that becomes the old years.
    run_blocks(two_sites, ["delete from energy where registered_at >= '2027-01-01 00:00+09'", cut])
    run_blocks(two_sites, [(ROOT / "init.sql").read_text(encoding="utf-8")])
    run_blocks(
        two_sites,
        [
            "insert into energy (registered_at, site_id, import_kwh, export_kwh, source) "
            "select '2027-01-01 00:00+09', site_id, 100 + 49 * site_id, 5, 'read' from site"
        ],
    )
    assert [rows_of(two_sites, view) for view in views] == before
    assert [used for *_, used, _ in before[1]] == [48, 96]
    assert rows_of(two_sites, "select count(*) from energy_2027") == [(2,)]


def rows_of(connection: Any, query: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def test_the_newest_half_hours_by_hand_are_those_of_the_view(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("insert into site (site_id, name) overriding system value values (1, 'home')")
        cursor.execute(
            "insert into meter (site_id, since, serial_number, unit_kwh, digits) values "
            "(1, '2026-01-01', 'A', 0.1, 4), (1, '2026-12-31 19:17+09', 'B', 0.1, 4)"
        )
        cursor.execute(
            "insert into energy (registered_at, site_id, import_kwh, export_kwh, source) "
            "select half_hour, 1, (990 + 0.3 * number) % 1000, 0.1 * number, 'read' from generate_series(timestamptz "
            "'2026-12-30 00:00+09', '2027-01-01 00:00+09', '30 min') with ordinality as slots (half_hour, number) "
            "where number not in (80, 81)"
        )
    (by_hand,) = sql_under(SCHEMA, "Views")
    view = "select started_at, used_kwh, sold_kwh from energy_half_hour where site_id = 1 order by 1 desc limit 51"
    begin = datetime(2026, 12, 29, 15, tzinfo=UTC)
    lacking = {begin + number * timedelta(minutes=30) for number in (78, 79, 80)}
    expected = [row for row in rows_of(connection, view) if row[0] not in lacking]
    assert rows_of(connection, by_hand) == expected
    assert len(expected) == 48
    assert [used for _, used, _ in expected].count(None) == 1  # the half hour of the exchange


def test_the_roles_of_poller_and_graphs_work_on_partitions(partitioned: Any) -> None:
    run_blocks(
        partitioned,
        [
            "grant usage on schema public to power_writer, power_reader",
            "set role power_writer",
            "insert into power (measured_at, site_id) values ('2027-06-01', 1)",
        ],
    )
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        run_blocks(partitioned, ["delete from power"])
    run_blocks(partitioned, ["set role power_reader"])
    assert rows_of(partitioned, "select count(*) from power where measured_at = '2027-06-01'") == [(1,)]
    run_blocks(partitioned, ["reset role"])


def test_sites_can_be_numbered_by_hand_as_citus_needs_it(connection: Any, database_url: str) -> None:
    (drop_identity,) = [line for line in "".join(sql_under(SCALING, "Citus")).splitlines() if "identity" in line]
    run_blocks(connection, [drop_identity, "insert into site (site_id, name) values (7, 'tokyo')"])
    database = Database.from_url(database_url, site="tokyo")
    with closing(database):
        database.write([Round((PowerRow(datetime(2026, 1, 1, tzinfo=UTC), 100, None, None, None, None),))])
    with connection.cursor() as cursor:
        cursor.execute("select site_id, power_w from power")
        assert cursor.fetchall() == [(7, 100)]


def test_every_table_that_is_spread_by_site_is_named_for_citus() -> None:
    statements = "".join(sql_under(SCALING, "Citus"))
    spread = re.findall(r"create_distributed_table\('(\w+)', 'site_id'", statements)
    assert sorted(spread) == sorted(TABLES.values())


def test_the_roles_of_the_schema_can_do_what_they_need_and_no_more(connection: Any) -> None:
    run_blocks(connection, sql_under(SCHEMA, "Roles"))
    tables = ", ".join(TABLE_NAMES)
    with connection.cursor() as cursor:
        cursor.execute(
            "select grantee, table_name, string_agg(privilege_type, ' ' order by privilege_type) "
            "from information_schema.role_table_grants where grantee in ('power_writer', 'power_reader') group by 1, 2"
        )
        granted = {(grantee, table): privileges for grantee, table, privileges in cursor.fetchall()}
        cursor.execute(f"revoke all on {tables}, {', '.join(VIEW_NAMES)} from power_writer, power_reader")
        cursor.execute("revoke all on schema public from power_writer, power_reader")
        cursor.execute("drop role power_writer, power_reader")
    assert granted == {
        **{("power_writer", table): "INSERT SELECT" for table in TABLE_NAMES},
        **{("power_writer", view): "SELECT" for view in VIEW_NAMES},
        **{("power_reader", relation): "SELECT" for relation in (*TABLE_NAMES, *VIEW_NAMES)},
    }


def without_macros(query: str) -> str:
    """Put in what Grafana would, for 2026-12-31 in Japan and buckets of ten minutes."""
    query = re.sub(r"\$__timeGroupAlias\((\w+), \$__interval\)", r"date_bin('10 min', \1, 'epoch') as time", query)
    day = "between '2026-12-31 00:00+09' and '2026-12-31 23:59:59+09'"
    query = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 {day}", query)
    assert "$" not in query
    return query


def test_the_queries_for_grafana_give_rows(two_sites: Any) -> None:
    run_blocks(
        two_sites,
        [
            "insert into energy select half_hour, 1, 100 + 0.2 * number, 0, 'read' from generate_series(timestamptz "
            "'2026-12-31 00:00+09', '2027-01-01 00:00+09', '30 min') with ordinality as slots (half_hour, number)",
            "insert into co2 values ('2026-12-31 10:00+09', 1, 400, null, true)",
            "insert into co2 values ('2026-12-31 10:01+09', 1, 900, 25, false)",
            "insert into bme280 values ('2026-12-31 10:01+09', 1, 21.5, 40, 1010)",
        ],
    )
    power, energy, air = (without_macros(query) for query in sql_under(SCHEMA, "Grafana"))
    with two_sites.cursor() as cursor:
        cursor.execute(power)
        found = cursor.fetchall()
        assert [column.name for column in cursor.description] == ["time", "power W"]
        assert (len(found), {float(row[1]) for row in found}) == (144, {500.0})
        cursor.execute(energy)
        found = cursor.fetchall()
        assert (len(found), {float(row[1]) for row in found}) == (48, {0.2})
        cursor.execute(air)
        ((_, co2_ppm, temperature_c, humidity_pct),) = cursor.fetchall()
        assert (float(co2_ppm), temperature_c, humidity_pct) == (900.0, 21.5, 40.0)
