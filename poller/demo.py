"""--demo: a whole simulated day in seconds, through the real driver, loop, sensors' drivers and storage.

Only the radio module, the meter, the sensors and the clock are simulated. The readings go into an embedded PostgreSQL
in a directory that is thrown away; the two pictures stay, in the current directory.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tqdm import tqdm

from charts import command
from charts.period import day_of
from charts.text import language_of
from poller.app import App, Store
from poller.clock import Clock
from poller.sensing import Sensing, Source, bme280_source, cpu_source, mhz19_source
from sensors.bme280 import Bme280
from sensors.mhz19 import Mhz19
from sensors.simulated_bme280 import SimulatedBme280
from sensors.simulated_mhz19 import Mhz19Port, SimulatedMhz19
from sensors.simulated_room import room_climate
from skstack import Credentials, Session
from skstack.simulator import (
    TEST_PASSWORD,
    TEST_ROUTE_B_ID,
    Household,
    MeterOptions,
    SimulatedMeter,
    SimulatedModule,
    SimulatedPort,
    VirtualClock,
)
from storage.connection import connect
from storage.database import Database
from storage.embedded import EmbeddedServer
from storage.errors import StorageError
from storage.records import Round

logger = logging.getLogger(__name__)

ZONE = ZoneInfo("Asia/Tokyo")
SITE = "demo"
INTERVAL_S = 60
_DELIVERY_S = 60.0  # for PostgreSQL to take what is left when the day is over
_SOLAR_SEED = 7  # a household whose day shows every feature of the pictures


def run_demo(pictures: Mapping[str, Callable[[], command.Picture[Any]]]) -> int:
    """Simulate yesterday (Japan) and draw it with each of *pictures*; return the exit code."""
    today = datetime.now(ZONE).replace(hour=0, minute=0, second=0, microsecond=0)
    midnight = today - timedelta(days=1)
    logging.getLogger().setLevel(max(logging.WARNING, logging.getLogger().level))  # the bar speaks for itself
    with tempfile.TemporaryDirectory(prefix="power-consumption-demo-") as directory, ExitStack() as stack:
        data_dir = Path(directory)
        print("starting an embedded PostgreSQL in a throw-away directory ...")
        server = stack.enter_context(EmbeddedServer(data_dir, fsync=False))
        _simulate(midnight, server, data_dir)
        for name, picture in pictures.items():
            print(_draw(name, picture(), server, midnight))
    return 0


def _simulate(midnight: datetime, server: EmbeddedServer, data_dir: Path) -> None:
    """Poll the simulated household from shortly before *midnight* for 24 hours."""
    clock = VirtualClock(midnight - timedelta(minutes=3))
    end = midnight + timedelta(days=1, minutes=6)  # the meter announces 24:00 within five minutes
    household = Household.typical(seed=_SOLAR_SEED, solar=True)
    options = MeterOptions(unit_code=0x02, digits=8)  # 0.01 kWh a count, for smoother bars
    module = SimulatedModule(SimulatedMeter(household, options))
    trusted = Clock(clock, is_synchronised=lambda: True)
    database = Database.from_url(server.url(), site=SITE)
    minutes = int((end - clock.now()).total_seconds() // INTERVAL_S)
    with ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=minutes, desc="one simulated day", unit="min", file=sys.stdout))
        begun = clock.now()

        def show_progress(_round: Round) -> None:
            bar.update((clock.now() - begun) // timedelta(seconds=INTERVAL_S) - bar.n)

        store = stack.enter_context(closing(Store(database, data_dir, trusted, fsync=False, on_round=show_progress)))
        session = Session(
            lambda _baud_rate: SimulatedPort(module, clock),
            Credentials(TEST_ROUTE_B_ID, TEST_PASSWORD),
            monotonic=clock.monotonic,
            sleep=clock.sleep,
        )
        app = App(
            session,
            trusted,
            keep=store.write,
            query=store.delivery.query,
            sensors=[Sensing(source) for source in simulated_sensors(clock)],
            interval_s=INTERVAL_S,
            should_stop=lambda: clock.now() >= end,
        )
        with closing(app):
            app.poller.run()
        bar.update(minutes - bar.n)
        if not store.delivery.wait_until_drained(_DELIVERY_S):
            why = store.delivery.unreachable_reason or f"it has not taken everything within {_DELIVERY_S:.0f} s"
            raise StorageError(f"the embedded PostgreSQL: {why}")


def simulated_sensors(clock: VirtualClock) -> list[Source]:
    """Return the room's sensors, simulated at the register and at the byte, read by the real drivers."""
    chip, air = SimulatedBme280(clock.monotonic), SimulatedMhz19(powered_at=-3600.0)
    bme280 = Bme280(lambda: chip, sleep=clock.sleep)
    mhz19 = Mhz19(
        lambda: Mhz19Port(air, monotonic=clock.monotonic, sleep=clock.sleep),
        monotonic=clock.monotonic,
    )

    def read_cpu_c() -> float:
        """Let the air of the room change, too: this is the first sensor that is read."""
        climate = room_climate(clock.time_s)
        chip.temperature_c, chip.humidity_pct = climate.temperature_c, climate.humidity_pct
        chip.pressure_hpa, air.co2_ppm = climate.pressure_hpa, climate.co2_ppm
        return climate.cpu_temperature_c

    return [cpu_source(read_cpu_c), bme280_source(bme280), mhz19_source(mhz19)]


def _draw(name: str, picture: command.Picture[Any], server: EmbeddedServer, midnight: datetime) -> Path:
    """Draw the simulated day and return the file."""
    period = day_of(midnight.date(), ZONE)
    order = command.Order(period=period, now=period.end, language=language_of(None, os.environ))
    path = Path.cwd() / f"{name}_{period.name}.png"
    return command.write(picture, closing(command.for_reading(connect(server.url()))), SITE, order, path)
