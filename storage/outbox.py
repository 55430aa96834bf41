"""The outbox: every round goes to the disk here before anything else happens, and waits for PostgreSQL.

Where the disk does not take rounds they wait in memory, behind those on disk, and go there as soon as it does.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from storage.errors import OutboxError
from storage.line_file import LineFile, Reserve
from storage.outbox_files import Position, Rejected, RejectedFile, RoundFile
from storage.records import Round
from storage.rows_json import round_from_json, round_to_json
from wording import counted

logger = logging.getLogger(__name__)

T = TypeVar("T")

FILE_NAME = "outbox.rounds"
REJECTED_NAME = "outbox.rejected"
RESERVE_NAME = "outbox.reserve"
MEMORY_ROUNDS = 20_000  # two weeks of minutes, some 40 MB
DISK_TIMEOUT_S = 2.0  # a round takes milliseconds; a disk that hangs must not cost the next one
_HELPER_TIMEOUT_S = 0.1  # for the delivery thread to turn to the disk, unless libpq holds it
_SETTLED_AT_ONCE = 500
_MOST_UNKEPT = 10_000  # rows


class Entry(NamedTuple):
    """A round, and how it is written down."""

    round: Round
    body: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Rounds, and where they *end* in the file; None: they are in memory.

    *is_all*, where there are none: nothing else of this run waits, as the file may have that cannot be read.
    """

    rounds: Sequence[Round] = ()
    end: Position | None = None
    is_all: bool = True


class Outbox:
    """Rounds that are not delivered, in their order. Any thread may call; nothing is raised but where that is said.

    One process at a time; others may count. What is wrong with the disk is logged once, and in *error*.
    """

    def __init__(self, data_dir: Path, *, fsync: bool = True) -> None:
        """Keep the files in *data_dir*; *fsync* False is for throw-away data only."""
        self._path = data_dir / FILE_NAME
        reserve = Reserve(data_dir / RESERVE_NAME)
        self._rounds = RoundFile(LineFile(self._path, reserve, fsync=fsync))
        self._rejected = RejectedFile(LineFile(data_dir / REJECTED_NAME, reserve, fsync=fsync))
        self._disk = threading.RLock()  # held by whoever is at the files
        self._changed = threading.Condition()  # what follows is changed under it
        self._memory: deque[Entry] = deque(maxlen=MEMORY_ROUNDS)
        self._unkept: deque[Rejected] = deque(maxlen=_MOST_UNKEPT)  # rejected, and not on disk yet
        self._newest: tuple[Position | None, Batch] = None, Batch()  # what went to the disk last, and where it begins
        self._unreadable: frozenset[Rejected] = frozenset()  # of what oldest() saw last
        self._helper: Callable[[], None] | None = None
        self._is_disk_slow = False
        self._has_written = False  # rounds, in this run
        self.appended = 0
        """How many rounds there were since the start."""
        self._tried = 0  # of these, those that were on their way to the disk at least once
        self.error: str | None = None  # why the disk does not take rounds
        self._said: set[str] = set()  # since it did

    @property
    def rounds_in_memory(self) -> int:
        """How many rounds are on no disk, since it does not take them."""
        return len(self._memory)

    def append(self, round_: Round) -> None:
        """Put *round_* behind all others; it is on the disk when this returns.

        Where the disk refuses or hangs this returns all the same, in time, and the round waits in memory.
        """
        entry = self._entry(round_)
        with self._changed:
            if entry is not None:
                self._remember(entry)
            self.appended += 1
            mine, helper = self.appended, self._helper
        if helper is None:
            self.settle(timeout_s=self._timeout_s())
            return
        helper()
        if not self._was_tried(mine, _HELPER_TIMEOUT_S):
            # It is held elsewhere, or the disk hangs, which must not hold up who appends.
            threading.Thread(target=self.settle, name="outbox", daemon=True).start()
            if not self._was_tried(mine, max(self._timeout_s(), _HELPER_TIMEOUT_S)):
                self._note_slow()

    def help_with(self, wake: Callable[[], None] | None) -> None:
        """Let another thread do the disk work of append(): *wake* is called, and that thread calls settle()."""
        with self._changed:
            self._helper = wake

    def settle(self, *, timeout_s: float = DISK_TIMEOUT_S) -> None:
        """Bring what is in memory to the disk, if that can be done."""
        if not self._memory and not self._unkept:
            return
        if not self._disk.acquire(timeout=timeout_s):
            self._note_slow()
            return
        try:
            self._settle()
            self._is_disk_slow = False
        finally:
            self._disk.release()

    def oldest(self, limit: int) -> Batch:
        """Return the oldest rounds, at most *limit*; they stay until remove()."""
        with self._disk:
            self._settle()
            is_all = True
            try:
                begin, newest = self._newest
                if begin == self._rounds.first() and len(newest.rounds) <= limit:
                    return newest  # nothing waits before it: it need not be read
                if (batch := self._oldest_on_disk(limit)).rounds:
                    return batch
            except OutboxError as err:
                is_all = not self._has_written
                self._report(err)
            with self._changed:
                in_memory = [entry.round for entry in itertools.islice(self._memory, limit)]
            return Batch(in_memory, is_all=is_all)

    def remove(self, batch: Batch, rejected: Sequence[Rejected] = ()) -> None:
        """Take out what oldest() gave: it was delivered, but for what was *rejected* of it."""
        with self._disk:
            if rejected:
                self._reject(rejected)
            if batch.end is not None:
                self._rounds.remove_up_to(batch.end)
                return
            with self._changed:
                for round_ in batch.rounds:
                    if self._memory and self._memory[0].round is round_:  # else it went to the disk meanwhile
                        self._memory.popleft()

    def count(self) -> int:
        """Count the rounds that wait; those of a file that cannot be read are not known."""
        with self._disk:
            try:
                return self._rounds.count() + len(self._memory)
            except OutboxError as err:
                self._report(err)
                return len(self._memory)

    def count_rejected(self) -> int:
        """Count the rejected rows. Raises: OutboxError."""
        with self._disk:
            return len(self._rejected.read())

    def refused(self) -> list[tuple[Rejected, Round]]:
        """Return the rows that are to be tried again, oldest first. Raises: OutboxError."""
        with self._disk:
            rejected = self._rejected.read()
        found: list[tuple[Rejected, Round]] = []
        for each in rejected:
            if not each.is_final:
                try:
                    found.append((each, round_from_json(each.body)))
                except ValueError as err:  # kept as it is, for a person to look at
                    logger.debug("a rejected row is no round: %s", err)
        return found

    def exchange_rejected(self, gone: Sequence[Rejected], added: Sequence[Rejected]) -> None:
        """Take out what was delivered now, and put in what is final now. Raises: OutboxError."""
        with self._disk:
            self._rejected.exchange(gone, added)

    def adopt(self, bodies: Sequence[str], rejected: Sequence[Rejected]) -> None:
        """Take over what a file of another format held. To do so twice is harmless. Raises: OutboxError."""
        with self._disk:
            if rejected:
                self._rejected.add(rejected)
            if bodies:
                self._newest = None, Batch()
                self._rounds.append(bodies)
        with self._changed:
            self.appended += 1  # there may be something to deliver

    def close(self) -> None:
        """Bring what is in memory to the disk, if that can be done; what is lost is logged."""
        self.settle()
        if lost := len(self._memory) + len(self._unkept):  # of the rejected each row is a round of its own
            logger.error("lost: %s that neither PostgreSQL nor the disk took", counted(lost, "round"))
        if not self._disk.acquire(timeout=DISK_TIMEOUT_S):
            return  # whoever is at the files ends with the process
        try:
            self._rounds.close()
        except OutboxError as err:
            self._report(err)
        finally:
            self._disk.release()

    def _oldest_on_disk(self, limit: int) -> Batch:
        rounds, unreadable, end = self._rounds.oldest(limit)
        if added := [each for each in unreadable if each not in self._unreadable]:
            said = "rejected: %s that cannot be read, in %s; the first: %s"
            logger.error(said, counted(len(added), "round"), self._path, added[0].reason)
            self._reject(added)
        self._unreadable = frozenset(unreadable)
        if unreadable and not rounds:
            self._rounds.remove_up_to(end)
        return Batch(rounds, end)

    def _reject(self, rejected: Sequence[Rejected]) -> None:
        """Keep *rejected* apart, in memory where the disk does not take them."""
        for start in range(0, len(rejected), _SETTLED_AT_ONCE):  # all at once would push one another out of memory
            with self._changed:
                self._unkept.extend(rejected[start : start + _SETTLED_AT_ONCE])
            self._settle()

    def _entry(self, round_: Round) -> Entry | None:
        """Write the round down; rows with values of a wrong kind are kept apart. None: there are no others."""
        try:
            return Entry(round_, round_to_json(round_))
        except ValueError as err:
            if len(round_.rows) == 1:
                logger.error("a row is rejected: %s", err)
                with self._changed:
                    self._unkept.append(Rejected(repr(round_.rows[0]), str(err), is_final=True))
                return None
        rest = Round(tuple(row for row in round_.rows if self._entry(Round((row,)))))
        return Entry(rest, round_to_json(rest)) if rest.rows else None  # too many rows are no fault of one of them

    def _remember(self, entry: Entry) -> None:
        if len(self._memory) == self._memory.maxlen:
            self._report(OutboxError(f"more than {MEMORY_ROUNDS} rounds in memory: the oldest are lost"))
        self._memory.append(entry)

    def _settle(self) -> None:
        """Bring what is in memory to the files, which are ours."""
        while self._memory or self._unkept:
            with self._changed:
                tried = self.appended
                entries = list(itertools.islice(self._memory, _SETTLED_AT_ONCE))
                rejected = list(self._unkept)
            try:
                if entries:
                    begin, end = self._rounds.append([entry.body for entry in entries])
                    self._newest = begin, Batch([entry.round for entry in entries], end)
                    self._has_written = True
                    self._forget(self._memory, entries)
                if rejected:
                    self._rejected.add(rejected)
                    self._forget(self._unkept, rejected)
            except OutboxError as err:
                self._report(err)
                self._note_tried(tried)
                return
            self._note_well()
            if len(entries) < _SETTLED_AT_ONCE or not self._memory:
                self._note_tried(tried)

    def _forget(self, waiting: deque[T], kept: Sequence[T]) -> None:
        with self._changed:
            for each in kept:
                if waiting and waiting[0] is each:  # else memory was full, and it was given up
                    waiting.popleft()

    def _timeout_s(self) -> float:
        return 0.0 if self._is_disk_slow else DISK_TIMEOUT_S

    def _was_tried(self, number: int, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._tried >= number, timeout_s)

    def _note_slow(self) -> None:
        self._is_disk_slow = True
        self._report(OutboxError(f"the disk with {self._path} does not respond"))

    def _note_tried(self, tried: int) -> None:
        with self._changed:
            self._tried = max(self._tried, tried)
            self._changed.notify_all()

    def _note_well(self) -> None:
        if self.error is not None:
            self.error = None
            self._said.clear()
            logger.info("the outbox takes rounds again")

    def _report(self, err: OutboxError) -> None:
        """Say once what is wrong with the disk, until it is well again."""
        reason = str(err)
        with self._changed:
            self.error = self.error or reason
            is_new = reason not in self._said
            self._said.add(reason)
        if is_new:
            logger.error("%s", reason)
