"""What the energy in the record costs by the household's tariff; the prices themselves are in charts.tariff."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from charts.period import Period
from charts.steps import next_half_hour
from charts.tariff import base_yen, billing_months, tiered_yen, time_of_use_yen
from storage import series

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class with a lower-case name

    from settings import Tariff


def cost_yen(
    connection: Connection, site: int, period: Period, total: series.Energy | None, tariff: Tariff
) -> Decimal | None:
    """Price what the registers say. None where the place in the month's tiers is not known."""
    if total is None or total.used_kwh is None:
        return None
    months = billing_months(Period(total.started_at, total.ended_at, period.zone), tariff.billing_day)
    if tariff.tiers:
        energy_yen = _tiered_yen(connection, site, months, total, tariff)
    else:
        energy_yen = _time_of_use_yen(connection, site, period, total, tariff)
    if energy_yen is None:
        return None
    base = sum((base_yen(tariff.base_yen, month, total.started_at, total.ended_at) for month in months), Decimal(0))
    per_kwh = tariff.fuel_adjustment_yen_per_kwh + tariff.renewable_levy_yen_per_kwh
    income = (total.sold_kwh or Decimal(0)) * (tariff.export_yen_per_kwh or Decimal(0))
    return base + energy_yen + total.used_kwh * per_kwh - income


def _tiered_yen(
    connection: Connection, site: int, months: Sequence[Period], total: series.Energy, tariff: Tariff
) -> Decimal | None:
    yen = Decimal(0)
    for month in months:
        month_start, month_end = next_half_hour(month.start), next_half_hour(month.end)
        start, end = max(total.started_at, month_start), min(total.ended_at, month_end)
        used_kwh = _used_kwh(connection, site, start, end)
        before_kwh = _used_kwh(connection, site, month_start, start)
        if used_kwh is None or before_kwh is None:
            return None
        yen += tiered_yen(tariff.tiers, before_kwh, used_kwh)
    return yen


def _used_kwh(connection: Connection, site: int, start: datetime, end: datetime) -> Decimal | None:
    return Decimal(0) if start >= end else series.energy(connection, site, [(start, end)])[0].used_kwh


def _time_of_use_yen(
    connection: Connection, site: int, period: Period, total: series.Energy, tariff: Tariff
) -> Decimal | None:
    """Half hours without registers are priced as the others are on average."""
    kwh = [Decimal(0)] * 48
    for row in series.energy_by_half_hour(connection, site, total.started_at, total.ended_at, period.zone):
        kwh[row.half_hour] += row.used_kwh or Decimal(0)
    known_kwh = sum(kwh, Decimal(0))
    if total.used_kwh is None or (known_kwh == 0 and total.used_kwh > 0):
        return None
    yen = time_of_use_yen(tariff.time_of_use, kwh)
    return yen * total.used_kwh / known_kwh if known_kwh else yen
