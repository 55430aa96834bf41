"""The household that is measured: a simulated module in a process of its own, and the poller's parts in front of it."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skstack import Credentials, PanCache, PortOpener, SerialPort, Session, SessionTimings
from skstack.simulator import TEST_PASSWORD, TEST_ROUTE_B_ID
from tests.benchmarks.measuring import ROOT, other_processors

UP_WITHIN_S = 30.0
CREDENTIALS = Credentials(TEST_ROUTE_B_ID, TEST_PASSWORD)


@contextmanager
def simulated_module() -> Iterator[Path]:
    """Run a module that responds at once, with a meter behind it, in another process; give its device."""
    with tempfile.TemporaryDirectory() as directory:
        link = Path(directory, "tty")
        with child([sys.executable, "-m", "skstack.simulator", "--link", str(link), "--instant"]):
            yield link


@contextmanager
def child(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a program that prints a line when it is ready; end it afterwards."""
    with other_processors():
        started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with started as process:
        try:
            if process.stdout is None or not process.stdout.readline():
                raise RuntimeError(f"it did not start: {' '.join(command)}")
            yield process
        finally:
            process.send_signal(signal.SIGTERM)


def new_session(
    device: Path,
    *,
    cache: PanCache | None = None,
    open_port: PortOpener | None = None,
) -> Session:
    """Make a session as the poller does, but without the pause between two requests, which costs no CPU."""
    return Session(
        open_port or (lambda baud_rate: SerialPort(str(device), baud_rate)),
        CREDENTIALS,
        cache=cache,
        timings=SessionTimings(request_pause_s=0.0),
    )


def bring_up(session: Session) -> None:
    """Wait until requests may be put."""
    if not session.run_until_up(time.monotonic() + UP_WITHIN_S):
        raise RuntimeError(f"the simulated meter was not joined: {session.failure}")


def settings_file(directory: Path, *, device: Path, url: str, interval_s: int = 60, more: str = "") -> Path:
    """Write the settings of a poller whose data goes to *directory*, and return the file."""
    path = directory / "power_consumption.ini"
    path.write_text(
        f"[routeB]\ndevice = {device}\nid = {TEST_ROUTE_B_ID}\npassword = {TEST_PASSWORD}\ninterval = {interval_s}\n"
        f"[database]\nurl = {url}\n[storage]\ndata_dir = {directory / 'data'}\n{more}",
        encoding="utf-8",
    )
    path.chmod(0o600)
    return path
