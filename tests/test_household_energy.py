"""Every kWh is right to the step, against households whose use is known before there is any register.

Views, bars, totals, comparisons, costs and the words of the PDF are held to the truth that the test adds up itself:
through an exchange, a fall, a wrap, gaps over midnights, missing midnights, two sites and no serial number.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2
import pypdf
import pytest

from charts import command, energy_load, power_draw, power_load, style
from charts.cost import Cost
from charts.energy_load import EnergyData
from charts.period import Period, day_of
from charts.text import LANGUAGES, Language
from settings import Tariff, Tier
from storage.connection import connect
from storage.energy import Lack
from tests.lab.ledger import A_DAY, Ledger, Meter, Truth
from tests.lab.pictures import overlaps, texts

pytestmark = pytest.mark.system

TOKYO = ZoneInfo("Asia/Tokyo")
HALF_HOUR = timedelta(minutes=30)
LATER = datetime(2026, 3, 1, tzinfo=UTC)
EXCHANGE, FALL, LONG_GAP = date(2025, 12, 10), date(2025, 2, 14), date(2024, 8, 10)


def home() -> Ledger:
    """Two years that sell: scale told again, a wrap, a fall, an exchange at 10:17, and gaps of every kind."""
    ledger = Ledger(date(2024, 1, 1), 731, meters=())
    ledger.meters = (
        Meter(3 * 1440 + 725, "000016", "A1", import_counts=800_000, export_counts=999_000),
        Meter(ledger.boundary(date(2024, 6, 1), 7) * 30 + 4, "000016", "A1", is_exchange=False),
        Meter(ledger.boundary(EXCHANGE, 20) * 30 + 17, "000016", "B2", import_counts=123, export_counts=4),
    )
    ledger.falls = {ledger.boundary(FALL, 6): 500}
    ledger.missing = {
        *range(ledger.boundary(LONG_GAP, 44), ledger.boundary(LONG_GAP, 2 * A_DAY + 6)),  # two nights and a day
        *(ledger.boundary(date(2025, 3, day)) for day in range(1, 32)),  # every midnight of March
        *(ledger.boundary(date(2025, 5, 20), half_hour) for half_hour in (17, 18, 19, 30)),  # inside of a day
        *range(700, 35_000, 1237),
    }
    ledger.no_export = {ledger.boundary(date(2024, 10, 5), half_hour) for half_hour in range(20, 30)}
    return ledger


def shed() -> Ledger:
    """Sixty days that sell nothing: no serial number, and a poller that was off for two days around the exchange.

    The new meter's memory says zero for the time before it served.
    """
    ledger = Ledger(date(2025, 11, 1), 60, sells=False, meters=())
    off = range(ledger.boundary(date(2025, 11, 18), 24), ledger.boundary(date(2025, 11, 20), 27))
    ledger.meters = (
        Meter(0, None, None, import_counts=50_000),
        Meter(ledger.boundary(date(2025, 11, 20), 26) * 30 + 5, None, None),
    )
    ledger.zeros = set(off)
    return ledger


class Record:
    """Both households in one database."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.ledgers = {ledger.write(connection, name): ledger for name, ledger in (("home", home()), ("shed", shed()))}
        self.home, self.shed = self.ledgers
        self.used = {site: Truth(ledger) for site, ledger in self.ledgers.items()}
        self.sold = {site: Truth(ledger, sold=True) for site, ledger in self.ledgers.items()}

    def energy(self, site: int, period: Period, **options: Any) -> EnergyData:
        found = energy_load.load(self.connection, site, period, **{"now": LATER, "tariff": None, **options})
        assert found is not None
        return found

    def boundaries(self, site: int, start: datetime, end: datetime) -> tuple[int, int]:
        first = self.ledgers[site].at(0)
        return (start - first) // HALF_HOUR, (end - first) // HALF_HOUR


@pytest.fixture(scope="module")
def record(module_database_url: str) -> Iterator[Record]:
    with closing(psycopg2.connect(module_database_url)) as connection:
        yield Record(connection)


def of(first: date, last: date) -> Period:
    return day_of(first, TOKYO, (last - first).days + 1)


YEAR = of(date(2025, 1, 1), date(2025, 12, 31))
PERIODS = {
    "an ordinary day": of(date(2025, 7, 1), date(2025, 7, 1)),
    "gaps inside a day": of(date(2025, 5, 20), date(2025, 5, 20)),
    "the day of the exchange": of(EXCHANGE, EXCHANGE),
    "the day of the fall": of(FALL, FALL),
    "a night without registers": of(LONG_GAP, LONG_GAP),
    "three days over two such nights": of(LONG_GAP, LONG_GAP + timedelta(days=2)),
    "a week": of(date(2025, 6, 2), date(2025, 6, 8)),
    "February, with the fall": of(date(2025, 2, 1), date(2025, 2, 28)),
    "March, without a midnight": of(date(2025, 3, 1), date(2025, 3, 31)),
    "the month of the exchange": of(date(2025, 12, 1), date(2025, 12, 31)),
    "export not told for hours": of(date(2024, 10, 5), date(2024, 10, 5)),
    "a year": YEAR,
    "all there is": of(date(2024, 1, 1), date(2025, 12, 31)),
    "a part of a day": Period(datetime(2025, 7, 1, 1, tzinfo=UTC), datetime(2025, 7, 1, 9, 30, tzinfo=UTC), TOKYO),
}


# --- the views


def test_every_half_hour_is_what_was_used_and_sold_in_it(record: Record) -> None:
    for site, ledger in record.ledgers.items():
        with record.connection.cursor() as cursor:
            cursor.execute(
                "select used_kwh, sold_kwh from energy_half_hour where site_id = %s order by started_at", (site,)
            )
            found = cursor.fetchall()
        used, sold = (
            {step[0]: truth.kwh(*step) for step in truth.inside(0, ledger.days * A_DAY) if step[1] - step[0] == 1}
            for truth in (record.used[site], record.sold[site])
        )
        assert len(found) == ledger.days * A_DAY
        assert found == [(used.get(half_hour), sold.get(half_hour)) for half_hour in range(ledger.days * A_DAY)]


def test_every_day_is_the_sum_of_its_steps_or_null(record: Record) -> None:
    nulls = {}
    for site, ledger in record.ledgers.items():
        with record.connection.cursor() as cursor:
            cursor.execute("select day, used_kwh, sold_kwh from energy_day where site_id = %s order by day", (site,))
            found = cursor.fetchall()
        assert found == [
            (
                ledger.first + timedelta(days=day),
                record.used[site].whole_kwh(day * A_DAY, (day + 1) * A_DAY),
                record.sold[site].whole_kwh(day * A_DAY, (day + 1) * A_DAY),
            )
            for day in range(ledger.days)
        ]
        nulls[site] = [day for day, used, _ in found if used is None]
    assert {EXCHANGE, FALL, LONG_GAP, date(2025, 3, 31)} <= set(nulls[record.home])
    assert date(2025, 5, 20) not in nulls[record.home]
    assert nulls[record.shed] == [date(2025, 11, day) for day in (18, 19, 20)]


# --- bars, totals, and what they lack


@pytest.mark.parametrize("name", PERIODS)
def test_bars_and_totals_are_the_steps_inside_them_and_the_rest_is_named(record: Record, name: str) -> None:
    period = PERIODS[name]
    data = record.energy(record.home, period)
    used, sold = record.used[record.home], record.sold[record.home]
    begin, end = record.boundaries(record.home, period.start, period.end)
    edges = [record.boundaries(record.home, bar.started_at, bar.ended_at) for bar in data.bars]
    assert (edges[0][0], edges[-1][1]) == (begin, end)
    assert [(bar.used_kwh, bar.sold_kwh) for bar in data.bars] == [(used.kwh(*edge), sold.kwh(*edge)) for edge in edges]
    assert (data.used.kwh, data.sold.kwh) == (used.kwh(begin, end), sold.kwh(begin, end))
    assert data.used.covered == used.covered(begin, end) * HALF_HOUR
    ledger = record.ledgers[record.home]
    in_a_bar = {step for edge in edges for step in used.inside(*edge)}
    expected = {
        (ledger.at(earlier), ledger.at(later), used.kwh(earlier, later) if known else None)
        for earlier, later, known in used.steps
        if earlier < end and later > begin and (earlier, later) not in in_a_bar
    }
    assert {(lack.started_at, lack.ended_at, lack.kwh) for lack in data.lacks} == expected


def reasons(lacks: list[Lack]) -> set[str]:
    return {lack.reason for lack in lacks}


def test_each_lack_has_its_reason(record: Record) -> None:
    assert reasons(record.energy(record.home, PERIODS["an ordinary day"]).lacks) == set()
    assert reasons(record.energy(record.home, PERIODS["the day of the exchange"]).lacks) == {"exchange"}
    assert reasons(record.energy(record.home, PERIODS["the day of the fall"]).lacks) == {"impossible"}
    assert reasons(record.energy(record.home, PERIODS["March, without a midnight"]).lacks) == {"across"}
    before_the_record = record.energy(record.home, of(date(2023, 12, 31), date(2024, 1, 1)))
    assert [(lack.reason, lack.ended_at) for lack in before_the_record.lacks] == [
        ("unread", datetime(2023, 12, 31, 15, tzinfo=UTC))
    ]


def test_an_exchange_costs_a_year_half_an_hour_and_nothing_else(record: Record) -> None:
    """Users of other programs saw whole months vanish, or a year that fell by the old register.

    dsmrreader/dsmr-reader 507, 863, 994, 1632, 2052 and 2089.
    """
    data = record.energy(record.home, YEAR)
    (lost,) = [lack for lack in data.lacks if lack.reason == "exchange"]
    assert lost.ended_at - lost.started_at == HALF_HOUR
    whole = sum(record.ledgers[record.home].used(half_hour) for half_hour in range(366 * A_DAY, 731 * A_DAY))
    lost_counts = [
        record.ledgers[record.home].used(record.boundaries(record.home, lack.started_at, lack.ended_at)[0])
        for lack in data.lacks
        if lack.kwh is None
    ]
    assert data.used.kwh is not None
    assert len(lost_counts) == 2  # the exchange, and the fall of February
    assert data.used.kwh == Decimal(whole - sum(lost_counts)) / 10


def test_zeros_of_a_memory_from_before_its_meter_served_are_not_known(record: Record) -> None:
    data = record.energy(record.shed, of(date(2025, 11, 19), date(2025, 11, 19)))
    assert (data.used.kwh, [bar.used_kwh for bar in data.bars]) == (None, [None] * 48)
    assert [(lack.reason, lack.kwh) for lack in data.lacks] == [("exchange", None)]
    assert data.has_registers
    around = record.energy(record.shed, of(date(2025, 11, 18), date(2025, 11, 20)))
    begin, end = record.boundaries(record.shed, around.used.started_at, around.used.ended_at)
    assert around.used.kwh == record.used[record.shed].kwh(begin, end)
    assert around.sold.kwh is None
    assert around.sold_lacks == []


# --- comparison and cost


def test_a_year_is_compared_with_the_year_before_step_by_step(record: Record) -> None:
    used = record.used[record.home]
    begin, end = record.boundaries(record.home, YEAR.start, YEAR.end)
    inside = used.inside(begin, end)
    # 2024 was longer by a day: its begin is 366 days before, its end 365.
    before = used.kwh(inside[0][0] - 366 * A_DAY, inside[-1][1] - 365 * A_DAY)
    difference = record.energy(record.home, YEAR).difference
    assert difference is not None
    assert (difference.usual_kwh, difference.compared_with, difference.days) == (before, "year_before", 365)
    assert difference.kwh == (used.kwh(begin, end) or 0) - (before or 0)


@pytest.mark.parametrize("name", ["an ordinary day", "the day of the exchange", "gaps inside a day"])
def test_a_day_is_compared_with_the_median_of_days_that_lack_at_most_an_hour(record: Record, name: str) -> None:
    used = record.used[record.home]
    begin, end = record.boundaries(record.home, PERIODS[name].start, PERIODS[name].end)
    days = [(begin - day * A_DAY, end - day * A_DAY) for day in range(1, 29)]
    known = [used.kwh(*day) for day in days if used.covered(*day) >= 46]
    difference = record.energy(record.home, PERIODS[name]).difference
    assert difference is not None
    assert (difference.usual_kwh, difference.days) == (median(kwh for kwh in known if kwh is not None), len(known))
    assert difference.kwh == (used.kwh(begin, end) or 0) - difference.usual_kwh


TIERED = Tariff(
    base_yen=Decimal(0),
    tiers=(Tier(Decimal(120), Decimal(30)), Tier(Decimal(300), Decimal(36)), Tier(None, Decimal(40))),
    time_of_use=(),
    export_yen_per_kwh=Decimal(8),
    fuel_adjustment_yen_per_kwh=Decimal(-2),
    renewable_levy_yen_per_kwh=Decimal(4),
    billing_day=1,
)
BY_THE_CLOCK = Tariff(
    Decimal(0), (), (*[Decimal(20)] * 14, *[Decimal(35)] * 34), Decimal(8), Decimal(0), Decimal(0), 1
)  # cheap until 7:00


def tiered(kwh: Decimal) -> Decimal:
    return (
        30 * min(kwh, Decimal(120))
        + 36 * min(max(kwh - 120, Decimal(0)), Decimal(180))
        + 40 * max(kwh - 300, Decimal(0))
    )


@pytest.mark.parametrize(
    "name", ["an ordinary day", "the month of the exchange", "March, without a midnight", "a year"]
)
def test_tiers_price_each_kwh_by_its_place_in_the_month(record: Record, name: str) -> None:
    period, ledger = PERIODS[name], record.ledgers[record.home]
    begin, end = record.boundaries(record.home, period.start, period.end)
    used, sold = record.used[record.home], record.sold[record.home]
    month_begin = ledger.boundary(period.first_date.replace(day=1))
    first = used.inside(begin, end)[0][0]
    months: dict[tuple[int, int], list[Decimal]] = {}  # what was used in each, and how much of it before the period
    for half_hour, kwh in used.even(month_begin - A_DAY, end).items():
        day = ledger.first + timedelta(days=half_hour // A_DAY)
        if half_hour >= month_begin:
            month = months.setdefault((day.year, day.month), [Decimal(0), Decimal(0)])
            month[0] += kwh
            month[1] += kwh if half_hour < first else 0
    yen = sum((tiered(in_all) - tiered(before) for in_all, before in months.values()), Decimal(0))
    cost = record.energy(record.home, period, tariff=TIERED).cost
    assert isinstance(cost, Cost)
    assert round(cost.bought_yen - 2 * (used.kwh(begin, end) or 0), 6) == round(yen, 6)
    assert cost.sold_yen == 8 * (sold.kwh(begin, end) or 0)
    assert cost.yen == cost.bought_yen - cost.sold_yen


@pytest.mark.parametrize(
    "name", ["gaps inside a day", "February, with the fall", "March, without a midnight", "a year"]
)
def test_the_clock_prices_each_kwh_by_its_half_hour(record: Record, name: str) -> None:
    period = PERIODS[name]
    begin, end = record.boundaries(record.home, period.start, period.end)
    by_half_hour = record.used[record.home].even(begin, end)
    yen = sum((kwh * (20 if half_hour % A_DAY < 14 else 35) for half_hour, kwh in by_half_hour.items()), Decimal(0))
    cost = record.energy(record.home, period, tariff=BY_THE_CLOCK).cost
    assert isinstance(cost, Cost)
    assert round(cost.bought_yen, 6) == round(yen, 6)


# --- what is said


def said(record: Record, site: int, period: Period, path: Path, tariff: Tariff | None = None) -> str:
    """Draw the picture as a PDF and read its texts."""
    data = power_load.load(record.connection, site, period, now=LATER, tariff=tariff)
    with style.applied("en"):
        command.save(power_draw.draw(data, language="en"), path)
    return "\n".join(page.extract_text() for page in pypdf.PdfReader(path).pages)


def test_the_year_says_its_kwh_its_difference_and_what_it_lacks(record: Record, tmp_path: Path) -> None:
    text = said(record, record.home, YEAR, tmp_path / "year.pdf")
    used, sold = record.used[record.home], record.sold[record.home]
    begin, end = record.boundaries(record.home, YEAR.start, YEAR.end)
    assert f"{used.kwh(begin, end):,} kWh" in text
    assert f"{sold.kwh(begin, end):,} kWh" in text
    assert "meter exchanged 10 Dec 10:17, energy not known (10 Dec 10:00–10:30)" in text
    assert "registers contradict each other, energy not known (14 Feb 3:00–3:30)" in text
    days = Decimal(used.covered(begin, end)) / A_DAY
    assert f"{(used.kwh(begin, end) or 0) / days:.1f} kWh" in text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["March, without a midnight", "a night without registers", "a year"])
def test_many_notes_stay_on_the_sheet(record: Record, name: str, language: Language) -> None:
    data = power_load.load(record.connection, record.home, PERIODS[name], now=LATER, tariff=TIERED)
    with style.applied(language):
        figure = power_draw.draw(data, language=language)
    (footnote,) = texts(figure, "footnote")
    assert [pair for pair in overlaps(figure, language) if footnote in pair] == []


def test_a_night_without_registers_is_said_with_its_kwh(record: Record, tmp_path: Path) -> None:
    text = said(record, record.home, PERIODS["three days over two such nights"], tmp_path / "days.pdf")
    ledger, used = record.ledgers[record.home], record.used[record.home]
    lost = used.kwh(ledger.boundary(LONG_GAP, 43), ledger.boundary(LONG_GAP, 2 * A_DAY + 6))
    assert f"{lost} kWh across bars (10 Aug 21:30–12 Aug 3:00)" in text


def test_what_was_used_is_not_known_where_only_zeros_are_held(record: Record, tmp_path: Path) -> None:
    with record.connection.cursor() as cursor:
        cursor.execute(
            "insert into power (site_id, measured_at, power_w) values (%s, '2025-11-19 12:00+09', 300)", (record.shed,)
        )
    text = said(record, record.shed, of(date(2025, 11, 19), date(2025, 11, 19)), tmp_path / "day.pdf")
    assert "not known" in text
    assert "meter exchanged" in text
    assert "0.0 kWh" not in text


def test_bought_sold_and_their_difference_are_distinguished(record: Record, tmp_path: Path) -> None:
    period = PERIODS["an ordinary day"]
    text = said(record, record.home, period, tmp_path / "day.pdf", BY_THE_CLOCK)
    cost = record.energy(record.home, period, tariff=BY_THE_CLOCK).cost
    assert isinstance(cost, Cost)
    assert cost.sold_yen is not None
    assert f"bought ¥{cost.bought_yen:,.0f}, sold ¥{cost.sold_yen:,.0f}" in text
    assert "Cost less sold" in text


@pytest.mark.slow
def test_ten_years_are_right_to_the_step(database_url: str) -> None:
    ledger = Ledger(date(2016, 1, 1), 3653, meters=())
    ledger.meters = (
        Meter(500, "000016", "A1", import_counts=999_001, export_counts=999_987),
        Meter(ledger.boundary(date(2021, 7, 3), 31) * 30 + 11, "000016", "B2", import_counts=15),
        Meter(ledger.boundary(date(2021, 9, 3), 3) * 30 + 2, "000016", "B2", is_exchange=False),
        Meter(ledger.boundary(EXCHANGE, 20) * 30 + 17, "00001B", "B2", import_counts=123, export_counts=4),
    )
    ledger.falls = {ledger.boundary(day, 6): 500 for day in (FALL, date(2019, 5, 6))}
    ledger.missing = {
        *range(ledger.boundary(LONG_GAP, 44), ledger.boundary(LONG_GAP, 9 * A_DAY + 6)),
        *range(331, 175_000, 997),
        *(ledger.boundary(date(2018, 2, day)) for day in range(1, 29)),
    }
    with closing(connect(database_url)) as connection:
        site, used = ledger.write(connection, "home"), Truth(ledger)
        with connection.cursor() as cursor:
            cursor.execute("select used_kwh from energy_half_hour where site_id = %s order by started_at", (site,))
            known = {begin: used.kwh(begin, end) for begin, end in used.inside(0, 3653 * A_DAY) if end - begin == 1}
            assert [kwh for (kwh,) in cursor.fetchall()] == [known.get(n) for n in range(3653 * A_DAY)]
            cursor.execute("select used_kwh from energy_day where site_id = %s order by day", (site,))
            days = [used.whole_kwh(day * A_DAY, (day + 1) * A_DAY) for day in range(3653)]
            assert [kwh for (kwh,) in cursor.fetchall()] == days
        for first, last in ((date(2016, 1, 1), date(2025, 12, 31)), (date(2021, 1, 1), date(2021, 12, 31))):
            period = of(first, last)
            data = energy_load.load(connection, site, period, now=LATER, tariff=None)
            assert data is not None
            edges = [
                ((bar.started_at - ledger.at(0)) // HALF_HOUR, (bar.ended_at - ledger.at(0)) // HALF_HOUR)
                for bar in data.bars
            ]
            assert len(edges) == 12 * (last.year - first.year + 1)
            assert [bar.used_kwh for bar in data.bars] == [used.kwh(*edge) for edge in edges]
            begin, end = edges[0][0], edges[-1][1]
            assert data.used.kwh == used.kwh(begin, end)
            by_half_hour = used.even(begin, end)
            yen = sum((kwh * (20 if at % A_DAY < 14 else 35) for at, kwh in by_half_hour.items()), Decimal(0))
            assert round(cost_of(connection, site, period, BY_THE_CLOCK).bought_yen, 6) == round(yen, 6)
            months: dict[tuple[int, int], Decimal] = {}
            for at, kwh in by_half_hour.items():
                day = ledger.first + timedelta(days=at // A_DAY)
                months[day.year, day.month] = months.get((day.year, day.month), Decimal(0)) + kwh
            yen = sum((tiered(kwh) for kwh in months.values()), Decimal(0)) + 2 * (used.kwh(begin, end) or 0)
            assert round(cost_of(connection, site, period, TIERED).bought_yen, 6) == round(yen, 6)
        power = power_load.load(connection, site, of(date(2016, 1, 1), date(2025, 12, 31)), now=LATER, tariff=None)
        with style.applied("en"):
            figure = power_draw.draw(power, language="en")
        years = [(date(year, 1, 1), date(year + 1, 1, 1)) for year in range(2016, 2026)]
        assert texts(figure, "year label") == [
            f"{used.kwh(*((day - ledger.first).days * A_DAY for day in year)):,.1f}" for year in years
        ]
        assert data is not None  # it is 2021's, and 2020 was longer by a day
        assert data.difference is not None
        inside = used.inside(begin, end)
        before = used.kwh(inside[0][0] - 366 * A_DAY, inside[-1][1] - 365 * A_DAY)
        assert data.difference.usual_kwh == before
        assert data.difference.kwh == (used.kwh(begin, end) or 0) - (before or 0)


def cost_of(connection: Any, site: int, period: Period, tariff: Tariff) -> Cost:
    data = energy_load.load(connection, site, period, now=LATER, tariff=tariff)
    assert data is not None
    assert isinstance(data.cost, Cost)
    return data.cost
