"""Lines of text on a disk, each behind its checksum, for one thread of one process at a time.

A line is what was written, or it is not: a flipped bit, garbage or a torn write spoils the lines that it touches and no
other. Nothing is open between two calls. Every function may raise OutboxError; nothing is lost by it.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import private_file
from storage.errors import OutboxError
from storage.rows_json import MAX_BYTES

logger = logging.getLogger(__name__)

# What a file begins with: some 40 rounds. Written over again and again: a file that grows wears a card out sooner.
ROOM_BYTES = 32_768
_ROOM = bytes(ROOM_BYTES)
RESERVE_BYTES = 8_000_000  # kept aside: a week of minutes for when the disk is full
_FREE_BYTES = 2_000_000  # left to others: a database on the same disk must be able to write
_LONGEST_LINE = 4 * MAX_BYTES
_BLOCK_BYTES = 4096  # a page of the kernel: where a part of it cannot be read, nothing of it can


class Reserve:
    """A file that takes space on the disk and holds nothing, for the day the disk is full."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self) -> None:
        """Take the space, if it is not taken yet and there is enough."""
        try:
            with suppress(FileNotFoundError):
                if self._path.stat().st_size == RESERVE_BYTES:
                    return
                self._path.unlink()  # a kill came before the space was taken
            if shutil.disk_usage(self._path.parent).free < RESERVE_BYTES + _FREE_BYTES:
                return
            fd = private_file.create(self._path)
            try:
                os.posix_fallocate(fd, 0, RESERVE_BYTES)
            finally:
                os.close(fd)
        except OSError as err:
            logger.debug("no room can be kept aside: %s", err)
            with suppress(OSError):
                self._path.unlink()

    def release(self) -> bool:
        """Give the space up; False: there is none to give up."""
        try:
            self._path.unlink()
        except OSError:
            return False
        logger.error("the disk is full: the room that was kept aside in %s is used now; make room", self._path.parent)
        return True


class Line(NamedTuple):
    """A line of a file. *is_right*: its checksum fits; else it is not what was written."""

    end: int  # where the next one begins, in bytes from the start of the file
    text: str
    is_right: bool


class End(NamedTuple):
    """Where the content of a file ends, less the room behind it. *is_torn*: within a line."""

    offset: int  # bytes
    is_torn: bool = False


class LineFile:
    """Lines of ASCII text on disk. *fsync* False is for throw-away data only."""

    def __init__(self, path: Path, reserve: Reserve, *, fsync: bool = True) -> None:
        self.path = path
        self._reserve = reserve
        self._fsync = fsync

    def end(self) -> End:
        """Return where the last line ends; 0 where there is no file."""
        with self._explaining(), suppress(FileNotFoundError, NotADirectoryError), self._reading() as fd:
            return _end_of(fd)
        return End(0)

    def lines(self, start: int = 0, *, passes_over: bool = True) -> Iterator[Line]:
        """Read the lines from offset *start* on; none where there is no file.

        *passes_over*: what a bad block held is a line that is not right; else it is an error.
        """
        with self._explaining(), suppress(FileNotFoundError, NotADirectoryError), self._reading() as fd:
            begin = start
            blocks = io.BufferedReader(_Blocks(fd, start, passes_over=passes_over))
            while raw := blocks.readline(_LONGEST_LINE):
                content = _without_room(raw)
                checksum, _, text = content.rstrip(b"\n").partition(b" ")
                is_right = checksum == _checksum_of(text)
                if is_right or content.strip(b"\0\n"):
                    shown = text if is_right else content.strip(b"\0")
                    yield Line(begin + len(content), shown.decode("ascii", "replace"), is_right)
                begin += len(raw)

    def append(self, texts: Sequence[str], end: End | None) -> int:
        """Put lines at the *end*, or anew (None) in the place of all others, all or none, and return where they end.

        They are on disk when this returns. Behind lines that are written anew there is room for others: what is written
        there changes nothing but itself.
        """
        content = b"".join(map(_line_of, texts))
        if end is not None and end.is_torn:  # by a power cut, in what was written last
            content = b"\n" + content
        with self._explaining():
            try:
                self._write(content, end)
            except OSError as err:
                if not (_is_full(err) and self._reserve.release()):
                    raise
                self._write(content, end)
        if self._fsync:
            self._reserve.keep()
        return (end.offset if end is not None else 0) + len(content)

    def replace(self, texts: Sequence[str]) -> None:
        """Put these lines in the place of all others: the old ones or the new are there whatever happens."""
        with self._explaining():
            private_file.replace(self.path, b"".join(map(_line_of, texts)))

    def _write(self, content: bytes, end: End | None) -> None:
        try:
            fd = self._open()
        except FileNotFoundError:
            private_file.make_directory(self.path.parent)
            os.close(private_file.create(self.path))
            private_file.sync_directory(self.path.parent)
            fd = self._open()
        try:
            if end is None:
                os.ftruncate(fd, ROOM_BYTES)
                content = content.ljust(ROOM_BYTES, b"\0")
            at = end.offset if end is not None else 0
            try:
                os.lseek(fd, at, os.SEEK_SET)
                while content:
                    content = content[os.write(fd, content) :]
                if self._fsync:
                    os.fdatasync(fd)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(fd, at)
                raise
        finally:
            os.close(fd)

    @contextmanager
    def _reading(self) -> Iterator[int]:
        fd = private_file.open_existing(self.path, os.O_RDONLY)
        try:
            yield fd
        finally:
            os.close(fd)

    def _open(self) -> int:
        return private_file.open_existing(self.path, os.O_RDWR)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            if _is_full(err):
                raise OutboxError(f"the disk is full: make room for {self.path}; what is in it is kept") from err
            raise OutboxError(
                f"{self.path} cannot be used ({err}); it must be a plain file that this user can write"
            ) from err


def size_of(texts: Sequence[str]) -> int:
    """Return how many bytes *texts* take as lines."""
    return sum(map(len, texts)) + len(texts) * len(_line_of(""))


def _line_of(text: str) -> bytes:
    content = text.encode("ascii")
    return b"%s %s\n" % (_checksum_of(content), content)


def _checksum_of(text: bytes) -> bytes:
    return b"%08x" % zlib.crc32(text)


class _Blocks(io.RawIOBase):
    """The file of *fd* from *at* on. *passes_over*: question marks stand for blocks that the disk cannot read."""

    def __init__(self, fd: int, at: int, *, passes_over: bool) -> None:
        self._fd = fd
        self._at = at
        self._passes_over = passes_over

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        try:
            content = os.pread(self._fd, len(buffer), self._at)
        except OSError as err:
            if err.errno != errno.EIO or not self._passes_over:
                raise
            left = os.fstat(self._fd).st_size - self._at
            content = b"?" * max(0, min(len(buffer), _BLOCK_BYTES - self._at % _BLOCK_BYTES, left))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def _end_of(fd: int) -> End:
    size = os.fstat(fd).st_size
    begin, tail = max(0, size - ROOM_BYTES), b""
    with suppress(OSError):
        tail = os.pread(fd, ROOM_BYTES, begin)
    if len(tail) < size - begin:  # there is a bad block in it
        tail = io.BufferedReader(_Blocks(fd, begin, passes_over=True)).read(ROOM_BYTES)
    content = _without_room(tail)
    end = begin + len(content)
    return End(end, end > 0 and not content.endswith(b"\n"))


def _without_room(content: bytes) -> bytes:
    """Return *content* less the zeros at its end. A search for the last line end is faster than one for a zero."""
    end = content.rfind(b"\n") + 1
    return content[:end] if content[end:] == _ROOM[: len(content) - end] else content.rstrip(b"\0")


def _is_full(err: OSError) -> bool:
    return err.errno in (errno.ENOSPC, errno.EDQUOT)
