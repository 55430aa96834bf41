"""What the picture of the air shows: read from the database, minima and maxima found here, nothing drawn.

Readings of a CO2 sensor that was warming up are kept apart: they are no measurements yet. A reading far from all others
(ten times the spread of the middle half beyond it) is an outlier: it counts as a reading, and decides no scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from charts import coverage
from charts.coverage import Course, Coverage, Gap, course_of, middle_of
from charts.period import MOST_DAYS, Period, points_of
from storage import series
from storage.series import Point

if TYPE_CHECKING:
    from storage.connection import Connection

# Japan's hygiene standard for buildings (Act on Maintenance of Sanitation in Buildings, enforcement order, article 2,
# as of 2022): 18 to 28 degrees Celsius, 40 to 70 percent, at most 1,000 ppm of CO2.
COMFORT_C = (18, 28)
COMFORT_PCT = (40, 70)
LIMIT_PPM = 1000

_OUTLIER_SPREADS = 10
_FEWEST_TO_JUDGE = 8


@dataclass(frozen=True, slots=True)
class Extreme:
    """A smallest or largest reading; the moment is exact to the length of one point of the picture, or to the day."""

    moment: datetime
    value: float


@dataclass(frozen=True, slots=True)
class Quantity:
    """One panel: its course, what is missing, and what of it can be trusted."""

    course: Course
    gaps: list[Gap]
    mean: float  # of all readings
    highest: Extreme  # of those that are no outliers
    lowest: Extreme
    outliers: list[Extreme]


@dataclass(frozen=True, slots=True)
class AirData:
    """Everything in the picture. None: there is no such sensor, or it was silent."""

    period: Period
    now: datetime | None  # set while the period is still running
    is_days: bool  # a point is a day or more
    room_c: Quantity | None
    comfort_c_share: float  # of the time
    humidity_pct: Quantity | None
    comfort_pct_share: float
    pressure_hpa: Quantity | None
    pressures_hpa: tuple[float, float] | None  # first and last reading
    co2_ppm: Quantity | None
    co2_over_limit: timedelta
    co2_warming_up: Course | None
    co2_gaps: list[Gap]  # without any reading, settled or not
    cpu_c: Quantity | None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(isinstance(getattr(self, field.name), Quantity | Course) for field in fields(self))


@dataclass(frozen=True, slots=True)
class _Value:
    """The points of one value, how far they lie apart, and what tells when a number of theirs was read."""

    points: list[Point]
    spacing: timedelta
    moments: Callable[[Sequence[tuple[Point, float]]], list[datetime]]


def _middles(found: Sequence[tuple[Point, float]]) -> list[datetime]:
    return [middle_of(point) for point, _ in found]


def load(connection: Connection, site: int, period: Period, *, now: datetime) -> AirData:
    """Read the air of *period*, a statement a sensor."""
    running = now if period.start < now < period.end else None
    until = running or period.end
    edges, is_days = points_of(period, until)
    read = partial(_read, connection, site, edges, by_reading=not is_days, to_the_day=period.days > MOST_DAYS)
    (room, humidity, pressure), air = read(series.room(COMFORT_C, COMFORT_PCT))
    (settled, warming_up), co2 = read(series.co2(LIMIT_PPM))
    (cpu,), cpu_covered = read(series.CPU)
    # A day in which a sensor warmed up is a day of settled readings all the same.
    unsettled, settled_again = (
        (co2.gaps, co2.gaps)
        if is_days
        else (
            _interrupted(co2.gaps, settled.points, warming_up.points),
            _interrupted(co2.gaps, warming_up.points, settled.points),
        )
    )
    return AirData(
        period=period,
        now=running,
        is_days=is_days,
        room_c=_quantity(room, air.gaps, 2.0),
        comfort_c_share=air.share_counted(0),
        humidity_pct=_quantity(humidity, air.gaps, 7.5),
        comfort_pct_share=air.share_counted(1),
        pressure_hpa=_quantity(pressure, air.gaps, 3.0),
        pressures_hpa=series.pressures(connection, site, period.start, until) if pressure.points else None,
        co2_ppm=_quantity(settled, unsettled, 100.0),
        co2_over_limit=co2.time_counted(0),
        co2_warming_up=course_of(warming_up.points, settled_again, warming_up.spacing),
        co2_gaps=co2.gaps,
        cpu_c=_quantity(cpu, cpu_covered.gaps, 4.0),
    )


def _read(
    connection: Connection,
    site: int,
    edges: Sequence[datetime],
    selection: series.Selection,
    *,
    by_reading: bool,
    to_the_day: bool,
) -> tuple[list[_Value], Coverage]:
    """Read each value of *selection*, and what is missing; *to_the_day*: a point is of several days."""
    found = series.read(connection, site, selection, edges, by_reading=by_reading)
    values = []
    for value, points in zip(selection.values, found.points, strict=True):
        moments = partial(series.moments, connection, site, selection.table, value) if to_the_day else _middles
        values.append(_Value(points, edges[1] - edges[0], moments))
    return values, coverage.of_readings(found.runs, edges[0], edges[-1])


def _interrupted(gaps: Sequence[Gap], points: Sequence[Point], others: Sequence[Point]) -> list[Gap]:
    """Return *gaps*, and the stretches in which there are only *others*, up to the point after them."""
    found = list(gaps)
    begin: datetime | None = None
    kinds = [(other.first_at, True) for other in others] + [(point.first_at, False) for point in points]
    for moment, is_other in sorted(kinds):
        if is_other:
            begin = begin or moment
        elif begin is not None:
            found.append(Gap(begin, moment))
            begin = None
    return sorted(found, key=lambda gap: gap.start)


def _quantity(value: _Value, gaps: Sequence[Gap], least_spread: float) -> Quantity | None:
    points = value.points
    course = course_of(points, gaps, value.spacing)
    if course is None:
        return None
    means = np.array([point.mean for point in points])
    low, high = np.quantile(means, [0.25, 0.75])
    room = _OUTLIER_SPREADS * max(float(high - low), least_spread) if len(points) >= _FEWEST_TO_JUDGE else np.inf
    bottom, top = float(low) - room, float(high) + room
    trusted_high = [point for point in points if point.highest <= top] or points
    trusted_low = [point for point in points if point.lowest >= bottom] or points
    highest = max(trusted_high, key=lambda point: point.highest)
    lowest = min(trusted_low, key=lambda point: point.lowest)
    found = [(highest, highest.highest), (lowest, lowest.lowest)]
    found += [(point, point.highest) for point in points if point.highest > top]
    found += [(point, point.lowest) for point in points if point.lowest < bottom]
    extremes = [Extreme(moment, number) for moment, (_, number) in zip(value.moments(found), found, strict=True)]
    return Quantity(
        course=course,
        gaps=list(gaps),
        mean=sum(point.mean * point.readings for point in points) / sum(point.readings for point in points),
        highest=extremes[0],
        lowest=extremes[1],
        outliers=extremes[2:],
    )
