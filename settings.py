"""The one reader of power_consumption.ini: every value typed, checked and in a frozen dataclass.

All errors are reported at once, each in a line that names file, section and key, what was expected and what came; the
ID, the password and the database URL are never shown. An empty value counts as not given. Comments stand on lines of
their own, since a password or a URL may hold any printable character. power_consumption.ini-sample documents every
key; the file itself is read by ini_file.py. Importing this module is light: configparser and zoneinfo are imported
only when a file is read.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from ini_file import IniFile, Section, SettingsError, Texts, shown, to_decimal

if TYPE_CHECKING:
    from decimal import Decimal
    from zoneinfo import ZoneInfo

    from _typeshed import DataclassInstance

__all__ = ["GraphSettings", "Settings", "SettingsError", "load", "load_for_graphs"]

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
SectionT = TypeVar("SectionT", bound="DataclassInstance")

DEFAULT_FILE = Path("power_consumption.ini")
PLACEHOLDER_ID = "0" * 32  # what the sample file holds until the household's own are filled in
PLACEHOLDER_PASSWORD = "X" * 12
HALF_HOURS_A_DAY = 48

_PASSWORD_IN_URL = re.compile(r"://[^/@]*:[^/@]+@|password\s*=")
_CLOCK_RANGE = re.compile(r"([0-9]{1,2}):(00|30)-([0-9]{1,2}):(00|30)\s+(\S+)")


# --- values with rules of their own


def _route_b_id(section: Section, key: str) -> str:
    route_b_id = section.secret(key)
    expected = "the 32 hex digits your grid company sent (or id_file)"
    if not route_b_id:
        raise section.error(key, expected, "nothing")
    if route_b_id == PLACEHOLDER_ID:
        raise section.error(key, expected, "the placeholder of the sample file")
    if re.search(r"[\s-]", route_b_id):
        raise section.error(key, expected, "spaces or hyphens too: write the digits without them")
    if not re.fullmatch(r"[0-9A-Fa-f]{32}", route_b_id):
        raise section.error(key, expected, f"{len(route_b_id)} characters that are not (not shown)")
    return route_b_id.upper()


def _route_b_password(section: Section, key: str) -> str:
    password = section.secret(key)
    expected = "the password your grid company sent, 1 to 32 printable ASCII characters (or password_file)"
    if not password:
        raise section.error(key, expected, "nothing")
    if password == PLACEHOLDER_PASSWORD:
        raise section.error(key, expected, "the placeholder of the sample file")
    # Source: SKSTACK-IP command reference, SKSETPWD; a space would end the argument.
    if not re.fullmatch(r"[\x21-\x7E]{1,32}", password):
        what = "with a space or a character that is not ASCII" if len(password) <= 32 else "which is too long"
        raise section.error(key, expected, f"{len(password)} characters, {what} (not shown)")
    return password


def _interval_s(section: Section, key: str) -> int:
    interval_s = section.whole(key, "whole seconds", 1, 3600, 60)
    if interval_s < 10:
        logger.warning("%s: [routeB] interval: %d s is short: a poll alone can take longer", section.path, interval_s)
    return interval_s


def _url(section: Section, key: str) -> str | None:
    url = section.free(key, "")
    if url and not re.match(r"postgres(ql)?://|[a-z_]+\s*=", url):
        raise section.error(key, "postgresql://user@host/database", "something else (not shown)")
    return url or None


def _data_dir(section: Section, key: str) -> Path:
    # Source: XDG Base Directory Specification, which lets a relative path count for nothing.
    shared = os.environ.get("XDG_DATA_HOME", "")
    default = f"{shared if shared.startswith('/') else '~/.local/share'}/power-consumption"
    # A data directory must not move with the directory a script is started in: it would look like a lost record.
    directory = section.directory(key, default)
    return directory if directory.is_absolute() else section.path.absolute().parent / directory


def _site(section: Section, key: str) -> str:
    site = section.free(key, "home")
    if len(site) > 63:
        raise section.error(key, "a name of at most 63 characters", f"{len(site)} characters")
    return site


def _zone(section: Section, key: str) -> str:
    expected = "the type of a thermal zone such as cpu-thermal, or an absolute path"
    zone = section.plain(key, expected, "")
    if "/" in zone and not zone.startswith("/"):
        raise section.error(key, expected, shown(zone))
    return zone


def _address(section: Section, key: str) -> int:
    addresses = {"": 0x76, "0x76": 0x76, "0x77": 0x77, "118": 0x76, "119": 0x77}
    address = section.text(key).lower()
    if address not in addresses:
        raise section.error(key, "0x76 or 0x77", shown(address))
    return addresses[address]


def _language(section: Section, key: str) -> str | None:
    language = section.text(key)
    if language not in ("", "ja", "en"):
        raise section.error(key, "ja or en, or nothing for the locale's", shown(language))
    return language or None


def _timezone(section: Section, key: str) -> ZoneInfo:
    from zoneinfo import ZoneInfo

    name = section.text(key) or "Asia/Tokyo"
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as err:  # unknown; not a name at all; a directory such as "Asia"
        raise section.error(key, "a time zone such as Asia/Tokyo", shown(name)) from err


def _price(text: str) -> Decimal | None:
    price = to_decimal(text)
    return price if price is not None and 0 <= price <= 1000 else None


def _tiers(section: Section, key: str) -> tuple[Tier, ...]:
    text = section.text(key)
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
        raise section.error(key, expected, shown(text))
    return tuple(tiers)


def _time_of_use(section: Section, key: str) -> tuple[Decimal, ...]:
    text = section.text(key)
    if not text:
        return ()
    expected = "times on half hours that cover the day once, such as 07:00-23:00 35.76, 23:00-07:00 27.86"
    prices: dict[int, Decimal] = {}
    for item in text.split(","):
        match = _CLOCK_RANGE.fullmatch(item.strip())
        price = _price(match[5]) if match else None
        if match is None or price is None:
            raise section.error(key, expected, shown(text))
        start, end = (2 * int(match[hour]) + (match[hour + 1] == "30") for hour in (1, 3))
        if start >= HALF_HOURS_A_DAY or end > HALF_HOURS_A_DAY:
            raise section.error(key, expected, shown(text))
        for half_hour in range(start, end if end > start else end + HALF_HOURS_A_DAY):
            if half_hour % HALF_HOURS_A_DAY in prices:
                raise section.error(key, expected, f"{shown(text)}, where times overlap")
            prices[half_hour % HALF_HOURS_A_DAY] = price
    if len(prices) != HALF_HOURS_A_DAY:
        raise section.error(key, expected, f"{shown(text)}, which leaves a part of the day out")
    return tuple(prices[half_hour] for half_hour in range(HALF_HOURS_A_DAY))


def _yen(section: Section, key: str, what: str, low: int, high: int) -> Decimal:
    from decimal import Decimal

    return section.decimal(key, what, low, high, Decimal(0))


# --- the table of keys


def _key(name: str, read: Callable[Concatenate[Section, str, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Let a field be the key *name*, which *read* reads; it is handed its section, its name and the rest."""
    value: T = field(metadata={"keys": (name,), "read": lambda section: read(section, name, *args, **kwargs)})
    return value


def _secret(read: Callable[[Section, str], T], *names: str) -> T:
    """Let a field be a key that is never shown: the first of *names*; all of them are keys."""
    value: T = field(repr=False, metadata={"keys": names, "read": lambda section: read(section, names[0])})
    return value


@dataclass(frozen=True, slots=True)
class RouteB:
    """The Wi-SUN module and the meter behind it. Section [routeB]."""

    device: str = _key("device", Section.plain, "a device", "/dev/ttyUSB0")
    id: str = _secret(_route_b_id, "id", "id_file")  # 32 upper-case hex digits
    password: str = _secret(_route_b_password, "password", "password_file")  # 1 to 32 printable ASCII characters
    interval_s: int = _key("interval", _interval_s)  # 1 to 3600
    timeout_s: float = _key("timeout", Section.seconds, 1, 120, 20.0)  # for a poll; three times as long for history
    history_pause_s: float = _key("history_pause", Section.seconds, 0, 600, 10.0)


@dataclass(frozen=True, slots=True)
class Database:
    """Where the database is. Section [database]."""

    url: str | None = _secret(_url, "url")  # None: the embedded server under Storage.data_dir


@dataclass(frozen=True, slots=True)
class Storage:
    """What stays on this machine, and the name it writes under. Section [storage]."""

    data_dir: Path = _key("data_dir", _data_dir)  # absolute; outbox, session cache, embedded server
    site: str = _key("site", _site)


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processor's temperature. Section [cpu]."""

    zone: str = _key("zone", _zone)  # the type, name or path of a thermal zone; "": what certainly is the processor


@dataclass(frozen=True, slots=True)
class Co2:
    """The MH-Z19. Section [co2]."""

    device: str = _key("device", Section.plain, "a device", "/dev/serial0")
    warm_up_s: float = _key("warm_up", Section.seconds, 0, 3600, 180.0)  # readings before that are marked so


@dataclass(frozen=True, slots=True)
class Bme280:
    """The BME280. Section [bme280]."""

    bus: int = _key("bus", Section.whole, "the number of an I2C bus", 0, 255, 1)  # 1 is /dev/i2c-1
    address: int = _key("address", _address)  # 0x76 or 0x77


@dataclass(frozen=True, slots=True)
class Graph:
    """How the pictures are drawn. Section [graph]."""

    language: str | None = _key("language", _language)  # "ja" or "en"; None: from the locale
    output_dir: Path = _key("output_dir", Section.directory, ".")  # as written: relative to the current directory
    timezone: ZoneInfo = _key("timezone", _timezone)  # where a day begins
    contract_a: Decimal | None = _key("contract_a", Section.decimal, "amperes", 1, 1000, None)  # the contract's


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

    base_yen: Decimal = _key("base_yen", _yen, "yen a month", 0, 1_000_000)  # a billing month
    tiers: tuple[Tier, ...] = _key("tiers", _tiers)  # rising; only the last has no upper bound
    time_of_use: tuple[Decimal, ...] = _key("time_of_use", _time_of_use)  # yen per kWh of each half hour from 00:00
    # None: what is sold is not counted.
    export_yen_per_kwh: Decimal | None = _key("export_yen", Section.decimal, "yen per kWh", 0, 1000, None)
    fuel_adjustment_yen_per_kwh: Decimal = _key("fuel_adjustment_yen", _yen, "yen per kWh", -1000, 1000)
    renewable_levy_yen_per_kwh: Decimal = _key("renewable_levy_yen", _yen, "yen per kWh", 0, 1000)
    billing_day: int = _key("billing_day", Section.whole, "a day of the month", 1, 28, 1)  # a billing month's first


def _read(kind: type[SectionT], section: Section) -> SectionT:
    """Read every key of a section; what is wrong is noted, so that IniFile.conclude says it all at once."""
    values: dict[str, Any] = {}
    for each in fields(kind):
        values[each.name] = None
        with section.noting():
            values[each.name] = each.metadata["read"](section)
    return kind(**values)


def _tariff(section: Section) -> Tariff | None:
    if section.is_empty:
        return None
    tariff = _read(Tariff, section)
    with section.noting():
        if tariff.tiers == () == tariff.time_of_use:
            raise section.error("tiers", "either tiers or time_of_use", "neither")
        if tariff.tiers and tariff.time_of_use:
            raise section.error("tiers", "either tiers or time_of_use", "both")
    return tariff


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


# By the field of Settings: the name of the section, and what it holds.
_SECTIONS: Mapping[str, tuple[str, type[DataclassInstance]]] = {
    "route_b": ("routeB", RouteB),
    "database": ("database", Database),
    "storage": ("storage", Storage),
    "cpu": ("cpu", Cpu),
    "co2": ("co2", Co2),
    "bme280": ("bme280", Bme280),
    "graph": ("graph", Graph),
    "tariff": ("tariff", Tariff),
}
KEYS: Mapping[str, tuple[str, ...]] = {
    name: tuple(key for each in fields(kind) for key in each.metadata["keys"]) for name, kind in _SECTIONS.values()
}


def load(path: Path = DEFAULT_FILE) -> Settings:
    """Read the poller's settings from *path*.

    Warns (logging) about an interval below 10 s and about a file others can read while it holds a password.
    Raises: SettingsError: the file is missing, unreadable or malformed, or a value is wrong.
    """
    return _load(Settings, IniFile(path, KEYS, holds_secret=_holds_secret))


def load_for_graphs(path: Path | None = None) -> GraphSettings:
    """Read what the graph scripts need from *path*, or from ./power_consumption.ini where there is one.

    Without *path* and without that file every value is the default. The values of [routeB] are not looked at.
    Raises: SettingsError: *path* is missing, the file is unreadable or malformed, or a value is wrong.
    """
    file = IniFile(path or DEFAULT_FILE, KEYS, required=path is not None, holds_secret=_holds_secret)
    return _load(GraphSettings, file)


def _load(kind: type[SectionT], file: IniFile) -> SectionT:
    """Read each section that *kind* has a field for. Raises: SettingsError."""
    values: dict[str, Any] = {}
    for each in fields(kind):
        name, part = _SECTIONS[each.name]
        section = file.section(name)
        values[each.name] = _tariff(section) if part is Tariff else _read(part, section)
    file.conclude()
    return kind(**values)


def _holds_secret(texts: Texts) -> bool:
    password = texts.get("routeB", {}).get("password", "")
    url = texts.get("database", {}).get("url", "")
    return password not in ("", PLACEHOLDER_PASSWORD) or bool(_PASSWORD_IN_URL.search(url))
