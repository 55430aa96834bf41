"""SIGTERM and Ctrl-C: a flag, and a file descriptor that ends a wait. Nothing is interrupted half-way."""

from __future__ import annotations

import os
import select
import signal
from types import FrameType


class StopSignal:
    """Set by the first SIGTERM or SIGINT; a second SIGINT ends the process at once, as people expect."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._requested = False

    def install(self) -> None:
        """Take over the two signals. From the main thread only."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when a signal comes; the reader drains it."""
        return self._reader

    def requested(self) -> bool:
        """Whether the poller has been asked to end."""
        return self._requested

    def sleep(self, seconds: float) -> None:
        """Wait, unless a signal comes."""
        if select.select([self._reader], [], [], max(0.0, seconds))[0]:
            os.read(self._reader, 4096)

    def request(self) -> None:
        """Ask the poller to end."""
        self._requested = True
        try:
            os.write(self._writer, b"\0")
        except BlockingIOError:  # the pipe is full of earlier wake-ups: one more says nothing new
            return

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._requested and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        self.request()
