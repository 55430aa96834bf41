"""Fakes of the storage room: rounds to write, a clock, and a database that is away, slow or particular on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from storage.database import RefusedRow
from storage.errors import DatabaseAwayError
from storage.records import (
    Bme280Row,
    Co2Row,
    CpuTemperatureRow,
    EnergyRow,
    MeterRow,
    PowerRow,
    RadioEventRow,
    Round,
    Row,
)

FIRST_AT = datetime(2024, 2, 29, 14, 59, tzinfo=UTC)


def power_row(number: int, power_w: int | None = None) -> PowerRow:
    """Make the poll of minute *number*; its power tells it from others."""
    at = FIRST_AT + timedelta(minutes=number)
    watts = number if power_w is None else power_w
    return PowerRow(at, watts, Decimal("17.1"), None, Decimal("12345.6"), Decimal("0.30"))


def round_of(number: int) -> Round:
    """Make a round of one power row."""
    return Round((power_row(number),))


def full_round(number: int) -> Round:
    """Make a round with a row of every table."""
    at = FIRST_AT + timedelta(minutes=number)
    return Round(
        (
            power_row(number),
            CpuTemperatureRow(at, 48.312),
            Co2Row(at, 512, None, True),
            Bme280Row(at, -0.5, 45.25, 1013.25),
            RadioEventRow(at, "scan", 1.5, 33, 0x8888, -61.5, 'found "it" \u2713'),
            EnergyRow(datetime(2024, 3, 1, tzinfo=UTC) + number * timedelta(minutes=30), Decimal("1.10"), None, "read"),
            MeterRow(at, "000016", "ABC123", "F", 1, Decimal("0.1"), 6),
        )
    )


class Clock:
    """A monotonic clock and a calendar that move only when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return FIRST_AT + timedelta(seconds=self.seconds)

    def pass_s(self, seconds: float) -> None:
        self.seconds += seconds


class FakeDatabase:
    """Keeps rows once each, like a table with keys. Away, hanging or refusing when told."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.is_away = False
        self.attempts = 0
        self.is_closed = False
        self.refuses: Callable[[Row], bool] = lambda _row: False
        self.answers = threading.Event()  # cleared: write() hangs until it is set
        self.answers.set()

    def write(self, rounds: Sequence[Round]) -> tuple[RefusedRow, ...]:
        self.attempts += 1
        if not self.answers.wait(timeout=30.0):
            raise AssertionError("nobody let the database answer")
        if self.is_away:
            raise DatabaseAwayError("connection refused")
        rows = [row for each in rounds for row in each.rows]
        self.rows += [row for row in rows if row not in self.rows and not self.refuses(row)]
        return tuple(RefusedRow(row, "out of range") for row in rows if self.refuses(row))

    def close(self) -> None:
        self.is_closed = True

    def watts(self) -> list[int | None]:
        return [row.power_w for row in self.rows if isinstance(row, PowerRow)]
