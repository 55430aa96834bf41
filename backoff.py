"""Pauses between the attempts at what keeps failing: one way for the radio, the outbox and the delivery."""

from __future__ import annotations


class Backoff:
    """The next pause in seconds: *first_s*, then twice as long at each failure, at most *last_s*.

    Knows no clock and waits for nothing.
    """

    def __init__(self, first_s: float, last_s: float) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self._next_s = first_s

    def failed(self) -> float:
        """Return how long to pause after this failure, and make the next pause longer."""
        pause_s = self._next_s
        self._next_s = min(2 * pause_s, self._last_s)
        return pause_s

    def succeeded(self) -> None:
        """Begin again with the shortest pause."""
        self._next_s = self._first_s
