"""Stand-ins for the tests of sensors/: a clock that moves only when told, and wrappers that watch or disturb."""

from __future__ import annotations

from collections.abc import Callable

from sensors.bme280 import I2cBus


class FakeClock:
    """Monotonic time; sleeping moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


class WatchedBus:
    """Passes every transfer on, keeps a record of it, and raises the errors it was told to raise first."""

    def __init__(self, bus: I2cBus, clock: FakeClock) -> None:
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
        self.times.append(self._clock.now)
        self.before_transfer(what, register)
        if self.errors:
            raise self.errors.pop(0)


class ScriptedPort:
    """A serial port that answers each command with the next piece of a script, and notes what was done to it."""

    def __init__(self, clock: FakeClock, *answers: bytes | Exception) -> None:
        self._clock = clock
        self._answers = list(answers)
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
        answer = self._answers.pop(0) if self._answers else b""
        if isinstance(answer, Exception):
            raise answer
        self._unread += answer
        return len(data)

    def reset_input_buffer(self) -> None:
        self.flushes += 1
        self._unread = b""

    def close(self) -> None:
        self.closed += 1
