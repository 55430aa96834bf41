"""A serial port that follows a script to its end."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from skstack import PortLostError
from tests.lab.clock import LabClock


@dataclass(frozen=True)
class Expect:
    """The host writes exactly this, in one write."""

    written: bytes


@dataclass(frozen=True)
class Say:
    """The module says this, in one chunk."""

    chunk: bytes


@dataclass(frozen=True)
class Silence:
    """Nothing comes for so long."""

    seconds: float


@dataclass(frozen=True)
class Wake:
    """A signal ends the wait."""


@dataclass(frozen=True)
class Unplug:
    """The device is gone."""


Step = Expect | Say | Silence | Wake | Unplug


class FakePort:
    """Follows a script. A read that has nothing to give moves the clock by its timeout."""

    def __init__(self, clock: LabClock, script: list[Step]) -> None:
        self._clock = clock
        self._script = deque(script)
        self.is_closed = False

    def read(self, timeout_s: float) -> bytes:
        rest_s = timeout_s
        while self._script:
            match self._script[0]:
                case Say(chunk):
                    self._script.popleft()
                    return chunk
                case Silence(seconds) if seconds > rest_s:
                    self._script[0] = replace(self._script[0], seconds=seconds - rest_s)
                    break
                case Silence(seconds):
                    self._script.popleft()
                    self._clock.sleep(seconds)
                    rest_s -= seconds
                case Wake() if rest_s > 0:
                    self._script.popleft()
                    return b""
                case Unplug():
                    raise PortLostError("the fake device was unplugged")
                case _:
                    break
        self._clock.sleep(rest_s)
        return b""

    def write(self, data: bytes) -> None:
        while self._script and isinstance(self._script[0], Silence):  # the host does not have to wait for the end
            self._script.popleft()
        if self._script and isinstance(self._script[0], Unplug):
            raise PortLostError("the fake device was unplugged")
        assert self._script, f"nothing more was expected, but came: {data!r}"
        assert self._script[0] == Expect(data), f"expected {self._script[0]}, came {data!r}"
        self._script.popleft()

    def close(self) -> None:
        self.is_closed = True

    def assert_done(self) -> None:
        """See that the whole script was used."""
        assert not self._script, f"never happened: {list(self._script)}"
