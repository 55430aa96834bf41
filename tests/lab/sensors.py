"""Buses and ports for the tests of sensors/: they watch, or disturb."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from poller.sensing import Source, bme280_source, cpu_source, mhz19_source
from sensors.bme280 import Bme280
from sensors.cpu import read_cpu_temperature_c
from sensors.i2c import I2cBus
from sensors.mhz19 import Mhz19
from sensors.simulated_bme280 import SimulatedBme280
from sensors.simulated_mhz19 import Mhz19Port, SimulatedMhz19
from tests.lab.clock import LabClock
from tests.lab.rig import MachineClock


class WatchedBus:
    """Passes every transfer on, keeps a record of it, and first raises the errors it is given."""

    def __init__(self, bus: I2cBus, clock: LabClock) -> None:
        self._bus = bus
        self._clock = clock
        self.transfers: list[tuple[str, int, int]] = []  # what, register, length or value
        self.times: list[float] = []
        self.errors: list[OSError] = []
        self.before_transfer: Callable[[str, int], None] = lambda what, register: None
        self.opened = 0
        self.closed = 0

    def open(self) -> I2cBus:
        self.opened += 1
        return self

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int, /) -> list[int]:
        self._note("read", register, length)
        return list(self._bus.read_i2c_block_data(i2c_addr, register, length))

    def write_byte_data(self, i2c_addr: int, register: int, value: int, /) -> None:
        self._note("write", register, value)
        self._bus.write_byte_data(i2c_addr, register, value)

    def close(self) -> None:
        self.closed += 1

    def of(self, what: str) -> list[tuple[int, int]]:
        """Return (register, length or value) of all reads or writes so far."""
        return [(register, number) for kind, register, number in self.transfers if kind == what]

    def _note(self, what: str, register: int, number: int) -> None:
        self.transfers.append((what, register, number))
        self.times.append(self._clock.monotonic())
        self.before_transfer(what, register)
        if self.errors:
            raise self.errors.pop(0)


class ScriptedPort:
    """A serial port that responds to each command with the next piece of a script, and notes what was done to it."""

    def __init__(self, clock: LabClock, *replies: bytes | Exception) -> None:
        self._clock = clock
        self._replies = list(replies)
        self._unread = b""
        self.written: list[bytes] = []
        self.flushes = 0
        self.closed = 0

    def read(self, size: int, /) -> bytes:
        if not self._unread:
            self._clock.sleep(0.05)
        taken, self._unread = self._unread[:size], self._unread[size:]
        return taken

    def write(self, data: bytes, /) -> int:
        self.written.append(data)
        reply = self._replies.pop(0) if self._replies else b""
        if isinstance(reply, Exception):
            raise reply
        self._unread += reply
        return len(data)

    def reset_input_buffer(self) -> None:
        self.flushes += 1
        self._unread = b""

    def close(self) -> None:
        self.closed += 1


class Room:
    """The three sensors of a room, simulated: a warm CPU, a BME280 (*chip*) and an MH-Z19 (*air*)."""

    def __init__(self, directory: Path) -> None:
        self._thermal_root = directory / "thermal"
        self.zone = self._thermal_root / "thermal_zone0"
        self.zone.mkdir(parents=True)
        (self.zone / "type").write_text("cpu-thermal\n", encoding="ascii")
        self.heat_cpu("48312")
        self.air = SimulatedMhz19(powered_at=-3600.0)
        self.chip = SimulatedBme280(lambda: 0.0)

    def heat_cpu(self, millidegrees: str) -> None:
        (self.zone / "temp").write_text(f"{millidegrees}\n", encoding="ascii")

    def sources(self, clock: MachineClock) -> Sequence[Source]:
        """Return what a poller reads by *clock*; for Home(sensors=)."""
        self.chip = SimulatedBme280(clock.monotonic)
        bme280 = Bme280(lambda: self.chip, sleep=clock.sleep)
        mhz19 = Mhz19(
            lambda: Mhz19Port(self.air, monotonic=clock.monotonic, sleep=clock.sleep),
            warm_up_s=60.0,
            monotonic=clock.monotonic,
        )

        def read_cpu_c() -> float:
            return read_cpu_temperature_c(thermal_root=self._thermal_root, run=_no_command)

        return [cpu_source(read_cpu_c), bme280_source(bme280), mhz19_source(mhz19)]


def _no_command(*_arguments: object, **_options: object) -> subprocess.CompletedProcess[bytes]:
    raise FileNotFoundError
