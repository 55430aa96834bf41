"""The files of the outbox: lines of text, each behind its checksum, for one thread of one process at a time.

A line is what was written, or it is not: a flipped bit, garbage or a torn write spoils the lines that it touches and no
other. Nothing is open between two calls. Every function may raise OutboxError; nothing is lost by it.
"""

from __future__ import annotations

import errno
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
from typing import NamedTuple

import private_file
from storage.errors import OutboxError
from storage.records import Round
from storage.rows_json import MAX_BYTES, round_from_json, round_to_json

logger = logging.getLogger(__name__)

ROOM_BYTES = 32_768  # some 40 rounds. Written over again and again: a file that grows wears a card out sooner
MAX_REJECTED = 10_000  # rows: then the oldest are dropped
RESERVE_AGAIN_S = 3600.0  # to keep room aside, after there was none
_LONGEST_LINE = 4 * MAX_BYTES
_KEPT_OF_UNREADABLE = 10_000  # characters


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
        if self._path.exists():
            return
        try:
            fd = private_file.create(self._path)
            try:
                os.posix_fallocate(fd, 0, self._size_bytes)
            finally:
                os.close(fd)
        except OSError as err:
            logger.debug("no room can be kept aside: %s", err)
            self._path.unlink(missing_ok=True)

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
        with self._explaining(), suppress(FileNotFoundError, NotADirectoryError), self.path.open("rb") as file:
            return _end_of(file.fileno())
        return 0

    def lines(self, start: int = 0) -> Iterator[Line]:
        """Read the lines from offset *start* on; none where there is no file."""
        with self._explaining(), suppress(FileNotFoundError, NotADirectoryError), self.path.open("rb") as file:
            file.seek(start)
            begin = start
            while raw := file.readline(_LONGEST_LINE):
                content = raw.rstrip(b"\0")
                checksum, _, text = content.rstrip(b"\n").partition(b" ")
                is_right = checksum == _checksum_of(text)
                if is_right or content.strip(b"\0\n"):
                    shown = text if is_right else content.strip(b"\0")
                    yield Line(begin + len(content), shown.decode("ascii", "replace"), is_right)
                begin += len(raw)

    def append(self, texts: Sequence[str], *, anew: bool = False) -> None:
        """Put lines behind all others, or *anew* in their place, all or none; they are on disk when this returns.

        Behind lines that are written anew there is room for others: what is written there changes nothing but itself.
        """
        content = b"".join(map(_line_of, texts))
        with self._explaining():
            try:
                self._append(content, anew=anew)
            except OSError as err:
                if not (_is_full(err) and self._reserve.release()):
                    raise
                self._append(content, anew=anew)
            self._reserve.keep()

    def replace(self, texts: Sequence[str]) -> None:
        """Put these lines in the place of all others: the old ones or the new are there whatever happens."""
        with self._explaining():
            private_file.replace(self.path, b"".join(map(_line_of, texts)))

    def _append(self, content: bytes, *, anew: bool) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(private_file.create(self.path))
            private_file.sync_directory(self.path.parent)
        fd = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            end = 0 if anew else _end_of(fd)
            if anew:
                os.ftruncate(fd, ROOM_BYTES)
                content = content.ljust(ROOM_BYTES, b"\0")
            elif end and os.pread(fd, 1, end - 1) != b"\n":  # a power cut has torn what was written last
                content = b"\n" + content
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


class RoundFile:
    """The rounds that wait, in order. Each line tells where the first one began that waited when it was written."""

    def __init__(self, lines: LineFile) -> None:
        self._lines = lines
        self._start: int | None = None  # of the first that waits; None: the file tells
        self._written_start = 0

    def append(self, bodies: Sequence[str]) -> None:
        """Put rounds behind all others, all or none; they are on the disk when this returns."""
        start, end = self._first(), self._lines.end()
        is_anew = start == end and not 0 < end < ROOM_BYTES
        is_removed = start > end
        if is_anew or is_removed:
            start = 0
        try:
            self._lines.append([f"{start} {body}" for body in bodies], anew=is_anew)
        except OutboxError:
            if is_anew and self._lines.end() < end:  # it was begun anew, and then the disk took no more
                self._start = 0
            raise
        if is_removed:
            logger.error("%s was removed while it was in use, with what was in it", self._lines.path)
        self._start = self._written_start = start

    def oldest(self, limit: int) -> tuple[list[Round], list[Rejected], int]:
        """Give the oldest *limit* rounds, what stands between them and is none, and where all that ends.

        Fewer: there are no more.
        """
        rounds: list[Round] = []
        unreadable: list[Rejected] = []
        end = self._first()
        for line in self._lines.lines(end):
            end = line.end
            try:
                rounds += _rounds_of(line)
            except ValueError as err:
                unreadable.append(Rejected.unreadable(line.text, err))
            if len(rounds) == limit:
                break
        return rounds, unreadable, end

    def remove_up_to(self, end: int) -> None:
        """Take out what stands before *end*. After a power cut or kill -9 the latest may come again."""
        self._start = end

    def count(self) -> int:
        """Count the rounds that wait."""
        return sum(line.is_right and not line.text.endswith(" ") for line in self._lines.lines(self._first()))

    def close(self) -> None:
        """Write down what was taken out since the last round came."""
        if self._start is not None and self._start != self._written_start:
            self.append([""])

    def _first(self) -> int:
        if self._start is None and self._lines.end():
            told = (line.text.partition(" ")[0] for line in self._lines.lines() if line.is_right)
            # The largest: damage may change the order.
            self._start = self._written_start = max((int(start) for start in told if start.isdigit()), default=0)
        return self._start or 0


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


def _rounds_of(line: Line) -> Sequence[Round]:
    """Read the round of a line; a line may have none. Raises: ValueError: it is not what was written."""
    if not line.is_right:
        raise ValueError("its checksum does not fit")
    body = line.text.partition(" ")[2]
    return [round_from_json(body)] if body else []


def _rejected_of(line: Line) -> Rejected:
    if line.is_right:
        with suppress(ValueError, TypeError):
            return Rejected(**json.loads(line.text))
    return Rejected.unreadable(line.text, "its checksum does not fit")


def _end_of(fd: int) -> int:
    """Return where the content of a file ends, less the room behind it."""
    begin = max(0, os.fstat(fd).st_size - ROOM_BYTES)
    return begin + len(os.pread(fd, ROOM_BYTES, begin).rstrip(b"\0"))


def _is_full(err: OSError) -> bool:
    return err.errno in (errno.ENOSPC, errno.EDQUOT)
