"""The poller with every sensor, in virtual time: right rows in PostgreSQL, through each fault and after it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from poller.sensing import Source
from sensors.bme280 import Bme280
from sensors.cpu import read_cpu_temperature_c
from sensors.mhz19 import Mhz19
from sensors.simulated_bme280 import SimulatedBme280
from sensors.simulated_mhz19 import CONSOLE_TEXT, LOOK_ALIKE_FRAME, SimulatedMhz19
from sensors.simulated_mhz19 import SimulatedPort as Mhz19Port
from storage.connection import connect
from storage.database import Database
from storage.records import Bme280Row, Co2Row, CpuTemperatureRow
from storage.spool import Spool
from storage.store import Store
from tests.test_loop import NOON_JST, Home


class Room:
    """A home with three sensors on the same virtual clock, and a record in PostgreSQL."""

    def __init__(self, tmp_path: Path, database_url: str) -> None:
        self.zone = tmp_path / "thermal" / "thermal_zone0"
        self.zone.mkdir(parents=True)
        (self.zone / "type").write_text("cpu-thermal\n", encoding="ascii")
        self.heat_cpu("48312")
        self.home = Home()
        clock = self.home.clock
        self.chip = SimulatedBme280(clock.monotonic)
        self.air = SimulatedMhz19(powered_at=-3600.0)
        bme280 = Bme280(lambda: self.chip, sleep=clock.sleep)
        mhz19 = Mhz19(
            lambda: Mhz19Port(self.air, monotonic=clock.monotonic, sleep=clock.sleep),
            warm_up_s=60.0,
            monotonic=clock.monotonic,
            sleep=clock.sleep,
        )

        def read_cpu(tick: datetime) -> CpuTemperatureRow:
            return CpuTemperatureRow(tick, read_cpu_temperature_c(thermal_root=self.zone.parent, run=no_command))

        def read_bme280(tick: datetime) -> Bme280Row:
            reading = bme280.read()
            return Bme280Row(tick, reading.temperature_c, reading.humidity_pct, reading.pressure_hpa)

        def read_mhz19(tick: datetime) -> Co2Row:
            reading = mhz19.read()
            return Co2Row(tick, reading.co2_ppm, reading.temperature_c, reading.warming_up)

        self.home.add_sensors(
            [Source("CPU temperature", read_cpu), Source("BME280", read_bme280), Source("MH-Z19", read_mhz19)]
        )
        self.store = Store(
            Database(lambda: connect(database_url), site="home"),
            Spool(tmp_path / "spool.sqlite3"),
            monotonic=clock.monotonic,
            now=clock.now,
        )
        self.home.store_in(self.store)

    def heat_cpu(self, millidegrees: str) -> None:
        (self.zone / "temp").write_text(f"{millidegrees}\n", encoding="ascii")

    def run_minutes(self, minutes: int) -> None:
        self.home.run_minutes(minutes)


def no_command(*_arguments: object, **_options: object) -> subprocess.CompletedProcess[bytes]:
    raise FileNotFoundError


@pytest.fixture
def room(tmp_path: Path, database_url: str) -> Room:
    return Room(tmp_path, database_url)


def count(connection: Any, table: str, since: datetime) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"select count(*) from {table} where measured_at > %s", (since,))
        return int(cursor.fetchone()[0])


def test_every_sensor_has_its_row_at_every_tick(room: Room, connection: Any) -> None:
    room.run_minutes(3)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select measured_at, power.power_w, cpu.temperature_c, co2.co2_ppm, co2.temperature_c, co2.warming_up,
                   air.temperature_c, air.humidity_pct, air.pressure_hpa
            from power join cpu_temperature as cpu using (measured_at) join co2 using (measured_at)
                 join bme280 as air using (measured_at)
            order by measured_at
            """
        )
        rows = cursor.fetchall()
    assert [row[0] for row in rows] == [NOON_JST + timedelta(minutes=n) for n in range(3)]
    for row in rows:
        assert row[1] == 600
        assert float(row[2]) == pytest.approx(48.312, abs=0.05)
        assert row[3:5] == (620, 25)  # what the simulated sensor was set to
        assert float(row[6]) == pytest.approx(21.0, abs=0.01)
        assert float(row[7]) == pytest.approx(50.0, abs=0.1)
        assert float(row[8]) == pytest.approx(1008.0, abs=0.1)
    assert [row[5] for row in rows] == [True, False, False]  # warming up for 60 s after the port was opened


def unplug_bme280(room: Room) -> Callable[[], None]:
    room.chip.unplugged = True
    return lambda: setattr(room.chip, "unplugged", False)


def silence_mhz19(room: Room) -> Callable[[], None]:
    room.air.silent = True
    return lambda: setattr(room.air, "silent", False)


def push_look_alike(room: Room) -> Callable[[], None]:
    room.air.pushed = LOOK_ALIKE_FRAME
    return lambda: setattr(room.air, "pushed", b"")


def push_console(room: Room) -> Callable[[], None]:
    room.air.pushed = CONSOLE_TEXT
    return lambda: setattr(room.air, "pushed", b"")


def take_cpu_away(room: Room) -> Callable[[], None]:
    room.heat_cpu("-650788984")  # a value that firmware was seen to report; sensors facts, 3
    return lambda: room.heat_cpu("50000")


@pytest.mark.parametrize(
    ("break_it", "table", "others"),
    [
        (unplug_bme280, "bme280", ("power", "co2", "cpu_temperature")),
        (silence_mhz19, "co2", ("power", "bme280", "cpu_temperature")),
        (push_look_alike, "co2", ("power", "bme280", "cpu_temperature")),
        (push_console, "co2", ("power", "bme280", "cpu_temperature")),
        (take_cpu_away, "cpu_temperature", ("power", "bme280", "co2")),
    ],
)
def test_a_sensors_fault_costs_its_own_rows_only_and_it_comes_back(
    room: Room, connection: Any, break_it: Callable[[Room], Callable[[], None]], table: str, others: tuple[str, ...]
) -> None:
    room.run_minutes(2)
    broken_at = room.home.clock.now()
    mend = break_it(room)
    room.run_minutes(3)
    assert count(connection, table, broken_at) == 0
    for other in others:
        assert count(connection, other, broken_at) == 3
    mended_at = room.home.clock.now()
    mend()
    room.run_minutes(3)
    assert count(connection, table, mended_at) == 3


def test_a_brown_out_of_the_bme280_costs_no_row(room: Room, connection: Any) -> None:
    room.run_minutes(2)
    browned_at = room.home.clock.now()
    room.chip.brown_out()
    room.run_minutes(2)
    assert count(connection, "bme280", browned_at) == 2


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("temperature=False, co2=False, bme280=False", set()),
        ("temperature=True, co2=False, bme280=False", {"sensors.cpu"}),
        ("temperature=False, co2=True, bme280=False", {"sensors.mhz19"}),
        ("temperature=False, co2=False, bme280=True", {"sensors.bme280"}),
    ],
)
def test_only_the_sensor_that_was_asked_for_is_imported(flags: str, expected: set[str], tmp_path: Path) -> None:
    config = tmp_path / "power_consumption.ini"
    config.write_text(
        f"[routeB]\ndevice = /dev/null\nid = {'0123456789abcdef' * 2}\npassword = 0123456789AB\n", encoding="ascii"
    )
    config.chmod(0o600)
    program = f"""
import sys
from pathlib import Path
from poller.wiring import Sensors, sources
from settings import load
sources(load(Path({str(config)!r})), Sensors({flags}))
print(*(name for name in sys.modules if name in ("sensors.cpu", "sensors.mhz19", "sensors.bme280", "smbus2")))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent
    )
    assert set(done.stdout.split()) == expected


def test_rows_are_stamped_in_utc(room: Room, connection: Any) -> None:
    room.run_minutes(1)
    with connection.cursor() as cursor:
        cursor.execute("select min(measured_at) from bme280")
        assert cursor.fetchone()[0].astimezone(UTC) == NOON_JST
