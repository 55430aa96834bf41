"""The delivery: one thread that brings what waits in the outbox to PostgreSQL, oldest first, and runs queries."""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from backoff import Backoff
from storage.connection import Cursor
from storage.database import Database, RejectedRow
from storage.errors import DatabaseUnreachableError, OutboxError, StorageError
from storage.outage import OutageLog
from storage.outbox import Outbox
from storage.outbox_files import Rejected
from storage.records import Round
from wording import counted

logger = logging.getLogger(__name__)

T = TypeVar("T")

BATCH_ROUNDS = 500  # 2,500 rows: some 100 ms, far below the statement timeout
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0  # a restart is noticed at once, a dead server not pestered
REFUSED_AGAIN_S = 86_400.0  # after the last attempt at what was refused
LOOK_AGAIN_S = 60.0  # at a disk that takes no rounds
_STOP_TIMEOUT_S = 1.0  # to leave a statement that is under way
_MOST_REASONS = 100  # of refusals, each said once


class StopRequestedError(Exception):
    """The delivery is to end while it waits for the server."""


def _nothing(_cursor: Cursor, _site_id: int) -> None:
    """Query nothing: that shows whether PostgreSQL responds."""


class Delivery:
    """Owns the *database* from start() to close(), and takes from *outbox*. One transaction a batch.

    In virtual time turn() is called instead of start().
    """

    def __init__(self, database: Database, outbox: Outbox, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._outbox = outbox
        self._monotonic = monotonic
        self._outage = OutageLog()
        self._backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        self._not_before_s = float("-inf")
        self._refused_due_s = float("-inf")
        self._look_again_s = float("-inf")
        self._is_all_seen = True
        self.rejected = 0
        """How many rows PostgreSQL did not take, since the start. They are kept apart on the disk."""
        self._delivered = 0  # rounds, in this outage
        self._seen = -1  # outbox.appended when nothing waited last
        self._has_begun = False  # nothing waited once: what an earlier run left is delivered
        self._has_said_conflict = False
        self._said: set[str] = set()
        self._thread: threading.Thread | None = None
        self._wake_fd = -1
        self._changed = threading.Condition()  # what follows is changed under it
        self._queries: deque[tuple[Callable[[Cursor, int], Any], Future[Any]]] = deque()
        self._is_stopping = False

    @property
    def unreachable_reason(self) -> str | None:
        """Why PostgreSQL does not take what we bring; None: it does, as far as is known."""
        return self._outage.reason

    def start(self) -> None:
        """Start the thread; deliver what waits from an earlier run."""
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._database.wake_fd, self._database.on_wake = self._wake_fd, self._woken
        self._outbox.help_with(self._wake)
        self._thread = threading.Thread(target=self._work, name="delivery", daemon=True)
        self._thread.start()

    def query(self, read: Callable[[Cursor, int], T]) -> Future[T]:
        """Query the database, once all that was appended before has reached it.

        *read* gets a cursor in a transaction of its own and our site_id, in the delivery's thread. The future holds
        what it returns or raises; StorageError if PostgreSQL refuses the query, DatabaseUnreachableError if it does not
        respond: query again later.
        """
        future: Future[T] = Future()
        with self._changed:
            self._queries.append((read, future))
        self._wake()
        return future

    def is_drained(self) -> bool:
        """Whether all that was appended has reached PostgreSQL."""
        return self._seen == self._outbox.appended and self._is_all_seen and self._outage.reason is None

    def wait_until_drained(self, timeout_s: float, *, should_stop: Callable[[], bool] = lambda: False) -> bool:
        """Wait for all that was appended to reach PostgreSQL; False: it has not, in *timeout_s*, or before a stop."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not self.is_drained():
                remaining_s = deadline - time.monotonic()
                if remaining_s <= 0 or should_stop():
                    return False
                self._changed.wait(min(0.1, remaining_s))  # a signal sets a flag, and wakes nobody here
        return True

    def close(self, timeout_s: float = 1.0) -> None:
        """Deliver for *timeout_s* at most, then end the thread and the connection. What still waits is on the disk."""
        if self._thread is None:
            self._database.close()
            return
        self.wait_until_drained(timeout_s, should_stop=lambda: self._outage.reason is not None)
        self._is_stopping = True
        self._wake()
        self._thread.join(_STOP_TIMEOUT_S)
        self._outbox.help_with(None)
        if self._thread.is_alive():
            logger.info("PostgreSQL or the disk does not respond; the delivery ends with the process")
            return  # the thread still uses what would be closed here
        self._thread = None
        wake_fd, self._wake_fd = self._wake_fd, -1
        os.close(wake_fd)

    def turn(self) -> float:
        """Do one thing that is due: deliver a batch, or run a query. Return the seconds until there is another.

        Called by the delivery's thread; by others only where start() is not called.
        """
        now = self._monotonic()
        if now < self._not_before_s:
            self._fail_queries(self._outage.reason or "PostgreSQL is unreachable")
            return self._not_before_s - now
        if self._seen != self._outbox.appended:
            self._try(self._deliver_batch)
        elif now >= self._refused_due_s:
            self._try(self._retry_refused)
        elif self._queries:
            self._try(self._run_query)
        elif self._outbox.error is None:
            return max(0.0, self._refused_due_s - now)
        elif now < self._look_again_s:
            return self._look_again_s - now
        else:
            self._look_again_s = now + LOOK_AGAIN_S
            self._seen = -1  # the disk may be well again, and hold rounds that nobody has seen yet
        return max(0.0, self._not_before_s - self._monotonic())

    # --- the thread

    def _work(self) -> None:
        while not self._is_stopping:
            self._outbox.settle()
            wait_s = self.turn()
            with self._changed:
                self._changed.notify_all()
            if wait_s > 0 and select.select([self._wake_fd], [], [], wait_s)[0]:
                os.eventfd_read(self._wake_fd)
        self._fail_queries("the poller ends")
        self._database.close()

    def _wake(self) -> None:
        if self._wake_fd >= 0:
            os.eventfd_write(self._wake_fd, 1)

    def _woken(self) -> None:
        """Serve whoever wakes us while we wait for PostgreSQL. Raises: StopRequestedError."""
        os.eventfd_read(self._wake_fd)
        if self._is_stopping:
            raise StopRequestedError("asked to stop")
        self._outbox.settle()

    # --- one turn

    def _try(self, act: Callable[[], None]) -> None:
        """Do *act*, and what follows if PostgreSQL does not respond."""
        try:
            act()
        except (DatabaseUnreachableError, StopRequestedError) as err:
            self._failed(str(err))
        except Exception as err:
            reason = f"{type(err).__name__}: {err}"
            if reason != self._outage.reason:  # once, not at each attempt
                logger.exception("delivery failed, retrying")
            self._failed(reason)
        else:
            self._backoff.succeeded()

    def _failed(self, reason: str) -> None:
        if not self._is_stopping:
            self._outage.failed(reason, monotonic_s=self._monotonic())
        self._not_before_s = self._monotonic() + self._backoff.failed()
        self._seen = -1
        self._fail_queries(reason)

    def _deliver_batch(self) -> None:
        """Deliver the oldest rounds. Raises: DatabaseUnreachableError."""
        appended = self._outbox.appended
        batch = self._outbox.oldest(BATCH_ROUNDS)
        if not batch.rounds:
            if self._outage.reason is not None and not self._delivered:
                self._database.query(_nothing)  # a query has failed: see that it is back
            if not self._has_begun and self._outage.reason is None and (earlier := self._delivered - appended) > 0:
                logger.info("%s of an earlier run delivered", counted(earlier, "round"))
            self._has_begun = True
            self._outage.ended(self._delivered, monotonic_s=self._monotonic())
            self._delivered = 0
            self._seen, self._is_all_seen = appended, batch.is_all
            return
        rejected = self._database.write(batch.rounds)
        self._outbox.remove(batch, self._logged(rejected))
        self.rejected += len(rejected)
        self._delivered += len(batch.rounds)
        is_ordinary = self._seen >= 0 and self._outage.reason is None and self._outbox.error is None
        if len(batch.rounds) < BATCH_ROUNDS and is_ordinary:
            self._seen = appended  # there are no more: to look again would cost each round a transaction
            self._delivered = 0

    def _logged(self, rejected: Sequence[RejectedRow]) -> Sequence[Rejected]:
        """Log the rejected rows, each kind once, and return them as they are kept."""
        for each in rejected:
            if each.is_conflict:
                if not self._has_said_conflict:
                    self._has_said_conflict = True
                    logger.error(
                        "%s; ours is kept among the rejected, as all such from now on. Do two pollers write as site "
                        "%r, or was the clock set back?",
                        each.reason,
                        self._database.site,
                    )
            elif each.reason not in self._said and len(self._said) < _MOST_REASONS:
                self._said.add(each.reason)
                logger.error(
                    "PostgreSQL refused a row, which is kept and tried again once a day: %r: %s", each.row, each.reason
                )
            else:
                logger.debug("rejected: %r: %s", each.row, each.reason)
        return [Rejected.of(Round((each.row,)), each.reason, is_final=each.is_conflict) for each in rejected]

    def _retry_refused(self) -> None:
        """Try again what PostgreSQL refused once. Raises: DatabaseUnreachableError."""
        try:
            refused = self._outbox.refused()
            for start in range(0, len(refused), BATCH_ROUNDS):
                self._retry(refused[start : start + BATCH_ROUNDS])
        except OutboxError as err:
            logger.debug("what was refused cannot be read or written now: %s", err)
        self._refused_due_s = self._monotonic() + REFUSED_AGAIN_S

    def _retry(self, refused: Sequence[tuple[Rejected, Round]]) -> None:
        rejected = self._database.write([round_ for _, round_ in refused])
        final = [each for each in rejected if each.is_conflict]
        again = {id(each.row) for each in rejected if not each.is_conflict}
        done = [(kept, round_) for kept, round_ in refused if not again.intersection(map(id, round_.rows))]
        if done:
            self._outbox.exchange_rejected([kept for kept, _ in done], self._logged(final))
        if (through := sum(len(round_.rows) for _, round_ in done) - len(final)) > 0:
            logger.info("stored now: %s that PostgreSQL had refused", counted(through, "row"))

    def _run_query(self) -> None:
        """Run the first query. Raises: DatabaseUnreachableError."""
        with self._changed:
            read, future = self._queries.popleft()
        try:
            try:
                future.set_result(self._database.query(read))
            except DatabaseUnreachableError as err:
                self._database.query(_nothing)  # where that works only the query is refused: a right may be missing
                future.set_exception(StorageError(str(err)))
        except (DatabaseUnreachableError, StopRequestedError) as err:
            future.set_exception(DatabaseUnreachableError(str(err)))
            raise
        except Exception as err:  # noqa: BLE001 - it is raised again where the result is taken
            future.set_exception(err)

    def _fail_queries(self, reason: str) -> None:
        with self._changed:
            queries, self._queries = self._queries, deque()
        for _, future in queries:
            future.set_exception(DatabaseUnreachableError(reason))
