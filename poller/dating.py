"""Stands between the loop and the outbox: no row is kept before its time is known, and no time is given twice."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from poller.clock import EPOCH, Clock, last_tick
from storage.records import Reading, Round, moved

logger = logging.getLogger(__name__)

LATE = timedelta(seconds=5)
_SECOND = timedelta(seconds=1)
_REMEMBERED = 2 * 31  # days of ticks, at 0.3 kB for one a minute, and of other seconds, at 11 kB
_MOST_ATTEMPTS = 3  # to keep a round


class Dating:
    """Hands rounds on to *keep* while the clock is settled. Before that they wait in memory and move with the clock.

    Half-hour rows carry the meter's own time, and since when a meter is installed is only said by a
    settled clock: these are never moved.
    """

    def __init__(self, clock: Clock, keep: Callable[[Round], None], *, interval_s: int) -> None:
        self._clock = clock
        self._keep = keep
        self._interval_s = interval_s
        self._waiting: deque[tuple[datetime, Round]] = deque()  # each with the clock's zero at the time
        self._attempts = 0  # to keep the first of these
        self._taken: dict[tuple[int, int], int] = {}  # a bit for each time that a reading carries, see _bit

    def stamp(self, tick: datetime | None, at: datetime) -> datetime:
        """Return the time for a reading of *tick* that arrived *at*: the tick, as for all of a round.

        It is the second of its arrival where that is LATE, where the tick was given before (the clock was set back), or
        where it responds to an earlier poll's request (None). That second is never a tick, which would say that the
        value was measured at it or just after.
        """
        if tick is not None and at - tick <= LATE and not self._is_taken(tick):
            return tick
        stamp = at.replace(microsecond=0)
        while self._is_taken(stamp) or self._is_tick(stamp):
            stamp += _SECOND
        return stamp

    def write(self, round_: Round, /) -> None:
        """Keep *round_*, or let it wait until the clock is settled."""
        self._waiting.append((self._clock.zero, round_))
        self.release()

    def release(self) -> None:
        """Keep what waits, oldest first, if the clock is settled."""
        while self._waiting and self._clock.is_settled:
            try:
                self._keep_first()
            except Exception as error:
                self._attempts += 1
                # A round that is refused for its contents, or fails again and again, must not hold up the others.
                if isinstance(error, ValueError) or self._attempts == _MOST_ATTEMPTS:
                    self._attempts = 0
                    logger.error("a round cannot be kept and is lost: %r", self._waiting.popleft()[1])
                raise
            self._waiting.popleft()  # not earlier: after a fault it is kept again
            self._attempts = 0

    def _keep_first(self) -> None:
        zero, round_ = self._waiting[0]
        if by := self._clock.zero - zero:
            round_ = Round(tuple(moved(row, by) for row in round_.rows))
        for time in {row.measured_at for row in round_.rows if isinstance(row, Reading)}:
            self._take(time)
        self._keep(round_)

    def close(self) -> None:
        """Keep what waits, dated by the machine's clock where the time is not known yet."""
        if self._waiting:
            self._clock.settle()
            self.release()

    def _is_tick(self, time: datetime) -> bool:
        return self._interval_s > 1 and last_tick(time, self._interval_s) == time

    def _is_taken(self, time: datetime) -> bool:
        key, bit = self._bit(time)
        return bool(self._taken.get(key, 0) & bit)

    def _take(self, time: datetime) -> None:
        key, bit = self._bit(time)
        self._taken[key] = self._taken.get(key, 0) | bit
        if len(self._taken) > _REMEMBERED:
            del self._taken[next(iter(self._taken))]

    def _bit(self, time: datetime) -> tuple[tuple[int, int], int]:
        """Return the key of the bits of a day, its ticks or its other seconds, and which of them stands for *time*."""
        day, second = divmod((time - EPOCH) // _SECOND, 86_400)
        step_s = self._interval_s if self._is_tick(time) else 1
        return (day, step_s), 1 << second // step_s
