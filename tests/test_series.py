"""What the pictures read: aggregated and raw agree, and other sites do not leak in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from charts.gaps import Gap, find_gaps, interval_s, to_frame
from storage import series
from storage.embedded import EmbeddedServer
from tests.lab.recorded import Household, midnight, power_w, rolled_back

DAY = date(2025, 11, 22)
START, END = midnight(DAY), midnight(DAY + timedelta(days=1))
TOKYO = ZoneInfo("Asia/Tokyo")


@pytest.fixture
def record(postgres_server: EmbeddedServer) -> Iterator[Any]:
    """Open the empty record; what a test writes is rolled back."""
    with rolled_back(postgres_server.url()) as connection:
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


@pytest.mark.parametrize(
    ("days", "points"),
    [
        (1, 1440),  # a minute each
        (2, 1440),  # two minutes
        (7, 1008),  # ten minutes
        (31, 1488),  # half an hour
        (32, 32),  # beyond a month, days
        (366, 366),
        (3653, 1218),  # ten years: three days each
    ],
)
def test_a_picture_has_at_most_1500_points_whatever_the_range(days: int, points: int) -> None:
    length_s = series.bucket_s(START, START + timedelta(days=days))
    assert -(-days * 86_400 // length_s) == points
    assert points <= series.MOST_POINTS


def test_a_day_of_minutes_is_read_as_it_was_written(record: Any) -> None:
    site = Household(DAY, 1).write(record)
    buckets = series.power(record, site, START, END)
    assert [bucket.highest_w for bucket in buckets] == [int(watts) for watts in power_w(DAY)]
    assert all(bucket.readings == 1 and bucket.mean_w == bucket.lowest_w == bucket.highest_w for bucket in buckets)
    assert buckets[0].first_at == buckets[0].last_at == START


def test_aggregated_and_raw_agree(record: Any) -> None:
    site = Household(DAY - timedelta(days=6), 7, solar=True).write(record)
    start = midnight(DAY - timedelta(days=6))
    week = series.power(record, site, start, END)
    raw = [watts for offset in range(7) for watts in power_w(DAY - timedelta(days=6 - offset), solar=True)]
    assert [bucket.readings for bucket in week] == [10] * 1008
    for number, bucket in enumerate(week):
        ten = raw[number * 10 : number * 10 + 10]
        assert bucket.mean_w == pytest.approx(sum(ten) / 10)
        assert (bucket.lowest_w, bucket.highest_w) == (min(ten), max(ten))


def test_the_end_is_not_part_of_the_range(record: Any) -> None:
    site = write_power(record, "home", [(START, 1), (END - timedelta(seconds=1), 2), (END, 3)])
    assert [bucket.highest_w for bucket in series.power(record, site, START, END)] == [1, 2]


def test_a_reading_without_power_is_no_point(record: Any) -> None:
    site = write_power(record, "home", [(START, None), (START + timedelta(minutes=1), 5)])
    assert [bucket.highest_w for bucket in series.power(record, site, START, END)] == [5]


def test_other_sites_do_not_leak_in(record: Any) -> None:
    home = write_power(record, "home", [(START, 100)])
    cabin = write_power(record, "cabin", [(START, 900), (START + timedelta(minutes=1), 901)])
    assert series.site_id(record, "cabin") == cabin
    assert series.site_id(record, "moon") is None
    assert [bucket.highest_w for bucket in series.power(record, home, START, END)] == [100]


def test_the_moment_of_a_peak_is_exact_within_its_bucket(record: Any) -> None:
    rows: list[tuple[datetime, int | None]] = [(START + timedelta(minutes=minute), 100) for minute in range(10)]
    rows[7] = (rows[7][0], 4321)
    site = write_power(record, "home", rows)
    bucket = series.power(record, site, START, START + timedelta(days=7))[0]
    assert bucket.highest_w == 4321
    assert series.moment_of_power(record, site, bucket, 4321) == START + timedelta(minutes=7)


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
    warming_up = series.co2(record, site, START, END, warming_up=True, limit_ppm=1000)
    settled = series.co2(record, site, START, END, warming_up=False, limit_ppm=1000)
    assert [bucket.mean for bucket in warming_up] == [400.0] * 4
    assert len(settled) == 1436
    assert sum(bucket.over_limit for bucket in settled) == sum(bucket.mean > 1000 for bucket in settled) > 0


def test_room_air_comes_with_its_three_quantities(record: Any) -> None:
    site = write_power(record, "home", [])
    with record.cursor() as cursor:
        for second, values in enumerate([(20.0, 40.0, 1000.0), (21.0, 50.0, 1002.0)]):
            cursor.execute(
                "insert into bme280 (site_id, measured_at, temperature_c, humidity_pct, pressure_hpa)"
                " values (%s, %s, %s, %s, %s)",
                (site, START + timedelta(seconds=second), *values),
            )
        cursor.execute(
            "insert into cpu_temperature (site_id, measured_at, temperature_c) values (%s, %s, 48.5)", (site, START)
        )
    air = series.room_air(record, site, START, END)
    assert [part[0][2:6] for part in air] == [(2, 20.5, 20.0, 21.0), (2, 45.0, 40.0, 50.0), (2, 1001.0, 1000.0, 1002.0)]
    assert series.cpu_temperature(record, site, START, END)[0].mean == 48.5


def bucket(minute: float, readings: int = 1, until: float | None = None) -> series.Bucket:
    """Make readings from *minute* to *until*; what they say does not matter here."""
    first, last = (START + timedelta(minutes=at) for at in (minute, minute if until is None else until))
    return series.Bucket(first, last, readings, 0.0, 0.0, 0.0)


def gap(start_minute: float, end_minute: float) -> Gap:
    return Gap(START + timedelta(minutes=start_minute), START + timedelta(minutes=end_minute))


def test_one_lost_reading_is_no_gap_and_two_are() -> None:
    minutes = [0, 1, 2, 4, 5, 6, 9, 10]
    assert find_gaps([bucket(minute) for minute in minutes], START, START + timedelta(minutes=11)) == [gap(7, 9)]


def test_a_gap_is_as_long_as_the_readings_that_are_missing() -> None:
    # Readings at 8:59 and 15:00 and none between: 9:00 to 15:00 is six hours.
    readings = [bucket(minute) for minute in (*range(540), *range(900, 1440))]
    (found,) = find_gaps(readings, START, END)
    assert found.length == timedelta(hours=6)


def test_the_edges_of_the_period_can_be_missing_too() -> None:
    readings = [bucket(minute) for minute in range(60, 120)]
    assert find_gaps(readings, START, END) == [gap(0, 60), gap(120, 1440)]


def test_a_slow_poller_has_no_gaps() -> None:
    readings = [bucket(minute) for minute in range(0, 1440, 10)]
    assert interval_s(readings) == 600
    assert find_gaps(readings, START, END) == []


def test_a_hole_between_two_points_of_a_long_range_keeps_its_true_length() -> None:
    # Points of half an hour; in the second, readings stop after 10 minutes and come back in the fourth.
    points = [bucket(0, 30, 29), bucket(30, 10, 39), bucket(100, 20, 119)]
    assert find_gaps(points, START, START + timedelta(minutes=120)) == [gap(40, 100)]


def test_one_reading_alone_leaves_the_rest_missing() -> None:
    assert find_gaps([bucket(10)], START, END) == [gap(0, 10), gap(11, 1440)]


def test_a_gap_breaks_the_line_with_nan() -> None:
    readings = [bucket(minute) for minute in (0, 1, 2, 10, 11)]
    frame = to_frame(readings, find_gaps(readings, START, START + timedelta(minutes=12)))
    assert frame["mean"].isna().tolist() == [False, False, False, True, False, False]
    assert frame.index.is_monotonic_increasing
    assert frame.index[0] == datetime(2025, 11, 21, 15, tzinfo=UTC)
