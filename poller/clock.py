"""The time, in one object: the real one here, a virtual one in the simulator."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What the loop needs of time."""

    def monotonic(self) -> float:
        """Return seconds that never jump: for waits and durations."""

    def now(self) -> datetime:
        """Return the wall clock, aware, in UTC: for what is stored."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's own clocks, with a *sleep* that a signal can end."""

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep

    def sleep(self, seconds: float) -> None:
        """Wait *seconds*, or until a signal comes."""
        self._sleep(seconds)

    def monotonic(self) -> float:
        """Return time.monotonic()."""
        return time.monotonic()

    def now(self) -> datetime:
        """Return the wall clock in UTC."""
        return datetime.now(UTC)


def next_tick(now: datetime, interval_s: int) -> datetime:
    """Return the first moment after *now* that is a whole multiple of *interval_s*, counted from midnight UTC 1970.

    Japan is nine whole hours away, so for an interval that divides an hour these are round local times too.
    """
    elapsed_s = int((now - _EPOCH).total_seconds())
    return _EPOCH + timedelta(seconds=(elapsed_s // interval_s + 1) * interval_s)
