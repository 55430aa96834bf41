"""A clock that jumps and a port that needs no device: a month of polling in seconds."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from datetime import UTC, datetime

from pseudo_terminal import Device
from skstack.errors import PortLostError

_UNREAD_BYTES = 4096  # what a terminal keeps of what nobody reads
_WRITE_TIMEOUT_S = 2.0  # the host's, for what is more


class VirtualClock:
    """Time that passes only when somebody waits. Hand its methods in where the real clock's would be."""

    def __init__(self, start: datetime) -> None:
        """Begin at *start*, which must be aware."""
        if start.tzinfo is None:
            raise ValueError("a virtual clock starts at an aware time")
        self._start_s = start.timestamp()
        self._signals: list[tuple[float, int, Callable[[], object]]] = []
        self._number = itertools.count()
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
        """Let *seconds* pass, for time.sleep: a signal does not end it."""
        self._pass_until(self._elapsed_s + seconds)

    def advance_to(self, time_s: float) -> None:
        """Let it be *time_s* (Unix seconds), unless it is later already."""
        self._pass_until(time_s - self._start_s)

    def signal_at(self, monotonic_s: float, handler: Callable[[], object]) -> None:
        """Let a signal come at *monotonic_s*: *handler* is called, and a read that waits at a port returns early."""
        heapq.heappush(self._signals, (monotonic_s, next(self._number), handler))

    @property
    def next_signal_s(self) -> float:
        """When the next signal comes (monotonic seconds); infinity: none will."""
        return self._signals[0][0] if self._signals else math.inf

    def _pass_until(self, elapsed_s: float) -> None:
        while self.next_signal_s <= elapsed_s:
            signal_s, _, handler = heapq.heappop(self._signals)
            self._elapsed_s = max(self._elapsed_s, signal_s)
            handler()
        self._elapsed_s = max(self._elapsed_s, elapsed_s)


class SimulatedPort:
    """The driver's port protocol over a simulated device, whose times are Unix seconds.

    A wait jumps the clock to what comes first.
    """

    def __init__(self, device: Device, clock: VirtualClock) -> None:
        """Plug *device* in."""
        self._device = device
        self._clock = clock
        self._unread_bytes = 0
        self._closed = False

    def read(self, timeout_s: float) -> bytes:
        """Return what has come, waiting up to *timeout_s* for the first of it; b"" if nothing has, or a signal came.

        Raises: PortLostError: closed.
        """
        self._check()
        deadline = self._clock.monotonic() + max(timeout_s, 0.0)
        while True:
            chunk = self._device.take_output(self._clock.time_s)
            if chunk:
                return chunk
            next_at = self._device.next_output_at()
            remaining_s = deadline - self._clock.monotonic()
            signal_s = self._clock.next_signal_s - self._clock.monotonic()
            longest_s = min(remaining_s, signal_s)
            if next_at is None or next_at - self._clock.time_s > longest_s:
                self._clock.sleep(longest_s)
                return b""
            self._clock.advance_to(next_at)

    def write(self, data: bytes) -> None:
        """Hand *data* to the device.

        Raises: PortLostError: closed, or the device takes no more.
        """
        self._check()
        if self._device.reads:
            self._device.receive(data, self._clock.time_s)
            return
        self._unread_bytes += len(data)
        if self._unread_bytes > _UNREAD_BYTES:
            self._clock.sleep(_WRITE_TIMEOUT_S)
            raise PortLostError(f"the simulated port took no data for {_WRITE_TIMEOUT_S} s")

    def close(self) -> None:
        """Close the port; another may be opened on the same device."""
        self._closed = True

    def _check(self) -> None:
        if self._closed:
            raise PortLostError("the simulated port is closed")
