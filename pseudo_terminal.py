"""A simulated device on a pseudo-terminal, for any program that wants a serial port."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import tty
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Protocol

_LONGEST_WAIT_S = 60.0
_CHUNK_BYTES = 4096
STOP, ANNOUNCE = b"q", b"a"


class Device(Protocol):
    """Bytes and a time in, bytes with their time out. The time is of any clock that never runs backwards."""

    @property
    def reads(self) -> bool:
        """False where nobody takes what the host writes, so that a write ends in the host's time-out."""

    def receive(self, data: bytes, at: float) -> None:
        """Take bytes the host has written."""

    def take_output(self, at: float) -> bytes:
        """Return what has left by *at*, in order, and was not taken before."""

    def next_output_at(self) -> float | None:
        """Return the earliest time at which something may have left; None: nothing is going on."""


def serve(
    device: Device,
    master_fd: int,
    *,
    stop_fd: int,
    now: Callable[[], float],
    announce: Callable[[float], object] = lambda _at: None,
) -> None:
    """Carry bytes between *device* and a pseudo-terminal until STOP comes from *stop_fd*; any other byte: *announce*.

    The other end may be closed and opened again: what the device prints meanwhile waits in the terminal, and is dropped
    when it is full, as on a real line that nobody reads.
    """
    poll = select.poll()
    if device.reads:
        poll.register(master_fd, select.POLLIN)
    poll.register(stop_fd, select.POLLIN)
    while True:
        output = device.take_output(now())
        if output:
            with contextlib.suppress(BlockingIOError):
                os.write(master_fd, output)
        next_at = device.next_output_at()
        wait_s = _LONGEST_WAIT_S if next_at is None else min(max(next_at - now(), 0.0), _LONGEST_WAIT_S)
        ready = dict(poll.poll(wait_s * 1000))
        if stop_fd in ready:
            if os.read(stop_fd, 1) == STOP:
                return
            announce(now())
        if master_fd in ready:
            device.receive(os.read(master_fd, _CHUNK_BYTES), now())


def signals_as_bytes(meanings: Mapping[signal.Signals, bytes]) -> int:
    """Return a file descriptor that gives the byte of each signal that comes: all work is done in the loop."""
    reader_fd, writer_fd = os.pipe()

    def handle(number: int, _frame: FrameType | None) -> None:
        os.write(writer_fd, meanings[signal.Signals(number)])

    for number in meanings:
        signal.signal(number, handle)
    return reader_fd


@contextlib.contextmanager
def terminal_at(link: Path) -> Iterator[int]:
    """Open a raw pseudo-terminal, let *link* point to it, and yield the device's end; remove the link afterwards.

    Raises: OSError: *link* is there and is no symbolic link, or cannot be made.
    """
    master_fd, slave_fd = os.openpty()
    try:
        # The slave stays open here as well, so that a client may come and go without a hang-up.
        tty.setraw(slave_fd)
        os.set_blocking(master_fd, False)
        if link.is_symlink():
            link.unlink()
        link.symlink_to(os.ttyname(slave_fd))
        try:
            yield master_fd
        finally:
            with contextlib.suppress(FileNotFoundError):
                link.unlink()
    finally:
        os.close(master_fd)
        os.close(slave_fd)
