"""Series for the pictures, aggregated in SQL: about 1,500 points whatever the range, and always of one site.

The energy is in storage.energy and storage.energy_map.

Times go in and come out aware, in UTC. Ranges are half-open. Each function runs one statement on the connection it is
given and leaves opening, closing and errors to its caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from storage.steps import Span, fetched

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from storage.connection import Connection


class Selection(NamedTuple):
    """Readings of one table: *values* are numbers that may be null, *counted* are conditions; both are constant SQL."""

    table: str
    values: tuple[str, ...]
    counted: tuple[str, ...] = ()
    condition: str = "true"


class Point(NamedTuple):
    """The readings of one value that fall on one point of the picture."""

    first_at: datetime
    last_at: datetime
    readings: int
    mean: float
    lowest: float
    highest: float


class Run(NamedTuple):
    """Readings that follow one another evenly: *spacings* of them, all alike, up to the reading that comes next."""

    first_at: datetime
    next_at: datetime | None  # of the run after it; None: the readings end here
    last_at: datetime
    spacings: int
    readings: int
    counted: tuple[int, ...]  # how many fulfil each condition of the selection


class Series(NamedTuple):
    """The points of each value of the selection, and the runs of its readings, in the order of time."""

    points: list[list[Point]]
    runs: list[Run]


# A spacing is the time to the next reading. Where points are days it is the mean of half an hour, which is less than a
# pixel of the shortest such picture. The half hours of a year fit into the memory that PostgreSQL takes by default,
# quarters did not. Gaps that leave half of its readings do not show there.
# date_part gives a double: extract gives a numeric from PostgreSQL 14 on, which is slower.
_SERIES = """
with unit as materialized (
    select min(measured_at) as first_at, max(measured_at) as last_at, count(*) as readings, {aggregates}
    from {table}
    where site_id = %(site_id)s and measured_at >= %(start)s and measured_at < %(end)s and {condition}
    group by {unit}
), spaced as (
    select *, lead(first_at) over units as next_at,
        date_part('epoch', first_at - lag(first_at) over units) / lag(readings) over units as spacing_before_s,
        date_part('epoch', lead(first_at) over units - first_at) / readings as spacing_s
    from unit
    window units as (order by first_at)
), numbered as (
    select *, sum(
        case when abs(spacing_s - spacing_before_s) <= 0.5 or next_at is null and spacing_before_s is not null then 0
            else 1 end
    ) over (order by first_at rows unbounded preceding) as run
    from spaced
)
select min(first_at) as first_at, max(last_at) as last_at, null as next_at, null as spacings, sum(readings)::bigint,
    array[{points}]::float8[]
from unit
group by width_bucket(date_part('epoch', first_at), %(edges_s)s::float8[])
union all
select min(first_at), max(last_at), nullif(max(coalesce(next_at, 'infinity')), 'infinity'), count(*),
    sum(readings)::bigint, array[{counts}]::float8[]
from numbered
group by run
order by 1
"""
_VALUE = (
    "count({value}) as count_{n}, sum({value})::float8 as sum_{n}, "
    "min({value})::float8 as lowest_{n}, max({value})::float8 as highest_{n}"
)
_POINT = "sum(count_{n}), sum(sum_{n}) / nullif(sum(count_{n}), 0), min(lowest_{n}), max(highest_{n})"

# As much as energy_step_kwh in init.sql takes for true: 100 kWh in half an hour.
TRUE_POWER_KW = 200
TRUE_POWER = f"power_w between {-1000 * TRUE_POWER_KW} and {1000 * TRUE_POWER_KW}"

# Hardly a reading reaches the peak of the last day: to look at all of ten years would take longer than to read them.
# Arrays are compared by their first number, then by the second.
_PEAK = f"""
select max(array[power_w, -date_part('epoch', measured_at)]) filter (where {TRUE_POWER}),
    min(array[date_part('epoch', measured_at), power_w]) filter (where not {TRUE_POWER}),
    count(*) filter (where not {TRUE_POWER})
from power
where (not {TRUE_POWER} or power_w >= coalesce((
        select max(power_w) from power
        where site_id = %(site_id)s and measured_at >= greatest(%(start)s, %(end)s - interval '1 day')
            and measured_at < %(end)s and {TRUE_POWER}
    ), -2147483648))
    and site_id = %(site_id)s and measured_at >= %(start)s and measured_at < %(end)s
"""

# A median of ten-minute means: the mean takes one kettle for what it is, the median leaves out one odd day.
_USUAL_POWER = f"""
with ten_minutes as (
    select floor(date_part('epoch', measured_at) / 600) as tenth, sum(power_w)::float8 / count(*) as mean_w
    from power
    where site_id = %(site_id)s and measured_at >= %(start)s and measured_at < %(end)s and {TRUE_POWER}
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

_HALF_HOURS = f"""
select to_timestamp(floor(date_part('epoch', measured_at) / 1800) * 1800) as started_at,
       sum(power_w)::float8 / count(*) as mean_w, min(power_w) as lowest_w
from power
join unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[]) as stretch (start_at, end_at)
    on measured_at >= start_at and measured_at < end_at
where site_id = %(site_id)s and {TRUE_POWER}
group by 1
order by 1
"""

_DAYS_WITH_POWER = f"""
select count(*) from unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[]) as day(start_at, end_at)
where exists (
    select from power where site_id = %(site_id)s and measured_at >= start_at and measured_at < end_at
        and {TRUE_POWER}
)
"""

_PRESSURES = """
select (array_agg(pressure_hpa order by measured_at))[1], (array_agg(pressure_hpa order by measured_at desc))[1]
from bme280
where site_id = %(site_id)s and measured_at in (
    (select min(measured_at) from bme280
     where site_id = %(site_id)s and measured_at >= %(start)s and measured_at < %(end)s),
    (select max(measured_at) from bme280
     where site_id = %(site_id)s and measured_at >= %(start)s and measured_at < %(end)s)
)
"""

_MOMENTS = """
select coalesce((
    select min(measured_at) from {table}
    where site_id = %(site_id)s and measured_at >= start_at and measured_at <= end_at and ({value})::float8 = number
), start_at)
from unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[], %(numbers)s::float8[])
    with ordinality as wanted (start_at, end_at, number, place)
order by place
"""

_SITE = "select site_id from site where name = %(name)s"


class HalfHourPower(NamedTuple):
    """The readings of power of one half hour."""

    started_at: datetime
    mean_w: float
    lowest_w: int


class FalsePower(NamedTuple):
    """Readings of power that cannot be true: more than TRUE_POWER_KW, bought or sold."""

    first_at: datetime
    first_w: int
    readings: int


class UsualPower(NamedTuple):
    """What is usual at one time of day: the middle half of the days lies between low_w and high_w."""

    minute_of_day: int
    low_w: float
    median_w: float
    high_w: float


POWER = Selection("power", ("power_w",), condition=TRUE_POWER)
# Each a selection of its own: a meter may lack one of them where it tells the others.
CURRENTS = tuple(
    Selection("power", (value,), condition=f"{value} is not null") for value in ("current_r_a", "current_t_a")
)
CPU = Selection("cpu_temperature", ("temperature_c",))


def room(comfort_c: tuple[int, int], comfort_pct: tuple[int, int]) -> Selection:
    """Return the BME280: degrees Celsius, percent, hPa; counted are readings within the two ranges, ends included."""
    return Selection(
        "bme280",
        ("temperature_c", "humidity_pct", "pressure_hpa"),
        (
            f"temperature_c between {int(comfort_c[0])} and {int(comfort_c[1])}",
            f"humidity_pct between {int(comfort_pct[0])} and {int(comfort_pct[1])}",
        ),
    )


def co2(limit_ppm: int) -> Selection:
    """Return the CO2 in ppm, settled and warming up; counted are settled readings above *limit_ppm*."""
    return Selection(
        "co2",
        ("case when not warming_up then co2_ppm end", "case when warming_up then co2_ppm end"),
        (f"not warming_up and co2_ppm > {int(limit_ppm)}",),
    )


def read(
    connection: Connection, site: int, selection: Selection, edges: Sequence[datetime], *, by_reading: bool
) -> Series:
    """Read a point for each two neighbouring *edges*; runs are of single readings, or of half hours."""
    rows = fetched(
        connection,
        _statement(selection, by_reading=by_reading),
        site_id=site,
        start=edges[0],
        end=edges[-1],
        origin_s=edges[1].timestamp(),  # a midnight: units begin there too, also at 18:15 in UTC
        edges_s=[edge.timestamp() for edge in edges],  # a cast to timestamptz[] would be made anew for each row
    )
    points: list[list[Point]] = [[] for _ in selection.values]
    runs = []
    for first_at, last_at, next_at, spacings, readings, numbers in rows:
        first_at, last_at = _utc(first_at), _utc(last_at)
        if spacings is not None:
            counted = tuple(int(number) for number in numbers)
            runs.append(Run(first_at, next_at and _utc(next_at), last_at, spacings, readings, counted))
            continue
        for place, value in enumerate(points):
            count, mean, lowest, highest = numbers[4 * place : 4 * place + 4]
            if count:
                value.append(Point(first_at, last_at, int(count), mean, lowest, highest))
    return Series(points, runs)


def site_id(connection: Connection, name: str) -> int | None:
    """Return the number of the site called *name*, None where the database has no such site."""
    rows = fetched(connection, _SITE, name=name)
    return rows[0][0] if rows else None


def peak(
    connection: Connection, site: int, start: datetime, end: datetime
) -> tuple[tuple[datetime, int] | None, FalsePower | None]:
    """Return the highest true reading of power with its moment, the first of several, and those that cannot be true.

    None: there is no such reading.
    """
    highest, false, readings = fetched(connection, _PEAK, site_id=site, start=start, end=end)[0]
    return (
        (datetime.fromtimestamp(-highest[1], UTC), int(highest[0])) if highest else None,
        FalsePower(datetime.fromtimestamp(false[0], UTC), int(false[1]), readings) if false else None,
    )


def pressures(connection: Connection, site: int, start: datetime, end: datetime) -> tuple[float, float]:
    """Return the first and the last reading of the air pressure, hPa; there must be one."""
    return fetched(connection, _PRESSURES, site_id=site, start=start, end=end)[0]


def moments(
    connection: Connection, site: int, table: str, value: str, found: Sequence[tuple[Point, float]]
) -> list[datetime]:
    """Return when each number was first read of *value*, which is constant SQL, within the point that has it.

    Where the number is not found again, it is where the point begins.
    """
    rows = fetched(
        connection,
        _MOMENTS.format(table=table, value=value),
        site_id=site,
        starts=[point.first_at for point, _ in found],
        ends=[point.last_at for point, _ in found],
        numbers=[number for _, number in found],
    )
    return [_utc(moment) for (moment,) in rows]


def half_hours_of_power(connection: Connection, site: int, stretches: Sequence[Span]) -> list[HalfHourPower]:
    """Read the power of each half hour that has readings."""
    starts, ends = [start for start, _ in stretches], [end for _, end in stretches]
    rows = fetched(connection, _HALF_HOURS, site_id=site, starts=starts, ends=ends) if stretches else []
    return [HalfHourPower(_utc(started_at), mean_w, lowest_w) for started_at, mean_w, lowest_w in rows]


def usual_power(connection: Connection, site: int, start: datetime, end: datetime, zone: ZoneInfo) -> list[UsualPower]:
    """Read what is usual at each ten minutes of the day in *zone*, over the days from *start* to *end*."""
    rows = fetched(connection, _USUAL_POWER, site_id=site, start=start, end=end, zone=zone.key)
    return [UsualPower(*row) for row in rows]


def days_with_power(connection: Connection, site: int, spans: Sequence[Span]) -> int:
    """Count the spans in which any power was read."""
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    return int(fetched(connection, _DAYS_WITH_POWER, site_id=site, starts=starts, ends=ends)[0][0])


def _statement(selection: Selection, *, by_reading: bool) -> str:
    values = [_VALUE.format(value=value, n=n) for n, value in enumerate(selection.values)]
    counted = [f"count(*) filter (where {condition}) as counted_{n}" for n, condition in enumerate(selection.counted)]
    return _SERIES.format(
        table=selection.table,
        condition=selection.condition,
        unit="measured_at" if by_reading else "floor((date_part('epoch', measured_at) - %(origin_s)s) / 1800)",
        aggregates=", ".join(values + counted),
        points=", ".join(_POINT.format(n=n) for n in range(len(values))),
        counts=", ".join(f"sum(counted_{n})" for n in range(len(counted))),
    )


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
