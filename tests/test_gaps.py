"""What the poller reads from the database, against a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from storage.database import Database
from storage.errors import DatabaseUnreachableError
from storage.gaps import KnownMeter, LastRegisters, energy_gaps, known_meter, last_registers
from storage.records import EnergyRow, MeterRow, PowerRow, Round, Row

NOON = datetime(2026, 6, 1, 3, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FIRST = MeterRow(NOON, "000016", "SIM0000001", "F", 1, Decimal("0.1"), 6)
SECOND = MeterRow(NOON + MINUTE, "000016", "SIM0000002", "F", 1, Decimal("0.1"), 6)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with closing(Database.from_url(database_url, site="home")) as opened:
        yield opened


def power(at: datetime, import_kwh: str | None = None) -> PowerRow:
    return PowerRow(at, 100, None, None, Decimal(import_kwh) if import_kwh else None, None)


def store(database: Database, *rows: Row) -> None:
    assert database.write([Round(rows)]) == ()


def test_an_empty_record_knows_no_meter_and_no_register(database: Database) -> None:
    assert database.query(known_meter) is None
    assert last_known(database, NOON) is None


def test_the_first_meter_took_nobodys_place(database: Database) -> None:
    store(database, FIRST)
    assert database.query(known_meter) == KnownMeter(FIRST, serves_from=None)


def test_the_latest_meter_is_in_service(database: Database) -> None:
    store(database, FIRST, SECOND)
    assert database.query(known_meter) == KnownMeter(SECOND, serves_from=SECOND.since)


def test_a_row_that_changes_the_scale_only_is_no_exchange(database: Database) -> None:
    rescaled = replace(SECOND, since=NOON + 2 * MINUTE, unit_kwh=Decimal("0.01"))
    store(database, FIRST, SECOND, rescaled)
    assert database.query(known_meter) == KnownMeter(rescaled, serves_from=SECOND.since)


def test_a_row_without_a_serial_number_is_an_exchange(database: Database) -> None:
    nameless = replace(FIRST, serial_number=None)
    later = replace(nameless, since=NOON + MINUTE)
    store(database, nameless, later)
    assert database.query(known_meter) == KnownMeter(later, serves_from=later.since)


def test_the_meter_of_another_site_is_not_ours(database: Database, database_url: str) -> None:
    with closing(Database.from_url(database_url, site="cabin")) as other:
        store(other, FIRST)
    store(database, SECOND)
    assert database.query(known_meter) == KnownMeter(SECOND, serves_from=None)


def test_the_last_registers_are_those_of_the_last_row_that_has_any(database: Database) -> None:
    store(database, power(NOON, "100.1"), power(NOON + MINUTE), power(NOON + 3 * MINUTE, "100.4"))
    before = NOON + 3 * MINUTE
    assert last_known(database, before) == LastRegisters(NOON, Decimal("100.1"), None)


def test_a_half_hour_may_be_the_last_register(database: Database) -> None:
    store(database, power(NOON - MINUTE, "99.9"), EnergyRow(NOON, Decimal("100.0"), Decimal("3.5"), "notified"))
    assert last_known(database, NOON + MINUTE) == LastRegisters(NOON, Decimal("100.0"), Decimal("3.5"))


def last_known(database: Database, before: datetime) -> LastRegisters | None:
    return database.query(lambda cursor, site_id: last_registers(cursor, site_id, before=before))


def gaps(database: Database, days: int, now: datetime) -> list[datetime]:
    return database.query(lambda cursor, site_id: energy_gaps(cursor, site_id, days, now=now))


def test_gaps_are_the_half_hours_without_a_row_newest_first(database: Database) -> None:
    # 2024-03-02 01:10 in Japan; one day before, so from 2024-03-01 00:00 Japan = 2024-02-29 15:00 UTC.
    now = datetime(2024, 3, 1, 16, 10, tzinfo=UTC)
    first = datetime(2024, 2, 29, 15, 0, tzinfo=UTC)
    slots = [first + n * timedelta(minutes=30) for n in range(51)]  # 48 of the day, 00:00, 00:30, 01:00 of the next
    assert gaps(database, 1, now) == slots[::-1]
    kept = {0, 7, 8, 49}
    store(database, *(EnergyRow(slots[n], Decimal(n), None, "read") for n in sorted(kept)))
    assert gaps(database, 1, now) == [slots[n] for n in range(50, -1, -1) if n not in kept]
    assert gaps(database, 0, now) == [slots[50], slots[48]]


def test_the_gaps_of_ninety_nine_days_are_all_of_them(database: Database) -> None:
    found = gaps(database, 99, datetime(2024, 5, 1, 14, 59, tzinfo=UTC))  # 23:59 in Japan
    assert len(found) == 100 * 48
    # 99 days before 2024-05-01 is 2024-01-23, which begins at 15:00 UTC of the day before.
    assert found[-1] == datetime(2024, 1, 22, 15, 0, tzinfo=UTC)


def test_another_sites_half_hours_fill_no_gap(database: Database, database_url: str) -> None:
    with closing(Database.from_url(database_url, site="cabin")) as other:
        store(other, EnergyRow(NOON, Decimal(1), None, "read"))
    assert gaps(database, 0, NOON)[0] == NOON


def test_looking_for_gaps_reads_a_hundred_days_however_long_the_record_is(database: Database, connection: Any) -> None:
    """Five years are 87,600 rows on some 700 pages; a hundred days are 4,800 entries of the key, on some 20."""
    store(database, EnergyRow(NOON, Decimal(100_000), None, "read"))
    cursor = connection.cursor()
    cursor.execute(
        "insert into energy (site_id, registered_at, import_kwh, source) "
        "select site_id, %s - n * interval '30 minutes', 100000 - n, 'history' "
        "from site, generate_series(87600, 1, -1) as n",
        (NOON,),
    )
    cursor.execute("vacuum analyze energy")
    cursor.execute("select site_id from site")
    ((site_id,),) = cursor.fetchall()

    class Explaining:
        """Explains the query with PostgreSQL, and counts the pages it takes."""

        def execute(self, query: str, values: dict[str, Any]) -> None:
            cursor.execute("explain (analyze, buffers, format json) " + query, values)

        def fetchall(self) -> list[tuple[datetime]]:
            return []

    assert energy_gaps(Explaining(), site_id, 99, now=NOON) == []  # type: ignore[arg-type]  # a cursor in two methods
    ((plan,),) = cursor.fetchall()
    pages = plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"]
    assert 4_800 / 400 < pages <= 25


def test_a_database_that_is_unreachable_is_reported_as_such() -> None:
    def refuse() -> object:
        raise DatabaseUnreachableError("connection refused")

    away = Database(refuse, site="home", shown="PostgreSQL")  # type: ignore[arg-type]  # there is never a connection
    with pytest.raises(DatabaseUnreachableError):
        away.query(known_meter)
