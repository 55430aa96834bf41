"""What the picture of the electricity shows: read from the database, every number worked out here, nothing drawn.

The energy is in charts.energy_load. The other figures are defined so:

* peak: the highest single reading of power, with its moment. It is not known where the registers tell of a higher mean:
  then it was not read.
* readings of more power than can be true (storage.series) are in no figure and no line, and named below the picture.
* base load: the lowest mean of a half hour; of several days, the median of theirs. Where something was sold, the sun
  lowers the day: then between 20:00 and 5:00 only, and never a half hour in which something was sold. Half hours that
  lack more than half of themselves do not count. Left out of ranges whose points are longer than half an hour.
* usual: the median of the 28 days before; the day before where fewer than 7 of them have data.
* time of day: of a long range, the mean power of each half hour of the day over the days of a point; from the
  registers, and from readings where they do not give it.
* a day without any reading of power shows the mean of each half hour that the registers give.

Where something is sold, the registers give a half hour only with the export: without it the mean is not known.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import ArrayLike, NDArray

from charts import coverage, energy_load
from charts.coverage import Course, Coverage, Gap, course_of, days_since_epoch
from charts.energy_load import FEWEST_USUAL_DAYS, USUAL_DAYS, EnergyData
from charts.period import Period, due_until, half_hour_before, midnight, next_half_hour, points_of
from storage import energy, energy_map, series
from storage.steps import HALF_HOUR, Span

if TYPE_CHECKING:
    from settings import Tariff
    from storage.connection import Connection

_W_OF_KWH = 2000  # a kWh in half an hour
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
class TimeOfDay:
    """Mean power of each half hour of the day (48 rows) over the days of each point (columns)."""

    edges: list[datetime]  # one more than there are columns; midnights, and where the period begins and data can end
    mean_w: NDArray[np.float64]  # negative: sold; NaN where nothing is known
    gaps: list[Gap]  # half hours without step and without reading


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
    power_w = current_r_a = current_t_a = time_of_day = None
    current_gaps: list[Gap] = []
    peak, false_power = series.peak(connection, site, period.start, until)
    base_load: tuple[float, bool] | None = None
    half_hours: list[tuple[Gap, float]] = []
    means_w: ArrayLike = []
    if is_days:
        sells = energy_data is not None and energy_data.sells
        time_of_day = _time_of_day(connection, site, period, edges, now=now, sells=sells)
        gaps = time_of_day.gaps if time_of_day else [Gap(period.start, until)]
        means_w = time_of_day.mean_w if time_of_day else []
    else:
        power_w, covered = _course(connection, site, series.POWER, edges)
        half_hours, means_w = _unread(connection, site, period, until, covered.gaps)
        gaps = coverage.without(covered.gaps, [half_hour for half_hour, _ in half_hours])
        base_load = _base_load(connection, site, period, until, covered) if power_w is not None else None
        if with_current:
            current_r_a, current_t_a, current_gaps = _currents(connection, site, edges)
    return PowerData(
        period=period,
        now=running,
        power_w=power_w,
        current_r_a=current_r_a,
        current_t_a=current_t_a,
        half_hours=half_hours,
        time_of_day=time_of_day,
        power_gaps=gaps,
        current_gaps=current_gaps,
        usual=_usual(connection, site, period) if period.seconds <= _A_DAY_AND_A_BIT_S else None,
        energy=energy_data,
        peak=peak if peak and peak[1] > 0 and not np.any(np.greater(means_w, peak[1])) else None,
        false_power=false_power,
        base_load_w=base_load[0] if base_load else None,
        base_load_at_night=base_load is not None and base_load[1],
    )


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


class _Cells:
    """Sums of power in the cells of the map: a row for each half hour of the day, a column between two edges."""

    def __init__(self, edges: Sequence[datetime], zone: ZoneInfo) -> None:
        self._starts = np.array([edge.timestamp() for edge in edges])
        self._zone = zone
        shape = (48, len(edges) - 1)
        self._sums_w, self.counts = np.zeros(shape), np.zeros(shape)
        self._is_unsold = np.zeros(shape, dtype=np.bool_)  # no step of one half hour tells what was sold

    def add_steps(self, column: energy_map.Column) -> None:
        """Take the steps of one half hour. Where the export is known for fewer, it counts as the same in the others."""
        used_steps, sold_steps = np.array(column.used_steps), np.array(column.sold_steps)
        sold_kwh = np.array(column.sold_kwh) * used_steps / np.maximum(sold_steps, 1)
        self._sums_w[column.half_hours, column.number] = _W_OF_KWH * (np.array(column.used_kwh) - sold_kwh)
        self.counts[column.half_hours, column.number] = used_steps
        self._is_unsold[column.half_hours, column.number] = sold_steps == 0

    def drop_unsold(self, connection: Connection, site: int, span: Span) -> list[Gap]:
        """Empty the cells in which nothing is known of what was sold; return their half hours."""
        if not self._is_unsold.any():
            return []
        unsold: list[datetime] = []
        for begin, finish in energy_map.uneven(connection, site, "export_kwh", span):
            moments = (begin + n * HALF_HOUR for n in range((finish - begin) // HALF_HOUR))
            unsold += [moment for moment in moments if self._is_unsold[self._cell_of(moment)]]
        for moment in unsold:
            self._sums_w[self._cell_of(moment)] = self.counts[self._cell_of(moment)] = 0
        return [Gap(moment, moment + HALF_HOUR) for moment in unsold]

    def add_reading(self, started_at: datetime, mean_w: float) -> None:
        """Take the mean of a half hour's readings."""
        self._sums_w[self._cell_of(started_at)] += mean_w
        self.counts[self._cell_of(started_at)] += 1

    def mean_w(self) -> NDArray[np.float64]:
        """Return the mean of each cell; NaN where nothing is known."""
        means = np.full_like(self._sums_w, np.nan)
        return np.divide(self._sums_w, self.counts, out=means, where=self.counts > 0)

    def _cell_of(self, moment: datetime) -> tuple[int, int]:
        local = moment.astimezone(self._zone)
        number = int(np.searchsorted(self._starts, moment.timestamp(), "right")) - 1
        return local.hour * 2 + local.minute // 30, max(number, 0)


def _time_of_day(
    connection: Connection,
    site: int,
    period: Period,
    edges: Sequence[datetime],
    *,
    now: datetime,
    sells: bool,
) -> TimeOfDay | None:
    """Read the steps of one half hour, and the readings of what they leave; None where nothing is known."""
    start, end = next_half_hour(edges[0]), half_hour_before(edges[-1])
    cut = [start, *(min(max(edge, start), end) for edge in edges[1:-1]), end]
    cells = _Cells(cut, period.zone)
    for column in energy_map.columns(connection, site, cut, period.zone):
        cells.add_steps(column)
    unsold = cells.drop_unsold(connection, site, (start, end)) if sells else []
    is_whole = int(cells.counts.sum()) == (end - start) // HALF_HOUR  # then there is no need to look for what is left
    left = [] if is_whole else [Gap(*one) for one in energy_map.uneven(connection, site, "import_kwh", (start, end))]
    left = coverage.merged([*left, *coverage.without(unsold, left)])
    read = series.half_hours_of_power(connection, site, [(gap.start, gap.end) for gap in left])
    for half in read:
        cells.add_reading(half.started_at, half.mean_w)
    if not cells.counts.any():
        return None
    gaps = coverage.without(left, [Gap(half.started_at, half.started_at + HALF_HOUR) for half in read])
    return TimeOfDay(list(edges), cells.mean_w(), [gap for gap in gaps if gap.start < due_until(now)])


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
        (stretch, _W_OF_KWH * float(use.kwh - (sale.kwh or 0)))
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
