"""Writes rounds of readings into PostgreSQL over one connection, and runs queries over the same."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeVar

import psycopg2
import psycopg2.errors

from storage.connection import Connection, Cursor, connect, limits, one_line, shown_dsn
from storage.errors import DatabaseUnreachableError
from storage.records import TABLES, VIEWS, WRITTEN_TABLES, EnergyRow, RadioEventRow, Round, Row
from storage.remedies import remedy_for
from storage.rows_json import row_to_values
from storage.schema import NOT_APPLIED, missing_tables

logger = logging.getLogger(__name__)

T = TypeVar("T")

_FIND_SITE = "select site_id from site where name = %s"
_ADD_SITE = "insert into site (name) values (%s) on conflict do nothing"

# Which of the rows sent are there, and whether with another value. Compared in SQL, as what the column holds: a real is
# no float of Python. A value of ours in place of a null is a difference: it would be lost. A null of ours is none.
_COMPARED = """
select sent.number, {differences} from jsonb_array_elements(%s::jsonb) with ordinality as sent (body, number)
cross join lateral jsonb_populate_record(null::{table}, sent.body) as ours
join {table} as theirs using (site_id, {keys})
"""

_MISSING_RELATIONS = "select name from unnest(%s) as name where to_regclass(name) is null"


@dataclass(frozen=True, slots=True, eq=False)  # one a class of rows
class _Table:
    """How the rows of one class get into their table, and how they are compared with what is there."""

    name: str
    columns: Sequence[str]  # after site_id; the first is the time
    values: Callable[[Row], tuple[Any, ...]]  # of these columns
    compared: str

    def insert_of(self, number: int) -> str:
        """Return the statement that inserts *number* rows."""
        row = f"({', '.join(['%s'] * (1 + len(self.columns)))})"
        columns, rows = ", ".join(self.columns), ", ".join([row] * number)
        return f"insert into {self.name} (site_id, {columns}) values {rows} on conflict do nothing"

    @classmethod
    def of(cls, row_class: type[Row]) -> _Table:
        """Derive everything from the fields: they are named as the columns, and the time stands first."""
        table, columns = TABLES[row_class], [field.name for field in fields(row_class)]
        keys = [columns[0], "kind"] if row_class is RadioEventRow else [columns[0]]
        compared = [name for name in columns if name not in keys and (row_class, name) != (EnergyRow, "source")]
        differs = (f"theirs.{name} is distinct from ours.{name} and ours.{name} is not null" for name in compared)
        compare = _COMPARED.format(table=table, keys=", ".join(keys), differences=" or ".join(differs))
        return cls(table, columns, attrgetter(*columns), compare)


_TABLES: Mapping[type[Row], _Table] = {row_class: _Table.of(row_class) for row_class in TABLES}

# What a row itself is to blame for. RaiseException: a trigger does not want it. ProgramLimitExceeded: it is too long
# for an index. ValueError: psycopg2 finds a NUL in a text, or half a surrogate pair.
_REFUSALS = (
    psycopg2.DataError,
    psycopg2.IntegrityError,
    psycopg2.errors.RaiseException,
    psycopg2.errors.ProgramLimitExceeded,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that did not get into the database, and why.

    *is_conflict*: another row has its place, which is final; else the database refused it, and may take it one day.
    """

    row: Row
    reason: str
    is_conflict: bool


class Database:
    """The database, over one connection that is opened when first needed. Knows nothing of the outbox. For one thread.

    Every method may raise DatabaseUnreachableError. A connection that turns out dead is opened anew and the work done
    once more before that: servers and poolers end idle connections.
    """

    def __init__(self, connect: Callable[[], Connection], *, site: str, shown: str) -> None:
        """Write as *site*, over what *connect* returns; messages name it as *shown*."""
        self._connect = connect
        self.site = site
        self._shown = shown
        # While the server is waited for, on_wake is called when wake_fd is readable; what it raises goes through.
        self.wake_fd: int | None = None
        self.on_wake: Callable[[], None] | None = None
        self._connection: Connection | None = None
        self._site_id: int | None = None
        self._is_spread = False  # over several servers, by an extension that takes no statement for several tables

    @classmethod
    def from_url(cls, url: str, *, site: str) -> Database:
        """Make a Database that connects to a libpq *url*, whose secrets it never shows. Raises: UnreadableUrlError."""
        return cls(lambda: connect(url), site=site, shown=shown_dsn(url))

    def write(self, rounds: Sequence[Round]) -> tuple[RejectedRow, ...]:
        """Store *rounds* in one transaction; what is there already stays as it is. Return the rows that are not stored.

        Raises: DatabaseUnreachableError: whether anything was stored is unknown; to write the same again is harmless.
        """
        rows = [row for each in rounds for row in each.rows]
        if not rows:
            return ()
        try:
            if not self._is_spread and self._once_more(lambda: self._insert_at_once(rows)):
                return ()
            return tuple(self.query(lambda cursor, site_id: _insert(cursor, site_id, rows)))
        except _REFUSALS:
            return tuple(self.query(lambda cursor, site_id: _insert_one_by_one(cursor, site_id, rows)))

    def _insert_at_once(self, rows: Sequence[Row]) -> bool:
        """Store *rows* in one statement, the cheapest way; False: some have been there, or it cannot be done so."""
        with self._explaining():
            connection, site_id = self._ready()
            with connection.cursor() as cursor:
                by_table = _by_table(rows)
                statement = _statement_of(tuple((table, len(same)) for table, same in by_table))
                values = [value for table, same in by_table for value in _values_of(table, site_id, same)]
                try:
                    cursor.execute(f"{limits()}{statement}", values)  # one message: one transaction
                except psycopg2.NotSupportedError as err:  # tables that are spread over servers
                    logger.debug("rows are stored table by table: %s", one_line(err))
                    self._is_spread = True
                    return False
                return cursor.fetchall() == [(len(rows),)]

    def query(self, read: Callable[[Cursor, int], T], *, needs_site: bool = True) -> T:
        """Return what *read* does in one transaction; it is handed a cursor and our site_id.

        Raises: DatabaseUnreachableError: whatever goes wrong that is not a row's fault.
        """
        return self._once_more(lambda: self._transact(read, needs_site))

    def check(self) -> None:
        """Look whether every table and view is there.

        Raises: MissingTablesError: with the command that makes them.
        """

        def missing(cursor: Cursor, _site_id: int) -> str:
            cursor.execute(_MISSING_RELATIONS, ([*WRITTEN_TABLES, *VIEWS],))
            return ", ".join(name for (name,) in cursor.fetchall())

        if found := self.query(missing, needs_site=False):
            raise missing_tables(found, self._shown)

    def close(self) -> None:
        """Close the connection; the next call would open a new one."""
        if self._connection is not None:
            with suppress(psycopg2.Error):
                self._connection.close()
        self._connection = None
        self._site_id = None  # the next server may be another, with other numbers

    def _once_more(self, act: Callable[[], T]) -> T:
        """Do *act*, again over a new connection where the one that was open turns out dead."""
        was_open = self._connection is not None
        try:
            return act()
        except DatabaseUnreachableError as err:
            if not was_open:
                raise
            logger.debug("the connection was lost, and is opened anew: %s", err)
        return act()

    def _transact(self, read: Callable[[Cursor, int], T], needs_site: bool) -> T:
        with self._explaining():
            connection, site_id = self._ready(needs_site=needs_site)
            with _transaction(connection) as cursor:
                return read(cursor, site_id)

    def _ready(self, *, needs_site: bool = True) -> tuple[Connection, int]:
        """Return the connection and our site's number, 0 where that is not needed."""
        connection = self._connection = self._connection or self._opened()
        if needs_site and self._site_id is None:
            # In a transaction of its own: the site stays where the rows after it are refused.
            try:
                with _transaction(connection) as cursor:
                    self._site_id = _find_or_add_site(cursor, self.site)
            except _REFUSALS as err:  # such as a name that the encoding of the database has no letters for
                why = f"the site {self.site!r} cannot be stored: {one_line(err)}"
                raise DatabaseUnreachableError(why, "write another name as [storage] site") from err
        return connection, self._site_id or 0

    def _opened(self) -> Connection:
        connection = self._connect()
        connection.autocommit = True  # each transaction is begun by hand, with its limits
        connection.wake_fd, connection.on_wake = self.wake_fd, self.on_wake
        return connection

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Let through what is a row's fault; for anything else drop the connection and say what is wrong."""
        try:
            yield
        except NOT_APPLIED as err:
            self.close()
            raise missing_tables(one_line(err), self._shown) from err
        except psycopg2.Error as err:
            if _is_fault_of_a_row(err):
                raise
            self.close()
            reason = one_line(err)
            raise DatabaseUnreachableError(f"{self._shown}: {reason}", remedy_for(reason, err.pgcode)) from err
        except _REFUSALS:
            raise
        except BaseException:  # a stop in the middle of a statement, or a fault in *read*: nobody knows its state
            self.close()
            raise


@contextmanager
def _transaction(connection: Connection) -> Iterator[Cursor]:
    """Give the cursor of one bounded transaction; commit at the end, roll back on an error."""
    with connection.cursor() as cursor:
        cursor.execute(f"begin; {limits()}")
        try:
            yield cursor
        except (psycopg2.Error, ValueError):
            if not connection.closed:
                with suppress(psycopg2.Error):  # the first error is the one that says what is wrong
                    cursor.execute("rollback")
            raise
        cursor.execute("commit")


def _is_fault_of_a_row(err: Exception) -> bool:
    """Return whether the row itself is refused, and nothing has to be put right in the database."""
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
        raise DatabaseUnreachableError(
            f"site {name!r} cannot be read after it was added",
            "take away what hides rows of the table site or keeps them out: row-level security, a rule or a trigger",
        )
    return int(found[0])


def _by_table(rows: Sequence[Row]) -> Sequence[tuple[_Table, Sequence[Row]]]:
    by_class: dict[type[Row], list[Row]] = {}
    for row in rows:
        by_class.setdefault(type(row), []).append(row)
    return [(_TABLES[row_class], same) for row_class, same in by_class.items()]


def _values_of(table: _Table, site_id: int, rows: Sequence[Row]) -> list[Any]:
    """Return the values for the placeholders of an insert of *rows*."""
    return [value for row in rows for value in (site_id, *table.values(row))]


@lru_cache(maxsize=4)  # the rounds of a household are of few shapes; that of a batch has 100 kB
def _statement_of(shape: tuple[tuple[_Table, int], ...]) -> str:
    """Return a statement that inserts so many rows into each of the tables, and counts those that were not there."""
    inserts = (f"{table.name}_rows as ({table.insert_of(number)} returning 1)" for table, number in shape)
    counts = (f"(select count(*) from {table.name}_rows)" for table, _ in shape)
    return f"with {', '.join(inserts)} select {' + '.join(counts)}"


def _insert(cursor: Cursor, site_id: int, rows: Sequence[Row]) -> Sequence[RejectedRow]:
    """Insert *rows* with one statement a table; return those whose place is taken by another row."""
    conflicts: list[RejectedRow] = []
    for table, same in _by_table(rows):
        cursor.execute(table.insert_of(len(same)), _values_of(table, site_id, same))
        if cursor.rowcount < len(same):
            conflicts += _conflicts(cursor, site_id, table, same)
    return conflicts


def _conflicts(cursor: Cursor, site_id: int, table: _Table, rows: Sequence[Row]) -> list[RejectedRow]:
    """Compare *rows* with what is there; return those that say something else, and those that are not there."""
    bodies = json.dumps([{"site_id": site_id, **row_to_values(row)} for row in rows])
    cursor.execute("savepoint compared")
    try:
        cursor.execute(table.compared, (bodies,))
        there = dict(cursor.fetchall())
    except (psycopg2.ProgrammingError, psycopg2.NotSupportedError) as err:  # a spread-out table may not be joined so
        logger.debug("rows that are there already cannot be compared: %s", one_line(err))
        cursor.execute("rollback to savepoint compared")
        return []
    rejected: list[RejectedRow] = []
    for number, row in enumerate(rows, 1):
        if number not in there:
            kept_out = f"neither stored nor there: an index or a trigger of {table.name} keeps it out"
            rejected.append(RejectedRow(row, kept_out, False))
        elif there[number]:
            moment = getattr(row, table.columns[0])
            taken = f"another row has its place: {table.name} at {moment:%Y-%m-%d %H:%M:%S} UTC"
            rejected.append(RejectedRow(row, taken, True))
    return rejected


def _insert_one_by_one(cursor: Cursor, site_id: int, rows: Sequence[Row]) -> Sequence[RejectedRow]:
    """Insert *rows*, each on its own; return those that are refused, and those whose place is taken."""
    rejected: list[RejectedRow] = []
    cursor.execute("set constraints all immediate")  # what is deferred to the end would blame all
    for row in rows:
        cursor.execute("savepoint one_row")
        try:
            rejected += _insert(cursor, site_id, [row])
        except _REFUSALS as err:
            if not _is_fault_of_a_row(err):
                raise
            cursor.execute("rollback to savepoint one_row")
            rejected.append(RejectedRow(row, one_line(err), False))
        cursor.execute("release savepoint one_row")
    return rejected
