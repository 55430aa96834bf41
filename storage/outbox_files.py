"""The files of the outbox: lines of text, each behind its checksum, for one thread of one process at a time.

A line is what was written, or it is not: a flipped bit, garbage or a torn write spoils the lines that it touches and no
other. Nothing is open between two calls. Every function may raise OutboxError; nothing is lost by it.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import private_file
from storage.errors import OutboxError
from storage.records import Round
from storage.rows_json import MAX_BYTES, round_from_json, round_to_json

logger = logging.getLogger(__name__)

ROOM_BYTES = 32_768  # some 40 rounds. Written over again and again: a file that grows wears a card out sooner
_ROOM = bytes(ROOM_BYTES)
MAX_REJECTED = 10_000  # rows: then the oldest are dropped
RESERVE_AGAIN_S = 3600.0  # to keep room aside, after there was none
BAD_AFTER_S = 3600.0  # of failing reads, on a disk that writes: what is there is given up
_LONGEST_LINE = 4 * MAX_BYTES
_KEPT_OF_UNREADABLE = 10_000  # characters
_BLOCK_BYTES = 4096  # a page of the kernel: where a part of it cannot be read, nothing of it can


class Reserve:
    """A file that takes room on the disk and holds nothing, for the day the disk is full; of 0 bytes there is none."""

    def __init__(self, path: Path, size_bytes: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._monotonic = monotonic
        self._not_before_s = float("-inf")

    def keep(self) -> None:
        """Take the room, if it is not taken yet and there is some; looked at once an hour."""
        if not self._size_bytes or self._monotonic() < self._not_before_s:
            return
        self._not_before_s = self._monotonic() + RESERVE_AGAIN_S
        try:
            fd = private_file.create(self._path)
        except OSError as err:
            logger.debug("no room is taken: %s", err)
            return
        try:
            try:
                os.posix_fallocate(fd, 0, self._size_bytes)
            finally:
                os.close(fd)
        except OSError as err:
            logger.debug("no room can be kept aside: %s", err)
            with suppress(OSError):
                self._path.unlink()

    def release(self) -> bool:
        """Give the room up, for an hour at least; False: there is none to give up."""
        try:
            self._path.unlink()
        except OSError:
            return False
        self._not_before_s = self._monotonic() + RESERVE_AGAIN_S
        logger.error("the disk is full: the room that was kept aside in %s is used now; make room", self._path.parent)
        return True


class Line(NamedTuple):
    """A line of a file. *is_right*: its checksum fits; else it is not what was written."""

    end: int  # where the next one begins, in bytes from the start of the file
    text: str
    is_right: bool


class LineFile:
    """Lines of ASCII text on disk. *fsync* False is for throw-away data only."""

    def __init__(self, path: Path, reserve: Reserve, *, fsync: bool = True) -> None:
        self.path = path
        self._reserve = reserve
        self._fsync = fsync

    def end(self) -> int:
        """Return where the last line ends; 0 where there is no file."""
        with self._explaining(), suppress(FileNotFoundError, NotADirectoryError), self._reading() as fd:
            return _end_of(fd)[0]
        return 0

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

    def append(self, texts: Sequence[str], *, anew: bool = False) -> int:
        """Put lines behind all others, or *anew* in their place, all or none; they are on disk when this returns.

        Return where they end.

        Behind lines that are written anew there is room for others: what is written there changes nothing but itself.
        """
        content = b"".join(map(_line_of, texts))
        with self._explaining():
            try:
                end = self._append(content, anew=anew)
            except OSError as err:
                if not (_is_full(err) and self._reserve.release()):
                    raise
                end = self._append(content, anew=anew)
        self._reserve.keep()
        return end

    def replace(self, texts: Sequence[str]) -> None:
        """Put these lines in the place of all others: the old ones or the new are there whatever happens."""
        with self._explaining():
            private_file.replace(self.path, b"".join(map(_line_of, texts)))

    def _append(self, content: bytes, *, anew: bool) -> int:
        try:
            fd = self._open()
        except FileNotFoundError:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(private_file.create(self.path))
            private_file.sync_directory(self.path.parent)
            fd = self._open()
        try:
            end, is_torn = (0, False) if anew else _end_of(fd)
            if is_torn:  # by a power cut, in what was written last
                content = b"\n" + content
            new_end = end + len(content)
            if anew:
                os.ftruncate(fd, ROOM_BYTES)
                content = content.ljust(ROOM_BYTES, b"\0")
            try:
                os.lseek(fd, end, os.SEEK_SET)
                while content:
                    content = content[os.write(fd, content) :]
                if self._fsync:
                    os.fdatasync(fd)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(fd, end)
                raise
        finally:
            os.close(fd)
        return new_end

    @contextmanager
    def _reading(self) -> Iterator[int]:
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    def _open(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            if _is_full(err):
                raise OutboxError(f"the disk is full: make room for {self.path}; what is in it is kept") from err
            raise OutboxError(f"{self.path} cannot be used ({err}); this user must be able to write there") from err


@dataclass(frozen=True, slots=True)
class Rejected:
    """Rows that are kept apart, and why. *is_final*: they are not tried again."""

    body: str
    reason: str
    is_final: bool
    rejected_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(), compare=False)

    @classmethod
    def of(cls, stored: Round, reason: str, *, is_final: bool) -> Rejected:
        """Reject *stored*."""
        return cls(round_to_json(stored), reason, is_final)

    @classmethod
    def unreadable(cls, text: str, why: object) -> Rejected:
        """Reject what is no round, or not what was written."""
        return cls(text[:_KEPT_OF_UNREADABLE], f"unreadable: {why}", is_final=True)


class Place(NamedTuple):
    """A place in the file of rounds, which is of a new *generation* whenever it is begun anew."""

    generation: int
    offset: int  # bytes


class RoundFile:
    """The rounds that wait, in order. Each line tells where the first one began that waited when it was written.

    Nothing of a generation waits when the next one begins: what is left of it on the disk is passed over.
    """

    def __init__(self, lines: LineFile) -> None:
        self._lines = lines
        self._start: Place | None = None  # of the first that waits; None: the file tells
        self._written_start = Place(0, 0)
        self._end = 0  # of what is known to be in the file
        self._failing_since_s: float | None = None  # to be read

    def append(self, bodies: Sequence[str]) -> None:
        """Put rounds behind all others, all or none; they are on the disk when this returns."""
        start, end = self._first(), self._lines.end()
        is_removed = end < self._end
        start = start._replace(offset=min(start.offset, end))
        is_anew = start.offset == end and not 0 < end < ROOM_BYTES
        if is_anew:
            start = Place(start.generation + 1, 0)
        try:
            new_end = self._lines.append([f"{start.generation} {start.offset} {body}" for body in bodies], anew=is_anew)
        except OutboxError:
            if is_anew and end:  # there may be lines of both generations now, of which none waits
                self._start, self._end = Place(start.generation, end), 0
            raise
        if is_removed:
            logger.error("%s was removed while it was in use, with what was in it", self._lines.path)
        self._start = self._written_start = start
        self._end = new_end

    def oldest(self, limit: int) -> tuple[list[Round], list[Rejected], Place]:
        """Give the oldest *limit* rounds, what stands between them and is none, and where all that ends.

        Fewer: there are no more.
        """
        now_s = time.monotonic()
        try:
            found = self._oldest(limit, passes_over=False)
        except OutboxError:
            self._failing_since_s = self._failing_since_s or now_s
            if now_s - self._failing_since_s < BAD_AFTER_S:
                raise
            self.append([""])  # a disk that takes this does not fail as a whole: it has a bad block
            return self._oldest(limit, passes_over=True)
        self._failing_since_s = None
        return found

    def remove_up_to(self, end: Place) -> None:
        """Take out what stands before *end*. After a power cut or kill -9 the latest may come again."""
        if self._start is not None and end.generation == self._start.generation:  # else the file was removed meanwhile
            self._start = end

    def count(self) -> int:
        """Count the rounds that wait."""
        return sum(bool(body) for _, body in self._waiting(passes_over=True))

    def close(self) -> None:
        """Write down what was taken out since the last round came."""
        if self._start is not None and self._start != self._written_start:
            self.append([""])

    def _oldest(self, limit: int, *, passes_over: bool) -> tuple[list[Round], list[Rejected], Place]:
        rounds: list[Round] = []
        unreadable: list[Rejected] = []
        end = self._first()
        for line, body in self._waiting(passes_over=passes_over):
            end = end._replace(offset=line.end)
            if body is None:
                unreadable.append(Rejected.unreadable(line.text, "its checksum does not fit"))
            elif body:
                try:
                    rounds.append(round_from_json(body))
                except ValueError as err:  # as it was written: a later release may be able to read it
                    unreadable.append(Rejected(body[:MAX_BYTES], f"unreadable: {err}", is_final=False))
            if len(rounds) == limit:
                break
        return rounds, unreadable, end

    def _waiting(self, *, passes_over: bool) -> Iterator[tuple[Line, str | None]]:
        """Give the lines behind the first that waits, each with its round; None: it is not what was written."""
        start = self._first()
        for line in self._lines.lines(start.offset, passes_over=passes_over):
            told, body = _told_by(line)
            if told is None or told.generation >= start.generation:
                yield line, body

    def _first(self) -> Place:
        if self._start is None and (end := self._lines.end()):
            latest = self._told(max(0, end - ROOM_BYTES), passes_over=True) or self._told(0, passes_over=False)
            self._start = self._written_start = latest or Place(0, 0)
            self._end = end
        return self._start or Place(0, 0)

    def _told(self, begin: int, *, passes_over: bool) -> Place | None:
        """Give what the lines from *begin* on tell: the largest, as damage may change their order."""
        found = ((_told_by(line)[0], line.end) for line in self._lines.lines(begin, passes_over=passes_over))
        return max((told for told, end in found if told is not None and told.offset < end), default=None)


class RejectedFile:
    """The rows that PostgreSQL or the outbox itself did not take, oldest first, each once and a bounded number."""

    def __init__(self, lines: LineFile) -> None:
        self._lines = lines

    def read(self) -> list[Rejected]:
        """Give all of them."""
        return [_rejected_of(line) for line in self._lines.lines()]

    def add(self, rejected: Sequence[Rejected]) -> list[Rejected]:
        """Put rows behind all others, but for those that are there; return these others."""
        there = self.read()
        known = set(there)
        added = [each for each in rejected if each not in known]
        if len(there) + len(added) > MAX_REJECTED:
            logger.warning("more than %d rejected rows: the oldest are dropped", MAX_REJECTED)
            self._replace([*there, *added][-MAX_REJECTED * 9 // 10 :])
        elif added:
            self._lines.append([json.dumps(asdict(each)) for each in added])
        return added

    def exchange(self, gone: Sequence[Rejected], added: Sequence[Rejected]) -> None:
        """Take some out, and put others in."""
        out = {*gone, *added}
        self._replace([*(each for each in self.read() if each not in out), *added])

    def _replace(self, rejected: Sequence[Rejected]) -> None:
        self._lines.replace([json.dumps(asdict(each)) for each in rejected])


def _line_of(text: str) -> bytes:
    content = text.encode("ascii")
    return b"%s %s\n" % (_checksum_of(content), content)


def _checksum_of(text: bytes) -> bytes:
    return b"%08x" % zlib.crc32(text)


def _told_by(line: Line) -> tuple[Place | None, str | None]:
    """Return what a line tells, and its round, which may be empty; None and None: it is not what was written."""
    if line.is_right:
        with suppress(ValueError):
            generation, offset, body = line.text.split(" ", 2)
            return Place(int(generation), int(offset)), body
    return None, None


def _rejected_of(line: Line) -> Rejected:
    if line.is_right:
        with suppress(ValueError, TypeError):
            return Rejected(**json.loads(line.text))
    return Rejected.unreadable(line.text, "its checksum does not fit")


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


def _end_of(fd: int) -> tuple[int, bool]:
    """Return where the content of a file ends, less the room behind it, and whether that is within a line."""
    size = os.fstat(fd).st_size
    begin, tail = max(0, size - ROOM_BYTES), b""
    with suppress(OSError):
        tail = os.pread(fd, ROOM_BYTES, begin)
    if len(tail) < size - begin:  # there is a bad block in it
        tail = io.BufferedReader(_Blocks(fd, begin, passes_over=True)).read(ROOM_BYTES)
    content = _without_room(tail)
    end = begin + len(content)
    return end, end > 0 and not content.endswith(b"\n")


def _without_room(content: bytes) -> bytes:
    """Return *content* less the zeros at its end. A search for the last line end is faster than one for a zero."""
    end = content.rfind(b"\n") + 1
    return content[:end] if content[end:] == _ROOM[: len(content) - end] else content.rstrip(b"\0")


def _is_full(err: OSError) -> bool:
    return err.errno in (errno.ENOSPC, errno.EDQUOT)
