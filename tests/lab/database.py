"""Rounds to write, and a database that is unreachable, slow or particular on demand."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from storage.connection import connect
from storage.database import Database, RejectedRow
from storage.delivery import Delivery
from storage.errors import DatabaseUnreachableError
from storage.outbox import Outbox
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

RowT = TypeVar("RowT")
T = TypeVar("T")
FIRST_AT = datetime(2024, 2, 29, 14, 59, tzinfo=UTC)


def power_row(number: int, power_w: int | None = None) -> PowerRow:
    """Make the poll of minute *number*; its power identifies it."""
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


def no_connection() -> NoReturn:
    """Stand for the connection of a database that is none."""
    raise AssertionError("a fake connects to nothing")


class FakeDatabase(Database):
    """Keeps rows once each by the keys of init.sql; the first one stays. Away, hanging or refusing as it is set.

    A query gets no cursor.
    """

    def __init__(self) -> None:
        super().__init__(no_connection, site="home", shown="a fake")
        self.is_away = False
        self.reason = "connection refused"
        self.attempts = 0
        self.is_closed = False
        self.refuses: Callable[[Row], bool] = lambda _row: False
        self.responds = threading.Event()  # cleared: write() hangs until it is set
        self.responds.set()
        self._rows: dict[tuple[object, ...], Row] = {}

    @property
    def rows(self) -> list[Row]:
        """What it keeps, in the order in which it came."""
        return list(self._rows.values())

    def of(self, kind: type[RowT]) -> list[RowT]:
        """Return the rows of one table."""
        return [row for row in self._rows.values() if isinstance(row, kind)]

    def write(self, rounds: Sequence[Round]) -> tuple[RejectedRow, ...]:
        self.attempts += 1
        if not self.responds.wait(timeout=30.0):
            raise AssertionError("nobody let the database respond")
        if self.is_away:
            raise DatabaseUnreachableError(self.reason)
        rejected: list[RejectedRow] = []
        for row in (row for each in rounds for row in each.rows):
            if self.refuses(row):
                rejected.append(RejectedRow(row, "out of range", is_conflict=False))
            elif self._rows.setdefault(key_of(row), row) != row:
                rejected.append(RejectedRow(row, "another row has its place", is_conflict=True))
        return tuple(rejected)

    def query(self, read: Callable[[Any, int], T], *, needs_site: bool = True) -> T:
        if self.is_away:
            raise DatabaseUnreachableError(self.reason)
        return read(None, 1)

    def close(self) -> None:
        self.is_closed = True

    def watts(self) -> list[int | None]:
        return [row.power_w for row in self.of(PowerRow)]


def key_of(row: Row) -> tuple[object, ...]:
    """Return the row's table and its primary key, but for the site."""
    match row:
        case EnergyRow():
            return (type(row), row.registered_at)
        case MeterRow():
            return (type(row), row.since)
        case RadioEventRow():
            return (type(row), row.happened_at, row.kind)
        case _:
            return (type(row), row.measured_at)


class Queries:
    """A Database that can be away: it counts how often somebody connected. Without a *url* it always is."""

    def __init__(self, url: str | None, site: str) -> None:
        self.is_away = False
        self.count = 0
        self._url = url
        self._released: threading.Event | None = None
        self.database = Database(self._connect, site=site, shown="PostgreSQL")

    def _connect(self) -> Any:
        self.count += 1
        if self._released is not None and not self._released.wait(60.0):
            raise AssertionError("nobody let the database respond")
        if self.is_away or self._released or self._url is None:
            raise DatabaseUnreachableError("connection refused")
        return connect(self._url)

    def hang_until(self, released: threading.Event) -> None:
        """Let the database accept no connection before that."""
        self._released = released

    def leave(self) -> None:
        self.database.close()
        self.is_away = True


class Unreliable(Database):
    """Stands before a database: away four times a day or as it is set, and now and then failing after it has stored.

    *lost_answers*: the share of the commits that nobody hears of. *after_commit* comes before that.
    """

    def __init__(self, database: Database, now: Callable[[], datetime], *, seed: int, days: int) -> None:
        super().__init__(no_connection, site="home", shown="an unreliable database")
        self._database = database
        self._now = now
        self._random = random.Random(f"outages/{seed}")
        begin = now()
        self._spans = []
        for _ in range(4 * days):
            away_from = begin + days * timedelta(days=self._random.random())
            self._spans.append((away_from, away_from + timedelta(minutes=self._random.expovariate(1 / 45))))
        self.failures = 0
        self.is_away = False
        self.lost_answers = 0.005
        self.after_commit: Callable[[], object] = lambda: None

    def query(self, read: Callable[[Any, int], T], *, needs_site: bool = True) -> T:
        self._fail_if_away()
        return self._database.query(read, needs_site=needs_site)

    def _fail_if_away(self) -> None:
        if self.is_away or any(since <= self._now() < until for since, until in self._spans):
            self.failures += 1
            raise DatabaseUnreachableError("connection refused")

    def write(self, rounds: Sequence[Round]) -> tuple[RejectedRow, ...]:
        self._fail_if_away()
        rejected = self._database.write(rounds)
        self.after_commit()
        if self._random.random() < self.lost_answers:
            self.failures += 1
            raise DatabaseUnreachableError("the connection was lost after the commit")
        return rejected

    def close(self) -> None:
        self._database.close()


class Storage:
    """The outbox and its delivery, turn by turn: what the loop sees of them in virtual time."""

    def __init__(self, database: Database, data_dir: Path, *, monotonic: Callable[[], float]) -> None:
        self.outbox = Outbox(data_dir, fsync=False)
        self.delivery = Delivery(database, self.outbox, monotonic=monotonic)

    def write(self, stored: Round, /) -> None:
        """Keep *stored*, and deliver what is due."""
        self.outbox.append(stored)
        self.deliver()

    def deliver(self) -> int:
        """Do all that is due; return how many rounds still wait."""
        while not self.delivery.turn():
            pass
        return self.outbox.count()

    def close(self) -> None:
        self.delivery.close()
        self.outbox.close()


def run_at_once(database: Database) -> Callable[[Callable[[Any, int], Any]], Future[Any]]:
    """Return how to query *database* in virtual time: the future is done when it is returned."""

    def query(read: Callable[[Any, int], Any], /) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(database.query(read))
        except Exception as error:  # noqa: BLE001 - it is raised again where the result is taken
            future.set_exception(error)
        return future

    return query
