"""The air in a simulated living room: what every sensor there would read, as a pure function of the time and a seed."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

_JST_OFFSET_S = 9 * 3600  # the day's course follows the sun in Japan, which has no summer time


@dataclass(frozen=True, slots=True)
class RoomClimate:
    """What sensors in the living room read."""

    temperature_c: float
    humidity_pct: float
    pressure_hpa: float
    co2_ppm: int
    cpu_temperature_c: float


def room_climate(at: float, *, seed: int = 1) -> RoomClimate:
    """Return the air of the room at *at* (Unix seconds): smooth, with the day's course and the season's."""
    day, hour = divmod((at + _JST_OFFSET_S) / 3600, 24)
    phase = random.Random(seed).random() * 2 * math.pi
    year = math.cos(2 * math.pi * (day % 365.25 - 215) / 365.25)  # 1 in early August, -1 in early February
    afternoon = math.cos(2 * math.pi * (hour - 15) / 24)
    drift = math.sin(2 * math.pi * (day + hour / 24) / 6.3 + phase)
    temperature_c = 22.5 + 4.0 * year + 1.6 * afternoon + 0.4 * drift
    people = sum(math.exp(-(((hour - middle + 12) % 24 - 12) ** 2) / width) for middle, width in ((7.5, 2.5), (21, 9)))
    return RoomClimate(
        temperature_c=round(temperature_c, 2),
        humidity_pct=round(50.0 + 9.0 * year - 4.0 * afternoon + 5.0 * drift, 2),
        pressure_hpa=round(1013.0 - 4.0 * year + 6.5 * drift + 0.7 * math.cos(4 * math.pi * (hour - 10) / 24), 2),
        co2_ppm=round(460 + 520 * people + 25 * drift),
        cpu_temperature_c=round(temperature_c + 21.5 + 2.0 * math.sin(2 * math.pi * hour * 3 / 24 + phase), 1),
    )
