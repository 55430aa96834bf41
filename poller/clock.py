"""What time it is, and whether that can be trusted; the one owner of both.

A Raspberry Pi has no clock of its own: it may start with the time at which it was switched off, or nine hours ahead. So
the time is the monotonic clock, which is always right, plus an offset that changes as more becomes known.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Protocol

from poller.time_server import TimeServer

logger = logging.getLogger(__name__)

TOLERANCE = timedelta(minutes=2)  # a meter shows whole minutes, and its own clock may be a minute off
WAIT_S = 900.0  # for a time server or a meter, before the machine's clock is used as it is
_HALF_MINUTE = timedelta(seconds=30)
_WORTH_A_LINE = timedelta(seconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TimeSource(Protocol):
    """A machine's clocks, real or virtual."""

    def monotonic(self) -> float:
        """Return seconds that never jump: for waits and durations."""

    def now(self) -> datetime:
        """Return the wall clock, aware, in UTC."""

    def sleep(self, seconds: float, /) -> None:
        """Wait."""


def _machine_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The clocks of the machine we run on, with a *sleep* that a signal can end."""

    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = _machine_now


class _Basis(Enum):
    """What the time is taken from."""

    NOTHING = "the time is not known yet"
    MACHINE = "neither a time server nor the meter gives the time: this machine's clock is used as it is"
    METER = "the meter's clock says so, and this machine follows no time server (sudo timedatectl set-ntp true)"
    SERVER = "this machine follows a time server"


class Clock:
    """The time of everything that is stored: monotonic() plus an offset that changes in update() only.

    So times that belong together agree: call update() between two rounds, not within one.

    - A machine that follows a time server is right, whatever the meter shows: its offset is followed. It stays right
      for the rest of this run when the server is lost, and when its clock is then set by hand.
    - One that does not is held against the meter's clock, which compare() is given. Where the two differ by more than
      TOLERANCE, ahead or behind, the meter is right.
    - Until either is known, is_settled is False. After WAIT_S, beside a meter that has no clock, or after settle(), the
      machine's clock is followed as it is, until something better is known.

    A meter shows whole minutes and cuts the seconds off: the middle of the minute is taken, at most 30 s off.
    """

    def __init__(self, machine: TimeSource, *, is_synchronised: Callable[[], bool] | None = None) -> None:
        """Read the clocks of *machine*. *is_synchronised*: whether it follows a time server; the system knows."""
        self._machine = machine
        self._is_synchronised = is_synchronised or TimeServer().is_followed
        self._basis = _Basis.NOTHING
        self._wait_until_s = machine.monotonic() + WAIT_S
        self._meter_zero: datetime | None = None  # until update() has looked at it
        self.zero = self._machine_zero()
        """The date at which monotonic() was 0. What was dated before the clock was settled moves along with it."""
        self.update()

    @property
    def is_settled(self) -> bool:
        """Whether what now() returns can be stored."""
        return self._basis is not _Basis.NOTHING

    @property
    def follows_server(self) -> bool:
        """Whether a time server has set this machine's clock in this run."""
        return self._basis is _Basis.SERVER

    def monotonic(self) -> float:
        """Return seconds that never jump: for waits and durations."""
        return self._machine.monotonic()

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""
        return self.at(self._machine.monotonic())

    def at(self, monotonic_s: float) -> datetime:
        """Return the time when monotonic() was, or will be, *monotonic_s*."""
        return self.zero + timedelta(seconds=monotonic_s)

    def sleep(self, seconds: float) -> None:
        """Wait *seconds*, or until a signal comes."""
        self._machine.sleep(seconds)

    def compare(self, shown: datetime | None, read_at: float) -> None:
        """Take in that the meter's clock showed the minute *shown* at *read_at* (monotonic); None: it has no clock.

        update() acts on it.
        """
        if shown is None:
            self._wait_until_s = float("-inf")
        else:
            self._meter_zero = shown + _HALF_MINUTE - timedelta(seconds=read_at)

    def settle(self) -> None:
        """Wait for nobody any longer: what was read is now to be dated as well as can be."""
        self._wait_until_s = float("-inf")
        self.update()

    def update(self) -> None:
        """Look at the machine and at what the meter has shown. What moves the time is logged."""
        machine = self._machine_zero()
        meter, self._meter_zero = self._meter_zero, None
        if self._is_synchronised():
            self._take(machine, _Basis.SERVER)
        elif self.follows_server:
            return
        elif meter is not None:
            agreeing = (zero for zero in (self.zero, machine) if abs(zero - meter) <= TOLERANCE)
            self._take(next(agreeing, meter), _Basis.METER)
        elif self._basis is not _Basis.METER and self._machine.monotonic() >= self._wait_until_s:
            self._take(machine, _Basis.MACHINE)

    def _take(self, zero: datetime, basis: _Basis) -> None:
        moved = zero - self.zero
        if abs(moved) >= _WORTH_A_LINE:
            direction = "forward" if moved > timedelta(0) else "back"
            logger.warning("the time moves %s by %s: %s", direction, span(abs(moved)), basis.value)
        elif basis is _Basis.MACHINE and self._basis is not basis:
            logger.warning("%s", basis.value)
        self.zero, self._basis = zero, basis

    def _machine_zero(self) -> datetime:
        return self._machine.now() - timedelta(seconds=self._machine.monotonic())


def span(duration: timedelta) -> str:
    """Say a positive *duration* in the unit that suits it."""
    seconds = duration.total_seconds()
    for unit_s, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.1f} {unit}"
    return f"{seconds:.0f} s"


def last_tick(now: datetime, interval_s: int) -> datetime:
    """Return the last moment up to *now* that is a whole multiple of *interval_s*, counted from midnight UTC 1970.

    Japan is nine whole hours away, so for an interval that divides an hour these are round local times too.
    """
    interval = timedelta(seconds=interval_s)
    return EPOCH + (now - EPOCH) // interval * interval


def next_tick(now: datetime, interval_s: int) -> datetime:
    """Return the first such moment after *now*."""
    return last_tick(now, interval_s) + timedelta(seconds=interval_s)
