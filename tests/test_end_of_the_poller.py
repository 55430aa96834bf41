"""SIGTERM ends the poller with exit code 0 within ten seconds, whatever the device at its port does."""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pseudo_terminal import Device, serve, terminal_at
from skstack.simulator import INSTANT, SimulatedModule
from tests.lab.devices import Babbling, Deaf
from tests.lab.module import make_meter
from tests.lab.process import command, settings_file

pytestmark = pytest.mark.system

WITHIN_S = 10.0
AT_ONCE = 7  # pollers: they mostly wait


def drips(_module: SimulatedModule) -> Device:
    return Babbling.drip(every_s=0.15, start=time.time())


def floods(_module: SimulatedModule) -> Device:
    return Babbling.flood(start=time.time())


def is_deaf(_module: SimulatedModule) -> Device:
    return Deaf()


def never_reads(_module: SimulatedModule) -> Device:
    return Deaf(reads=False)


def is_slow(module: SimulatedModule) -> Device:
    module.timing = replace(INSTANT, pause_s=2.85)
    return module


class Turning:
    """A good module until it has a session; from then on what *turn* makes of it."""

    reads = True

    def __init__(self, turn: Callable[[SimulatedModule], Device]) -> None:
        self._turn = turn
        self._module = SimulatedModule(make_meter(), timing=INSTANT)
        self._device: Device = self._module

    def receive(self, data: bytes, at: float) -> None:
        if self._device is self._module and self._module.has_session:
            self._device = self._turn(self._module)
        self._device.receive(data, at)

    def take_output(self, at: float) -> bytes:
        return self._device.take_output(at)

    def next_output_at(self) -> float | None:
        return self._device.next_output_at()


@contextmanager
def served(link: Path, device: Device) -> Iterator[None]:
    """Serve *device* at *link*; the input of one that does not read is full already."""
    stop_reader, stop_writer = os.pipe()
    with terminal_at(link) as master_fd:
        if not device.reads:
            fill(link)
        thread = threading.Thread(
            target=serve, args=(device, master_fd), kwargs={"stop_fd": stop_reader, "now": time.time}, daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            os.write(stop_writer, b"q")
            thread.join(10)
            os.close(stop_reader)
            os.close(stop_writer)


def fill(link: Path) -> None:
    fd = os.open(link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(fd, b"\r" * 1024)
    os.close(fd)


def seconds_to_end(directory: Path, url: str, device: Device, after_s: float, *arguments: str) -> float:
    """Return how long the poller takes to end when it is told to *after_s* seconds after its first message."""
    directory.mkdir()
    link = directory / "tty"
    config = settings_file(directory, device=link, url=url)
    with served(link, device):
        process = subprocess.Popen(command(config, *arguments), stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        process.stderr.readline()  # it has begun
        time.sleep(after_s)  # real time: the device has its own
        assert process.poll() is None
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        took_s = time.monotonic() - began
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    return took_s


@pytest.mark.parametrize("turn", [drips, floods, is_deaf, never_reads, is_slow])
@pytest.mark.parametrize("moments", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_no_device_holds_up_the_end(
    tmp_path: Path, database_url: str, turn: Callable[[SimulatedModule], Device], moments: int
) -> None:
    chance = random.Random(f"{turn.__name__} {moments}")

    def end(number: int, after_s: float) -> float:
        device = turn(SimulatedModule(make_meter(), timing=INSTANT))
        if number % 3 == 2 and device.reads:
            device = Turning(turn)
        arguments = ("--once",) if number % 3 == 1 else ()
        return seconds_to_end(tmp_path / str(number), database_url, device, after_s, *arguments)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        after_s = [chance.uniform(0.0, 5.0 if moments < 20 else 20.0) for _ in range(moments)]
        took_s = list(pool.map(end, range(moments), after_s))
    sys.stdout.write(f"{turn.__name__}: at most {max(took_s):.2f} s, median {statistics.median(took_s):.2f} s\n")
    assert max(took_s) < WITHIN_S
