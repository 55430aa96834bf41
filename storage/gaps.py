"""What the poller reads from the database: the meter it knows, the last registers, and which half hours are missing.

Each function gets a cursor in a transaction and the number of the site (Delivery.query).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

from storage.connection import Cursor
from storage.records import MeterRow
from storage.steps import METERS

JAPAN = timezone(timedelta(hours=9), "JST")  # the zone of every meter's history; without summer time since 1951

# The registers are bounded by time before anything is compared, so that the key of "energy" is read in one stretch.
_ENERGY_GAPS = """
select slot from generate_series(%(first)s::timestamptz, %(last)s::timestamptz, interval '30 minutes') as slot
except
select registered_at from energy
where site_id = %(site)s and registered_at >= %(first)s and registered_at <= %(last)s
order by slot desc
"""

_KNOWN_METER = """
select since, manufacturer, serial_number, release, coefficient, unit_kwh, digits,
    (select max(exchanged_at) from ({meters}) as meters where exchanged_at < 'infinity') as serves_from
from meter where site_id = %(site_id)s
order by since desc limit 1
"""

# One step back along each key: the last register of either table.
_LAST_REGISTERS = """
(select measured_at as known_at, import_kwh, export_kwh from power
 where site_id = %(site)s and measured_at < %(before)s and import_kwh is not null
 order by measured_at desc limit 1)
union all
(select registered_at, import_kwh, export_kwh from energy
 where site_id = %(site)s and registered_at < %(before)s and import_kwh is not null
 order by registered_at desc limit 1)
order by known_at desc limit 1
"""


@dataclass(frozen=True, slots=True)
class LastRegisters:
    """The registers of the latest row that has them, in kWh."""

    known_at: datetime
    import_kwh: Decimal | None
    export_kwh: Decimal | None


@dataclass(frozen=True, slots=True)
class KnownMeter:
    """The meter in service as far as the database knows.

    *serves_from*: when it took another one's place; None: it was always there. A row may change its scale only.
    """

    row: MeterRow
    serves_from: datetime | None


def energy_gaps(cursor: Cursor, site_id: int, days: int, *, now: datetime) -> list[datetime]:
    """List the :00 and :30 without a row in "energy", newest first: of today and *days* days before, up to *now*.

    Days are those of the meter's history: from midnight to midnight in Japan.
    """
    midnight = now.astimezone(JAPAN).replace(hour=0, minute=0, second=0, microsecond=0)
    cursor.execute(_ENERGY_GAPS, {"site": site_id, "first": midnight - timedelta(days=days), "last": now})
    return [slot.astimezone(UTC) for (slot,) in cursor.fetchall()]


def known_meter(cursor: Cursor, site_id: int) -> KnownMeter | None:
    """Return the meter in service as far as the database knows; None: it knows of none."""
    cursor.execute(_KNOWN_METER.format(meters=METERS), {"site_id": site_id})
    found = cursor.fetchone()
    if found is None:
        return None
    since, *said, serves_from = found
    return KnownMeter(MeterRow(since.astimezone(UTC), *said), serves_from and serves_from.astimezone(UTC))


def last_registers(cursor: Cursor, site_id: int, *, before: datetime) -> LastRegisters | None:
    """Return the last registers measured *before* a time; None: there are none."""
    cursor.execute(_LAST_REGISTERS, {"site": site_id, "before": before})
    found = cursor.fetchone()
    return LastRegisters(found[0].astimezone(UTC), found[1], found[2]) if found else None
