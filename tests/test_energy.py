"""Energy as sums of steps: what a span holds, what is lacking and why, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from charts import energy_load, power_draw, power_load, style
from charts.cost import Cost, UnknownCost
from charts.coverage import Gap, of_energy
from charts.energy_load import EnergyData
from charts.period import Period, day_of
from charts.text import Language
from settings import Tariff, Tier
from storage import energy
from storage.energy import Lack, SpanEnergy
from storage.steps import Span
from tests.lab.pictures import texts
from tests.lab.recorded import Household, midnight, rolled_back

TOKYO, KATHMANDU = ZoneInfo("Asia/Tokyo"), ZoneInfo("Asia/Kathmandu")
DAY = date(2025, 11, 22)
START, END = midnight(DAY), midnight(DAY + timedelta(days=1))
LATER = datetime(2025, 12, 1, tzinfo=UTC)
HALF = timedelta(minutes=30)


@pytest.fixture
def record(module_database_url: str) -> Iterator[Any]:
    """Open the empty record; what a test writes is rolled back."""
    with rolled_back(module_database_url) as connection:
        yield connection


def site_with(record: Any, registers: dict[datetime, str | tuple[str | None, str | None]]) -> int:
    """Write the registers: the import, or import and export."""
    with record.cursor() as cursor:
        cursor.execute("insert into site (name) values ('home') returning site_id")
        site = int(cursor.fetchone()[0])
        for registered_at, kwh in registers.items():
            cursor.execute(
                "insert into energy (site_id, registered_at, import_kwh, export_kwh, source) "
                "values (%s, %s, %s, %s, 'read')",
                (site, registered_at, *((kwh, None) if isinstance(kwh, str) else kwh)),
            )
    return site


def steady(start: datetime, end: datetime, kwh: str = "0.5") -> dict[datetime, str | tuple[str | None, str | None]]:
    """Give a register each half hour that rises evenly."""
    return {start + n * HALF: str(1000 + n * Decimal(kwh)) for n in range((end - start) // HALF + 1)}


def load(record: Any, site: int, period: Period, **options: Any) -> EnergyData:
    found = energy_load.load(record, site, period, **{"now": LATER, "tariff": None, **options})
    assert found is not None
    return found


# --- steps and spans


def test_energy_is_the_rise_of_the_registers_to_the_last_digit(record: Any) -> None:
    hour = START + timedelta(hours=1)
    site = site_with(record, {START: ("12345.6", "0.3"), hour: ("12346.9", "0.3")})
    span = [(START, hour)]
    used = energy.read(record, site, "import_kwh", span)
    assert used == energy.Energy([SpanEnergy(START, hour, Decimal("1.3"), START, hour, 2 * HALF)], [])
    assert str(energy.read(record, site, "export_kwh", span).total.kwh) == "0.0"


def test_energy_agrees_with_the_view_of_half_hours(record: Any) -> None:
    site = Household(DAY, 1, solar=True).write(record)
    halves = [(START + number * HALF, START + (number + 1) * HALF) for number in range(48)]
    read = [energy.read(record, site, register, halves).spans for register in ("import_kwh", "export_kwh")]
    with record.cursor() as cursor:
        cursor.execute(
            "select used_kwh, sold_kwh from energy_half_hour where site_id = %s order by started_at", (site,)
        )
        assert [(used.kwh, sold.kwh) for used, sold in zip(*read, strict=True)] == cursor.fetchall()


def test_a_step_over_the_edge_is_in_no_span_but_in_the_total(record: Any) -> None:
    site = site_with(record, {START: "10", START + 3 * HALF: "13", START + 4 * HALF: "15"})
    found = energy.read(record, site, "import_kwh", [(START, START + 2 * HALF), (START + 2 * HALF, START + 4 * HALF)])
    assert [span.kwh for span in found.spans] == [None, Decimal(2)]
    assert found.lacks == [Lack(START, START + 3 * HALF, "across", Decimal(3))]
    assert found.total == SpanEnergy(START, START + 4 * HALF, Decimal(5), START, START + 4 * HALF, 4 * HALF)
    assert found.spread() == [Decimal(2), Decimal(3)]


def test_one_register_beyond_each_end_shows_what_lies_across_it(record: Any) -> None:
    site = site_with(record, {START - 5 * HALF: "10", START + HALF: "16", START + 2 * HALF: "17", END + HALF: "40"})
    found = energy.read(record, site, "import_kwh", [(START, START + 2 * HALF)])
    assert found.total.kwh == Decimal(1)
    assert found.lacks == [Lack(START - 5 * HALF, START + HALF, "across", Decimal(6))]


def test_time_before_the_first_and_after_the_last_register_is_unread(record: Any) -> None:
    site = site_with(record, {START + HALF: "10", START + 2 * HALF: "11"})
    found = energy.read(record, site, "import_kwh", [(START, END)])
    assert found.lacks == [
        Lack(START, START + HALF, "unread", None),
        Lack(START + 2 * HALF, END, "unread", None),
    ]
    assert found.spans[0].lacking == END - START - HALF
    nothing = energy.read(record, site, "export_kwh", [(START, END)])
    assert (nothing.total.kwh, nothing.lacks) == (None, [Lack(START, END, "unread", None)])


def test_what_lies_between_spans_is_nobodys(record: Any) -> None:
    site = site_with(record, steady(START, END))
    spans = [(START, START + 4 * HALF), (START + 10 * HALF, START + 12 * HALF)]
    found = energy.read(record, site, "import_kwh", spans)
    assert ([span.kwh for span in found.spans], found.lacks) == ([Decimal("2.0"), Decimal("1.0")], [])


@pytest.mark.parametrize("spans", [[], [(START, END), (START, END)], [(END, START)]])
def test_spans_must_follow_one_another(record: Any, spans: list[Span]) -> None:
    with pytest.raises(ValueError, match="follow one another"):
        energy.read(record, 1, "import_kwh", spans)


def test_each_half_hour_of_the_day_adds_up_and_a_longer_step_is_spread(record: Any) -> None:
    registers = steady(START, END)
    for number in (14, 15):
        del registers[START + number * HALF]  # 6:30 to 8:00 is one step
    registers[START + 16 * HALF] = "1008.3"  # of 1.8 kWh, and 8:00 to 8:30 of 0.2
    site = site_with(record, registers)
    kwh = energy.by_time_of_day(record, site, "import_kwh", (START, END), TOKYO)
    assert kwh[13:17] == [Decimal("0.6")] * 3 + [Decimal("0.2")]
    assert sum(kwh) == Decimal(24)


# --- what the picture says


def test_a_steady_kilowatt_is_24_kwh_a_day_also_over_an_exchange(record: Any) -> None:
    """A month without its exchange made every figure of the year too small (dsmrreader/dsmr-reader 994)."""
    first = midnight(date(2025, 10, 1))
    exchanged_at = START + timedelta(hours=10, minutes=17)
    registers = steady(first, END)
    for moment in registers:
        if moment > exchanged_at:
            registers[moment] = str(7 + (moment - START) // HALF * Decimal("0.5"))
    site = site_with(record, registers)
    with record.cursor() as cursor:
        for since, serial in ((first, "A1"), (exchanged_at, "B2")):
            cursor.execute(
                "insert into meter (site_id, since, manufacturer, serial_number, unit_kwh) "
                "values (%s, %s, '000016', %s, 0.1)",
                (site, since, serial),
            )
    period = day_of(date(2025, 10, 1), TOKYO, 53)
    data = load(record, site, period)
    assert data.used.kwh == 53 * 24 - Decimal("0.5")
    assert [bar.used_kwh for bar in data.bars[-2:]] == [Decimal(24), Decimal("23.5")]
    picture = power_load.load(record, site, period, now=LATER, tariff=None)
    with style.applied("en"):
        figure = power_draw.draw(picture, language="en")
    values = dict(zip(texts(figure, "caption"), texts(figure, "value"), strict=False))
    assert (values["Used"], values["Per day"]) == ("1,271.5 kWh", "24.0 kWh")
    assert "meter exchanged 22 Nov 10:17, energy not known (22 Nov 10:00–10:30)" in texts(figure, "footnote")[0]
    assert texts(figure, "exchange label") == ["meter exchanged 22 Nov 10:17"]


def test_a_day_that_begins_on_a_quarter_is_whole_by_the_nearest_registers(record: Any) -> None:
    """In Nepal (UTC+5:45) midnight lies between two registers."""
    period = day_of(DAY, KATHMANDU)
    site = site_with(
        record,
        steady(period.start - timedelta(hours=5, minutes=15), period.end + timedelta(hours=3, minutes=15), "0.16"),
    )
    data = load(record, site, period)
    assert (data.used.kwh, data.lacks) == (Decimal("7.68"), [])
    picture = power_load.load(record, site, period, now=LATER, tariff=None)
    with style.applied("en"):
        (note,) = texts(power_draw.draw(picture, language="en"), "footnote")
    assert "energy from 0:15 on (registers are at :00 and :30)" in note


def test_a_range_that_ends_between_two_registers_holds_nothing_from_after_its_end(record: Any) -> None:
    site = site_with(record, steady(START, END, "0.16"))
    period = Period(START + timedelta(hours=9, minutes=15), START + timedelta(hours=12, minutes=10), TOKYO)
    picture = power_load.load(record, site, period, now=LATER, tariff=None)
    assert picture.energy is not None
    assert (picture.energy.used.kwh, picture.energy.lacks) == (5 * Decimal("0.16"), [])  # 9:30 to 12:00
    with style.applied("en"):
        (note,) = texts(power_draw.draw(picture, language="en"), "footnote")
    assert "energy from 9:30 on (registers are at :00 and :30)" in note
    assert "energy until 12:00 (registers are at :00 and :30)" in note


def test_of_several_days_the_day_is_told_on_which_the_energy_begins_and_ends(record: Any) -> None:
    site = site_with(record, steady(START, END + timedelta(days=2), "0.16"))
    period = Period(START + timedelta(hours=23, minutes=40), END + timedelta(hours=24, minutes=10), TOKYO)
    picture = power_load.load(record, site, period, now=LATER, tariff=None)
    with style.applied("en"):
        (note,) = texts(power_draw.draw(picture, language="en"), "footnote")
    assert "energy from 23 Nov 0:00 on (registers are at :00 and :30)" in note
    assert "energy until 24 Nov 0:00 (registers are at :00 and :30)" in note


def test_what_was_sold_is_told_where_only_the_import_is_missing(record: Any) -> None:
    times = [START + n * HALF for n in range(49)]
    site = site_with(record, {moment: (None, str(500 + n)) for n, moment in enumerate(times)})
    picture = power_load.load(record, site, day_of(DAY, TOKYO), now=LATER, tariff=None)
    assert not picture.is_empty
    with style.applied("en"):
        figure = power_draw.draw(picture, language="en")
    assert (texts(figure, "caption"), texts(figure, "value")) == (["Sold"], ["48 kWh"])
    assert texts(figure, "footnote") == ["no data 1 d (22 Nov 0:00–23 Nov 0:00)"]
    power, below = figure.axes
    assert below.get_window_extent().height > 2 * power.get_window_extent().height  # which has nothing to show
    (hatched,) = [patch for patch in below.patches if patch.get_gid() == "gap"]
    assert hatched.get_window_extent().y0 == pytest.approx(below.transData.transform((0, 0))[1])


def test_what_is_missing_is_hatched_on_its_own_side_of_zero(record: Any) -> None:
    """Of 10:00 both registers are missing, of 14:00 the import: what was sold around it hid in the hatch."""
    registers: dict[datetime, str | tuple[str | None, str | None]] = {
        START + n * HALF: (str(1000 + n), str(500 + n)) for n in range(49)
    }
    registers[START + 20 * HALF] = (None, None)
    registers[START + 28 * HALF] = (None, "528")
    site = site_with(record, registers)
    picture = power_load.load(record, site, day_of(DAY, TOKYO), now=LATER, tariff=None)
    with style.applied("en"):
        axes = power_draw.draw(picture, language="en").axes[1]
    zero = axes.transData.transform((0, 0))[1]
    found = [patch.get_window_extent() for patch in axes.patches if patch.get_gid() == "gap"]
    hours = [9.5, 13.5, 9.5]
    lefts = [axes.transData.transform(((START + timedelta(hours=hour)).timestamp() / 86_400, 0))[0] for hour in hours]
    assert [box.x0 for box in found] == pytest.approx(lefts)
    sides = [(zero, axes.bbox.y1), (zero, axes.bbox.y1), (axes.bbox.y0, zero)]
    assert [(box.y0, box.y1) for box in found] == [pytest.approx(side) for side in sides]


def test_no_label_of_a_gap_lies_on_a_bar(record: Any) -> None:
    """On both days of the gap some of the hours were read."""
    gap = (START + timedelta(hours=8), END + timedelta(hours=20))
    site = Household(DAY - timedelta(days=2), 6, solar=True, gaps=(gap,), history_fills_gaps=False).write(record)
    period = day_of(DAY - timedelta(days=2), TOKYO, 6)
    picture = power_load.load(record, site, period, now=LATER, tariff=None)
    with style.applied("en"):
        figure = power_draw.draw(picture, language="en")
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
        bars = [bar.get_window_extent() for bar in figure.axes[1].patches if bar.get_gid() == "used"]
        labels = [text for text in figure.axes[1].texts if text.get_gid() == "gap label"]
        boxes = [text.get_window_extent(canvas.get_renderer()) for text in labels]
    assert (len(bars), len(labels)) == (6, 1)
    assert not any(box.overlaps(bar) for box in boxes for bar in bars)


def sunny(record: Any, *, export: str | None) -> int:
    """Write 40 days that use 500 W, but sell as much at noon, from 10:00 to 14:00; the export register stands still."""
    first = START - timedelta(days=39)
    registers, kwh = {}, Decimal(1000)
    for n in range(40 * 48 + 1):
        registers[first + n * HALF] = (str(kwh), export)
        kwh += 0 if 20 <= n % 48 < 28 else Decimal("0.25")
    site = site_with(record, dict(registers))
    with record.cursor() as cursor:
        cursor.execute(
            "insert into power (site_id, measured_at, power_w) "
            "select %s, at, case when extract(hour from at at time zone 'Asia/Tokyo') between 10 and 13 "
            "then -500 else 500 end from generate_series(%s, %s - interval '1 min', interval '1 min') as at",
            (site, first, END),
        )
    return site


@pytest.mark.parametrize(("export", "known"), [(None, False), ("0.0", True)])
@pytest.mark.parametrize("days", [1, 40])
def test_what_was_sold_is_unknown_without_an_export_register(
    record: Any, export: str | None, known: bool, days: int
) -> None:
    """The readings of power tell that something was sold; a register that stands still tells how much: too little."""
    site = sunny(record, export=export)
    period = day_of(DAY - timedelta(days=days - 1), TOKYO, days)
    picture = power_load.load(record, site, period, now=LATER, tariff=None)
    assert picture.energy is not None
    assert picture.energy.used.kwh == 10 * days
    assert [(lack.started_at, lack.ended_at) for lack in picture.energy.sold_lacks] == (
        [] if known else [(period.start, period.end)]
    )
    if picture.time_of_day is not None:  # a cell that nobody knows from registers is what was read
        noon = picture.time_of_day.mean_w[24]
        assert noon.tolist() == pytest.approx([0.0 if known else -500.0] * days)
    with style.applied("en"):
        figure = power_draw.draw(picture, language="en")
    assert ("sold: no data" in "".join(texts(figure, "footnote"))) is not known
    assert texts(figure, "gap label") == ([] if known else [f"sold: no data {days} d"])  # in the strip below zero


@pytest.mark.parametrize("sold_before", ["12", "9"])
def test_what_was_sold_is_hatched_below_zero_where_only_the_export_is_missing(record: Any, sold_before: str) -> None:
    """A new meter told no export: the afternoon looked as if nothing was sold."""
    registers: dict[datetime, str | tuple[str | None, str | None]] = {
        START + n * HALF: (str(1000 + n), str(500 + max(n - 20, 0)) if n <= int(sold_before) * 2 else None)
        for n in range(49)
    }
    registers[START - HALF] = ("999", "499")
    site = site_with(record, registers)
    picture = power_load.load(record, site, day_of(DAY, TOKYO), now=LATER, tariff=None)
    with style.applied("en"):
        figure = power_draw.draw(picture, language="en")
    energy_axes = figure.axes[1]
    (hatched,) = [patch for patch in energy_axes.patches if patch.get_gid() == "gap"]
    left, right = hatched.get_window_extent().x0, hatched.get_window_extent().x1
    hour = (START + timedelta(hours=int(sold_before))).timestamp() / 86_400
    zero = energy_axes.transData.transform((hour, 0))
    assert (left, right) == pytest.approx((zero[0], energy_axes.bbox.x1))
    assert hatched.get_window_extent().y1 == pytest.approx(zero[1])
    assert zero[1] - energy_axes.bbox.y0 > 20


def test_days_without_readings_show_the_half_hours_at_their_midnights(record: Any) -> None:
    """In Nepal midnight lies inside of a half hour: it was missing between any two days."""
    period = day_of(DAY, KATHMANDU, 3)
    site = site_with(record, steady(period.start - timedelta(minutes=15), period.end + timedelta(minutes=15), "0.16"))
    data = power_load.load(record, site, period, now=LATER, tariff=None)
    assert len(data.half_hours) == 3 * 48 - 1  # all but those that reach over the ends
    assert [gap.length for gap in data.power_gaps] == [timedelta(minutes=15)] * 2


def test_every_midnight_missing_leaves_every_bar_its_23_hours(record: Any) -> None:
    first = midnight(date(2025, 11, 1))
    registers = steady(first, END + timedelta(days=3))
    for day in range(30):
        registers.pop(first + timedelta(days=day), None)
    site = site_with(record, registers)
    data = load(record, site, day_of(date(2025, 11, 2), TOKYO, 20))
    assert {bar.used_kwh for bar in data.bars} == {Decimal(23)}
    assert data.used.kwh == 20 * 24 - 1  # both ends lie across the edge of the period
    assert [(lack.reason, lack.kwh) for lack in data.lacks] == [("across", Decimal("1.0"))] * 21


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, False),
        ({START + 20 * HALF: ("1010", None)}, True),  # a gap of its own
        ({START + 20 * HALF: (None, None)}, False),  # one of both
        ({START + 48 * HALF: ("1024", "5.1")}, True),  # it rose
        ({START + 48 * HALF: (None, None), START + 49 * HALF: ("1024.5", "5.1")}, True),  # perhaps within the day
        ({START + 49 * HALF: ("1024.5", "5.1")}, False),  # after it
        ({START + n * HALF: (str(1000 + n / 2), None) for n in range(49)}, False),  # none at all
        (
            {START + n * HALF: (str(1000 + n / 2), None) for n in range(49)}
            | {START - timedelta(days=80): ("950", "5.0"), START + timedelta(days=80): ("2000", "6.0")},
            True,  # it rose, perhaps within the day
        ),
        (
            {START + n * HALF: (str(1000 + n / 2), None) for n in range(49)}
            | {START - timedelta(days=400): ("700", "5.0")},
            True,  # none at all, of a household that sold
        ),
        (
            {START + n * HALF: (str(1000 + n / 2), None) for n in range(49)}
            | {START - timedelta(days=400): ("700", "0.0")},
            False,  # none at all, of one that did not
        ),
    ],
)
def test_an_export_register_is_read_where_it_adds_something(record: Any, changed: dict[Any, Any], told: bool) -> None:
    registers = {moment: (str(kwh), "5.0") for moment, kwh in steady(START, END).items()}
    site = site_with(record, {**registers, **changed})
    assert energy.exports(record, site, [(START, END)]) is told


def test_an_export_register_that_stands_still_hides_no_gap(record: Any) -> None:
    registers: dict[datetime, str | tuple[str | None, str | None]] = {
        moment: (str(kwh), "0.0") for moment, kwh in steady(START, END).items()
    }
    for number in range(18, 30):
        registers[START + number * HALF] = (None, "0.0")
    site = site_with(record, registers)
    data = load(record, site, day_of(DAY, TOKYO))
    assert of_energy(data.lacks, START, END) == [Gap(START + 17 * HALF, START + 30 * HALF)]
    assert (data.used.kwh, data.sold.kwh, data.sold_lacks) == (Decimal(24), Decimal("0.0"), [])


@pytest.mark.parametrize(
    ("now", "gap"),
    [
        (timedelta(minutes=10), None),  # the first half hour is not over
        (timedelta(hours=14, minutes=59), None),  # that of 14:30 may take some minutes
        (timedelta(hours=15), timedelta(hours=14)),
        (timedelta(days=2), timedelta(hours=14)),
    ],
)
def test_what_is_not_due_yet_is_not_lacking(record: Any, now: timedelta, gap: timedelta | None) -> None:
    site = site_with(record, steady(START - timedelta(days=1), START + timedelta(hours=14)))
    until = min(START + now, END)
    data = energy_load.load(record, site, day_of(DAY, TOKYO), now=START + now, tariff=None)
    assert of_energy(data.lacks if data else [], START, until) == ([] if gap is None else [Gap(START + gap, until)])


def test_the_last_half_hour_of_a_past_day_is_missed_as_the_first_is(record: Any) -> None:
    site = site_with(record, steady(START + HALF, END - HALF))
    data = load(record, site, day_of(DAY, TOKYO))
    assert of_energy(data.lacks, START, END) == [Gap(START, START + HALF), Gap(END - HALF, END)]


# --- cost


def tariff(*tiers: Tier) -> Tariff:
    return Tariff(Decimal(0), tiers, (), None, Decimal(0), Decimal(0), 1)


FLAT = tariff(Tier(None, Decimal(31)))
STEPS = tariff(Tier(Decimal(120), Decimal(30)), Tier(None, Decimal(40)))


def test_a_flat_price_needs_no_place_in_the_month(record: Any) -> None:
    site = site_with(record, steady(START, END))
    assert load(record, site, day_of(DAY, TOKYO), tariff=FLAT).cost == Cost(Decimal(24 * 31), None)


def test_a_record_that_begins_within_the_month_says_why_there_is_no_cost(record: Any) -> None:
    site = site_with(record, steady(START, END))
    assert load(record, site, day_of(DAY, TOKYO), tariff=STEPS).cost == UnknownCost(midnight(date(2025, 11, 1)))
    picture = power_load.load(record, site, day_of(DAY, TOKYO), now=LATER, tariff=STEPS)
    notes: dict[Language, str] = {"en": "use since 1 Nov not known", "ja": "11/1 からの使用量が不明"}
    for language, note in notes.items():
        with style.applied(language):
            assert note in texts(power_draw.draw(picture, language=language), "note")


def test_use_that_is_not_known_since_another_year_says_the_year(record: Any) -> None:
    """The billing month of 1 January began on 15 December: beside a picture of the year, that of its end was meant."""
    first, last = midnight(date(2025, 1, 10)), date(2025, 11, 1)
    site = site_with(record, steady(first, midnight(last)))
    period = day_of(date(2025, 1, 12), TOKYO, 200)
    picture = power_load.load(record, site, period, now=LATER, tariff=replace(STEPS, billing_day=15))
    with style.applied("en"):
        assert "use since 15 Dec 2024 not known" in texts(power_draw.draw(picture, language="en"), "note")


def test_a_fall_within_the_month_costs_its_step_and_not_the_whole_cost(record: Any) -> None:
    first = midnight(date(2025, 11, 1))
    registers = steady(first, END)
    for moment in registers:
        if moment > START - timedelta(days=3):
            registers[moment] = str(Decimal(str(registers[moment])) - 50)
    site = site_with(record, registers)
    # 21 days of 24 kWh less half a kWh are beyond the first 120.
    assert load(record, site, day_of(DAY, TOKYO), tariff=STEPS).cost == Cost(Decimal(24 * 40), None)


def test_sold_energy_without_a_price_is_said_to_be_left_out(record: Any) -> None:
    site = site_with(record, {START: ("10", "5"), END: ("12", "9")})
    picture = power_load.load(record, site, day_of(DAY, TOKYO), now=LATER, tariff=FLAT)
    with style.applied("en"):
        assert "bought only, an estimate" in texts(power_draw.draw(picture, language="en"), "note")


# --- the running billing month, by hand: 0.5 kWh bought and 0.1 kWh sold each half hour, 10 and a half of 30 days

MONTH, NOON_OF_11 = midnight(date(2025, 11, 1)), midnight(date(2025, 11, 11)) + timedelta(hours=12)
EACH_STEP = Tariff(
    Decimal(1000),
    (Tier(Decimal(120), Decimal(20)), Tier(Decimal(300), Decimal(25)), Tier(None, Decimal(30))),
    (),
    Decimal("8.5"),
    Decimal("1.5"),
    Decimal("3.5"),
    1,
)
BY_THE_CLOCK = replace(EACH_STEP, tiers=(), time_of_use=(*[Decimal(20)] * 24, *[Decimal(40)] * 24))


def buying_and_selling(start: datetime, end: datetime) -> dict[datetime, str | tuple[str | None, str | None]]:
    return {
        start + n * HALF: (str(1000 + n * Decimal("0.5")), str(n * Decimal("0.1")))
        for n in range((end - start) // HALF + 1)
    }


@pytest.mark.parametrize(
    ("prices", "bought_yen"),
    [
        # 252 kWh come to 720: 120 x 20 + 180 x 25 + 420 x 30, 720 x 5 beside them, and 1000.
        (EACH_STEP, "24100"),
        # 10 days of 12 x 20 + 12 x 40 and a morning of 12 x 20 are 7440 for 252 kWh, 21257.14 for 720; 3600; 1000.
        (BY_THE_CLOCK, "25857.14"),
    ],
)
def test_the_running_billing_month_is_priced_as_if_it_went_on_alike(
    record: Any, prices: Tariff, bought_yen: str
) -> None:
    site = site_with(record, buying_and_selling(MONTH, NOON_OF_11))
    found = load(record, site, day_of(date(2025, 11, 11), TOKYO), now=NOON_OF_11, tariff=prices).billing_month
    assert found is not None
    assert found.so_far.sold_yen == Decimal("428.4")  # 50.4 x 8.5
    assert found.at_end.sold_yen is not None
    assert (round(found.at_end.bought_yen, 2), round(found.at_end.sold_yen, 2)) == (Decimal(bought_yen), Decimal(1224))
    picture = power_load.load(
        record, site, day_of(date(2025, 11, 11), TOKYO), now=NOON_OF_11 + timedelta(minutes=20), tariff=prices
    )
    with style.applied("en"):
        shown = texts(power_draw.draw(picture, language="en"))
    assert f"¥{Decimal(bought_yen) - 1224:,.0f}" in shown


@pytest.mark.parametrize(
    ("first", "now"),
    [
        (MONTH, MONTH + timedelta(days=2, hours=23, minutes=30)),  # of fewer than three days nothing is said
        (MONTH + timedelta(days=1, minutes=30), NOON_OF_11),  # more than a day is not known
    ],
)
def test_a_billing_month_of_which_too_little_is_known_is_not_priced(
    record: Any, first: datetime, now: datetime
) -> None:
    site = site_with(record, buying_and_selling(first, now))
    period = day_of(now.astimezone(TOKYO).date(), TOKYO)
    assert load(record, site, period, now=now, tariff=BY_THE_CLOCK).billing_month is None
