"""Rows of the database: one frozen class a table, fields named as its columns (init.sql).

None means "not measured". Every time is an aware UTC datetime. site_id is not here: the writer knows its site.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

EnergySource = Literal["notified", "read", "history"]


@dataclass(frozen=True, slots=True)
class PowerRow:
    """One poll of the meter. Table power."""

    measured_at: datetime
    power_w: int | None  # negative: selling
    current_r_a: Decimal | None  # steps of 0.1 A
    current_t_a: Decimal | None
    import_kwh: Decimal | None  # the meter's registers, exact
    export_kwh: Decimal | None


@dataclass(frozen=True, slots=True)
class EnergyRow:
    """The registers exactly on :00 or :30. Table energy."""

    registered_at: datetime
    import_kwh: Decimal | None
    export_kwh: Decimal | None
    source: EnergySource


@dataclass(frozen=True, slots=True)
class MeterRow:
    """The meter in service from *since* on. Table meter; rows are only added."""

    since: datetime
    manufacturer: str | None  # EPC 8A as six hex digits
    serial_number: str | None  # EPC 8D
    release: str | None  # EPC 82: the release letter of the Appendix
    coefficient: int  # EPC D3, 1 where the meter has none
    unit_kwh: Decimal  # EPC E1
    digits: int | None  # EPC D7: the registers wrap at 10 ** digits counts


@dataclass(frozen=True, slots=True)
class CpuTemperatureRow:
    """Table cpu_temperature."""

    measured_at: datetime
    temperature_c: float


@dataclass(frozen=True, slots=True)
class Co2Row:
    """Table co2. warming_up: the sensor was not yet settled; kept, but not to be trusted."""

    measured_at: datetime
    co2_ppm: int
    temperature_c: int | None
    warming_up: bool


@dataclass(frozen=True, slots=True)
class Bme280Row:
    """Table bme280."""

    measured_at: datetime
    temperature_c: float
    humidity_pct: float
    pressure_hpa: float


@dataclass(frozen=True, slots=True)
class RadioEventRow:
    """Something that happened to the link. Table radio_event.

    kind: scan, join, join_failed, lost, recovered, expired, renewed, limited, unlimited, reset, port_lost,
    transmit_time, meter_changed, clock_difference.
    """

    happened_at: datetime
    kind: str
    duration_s: float | None = None
    channel: int | None = None
    pan_id: int | None = None
    signal_dbm: float | None = None
    detail: str | None = None  # one short sentence, no secret


SensorRow = CpuTemperatureRow | Co2Row | Bme280Row
Reading = PowerRow | SensorRow  # what a round reads
Row = Reading | EnergyRow | MeterRow | RadioEventRow

TABLES: Mapping[type[Row], str] = {
    MeterRow: "meter",
    PowerRow: "power",
    EnergyRow: "energy",
    CpuTemperatureRow: "cpu_temperature",
    Co2Row: "co2",
    Bme280Row: "bme280",
    RadioEventRow: "radio_event",
}
WRITTEN_TABLES = ("site", *TABLES.values())
VIEWS = ("energy_half_hour", "energy_day")


@dataclass(frozen=True, slots=True)
class Round:
    """Rows that belong together: stored in one transaction, and kept together in the outbox."""

    rows: tuple[Row, ...]


def moved(row: Row, by: timedelta) -> Row:
    """Return *row* at another time, but for times that the meter gives; a reading on the whole second, as all are."""
    if isinstance(row, EnergyRow | MeterRow):
        return row
    if isinstance(row, RadioEventRow):
        return replace(row, happened_at=row.happened_at + by)
    return replace(row, measured_at=(row.measured_at + by + timedelta(milliseconds=500)).replace(microsecond=0))
