"""What the picture of the air shows: read from the record, minima and maxima found here, nothing drawn.

Readings of a CO2 sensor that was warming up are kept apart: they are no measurements yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd

from charts.gaps import Gap, find_gaps, interval_s, to_frame
from charts.period import Period
from storage import series

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class with a lower-case name

# Japan's hygiene standard for buildings (Act on Maintenance of Sanitation in Buildings, enforcement order, article 2,
# as of 2022): 18 to 28 degrees Celsius, 40 to 70 percent, at most 1,000 ppm of CO2.
COMFORT_C = (18, 28)
COMFORT_PCT = (40, 70)
LIMIT_PPM = 1000

_LONGEST_POINT = timedelta(minutes=30)  # the mean of a day says little about its hours


@dataclass(frozen=True, slots=True)
class Extreme:
    """A smallest or largest reading; the moment is exact to the length of one point of the picture."""

    moment: datetime
    value: float


@dataclass(frozen=True, slots=True)
class Quantity:
    """One panel: index UTC, columns readings, mean, lowest, highest, over_limit; rows of NaN in the gaps."""

    frame: pd.DataFrame
    gaps: list[Gap]
    highest: Extreme
    lowest: Extreme
    is_aggregated: bool
    interval: timedelta  # between two readings
    point: timedelta  # what one row of the frame stands for

    @property
    def mean(self) -> float:
        """The mean of all readings."""
        known = self.frame.dropna()
        return float((known["mean"] * known["readings"]).sum() / known["readings"].sum())

    def share_within(self, low: float, high: float) -> float | None:
        """Return the part of the readings, 0 to 1, between *low* and *high*; None where a point hides the hours."""
        if self.point > _LONGEST_POINT:
            return None
        known = self.frame.dropna()
        return float(known["readings"][known["mean"].between(low, high)].sum() / known["readings"].sum())

    @property
    def time_over_limit(self) -> timedelta:
        """How long the readings were above the limit."""
        return self.interval * int(self.frame["over_limit"].sum())


@dataclass(frozen=True, slots=True)
class AirData:
    """Everything in the picture. None: there is no such sensor, or it was silent."""

    period: Period
    now: datetime | None  # set while the period is still running
    room_c: Quantity | None
    humidity_pct: Quantity | None
    pressure_hpa: Quantity | None
    co2_ppm: Quantity | None
    co2_warming_up: pd.DataFrame | None
    co2_gaps: list[Gap]  # without any reading, settled or not
    cpu_c: Quantity | None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return all(part is None for part in (self.room_c, self.co2_ppm, self.co2_warming_up, self.cpu_c))


def load(connection: Connection, site: int, period: Period, *, now: datetime) -> AirData:
    """Read the air of *period*, a statement a sensor."""
    running = now if period.start < now < period.end else None
    start, until = period.start, running or period.end
    point = timedelta(seconds=series.bucket_s(start, until))
    room = series.room_air(connection, site, start, until)
    settled = series.co2(connection, site, start, until, warming_up=False, limit_ppm=LIMIT_PPM)
    warming_up = series.co2(connection, site, start, until, warming_up=True, limit_ppm=LIMIT_PPM)
    both = sorted(settled + warming_up)
    return AirData(
        period=period,
        now=running,
        room_c=_quantity(room.temperature_c, start, until, point),
        humidity_pct=_quantity(room.humidity_pct, start, until, point),
        pressure_hpa=_quantity(room.pressure_hpa, start, until, point),
        co2_ppm=_quantity(settled, start, until, point),
        co2_warming_up=to_frame(warming_up, find_gaps(warming_up, start, until)) if warming_up else None,
        co2_gaps=find_gaps(both, start, until),
        cpu_c=_quantity(series.cpu_temperature(connection, site, start, until), start, until, point),
    )


def _quantity(buckets: Sequence[series.Bucket], start: datetime, until: datetime, point: timedelta) -> Quantity | None:
    if not buckets:
        return None
    gaps = find_gaps(buckets, start, until)
    highest = max(buckets, key=lambda bucket: bucket.highest)
    lowest = min(buckets, key=lambda bucket: bucket.lowest)
    return Quantity(
        frame=to_frame(buckets, gaps),
        gaps=gaps,
        highest=Extreme(_middle(highest), highest.highest),
        lowest=Extreme(_middle(lowest), lowest.lowest),
        is_aggregated=any(bucket.readings > 1 for bucket in buckets),
        interval=timedelta(seconds=interval_s(buckets)),
        point=point,
    )


def _middle(bucket: series.Bucket) -> datetime:
    return bucket.first_at + (bucket.last_at - bucket.first_at) / 2
