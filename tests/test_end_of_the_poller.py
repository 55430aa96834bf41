"""SIGTERM ends the poller with exit code 0 within ten seconds, whatever the device at its port does."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from skstack.simulator import INSTANT, Babbling, Device, SimulatedModule, serve, terminal_at
from tests.lab.module import make_meter
from tests.lab.process import command, settings_file

WITHIN_S = 10.0


@contextmanager
def served(link: Path, device: Device) -> Iterator[None]:
    """Serve *device* at *link*."""
    stop_reader, stop_writer = os.pipe()
    with terminal_at(link) as master_fd:
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


def dripping() -> Device:
    return Babbling.drip(every_s=0.15, start=time.time())


def slow() -> Device:
    return SimulatedModule(make_meter(), timing=replace(INSTANT, pause_s=2.85))


@pytest.mark.parametrize("device", [dripping, slow])
@pytest.mark.parametrize("after_s", [1.0, 4.0])
@pytest.mark.parametrize("arguments", [(), ("--once",)], ids=["loop", "once"])
def test_a_device_that_drips_or_is_slow_holds_up_no_end(
    tmp_path: Path, database_url: str, device: Callable[[], Device], after_s: float, arguments: tuple[str, ...]
) -> None:
    link = tmp_path / "tty"
    config = settings_file(tmp_path, device=link, url=database_url)
    with served(link, device()):
        process = subprocess.Popen(command(config, *arguments), stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        process.stderr.readline()  # it has begun
        time.sleep(after_s)  # real time: the device has its own
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        took_s = time.monotonic() - began
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert took_s < WITHIN_S
