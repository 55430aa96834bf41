"""Whether a request has room before the next tick: a poll is never late because of something less urgent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from skstack import SkStackError

T = TypeVar("T")

FIRST_S = 2.0  # what an answer is expected to take before there was one of its kind
_FORGET = 0.9  # of an expectation, at each answer that was quicker and at each tick that left no room for it
_MOST_DOUBLINGS = 6


class Room:
    """Knows by kind how long the slowest recent answer took, and lets a request begin only where that fits.

    *pause_s*: from the start of one request to the start of the next. *margin_s*: kept free before the tick.
    *patience_s*: when a request without an answer is given up. *usual_s*: an answer that takes longer than this is
    not slow but lost.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        patience_s: float,
        usual_s: float,
        margin_s: float,
        pause_s: float = 0.0,
    ) -> None:
        self._monotonic = monotonic
        self._patience_s = patience_s
        self._usual_s = usual_s
        self._margin_s = margin_s
        self._pause_s = pause_s
        self._expected_s: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._refused: dict[str, float] = {}  # the tick before which there was no room last
        self.not_before = float("-inf")

    def fits(self, kind: str, until: float) -> bool:
        """Tell whether an answer to a request of this *kind* can be expected before *until* (monotonic seconds)."""
        room_s = until - self._monotonic() - self._margin_s
        expected_s = self._expected_s.get(kind, FIRST_S)
        if room_s > expected_s:
            return True
        if self._refused.get(kind) != until:  # once a tick
            self._refused[kind] = until
            self._expected_s[kind] = expected_s * _FORGET
        return False

    def ask(self, kind: str, question: Callable[[float], T], until: float) -> T:
        """Put *question*, which is handed its deadline, and learn from how long it took.

        Raises: what *question* raises.
        """
        started = self._monotonic()
        self.not_before = started + self._pause_s
        try:
            answer = question(min(until, started + self._patience_s))
        except SkStackError:
            self._learn_from_failure(kind, self._monotonic() - started)
            raise
        took_s = self._monotonic() - started
        self._failures[kind] = 0
        self._expected_s[kind] = max(took_s, self._expected_s.get(kind, 0.0) * _FORGET)
        return answer

    def _learn_from_failure(self, kind: str, waited_s: float) -> None:
        """After a wait cut short by the tick, want more room the next time; else the answer was lost, not slow."""
        if waited_s < self._usual_s:
            failures = self._failures.get(kind, 0) + 1
            self._failures[kind] = min(failures, _MOST_DOUBLINGS)
            self._expected_s[kind] = max(self._expected_s.get(kind, 0.0), waited_s * 2.0 ** self._failures[kind])
