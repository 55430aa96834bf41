"""What earlier builds left on disk goes on in the outbox: waiting rounds, held rounds, and rows that were refused."""

from __future__ import annotations

import errno
import logging
import sqlite3
import zlib
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storage.errors import OutboxError
from storage.outbox import Outbox
from storage.outbox_files import Rejected
from storage.records import Round, moved
from storage.rows_json import round_from_json, round_to_json
from wording import counted

logger = logging.getLogger(__name__)

# By the file: its waiting rounds (number, body, checksum, boot in which they were held, if they were) and the rows that
# were kept apart (number, body, reason, whether for good).
_SPOOL = (
    "select round_id, body, null, boot_id from round order by 1",
    "select refused_id, body, reason, false from refused order by 1",
)
_OUTBOX = (
    "select round_id, body, checksum, null from round order by 1",
    "select rejected_id, body, reason, is_final from rejected order by 1",
)
LEFT = {"spool.sqlite3": _SPOOL, "outbox.sqlite3": _OUTBOX, "outbox-spare.sqlite3": _OUTBOX}
_START = datetime(1970, 1, 1, tzinfo=UTC)  # stood for the start of the machine in rounds that were held
_UNDATABLE = "read before the clock was right, in an earlier run of the machine"
_FINAL = ("unreadable", _UNDATABLE)  # reasons of a spool that no second attempt changes


def read_boot_id(path: Path = Path("/proc/sys/kernel/random/boot_id")) -> str | None:
    """Return what identifies this run of the machine; None: it cannot be known."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return None


def take_over(data_dir: Path, outbox: Outbox, *, zero: datetime, boot_id: str | None) -> None:
    """Bring what earlier builds left in *data_dir* into *outbox*; then rename their files.

    *zero*: the date at which the monotonic clock was 0 in this boot of the machine, which *boot_id* names. It dates the
    rounds that were held in it; those of another boot are rejected. What goes wrong is logged, and tried again at the
    next start. Interrupted, it is begun again: what is delivered twice is stored once.
    """
    for name, (rounds, rejected_rows) in LEFT.items():
        left = data_dir / name
        try:
            if not left.exists():
                continue
            if not left.is_file():  # to open a pipe would wait for whoever writes into it
                raise OSError(errno.EINVAL, "not a plain file", str(left))
            waiting, rejected = _waiting(_rows(left, rounds), zero, boot_id)
            for body, reason, is_final in _rows(left, rejected_rows):
                rejected.append(Rejected(str(body), str(reason), bool(is_final) or str(reason).startswith(_FINAL)))
            outbox.adopt(waiting, rejected)
            taken = left.with_stem(f"{left.stem}-taken-over")
            for ending in ("-wal", "-shm", ""):  # the log goes first: a file without it is known to be taken over
                with suppress(FileNotFoundError):
                    Path(f"{left}{ending}").rename(f"{taken}{ending}")
        except (OSError, sqlite3.Error, OutboxError) as err:
            logger.error("what an earlier build left in %s is not taken over yet: %s", left, err)
            continue
        brought, apart = counted(len(waiting), "round"), counted(len(rejected), "row")
        logger.info("taken over from an earlier build: %s, and %s kept apart; from %s", brought, apart, taken)


def _rows(path: Path, statement: str) -> list[list[Any]]:
    """Return the rows of a file that can be read, from both ends where it is broken. The first column orders them.

    Raises: OSError, sqlite3.Error: it cannot be read now, and is not broken.
    """
    found: dict[int, list[Any]] = {}
    for sql in (statement, f"{statement} desc"):
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source:
                source.text_factory = lambda text: text.decode("utf-8", "replace")
                for number, *values in source.execute(sql):
                    if number in found:  # the other end was reached
                        break
                    found[number] = values
        except sqlite3.OperationalError:
            raise
        except (sqlite3.DatabaseError, UnicodeDecodeError) as err:
            logger.debug("%s can be read as far as row %d from one end: %s", path, len(found), err)
    return [found[number] for number in sorted(found)]


def _waiting(rows: list[list[Any]], zero: datetime, boot_id: str | None) -> tuple[list[str], list[Rejected]]:
    """Return the rounds that can be delivered, and those that are to be kept apart."""
    waiting: list[str] = []
    rejected: list[Rejected] = []
    for body, checksum, boot in rows:
        try:
            if checksum is not None and zlib.crc32(str(body).encode("utf-8", "surrogatepass")) != checksum:
                raise ValueError("its checksum does not fit")
            round_ = round_from_json(str(body))
            if boot is None:
                waiting.append(round_to_json(round_))
            elif boot == boot_id:
                waiting.append(round_to_json(Round(tuple(moved(row, zero - _START) for row in round_.rows))))
            else:
                rejected.append(Rejected(str(body), _UNDATABLE, is_final=True))
        except (ValueError, OverflowError) as err:  # a flipped bit makes it the year 9970
            rejected.append(Rejected.unreadable(str(body), err))
    return waiting, rejected
