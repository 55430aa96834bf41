from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.clock import SystemClock, next_tick


@pytest.mark.parametrize(
    ("now", "interval_s", "expected"),
    [
        (datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC), 60, datetime(2026, 3, 1, 12, 1, tzinfo=UTC)),
        (datetime(2026, 3, 1, 12, 0, 59, 999_999, tzinfo=UTC), 60, datetime(2026, 3, 1, 12, 1, tzinfo=UTC)),
        (datetime(2026, 3, 1, 12, 0, 1, tzinfo=UTC), 1, datetime(2026, 3, 1, 12, 0, 2, tzinfo=UTC)),
        (datetime(2026, 3, 1, 23, 59, 30, tzinfo=UTC), 3600, datetime(2026, 3, 2, tzinfo=UTC)),
    ],
)
def test_the_next_tick_is_the_next_multiple_of_the_interval(now: datetime, interval_s: int, expected: datetime) -> None:
    assert next_tick(now, interval_s) == expected


_MOMENTS = st.integers(0, 2_500_000_000_000_000).map(
    lambda us: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
)


@given(_MOMENTS, st.integers(1, 3600))
def test_a_tick_is_ahead_by_no_more_than_the_interval(now: datetime, interval_s: int) -> None:
    tick = next_tick(now, interval_s)
    assert timedelta(0) < tick - now <= timedelta(seconds=interval_s)
    assert tick.timestamp() % interval_s == 0


def test_the_zone_of_the_time_given_does_not_move_the_ticks() -> None:
    tokyo = timezone(timedelta(hours=9))
    now = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
    assert next_tick(now.astimezone(tokyo), 60) == next_tick(now, 60)


def test_the_system_clock_sleeps_as_it_is_told() -> None:
    slept: list[float] = []
    clock = SystemClock(slept.append)
    clock.sleep(2.5)
    assert slept == [2.5]
    assert clock.now().tzinfo is UTC
