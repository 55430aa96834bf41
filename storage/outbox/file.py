"""One file of the outbox: rounds in their order, in SQLite, safe from kill -9, power cuts and flipped bits.

A checksum stands beside each round. What cannot be read as a round is moved to the rejected ones with its reason, and
is never in the way. A file that is broken as a whole is begun anew with all that can be read in it (rescue).
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import private_file
from storage.errors import OutboxError, OutboxFullError
from storage.outbox import pages, rescue
from storage.outbox.format import (
    MAX_ID,
    BrokenFileError,
    checksum_of,
    code_of,
    connect,
    forbids_writing,
    is_broken,
    make_tables,
    number_of,
)
from storage.outbox.reserve import Reserve
from storage.records import Round
from storage.rows_json import round_from_json, round_to_json

logger = logging.getLogger(__name__)

T = TypeVar("T")

LOG_MAX_PAGES = 250  # of 4 KB: the usual 1,000 would take more of a nearly full disk than a day of rounds
_MOST_KNOWN = 500  # rounds that are not read again from the disk, on their way
MAX_REJECTED = 10_000  # rows: the oldest are dropped

_APPEND = "insert into round (round_id, body, checksum) values (?, ?, ?)"
_OLDEST = "select round_id, body, checksum from round where round_id > ? order by round_id limit ?"
_REMOVE_UP_TO = "delete from round where round_id <= ?"
_REMOVE = "delete from round where round_id = ?"
_IS_THERE = "select 1 from round where body = ?"
_COUNT = "select count(*) from round where round_id > ?"
_LAST = "select coalesce(max(round_id), 0) from round"
_REJECT = "insert into rejected (rejected_at, reason, is_final, body, checksum) values (?, ?, ?, ?, ?)"
_BOUND = "delete from rejected where rejected_id <= (select max(rejected_id) from rejected) - ?"
_REFUSED = """
select rejected_id, body, checksum from rejected where not is_final and rejected_id > ? order by rejected_id limit ?
"""
_FORGET = "delete from rejected where rejected_id = ?"
_COUNT_REJECTED = "select count(*) from rejected"


@dataclass(frozen=True, slots=True)
class Entry:
    """A round, and how it is written down."""

    stored: Round
    body: str

    @classmethod
    def of(cls, stored: Round) -> Entry:
        """Write *stored* down. Raises: ValueError: a value is of the wrong kind."""
        return cls(stored, round_to_json(stored))


@dataclass(frozen=True, slots=True)
class Rejected:
    """Rows that are kept apart, and why. *is_final*: they are not tried again."""

    body: str
    reason: str
    is_final: bool

    @classmethod
    def of(cls, stored: Round, reason: str, *, is_final: bool) -> Rejected:
        """Reject *stored*."""
        return cls(round_to_json(stored), reason, is_final)


def utc_now() -> datetime:
    """Return the time of the machine."""
    return datetime.now(UTC)


class OutboxFile:
    """Rounds on disk, in order, for one thread at a time. Every method may raise OutboxError; nothing is lost by it.

    The file is opened when first needed, and again after a failure. *fsync* False is for throw-away data only.
    """

    def __init__(
        self, path: Path, *, fsync: bool = True, reserve_bytes: int = 0, now: Callable[[], datetime] = utc_now
    ) -> None:
        """Keep *reserve_bytes* of the disk aside for the day it is full."""
        self.path = Path(path)
        self._reserve = Reserve(self.path.with_suffix(".reserve"), reserve_bytes)
        self._fsync = fsync
        self._now = now
        self._connection: sqlite3.Connection | None = None
        self._opened: os.stat_result | None = None
        self._last_id = 0
        self._removed_up_to = 0  # what is older is deleted together with the next append: half the writes to the disk
        self._known: deque[tuple[int, Round]] | None = None  # all that waits; None: the file has to be read
        self._is_rebuilt_in_vain = False
        self._lost: Sequence[tuple[int, str]] = ()  # in a broken log, and not put back yet

    @property
    def exists(self) -> bool:
        """Whether there is such a file, or what is left of one."""
        return self.path.exists() or rescue.is_unfinished(self.path)

    def append(self, entries: Sequence[Entry], rejected: Sequence[Rejected] = ()) -> None:
        """Put rounds behind all others, all or none; they are on the disk when this returns."""

        def insert(connection: sqlite3.Connection) -> int:
            connection.execute(_REMOVE_UP_TO, (self._removed_up_to,))
            self._insert_rejected(connection, rejected)
            return self._insert(connection, [entry.body for entry in entries])

        first = self._transaction(insert)
        self._reserve.keep()
        if self._known is not None and len(self._known) + len(entries) <= _MOST_KNOWN:
            self._known.extend(enumerate((entry.stored for entry in entries), first))
        else:
            self._known = None

    def oldest(self, limit: int) -> list[tuple[int, Round]]:
        """Give the oldest *limit* rounds, each with its number; the numbers grow. Fewer: there are no more."""
        if self._known is not None:
            return list(itertools.islice(self._known, limit))
        rounds: list[tuple[int, Round]] = []
        after = self._removed_up_to
        while (wanted := limit - len(rounds)) > 0:
            found = self._transaction(partial(_select, _OLDEST, after, wanted))
            unreadable: list[tuple[int, Rejected]] = []
            for round_id, body, checksum in found:
                after = round_id
                try:
                    rounds.append((round_id, _checked(body, checksum)))
                except ValueError as err:
                    unreadable.append((round_id, Rejected(str(body), f"unreadable: {err}", is_final=True)))
            if unreadable:
                self._reject_unreadable(unreadable)
            elif len(found) < wanted:
                self._known = deque(rounds)
                break
        return rounds

    def remove_up_to(self, round_id: int, rejected: Sequence[Rejected] = ()) -> None:
        """Take out the rounds up to this number: they were delivered, but for what was *rejected* of them.

        They are not seen again; after a power cut or kill -9 the latest may be, to be delivered once more.
        """
        self._removed_up_to = max(self._removed_up_to, round_id)
        while self._known and self._known[0][0] <= round_id:
            self._known.popleft()
        if rejected:
            self._remove(rejected)

    def count(self) -> int:
        """Count the rounds that wait."""
        return self._transaction(lambda connection: number_of(connection, _COUNT, self._removed_up_to))

    def count_rejected(self) -> int:
        """Count what was rejected, for good or for now."""
        return self._transaction(lambda connection: number_of(connection, _COUNT_REJECTED))

    def refused(self, after: int, limit: int) -> list[tuple[int, Round]]:
        """Give what was rejected and is to be tried again, from behind number *after*, with its numbers."""
        found: list[tuple[int, Round]] = []
        while not found and (rows := self._transaction(partial(_select, _REFUSED, after, limit))):
            for rejected_id, body, checksum in rows:
                after = rejected_id
                with suppress(ValueError):  # kept as it is, for a person to look at
                    found.append((rejected_id, _checked(body, checksum)))
        return found

    def forget_refused(self, numbers: Sequence[int], rejected: Sequence[Rejected] = ()) -> None:
        """Take out what was refused once and was delivered now, but for what was *rejected* for good."""

        def forget(connection: sqlite3.Connection) -> None:
            connection.executemany(_FORGET, [(number,) for number in numbers])
            self._insert_rejected(connection, rejected)

        self._transaction(forget)

    def adopt(self, name: str, bodies: Sequence[str], rejected: Sequence[Rejected]) -> None:
        """Take over what another file held, once: also where this is called again after a crash, with the same name."""

        def insert(connection: sqlite3.Connection) -> None:
            if not connection.execute("select 1 from taken_over where name = ?", (name,)).fetchone():
                connection.execute("insert into taken_over values (?)", (name,))
                self._insert(connection, bodies)
                self._insert_rejected(connection, rejected)

        self._known = None
        self._transaction(insert)

    def adopted(self, name: str) -> None:
        """Note that the file of this name is out of the way: another of the name may be taken over one day."""
        self._transaction(lambda connection: connection.execute("delete from taken_over where name = ?", (name,)))

    def close(self) -> None:
        """Close the file; the next call would open it again."""
        if self._connection is not None and self._removed_up_to:
            with suppress(OutboxError):
                self._remove(())
        self._disconnect()

    def _disconnect(self) -> None:
        self._known = None
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _remove(self, rejected: Sequence[Rejected]) -> None:
        def remove(connection: sqlite3.Connection) -> None:
            connection.execute(_REMOVE_UP_TO, (self._removed_up_to,))
            self._insert_rejected(connection, rejected)

        self._transaction(remove)

    def _insert(self, connection: sqlite3.Connection, bodies: Sequence[str]) -> int:
        """Give rounds numbers that none had in this run, and none has in the file; return the first."""
        first = max(self._last_id, self._removed_up_to) + 1
        rows = [(number, body, checksum_of(body)) for number, body in enumerate(bodies, first)]
        connection.executemany(_APPEND, rows)
        self._last_id = first + len(rows) - 1
        return first

    def _insert_lost(self, connection: sqlite3.Connection) -> None:
        """Put back what SQLite has not read in its log: after a flipped bit it takes the rest for never written."""
        lost = [body for number, body in self._lost if number > self._last_id]
        if bodies := [body for body in lost if not connection.execute(_IS_THERE, (body,)).fetchone()]:
            logger.error("the log of %s is broken: %d rounds could be read in it", self.path, len(bodies))
            with connection:
                connection.execute("begin immediate")
                self._insert(connection, bodies)
        self._lost = ()

    def _insert_rejected(self, connection: sqlite3.Connection, rejected: Sequence[Rejected]) -> None:
        if not rejected:
            return
        at = self._now().isoformat()
        rows = [(at, each.reason, each.is_final, each.body, checksum_of(each.body)) for each in rejected]
        connection.executemany(_REJECT, rows)
        if connection.execute(_BOUND, (MAX_REJECTED,)).rowcount:
            logger.warning("more than %d rejected rows: the oldest are dropped", MAX_REJECTED)

    def _reject_unreadable(self, unreadable: Sequence[tuple[int, Rejected]]) -> None:
        def move(connection: sqlite3.Connection) -> None:
            connection.executemany(_REMOVE, [(round_id,) for round_id, _ in unreadable])
            self._insert_rejected(connection, [rejected for _, rejected in unreadable])

        with suppress(OutboxError):  # on a full disk they stay where they are, and are passed over
            self._transaction(move)
        round_id, first = unreadable[0]
        logger.error(
            "%d rounds in %s cannot be read and are rejected; the first is round %d: %s",
            len(unreadable),
            self.path.name,
            round_id,
            first.reason,
        )

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do *work* in one transaction; once more with the room kept aside, or on a file that was begun anew."""
        try:
            return self._attempt(work)
        except Exception as err:  # whatever a broken file makes SQLite or Python raise
            if (is_broken(err) or forbids_writing(err, self.path)) and not self._is_rebuilt_in_vain:
                self._rebuild(err)
                self._is_rebuilt_in_vain = True  # until it has worked
            elif code_of(err) == sqlite3.SQLITE_CONSTRAINT:
                logger.debug("somebody else has put rounds there; the file is opened anew: %s", err)
            elif not (_is_full(err) and self._reserve.release()):
                raise self._explained(err) from err
        try:
            result = self._attempt(work)
        except Exception as err:  # as above
            raise self._explained(err) from err
        self._is_rebuilt_in_vain = False
        return result

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._connection is not None and not self._is_in_place():
            logger.error("%s was removed while it was in use, with what was in it; it is made anew", self.path)
            self._disconnect()
        if self._connection is None:
            self._connection = self._open()
            self._opened = os.stat(self.path)
        try:
            with self._connection as connection:
                connection.execute("begin immediate")
                return work(connection)
        except Exception as err:
            if not _is_full(err):  # on a full disk an open file still reads, a closed one may not open
                self._disconnect()
            raise

    def _is_in_place(self) -> bool:
        """Whether the open file still has its name: SQLite would go on writing one that nobody finds again."""
        try:
            return self._opened is not None and os.path.samestat(os.stat(self.path), self._opened)
        except FileNotFoundError:
            return False

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        rescue.finish(self.path, self._now())
        with suppress(FileExistsError):
            # SQLite would let everybody read it.
            os.close(private_file.create(self.path))
            private_file.sync_directory(self.path.parent)
        self._lost = pages.lost_in_log(self.path) or self._lost
        connection = connect(self.path)
        try:
            connection.execute("pragma journal_mode = wal")
            connection.execute(f"pragma synchronous = {'full' if self._fsync else 'off'}")
            connection.execute(f"pragma wal_autocheckpoint = {LOG_MAX_PAGES}")
            connection.execute("pragma secure_delete = off")  # to wipe what was delivered would take room and wear
            make_tables(connection, self.path)
            if (said := connection.execute("pragma quick_check(1)").fetchone()[0]) != "ok":
                raise BrokenFileError(said)
            if (last := number_of(connection, _LAST)) > MAX_ID:
                raise BrokenFileError(f"it has a round number {last}")
            self._last_id = max(self._last_id, last)
            self._insert_lost(connection)
        except BaseException:
            connection.close()
            raise
        self._reserve.keep()
        return connection

    def _rebuild(self, reason: Exception) -> None:
        """Begin the file anew with all that can be read in it; the broken one is kept under another name."""
        self._disconnect()
        self._removed_up_to = 0
        try:
            kept = rescue.rebuild(self.path, self._now())
        except Exception as err:  # nothing has changed its name yet
            raise self._explained(err) from err
        logger.error("%s is broken (%s): it is kept as %s", self.path, reason, kept)

    def _explained(self, err: Exception) -> OutboxError:
        if isinstance(err, OutboxError):
            return err
        if _is_full(err):
            return OutboxFullError(f"the disk is full: make room for {self.path}; what is in it is kept")
        if code_of(err) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return OutboxError(f"{self.path} is locked by another program; end it")
        return OutboxError(f"{self.path} cannot be used ({err}); this user must be able to write there")


def _checked(body: object, checksum: object) -> Round:
    """Read a round. Raises: ValueError: it is not what was written."""
    if not isinstance(body, str) or checksum_of(body) != checksum:
        raise ValueError("its checksum does not fit")
    return round_from_json(body)


def _select(statement: str, after: int, limit: int, connection: sqlite3.Connection) -> list[tuple[int, object, object]]:
    return connection.execute(statement, (after, limit)).fetchall()


def _is_full(err: Exception) -> bool:
    return code_of(err) == sqlite3.SQLITE_FULL or getattr(err, "errno", None) in (
        errno.ENOSPC,
        errno.EDQUOT,
    )
