"""What a checker wants to know of the host: every datagram it sent, and every one it should not have sent."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from skstack.echonet.frame import Esv

_TOLERANCE_S = 0.05  # what a host may need to see an EVENT that has just left
_ESV_AT = 10  # in an ECHONET Lite frame
_REQUESTS = (Esv.GET, Esv.SET_C)
_LATEST = 8  # attempts at a request, whose responses may still be on their way


class Sent(NamedTuple):
    """One SKSENDTO that was accepted: when its last byte had come (Unix seconds), and what it was."""

    at: float
    payload: bytes
    secured: bool


class Audit:
    """Watches the sends. A request is pending until its response has come, or its time is over.

    The same request may be repeated once the timer has ended. A different one may be sent once the longest wait is
    over, counted from the first attempt.
    Source of the rules: one request at a time, AIF specification 1.01, 2.4.2; silence after EVENT 29 and 32, command
    reference 5.11.
    """

    def __init__(self) -> None:
        """Start with nothing sent."""
        self.response_timer_s = self.longest_s = 20.0
        self.sends: list[Sent] = []
        self.violations: list[str] = []
        self._first: Sent | None = None  # the pending request, as it was first sent
        self._last_at = 0.0  # and when it was last repeated
        self._alike: deque[Sent] = deque(maxlen=_LATEST)  # the latest attempts, also of before it was last responded to
        self._closed_at: dict[int, float] = {}  # EVENT 29 or 32 -> when its line had left

    def note(self, sent: Sent) -> None:
        """Remember a send, and record every rule that it breaks."""
        self.sends.append(sent)
        for number, closed_at in self._closed_at.items():
            if sent.at > closed_at + _TOLERANCE_S:
                self.violations.append(f"{sent.at:.3f}: sent {sent.at - closed_at:.3f} s after EVENT {number:X}")
        if self._first is not None and _is_request(sent.payload):
            repeats = _but_for_its_tid(sent) == _but_for_its_tid(self._first)
            since, least_s = (self._last_at, self.response_timer_s) if repeats else (self._first.at, self.longest_s)
            if sent.at < since + least_s - _TOLERANCE_S:
                self.violations.append(f"{sent.at:.3f}: sent {sent.at - since:.3f} s after a pending request")

    def requested(self, sent: Sent) -> None:
        """Note that *sent* has reached the air; if it is a request, it is pending from now on."""
        if _is_request(sent.payload):
            repeats = bool(self._alike) and _but_for_its_tid(sent) == _but_for_its_tid(self._alike[-1])
            if not repeats:
                self._alike.clear()
            if self._first is None or not repeats:
                self._first = sent
            self._alike.append(sent)
            self._last_at = sent.at

    def responded(self, payload: bytes) -> None:
        """Drop the request if *payload*, which was on its way to the host, is a response to any of its attempts.

        The line may be lost, and the host wait on: then a response to an earlier attempt ends the wait as well.
        """
        if any(_tid(payload) == _tid(sent.payload) for sent in self._alike):
            self.forget()

    def forget(self) -> None:
        """Drop the request: no response can come any more."""
        self._first = None

    def close(self, event: int, at: float) -> None:
        """Note that the host must be silent from *at* on, when the line of *event* had left."""
        self._closed_at[event] = at

    def reopen(self, event: int) -> None:
        """Drop the reason that *event* gave for silence."""
        self._closed_at.pop(event, None)


def _is_request(payload: bytes) -> bool:
    return len(payload) > _ESV_AT and payload[_ESV_AT] in _REQUESTS


def _tid(payload: bytes) -> bytes:
    return payload[2:4]


def _but_for_its_tid(sent: Sent) -> bytes:
    return sent.payload[:2] + sent.payload[4:]
