"""What is said in the log while PostgreSQL is unreachable: when that begins, other reasons, a reminder, and its end."""

from __future__ import annotations

import logging

from wording import counted

logger = logging.getLogger(__name__)

REMINDER_S = 3600.0
MOST_REASONS = 6  # said between two reminders: what changes at each attempt must not fill the log


class OutageLog:
    """One outage after another. Knows no clock: each call is handed *monotonic_s*, seconds of a monotonic clock."""

    def __init__(self) -> None:
        self.reason: str | None = None
        """Why PostgreSQL is unreachable; None: it is not."""
        self._began_s = 0.0
        self._reminded_s = 0.0
        self._said: set[str] = set()
        self._failures = 0

    def failed(self, reason: str, *, monotonic_s: float) -> None:
        """Note an attempt that failed."""
        before, self.reason = self.reason, reason
        self._failures += 1
        if before is None:
            self._began_s, self._failures = monotonic_s, 1
            logger.warning("PostgreSQL is unreachable, rounds wait in the outbox: %s", reason)
        elif monotonic_s - self._reminded_s >= REMINDER_S:
            minutes = (monotonic_s - self._began_s) / 60
            said = "PostgreSQL has been unreachable for %.0f min, %d attempts failed: %s"
            logger.warning(said, minutes, self._failures, reason)
        else:
            is_news = reason not in self._said and len(self._said) < MOST_REASONS
            logger.log(logging.WARNING if is_news else logging.DEBUG, "PostgreSQL is still unreachable: %s", reason)
            self._said.add(reason)
            return
        self._reminded_s, self._said = monotonic_s, {reason}

    def ended(self, delivered_rounds: int, *, monotonic_s: float) -> None:
        """Note that nothing waits any more, after *delivered_rounds* of those that had waited."""
        if self.reason is not None:
            away_s = monotonic_s - self._began_s
            logger.info("PostgreSQL is back after %.0f s: %s delivered", away_s, counted(delivered_rounds, "round"))
        self.reason = None
