"""What the energy in the record costs by the household's tariff; the prices themselves are in charts.tariff.

An estimate of the steps that the total is made of. A step over several half hours is spread evenly over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from charts.period import Period
from charts.steps import next_half_hour
from charts.tariff import base_yen, billing_months, tiered_yen, time_of_use_yen
from storage import energy
from storage.energy import SpanEnergy

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class with a lower-case name

    from settings import Tariff

_MOST_UNKNOWN = timedelta(days=1)  # a thirtieth of a month's use moves few kWh into another tier


@dataclass(frozen=True, slots=True)
class Cost:
    """What was bought, with its part of the base charge, and what the energy sold brought in."""

    bought_yen: Decimal
    sold_yen: Decimal | None  # None: nothing was sold, or it has no price

    @property
    def yen(self) -> Decimal:
        """What is left to pay; negative: more came in."""
        return self.bought_yen - (self.sold_yen or Decimal(0))


@dataclass(frozen=True, slots=True)
class UnknownCost:
    """The price of a kWh is not known: it depends on the use since *since*, and that is not in the record."""

    since: datetime


def cost_of(
    connection: Connection, site: int, zone: ZoneInfo, used: SpanEnergy, sold: SpanEnergy, tariff: Tariff
) -> Cost | UnknownCost | None:
    """Price what was used and sold; None where nothing is known to be used."""
    if used.kwh is None or used.first_at is None or used.last_at is None:
        return None
    span = (used.first_at, used.last_at)
    months = billing_months(Period(*span, zone), tariff.billing_day)
    if len(tariff.tiers) == 1:
        energy_yen: Decimal | None = tiered_yen(tariff.tiers, Decimal(0), used.kwh)
    elif tariff.tiers:
        energy_yen = _tiered_yen(connection, site, months, span, tariff)
    else:
        kwh = energy.by_time_of_day(connection, site, "import_kwh", (used.started_at, used.ended_at), zone)
        energy_yen = time_of_use_yen(tariff.time_of_use, kwh)
    if energy_yen is None:
        return UnknownCost(months[0].start)
    base = sum((base_yen(tariff.base_yen, month, *span) for month in months), Decimal(0))
    per_kwh = tariff.fuel_adjustment_yen_per_kwh + tariff.renewable_levy_yen_per_kwh
    income = sold.kwh * tariff.export_yen_per_kwh if sold.kwh and tariff.export_yen_per_kwh is not None else None
    return Cost(base + energy_yen + used.kwh * per_kwh, income)


def _tiered_yen(
    connection: Connection, site: int, months: Sequence[Period], span: energy.Span, tariff: Tariff
) -> Decimal | None:
    """Price each month's part of *span*. None: too little is known of the first month's use before it."""
    starts = [next_half_hour(month.start) for month in months]
    found = energy.read(connection, site, "import_kwh", list(pairwise(sorted({*starts, *span}))))
    unknown = sum((lack.inside(starts[0], span[0]) for lack in found.lacks if lack.kwh is None), timedelta())
    if unknown > _MOST_UNKNOWN:
        return None
    yen, before_kwh = Decimal(0), Decimal(0)
    for part, kwh in zip(found.spans, found.spread(), strict=True):
        if part.started_at in starts:
            before_kwh = Decimal(0)
        if part.started_at >= span[0]:
            yen += tiered_yen(tariff.tiers, before_kwh, kwh)
        before_kwh += kwh
    return yen
