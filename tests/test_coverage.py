"""What is missing follows from the readings beside it: how often they come may change, and changes nothing else."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import accumulate, chain, pairwise

import pytest

from charts import coverage
from charts.coverage import Coverage, Gap, course_of, of_readings
from storage.series import Point, Run

START = datetime(2025, 11, 21, 15, tzinfo=UTC)
A_DAY_S = 86_400


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def runs_of(seconds: list[float], counted: set[float] | None = None) -> list[Run]:
    """Make the runs of readings at those seconds, as the database makes them; *counted* fulfil the condition."""
    if not seconds:
        return []
    runs: list[list[float]] = []
    before: float | None = None
    for second, following in pairwise([*seconds, None]):
        assert second is not None
        spacing = None if following is None else following - second
        is_same = before is not None and (spacing is None or abs(spacing - before) <= 0.5)
        if is_same:
            runs[-1].append(second)
        else:
            runs.append([second])
        before = spacing
    nexts = [at(run[0]) for run in runs[1:]]
    return [
        Run(at(run[0]), next_at, at(run[-1]), len(run), len(run), (sum(s in (counted or ()) for s in run),))
        for run, next_at in zip(runs, [*nexts, None], strict=True)
    ]


def covered(seconds: list[float], end: float = A_DAY_S, counted: set[float] | None = None) -> Coverage:
    return of_readings(runs_of(seconds, counted), START, at(end))


def every(spacing: float, start: float, end: float) -> list[float]:
    return [start + n * spacing for n in range(round((end - start) / spacing))]


HOUR = 3600.0


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(every(60, 0, A_DAY_S), id="a minute"),
        pytest.param(every(5, 0, A_DAY_S), id="5 seconds"),
        pytest.param(every(1800, 0, A_DAY_S), id="half an hour"),
        pytest.param([*every(10, 0, 13 * HOUR), *every(60, 13 * HOUR, A_DAY_S)], id="10 s, then a minute"),
        pytest.param([*every(60, 0, 9 * HOUR), *every(300, 9 * HOUR, A_DAY_S)], id="a minute, then 5"),
        pytest.param([*every(600, 0, 12 * HOUR), *every(60, 12 * HOUR, A_DAY_S)], id="cron every 10, then the poller"),
        pytest.param([s for s in every(60, 0, A_DAY_S) if s % 1800 != 600], id="one lost in thirty"),
        pytest.param([s + (s // 60 * 7919 % 11) for s in every(60, 0, A_DAY_S)], id="late by up to 10 s"),
    ],
)
def test_a_changed_interval_is_no_gap(seconds: list[float]) -> None:
    """Half a day was shown as missing after the interval was changed (volkszaehler 773, 794)."""
    assert covered(seconds).gaps == []


def test_two_lost_readings_are_a_gap_from_when_the_first_was_due() -> None:
    seconds = [second for second in every(60, 0, A_DAY_S) if second not in (420, 480)]
    assert covered(seconds).gaps == [Gap(at(420), at(540))]


def test_a_gap_is_measured_by_the_spacing_before_it_also_where_that_changes() -> None:
    seconds = [*every(10, 0, 9 * HOUR), *every(300, 15 * HOUR, A_DAY_S)]
    assert covered(seconds).gaps == [Gap(at(9 * HOUR), at(15 * HOUR))]


def test_a_lone_reading_between_two_gaps_makes_neither_smaller() -> None:
    seconds = [*every(60, 0, HOUR), 2 * HOUR, *every(60, 3 * HOUR, A_DAY_S)]
    assert covered(seconds).gaps == [Gap(at(HOUR), at(2 * HOUR)), Gap(at(2 * HOUR + 60), at(3 * HOUR))]


def test_the_edges_of_the_period_can_be_missing_too() -> None:
    assert covered(every(60, HOUR, 2 * HOUR)).gaps == [Gap(at(0), at(HOUR)), Gap(at(2 * HOUR), at(A_DAY_S))]
    assert covered([600]).gaps == [Gap(at(0), at(600)), Gap(at(660), at(A_DAY_S))]
    assert covered([]).gaps == [Gap(at(0), at(A_DAY_S))]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_readings_that_are_hours_apart_have_gaps_between_them(count: int) -> None:
    """The poller reads once an hour at the least: a longer spacing shows no cadence, also where there is no other."""
    seconds = [n * 6 * HOUR for n in range(count)]
    gaps = [Gap(at(second + HOUR), at(second + 6 * HOUR)) for second in seconds]
    assert covered(seconds, end=count * 6 * HOUR).gaps == gaps


def test_each_reading_counts_for_its_own_spacing() -> None:
    # True until noon, read every 10 s; false from then on, read every minute: half of the time, 6/7 of the readings.
    seconds = [*every(10, 0, 12 * HOUR), *every(60, 12 * HOUR, A_DAY_S)]
    found = covered(seconds, counted=set(every(10, 0, 12 * HOUR)))
    assert found.time_counted(0) == timedelta(hours=12)
    assert found.share_counted(0) == pytest.approx(0.5)


def test_a_reading_before_a_gap_does_not_count_for_the_gap() -> None:
    seconds = [*every(60, 0, HOUR), *every(60, 7 * HOUR, 8 * HOUR)]
    found = covered(seconds, end=8 * HOUR, counted=set(every(60, 0, HOUR)))
    assert found.time_counted(0) == timedelta(hours=1)
    assert found.share_counted(0) == pytest.approx(0.5)


def test_all_of_the_time_is_exactly_all_and_none_exactly_none() -> None:
    """However the readings are spaced: a headline of 99.9 % would say that it was not always so."""
    chance = random.Random(1)
    for _ in range(50):
        spacings = [[chance.uniform(20, 90)] * chance.randrange(3, 50) for _ in range(20)]
        seconds = list(accumulate(chain.from_iterable(spacings)))
        assert covered(seconds, counted=set(seconds)).share_counted(0) == 1
        assert covered(seconds).share_counted(0) == 0
    assert covered([]).share_counted(0) == 0


def test_stretches_that_are_known_are_taken_out_of_gaps() -> None:
    gaps = [Gap(at(0), at(100)), Gap(at(200), at(300))]
    known = [Gap(at(-10), at(10)), Gap(at(50), at(60)), Gap(at(90), at(210)), Gap(at(290), at(400))]
    left = coverage.without(gaps, known)
    assert left == [Gap(at(10), at(50)), Gap(at(60), at(90)), Gap(at(210), at(290))]
    assert sum((gap.length for gap in left), timedelta()) == timedelta(seconds=150)
    assert coverage.overlaps(gaps, known) == [timedelta(seconds=s) for s in (10, 10, 20, 10)]


def test_no_line_crosses_a_gap() -> None:
    points = [Point(at(60 * n), at(60 * n), 1, float(n), float(n), float(n)) for n in (0, 1, 2, 10, 11)]
    course = course_of(points, [Gap(at(180), at(600))], timedelta(seconds=60))
    assert course is not None
    assert [value != value for value in course.mean.tolist()] == [False, False, False, True, False, False]
    assert sorted(course.x.tolist()) == course.x.tolist()
    assert course_of([], [], timedelta(seconds=60)) is None
