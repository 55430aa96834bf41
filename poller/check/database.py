"""What --check finds out about where the readings go: the data directory on this machine, and the database."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import private_file
from poller.app import database_of
from poller.check.report import CheckFailedError, Part, Report
from poller.clock import TimeSource
from settings import Settings
from storage.connection import Cursor, shown_dsn
from storage.outbox import FILE_NAME, Outbox
from storage.records import WRITTEN_TABLES
from storage.remedies import GRANT, LAST_ADVICE, READ_ONLY_DISK
from wording import counted

OLDEST_SERVER = 13
LEAST_DISK_BYTES = 100_000_000  # a week of rounds in the outbox, and what PostgreSQL needs to stay alive

_FORBIDDEN = """
select name
from unnest(%s) as name
where not (has_table_privilege(name, 'select') and has_table_privilege(name, 'insert'))
"""
_GUARDED = "select name from unnest(%s) as name where row_security_active(name)"
_VERSION = "show server_version_num"
_IS_READ_ONLY = "select current_setting('transaction_read_only') = 'on'"
_SIZE = "select pg_database_size(current_database())"
_LAST_READING = """
select measured_at, power_w from power join site using (site_id)
where name = %s order by measured_at desc limit 1
"""
_READINGS_A_DAY = """
select count(*) from power join site using (site_id) where name = %s and measured_at > %s - interval '1 day'
"""


def check_data_dir(settings: Settings, report: Report) -> str:
    """Look whether the data directory can be written, how much space it has, and what waits in it."""
    data_dir = settings.storage.data_dir
    try:
        private_file.make_directory(data_dir)
        with tempfile.TemporaryFile(dir=data_dir) as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise CheckFailedError(
            f"{data_dir} cannot be written: {error.strerror}", _write_advice(error, data_dir)
        ) from error
    free = shutil.disk_usage(data_dir).free
    if free < LEAST_DISK_BYTES:
        raise CheckFailedError(f"{data_dir}: only {_size(free)} left on the disk", "make room on this disk")
    if os.geteuid() == 0 and data_dir.stat().st_uid != 0:
        report.remark("you are root, and the directory is another user's: check as that user, who may do less than you")
    return f"{data_dir} can be written, {_size(free)} left; {_waiting(data_dir / FILE_NAME)}"


class DatabaseCheck:
    """Checks the database that the settings name, or the embedded one. close() leaves it."""

    def __init__(self, settings: Settings, clock: TimeSource) -> None:
        self._settings = settings
        self._clock = clock
        self._stack = ExitStack()

    def parts(self) -> Sequence[Part]:
        """Return every part, in the order in which they depend on one another."""
        log = self._settings.storage.data_dir / "postgresql" / "server.log"
        embedded_advice = f"look at the end of {log}, or name a server of your own in [database] url"
        has_url = self._settings.database.url is not None
        needs = () if has_url else ("data directory",)  # the embedded server lives there
        takes, advice = ("up to 10 s", LAST_ADVICE) if has_url else ("up to 1 min", embedded_advice)
        return (
            Part("database", self._server, advice, needs, takes=takes),
            Part("tables", self._tables, advice, ("database",)),
            Part("last reading", self._last_reading, advice, ("tables",)),
        )

    def close(self) -> None:
        """Close the connection; leave the embedded server, and stop it if nobody else uses it."""
        self._stack.close()

    def _server(self) -> str:
        self._database = self._stack.enter_context(database_of(self._settings))
        self._stack.callback(self._database.close)
        url, data_dir = self._settings.database.url, self._settings.storage.data_dir
        place = f"at {shown_dsn(url)}" if url else f"embedded, in {data_dir / 'postgresql'}"
        version = int(self._query(_VERSION)[0][0])
        found = f"PostgreSQL {version // 10_000}.{version % 10_000} {place}"
        if version < OLDEST_SERVER * 10_000:
            raise CheckFailedError(found, f"upgrade the server: PostgreSQL {OLDEST_SERVER} or newer is needed")
        return found

    def _tables(self) -> str:
        self._database.check()
        if self._query(_IS_READ_ONLY)[0][0]:
            raise CheckFailedError(
                "the server takes no data: it is read-only",
                "name the primary server in [database] url, not a standby; or set default_transaction_read_only off",
            )
        forbidden = ", ".join(str(name) for (name,) in self._query(_FORBIDDEN, list(WRITTEN_TABLES)))
        if forbidden:
            raise CheckFailedError(
                f"this user may not read and add rows in: {forbidden}",
                f"{GRANT}: grant select, insert on {forbidden} to THE_USER",
            )
        guarded = ", ".join(str(name) for (name,) in self._query(_GUARDED, list(WRITTEN_TABLES)))
        limit = f", as far as the row-level security of {guarded} lets it" if guarded else ""
        return f"all there; this user may read and add rows{limit}"

    def _last_reading(self) -> str:
        site, size = self._settings.storage.site, _size(self._query(_SIZE)[0][0])
        latest = self._query(_LAST_READING, site)
        if not latest:
            return f"no reading of site {site!r} yet; the database takes {size}"
        measured_at, power_w = latest[0]
        readings = self._query(_READINGS_A_DAY, site, self._clock.now())[0][0]
        power = "no power" if power_w is None else f"{power_w} W"
        at = f"{measured_at.astimezone():%Y-%m-%d %H:%M:%S}"
        last = f"last reading of site {site!r} at {at}, {power}; {readings} in the last 24 hours"
        return f"{last}; the database takes {size}"

    def _query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        def read(cursor: Cursor, _site_id: int) -> list[tuple[Any, ...]]:
            cursor.execute(statement, values)
            return cursor.fetchall()

        return self._database.query(read, needs_site=False)  # where there is none yet, none is made


def _waiting(path: Path) -> str:
    """Say what waits in the outbox, without making one."""
    if not path.exists():
        return "nothing waits for the database"
    with closing(Outbox(path.parent)) as outbox:
        waiting = outbox.count()
        if outbox.error or not os.access(path, os.W_OK):
            raise CheckFailedError(outbox.error or f"{path} cannot be written")
        rejected = outbox.count_rejected()
    found = f"{counted(waiting, 'round')} waiting for the database" if waiting else "nothing waits for the database"
    return f"{found}; {counted(rejected, 'row')} kept that it did not take" if rejected else found


def _write_advice(error: OSError, data_dir: Path) -> str:
    if error.errno == errno.EROFS:
        return READ_ONLY_DISK
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room on this disk"
    return f"let this user write there (sudo chown -R $USER {data_dir}), or set [storage] data_dir to another directory"


def _size(count: int) -> str:
    for unit, bytes_each in (("GB", 10**9), ("MB", 10**6)):
        if count >= bytes_each:
            return f"{count / bytes_each:.1f} {unit}"
    return f"{count / 1000:.0f} kB"
