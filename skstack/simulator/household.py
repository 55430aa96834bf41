"""What a simulated household uses and sells, minute by minute.

Everything is a pure function of the time and a seed. Power is constant within each minute of Japan time, so that the
energy registers are its exact integral, in whole watt-seconds, at any second.
"""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate

DAY_S = 86_400
MINUTES_A_DAY = 1440
JST_OFFSET_S = 9 * 3600  # Japan has no summer time
DEFAULT_SINCE = datetime(2025, 12, 31, 15, tzinfo=UTC).timestamp()  # 2026-01-01 00:00 in Japan

DayProfile = Callable[[int], Sequence[int]]
"""Gives the watts of the 1440 minutes of a day; the day is counted from 1970-01-01 in Japan."""

# The mean outdoor temperature of each month in Tokyo, degrees Celsius, rounded.
_OUTDOOR_C = (5, 6, 9, 14, 19, 22, 26, 27, 23, 18, 13, 8)

# Small things switching on and off, so that no two minutes read alike.
_FLICKER = tuple(random.Random(0).choices(range(-12, 13), k=2 * MINUTES_A_DAY))


def local_day(at: float) -> int:
    """Return the day of *at* (Unix seconds), counted from 1970-01-01 in Japan."""
    return (int(at) + JST_OFFSET_S) // DAY_S


def midnight(day: int) -> int:
    """Return the Unix second at which the Japanese day number *day* begins."""
    return day * DAY_S - JST_OFFSET_S


class Household:
    """Power and energy at the meter. The registers stand at zero at *since* (Unix seconds, taken at midnight)."""

    def __init__(self, profile: DayProfile, *, since: float = DEFAULT_SINCE) -> None:
        """Take the watts of each minute from *profile*; negative watts are sold."""
        self._profile = profile
        self._first_day = local_day(since)
        self._sums = [(0, 0)]  # at each midnight from the first one on
        # The meter reads one day, slot after slot, and the day it was installed.
        self._running = lru_cache(maxsize=8)(self._running_of)

    @classmethod
    def typical(cls, *, seed: int = 1, solar: bool = False, since: float = DEFAULT_SINCE) -> Household:
        """Return a flat with an air conditioner and a kettle, and 4 kW of panels on the roof if *solar*."""
        return cls(lambda day: typical_day(seed, solar, day), since=since)

    @property
    def since(self) -> int:
        """The Unix second from which the registers count."""
        return midnight(self._first_day)

    def power_w(self, at: float) -> int:
        """Return the power during the minute of *at*, watts; negative while more is sold than used."""
        day = local_day(at)
        return self._profile(day)[(int(at) - midnight(day)) // 60]

    def energy_ws(self, at: float) -> tuple[int, int]:
        """Return what was bought and what was sold from *since* to the whole second of *at*, watt-seconds.

        Before *since* both are zero.
        """
        day = local_day(at)
        if day < self._first_day:
            return 0, 0
        bought, sold = self._at_midnight(day)
        minute, second = divmod(int(at) - midnight(day), 60)
        bought_by, sold_by = self._running(day)
        now_w = self._profile(day)[minute]
        return bought + bought_by[minute] + max(now_w, 0) * second, sold + sold_by[minute] + max(-now_w, 0) * second

    def currents_da(self, at: float) -> tuple[int, int]:
        """Return the currents of the R and the T phase, tenths of an ampere; together the power at 100 V a phase."""
        total = round(self.power_w(at) / 10)  # 100 V, in steps of 0.1 A: 10 W each
        r_phase = total * 3 // 5
        return r_phase, total - r_phase

    def _at_midnight(self, day: int) -> tuple[int, int]:
        while self._first_day + len(self._sums) <= day:
            watts = self._profile(self._first_day + len(self._sums) - 1)
            bought, sold = self._sums[-1]
            used = sum(w for w in watts if w > 0)
            self._sums.append((bought + 60 * used, sold + 60 * (used - sum(watts))))
        return self._sums[day - self._first_day]

    def _running_of(self, day: int) -> tuple[list[int], list[int]]:
        """Return the watt-seconds bought and sold from midnight to the start of each minute of *day*."""
        watts = self._profile(day)
        bought = accumulate((60 * max(w, 0) for w in watts), initial=0)
        sold = accumulate((60 * max(-w, 0) for w in watts), initial=0)
        return list(bought), list(sold)


@lru_cache(maxsize=128)
def typical_day(seed: int, solar: bool, day: int) -> Sequence[int]:
    """Return the watts of the 1440 minutes of *day*: standby, the fridge, meals, light, heating or cooling, the sun."""
    # Not for secrets: the same seed and day must give the same watts everywhere.
    rng = random.Random(f"{seed}/{day}")
    month = datetime.fromtimestamp(midnight(day) + DAY_S // 2, tz=UTC).month
    first = rng.randrange(MINUTES_A_DAY)
    watts = [140 + little for little in _FLICKER[first : first + MINUTES_A_DAY]]
    for start in range(rng.randrange(50), MINUTES_A_DAY, 50):
        _add(watts, start, 22, 85)  # the fridge's compressor
    for start, minutes, used_w in _appliances(rng, _OUTDOOR_C[month - 1]):
        _add(watts, start, minutes, used_w)
    if solar:
        _subtract_sun(watts, rng, month)
    return array("i", watts)


def _add(watts: list[int], start: int, minutes: int, used_w: int) -> None:
    for minute in range(start, min(start + minutes, MINUTES_A_DAY)):
        watts[minute] += used_w


def _appliances(rng: random.Random, outdoor_c: int) -> list[tuple[int, int, int]]:
    """Return (first minute, minutes, watts) of everything switched on in a day."""
    wake, supper = 380 + rng.randrange(60), 1100 + rng.randrange(60)
    used = [
        (wake, 90, 160),  # light, television
        (wake + 8, 4, 1150),  # kettle
        (wake + 15, 5, 950),  # toaster
        (supper - 50, 42, 640),  # rice cooker
        (supper - 20, 9, 1050),  # microwave
        (supper - 60, 300 + rng.randrange(40), 260),  # light, television
        (supper + 75, 4, 1150),
        (supper + 150, 12, 1100),  # hair dryer
    ]
    if rng.random() < 0.6:
        used.append((wake + 60, 45, 380))  # washing machine
    if rng.random() < 0.5:
        used.append((700 + rng.randrange(60), 6, 1150))
    strain_c = max(14 - outdoor_c, outdoor_c - 22, 0)  # heating below, cooling above
    if strain_c:
        used.append((wake - 20, 130, 250 + 45 * strain_c))
        used.append((supper - 80, 330, 220 + 40 * strain_c))
    return used


def _subtract_sun(watts: list[int], rng: random.Random, month: int) -> None:
    """Take off what 4 kW of panels give, under clouds that change every half hour."""
    half_day_min = 360 + round(75 * math.sin((month - 3) / 6 * math.pi))
    peak_w = 2900 + 500 * math.sin((month - 3) / 6 * math.pi)
    for half_hour in range(48):
        clear = 0.35 + 0.65 * rng.random() ** 0.5
        for minute in range(half_hour * 30, half_hour * 30 + 30):
            from_noon = abs(minute - 705) / half_day_min  # the sun is highest at 11:45 in Tokyo
            if from_noon < 1:
                watts[minute] -= round(peak_w * clear * math.cos(from_noon * math.pi / 2) ** 1.3)
