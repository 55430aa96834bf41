"""What else may be at the end of a serial line: devices that are no Wi-SUN module, or a module that has gone mad.

They take the place of a SimulatedModule in a SimulatedPort or on the pseudo-terminal.
"""

from __future__ import annotations

from itertools import cycle

_BYTES_A_SECOND = 11_520  # 115200 baud, 8N1


class Deaf:
    """Says nothing, ever. One that does not even *read* lets the host's writes pile up."""

    def __init__(self, *, reads: bool = True) -> None:
        """Be a device that hears and is silent, or one that is not there for anybody."""
        self.reads = reads

    def receive(self, data: bytes, at: float) -> None:
        """Take it, and do nothing."""

    def take_output(self, _at: float) -> bytes:
        """Return nothing."""
        return b""

    def next_output_at(self) -> float | None:
        """Return that nothing is going on."""
        return None


class Babbling:
    """Says the same *text* over and over, whatever it hears: *piece_bytes* at a time, each *every_s*."""

    reads = True

    def __init__(self, text: bytes, *, piece_bytes: int, every_s: float, start: float) -> None:
        """Begin at *start* (Unix seconds)."""
        self._text = cycle(text)
        self._piece_bytes = piece_bytes
        self._every_s = every_s
        self._next_at = start

    @classmethod
    def drip(cls, text: bytes = b".", *, every_s: float = 0.15, start: float) -> Babbling:
        """Let a byte come now and then, so that a wait for silence never ends, nor a line."""
        return cls(text, piece_bytes=1, every_s=every_s, start=start)

    @classmethod
    def flood(cls, text: bytes = b"EVENT 20\r\n", *, start: float) -> Babbling:
        """Let lines come as fast as the line carries them."""
        piece_bytes = 10 * len(text)
        return cls(text, piece_bytes=piece_bytes, every_s=piece_bytes / _BYTES_A_SECOND, start=start)

    def receive(self, data: bytes, at: float) -> None:
        """Take it, and go on."""

    def take_output(self, at: float) -> bytes:
        """Return what has left by *at*."""
        left = bytearray()
        while self._next_at <= at:
            left += bytes(next(self._text) for _ in range(self._piece_bytes))
            self._next_at += self._every_s
        return bytes(left)

    def next_output_at(self) -> float | None:
        """Return when the next piece leaves."""
        return self._next_at
