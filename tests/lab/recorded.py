"""A household written straight into PostgreSQL: minutes of power, half hours of registers, the air of a room.

Deterministic: a day looks the same whichever days are written around it. The registers count exactly what the power
adds up to, in steps of 0.01 kWh, as a meter's do.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import psycopg2
from numpy.typing import NDArray
from psycopg2.extensions import set_wait_callback

TOKYO = ZoneInfo("Asia/Tokyo")
MINUTES = 24 * 60
UNIT_KWH = Decimal("0.01")

Away = tuple[datetime, datetime]

_HOURS = np.arange(MINUTES) / 60
_CLOCKS = [f"{minute // 60:02}:{minute % 60:02}+09" for minute in range(MINUTES)]


@dataclass(frozen=True, slots=True)
class Household:
    """What is written: *days* from *first* on (Tokyo), all but the *gaps*, up to *until*."""

    first: date
    days: int
    solar: bool = False
    until: datetime | None = None
    gaps: tuple[Away, ...] = ()
    history_fills_gaps: bool = True  # the poller reads the registers again; minutes stay lost
    air: bool = False
    cpu: bool = False

    def write(self, connection: Any, site: str = "home") -> int:
        """Write everything and return the site's number; committing is left to the caller."""
        with connection.cursor() as cursor:
            cursor.execute("insert into site (name) values (%s) on conflict do nothing", (site,))
            cursor.execute("select site_id from site where name = %s", (site,))
            number = int(cursor.fetchone()[0])
            cursor.execute(
                "insert into meter (site_id, since, unit_kwh, digits) values (%s, %s, %s, 8) on conflict do nothing",
                (number, midnight(self.first), UNIT_KWH),
            )
            _copy(cursor, "power", self._power_lines(number))
            _copy(cursor, "energy", self._energy_lines(number))
            if self.air:
                _copy(cursor, "bme280", self._bme280_lines(number))
                _copy(cursor, "co2", self._co2_lines(number))
            if self.cpu:
                _copy(cursor, "cpu_temperature", self._cpu_lines(number))
            cursor.execute("analyze meter, power, energy, bme280, co2, cpu_temperature")
        return number

    def _dates(self) -> list[date]:
        return [self.first + timedelta(days=offset) for offset in range(self.days)]

    def _is_read(self, every_s: int) -> NDArray[np.bool_]:
        """Return for each moment, *every_s* apart from the first midnight on, whether it is outside all gaps."""
        begin = midnight(self.first).timestamp()
        moments = begin + every_s * np.arange(self.days * 86_400 // every_s + 1)
        is_read = np.ones(len(moments), dtype=np.bool_)
        for start, end in self.gaps:
            is_read &= (moments < start.timestamp()) | (moments >= end.timestamp())
        return is_read

    def _is_over(self, every_s: int) -> NDArray[np.bool_]:
        """Return for the same moments whether they had come when the writing ended."""
        moments = midnight(self.first).timestamp() + every_s * np.arange(self.days * 86_400 // every_s + 1)
        return np.asarray(moments <= (np.inf if self.until is None else self.until.timestamp()))

    def _counts(self) -> NDArray[np.int64]:
        """Return both registers in counts of 0.01 kWh at the start of each minute: columns import, export."""
        watts = np.concatenate([power_w(day, solar=self.solar) for day in self._dates()])
        both = np.stack([np.clip(watts, 0, None), np.clip(-watts, 0, None)], axis=1)
        risen = np.cumsum(np.concatenate([[[0, 0]], both]), axis=0) // (60 * 10)  # W x min to 0.01 kWh
        return np.asarray(np.array([123_456, 7_890]) + risen, dtype=np.int64)

    def _minutes(self, of_day: Callable[[date], list[Any]]) -> Iterator[tuple[str, Any]]:
        """Yield the time and what *of_day* gives for it, of each minute that was read."""
        keep = iter((self._is_read(60) & self._is_over(60)).tolist())
        for day in self._dates():
            values = of_day(day)
            for clock, value in zip(_CLOCKS, values, strict=True):
                if next(keep):
                    yield f"{day} {clock}", value

    def _power_lines(self, number: int) -> Iterator[str]:
        counts = iter(self._counts().tolist())
        keep = (self._is_read(60) & self._is_over(60)).tolist()
        watts = [watt for day in self._dates() for watt in power_w(day, solar=self.solar).tolist()]
        moments = (f"{day} {clock}" for day in self._dates() for clock in _CLOCKS)
        for is_kept, moment, watt, (used, sold) in zip(keep, moments, watts, counts, strict=False):
            if is_kept:
                amperes = f"{watt * 0.0055:.1f}\t{watt * 0.0045:.1f}"
                yield f"{moment}\t{number}\t{watt}\t{amperes}\t{used / 100:.2f}\t{sold / 100:.2f}\n"

    def _energy_lines(self, number: int) -> Iterator[str]:
        is_read, is_over = self._is_read(1800), self._is_over(1800)
        for index, (used, sold) in enumerate(self._counts()[::30].tolist()):
            if is_over[index] and (is_read[index] or self.history_fills_gaps):
                moment = midnight(self.first) + timedelta(minutes=30 * index)
                yield f"{moment.isoformat()}\t{number}\t{used / 100:.2f}\t{sold / 100:.2f}\tnotified\n"

    def _bme280_lines(self, number: int) -> Iterator[str]:
        for moment, (room, humidity, pressure) in self._minutes(_room_air):
            yield f"{moment}\t{number}\t{room:.2f}\t{humidity:.1f}\t{pressure:.2f}\n"

    def _co2_lines(self, number: int) -> Iterator[str]:
        for index, (moment, ppm) in enumerate(self._minutes(_co2_ppm)):
            warming_up = index < 4
            yield f"{moment}\t{number}\t{400 if warming_up else ppm}\t25\t{'t' if warming_up else 'f'}\n"

    def _cpu_lines(self, number: int) -> Iterator[str]:
        for moment, temperature in self._minutes(_cpu_c):
            yield f"{moment}\t{number}\t{temperature:.1f}\n"


def _noise(day: date) -> NDArray[np.float64]:
    return np.random.default_rng(day.toordinal() + 1).normal(size=MINUTES)


def _room_air(day: date) -> list[Any]:
    """Give temperature, humidity and pressure of each minute."""
    noise, season = _noise(day), np.cos(2 * np.pi * (day.timetuple().tm_yday - 30) / 365)
    room = 21.0 - 3.5 * (season - 0.6) + 3.2 * bump(_HOURS, 15, 4.5) + 1.5 * bump(_HOURS, 21, 2) + 0.1 * noise
    humidity = 52 - 7 * season - 9 * bump(_HOURS, 15, 4) + 8 * bump(_HOURS, 20, 1) + 0.4 * noise
    hours = midnight(day).timestamp() / 3600 + _HOURS
    pressure = 1013 + 7 * np.sin(hours / 31) + 3 * np.sin(hours / 7.3) + 0.05 * noise
    return list(np.stack([room, humidity, pressure], axis=1).tolist())


def _co2_ppm(day: date) -> list[Any]:
    """Give CO2 of each minute: a night with doors shut, an evening with guests."""
    ppm = 470 + 350 * bump(_HOURS, 2, 4) + 420 * bump(_HOURS, 26, 4) + 760 * bump(_HOURS, 20.5, 1.6)
    return list(np.round(ppm + 8 * _noise(day)).astype(np.int64).tolist())


def _cpu_c(day: date) -> list[Any]:
    return list((47 + 4 * bump(_HOURS, 15, 4) + 0.8 * _noise(day)).tolist())


@contextmanager
def rolled_back(url: str) -> Iterator[Any]:
    """Open a connection whose writing leaves no trace: quicker than a database for each test."""
    with closing(psycopg2.connect(url)) as connection:
        yield connection
        connection.rollback()


def midnight(day: date) -> datetime:
    """Give the beginning of the day in Tokyo."""
    return datetime.combine(day, time(), tzinfo=TOKYO).astimezone(UTC)


def bump(hour: Any, center: float, width: float) -> Any:
    """Rise to 1 around *center*, o'clock."""
    return np.exp(-(((hour - center) / width) ** 2))


def power_w(day: date, *, solar: bool = False) -> NDArray[np.int64]:
    """Give the power of each minute of a day: refrigerator, meals, a kettle or two; perhaps the sun."""
    random = np.random.default_rng(day.toordinal())
    hour = np.arange(MINUTES) / 60
    base = 150 + 12 * random.normal(size=MINUTES).cumsum() / 40
    refrigerator = 90 * ((np.arange(MINUTES) + random.integers(0, 45)) % 45 < 18)
    season = 0.8 + 0.5 * np.cos(2 * np.pi * (day.timetuple().tm_yday - 20) / 365)
    weekend = 1.35 if day.weekday() >= 5 else 1.0
    meals = 450 * bump(hour, 7.2, 0.8) + 250 * weekend * bump(hour, 12.5, 0.8) + 750 * bump(hour, 19.3, 1.7)
    heating = 420 * season * (bump(hour, 6.8, 1.2) + bump(hour, 21, 2.2)) * random.uniform(0.7, 1.3)
    watts = base + refrigerator + meals * random.uniform(0.7, 1.3) + heating
    for _ in range(random.integers(5, 12)):  # kettle, microwave oven, hair dryer
        begin = int(random.choice([7, 8, 12, 18, 19, 20, 21, 22]) * 60 + random.integers(0, 60))
        watts[begin : begin + random.integers(2, 8)] += random.uniform(700, 1300)
    if solar:
        clouds = 1 - 0.5 * np.clip(np.convolve(random.normal(size=MINUTES), np.ones(25) / 9, "same"), 0, 1)
        watts -= 3600 * np.clip(bump(hour, 12, 2.9) - 0.1, 0, None) * clouds * random.uniform(0.4, 1.0)
    return np.asarray(np.round(watts), dtype=np.int64)


def _copy(cursor: Any, table: str, lines: Iterable[str]) -> None:
    columns = {
        "power": ("measured_at", "site_id", "power_w", "current_r_a", "current_t_a", "import_kwh", "export_kwh"),
        "energy": ("registered_at", "site_id", "import_kwh", "export_kwh", "source"),
        "bme280": ("measured_at", "site_id", "temperature_c", "humidity_pct", "pressure_hpa"),
        "co2": ("measured_at", "site_id", "co2_ppm", "temperature_c", "warming_up"),
        "cpu_temperature": ("measured_at", "site_id", "temperature_c"),
    }[table]
    set_wait_callback(None)  # ours, for which psycopg2 has no COPY
    cursor.copy_from(io.StringIO("".join(lines)), table, columns=columns)
