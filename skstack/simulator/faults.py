"""What can be made to go wrong in a simulation. Each method is one kind of fault."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import TypeVar

from skstack.simulator.habits import Habit
from skstack.simulator.lines import Beacon

_T = TypeVar("_T")

Hearing = Callable[[Sequence[Beacon], int], Sequence[Beacon]]
"""What a scan over so many channels hears of the beacons in the air."""


def hear_all(beacons: Sequence[Beacon], _channels: int) -> Sequence[Beacon]:
    """Hear every beacon."""
    return beacons


class Faults:
    """Faults that wait for their turn, or last. Times are Unix seconds; counts add up and are used up.

    *habits*: what becomes of the meter's frames in the air. *hearing*: what scans hear. *silent_until*: until when the
    meter is out of reach: no beacons, no handshake, no acknowledgement (EVENT 21 01).
    """

    def __init__(self) -> None:
        """Start with nothing wrong."""
        self.habits: list[Habit] = []
        self.clear()

    def clear(self) -> None:
        """Forget every fault that still waits or lasts."""
        self.habits.clear()
        self.hearing: Hearing = hear_all
        self.silent_until = 0.0
        self._session_lasts_s = math.inf
        self._rejoins: Iterator[bool] = cycle((False,))
        self._failing_sends: list[int] = []
        self._failing_joins: list[float] = []
        self._short_sessions: list[float] = []
        self._late_beacons: list[bool] = []
        self._refusals: list[tuple[str, str | None]] = []
        self._slow_commands: list[tuple[float, str | None]] = []

    # --- the meter

    def forget_sessions(self, after_s: float, rejoins: Sequence[bool] = (False,)) -> None:
        """Let the meter forget each session *after_s* after its EVENT 25, without a word.

        The module goes on believing in it: a send is acknowledged (EVENT 21 00) and gets no response. Renewing it works
        or ends in EVENT 24, in turn as *rejoins* say, over and over; SKJOIN works.
        """
        self._session_lasts_s = after_s
        self._rejoins = cycle(rejoins)

    # --- the module

    def fail_sends(self, param: int = 1, count: int = 1) -> None:
        """Let EVENT 21 report *param* for the next *count* sends.

        1: not sent. 2: the neighbour is being looked for; EVENT 02, the send and its EVENT 21 00 follow.
        """
        self._failing_sends += [param] * count

    def fail_joins(self, count: int = 1, *, connects_after_s: float = math.inf) -> None:
        """Let the next *count* handshakes, renewals among them, end in EVENT 24.

        *connects_after_s*: EVENT 25 follows all the same, so much later, unless another SKJOIN comes first.
        """
        self._failing_joins += [connects_after_s] * count

    def end_sessions(self, after_s: float, count: int = 1) -> None:
        """Let the meter end each of the next *count* sessions by EVENT 26, *after_s* after its EVENT 25."""
        self._short_sessions += [after_s] * count

    def describe_late(self, count: int = 1) -> None:
        """Let the next *count* scans print one more EVENT 20 and EPANDESC after their EVENT 22."""
        self._late_beacons += [True] * count

    def refuse_next(self, code: str, command: str | None = None) -> None:
        """Let the next command, or the next one called *command*, fail with FAIL *code* ("ER10")."""
        self._refusals.append((code, command))

    def slow_next(self, by_s: float, command: str | None = None) -> None:
        """Let the next command, or the next one called *command*, get its response *by_s* seconds later.

        What is typed meanwhile waits unread, so that its response comes after the late one.
        """
        self._slow_commands.append((by_s, command))

    # --- what the simulation reads

    def session_is_forgotten(self, age_s: float) -> bool:
        """Return whether the meter has forgotten a session that was made or renewed *age_s* ago."""
        return age_s >= self._session_lasts_s

    def rejoin_fails(self) -> bool:
        """Return whether this renewal of a forgotten session is to fail."""
        return not next(self._rejoins)

    def send_param(self) -> int:
        """Return what EVENT 21 reports for this send."""
        return _next(self._failing_sends) or 0

    def join_failure(self) -> float | None:
        """Return how long after its EVENT 24 this handshake connects all the same; None: it does not fail."""
        return _next(self._failing_joins)

    def session_ends_after_s(self) -> float | None:
        """Return how long after its EVENT 25 this session is to be ended by the meter, if it is."""
        return _next(self._short_sessions)

    def describes_late(self) -> bool:
        """Return whether this scan is to print one description too late."""
        return _next(self._late_beacons) is not None

    def refusal(self, command: str) -> str | None:
        """Return the code with which *command* is to be refused, if it is."""
        return _take_for(command, self._refusals)

    def slowness_s(self, command: str) -> float:
        """Return how much later than usual the response to *command* is to come."""
        return _take_for(command, self._slow_commands) or 0.0


def _next(waiting: list[_T]) -> _T | None:
    """Remove and return the first; None: there is none."""
    return waiting.pop(0) if waiting else None


def _take_for(command: str, waiting: list[tuple[_T, str | None]]) -> _T | None:
    """Remove and return the first that waits for *command* or for any."""
    for number, (found, wanted) in enumerate(waiting):
        if wanted in (None, command):
            del waiting[number]
            return found
    return None
