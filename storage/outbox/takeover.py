"""What version 1.0 left in its spool goes on in the outbox: waiting rounds, held rounds, and rows that were refused."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from storage.errors import OutboxError
from storage.outbox.file import Rejected
from storage.outbox.outbox import Outbox
from storage.outbox.rescue import readable_rows
from storage.records import EnergyRow, MeterRow, RadioEventRow, Round, Row
from storage.rows_json import round_from_json, round_to_json

logger = logging.getLogger(__name__)

SPOOL_NAME = "spool.sqlite3"
TAKEN_NAME = "spool-taken-over.sqlite3"
_ROUND = ("round_id", "body", "boot_id", "monotonic_s")
_REFUSED = ("refused_id", "reason", "body")
_START = datetime(1970, 1, 1, tzinfo=UTC)  # stood for the start of the machine in rounds that were held
_UNDATABLE = "read before the clock was right, in an earlier run of the machine"
_FINAL = ("unreadable", _UNDATABLE)  # reasons of 1.0 that no second attempt changes


def read_boot_id(path: Path = Path("/proc/sys/kernel/random/boot_id")) -> str | None:
    """Return what tells this run of the machine from others; None: it cannot be known."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return None


def take_over(data_dir: Path, outbox: Outbox, *, zero: datetime, boot_id: str | None) -> None:
    """Bring what a spool of version 1.0 in *data_dir* holds into *outbox*, once; then rename the spool.

    *zero*: the date at which the monotonic clock was 0 in this boot of the machine, which *boot_id* names. It dates the
    rounds that were held in it; those of another boot are rejected. What goes wrong is logged, and tried again at the
    next start.
    """
    spool = data_dir / SPOOL_NAME
    try:
        if not spool.exists():
            return
        name = f"{SPOOL_NAME} {spool.stat().st_ino}"
        waiting, rejected = _read(spool, zero, boot_id)
        outbox.adopt(name, waiting, rejected)
        for ending in ("-wal", "-shm", ""):  # the log goes first: the spool without it is known to be taken over
            with suppress(FileNotFoundError):
                Path(f"{spool}{ending}").rename(data_dir / f"{TAKEN_NAME}{ending}")
        outbox.adopted(name)
    except (OSError, sqlite3.Error, OutboxError) as err:
        logger.error("what version 1.0 left in %s is not taken over yet: %s", spool, err)
        return
    logger.info(
        "%d rounds of version 1.0 are taken over, %d rows are kept apart; its spool is now %s",
        len(waiting),
        len(rejected),
        TAKEN_NAME,
    )


def _read(spool: Path, zero: datetime, boot_id: str | None) -> tuple[list[str], list[Rejected]]:
    """Return the rounds that can be delivered, and the rows that are to be kept apart."""
    waiting: list[str] = []
    rejected: list[Rejected] = []
    rounds = {number: (body, boot) for number, body, boot, _ in readable_rows(spool, "round", _ROUND)}
    for _, (body, boot) in sorted(rounds.items()):
        try:
            stored = round_from_json(str(body))
            if boot is None:
                waiting.append(round_to_json(stored))
            elif boot == boot_id:
                waiting.append(round_to_json(Round(tuple(_dated(row, zero) for row in stored.rows))))
            else:
                rejected.append(Rejected(str(body), _UNDATABLE, is_final=True))
        except (ValueError, OverflowError) as err:  # a flipped bit makes it the year 9970
            rejected.append(Rejected(str(body), f"unreadable: {err}", is_final=True))
    refused = {number: (str(reason), str(body)) for number, reason, body in readable_rows(spool, "refused", _REFUSED)}
    for _, (reason, body) in sorted(refused.items()):
        rejected.append(Rejected(body, reason, is_final=reason.startswith(_FINAL)))
    return waiting, rejected


def _dated(row: Row, zero: datetime) -> Row:
    """Return a row that was held with its date; a reading on the whole second, as all are."""
    if isinstance(row, EnergyRow | MeterRow):
        return row
    if isinstance(row, RadioEventRow):
        return replace(row, happened_at=zero + (row.happened_at - _START))
    at = zero + (row.measured_at - _START) + timedelta(milliseconds=500)
    return replace(row, measured_at=at.replace(microsecond=0))
