"""What happens to the frames of a simulated meter on their way to the module: habits, each one effect on some frames.

A meter has permanent habits (SimulatedMeter.habits); temporary faults are habits of the air (Faults.habits). They
apply in order, the meter's before the air's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from skstack.echonet.frame import Frame


@dataclass(frozen=True, slots=True)
class Reply:
    """A frame of the meter on its way: the response to *request*, or unsolicited (None)."""

    request: Frame | None
    payload: bytes
    at: float  # when the meter had the request or announced, Unix seconds
    delay_s: float = 0.0  # from then until the module has it
    begins_anew: bool = False  # dropped if another request comes before it has left


Effect = Callable[[Reply], tuple[Reply, ...]]
"""What it makes of a frame: none, the same, another one, several."""

Condition = Callable[[Reply], bool]
"""Which frames a habit applies to."""


def is_response(reply: Reply) -> bool:
    """Return whether *reply* responds to a request."""
    return reply.request is not None


@dataclass(slots=True)
class Habit:
    """One *effect* on the frames that meet *when* until *until* (Unix seconds), at most *times* times.

    A frame that the effect leaves as it is uses up none of the times.
    """

    effect: Effect
    when: Condition = is_response
    until: float = math.inf
    times: float = math.inf

    def __call__(self, reply: Reply) -> tuple[Reply, ...]:
        """Return what it makes of *reply*."""
        if self.times < 1 or reply.at >= self.until or not self.when(reply):
            return (reply,)
        changed = self.effect(reply)
        if changed != (reply,):
            self.times -= 1
        return changed

    def is_over(self, at: float) -> bool:
        """Return whether it has no effect from *at* on."""
        return self.times < 1 or at >= self.until


def apply(habits: list[Habit], reply: Reply) -> tuple[Reply, ...]:
    """Return what *habits* leave of *reply*, and drop those that are over."""
    replies: tuple[Reply, ...] = (reply,)
    for habit in habits:
        replies = tuple(changed for each in replies for changed in habit(each))
    habits[:] = [habit for habit in habits if not habit.is_over(reply.at)]
    return replies
