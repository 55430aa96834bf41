"""What can be made to go wrong in a simulation. Each method does one named thing; chance comes only from a seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from random import Random
from typing import TypeVar

from skstack.simulator.habits import Habit, delay, everything, lose
from skstack.simulator.lines import Beacon

_T = TypeVar("_T")

Hearing = Callable[[Beacon, int], bool]
"""Whether a scan over so many channels hears a beacon."""


def hears_all(_beacon: Beacon, _channels: int) -> bool:
    """Hear every beacon."""
    return True


def deaf(_beacon: Beacon, _channels: int) -> bool:
    """Hear none, while the PAN would accept a join all the same."""
    return False


def deaf_on_one_channel(_beacon: Beacon, channels: int) -> bool:
    """Hear none in a scan of one channel."""
    return channels > 1


def hears_share(share: float, rng: Random) -> Hearing:
    """Hear *share* of the beacons (0 to 1). Source: README of hnw/smartmeter-exporter: about half in a bad place."""
    return lambda _beacon, _channels: rng.random() < share


@dataclass(frozen=True, slots=True)
class JoinFailure:
    """A handshake that ends in EVENT 24; *connects_after_s*: and in EVENT 25 so much later all the same."""

    connects_after_s: float | None = None


class Faults:
    """Faults that wait for their turn, or last. Times are Unix seconds; counts add up and are used up."""

    def __init__(self) -> None:
        """Start with nothing wrong."""
        self.habits: list[Habit] = []  # what becomes of the meter's frames in the air
        self.clear()

    def clear(self) -> None:
        """Forget every fault that still waits or lasts."""
        self.habits.clear()
        self.hearing: Hearing = hears_all
        self._silent_until = 0.0
        self._session_lasts_s = math.inf
        self._rejoins: Iterator[bool] = cycle((False,))
        self._failing_sends: list[int] = []
        self._failing_joins: list[JoinFailure] = []
        self._short_sessions: list[float] = []
        self._missed_scans = 0
        self._late_beacons = 0
        self._refusals: list[tuple[str, str | None]] = []
        self._slow_commands: list[tuple[float, str | None]] = []

    # --- the meter

    def lose_replies(self, count: int = 1) -> None:
        """Let the next *count* answers of the meter get lost in the air."""
        self.habits.append(Habit(lose, times=count))

    def delay_replies(self, by_s: float, count: int = 1) -> None:
        """Let the next *count* answers of the meter come *by_s* seconds later."""
        self.habits.append(Habit(delay(by_s), times=count))

    def silence_meter(self, until: float) -> None:
        """Let the meter be out of reach until then: no beacons, no handshake, no acknowledgement (EVENT 21 01)."""
        self._silent_until = until

    def mute_meter(self, until: float) -> None:
        """Let the meter hear everything until then (EVENT 21 00), but neither answer nor announce."""
        self.habits.append(Habit(lose, everything, until=until))

    def forget_sessions(self, after_s: float, rejoins: Sequence[bool] = (False,)) -> None:
        """Let the meter forget each session *after_s* after its EVENT 25, without a word.

        The module goes on believing in it: a send is acknowledged (EVENT 21 00) and never answered. Renewing it works
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

    def fail_joins(self, count: int = 1, *, connects_after_s: float | None = None) -> None:
        """Let the next *count* handshakes, renewals among them, end in EVENT 24.

        *connects_after_s*: and EVENT 25 follow so much later all the same, unless another SKJOIN comes first.
        """
        self._failing_joins += [JoinFailure(connects_after_s)] * count

    def end_sessions(self, after_s: float, count: int = 1) -> None:
        """Let the meter end each of the next *count* sessions by EVENT 26, *after_s* after its EVENT 25."""
        self._short_sessions += [after_s] * count

    def miss_scans(self, count: int = 1) -> None:
        """Let the next *count* scans hear nothing."""
        self._missed_scans += count

    def describe_late(self, count: int = 1) -> None:
        """Let the next *count* scans print one more EVENT 20 and EPANDESC after their EVENT 22."""
        self._late_beacons += count

    def refuse_next(self, code: str, command: str | None = None) -> None:
        """Let the next command, or the next one called *command*, be answered FAIL *code* ("ER10")."""
        self._refusals.append((code, command))

    def slow_next(self, by_s: float, command: str | None = None) -> None:
        """Let the next command, or the next one called *command*, be answered *by_s* seconds later.

        What is typed meanwhile waits unread, so that its answer comes after the late one.
        """
        self._slow_commands.append((by_s, command))

    # --- asked by the simulation

    def meter_is_silent(self, at: float) -> bool:
        """Tell whether the meter is out of reach at *at*."""
        return at < self._silent_until

    def session_is_forgotten(self, age_s: float) -> bool:
        """Tell whether the meter has forgotten a session that was made or renewed *age_s* ago."""
        return age_s >= self._session_lasts_s

    def rejoin_fails(self) -> bool:
        """Tell whether this renewal of a forgotten session is to fail."""
        return not next(self._rejoins)

    def send_param(self) -> int:
        """Return what EVENT 21 reports for this send."""
        return self._failing_sends.pop(0) if self._failing_sends else 0

    def join_failure(self) -> JoinFailure | None:
        """Return how this handshake is to fail, if it is."""
        return self._failing_joins.pop(0) if self._failing_joins else None

    def session_ends_after_s(self) -> float | None:
        """Return how long after its EVENT 25 this session is to be ended by the meter, if it is."""
        return self._short_sessions.pop(0) if self._short_sessions else None

    def scan_misses(self) -> bool:
        """Tell whether this scan is to hear nothing."""
        if self._missed_scans:
            self._missed_scans -= 1
            return True
        return False

    def describes_late(self) -> bool:
        """Tell whether this scan is to print one description too late."""
        if self._late_beacons:
            self._late_beacons -= 1
            return True
        return False

    def refusal(self, command: str) -> str | None:
        """Return the code with which *command* is to be refused, if it is."""
        return _take_for(command, self._refusals)

    def slowness_s(self, command: str) -> float:
        """Return how much later than usual *command* is to be answered."""
        return _take_for(command, self._slow_commands) or 0.0


def _take_for(command: str, waiting: list[tuple[_T, str | None]]) -> _T | None:
    """Remove and return the first that waits for *command* or for any."""
    for number, (found, wanted) in enumerate(waiting):
        if wanted in (None, command):
            del waiting[number]
            return found
    return None
