"""A clock that jumps and a port that needs no device: a month of polling in seconds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from skstack.errors import PortLostError
from skstack.simulator.module import SimulatedModule


class VirtualClock:
    """Time that passes only when somebody waits. Hand its methods in where the real clock's would be."""

    def __init__(self, start: datetime) -> None:
        """Begin at *start*, which must be aware."""
        if start.tzinfo is None:
            raise ValueError("a virtual clock starts at an aware time")
        self._start_s = start.timestamp()
        self._elapsed_s = 0.0  # the small number is the one that is kept: a Unix time resolves no better than 0.2 us

    @property
    def time_s(self) -> float:
        """The time in Unix seconds, as the simulated module takes it."""
        return self._start_s + self._elapsed_s

    def monotonic(self) -> float:
        """Return the seconds since the start, for time.monotonic."""
        return self._elapsed_s

    def now(self) -> datetime:
        """Return the time as an aware UTC datetime."""
        return datetime.fromtimestamp(self.time_s, tz=UTC)

    def sleep(self, seconds: float) -> None:
        """Let *seconds* pass, for time.sleep."""
        self._elapsed_s += max(seconds, 0.0)

    def advance_to(self, time_s: float) -> None:
        """Let it be *time_s* (Unix seconds), unless it is later already."""
        self._elapsed_s = max(self._elapsed_s, time_s - self._start_s)


class SimulatedPort:
    """The driver's port protocol over a simulated module. A wait jumps the clock to what comes first.

    *wire* sees every chunk on its way to the host and may spoil it.
    """

    def __init__(
        self, module: SimulatedModule, clock: VirtualClock, *, wire: Callable[[bytes], bytes] | None = None
    ) -> None:
        """Plug *module* in."""
        self._module = module
        self._clock = clock
        self._wire = wire
        self._closed = False
        self._unplugged = False

    def read(self, timeout_s: float) -> bytes:
        """Return what has come, waiting up to *timeout_s* for the first of it; b"" if nothing has.

        Raises: PortLostError: closed or unplugged.
        """
        self._check()
        deadline = self._clock.monotonic() + max(timeout_s, 0.0)
        while True:
            chunk = self._module.take_output(self._clock.time_s)
            if chunk and self._wire is not None:
                chunk = self._wire(chunk)
            if chunk:
                return chunk
            next_at = self._module.next_output_at()
            remaining_s = deadline - self._clock.monotonic()
            if next_at is None or next_at - self._clock.time_s > remaining_s:
                self._clock.sleep(remaining_s)
                return b""
            self._clock.advance_to(next_at)

    def write(self, data: bytes) -> None:
        """Hand *data* to the module.

        Raises: PortLostError: closed or unplugged.
        """
        self._check()
        self._module.receive(data, self._clock.time_s)

    def close(self) -> None:
        """Close the port; another may be opened on the same module."""
        self._closed = True

    def unplug(self) -> None:
        """Pull the stick out: from now on this port is lost."""
        self._unplugged = True

    def _check(self) -> None:
        if self._closed or self._unplugged:
            raise PortLostError("the simulated port is " + ("unplugged" if self._unplugged else "closed"))
