"""What the settings and the command line name, made but not opened: the port, the sensors, the database, the lock.

What a flag does not ask for is not imported: a poller without -b never sees smbus2.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from poller.sensing import Source, bme280_source, cpu_source, mhz19_source
from poller.stop import StopSignal
from script import missing
from settings import Settings
from skstack import PortOpener, SerialPort
from storage.connection import Connection, masked_url
from storage.database import Database
from storage.errors import DatabaseUnreachableError, EmbeddedServerError
from storage.filelock import FileLock

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

    *database* opens its connection when first needed; *place* is where it is, for people. close() leaves the embedded
    server, which stops if nobody else uses it.
    Raises: StartError: no url is set, and the embedded server is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        url, site, data_dir = settings.database.url, settings.storage.site, settings.storage.data_dir
        self._server = None if url else _embedded(data_dir)
        self._is_started = False
        if url:
            self.database = Database.from_url(url, site=site)
            self.place = f"at {masked_url(url)}"
        else:
            self.database = Database(self._connect, site=site, shown_url="the embedded PostgreSQL")
            self.place = f"embedded, in {data_dir / 'postgresql'}"

    def close(self) -> None:
        """Leave the embedded server."""
        if self._server:
            self._server.close()

    def _connect(self) -> Connection:
        """Connect to the embedded server, which is started for the first connection."""
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
        from sensors.cpu import read_cpu_temperature_c

        wanted.append(cpu_source(lambda: read_cpu_temperature_c(settings.cpu.zone)))
    if sensors.co2:
        from sensors.mhz19 import Mhz19, open_serial_port

        co2 = settings.co2
        wanted.append(mhz19_source(Mhz19(lambda: open_serial_port(co2.device), warm_up_s=co2.warm_up_s)))
    if sensors.bme280:
        from sensors.bme280 import Bme280
        from sensors.i2c import open_i2c_bus

        wanted.append(bme280_source(Bme280(lambda: open_i2c_bus(settings.bme280.bus), settings.bme280.address)))
    return wanted
