"""A disk that refuses: what SQLite says of it, as said by SQLite, without a disk that has to be filled or broken."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from storage.outbox import FILE_NAME, file, format


@dataclass(frozen=True)
class Refusal:
    """What every statement that begins with *start* is refused with; *names*: the files where that is so."""

    code: int
    text: str
    start: str
    names: tuple[str, ...] = ()


FULL = Refusal(sqlite3.SQLITE_FULL, "database or disk is full", "insert")
READ_ONLY = Refusal(sqlite3.SQLITE_READONLY, "attempt to write a readonly database", "begin")
FAILING = Refusal(sqlite3.SQLITE_IOERR, "disk I/O error", "")
LOCKED = Refusal(sqlite3.SQLITE_BUSY, "database is locked", "begin", (FILE_NAME,))


class Disk:
    """The disk with the outbox in *directory*: it refuses on demand, goes away, and outlives the program."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._away = directory.with_name(f"{directory.name}.away")
        self._connections: list[sqlite3.Connection] = []
        self.refusal: Refusal | None = None

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Stand below the outbox."""
        with patch.object(file, "connect", self._connect), patch.object(os, "access", partial(self._access, os.access)):
            yield

    def go_away(self) -> None:
        """Be where no directory can be made."""
        if self._directory.is_dir():
            self._directory.rename(self._away)
            self._directory.write_bytes(b"")

    def come_back(self) -> None:
        """Be there again, as it was."""
        if self._away.is_dir():
            self._directory.unlink()
            self._away.rename(self._directory)

    def survive(self) -> None:
        """Be as kill -9 leaves it: nobody closes the files, and what SQLite would do at their end is not done."""
        place = self._away if self._away.is_dir() else self._directory
        if place.is_dir():
            kept = place.with_name(f"{place.name}.kept")
            shutil.copytree(place, kept, ignore=shutil.ignore_patterns("*-shm"))
            self._close()
            shutil.rmtree(place)
            kept.rename(place)

    def _close(self) -> None:
        while self._connections:
            self._connections.pop().close()

    def _connect(self, path: Path) -> sqlite3.Connection:
        refuse = partial(self._refuse, path.name)

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                refuse(sql)
                return super().execute(sql, *parameters)

            def executemany(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                refuse(sql)
                return super().executemany(sql, *parameters)

        with patch.object(sqlite3, "connect", partial(sqlite3.connect, factory=Connection)):
            connection = format.connect(path)
        self._connections = [each for each in self._connections if _is_open(each)] + [connection]
        return connection

    def _refuse(self, name: str, sql: str) -> None:
        wanted = self.refusal
        if wanted and sql.startswith(wanted.start) and (not wanted.names or name in wanted.names):
            error = sqlite3.OperationalError(wanted.text)
            error.sqlite_errorcode = wanted.code
            raise error

    def _access(self, access: Callable[..., bool], path: Any, mode: int, **options: Any) -> bool:
        return self.refusal is not READ_ONLY and access(path, mode, **options)


def _is_open(connection: sqlite3.Connection) -> bool:
    try:
        return connection.total_changes >= 0
    except sqlite3.ProgrammingError:
        return False
