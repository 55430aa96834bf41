"""What the picture of the electricity shows: read from the database, every number worked out here, nothing drawn.

The energy is in charts.energy_load, the map of a long range in charts.time_of_day_load. The other figures are:

* peak: the highest single reading of power, with its moment. It is not known where the registers tell of a higher mean:
  then it was not read.
* readings of more power than can be true (storage.series) are in no figure and no line, and named below the picture.
* base load: the lowest mean of a half hour; of several days, the median of theirs. Where something was sold, the sun
  lowers the day: then between 20:00 and 5:00 only, and never a half hour in which something was sold. Half hours that
  lack more than half of themselves do not count. Left out of ranges whose points are longer than half an hour.
* usual: the median of the 28 days before; the day before where fewer than 7 of them have data.
* a day without any reading of power shows the mean of each half hour that the registers give.

Where something is sold, the registers give a half hour only with the export: without it the mean is not known.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from charts import coverage, energy_load, time_of_day_load
from charts.coverage import Course, Coverage, Gap, course_of, days_since_epoch
from charts.energy_load import FEWEST_USUAL_DAYS, USUAL_DAYS, EnergyData
from charts.period import Period, half_hour_before, midnight, next_half_hour, points_of
from charts.time_of_day_load import TimeOfDay
from storage import energy, series
from storage.steps import HALF_HOUR, W_OF_KWH, Span

if TYPE_CHECKING:
    from settings import Tariff
    from storage.connection import Connection

_A_DAY_AND_A_BIT_S = 36 * 3600.0
_EVENING, _MORNING = 20, 5  # between them the sun does not shine, anywhere in Japan but for an hour in June


@dataclass(frozen=True, slots=True)
class Usual:
    """The usual course of the power over the period; NaN where nothing is known of that time of day."""

    x: NDArray[np.float64]
    low_w: NDArray[np.float64]
    median_w: NDArray[np.float64]
    high_w: NDArray[np.float64]
    days: int  # 1: it is the day before


@dataclass(frozen=True, slots=True)
class PowerData:
    """Everything in the picture. None means not known."""

    period: Period
    now: datetime | None  # set while the period is still running
    power_w: Course | None  # where points are shorter than a day
    current_r_a: Course | None  # where it was asked for
    current_t_a: Course | None
    half_hours: list[tuple[Gap, float]]  # mean power of the half hours of days without any reading
    time_of_day: TimeOfDay | None  # where a point is a day or more
    power_gaps: list[Gap]
    current_gaps: list[Gap]  # of either phase; also the half hours that only the registers tell
    usual: Usual | None
    energy: EnergyData | None  # None: no half hour of it is over yet
    peak: tuple[datetime, int] | None
    false_power: series.FalsePower | None  # readings that are in none of these figures
    base_load_w: float | None
    base_load_at_night: bool  # whether it was always found between 20:00 and 5:00

    @property
    def until(self) -> datetime:
        """Where data can end: now, or the end of the period."""
        return self.now or self.period.end

    @property
    def has_power(self) -> bool:
        """Whether the panel of the power has anything to show."""
        return self.power_w is not None or bool(self.half_hours) or self.time_of_day is not None

    @property
    def has_energy(self) -> bool:
        """Whether the panel of the energy has anything to show: what was used or what was sold."""
        return self.energy is not None and (self.energy.used.kwh, self.energy.sold.kwh) != (None, None)

    @property
    def sells(self) -> bool:
        """Whether anything was sold."""
        courses = [] if self.power_w is None else [self.power_w.lowest]
        courses += [] if self.time_of_day is None else [self.time_of_day.mean_w.ravel()]
        return any(bool(np.nanmin(values) < 0) for values in courses) or bool(self.energy and self.energy.sells)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        has_current = self.current_r_a is not None or self.current_t_a is not None
        return not (self.has_power or has_current or self.has_energy)


def load(
    connection: Connection,
    site: int,
    period: Period,
    *,
    now: datetime,
    tariff: Tariff | None,
    with_current: bool = False,
) -> PowerData:
    """Read the electricity of *period*. A handful of statements, each aggregated by the server."""
    running = now if period.start < now < period.end else None
    until = running or period.end
    edges, is_days = points_of(period, until)
    energy_data = energy_load.load(connection, site, period, now=now, tariff=tariff)
    if is_days:
        sells = energy_data is not None and energy_data.sells
        power = _by_day(connection, site, period, edges, now=now, sells=sells)
    else:
        power = _by_reading(connection, site, period, edges)
    current_r_a, current_t_a, current_gaps = (
        _currents(connection, site, edges) if with_current and not is_days else (None, None, [])
    )
    peak, false_power = series.peak(connection, site, period.start, until)
    return PowerData(
        period=period,
        now=running,
        power_w=power.course_w,
        current_r_a=current_r_a,
        current_t_a=current_t_a,
        half_hours=power.half_hours,
        time_of_day=power.time_of_day,
        power_gaps=power.gaps,
        current_gaps=current_gaps,
        usual=_usual(connection, site, period) if period.seconds <= _A_DAY_AND_A_BIT_S else None,
        energy=energy_data,
        peak=_as_read(peak, power.means_w),
        false_power=false_power,
        base_load_w=power.base_load[0] if power.base_load else None,
        base_load_at_night=power.base_load is not None and power.base_load[1],
    )


def _as_read(peak: tuple[datetime, int] | None, means_w: ArrayLike) -> tuple[datetime, int] | None:
    """Return the *peak*, in W, with its moment; None: nothing was bought, or a mean of *means_w* is higher."""
    return peak if peak and peak[1] > 0 and not np.any(np.greater(means_w, peak[1])) else None


@dataclass(frozen=True, slots=True)
class _Power:
    """The power of a range by what a point of it is, and the means of half hours that no reading shows."""

    gaps: list[Gap]
    means_w: ArrayLike = ()
    course_w: Course | None = None
    half_hours: list[tuple[Gap, float]] = field(default_factory=list)
    base_load: tuple[float, bool] | None = None
    time_of_day: TimeOfDay | None = None


def _by_day(
    connection: Connection, site: int, period: Period, edges: Sequence[datetime], *, now: datetime, sells: bool
) -> _Power:
    columns = time_of_day_load.load(connection, site, period, edges, now=now, sells=sells)
    if columns is None:
        return _Power([Gap(edges[0], edges[-1])])
    return _Power(columns.gaps, columns.mean_w, time_of_day=columns)


def _by_reading(connection: Connection, site: int, period: Period, edges: Sequence[datetime]) -> _Power:
    course_w, covered = _course(connection, site, series.POWER, edges)
    half_hours, means_w = _unread(connection, site, period, edges[-1], covered.gaps)
    gaps = coverage.without(covered.gaps, [half_hour for half_hour, _ in half_hours])
    base_load = _base_load(connection, site, period, edges[-1], covered) if course_w is not None else None
    return _Power(gaps, means_w, course_w, half_hours, base_load)


def _course(
    connection: Connection, site: int, selection: series.Selection, edges: Sequence[datetime]
) -> tuple[Course | None, Coverage]:
    """Read one value, and what is missing of it."""
    found = series.read(connection, site, selection, edges, by_reading=True)
    covered = coverage.of_readings(found.runs, edges[0], edges[-1])
    return course_of(found.points[0], covered.gaps, edges[1] - edges[0]), covered


def _currents(
    connection: Connection, site: int, edges: Sequence[datetime]
) -> tuple[Course | None, Course | None, list[Gap]]:
    """Read the current of both phases, and where one of those that there are is missing."""
    phases = [_course(connection, site, one, edges) for one in series.CURRENTS]
    (current_r_a, _), (current_t_a, _) = phases
    gaps = coverage.merged(gap for course, of_phase in phases if course is not None for gap in of_phase.gaps)
    return current_r_a, current_t_a, gaps


def _unread(
    connection: Connection, site: int, period: Period, until: datetime, gaps: Sequence[Gap]
) -> tuple[list[tuple[Gap, float]], list[float]]:
    """Return the half hours of the days without any reading with their means, and the means of all without one, W."""
    days: list[Gap] = []
    for day in period.dates():
        start = max(midnight(day, period.zone), period.start)
        end = min(midnight(day + timedelta(days=1), period.zone), until)
        # A reading was due one spacing after midnight: the gap may begin that much later.
        if any(gap.start <= start + HALF_HOUR and end <= gap.end for gap in gaps):
            days.append(Gap(start, end))
    days = coverage.merged(days)
    found = _half_hours(connection, site, coverage.merged([*gaps, *days]))
    of_days = [one for one in found if any(day.start <= one[0].start and one[0].end <= day.end for day in days)]
    return of_days, [mean_w for _, mean_w in found]


def _half_hours(connection: Connection, site: int, unread: Sequence[Gap]) -> list[tuple[Gap, float]]:
    """Return the mean power of each half hour within the stretches of *unread* that the registers tell."""
    halves: list[Span] = []
    for one in unread:
        begin = next_half_hour(one.start)
        count = max((half_hour_before(one.end) - begin) // HALF_HOUR, 0)
        halves += [(begin + n * HALF_HOUR, begin + (n + 1) * HALF_HOUR) for n in range(count)]
    if not halves:
        return []
    used, sold = energy.read(connection, site, "import_kwh", halves), energy.read_sold(connection, site, halves)
    lacks = [lack for lack in sold.lacks if lack.kwh != 0]
    stretches = [Gap(*half) for half in halves]
    unknown = coverage.overlaps(coverage.of_energy(lacks, unread[0].start, unread[-1].end), stretches)
    return [
        (stretch, W_OF_KWH * float(use.kwh - (sale.kwh or 0)))
        for stretch, use, sale, unsold in zip(stretches, used.spans, sold.spans, unknown, strict=True)
        if use.kwh is not None and not unsold
    ]


def _base_load(
    connection: Connection, site: int, period: Period, until: datetime, covered: Coverage
) -> tuple[float, bool] | None:
    """Return the base load, and whether the half hour was in the night on each day."""
    found = series.half_hours_of_power(connection, site, [(period.start, until)])
    halves = [half for half in found if half.started_at >= period.start]
    missing = coverage.overlaps(covered.gaps, [Gap(half.started_at, half.started_at + HALF_HOUR) for half in halves])
    sells = any(half.lowest_w < 0 for half in halves)
    of_days: dict[date, tuple[float, bool]] = {}
    for half, lacks in zip(halves, missing, strict=True):
        local = half.started_at.astimezone(period.zone)
        at_night = local.hour >= _EVENING or local.hour < _MORNING
        if lacks <= HALF_HOUR / 2 and half.lowest_w >= 0 and (at_night or not sells):
            mean = (half.mean_w, at_night)
            of_days[local.date()] = min(of_days.get(local.date(), mean), mean)
    if not of_days:
        return None
    return statistics.median(mean_w for mean_w, _ in of_days.values()), all(dark for _, dark in of_days.values())


def _usual(connection: Connection, site: int, period: Period) -> Usual | None:
    before = [
        (period.shifted(period.start, days=-days), period.shifted(period.end, days=-days))
        for days in range(USUAL_DAYS, 0, -1)
    ]
    count = series.days_with_power(connection, site, before)
    if count < FEWEST_USUAL_DAYS:
        before, count = before[-1:], 1
    found = series.usual_power(connection, site, before[0][0], before[-1][1], period.zone)
    known = {row.minute_of_day: row for row in found}
    if not known:
        return None
    first = min(known) % 10  # in zones such as Asia/Kathmandu ten minutes of UTC begin at five past
    rows = []
    for day in period.dates():
        for minute in range(first, 24 * 60, 10):
            moment = datetime.combine(day, time(minute // 60, minute % 60), tzinfo=period.zone).astimezone(UTC)
            moment += timedelta(minutes=5)  # drawn in the middle of the ten minutes that it stands for
            if period.start <= moment < period.end:
                values = known[minute][1:] if minute in known else [np.nan] * 3
                rows.append((days_since_epoch(moment), *values))
    x, low_w, median_w, high_w = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    return Usual(x, low_w, median_w, high_w, count) if not np.isnan(median_w).all() else None
