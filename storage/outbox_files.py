"""What stands in the files of the outbox: the rounds that wait, in order, and the rows that were rejected.

For one thread of one process at a time. Every function may raise OutboxError; nothing is lost by it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from typing import NamedTuple

from storage import line_file
from storage.errors import OutboxError
from storage.line_file import Line, LineFile
from storage.records import Round
from storage.rows_json import MAX_BYTES, round_from_json, round_to_json

logger = logging.getLogger(__name__)

MAX_REJECTED_BYTES = 5_000_000  # some 10,000 rows: then the oldest are dropped
BAD_AFTER_S = 3600.0  # of failing reads, on a disk that writes: what is there is given up
_KEPT_OF_UNREADABLE = 10_000  # characters


@dataclass(frozen=True, slots=True)
class Rejected:
    """Rows that are kept apart, and why. *is_final*: they are not tried again."""

    body: str
    reason: str
    is_final: bool
    rejected_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(), compare=False)

    @classmethod
    def of(cls, round_: Round, reason: str, *, is_final: bool) -> Rejected:
        """Reject *round_*."""
        return cls(round_to_json(round_), reason, is_final)

    @classmethod
    def unreadable(cls, text: str, why: object) -> Rejected:
        """Reject what is no round, or not what was written."""
        return cls(text[:_KEPT_OF_UNREADABLE], f"unreadable: {why}", is_final=True)


class Position(NamedTuple):
    """A position in the file of rounds, which is of a new *generation* whenever it is begun anew."""

    generation: int
    offset: int  # bytes


class RoundFile:
    """The rounds that wait, in order. Each line names the position of the first one that waited when it was written.

    Nothing of a generation waits when the next one begins: what is left of it on the disk is passed over.
    """

    def __init__(self, lines: LineFile) -> None:
        self._lines = lines
        self._start: Position | None = None  # of the first that waits; None: see the file
        self._written_start = Position(0, 0)
        self._end = 0  # of what is known to be in the file
        self._failing_since_s: float | None = None  # to be read

    def append(self, bodies: Sequence[str]) -> tuple[Position, Position]:
        """Put rounds behind all others, all or none; they are on the disk when this returns.

        Return where they begin and end.
        """
        start, end = self.first(), self._lines.end()
        is_removed = end.offset < self._end
        start = start._replace(offset=min(start.offset, end.offset))
        is_anew = start.offset == end.offset and not 0 < end.offset < line_file.ROOM_BYTES
        if is_anew:
            start = Position(start.generation + 1, 0)
        lines = [f"{start.generation} {start.offset} {body}" for body in bodies]
        try:
            new_end = self._lines.append(lines, None if is_anew else end)
        except OutboxError:
            if is_anew and end.offset:  # there may be lines of both generations now, of which none waits
                self._start, self._end = Position(start.generation, end.offset), 0
            raise
        if is_removed:
            logger.error("%s was removed while it was in use, with what was in it", self._lines.path)
        self._start = self._written_start = start
        self._end = new_end
        return start if is_anew else start._replace(offset=end.offset), start._replace(offset=new_end)

    def oldest(self, limit: int) -> tuple[list[Round], list[Rejected], Position]:
        """Return the oldest *limit* rounds, what is between them and is no round, and where all that ends.

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

    def remove_up_to(self, end: Position) -> None:
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

    def _oldest(self, limit: int, *, passes_over: bool) -> tuple[list[Round], list[Rejected], Position]:
        rounds: list[Round] = []
        unreadable: list[Rejected] = []
        end = self.first()
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
        """Yield the lines behind the first that waits, each with its round; None: it is not what was written."""
        start = self.first()
        for line in self._lines.lines(start.offset, passes_over=passes_over):
            position, body = _parsed(line)
            if position is None or position.generation >= start.generation:
                yield line, body

    def first(self) -> Position:
        """Return the position of the first that waits, or of the next that will."""
        if self._start is None and (end := self._lines.end().offset):
            latest = self._latest_position(
                max(0, end - line_file.ROOM_BYTES), passes_over=True
            ) or self._latest_position(0, passes_over=False)
            self._start = self._written_start = latest or Position(0, 0)
            self._end = end
        return self._start or Position(0, 0)

    def _latest_position(self, begin: int, *, passes_over: bool) -> Position | None:
        """Return the largest position that the lines from *begin* on name, as damage may change their order."""
        found = ((_parsed(line)[0], line.end) for line in self._lines.lines(begin, passes_over=passes_over))
        return max(
            (position for position, end in found if position is not None and position.offset < end), default=None
        )


class RejectedFile:
    """The rows that PostgreSQL or the outbox itself did not take, oldest first, each once and a bounded number."""

    def __init__(self, lines: LineFile) -> None:
        self._lines = lines

    def read(self) -> list[Rejected]:
        """Return all of them; what was rejected twice, as after a kill in between, is one."""
        return list(dict.fromkeys(_rejected_of(line) for line in self._lines.lines()))

    def add(self, rejected: Sequence[Rejected]) -> None:
        """Put rows behind all others."""
        texts, end = [json.dumps(asdict(each)) for each in rejected], self._lines.end()
        if end.offset + line_file.size_of(texts) <= MAX_REJECTED_BYTES:
            self._lines.append(texts, end)
        else:
            self._replace([*self.read(), *rejected])

    def exchange(self, gone: Sequence[Rejected], added: Sequence[Rejected]) -> None:
        """Take some out, and put others in."""
        out = {*gone, *added}
        self._replace([*(each for each in self.read() if each not in out), *added])

    def _replace(self, rejected: Sequence[Rejected]) -> None:
        texts = [json.dumps(asdict(each)) for each in rejected]
        if line_file.size_of(texts) > MAX_REJECTED_BYTES:
            logger.warning("more than %d MB of rejected rows: the oldest are dropped", MAX_REJECTED_BYTES // 1_000_000)
            most = MAX_REJECTED_BYTES * 9 // 10  # or the next row would write all of them again
            sizes = accumulate(line_file.size_of([text]) for text in reversed(texts))
            texts = texts[len(texts) - sum(size <= most for size in sizes) :]
        self._lines.replace(texts)


def _parsed(line: Line) -> tuple[Position | None, str | None]:
    """Return the position that a line names, and its round, maybe empty; None, None: it is not what was written."""
    if line.is_right:
        with suppress(ValueError):
            generation, offset, body = line.text.split(" ", 2)
            return Position(int(generation), int(offset)), body
    return None, None


def _rejected_of(line: Line) -> Rejected:
    if line.is_right:
        with suppress(ValueError, TypeError):
            return Rejected(**json.loads(line.text))
    return Rejected.unreadable(line.text, "its checksum does not fit")
