"""A device on a pseudo terminal, for any program that wants a serial port."""

from __future__ import annotations

import contextlib
import os
import select
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

from skstack.simulator.module import SimulatedModule
from skstack.simulator.port import Device

_LONGEST_WAIT_S = 60.0
_CHUNK_BYTES = 4096
STOP, ANNOUNCE = b"q", b"a"


def serve(device: Device, master_fd: int, *, stop_fd: int, now: Callable[[], float]) -> None:
    """Carry bytes between *device* and a pseudo terminal until *stop_fd* is readable.

    A byte "a" read from *stop_fd* lets a module's meter announce its half-hour values; any other ends the loop.
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
            if os.read(stop_fd, 1) != ANNOUNCE:
                return
            if isinstance(device, SimulatedModule):
                device.announce(now())
        if master_fd in ready:
            device.receive(os.read(master_fd, _CHUNK_BYTES), now())


@contextlib.contextmanager
def terminal_at(link: Path) -> Iterator[int]:
    """Open a raw pseudo terminal, let *link* point to it, and yield the module's end; remove the link afterwards.

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
