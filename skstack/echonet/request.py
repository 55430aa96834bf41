"""What is requested of the meter and what it says: a request with its attempts, its response, a notification.

Pure: times are the caller's, monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from skstack.echonet.frame import Esv, Frame

_CONTROL_BYTES = frozenset(b"\r\n \0")


def next_tid(tid: int) -> int:
    """Return the TID that follows *tid*, but for those that would look like the end of a line in an echoed payload."""
    while True:
        tid = (tid + 1) & 0xFFFF
        if not _CONTROL_BYTES.intersection(tid.to_bytes(2, "big")):
            return tid


@dataclass(frozen=True, slots=True)
class Response:
    """The response to a Get or a Set: its service, the data that came, by EPC, and what was listed without data.

    What was *requested* and is in neither was left out.
    """

    esv: Esv
    requested: frozenset[int]
    values: Mapping[int, bytes] = field(repr=False)  # C0 is a secret
    refused: frozenset[int]
    sent_at: float
    arrived_at: float


@dataclass(frozen=True, slots=True)
class Notification:
    """What the meter sent unsolicited (INF, INFC), by EPC."""

    values: Mapping[int, bytes] = field(repr=False)  # C0 is a secret


@dataclass(slots=True)
class Request:
    """A request with all its attempts: a late response to an earlier one still counts."""

    frame: Frame
    session: int  # the number of the one in which it was first sent
    began_at: float  # when its turn had come
    attempts: dict[int, tuple[Frame, float]] = field(default_factory=dict)  # by TID: what was sent, and when
    repeat_at: float = 0.0  # when it may be sent again
    free_at: float = 0.0  # when another one may be sent: before that a response may be on its way
    earlier_free_at: float = 0.0  # that of the attempts before the last one
    response: Response | None = None

    def has_response(self) -> bool:
        """Return whether a response has come."""
        return self.response is not None

    def attempt(self, tid: int, now: float) -> Frame:
        """Return the frame of another attempt, to be sent *now*."""
        frame = self.frame._replace(tid=tid)
        self.attempts[tid] = frame, now
        return frame

    def sent(self, at: float, *, timeout_s: float, longest_wait_s: float) -> None:
        """Note that an attempt left *at*: *longest_wait_s* count from the first one."""
        self.earlier_free_at = self.free_at
        self.repeat_at = at + timeout_s
        self.free_at = max(self.free_at or at + longest_wait_s, self.repeat_at)

    def not_sent(self, repeat_at: float) -> None:
        """Note that the last attempt did not leave after all."""
        self.repeat_at = repeat_at
        self.free_at = max(self.earlier_free_at, repeat_at)

    def take(self, frame: Frame, values: Mapping[int, bytes], now: float, *, fresh_s: float) -> bool:
        """Take *frame*, with its *values*, as the response; False: it is none, or the attempt is too old."""
        if self.has_response() or frame.tid not in self.attempts:
            return False
        sent, sent_at = self.attempts[frame.tid]
        if now - sent_at > fresh_s or not frame.matches(sent):
            return False
        requested = frozenset([each.epc for each in self.frame.properties])
        listed = frozenset([each.epc for each in frame.properties]) or requested  # some meters refuse without a list
        self.response = Response(frame.esv, requested, values, listed - values.keys(), sent_at, now)
        return True
