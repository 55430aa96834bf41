"""No row with a wrong date: while the machine's clock is not to be trusted, rounds are held, and dated once it is.

A Raspberry Pi has no clock of its own: without a network it starts with the time at which it was switched off. Until
its clock has been compared with the meter's, or the kernel says that it follows a time server, what is read is held in
the spool with its time since the start of the machine, which is always right.

A clock that follows a time server is right, whatever the meter shows. Any other is held against the meter's: days off,
it is wrong until somebody sets it. Behind by less, it may be that of a machine that was off for hours, and a time
server may set it within minutes; that is awaited for a while. A clock that was left standing is never ahead.
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

from poller.clock import TimeSource
from poller.loop import RoundStore
from poller.meter_clock import WORTH_A_WARNING
from storage.errors import SpoolError
from storage.records import EnergyRow, MeterRow, RadioEventRow, Round, Row
from storage.spool import HeldRound, Spool

logger = logging.getLogger(__name__)

TOO_FAR = timedelta(hours=24)
SET_WITHIN_S = 900.0  # where there is a network, a time server sets a clock within a minute or two
RELEASED_AT_ONCE = 500  # rounds: some 100 ms
MEMORY_ROUNDS = 10_000  # a week of minutes, should the spool be out of order
_START = datetime(1970, 1, 1, tzinfo=UTC)  # stands for the start of the machine in rounds that are held
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_NOT_YET, _LONG_SINCE = float("inf"), float("-inf")
_TRULY_DATED = (EnergyRow, MeterRow)
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

    Tell compared() what MeterClock finds. The rows of the half-hour record carry the meter's time, and what is known
    of a meter is only looked at while is_trusted: these always pass. What was held in an earlier run of the machine
    cannot be dated any more: it is set aside in the spool.
    """

    def __init__(
        self,
        store: RoundStore,
        spool: Spool,
        *,
        clock: TimeSource,
        boot_id: str | None = None,
        is_synchronised: Callable[[], bool] = is_synchronised,
        memory_rounds: int = MEMORY_ROUNDS,
    ) -> None:
        self._store = store
        self._spool = spool
        self._clock = clock
        self._boot_id = boot_id or read_boot_id()
        self._is_synchronised = is_synchronised
        self._memory_rounds = memory_rounds
        self._follows_server = False  # once it does, the clock stays right for long after the server is lost
        self._is_compared = False
        self._held_until = _NOT_YET  # monotonic seconds
        self._behind_since_s: float | None = None
        self._may_hold = True  # there may be rounds in the spool
        self._memory: deque[Round] = deque()
        self._held = 0
        self._dropped = 0

    @property
    def is_trusted(self) -> bool:
        """Whether the machine's clock is taken for right. As long as it is not, the kernel is asked each time."""
        return self._clock.monotonic() >= self._held_until or self._is_synchronised_now()

    def compared(self, ahead: timedelta | None) -> None:
        """Take note by how much the meter's clock is *ahead* (negative: behind); None: it cannot be compared."""
        was_days_off = self._is_compared and self._held_until == _NOT_YET
        if ahead is None:
            self._held_until = self._held_until if self._is_compared else _LONG_SINCE
        elif -TOO_FAR <= ahead <= WORTH_A_WARNING:
            self._behind_since_s = None
            self._held_until = _LONG_SINCE
        elif self._is_synchronised_now():
            logger.warning("the machine's clock follows a time server: it is the meter's that is wrong")
            self._held_until = _LONG_SINCE
        elif abs(ahead) > TOO_FAR:
            self._held_until = _NOT_YET
            if not was_days_off:
                logger.error(
                    "the machine's clock is %.1f days from the meter's: readings are held in the spool until it is set",
                    abs(ahead) / timedelta(days=1),
                )
        else:
            self._wait_for_server()
        self._is_compared = True

    def _wait_for_server(self) -> None:
        """Hold for a while since the clock was first found behind; not again each time that it still is."""
        if self._behind_since_s is None:
            self._behind_since_s = self._clock.monotonic()
            logger.warning(
                "the machine's clock is behind the meter's: readings are held until a time server sets it, or %.0f min",
                SET_WITHIN_S / 60,
            )
        self._held_until = self._behind_since_s + SET_WITHIN_S

    def _is_synchronised_now(self) -> bool:
        self._follows_server = self._follows_server or self._is_synchronised()
        return self._follows_server

    def write(self, stored: Round, /) -> None:
        """Hand *stored* on, or hold it: it is safe when this returns."""
        if self.is_trusted:
            self._note_end_of_wait()
            self._release()
            self._store.write(stored)
            return
        passing = tuple(row for row in stored.rows if isinstance(row, _TRULY_DATED))
        if passing:
            self._store.write(Round(passing))
        held = tuple(row for row in stored.rows if not isinstance(row, _TRULY_DATED))
        if held:
            self._hold(Round(held))

    def close(self) -> None:
        """Bring what is held in memory to safety, before the store is closed; what then is lost, is logged."""
        while self._memory and self.is_trusted:
            self._release_from_memory()
        try:
            while self._memory:
                self._spool.hold(self._memory[0], boot_id=self._boot_id, monotonic_s=self._clock.monotonic())
                self._memory.popleft()
        except SpoolError as error:
            logger.debug("what is held in memory cannot be kept: %s", error)
        if lost := len(self._memory) + self._dropped:
            logger.error("%d held rounds are lost: they could not be dated, and the spool did not take them", lost)
        self._memory.clear()

    def _note_end_of_wait(self) -> None:
        """Say once that the machine's clock is used as it is, where no time server has set it in time."""
        if self._held_until in (_NOT_YET, _LONG_SINCE):
            return
        self._held_until = self._behind_since_s = _LONG_SINCE
        if not self._is_synchronised_now():
            logger.warning("no time server has set the machine's clock: readings are dated by it, though it is behind")

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
            self._remember(undated, error)

    def _remember(self, undated: Round, why: SpoolError) -> None:
        if not self._memory:
            logger.error("readings that cannot be dated yet are held in memory only: %s", why)
        if len(self._memory) >= self._memory_rounds:
            if not self._dropped:
                logger.error("%d held rounds fill the memory: for each new one the oldest is lost", len(self._memory))
            self._memory.popleft()
            self._dropped += 1
        self._memory.append(undated)

    def _release(self) -> None:
        """Date what was held, oldest first, a part of it at a time, until there is nothing left."""
        if self._memory:
            self._release_from_memory()
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
        if len(held) < RELEASED_AT_ONCE and not self._memory:  # there are no more
            self._may_hold = False
            if self._held:
                logger.info("the machine's clock is trusted: %d held rounds were dated", self._held - self._dropped)
            self._held = self._dropped = 0

    def _release_from_memory(self) -> None:
        count = min(len(self._memory), RELEASED_AT_ONCE)
        self._pass_on([self._memory.popleft() for _ in range(count)])

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
    """Return *row* at another time, unless its date is true anyhow."""
    if isinstance(row, _TRULY_DATED):
        return row
    if isinstance(row, RadioEventRow):
        return replace(row, happened_at=row.happened_at + by)
    return replace(row, measured_at=row.measured_at + by)


def _dated(row: Row, by: timedelta) -> Row:
    """Return *row* with its date; a reading on the whole second, as all are."""
    moved = _moved(row, by)
    if isinstance(moved, EnergyRow | MeterRow | RadioEventRow):
        return moved
    return replace(moved, measured_at=(moved.measured_at + timedelta(milliseconds=500)).replace(microsecond=0))
