"""What the energy of a period costs, in yen: an estimate by the prices in [tariff], to the exact kWh of the registers.

Japanese contracts are either tiered (従量電灯: a price for the first 120 kWh of a billing month, a higher one up to
300, and so on) or priced by the time of day. Both have a base charge a month; fuel adjustment and renewable levy come
on top of every kWh.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from charts.period import Period, midnight

if TYPE_CHECKING:
    from settings import Tier

_ZERO = Decimal(0)


def billing_months(period: Period, billing_day: int) -> list[Period]:
    """Return the whole billing months that *period* touches; each begins at midnight of *billing_day* (1 to 28)."""
    begin = _billing_start(period.first_date, billing_day)
    months = []
    while midnight(begin, period.zone) < period.end:
        following = _next_month(begin)
        months.append(_between(begin, following, period.zone))
        begin = following
    return months


def tiered_yen(tiers: Sequence[Tier], before_kwh: Decimal, kwh: Decimal) -> Decimal:
    """Price *kwh* bought in a billing month after *before_kwh* had been bought in it."""
    return _up_to(tiers, before_kwh + kwh) - _up_to(tiers, before_kwh)


def time_of_use_yen(prices: Sequence[Decimal], kwh_by_half_hour: Sequence[Decimal]) -> Decimal:
    """Price the kWh of each half hour of the day (48, from 00:00) by the price of that half hour."""
    return sum((price * kwh for price, kwh in zip(prices, kwh_by_half_hour, strict=True)), _ZERO)


def base_yen(month_yen: Decimal, month: Period, start: datetime, end: datetime) -> Decimal:
    """Return the part of a month's base charge that falls on the time from *start* to *end* within that month."""
    inside_s = (min(end, month.end) - max(start, month.start)).total_seconds()
    return month_yen * Decimal(inside_s) / Decimal(month.seconds)


def _up_to(tiers: Sequence[Tier], kwh: Decimal) -> Decimal:
    yen, below = _ZERO, _ZERO
    for tier in tiers:
        top = kwh if tier.up_to_kwh is None else min(kwh, tier.up_to_kwh)
        yen += max(top - below, _ZERO) * tier.yen_per_kwh
        below = top
    return yen


def _billing_start(day: date, billing_day: int) -> date:
    if day.day >= billing_day:
        return day.replace(day=billing_day)
    return date(day.year - (day.month == 1), (day.month - 2) % 12 + 1, billing_day)


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, day.day)


def _between(begin: date, end: date, zone: ZoneInfo) -> Period:
    return Period(midnight(begin, zone), midnight(end, zone), zone)
