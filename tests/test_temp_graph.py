"""The picture of the air: only what was measured, minima and maxima of settled readings, gaps as gaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, get_args, get_type_hints
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

import temp_graph
from charts import air_draw, air_load, style, text
from charts.air_load import AirData, Quantity
from charts.coverage import Course, Gap
from charts.period import Period, day_of
from charts.text import WORDS, Language
from tests.lab.pictures import named, overlaps, texts
from tests.lab.recorded import Household, midnight, rolled_back

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


def load(record: Any, site: int, period: Period | None = None, *, now: datetime = LATER) -> Any:
    return air_load.load(record, site, period or day_of(DAY, TOKYO), now=now)


def drawn(data: air_load.AirData, language: Language = "en") -> Figure:
    with style.applied(language):
        return air_draw.draw(data, language=language)


def new_site(record: Any) -> int:
    with record.cursor() as cursor:
        cursor.execute("insert into site (name) values ('home') returning site_id")
        return int(cursor.fetchone()[0])


def write_co2(record: Any, site: int, readings: list[tuple[int, int, bool]]) -> None:
    """Write (minute of the day, ppm, warming up)."""
    with record.cursor() as cursor:
        for minute, ppm, warming_up in readings:
            cursor.execute(
                "insert into co2 (site_id, measured_at, co2_ppm, warming_up) values (%s, %s, %s, %s)",
                (site, START + timedelta(minutes=minute), ppm, warming_up),
            )


def write_room(record: Any, site: int, readings: list[tuple[int, float]]) -> None:
    """Write (minute of the day, degrees); humidity and pressure stay the same."""
    with record.cursor() as cursor:
        for minute, celsius in readings:
            cursor.execute(
                "insert into bme280 (site_id, measured_at, temperature_c, humidity_pct, pressure_hpa)"
                " values (%s, %s, %s, 45, 1013)",
                (site, START + timedelta(minutes=minute), celsius),
            )


def write_cpu(record: Any, site: int, readings: list[tuple[int, float]]) -> None:
    """Write (minute of the day, degrees)."""
    with record.cursor() as cursor:
        for minute, celsius in readings:
            cursor.execute(
                "insert into cpu_temperature (site_id, measured_at, temperature_c) values (%s, %s, %s)",
                (site, START + timedelta(minutes=minute), celsius),
            )


def test_all_sensors_have_a_panel_each_with_its_unit(record: Any) -> None:
    site = Household(DAY, 1, air=True, cpu=True).write(record)
    data = load(record, site)
    for language, words in WORDS.items():
        figure = drawn(data, language)
        assert [axes.get_ylabel() for axes in figure.axes] == [
            words.room_panel,
            words.humidity_panel,
            words.pressure_panel,
            words.co2_panel,
            words.cpu_panel,
        ]


def test_one_course_of_any_sensor_is_enough_for_a_picture(record: Any) -> None:
    site = new_site(record)
    nothing = load(record, site)
    write_cpu(record, site, [(0, 48.5), (1, 49.5)])
    write_co2(record, site, [(0, 400, True), (1, 500, False)])
    write_room(record, site, [(0, 20.0)])
    data = load(record, site)
    drawable = {name for name, kind in get_type_hints(AirData).items() if {Quantity, Course} & {*get_args(kind)}}
    assert drawable
    assert nothing.is_empty
    assert not any(replace(nothing, **{name: getattr(data, name)}).is_empty for name in drawable)


def test_there_are_panels_only_for_what_was_measured(record: Any) -> None:
    site = new_site(record)
    assert load(record, site).is_empty
    write_cpu(record, site, [(0, 48.5), (1, 49.5)])
    data = load(record, site)
    assert not data.is_empty
    assert [axes.get_ylabel() for axes in drawn(data).axes] == [WORDS["en"].cpu_panel]
    assert texts(drawn(data), "value") == ["49.0 °C"]
    write_co2(record, site, [(0, 500, False)])
    assert [axes.get_ylabel() for axes in drawn(load(record, site)).axes] == [
        WORDS["en"].co2_panel,
        WORDS["en"].cpu_panel,
    ]


def test_panels_share_their_time_and_their_edges(record: Any) -> None:
    site = Household(DAY, 1, air=True, cpu=True).write(record)
    figure = drawn(load(record, site))
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert len({(axes.get_position().x0, axes.get_position().x1) for axes in figure.axes}) == 1
    assert figure.get_figwidth() * figure.dpi == 1200


def test_minima_and_maxima_are_labelled_where_they_are(record: Any) -> None:
    site = new_site(record)
    write_room(record, site, [(0, 20.0), (1, 19.4), (2, 21.0), (3, 24.6), (4, 20.0)])
    data = load(record, site)
    assert data.room_c.highest.moment == START + timedelta(minutes=3)
    assert data.room_c.highest.value == pytest.approx(24.6, abs=1e-5)  # stored in single precision
    assert texts(drawn(data), "extreme label")[:2] == ["24.6 (0:03)", "19.4 (0:01)"]
    assert texts(drawn(data, "ja"), "extreme label")[:2] == ["24.6（0:03）", "19.4（0:01）"]


@pytest.mark.parametrize("rise", [0.004, -0.004])
def test_an_extreme_at_the_edge_of_a_gap_is_labelled_off_its_line(record: Any, rise: float) -> None:
    """The label stood beside its point, where the line struck it through."""
    site = new_site(record)
    write_room(record, site, [(minute, 21 + rise * minute) for minute in range(120, 1320)])
    figure = drawn(load(record, site))
    first, last = (f"{21 + rise * minute:.1f} ({minute // 60}:{minute % 60:02d})" for minute in (120, 1319))
    sides = {label.get_text(): label.get_va() for label in named(figure, "extreme label")}
    assert (sides[first], sides[last]) == (("top", "bottom") if rise > 0 else ("bottom", "top"))


def test_what_a_warming_sensor_says_is_faint_and_no_extreme(record: Any) -> None:
    site = new_site(record)
    write_co2(record, site, [(0, 5000, True), (1, 400, True), (2, 600, False), (3, 700, False), (4, 650, False)])
    data = load(record, site)
    assert (data.co2_ppm.lowest.value, data.co2_ppm.highest.value) == (600, 700)
    assert data.co2_ppm.mean == 650
    figure = drawn(data)
    (faint,) = named(figure, "warming up")
    assert faint.get_alpha() < 1
    assert texts(figure, "extreme label") == ["700 (0:03)", "600 (0:02)"]
    assert 1000 < figure.axes[0].get_ylim()[1] < 2000  # what is not trusted decides no scale


@pytest.mark.parametrize("warming_ppm", [410, 900, 5000])
def test_what_a_warming_sensor_says_is_in_the_panel_whatever_it_is(record: Any, warming_ppm: int) -> None:
    """Some sensors say 410 ppm or 5,000 ppm until they have settled: an hour of it was a blank panel."""
    site = new_site(record)
    write_co2(record, site, [(n, warming_ppm if 60 <= n < 120 else 800 + n % 9, 60 <= n < 120) for n in range(240)])
    figure = drawn(load(record, site, Period(START, START + timedelta(hours=4), TOKYO)))
    (faint,) = named(figure, "warming up")
    bottom, top = figure.axes[0].get_ylim()
    shown = [y for y in faint.get_ydata() if not np.isnan(y)]
    assert shown == [min(max(warming_ppm, bottom), top)] * 60
    assert any(words.warming_up in texts(figure) for words in WORDS.values())


def test_a_sensor_that_never_settled_has_a_panel_without_extremes(record: Any) -> None:
    site = new_site(record)
    write_co2(record, site, [(0, 400, True), (1, 410, True)])
    figure = drawn(load(record, site))
    assert [axes.get_ylabel() for axes in figure.axes] == [WORDS["en"].co2_panel]
    assert texts(figure, "extreme label") == []


def test_warming_up_is_no_gap_but_breaks_the_settled_line(record: Any) -> None:
    site = new_site(record)
    write_co2(record, site, [(minute, 600, 10 <= minute < 20) for minute in range(30)])
    data = load(record, site, Period(START, START + timedelta(minutes=30), TOKYO))
    assert data.co2_gaps == []
    assert data.co2_ppm.gaps == [Gap(START + timedelta(minutes=10), START + timedelta(minutes=20))]


def test_time_over_the_limit_leads_the_headline(record: Any) -> None:
    site = new_site(record)
    write_co2(record, site, [(minute, 1001 if minute < 30 else 1000, False) for minute in range(60)])
    figure = drawn(load(record, site))
    assert (texts(figure, "caption"), texts(figure, "value")) == (["CO₂ over 1,000 ppm"], ["30 min"])
    assert [line.get_ydata()[0] for line in named(figure, "limit")] == [1000]


def test_good_air_is_said_to_be_good(record: Any) -> None:
    site = new_site(record)
    write_co2(record, site, [(0, 600, False), (1, 800, False)])
    figure = drawn(load(record, site))
    assert (texts(figure, "value"), texts(figure, "note")) == (["700 ppm"], ["never over 1,000 ppm"])


def test_the_share_of_comfortable_time_is_in_the_headline(record: Any) -> None:
    site = new_site(record)
    write_room(record, site, [(0, 17.0), (1, 18.0), (2, 28.0), (3, 28.5)])
    assert texts(drawn(load(record, site)), "note")[0] == "50 % of the time 18–28 °C"


def test_comfort_is_a_band(record: Any) -> None:
    site = new_site(record)
    write_room(record, site, [(0, 10.0), (1, 35.0)])
    comfort = named(drawn(load(record, site)), "comfort")[0]
    assert (comfort.get_y(), comfort.get_height()) == (18, 10)


def test_a_gap_is_hatched_in_every_panel_and_named_once(record: Any) -> None:
    gap = (START + timedelta(hours=9), START + timedelta(hours=15))
    site = Household(DAY, 1, gaps=(gap,), air=True, cpu=True).write(record)
    data = load(record, site)
    assert data.room_c.gaps == data.co2_gaps == data.cpu_c.gaps == [Gap(*gap)]
    figure = drawn(data)
    assert len(named(figure, "gap")) == 5
    assert texts(figure, "gap label") == ["no data 6 h"]
    for line in named(figure, "quantity"):
        x, y = line.get_xdata(), line.get_ydata()
        inside = (x >= gap[0].timestamp() / 86_400) & (x < gap[1].timestamp() / 86_400)
        assert np.isnan(y[inside]).all()
        assert inside.sum() == 1


def test_a_running_day_ends_at_now(record: Any) -> None:
    now = START + timedelta(hours=14, minutes=32)
    site = Household(DAY, 1, until=now, air=True).write(record)
    data = load(record, site, now=now + timedelta(seconds=20))
    assert data.room_c.gaps == data.co2_gaps == []
    assert texts(drawn(data, "ja"), "title") == ["2025年11月22日（土）の室内の空気（14:32 現在）"]
    assert len(named(drawn(data), "now")) == 4


def test_a_single_reading_is_labelled_once(record: Any) -> None:
    site = new_site(record)
    write_room(record, site, [(600, 21.0)])
    figure = drawn(load(record, site))
    assert texts(figure, "extreme label") == ["21.0 (10:00)", "45 (10:00)", "1,013.0 (10:00)"]
    assert "Change of pressure" not in texts(figure, "caption")


def test_a_quiet_day_is_not_blown_up(record: Any) -> None:
    site = new_site(record)
    write_room(record, site, [(0, 21.0), (1, 21.1)])
    bottom, top = drawn(load(record, site)).axes[0].get_ylim()
    assert top - bottom > 4


def test_a_week_shows_the_dates_of_its_extremes(record: Any) -> None:
    first = DAY - timedelta(days=6)
    site = Household(first, 7, air=True).write(record)
    data = load(record, site, day_of(first, TOKYO, 7))
    assert data.room_c.course.is_aggregated
    labels = texts(drawn(data), "extreme label")
    assert labels
    assert all("Nov)" in label for label in labels)


def test_a_label_beside_a_gap_does_not_lie_on_its_label(record: Any) -> None:
    # The day is warmest at 15:41, one minute after a gap that is just wide enough for its own words.
    gap = (START + timedelta(hours=14, minutes=10), START + timedelta(hours=15, minutes=40))
    site = Household(DAY, 1, gaps=(gap,), air=True).write(record)
    figure = drawn(load(record, site))
    assert texts(figure, "gap label") == ["no data 1 h 30 min"]
    assert overlaps(figure, "en") == []


@pytest.mark.parametrize("days", [1, 7, 60, 366])
def test_no_text_lies_on_another_or_leaves_the_sheet(record: Any, days: int) -> None:
    gap = (START + timedelta(hours=9), START + timedelta(hours=15))
    site = Household(DAY - timedelta(days=9), 10, gaps=(gap,), air=True, cpu=True).write(record)
    data = load(record, site, day_of(DAY - timedelta(days=days - 1), TOKYO, days), now=END - timedelta(minutes=5))
    for language in text.LANGUAGES:
        assert overlaps(drawn(data, language), language) == []


def test_everything_is_large_enough_to_read(record: Any) -> None:
    site = Household(DAY, 1, air=True, cpu=True).write(record)
    found: list[Any] = drawn(load(record, site)).findobj(Text)
    assert min(text.get_fontsize() for text in found if text.get_text()) >= 9


def test_the_path_of_the_picture_is_printed(
    database_url: str, connection: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Household(DAY, 1, air=True, cpu=True).write(connection)
    config = tmp_path / "power.ini"
    config.write_text(f"[database]\nurl = {database_url}\n[graph]\noutput_dir = {tmp_path}\n", "utf-8")
    path = tmp_path / "temp_2025-11-22.png"
    assert temp_graph.main(["--config", str(config), "-d", "2025-11-22"], now=LATER) == 0
    assert capsys.readouterr().out == f"{path}\n"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_record_without_sensors_has_no_picture(
    database_url: str, connection: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Household(DAY, 1).write(connection)
    config = tmp_path / "power.ini"
    config.write_text(f"[database]\nurl = {database_url}\n[graph]\noutput_dir = {tmp_path}\n", "utf-8")
    assert temp_graph.main(["--config", str(config), "-d", "2025-11-22"], now=LATER) == 1
    err = capsys.readouterr().err
    assert err.startswith("temp_graph.py: no data from 2025-11-22 00:00 to 2025-11-23 00:00 (Asia/Tokyo); looked into ")
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("*.png"))


def test_current_is_an_option_of_the_other_script() -> None:
    with pytest.raises(SystemExit) as caught:
        temp_graph.main(["--current"])
    assert caught.value.code == 2
