"""What the picture shows of the energy and of its cost: every kWh a sum of steps, worked out here, nothing drawn.

* bars: the steps that lie wholly inside each.
* total: the steps that lie wholly inside the period, so also those across two bars.
* lacks: what no bar holds, with its kWh or its reason.
* difference: the total less what was used in the same time before. usual: the median of the 28 days before; the day
  before where fewer than 7 of them are known. A month or a year is compared with the same a year earlier where the
  record has it, another longer period with the same length before it, a running one up to the same time. Times that
  lack more than a 24th, or more than a day, are not compared.
* cost: an estimate, of the steps that the total is made of; a step over several half hours is spread evenly over them.
  Japanese contracts are either tiered (従量電灯: a price for the first 120 kWh of a billing month, a higher one up to
  300, and so on) or priced by the time of day. Both have a base charge a month; fuel adjustment and renewable levy come
  on top of every kWh.
* billing month: what has been used since it began costs so much, and comes to so much at its end if the rest is as the
  part that is known.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

from charts.period import (
    Period,
    Step,
    clipped,
    due_until,
    half_hour_before,
    midnight,
    months_on,
    next_half_hour,
    spans,
    step_of,
)
from storage import energy
from storage.energy import Lack, SpanEnergy
from storage.steps import Span

if TYPE_CHECKING:
    from settings import Tariff, Tier
    from storage.connection import Connection

USUAL_DAYS = 28
FEWEST_USUAL_DAYS = 7
_DAY = timedelta(days=1)
_LEAST_KNOWN = timedelta(days=3)  # what fewer days come to in a month is a guess
_MOST_UNKNOWN = timedelta(days=1)  # a thirtieth of a month's use moves few kWh into another tier

ComparedWith = Literal["usual", "yesterday", "year_before", "before"]


@dataclass(frozen=True, slots=True)
class Bar:
    """The energy of one bar; None: no step lies inside of it."""

    started_at: datetime
    ended_at: datetime
    used_kwh: Decimal | None
    sold_kwh: Decimal | None


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more than usual was used; negative: less."""

    kwh: Decimal
    usual_kwh: Decimal
    compared_with: ComparedWith
    days: int


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


@dataclass(frozen=True, slots=True)
class EnergyData:
    """The energy of a period, up to the register that can be there by now. None means not known."""

    step: Step
    bars: list[Bar]
    used: SpanEnergy  # in all
    sold: SpanEnergy
    lacks: list[Lack]  # of what was used; what is not due yet is not lacking
    sold_lacks: list[Lack]  # of what was sold; where the register is the same before and after, nothing was
    exchanges: list[datetime]  # of the meter
    difference: Difference | None
    cost: Cost | UnknownCost | None
    billing_month: BillingMonth | None  # the one that is running, where the period reaches to now

    @property
    def has_registers(self) -> bool:
        """Whether there is any register of this period."""
        return self.used.kwh is not None or any(lack.reason != "unread" for lack in self.lacks)

    @property
    def sold_lacks_alone(self) -> list[Lack]:
        """What only the sold energy lacks: a lack of both is named once."""
        of_both = {(lack.started_at, lack.ended_at) for lack in self.lacks if lack.reason != "across"}
        return [lack for lack in self.sold_lacks if (lack.started_at, lack.ended_at) not in of_both]

    @property
    def sells(self) -> bool:
        """Whether anything was sold, or may have been."""
        return bool(self.sold.kwh or self.sold_lacks_alone)


def load(
    connection: Connection, site: int, period: Period, *, now: datetime, tariff: Tariff | None
) -> EnergyData | None:
    """Read the energy of *period*; None where no half hour of it is over yet."""
    step = step_of(period)
    cut = clipped(spans(period, step), next_half_hour(period.start), half_hour_before(now))
    if not cut:
        return None
    used = energy.read(connection, site, "import_kwh", cut)
    sold = energy.read_sold(connection, site, cut)
    total = used.total
    due = due_until(now)
    is_running = period.start < now < period.end
    return EnergyData(
        step=step,
        bars=[
            Bar(bar.started_at, bar.ended_at, bar.kwh, export.kwh)
            for bar, export in zip(used.spans, sold.spans, strict=True)
        ],
        used=total,
        sold=sold.total,
        lacks=_due(used.lacks, due),
        sold_lacks=[lack for lack in _due(sold.lacks, due) if lack.kwh != 0],
        exchanges=energy.exchanges(connection, site, (period.start, min(now, period.end))),
        difference=_difference(connection, site, period, total),
        cost=cost_of(connection, site, period.zone, total, sold.total, tariff) if tariff else None,
        billing_month=billing_month_of(connection, site, period.zone, now, tariff) if tariff and is_running else None,
    )


def _due(lacks: Sequence[Lack], due: datetime) -> list[Lack]:
    return [lack for lack in lacks if lack.reason != "unread" or lack.started_at < due]


def _difference(connection: Connection, site: int, period: Period, total: SpanEnergy) -> Difference | None:
    if total.kwh is None or total.first_at is None or total.last_at is None:
        return None
    span = (total.first_at, total.last_at)
    if not _comparable(total._replace(started_at=span[0], ended_at=span[1])):
        return None
    if period.shifted(period.end, days=-1) > period.start:
        if period.is_month or period.is_year:
            year_before = _known(connection, site, [(period.a_year_before(span[0]), period.a_year_before(span[1]))])
            if year_before:
                return _compared(total.kwh, year_before, "year_before", period.days)
        others = _known(connection, site, [_earlier(period, span, period.days)])
        return _compared(total.kwh, others, "before", period.days)
    days_before = [_earlier(period, span, days) for days in range(USUAL_DAYS, 0, -1)]
    usual = _known(connection, site, days_before)
    if len(usual) >= FEWEST_USUAL_DAYS:
        return _compared(total.kwh, usual, "usual", len(usual))
    return _compared(total.kwh, _known(connection, site, days_before[-1:]), "yesterday", 1)


def _earlier(period: Period, span: Span, days: int) -> Span:
    return period.shifted(span[0], days=-days), period.shifted(span[1], days=-days)


def _known(connection: Connection, site: int, cut: Sequence[Span]) -> list[Decimal]:
    found = energy.read(connection, site, "import_kwh", cut).spans
    return [span.kwh for span in found if span.kwh is not None and _comparable(span)]


def _comparable(span: SpanEnergy) -> bool:
    return span.lacking <= min((span.ended_at - span.started_at) / 24, _DAY)


def _compared(
    used_kwh: Decimal, others: Sequence[Decimal], compared_with: ComparedWith, days: int
) -> Difference | None:
    if not others:
        return None
    usual_kwh = statistics.median(others)
    return Difference(used_kwh - usual_kwh, usual_kwh, compared_with, days)


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
