"""One lock between processes, gone with the process that holds it."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

import private_file


class FileLock:
    """An advisory lock (flock) on a file, exclusive or shared. It ends with its process, also by kill -9.

    A program that is handed fileno() holds the lock as well, until it and all its children have ended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def acquire(self, *, shared: bool = False, timeout_s: float = 0.0) -> bool:
        """Take the lock, or change it between shared and exclusive. False: others kept it for *timeout_s* seconds.

        A change is not atomic: for a moment the lock may be free.

        Raises: OSError: the file cannot be opened.
        """
        if self._fd is None:
            self._fd = _opened(self.path)
        wanted = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(self._fd, wanted)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(0.02)
            else:
                return True

    def fileno(self) -> int:
        """Return the descriptor to hand on while the lock is held.

        Raises: ValueError: it is not held.
        """
        if self._fd is None:
            raise ValueError(f"{self.path} is not locked")
        return self._fd

    def release(self) -> None:
        """Give the lock back; harmless where it is not held."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _opened(path: Path) -> int:
    """Open the file of a lock, or make it; another process may do so at the same time. Raises: OSError."""
    with suppress(FileNotFoundError):
        return private_file.open_existing(path, os.O_RDWR)
    with suppress(FileExistsError):
        return private_file.create(path)
    return private_file.open_existing(path, os.O_RDWR)
