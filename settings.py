"""The one reader of power_consumption.ini: every value typed, checked and in a frozen dataclass.

An error is one line that names file, section and key, what was expected and what came; the ID, the password and the
database URL are never shown. An empty value counts as not given. Comments stand on lines of their own, since a
password or a URL may hold any printable character. power_consumption.ini-sample documents every key.

Importing this module is light: configparser, zoneinfo and platformdirs are imported only when a file is read.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal
    from zoneinfo import ZoneInfo

logger = logging.getLogger(__name__)

DEFAULT_FILE = Path("power_consumption.ini")
PLACEHOLDER_ID = "0" * 32  # what the sample file holds until the household's own are filled in
PLACEHOLDER_PASSWORD = "X" * 12
HALF_HOURS_A_DAY = 48

KEYS: Mapping[str, tuple[str, ...]] = {
    "routeB": ("device", "id", "id_file", "password", "password_file", "interval", "timeout", "history_pause"),
    "database": ("url",),
    "storage": ("data_dir", "site"),
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

_CONTROL = re.compile(r"[\x00-\x1F\x7F]")
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]{1,9})?")
_COMMENT_BEHIND = re.compile(r"\s[;#]")
_PASSWORD_IN_URL = re.compile(r"://[^/@]*:[^/@]+@|password\s*=")
_CLOCK_RANGE = re.compile(r"([0-9]{1,2}):(00|30)-([0-9]{1,2}):(00|30)\s+(\S+)")


class SettingsError(ValueError):
    """The settings cannot be used. The text is one line for the person who edits the file, without any secret."""


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
    """Where the record is. Section [database]."""

    url: str | None = field(repr=False)  # None: the embedded server under Storage.data_dir


@dataclass(frozen=True, slots=True)
class Storage:
    """What stays on this machine, and the name it writes under. Section [storage]."""

    data_dir: Path  # absolute; spool, session cache, embedded server
    site: str


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
    """What the graph scripts need: where the record is and how to draw it."""

    database: Database
    storage: Storage
    graph: Graph
    tariff: Tariff | None  # None: no prices given


@dataclass(frozen=True, slots=True)
class Settings(GraphSettings):
    """Everything the poller needs."""

    route_b: RouteB
    co2: Co2
    bme280: Bme280


def load(path: Path | None = None, *, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the poller's settings from *path*, or from ./power_consumption.ini.

    Warns (logging) about an interval below 10 s and about a file others can read while it holds a password.
    Raises: SettingsError: the file is missing, unreadable or malformed, or a value is wrong.
    """
    file = _File(path or DEFAULT_FILE)
    return Settings(
        database=_database(file.section("database")),
        storage=_storage(file.section("storage")),
        graph=_graph(file.section("graph")),
        tariff=_tariff(file.section("tariff")),
        route_b=_route_b(file.section("routeB"), environ),
        co2=_co2(file.section("co2")),
        bme280=_bme280(file.section("bme280")),
    )


def load_for_graphs(path: Path | None = None) -> GraphSettings:
    """Read what the graph scripts need from *path*, or from ./power_consumption.ini where there is one.

    Without *path* and without that file every value is the default. The values of [routeB] are not looked at.
    Raises: SettingsError: *path* is missing, the file is unreadable or malformed, or a value is wrong.
    """
    file = _File(path or DEFAULT_FILE, required=path is not None)
    return GraphSettings(
        database=_database(file.section("database")),
        storage=_storage(file.section("storage")),
        graph=_graph(file.section("graph")),
        tariff=_tariff(file.section("tariff")),
    )


class _Section:
    """The texts of one section, handed out by key and checked on the way."""

    def __init__(self, path: Path, name: str, texts: Mapping[str, str]) -> None:
        self.path = path
        self.name = name
        self._texts = texts

    def error(self, key: str, expected: str, got: str) -> SettingsError:
        """Say what is wrong with *key*; *got* is quoted by the caller, or describes a secret without showing it."""
        return SettingsError(f"{self.path}: [{self.name}] {key}: expected {expected}, got {got}")

    def text(self, key: str) -> str:
        """Return the value, "" where it is not given."""
        text = self._texts.get(key, "")
        if "\n" in text:
            raise self.error(key, "one line", "more: is the line below it indented?")
        if _CONTROL.search(text):
            raise self.error(key, "printable characters", "a control character")
        return text

    def plain(self, key: str, expected: str, default: str) -> str:
        """Return a text in which a comment behind the value would be taken for a part of it."""
        text = self.text(key) or default
        if _COMMENT_BEHIND.search(text):
            raise self.error(key, expected, f"{_shown(text)}: a comment stands on a line of its own")
        return text

    def decimal(self, key: str, what: str, low: int, high: int) -> Decimal | None:
        """Return a number from *low* to *high*, None where it is not given. *what* is its unit, for the error."""
        text = self.text(key)
        if not text:
            return None
        value = _to_decimal(text)
        if value is None or not low <= value <= high:
            raise self.error(key, f"{what}, {low} to {high}", _shown(text))
        return value

    def whole(self, key: str, what: str, low: int, high: int, default: int) -> int:
        """Return a whole number from *low* to *high*."""
        value = self.decimal(key, what, low, high)
        if value is None:
            return default
        if value != int(value):
            raise self.error(key, f"{what}, {low} to {high}", _shown(self.text(key)))
        return int(value)

    def seconds(self, key: str, low: int, high: int, default: float) -> float:
        """Return a time in seconds from *low* to *high*."""
        value = self.decimal(key, "seconds", low, high)
        return default if value is None else float(value)

    def directory(self, key: str, default: str) -> Path:
        """Return a path with ~ resolved."""
        text = self.plain(key, "a directory", default)
        try:
            return Path(text).expanduser()
        except RuntimeError:
            raise self.error(key, "a directory", f"{_shown(text)}, whose home directory is unknown") from None

    def secret(self, key: str, environ: Mapping[str, str]) -> str:
        """Return a secret from *key* or from the file that <key>_file names."""
        text, file_name = self.text(key), self.text(f"{key}_file")
        if text and file_name:
            raise self.error(key, f"either {key} or {key}_file", "both")
        if not file_name:
            return text
        # A name of letters and digits alone may be the secret itself, written behind the wrong key.
        # The causes below are dropped (from None), since they carry that name or the file's bytes.
        shown_name = "of that name" if file_name.isalnum() else file_name
        expected = f"one line of printable ASCII in the file {shown_name}"
        try:
            content = self._read_secret(file_name, environ)
        except OSError as err:
            raise self.error(f"{key}_file", expected, f"{err.strerror}") from None
        try:
            secret = content.decode("ascii")
        except UnicodeDecodeError:
            raise self.error(f"{key}_file", expected, "other bytes") from None
        if _CONTROL.search(secret):
            raise self.error(f"{key}_file", expected, "a control character")
        return secret

    def _read_secret(self, file_name: str, environ: Mapping[str, str]) -> bytes:
        path = self.path.parent / file_name
        # Source: systemd.exec(5), LoadCredential= and $CREDENTIALS_DIRECTORY.
        credentials = environ.get("CREDENTIALS_DIRECTORY")
        if credentials and (credential := Path(credentials, file_name)).exists():
            path = credential
        with path.open("rb") as file:
            _warn_if_readable_by_others(file, path)
            return re.sub(rb"\r?\n\Z", b"", file.read(4096))


class _File:
    """The whole file, with nothing in it that KEYS does not name."""

    def __init__(self, path: Path, *, required: bool = True) -> None:
        self._path = path
        try:
            with path.open("rb") as file:
                content = file.read()
                self._texts = _parse(path, content)
                if self._holds_password():
                    _warn_if_readable_by_others(file, path)
        except FileNotFoundError as err:
            if required:
                remedy = "copy power_consumption.ini-sample to it and fill in [routeB]"
                raise SettingsError(f"{path}: no such file; {remedy}") from err
            self._texts = {}
        except OSError as err:
            raise SettingsError(f"{path}: cannot be read: {err.strerror}") from err

    def section(self, name: str) -> _Section:
        return _Section(self._path, name, self._texts.get(name, {}))

    def _holds_password(self) -> bool:
        password = self._texts.get("routeB", {}).get("password", "")
        url = self._texts.get("database", {}).get("url", "")
        return password not in ("", PLACEHOLDER_PASSWORD) or bool(_PASSWORD_IN_URL.search(url))


def _parse(path: Path, content: bytes) -> dict[str, dict[str, str]]:
    import configparser

    # A section header is never empty, so with default_section="" no section lends its keys to the others.
    parser = configparser.ConfigParser(interpolation=None, default_section="", empty_lines_in_values=False)
    # The causes are dropped (from None): they quote the line or the bytes, which may hold a secret.
    try:
        parser.read_string(content.decode("utf-8-sig"))
    except UnicodeDecodeError as err:
        line = content.count(b"\n", 0, err.start) + 1
        raise SettingsError(f"{path}: line {line}: expected UTF-8 text, got other bytes") from None
    except configparser.MissingSectionHeaderError as err:
        raise SettingsError(f"{path}: line {err.lineno}: expected a section such as [routeB] first") from None
    except configparser.DuplicateSectionError as err:
        raise SettingsError(f"{path}: line {err.lineno}: the {_named('section', err.section)} is there twice") from None
    except configparser.DuplicateOptionError as err:
        key = _named("key", err.option)
        raise SettingsError(f"{path}: line {err.lineno}: the {key} is there twice in its section") from None
    except configparser.ParsingError as err:
        raise SettingsError(f"{path}: line {err.errors[0][0]}: expected key = value or [section]") from None
    for section in parser.sections():
        if section not in KEYS:
            raise SettingsError(f"{path}: unknown {_named('section', section)}; {_nearest(section, KEYS)}")
        for key in parser[section]:
            if key not in KEYS[section]:
                nearest = _nearest(key, KEYS[section])
                raise SettingsError(f"{path}: [{section}] unknown {_named('key', key)}; {nearest}")
    return {section: dict(parser[section]) for section in parser.sections()}


def _named(what: str, name: str) -> str:
    """Show a name only if it is a plain word: a slip of the hand can make a name of a secret."""
    return f"{what} {name!r}" if re.fullmatch(r"[A-Za-z_]{1,24}", name) else what


def _nearest(name: str, choices: Iterable[str]) -> str:
    import difflib

    by_lower = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"did you mean {by_lower[close[0]]}?" if close else f"there are {', '.join(by_lower.values())}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


def _warn_if_readable_by_others(file: IO[bytes], path: Path) -> None:
    if os.fstat(file.fileno()).st_mode & (stat.S_IRGRP | stat.S_IROTH):
        logger.warning("%s holds a secret and others can read it: chmod 600 %s", path, path)


def _to_decimal(text: str) -> Decimal | None:
    from decimal import Decimal

    return Decimal(text) if _NUMBER.fullmatch(text) else None


def _route_b(section: _Section, environ: Mapping[str, str]) -> RouteB:
    interval_s = section.whole("interval", "whole seconds", 1, 3600, 60)
    if interval_s < 10:
        logger.warning("%s: [routeB] interval: %d s is short: a poll alone can take longer", section.path, interval_s)
    return RouteB(
        device=section.plain("device", "a device", "/dev/ttyUSB0"),
        id=_route_b_id(section, environ),
        password=_route_b_password(section, environ),
        interval_s=interval_s,
        timeout_s=section.seconds("timeout", 1, 120, 20.0),
        history_pause_s=section.seconds("history_pause", 0, 600, 10.0),
    )


def _route_b_id(section: _Section, environ: Mapping[str, str]) -> str:
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


def _route_b_password(section: _Section, environ: Mapping[str, str]) -> str:
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


def _database(section: _Section) -> Database:
    url = section.text("url")
    if url and not re.match(r"postgres(ql)?://|[a-z_]+\s*=", url):
        raise section.error("url", "postgresql://user@host/database", "something else (not shown)")
    return Database(url=url or None)


def _storage(section: _Section) -> Storage:
    from platformdirs import user_data_path

    data_dir = section.directory("data_dir", "") if section.text("data_dir") else user_data_path("power-consumption")
    site = section.text("site") or "home"
    if len(site) > 63:
        raise section.error("site", "a name of at most 63 characters", f"{len(site)} characters")
    # A data directory must not move with the directory a script is started in: it would look like a lost record.
    return Storage(data_dir=(section.path.absolute().parent / data_dir), site=site)


def _co2(section: _Section) -> Co2:
    return Co2(
        device=section.plain("device", "a device", "/dev/serial0"),
        warm_up_s=section.seconds("warm_up", 0, 3600, 180.0),
    )


def _bme280(section: _Section) -> Bme280:
    addresses = {"": 0x76, "0x76": 0x76, "0x77": 0x77, "118": 0x76, "119": 0x77}
    address = section.text("address").lower()
    if address not in addresses:
        raise section.error("address", "0x76 or 0x77", _shown(address))
    return Bme280(bus=section.whole("bus", "the number of an I2C bus", 0, 255, 1), address=addresses[address])


def _graph(section: _Section) -> Graph:
    language = section.text("language")
    if language not in ("", "ja", "en"):
        raise section.error("language", "ja or en, or nothing for the locale's", _shown(language))
    return Graph(
        language=language or None,
        output_dir=section.directory("output_dir", "."),
        timezone=_timezone(section),
        contract_a=section.decimal("contract_a", "amperes", 1, 1000),
    )


def _timezone(section: _Section) -> ZoneInfo:
    from zoneinfo import ZoneInfo

    name = section.text("timezone") or "Asia/Tokyo"
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as err:  # unknown; not a name at all; a directory such as "Asia"
        raise section.error("timezone", "a time zone such as Asia/Tokyo", _shown(name)) from err


def _tariff(section: _Section) -> Tariff | None:
    from decimal import Decimal

    if not any(section.text(key) for key in KEYS["tariff"]):
        return None
    tiers, time_of_use = _tiers(section), _time_of_use(section)
    if bool(tiers) == bool(time_of_use):
        raise section.error("tiers", "either tiers or time_of_use", "both" if tiers else "neither")
    zero = Decimal(0)
    return Tariff(
        base_yen=section.decimal("base_yen", "yen a month", 0, 1_000_000) or zero,
        tiers=tiers,
        time_of_use=time_of_use,
        export_yen_per_kwh=section.decimal("export_yen", "yen per kWh", 0, 1000),
        fuel_adjustment_yen_per_kwh=section.decimal("fuel_adjustment_yen", "yen per kWh", -1000, 1000) or zero,
        renewable_levy_yen_per_kwh=section.decimal("renewable_levy_yen", "yen per kWh", 0, 1000) or zero,
        billing_day=section.whole("billing_day", "a day of the month", 1, 28, 1),
    )


def _price(text: str) -> Decimal | None:
    price = _to_decimal(text)
    return price if price is not None and 0 <= price <= 1000 else None


def _tiers(section: _Section) -> tuple[Tier, ...]:
    text = section.text("tiers")
    tiers: list[Tier] = []
    below = _to_decimal("0")
    for item in text.split(",") if text else ():
        bound_text, _, price_text = (part.strip() for part in item.partition(":"))
        bound, price = _to_decimal(bound_text), _price(price_text)
        rising = below is not None and (not bound_text or (bound is not None and bound > below))
        if price is None or not rising:
            break
        tiers.append(Tier(up_to_kwh=bound, yen_per_kwh=price))
        below = bound
    if text and (len(tiers) != text.count(",") + 1 or tiers[-1].up_to_kwh is not None):
        expected = "rising kWh:yen steps, the last without a bound, such as 120:29.80, 300:36.40, :40.49"
        raise section.error("tiers", expected, _shown(text))
    return tuple(tiers)


def _time_of_use(section: _Section) -> tuple[Decimal, ...]:
    text = section.text("time_of_use")
    if not text:
        return ()
    expected = "times on half hours that cover the day once, such as 07:00-23:00 35.76, 23:00-07:00 27.86"
    prices: dict[int, Decimal] = {}
    for item in text.split(","):
        match = _CLOCK_RANGE.fullmatch(item.strip())
        price = _price(match[5]) if match else None
        if match is None or price is None:
            raise section.error("time_of_use", expected, _shown(text))
        start, end = (2 * int(match[hour]) + (match[hour + 1] == "30") for hour in (1, 3))
        if start >= HALF_HOURS_A_DAY or end > HALF_HOURS_A_DAY:
            raise section.error("time_of_use", expected, _shown(text))
        for half_hour in range(start, end if end > start else end + HALF_HOURS_A_DAY):
            if half_hour % HALF_HOURS_A_DAY in prices:
                raise section.error("time_of_use", expected, f"{_shown(text)}, where times overlap")
            prices[half_hour % HALF_HOURS_A_DAY] = price
    if len(prices) != HALF_HOURS_A_DAY:
        raise section.error("time_of_use", expected, f"{_shown(text)}, which leaves a part of the day out")
    return tuple(prices[half_hour] for half_hour in range(HALF_HOURS_A_DAY))
