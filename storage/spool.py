"""Rounds that could not be delivered yet, on disk, in order: a SQLite file that survives kill -9 and a power cut."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from storage.errors import SpoolError, SpoolFullError
from storage.records import Round
from storage.rows_json import round_from_json, round_to_json
from storage.salvage import copy_readable_rounds, lenient_text

logger = logging.getLogger(__name__)

T = TypeVar("T")

FILE_NAME = "spool.sqlite3"
BUSY_TIMEOUT_S = 1.0  # who else looks into the file (--check, sqlite3 by hand) holds it for moments
LOG_MAX_PAGES = 100  # of 4 KB: the usual 1,000 would take more of a nearly full disk than a day of rounds
FORMAT = 1  # of the file: pragma user_version

# boot_id and monotonic_s: when a round was held that cannot be dated yet, its times counting from the start of that
# boot; null: an ordinary round.
_SCHEMA = """
begin immediate;
create table if not exists round (
    round_id integer primary key autoincrement,
    body text not null,
    boot_id text,
    monotonic_s real
);
create table if not exists refused (
    refused_id integer primary key autoincrement,
    refused_at text not null,
    reason text not null,
    body text not null
);
pragma user_version = 1;
commit;
"""
_APPEND = "insert into round (body) values (?)"
_PEEK = "select round_id, body, boot_id from round where boot_id is null and round_id > ? order by round_id limit ?"
_REMOVE_UP_TO = "delete from round where boot_id is null and round_id <= ?"
_COUNT = "select count(*) from round where boot_id is null and round_id > ?"
_HOLD = "insert into round (body, boot_id, monotonic_s) values (?, ?, ?)"
_HELD = """
select round_id, body, boot_id from round where boot_id is not null and round_id > ? order by round_id limit ?
"""
_SET_ASIDE = "insert into refused (refused_at, reason, body) values (?, ?, ?)"
_COUNT_SET_ASIDE = "select count(*) from refused"
_REMOVE = "delete from round where round_id = ?"

_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)  # ERROR: our tables are not in it


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class HeldRound:
    """A round that cannot be dated yet: its number in the file, and in which boot of the machine it was read."""

    round_id: int
    stored: Round
    boot_id: str


class Spool:
    """Rounds that could not be delivered yet, on disk, in order.

    The file is opened when first needed, and again after a failure. Threads and processes may share it. Every method
    may raise SpoolError (SpoolFullError where the disk is full); what is in the file is kept. A broken file is moved
    aside and reported, and a new one begun with the rounds that can be read in it.
    """

    def __init__(self, path: Path, *, now: Callable[[], datetime] = _utc_now) -> None:
        self._path = Path(path)
        self._now = now
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._removed_up_to = 0  # also where the disk was too full to write the removal down

    def append(self, *rounds: Round) -> None:
        """Put *rounds* behind all others, all or none; they are on the disk when this returns."""
        bodies = [(round_to_json(stored),) for stored in rounds]
        self._transaction(lambda connection: connection.executemany(_APPEND, bodies))

    def peek(self, limit: int) -> list[tuple[int, Round]]:
        """Give the oldest *limit* rounds, each with its number; the numbers grow. Fewer: there are no more.

        What cannot be read as a round is set aside, so that it never stands in the way.
        """
        found = self._readable(_PEEK, after=self._removed_up_to, limit=limit)
        return [(round_id, stored) for round_id, stored, _ in found]

    def remove_up_to(self, round_id: int) -> None:
        """Take out the rounds up to this number: they were delivered, and are not seen again.

        Where this cannot be written down they may come again after a restart.
        """
        self._removed_up_to = max(self._removed_up_to, round_id)
        self._transaction(lambda connection: connection.execute(_REMOVE_UP_TO, (round_id,)))

    def count(self) -> int:
        """Count the rounds that wait."""
        return self._transaction(lambda connection: _number(connection, _COUNT, self._removed_up_to))

    def hold(self, stored: Round, *, boot_id: str, monotonic_s: float) -> None:
        """Keep a round that cannot be dated yet, apart from those that are to be delivered."""
        values = (round_to_json(stored), boot_id, monotonic_s)
        self._transaction(lambda connection: connection.execute(_HOLD, values))

    def held(self, limit: int) -> list[HeldRound]:
        """Give the oldest *limit* rounds that are held; fewer: there are no more. What is unreadable is set aside."""
        return [HeldRound(*found) for found in self._readable(_HELD, after=0, limit=limit)]

    def let_go(self, rounds: Sequence[HeldRound]) -> None:
        """Take out held rounds: they were dated and kept elsewhere."""
        numbers = [(each.round_id,) for each in rounds]
        self._transaction(lambda connection: connection.executemany(_REMOVE, numbers))

    def set_aside(self, refused: Round, reason: str) -> None:
        """Keep *refused* rows with the reason, apart from the rounds that wait."""
        values = (self._now().isoformat(), reason, round_to_json(refused))
        self._transaction(lambda connection: connection.execute(_SET_ASIDE, values))

    def count_set_aside(self) -> int:
        """Count what was set aside."""
        return self._transaction(lambda connection: _number(connection, _COUNT_SET_ASIDE))

    def close(self) -> None:
        """Close the file; the next call would open it again."""
        with self._lock:
            self._disconnect()

    def _readable(self, statement: str, *, after: int, limit: int) -> list[tuple[int, Round, str]]:
        """Give rounds with number and boot, oldest first, and set aside what is none: until *limit* are found."""
        rounds: list[tuple[int, Round, str]] = []
        while (wanted := limit - len(rounds)) > 0:
            found = self._transaction(partial(_select, statement, after, wanted))
            for round_id, body, boot_id in found:
                try:
                    rounds.append((round_id, round_from_json(body), boot_id))
                except ValueError as err:
                    logger.error("round %d of the spool cannot be read and is set aside: %s", round_id, err)
                    self._set_unreadable_aside(round_id, body, str(err))
                after = round_id
            if len(found) < wanted:
                break
        return rounds

    def _set_unreadable_aside(self, round_id: int, body: str, reason: str) -> None:
        def move(connection: sqlite3.Connection) -> None:
            connection.execute(_SET_ASIDE, (self._now().isoformat(), f"unreadable: {reason}", body))
            connection.execute(_REMOVE, (round_id,))

        self._transaction(move)

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do *work* in one transaction on the file; on a new file where it turns out to be broken."""
        with self._lock:
            try:
                try:
                    return self._attempt(work)
                except sqlite3.Error as err:
                    if _code(err) not in _BROKEN:
                        raise
                    self._salvage(self._move_aside(err))
                return self._attempt(work)
            except (sqlite3.Error, OSError) as err:
                if isinstance(err, SpoolError):
                    raise
                raise self._explained(err) from err

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._connection is None:
            self._connection = self._open()
        try:
            with self._connection as connection:
                return work(connection)
        except sqlite3.Error as err:
            if _code(err) != sqlite3.SQLITE_FULL:  # on a full disk an open file still reads, a closed one may not open
                self._disconnect()
            raise

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite would let everybody read it
        connection = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT_S, isolation_level="IMMEDIATE", check_same_thread=False
        )
        connection.text_factory = lenient_text
        try:
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = full")
            connection.execute(f"pragma wal_autocheckpoint = {LOG_MAX_PAGES}")
            version = _number(connection, "pragma user_version")
            if version > FORMAT:
                raise SpoolError(f"{self._path} was made by a later release; install that, or move the file away")
            if version < FORMAT:
                connection.executescript(_SCHEMA)
            if (said := connection.execute("pragma quick_check(1)").fetchone()[0]) != "ok":
                raise _broken(said)
        except BaseException:
            connection.close()
            raise
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _move_aside(self, reason: Exception) -> Path:
        """Rename the file and its log, with the date; nothing is deleted."""
        self._disconnect()
        stem = f"{self._path.stem}-broken-{self._now():%Y%m%dT%H%M%S%fZ}{self._path.suffix}"
        for ending in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self._path}{ending}").rename(self._path.with_name(stem + ending))
        self._removed_up_to = 0
        logger.error("the spool is broken (%s): it was moved to %s, a new one is begun", reason, stem)
        return self._path.with_name(stem)

    def _salvage(self, broken: Path) -> None:
        try:
            copied = self._attempt(partial(copy_readable_rounds, broken))
        except sqlite3.Error as err:
            logger.error("the rounds in %s cannot be copied: %s", broken.name, err)
        else:
            logger.info("%d rounds could be read in %s and still wait", copied, broken.name)

    def _explained(self, err: Exception) -> SpoolError:
        if _code(err) == sqlite3.SQLITE_FULL or getattr(err, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return SpoolFullError(f"the disk is full: make room for {self._path}; what is in it is kept")
        return SpoolError(f"the spool {self._path} cannot be used ({err}); this user must be able to write there")


def _select(statement: str, after: int, limit: int, connection: sqlite3.Connection) -> list[tuple[int, str, str]]:
    return connection.execute(statement, (after, limit)).fetchall()


def _number(connection: sqlite3.Connection, statement: str, *values: int) -> int:
    return int(connection.execute(statement, values).fetchone()[0])


def _code(err: Exception) -> int | None:
    """Give the primary result code of SQLite; the extended ones carry it in their low byte."""
    code = getattr(err, "sqlite_errorcode", None)
    return None if code is None else int(code) & 0xFF


def _broken(reason: str) -> sqlite3.DatabaseError:
    err = sqlite3.DatabaseError(reason)
    err.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return err
