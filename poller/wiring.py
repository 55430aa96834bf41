"""Puts the real things together: settings in, a running poller out. Nothing else opens ports, files or connections.

Rooms that a flag does not ask for are not imported: a poller without -b never sees smbus2.
"""

from __future__ import annotations

import importlib.util
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from poller.clock import Clock, SystemClock
from poller.duties import MeterDuties
from poller.loop import Poller
from poller.notify import Notifier
from poller.sensing import Source, ThreadSensing
from poller.stop import StopSignal
from script import missing
from settings import Settings
from skstack import (
    BAUD_RATES,
    Credentials,
    FilePanCache,
    Meter,
    PanCache,
    PortOpener,
    SerialPort,
    Session,
    SessionTimings,
)
from storage.connection import Connection, connect, masked_url, runnable_url
from storage.database import Database
from storage.delivery import Delivery
from storage.embedded import EmbeddedServer
from storage.errors import DatabaseUnreachableError, EmbeddedServerError
from storage.filelock import FileLock
from storage.outbox import DISK_TIMEOUT_S, Outbox
from storage.records import Bme280Row, Co2Row, CpuTemperatureRow, Round, Row
from storage.server_programs import installed_programs
from storage.takeover import read_boot_id, take_over

logger = logging.getLogger(__name__)

LONGEST_WAIT_TIMEOUTS = 3  # AIF specification 2.4.2: 20 s for one property, 60 s for several
DELIVERY_CLOSE_S = 0.5  # of the 10 s in which a signal ends the poller: session 5, embedded server 3


class StartError(Exception):
    """The poller cannot begin; the text says what to do. *exit_code*: 2 where settings or extras are missing."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Sensors:
    """Which sensors were asked for on the command line."""

    temperature: bool
    co2: bool
    bme280: bool


@dataclass(frozen=True, slots=True)
class Parts:
    """A poller and what it is made of, for who has to look inside."""

    poller: Poller
    session: Session
    meter: Meter
    duties: MeterDuties
    outbox: Outbox
    delivery: Delivery
    clock: Clock


@contextmanager
def wired(
    settings: Settings,
    sensors: Sensors,
    *,
    stop: StopSignal,
    notifier: Notifier | None = None,
    on_round: Callable[[Round], None] = lambda _round: None,
) -> Iterator[Parts]:
    """Make the parts, and take them apart again in order: session, sensors, storage. *on_round* hears of each round.

    Raises: StartError: another poller uses this data directory, or something needed is not installed.
    """
    _require("serial", "poller")
    notifier = notifier or Notifier()
    with ExitStack() as stack:
        stack.enter_context(only_poller(settings.storage.data_dir))
        clock = Clock(SystemClock(stop.sleep))
        records = Records(settings)
        stack.callback(records.close)
        disk_timeout_s = min(DISK_TIMEOUT_S, settings.route_b.interval_s / 2)  # a disk that hangs costs no tick
        outbox = Outbox(settings.storage.data_dir, disk_timeout_s=disk_timeout_s)
        stack.callback(outbox.close)
        delivery = Delivery(records.database(), outbox)
        stack.callback(delivery.close, DELIVERY_CLOSE_S)
        delivery.start()
        keeper = _Keeper(settings.storage.data_dir, outbox, clock, on_round)
        sensing = [ThreadSensing(source) for source in sources(settings, sensors)]
        for sensor in sensing:
            stack.callback(sensor.close)
        session = make_session(settings, clock, stop, FilePanCache(settings.storage.data_dir / "pan.json"))
        stack.callback(session.close)
        meter = Meter(session, monotonic=clock.monotonic)
        duties = MeterDuties(
            session,
            meter,
            delivery.query,
            keeper.write,
            clock=clock,
            timeout_s=settings.route_b.timeout_s,
            history_pause_s=settings.route_b.history_pause_s,
        )
        poller = Poller(
            session,
            meter,
            sensing,
            keeper,
            clock=clock,
            interval_s=settings.route_b.interval_s,
            duties=duties,
            should_stop=stop.requested,
            on_alive=notifier.watchdog,
            on_status=notifier.status,
            alive_every_s=(notifier.watchdog_interval_s or 120.0) / 2,
        )
        stack.callback(poller.close)
        yield Parts(poller, session, meter, duties, outbox, delivery, clock)


class _Keeper:
    """The way into the outbox. What version 1.0 left goes in first: by then the clock is settled that dates it."""

    def __init__(self, data_dir: Path, outbox: Outbox, clock: Clock, on_round: Callable[[Round], None]) -> None:
        self._data_dir = data_dir
        self._outbox = outbox
        self._clock = clock
        self._on_round = on_round
        self._has_taken_over = False

    def write(self, stored: Round, /) -> None:
        """Return when the round is safe."""
        if not self._has_taken_over and self._clock.is_settled:
            self._has_taken_over = True
            take_over(self._data_dir, self._outbox, zero=self._clock.zero, boot_id=read_boot_id())
        self._outbox.append(stored)
        self._on_round(stored)


@contextmanager
def only_poller(data_dir: Path) -> Iterator[None]:
    """Hold the right to poll with *data_dir*. Raises: StartError: another process holds it."""
    lock = FileLock(data_dir / "poller.lock")
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        taken = lock.acquire()
    except OSError as error:  # a read-only disk: rather poll without the lock than not at all
        logger.warning(
            "%s cannot be written (%s): while PostgreSQL is unreachable, readings wait in memory",
            data_dir,
            error.strerror,
        )
        yield
        return
    if not taken:
        raise StartError(f"another poller is running with the data directory {data_dir}: stop it first")
    try:
        yield
    finally:
        lock.release()


class Records:
    """The way to the record: the household's PostgreSQL, or the embedded one.

    Raises: StartError: no url is set, and the embedded server is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        self._url = settings.database.url
        self._site = settings.storage.site
        self._server = None if self._url else EmbeddedServer(settings.storage.data_dir)
        self._is_started = False
        if self._server:
            try:
                installed_programs()
            except EmbeddedServerError as error:
                raise StartError(f"no database: [database] url is empty, and {error}", exit_code=2) from error

    def database(self) -> Database:
        """Return the Database; its connection is opened when first needed."""
        if self._url is None:
            return Database(self.connect, site=self._site, shown_url="the embedded PostgreSQL")
        shown, runnable = masked_url(self._url), runnable_url(self._url)
        return Database(self.connect, site=self._site, shown_url=shown, psql_url=runnable)

    def close(self) -> None:
        """Leave the embedded server, and stop it if nobody else uses it."""
        if self._server:
            self._server.close()

    def connect(self) -> Connection:
        """Open a connection of one's own. Raises: DatabaseUnreachableError."""
        if self._url:
            return connect(self._url)
        if self._server is None:
            raise DatabaseUnreachableError("no database is set")
        try:
            if not self._is_started:
                self._server.start()
                self._is_started = True
        except EmbeddedServerError as error:
            raise DatabaseUnreachableError(error.what, error.remedy) from error
        return self._server.connect()


def port_opener(settings: Settings, stop: StopSignal) -> PortOpener:
    """Return what opens the port of the module; a signal ends each wait on it."""
    return lambda baud_rate: SerialPort(settings.route_b.device, baud_rate, wake_fd=stop.fileno())


def make_session(
    settings: Settings, clock: Clock, stop: StopSignal, cache: PanCache, *, baud_rates: Sequence[int] = BAUD_RATES
) -> Session:
    """Make the session with the household's meter; it opens the port when it is first run."""
    route_b = settings.route_b
    return Session(
        port_opener(settings, stop),
        Credentials(route_b.id, route_b.password),
        cache=cache,
        monotonic=clock.monotonic,
        sleep=clock.sleep,
        should_stop=stop.requested,
        timings=SessionTimings(
            answer_timeout_s=route_b.timeout_s, longest_wait_s=LONGEST_WAIT_TIMEOUTS * route_b.timeout_s
        ),
        baud_rates=baud_rates,
        first_tid=secrets.randbelow(0x10000),  # an answer to the process before us is not taken for one to us
    )


def _require(library: str, extra: str) -> None:
    """Raise StartError if *library* is not there; it is imported where it is used."""
    if importlib.util.find_spec(library) is None:
        raise StartError(missing(library, extra), exit_code=2)


def sources(settings: Settings, sensors: Sensors) -> Sequence[Source]:
    """Return the sensors asked for; their libraries are imported here, and nowhere else."""
    wanted = []
    if sensors.temperature:
        wanted.append(_cpu(settings))
    if sensors.co2:
        wanted.append(_mhz19(settings))
    if sensors.bme280:
        wanted.append(_bme280(settings))
    return wanted


def _cpu(settings: Settings) -> Source:
    from sensors.cpu import read_cpu_temperature_c

    zone = settings.cpu.zone
    return Source("CPU temperature", lambda tick: CpuTemperatureRow(tick, read_cpu_temperature_c(zone)))


def _mhz19(settings: Settings) -> Source:
    from sensors.mhz19 import Mhz19, open_serial_port

    sensor = Mhz19(lambda: open_serial_port(settings.co2.device), warm_up_s=settings.co2.warm_up_s)

    def read(tick: datetime) -> Row:
        reading = sensor.read()
        return Co2Row(tick, reading.co2_ppm, reading.temperature_c, reading.warming_up)

    return Source("MH-Z19", read, sensor.close)


def _bme280(settings: Settings) -> Source:
    from sensors.bme280 import Bme280, open_i2c_bus

    _require("smbus2", "poller")
    sensor = Bme280(lambda: open_i2c_bus(settings.bme280.bus), settings.bme280.address)

    def read(tick: datetime) -> Row:
        reading = sensor.read()
        return Bme280Row(tick, reading.temperature_c, reading.humidity_pct, reading.pressure_hpa)

    return Source("BME280", read, sensor.close)
