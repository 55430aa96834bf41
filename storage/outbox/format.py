"""The form of an outbox file in SQLite, and what its errors mean: broken, or not to be used now."""

from __future__ import annotations

import os
import sqlite3
import zlib
from pathlib import Path

from storage.errors import OutboxError

FORMAT = 2  # of the file: pragma user_version
_LAST_FORMAT = 999  # that a later release may have: more is a flipped bit
BUSY_TIMEOUT_S = 0.2  # who else looks into the file (--check, sqlite3 by hand) holds it for moments
MAX_ID = 2**62  # what is larger was written by no append

_SCHEMA = f"""
begin immediate;
create table round (round_id integer primary key, body text not null, checksum integer not null);
create table rejected (
    rejected_id integer primary key autoincrement,
    rejected_at text not null,
    reason text not null,
    is_final integer not null,
    body text not null,
    checksum integer not null
);
create table taken_over (name text primary key);
pragma user_version = {FORMAT};
commit;
"""

# What does not speak of a broken file, by the primary result code of SQLite; all else that is raised does.
_NOT_BROKEN = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_CONSTRAINT,  # somebody else has put a round there
)
_BROKEN_IO = (sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS)  # shorter than it says of itself


def checksum_of(body: str) -> int:
    """Return what must stand beside *body*."""
    return zlib.crc32(body.encode("utf-8", "surrogatepass"))


class BrokenFileError(Exception):
    """What SQLite finds wrong with the file."""


def code_of(err: Exception) -> int | None:
    """Give the primary result code of SQLite; the extended ones carry it in their low byte."""
    code = getattr(err, "sqlite_errorcode", None)
    return None if code is None else int(code) & 0xFF


def is_broken(err: Exception) -> bool:
    """Whether *err*, raised in opening or reading a file, says that it is broken, and not that it cannot be used."""
    if isinstance(err, OSError | MemoryError):
        return False
    return code_of(err) not in _NOT_BROKEN or getattr(err, "sqlite_errorcode", None) in _BROKEN_IO


def forbids_writing(err: Exception, path: Path) -> bool:
    """Whether *err*, raised in writing to *path*, comes of a flipped bit in it: we may write there."""
    may_write = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return code_of(err) == sqlite3.SQLITE_READONLY and may_write


def connect(path: Path) -> sqlite3.Connection:
    """Open *path* for who begins each transaction by hand; a text that is none is read as far as it goes."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.text_factory = lenient_text
    return connection


def make_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Make our tables in a new file.

    Raises: OutboxError: it is a later release's. BrokenFileError: it is no outbox.
    """
    version = number_of(connection, "pragma user_version")
    if version > _LAST_FORMAT:
        raise BrokenFileError(f"it is of format {version}")
    if version > FORMAT:
        raise OutboxError(f"{path} was made by a later release; install that, or move the file away")
    if version < FORMAT:
        if number_of(connection, "select count(*) from sqlite_master"):
            raise BrokenFileError("it holds tables that are not ours")
        connection.executescript(_SCHEMA)


def number_of(connection: sqlite3.Connection, statement: str, *values: int) -> int:
    """Return the one number that *statement* asks for."""
    return int(connection.execute(statement, values).fetchone()[0])


def lenient_text(text: bytes) -> str:
    """Decode what a file holds as text; where it is none the row is unreadable, which blocks no other."""
    return text.decode("utf-8", "replace")
