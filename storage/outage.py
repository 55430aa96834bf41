"""While PostgreSQL is away: since when, why, when to try again, and what to say of it in the log."""

from __future__ import annotations

import logging
from datetime import datetime

from storage.errors import DatabaseAwayError

logger = logging.getLogger(__name__)

FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0  # doubled each time: a restart is noticed at once, a dead server not pestered
REMINDER_S = 3600.0


class Retries:
    """When to try again what failed: later each time. Knows no clock: each call is handed *monotonic_s*."""

    def __init__(self) -> None:
        self._pause_s = FIRST_RETRY_S
        self._due_s = float("-inf")

    def wait_s(self, monotonic_s: float) -> float:
        """Tell how many seconds to wait before the next try; 0: now."""
        return max(0.0, self._due_s - monotonic_s)

    def failed(self, monotonic_s: float) -> None:
        """Put the next try off."""
        self._due_s = monotonic_s + self._pause_s
        self._pause_s = min(self._pause_s * 2, LAST_RETRY_S)

    def succeeded(self) -> None:
        """Forget what failed: the next try need not wait."""
        self._pause_s = FIRST_RETRY_S
        self._due_s = float("-inf")


class Outage:
    """The state of one outage after another. One warning begins it, one line ends it; in between, one an hour.

    Knows no clock: each call is handed *monotonic_s*, seconds of a monotonic clock.
    """

    def __init__(self) -> None:
        self.since: datetime | None = None
        self.reason: str | None = None
        self._began_s = 0.0
        self._retries = Retries()
        self._warned_s = 0.0
        self._warned_of: type[DatabaseAwayError] | None = None
        self._failures = 0

    def wait_s(self, monotonic_s: float) -> float:
        """Tell how many seconds to wait before the next try; 0: now."""
        return self._retries.wait_s(monotonic_s)

    def failed(self, err: DatabaseAwayError, *, at: datetime, monotonic_s: float) -> None:
        """Note a try that failed, and put the next one off."""
        self.noticed(err, at=at, monotonic_s=monotonic_s)
        self._failures += 1
        self._retries.failed(monotonic_s)

    def noticed(self, err: DatabaseAwayError, *, at: datetime, monotonic_s: float) -> None:
        """Note that PostgreSQL does not take what we bring, without putting anything off."""
        self.reason = str(err)
        if self.since is None:
            self.since, self._began_s, self._failures = at, monotonic_s, 0
            logger.warning("PostgreSQL is away, rounds go to the spool: %s", err)
        elif type(err) is not self._warned_of:
            logger.warning("PostgreSQL still takes no rounds: %s", err)
        elif monotonic_s - self._warned_s >= REMINDER_S:
            logger.warning("PostgreSQL is away since %s, %d tries failed: %s", self.since, self._failures, err)
        else:
            logger.debug("PostgreSQL is away: %s", err)
            return
        self._warned_s, self._warned_of = monotonic_s, type(err)

    def answered(self) -> None:
        """Note that PostgreSQL took something: the next try need not wait."""
        self._retries.succeeded()

    def ended(self, delivered_rounds: int, *, monotonic_s: float) -> None:
        """Note that nothing waits any more, after *delivered_rounds* of those that had waited."""
        if self.since is not None:
            away_s = monotonic_s - self._began_s
            logger.info("PostgreSQL is back after %.0f s: %d rounds delivered", away_s, delivered_rounds)
        elif delivered_rounds:
            logger.info("%d rounds of an earlier run delivered", delivered_rounds)
        self.since = self.reason = self._warned_of = None
