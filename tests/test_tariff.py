"""Prices: worked by hand from the rule, with the prices of the sample in the settings."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from charts.cost import base_yen, billing_months, tiered_yen, time_of_use_yen
from charts.period import Period, day_of
from settings import Tier

TOKYO = ZoneInfo("Asia/Tokyo")
TIERS = (
    Tier(Decimal(120), Decimal("29.80")),
    Tier(Decimal(300), Decimal("36.40")),
    Tier(None, Decimal("40.49")),
)


@pytest.mark.parametrize(
    ("before_kwh", "kwh", "yen"),
    [
        ("0", "0", "0"),
        ("0", "100", "2980.00"),  # 100 x 29.80
        ("0", "120", "3576.00"),  # 120 x 29.80: the bound belongs to the lower step
        ("0", "130", "3940.00"),  # 3576.00 + 10 x 36.40
        ("110", "20", "662.00"),  # 10 x 29.80 + 10 x 36.40
        ("300", "10", "404.90"),  # 10 x 40.49
        ("0", "310", "10532.90"),  # 3576.00 + 180 x 36.40 + 10 x 40.49
    ],
)
def test_each_kwh_has_the_price_of_its_step_in_the_month(before_kwh: str, kwh: str, yen: str) -> None:
    assert tiered_yen(TIERS, Decimal(before_kwh), Decimal(kwh)) == Decimal(yen)


def test_days_of_a_month_add_up_to_the_month() -> None:
    days = [Decimal("10.07")] * 31
    parts = [tiered_yen(TIERS, sum(days[:number], Decimal(0)), kwh) for number, kwh in enumerate(days)]
    assert sum(parts) == tiered_yen(TIERS, Decimal(0), Decimal("312.17"))


def test_time_of_use_prices_each_half_hour_by_its_own_price() -> None:
    prices = [Decimal("27.86")] * 14 + [Decimal("35.76")] * 34  # cheap until 7:00
    kwh = [Decimal("0.1")] * 48
    assert time_of_use_yen(prices, kwh) == Decimal("160.588")  # 1.4 x 27.86 + 3.4 x 35.76


def test_a_month_begins_on_the_billing_day() -> None:
    period = day_of(date(2025, 1, 10), TOKYO, 40)  # to 18 February
    months = billing_months(period, 15)
    assert [month.first_date for month in months] == [date(2024, 12, 15), date(2025, 1, 15), date(2025, 2, 15)]
    assert months[0].last_date == date(2025, 1, 14)


def test_the_billing_day_itself_belongs_to_the_new_month() -> None:
    assert [month.first_date for month in billing_months(day_of(date(2025, 3, 15), TOKYO), 15)] == [date(2025, 3, 15)]


def test_a_day_carries_its_share_of_the_base_charge() -> None:
    month = billing_months(day_of(date(2025, 11, 22), TOKYO), 1)[0]
    day = day_of(date(2025, 11, 22), TOKYO)
    assert base_yen(Decimal(1246), month, day.start, day.end) * 30 == Decimal(1246)  # November has 30 days


def test_a_share_ends_with_the_month() -> None:
    month = billing_months(day_of(date(2025, 11, 22), TOKYO), 1)[0]
    over_the_edge = Period(month.start, datetime(2026, 1, 1, tzinfo=UTC), TOKYO)
    assert base_yen(Decimal(1000), month, over_the_edge.start, over_the_edge.end) == Decimal(1000)
