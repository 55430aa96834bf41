"""Pictures of odd households: every number is the truth, no label touches another, the same data give the same bytes.

The truth is what the test itself adds up from the readings that it writes.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pypdf
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from charts import air_draw, air_load, command, power_draw, power_load, style
from charts.coverage import Gap
from charts.period import Period, day_of, midnight
from charts.text import LANGUAGES, Language
from settings import Tariff
from tests.lab.pictures import named, overlaps, texts
from tests.lab.recorded import Household, rolled_back

TOKYO = ZoneInfo("Asia/Tokyo")
ZONES = [TOKYO, ZoneInfo("America/New_York"), ZoneInfo("Asia/Kathmandu")]
DAY = date(2025, 11, 22)
LATER = datetime(2026, 3, 1, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
SUN = Tariff(Decimal(1500), (), (*[Decimal(20)] * 14, *[Decimal(35)] * 34), Decimal(8), Decimal(-2), Decimal(4), 1)


@pytest.fixture
def record(module_database_url: str) -> Iterator[Any]:
    """Open the empty record; what a test writes is rolled back."""
    with rolled_back(module_database_url) as connection:
        yield connection


def new_site(record: Any) -> int:
    with record.cursor() as cursor:
        cursor.execute("insert into site (name) values ('home') returning site_id")
        return int(cursor.fetchone()[0])


def write(record: Any, table: str, columns: str, types: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    arrays = ", ".join(f"%s::{kind}[]" for kind in types)
    with record.cursor() as cursor:
        cursor.execute(
            f"insert into {table} ({columns}) select * from unnest({arrays})",
            [list(column) for column in zip(*rows, strict=True)],
        )


def write_power(record: Any, site: int, rows: Sequence[tuple[datetime, int | None, float | None]]) -> None:
    columns = ("site_id", "measured_at", "power_w", "current_r_a")
    types = ("integer", "timestamptz", "integer", "numeric")
    write(record, "power", ", ".join(columns), types, [(site, *row) for row in rows])


def write_energy(record: Any, site: int, rows: Sequence[tuple[datetime, Decimal, Decimal | None]]) -> None:
    columns = "site_id, registered_at, import_kwh, export_kwh, source"
    types = ("integer", "timestamptz", "numeric", "numeric", "text")
    write(record, "energy", columns, types, [(site, *row, "history") for row in rows])


def write_air(record: Any, site: int, rows: Sequence[tuple[datetime, float, float, float]]) -> None:
    columns = "site_id, measured_at, temperature_c, humidity_pct, pressure_hpa"
    types = ("integer", "timestamptz", "real", "real", "real")
    write(record, "bme280", columns, types, [(site, *row) for row in rows])


def write_co2(record: Any, site: int, rows: Sequence[tuple[datetime, int, bool]]) -> None:
    columns = "site_id, measured_at, co2_ppm, warming_up"
    write(record, "co2", columns, ("integer", "timestamptz", "integer", "boolean"), [(site, *row) for row in rows])


def pictures(
    record: Any, site: int, period: Period, language: Language, *, now: datetime = LATER, tariff: Tariff | None = None
) -> list[Figure]:
    power = power_load.load(record, site, period, now=now, tariff=tariff, with_current=True)
    air = air_load.load(record, site, period, now=now)
    figures = []
    with style.applied(language):
        if not power.is_empty:
            figures.append(power_draw.draw(power, language=language, contract_a=Decimal(40)))
        if not air.is_empty:
            figures.append(air_draw.draw(air, language=language))
    return figures


def said(figures: Sequence[Figure], folder: Path) -> str:
    """Save the pictures as PDFs and read their texts."""
    found = ""
    for number, figure in enumerate(figures):
        path = folder / f"{number}.pdf"
        with style.applied("en"):
            command.save(figure, path)
        found += "\n".join(page.extract_text() for page in pypdf.PdfReader(path).pages)
    return found


# ---- the truth


class Home:
    """Sells 13 A at noon, heats at night; read every half hour from 18:00, else every minute.

    In the mornings of the first week, until 6:00, every 5 s.
    """

    def __init__(self, first: date, days: int, zone: ZoneInfo) -> None:
        self.start, self.end = midnight(first, zone), midnight(first + timedelta(days=days), zone)
        self.zone = zone
        self.power: list[tuple[datetime, int]] = []
        moment = self.start
        while moment < self.end:
            hour = moment.astimezone(zone).hour
            self.power.append((moment, self.power_w(moment)))
            moment += timedelta(
                seconds=1800 if hour >= 18 else 5 if hour < 6 and moment - self.start < timedelta(days=7) else 60
            )

    def power_w(self, moment: datetime) -> int:
        local = moment.astimezone(self.zone)
        if 10 <= local.hour < 14:
            return -2600
        return (4400 if local.hour < 5 else 350) + (local.minute * 7) % 50

    def write(self, record: Any) -> int:
        site = new_site(record)
        write_power(record, site, [(moment, watts, watts / 200) for moment, watts in self.power])
        write_air(record, site, [(moment, *self.air(moment)) for moment, _ in self.power])
        write_co2(record, site, [(moment, self.co2(moment), False) for moment, _ in self.power])
        halves, used, sold = [], Decimal(1000), Decimal(50)
        moment = self.start + (datetime(1970, 1, 1, tzinfo=UTC) - self.start) % HALF_HOUR
        while moment <= self.end:
            halves.append((moment, used, sold))
            used, sold = used + Decimal("0.3"), sold + Decimal("0.1")
            moment += HALF_HOUR
        write_energy(record, site, halves)
        self.used, self.sold = halves[-1][1] - halves[0][1], halves[-1][2] - halves[0][2]
        return site

    def air(self, moment: datetime) -> tuple[float, float, float]:
        hours = (moment - self.start).total_seconds() / 3600
        celsius = 84.5 if hours == 9 else 17.0 if moment.astimezone(self.zone).hour < 6 else 21.0
        return celsius, 50.0, 1013.25 - round(hours, 2) / 100

    def co2(self, moment: datetime) -> int:
        return 1200 if moment.astimezone(self.zone).hour >= 18 else 600

    def weight_s(self, place: int) -> float:
        """Return how long a reading counts: until the next."""
        following = self.power[place + 1][0] if place + 1 < len(self.power) else self.end
        return (following - self.power[place][0]).total_seconds()


def found_in(pattern: str, text: str) -> str:
    (found,) = re.findall(pattern, text)
    return str(found)


def seconds_of(length: str) -> float:
    """Read a length of time as the pictures write it: 3 d 4 h, 6 h 5 min."""
    units = {"d": 86_400, "h": 3600, "min": 60}
    words = length.split()
    return sum(int(amount) * units[unit] for amount, unit in zip(words[::2], words[1::2], strict=True))


@pytest.mark.parametrize("zone", ZONES, ids=str)
@pytest.mark.parametrize("days", [1, 7, *(pytest.param(days, marks=pytest.mark.slow) for days in (30, 365, 800))])
def test_every_number_is_the_truth(record: Any, zone: ZoneInfo, days: int, tmp_path: Path) -> None:
    home = Home(DAY - timedelta(days=days - 1), days, zone)
    site = home.write(record)
    period = day_of(DAY - timedelta(days=days - 1), zone, days)
    power = power_load.load(record, site, period, now=LATER, tariff=None)
    air = air_load.load(record, site, period, now=LATER)
    assert (power.power_gaps, air.room_c and air.room_c.gaps, air.co2_gaps) == ([], [], [])
    text = said(pictures(record, site, period, "en"), tmp_path)
    assert f"{home.used:,} kWh" in text
    assert f"{home.sold:,} kWh" in text
    highest = max(watts for _, watts in home.power)
    assert f"{highest:,} W" in text
    if days <= 31:
        nights: dict[datetime, list[int]] = {}
        for moment, watts in home.power:
            local = moment.astimezone(zone)
            if local.hour >= 20 or local.hour < 5:
                half = moment - (moment - datetime(1970, 1, 1, tzinfo=UTC)) % HALF_HOUR
                nights.setdefault(half, []).append(watts)
        lowest_w = min(mean(night) for night in nights.values())
        assert f"{lowest_w:,.0f} W\nlowest half hour at night" in text
        first, last = (home.air(home.power[place][0])[2] for place in (0, -1))
        assert f"{first:,.2f} → {last:,.2f}" in text
    weights = [home.weight_s(place) for place in range(len(home.power))]
    comfortable = sum(w for w, (at, _) in zip(weights, home.power, strict=True) if 18 <= home.air(at)[0] <= 28)
    assert float(found_in(r"([\d.]+) % of the time 18–28 °C", text)) == pytest.approx(
        100 * comfortable / sum(weights), abs=0.7
    )  # a whole percent, of 0.2 more or less
    assert air.comfort_c_share == pytest.approx(comfortable / sum(weights), abs=0.002)
    over = sum(w for w, (at, _) in zip(weights, home.power, strict=True) if home.co2(at) > 1000)
    assert seconds_of(found_in(r"CO₂ over 1,000 ppm\n(.*)\nmean", text)) == pytest.approx(over, rel=0.01, abs=1800)
    assert air.co2_over_limit.total_seconds() == pytest.approx(over, rel=0.01)
    assert air.room_c is not None
    assert [extreme.value for extreme in air.room_c.outliers] == [84.5]
    assert f"{mean(home.air(at)[0] for at, _ in home.power):.1f} °C" in text
    # In Kathmandu midnight lies between two registers: the last quarter of an hour is not told.
    assert ("no data" in text) == (zone.key == "Asia/Kathmandu")
    assert "Power: no data" not in text


# What a sensor says of a decade: each half hour, and every 5 s in one morning; of all, ten days are missing.
DECADE, DECADE_DAYS = date(2016, 1, 1), 3653
MORNING_OF, MORNING_ENDS = 100, timedelta(hours=6)  # the day of the 5 s
MISSING_DAYS = range(1000, 1010)
PLANTED = {  # the highest and lowest readings: day and half hour of the day
    (2000, 28): (36.2, 96.0, 1041.4, 1490, 71.5),
    (500, 10): (2.3, 11.0, 981.6, 404, 37.5),
}


class Reading(NamedTuple):
    at: datetime
    celsius: float
    percent: float
    hpa: float
    ppm: int
    cpu_c: float


def decade() -> list[Reading]:
    readings = []
    for day in range(DECADE_DAYS):
        if day in MISSING_DAYS:
            continue
        start = midnight(DECADE + timedelta(days=day), TOKYO)
        seconds = (
            [*range(0, 6 * 3600, 5), *range(6 * 3600, 86_400, 1800)] if day == MORNING_OF else range(0, 86_400, 1800)
        )
        for second in seconds:
            half = second // 1800
            celsius, percent = 14 + (day * 7 + half) % 150 / 10, float(30 + (day * 5 + half) % 50)
            values = (celsius, percent, 1000 + day * 3 % 170 / 10, 1200 if half >= 44 and day % 3 == 0 else 600)
            planted = PLANTED.get((day, half), (*values, 40.0 + day % 13))
            readings.append(Reading(start + timedelta(seconds=second), *planted))
    return readings


@pytest.mark.slow
def test_every_number_of_a_decade_of_air_is_the_truth(record: Any, tmp_path: Path) -> None:
    site, readings = new_site(record), decade()
    write_air(record, site, [reading[:4] for reading in readings])
    write_co2(record, site, [(reading.at, reading.ppm, False) for reading in readings])
    columns, types = "site_id, measured_at, temperature_c", ("integer", "timestamptz", "real")
    write(record, "cpu_temperature", columns, types, [(site, reading.at, reading.cpu_c) for reading in readings])
    (figure,) = pictures(record, site, day_of(DECADE, TOKYO, DECADE_DAYS), "en")
    lines = said([figure], tmp_path).splitlines()

    morning = midnight(DECADE + timedelta(days=MORNING_OF), TOKYO)

    def share(is_inside: Callable[[Reading], bool]) -> str:
        """Say in which part of the time something was so: each reading counts for 30 min, or for 5 s."""
        counts = [(5 if morning <= one.at < morning + MORNING_ENDS else 1800, is_inside(one)) for one in readings]
        return f"{100 * sum(time for time, inside in counts if inside) / sum(time for time, _ in counts):.0f}"

    room, humidity = mean(one.celsius for one in readings), mean(one.percent for one in readings)
    comfortable, humid = share(lambda one: 18 <= one.celsius <= 28), share(lambda one: 40 <= one.percent <= 70)
    hours_over, minutes_over = divmod(sum(30 for reading in readings if reading.ppm > 1000), 60)
    days_over, hours_over = divmod(hours_over + round(minutes_over / 60), 24)
    first, last = (DECADE + timedelta(days=day) for day in (MISSING_DAYS[0], MISSING_DAYS[-1] + 1))
    headline = [
        "Air in the room, Friday 1 January 2016 to Wednesday 31 December 2025",
        *("Room, mean", f"{room:.1f} °C", f"{comfortable} % of the time 18–28 °C"),
        *("Humidity, mean", f"{humidity:.0f} %", f"{humid} % of the time 40–70 %"),
        *("CO₂ over 1,000 ppm", f"{days_over} d {hours_over} h", f"mean {mean(one.ppm for one in readings):,.0f} ppm"),
        *("Pressure, range", "981.6–1,041.4 hPa"),
        f"no data 10 d ({first.day} {first:%b %Y} 0:00–{last.day} {last:%b %Y} 0:00)",
    ]
    assert [line for line in headline if line not in lines] == []
    # The labels have a halo, so that they are outlines in a PDF, not text.
    found = [re.fullmatch(r"([\d.,]+) \((\d+ \w+ \d{4})\)", label) for label in texts(figure, "extreme label")]
    labels = {label[1]: datetime.strptime(f"{label[2]} +0900", "%d %b %Y %z").date() for label in found if label}
    expected = {
        form.format(value): DECADE + timedelta(days=day)
        for (day, _), values in PLANTED.items()
        for form, value in zip(("{:.1f}", "{:.0f}", "{:,.1f}", "{:,}", "{:.1f}"), values, strict=True)
    }
    assert labels.keys() == expected.keys()
    assert labels == expected  # a point of the picture is four days; the label names the very day
    # What is left are names of panels, and the numbers of axes and years, as they are for these readings.
    left = " ".join(line for line in lines if line not in headline)
    for words in ("line: mean, band: lowest to highest", "comfort 18–28 °C", "comfort 40–70 %", "above 1,000 ppm"):
        assert words in left
        left = left.replace(words, "")
    axes = {"0", "20", "40", "60", "80", "50", "100", "500", "1,000", "1,050", "1,500"}
    assert set(re.findall(r"[\d,.]*\d", left)) == axes | {str(year) for year in range(2016, 2026)}


@pytest.mark.slow
def test_every_number_of_a_decade_of_electricity_is_the_truth(record: Any, tmp_path: Path) -> None:
    """Registers each half hour, none in ten days across the end of a month; one reading of power a day."""
    site, start = new_site(record), midnight(DECADE, TOKYO)
    days, halves = np.meshgrid(np.arange(DECADE_DAYS), np.arange(48), indexing="ij")
    used = 5 + (days * 7 + halves * 3) % 40  # in each half hour, in 0.01 kWh
    sold = np.where((halves >= 20) & (halves < 28), 60 + (days * 3 + halves) % 50, 0)
    registers = [
        [start_kwh, *(start_kwh + one.ravel().cumsum()).tolist()] for start_kwh, one in ((123, used), (45, sold))
    ]
    moments = [start + n * HALF_HOUR for n in range(DECADE_DAYS * 48 + 1)]
    is_read = [n // 48 not in MISSING_DAYS for n in range(len(moments))]
    rows = [
        (moment, Decimal(bought) / 100, Decimal(exported) / 100)
        for moment, bought, exported, is_one in zip(moments, *registers, is_read, strict=True)
        if is_one
    ]
    write_energy(record, site, rows)
    peak = midnight(DECADE + timedelta(days=2000), TOKYO) + timedelta(hours=19, minutes=7)
    noons = [start + timedelta(days=day, hours=12) for day in range(DECADE_DAYS) if day not in MISSING_DAYS]
    write_power(record, site, [(peak, 9876, 50.0), *((noon, 100 + noon.day, 1.0) for noon in noons)])
    (figure,) = pictures(record, site, day_of(DECADE, TOKYO, DECADE_DAYS), "en")
    lines = said([figure], tmp_path).splitlines()

    used_kwh, sold_kwh = (Decimal(int(one.sum())) / 100 for one in (used, sold))
    missing = slice(MISSING_DAYS[0] * 48 - 1, (MISSING_DAYS[-1] + 1) * 48)  # from the last register before
    across, sold_across = (Decimal(int(one.ravel()[missing].sum())) / 100 for one in (used, sold))
    where = "(26 Sep 2018 23:30–7 Oct 2018 0:00)"
    dates = [DECADE + timedelta(days=day) for day in range(DECADE_DAYS)]
    of_years = {year: used[[day.year == year for day in dates]].sum() for year in range(2016, 2026)}
    headline = [
        "Electricity, Friday 1 January 2016 to Wednesday 31 December 2025",
        *(
            "Bought",
            f"{used_kwh:,.2f} kWh",
            "Sold",
            f"{sold_kwh:,.2f} kWh",
            "Per day",
            f"{used_kwh / DECADE_DAYS:.1f} kWh",
        ),
        *("Peak", "9,876 W", "23 Jun 2021 19:07", "9,876 W (23 Jun 2021 19:07)"),
    ]
    assert [line for line in headline if line not in lines] == []
    assert sum(of_years.values()) == used_kwh * 100
    left = " ".join(line for line in lines if line not in headline)
    for note in (
        f"Power: no data 10 d {where}",
        f"{across:,.2f} kWh across bars {where}",
        f"sold: {sold_across:,.2f} kWh across bars {where}",
        " ".join(f"{Decimal(int(total)) / 100:,.2f}" for total in of_years.values()),
    ):
        assert note in left
        left = left.replace(note, "", 1)
    # Of the map's columns of four days, one cell in a hundred is darker than the end of the scale, which is round.
    net_w = 20.0 * (used - sold)
    net_w.ravel()[missing] = np.nan
    with pytest.warns(RuntimeWarning, match="Mean of empty slice"):
        cells = np.array([np.nanmean(net_w[day : day + 4], axis=0) for day in range(0, DECADE_DAYS, 4)])
    for words, side in (("sold", -cells), ("bought", cells)):
        top = re.search(rf"{words} ([\d,]+) W", left)
        assert top is not None
        top_w = float(top[1].replace(",", ""))
        assert (side[side > 0] > top_w).mean() <= 0.01 < (side[side > 0] > 0.8 * top_w).mean()
        left = left.replace(top[0], "", 1)
    clocks = {"0:00", "6:00", "12:00", "18:00", "24:00"}
    axis = {"0", "200", "400"}  # kWh a month
    assert set(re.findall(r"[\d:,.]*\d", left)) == clocks | axis | {str(year) for year in of_years}


def test_what_flows_out_does_not_count_against_the_contract(record: Any) -> None:
    home = Home(DAY, 1, TOKYO)
    site = home.write(record)
    power = power_load.load(record, site, day_of(DAY, TOKYO), now=LATER, tariff=None, with_current=True)
    assert power.current_r_a is not None
    assert min(power.current_r_a.lowest.tolist()) == -13.0
    with style.applied("en"):
        figure = power_draw.draw(power, language="en", contract_a=Decimal(10))
    noon = midnight(DAY, TOKYO) + timedelta(hours=12)
    (outward,) = [
        line for line in figure.axes[2].lines if line.get_gid() == "current_r_a" and line.get_color() == style.SOLD
    ]
    x, y = np.asarray(outward.get_xdata()), np.asarray(outward.get_ydata())
    assert y[x == noon.timestamp() / 86_400].tolist() == [-13.0]


# ---- labels


def random_home(record: Any, seed: int) -> tuple[int, Period, datetime]:
    """Write some days of a household nobody has thought of; return its site, a period around them and a now."""
    chance = random.Random(seed)
    site, zone = new_site(record), chance.choice(ZONES)
    days = chance.choice([1, 1, 2, 3, 7, 14, 31, 60, 100, 366, 800, 3653])
    recorded = min(days, chance.choice([1, 2, 5, 9]))
    start = midnight(DAY - timedelta(days=recorded - 1), zone)
    scale, sun = chance.choice([60, 900, 15_000, 120_000]), chance.choice([0, 0, 4000, 30_000])
    gaps = [(chance.random() * recorded, chance.random() * 0.3) for _ in range(chance.choice([0, 1, 3, 12]))]
    moments = [start + timedelta(minutes=10 * n) for n in range(recorded * 144)]
    read = [
        moment
        for moment in moments
        if not any(gap <= (moment - start) / timedelta(days=1) < gap + length for gap, length in gaps)
    ] or moments[:1]
    if chance.random() < 0.85:
        watts = [int(chance.expovariate(1 / scale) - sun * (9 <= at.astimezone(zone).hour < 15)) for at in read]
        write_power(record, site, [(at, watt, watt / 200 % 90) for at, watt in zip(read, watts, strict=True)])
    if chance.random() < 0.85:
        kwh, rows = Decimal(chance.randrange(1, 90_000)) / 10, []
        begin = start + (datetime(1970, 1, 1, tzinfo=UTC) - start) % HALF_HOUR
        for n in range(recorded * 48 + 1):
            kwh += Decimal(chance.randrange(0, max(scale // 100, 2))) / 10
            if chance.random() > 0.05:
                rows.append((begin + n * HALF_HOUR, kwh, Decimal(n * (sun > 0)) / 10))
        write_energy(record, site, rows)
        if chance.random() < 0.5:
            since = [start, start + timedelta(hours=chance.random() * 24 * recorded)]
            rows_of_meter = [(site, moment, str(n), 0.1) for n, moment in enumerate(since)]
            columns, types = "site_id, since, serial_number, unit_kwh", ("integer", "timestamptz", "text", "numeric")
            write(record, "meter", columns, types, rows_of_meter)
    if chance.random() < 0.7:
        room, odd = chance.uniform(-20, 35), chance.random() < 0.4
        air = [(at, room + chance.random() * 4, chance.uniform(20, 90), 1000 + chance.random() * 20) for at in read]
        air[len(air) // 2] = (air[len(air) // 2][0], 84.9 if odd else room, 50.0, 300.0 if odd else 1010.0)
        write_air(record, site, air)
    if chance.random() < 0.7:
        level = chance.choice([500, 960, 3000])
        co2 = [(at, int(level + chance.random() * 60), chance.random() < 0.1) for at in read]
        write_co2(record, site, co2)
    now = LATER if chance.random() < 0.5 else start + timedelta(days=recorded - chance.random())
    return site, day_of(DAY - timedelta(days=days - 1), zone, days), now


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[] if seed % 20 == 0 else [pytest.mark.slow]) for seed in range(100)]
)
def test_no_two_labels_touch_whatever_the_household(record: Any, seed: int) -> None:
    site, period, now = random_home(record, seed)
    for language in LANGUAGES:
        for figure in pictures(record, site, period, language, now=now, tariff=SUN):
            assert overlaps(figure, language) == []


@pytest.mark.parametrize("highest", [*range(800, 1000, 20), 995, 1000, 1001, 1020])
def test_the_highest_co2_has_its_number_wherever_the_limit_runs(record: Any, highest: int) -> None:
    site, start = new_site(record), midnight(DAY, TOKYO)
    write_co2(record, site, [(start + n * HALF_HOUR, highest if n == 24 else 500 + n, False) for n in range(48)])
    (figure,) = pictures(record, site, day_of(DAY, TOKYO), "en")
    assert set(texts(figure, "extreme label")) == {f"{highest:,} (12:00)", "500 (0:00)"}


def test_the_highest_has_its_number_also_beside_an_outlier_at_the_edge(record: Any) -> None:
    site, start = new_site(record), midnight(DAY, TOKYO)
    celsius = [17.0] * 12 + [21.0] * 228  # from 6:00 on
    celsius[18] = 84.5
    write_air(record, site, [(start + n * HALF_HOUR, value, 50.0, 1013.0) for n, value in enumerate(celsius)])
    (figure,) = pictures(record, site, day_of(DAY, TOKYO, 5), "en")
    assert {"21.0 (22 Nov)", "17.0 (22 Nov)"} <= set(texts(figure, "extreme label"))
    assert texts(figure, "outlier label") == ["84.5 (22 Nov)"]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("minutes", [36, 60, 90, 120])
def test_the_extremes_have_their_numbers_in_the_first_hours_of_today(
    record: Any, minutes: int, language: Language
) -> None:
    """There is no room for them before the line of now."""
    now = midnight(DAY, TOKYO) + timedelta(minutes=minutes)
    site = Household(DAY - timedelta(days=1), 2, until=now, air=True).write(record)
    power, air = pictures(record, site, day_of(DAY, TOKYO), language, now=now)
    assert len(texts(power, "peak label")) == 1
    assert len(texts(air, "extreme label")) == 2 * len(air.axes)
    for figure in (power, air):
        assert overlaps(figure, language) == []


def monthly(record: Any, bought: Decimal, sold: Decimal) -> Figure:
    """Draw 29 months, in each half hour of which so many kWh were bought and sold."""
    site, first, last = new_site(record), date(2023, 7, 1), date(2025, 12, 1)
    start, days = midnight(first, TOKYO), (last - first).days
    write_energy(record, site, [(start + n * HALF_HOUR, 100 + n * bought, n * sold) for n in range(days * 48 + 1)])
    (figure,) = pictures(record, site, day_of(first, TOKYO, days), "en")
    return figure


def test_wide_numbers_of_what_was_sold_take_none_of_what_was_bought(record: Any) -> None:
    figure = monthly(record, Decimal("0.2"), Decimal(1))
    months_kwh = [48 * days * Decimal("0.2") for days in (31, 30)]
    labels = texts(figure, "bar label")
    assert (len(labels), set(labels[:6])) == (29, {f"{kwh:.0f}" for kwh in months_kwh})
    assert len(figure.axes[1].get_yticks()) > 0  # the axis tells what was sold


def test_where_nothing_was_sold_there_are_no_white_lines(record: Any) -> None:
    assert named(monthly(record, Decimal("0.2"), Decimal(0)), "sold") == []


def test_where_the_numbers_of_bars_find_no_room_there_are_an_axis_and_totals_of_years(record: Any) -> None:
    figure = monthly(record, Decimal(10), Decimal(0))
    assert texts(figure, "bar label") == []
    assert len(figure.axes[1].get_yticks()) > 0
    assert texts(figure, "year label") == [f"{days * 480:,} kWh" for days in (184, 366, 334)]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("minutes", [5, 60, 8 * 60, 14 * 60, 23 * 60])
def test_each_number_stands_in_the_column_of_its_day(record: Any, minutes: int, language: Language) -> None:
    """Also that of a day that has just begun, and that of the day before, which is wide: a car was charged."""
    site, start = new_site(record), midnight(date(2025, 10, 1), TOKYO)
    kwh, rows, so_far = Decimal(100), [], minutes // 30
    for n in range(26 * 48 + so_far + 1):
        rows.append((start + n * HALF_HOUR, kwh, Decimal(0)))
        kwh += Decimal("2.1") if n // 48 == 25 else Decimal("0.2")
    write_energy(record, site, rows)
    now = start + timedelta(days=26, minutes=minutes)
    (figure,) = pictures(record, site, day_of(date(2025, 10, 1), TOKYO, 31), language, now=now)
    with style.applied(language):
        canvas: Any = FigureCanvasAgg(figure)
        figure.draw_without_rendering()
    boxes = [label.get_window_extent(canvas.get_renderer()) for label in named(figure, "bar label")]
    inverted = figure.axes[1].transData.inverted()
    days = [inverted.transform(((box.x0 + box.x1) / 2, 0))[0] - start.timestamp() / 86_400 for box in boxes]
    assert [int(day) for day in days] == list(range(27 if so_far else 26))
    today = [f"{so_far * Decimal('0.2')}"] if so_far else []
    assert texts(figure, "bar label") == ["9.6"] * 25 + ["100.8", *today]
    assert overlaps(figure, language) == []


def test_the_totals_of_years_add_up_where_all_is_known_inside(record: Any) -> None:
    """Also where no register was read from the beginning of a year on: the steps over it lie inside of the year."""
    site, start = new_site(record), midnight(date(2022, 1, 1), TOKYO)
    unread = [midnight(day, TOKYO) for day in (date(2024, 1, 1), date(2024, 2, 3))]
    days = (date(2025, 1, 1) - date(2022, 1, 1)).days
    rows = [(start + n * HALF_HOUR, 100 + n * Decimal("0.1"), Decimal(0)) for n in range(days * 48 + 1)]
    write_energy(record, site, [row for row in rows if not unread[0] < row[0] < unread[1]])
    (figure,) = pictures(record, site, day_of(date(2022, 1, 1), TOKYO, days), "en")
    assert texts(figure, "year label") == ["1,752.0 kWh", "1,752.0 kWh", "1,756.8 kWh"]  # 4.8 kWh a day
    assert texts(figure, "value")[0] == "5,260.8 kWh"


def test_a_year_without_any_step_has_no_total(record: Any) -> None:
    """Of four years the first is not known; then 100 kWh a month."""
    site = new_site(record)
    months = [date(2022 + n // 12, n % 12 + 1, 1) for n in range(37)]
    rows = [(midnight(month, TOKYO), Decimal(100 * n + 100), Decimal(0)) for n, month in enumerate(months)]
    write_energy(record, site, rows)
    (figure,) = pictures(record, site, day_of(date(2021, 1, 1), TOKYO, 1461), "en")
    assert texts(figure, "year label") == ["1,200 kWh"] * 3


@pytest.mark.parametrize("language", LANGUAGES)
def test_two_exchanges_within_an_hour_are_both_named(record: Any, language: Language) -> None:
    """The second has no room beside the first: it stands lower, on white."""
    site, start = new_site(record), midnight(DAY, TOKYO)
    write_energy(record, site, [(start + n * HALF_HOUR, Decimal(n), Decimal(0)) for n in range(49)])
    since = [start - timedelta(days=900), start + 18 * HALF_HOUR, start + 19 * HALF_HOUR]
    write(
        record,
        "meter",
        "site_id, since, unit_kwh",
        ("integer", "timestamptz", "numeric"),
        [(site, s, 1) for s in since],
    )
    (figure,) = pictures(record, site, day_of(DAY, TOKYO), language)
    first, second = named(figure, "exchange label")
    assert [label.get_text().split(" ")[-1] for label in (first, second)] == ["9:00", "9:30"]
    assert second.xy[1] < first.xy[1] == figure.axes[1].get_ylim()[1]
    assert to_rgb(second.get_bbox_patch().get_facecolor()) == (1.0, 1.0, 1.0)
    assert overlaps(figure, language) == []


def test_no_percent_beside_a_difference_of_zero(record: Any) -> None:
    """The day before 1 kWh, the day 1.004 kWh: 0.4 % of what is written as 0.0 kWh."""
    site, start = new_site(record), midnight(DAY, TOKYO)
    kwh = {-48: "100", 0: "101", 48: "102.004"}
    rows = [(start + n * HALF_HOUR, Decimal(kwh[n]), Decimal(0)) for n in kwh]
    write_energy(record, site, rows)
    (figure,) = pictures(record, site, day_of(DAY, TOKYO), "en")
    assert [line for line in texts(figure, "value") if "%" in line] == ["0 %"]
    assert "0.0 from 1.0 kWh" in texts(figure)


def test_the_half_day_that_runs_takes_no_digits_from_the_days_before(record: Any) -> None:
    """Neither of what was bought nor of what was sold, of which both have as many."""
    site, start = new_site(record), midnight(date(2025, 11, 1), TOKYO)
    days = 27.5
    registers = [
        (start + n * HALF_HOUR, 10 + n * Decimal("0.25"), n * Decimal("0.1")) for n in range(int(days * 48) + 1)
    ]
    write_energy(record, site, registers)
    now = start + timedelta(days=days)
    (figure,) = pictures(record, site, day_of(date(2025, 11, 1), TOKYO, 30), "en", now=now)
    bought, sold = ["12.0"] * 27 + ["6.0"], ["4.8"] * 27 + ["2.4"]  # 48 and 24 half hours of 0.25 and 0.1 kWh
    assert texts(figure, "bar label") == bought + sold


# ---- colours, bytes

Color = str | tuple[float, float, float]


def contrast(color: Color, ground: Color) -> float:
    """Return the contrast of two colours, 1 to 21. Source: WCAG 2.1, relative luminance and contrast ratio."""

    def luminance(of: Color) -> float:
        parts = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(of)]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    light, dark = sorted((luminance(color), luminance(ground)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def veiled(ground: str) -> tuple[float, float, float]:
    """Return the colour of *ground* on a weekend."""
    red, green, blue = style.WEEKEND_ALPHA * np.array(to_rgb(style.WEEKEND)) + (1 - style.WEEKEND_ALPHA) * np.array(
        to_rgb(ground)
    )
    return float(red), float(green), float(blue)


def test_words_can_be_read_on_their_ground(record: Any) -> None:
    """At least 4.5:1 (WCAG 2.1, 1.4.3)."""
    site = Home(DAY, 1, TOKYO).write(record)
    for figure in pictures(record, site, day_of(DAY, TOKYO), "en", tariff=SUN):
        found: list[Any] = figure.findobj(Text)
        colors = {text.get_color() for text in found}
        assert {color: contrast(color, "white") for color in colors if contrast(color, "white") < 4.5} == {}
    for color in (style.INK, style.MUTED):
        assert min(contrast(color, ground) for ground in (style.GAP, style.GOOD)) >= 4.5
        assert min(contrast(color, veiled(ground)) for ground in ("white", style.GOOD)) >= 4.5


def test_a_weekend_shows_through_the_comfortable_range(record: Any) -> None:
    site, friday = new_site(record), midnight(DAY - timedelta(days=1), TOKYO)
    write_air(record, site, [(friday + n * HALF_HOUR, 22.0, 50.0, 1013.0) for n in range(96)])
    (figure,) = pictures(record, site, day_of(DAY - timedelta(days=1), TOKYO, 2), "en")
    with style.applied("en"):
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[::-1, :, :3] / 255
    found = []
    for hours in (12, 36):  # noon of Friday, and of Saturday
        days = (friday + timedelta(hours=hours)).timestamp() / 86_400
        x, y = figure.axes[0].transData.transform((days, 22.6))
        found.append(pixels[int(y), int(x)].tolist())
    assert found == [pytest.approx(to_rgb(style.GOOD), abs=0.005), pytest.approx(veiled(style.GOOD), abs=0.005)]


def test_what_was_sold_is_distinguished_from_what_was_bought_without_colours(record: Any) -> None:
    """By a line through each half hour of the map in which more was sold."""
    site, days = new_site(record), 60
    start = midnight(DAY - timedelta(days=days - 1), TOKYO)
    rows, bought, sold = [], Decimal(100), Decimal(0)
    for n in range(days * 48 + 1):
        rows.append((start + n * HALF_HOUR, bought, sold))
        is_sunny = n % 48 in (20, 21) and n // 48 % 3 == 0  # 10:00 to 11:00 of each third day
        bought, sold = bought + Decimal("0.1"), sold + Decimal("0.4") * is_sunny
    write_energy(record, site, rows)
    power = power_load.load(record, site, day_of(DAY - timedelta(days=days - 1), TOKYO, days), now=LATER, tariff=None)
    with style.applied("en"):
        figure = power_draw.draw(power, language="en")
    (line,) = [line for line in figure.axes[0].lines if line.get_gid() == "sold"]
    x, y = np.asarray(line.get_xdata()).reshape(-1, 3), np.asarray(line.get_ydata()).reshape(-1, 3)
    begins, ends = (np.round(x[:, place] - start.timestamp() / 86_400, 6).tolist() for place in (0, 1))
    sunny = [float(day) for day in range(0, days, 3)]
    assert y[:, 0].tolist() == [10.25] * len(sunny) + [10.75] * len(sunny)
    assert begins == sunny * 2
    assert ends == [day + 1 for day in sunny] * 2


@pytest.mark.parametrize("suffix", command.SUFFIXES)
def test_the_same_data_give_the_same_bytes(record: Any, tmp_path: Path, suffix: str) -> None:
    site = Home(DAY, 1, TOKYO).write(record)
    for name in ("first", "second"):
        for number, figure in enumerate(pictures(record, site, day_of(DAY, TOKYO), "ja")):
            with style.applied("ja"):
                command.save(figure, tmp_path / f"{name}{number}{suffix}")
    for number in (0, 1):
        first, second = ((tmp_path / f"{name}{number}{suffix}").read_bytes() for name in ("first", "second"))
        assert first == second


def test_a_day_of_half_hours_alone_shows_their_means(record: Any) -> None:
    site, start = new_site(record), midnight(DAY, TOKYO)
    write_energy(record, site, [(start + n * HALF_HOUR, 10 + n * Decimal("0.2"), Decimal(0)) for n in range(49)])
    power = power_load.load(record, site, day_of(DAY, TOKYO), now=LATER, tariff=None)
    assert [watts for _, watts in power.half_hours] == pytest.approx([400.0] * 48)
    assert power.power_gaps == []
    with style.applied("en"):
        figure = power_draw.draw(power, language="en")
    assert "mean of half hours, from the registers" in texts(figure)
    assert texts(figure, "footnote") == []


def test_the_current_of_a_day_of_half_hours_alone_is_missing(record: Any) -> None:
    """The registers tell the mean power of that day, and no current."""
    site, start = new_site(record), midnight(DAY, TOKYO)
    write_energy(record, site, [(start + n * HALF_HOUR, 10 + n * Decimal("0.2"), Decimal(0)) for n in range(97)])
    minutes = [start + timedelta(days=1, minutes=n) for n in range(24 * 60)]
    write_power(record, site, [(minute, 400, 4.0) for minute in minutes])
    (figure,) = pictures(record, site, day_of(DAY, TOKYO, 2), "en")
    power, _, current = (
        [patch for patch in axes.patches if isinstance(patch, Rectangle) and patch.get_gid() == "gap"]
        for axes in figure.axes
    )
    assert power == []
    assert [gap.get_x() for gap in current] == [start.timestamp() / 86_400]
    assert [gap.get_width() for gap in current] == pytest.approx([1])
    assert texts(figure, "footnote") == ["Current: no data 1 d (22 Nov 0:00–23 Nov 0:00)"]


@pytest.mark.parametrize("lacks", ["Power", "Current"])
def test_power_and_current_each_have_gaps_of_their_own(record: Any, lacks: str) -> None:
    """A meter may have no data for one of them (0xE7 7FFFFFFE, 0xE8 7FFE) while it tells the other."""
    site, start = new_site(record), midnight(DAY, TOKYO)
    minutes = [start + timedelta(minutes=n) for n in range(24 * 60)]
    unknown = range(600, 840)
    rows = [
        (
            minute,
            None if lacks == "Power" and n in unknown else 400,
            None if lacks == "Current" and n in unknown else 4.0,
        )
        for n, minute in enumerate(minutes)
    ]
    write_power(record, site, rows)
    (figure,) = pictures(record, site, day_of(DAY, TOKYO), "en")
    inside = [(start + timedelta(hours=hour)).timestamp() / 86_400 for hour in (10, 14)]
    for quantity, name, axes in (("Power", "power", figure.axes[0]), ("Current", "current_r_a", figure.axes[2])):
        (line,) = [line for line in axes.lines if line.get_gid() == name]
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        between = y[(x >= inside[0]) & (x < inside[1])]
        assert np.isnan(between).all() if quantity == lacks else len(between) == len(unknown)
        hatched = [patch.get_x() for patch in axes.patches if isinstance(patch, Rectangle) and patch.get_gid() == "gap"]
        assert hatched == (inside[:1] if quantity == lacks else [])
    (footnote,) = texts(figure, "footnote")
    assert f"{lacks}: no data 4 h (10:00–14:00)" in footnote


@pytest.mark.parametrize(("days", "highest_w"), [(2, 400), (2, 1600), (40, 400), (40, 1600)])
def test_a_peak_that_was_not_read_is_not_named(record: Any, days: int, highest_w: int) -> None:
    """On the first day the registers tell of 1,000 W in a half hour, and no reading was stored."""
    site, start = new_site(record), midnight(DAY, TOKYO)
    energy = [Decimal("0.2")] * 48 * days
    energy[20] = Decimal("0.5")
    write_energy(
        record,
        site,
        [(start + n * HALF_HOUR, sum(energy[:n], Decimal(10)), Decimal(0)) for n in range(len(energy) + 1)],
    )
    second = midnight(DAY + timedelta(days=1), TOKYO)
    write_power(record, site, [(second + timedelta(minutes=n), 390, 4.0) for n in range(24 * 60)])
    write_power(record, site, [(second + timedelta(seconds=30), highest_w, 16.0)])
    power = power_load.load(record, site, day_of(DAY, TOKYO, days), now=LATER + timedelta(days=60), tariff=None)
    assert power.peak == (None if highest_w < 1000 else (second + timedelta(seconds=30), highest_w))


@pytest.mark.parametrize(
    ("false_w", "notes"),
    [
        (
            [2_000_000],
            {
                "en": "2,000,000 W (12:00) cannot be true, left out",
                "ja": "2,000,000 W（12:00）はあり得ない値のため除外",
            },
        ),
        (
            [-2_147_483_647, 200_001],
            {"en": "2 readings over 200 kW cannot be true, left out", "ja": "200 kW を超えるあり得ない値 2件を除外"},
        ),
    ],
)
def test_a_power_that_cannot_be_true_flattens_no_panel_and_is_named(
    record: Any, false_w: list[int], notes: dict[Language, str]
) -> None:
    """A meter may send up to 2,147,483,645 W; no step can be of more than 200 kW."""
    site, start = new_site(record), midnight(DAY, TOKYO)
    minutes = [(start + timedelta(minutes=n), 400 + n % 7, 4.0) for n in range(24 * 60)]
    for n, watts in enumerate(false_w):
        minutes[720 + 10 * n] = (start + timedelta(minutes=720 + 10 * n), watts, 4.0)
    write_power(record, site, minutes)
    for language, note in notes.items():
        (figure,) = pictures(record, site, day_of(DAY, TOKYO), language)
        assert note in texts(figure, "footnote")[0]
        low, high = figure.axes[0].get_ylim()
        assert low == 0
        assert high < 500
        assert "406 W" in texts(figure, "value")
        assert {"sold", "売電"}.isdisjoint(texts(figure))


@pytest.mark.parametrize("highest_w", [400, 1600])
def test_a_peak_of_the_hours_before_the_first_reading_is_not_named(record: Any, highest_w: int) -> None:
    """The readings begin at noon; the registers tell of 1,000 W from 10:00 to 10:30."""
    site, start = new_site(record), midnight(DAY, TOKYO)
    used = [Decimal("0.5") if n == 20 else Decimal("0.2") for n in range(48)]
    registers = [(start + n * HALF_HOUR, sum(used[:n], Decimal(10)), Decimal(0)) for n in range(49)]
    write_energy(record, site, registers)
    noon = start + timedelta(hours=12)
    write_power(record, site, [(noon + timedelta(minutes=n), 390, 4.0) for n in range(12 * 60)])
    write_power(record, site, [(noon + timedelta(seconds=30), highest_w, 16.0)])
    power = power_load.load(record, site, day_of(DAY, TOKYO), now=LATER + timedelta(days=60), tariff=None)
    assert power.peak == (None if highest_w < 1000 else (noon + timedelta(seconds=30), highest_w))
    assert power.half_hours == []  # what was read of the day is not drawn twice


@pytest.mark.parametrize(
    ("count", "expected"),
    [(Decimal("0.1"), "前日 0.8 kWh、差 0.0"), (Decimal("0.01"), "前日 0.80 kWh、差 0.00")],
)
def test_the_day_before_is_said_with_the_digits_of_the_meter(record: Any, count: Decimal, expected: str) -> None:
    """On both days 0.8 kWh in eight half hours, then nothing."""
    site, start = new_site(record), midnight(DAY, TOKYO) - timedelta(days=1)
    counts = [(Decimal(10) + Decimal("0.1") * (8 * (n // 48) + min(n % 48, 8))).quantize(count) for n in range(97)]
    write_energy(record, site, [(start + n * HALF_HOUR, kwh, Decimal(0)) for n, kwh in enumerate(counts)])
    (figure,) = pictures(record, site, day_of(DAY, TOKYO), "ja")
    assert expected in texts(figure, "note")


def sunny_days(start: datetime, days: int, *, hidden: timedelta) -> list[tuple[datetime, Decimal, Decimal | None]]:
    """Give registers: 1.5 kWh sold in each half hour from 9:00 to 15:00, else 0.2 kWh bought.

    In the *hidden* time at the end, what was sold is not read between 9:30 and 14:30.
    """
    rows: list[tuple[datetime, Decimal, Decimal | None]] = []
    bought, sold = Decimal(100), Decimal(50)
    for n in range(days * 48 + 1):
        is_hidden = start + n * HALF_HOUR >= start + timedelta(days=days) - hidden and 19 <= n % 48 < 30
        rows.append((start + n * HALF_HOUR, bought, None if is_hidden else sold))
        is_sunny = 18 <= n % 48 < 30
        bought, sold = bought + (0 if is_sunny else Decimal("0.2")), sold + (Decimal("1.5") if is_sunny else 0)
    return rows


def test_a_half_hour_of_unknown_selling_is_missing(record: Any) -> None:
    """Not a half hour in which nothing was sold; before 9:00 and after 15:00 the register tells that nothing was."""
    site, start = new_site(record), midnight(DAY, TOKYO)
    write_energy(record, site, sunny_days(start, 1, hidden=timedelta(days=1)))
    power = power_load.load(record, site, day_of(DAY, TOKYO), now=LATER, tariff=None)
    told = [n for n in range(48) if not 18 <= n < 30]
    assert [gap.start for gap, _ in power.half_hours] == [start + n * HALF_HOUR for n in told]
    assert [watts for _, watts in power.half_hours] == pytest.approx([400.0] * len(told))
    assert power.power_gaps == [Gap(start + timedelta(hours=9), start + timedelta(hours=15))]


def test_a_cell_is_known_where_the_export_is_the_same_on_both_sides(record: Any) -> None:
    """Nothing was sold at night: half an hour of the export that was not read there hides nothing."""
    site, start = new_site(record), midnight(DAY - timedelta(days=39), TOKYO)
    rows = sunny_days(start, 40, hidden=timedelta())
    night = midnight(DAY, TOKYO) + timedelta(hours=2)
    hidden = (night, night + HALF_HOUR)
    write_energy(record, site, [(at, bought, None if at in hidden else sold) for at, bought, sold in rows])
    power = power_load.load(record, site, day_of(DAY - timedelta(days=39), TOKYO, 40), now=LATER, tariff=None)
    assert power.time_of_day is not None
    assert power.time_of_day.mean_w[:, -1].tolist() == pytest.approx([400.0] * 18 + [-3000.0] * 12 + [400.0] * 18)
    assert power.power_gaps == []


def test_a_cell_of_unknown_selling_is_missing_unless_readings_give_it(record: Any) -> None:
    site, start = new_site(record), midnight(DAY - timedelta(days=39), TOKYO)
    write_energy(record, site, sunny_days(start, 40, hidden=timedelta(days=1)))
    noon = midnight(DAY, TOKYO) + timedelta(hours=12)
    write_power(record, site, [(noon + timedelta(minutes=n), -2800, -14.0) for n in range(30)])
    power = power_load.load(record, site, day_of(DAY - timedelta(days=39), TOKYO, 40), now=LATER, tariff=None)
    assert power.time_of_day is not None
    expected = [400.0] * 18 + [np.nan] * 6 + [-2800.0] + [np.nan] * 5 + [400.0] * 18
    assert power.time_of_day.mean_w[:, -1].tolist() == pytest.approx(expected, nan_ok=True)
    assert power.time_of_day.mean_w[18:30, -2].tolist() == pytest.approx([-3000.0] * 12)
    assert power.power_gaps == [
        Gap(noon - timedelta(hours=3), noon),
        Gap(noon + HALF_HOUR, noon + timedelta(hours=3)),
    ]


@pytest.mark.parametrize(
    ("before_kwh", "caption", "note"),
    [(Decimal("40.0"), "Bought", ["Power, sold: no data 1 d (24 Nov 0:00–25 Nov 0:00)"]), (Decimal(0), "Used", [])],
)
def test_what_was_sold_and_is_no_longer_read_is_named(
    record: Any, before_kwh: Decimal, caption: str, note: list[str]
) -> None:
    """Of a household that sold 120 days ago; one that never sold lacks nothing."""
    site, start = new_site(record), midnight(DAY, TOKYO) - timedelta(days=120)
    rows = [
        (start + n * HALF_HOUR, 10 + n * Decimal("0.2"), before_kwh if n < 48 else None) for n in range(124 * 48 + 1)
    ]
    write_energy(record, site, rows)
    (figure,) = pictures(record, site, day_of(DAY + timedelta(days=2), TOKYO), "en")
    assert texts(figure, "caption")[0] == caption
    assert [line for line in texts(figure, "footnote") if "sold" in line] == note
