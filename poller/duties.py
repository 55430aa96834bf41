"""What the poller does between two polls: one short thing at a time, the most urgent first."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from poller.backfill import Backfill
from poller.clock import Clock
from poller.half_hours import HalfHourRecord
from poller.inquiry import Inquirer, Query
from poller.meter_clock import MeterClock
from poller.meter_watch import MeterWatch
from poller.room import Room
from skstack import Meter, MeterHistory, Session
from storage.records import Round, Row

logger = logging.getLogger(__name__)

REST_S = 60.0  # of a duty after a fault


class Duty(Protocol):
    """Something to be done now and then."""

    def due_at(self) -> float:
        """Return when it is to be done next (monotonic seconds); inf: not before something else has happened."""

    def act(self, until: float) -> bool:
        """Do one short thing that is over by *until*; False: there is no room for it."""

    def rows(self) -> Sequence[Row]:
        """Return the rows gathered since the last call."""


class ShieldedDuty:
    """A *duty* whose faults end here: it rests for a minute, and the other duties and the polls go on.

    Each kind of fault is logged once.
    """

    def __init__(self, duty: Duty, monotonic: Callable[[], float]) -> None:
        self._duty = duty
        self._monotonic = monotonic
        self._rests_until = float("-inf")
        self._logged: set[type[Exception]] = set()

    def due_at(self) -> float:
        """Return when it is to be done next (monotonic seconds), not before it has rested."""
        if self._monotonic() < self._rests_until:
            return self._rests_until
        try:
            return self._duty.due_at()
        except Exception as error:  # noqa: BLE001 - the edge of a duty: it is logged
            self._rest(error)
            return self._rests_until

    def act(self, until: float) -> bool:
        """Do one short thing that is over by *until*; False: there is no room for it."""
        try:
            return self._duty.act(until)
        except Exception as error:  # noqa: BLE001 - the edge of a duty: it is logged
            self._rest(error)
            return True

    def rows(self) -> Sequence[Row]:
        """Return the rows gathered since the last call, also while it rests: this is asked once a round."""
        try:
            return self._duty.rows()
        except Exception as error:  # noqa: BLE001 - the edge of a duty: it is logged
            self._log(error)
            return ()

    def _rest(self, error: Exception) -> None:
        self._rests_until = self._monotonic() + REST_S
        self._log(error)

    def _log(self, error: Exception) -> None:
        if type(error) not in self._logged:
            self._logged.add(type(error))
            logger.error("a fault of the program in %s, the rest goes on", type(self._duty).__name__, exc_info=error)


class MeterDuties:
    """Everything about the meter but the polls: its half hours, its history, its clock, and which meter it is.

    *query* asks the database (Delivery.query), *keep* returns when a round is safe. Times in seconds.
    """

    def __init__(
        self,
        session: Session,
        meter: Meter,
        query: Query,
        keep: Callable[[Round], None],
        *,
        clock: Clock,
        timeout_s: float,
        history_pause_s: float,
    ) -> None:
        self._clock = clock
        self._keep = keep
        margin_s = 2 * session.timings.request_pause_s  # before the request, and between its answer and the poll
        room = Room(clock.monotonic, patience_s=timeout_s, usual_s=timeout_s, margin_s=margin_s)
        history_room = Room(
            clock.monotonic,
            patience_s=session.timings.longest_wait_s,
            usual_s=timeout_s,
            margin_s=margin_s,
            pause_s=history_pause_s,
        )
        meter_clock = MeterClock(session, meter, clock=clock, room=room)
        inquirer = Inquirer(query, clock.monotonic)
        watch = MeterWatch(meter, clock=clock, inquirer=inquirer)
        history = MeterHistory(session, meter)
        days = Backfill(
            session,
            history,
            meter_clock,
            watch,
            keep,
            clock=clock,
            room=history_room,
            inquirer=inquirer,
        )
        half_hours = HalfHourRecord(session, meter, meter_clock, clock=clock, room=room)
        self._watch = ShieldedDuty(watch, clock.monotonic)
        self._meter_clock = ShieldedDuty(meter_clock, clock.monotonic)
        others = (ShieldedDuty(duty, clock.monotonic) for duty in (half_hours, days))
        self._duties = (self._watch, self._meter_clock, *others)

    def work(self, until: float) -> float:
        """Do at most one short thing that is due and is over by *until*; return when to be called again (monotonic)."""
        next_at = float("inf")
        for duty in self._duties:
            due_at = duty.due_at()
            if due_at <= self._clock.monotonic():
                if duty.act(until):
                    return self._clock.monotonic()
                due_at = until
            next_at = min(next_at, due_at)
        return next_at

    def rows(self) -> Sequence[Row]:
        """Return the rows gathered since the last call. Waits for nothing."""
        return [row for duty in self._duties for row in duty.rows()]

    def read_clock(self, until: float) -> None:
        """For a poller of one round, where nobody has told the time: ask the meter for it, if it has not told yet."""
        if not self._clock.is_settled and self._meter_clock.due_at() <= self._clock.monotonic():
            self._meter_clock.act(until)

    def conclude(self, until: float, *, should_stop: Callable[[], bool]) -> None:
        """For a poller of one round, when that is kept: ask the database about its meter, and keep what follows."""
        rows = list(self.rows())
        while (due_at := self._watch.due_at()) <= until and not should_stop():
            self._clock.sleep(due_at - self._clock.monotonic())
            self._watch.act(until)
        if rows := [*rows, *self.rows()]:
            self._keep(Round(tuple(rows)))
