"""The steps of one register of one site, as SQL for the statements that add them up; and how rows are fetched.

A step is what lies between two registers that follow one another, by the one definition: energy_step_kwh in init.sql.
The registers are restricted to a range first, with one beyond each end.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from storage.connection import Connection

HALF_HOUR = timedelta(minutes=30)  # the meter has registers on :00 and :30 and nowhere else
W_OF_KWH = 2000  # the mean power of a kWh in half an hour

Register = Literal["import_kwh", "export_kwh"]
Span = tuple[datetime, datetime]

# As meter_service in init.sql, of one site; that view is not granted to every role that draws.
METERS = """
    select case row_number() over meters when 1 then '-infinity' else since end as served_from,
        lead(since, 1, 'infinity') over meters as served_until,
        coalesce(
            min(since) filter (where is_another) over (meters rows between 1 following and unbounded following),
            'infinity'
        ) as exchanged_at,
        count_kwh, count_kwh * round(10::numeric ^ digits) as range_kwh
    from (
        select since, coefficient * unit_kwh as count_kwh, digits,
            (manufacturer = lag(manufacturer) over meters
             and serial_number = lag(serial_number) over meters) is not true as is_another
        from meter
        where site_id = %(site_id)s
        window meters as (order by since)
) as changes
    window meters as (order by since)
"""

_STEPS = """
    select earlier_at, later_at, coalesce(later_at >= exchanged_at, false) as is_exchange,
        energy_step_kwh(earlier_at, earlier_kwh, later_at, later_kwh, exchanged_at, count_kwh, range_kwh) as kwh
    from (
        select registered_at as earlier_at, lead(registered_at) over registers as later_at,
            {register} as earlier_kwh, lead({register}) over registers as later_kwh
        from (
            (select registered_at, {register} from energy
             where site_id = %(site_id)s and registered_at < %(start)s and {is_register}
             order by registered_at desc limit 1)
            union all
            select registered_at, {register} from energy
            where site_id = %(site_id)s and registered_at >= %(start)s and registered_at <= %(end)s and {is_register}
            union all
            (select registered_at, {register} from energy
             where site_id = %(site_id)s and registered_at > %(end)s and {is_register}
             order by registered_at limit 1)
        ) as restricted
        window registers as (order by registered_at)
    ) as pairs
    left join (
"""
_STEPS += METERS
_STEPS += """
    ) as meters on earlier_at >= served_from and earlier_at < served_until
    where earlier_at < %(end)s and (later_at > %(start)s or later_at is null)
    offset 0
"""

# An import register of exactly 0 is what the memory of a meter holds for the time before it served: no register.
IS_REGISTER: dict[Register, str] = {
    "import_kwh": "import_kwh > 0",
    "export_kwh": "export_kwh is not null and (import_kwh = 0) is not true",
}


def fetched_over_steps(connection: Connection, sql: str, register: Register, **values: Any) -> list[tuple[Any, ...]]:
    """Return all rows of one statement over the *register*; {steps} in it stands for the steps of a range.

    *values* hold the site_id, and the start and the end of the range.
    """
    steps = _STEPS.format(register=register, is_register=IS_REGISTER[register])
    return fetched(connection, sql.format(steps=steps), **values)


def fetched(connection: Connection, sql: str, **values: object) -> list[tuple[Any, ...]]:
    """Return all rows of one statement."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()
