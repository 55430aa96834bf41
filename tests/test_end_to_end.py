"""The poller as its users run it: a process, a pseudo-terminal with a simulated module, and a real PostgreSQL."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import settings
from poller.once import run_once
from poller.process import StopSignal
from tests.lab.module import ROUTE_B_ID
from tests.lab.process import command, module_on, polling, power, settings_file, wait_for_rows

pytestmark = pytest.mark.system


# A household that draws nothing, or only sells, has an import register that stands still: what the meter was set up
# with is what must be stored. 12345 kWh are 41150 counts of 3 x 0.1 kWh.
@pytest.mark.parametrize(
    ("model", "binary", "watts", "options", "expected"),
    [
        ("BP35A1", False, -1962, {"lacks": frozenset({0xD3})}, {"power_w": -1962, "import_kwh": Decimal("12345.0")}),
        ("BP35A1", True, 0, {"unit_code": 0x02, "digits": 8}, {"power_w": 0, "import_kwh": Decimal("12345.00")}),
        ("BP35C2", True, -500, {"coefficient": 3}, {"power_w": -500, "import_kwh": Decimal("12345.0")}),
        (
            "RL7023 Stick-D/DSS",
            False,
            0,
            {"two_wire": True, "measures_export": False},
            {"power_w": 0, "current_r_a": Decimal("0.0"), "current_t_a": None, "export_kwh": None},
        ),
        ("RL7023 Stick-D/IPS", False, 0, {}, {"power_w": 0, "export_kwh": Decimal("678.0")}),
    ],
)  # fmt: skip
def test_the_right_values_arrive_in_postgresql(
    tmp_path: Path,
    database_url: str,
    connection: Any,
    model: str,
    binary: bool,
    watts: int,
    options: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    link = tmp_path / "tty"
    config = settings_file(tmp_path, device=link, url=database_url)
    with module_on(link, watts, model=model, hex_payload=not binary, **options) as module, polling(config):
        rows = power(connection)
    for row in rows:
        assert row | expected == row
        assert row["measured_at"].microsecond == 0
    assert module.flash_writes == 0
    assert module.violations == []
    assert not module.has_session  # SIGTERM ended it


def test_a_meter_row_says_how_the_registers_count(tmp_path: Path, database_url: str, connection: Any) -> None:
    link = tmp_path / "tty"
    config = settings_file(tmp_path, device=link, url=database_url)
    with module_on(link, 300, coefficient=3, unit_code=0x02, digits=7), polling(config):
        wait_for_rows(connection, "meter", 1)
    with connection.cursor() as cursor:
        cursor.execute("select manufacturer, serial_number, release, coefficient, unit_kwh, digits from meter")
        assert cursor.fetchall() == [("000016", "SIM0000001", "F", 3, Decimal("0.01"), 7)]


def test_a_restart_with_the_pan_in_the_cache_joins_without_a_scan(
    tmp_path: Path, database_url: str, connection: Any
) -> None:
    link = tmp_path / "tty"
    config = settings_file(tmp_path, device=link, url=database_url)
    with module_on(link, 0):
        with polling(config):
            power(connection, 1)
        with connection.cursor() as cursor:
            cursor.execute("delete from power")
        with polling(config):  # how fast that is, the benchmarks measure: a test machine may be busy
            power(connection, 1)
    with connection.cursor() as cursor:
        cursor.execute(
            "select kind, count(*) from radio_event where kind in ('scan', 'join') group by kind order by kind"
        )
        assert cursor.fetchall() == [("join", 2), ("scan", 1)]


def test_once_stores_one_round_ends_the_session_and_says_so_by_its_exit_code(
    tmp_path: Path, database_url: str, connection: Any
) -> None:
    link = tmp_path / "tty"
    config = settings_file(tmp_path, device=link, url=database_url, interval_s=60)
    with module_on(link, -500) as module:
        done = subprocess.run(command(config, "--once"), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  -500 W, \S+ A.*kWh used.*\n", done.stdout)
        assert [row["power_w"] for row in power(connection, 1)] == [-500]
        assert not module.has_session


def test_once_with_a_sensor_prints_and_stores_what_it_measures(
    tmp_path: Path, database_url: str, connection: Any
) -> None:
    zone = tmp_path / "temp"
    zone.write_text("48300\n", "utf-8")  # the kernel's millidegrees
    config = settings_file(tmp_path, device=tmp_path / "tty", url=database_url, interval_s=60)
    with config.open("a", encoding="utf-8") as file:
        file.write(f"[cpu]\nzone = {zone}\n")
    with module_on(tmp_path / "tty", 500):
        done = subprocess.run(command(config, "--once", "-t"), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\S+ \S+  48\.3 C$", done.stdout, re.MULTILINE)
    wait_for_rows(connection, "cpu_temperature", 1)
    with connection.cursor() as cursor:
        cursor.execute("select measured_at, temperature_c from cpu_temperature")
        [(measured_at, celsius)] = cursor.fetchall()
    assert measured_at == power(connection, 1)[0]["measured_at"]
    assert celsius == pytest.approx(48.3)


def test_once_beside_a_disk_that_takes_nothing_says_what_postgresql_has(
    tmp_path: Path, database_url: str, connection: Any
) -> None:
    """No file can be made below /proc, not even by root: as on a card that the kernel has made read-only."""
    link = tmp_path / "tty"
    config = settings_file(tmp_path, device=link, url=database_url, interval_s=60)
    config.write_text(config.read_text("utf-8").replace(str(tmp_path / "data"), "/proc/nowhere"), "utf-8")
    with module_on(link, 500):
        done = subprocess.run(command(config, "--once"), capture_output=True, text=True, timeout=60, check=False)
    assert [row["power_w"] for row in power(connection, 1)] == [500]
    assert "/proc/nowhere cannot be written" in done.stderr
    assert "for the next run" not in done.stderr
    assert done.returncode == 0


def test_once_where_neither_the_disk_nor_postgresql_takes_the_reading_says_that_it_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("poller.once.ONCE_DELIVERY_S", 1.0)
    link = tmp_path / "tty"
    config = settings_file(tmp_path, device=link, url="postgresql://postgres@127.0.0.1:1/nothing", interval_s=60)
    config.write_text(config.read_text("utf-8").replace(str(tmp_path / "data"), "/proc/nowhere"), "utf-8")
    with module_on(link, 500):
        assert run_once(settings.load(config), (), stop=StopSignal()) == 1
    printed = capsys.readouterr()
    assert "500 W" in printed.out
    [said] = printed.err.splitlines()
    assert said.startswith("power_consumption.py: the round is in no safe place: cannot connect to ")
    assert "Connection refused" in said
    assert "/proc/nowhere/outbox.rounds cannot be used" in said


def test_once_ends_with_1_where_postgresql_refuses_the_reading(
    tmp_path: Path, database_url: str, connection: Any
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("alter table power add constraint mild check (power_w < 400)")
    link = tmp_path / "tty"
    config = settings_file(tmp_path, device=link, url=database_url, interval_s=60)
    with module_on(link, 500):
        done = subprocess.run(command(config, "--once"), capture_output=True, text=True, timeout=60, check=False)
    assert 'violates check constraint "mild"' in done.stderr
    assert done.stderr.endswith(f"1 row not stored, but kept in {tmp_path / 'data'}: see above\n")
    assert done.returncode == 1


def test_whoever_watches_the_start_sees_that_a_reading_is_stored(tmp_path: Path, database_url: str) -> None:
    link = tmp_path / "tty"
    config = settings_file(tmp_path, device=link, url=database_url)
    with module_on(link, 0), polling(config) as process:
        assert process.stderr is not None
        seen: list[str] = []
        while "first reading" not in "".join(seen):
            seen.append(process.stderr.readline())
    assert any("joined the meter" in line for line in seen)
    assert re.fullmatch(r".*INFO first reading: \d+ W\n", seen[-1])


def test_a_second_poller_says_so_and_exits_1_without_touching_the_port(
    tmp_path: Path, database_url: str, connection: Any
) -> None:
    link = tmp_path / "tty"
    config = settings_file(tmp_path, device=link, url=database_url)
    with module_on(link, 0), polling(config):
        power(connection, 1)
        for arguments in ((), ("--once",)):
            second = subprocess.run(
                command(config, *arguments), capture_output=True, text=True, timeout=60, check=False
            )
            assert second.returncode == 1
            assert "another poller is running" in second.stderr
            assert "Traceback" not in second.stderr
        power(connection, 3)  # the first one is not disturbed


def test_once_that_is_stopped_says_in_one_line_what_it_waited_for(tmp_path: Path, database_url: str) -> None:
    config = settings_file(tmp_path, device=tmp_path / "nothing", url=database_url)
    process = subprocess.Popen(command(config, "--once"), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = ""
    while "plug the stick in" not in said:  # it would look for the device for minutes
        said = process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "the meter was not read: " in errors
    assert "nothing is not there: plug the stick in" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("name", ["file", "directory", "pipe", "/dev/null"])
def test_once_waits_for_nothing_where_there_is_no_serial_port(tmp_path: Path, database_url: str, name: str) -> None:
    """A shell that writes to the path of a stick that is not plugged in makes a file there."""
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    config = settings_file(tmp_path, device=tmp_path / name, url=database_url)
    done = subprocess.run(command(config, "--once"), stderr=subprocess.PIPE, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert f"the meter was not read: {tmp_path / name} is not a serial port: check the path\n" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text", "said"),
    [
        ((), None, "copy power_consumption.ini-sample"),
        ((), "[routeB]\ndevice = /dev/null\nid = 12\npassword = x\n", "[routeB] id"),
        (
            (),
            f"[routeB]\nid = {ROUTE_B_ID}\npassword = x\n[database]\nurl = postgresql://me:50%@db/home\n",
            "the database url cannot be read: write it as postgresql://user@host/database",
        ),
        (
            (),
            f"[routeB]\nid = {ROUTE_B_ID}\npassword = x\n[storage]\ndata_dir = {'x' * 300}\n",
            "cannot be used: File name too long: ",
        ),
        (("--nonsense",), "", "unrecognized arguments"),
    ],
)
def test_wrong_usage_or_settings_end_with_exit_code_2(
    tmp_path: Path, arguments: tuple[str, ...], text: str | None, said: str
) -> None:
    config = tmp_path / "power_consumption.ini"
    if text is not None:
        config.write_text(text, encoding="utf-8")
        config.chmod(0o600)
    done = subprocess.run(command(config, *arguments), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
