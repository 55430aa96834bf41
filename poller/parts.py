"""What the settings and the command line name, made but not opened: the port, the sensors, the database, the lock.

What a flag does not ask for is not imported: a poller without -b never sees smbus2.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from poller.sensing import Source
from poller.stop import StopSignal
from script import missing
from settings import Settings
from skstack import PortOpener, SerialPort
from storage.connection import Connection, connect, masked_url, runnable_url
from storage.database import Database
from storage.errors import DatabaseUnreachableError, EmbeddedServerError
from storage.filelock import FileLock
from storage.records import Bme280Row, Co2Row, CpuTemperatureRow, Row

if TYPE_CHECKING:
    from storage.embedded import EmbeddedServer

logger = logging.getLogger(__name__)


class StartError(Exception):
    """The poller cannot begin: *what* is wrong, and the *remedy*.

    *exit_code*: 2 where settings or extras are missing.
    """

    def __init__(self, what: str, remedy: str = "", *, exit_code: int = 1) -> None:
        super().__init__(f"{what}: {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Sensors:
    """Which sensors were asked for on the command line."""

    temperature: bool = False
    co2: bool = False
    bme280: bool = False


def require(library: str, extra: str) -> None:
    """Raise StartError if *library* is not there; it is imported where it is used."""
    if importlib.util.find_spec(library) is None:
        raise StartError(missing(library, extra), exit_code=2)


def port_opener(settings: Settings, stop: StopSignal) -> PortOpener:
    """Return what opens the port of the module; a signal ends each wait on it."""
    return lambda baud_rate: SerialPort(settings.route_b.device, baud_rate, wake_fd=stop.fileno())


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
        raise StartError(f"another poller is running with the data directory {data_dir}", "stop it first")
    try:
        yield
    finally:
        lock.release()


class DatabaseAccess:
    """The way to the database: the household's PostgreSQL, or the embedded one.

    Raises: StartError: no url is set, and the embedded server is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        self._url = settings.database.url
        self._site = settings.storage.site
        self._data_dir = settings.storage.data_dir
        self._server = None if self._url else _embedded(self._data_dir)
        self._is_started = False

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"at {masked_url(self._url)}" if self._url else f"embedded, in {self._data_dir / 'postgresql'}"

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


def _embedded(data_dir: Path) -> EmbeddedServer:
    """Make the embedded server; what it takes, 2 MB of modules, is imported where there is no other database only.

    Raises: StartError: it is not installed.
    """
    from storage.embedded import EmbeddedServer
    from storage.embedded.programs import installed_programs

    try:
        installed_programs()
    except EmbeddedServerError as error:
        what = f"no database: [database] url is empty, and {error.what}"
        raise StartError(what, error.remedy, exit_code=2) from error
    return EmbeddedServer(data_dir)


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
    from sensors.bme280 import Bme280
    from sensors.i2c import open_i2c_bus

    require("smbus2", "poller")
    sensor = Bme280(lambda: open_i2c_bus(settings.bme280.bus), settings.bme280.address)

    def read(tick: datetime) -> Row:
        reading = sensor.read()
        return Bme280Row(tick, reading.temperature_c, reading.humidity_pct, reading.pressure_hpa)

    return Source("BME280", read, sensor.close)
