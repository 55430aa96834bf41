"""What the poller asks the record, against a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from storage.database import Database
from storage.errors import DatabaseAwayError
from storage.holes import KnownMeter, LastRegisters, known_meter, last_registers
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
    assert known_meter(database) is None
    assert last_registers(database, before=NOON) is None


def test_the_first_meter_took_nobodys_place(database: Database) -> None:
    store(database, FIRST)
    assert known_meter(database) == KnownMeter(FIRST, replaced=False)


def test_the_latest_meter_is_in_service(database: Database) -> None:
    store(database, FIRST, SECOND)
    assert known_meter(database) == KnownMeter(SECOND, replaced=True)


def test_the_meter_of_another_site_is_not_ours(database: Database, database_url: str) -> None:
    with closing(Database.from_url(database_url, site="cabin")) as other:
        store(other, FIRST)
    store(database, SECOND)
    assert known_meter(database) == KnownMeter(SECOND, replaced=False)


def test_the_last_registers_are_those_of_the_last_row_that_has_any(database: Database) -> None:
    store(database, power(NOON, "100.1"), power(NOON + MINUTE), power(NOON + 3 * MINUTE, "100.4"))
    before = NOON + 3 * MINUTE
    assert last_registers(database, before=before) == LastRegisters(NOON, Decimal("100.1"), None)


def test_a_half_hour_may_be_the_last_register(database: Database) -> None:
    store(database, power(NOON - MINUTE, "99.9"), EnergyRow(NOON, Decimal("100.0"), Decimal("3.5"), "notified"))
    assert last_registers(database, before=NOON + MINUTE) == LastRegisters(NOON, Decimal("100.0"), Decimal("3.5"))


def test_a_database_that_is_away_is_said_to_be_away() -> None:
    def refuse() -> object:
        raise DatabaseAwayError("connection refused")

    away = Database(refuse, site="home")  # type: ignore[arg-type]  # there is never a connection
    with pytest.raises(DatabaseAwayError):
        known_meter(away)
