"""sensors.i2c: which errors of the kernel are tried again, and what each says to a household."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from sensors.errors import SensorError, SensorNotFoundError, SensorNotReadyError
from sensors.i2c import I2cDevice, open_i2c_bus
from tests.lab.clock import LabClock
from tests.lab.sensors import WatchedBus

PASSING = [errno.EREMOTEIO, errno.EIO, errno.ETIMEDOUT, errno.ENXIO]


class Registers:
    """A chip of 256 registers, each holding its own number, that gives *given* of those asked for."""

    def __init__(self, given: int = 32) -> None:
        self.given = given
        self.written: list[tuple[int, int, int]] = []

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int, /) -> list[int]:
        return list(range(register, register + length))[: self.given]

    def write_byte_data(self, i2c_addr: int, register: int, value: int, /) -> None:
        self.written.append((i2c_addr, register, value))

    def close(self) -> None:
        pass


class Bench:
    """A chip, a watched bus, and the device at 0x40."""

    def __init__(self) -> None:
        self.clock = LabClock()
        self.chip = Registers()
        self.bus = WatchedBus(self.chip, self.clock)
        self.device = I2cDevice(
            "XY1", self.bus.open, 0x40, (0x40, 0x41), kernel_driver="xy1_i2c", sleep=self.clock.sleep
        )

    def fail(self, *numbers: int) -> None:
        self.bus.errors = [OSError(number, os.strerror(number)) for number in numbers]

    def read(self) -> bytes:
        return self.device.attempt(lambda: self.device.read(0x10, 3))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_registers_are_read_and_written_at_the_address(bench: Bench) -> None:
    assert bench.read() == b"\x10\x11\x12"
    bench.device.write(0xF4, 0x25)
    assert bench.chip.written == [(0x40, 0xF4, 0x25)]


def test_the_bus_is_opened_at_the_first_transfer_and_after_close(bench: Bench) -> None:
    assert bench.bus.opened == 0
    bench.read()
    bench.read()
    assert bench.bus.opened == 1
    bench.device.close()
    assert bench.bus.closed == 1
    bench.read()
    assert bench.bus.opened == 2


@pytest.mark.parametrize("number", PASSING)
def test_a_passing_fault_costs_no_reading(bench: Bench, number: int) -> None:
    bench.fail(number, number)
    assert bench.read() == b"\x10\x11\x12"
    assert bench.bus.closed == 0


@pytest.mark.parametrize("number", PASSING)
def test_a_passing_fault_is_tried_three_times_with_pauses(bench: Bench, number: int) -> None:
    bench.fail(number, number, number)
    with pytest.raises(SensorError, match="check the wiring"):
        bench.read()
    assert len(bench.bus.transfers) == 3
    assert 0.01 <= bench.bus.times[1] - bench.bus.times[0] <= 0.1
    assert bench.bus.times[2] <= 0.2
    assert bench.bus.closed == 1


@pytest.mark.parametrize(
    ("number", "what", "remedy"),
    [
        (errno.ENOENT, "no such I2C bus", "switch I2C on"),
        (errno.EACCES, "may not use the bus", "group i2c"),
        (errno.EBUSY, "a kernel driver holds the address", "unload it (sudo rmmod xy1_i2c) or remove its dtoverlay"),
        (errno.ENODEV, "the I2C bus failed", "check the wiring"),
    ],
)
def test_a_lasting_fault_is_not_tried_again_and_says_what_to_do(
    bench: Bench, number: int, what: str, remedy: str
) -> None:
    bench.fail(number)
    with pytest.raises(SensorError) as caught:
        bench.read()
    assert caught.value.what == f"XY1 at 0x40: {what} ([Errno {number}] {os.strerror(number)})"
    assert remedy in caught.value.remedy
    assert len(bench.bus.transfers) == 1
    assert bench.clock.monotonic() == 0.0
    assert bench.bus.closed == 1


@pytest.mark.parametrize("number", [errno.EREMOTEIO, errno.ENXIO])
def test_where_nothing_responds_every_address_is_named(bench: Bench, number: int) -> None:
    bench.fail(number, number, number)
    with pytest.raises(SensorNotFoundError, match="nothing responds at this address") as caught:
        bench.read()
    assert caught.value.remedy == "check the wiring and the address (0x40 or 0x41; i2cdetect -y BUS)"


def test_a_bus_that_is_not_there_says_what_to_do() -> None:
    clock = LabClock()
    device = I2cDevice("XY1", lambda: open_i2c_bus(99), 0x40, (0x40,), kernel_driver="xy1_i2c", sleep=clock.sleep)
    with pytest.raises(SensorNotFoundError, match=r"/dev/i2c-99.*switch I2C on"):
        device.attempt(lambda: device.read(0x10, 3))
    assert clock.monotonic() == 0.0


def test_the_bus_of_the_number_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    def open_bus(number: int) -> Registers:
        opened.append(number)
        return Registers()

    monkeypatch.setattr("smbus2.SMBus", open_bus)
    assert open_i2c_bus(7).read_i2c_block_data(0x40, 0x10, 2) == [0x10, 0x11]
    assert opened == [7]


def test_a_short_transfer_is_an_error(bench: Bench) -> None:
    bench.chip.given = 2
    with pytest.raises(SensorError, match="0x10: expected 3 bytes, got 2"):
        bench.read()


def raising(*errors: SensorError) -> tuple[list[SensorError], Callable[[], str]]:
    left = list(errors)

    def measure() -> str:
        if left:
            raise left.pop(0)
        return "measured"

    return left, measure


def test_what_a_sensor_calls_passing_is_tried_again(bench: Bench) -> None:
    _, measure = raising(*[bench.device.passing("the checksum is wrong", "check the wiring") for _ in range(2)])
    assert bench.device.attempt(measure) == "measured"


def test_any_other_error_of_a_sensor_is_raised_at_once(bench: Bench) -> None:
    left, measure = raising(SensorNotReadyError("XY1: warming up"), SensorError("XY1: never seen"))
    with pytest.raises(SensorNotReadyError):
        bench.device.attempt(measure)
    assert len(left) == 1


def test_what_never_happens_is_waited_for_within_its_limit(bench: Bench) -> None:
    with pytest.raises(SensorError, match="XY1 at 0x40: does not wake up: switch it off and on"):
        bench.device.wait_until(lambda: False, 5, 0.002, "does not wake up")
    assert bench.clock.monotonic() == pytest.approx(0.01)
    bench.device.wait_until(lambda: True, 1, 0.002, "does not wake up")
    assert bench.clock.monotonic() == pytest.approx(0.01)
