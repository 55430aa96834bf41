"""A room whose air is another one each minute, so that a reading shows when it was taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import isclose
from pathlib import Path
from typing import assert_never

from poller.sensing import Source
from sensors.simulated_mhz19 import WARM_UP_PPM, SimulatedMhz19
from storage.records import Bme280Row, Co2Row, CpuTemperatureRow, Reading, SensorRow
from tests.lab.checker import earliest
from tests.lab.rig import MachineClock
from tests.lab.sensors import Room

_WARM_UP_S = 60.0  # of the sensor, and what the program takes for it
_MOMENT_S = 0.01  # a tick in floating point may come as much before its second
_TAKES_S = (0.0, 5.0, 10.0)  # from the time of a row to its reading


@dataclass(frozen=True)
class Air:
    """What there is to measure."""

    temperature_c: float
    humidity_pct: float
    pressure_hpa: float
    co2_ppm: int
    box_c: int
    cpu_millidegrees: int


def air_at(at: float) -> Air:
    """Return the air in the minute of *at* (Unix seconds)."""
    minute = int(at + _MOMENT_S) // 60
    return Air(
        temperature_c=15.0 + minute * 7 % 20,
        humidity_pct=30.0 + minute * 7 % 20,
        pressure_hpa=990.0 + minute * 7 % 20,
        co2_ppm=450 + minute * 17 % 1500,
        box_c=20 + minute % 7,
        cpu_millidegrees=40_000 + minute * 1009 % 30_000,
    )


class LivingRoom(Room):
    """The three sensors, whichever program reads them."""

    def __init__(self, directory: Path, now: Callable[[], float]) -> None:
        """Follow the true time *now* (Unix seconds)."""
        super().__init__(directory)
        self._now = now
        self.air = SimulatedMhz19(powered_at=-_WARM_UP_S, warm_up_s=_WARM_UP_S)

    def lose_power(self, *, back_s: float) -> None:
        """Be without power until *back_s* (monotonic)."""
        self.chip.brown_out()
        self.air = replace_sensor(self.air, powered_at=back_s)

    def sources(self, clock: MachineClock) -> Sequence[Source]:
        unplugged = self.chip.unplugged
        sources = super().sources(clock)
        self.chip.unplugged = unplugged

        def read(source: Source) -> Callable[[datetime], Reading]:
            def read_now(tick: datetime) -> Reading:
                self._change(air_at(self._now()))
                return source.read(tick)

            return read_now

        return [replace(source, read=read(source)) for source in sources]

    def _change(self, air: Air) -> None:
        with (self.zone / "temp").open("r+", encoding="ascii") as file:  # of one length; to begin it anew takes long
            file.write(f"{air.cpu_millidegrees}\n")
        self.chip.temperature_c, self.chip.humidity_pct = air.temperature_c, air.humidity_pct
        self.chip.pressure_hpa = air.pressure_hpa
        self.air.co2_ppm, self.air.temperature_c = air.co2_ppm, air.box_c

    def measured(self, row: SensorRow, at: float) -> bool:
        """Return whether *row*, which bears the true time *at* (Unix seconds), is what its sensor measured then."""
        times = {at + after_s for after_s in _TAKES_S} | {earliest(at)}
        return any(_agrees(row, air_at(each)) for each in times)


def replace_sensor(sensor: SimulatedMhz19, *, powered_at: float) -> SimulatedMhz19:
    """Return the same sensor as it is when power comes back."""
    anew = SimulatedMhz19(powered_at=powered_at, warm_up_s=_WARM_UP_S)
    anew.silent = sensor.silent
    return anew


def _agrees(row: SensorRow, air: Air) -> bool:
    match row:
        case CpuTemperatureRow():
            return row.temperature_c == air.cpu_millidegrees / 1000
        case Bme280Row():
            stored = (row.temperature_c, row.humidity_pct, row.pressure_hpa)
            true = (air.temperature_c, air.humidity_pct, air.pressure_hpa)
            return all(isclose(one, other, abs_tol=0.1) for one, other in zip(stored, true, strict=True))
        case Co2Row():
            warm_up = (WARM_UP_PPM,) if row.warming_up else ()
            return row.co2_ppm in (air.co2_ppm, *warm_up) and row.temperature_c == air.box_c
        case _:
            assert_never(row)
