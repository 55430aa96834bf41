"""A signal sets a flag and ends every wait at once; a second Ctrl-C ends the process."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from poller.process import StopSignal


@pytest.fixture
def installed() -> Iterator[StopSignal]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    stop = StopSignal()
    stop.install()
    yield stop
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_sets_the_flag_and_wakes_who_waits(installed: StopSignal, number: signal.Signals) -> None:
    assert not installed.requested()
    os.kill(os.getpid(), number)
    assert installed.requested()
    assert select.select([installed.fileno()], [], [], 0)[0]


def test_a_signal_ends_a_sleep_at_once(installed: StopSignal) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    begun = time.monotonic()
    installed.sleep(30.0)
    assert time.monotonic() - begun < 5.0


def test_a_wake_up_is_used_up_but_the_flag_stays(installed: StopSignal) -> None:
    installed.request()
    installed.sleep(0.0)
    assert not select.select([installed.fileno()], [], [], 0)[0]
    assert installed.requested()


def test_a_flood_of_signals_does_not_block_or_raise(installed: StopSignal) -> None:
    for _ in range(70_000):  # more than a pipe holds
        installed.request()
    assert installed.requested()


@pytest.mark.system
def test_under_nohup_the_end_of_the_terminal_is_not_ours() -> None:
    program = "import os, signal, poller.process\n"
    program += "poller.process.StopSignal().install()\nos.kill(os.getpid(), signal.SIGHUP)\nprint('still here')"
    done = subprocess.run(
        ["nohup", sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert (done.returncode, done.stdout) == (0, "still here\n")


@pytest.mark.system
def test_a_second_ctrl_c_ends_the_process_at_once() -> None:
    program = """
import os, signal
from poller.process import StopSignal
stop = StopSignal()
stop.install()
os.kill(os.getpid(), signal.SIGINT)
print(stop.requested(), flush=True)
os.kill(os.getpid(), signal.SIGINT)
print("still here")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False
    )
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "True\n")
