"""One PostgreSQL cluster in a directory of ours, and its server: found, made, started, stopped.

::

    data/           the cluster; PG_VERSION holds its major version
    data.new/       a cluster in the making
    data.upgraded/  one that is about to take the place of data/
    data-<major>/   one whose place was taken
    run/            the socket, mode 0700: whoever can reach it is trusted, and there is no TCP
    bin             leads to the programs that started the server: bin/psql, bin/pg_dump
    server.lock     held by the server itself, or by initdb, while one process of it lives
    server.log      what the server has to say

The caller keeps others out meanwhile: nothing here expects a second starter.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg2

from private_file import sync_directory
from storage.connection import CONNECT_TIMEOUT_S
from storage.embedded.programs import ServerPrograms
from storage.errors import EmbeddedServerError
from storage.filelock import FileLock
from storage.remedies import remedy_for

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0  # after a power cut hours of log are replayed: seconds, also from an SD card
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_MAX = 107  # bytes of sockaddr_un.sun_path less its closing zero, unix(7)
_ELSEWHERE = "power-consumption-"  # what the name of a private directory for it begins with
SOCKET_TIMEOUT_S = 1.0
LOG_MAX_BYTES = 1_000_000
# Not what was sent to a client that came too early.
_REASON = re.compile(r"^.*\b((?:FATAL|PANIC):(?!\s+the database system is ).*)$", re.MULTILINE)
_SETTING = re.compile(r"LOG:\s+(.*)")

SETTINGS = """\
# Written by power-consumption at each start. Settings of your own belong in local.conf in this directory.
# Programs: {origin}
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
min_dynamic_shared_memory = 8MB  # and what mmap would keep in files, which go to the disk minute by minute, is here
jit = off
log_checkpoints = off
timezone = 'UTC'
log_timezone = 'UTC'
# An SD card wears out by what is written. None of this delays or weakens a commit.
checkpoint_timeout = 6h  # each writes and syncs a dozen files; 6 h are some 2 MB of log to replay after a power cut
autovacuum_naptime = 1h
wal_compression = on  # by pglz: the servers of the wheel have no lz4
fsync = {fsync}
full_page_writes = {fsync}
include = 'local.conf'
"""


class Cluster:
    """A cluster under *home* and the server on it, if it runs. *home* belongs to the user that the server runs as.

    *fsync* False is for throw-away data only: faster, lost in a power cut (not by kill -9). Whoever starts it decides.
    """

    def __init__(self, home: Path, *, fsync: bool = True) -> None:
        self.home = home
        self.data = home / "data"
        self._upgraded = home / "data.upgraded"
        self.fsync = fsync
        self._serving = FileLock(home / "server.lock")

    def major(self) -> int | None:
        """Return the major version that made the data, None where there are none yet.

        Raises: EmbeddedServerError: its file is damaged.
        """
        file = self.data / "PG_VERSION"
        try:
            return int(file.read_text("ascii"))
        except FileNotFoundError:
            return None
        except ValueError as err:
            raise EmbeddedServerError(f"{file} holds no version: the data are damaged", "restore a backup") from err

    def serve(self, choose: Callable[[int | None], ServerPrograms], *, options: str = "") -> Path:
        """Find the server running, or start it, or make the cluster first; return the directory of its socket.

        *choose* gives the programs for the major version of the data, None for those of a new cluster. *options* are
        for the command line of a server that is started.

        Raises: EmbeddedServerError. OSError.
        """
        try:
            self.finish_replacing()
            return self._find_running() or self._launch(choose, options)
        finally:
            self._serving.release()

    def make(self, programs: ServerPrograms) -> None:
        """Make the cluster, where nothing is yet. Raises: EmbeddedServerError: initdb failed. OSError."""
        try:
            if self._nobody_serves():
                self._make(programs)
        finally:
            self._serving.release()

    def stop(self, *, deadline: float) -> None:
        """Stop the server where it runs; wait until *deadline* (monotonic) for its last process, or an initdb, to end.

        Raises: EmbeddedServerError: one is still at work; it goes on to end if it can.
        """
        recorded = self._recorded()
        is_running = self._is_at_work(Path("/proc", recorded[0]), recorded[0])
        if is_running:
            # A fast shutdown (PostgreSQL documentation, "Shutting Down the Server").
            os.kill(int(recorded[0]), signal.SIGINT)
        try:
            while not self._nobody_serves():
                if time.monotonic() >= deadline:
                    raise EmbeddedServerError(f"a process is still at work in {self.home}", "try again later")
                time.sleep(0.02)
        finally:
            self._serving.release()
        if is_running:
            logger.info("the embedded PostgreSQL was stopped")
            with suppress(OSError, IndexError):
                directory = Path(recorded[4])
                if directory != self.home / "run":
                    directory.rmdir()

    def is_served(self) -> bool:
        """Look for a process at work in the data directory, as each process of a PostgreSQL server is."""
        recorded = self._recorded()[0]
        return any(self._is_at_work(process, recorded) for process in Path("/proc").glob("[0-9]*"))

    def replace_data(self, upgraded: Path, *, keep_as: Path) -> None:
        """Put the cluster in *upgraded*, whose server is stopped, in the place of ours, which is kept.

        Interrupted at any moment, our own data stay, or the next serve() puts the new ones there. Raises: OSError.
        """
        _rename(upgraded, self._upgraded)
        _rename(self.data, keep_as)
        self.finish_replacing()

    def finish_replacing(self) -> None:
        """End what replace_data() began, or undo it where our own data are still in their place. Raises: OSError."""
        if not self._upgraded.exists():
            return
        if self.data.exists():  # and may have got new rows since
            shutil.rmtree(self._upgraded)
        else:
            _rename(self._upgraded, self.data)

    def leave_to_owner(self, path: Path) -> None:
        """Give *path* to the owner of home: what root made there must stay usable for them."""
        if os.geteuid() == 0:
            owner = self.home.stat()
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)

    def _find_running(self) -> Path | None:
        """Return the socket directory of the server on our data, waiting until it is ready; None: none runs."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            recorded = self._recorded()
            if len(recorded) > 4 and _responds(Path(recorded[4])):
                return Path(recorded[4])
            if self._nobody_serves():
                return None
            if time.monotonic() >= deadline:
                raise EmbeddedServerError(f"the server on {self.data} does not respond; see {self.home}/server.log")
            if len(recorded) > 7 and recorded[7].strip() == "ready" and _has_lost_socket(Path(recorded[4])):
                logger.warning("the socket of the embedded PostgreSQL is gone: it is stopped, and started again")
                self.stop(deadline=deadline)
            time.sleep(0.05)

    def _nobody_serves(self) -> bool:
        """Take the lock that a server or initdb is started with, if there is neither; also none that we cannot see.

        The lock shows those in another container, the processes a server that was started by hand.
        """
        is_free = self._serving.acquire()
        return is_free and not self.is_served()

    def _recorded(self) -> list[str]:
        """Return the lines of postmaster.pid; the first, the number of a process, may be empty.

        The number proves nothing: after a power cut it may be that of any process. The fifth is the socket directory,
        the eighth the state of the server (PostgreSQL documentation, "Database File Layout").
        """
        try:
            text = (self.data / "postmaster.pid").read_text("utf-8", "replace")
        except OSError:
            return [""]
        return [""] if "\0" in text else text.split("\n")  # zeros are what a power cut leaves of it

    def _is_at_work(self, process: Path, recorded: str) -> bool:
        try:
            return (process / "comm").read_text().strip() == "postgres" and (process / "cwd").readlink() == self.data
        except PermissionError:  # a server of another user: the number is all there is to go by
            return process.name == recorded
        except OSError:  # it has just ended
            return False

    def _launch(self, choose: Callable[[int | None], ServerPrograms], options: str) -> Path:
        programs = choose(self.major())
        if not self.data.exists():
            self._make(programs)
        directory = self._make_socket_directory()
        # Nobody is at work here, whatever a file left by kill -9 or a power cut says.
        for stale in (self.data / "postmaster.pid", directory / SOCKET_NAME, directory / f"{SOCKET_NAME}.lock"):
            stale.unlink(missing_ok=True)
        log = self.home / "server.log"
        if log.exists() and log.stat().st_size > LOG_MAX_BYTES:
            log.replace(log.with_suffix(".log.1"))
        before = log.stat().st_size if log.exists() else 0
        self._write_settings(directory, programs.origin)
        self._show_programs(programs.directory)
        # Relative paths: pg_ctl hands them to a shell.
        arguments = ["start", "-w", "-t", f"{START_TIMEOUT_S:.0f}", "-D", "data", "-l", "server.log", "-s"]
        if options:
            arguments += ["-o", options]
        try:
            programs.run("pg_ctl", *arguments, cwd=self.home, timeout_s=START_TIMEOUT_S + 10, holding=self._serving)
        except EmbeddedServerError as err:
            raise _why_not_started(log, before) or err from err
        logger.info("the embedded PostgreSQL was started in %s", self.home)
        return directory

    def _write_settings(self, socket_directory: Path, origin: str) -> None:
        # Quoted twice: as one item of a list, then as a string of the settings file.
        item = '"' + str(socket_directory).replace('"', '""') + '"'
        text = item.replace("\\", "\\\\").replace("'", "''")
        fsync = "on" if self.fsync else "off"
        settings = SETTINGS.format(socket_directory=text, fsync=fsync, origin=origin)
        (self.data / "postgresql.conf").write_text(settings, "utf-8")
        own = self.data / "local.conf"
        if not own.exists():
            own.write_text("# Settings of your own: read after postgresql.conf, never written.\n", "utf-8")
            self.leave_to_owner(own)

    def _show_programs(self, directory: Path) -> None:
        link = self.home / "bin"
        with suppress(OSError):  # for people; where something else stands there, the server starts all the same
            link.unlink(missing_ok=True)
            link.symlink_to(directory)
            self.leave_to_owner(link)

    def _make(self, programs: ServerPrograms) -> None:
        """Make a new cluster beside its place, then move it there: a half-made one is never taken for data."""
        half_made = self.home / "data.new"
        if half_made.exists():  # by an initdb that has ended: we hold its lock
            shutil.rmtree(half_made)
        arguments = ["-D", half_made.name, "-U", "postgres", "-E", "UTF8", "--no-locale", "-A", "trust"]
        arguments.append("--wal-segsize=1")  # MB: a household writes that in hours, and an SD card is spared 16
        if not self.fsync:
            arguments.append("--no-sync")
        programs.run("initdb", *arguments, cwd=self.home, timeout_s=START_TIMEOUT_S, holding=self._serving)
        _rename(half_made, self.data)

    def _make_socket_directory(self) -> Path:
        """Make run/ here, or a private directory elsewhere where its path is too long, or holds libpq's separator."""
        directory = self.home / "run"
        if len(os.fsencode(directory / SOCKET_NAME)) > SOCKET_PATH_MAX or "," in str(directory):
            # Remembered by the server itself, in postmaster.pid.
            parents = (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir())
            parent = next((each for each in parents if each is not None and _may_hold_socket(each)), "/tmp")
            directory = Path(tempfile.mkdtemp(prefix=_ELSEWHERE, dir=parent))
        directory.mkdir(mode=0o700, exist_ok=True)
        self.leave_to_owner(directory)
        return directory


def _may_hold_socket(parent: str) -> bool:
    """Tell whether a directory can be made in *parent* whose socket has a path that is short enough."""
    path = Path(parent, f"{_ELSEWHERE}12345678", SOCKET_NAME)  # mkdtemp() adds eight characters
    return os.access(parent, os.W_OK | os.X_OK) and len(os.fsencode(path)) <= SOCKET_PATH_MAX and "," not in parent


def _rename(source: Path, target: Path) -> None:
    """Rename, so that no power cut undoes it."""
    source.rename(target)
    sync_directory(target.parent)


def _responds(socket_directory: Path) -> bool:
    try:
        psycopg2.connect(
            host=str(socket_directory), port=5432, user="postgres", dbname="postgres", connect_timeout=CONNECT_TIMEOUT_S
        ).close()
    except psycopg2.OperationalError:  # still starting, or already stopping
        return False
    return True


def _has_lost_socket(socket_directory: Path) -> bool:
    """Return whether nothing listens there any more. One that listens and does not respond is another matter."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SOCKET_TIMEOUT_S)
        try:
            client.connect(str(socket_directory / SOCKET_NAME))
        except (TimeoutError, BlockingIOError):  # its queue is full
            return False
        except OSError:
            return True
    return False


def _why_not_started(log: Path, before: int) -> EmbeddedServerError | None:
    """Quote the last FATAL or PANIC that the *log* holds since it had *before* bytes; None where there is none.

    The last line says how it ended, not why; what is wrong with a setting stands just before.
    """
    try:
        with log.open("rb") as file:
            file.seek(before)
            said = file.read().decode("utf-8", "replace")
    except OSError:
        return None
    reasons = list(_REASON.finditer(said))
    if not reasons:
        return None
    reason = " ".join(reasons[-1][1].split())
    remedy = remedy_for(reason, otherwise="")
    if "contains errors" in reason:
        reason = "; ".join([*_SETTING.findall(said[: reasons[-1].start()])[-1:], reason])
        remedy = "correct local.conf"
    return EmbeddedServerError(f"the embedded PostgreSQL does not start: {reason} (see {log})", remedy)
