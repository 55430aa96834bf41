"""Rounds that wait for PostgreSQL: in the spool, and behind it in memory while the spool cannot be written."""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from storage.errors import SpoolError
from storage.records import Round
from storage.spool import Spool

logger = logging.getLogger(__name__)

MEMORY_ROUNDS = 20_000  # two weeks of minutes, some 40 MB
_SETTLE_ROUNDS = 500  # moved to the spool in one transaction


@dataclass(frozen=True, slots=True)
class Batch:
    """The oldest rounds, and the number up to which the spool may forget them (None: they are in memory)."""

    rounds: Sequence[Round]
    up_to: int | None
    is_spool_read: bool = True  # False: older ones may be in a spool that cannot be read now


class Backlog:
    """Rounds in their order. Never raises: what the spool cannot take stays in memory, and the log says so once."""

    def __init__(self, spool: Spool, *, memory_rounds: int = MEMORY_ROUNDS) -> None:
        self._spool = spool
        self._memory_rounds = memory_rounds
        self._memory: deque[Round] = deque()
        self._lock = threading.Lock()
        self.error: str | None = None  # why the spool cannot be used
        self._is_readable = True
        self.lost_rounds = 0

    def append(self, stored: Round) -> None:
        """Put *stored* behind all others, on disk if that can be done."""
        with self._lock:
            if len(self._memory) >= self._memory_rounds:
                self._memory.popleft()
                self.lost_rounds += 1
                if self.lost_rounds == 1:
                    logger.error("more than %d rounds in memory: the oldest are lost", self._memory_rounds)
            self._memory.append(stored)
            self._settle()

    def settle(self) -> int:
        """Move what is in memory to the spool, if that can be done; return how many rounds are still in memory."""
        with self._lock:
            self._settle()
            return len(self._memory)

    def oldest(self, limit: int) -> Batch:
        """Give the oldest rounds, at most *limit*; they stay until remove()."""
        try:
            found = self._spool.peek(limit)
        except SpoolError as err:
            self._report(err)
            self._is_readable = False
            found = []
        else:
            self._read_again()
        if found:
            return Batch([stored for _, stored in found], found[-1][0])
        with self._lock:
            return Batch(list(itertools.islice(self._memory, limit)), None, self._is_readable)

    def remove(self, batch: Batch) -> None:
        """Take out what oldest() gave: it was delivered."""
        if batch.up_to is not None:
            try:
                self._spool.remove_up_to(batch.up_to)
            except SpoolError as err:  # the spool will not show them again while we live; twice delivered is harmless
                self._report(err)
            return
        with self._lock:
            for stored in batch.rounds:
                if self._memory and self._memory[0] is stored:  # else it found its way to the spool meanwhile
                    self._memory.popleft()

    def count(self) -> int:
        """Count the rounds that wait; those of a spool that cannot be read are not known."""
        with self._lock:
            in_memory = len(self._memory)
        try:
            return in_memory + self._spool.count()
        except SpoolError as err:
            self._report(err)
            return in_memory

    def _read_again(self) -> None:
        if not self._is_readable:
            self._is_readable, self.error = True, None
            logger.info("the spool can be read again")

    def _settle(self) -> None:
        while self._memory:
            chunk = list(itertools.islice(self._memory, _SETTLE_ROUNDS))
            try:
                self._spool.append(*chunk)
            except SpoolError as err:
                self._report(err)
                return
            for _ in chunk:
                self._memory.popleft()
        if self.error is not None:
            self.error = None
            logger.info("the spool can be written again")

    def _report(self, err: SpoolError) -> None:
        if str(err) != self.error:
            self.error = str(err)
            logger.error("rounds that cannot be delivered are kept in memory only: %s", err)
