"""The picture of the electricity: its numbers are the meter's, its gaps are gaps, and its errors are one line."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from matplotlib.figure import Figure

from charts import command, power_draw, power_load, style, text
from charts.cost import UnknownCost
from charts.coverage import Gap, days_since_epoch, of_energy
from charts.panel import ticks
from charts.period import Period, day_of
from charts.text import WORDS, Language
from settings import Tariff, Tier
from tests.lab.pictures import named, overlaps, texts
from tests.lab.recorded import Household, midnight, power_w, rolled_back

pytestmark = pytest.mark.system

TOKYO = ZoneInfo("Asia/Tokyo")
DAY = date(2025, 11, 22)
START, END = midnight(DAY), midnight(DAY + timedelta(days=1))
LATER = datetime(2025, 12, 1, tzinfo=UTC)


@pytest.fixture
def record(module_database_url: str) -> Iterator[Any]:
    """Open the empty record; what a test writes is rolled back."""
    with rolled_back(module_database_url) as connection:
        yield connection


def load(record: Any, site: int, period: Period, *, now: datetime = LATER, **options: Any) -> Any:
    return power_load.load(record, site, period, now=now, **{"tariff": None, **options})


def drawn(data: power_load.PowerData, language: Language = "en", **options: Any) -> Figure:
    with style.applied(language):
        return power_draw.draw(data, language=language, **options)


# ---- numbers


def test_the_kwh_of_the_day_is_the_difference_of_its_registers_to_the_last_digit(record: Any) -> None:
    site = Household(DAY, 1, solar=True).write(record)
    with record.cursor() as cursor:
        cursor.execute(
            "select max(import_kwh) - min(import_kwh), max(export_kwh) - min(export_kwh) from energy"
            " where site_id = %s",
            (site,),
        )
        used, sold = cursor.fetchone()
    figure = drawn(load(record, site, day_of(DAY, TOKYO)))
    assert texts(figure, "value")[:2] == [f"{used} kWh", f"{sold} kWh"]


@pytest.mark.parametrize(("registers", "shown"), [(("99.9", "105.2"), "5.3 kWh"), (("7", "9"), "2 kWh")])
def test_kwh_have_the_digits_of_the_meter(record: Any, registers: tuple[str, str], shown: str) -> None:
    site = registers_only(record, {START: registers[0], END: registers[1]})
    figure = drawn(load(record, site, day_of(DAY, TOKYO)))
    assert texts(figure, "value")[0] == shown


def registers_only(record: Any, registers: dict[datetime, str]) -> int:
    with record.cursor() as cursor:
        cursor.execute("insert into site (name) values ('home') returning site_id")
        site = int(cursor.fetchone()[0])
        for registered_at, kwh in registers.items():
            cursor.execute(
                "insert into energy (site_id, registered_at, import_kwh, source) values (%s, %s, %s, 'read')",
                (site, registered_at, kwh),
            )
    return site


def test_bars_add_up_to_the_headline(record: Any) -> None:
    site = Household(DAY - timedelta(days=40), 41, solar=True).write(record)
    for days in (1, 3, 7, 41):
        data = load(record, site, day_of(DAY - timedelta(days=days - 1), TOKYO, days))
        assert sum(bar.used_kwh for bar in data.energy.bars) == data.energy.used.kwh
        assert sum(bar.sold_kwh for bar in data.energy.bars) == data.energy.sold.kwh


def test_bars_are_as_high_as_the_registers_rise(record: Any) -> None:
    site = registers_only(
        record, {START: "100.0", START + timedelta(minutes=30): "100.4", START + timedelta(hours=1): "101.5"}
    )
    bars = named(drawn(load(record, site, day_of(DAY, TOKYO))), "used")
    assert [bar.get_height() for bar in bars] == pytest.approx([0.4, 1.1])


def test_an_exchanged_meter_leaves_what_is_known(record: Any) -> None:
    half = timedelta(minutes=30)
    site = registers_only(
        record, {START: "5000", START + half: "5001", START + 2 * half: "0.5", START + 3 * half: "2.5"}
    )
    with record.cursor() as cursor:
        for since in (START - timedelta(days=900), START + 2 * half):
            cursor.execute("insert into meter (site_id, since, unit_kwh) values (%s, %s, 0.1)", (site, since))
    data = load(record, site, day_of(DAY, TOKYO))
    assert [bar.used_kwh for bar in data.energy.bars[:4]] == [Decimal(1), None, Decimal("2.0"), None]
    assert data.energy.used.kwh == Decimal("3.0")


def test_the_peak_is_the_highest_reading_with_its_minute(record: Any) -> None:
    site = Household(DAY, 1).write(record)
    watts = power_w(DAY)
    data = load(record, site, day_of(DAY, TOKYO))
    assert data.peak == (START + timedelta(minutes=int(watts.argmax())), watts.max())


def test_the_base_load_is_the_lowest_half_hour_mean_of_the_day(record: Any) -> None:
    site = Household(DAY, 1).write(record)
    halves = power_w(DAY).reshape(48, 30).mean(axis=1)
    data = load(record, site, day_of(DAY, TOKYO))
    assert data.base_load_w == pytest.approx(halves.min())


def test_a_single_reading_in_the_night_is_no_base_load(record: Any) -> None:
    assert load(record, one_reading(record), day_of(DAY, TOKYO)).base_load_w is None


def one_reading(record: Any, watts: int = 240) -> int:
    with record.cursor() as cursor:
        cursor.execute("insert into site (name) values ('home') returning site_id")
        site = int(cursor.fetchone()[0])
        cursor.execute(
            "insert into power (site_id, measured_at, power_w) values (%s, %s, %s)",
            (site, START + timedelta(hours=3), watts),
        )
    return site


def test_the_day_is_compared_with_the_median_of_28_days(record: Any) -> None:
    # 28 days of 1 to 28 kWh: the median is 14.5. Today: 20.
    registers, kwh = {}, Decimal(1000)
    for number in range(29):
        registers[START - timedelta(days=28 - number)] = str(kwh)
        kwh += number + 1
    registers[END] = str(kwh - 29 + 20)
    data = load(record, registers_only(record, registers), day_of(DAY, TOKYO))
    assert (data.energy.difference.kwh, data.energy.difference.compared_with, data.energy.difference.days) == (
        Decimal("5.5"),
        "usual",
        28,
    )
    figure = drawn(data)
    assert texts(figure, "value")[1] == "+38 %"  # 5.5 / 14.5
    assert "+5.5 from 14.5 kWh" in texts(figure, "note")


def test_with_little_history_it_is_compared_with_the_day_before(record: Any) -> None:
    site = registers_only(record, {START - timedelta(days=1): "1", START: "5", END: "8"})
    difference = load(record, site, day_of(DAY, TOKYO)).energy.difference
    assert (difference.kwh, difference.compared_with) == (Decimal(-1), "yesterday")


def test_a_day_after_one_without_any_use_has_no_percent(record: Any) -> None:
    site = registers_only(record, {START - timedelta(days=1): "100.0", START: "100.0", END: "103.4"})
    figure = drawn(load(record, site, day_of(DAY, TOKYO)))
    assert texts(figure, "value") == ["3.4 kWh", "+3.4 kWh"]
    assert texts(figure, "caption") == ["Used", "vs. the day before"]


def test_without_history_it_is_compared_with_nothing(record: Any) -> None:
    site = registers_only(record, {START: "5", END: "8"})
    data = load(record, site, day_of(DAY, TOKYO))
    assert (data.energy.difference, data.usual) == (None, None)


def test_a_running_day_is_compared_up_to_the_same_time(record: Any) -> None:
    noon = timedelta(hours=12)
    yesterday = START - timedelta(days=1)
    site = registers_only(record, {yesterday: "1", yesterday + noon: "3", START: "9", START + noon: "12"})
    data = load(record, site, day_of(DAY, TOKYO), now=START + noon + timedelta(minutes=7))
    assert data.energy.difference.kwh == Decimal(1)  # 3 kWh by noon, 2 kWh by yesterday's noon


def test_a_week_is_compared_with_the_week_before(record: Any) -> None:
    week = timedelta(days=7)
    site = registers_only(record, {END - 2 * week: "100", END - week: "150", END: "230"})
    data = load(record, site, day_of(DAY - timedelta(days=6), TOKYO, 7))
    assert (data.energy.difference.kwh, data.energy.difference.compared_with, data.energy.difference.days) == (
        Decimal(30),
        "before",
        7,
    )
    assert "vs. the 7 days before" in texts(drawn(data), "caption")


TIERED = Tariff(
    base_yen=Decimal(300),
    tiers=(Tier(Decimal(10), Decimal(20)), Tier(None, Decimal(30))),
    time_of_use=(),
    export_yen_per_kwh=Decimal(8),
    fuel_adjustment_yen_per_kwh=Decimal(-2),
    renewable_levy_yen_per_kwh=Decimal(4),
    billing_day=1,
)


def test_a_day_costs_what_its_place_in_the_month_makes_it_cost(record: Any) -> None:
    site = registers_only(record, {midnight(date(2025, 11, 1)): "100", START: "108", END: "113"})
    data = load(record, site, day_of(DAY, TOKYO), tariff=TIERED)
    # 2 kWh x 20 + 3 kWh x 30, 5 kWh x (4 - 2), and a thirtieth of 300.
    assert data.energy.cost.yen == Decimal(40 + 90 + 10 + 10)


def test_a_place_in_the_month_that_is_not_known_makes_no_cost(record: Any) -> None:
    site = registers_only(record, {START: "8", END: "13"})
    assert load(record, site, day_of(DAY, TOKYO), tariff=TIERED).energy.cost == UnknownCost(midnight(date(2025, 11, 1)))


def test_what_is_not_known_to_be_used_makes_no_cost(record: Any) -> None:
    data = load(record, one_reading(record), day_of(DAY, TOKYO), tariff=TIERED)
    assert (data.energy.cost, data.energy.billing_month) == (None, None)
    assert "Cost" not in texts(drawn(data), "caption")


def test_the_time_of_use_decides_the_price(record: Any) -> None:
    half = timedelta(minutes=30)
    site = registers_only(record, {START: "100", START + half: "101", START + 2 * half: "103"})
    prices = (Decimal(10), *[Decimal(100)] * 47)
    tariff = Tariff(Decimal(0), (), prices, None, Decimal(0), Decimal(0), 1)
    data = load(record, site, day_of(DAY, TOKYO), tariff=tariff)
    assert data.energy.cost.yen == Decimal(10 + 200)
    assert "¥210" in texts(drawn(data), "value")


# ---- structure


def test_panels_say_what_they_show_and_in_which_unit(record: Any) -> None:
    site = Household(DAY, 1).write(record)
    data = load(record, site, day_of(DAY, TOKYO))
    labels = {language: [axes.get_ylabel() for axes in drawn(data, language).axes] for language in text.LANGUAGES}
    assert labels == {language: [words.power_panel, words.energy_half_hour] for language, words in WORDS.items()}
    assert all("[" in label for panel in labels.values() for label in panel)


def test_the_picture_is_1200_pixels_wide(record: Any) -> None:
    figure = drawn(load(record, one_reading(record), day_of(DAY, TOKYO)))
    assert figure.get_figwidth() * figure.dpi == 1200


def test_panels_share_their_time_and_their_edges(record: Any) -> None:
    site = Household(DAY, 1).write(record)
    figure = drawn(load(record, site, day_of(DAY, TOKYO), with_current=True))
    assert len(figure.axes) == 3
    assert {axes.get_xlim() for axes in figure.axes} == {(float(days_since_epoch(START)), float(days_since_epoch(END)))}
    assert len({(axes.get_position().x0, axes.get_position().x1) for axes in figure.axes}) == 1


def test_the_line_is_the_readings(record: Any) -> None:
    site = Household(DAY, 1).write(record)
    (line,) = named(drawn(load(record, site, day_of(DAY, TOKYO))), "power")
    assert line.get_ydata().tolist() == power_w(DAY).tolist()
    assert line.get_xdata()[0] == pytest.approx(START.timestamp() / 86_400)


def test_what_is_sold_lies_below_zero_in_its_own_colour(record: Any) -> None:
    site = Household(DAY, 1, solar=True).write(record)
    figure = drawn(load(record, site, day_of(DAY, TOKYO)))
    assert {line.get_color() for line in named(figure, "power")} == {style.BOUGHT, style.SOLD}
    assert figure.axes[0].get_ylim()[0] < power_w(DAY, solar=True).min() < 0
    heights = [bar.get_height() for bar in named(figure, "sold")]
    assert min(heights) < 0
    assert max(heights) <= 0


def test_a_household_without_sun_has_no_second_colour(record: Any) -> None:
    site = Household(DAY, 1).write(record)
    figure = drawn(load(record, site, day_of(DAY, TOKYO)))
    assert {line.get_color() for line in named(figure, "power")} == {style.BOUGHT}
    assert named(figure, "sold") == []
    assert figure.axes[0].get_ylim()[0] == 0  # a scale that does not begin at zero would exaggerate


def test_a_gap_is_hatched_with_its_length_and_no_line_crosses_it(record: Any) -> None:
    gap = (START + timedelta(hours=9), START + timedelta(hours=15))
    site = Household(DAY, 1, gaps=(gap,), history_fills_gaps=False).write(record)
    data = load(record, site, day_of(DAY, TOKYO))
    assert data.power_gaps == [Gap(*gap)]
    # The register of 9:00 is lost too: no bar from 8:30 on.
    assert of_energy(data.energy.lacks, START, data.until) == [Gap(gap[0] - timedelta(minutes=30), gap[1])]
    figure = drawn(data)
    assert texts(figure, "gap label") == ["no data 6 h", "no data 6 h 30 min"]
    assert [patch.get_hatch() for patch in named(figure, "gap")] == ["////"] * 2
    (line,) = named(figure, "power")
    inside = [(START.timestamp() + hours * 3600) / 86_400 for hours in (9, 15)]
    crossing = [y for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True) if inside[0] <= x < inside[1]]
    assert len(crossing) == 1
    assert np.isnan(crossing[0])


def test_energy_that_the_history_filled_has_no_gap(record: Any) -> None:
    gap = (START + timedelta(hours=9), START + timedelta(hours=15))
    site = Household(DAY, 1, gaps=(gap,)).write(record)
    data = load(record, site, day_of(DAY, TOKYO))
    assert (len(data.power_gaps), of_energy(data.energy.lacks, START, data.until)) == (1, [])


def test_readings_with_null_are_a_gap(record: Any) -> None:
    site = Household(DAY, 1).write(record)
    with record.cursor() as cursor:
        cursor.execute(
            "update power set power_w = null where measured_at >= %s and measured_at < %s",
            (START + timedelta(hours=2), START + timedelta(hours=3)),
        )
    data = load(record, site, day_of(DAY, TOKYO))
    assert data.power_gaps == [Gap(START + timedelta(hours=2), START + timedelta(hours=3))]


def test_several_gaps_are_counted_below_the_picture(record: Any) -> None:
    gaps = tuple((START + timedelta(hours=hour), START + timedelta(hours=hour, minutes=5)) for hour in (3, 6, 9))
    site = Household(DAY, 1, gaps=gaps).write(record)
    data = load(record, site, day_of(DAY, TOKYO))
    assert texts(drawn(data), "footnote") == ["Power: no data for 15 min in all (3 places)"]
    assert texts(drawn(data, "ja"), "footnote") == ["電力の記録なし 計 15分（3か所）"]


def test_a_running_day_ends_at_now(record: Any) -> None:
    now = START + timedelta(hours=14, minutes=32)
    site = Household(DAY, 1, until=now).write(record)
    data = load(record, site, day_of(DAY, TOKYO), now=now + timedelta(seconds=20))
    figure = drawn(data)
    assert data.power_gaps == of_energy(data.energy.lacks, START, data.until) == []
    assert [line.get_xdata()[0] for line in named(figure, "now")] == pytest.approx(
        [(now.timestamp() + 20) / 86_400] * 2
    )
    assert texts(figure, "title") == ["Electricity, Saturday 22 November 2025 (at 14:32)"]
    assert "until 14:30" in texts(figure, "note")


def test_a_single_reading_is_a_dot(record: Any) -> None:
    figure = drawn(load(record, one_reading(record), day_of(DAY, TOKYO)))
    (dot,) = named(figure, "alone")
    assert (list(dot.get_ydata()), dot.get_marker()) == ([240], "o")


def test_the_current_has_its_limit_and_both_phases(record: Any) -> None:
    site = Household(DAY, 1).write(record)
    figure = drawn(load(record, site, day_of(DAY, TOKYO), with_current=True), contract_a=Decimal(40))
    assert [line.get_ydata()[0] for line in named(figure, "contract")] == [40]
    assert (len(named(figure, "current_r_a")), len(named(figure, "current_t_a"))) == (1, 1)
    assert "contract 40 A" in texts(figure)
    assert len(drawn(load(record, site, day_of(DAY, TOKYO))).axes) == 2


@pytest.mark.parametrize("days", [1, 2, 3, 7, 31, 60, 366])
def test_a_usual_course_belongs_to_a_day_only(record: Any, days: int) -> None:
    site = Household(DAY - timedelta(days=9), 10).write(record)
    data = load(record, site, day_of(DAY - timedelta(days=days - 1), TOKYO, days))
    assert (data.usual is not None) == (days == 1)
    assert drawn(data).axes


def test_a_year_shows_when_in_the_day_power_is_used(record: Any) -> None:
    first = DAY - timedelta(days=59)
    gap = (START + timedelta(hours=9), START + timedelta(hours=15))
    site = Household(first, 60, solar=True, gaps=(gap,), history_fills_gaps=False).write(record)
    data = load(record, site, day_of(first, TOKYO, 60))
    cells = data.time_of_day.mean_w
    assert cells.shape == (48, 60)
    means = [power_w(first + timedelta(days=number), solar=True).reshape(48, 30).mean(axis=1) for number in range(60)]
    means[-1][18:30] = np.nan  # 9:00 to 15:00 of the last day
    # The registers count in steps of 0.01 kWh, which is 20 W over half an hour, both ways.
    np.testing.assert_allclose(cells, np.array(means).T, atol=40.0)
    assert data.power_gaps == [Gap(*gap)]
    figure = drawn(data)
    assert "Power: no data 6 h (22 Nov 9:00–15:00)" in texts(figure, "footnote")[0]
    (mesh,) = named(figure, "time of day")
    assert mesh.get_array().mask.sum() == 12
    assert figure.axes[0].get_ylabel() == WORDS["en"].time_of_day_panel


def test_half_hours_before_the_period_are_not_hatched(record: Any) -> None:
    begin = midnight(DAY - timedelta(days=52)) + timedelta(hours=12)
    figure = drawn(load(record, one_reading(record), Period(begin, END, TOKYO)))
    (white,) = named(figure, "not due")
    assert np.argwhere(~white.get_array().mask).tolist() == [[row, 0] for row in range(24)]  # 0:00 to 12:00


def test_one_column_of_many_days_lacks_what_none_of_them_has(record: Any) -> None:
    """Over a hundred years a column is 34 days; 33 of the first have passed at 4:00."""
    begin = midnight(DAY - timedelta(days=33))
    period = Period(begin, begin + timedelta(days=36_500), TOKYO)
    data = load(record, one_reading(record), period, now=START + timedelta(hours=4))
    assert np.argwhere(~np.isnan(data.time_of_day.mean_w)).tolist() == [[6, 0]]  # 3:00 to 3:30
    assert named(drawn(data), "not due") == []


def test_two_months_of_which_no_half_hour_is_known_are_missing(record: Any) -> None:
    begin = DAY - timedelta(days=59)
    site = registers_only(record, {midnight(begin): "100", END: "700"})
    data = load(record, site, day_of(begin, TOKYO, 60))
    assert data.power_gaps == [Gap(midnight(begin), END)]
    figure = drawn(data)
    assert texts(figure, "gap label")[0] == "no data 60 d"
    assert texts(figure, "value")[0] == "600 kWh"


def test_columns_follow_the_clock_where_it_changes(record: Any) -> None:
    # New York, 2025: clocks go back on 2 November; 12:00 is 16:00 UTC before and 17:00 UTC after.
    noons = [datetime(2025, 10, 20, 16, tzinfo=UTC), datetime(2025, 11, 20, 17, tzinfo=UTC)]
    with record.cursor() as cursor:
        cursor.execute("insert into site (name) values ('home') returning site_id")
        site = int(cursor.fetchone()[0])
        for noon in noons:
            cursor.execute("insert into power (site_id, measured_at, power_w) values (%s, %s, 700)", (site, noon))
    data = load(record, site, day_of(date(2025, 10, 1), ZoneInfo("America/New_York"), 61))
    assert np.argwhere(~np.isnan(data.time_of_day.mean_w)).tolist() == [[24, 19], [24, 50]]


LAYOUTS = [
    pytest.param(1, False, id="a day"),
    pytest.param(1, True, id="a sunny day"),
    pytest.param(7, True, id="a week"),
    pytest.param(31, True, id="a month"),
    pytest.param(100, False, id="100 days"),
    pytest.param(366, True, id="a year"),
    pytest.param(3653, False, id="ten years"),
]


@pytest.mark.parametrize(("days", "solar"), LAYOUTS)
def test_no_text_lies_on_another_or_leaves_the_sheet(record: Any, days: int, solar: bool) -> None:
    gap = (START + timedelta(hours=9), START + timedelta(hours=15))
    site = Household(DAY - timedelta(days=14), 15, solar=solar, gaps=(gap,)).write(record)
    period = day_of(DAY - timedelta(days=days - 1), TOKYO, days)
    data = load(record, site, period, now=END - timedelta(minutes=5), tariff=TIERED, with_current=True)
    for language in text.LANGUAGES:
        figure = drawn(data, language, contract_a=Decimal(40))
        assert overlaps(figure, language) == []


@pytest.mark.parametrize("language", text.LANGUAGES)
def test_every_glyph_is_there(record: Any, language: Language, tmp_path: Path) -> None:
    # matplotlib warns about a glyph that no font has, and a warning is an error here.
    site = Household(DAY - timedelta(days=8), 9, solar=True).write(record)
    with style.applied(language):
        figure = drawn(load(record, site, day_of(DAY, TOKYO), with_current=True), language)
        for suffix in ("png", "svg", "pdf"):
            command.save(figure, tmp_path / f"picture.{suffix}")
    heads = [(tmp_path / f"picture.{suffix}").read_bytes()[:5] for suffix in ("png", "svg", "pdf")]
    assert heads == [b"\x89PNG\r", b"<?xml", b"%PDF-"]


def test_nobody_elses_style_is_changed(record: Any) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    drawn(load(record, one_reading(record), day_of(DAY, TOKYO)), "ja")
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("start", "end", "japanese", "english"),
    [
        (9, 12, "2025年11月22日（土） 9:00～12:00", "Saturday 22 November 2025 9:00 to 12:00"),
        (9, 24, "2025年11月22日（土） 9:00～24:00", "Saturday 22 November 2025 9:00 to 24:00"),
        (
            9,
            30,
            "2025年11月22日（土） 9:00～2025年11月23日（日） 6:00",
            "Saturday 22 November 2025 9:00 to Sunday 23 November 2025 6:00",
        ),
    ],
)
def test_the_title_of_a_part_of_days_has_its_times(start: int, end: int, japanese: str, english: str) -> None:
    period = Period(START + timedelta(hours=start), START + timedelta(hours=end), TOKYO)
    titles = [text.title_of(period, "{when}", WORDS[language], now=None) for language in ("ja", "en")]
    assert titles == [japanese, english]


# ---- time below the panels


@pytest.mark.parametrize(
    ("period", "first", "last"),
    [
        (day_of(DAY, TOKYO), "0:00", "24:00"),
        (day_of(date(2025, 11, 16), TOKYO, 7), "Sun 16", "Sat 22"),
        (day_of(date(2025, 10, 1), TOKYO, 31), "1\nOct", "31"),
        (day_of(date(2025, 1, 1), TOKYO, 365), "Jan\n2025", "Dec"),
        (day_of(date(2016, 1, 1), TOKYO, 3653), "2016", "2025"),
    ],
)
def test_ticks_are_named_as_a_reader_counts(period: Period, first: str, last: str) -> None:
    labels = ticks(period, "en").labels
    assert (labels[0][1], labels[-1][1]) == (first, last)
    assert len(labels) <= 31


@pytest.mark.parametrize(("day", "hours"), [(date(2025, 3, 9), 23), (date(2025, 11, 2), 25)])
def test_ticks_follow_the_clock_where_it_changes(day: date, hours: int) -> None:
    new_york = ZoneInfo("America/New_York")
    marks = dict((label, moment) for moment, label in ticks(day_of(day, new_york), "en").labels)
    assert marks["24:00"] - marks["0:00"] == timedelta(hours=hours)
    assert marks["12:00"] == datetime.combine(day, time(12), tzinfo=new_york)


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.0, "0"), (0.00001, "0.1"), (0.004, "0.4"), (0.876, "88"), (0.998, "99.8"), (0.99999, "99.9"), (1.0, "100")],
)
def test_all_or_nothing_is_said_of_nothing_else(share: float, said: str) -> None:
    assert text.percent(share) == said


@pytest.mark.parametrize(
    ("span", "japanese", "english"),
    [
        (timedelta(minutes=25), "25分", "25 min"),
        (timedelta(hours=6), "6時間", "6 h"),
        (timedelta(hours=6, minutes=30), "6時間30分", "6 h 30 min"),
        (timedelta(days=3, hours=4, minutes=5), "3日4時間", "3 d 4 h"),
        (timedelta(days=1), "1日", "1 d"),
        (timedelta(hours=23, minutes=59, seconds=40), "1日", "1 d"),
        (timedelta(seconds=10), "1分", "1 min"),
    ],
)
def test_lengths_are_said_in_words(span: timedelta, japanese: str, english: str) -> None:
    assert (text.length_of(span, "ja"), text.length_of(span, "en")) == (japanese, english)


def test_the_language_comes_from_the_settings_or_the_locale() -> None:
    assert text.language_of("en", {"LANG": "ja_JP.UTF-8"}) == "en"
    assert text.language_of(None, {"LANG": "ja_JP.UTF-8"}) == "ja"
    assert text.language_of(None, {"LC_ALL": "C", "LANG": "ja_JP.UTF-8"}) == "en"
    assert text.language_of(None, {"LANGUAGE": "ja", "LANG": "en_US.UTF-8"}) == "ja"  # as -h has it
    assert text.language_of(None, {}) == "en"


def test_index_of_the_usual_course_lies_within_the_day(record: Any) -> None:
    site = Household(DAY - timedelta(days=28), 29).write(record)
    usual = load(record, site, day_of(DAY, TOKYO)).usual
    assert usual.days == 28
    assert len(usual.x) == 144  # ten minutes each
    assert START.timestamp() / 86_400 <= usual.x[0] < usual.x[-1] < END.timestamp() / 86_400
