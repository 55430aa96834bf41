"""What the energy costs: an estimate, of the steps that the total is made of.

A step over several half hours is spread evenly over them. Japanese contracts are either tiered (従量電灯: a price for
the first 120 kWh of a billing month, a higher one up to 300, and so on) or priced by the time of day. Both have a base
charge a month; fuel adjustment and renewable levy come on top of every kWh.

What has been used since a billing month began costs so much, and comes to so much at its end if the rest is as the part
that is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from charts.period import Period, half_hour_before, midnight, months_on, next_half_hour
from storage import energy
from storage.energy import SpanEnergy
from storage.steps import Span

if TYPE_CHECKING:
    from settings import Tariff, Tier
    from storage.connection import Connection

_LEAST_KNOWN = timedelta(days=3)  # what fewer days come to in a month is a guess
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
    """The price of a kWh is not known: it depends on the use since *since*, and that is not in the database."""

    since: datetime


@dataclass(frozen=True, slots=True)
class BillingMonth:
    """What the running billing month costs so far, and what it comes to at its end; both less what was sold."""

    month: Period
    so_far: Cost
    at_end: Cost


def billing_month_of(
    connection: Connection, site: int, zone: ZoneInfo, now: datetime, tariff: Tariff
) -> BillingMonth | None:
    """Price the billing month up to *now*; None where too little of it is known."""
    local_day = Period(now, now + timedelta(microseconds=1), zone)
    month = billing_months(local_day, tariff.billing_day)[0]
    start, until = next_half_hour(month.start), half_hour_before(now)
    if until - start < _LEAST_KNOWN:
        return None
    used = energy.read(connection, site, "import_kwh", [(start, until)]).total
    sold = energy.read_sold(connection, site, [(start, until)]).total
    so_far = cost_of(connection, site, zone, used, sold, tariff)
    if not isinstance(so_far, Cost) or used.kwh is None or used.lacking > _MOST_UNKNOWN:
        return None
    factor = Decimal(month.seconds) / Decimal(used.covered.total_seconds())
    per_kwh = tariff.fuel_adjustment_yen_per_kwh + tariff.renewable_levy_yen_per_kwh
    if tariff.tiers:
        energy_yen = tiered_yen(tariff.tiers, Decimal(0), used.kwh * factor)
    else:
        energy_yen = factor * _time_of_use_yen(connection, site, used, zone, tariff)
    bought_yen = tariff.base_yen + energy_yen + factor * used.kwh * per_kwh
    sold_yen = None if so_far.sold_yen is None else so_far.sold_yen * factor
    return BillingMonth(month, so_far, Cost(bought_yen, sold_yen))


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
        energy_yen = _time_of_use_yen(connection, site, used, zone, tariff)
    if energy_yen is None:
        return UnknownCost(months[0].start)
    base = sum((base_yen(tariff.base_yen, month, *span) for month in months), Decimal(0))
    per_kwh = tariff.fuel_adjustment_yen_per_kwh + tariff.renewable_levy_yen_per_kwh
    income = sold.kwh * tariff.export_yen_per_kwh if sold.kwh and tariff.export_yen_per_kwh is not None else None
    return Cost(base + energy_yen + used.kwh * per_kwh, income)


def _time_of_use_yen(connection: Connection, site: int, used: SpanEnergy, zone: ZoneInfo, tariff: Tariff) -> Decimal:
    kwh = energy.by_time_of_day(connection, site, "import_kwh", (used.started_at, used.ended_at), zone)
    return time_of_use_yen(tariff.time_of_use, kwh)


def _tiered_yen(
    connection: Connection, site: int, months: Sequence[Period], span: Span, tariff: Tariff
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


def billing_months(period: Period, billing_day: int) -> list[Period]:
    """Return the whole billing months that *period* touches; each begins at midnight of *billing_day* (1 to 28)."""
    first = period.first_date
    begin = months_on(first.replace(day=billing_day), 0 if first.day >= billing_day else -1)
    months = []
    while midnight(begin, period.zone) < period.end:
        following = months_on(begin, 1)
        months.append(Period(midnight(begin, period.zone), midnight(following, period.zone), period.zone))
        begin = following
    return months


def tiered_yen(tiers: Sequence[Tier], before_kwh: Decimal, kwh: Decimal) -> Decimal:
    """Price *kwh* bought in a billing month after *before_kwh* had been bought in it."""
    return _up_to(tiers, before_kwh + kwh) - _up_to(tiers, before_kwh)


def time_of_use_yen(prices: Sequence[Decimal], kwh_by_half_hour: Sequence[Decimal]) -> Decimal:
    """Price the kWh of each half hour of the day (48, from 00:00) by the price of that half hour."""
    return sum((price * kwh for price, kwh in zip(prices, kwh_by_half_hour, strict=True)), Decimal(0))


def base_yen(month_yen: Decimal, month: Period, start: datetime, end: datetime) -> Decimal:
    """Return the part of a month's base charge that falls on the time from *start* to *end* within that month."""
    inside_s = (min(end, month.end) - max(start, month.start)).total_seconds()
    return month_yen * Decimal(inside_s) / Decimal(month.seconds)


def _up_to(tiers: Sequence[Tier], kwh: Decimal) -> Decimal:
    yen, below = Decimal(0), Decimal(0)
    for tier in tiers:
        top = kwh if tier.up_to_kwh is None else min(kwh, tier.up_to_kwh)
        yen += max(top - below, Decimal(0)) * tier.yen_per_kwh
        below = top
    return yen
