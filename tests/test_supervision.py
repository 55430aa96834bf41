"""What systemd hears of the poller: ready, its state in a line, alive, stopping."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.lab.process import command, module_on, settings_file

pytestmark = pytest.mark.system


def test_systemd_is_notified_of_ready_status_watchdog_and_stopping(tmp_path: Path, database_url: str) -> None:
    link = tmp_path / "tty"
    config = settings_file(tmp_path, device=link, url=database_url)
    with module_on(link, -500), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.settimeout(20.0)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        process = subprocess.Popen(command(config), stderr=subprocess.PIPE, text=True, env=environment)
        heard: list[str] = []
        deadline = time.monotonic() + 20.0
        while time.monotonic() < deadline and not any("-500 W" in message for message in heard):
            heard.append(supervisor.recv(4096).decode())
        heard.append(supervisor.recv(4096).decode())  # the first round also learns who the meter is, a few seconds long
        alive_before = heard.count("WATCHDOG=1")
        time.sleep(1.0)  # real time: the watchdog has its own
        process.send_signal(signal.SIGTERM)
        while heard[-1] != "STOPPING=1":
            heard.append(supervisor.recv(4096).decode())
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 0, errors
    assert heard[0] == "READY=1"
    assert any(message.startswith("STATUS=") and "-500 W" in message for message in heard)
    # Twice in the 0.4 s after which systemd would restart us: five times in a second, or nearly so on a busy machine.
    assert heard.count("WATCHDOG=1") - alive_before >= 3
