"""A radio that is made to fail on schedule: virtual time, the simulated module, a serial line that lies.

What goes wrong and when stands in faults.py; here is what carries it out.
"""

from __future__ import annotations

import random
from bisect import insort
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Protocol

from pseudo_terminal import Device
from skstack import PortLostError
from skstack.simulator import SimulatedModule, SimulatedPort, VirtualClock

_HELD_S = 1.3  # the longest gap within a line that was seen
_NEVER_SPOILED = (b"EVENT 29", b"EVENT 32")  # what the host never hears of, it cannot obey


class Happening(Protocol):
    """Something due at a time (monotonic seconds) that acts on a radio."""

    @property
    def at_s(self) -> float:
        """When."""

    def __call__(self, radio: Radio) -> None:
        """Let it happen."""


@dataclass(frozen=True)
class Later:
    """Something that follows from what has happened."""

    at_s: float
    action: Callable[[], object]

    def __call__(self, radio: Radio) -> None:
        self.action()


@dataclass(slots=True)
class Wire:
    """The line from the module to the host. A spoiled chunk never becomes a whole line with other hex digits.

    Only whole lines travel in a chunk; what is cut out, put in or broken is decided by a seeded generator.
    """

    rng: random.Random
    is_binary: bool = False
    spoilers: deque[str] = field(default_factory=deque)  # one for each of the next chunks
    losses: list[bytes] = field(default_factory=list)  # each takes away the next line that begins so
    wake_ups: int = 0  # reads that end early, as a signal ends them

    def carry(self, chunk: bytes, now: float) -> list[tuple[float, bytes]]:
        """Return what becomes of *chunk*: pieces and when each arrives."""
        if any(event in chunk for event in _NEVER_SPOILED):
            return [(now, chunk)]
        if self.losses:
            chunk = self._without_losses(chunk)
        if not chunk or not self.spoilers:
            return [(now, chunk)] if chunk else []
        return _SPOIL[self.spoilers.popleft()](self, chunk, now)

    def _without_losses(self, chunk: bytes) -> bytes:
        for start in list(self.losses):
            if chunk.startswith(start):
                at = 0
            elif (at := chunk.find(b"\n" + start) + 1) == 0:
                continue
            end = chunk.find(b"\n", at) + 1 or len(chunk)
            chunk = chunk[:at] + chunk[end:]
            self.losses.remove(start)
        return chunk

    def corrupt(self, chunk: bytes, now: float) -> list[tuple[float, bytes]]:
        """Put a byte that is no hex digit in the place of another."""
        place = self.rng.randrange(self._spoilable(chunk))
        broken = self.rng.choice((chunk[place] | 0x80, 0x00, 0x0D, 0x2A))
        return [(now, chunk[:place] + bytes((broken,)) + chunk[place + 1 :])]

    def truncate(self, chunk: bytes, now: float) -> list[tuple[float, bytes]]:
        """Lose the rest from some byte on, with the line end or without it.

        Where payloads are binary the line end is kept: else the next line could stand where the lost bytes stood.
        """
        place = self.rng.randrange(len(chunk))
        return [(now, chunk[:place] + (b"\r\n" if self.is_binary or self.rng.random() < 0.5 else b""))]

    def surround(self, chunk: bytes, now: float) -> list[tuple[float, bytes]]:
        """Put garbage before and behind."""
        noise = [bytes(self.rng.randrange(0x80, 0x100) for _ in range(self.rng.randrange(1, 200))) for _ in range(2)]
        end = self.rng.choice((b"", b"\r", b"\n", b"\r\n"))
        return [(now, noise[0] + end + chunk + noise[1] + end)]

    def split(self, chunk: bytes, now: float) -> list[tuple[float, bytes]]:
        place = self.rng.randrange(len(chunk))
        return [(now, chunk[:place]), (now + self.rng.uniform(0.0, _HELD_S), chunk[place:])]

    def merge(self, chunk: bytes, now: float) -> list[tuple[float, bytes]]:
        """Hold it back: it comes together with what follows."""
        return [(now + _HELD_S, chunk)]

    def _spoilable(self, chunk: bytes) -> int:
        """Return how many bytes from the start may be broken: of a binary payload none, for nobody could notice."""
        at = chunk.find(b"ERXUDP") if self.is_binary else -1
        return len(chunk) if at < 0 else at + len(b"ERXUDP")


_SPOIL: dict[str, Callable[[Wire, bytes, float], list[tuple[float, bytes]]]] = {
    "corrupt": Wire.corrupt,
    "truncate": Wire.truncate,
    "garbage": Wire.surround,
    "split": Wire.split,
    "merge": Wire.merge,
}


class Line:
    """What is at the end of the serial line: the module, or for a while *other*; what one says meanwhile is lost."""

    def __init__(self, module: SimulatedModule) -> None:
        self.module = module
        self.other: Device | None = None

    @property
    def reads(self) -> bool:
        return self.other is None or self.other.reads

    def receive(self, data: bytes, at: float) -> None:
        (self.other or self.module).receive(data, at)

    def take_output(self, at: float) -> bytes:
        said = self.module.take_output(at)
        return said if self.other is None else self.other.take_output(at)

    def next_output_at(self) -> float | None:
        devices: list[Device] = [self.module] if self.other is None else [self.module, self.other]
        times = [at for each in devices if (at := each.next_output_at()) is not None]
        return min(times, default=None)


class Radio:
    """The stick with its module, plugged in or not, and everything that is going to happen to it."""

    def __init__(
        self, module: SimulatedModule, clock: VirtualClock, rng: random.Random, *, is_binary: bool = False
    ) -> None:
        self.module = module
        self.line = Line(module)
        self.clock = clock
        self.rng = rng
        self.wire = Wire(rng, is_binary=is_binary)
        self.cut_writes = 0  # so many of the next writes lose their end
        self.unplugged = 0  # how often
        self.missing_until = 0.0
        self.typed: list[tuple[float, bytes]] | None = None  # what the host writes and when, where a test wants it
        self.is_signalled = False  # a signal came: the next wait, or the one under way, ends early
        self._port: FaultyPort | None = None
        self._agenda: deque[Happening] = deque()

    def plan(self, happenings: Sequence[Happening]) -> None:
        """Let these happen as well, each at its time."""
        self._agenda = deque(sorted([*self._agenda, *happenings], key=attrgetter("at_s")))

    def then(self, after_s: float, action: Callable[[], object]) -> None:
        """Let *action* happen *after_s* from now, too."""
        insort(self._agenda, Later(self.clock.monotonic() + after_s, action), key=attrgetter("at_s"))

    @property
    def next_at(self) -> float:
        """When the next thing happens."""
        return self._agenda[0].at_s if self._agenda else float("inf")

    @property
    def time_s(self) -> float:
        """The time as the module takes it (Unix seconds)."""
        return self.clock.time_s

    def catch_up(self) -> None:
        """Let happen what is due."""
        while self._agenda and self._agenda[0].at_s <= self.clock.monotonic():
            self._agenda.popleft()(self)

    def unplug(self, until: float) -> None:
        """Pull the stick out until the monotonic time *until*; without power the module forgets everything."""
        self.unplugged += 1
        self.missing_until = max(self.missing_until, until)
        back_at = self.time_s + self.missing_until - self.clock.monotonic()
        self.module.hang(back_at)
        self.module.restart(back_at)

    def open_port(self, _baud_rate: int) -> FaultyPort:
        """Open the stick's port. Raises: PortLostError: it is not plugged in."""
        self.catch_up()
        if self.clock.monotonic() < self.missing_until:
            raise PortLostError("the simulated stick is not there")
        self._port = FaultyPort(self)
        return self._port

    def say(self, line: bytes) -> None:
        """Let the host receive *line*, whatever the module thinks."""
        if self._port is not None:
            self._port.arrive([(self.clock.monotonic(), line + b"\r\n")])

    def sleep(self, seconds: float) -> None:
        """Let time pass, and happen what is due."""
        until = self.clock.monotonic() + max(0.0, seconds)
        while self.next_at < until:
            self.clock.sleep(self.next_at - self.clock.monotonic())
            self.catch_up()
            if self.takes_signal():
                return
        self.clock.sleep(until - self.clock.monotonic())
        self.catch_up()

    def takes_signal(self) -> bool:
        """Return whether a signal has come; it ends one wait."""
        was, self.is_signalled = self.is_signalled, False
        return was


class FaultyPort:
    """The driver's port over a Radio: what happens, happens while the host waits."""

    def __init__(self, radio: Radio) -> None:
        self._radio = radio
        self._port = SimulatedPort(radio.line, radio.clock)
        self._unplugged_before = radio.unplugged
        self._arriving: deque[tuple[float, bytes]] = deque()

    def read(self, timeout_s: float) -> bytes:
        clock, radio = self._radio.clock, self._radio
        deadline = clock.monotonic() + max(timeout_s, 0.0)
        while True:
            self._check()
            if self._arriving and self._arriving[0][0] <= clock.monotonic():
                return self._take()
            if timeout_s > 0 and radio.takes_signal():
                return b""
            if radio.wire.wake_ups and timeout_s > 0:
                radio.wire.wake_ups -= 1
                return b""
            until = min(deadline, radio.next_at, self._arriving[0][0] if self._arriving else deadline)
            chunk = self._port.read(until - clock.monotonic())
            if chunk:
                self.arrive(radio.wire.carry(chunk, clock.monotonic()))
            elif clock.monotonic() < until - 1e-6:
                return b""  # a signal came
            elif clock.monotonic() >= deadline and not (self._arriving and self._arriving[0][0] <= deadline):
                return b""

    def write(self, data: bytes) -> None:
        self._check()
        if self._radio.typed is not None:
            self._radio.typed.append((self._radio.clock.monotonic(), data))
        if self._radio.cut_writes and len(data) > 2:
            self._radio.cut_writes -= 1
            data = data[: self._radio.rng.randrange(1, len(data))]
        self._port.write(data)

    def close(self) -> None:
        self._port.close()

    def arrive(self, pieces: list[tuple[float, bytes]]) -> None:
        """Queue *pieces*: none overtakes another."""
        for at, piece in pieces:
            if piece:
                earliest = self._arriving[-1][0] if self._arriving else at
                self._arriving.append((max(at, earliest), piece))

    def _take(self) -> bytes:
        """Return everything that has arrived, as one chunk."""
        chunk = b""
        while self._arriving and self._arriving[0][0] <= self._radio.clock.monotonic():
            chunk += self._arriving.popleft()[1]
        return chunk

    def _check(self) -> None:
        self._radio.catch_up()
        if self._radio.unplugged != self._unplugged_before:
            raise PortLostError("the simulated stick was unplugged")
