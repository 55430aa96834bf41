"""A broken file of the outbox is begun anew with all that can be read in it, whatever ends the program meanwhile.

Everything readable is copied first, to FILE.salvage, and fsynced. Then that becomes FILE.ready: from there on it is the
truth, and what is left to do is to change names, at once or at the next start.

Where SQLite finds no way to the rounds, as behind a broken first page, they are looked for in the bytes (pages).
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import private_file
from storage.outbox import pages
from storage.outbox.format import MAX_ID, checksum_of, connect, is_broken, lenient_text, make_tables

logger = logging.getLogger(__name__)

_ENDINGS = ("", "-wal", "-shm")

# From both ends, so that only what lies between two broken pages is given up. A statement a row: one that goes on
# meets a broken page before it has handed out the row in front of it.
_NEXT = "select {columns} from {table} where {key} > ? order by {key} limit 1"
_PREVIOUS = "select {columns} from {table} where {key} < ? order by {key} desc limit 1"
_FIRST_ID, _LAST_ID = 0, 2**63 - 1  # of the row numbers that SQLite gives, less and more than any row has
_COPIED = {
    "round": ("round_id", "body", "checksum"),
    "rejected": ("rejected_id", "rejected_at", "reason", "is_final", "body", "checksum"),
    "taken_over": ("rowid", "name"),
}


def is_unfinished(path: Path) -> bool:
    """Whether a rebuilt file waits for its name."""
    return _ready(path).exists()


def finish(path: Path, now: datetime) -> str:
    """Give a rebuilt file its name, and the broken one another; return that. Does nothing where none is ready.

    Raises: OSError: a name cannot be changed; to try again is harmless.
    """
    _unlink(path.with_suffix(".salvage"))  # half made: what it was made from is still in its place
    kept = path.with_name(f"{path.stem}-broken-{now:%Y%m%dT%H%M%S%fZ}{path.suffix}")
    if not is_unfinished(path):
        return kept.name
    for ending in _ENDINGS:
        with suppress(FileNotFoundError):
            Path(f"{path}{ending}").rename(f"{kept}{ending}")
    _ready(path).rename(path)
    private_file.sync_directory(path.parent)
    return kept.name


def rebuild(path: Path, now: datetime) -> str:
    """Begin *path* anew with what can be read in it; return the name under which the broken file is kept.

    Raises: OSError, sqlite3.Error: it cannot be done, and nothing was changed.
    """
    salvage = path.with_suffix(".salvage")
    _unlink(salvage)
    os.close(private_file.create(salvage))
    copied = _copy_readable(path, salvage)
    fd = os.open(salvage, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    salvage.rename(_ready(path))
    private_file.sync_directory(path.parent)
    kept = finish(path, now)
    logger.info("%d rounds could be read in %s and still wait", copied, kept)
    return kept


def readable_rows(path: Path, table: str, columns: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    """Give the rows of *table* that can be read in a file, those around a broken page from both ends, maybe twice.

    The first of *columns* is the row number. The file is not changed.
    Raises: OSError, sqlite3.Error: it cannot be read now, and is not broken.
    """
    for statement, start in ((_NEXT, _FIRST_ID), (_PREVIOUS, _LAST_ID)):
        sql = statement.format(columns=", ".join(columns), table=table, key=columns[0])
        yield from _readable(path, sql, start)


def _copy_readable(broken: Path, salvage: Path) -> int:
    with closing(connect(salvage)) as connection:
        make_tables(connection, salvage)
        connection.execute("begin immediate")
        for table, columns in _COPIED.items():
            places = ", ".join("?" * len(columns))
            insert = f"insert or ignore into {table} ({', '.join(columns)}) values ({places})"
            for row in readable_rows(broken, table, columns):
                number = row[0] if row[0] <= MAX_ID else None  # SQLite gives it the next one
                with suppress(sqlite3.IntegrityError):  # a null where none may be: there is nothing to be kept of it
                    connection.execute(insert, (number, *row[1:]))
        if not _is_whole(broken):
            there = {body for (body,) in connection.execute("select body from round")}
            for number, body in pages.rounds_in(broken):
                if body not in there:
                    is_taken = connection.execute("select 1 from round where round_id = ?", (number,)).fetchone()
                    values = (None if is_taken or number > MAX_ID else number, body, checksum_of(body))
                    connection.execute("insert into round (round_id, body, checksum) values (?, ?, ?)", values)
        connection.execute("commit")
        return int(connection.execute("select count(*) from round").fetchone()[0])


def _is_whole(path: Path) -> bool:
    """Whether SQLite finds its way to every round."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source:
            source.execute("select sum(length(body)), sum(checksum) from round").fetchone()
    except sqlite3.Error:
        return False
    return True


def _readable(path: Path, statement: str, start: int) -> Iterator[tuple[Any, ...]]:
    """Give one row after another, away from *start*, up to the first that cannot be read."""
    number = start
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source:
            source.text_factory = lenient_text
            while row := source.execute(statement, (number,)).fetchone():
                if not isinstance(row[0], int) or abs(row[0] - start) <= abs(number - start):
                    return  # a broken page may lead back, and round in circles
                number = row[0]
                yield row
    except Exception as err:
        if not is_broken(err):
            raise
        logger.debug("%s can be read as far as row %d: %s", path.name, number, err)


def _ready(path: Path) -> Path:
    return path.with_suffix(".ready")


def _unlink(path: Path) -> None:
    for ending in (*_ENDINGS, "-journal"):
        Path(f"{path}{ending}").unlink(missing_ok=True)
