"""The one reader of power_consumption.ini: every value typed, checked and in a frozen dataclass.

All errors are reported at once, each in a line that names file, section and key, what was expected and what came; the
ID, the password and the database URL are never shown. An empty value counts as not given. Comments stand on lines of
their own, since a password or a URL may hold any printable character. power_consumption.ini-sample documents every
key; the file itself is read by ini_file.py. Importing this module is light: configparser, zoneinfo and platformdirs
are imported only when a file is read.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ini_file import IniFile, Section, SettingsError, Texts, shown, to_decimal

if TYPE_CHECKING:
    from decimal import Decimal
    from zoneinfo import ZoneInfo

__all__ = ["GraphSettings", "Settings", "SettingsError", "load", "load_for_graphs"]

logger = logging.getLogger(__name__)

DEFAULT_FILE = Path("power_consumption.ini")
PLACEHOLDER_ID = "0" * 32  # what the sample file holds until the household's own are filled in
PLACEHOLDER_PASSWORD = "X" * 12
HALF_HOURS_A_DAY = 48

KEYS: Mapping[str, tuple[str, ...]] = {
    "routeB": ("device", "id", "id_file", "password", "password_file", "interval", "timeout", "history_pause"),
    "database": ("url",),
    "storage": ("data_dir", "site"),
    "cpu": ("zone",),
    "co2": ("device", "warm_up"),
    "bme280": ("bus", "address"),
    "graph": ("language", "output_dir", "timezone", "contract_a"),
    "tariff": (
        "base_yen",
        "tiers",
        "time_of_use",
        "export_yen",
        "fuel_adjustment_yen",
        "renewable_levy_yen",
        "billing_day",
    ),
}

_PASSWORD_IN_URL = re.compile(r"://[^/@]*:[^/@]+@|password\s*=")
_CLOCK_RANGE = re.compile(r"([0-9]{1,2}):(00|30)-([0-9]{1,2}):(00|30)\s+(\S+)")


@dataclass(frozen=True, slots=True)
class RouteB:
    """The Wi-SUN module and the meter behind it. Section [routeB]."""

    device: str
    id: str = field(repr=False)  # 32 upper-case hex digits
    password: str = field(repr=False)  # 1 to 32 printable ASCII characters, no space
    interval_s: int  # 1 to 3600
    timeout_s: float  # 1 to 120, for a poll; three times as long for history
    history_pause_s: float  # 0 to 600


@dataclass(frozen=True, slots=True)
class Database:
    """Where the database is. Section [database]."""

    url: str | None = field(repr=False)  # None: the embedded server under Storage.data_dir


@dataclass(frozen=True, slots=True)
class Storage:
    """What stays on this machine, and the name it writes under. Section [storage]."""

    data_dir: Path  # absolute; outbox, session cache, embedded server
    site: str


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processor's temperature. Section [cpu]."""

    zone: str  # the type, name or absolute path of a thermal zone; "": what certainly is the processor


@dataclass(frozen=True, slots=True)
class Co2:
    """The MH-Z19. Section [co2]."""

    device: str
    warm_up_s: float  # 0 to 3600; readings are marked as warming up until then


@dataclass(frozen=True, slots=True)
class Bme280:
    """The BME280. Section [bme280]."""

    bus: int  # 1 is /dev/i2c-1
    address: int  # 0x76 or 0x77


@dataclass(frozen=True, slots=True)
class Graph:
    """How the pictures are drawn. Section [graph]."""

    language: str | None  # "ja" or "en"; None: from the locale
    output_dir: Path  # as written: relative to the current directory
    timezone: ZoneInfo  # where a day begins
    contract_a: Decimal | None  # the contract's amperes, above 0


@dataclass(frozen=True, slots=True)
class Tier:
    """One step of a tiered price."""

    up_to_kwh: Decimal | None  # within a billing month; None: no upper bound
    yen_per_kwh: Decimal


@dataclass(frozen=True, slots=True)
class Tariff:
    """What electricity costs, tax included: either tiers or time_of_use is filled, the other is empty.

    Section [tariff].
    """

    base_yen: Decimal  # a billing month
    tiers: tuple[Tier, ...]  # rising; only the last has no upper bound
    time_of_use: tuple[Decimal, ...]  # yen per kWh of each of the 48 half hours of a day, from 00:00
    export_yen_per_kwh: Decimal | None  # paid for energy sold; None: not counted
    fuel_adjustment_yen_per_kwh: Decimal  # negative: a reduction
    renewable_levy_yen_per_kwh: Decimal
    billing_day: int  # 1 to 28: the day of the month on which a billing month begins


@dataclass(frozen=True, slots=True)
class GraphSettings:
    """What the graph scripts need: where the database is and how to draw it."""

    database: Database
    storage: Storage
    graph: Graph
    tariff: Tariff | None  # None: no prices given


@dataclass(frozen=True, slots=True)
class Settings(GraphSettings):
    """Everything the poller needs."""

    route_b: RouteB
    cpu: Cpu
    co2: Co2
    bme280: Bme280


def load(path: Path | None = None, *, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the poller's settings from *path*, or from ./power_consumption.ini.

    Warns (logging) about an interval below 10 s and about a file others can read while it holds a password.
    Raises: SettingsError: the file is missing, unreadable or malformed, or a value is wrong.
    """
    file = IniFile(path or DEFAULT_FILE, KEYS, holds_secret=_holds_secret)
    read = Settings(
        database=_database(file.section("database")),
        storage=_storage(file.section("storage")),
        graph=_graph(file.section("graph")),
        tariff=_tariff(file.section("tariff")),
        route_b=_route_b(file.section("routeB"), environ),
        cpu=_cpu(file.section("cpu")),
        co2=_co2(file.section("co2")),
        bme280=_bme280(file.section("bme280")),
    )
    file.conclude()
    return read


def load_for_graphs(path: Path | None = None) -> GraphSettings:
    """Read what the graph scripts need from *path*, or from ./power_consumption.ini where there is one.

    Without *path* and without that file every value is the default. The values of [routeB] are not looked at.
    Raises: SettingsError: *path* is missing, the file is unreadable or malformed, or a value is wrong.
    """
    file = IniFile(path or DEFAULT_FILE, KEYS, required=path is not None, holds_secret=_holds_secret)
    read = GraphSettings(
        database=_database(file.section("database")),
        storage=_storage(file.section("storage")),
        graph=_graph(file.section("graph")),
        tariff=_tariff(file.section("tariff")),
    )
    file.conclude()
    return read


def _holds_secret(texts: Texts) -> bool:
    password = texts.get("routeB", {}).get("password", "")
    url = texts.get("database", {}).get("url", "")
    return password not in ("", PLACEHOLDER_PASSWORD) or bool(_PASSWORD_IN_URL.search(url))


def _route_b(section: Section, environ: Mapping[str, str]) -> RouteB:
    attempt = section.attempt
    interval_s = attempt(60, section.whole, "interval", "whole seconds", 1, 3600, 60)
    if interval_s < 10:
        logger.warning("%s: [routeB] interval: %d s is short: a poll alone can take longer", section.path, interval_s)
    return RouteB(
        device=attempt("", section.plain, "device", "a device", "/dev/ttyUSB0"),
        id=attempt("", _route_b_id, section, environ),
        password=attempt("", _route_b_password, section, environ),
        interval_s=interval_s,
        timeout_s=attempt(20.0, section.seconds, "timeout", 1, 120, 20.0),
        history_pause_s=attempt(10.0, section.seconds, "history_pause", 0, 600, 10.0),
    )


def _route_b_id(section: Section, environ: Mapping[str, str]) -> str:
    route_b_id = section.secret("id", environ)
    expected = "the 32 hex digits your grid company sent (or id_file)"
    if not route_b_id:
        raise section.error("id", expected, "nothing")
    if route_b_id == PLACEHOLDER_ID:
        raise section.error("id", expected, "the placeholder of the sample file")
    if re.search(r"[\s-]", route_b_id):
        raise section.error("id", expected, "spaces or hyphens too: write the digits without them")
    if not re.fullmatch(r"[0-9A-Fa-f]{32}", route_b_id):
        raise section.error("id", expected, f"{len(route_b_id)} characters that are not (not shown)")
    return route_b_id.upper()


def _route_b_password(section: Section, environ: Mapping[str, str]) -> str:
    password = section.secret("password", environ)
    expected = "the password your grid company sent, 1 to 32 printable ASCII characters (or password_file)"
    if not password:
        raise section.error("password", expected, "nothing")
    if password == PLACEHOLDER_PASSWORD:
        raise section.error("password", expected, "the placeholder of the sample file")
    # Source: SKSTACK-IP command reference, SKSETPWD; a space would end the argument.
    if not re.fullmatch(r"[\x21-\x7E]{1,32}", password):
        what = "with a space or a character that is not ASCII" if len(password) <= 32 else "which is too long"
        raise section.error("password", expected, f"{len(password)} characters, {what} (not shown)")
    return password


def _database(section: Section) -> Database:
    return Database(url=section.attempt(None, _url, section))


def _url(section: Section) -> str | None:
    url = section.free("url", "")
    if url and not re.match(r"postgres(ql)?://|[a-z_]+\s*=", url):
        raise section.error("url", "postgresql://user@host/database", "something else (not shown)")
    return url or None


def _storage(section: Section) -> Storage:
    return Storage(
        data_dir=section.attempt(Path(), _data_dir, section),
        site=section.attempt("", _site, section),
    )


def _data_dir(section: Section) -> Path:
    from platformdirs import user_data_path

    data_dir = section.directory("data_dir", "") if section.text("data_dir") else user_data_path("power-consumption")
    # A data directory must not move with the directory a script is started in: it would look like a lost record.
    return section.path.absolute().parent / data_dir


def _site(section: Section) -> str:
    site = section.free("site", "home")
    if len(site) > 63:
        raise section.error("site", "a name of at most 63 characters", f"{len(site)} characters")
    return site


def _cpu(section: Section) -> Cpu:
    return Cpu(zone=section.attempt("", _zone, section))


def _zone(section: Section) -> str:
    expected = "the type of a thermal zone such as cpu-thermal, or an absolute path"
    zone = section.plain("zone", expected, "")
    if "/" in zone and not zone.startswith("/"):
        raise section.error("zone", expected, shown(zone))
    return zone


def _co2(section: Section) -> Co2:
    return Co2(
        device=section.attempt("", section.plain, "device", "a device", "/dev/serial0"),
        warm_up_s=section.attempt(0.0, section.seconds, "warm_up", 0, 3600, 180.0),
    )


def _bme280(section: Section) -> Bme280:
    return Bme280(
        bus=section.attempt(1, section.whole, "bus", "the number of an I2C bus", 0, 255, 1),
        address=section.attempt(0x76, _address, section),
    )


def _address(section: Section) -> int:
    addresses = {"": 0x76, "0x76": 0x76, "0x77": 0x77, "118": 0x76, "119": 0x77}
    address = section.text("address").lower()
    if address not in addresses:
        raise section.error("address", "0x76 or 0x77", shown(address))
    return addresses[address]


def _graph(section: Section) -> Graph:
    from zoneinfo import ZoneInfo

    return Graph(
        language=section.attempt(None, _language, section),
        output_dir=section.attempt(Path(), section.directory, "output_dir", "."),
        timezone=section.attempt(ZoneInfo("UTC"), _timezone, section),
        contract_a=section.attempt(None, section.decimal, "contract_a", "amperes", 1, 1000),
    )


def _language(section: Section) -> str | None:
    language = section.text("language")
    if language not in ("", "ja", "en"):
        raise section.error("language", "ja or en, or nothing for the locale's", shown(language))
    return language or None


def _timezone(section: Section) -> ZoneInfo:
    from zoneinfo import ZoneInfo

    name = section.text("timezone") or "Asia/Tokyo"
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as err:  # unknown; not a name at all; a directory such as "Asia"
        raise section.error("timezone", "a time zone such as Asia/Tokyo", shown(name)) from err


def _tariff(section: Section) -> Tariff | None:
    from decimal import Decimal

    attempt = section.attempt
    if not attempt(True, lambda: any(section.text(key) for key in KEYS["tariff"])):
        return None
    zero = Decimal(0)
    tiers, time_of_use = attempt(((), ()), _prices, section)
    return Tariff(
        base_yen=attempt(zero, section.decimal, "base_yen", "yen a month", 0, 1_000_000) or zero,
        tiers=tiers,
        time_of_use=time_of_use,
        export_yen_per_kwh=attempt(zero, section.decimal, "export_yen", "yen per kWh", 0, 1000),
        fuel_adjustment_yen_per_kwh=attempt(zero, section.decimal, "fuel_adjustment_yen", "yen per kWh", -1000, 1000)
        or zero,
        renewable_levy_yen_per_kwh=attempt(zero, section.decimal, "renewable_levy_yen", "yen per kWh", 0, 1000) or zero,
        billing_day=attempt(1, section.whole, "billing_day", "a day of the month", 1, 28, 1),
    )


def _prices(section: Section) -> tuple[tuple[Tier, ...], tuple[Decimal, ...]]:
    tiers, time_of_use = _tiers(section), _time_of_use(section)
    if bool(tiers) == bool(time_of_use):
        raise section.error("tiers", "either tiers or time_of_use", "both" if tiers else "neither")
    return tiers, time_of_use


def _price(text: str) -> Decimal | None:
    price = to_decimal(text)
    return price if price is not None and 0 <= price <= 1000 else None


def _tiers(section: Section) -> tuple[Tier, ...]:
    text = section.text("tiers")
    tiers: list[Tier] = []
    below = to_decimal("0")
    for item in text.split(",") if text else ():
        bound_text, _, price_text = (part.strip() for part in item.partition(":"))
        bound, price = to_decimal(bound_text), _price(price_text)
        rising = below is not None and (not bound_text or (bound is not None and bound > below))
        if price is None or not rising:
            break
        tiers.append(Tier(up_to_kwh=bound, yen_per_kwh=price))
        below = bound
    if text and (len(tiers) != text.count(",") + 1 or tiers[-1].up_to_kwh is not None):
        expected = "rising kWh:yen steps, the last without a bound, such as 120:29.80, 300:36.40, :40.49"
        raise section.error("tiers", expected, shown(text))
    return tuple(tiers)


def _time_of_use(section: Section) -> tuple[Decimal, ...]:
    text = section.text("time_of_use")
    if not text:
        return ()
    expected = "times on half hours that cover the day once, such as 07:00-23:00 35.76, 23:00-07:00 27.86"
    prices: dict[int, Decimal] = {}
    for item in text.split(","):
        match = _CLOCK_RANGE.fullmatch(item.strip())
        price = _price(match[5]) if match else None
        if match is None or price is None:
            raise section.error("time_of_use", expected, shown(text))
        start, end = (2 * int(match[hour]) + (match[hour + 1] == "30") for hour in (1, 3))
        if start >= HALF_HOURS_A_DAY or end > HALF_HOURS_A_DAY:
            raise section.error("time_of_use", expected, shown(text))
        for half_hour in range(start, end if end > start else end + HALF_HOURS_A_DAY):
            if half_hour % HALF_HOURS_A_DAY in prices:
                raise section.error("time_of_use", expected, f"{shown(text)}, where times overlap")
            prices[half_hour % HALF_HOURS_A_DAY] = price
    if len(prices) != HALF_HOURS_A_DAY:
        raise section.error("time_of_use", expected, f"{shown(text)}, which leaves a part of the day out")
    return tuple(prices[half_hour] for half_hour in range(HALF_HOURS_A_DAY))
