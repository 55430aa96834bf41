"""What the loop sees of the record: a round goes in, and is in PostgreSQL or on disk when write() returns."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from storage.backlog import MEMORY_ROUNDS, Backlog
from storage.database import RefusedRow
from storage.errors import DatabaseAwayError, SpoolError
from storage.outage import Outage, Retries
from storage.records import Round
from storage.spool import Spool

logger = logging.getLogger(__name__)

WRITE_TIMEOUT_S = 2.0  # a healthy database takes milliseconds
BATCH_ROUNDS = 500  # 2,500 rows: some 100 ms, far below the statement timeout


class Writer(Protocol):
    """Where rounds go: Database, or a fake of it."""

    def write(self, rounds: Sequence[Round]) -> tuple[RefusedRow, ...]:
        """Store all in one transaction, but for the rows returned. Raises: DatabaseAwayError."""

    def close(self) -> None:
        """Let go of the connection."""


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How the store is doing."""

    waiting_rounds: int  # in the spool, and in memory where the spool cannot be written
    away_since: datetime | None  # aware UTC; None: nothing waits because of PostgreSQL
    away_reason: str | None
    spool_error: str | None  # why the spool cannot be used


class _Handover:
    """One round on its way to the worker, and its answer."""

    def __init__(self, stored: Round) -> None:
        self.stored = stored
        self.done = threading.Event()
        self.is_stored = False


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Store:
    """Keeps every round it has taken: in PostgreSQL, or behind any backlog in the spool.

    Without start() everything happens inside write() and deliver(). After start() one worker thread owns the database,
    and write() waits for it no longer than *write_timeout_s*: then the round goes to the spool, and a commit that comes
    late after all does no harm, since writing the same twice changes nothing.
    """

    def __init__(
        self,
        database: Writer,
        spool: Spool,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _utc_now,
        write_timeout_s: float = WRITE_TIMEOUT_S,
        memory_rounds: int = MEMORY_ROUNDS,
    ) -> None:
        self._database = database
        self._spool = spool
        self._backlog = Backlog(spool, memory_rounds=memory_rounds)
        self._monotonic = monotonic
        self._now = now
        self._write_timeout_s = write_timeout_s
        self._outage = Outage()
        self._spool_retries = Retries()
        self._delivered = 0  # rounds of the backlog, since it was empty last
        self._worker: threading.Thread | None = None
        # What the worker and write() share, under this condition:
        self._changed = threading.Condition()
        self._handover: _Handover | None = None
        self._appended = 0  # rounds put into the backlog
        self._is_drained = False  # the backlog was looked at, and nothing that can be read waits
        self._is_spool_read = False  # False: there may be rounds in the spool nobody has seen yet
        self._is_stopping = False

    def write(self, stored: Round) -> None:
        """Keep *stored*: it is safe when this returns. Never raises; what goes wrong is in the log and in status()."""
        if self._worker is None and self._idle_s() == 0:
            self.deliver()
        if not self._write_through(stored):
            self._backlog.append(stored)
            with self._changed:
                self._appended += 1
                self._is_drained = False
                self._changed.notify_all()

    def deliver(self) -> int:
        """Deliver what waits, unless the next try has to wait itself; return how many rounds still wait.

        Not to be called after start(): then the worker does it.
        """
        while not self._outage.wait_s(self._monotonic()) and self._deliver_batch():
            pass
        return self._backlog.count()

    def start(self) -> None:
        """Start the worker; deliver what waits from an earlier run."""
        self._is_stopping = False
        self._worker = threading.Thread(target=self._work, name="delivery", daemon=True)
        self._worker.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Stop the worker within *timeout_s* and close everything. What still waits is delivered by the next run."""
        if self._worker is not None:
            with self._changed:
                self._is_stopping = True
                self._changed.notify_all()
            self._worker.join(timeout_s)
        if in_memory := self._backlog.settle():
            logger.error("%d rounds are lost: neither PostgreSQL nor the spool took them", in_memory)
        if self._worker is not None and self._worker.is_alive():
            logger.warning("PostgreSQL does not answer; what it was being given waits in the spool")
            return  # the worker still uses what would be closed here, and ends with the process
        self._worker = None
        self._database.close()
        self._spool.close()

    def status(self) -> StoreStatus:
        """Tell how many rounds wait, and why."""
        waiting = self._backlog.count()
        with self._changed:
            return StoreStatus(waiting, self._outage.since, self._outage.reason, self._backlog.error)

    def _write_through(self, stored: Round) -> bool:
        """Try to bring *stored* straight into PostgreSQL; not past others that wait.

        But past those in a spool that cannot be read: they may wait for long, and *stored* is safe only there.
        """
        if self._worker is None:
            return self._is_drained and self._try([stored])
        with self._changed:
            if not self._is_drained or self._handover is not None:
                return False
            handover = self._handover = _Handover(stored)
            self._changed.notify_all()
        if handover.done.wait(self._write_timeout_s):
            return handover.is_stored
        self._note(DatabaseAwayError(f"no answer within {self._write_timeout_s:g} s"))
        return False

    def _try(self, rounds: Sequence[Round]) -> bool:
        """Write *rounds* to PostgreSQL, with all that follows from the answer."""
        try:
            refused = self._database.write(rounds)
        except DatabaseAwayError as err:
            self._failed(err)
            return False
        except Exception as err:
            unexpected = DatabaseAwayError(f"{type(err).__name__}: {err}")
            if str(unexpected) != self._outage.reason:  # once, not at each try
                logger.exception("delivery failed; it will be tried again")
            self._failed(unexpected)
            return False
        with self._changed:
            self._outage.answered()
        self._set_aside(refused)
        return True

    def _failed(self, err: DatabaseAwayError) -> None:
        with self._changed:
            self._outage.failed(err, at=self._now(), monotonic_s=self._monotonic())

    def _note(self, err: DatabaseAwayError) -> None:
        with self._changed:
            self._outage.noticed(err, at=self._now(), monotonic_s=self._monotonic())

    def _set_aside(self, refused: Sequence[RefusedRow]) -> None:
        for each in refused:
            logger.error("PostgreSQL refused a row, which is set aside: %r: %s", each.row, each.reason)
            try:
                self._spool.set_aside(Round((each.row,)), each.reason)
            except SpoolError as err:
                logger.error("the refused row is kept in this log only: %s", err)

    def _deliver_batch(self) -> bool:
        """Deliver the oldest rounds of the backlog; False: there are none, or PostgreSQL is away."""
        with self._changed:
            appended = self._appended
        batch = self._backlog.oldest(BATCH_ROUNDS)
        with self._changed:
            self._is_spool_read = batch.is_spool_read
            if batch.is_spool_read:
                self._spool_retries.succeeded()
            else:
                self._spool_retries.failed(self._monotonic())
            self._is_drained = not batch.rounds and self._appended == appended
            if self._is_drained:
                self._outage.ended(self._delivered, monotonic_s=self._monotonic())
                self._delivered = 0
        if not batch.rounds:
            return False
        if not self._try(batch.rounds):
            return False
        self._backlog.remove(batch)
        self._delivered += len(batch.rounds)
        return True

    def _work(self) -> None:
        """Serve hand-overs at once, and the backlog in between, until told to stop."""
        while True:
            with self._changed:
                while self._handover is None and not self._is_stopping and (wait_s := self._idle_s()) != 0:
                    self._changed.wait(wait_s)
                handover = self._handover
                if handover is None and self._is_stopping:
                    return
            try:
                if handover is None:
                    self._deliver_batch()
                else:
                    handover.is_stored = self._try([handover.stored])
            except Exception as err:
                logger.exception("the worker stumbled; it goes on after a pause")
                self._is_drained = False  # nobody knows: look again, after the pause
                self._failed(DatabaseAwayError(f"{type(err).__name__}: {err}"))
            finally:
                if handover is not None:
                    with self._changed:
                        self._handover = None
                    handover.done.set()

    def _idle_s(self) -> float | None:
        """Tell how many seconds there is nothing to deliver; None: until something is put into the backlog."""
        if not self._is_drained:
            return self._outage.wait_s(self._monotonic())
        return None if self._is_spool_read else self._spool_retries.wait_s(self._monotonic())
