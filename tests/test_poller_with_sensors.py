"""The poller with every sensor, in virtual time: right rows in PostgreSQL, through each fault and after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from poller.demo import simulated_sensors
from sensors.simulated_mhz19 import CONSOLE_TEXT, LOOK_ALIKE_FRAME
from skstack.simulator import VirtualClock
from tests.lab.clock import NOON
from tests.lab.home import Home
from tests.lab.sensors import Room

pytestmark = pytest.mark.system


class RoomAtHome(Room):
    """The room in a home whose rows go into PostgreSQL."""

    def __init__(self, tmp_path: Path, database_url: str) -> None:
        super().__init__(tmp_path)
        self.home = Home(database_url, data_dir=tmp_path, idle_tasks=False, sensors=self.sources)


@pytest.fixture
def room(tmp_path: Path, database_url: str) -> Iterator[RoomAtHome]:
    room = RoomAtHome(tmp_path, database_url)
    yield room
    room.home.close()


def count(connection: Any, table: str, since: datetime) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"select count(*) from {table} where measured_at > %s", (since,))
        return int(cursor.fetchone()[0])


def test_every_sensor_has_its_row_at_every_tick(room: RoomAtHome, connection: Any) -> None:
    room.home.run_minutes(3)
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
    assert [row[0] for row in rows] == [NOON + timedelta(minutes=n) for n in range(3)]
    for row in rows:
        assert row[1] == 600
        assert float(row[2]) == pytest.approx(48.312, abs=0.05)
        assert row[3:5] == (620, 25)  # what the simulated sensor was set to
        assert float(row[6]) == pytest.approx(21.0, abs=0.01)
        assert float(row[7]) == pytest.approx(50.0, abs=0.1)
        assert float(row[8]) == pytest.approx(1008.0, abs=0.1)
    assert [row[5] for row in rows] == [True, False, False]  # warming up for 60 s after the port was opened


def test_the_room_has_every_sensor(room: RoomAtHome) -> None:
    everything = simulated_sensors(VirtualClock(NOON))
    in_room = room.sources(room.home.machine)
    assert sorted(source.name for source in in_room) == sorted(source.name for source in everything)


def unplug_bme280(room: RoomAtHome) -> Callable[[], None]:
    room.chip.unplugged = True
    return lambda: setattr(room.chip, "unplugged", False)


def silence_mhz19(room: RoomAtHome) -> Callable[[], None]:
    room.air.silent = True
    return lambda: setattr(room.air, "silent", False)


def push_look_alike(room: RoomAtHome) -> Callable[[], None]:
    room.air.pushed = LOOK_ALIKE_FRAME
    return lambda: setattr(room.air, "pushed", b"")


def push_console(room: RoomAtHome) -> Callable[[], None]:
    room.air.pushed = CONSOLE_TEXT
    return lambda: setattr(room.air, "pushed", b"")


def take_cpu_away(room: RoomAtHome) -> Callable[[], None]:
    room.heat_cpu("-650788984")  # a value that firmware was seen to report
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
    room: RoomAtHome,
    connection: Any,
    break_it: Callable[[RoomAtHome], Callable[[], None]],
    table: str,
    others: tuple[str, ...],
) -> None:
    room.home.run_minutes(2)
    broken_at = room.home.clock.now()
    mend = break_it(room)
    room.home.run_minutes(3)
    assert count(connection, table, broken_at) == 0
    for other in others:
        assert count(connection, other, broken_at) == 3
    mended_at = room.home.clock.now()
    mend()
    room.home.run_minutes(3)
    assert count(connection, table, mended_at) == 3


def test_a_brown_out_of_the_bme280_costs_no_row(room: RoomAtHome, connection: Any) -> None:
    room.home.run_minutes(2)
    browned_at = room.home.clock.now()
    room.chip.brown_out()
    room.home.run_minutes(2)
    assert count(connection, "bme280", browned_at) == 2


def test_rows_are_stamped_in_utc(room: RoomAtHome, connection: Any) -> None:
    room.home.run_minutes(1)
    with connection.cursor() as cursor:
        cursor.execute("select min(measured_at) from bme280")
        assert cursor.fetchone()[0].astimezone(UTC) == NOON
