"""Whether a request fits before the next tick: a poll is never late because of something less urgent."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TypeVar

from skstack import SessionLostError, SkStackError

T = TypeVar("T")

FIRST_S = 2.0  # what the first response of a kind is expected to take
_FORGET = 0.9  # an expectation shrinks by this at each quicker response, and at each tick that left no time for it
_MOST_DOUBLINGS = 6
_SAME_TICK_S = 0.5  # by which the deadline may differ between two calls for one tick


class TimeBudget:
    """Knows by kind how long the slowest recent response took, and lets a request begin only where that fits.

    *margin_s*: kept free before the tick. *usual_s*: a response that takes longer than this is not slow but lost.
    *held_s*: the time before a tick in which a request that is lost makes the poll late, since it holds the air. A kind
    whose last response was lost, or that never had one, begins before that: soon after a poll. *free_at*: until when
    (monotonic) a response to an earlier request may come: nothing begins before.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        usual_s: float,
        margin_s: float,
        held_s: float = 0.0,
        free_at: Callable[[], float] = lambda: -inf,
    ) -> None:
        self.free_at = free_at
        self._monotonic = monotonic
        self._usual_s = usual_s
        self._margin_s = margin_s
        self._held_s = held_s
        self._expected_s: dict[str, float] = {}
        self._suspect_s: dict[str, float] = {}  # the time that must be free for a kind that may be lost again
        self._failures: dict[str, int] = {}
        self._refused: dict[str, float] = {}  # the tick before which it did not fit last

    def fits(self, kind: str, until: float) -> bool:
        """Return whether a response to a request of this *kind* can be expected before *until* (monotonic seconds)."""
        if self._monotonic() < self.free_at():  # which says nothing of how long a response takes
            return False
        free_s = until - self._monotonic() - self._margin_s
        expected_s = self._expected_s.get(kind, FIRST_S)
        suspect_s = self._suspect_s.get(kind, self._held_s)
        if free_s > max(expected_s, suspect_s):
            return True
        if until > self._refused.get(kind, float("-inf")) + _SAME_TICK_S:  # once a tick
            self._refused[kind] = until
            self._expected_s[kind] = expected_s * _FORGET
            self._suspect_s[kind] = suspect_s * _FORGET
        return False

    def spend(self, kind: str, send: Callable[[float], T], until: float, *, timeout_s: float = inf) -> T:
        """Call *send* with its deadline, and learn from how long its request takes.

        It is given up after *timeout_s*, and at *until*. Raises: what *send* raises.
        """
        started = self._monotonic()
        try:
            response = send(min(until, started + timeout_s))
        except SessionLostError:  # which says nothing of how long a response takes
            raise
        except SkStackError:
            self._learn_from_failure(kind, self._monotonic() - started)
            raise
        took_s = self._monotonic() - started
        self._failures[kind] = 0
        self._suspect_s[kind] = 0.0
        self._expected_s[kind] = max(took_s, self._expected_s.get(kind, 0.0) * _FORGET)
        return response

    def _learn_from_failure(self, kind: str, waited_s: float) -> None:
        """After a wait cut short by the tick, reserve more time next time; after a full wait: it was lost, not slow."""
        if waited_s < self._usual_s:
            failures = self._failures.get(kind, 0) + 1
            self._failures[kind] = min(failures, _MOST_DOUBLINGS)
            self._expected_s[kind] = max(self._expected_s.get(kind, 0.0), waited_s * 2.0 ** self._failures[kind])
        else:
            self._suspect_s[kind] = self._held_s
