"""PostgreSQL for a measurement: the embedded one of the household, or the system's own PostgreSQL 15 for many sites."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg2

from storage.embedded import EmbeddedServer
from storage.schema import init_sql_path
from storage.server_programs import installed_programs, programs_for

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
        programs.run("initdb", "-D", "data", "-U", "postgres", "-A", "trust", cwd=home, timeout_s=TIMEOUT_S)
        with (home / "data" / "postgresql.conf").open("a", encoding="utf-8") as settings:
            settings.write(SETTINGS.format(directory=directory, connections=connections))
        programs.run("pg_ctl", "start", "-w", "-D", "data", "-l", "server.log", "-s", cwd=home, timeout_s=TIMEOUT_S)
        try:
            url = f"postgresql://postgres@/postgres?host={quote(directory, safe='')}"
            with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
                cursor.execute(init_sql_path().read_text("utf-8"))
            yield url
        finally:
            programs.run("pg_ctl", "stop", "-m", "immediate", "-D", "data", "-s", cwd=home, timeout_s=TIMEOUT_S)


def version_of(url: str) -> str:
    """Return the version of the server, such as "15.7"."""
    with closing(psycopg2.connect(url)) as connection:
        return str(connection.get_parameter_status("server_version")).split()[0]
