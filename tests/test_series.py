"""What the pictures read: aggregated and raw agree, runs show how readings came, and other sites do not leak in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from charts.period import MOST_POINTS, day_of, points_of
from storage import series
from storage.series import HalfHourPower, Point, Run
from tests.lab.recorded import Household, midnight, power_w, rolled_back

DAY = date(2025, 11, 22)
START, END = midnight(DAY), midnight(DAY + timedelta(days=1))
MINUTE = timedelta(minutes=1)
TOKYO, NEW_YORK = ZoneInfo("Asia/Tokyo"), ZoneInfo("America/New_York")


@pytest.fixture
def record(module_database_url: str) -> Iterator[Any]:
    """Open the empty record; what a test writes is rolled back."""
    with rolled_back(module_database_url) as connection:
        yield connection


def write_power(record: Any, site: str, rows: list[tuple[datetime, int | None]]) -> int:
    with record.cursor() as cursor:
        cursor.execute("insert into site (name) values (%s) returning site_id", (site,))
        number = int(cursor.fetchone()[0])
        for measured_at, watts in rows:
            cursor.execute(
                "insert into power (site_id, measured_at, power_w) values (%s, %s, %s)", (number, measured_at, watts)
            )
    return number


def power(record: Any, site: int, days: int = 1) -> list[Point]:
    """Read the points of the power over the days that end with ours."""
    edges, is_days = points_of(day_of(DAY - timedelta(days=days - 1), TOKYO, days), END)
    return series.read(record, site, series.POWER, edges, by_reading=not is_days).points[0]


@pytest.mark.parametrize(
    ("days", "points"),
    [
        (1, 1440),  # a minute each
        (2, 1440),  # two minutes
        (7, 1008),  # ten minutes
        (31, 1488),  # half an hour
        (32, 32),  # beyond a month, days
        (366, 366),
        (3653, 914),  # ten years: four days each, each at least a pixel
    ],
)
def test_a_picture_has_at_most_1500_points_whatever_the_range(days: int, points: int) -> None:
    period = day_of(DAY, TOKYO, days)
    edges, is_days = points_of(period, period.end)
    assert len(edges) - 1 == points <= MOST_POINTS
    assert is_days == (days > 31)


def test_points_of_a_year_begin_at_the_midnights_of_the_zone() -> None:
    period = day_of(date(2025, 1, 1), NEW_YORK, 365)
    edges, _ = points_of(period, period.end)
    assert {(edge.astimezone(NEW_YORK).hour, edge.astimezone(NEW_YORK).minute) for edge in edges} == {(0, 0)}


def test_readings_beside_midnight_belong_to_their_own_day_in_every_zone(record: Any) -> None:
    zone = ZoneInfo("Asia/Kathmandu")  # UTC+5:45: midnight is 18:15 UTC
    period = day_of(DAY, zone, 40)
    site = write_power(
        record,
        "kathmandu",
        [(period.start + timedelta(days=n, minutes=m), 100 + n) for n in range(1, 40) for m in (-10, 0)],
    )
    edges, _ = points_of(period, period.end)
    found = series.read(record, site, series.POWER, edges, by_reading=False).points[0]
    assert [(point.readings, point.lowest, point.highest) for point in found] == [
        (1, 101, 101),
        *((2, 100 + n, 101 + n) for n in range(1, 39)),
        (1, 139, 139),
    ]


def test_a_day_of_minutes_is_read_as_it_was_written(record: Any) -> None:
    site = Household(DAY, 1).write(record)
    points = power(record, site)
    assert [point.highest for point in points] == [int(watts) for watts in power_w(DAY)]
    assert all(point.readings == 1 and point.mean == point.lowest == point.highest for point in points)
    assert points[0].first_at == points[0].last_at == START


def test_aggregated_and_raw_agree(record: Any) -> None:
    site = Household(DAY - timedelta(days=59), 60, solar=True).write(record)
    raw = [watts for offset in range(60) for watts in power_w(DAY - timedelta(days=59 - offset), solar=True)]
    for days in (7, 60):
        points, part = power(record, site, days), raw[-days * 1440 :]
        assert sum(point.readings for point in points) == len(part)
        assert max(point.highest for point in points) == max(part)
        assert min(point.lowest for point in points) == min(part)
        assert sum(point.mean * point.readings for point in points) == pytest.approx(sum(part))


def test_ranges_are_half_open(record: Any) -> None:
    site = write_power(record, "home", [(START, 1), (END - timedelta(seconds=1), 2), (END, 3)])
    assert [point.highest for point in power(record, site)] == [1, 2]


def test_a_reading_without_power_is_no_point(record: Any) -> None:
    site = write_power(record, "home", [(START, None), (START + MINUTE, 5)])
    assert [point.highest for point in power(record, site)] == [5]


def test_other_sites_do_not_leak_in(record: Any) -> None:
    home = write_power(record, "home", [(START, 100)])
    cabin = write_power(record, "cabin", [(START, 900), (START + MINUTE, 901)])
    assert series.site_id(record, "cabin") == cabin
    assert series.site_id(record, "moon") is None
    assert [point.highest for point in power(record, home)] == [100]


def test_currents_keep_their_sign(record: Any) -> None:
    site = write_power(record, "home", [(START, -2600), (START + MINUTE, 400)])
    with record.cursor() as cursor:
        cursor.execute("update power set current_r_a = power_w / 200.0")
    edges, _ = points_of(day_of(DAY, TOKYO), END)
    phase_r, phase_t = (series.read(record, site, one, edges, by_reading=True) for one in series.CURRENTS)
    assert [point.mean for point in phase_r.points[0]] == [-13.0, 2.0]
    assert phase_t == series.Series([[]], [])  # no second phase


def test_the_peak_is_the_first_of_the_highest_readings(record: Any) -> None:
    rows: list[tuple[datetime, int | None]] = [(START + minute * MINUTE, 100) for minute in range(10)]
    rows[7], rows[9] = (rows[7][0], 4321), (rows[9][0], 4321)
    site = write_power(record, "home", rows)
    assert series.peak(record, site, START, END) == ((START + 7 * MINUTE, 4321), None)
    assert series.peak(record, site, END, END + MINUTE) == (None, None)


def test_the_peak_is_found_without_the_disk_where_the_last_days_have_no_reading(record: Any) -> None:
    """Ten years of readings were 115 MB on the memory card."""
    site = write_power(record, "home", [(START + timedelta(days=3), None), (START + timedelta(days=4), 2_147_483_645)])
    with record.cursor() as cursor:
        cursor.execute(
            "insert into power (site_id, measured_at, power_w) select %s, %s + n * interval '1 minute', n"
            " from generate_series(1, 2880) as n",
            (site, START),
        )
        cursor.execute("set local work_mem = '64kB'; set local temp_file_limit = 0")
    peak, _ = series.peak(record, site, START, END + timedelta(days=7))
    assert peak == (START + 2880 * MINUTE, 2880)


def test_a_power_that_no_step_can_have_is_no_reading(record: Any) -> None:
    """100 kWh in half an hour are 200 kW, bought or sold; a meter may send up to 2,147,483,645 W."""
    watts = [100, 200_000, -200_000, 2_147_483_645, -2_147_483_647, 300]
    site = write_power(record, "home", [(START + n * MINUTE, watt) for n, watt in enumerate(watts)])
    false = series.FalsePower(START + 3 * MINUTE, 2_147_483_645, 2)
    assert series.peak(record, site, START, END) == ((START + MINUTE, 200_000), false)
    assert series.half_hours_of_power(record, site, [(START, END)]) == [HalfHourPower(START, 100.0, -200_000)]
    read = series.read(record, site, series.POWER, [START + n * MINUTE for n in range(7)], by_reading=True)
    assert [point.mean for point in read.points[0]] == [100, 200_000, -200_000, 300]


def test_a_number_that_is_not_found_again_is_of_the_first_moment_of_its_point(record: Any) -> None:
    """A server may print fewer digits than a number has, and a row may be deleted in between."""
    site = write_power(record, "home", [(START, 100), (START + MINUTE, 300)])
    point = Point(START, START + MINUTE, 2, 200.0, 100.0, 300.0)
    found = series.moments(record, site, "power", "power_w", [(point, 300.0), (point, 299.9)])
    assert found == [START + MINUTE, START]


def test_a_half_hour_has_the_mean_of_its_readings(record: Any) -> None:
    site = write_power(record, "home", [(START, 100), (START + 29 * MINUTE, 300), (START + 30 * MINUTE, -50)])
    halves = series.half_hours_of_power(record, site, [(START, END)])
    assert halves == [HalfHourPower(START, 200.0, 100), HalfHourPower(START + 30 * MINUTE, -50.0, -50)]
    assert series.half_hours_of_power(record, site, []) == []


def test_runs_show_where_the_spacing_changes(record: Any) -> None:
    # Every minute until 0:05, then every five, and nothing from 0:20 to 1:00.
    minutes = [0, 1, 2, 3, 4, 5, 10, 15, 20, 60, 61]
    site = write_power(record, "home", [(START + minute * MINUTE, 100) for minute in minutes])
    edges, _ = points_of(day_of(DAY, TOKYO), END)
    runs = series.read(record, site, series.POWER, edges, by_reading=True).runs

    def run(first: int, following: int | None, last: int, readings: int) -> Run:
        next_at = None if following is None else START + following * MINUTE
        return Run(START + first * MINUTE, next_at, START + last * MINUTE, readings, readings, ())

    assert runs == [run(0, 5, 4, 5), run(5, 20, 15, 3), run(20, 60, 20, 1), run(60, None, 61, 2)]


def test_what_is_usual_is_the_median_over_the_days(record: Any) -> None:
    # Three days at 0:00 to 0:09: 100, 200 and 900 W. One odd day does not move the median.
    rows: list[tuple[datetime, int | None]] = []
    for number, watts in enumerate((100, 900, 200)):
        rows += [(START + timedelta(days=number, minutes=minute), watts) for minute in range(10)]
    site = write_power(record, "home", rows)
    usual = series.usual_power(record, site, START, START + timedelta(days=3), TOKYO)
    assert usual == [series.UsualPower(0, 150.0, 200.0, 550.0)]
    spans = [(START + timedelta(days=number), START + timedelta(days=number + 1)) for number in range(5)]
    assert series.days_with_power(record, site, spans) == 3


def test_readings_of_a_warming_sensor_are_kept_apart(record: Any) -> None:
    site = Household(DAY, 1, air=True).write(record)
    edges, _ = points_of(day_of(DAY, TOKYO), END)
    found = series.read(record, site, series.co2(1000), edges, by_reading=True)
    settled, warming_up = found.points
    assert [point.mean for point in warming_up] == [400.0] * 4
    assert len(settled) == 1436
    assert sum(run.counted[0] for run in found.runs) == sum(point.mean > 1000 for point in settled) > 0


def test_room_air_comes_with_its_three_quantities(record: Any) -> None:
    site = write_power(record, "home", [])
    with record.cursor() as cursor:
        for second, values in enumerate([(20.0, 40.0, 1000.0), (21.0, 50.0, 1002.0)]):
            cursor.execute(
                "insert into bme280 (site_id, measured_at, temperature_c, humidity_pct, pressure_hpa)"
                " values (%s, %s, %s, %s, %s)",
                (site, START + timedelta(seconds=second), *values),
            )
    edges, _ = points_of(day_of(DAY, TOKYO), END)
    found = series.read(record, site, series.room((18, 20), (45, 60)), edges, by_reading=True)
    assert [part[0][2:] for part in found.points] == [
        (2, 20.5, 20.0, 21.0),
        (2, 45.0, 40.0, 50.0),
        (2, 1001.0, 1000.0, 1002.0),
    ]
    assert [sum(run.counted[n] for run in found.runs) for n in (0, 1)] == [1, 1]
    assert series.pressures(record, site, START, END) == (1000.0, 1002.0)
