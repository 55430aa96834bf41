"""What the picture of the electricity shows: read from the record, every number worked out here, nothing drawn.

kWh are differences of the meter's registers and stay exact decimals. The other figures are defined so:

* peak: the highest single reading of power, with its moment.
* base load: what runs when everybody sleeps. The lowest half-hour mean between 0:00 and 5:00; of several nights, the
  median. Where something was sold in the night (a battery), that half hour does not count. Left out of ranges whose
  points are longer than half an hour.
* usual: the median of the 28 days before; the day before where fewer than 7 of them have data. A range of more than a
  day is compared with the same length before it. A period that is still running is compared up to the same time.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from charts.cost import cost_yen
from charts.gaps import Gap, find_gaps, interval_s, to_frame
from charts.period import Period
from charts.steps import HALF_HOUR, Span, Step, clipped, next_half_hour, spans, step_of
from storage import series

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class with a lower-case name

    from settings import Tariff

USUAL_DAYS = 28
_FEWEST_USUAL_DAYS = 7
_NIGHT_ENDS = "05:00"
_A_DAY_AND_A_BIT_S = 36 * 3600.0

ComparedWith = Literal["usual", "yesterday", "before"]


@dataclass(frozen=True, slots=True)
class Usual:
    """The usual course of the power over the period; index UTC, columns low_w, median_w, high_w."""

    power: pd.DataFrame
    days: int  # 1: it is the day before


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """When in the day power is used: mean power of each half hour (48 rows) over the days of each point (columns)."""

    edges: list[datetime]  # one more than there are columns
    mean_w: NDArray[np.float64]  # NaN where nothing was read

    @property
    def missing(self) -> timedelta:
        """How long nothing was read, in whole half hours; of a point of several days, at most all of it."""
        read = (~np.isnan(self.mean_w)).sum(axis=0).tolist()
        total = timedelta()
        for start, end, half_hours in zip(self.edges, self.edges[1:], read, strict=False):
            whole = min((end - start) // HALF_HOUR, 48)
            total += max(whole - half_hours, 0) / whole * (end - start) if whole else timedelta()
        return total


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more than usual was bought; negative: less."""

    kwh: Decimal
    usual_kwh: Decimal
    compared_with: ComparedWith
    days: int


@dataclass(frozen=True, slots=True)
class PowerData:
    """Everything in the picture. Frames are indexed by UTC; None means not known."""

    period: Period
    now: datetime | None  # set while the period is still running
    power: pd.DataFrame | None  # mean_w, lowest_w, highest_w, current_r_a, current_t_a; NaN in gaps
    power_gaps: list[Gap]
    is_aggregated: bool  # a point is a mean of several readings
    time_of_day: TimeOfDay | None  # only where a point is a day or more
    usual: Usual | None
    step: Step
    bars: list[series.Energy]
    total: series.Energy | None
    peak: tuple[datetime, int] | None
    base_load_w: float | None
    difference: Difference | None
    cost_yen: Decimal | None

    @property
    def until(self) -> datetime:
        """Where data can end: now, or the end of the period."""
        return self.now or self.period.end

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return self.power is None and self.total is None


def load(connection: Connection, site: int, period: Period, *, now: datetime, tariff: Tariff | None) -> PowerData:
    """Read the electricity of *period*. A handful of statements, each aggregated by the server."""
    running = now if period.start < now < period.end else None
    until = running or period.end
    buckets = series.power(connection, site, period.start, until)
    gaps = find_gaps(buckets, period.start, until) if buckets else [Gap(period.start, until)]
    frame = to_frame(buckets, gaps) if buckets else None
    held = series.registers_held(connection, site, next_half_hour(period.start), until)
    step = step_of(period)
    bars, total = _energy(connection, site, period, step, held)
    return PowerData(
        period=period,
        now=running,
        power=frame,
        power_gaps=gaps,
        is_aggregated=any(bucket.readings > 1 for bucket in buckets),
        time_of_day=_time_of_day(connection, site, period, until) if buckets else None,
        usual=_usual(connection, site, period) if period.seconds <= _A_DAY_AND_A_BIT_S else None,
        step=step,
        bars=bars,
        total=total,
        peak=_peak(connection, site, buckets),
        base_load_w=_base_load_w(frame, period, interval_s(buckets)) if frame is not None else None,
        difference=_difference(connection, site, period, total),
        cost_yen=cost_yen(connection, site, period, total, tariff) if tariff else None,
    )


def _time_of_day(connection: Connection, site: int, period: Period, until: datetime) -> TimeOfDay | None:
    length_s = series.bucket_s(period.start, until)
    if length_s < 86_400:
        return None
    count = math.ceil((until - period.start).total_seconds() / length_s)
    mean_w = np.full((48, count), np.nan)
    for number, half_hours, means_w in series.power_by_time_of_day(connection, site, period.start, until, period.zone):
        mean_w[half_hours, number] = means_w
    edges = [period.start + timedelta(seconds=length_s * number) for number in range(count)]
    return TimeOfDay([*edges, until], mean_w)


def _energy(
    connection: Connection, site: int, period: Period, step: Step, held: Span | None
) -> tuple[list[series.Energy], series.Energy | None]:
    """Return the bars and the total. The total is the difference between the first and the last register.

    Where that is not known (the meter was exchanged) it is the sum of what is known.
    """
    if held is None or held[0] == held[1]:
        return [], None
    bars = series.energy(connection, site, clipped(spans(period, step), *held))
    total = series.energy(connection, site, [held])[0]
    if total.used_kwh is None:
        total = total._replace(used_kwh=_sum(bar.used_kwh for bar in bars))
    if total.sold_kwh is None:
        total = total._replace(sold_kwh=_sum(bar.sold_kwh for bar in bars))
    return bars, None if total.used_kwh is None else total


def _sum(values: Iterable[Decimal | None]) -> Decimal | None:
    known = [value for value in values if value is not None]
    return sum(known, Decimal(0)) if known else None


def _peak(connection: Connection, site: int, buckets: list[series.PowerBucket]) -> tuple[datetime, int] | None:
    if not buckets:
        return None
    top = max(buckets, key=lambda bucket: bucket.highest_w)
    if top.highest_w <= 0:
        return None
    return series.moment_of_power(connection, site, top, top.highest_w), top.highest_w


def _base_load_w(power: pd.DataFrame, period: Period, reading_s: float) -> float | None:
    known = power[["mean_w", "lowest_w", "readings"]].dropna()
    night = known.set_axis(pd.DatetimeIndex(known.index).tz_convert(period.zone)).between_time(
        "00:00", _NIGHT_ENDS, inclusive="left"
    )
    if night.empty or series.bucket_s(period.start, period.end) > HALF_HOUR.total_seconds():
        return None
    halves = night.resample(HALF_HOUR).agg({"mean_w": "mean", "lowest_w": "min", "readings": "sum"}).dropna()
    # A half hour of which little was read would make a lucky moment the base load.
    whole = halves[(halves["lowest_w"] >= 0) & (halves["readings"] * reading_s >= HALF_HOUR.total_seconds() / 2)]
    if whole.empty:
        return None
    return float(whole["mean_w"].resample("D").min().median())


def _days_before(period: Period, days: int) -> Period:
    """Return the same clock times *days* earlier."""
    start, end = (_shifted(moment, -days, period) for moment in (period.start, period.end))
    return Period(start, end, period.zone)


def _shifted(moment: datetime, days: int, period: Period) -> datetime:
    local = moment.astimezone(period.zone)
    return (local.replace(tzinfo=None) + timedelta(days=days)).replace(tzinfo=period.zone).astimezone(UTC)


def _usual(connection: Connection, site: int, period: Period) -> Usual | None:
    before = [_days_before(period, days) for days in range(USUAL_DAYS, 0, -1)]
    count = series.days_with_power(connection, site, [(day.start, day.end) for day in before])
    if count < _FEWEST_USUAL_DAYS:
        before, count = before[-1:], 1
    rows = series.usual_power(connection, site, before[0].start, before[-1].end, period.zone)
    if not rows:
        return None
    by_minute = pd.DataFrame(rows).set_index("minute_of_day").astype("float64")
    days = []
    for day in period.dates():
        clocks = (time(minute // 60, minute % 60) for minute in by_minute.index)
        # Drawn in the middle of the ten minutes that it stands for.
        moments = [datetime.combine(day, clock, tzinfo=period.zone).astimezone(UTC) for clock in clocks]
        days.append(by_minute.set_axis(pd.DatetimeIndex(moments) + timedelta(minutes=5)))
    course = pd.concat(days)
    return Usual(course[(course.index >= period.start) & (course.index < period.end)], count)


def _difference(connection: Connection, site: int, period: Period, total: series.Energy | None) -> Difference | None:
    if total is None or total.used_kwh is None:
        return None
    if period.seconds > _A_DAY_AND_A_BIT_S:
        days = period.days
        before = [(_shifted(total.started_at, -days, period), _shifted(total.ended_at, -days, period))]
        return _compared(total.used_kwh, series.energy(connection, site, before), "before", days)
    shifts = range(USUAL_DAYS, 0, -1)
    before = [(_shifted(total.started_at, -d, period), _shifted(total.ended_at, -d, period)) for d in shifts]
    energies = series.energy(connection, site, before)
    known = [energy for energy in energies if energy.used_kwh is not None]
    if len(known) >= _FEWEST_USUAL_DAYS:
        return _compared(total.used_kwh, known, "usual", len(known))
    return _compared(total.used_kwh, energies[-1:], "yesterday", 1)


def _compared(
    used_kwh: Decimal, others: Sequence[series.Energy], compared_with: ComparedWith, days: int
) -> Difference | None:
    known = [other.used_kwh for other in others if other.used_kwh is not None]
    if not known:
        return None
    usual_kwh = statistics.median(known)
    return Difference(used_kwh - usual_kwh, usual_kwh, compared_with, days)
