"""The units under a real systemd: what the documents promise of the service, from boot to stop."""

from __future__ import annotations

import errno
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from tests.lab.machine import STATE, UNIT, Machine, NoMachineError

pytestmark = pytest.mark.slow

GRAPHS = "power-consumption-graphs"


@contextmanager
def booted(*, stick: bool = True, drop_ins: Mapping[str, str] | None = None) -> Iterator[Machine]:
    try:
        with Machine(stick=stick, drop_ins=drop_ins) as machine:
            yield machine
    except NoMachineError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """Boot a machine whose stick is plugged in."""
    sooner = {f"{GRAPHS}.timer": "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/20\n", UNIT: "[Service]\nWatchdogSec=20\n"}
    with booted(drop_ins=sooner) as started:
        yield started


@pytest.fixture
def poller(machine: Machine) -> Machine:
    """Let the poller be at work, whatever the test before has done to it."""
    machine.run("systemctl", "start", UNIT, f"{GRAPHS}.timer")
    machine.wait_for_reading()
    return machine


def stored(machine: Machine) -> int:
    rows = machine.query("select count(*) from power")
    return int(rows[0][0]) if rows else 0


def main_pid(machine: Machine) -> int:
    return int(machine.show("MainPID"))


def test_from_boot_to_the_first_reading_in_the_record(poller: Machine) -> None:
    assert poller.show("ActiveState") == "active"
    assert re.fullmatch(r"\d+ W at \d\d:\d\d:\d\d \S+", poller.show("StatusText"))
    poller.wait_until("readings in the record", lambda: stored(poller) > 0)
    assert poller.run("systemctl", "is-enabled", UNIT) == "enabled"
    assert "Traceback" not in poller.journal()


def test_the_sandbox_lets_through_what_the_program_needs(poller: Machine) -> None:
    """The kernel's word on the clock, and a stick of a driver that is not loaded yet, as when it comes after boot."""
    probe = json.loads(poller.run("cat", f"{STATE}/probe.json"))
    assert probe["adjtimex"] >= 0
    assert probe["ttyUSB9"] in (0, errno.ENXIO, errno.ENODEV)  # EPERM: forbidden


def test_the_secrets_are_root_s_and_the_service_s_alone(poller: Machine) -> None:
    assert poller.run("stat", "-c", "%U %a", "/etc/power-consumption/routeb-id") == "root 600"
    assert "0123456789AB" not in poller.journal()
    limits = poller.run("cat", f"/proc/{main_pid(poller)}/limits")
    assert re.search(r"Max core file size\s+0\s+0", limits)


def test_a_killed_poller_comes_back_and_goes_on(poller: Machine) -> None:
    poller.wait_until("readings in the record", lambda: stored(poller) > 0)
    before, restarts = stored(poller), int(poller.show("NRestarts"))
    poller.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", UNIT)
    poller.wait_until("a restart", lambda: int(poller.show("NRestarts")) == restarts + 1)
    poller.wait_until("more readings in the record", lambda: stored(poller) > before)


def test_a_poller_that_stands_still_is_restarted_by_the_watchdog(poller: Machine) -> None:
    hung, restarts = main_pid(poller), int(poller.show("NRestarts"))
    poller.run("kill", "-STOP", str(hung))
    poller.wait_until("a restart", lambda: int(poller.show("NRestarts")) > restarts, within_s=90)
    assert "Failed with result 'watchdog'" in poller.journal()
    poller.wait_for_reading()
    assert main_pid(poller) != hung


def test_a_stop_ends_the_session_the_database_and_the_service_in_time(poller: Machine) -> None:
    poller.wait_until("readings in the record", lambda: stored(poller) > 0)
    poller.run("systemctl", "stop", f"{GRAPHS}.timer", f"{GRAPHS}.service")  # a picture would keep the database up
    begun = time.monotonic()
    poller.run("systemctl", "stop", UNIT)
    assert time.monotonic() - begun < 12
    assert (poller.show("Result"), poller.show("ExecMainStatus"), poller.show("ExecMainCode")) == ("success", "0", "1")
    assert poller.run("pgrep", "-u", "power-consumption", "-a", check=False) == ""


def test_the_timer_draws_yesterday(poller: Machine) -> None:
    """The meter's history brings yesterday into a record that was begun today."""
    since = datetime.now(UTC) - timedelta(days=2)
    poller.wait_until(
        "half hours of yesterday in the record",
        lambda: bool(poller.query(f"select 1 from energy having min(registered_at) < '{since.isoformat()}'")),
        within_s=120,
    )
    pictures = f"{STATE}/graphs"
    poller.wait_until("a picture", lambda: "power_" in poller.run("ls", pictures, check=False), within_s=120)
    assert poller.run("systemctl", "is-enabled", f"{GRAPHS}.timer") == "enabled"
    poller.run("systemctl", "stop", f"{GRAPHS}.timer")  # it would go on, every 20 s
    ended = ("inactive", "failed")
    poller.wait_until("the end", lambda: poller.show("ActiveState", f"{GRAPHS}.service") in ended, within_s=120)
    assert poller.show("Result", f"{GRAPHS}.service") == "success"
    assert poller.run("stat", "-c", "%U %a", pictures) == "power-consumption 700"


def test_a_stick_that_comes_after_boot_is_taken_up_and_again_after_it_was_pulled_out() -> None:
    with booted(stick=False) as machine:
        status = partial(machine.show, "StatusText")
        machine.wait_until("a status", lambda: status() != "")
        assert machine.show("ActiveState") == "active"
        assert status().startswith("no reading: ")
        machine.run("systemctl", "start", "stick.service")
        machine.wait_for_reading(within_s=120)
        machine.run("systemctl", "stop", "stick.service")
        machine.wait_until("the trouble in the status", lambda: "no reading" in status())
        machine.run("systemctl", "start", "stick.service")
        machine.wait_for_reading(within_s=120)


def test_the_meter_gives_the_time_until_a_time_server_does() -> None:
    """The kernel may not be asked here, so systemd's mark is what tells. The meter's clock is three hours ahead."""
    refused = {UNIT: "[Service]\nSystemCallFilter=~adjtimex clock_adjtime\n"}
    with booted(stick=False, drop_ins=refused) as machine:
        ahead = datetime.now(UTC) + timedelta(hours=3)
        machine.run("sh", "-c", f"echo OPTIONS=--start={ahead.isoformat()} > /etc/default/stick")
        machine.run("systemctl", "start", "stick.service")
        ahead_by = "extract(epoch from measured_at - now()) between 10000 and 12000"
        machine.wait_until(
            "readings at the meter's time",
            lambda: bool(machine.query(f"select 1 from power where {ahead_by} limit 1")),
            within_s=120,
        )
        assert "the meter's clock says so" in machine.journal()
        machine.run("mkdir", "-p", "/run/systemd/timesync")
        machine.run("touch", "/run/systemd/timesync/synchronized")
        machine.wait_until(
            "readings at the machine's time",
            lambda: bool(
                machine.query("select 1 from power where measured_at between now() - interval '1 min' and now()")
            ),
            within_s=240,
        )
        assert "this machine follows a time server" in machine.journal()
