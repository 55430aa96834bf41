"""The table of sensors: each flag reaches the poller, imports its own driver, and is simulated for the demo."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

import power_consumption
import script
from poller.app import run_loop
from poller.demo import simulated_sensors
from poller.process import StopSignal
from poller.sensing import Source
from poller.sources import SENSORS, Sensor
from settings import load
from skstack.simulator import VirtualClock
from storage.records import TABLES, Row, SensorRow
from tests.lab.check import written
from tests.lab.documents import ROOT

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SHARED = {"__init__", "errors", "i2c"}  # of sensors/: what is no driver
DRIVERS = {
    file.stem for file in (ROOT / "sensors").glob("*.py") if file.stem not in SHARED and "simulated" not in file.stem
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return written(tmp_path, tmp_path / "tty")


@pytest.mark.parametrize("sensor", SENSORS, ids=lambda sensor: sensor.flag)
@pytest.mark.parametrize("mode", ["--once", "--check", "loop"])
def test_a_flag_reaches_the_poller(sensor: Sensor, mode: str, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[Sequence[Sensor]] = []

    def run(_settings: object, sensors: Sequence[Sensor], **_options: object) -> int:
        wanted.append(sensors)
        return 0

    for way in ("poller.once.run_once", "poller.check.run_check", "poller.app.run_loop"):
        monkeypatch.setattr(way, run)
    monkeypatch.setattr("poller.process.StopSignal.install", lambda _self: None)
    arguments = ["--config", str(config), *([mode] if mode != "loop" else [])]
    for flags in ([], [sensor.short], [sensor.flag], [sensor.short, sensor.flag]):
        assert power_consumption.main([*arguments, *flags]) == 0
    assert wanted == [[], [sensor], [sensor], [sensor]]


def modules_after(program: str) -> set[str]:
    """Return what is imported when *program* has run."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys\nprint(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.system
def test_every_driver_is_imported_by_the_one_flag_that_needs_it(config: Path) -> None:
    begin = (
        "from pathlib import Path; from poller.sources import SENSORS; from settings import load; "
        f"settings = load(Path({str(config)!r}))"
    )
    imported = []
    for number in range(len(SENSORS)):
        modules = modules_after(f"{begin}; SENSORS[{number}].source(settings)")
        assert "smbus2" not in modules  # before a bus is opened
        drivers = [name for name in DRIVERS if f"sensors.{name}" in modules]
        assert len(drivers) == 1
        imported += drivers
    assert sorted(imported) == sorted(DRIVERS)


def test_a_sensor_whose_library_is_missing_is_said_at_once(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "smbus2", None)  # as Python has it where a library is not there
    code = script.run("poller", lambda: run_loop(load(config), SENSORS, stop=StopSignal()), extras="poller")
    assert code == 2
    assert "smbus2 is missing" in capsys.readouterr().err


@pytest.mark.system
def test_help_imports_nothing_of_what_is_read_or_written() -> None:
    modules = modules_after(
        "import power_consumption\ntry:\n    power_consumption.main(['-h'])\nexcept SystemExit:\n    pass"
    )
    heavy = {"serial", "smbus2", "psycopg2", "settings", "skstack", "storage", "sensors", "datetime", "dataclasses"}
    assert modules & heavy == set()


def names(sources: Sequence[Source]) -> list[str]:
    return sorted(source.name for source in sources)


def test_the_demo_simulates_every_sensor_and_each_has_its_row(config: Path) -> None:
    settings = load(config)
    asked_for = names([sensor.source(settings) for sensor in SENSORS])
    assert len(set(asked_for)) == len(SENSORS)
    in_demo = simulated_sensors(VirtualClock(NOON))
    assert names(in_demo) == asked_for
    assert {type(source.read(NOON)) for source in in_demo} == set(get_args(SensorRow))


def test_every_row_has_its_table() -> None:
    assert set(TABLES) == set(get_args(Row))
