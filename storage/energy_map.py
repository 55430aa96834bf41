"""The energy of each half hour of the day, column by column of days: the map of a long picture.

Only steps of one half hour have a place of their own in it. Times go in and come out aware, in UTC.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from storage.steps import IS_REGISTER, METERS, Register, Span, fetched, fetched_over_steps

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from storage.connection import Connection

# Steps of one half hour lie between neighbouring rows, whatever other registers lack: both registers in one go.
# A cell is a half hour of the day in a column: one number is sorted faster than two.
_COLUMNS = """
select cell / 48, array_agg(cell %% 48), array_agg(used_kwh), array_agg(used), array_agg(sold_kwh), array_agg(sold)
from (
    select (width_bucket(date_part('epoch', earlier_at), %(edges_s)s::float8[]) - 1) * 48
            + floor(date_part('epoch', local_at::time) / 1800)::integer as cell,
        sum(used_kwh)::float8 as used_kwh, count(used_kwh) as used,
        coalesce(sum(sold_kwh), 0)::float8 as sold_kwh, count(sold_kwh) as sold
    from (
        select earlier_at, earlier_at at time zone %(zone)s as local_at,
            energy_step_kwh(
                earlier_at, earlier_kwh, later_at, later_kwh, exchanged_at, count_kwh, range_kwh
            ) as used_kwh,
            energy_step_kwh(
                earlier_at, earlier_export_kwh, later_at, later_export_kwh, exchanged_at, count_kwh, range_kwh
            ) as sold_kwh
        from (
            select registered_at as earlier_at, lead(registered_at) over registers as later_at,
                import_kwh as earlier_kwh, lead(import_kwh) over registers as later_kwh,
                export_kwh as earlier_export_kwh, lead(export_kwh) over registers as later_export_kwh
            from energy
            where site_id = %(site_id)s and registered_at >= %(start)s and registered_at <= %(end)s
                and (import_kwh = 0) is not true
            window registers as (order by registered_at)
        ) as pairs
        left join ({meters}) as meters on earlier_at >= served_from and earlier_at < served_until
        where later_at - earlier_at = interval '30 minutes'
        offset 0
    ) as steps
    group by 1
    having count(used_kwh) > 0
) as cells
group by 1
"""

_UNEVEN = """
select greatest(earlier_at, %(start)s), least(later_at, %(end)s)
from ({steps}) as steps
where (kwh is not null and (later_at - earlier_at = interval '30 minutes' or kwh = %(even_kwh)s)) is not true
order by 1
"""

_REACHES = """
select registered_at from energy
where site_id = %(site_id)s and registered_at < %(end)s and {is_register}
    and registered_at >= coalesce((
        select max(registered_at) from energy
        where site_id = %(site_id)s and registered_at <= %(start)s and {is_register}
    ), '-infinity')
order by registered_at
limit 1
"""


class Column(NamedTuple):
    """The steps of one half hour that begin in each half hour of the day (0 to 47), over the days of one column."""

    number: int  # of the column, from 0
    half_hours: list[int]  # in which anything is known to be used
    used_kwh: list[float]
    used_steps: list[int]  # how many each kWh is of
    sold_kwh: list[float]
    sold_steps: list[int]


def columns(connection: Connection, site: int, edges: Sequence[datetime], zone: ZoneInfo) -> Iterator[Column]:
    """Add up the steps of one half hour by column (between two neighbouring *edges*) and half hour of the day."""
    edges_s = [edge.timestamp() for edge in edges]
    values = {"site_id": site, "start": edges[0], "end": edges[-1], "edges_s": edges_s, "zone": zone.key}
    with connection.cursor() as cursor:
        cursor.execute(_COLUMNS.format(meters=METERS), values)
        for row in cursor:  # ten years are tens of thousands of numbers: those of one column are objects at a time
            yield Column(*row)


def uneven(connection: Connection, site: int, register: Register, span: Span) -> list[Span]:
    """Return the parts of *span* that no known step of one half hour covers, in the order of time.

    A longer step of the export by 0 kWh covers its half hours too: nothing was sold in any of them.
    """
    even_kwh = 0 if register == "export_kwh" else None
    rows = fetched_over_steps(
        connection, _UNEVEN, register, site_id=site, start=span[0], end=span[1], even_kwh=even_kwh
    )
    found = [(start.astimezone(UTC), (end or span[1]).astimezone(UTC)) for start, end in rows]
    first = _first_register(connection, site, register, span)
    return [(span[0], first), *found] if first > span[0] else found


def _first_register(connection: Connection, site: int, register: Register, span: Span) -> datetime:
    """Return where the registers begin to cover *span*; its end, where none does."""
    sql = _REACHES.format(is_register=IS_REGISTER[register])
    found = fetched(connection, sql, site_id=site, start=span[0], end=span[1])
    return max(span[0], found[0][0].astimezone(UTC)) if found else span[1]
