"""Time that passes only when somebody waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from skstack.simulator import VirtualClock

NOON = datetime(2026, 6, 1, 3, 0, tzinfo=UTC)  # in Japan
MINUTE, HALF_HOUR, DAY = timedelta(minutes=1), timedelta(minutes=30), timedelta(days=1)
DAY_S = 86_400.0


class LabClock(VirtualClock):
    """The true time. Its methods stand in for time.monotonic, time.sleep and the calendar."""

    def __init__(self, start: datetime = NOON) -> None:
        super().__init__(start)
