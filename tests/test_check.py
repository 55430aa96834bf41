"""--check against the simulated module on a pseudo terminal and a real PostgreSQL, with each part broken in turn."""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import psycopg2
import pytest
import serial

import sensors.cpu
import sensors.i2c
import sensors.mhz19
from poller.app import only_poller
from poller.check import run_check
from poller.check.radio import signal_word
from poller.check.report import CheckFailedError, Part, Report
from poller.process import StopSignal
from poller.sources import SENSORS
from poller.time_server import TimeServer
from sensors.errors import SensorError, SensorNotFoundError
from sensors.simulated_bme280 import SimulatedBme280
from sensors.simulated_mhz19 import Mhz19Port, SimulatedMhz19
from settings import SettingsError, load
from skstack import PortLostError
from skstack.simulator import REALISTIC, Beacon, Habit
from storage.connection import connect
from storage.database import Database
from storage.errors import EmbeddedServerError
from storage.outbox import Outbox
from storage.outbox_files import Rejected
from storage.records import Round
from tests.lab.check import (
    DATABASE_PASSWORD,
    FILE,
    FOREVER,
    RADIO_PARTS,
    REPOSITORY,
    at_home,
    bare_terminal,
    check,
    without_radio,
    written,
)
from tests.lab.database import FIRST_AT, power_row, round_of
from tests.lab.habits import mute, refuse, take
from tests.lab.module import ROUTE_B_ID
from tests.lab.process import module_on

pytestmark = pytest.mark.system


@pytest.fixture
def sensors_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put simulated chips behind the real drivers."""
    chip = SimulatedBme280(time.monotonic)
    chip.temperature_c, chip.humidity_pct, chip.pressure_hpa = 21.5, 47.0, 1013.2
    air = SimulatedMhz19(powered_at=time.monotonic() - 3600.0)
    air.co2_ppm = 612
    port = Mhz19Port(air, monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr(sensors.i2c, "open_i2c_bus", lambda _bus: chip)
    monkeypatch.setattr(sensors.mhz19, "open_serial_port", lambda _device: port)
    monkeypatch.setattr(sensors.cpu, "read_cpu_temperature_c", lambda _zone: 46.25)


# --- all good


@pytest.mark.usefixtures("sensors_there")
def test_a_household_in_order_gets_a_tick_for_each_part(tmp_path: Path, database_url: str) -> None:
    with module_on(tmp_path / "tty") as module:
        checked = check(at_home(tmp_path, database_url), SENSORS, file=tmp_path / "power_consumption.ini")
        assert not module.has_session
        assert module.violations == []
        assert module.flash_writes == 0
    assert checked.code == 0
    assert checked.crosses == []
    assert "power_consumption.ini: a reading every 60 s, for site 'home'" in checked.line("settings")
    assert "can be written" in checked.line("data directory")
    assert "nothing waits" in checked.line("data directory")
    assert "opens" in checked.line("serial port")
    assert "BP35C2" in checked.line("module")
    assert "firmware 1.5.2, dual dialect, payload in hex, 115200 baud" in checked.line("module")
    # 0.275 x 0xA7 - 104.27 = -58.3
    assert "channel 0x39, PAN 0x8CF5, signal -58 dBm (excellent); no other meter heard" in checked.line("scan")
    assert "accepts the ID and the password" in checked.line("join")
    assert "maker 000016, serial number ...001, release F" in checked.line("meter")
    assert "coefficient 1, unit 0.1 kWh, 6 digits; measures what is sold: yes" in checked.line("meter")
    assert "600 W, 3.6 A (R), 2.4 A (T), " in checked.line("reading")
    assert "678.0 kWh sold" in checked.line("reading")
    # The register begins at 12,345 kWh; 600 W for ten to eleven days add 144.0 to 158.4 kWh.
    used = re.search(r"([\d.]+) kWh used", checked.line("reading"))
    assert used is not None
    assert 12_489.0 <= float(used[1]) <= 12_503.4
    assert "agrees with this machine" in checked.line("meter clock")
    assert "46.2 C" in checked.line("CPU temperature")
    assert "612 ppm" in checked.line("MH-Z19")
    assert "21.5 C, 47 %, 1013.2 hPa" in checked.line("BME280")
    assert re.search(r"PostgreSQL \d\d\.\d+ at user=postgres dbname=", checked.line("database"))
    assert "all there" in checked.line("tables")
    assert "no reading of site 'home' yet; the database takes" in checked.line("last reading")
    assert len(re.findall(r"\(\d+\.\d s\)$", checked.text, re.MULTILINE)) == 16
    assert checked.text.endswith("all 16 parts are fine\n")


@pytest.mark.parametrize(
    ("model", "hex_payload", "shown"),
    [
        ("BP35A1", False, "ROHM BP35A1, firmware 1.2.10, single dialect, payload in binary"),
        ("RL7023 Stick-D/IPS", True, "RL7023 Stick-D/IPS, firmware 1.3.0, single dialect, payload always in hex"),
    ],
)
def test_other_modules_are_distinguished(
    model: str, hex_payload: bool, shown: str, tmp_path: Path, database_url: str
) -> None:
    with module_on(tmp_path / "tty", model=model, hex_payload=hex_payload):
        checked = check(at_home(tmp_path, database_url))
    assert checked.code == 0
    assert shown in checked.line("module")


def test_the_reading_is_not_stored_and_the_site_not_made(tmp_path: Path, database_url: str, connection: Any) -> None:
    with module_on(tmp_path / "tty"):
        assert check(at_home(tmp_path, database_url)).code == 0
    with connection.cursor() as cursor:
        cursor.execute("select (select count(*) from site) + (select count(*) from power)")
        assert cursor.fetchone() == (0,)


def test_what_the_database_holds_is_reported(tmp_path: Path, database_url: str) -> None:
    with closing(Database.from_url(database_url, site="home")) as database:
        database.write([round_of(0), Round((power_row(1, -250),))])
    checked = check(without_radio(tmp_path, database_url))
    last = (FIRST_AT + timedelta(minutes=1)).astimezone()
    assert f"last reading of site 'home' at {last:%Y-%m-%d %H:%M:%S}, -250 W; 0 in" in checked.line("last reading")


# --- the radio, broken


def test_a_missing_stick_skips_only_the_radio(tmp_path: Path, database_url: str) -> None:
    checked = check(without_radio(tmp_path, database_url))
    assert checked.code == 1
    assert checked.crosses == ["serial port"]
    assert checked.skipped == RADIO_PARTS[1:]
    assert "not tried: needs the serial port" in checked.line("reading")
    assert "unplugged is not there" in checked.line("serial port")
    assert "plug the stick in, or check the path" in checked.advice("serial port")
    assert "USB serial devices on this machine:" in checked.advice("serial port")
    assert checked.text.endswith("one part failed: serial port\n")


def test_a_port_that_may_not_be_opened_names_the_group(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> NoReturn:  # root may open everything, so it is played
        raise serial.SerialException(errno.EACCES, "could not open port: Permission denied")

    monkeypatch.setattr(serial, "Serial", refuse)
    with module_on(tmp_path / "tty"):
        checked = check(at_home(tmp_path, database_url))
    assert checked.code == 1
    assert checked.crosses == ["serial port"]
    assert "usermod -aG dialout $USER" in checked.text


def test_a_busy_port_says_so(tmp_path: Path, database_url: str) -> None:
    with module_on(tmp_path / "tty"), serial.Serial(str(tmp_path / "tty"), exclusive=True):
        checked = check(at_home(tmp_path, database_url))
    assert checked.code == 1
    assert "is in use" in checked.line("serial port")
    assert "stop the other program" in checked.advice("serial port")


def test_a_silent_device_may_be_another_one(tmp_path: Path, database_url: str) -> None:
    with bare_terminal(tmp_path / "tty"):
        checked = check(at_home(tmp_path, database_url))
    assert checked.code == 1
    assert checked.crosses == ["module"]
    assert "nothing responds" in checked.line("module")
    assert "[routeB] device" in checked.advice("module")
    assert "not tried: needs the module" in checked.line("scan")
    assert checked.line("last reading").startswith("✓")


def test_a_j11_module_is_named_as_not_supported(tmp_path: Path, database_url: str) -> None:
    with bare_terminal(tmp_path / "tty") as master_fd:

        def answer() -> None:
            typed = b""
            while bytes.fromhex("D0EA83FC") not in typed:
                typed += os.read(master_fd, 4096)
            os.write(master_fd, bytes.fromhex("D0F9EE5D 206B 0004 0000 0000"))

        thread = threading.Thread(target=answer)
        thread.start()
        checked = check(at_home(tmp_path, database_url))
        thread.join(timeout=30)
    assert checked.code == 1
    assert "J11" in checked.line("module")
    assert "use a module with SK firmware" in checked.advice("module")


def test_a_meter_that_is_not_heard_calls_for_the_id_and_a_better_place(tmp_path: Path, database_url: str) -> None:
    with module_on(tmp_path / "tty"):
        checked = check(at_home(tmp_path, database_url, id="00112233445566778899AABB12345678"))
    assert checked.code == 1
    assert checked.crosses == ["scan"]
    assert checked.skipped == RADIO_PARTS[3:]
    assert "check the Route-B ID, bring the stick nearer" in checked.advice("scan")
    assert "12345678" not in checked.text


def test_a_wrong_password_sends_one_to_the_letter(tmp_path: Path, database_url: str) -> None:
    with module_on(tmp_path / "tty") as module:
        checked = check(at_home(tmp_path, database_url, password="WRONGPASSWORD"))
        assert not module.has_session
    assert checked.code == 1
    assert checked.crosses == ["join"]
    assert "refused twice" in checked.line("join")
    assert "compare [routeB] id and password" in checked.advice("join")
    assert "nearer" not in checked.advice("join")  # the signal is excellent
    assert "WRONGPASSWORD" not in checked.text
    assert checked.line("tables").startswith("✓")


def test_one_refusal_is_not_held_against_the_password(tmp_path: Path, database_url: str) -> None:
    with module_on(tmp_path / "tty") as module:
        module.faults.fail_joins()
        assert check(at_home(tmp_path, database_url)).code == 0


def test_an_error_that_names_the_meters_address_is_printed_without_it(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poller.check.radio.JOIN_TIMEOUT_S", 1.0)
    with module_on(tmp_path / "tty") as module:
        module.faults.refuse_next("ER10", "SKJOIN")
        checked = check(at_home(tmp_path, database_url))
    assert "SKJOIN **** failed with FAIL ER10" in checked.line("join")


def test_a_weak_signal_and_another_meter_are_reported(tmp_path: Path, database_url: str) -> None:
    neighbour = Beacon(0x21, 0x1234, "001C640000000001", 0x30, ROUTE_B_ID[-8:])
    with module_on(tmp_path / "tty", lqi=0x40, neighbours=(neighbour,)):
        checked = check(at_home(tmp_path, database_url))
    assert checked.code == 0
    # 0.275 x 0x40 - 104.27 = -86.7
    assert "signal -87 dBm (weak); one other meter heard" in checked.line("scan")
    assert "! readings will be lost now and then: bring the stick nearer" in checked.text


@pytest.mark.parametrize(
    ("dbm", "word"),
    [
        (-30, "excellent"),
        (-60, "excellent"),
        (-60.1, "good"),
        (-75, "good"),
        (-75.1, "fair"),
        (-85, "fair"),
        (-85.1, "weak"),
    ],
)
def test_a_signal_has_a_word(dbm: float, word: str) -> None:
    assert signal_word(dbm) == word


def test_a_meter_that_does_not_respond_gets_requests_to_the_end_of_the_timeout(
    tmp_path: Path, database_url: str
) -> None:
    with module_on(tmp_path / "tty") as module:
        module.faults.habits.append(mute(FOREVER))
        checked = check(at_home(tmp_path, database_url))
    assert checked.code == 1
    assert checked.crosses == ["meter", "reading", "meter clock"]
    assert re.search(r"no response from the meter within 3\.\d s", checked.line("meter"))  # three timeouts
    assert "within 0" not in checked.text
    assert "bring the stick nearer" in checked.advice("meter")


def test_a_meter_that_is_slow_in_everything_is_waited_for(tmp_path: Path, database_url: str) -> None:
    """AIF specification 1.01, 2.4.2: a response may take three times as long as until its request is repeated."""
    with module_on(tmp_path / "tty") as module:
        module.faults.habits.append(Habit(take(2.0)))
        checked = check(at_home(tmp_path, database_url))
    assert checked.crosses == []
    assert "registers: coefficient 1, unit 0.1 kWh" in checked.line("meter")


@pytest.mark.parametrize("is_followed", [False, True])
def test_a_clock_ten_minutes_off_is_a_failure_unless_it_follows_a_time_server(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, is_followed: bool
) -> None:
    monkeypatch.setattr(TimeServer, "is_followed", lambda _self: is_followed)
    with module_on(tmp_path / "tty", ahead_s=660.0):
        checked = check(at_home(tmp_path, database_url))
    # The meter shows whole minutes: 11 minutes ahead are 10 to 11.
    assert re.search(r"1[01]\.\d min ahead of this machine", checked.line("meter clock"))
    assert checked.crosses == ([] if is_followed else ["meter clock"])
    if is_followed:
        assert "which follows a time server and is right" in checked.line("meter clock")
    else:
        assert "timedatectl" in checked.advice("meter clock")


def test_a_clock_a_minute_off_is_told_and_borne(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TimeServer, "is_followed", lambda _self: False)
    with module_on(tmp_path / "tty", ahead_s=110.0):
        checked = check(at_home(tmp_path, database_url))
    # The meter shows whole minutes: 110 s ahead are 50 to 110 s, 0.8 to 1.8 min. Two minutes are borne.
    assert re.search(r"[01]\.\d min ahead of this machine \(", checked.line("meter clock"))
    assert checked.code == 0


def test_a_meter_without_a_clock_is_said_to_show_none(tmp_path: Path, database_url: str) -> None:
    with module_on(tmp_path / "tty", lacks=frozenset({0x97, 0x98})):
        checked = check(at_home(tmp_path, database_url))
    assert checked.line("meter clock").startswith("✓ meter clock     the meter does not show a clock (")


def test_a_meter_that_does_not_tell_its_unit_is_remarked_on(tmp_path: Path, database_url: str) -> None:
    with module_on(tmp_path / "tty", lacks=frozenset({0xE1})):
        checked = check(at_home(tmp_path, database_url))
    assert checked.line("meter").startswith("✓")
    assert "! it does not give the unit of its registers (E1, D3): power and currents are stored, energy is not" in (
        checked.text
    )
    assert "kWh" not in checked.line("reading")


def test_a_meter_without_a_single_value_is_to_be_asked_later(tmp_path: Path, database_url: str) -> None:
    """A meter that has just started has no data yet: it refuses each of what is polled."""
    with module_on(tmp_path / "tty") as module:
        module.faults.habits.append(Habit(refuse(0xE0, 0xE3, 0xE7, 0xE8)))
        checked = check(at_home(tmp_path, database_url))
    assert checked.crosses == ["reading"]
    assert "the meter responded without a single value" in checked.line("reading")
    assert "wait a few minutes and try again" in checked.advice("reading")


def test_ctrl_c_ends_the_check_within_the_scan(tmp_path: Path, database_url: str) -> None:
    file = written(tmp_path, tmp_path / "tty", database_url)
    command = [sys.executable, "power_consumption.py", "--config", str(file), "--check"]
    with module_on(tmp_path / "tty", timing=REALISTIC):
        with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines: list[str] = []
            while not lines or " module " not in lines[-1]:  # after it, the scan takes 9 s
                lines.append(process.stdout.readline())
            process.send_signal(signal.SIGINT)
            rest = process.communicate(timeout=10)[0]
        assert process.returncode == 0
    assert lines[-1].startswith("✓")
    assert rest == "stopped: what is not listed was not tried\n"


def test_a_running_poller_keeps_its_radio_and_its_sensors(
    tmp_path: Path, database_url: str, sensors_there: None
) -> None:
    settings = at_home(tmp_path, database_url)
    with bare_terminal(tmp_path / "tty") as master_fd, only_poller(settings.storage.data_dir):
        checked = check(settings, SENSORS)
        os.set_blocking(master_fd, False)
        with pytest.raises(BlockingIOError):
            os.read(master_fd, 1)
    assert checked.code == 1
    assert checked.crosses == ["running poller"]
    assert "stop it first" in checked.advice("running poller")
    assert checked.skipped == [*RADIO_PARTS, "MH-Z19", "BME280"]
    assert checked.line("scan").endswith("not tried: the running poller uses it")
    assert checked.line("CPU temperature").startswith("✓")
    assert checked.line("last reading").startswith("✓")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_user_who_may_not_lock_polls_not_beside_another(
    number: int, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_lock: object, **_options: object) -> NoReturn:  # root may do everything, so it is played
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("storage.filelock.FileLock.acquire", refuse)
    with (
        pytest.raises(SettingsError, match="run this as the user whose files these are") as caught,
        only_poller(tmp_path),
    ):
        pass
    assert caught.value.exit_code == 2
    assert "cannot be seen" in check(without_radio(tmp_path, database_url)).line("running poller")


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.ENOLCK, errno.ESTALE])
def test_a_disk_that_takes_no_lock_keeps_nobody_from_polling(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_lock: object, **_options: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("storage.filelock.FileLock.acquire", refuse)
    with only_poller(tmp_path) as is_seen:
        assert not is_seen


# --- the settings, the data directory and the sensors


def test_a_settings_file_that_others_can_read_is_warned_of(tmp_path: Path, database_url: str) -> None:
    file = written(tmp_path, tmp_path / "unplugged", database_url)
    file.chmod(0o640)
    command = [sys.executable, "power_consumption.py", "--config", str(file), "--check"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert f"{file} holds a secret and others can read it: chmod 600 {file}" in done.stderr
    assert f"{file}: a reading every 60 s" in done.stdout


@pytest.mark.parametrize(
    ("number", "advice"), [(errno.EROFS, "dmesg"), (errno.EACCES, "chown"), (errno.ENOSPC, "make room")]
)
def test_a_data_directory_that_takes_nothing_is_a_failure(
    number: int, advice: str, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_options: object) -> NoReturn:  # root may write everywhere, so it is played
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    checked = check(without_radio(tmp_path, database_url))
    assert checked.code == 1
    assert "cannot be written" in checked.line("data directory")
    assert advice in checked.advice("data directory")
    assert checked.line("last reading").startswith("✓")


def test_a_data_directory_that_cannot_be_made_is_a_failure(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "data").write_text("a file stands in its place")
    checked = check(without_radio(tmp_path, database_url))
    assert checked.crosses == ["data directory", "serial port"]
    assert "another directory" in checked.advice("data directory")
    assert "cannot be seen" in checked.line("running poller")


@pytest.mark.parametrize(("free", "shown"), [(99_999_999, "100.0 MB"), (512_000, "512 kB"), (0, "0 kB")])
def test_a_full_disk_is_a_failure(
    free: int, shown: str, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": free}))
    checked = check(without_radio(tmp_path, database_url))
    assert f"only {shown} left" in checked.line("data directory")
    assert "make room" in checked.advice("data directory")


def test_root_is_told_to_check_as_the_user_whose_directory_it_is(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = without_radio(tmp_path, database_url)
    settings.storage.data_dir.mkdir()
    if os.geteuid() == 0:
        os.chown(settings.storage.data_dir, 1, 1)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    checked = check(settings)
    assert checked.line("data directory").startswith("✓")
    assert "! you are root, and the directory is another user's: check as that user" in checked.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can work in the directory of somebody else")
def test_what_root_makes_in_the_directory_of_a_user_is_the_users(tmp_path: Path, database_url: str) -> None:
    """A lock that was root's ended the service of that user, which may not open it, with exit code 2."""
    settings = without_radio(tmp_path, database_url)
    settings.storage.data_dir.mkdir()
    os.chown(settings.storage.data_dir, 4711, 4712)
    check(settings)
    with closing(Outbox(settings.storage.data_dir)) as outbox:
        outbox.append(round_of(1))
    made = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in settings.storage.data_dir.iterdir()}
    assert made == dict.fromkeys(("poller.lock", "outbox.rounds", "outbox.reserve"), (4711, 4712))


def test_what_waits_in_the_outbox_is_counted_and_left(tmp_path: Path, database_url: str) -> None:
    settings = without_radio(tmp_path, database_url)
    with closing(Outbox(settings.storage.data_dir)) as outbox:
        for number in range(3):
            outbox.append(round_of(number))
        outbox.remove(outbox.oldest(1), [Rejected.of(round_of(0), "out of range", is_final=False)])
        outbox.append(round_of(3))
        checked = check(settings)
        assert outbox.count() == 3
    assert "3 rounds waiting for the database; 1 row kept that it did not take" in checked.line("data directory")


def test_an_outbox_that_cannot_be_used_is_a_failure(tmp_path: Path, database_url: str) -> None:
    settings = without_radio(tmp_path, database_url)
    (settings.storage.data_dir / "outbox.rounds").mkdir(parents=True)  # root may read any file, and no directory
    checked = check(settings)
    assert checked.crosses == ["data directory", "serial port"]
    assert "outbox.rounds cannot be used" in checked.line("data directory")
    assert "let this user write there" in checked.advice("data directory")


def test_an_unused_outbox_is_not_made(tmp_path: Path, database_url: str) -> None:
    settings = without_radio(tmp_path, database_url)
    check(settings)
    assert not (settings.storage.data_dir / "outbox.rounds").exists()


def test_missing_sensors_each_say_what_to_do(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_zone(_zone: str) -> NoReturn:
        raise SensorNotFoundError(
            "CPU: no temperature sensor: no thermal zone (usual in a container)", "run without --temp"
        )

    def no_bus(_bus: int) -> NoReturn:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/dev/i2c-1")

    monkeypatch.setattr(sensors.cpu, "read_cpu_temperature_c", no_zone)
    monkeypatch.setattr(sensors.i2c, "open_i2c_bus", no_bus)
    file = written(tmp_path, tmp_path / "unplugged", database_url)
    with file.open("a") as settings:
        settings.write(f"[co2]\ndevice = {tmp_path / 'serial0'}\n")
    checked = check(load(file), SENSORS)
    assert checked.code == 1
    assert "no temperature sensor: no thermal zone" in checked.line("CPU temperature")
    assert checked.advice("CPU temperature") == "-> run without --temp"
    assert "serial0 is not there" in checked.line("MH-Z19")
    assert "raspi-config" in checked.advice("MH-Z19")
    assert "no such I2C bus" in checked.line("BME280")
    assert "switch I2C on" in checked.advice("BME280")
    assert checked.line("last reading").startswith("✓")


# --- the database, broken


def test_a_database_that_is_unreachable_is_named_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql://me:{DATABASE_PASSWORD}@127.0.0.1:1/power"  # nobody listens on port 1
    checked = check(without_radio(tmp_path, url))
    assert checked.code == 1
    assert "cannot connect to user=me dbname=power host=127.0.0.1 port=1:" in checked.line("database")
    assert "see that PostgreSQL runs there" in checked.advice("database")
    assert "not tried: needs the database" in checked.line("tables")


def test_a_database_that_does_not_exist_is_to_be_made(tmp_path: Path, postgres_url: str) -> None:
    checked = check(without_radio(tmp_path, postgres_url.replace("/postgres?", "/nowhere?")))
    assert 'database "nowhere" does not exist' in checked.line("database")
    assert "createdb" in checked.advice("database")


def test_a_server_that_is_too_old_is_a_failure(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poller.check.database.OLDEST_SERVER", 99)  # no PostgreSQL 12 is at hand
    checked = check(without_radio(tmp_path, database_url))
    assert re.search(r"PostgreSQL \d+\.\d+ at ", checked.line("database"))
    assert checked.advice("database") == "-> upgrade the server: PostgreSQL 99 or newer is needed"


def test_missing_tables_come_with_the_command_that_makes_them(tmp_path: Path, empty_database_url: str) -> None:
    checked = check(without_radio(tmp_path, empty_database_url))
    assert checked.code == 1
    assert checked.line("database").startswith("✓")
    assert "tables are missing (site, meter, power" in checked.line("tables")
    assert re.search(r"run: psql -q -1 -v ON_ERROR_STOP=1 -f \S*init.sql 'user=postgres ", checked.advice("tables"))
    assert "not tried: needs the tables" in checked.line("last reading")


@pytest.fixture
def reader(connection: Any) -> Iterator[str]:
    """Make a role that may read all our tables, and add rows to all but two."""
    with connection.cursor() as cursor:
        cursor.execute("create role check_reader login")
        cursor.execute("grant select, insert on all tables in schema public to check_reader")
        cursor.execute("revoke insert on co2, bme280 from check_reader")
        yield "check_reader"
        cursor.execute("drop owned by check_reader")
        cursor.execute("drop role check_reader")


def test_a_user_without_the_right_to_add_rows_is_shown_which_to_get(
    tmp_path: Path, database_url: str, reader: str
) -> None:
    checked = check(without_radio(tmp_path, database_url.replace("postgres@", f"{reader}@")))
    assert checked.code == 1
    assert "may not read and add rows in: co2, bme280" in checked.line("tables")
    assert "grant select, insert on co2, bme280 to" in checked.advice("tables")


def test_row_level_security_is_said_where_it_limits_what_the_user_may_do(
    tmp_path: Path, database_url: str, reader: str, connection: Any
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"grant insert on co2, bme280 to {reader}")
        cursor.execute("alter table power enable row level security")
    checked = check(without_radio(tmp_path, database_url.replace("postgres@", f"{reader}@")))
    assert "as far as the row-level security of power lets it" in checked.line("tables")


def test_a_read_only_database_is_a_failure(tmp_path: Path, database_url: str, connection: Any) -> None:
    with connection.cursor() as cursor:
        name = psycopg2.extensions.quote_ident(connection.info.dbname, cursor)
        cursor.execute(f"alter database {name} set default_transaction_read_only = on")
    checked = check(without_radio(tmp_path, database_url))
    assert "read-only" in checked.line("tables")
    assert "primary" in checked.advice("tables")


def test_the_embedded_database_is_started_and_stopped_again(tmp_path: Path) -> None:
    checked = check(without_radio(tmp_path, ""))
    assert re.search(r"PostgreSQL \d+\.\d+ embedded, in \S*/data/postgresql", checked.line("database"))
    assert checked.line("last reading").startswith("✓")
    assert not (tmp_path / "data" / "postgresql" / "data" / "postmaster.pid").exists()


def test_what_helps_the_embedded_database_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: object) -> NoReturn:
        raise EmbeddedServerError("the programs of PostgreSQL 12 are missing", "run --upgrade-database")

    monkeypatch.setattr("storage.embedded.EmbeddedServer.connect", refuse)
    checked = check(without_radio(tmp_path, ""))
    assert "PostgreSQL 12 are missing" in checked.line("database")
    assert checked.advice("database") == "-> run --upgrade-database"


def test_no_database_at_all_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)  # as where the wheel is not installed
    checked = check(without_radio(tmp_path, ""))
    assert "the embedded PostgreSQL is not installed" in checked.line("database")
    assert "pip install" in checked.advice("database")


# --- the report


class Terminal(io.StringIO):
    """What a person looks at."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_each_part_is_announced_until_its_result_is_there() -> None:
    """The result goes to the line's beginning and erases to its end (ECMA-48: CR, EL)."""
    terminal = Terminal()
    report = Report(terminal)
    report.take(Part("first", lambda: "found", ""), Part("scan", lambda: "found, too", "", takes="9 s"))
    assert terminal.getvalue() == (
        "... first\r\x1b[K✓ first           found (0.0 s)\n... scan (9 s)\r\x1b[K✓ scan            found, too (0.0 s)\n"
    )


def test_a_terminal_without_the_signs_gets_words(tmp_path: Path, database_url: str) -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii", errors="backslashreplace")  # as script.run() gives it
    with redirect_stdout(out):
        assert run_check(without_radio(tmp_path, database_url), (), file=FILE, stop=StopSignal()) == 1
    text = raw.getvalue().decode("ascii")
    assert "\nok   database" in text
    assert "\nFAIL serial port" in text


def test_a_fault_of_the_program_in_one_part_does_not_hide_the_others() -> None:
    out = io.StringIO()
    report = Report(out)
    report.take(Part("first", lambda: str(1 // 0), "tell us"))
    report.take(Part("second", lambda: "found", ""))
    assert report.crosses == ["first"]
    assert "✗ first           a fault of the program (ZeroDivisionError:" in out.getvalue()
    assert "     -> tell us\n✓ second          found (0.0 s)\n" in out.getvalue()


def test_a_library_that_is_missing_is_named_with_the_command() -> None:
    def attempt() -> NoReturn:
        raise ModuleNotFoundError("No module named 'serial'", name="serial")

    out = io.StringIO()
    Report(out).take(Part("serial port", attempt, ""))
    assert "serial is missing" in out.getvalue()
    assert "pip install '.[poller]'" in out.getvalue()


def test_a_library_that_is_there_and_broken_is_not_said_to_be_missing() -> None:
    def attempt() -> NoReturn:
        raise ImportError("cannot import name 'Serial' from 'serial'\n(unknown location)", name="serial")

    out = io.StringIO()
    Report(out).take(Part("serial port", attempt, ""))
    said = "serial is installed, but cannot be loaded: cannot import name 'Serial' from 'serial' ("
    assert said in out.getvalue()
    assert "pip install --force-reinstall '.[poller]'" in out.getvalue()


def test_warnings_of_the_log_stand_under_a_tick_and_secrets_are_masked() -> None:
    def attempt() -> str:
        logging.getLogger("skstack.meter").warning("EPC %02X is broken near %s", 0x8D, "sEcret-word")
        return "found"

    out = io.StringIO()
    report = Report(out, secrets=("Secret-Word",))
    with report.gathered_log():
        report.take(Part("meter", attempt, ""))
    assert out.getvalue().endswith("found (0.0 s)\n     ! EPC 8D is broken near ****\n")


def test_the_verbose_log_is_left_alone() -> None:
    root = logging.getLogger()
    handlers = root.handlers
    root.setLevel(logging.DEBUG)
    with Report(io.StringIO()).gathered_log():
        assert root.handlers is handlers


def test_an_error_that_brings_no_remedy_gets_the_advice_of_its_part() -> None:
    def attempt(error: Exception) -> Callable[[], str]:
        def fail() -> str:
            raise error

        return fail

    out = io.StringIO()
    report = Report(out)
    report.take(
        Part("port", attempt(PortLostError("/dev/a:1 is not there", "plug it in (see: the list)")), "try again")
    )
    report.take(Part("bus", attempt(SensorError("the bus failed (read: no data)")), "try again"))
    report.take(Part("way", attempt(CheckFailedError("none: at all", "make one")), "try again"))
    assert re.findall(r"✗ .* (?=\()|-> .*", out.getvalue()) == [
        "✗ port            /dev/a:1 is not there ",
        "-> plug it in (see: the list)",
        "✗ bus             the bus failed (read: no data) ",
        "-> try again",
        "✗ way             none: at all ",
        "-> make one",
    ]


def test_the_open_connections_are_closed(tmp_path: Path, database_url: str) -> None:
    check(without_radio(tmp_path, database_url))
    deadline = time.monotonic() + 30.0  # the server notices a closed connection a moment later
    with closing(connect(database_url)) as other, other.cursor() as cursor:
        others = 1
        while others and time.monotonic() < deadline:
            cursor.execute(
                "select count(*) from pg_stat_activity "
                "where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()"
            )
            ((others,),) = cursor.fetchall()
            other.rollback()  # within one transaction the server tells the same again
            time.sleep(0.01)
    assert others == 0
