"""What can still be read of a broken spool goes on in the new one."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

# From both ends, so that only what lies between two broken pages is given up. A statement a round: one that goes on
# meets a broken page before it has handed out the round in front of it.
_NEXT = "select round_id, body, boot_id, monotonic_s from round where round_id > ? order by round_id limit 1"
_PREVIOUS = "select round_id, body, boot_id, monotonic_s from round where round_id < ? order by round_id desc limit 1"
_FIRST_ID, _LAST_ID = 0, 2**63 - 1  # of the row numbers that SQLite gives, less and more than any round has
_INSERT = "insert or ignore into round (round_id, body, boot_id, monotonic_s) values (?, ?, ?, ?)"


def copy_readable_rounds(broken: Path, connection: sqlite3.Connection) -> int:
    """Copy the rounds of the *broken* file that can be read into the new one; return how many.

    The broken file is not changed. Rounds keep their numbers, and with them their order.

    Raises: sqlite3.Error: the new file does not take them.
    """
    before = connection.total_changes
    for statement, start in ((_NEXT, _FIRST_ID), (_PREVIOUS, _LAST_ID)):
        connection.executemany(_INSERT, _readable(broken, statement, start))
    return connection.total_changes - before


def lenient_text(text: bytes) -> str:
    """Decode what a file holds as text; where it is none the round is unreadable, which blocks no other."""
    return text.decode("utf-8", "replace")


def _readable(broken: Path, statement: str, start: int) -> Iterator[tuple[Any, ...]]:
    """Give one round after another, away from *start*, up to the first that cannot be read."""
    round_id = start
    try:
        with closing(sqlite3.connect(f"{broken.absolute().as_uri()}?mode=ro", uri=True)) as source:
            source.text_factory = lenient_text
            while row := source.execute(statement, (round_id,)).fetchone():
                if abs(row[0] - start) <= abs(round_id - start):  # a broken page may lead back, and round in circles
                    return
                round_id = row[0]
                yield row
    except sqlite3.Error as err:
        logger.debug("%s can be read as far as round %d: %s", broken.name, round_id, err)
