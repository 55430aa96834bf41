"""The sensors that can be chosen, in one table: the flags, the hints and what is read come from it.

-h needs the table, so this module imports nothing: a sensor imports what it takes when it is made.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing, which takes longer to import than argparse
if TYPE_CHECKING:
    from collections.abc import Callable

    from poller.sensing import Source
    from settings import Settings


class Sensor:
    """A sensor with its two flags, as -t and --temp, and what -h says of them; *source* makes it, still closed.

    *library*: what it needs of the extra poller, besides pyserial.
    """

    def __init__(
        self, short: str, flag: str, says: str, source: Callable[[Settings], Source], *, library: str = ""
    ) -> None:
        self.short = short
        self.flag = flag
        self.name = flag.removeprefix("--")  # under which argparse keeps it
        self.says = says
        self.source = source
        self.library = library


def _cpu(settings: Settings) -> Source:
    from poller.sensing import cpu_source
    from sensors.cpu import read_cpu_temperature_c

    return cpu_source(lambda: read_cpu_temperature_c(settings.cpu.zone))


def _mhz19(settings: Settings) -> Source:
    from poller.sensing import mhz19_source
    from sensors.mhz19 import Mhz19, open_serial_port

    co2 = settings.co2
    return mhz19_source(Mhz19(lambda: open_serial_port(co2.device), warm_up_s=co2.warm_up_s))


def _bme280(settings: Settings) -> Source:
    from poller.sensing import bme280_source
    from sensors.bme280 import Bme280
    from sensors.i2c import open_i2c_bus

    return bme280_source(Bme280(lambda: open_i2c_bus(settings.bme280.bus), settings.bme280.address))


SENSORS = (
    Sensor("-t", "--temp", "also log the CPU temperature", _cpu),
    Sensor("-c", "--co2", "also log an MH-Z19 CO2 sensor", _mhz19),
    Sensor("-b", "--bme280", "also log a BME280", _bme280, library="smbus2"),
)
