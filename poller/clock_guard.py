"""No row with a wrong date: while the machine's clock is days off, rounds are held, and dated once it is right.

A Raspberry Pi has no clock of its own: without a network it starts with the time at which it was switched off. Until
its clock has been compared with the meter's, or the kernel says that it follows a time server, what is read is held in
the spool with its time since the start of the machine, which is always right.
"""

from __future__ import annotations

import ctypes
import logging
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from poller.clock import Clock
from poller.loop import RoundStore
from storage.errors import SpoolError
from storage.records import EnergyRow, MeterRow, RadioEventRow, Round, Row
from storage.spool import HeldRound, Spool

logger = logging.getLogger(__name__)

TOO_FAR = timedelta(hours=24)
RELEASED_AT_ONCE = 500  # rounds: some 100 ms
MEMORY_ROUNDS = 10_000  # a week of minutes, should the spool be out of order
_START = datetime(1970, 1, 1, tzinfo=UTC)  # stands for the start of the machine in rounds that are held
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_BYTES = 512  # struct timex has at most 208, and begins with modes: 0 changes nothing


def read_boot_id(path: Path = Path("/proc/sys/kernel/random/boot_id")) -> str:
    """Return what tells this run of the machine from others; where it is unknown, this process is on its own."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return str(uuid.uuid4())


def is_synchronised() -> bool:
    """Whether the kernel says that its clock follows a time server. Source: Linux manual pages, adjtimex(2)."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):  # no such call on this system
        return False
    return state not in (-1, _TIME_ERROR)


class ClockGuard:
    """Stands before the *store*: hands rounds on while the machine's clock can be trusted, else holds them.

    Tell compared() what MeterClock finds. The rows of the half-hour record carry the meter's time and always pass.
    What was held in an earlier run of the machine cannot be dated any more: it is set aside in the spool.
    """

    def __init__(
        self,
        store: RoundStore,
        spool: Spool,
        *,
        clock: Clock,
        boot_id: str | None = None,
        is_synchronised: Callable[[], bool] = is_synchronised,
    ) -> None:
        self._store = store
        self._spool = spool
        self._clock = clock
        self._boot_id = boot_id or read_boot_id()
        self._is_synchronised = is_synchronised
        self._is_right: bool | None = None  # None: nobody has said
        self._may_hold = True  # there may be rounds in the spool
        self._memory: deque[Round] = deque(maxlen=MEMORY_ROUNDS)
        self._held = 0

    @property
    def is_trusted(self) -> bool:
        """Whether the machine's clock is taken for right."""
        if self._is_right is None and self._is_synchronised():
            self._is_right = True
        return bool(self._is_right)

    def compared(self, ahead: timedelta | None) -> None:
        """Take note by how much the meter's clock is *ahead* (negative: behind); None: it cannot be compared."""
        if ahead is None:
            self._is_right = True if self._is_right is None else self._is_right
            return
        was_right = self._is_right
        self._is_right = abs(ahead) <= TOO_FAR
        if not self._is_right and was_right is not False:
            logger.error(
                "the machine's clock is %.1f days from the meter's: readings are held in the spool until it is set",
                abs(ahead) / timedelta(days=1),
            )

    def write(self, stored: Round, /) -> None:
        """Hand *stored* on, or hold it: it is safe when this returns."""
        if self.is_trusted:
            self._release()
            self._store.write(stored)
            return
        passing = tuple(row for row in stored.rows if isinstance(row, EnergyRow))
        if passing:
            self._store.write(Round(passing))
        held = tuple(row for row in stored.rows if not isinstance(row, EnergyRow))
        if held:
            self._hold(Round(held))

    def _since_start(self) -> timedelta:
        """Return what to add to a time since the start of the machine to get a date."""
        return self._clock.now() - _START - timedelta(seconds=self._clock.monotonic())

    def _hold(self, stored: Round) -> None:
        undated = Round(tuple(_moved(row, -self._since_start()) for row in stored.rows))
        self._held += 1
        self._may_hold = True
        if self._held == 1:
            logger.info("readings are held until it is known that the machine's clock is right")
        try:
            self._spool.hold(undated, boot_id=self._boot_id, monotonic_s=self._clock.monotonic())
        except SpoolError as error:
            if not self._memory:
                logger.error("readings that cannot be dated yet are held in memory only: %s", error)
            self._memory.append(undated)

    def _release(self) -> None:
        """Date what was held, oldest first, a part of it at a time."""
        if not self._may_hold:
            return
        try:
            held = self._spool.held(RELEASED_AT_ONCE)
            self._pass_on([each.stored for each in held if each.boot_id == self._boot_id])
            self._set_aside([each for each in held if each.boot_id != self._boot_id])
            self._spool.let_go(held)
        except SpoolError as error:
            logger.debug("what is held cannot be read now: %s", error)
            return
        if len(held) < RELEASED_AT_ONCE:
            self._pass_on(list(self._memory))
            self._memory.clear()
            self._may_hold = False
            if self._held:
                logger.info("the machine's clock is right: %d held rounds were dated and stored", self._held)
            self._held = 0

    def _pass_on(self, undated: list[Round]) -> None:
        rows = tuple(_dated(row, self._since_start()) for stored in undated for row in stored.rows)
        if rows:
            self._store.write(Round(rows))

    def _set_aside(self, undatable: list[HeldRound]) -> None:
        for each in undatable:
            self._spool.set_aside(each.stored, "read before the clock was right, in an earlier run of the machine")
        if undatable:
            logger.warning(
                "%d rounds were read in an earlier run of the machine, before its clock was right: they cannot be "
                "dated, and are set aside in the spool",
                len(undatable),
            )


def _moved(row: Row, by: timedelta) -> Row:
    """Return *row* at another time. The half-hour record has the meter's time and stays."""
    if isinstance(row, EnergyRow):
        return row
    if isinstance(row, MeterRow):
        return replace(row, since=row.since + by)
    if isinstance(row, RadioEventRow):
        return replace(row, happened_at=row.happened_at + by)
    return replace(row, measured_at=row.measured_at + by)


def _dated(row: Row, by: timedelta) -> Row:
    """Return *row* with its date; a reading on the whole second, as all are."""
    moved = _moved(row, by)
    if isinstance(moved, EnergyRow | MeterRow | RadioEventRow):
        return moved
    return replace(moved, measured_at=(moved.measured_at + timedelta(milliseconds=500)).replace(microsecond=0))
