"""What the picture of the electricity shows: read from the record, every number worked out here, nothing drawn.

The energy is in charts.energy_load. The other figures are defined so:

* peak: the highest single reading of power, with its moment.
* base load: what runs when everybody sleeps. The lowest half-hour mean between 0:00 and 5:00; of several nights, the
  median. Where something was sold in the night (a battery), that half hour does not count. Left out of ranges whose
  points are longer than half an hour.
* usual: the median of the 28 days before; the day before where fewer than 7 of them have data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from charts import energy_load
from charts.energy_load import FEWEST_USUAL_DAYS, USUAL_DAYS, EnergyData
from charts.gaps import Gap, find_gaps, interval_s, to_frame
from charts.period import Period
from storage import series
from storage.energy import HALF_HOUR

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class with a lower-case name

    from settings import Tariff

_NIGHT_ENDS = "05:00"
_A_DAY_AND_A_BIT_S = 36 * 3600.0


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
class PowerData:
    """Everything in the picture. Frames are indexed by UTC; None means not known."""

    period: Period
    now: datetime | None  # set while the period is still running
    power: pd.DataFrame | None  # mean_w, lowest_w, highest_w, current_r_a, current_t_a; NaN in gaps
    power_gaps: list[Gap]
    is_aggregated: bool  # a point is a mean of several readings
    time_of_day: TimeOfDay | None  # only where a point is a day or more
    usual: Usual | None
    energy: EnergyData | None  # None: the first half hour is not over yet
    peak: tuple[datetime, int] | None
    base_load_w: float | None

    @property
    def until(self) -> datetime:
        """Where data can end: now, or the end of the period."""
        return self.now or self.period.end

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return self.power is None and (self.energy is None or self.energy.used.kwh is None)


def load(connection: Connection, site: int, period: Period, *, now: datetime, tariff: Tariff | None) -> PowerData:
    """Read the electricity of *period*. A handful of statements, each aggregated by the server."""
    running = now if period.start < now < period.end else None
    until = running or period.end
    buckets = series.power(connection, site, period.start, until)
    gaps = find_gaps(buckets, period.start, until) if buckets else [Gap(period.start, until)]
    frame = to_frame(buckets, gaps) if buckets else None
    return PowerData(
        period=period,
        now=running,
        power=frame,
        power_gaps=gaps,
        is_aggregated=any(bucket.readings > 1 for bucket in buckets),
        time_of_day=_time_of_day(connection, site, period, until) if buckets else None,
        usual=_usual(connection, site, period) if period.seconds <= _A_DAY_AND_A_BIT_S else None,
        energy=energy_load.load(connection, site, period, now=now, tariff=tariff),
        peak=_peak(connection, site, buckets),
        base_load_w=_base_load_w(frame, period, interval_s(buckets)) if frame is not None else None,
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


def _usual(connection: Connection, site: int, period: Period) -> Usual | None:
    before = [
        (period.shifted(period.start, days=-days), period.shifted(period.end, days=-days))
        for days in range(USUAL_DAYS, 0, -1)
    ]
    count = series.days_with_power(connection, site, before)
    if count < FEWEST_USUAL_DAYS:
        before, count = before[-1:], 1
    rows = series.usual_power(connection, site, before[0][0], before[-1][1], period.zone)
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
