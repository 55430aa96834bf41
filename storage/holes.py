"""What the poller asks the record: which meter it knows and how far it reaches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from storage.database import Database
from storage.records import MeterRow

_HAS_OLDER_METER = """
select exists (select from meter where site_id = %s and since < %s)
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
    """The meter in service as far as the record knows; *replaced*: another one hung there before it."""

    row: MeterRow
    replaced: bool


def known_meter(database: Database) -> KnownMeter | None:
    """Give the meter in service as far as the record knows; None: it knows of none. Raises: DatabaseAwayError."""
    row = database.latest_meter()
    if row is None:
        return None
    with database.transaction() as (cursor, site_id):
        cursor.execute(_HAS_OLDER_METER, (site_id, row.since))
        found = cursor.fetchone()
    return KnownMeter(row, bool(found and found[0]))


def last_registers(database: Database, *, before: datetime) -> LastRegisters | None:
    """Give the last registers measured *before* a time; None: there are none. Raises: DatabaseAwayError."""
    with database.transaction() as (cursor, site_id):
        cursor.execute(_LAST_REGISTERS, {"site": site_id, "before": before})
        found = cursor.fetchone()
    return LastRegisters(found[0].astimezone(UTC), found[1], found[2]) if found else None
