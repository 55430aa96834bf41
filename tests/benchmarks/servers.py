"""PostgreSQL for a measurement: the embedded one of the household, or the system's own PostgreSQL 15 for many sites."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg2

from storage.embedded import EmbeddedServer
from storage.embedded.programs import ServerPrograms, installed_programs, programs_for
from storage.schema import init_sql_path

SYSTEM_PROGRAMS = Path("/usr/lib/postgresql/15/bin")
TIMEOUT_S = 60.0

SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{directory}'
max_connections = {connections}
shared_buffers = 256MB
max_wal_size = 2GB
"""


@contextmanager
def embedded_url(*, fsync: bool = True) -> Iterator[str]:
    """Run the embedded server in a throw-away directory, with our tables; give its URL."""
    with tempfile.TemporaryDirectory() as directory, EmbeddedServer(Path(directory), fsync=fsync) as server:
        yield server.url()


@contextmanager
def system_url(*, connections: int) -> Iterator[str]:
    """Run the system's PostgreSQL 15 in a throw-away directory, never as root, with our tables; give its URL.

    Where there is none, the newest of the embedded ones takes its place: the table tells which one ran. Its settings
    are PostgreSQL's own but for room for so many *connections*, and the memory that a server for so many has.
    """
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        installed = installed_programs()
        programs = programs_for(SYSTEM_PROGRAMS if SYSTEM_PROGRAMS.exists() else installed[max(installed)], home)
        _run(programs, home, "initdb", "-U", "postgres", "-A", "trust")
        with (home / "data" / "postgresql.conf").open("a", encoding="utf-8") as settings:
            settings.write(SETTINGS.format(directory=directory, connections=connections))
        _run(programs, home, "pg_ctl", "start", "-w", "-l", "server.log")
        try:
            url = f"postgresql://postgres@/postgres?host={quote(directory, safe='')}"
            with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
                cursor.execute(init_sql_path().read_text("utf-8"))
            yield url
        finally:
            _run(programs, home, "pg_ctl", "stop", "-m", "immediate")


def _run(programs: ServerPrograms, home: Path, program: str, *arguments: str) -> None:
    """Run a program of PostgreSQL on the cluster in *home*."""
    command = [*programs.run_as, str(programs.directory / program), *arguments, "-D", "data"]
    subprocess.run(command, cwd=home, stdout=subprocess.DEVNULL, timeout=TIMEOUT_S, check=True)


def version_of(url: str) -> str:
    """Return the version of the server, such as "15.7"."""
    with closing(psycopg2.connect(url)) as connection:
        return str(connection.get_parameter_status("server_version")).split()[0]
