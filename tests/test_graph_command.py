"""The graph scripts from the command line to the file: exit codes, one-line errors, whole files."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from matplotlib.figure import Figure
from psycopg2.extensions import TRANSACTION_STATUS_IDLE

import power_graph
from charts import arguments as graph_arguments
from charts import command
from charts.period import day_of
from errors import UsageError
from storage.connection import Connection, ReadingCursor, connect
from tests.lab.recorded import Household, midnight

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parent.parent
DAY = date(2025, 11, 22)
START = midnight(DAY)
LATER = datetime(2025, 12, 1, tzinfo=UTC)


# ---- the file


def test_the_file_is_named_after_the_day(tmp_path: Path) -> None:
    assert command.path_of(None, tmp_path, "power_2025-11-22") == tmp_path / "power_2025-11-22.png"
    assert command.path_of(str(tmp_path), Path(), "power_2025-11-22") == tmp_path / "power_2025-11-22.png"
    assert command.path_of("a.svg", tmp_path, "x") == Path("a.svg")


@pytest.mark.parametrize("name", ["a.jpg", "a.png.txt", "picture"])
def test_a_suffix_we_cannot_write_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png, \.svg, \.pdf"):
        command.path_of(name, tmp_path, "x")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("~nosuchuser/x.png", "nobody of that name"), (f"{'x' * 300}.png", "File name too long")],
)
def test_a_name_that_is_no_place_is_one_line(name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(command.GraphError, match=f"^-o .* cannot be used: {reason}.*: choose another place$") as caught:
        command.path_of(name, tmp_path, "x")
    assert caught.value.exit_code == 1


@pytest.fixture
def forbidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a directory that lets nobody look into it: root may, so that is played."""
    directory, stat_of = tmp_path / "forbidden", os.stat

    def look(path: Any, **options: Any) -> os.stat_result:
        if str(path).startswith(f"{directory}/"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat_of(path, **options)

    directory.mkdir()
    monkeypatch.setattr(os, "stat", look)
    return directory


def test_another_users_directory_is_one_line(
    forbidden: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = forbidden / "pictures"
    code, _, err = run(["--config", str(config), "-o", f"{inside}/x.png"], capsys)
    assert (code, err.count("\n")) == (1, 1)
    assert "cannot be used: Permission denied: choose another place" in err
    config.write_text(f"[graph]\noutput_dir = {inside}\n[storage]\ndata_dir = {tmp_path}\n", "utf-8")
    code, _, err = run(["--config", str(config)], capsys)
    assert (code, err.count("\n")) == (1, 1)
    assert f"{inside} cannot be used (Permission denied): choose another place" in err


def test_another_users_database_is_one_line(
    forbidden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "power.ini"
    path.write_text(f"[storage]\ndata_dir = {forbidden}\n", "utf-8")
    code, _, err = run(["--config", str(path), "-o", str(tmp_path)], capsys)
    assert (code, err.count("\n")) == (1, 1)
    assert f"in {forbidden} cannot be looked at: Permission denied: run this as the user whose files these are" in err


def test_a_failing_save_leaves_the_old_picture_and_nothing_else(tmp_path: Path) -> None:
    class Broken(Figure):
        def savefig(self, *args: Any, **kwargs: Any) -> None:
            args[0].write(b"half")
            raise OSError(28, "No space left on device")

    path = tmp_path / "power.png"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="No space left"):
        command.save(Broken(), path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"power.png": b"old"}


def test_a_name_may_be_as_long_as_the_file_system_lets_it_be(tmp_path: Path) -> None:
    """Half of a picture is written under a name of its own, which was ten bytes longer."""
    path = tmp_path / ("電" * 83 + ".svg")  # 253 bytes; a name ends at 255
    command.save(Figure(), path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_picture_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        command.save(Figure(figsize=(1, 1)), tmp_path / "power.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "power.png").stat().st_mode) == 0o640


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "power.png").symlink_to(tmp_path / "real" / "today.png")
    command.save(Figure(figsize=(1, 1)), tmp_path / "power.png")
    assert (tmp_path / "power.png").is_symlink()
    assert (tmp_path / "real" / "today.png").read_bytes().startswith(b"\x89PNG")


# ---- the command line


@pytest.fixture
def config(database_url: str, tmp_path: Path) -> Path:
    path = tmp_path / "power_consumption.ini"
    path.write_text(f"[database]\nurl = {database_url}\n[graph]\nlanguage = en\noutput_dir = {tmp_path}\n", "utf-8")
    return path


def run(arguments: Sequence[str], capsys: pytest.CaptureFixture[str], now: datetime = LATER) -> tuple[int, str, str]:
    code = power_graph.main(arguments, now=now)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_the_path_of_the_picture_is_printed(
    config: Path, connection: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Household(DAY, 1).write(connection)
    path = tmp_path / "power_2025-11-22.png"
    assert run(["--config", str(config), "-d", "2025-11-22"], capsys) == (0, f"{path}\n", "")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["power_2025-11-22.png", "power_consumption.ini"]


def test_today_is_the_day_in_the_zone_of_the_settings(
    config: Path, connection: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Household(DAY, 1).write(connection)
    code, out, _ = run(["--config", str(config)], capsys, now=START + timedelta(minutes=1))
    assert (code, out) == (0, f"{tmp_path / 'power_2025-11-22.png'}\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-d", "2025-12-25"], 2, "in the future"),
        (["--from", "2025-11-20", "--to", "2025-11-19"], 2, "is not after"),
        (["-d", "22/11/2025"], 2, "expected a date .YYYY"),
        (["-d", "2025-11-22", "-o", "picture.gif"], 2, r"\.png, \.svg, \.pdf"),
        (["-d", "2025-11-20"], 1, r"no data from 2025-11-20 00:00 to 2025-11-21 00:00 \(Asia/Tokyo\)"),
        (["-d", "2025-11-22", "-o", "/nowhere/at/all.png"], 1, "/nowhere/at is no directory"),
        (["-d", "2025-11-22", "-o", "/proc/power.png"], 1, "/proc.* cannot be written"),
    ],
)
def test_bad_input_is_one_line(
    config: Path,
    connection: Any,
    arguments: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Household(DAY, 1).write(connection)
    got, out, err = run(["--config", str(config), *arguments], capsys)
    assert (got, out) == (code, "")
    assert re.search(message, err)
    assert err.count("\n") == 1
    assert err.startswith("power_graph.py: ")


@pytest.mark.parametrize(
    "arguments", [["--lang", "fr"], ["--days", "many"], ["-d", "today", "--days", "2"], ["--nonsense"]]
)
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        power_graph.main(arguments)
    assert caught.value.code == 2
    assert "usage: power_graph.py" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (None, 2, "no such file"),
        ("[graph]\ntimezone = Asia/Edo\n", 2, "timezone"),
        ("[graph]\nlanguage = fr\n", 2, "language"),
        ("[graf]\n", 2, "did you mean graph"),
        ("[storage]\ndata_dir = nowhere\n", 1, "nothing was recorded yet"),
        ("[database]\nurl = postgresql://someone:hunter2@127.0.0.1:1/power\n", 1, "see that PostgreSQL runs there"),
        ("[database]\nurl = postgresql://someone:hunter2%@db/power\n", 2, "the database url cannot be read"),
        ("[storage]\nsite = cabin\n[database]\nurl = {url}\n", 1, "no site 'cabin'"),
    ],
)
def test_wrong_settings_and_a_database_that_is_unreachable_are_one_line(
    content: str | None,
    code: int,
    message: str,
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "power.ini"
    if content is not None:
        path.write_text(content.format(url=database_url), "utf-8")
        path.chmod(0o600)
    got, out, err = run(["--config", str(path), "-o", str(tmp_path)], capsys)
    assert (got, out, err.count("\n")) == (code, "", 1)
    assert message in err
    assert "hunter2" not in err


def test_where_there_is_no_data_the_database_and_the_settings_are_named(
    config: Path, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, err = run(["--config", str(config)], capsys)
    assert re.search(r"no site 'home' \(\[storage\] site\); looked into user=postgres dbname=test_\d+ [^,]*, as ", err)
    assert f", as {config} says" in err
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    _, _, err = run([], capsys)
    assert err == (
        "power_graph.py: no data: nothing was recorded yet; looked into the embedded database in "
        f"{tmp_path}/power-consumption, by default, without {elsewhere}/power_consumption.ini\n"
    )
    elsewhere.rmdir()
    _, _, err = run(["-o", str(tmp_path)], capsys)
    assert err.endswith(", by default, without power_consumption.ini\n")


def test_missing_tables_are_named_with_the_command_that_makes_them(
    empty_database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "power.ini"
    path.write_text(f"[database]\nurl = {empty_database_url}\n", "utf-8")
    code, _, err = run(["--config", str(path), "-o", str(tmp_path)], capsys)
    assert (code, err.count("\n")) == (1, 1)
    assert re.search(r"as the owner of the database, run: psql -q -1 -v ON_ERROR_STOP=1 -f \S+init\.sql ", err)


def test_a_column_that_an_older_init_sql_has_not_is_added_by_the_same_command(
    config: Path, connection: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    Household(DAY, 1).write(connection)
    with connection.cursor() as cursor:
        cursor.execute("alter table power rename column power_w to watts")
    code, _, err = run(["--config", str(config), "-d", "2025-11-22"], capsys)
    assert (code, err.count("\n")) == (1, 1)
    assert re.search(r"tables are missing \(.*power_w.*\).* as the owner of the database, run: psql .*init\.sql ", err)


def test_a_statement_that_takes_too_long_is_no_lost_server(
    config: Path,
    database_url: str,
    connection: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Household(DAY, 1).write(connection)
    monkeypatch.setattr(ReadingCursor, "statement_timeout_s", 1)
    with closing(connect(database_url)) as other, other.cursor() as cursor:
        cursor.execute("lock table power in access exclusive mode")
        code, _, err = run(["--config", str(config), "-d", "2025-11-22"], capsys)
    assert (code, err.count("\n")) == (1, 1)
    assert re.search(
        r"the database refuses \(canceling statement due to statement timeout\): .* a lock on the tables", err
    )


def test_a_connection_that_breaks_while_reading_is_one_line(config: Path, connection: Any) -> None:
    Household(DAY, 1).write(connection)

    def load(reading: Connection, _site: int, _order: command.Order) -> None:
        with reading.cursor() as cursor:
            cursor.execute("select pg_terminate_backend(pg_backend_pid())")

    options = graph_arguments.parser("power_graph.py", "").parse_args(["--config", str(config)])
    with pytest.raises(command.GraphError, match=r"was lost: .*terminating connection due to admin") as caught:
        command.run(options, "power", lambda: command.Picture(load, lambda _data, _order: None), now=LATER)
    assert str(caught.value).endswith(": see that PostgreSQL runs there and takes connections")
    assert (str(caught.value).count("\n"), caught.value.exit_code) == (0, 1)


def test_the_embedded_database_is_read_where_the_settings_name_no_other(
    connection: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own database has our tables, and no site yet."""
    with connection.cursor() as cursor:
        cursor.execute("show data_directory")
        data_dir = Path(cursor.fetchone()[0]).parent.parent
    path = tmp_path / "power.ini"
    path.write_text(f"[storage]\ndata_dir = {data_dir}\n", "utf-8")
    code, out, err = run(["--config", str(path), "-o", str(tmp_path)], capsys)
    assert (code, out) == (1, "")
    assert err == (
        "power_graph.py: no data: the database has no site 'home' ([storage] site); "
        f"looked into the embedded database in {data_dir}, as {path} says\n"
    )


def test_a_role_that_may_not_read_is_shown_how_it_may(
    config: Path, database_url: str, connection: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("create role test_blind login")
    try:
        config.write_text(f"[database]\nurl = {database_url.replace('//postgres@', '//test_blind@')}\n", "utf-8")
        code, _, err = run(["--config", str(config), "-o", str(config.parent)], capsys)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("drop role test_blind")
    assert (code, err.count("\n")) == (1, 1)
    assert re.search(r"the database refuses \(permission denied for \S+ \S+\): as the owner of the tables, grant", err)


@pytest.mark.parametrize("script", ["power_graph.py", "temp_graph.py"])
def test_help_imports_nothing_heavy(script: str) -> None:
    code = (
        f"import sys, runpy; sys.argv = [{script!r}, '-h']\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'matplotlib', 'pandas', 'numpy', 'psycopg2', 'zoneinfo', 'datetime'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Ranges are half-open" in done.stdout


@pytest.mark.parametrize("script", ["power_graph", "temp_graph"])
def test_the_database_is_not_kept_waiting_for_matplotlib(script: str) -> None:
    code = f"import sys, {script}; {script}.picture(); assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_picture_needs_neither_a_display_nor_pyplot(config: Path, connection: Any, tmp_path: Path) -> None:
    Household(DAY, 1).write(connection)
    code = (
        "import sys, power_graph\n"
        f"assert power_graph.main(['--config', {str(config)!r}, '-d', '2025-11-22', '--lang', 'ja']) == 0\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TZ": "America/New_York"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_of_sql_stays_open_while_something_else_works(
    database_url: str, connection: Any, tmp_path: Path
) -> None:
    """A server may end a transaction that idles, and a pooler lends the connection to others between two of them."""
    with connection.cursor() as cursor:
        cursor.execute("insert into site (name) values ('home')")
    asked: list[Any] = []

    def load(reading: Connection, site: int, _order: command.Order) -> int:
        asked.append(reading.info.transaction_status)
        with reading.cursor() as cursor:
            cursor.execute("select current_setting('transaction_read_only'), current_setting('statement_timeout')")
            asked.append(cursor.fetchone())
            asked.append(reading.info.transaction_status)
        return site

    def draw(_data: int, _order: command.Order) -> None:
        with connection.cursor() as cursor:
            for _ in range(100):  # a server process ends a moment after its client has closed
                cursor.execute(
                    "select count(*) from pg_stat_activity"
                    " where application_name = 'power-consumption' and datname = current_database()"
                )
                if (count := cursor.fetchone()) == (0,):
                    break
                time.sleep(0.02)
            asked.append(count)

    order = command.Order(period=day_of(LATER.date(), ZoneInfo("Asia/Tokyo")), now=LATER, language="en")
    reading = closing(command.for_reading(connect(database_url)))
    with pytest.raises(command.NoDataError):
        command.write(command.Picture(load, draw), reading, "home", order, tmp_path / "picture.png")
    idle = TRANSACTION_STATUS_IDLE
    assert asked == [idle, ("on", "5min"), idle, (0,)]
