"""The edges of the three scripts, as processes: old Pythons, missing libraries, signals, and readers that have gone."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import script
from tests.lab.recorded import Household

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ("power_consumption.py", "power_graph.py", "temp_graph.py")
DAY = date(2025, 11, 22)


def run(name: str, *arguments: str, python: tuple[str, ...] = (sys.executable,), **options: Any) -> tuple[int, str]:
    """Return the exit code and what stands on standard error."""
    done = subprocess.run(
        [*python, str(ROOT / name), *arguments], stderr=subprocess.PIPE, text=True, timeout=60, **options
    )
    return done.returncode, done.stderr


@pytest.fixture
def config(database_url: str, connection: Any, tmp_path: Path) -> Path:
    Household(DAY, 1).write(connection)
    pictures = tmp_path / "絵"
    pictures.mkdir()
    path = tmp_path / "power_consumption.ini"
    path.write_text(f"[database]\nurl = {database_url}\n[graph]\noutput_dir = {pictures}\n", "utf-8")
    return path


def drawing(config: Path) -> tuple[str, ...]:
    return ("power_graph.py", "--config", str(config), "-d", f"{DAY}")


# --- a part of ours that is missing


def parts() -> list[str]:
    rooms = [path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "tests"]
    return sorted([*rooms, *(path.stem for path in ROOT.glob("*.py"))])


@pytest.mark.parametrize("name", parts())
def test_a_part_of_ours_is_not_taken_for_a_library_to_install(name: str) -> None:
    def imports() -> int:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    with pytest.raises(ModuleNotFoundError, match=name):
        script.run("power_graph.py", imports, extras="graph")


# --- an old Python


def old_pythons() -> list[str]:
    homes = [Path(path) for path in os.environ.get("PATH", "").split(os.pathsep)]
    homes += sorted(Path("~/.pyenv/versions").expanduser().glob("*/bin"))
    return [found for minor in (8, 9, 10) for home in homes if (found := shutil.which(f"python3.{minor}", path=home))]


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_old_python_says_what_is_needed(name: str, tmp_path: Path) -> None:
    runs = 0
    for python in old_pythons():
        code, said = run(name, "-h", python=(python, "-B"), cwd=tmp_path)
        if "command not found" in said or "pyenv:" in said:  # the stand-in of a version manager
            continue
        runs += 1
        assert code == 1
        assert said.startswith(f"{name}: Python 3.11 or newer is needed, this is 3.")
        assert said.count("\n") == 1
    if not runs:
        pytest.skip("no Python from 3.8 to 3.10 on this machine")


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_is_loaded_before_the_version_is_looked_at_can_be_read_by_old_pythons(name: str) -> None:
    code = (
        f"import sys; before = set(sys.modules); import {name.removesuffix('.py')}\n"
        "print(*(getattr(sys.modules[module], '__file__', '') for module in set(sys.modules) - before), sep='\\n')"
    )
    files = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    ours = [Path(file) for file in files.splitlines() if Path(file).is_relative_to(ROOT)]
    assert {ROOT / name, ROOT / "script.py"} <= set(ours)
    for file in ours:
        tree = ast.parse(file.read_text("utf-8"), feature_version=(3, 8))
        assert not [node for node in ast.walk(tree) if type(node).__name__ in ("Match", "TryStar", "TypeAlias")], file


# --- a missing library


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_missing_library_is_one_line_with_the_way_to_it(name: str, tmp_path: Path) -> None:
    arguments = ("--demo",) if name == "power_consumption.py" else ()
    code, said = run(name, *arguments, python=(sys.executable, "-S"), cwd=tmp_path)  # -S: without site-packages
    assert code == 2
    assert said.count("\n") == 1
    assert " is missing" in said
    assert "pip install '.[" in said


def test_outside_of_a_virtual_environment_it_says_to_activate_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def imports() -> int:
        raise ModuleNotFoundError("No module named 'psycopg2'", name="psycopg2")

    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert script.run("power_graph.py", imports, extras="graph") == 2
    assert ". .venv/bin/activate" in capsys.readouterr().err
    monkeypatch.setattr(sys, "prefix", "/home/you/power/.venv")
    assert script.run("power_graph.py", imports, extras="graph") == 2
    assert capsys.readouterr().err == (
        "power_graph.py: psycopg2 is missing in the virtual environment /home/you/power/.venv: "
        "run pip install '.[graph]' in it\n"
    )


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (
            OSError("libopenblas.so.0: cannot open shared object file"),
            "libopenblas.so.0: cannot open shared object file",
        ),
        (None, "IMPORTANT"),
        (OSError(), "it does not say why"),
    ],
)
def test_a_library_that_cannot_be_loaded_is_one_line_and_a_part_of_ours_a_fault(
    cause: OSError | None, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(name: str) -> int:
        raise ImportError("\n\nIMPORTANT\n", name=name) from cause

    assert script.run("power_graph.py", lambda: broken("numpy"), extras="graph") == 2
    assert capsys.readouterr().err == (
        f"power_graph.py: numpy is installed, but cannot be loaded: {reason}: "
        "install what it lacks, or itself again: pip install --force-reinstall '.[graph]'\n"
    )
    with pytest.raises(ImportError):
        script.run("power_graph.py", lambda: broken("charts.panel"), extras="graph")


# --- a reader that has gone, a disk that is full, a poor encoding


def to_nobody(*command: str, both: bool = False) -> tuple[int, str]:
    """Run a script whose standard output, or *both* streams, nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, str(ROOT / command[0]), *command[1:]],
            stdout=writer,
            stderr=writer if both else subprocess.PIPE,
            text=True,
            timeout=60,
        )
    finally:
        os.close(writer)
    return done.returncode, done.stderr or ""


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_that_nobody_reads_ends_well(name: str) -> None:
    assert to_nobody(name, "-h") == (0, "")


@pytest.mark.parametrize("both", [False, True])
def test_a_picture_whose_path_nobody_reads_is_drawn(config: Path, both: bool) -> None:
    assert to_nobody(*drawing(config), both=both) == (0, "")
    assert len(list((config.parent / "絵").iterdir())) == 1


def test_an_error_that_nobody_reads_keeps_its_exit_code(config: Path) -> None:
    assert to_nobody("power_graph.py", "--config", str(config), "-d", "2025-01-01", both=True) == (1, "")
    assert to_nobody("power_graph.py", "--nonsense", both=True) == (2, "")


def failing_check(folder: Path) -> Sequence[str]:
    """Return a check that fails at the radio and at the database."""
    path = folder / "power_consumption.ini"
    path.write_text(
        "[routeB]\ndevice = /nowhere\nid = 00112233445566778899AABBCCDDEEFF\npassword = 0123456789AB\n"
        f"[database]\nurl = postgresql://nobody@127.0.0.1:1/x\n[storage]\ndata_dir = {folder}\n"
    )
    path.chmod(0o600)
    return "power_consumption.py", "--config", str(path), "--check"


def test_a_check_that_nobody_reads_keeps_its_exit_code(tmp_path: Path) -> None:
    assert to_nobody(*failing_check(tmp_path)) == (1, "")
    assert to_nobody(*failing_check(tmp_path), both=True)[0] == 1


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_at_the_start_change_no_exit_code(closed: str, tmp_path: Path) -> None:
    def ended(*command: str) -> tuple[int, bytes]:
        shell = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable]
        done = subprocess.run([*shell, *command], cwd=ROOT, capture_output=True, timeout=60)
        return done.returncode, done.stderr

    assert ended(*failing_check(tmp_path)) == (1, b"")
    for name in ("power_consumption.py", "power_graph.py"):
        assert ended(name, "--config", str(tmp_path / "missing.ini"))[0] == 2


def test_a_path_that_the_encoding_of_the_output_lacks_is_printed_in_escapes(config: Path) -> None:
    done = subprocess.run(
        [sys.executable, *drawing(config)],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"/\\u7d75/power_2025-11-22.png\n")


def test_a_full_disk_behind_the_output_changes_nothing(config: Path) -> None:
    with open("/dev/full", "wb") as full:
        assert run(*drawing(config), stdout=full) == (0, "")
    assert len(list((config.parent / "絵").iterdir())) == 1


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_the_backend_of_a_notebook_is_not_loaded(config: Path, backend: str) -> None:
    assert run(*drawing(config), env={**os.environ, "MPLBACKEND": backend}, stdout=subprocess.DEVNULL) == (0, "")


# --- signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_drawing_with_0_and_leaves_no_half_of_a_picture(config: Path, number: signal.Signals) -> None:
    code = (
        "import os, sys, power_graph\n"
        "from matplotlib.figure import Figure\n"
        "def half(figure, file, **options):\n"
        "    file.write(b'half of it')\n"
        "    file.flush()\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        "Figure.savefig = half\n"
        f"sys.exit(power_graph.main({drawing(config)[1:]!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list((config.parent / "絵").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_demo_with_0_and_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "power_consumption.py"), "--demo"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()  # the server is being started
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_last_moment_changes_no_exit_code(number: signal.Signals) -> None:
    """It takes Python some 30 ms to end."""
    code = (
        "import atexit, os, script, sys\n"
        f"def act(): atexit.register(os.kill, os.getpid(), {int(number)}); return 0\n"  # as the libraries do
        "sys.exit(script.run('x.py', act, extras='graph'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_old_python_is_named_and_nothing_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "hexversion", 0x030A0CF0)
    monkeypatch.setattr(sys, "version_info", (3, 10, 12, "final", 0))
    assert script.run("x.py", lambda: pytest.fail("it ran"), extras="graph") == 1
    assert capsys.readouterr().err == "x.py: Python 3.11 or newer is needed, this is 3.10.12\n"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_script_sees_whether_a_terminal_reads_it(is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.openpty() if is_terminal else os.pipe()
    with open(reader, "rb"), open(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "__stdout__", stream)
        assert script.run("x.py", lambda: int(sys.stdout.isatty()), extras="graph") == is_terminal


# --- the umask


def test_no_umask_keeps_from_us_what_we_make(tmp_path: Path) -> None:
    """One that takes the owner's rights too made directories that nobody could enter."""

    def makes() -> int:
        (tmp_path / "directory").mkdir()
        (tmp_path / "file").touch()
        return 0

    before = os.umask(0o777)
    try:
        assert script.run("x.py", makes, extras="graph") == 0
        assert os.umask(0o777) == 0o777
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("directory", "file")] == [0o700, 0o600]
