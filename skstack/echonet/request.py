"""What is asked of the meter and what it says: a request with its attempts, its response, a notification.

Pure: times are the caller's, monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from skstack.echonet.frame import Eoj, Esv, Frame


@dataclass(frozen=True, slots=True)
class Response:
    """What answers a Get or a Set: its service, the data that came, by EPC, and what was listed without data.

    What was *asked* for and is in neither was left out.
    """

    esv: Esv
    asked: frozenset[int]
    values: Mapping[int, bytes]
    refused: frozenset[int]
    sent_at: float
    arrived_at: float


@dataclass(frozen=True, slots=True)
class Notification:
    """What the meter or its node profile sent unsolicited (INF, INFC), by EPC."""

    source: Eoj
    values: Mapping[int, bytes]
    arrived_at: float


@dataclass(slots=True)
class Request:
    """A request with all its attempts: a late response to an earlier one still counts."""

    frame: Frame
    session: int  # the number of the one in which it was first sent
    attempts: dict[int, float] = field(default_factory=dict)  # by TID: when it was sent
    repeat_at: float = 0.0  # when it may be sent again
    free_at: float = 0.0  # when another one may be sent: until then a response may be on its way
    response: Response | None = None

    def is_answered(self) -> bool:
        """Tell whether a response has come."""
        return self.response is not None

    def attempt(self, tid: int, now: float) -> Frame:
        """Return the frame of another attempt, to be sent *now*."""
        self.attempts[tid] = now
        return replace(self.frame, tid=tid)

    def take(self, frame: Frame, values: Mapping[int, bytes], now: float, *, fresh_s: float) -> bool:
        """Take *frame*, which gives *values*, for the response; False: it is none, or that of too old an attempt."""
        sent_at = self.attempts.get(frame.tid)
        if self.is_answered() or sent_at is None or now - sent_at > fresh_s:
            return False
        if not frame.matches(replace(self.frame, tid=frame.tid)):
            return False
        asked = frozenset(each.epc for each in self.frame.properties)
        listed = frozenset(each.epc for each in frame.properties) or asked  # some meters refuse without a list
        self.response = Response(frame.esv, asked, values, listed - values.keys(), sent_at, now)
        return True
