"""The outbox: every round goes to the disk here before anything else happens, and waits for PostgreSQL.

Rounds are in two files: the outbox itself, and a spare one for as long as that cannot be used (another program locks
it, a later release made it). Behind both they wait in memory, where neither file takes them, and go to the disk as soon
as it does.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from storage.errors import OutboxError, OutboxFullError
from storage.outbox.file import Entry, OutboxFile, Rejected, utc_now
from storage.records import Round
from storage.rows_json import round_to_json

logger = logging.getLogger(__name__)

FILE_NAME = "outbox.sqlite3"
SPARE_NAME = "outbox-spare.sqlite3"
RESERVE_BYTES = 8_000_000  # kept aside: a week of minutes for when the disk is full
MEMORY_ROUNDS = 20_000  # two weeks of minutes, some 40 MB
DISK_TIMEOUT_S = 2.0  # a round takes milliseconds; a disk that hangs must not cost the next one
_HELPER_TIMEOUT_S = 0.1  # for the delivery thread to turn to the disk, unless libpq holds it
_SETTLED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Batch:
    """Rounds, and the *file* and the *numbers* in it under which they stand; without a file they are in memory."""

    rounds: Sequence[Round] = ()
    file: OutboxFile | None = None
    numbers: Sequence[int] = ()

    @classmethod
    def found(cls, numbered: Sequence[tuple[int, Round]], file: OutboxFile) -> Batch:
        """Make a batch of what *file* gave."""
        return cls([stored for _, stored in numbered], file, [number for number, _ in numbered])


class Outbox:
    """Rounds that are not delivered, in their order. Any thread may call; nothing is raised but where that is said.

    What is wrong with the disk is logged once, and in *error*.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        fsync: bool = True,
        now: Callable[[], datetime] = utc_now,
        memory_rounds: int = MEMORY_ROUNDS,
        disk_timeout_s: float = DISK_TIMEOUT_S,
    ) -> None:
        """Keep the files in *data_dir*; *fsync* False is for throw-away data only.

        *disk_timeout_s*: how long append() may take where the disk hangs.
        """
        reserve = RESERVE_BYTES if fsync else 0
        self._main = OutboxFile(data_dir / FILE_NAME, fsync=fsync, reserve_bytes=reserve, now=now)
        self._spare = OutboxFile(data_dir / SPARE_NAME, fsync=fsync, now=now)
        self._has_spare = self._spare.exists
        self._memory_rounds = memory_rounds
        self._disk_timeout_s = disk_timeout_s
        self._disk = threading.RLock()  # held by who is at the files
        self._changed = threading.Condition()  # what follows is changed under it
        self._memory: deque[Entry] = deque()
        self._unkept: deque[Rejected] = deque()  # and not on disk yet
        self._helper: Callable[[], None] | None = None
        self._is_disk_slow = False
        self.appended = 0
        """How many rounds there were since the start."""
        self._tried = 0  # of these, those that were on their way to the disk at least once
        self.lost_rounds = 0
        self.error: str | None = None  # why the outbox itself cannot be used
        self._said: set[str] = set()  # since it could

    @property
    def rounds_in_memory(self) -> int:
        """How many rounds are on no disk, since neither file takes them."""
        return len(self._memory)

    def append(self, stored: Round) -> None:
        """Put *stored* behind all others; it is on the disk when this returns.

        Where the disk refuses or hangs this returns all the same, in time, and the round waits in memory.
        """
        entry = self._entry(stored)
        with self._changed:
            if entry is not None:
                self._remember(entry)
            self.appended += 1
            mine, helper = self.appended, self._helper
        if helper is not None:
            helper()
            with self._changed:
                if self._changed.wait_for(lambda: self._tried >= mine, _HELPER_TIMEOUT_S):
                    return
        self.settle(timeout_s=0.0 if self._is_disk_slow else self._disk_timeout_s)

    def help_with(self, wake: Callable[[], None] | None) -> None:
        """Let another thread do what append() asks of the disk: *wake* is called, and that thread calls settle()."""
        with self._changed:
            self._helper = wake

    def settle(self, *, timeout_s: float = DISK_TIMEOUT_S) -> None:
        """Bring what is in memory to the disk, if that can be done."""
        if not self._memory and not self._unkept:
            return
        if not self._disk.acquire(timeout=timeout_s):
            self._is_disk_slow = True
            self._report(OutboxError(f"the disk with {self._main.path} does not answer"))
            return
        try:
            self._is_disk_slow = False
            self._settle()
        finally:
            self._disk.release()

    def oldest(self, limit: int) -> Batch:
        """Give the oldest rounds, at most *limit*; they stay until remove()."""
        with self._disk:
            self._settle()
            for file in self._files():
                try:
                    found = file.oldest(limit)
                except OutboxError as err:
                    self._report(err)
                    continue
                if found:
                    return Batch.found(found, file)
            with self._changed:
                return Batch([entry.stored for entry in itertools.islice(self._memory, limit)])

    def remove(self, batch: Batch, rejected: Sequence[Rejected] = ()) -> None:
        """Take out what oldest() gave: it was delivered, but for what was *rejected* of it."""
        with self._disk:
            if batch.file is not None:
                try:
                    batch.file.remove_up_to(batch.numbers[-1], rejected)
                except OutboxError as err:  # it will not show them again while we live; to deliver twice is harmless
                    self._report(err)
                    self._keep_apart(rejected)
                return
            with self._changed:
                for stored in batch.rounds:
                    if self._memory and self._memory[0].stored is stored:  # else it went to the disk meanwhile
                        self._memory.popleft()
            self._keep_apart(rejected)

    def count(self) -> int:
        """Count the rounds that wait; those of a file that cannot be read are not known."""
        with self._disk:
            waiting = 0
            for file in self._files():
                try:
                    waiting += file.count()
                except OutboxError as err:
                    self._report(err)
            return waiting + len(self._memory)

    def count_rejected(self) -> int:
        """Count the rejected rows. Raises: OutboxError."""
        with self._disk:
            return sum(file.count_rejected() for file in self._files())

    def refused(self, after: Batch, limit: int) -> Batch:
        """Give rows that PostgreSQL refused once, oldest first, from behind those of *after*; none: no more."""
        files = self._files()
        with self._disk:
            for file in files[files.index(after.file) if after.file in files else 0 :]:
                last = after.numbers[-1] if file is after.file else 0
                try:
                    found = file.refused(last, limit)
                except OutboxError as err:
                    self._report(err)
                    continue
                if found:
                    return Batch.found(found, file)
        return Batch()

    def forget_refused(self, batch: Batch, numbers: Sequence[int], rejected: Sequence[Rejected]) -> None:
        """Take out those of a *batch* that were refused once and are delivered now, but for what is *rejected*.

        Raises: OutboxError.
        """
        if batch.file is not None:
            with self._disk:
                batch.file.forget_refused(numbers, rejected)

    def adopt(self, name: str, rounds: Sequence[str], rejected: Sequence[Rejected]) -> None:
        """Take over what a file of another format held; once for each *name*, until adopted(). Raises: OutboxError."""
        with self._disk:
            self._main.adopt(name, rounds, rejected)
        with self._changed:
            self.appended += 1  # there may be something to deliver

    def adopted(self, name: str) -> None:
        """Note that the file of this *name* is out of the way. Raises: OutboxError."""
        with self._disk:
            self._main.adopted(name)

    def close(self) -> None:
        """Bring what is in memory to the disk, if that can be done, and close the files; what is lost is logged."""
        self.settle()
        if self._memory:
            logger.error("%d rounds are lost: neither PostgreSQL nor the disk took them", len(self._memory))
        if not self._disk.acquire(timeout=DISK_TIMEOUT_S):
            return  # who is at the files ends with the process
        try:
            self._main.close()
            self._spare.close()
        finally:
            self._disk.release()

    def _files(self) -> Sequence[OutboxFile]:
        return (self._main, self._spare) if self._has_spare else (self._main,)

    def _entry(self, stored: Round) -> Entry | None:
        """Write the round down; rows with values of a wrong kind are kept apart. None: there are no others."""
        try:
            return Entry.of(stored)
        except ValueError:
            right, wrong = [], []
            for row in stored.rows:
                try:
                    round_to_json(Round((row,)))
                    right.append(row)
                except ValueError as err:
                    logger.error("a row is rejected: %s", err)
                    wrong.append(Rejected(repr(row), str(err), is_final=True))
            with self._changed:
                self._unkept.extend(wrong)
            return Entry.of(Round(tuple(right))) if right else None

    def _remember(self, entry: Entry) -> None:
        if len(self._memory) >= self._memory_rounds:
            self._memory.popleft()
            self.lost_rounds += 1
            if self.lost_rounds == 1:
                logger.error("more than %d rounds in memory: the oldest are lost", self._memory_rounds)
        self._memory.append(entry)

    def _settle(self) -> None:
        """Bring what is in memory to a file; the files are ours."""
        while self._memory or self._unkept:
            with self._changed:
                tried = self.appended
                entries = list(itertools.islice(self._memory, _SETTLED_AT_ONCE))
                rejected = list(self._unkept)
            try:
                self._append(entries, rejected)
            except OutboxError as err:
                self._report(err)
                self._note_tried(tried)
                return
            with self._changed:
                for entry in entries:
                    if self._memory and self._memory[0] is entry:  # else memory was full, and it was given up
                        self._memory.popleft()
                for _ in rejected:
                    self._unkept.popleft()
            if len(entries) < _SETTLED_AT_ONCE or not self._memory:
                self._note_tried(tried)

    def _append(self, entries: Sequence[Entry], rejected: Sequence[Rejected]) -> None:
        """Put rounds into the outbox, or into the spare file where that is of any use."""
        try:
            self._main.append(entries, rejected)
        except OutboxFullError:
            raise
        except OutboxError as err:
            self._report(err)
            self._has_spare = True
            self._spare.append(entries, rejected)
        else:
            if self.error is not None:
                self.error = None
                self._said.clear()
                logger.info("the outbox takes rounds again")

    def _note_tried(self, tried: int) -> None:
        with self._changed:
            self._tried = max(self._tried, tried)
            self._changed.notify_all()

    def _keep_apart(self, rejected: Sequence[Rejected]) -> None:
        with self._changed:
            self._unkept.extend(rejected)
        if rejected:
            self._settle()

    def _report(self, err: OutboxError) -> None:
        """Say once what is wrong with the disk, until it is well again."""
        reason = str(err)  # whoever keeps the log must not keep the connection that the error came from
        self.error = self.error or reason
        if reason not in self._said:
            self._said.add(reason)
            logger.error("%s", reason)
