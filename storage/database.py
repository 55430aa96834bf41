"""Writes rounds of readings into PostgreSQL over one long-lived connection, and answers what the backfill asks."""

from __future__ import annotations

import itertools
import logging
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.errors

from storage.connection import connect, masked_url, one_line
from storage.errors import DatabaseAwayError, MissingTablesError
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
from storage.schema import init_sql_path

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class with a lower-case name
    from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class with a lower-case name

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 0.5  # of the 10 s in which a signal ends the poller

_FIND_SITE = "select site_id from site where name = %s"
_ADD_SITE = "insert into site (name) values (%s) on conflict do nothing"

_INSERT_POWER = """
insert into power (site_id, measured_at, power_w, current_r_a, current_t_a, import_kwh, export_kwh)
values %s on conflict do nothing
"""
_INSERT_ENERGY = """
insert into energy (site_id, registered_at, import_kwh, export_kwh, source)
values %s on conflict do nothing
"""
_INSERT_METER = """
insert into meter (site_id, since, manufacturer, serial_number, release, coefficient, unit_kwh, digits)
values %s on conflict do nothing
"""
_INSERT_CPU_TEMPERATURE = """
insert into cpu_temperature (site_id, measured_at, temperature_c)
values %s on conflict do nothing
"""
_INSERT_CO2 = """
insert into co2 (site_id, measured_at, co2_ppm, temperature_c, warming_up)
values %s on conflict do nothing
"""
_INSERT_BME280 = """
insert into bme280 (site_id, measured_at, temperature_c, humidity_pct, pressure_hpa)
values %s on conflict do nothing
"""
_INSERT_RADIO_EVENT = """
insert into radio_event (site_id, happened_at, kind, duration_s, channel, pan_id, signal_dbm, detail)
values %s on conflict do nothing
"""

_LATEST_METER = """
select since, manufacturer, serial_number, release, coefficient, unit_kwh, digits
from meter where site_id = %s order by since desc limit 1
"""

_MISSING_RELATIONS = """
select name from unnest(array['site', 'meter', 'power', 'energy', 'cpu_temperature', 'co2', 'bme280', 'radio_event',
                              'energy_half_hour', 'energy_day']) as name
where to_regclass(name) is null
"""


@dataclass(frozen=True, slots=True)
class _Insert:
    """How the rows of one class get into their table: the statement, and the values after site_id, in its order."""

    sql: str
    values: Callable[[Any], tuple[Any, ...]]


_INSERTS: Mapping[type[Row], _Insert] = {
    PowerRow: _Insert(
        _INSERT_POWER,
        attrgetter("measured_at", "power_w", "current_r_a", "current_t_a", "import_kwh", "export_kwh"),
    ),
    EnergyRow: _Insert(_INSERT_ENERGY, attrgetter("registered_at", "import_kwh", "export_kwh", "source")),
    MeterRow: _Insert(
        _INSERT_METER,
        attrgetter("since", "manufacturer", "serial_number", "release", "coefficient", "unit_kwh", "digits"),
    ),
    CpuTemperatureRow: _Insert(_INSERT_CPU_TEMPERATURE, attrgetter("measured_at", "temperature_c")),
    Co2Row: _Insert(_INSERT_CO2, attrgetter("measured_at", "co2_ppm", "temperature_c", "warming_up")),
    Bme280Row: _Insert(_INSERT_BME280, attrgetter("measured_at", "temperature_c", "humidity_pct", "pressure_hpa")),
    RadioEventRow: _Insert(
        _INSERT_RADIO_EVENT,
        attrgetter("happened_at", "kind", "duration_s", "channel", "pan_id", "signal_dbm", "detail"),
    ),
}


# What a row itself is to blame for. ValueError: psycopg2 finds a NUL in a text, or half a surrogate pair.
_REFUSALS = (psycopg2.DataError, psycopg2.IntegrityError, ValueError)


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that PostgreSQL will never take for what it says, and why. Trying again is of no use."""

    row: Row
    reason: str


class Database:
    """The record in PostgreSQL, over one connection that is opened when first needed. Knows nothing of the spool.

    Every method may raise DatabaseAwayError; the connection is then dropped, and the next call opens a new one.
    For one thread at a time, but for close(), which any thread may call.
    """

    def __init__(self, connect: Callable[[], Connection], *, site: str, shown_url: str = "URL") -> None:
        """Write as *site*, over what *connect* returns; *shown_url* stands in messages and must hold no password."""
        self._connect = connect
        self._site = site
        self._shown_url = shown_url
        self._connection: Connection | None = None
        self._site_id: int | None = None
        self._in_use = threading.RLock()  # by the thread that is asking

    @classmethod
    def from_url(cls, url: str, *, site: str) -> Database:
        """Make a Database that connects to a libpq *url*, which it never shows."""
        return cls(lambda: connect(url), site=site, shown_url=masked_url(url))

    def write(self, rounds: Sequence[Round]) -> tuple[RefusedRow, ...]:
        """Store *rounds* in one transaction; what is there already stays as it is. Return the rows that were refused.

        Raises: DatabaseAwayError: it is unknown whether anything was stored; to write the same again is harmless.
        """
        rows = [row for each in rounds for row in each.rows]
        try:
            with self.transaction() as (cursor, site_id):
                _insert_by_table(cursor, site_id, rows)
        except _REFUSALS:
            with self.transaction() as (cursor, site_id):
                return _insert_one_by_one(cursor, site_id, rows)
        return ()

    def latest_meter(self) -> MeterRow | None:
        """Give the meter in service as far as the record knows; None: it knows of none."""
        with self.transaction() as (cursor, site_id):
            cursor.execute(_LATEST_METER, (site_id,))
            found = cursor.fetchone()
        return MeterRow(found[0].astimezone(UTC), *found[1:]) if found else None

    def check(self) -> str:
        """Look whether every table and view is there; return what the server calls itself.

        Raises: MissingTablesError: with the command that makes them.
        """
        with self.transaction(needs_site=False) as (cursor, _):
            cursor.execute(_MISSING_RELATIONS)
            missing = ", ".join(name for (name,) in cursor.fetchall())
            if missing:
                raise self._missing_tables(missing)
            cursor.execute("select split_part(version(), ' on ', 1)")
            version = cursor.fetchone()
        return str(version[0]) if version else ""

    def close(self) -> None:
        """Close the connection; the next call would open a new one.

        Returns within CLOSE_TIMEOUT_S: a connection over which another thread asks that long is left to the end of the
        process, since psycopg2 would wait for the answer without a limit.
        """
        if not self._in_use.acquire(timeout=CLOSE_TIMEOUT_S):
            logger.info("%s still owes an answer; the connection ends with the process", self._shown_url)
            return
        try:
            self._drop()
        finally:
            self._in_use.release()

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(psycopg2.Error):
                self._connection.close()
        self._connection = None
        self._site_id = None  # the next server may be another, with other numbers

    @contextmanager
    def transaction(self, *, needs_site: bool = True) -> Iterator[tuple[Cursor, int]]:
        """Open one transaction and give its cursor and our site_id; commit at the end, roll back on an error.

        Raises: DatabaseAwayError: whatever goes wrong that is not a row's fault.
        """
        with self._in_use, self._explaining():
            if self._connection is None:
                self._connection = self._connect()
            if needs_site and self._site_id is None:
                # In a transaction of its own: the site stays where the rows after it are refused.
                try:
                    with self._connection, self._connection.cursor() as cursor:
                        self._site_id = _find_or_add_site(cursor, self._site)
                except _REFUSALS as err:  # such as a name that the encoding of the database has no letters for
                    raise DatabaseAwayError(f"the site {self._site!r} cannot be stored: {one_line(err)}") from err
            with self._connection, self._connection.cursor() as cursor:
                yield cursor, self._site_id or 0

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Let through what is a row's fault; drop the connection for all else, and say what is wrong with it."""
        try:
            yield
        except (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn) as err:
            self._drop()
            raise self._missing_tables(one_line(err)) from err
        except psycopg2.Error as err:
            if _is_fault_of_a_row(err):
                raise
            self._drop()
            # Rolling back on a lost connection fails as well, and hides why it was lost.
            why = err.__context__ if isinstance(err.__context__, psycopg2.Error) else err
            raise DatabaseAwayError(f"{self._shown_url}: {one_line(why)}") from err

    def _missing_tables(self, what: str) -> MissingTablesError:
        path, url = shlex.quote(str(init_sql_path())), shlex.quote(self._shown_url)
        return MissingTablesError(f"tables are missing ({what}); run: psql -1 -v ON_ERROR_STOP=1 -f {path} {url}")


def _is_fault_of_a_row(err: Exception) -> bool:
    """Tell what a row will always be refused for from what somebody has to put right in the database."""
    if isinstance(err, psycopg2.errors.ForeignKeyViolation):  # the site was removed under us
        return False
    if isinstance(err, psycopg2.errors.CheckViolation) and err.diag.constraint_name is None:  # no partition for it
        return False
    return isinstance(err, _REFUSALS)


def _find_or_add_site(cursor: Cursor, name: str) -> int:
    """Look up the number of a site, or add it. Two that add it at once get the same number."""
    cursor.execute(_FIND_SITE, (name,))
    found = cursor.fetchone()
    if found is None:
        cursor.execute(_ADD_SITE, (name,))
        cursor.execute(_FIND_SITE, (name,))
        found = cursor.fetchone()
    if found is None:
        raise DatabaseAwayError(f"site {name!r} cannot be read after it was added")
    return int(found[0])


def _insert_by_table(cursor: Cursor, site_id: int, rows: Sequence[Row]) -> None:
    """Insert *rows* with one statement a table, and all of these in one message to the server."""
    by_class: dict[type[Row], list[tuple[Any, ...]]] = {}
    for row in rows:
        by_class.setdefault(type(row), []).append((site_id, *_INSERTS[type(row)].values(row)))
    statements: list[str] = []
    parameters: list[Any] = []
    for row_class, values in by_class.items():
        one_row = f"({', '.join(['%s'] * len(values[0]))})"
        statements.append(_INSERTS[row_class].sql.replace("%s", ", ".join([one_row] * len(values))))
        parameters.extend(itertools.chain.from_iterable(values))
    if statements:
        cursor.execute(";".join(statements), parameters)


def _insert_one_by_one(cursor: Cursor, site_id: int, rows: Sequence[Row]) -> tuple[RefusedRow, ...]:
    """Insert *rows*, each on its own, leaving out and returning those that are refused."""
    refused: list[RefusedRow] = []
    for row in rows:
        cursor.execute("savepoint one_row")
        try:
            _insert_by_table(cursor, site_id, [row])
        except _REFUSALS as err:
            if not _is_fault_of_a_row(err):
                raise
            cursor.execute("rollback to savepoint one_row")
            refused.append(RefusedRow(row, one_line(err)))
        cursor.execute("release savepoint one_row")
    return tuple(refused)
