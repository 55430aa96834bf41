"""The published client momonga, which knows nothing of us, opens a session on the simulator and reads everything."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import momonga
import pytest

pytestmark = pytest.mark.system

ROUTE_B_ID = "00112233445566778899AABBCCDDEEFF"
PASSWORD = "0123456789AB"


@contextmanager
def simulator(link: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run the simulator as its users do; yield the process once its link is there."""
    command = [sys.executable, "-m", "skstack.simulator", "--link", str(link), "--instant", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip().endswith(str(link))
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
    assert not link.is_symlink()


@contextmanager
def opened(link: Path) -> Iterator[Any]:
    client = momonga.Momonga(ROUTE_B_ID, PASSWORD, str(link))
    client.internal_xmit_interval = 0
    client.recv_timeout = 2
    with client:
        yield client


# Opening takes the client over two seconds, so each module has its turn once or twice, not in every test.


@pytest.mark.parametrize("model", ["BP35A1", "RL7023 Stick-D/DSS"])
def test_every_getter_of_the_client_reads_a_second_generation_meter(model: str, tmp_path: Path) -> None:
    link = tmp_path / "tty"
    with simulator(link, "--model", model, "--second-generation", "--solar"), opened(link) as client:
        getters = [name for name in dir(client) if name.startswith("get_") and name != "get_notification"]
        read = {name: getattr(client, name)() for name in getters}
    assert len(read) == 26
    assert None not in read.values()
    assert read["get_serial_number"].rstrip("\0") == "SIM0000001"
    assert read["get_unit_for_cumulative_energy"] == 0.1
    assert len(read["get_historical_cumulative_energy_1"]) == 48
    assert len(read["get_historical_cumulative_energy_2"]) == 12
    assert len(read["get_historical_cumulative_energy_3"]) == 10


def test_the_client_finds_the_half_hour_register_in_both_histories(tmp_path: Path) -> None:
    link = tmp_path / "tty"
    with simulator(link, "--model", "RL7023 Stick-D/IPS", "--start", "2026-06-01T12:10:00"), opened(link) as client:
        fixed = client.get_cumulative_energy_measured_at_fixed_time()
        of_the_day = client.get_historical_cumulative_energy_1(0)
        back_from_noon = client.get_historical_cumulative_energy_2(datetime(2026, 6, 1, 12, 0), 3)  # noqa: DTZ001 - the client takes the meter's local time
    assert fixed["timestamp"] == datetime(2026, 6, 1, 12, 0)  # noqa: DTZ001 - and gives it
    assert of_the_day[24]["cumulative energy"] == fixed["cumulative energy"]
    assert of_the_day[25]["cumulative energy"] is None
    assert back_from_noon[0]["cumulative energy"]["normal direction"] == fixed["cumulative energy"]
    assert back_from_noon[1]["cumulative energy"]["normal direction"] == of_the_day[23]["cumulative energy"]


@pytest.mark.parametrize(("model", "options"), [("BP35A1", ["--no-export"]), ("BP35C2", ["--infc", "--no-d3"])])
def test_an_announcement_reaches_the_client(model: str, options: list[str], tmp_path: Path) -> None:
    link = tmp_path / "tty"
    with simulator(link, "--model", model, *options) as process, opened(link) as client:
        process.send_signal(signal.SIGUSR1)
        announced = client.get_notification(timeout=30)
    assert announced["esv"] == (0x74 if "--infc" in options else 0x73)
    assert set(announced["properties"]) == ({0xEA} if "--no-export" in options else {0xEA, 0xEB})


def test_a_module_with_binary_payloads_is_switched_to_text_by_the_client(tmp_path: Path) -> None:
    link = tmp_path / "tty"
    with simulator(link, "--model", "RS-WSUHA-P", "--binary"), opened(link) as client:
        assert isinstance(client.get_instantaneous_power(), int)
