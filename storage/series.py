"""Series for the pictures, aggregated in SQL: about 1,500 points whatever the range, and always of one site.

The energy is in storage.energy.

Times go in and come out aware, in UTC. Ranges are half-open. Each function runs one statement on the connection it is
given and leaves opening, closing and errors to its caller.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class with a lower-case name

MOST_POINTS = 1500  # a picture is 1,200 px wide: more points a row of pixels cannot show

# Lengths that people count in. A day of one-minute polls falls on 60 s: its buckets are the readings themselves.
# Beyond a month a point is a day or several: a line that rises and falls every day would be a solid block.
_DAY_S = 86_400
_BUCKETS_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, _DAY_S)

# date_part gives a double: extract gives a numeric from PostgreSQL 14 on, which is slower.
_POWER = """
select min(measured_at) as first_at, max(measured_at) as last_at, count(*) as readings,
       sum(power_w)::float8 / count(*) as mean_w, min(power_w) as lowest_w, max(power_w) as highest_w,
       max(abs(current_r_a))::float8 as current_r_a, max(abs(current_t_a))::float8 as current_t_a
from power
where site_id = %(site_id)s and measured_at >= %(start)s and measured_at < %(end)s and power_w is not null
group by floor((date_part('epoch', measured_at) - %(origin_s)s) / %(bucket_s)s)
order by 1
"""

_MOMENT_OF_POWER = """
select min(measured_at) from power
where site_id = %(site_id)s and measured_at >= %(start)s and measured_at <= %(end)s and power_w = %(power_w)s
"""

# A median of ten-minute means: the mean takes one kettle for what it is, the median leaves out one odd day.
_USUAL_POWER = """
with ten_minutes as (
    select floor(date_part('epoch', measured_at) / 600) as tenth, sum(power_w)::float8 / count(*) as mean_w
    from power
    where site_id = %(site_id)s and measured_at >= %(start)s and measured_at < %(end)s and power_w is not null
    group by 1
), local_time as (
    select to_timestamp(tenth * 600) at time zone %(zone)s as local_at, mean_w from ten_minutes
)
select (date_part('hour', local_at) * 60 + date_part('minute', local_at))::integer as minute_of_day,
       percentile_cont(0.25) within group (order by mean_w) as low_w,
       percentile_cont(0.5) within group (order by mean_w) as median_w,
       percentile_cont(0.75) within group (order by mean_w) as high_w
from local_time
group by 1
order by 1
"""

# Half hours first: only those are turned into local time, not each reading. An array a column keeps a year small.
_POWER_BY_TIME_OF_DAY = """
with half_hours as (
    select floor(date_part('epoch', measured_at) / 1800) * 1800 as half_hour_s,
           sum(power_w)::float8 as sum_w, count(*) as readings
    from power
    where site_id = %(site_id)s and measured_at >= %(start)s and measured_at < %(end)s and power_w is not null
    group by 1
), local_time as (
    select greatest(floor((half_hour_s - %(origin_s)s) / %(bucket_s)s), 0)::integer as number,
           to_timestamp(half_hour_s) at time zone %(zone)s as local_at, sum_w, readings
    from half_hours
), cells as (
    select number, (date_part('hour', local_at) * 2 + floor(date_part('minute', local_at) / 30))::integer as half_hour,
           sum(sum_w) / sum(readings) as mean_w
    from local_time
    group by 1, 2
)
select number, array_agg(half_hour) as half_hours, array_agg(mean_w) as means_w from cells group by 1 order by 1
"""

_DAYS_WITH_POWER = """
select count(*) from unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[]) as day(start_at, end_at)
where exists (
    select from power where site_id = %(site_id)s and measured_at >= start_at and measured_at < end_at
        and power_w is not null
)
"""

_CPU = """
select min(measured_at) as first_at, max(measured_at) as last_at, count(*) as readings,
       avg(temperature_c) as mean, min(temperature_c) as lowest, max(temperature_c) as highest
from cpu_temperature
where site_id = %(site_id)s and measured_at >= %(start)s and measured_at < %(end)s
group by floor((date_part('epoch', measured_at) - %(origin_s)s) / %(bucket_s)s)
order by 1
"""

_CO2 = """
select min(measured_at) as first_at, max(measured_at) as last_at, count(*) as readings,
       sum(co2_ppm)::float8 / count(*) as mean, min(co2_ppm)::float8 as lowest, max(co2_ppm)::float8 as highest,
       count(*) filter (where co2_ppm > %(limit_ppm)s) as over_limit
from co2
where site_id = %(site_id)s and measured_at >= %(start)s and measured_at < %(end)s and warming_up = %(warming_up)s
group by floor((date_part('epoch', measured_at) - %(origin_s)s) / %(bucket_s)s)
order by 1
"""

_BME280 = """
select min(measured_at) as first_at, max(measured_at) as last_at, count(*) as readings,
       avg(temperature_c) as temperature, min(temperature_c) as lowest_temperature,
       max(temperature_c) as highest_temperature,
       avg(humidity_pct) as humidity, min(humidity_pct) as lowest_humidity, max(humidity_pct) as highest_humidity,
       avg(pressure_hpa) as pressure, min(pressure_hpa) as lowest_pressure, max(pressure_hpa) as highest_pressure
from bme280
where site_id = %(site_id)s and measured_at >= %(start)s and measured_at < %(end)s
group by floor((date_part('epoch', measured_at) - %(origin_s)s) / %(bucket_s)s)
order by 1
"""

_SITE = "select site_id from site where name = %(name)s"


class PowerBucket(NamedTuple):
    """Readings of power that fall on one point of the picture. Currents are the highest of them, without sign."""

    first_at: datetime
    last_at: datetime
    readings: int
    mean_w: float
    lowest_w: int
    highest_w: int
    current_r_a: float | None
    current_t_a: float | None


class Bucket(NamedTuple):
    """Readings of one quantity that fall on one point of the picture, in the quantity's own unit."""

    first_at: datetime
    last_at: datetime
    readings: int
    mean: float
    lowest: float
    highest: float
    over_limit: int = 0  # readings above the limit that was asked for


class UsualPower(NamedTuple):
    """What is usual at one time of day: the middle half of the days lies between low_w and high_w."""

    minute_of_day: int
    low_w: float
    median_w: float
    high_w: float


class PowerColumn(NamedTuple):
    """The mean power of each half hour of the day (0 to 47, where there are readings) over the days of one point."""

    number: int  # of the point, from 0
    half_hours: list[int]
    means_w: list[float]


class RoomAir(NamedTuple):
    """The three quantities of a BME280."""

    temperature_c: list[Bucket]
    humidity_pct: list[Bucket]
    pressure_hpa: list[Bucket]


def bucket_s(start: datetime, end: datetime) -> int:
    """Return the seconds that one point stands for: the shortest of our lengths that keeps to MOST_POINTS."""
    span_s = (end - start).total_seconds()
    for length_s in _BUCKETS_S:
        if span_s / length_s <= MOST_POINTS:
            return length_s
    return _DAY_S * math.ceil(span_s / (_DAY_S * MOST_POINTS))


def site_id(connection: Connection, name: str) -> int | None:
    """Return the number of the site called *name*, None where the record has no such site."""
    rows = _fetch(connection, _SITE, name=name)
    return rows[0][0] if rows else None


def power(connection: Connection, site: int, start: datetime, end: datetime) -> list[PowerBucket]:
    """Read the power, a bucket a point; readings without power are left out, so that they show as gaps."""
    return [PowerBucket(*row) for row in _fetch(connection, _POWER, **_range(site, start, end))]


def power_by_time_of_day(
    connection: Connection, site: int, start: datetime, end: datetime, zone: ZoneInfo
) -> list[PowerColumn]:
    """Read when in the day power is used, a column a point; for ranges whose points are days."""
    values = _range(site, start, end)
    return [PowerColumn(*row) for row in _fetch(connection, _POWER_BY_TIME_OF_DAY, **values, zone=zone.key)]


def moment_of_power(connection: Connection, site: int, bucket: PowerBucket, power_w: int) -> datetime:
    """Return when a power seen in *bucket* was first measured there."""
    rows = _fetch(
        connection, _MOMENT_OF_POWER, site_id=site, start=bucket.first_at, end=bucket.last_at, power_w=power_w
    )
    return _utc(rows[0][0])


def usual_power(connection: Connection, site: int, start: datetime, end: datetime, zone: ZoneInfo) -> list[UsualPower]:
    """Read what is usual at each ten minutes of the day in *zone*, over the days from *start* to *end*."""
    rows = _fetch(connection, _USUAL_POWER, site_id=site, start=start, end=end, zone=zone.key)
    return [UsualPower(*row) for row in rows]


def days_with_power(connection: Connection, site: int, spans: Sequence[tuple[datetime, datetime]]) -> int:
    """Count the spans in which any power was read."""
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    return int(_fetch(connection, _DAYS_WITH_POWER, site_id=site, starts=starts, ends=ends)[0][0])


def cpu_temperature(connection: Connection, site: int, start: datetime, end: datetime) -> list[Bucket]:
    """Read the CPU temperature, degrees Celsius."""
    return [Bucket(*row) for row in _fetch(connection, _CPU, **_range(site, start, end))]


def co2(
    connection: Connection, site: int, start: datetime, end: datetime, *, warming_up: bool, limit_ppm: int
) -> list[Bucket]:
    """Read the CO2 in ppm, either settled readings or those of a sensor that was warming up."""
    values = _range(site, start, end)
    rows = _fetch(connection, _CO2, **values, warming_up=warming_up, limit_ppm=limit_ppm)
    return [Bucket(*row) for row in rows]


def room_air(connection: Connection, site: int, start: datetime, end: datetime) -> RoomAir:
    """Read the BME280: degrees Celsius, percent relative humidity, hPa."""
    rows = _fetch(connection, _BME280, **_range(site, start, end))
    return RoomAir(
        temperature_c=[Bucket(*row[:3], *row[3:6]) for row in rows],
        humidity_pct=[Bucket(*row[:3], *row[6:9]) for row in rows],
        pressure_hpa=[Bucket(*row[:3], *row[9:12]) for row in rows],
    )


def _range(site: int, start: datetime, end: datetime) -> dict[str, Any]:
    length_s = bucket_s(start, end)
    return {"site_id": site, "start": start, "end": end, "origin_s": start.timestamp(), "bucket_s": length_s}


def _fetch(connection: Connection, sql: str, **values: object) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
