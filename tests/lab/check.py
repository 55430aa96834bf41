"""Stand-ins for the tests of --check: a household whose device is a simulated module, and what was printed about it."""

from __future__ import annotations

import io
import os
import pty
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from poller.check import run_check
from poller.process import StopSignal
from poller.sources import Sensor
from settings import Settings, load
from skstack import FACTORY_BAUD_RATE
from tests.lab.module import METER_MAC, PASSWORD, ROUTE_B_ID

FILE = Path("power_consumption.ini")
DATABASE_PASSWORD = "pg-secret-5739"
SECRETS = (ROUTE_B_ID, ROUTE_B_ID[-8:], PASSWORD, DATABASE_PASSWORD, METER_MAC, "021C:6400")
REPOSITORY = Path(__file__).parents[2]
FOREVER = 4e9  # Unix seconds


class Checked:
    """What --check printed, and its exit code."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text
        for secret in SECRETS:
            assert secret.lower() not in text.lower()

    def line(self, part: str) -> str:
        """Return the line of *part*: mark, name, what was found."""
        (found,) = (line for line in self.text.splitlines() if line[2:18].rstrip() == part)
        return found

    def advice(self, part: str) -> str:
        """Return what the line under the cross of *part* says."""
        assert self.line(part).startswith("✗")
        lines = self.text.splitlines()
        said = lines[lines.index(self.line(part)) + 1].strip()
        assert said.startswith("-> ")
        return said

    @property
    def crosses(self) -> list[str]:
        """The parts with a cross, in order."""
        return [line[2:18].rstrip() for line in self.text.splitlines() if line.startswith("✗")]

    @property
    def skipped(self) -> list[str]:
        """The parts that were not tried, in order."""
        return [line[2:18].rstrip() for line in self.text.splitlines() if " not tried: " in line]


RADIO_PARTS = ["serial port", "module", "scan", "join", "meter", "reading", "meter clock"]


def check(settings: Settings, wanted: Sequence[Sensor] = (), **options: Any) -> Checked:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("poller.check.radio.BAUD_RATES", (FACTORY_BAUD_RATE,))  # a silent module takes no time
        patch.setattr("sys.stdout", out)
        code = run_check(settings, wanted, **{"file": FILE, "stop": StopSignal(), **options})
    return Checked(code, out.getvalue())


def written(directory: Path, device: Path, url: str = "", **route_b: str) -> Path:
    """Write a settings file that only its owner can read."""
    keys = {"device": str(device), "id": ROUTE_B_ID, "password": PASSWORD, "timeout": "1", **route_b}
    section = "".join(f"{key} = {value}\n" for key, value in keys.items())
    file = directory / "power_consumption.ini"
    file.write_text(f"[routeB]\n{section}[database]\nurl = {url}\n[storage]\ndata_dir = {directory / 'data'}\n")
    file.chmod(0o600)
    return file


def at_home(tmp_path: Path, url: str, **route_b: str) -> Settings:
    """Load settings whose device is where module_on() serves it."""
    return load(written(tmp_path, tmp_path / "tty", url, **route_b))


def without_radio(tmp_path: Path, url: str) -> Settings:
    """Load settings of a household whose stick is unplugged: their check takes no time."""
    return load(written(tmp_path, tmp_path / "unplugged", url))


@contextmanager
def bare_terminal(link: Path) -> Iterator[int]:
    """Make a pseudo terminal with nobody behind it; yield the other end."""
    master_fd, slave_fd = pty.openpty()
    tty.setraw(slave_fd)
    link.symlink_to(os.ttyname(slave_fd))
    try:
        yield master_fd
    finally:
        os.close(master_fd)
        os.close(slave_fd)
