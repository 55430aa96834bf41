"""What a whole round costs the processor: one Get of the meter, three sensors, the outbox, five rows in PostgreSQL.

The poller is wired as in its users' processes: a thread for each sensor, one for the delivery. The module is simulated
in another process; the sensors respond at once, and their replies were simulated beforehand, so that only the work of
their drivers is in the figure. The reference is the same work bare, in the same run: the bytes of the Get by os.write
and os.read, the bytes of the sensors, one row inserted into SQLite and deleted, each committed, and the five rows
inserted one by one and committed by psycopg2.
"""

from __future__ import annotations

import logging
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import psycopg2

from poller.app import App
from poller.clock import Clock
from poller.sensing import Source, ThreadSensing, bme280_source, cpu_source, mhz19_source
from sensors.bme280 import Bme280
from sensors.cpu import read_cpu_temperature_c
from sensors.mhz19 import READ_COMMAND, Mhz19
from sensors.simulated_bme280 import SimulatedBme280
from sensors.simulated_mhz19 import SimulatedMhz19
from skstack.simulator import VirtualClock
from storage.database import Database
from storage.delivery import Delivery
from storage.outbox import Outbox
from storage.records import RadioEventRow, Round
from tests.benchmarks import bench_get, household, servers
from tests.benchmarks.figure import Figure
from tests.benchmarks.measuring import Deed, counted, cpu_s_in_turns

MOST = 2.5
DELIVERED_WITHIN_S = 10.0
MINUTE = timedelta(minutes=1)
START = datetime(2026, 6, 1, tzinfo=UTC)


def figures(effort: float) -> list[Figure]:
    """Measure rounds and the same work bare, in turns."""
    with servers.embedded_url() as url:
        cpu_s = cpu_s_in_turns(
            {"round": partial(rounds, url), "bare": partial(bare_rounds, url)},
            times={"round": 20, "bare": 20},
            blocks=counted(100, effort),
        )
    return [
        Figure(
            "CPU of one round",
            f"{cpu_s['round'] * 1e6:.0f} us",
            f"the same work, bare: {cpu_s['bare'] * 1e6:.0f} us",
            cpu_s["round"] / cpu_s["bare"],
            MOST,
        )
    ]


class RoundClock:
    """The clock of the round under way: the real one for waits, and the tick for what is stored."""

    def __init__(self) -> None:
        self.tick = START

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return self.tick

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@contextmanager
def rounds(url: str) -> Iterator[Deed]:
    """Take one round after the other."""
    logging.getLogger("poller.clock").setLevel(logging.ERROR)  # here the time moves by a minute each round
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        clock = RoundClock()
        outbox = Outbox(directory)
        stack.callback(outbox.close)
        delivery = Delivery(Database.from_url(url, site="round"), outbox)
        stack.callback(delivery.close)
        delivery.start()
        device = stack.enter_context(household.simulated_module())
        sensing = [ThreadSensing(source) for source in sensors(directory)]
        for sensor in sensing:
            stack.callback(sensor.close)
        trusted = Clock(clock, is_synchronised=lambda: True)

        def keep(stored: Round) -> None:
            """Something has happened to the session in each round, too."""
            outbox.append(Round((*stored.rows, RadioEventRow(trusted.now(), "renewed"))))

        app = App(
            household.new_session(device),
            trusted,
            keep=keep,
            query=delivery.query,
            sensors=sensing,
        )
        stack.callback(app.close)
        household.bring_up(app.session)

        def take_round() -> None:
            clock.tick += MINUTE
            trusted.update()
            if app.poller.take_round(clock.tick) is None:
                raise RuntimeError(f"no reading: {app.poller.failure}")
            if not delivery.wait_until_drained(DELIVERED_WITHIN_S):
                raise RuntimeError(f"not delivered: {delivery.unreachable_reason}")

        yield take_round


def sensors(directory: Path) -> list[Source]:
    """Put the three drivers before a kernel's file, a sensor on a serial port and a chip on a bus."""
    zones = directory / "thermal"
    zone = zones / "thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "type").write_text("cpu-thermal\n", "ascii")
    (zone / "temp").write_text("48312\n", "ascii")
    return [
        cpu_source(lambda: read_cpu_temperature_c(thermal_root=zones)),
        bme280_source(Bme280(RememberingBus, sleep=no_sleep)),
        mhz19_source(Mhz19(AnsweringPort, warm_up_s=0.0)),
    ]


def no_sleep(_seconds: float) -> None:
    """Wait for nothing: the simulated sensors respond at once."""


class RememberingBus:
    """A simulated BME280 whose first measurement is its reply for ever: the simulation costs nothing from then on."""

    def __init__(self) -> None:
        clock = VirtualClock(START)
        chip = SimulatedBme280(clock.monotonic)
        self._answers: dict[tuple[int, int], list[int]] = {}
        self._chip: SimulatedBme280 | None = chip
        Bme280(lambda: self, sleep=clock.sleep).read()
        self._chip = None

    @property
    def asked(self) -> list[tuple[int, int]]:
        """The registers that a measurement reads, each with a length."""
        return list(self._answers)

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int, /) -> list[int]:
        if self._chip is not None:
            self._answers[register, length] = self._chip.read_i2c_block_data(i2c_addr, register, length)
        return self._answers[register, length]

    def write_byte_data(self, i2c_addr: int, register: int, value: int, /) -> None:
        if self._chip is not None:
            self._chip.write_byte_data(i2c_addr, register, value)

    def close(self) -> None:
        """Do nothing."""


class AnsweringPort:
    """A serial port with an MH-Z19 that responds to each command at once, with the same."""

    def __init__(self) -> None:
        sensor = SimulatedMhz19()
        sensor.receive(READ_COMMAND, at=0.0)
        self._answer = sensor.take_output(at=1.0)
        self._waiting = b""

    def read(self, size: int, /) -> bytes:
        taken, self._waiting = self._waiting[:size], self._waiting[size:]
        return taken

    def write(self, data: bytes, /) -> int:
        self._waiting += self._answer
        return len(data)

    def reset_input_buffer(self) -> None:
        self._waiting = b""

    def close(self) -> None:
        """Do nothing."""


_BARE_INSERTS = (
    "insert into power (site_id, measured_at, power_w, current_r_a, current_t_a, import_kwh, export_kwh)"
    " values (%s, %s, %s, %s, %s, %s, %s)",
    "insert into cpu_temperature (site_id, measured_at, temperature_c) values (%s, %s, %s)",
    "insert into co2 (site_id, measured_at, co2_ppm, temperature_c, warming_up) values (%s, %s, %s, %s, %s)",
    "insert into bme280 (site_id, measured_at, temperature_c, humidity_pct, pressure_hpa) values (%s, %s, %s, %s, %s)",
    "insert into radio_event (site_id, happened_at, kind) values (%s, %s, %s)",
)
_BARE_VALUES = (
    (600, Decimal("4.0"), Decimal("2.0"), Decimal("12345.6"), Decimal("678.0")),
    (48.312,),
    (620, 25, False),
    (21.0, 50.0, 1008.0),
    ("renewed",),
)


@contextmanager
def bare_rounds(url: str) -> Iterator[Deed]:
    """Do the same work with nothing around it."""
    with (
        tempfile.TemporaryDirectory() as directory,
        bench_get.bare() as get,
        bare_file(Path(directory)) as keep,
        bare_inserts(url) as insert,
    ):
        zone = Path(directory, "temp")
        zone.write_text("48312\n", "ascii")
        bus, port = RememberingBus(), AnsweringPort()

        def take_round() -> None:
            get()
            zone.read_text("ascii")
            for register, length in bus.asked:
                bus.read_i2c_block_data(0x76, register, length)
            port.write(READ_COMMAND)
            port.read(9)
            keep()
            insert()

        yield take_round


@contextmanager
def bare_file(directory: Path) -> Iterator[Deed]:
    """Insert a row into a SQLite file and delete it, each in a transaction that is on the disk when it ends."""
    with closing(sqlite3.connect(directory / "bare.sqlite3", isolation_level=None)) as file:
        file.execute("pragma journal_mode = wal")
        file.execute("pragma synchronous = full")
        file.execute("create table round (round_id integer primary key, body text)")
        body = "x" * 600

        def keep() -> None:
            file.execute("insert into round (body) values (?)", (body,))
            file.execute("delete from round")

        yield keep


@contextmanager
def bare_inserts(url: str) -> Iterator[Deed]:
    """Insert the same rows."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("insert into site (name) values ('bare') returning site_id")
        [site] = cursor.fetchone() or [0]
        at = START

        def insert() -> None:
            nonlocal at
            at += MINUTE
            for sql, values in zip(_BARE_INSERTS, _BARE_VALUES, strict=True):
                cursor.execute(sql, (site, at, *values))
            connection.commit()

        yield insert
