"""A disk that refuses: what the kernel says of it, without a disk that has to be filled or broken."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch


@dataclass(frozen=True)
class Refusal:
    """An error of the kernel, and at which calls it comes."""

    number: int
    at_write: bool = False
    at_open: bool = False
    at_read: bool = False


BLOCK_BYTES = 4096
FULL = Refusal(errno.ENOSPC, at_write=True)
READ_ONLY = Refusal(errno.EROFS, at_open=True)
FAILING = Refusal(errno.EIO, at_open=True, at_read=True)


class Disk:
    """The disk with the outbox in *directory*: it refuses on demand, and goes away.

    *in_write* comes when half of a write is done. *bad_at*: where a block begins that cannot be read, in any file.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._away = directory.with_name(f"{directory.name}.away")
        self.refusal: Refusal | None = None
        self.in_write: Callable[[], object] = lambda: None
        self.bad_at: int | None = None

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Stand below the outbox."""
        with (
            patch.object(os, "open", partial(self._open, os.open)),
            patch.object(os, "write", partial(self._write, os.write)),
            patch.object(os, "pread", partial(self._pread, os.pread)),
            patch.object(Path, "open", _method(self._read, Path.open)),
        ):
            yield

    def go_away(self) -> None:
        """Be where no directory can be made."""
        if self._directory.is_dir():
            self._directory.rename(self._away)
            self._directory.write_bytes(b"")

    def come_back(self) -> None:
        """Be there again, as it was."""
        if self._away.is_dir():
            self._directory.unlink()
            self._away.rename(self._directory)

    @property
    def is_well(self) -> bool:
        """Whether it is there and refuses nothing."""
        return self.refusal is None and not self._away.is_dir()

    @contextmanager
    def shown(self) -> Iterator[Path]:
        """Give the directory, wherever it is, to one who looks at it from outside: nothing is refused meanwhile."""
        refusal, self.refusal = self.refusal, None
        try:
            yield self._away if self._away.is_dir() else self._directory
        finally:
            self.refusal = refusal

    def _open(self, real: Callable[..., int], path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            self._refuse("at_open", path)
        return real(path, flags, *arguments, **options)

    def _write(self, real: Callable[[int, bytes], int], fd: int, content: bytes) -> int:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        if self._directory not in path.parents:
            return real(fd, content)
        half = real(fd, content[: len(content) // 2])
        self._refuse("at_write", path)
        self.in_write()
        return half + real(fd, content[half:])

    def _pread(self, real: Callable[[int, int, int], bytes], fd: int, size: int, at: int) -> bytes:
        """Read up to the bad block, as the kernel does; where that begins there is nothing but the error."""
        if self.bad_at is None or at + size <= self.bad_at or at >= self.bad_at + BLOCK_BYTES:
            return real(fd, size, at)
        if at >= self.bad_at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, self.bad_at - at, at)

    def _read(self, real: Callable[..., Any], path: Path, *arguments: Any, **options: Any) -> Any:
        self._refuse("at_read", path)
        return real(path, *arguments, **options)

    def _refuse(self, at: str, path: Any) -> None:
        wanted = self.refusal
        if wanted and getattr(wanted, at) and self._directory in Path(os.fsdecode(path)).parents:
            raise OSError(wanted.number, os.strerror(wanted.number), path)


def _method(wrapper: Callable[..., Any], real: Callable[..., Any]) -> Callable[..., Any]:
    return lambda path, *arguments, **options: wrapper(real, path, *arguments, **options)
