"""The loop: a round of readings on every tick, idle tasks in between, and nothing that ends it but a signal.

Power and sensor rows of a round carry the round's tick as their time, so that they line up; what came late, or for a
tick that was written before, carries its second of arrival. The time changes between two rounds only.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from backoff import Backoff
from poller.clock import Clock, last_tick, next_tick
from poller.dating import LATE, Dating
from poller.idle_tasks.scheduler import IdleTasks
from poller.idle_tasks.time_budget import TimeBudget
from poller.process import Notifier
from poller.rows import power_row, radio_event_row
from poller.sensing import Sensing
from skstack import Meter, MeterSilentError, Poll, Session, SessionLostError, SkStackError, StoppedError
from storage.records import PowerRow, Round, Row
from wording import counted

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")
OtherT = TypeVar("OtherT")

_BEFORE_TICK = timedelta(seconds=1)  # the wait for a tick may end a little early
_LAST_MOMENT_S = 1.0  # kept free before the next tick
_FIRST_FAULT_PAUSE_S, _LAST_FAULT_PAUSE_S = 1.0, 10.0  # the link is not looked after meanwhile
_LINK_TIMEOUT_S = 55.0  # a round may wait for the link, but the sensors' rows not for hours
_SHORTEST_NAP_S = 0.01
_SENSOR_GRACE_S = 3.5  # the slowest sensor needs 3 s to give up
_SENSOR_SHARE = 0.8  # of a short interval
_REMINDER_S = 3600.0
_LEARNING = "who the meter is"  # as a kind of request
_LEARNS_WITHIN = 3  # rounds: where the time before their ticks was too short, it then costs a tick
_WAITED_OUT = 2  # intervals: a step back of so much is waited out


class Poller:
    """One household's poller.

    *budget* knows whether a request fits before the next tick. Between two rounds *notifier* says that the poller
    is alive, and after each how things stand.
    """

    def __init__(
        self,
        session: Session,
        meter: Meter,
        sensors: Sequence[Sensing],
        dating: Dating,
        *,
        clock: Clock,
        interval_s: int,
        idle_tasks: IdleTasks,
        budget: TimeBudget,
        should_stop: Callable[[], bool],
        notifier: Notifier,
    ) -> None:
        self._session = session
        self._meter = meter
        self._sensors = sensors
        self._dating = dating
        self._clock = clock
        self._interval_s = interval_s
        self._idle_tasks = idle_tasks
        self._budget = budget
        self._should_stop = should_stop
        self._notifier = notifier
        self._alive_every_s = (notifier.watchdog_interval_s or 120.0) / 2
        self._catches_up = min(LATE, timedelta(seconds=interval_s / 2))  # so late a tick is still taken
        self._failed_polls = 0  # since the meter did well
        self._well_since_s: float | None = None  # monotonic, while there were some
        self._rounds_to_learn = 0  # in a row after which the meter was not known yet
        self._faults: set[tuple[type[Exception], str, int | None]] = set()  # that were logged, each with its place
        self._backoff = Backoff(_FIRST_FAULT_PAUSE_S, _LAST_FAULT_PAUSE_S)
        self._has_read = False
        self.missed_ticks = 0
        self._missed_said_until = float("-inf")
        self._last_failure = "it did not respond"
        self.last_power: PowerRow | None = None

    def run(self) -> None:
        """Poll on every tick until a stop, then store what is left."""
        self._clock.update()
        tick = next_tick(self._clock.now(), self._interval_s)
        while (due := self._survived(self._wait_for, tick, otherwise=tick)) is not None:
            if self._clock.now() < due:
                continue  # a fault cut the wait short: the tick is still to come
            started, zero = self._clock.monotonic(), self._clock.zero
            power = self._survived(self.take_round, due, otherwise=None)
            if not self._has_read and power is not None and power.power_w is not None:
                self._has_read = True
                logger.info("first reading: %d W", power.power_w)  # it may not be stored yet
            self._count_missed(due, self._clock.monotonic() - started, expected=power is None)
            now = self._clock.now()
            tick = next_tick(now if self._has_moved(zero) else max(now - self._catches_up, due), self._interval_s)
        self._idle_tasks.look()
        self._write([])

    def take_round(self, tick: datetime, *, timeout_s: float | None = None) -> PowerRow | None:
        """Read the meter and every sensor, store what came, and return the power row, if there is one.

        *timeout_s*: of a round that stands alone, in which the meter is also to be known.
        """
        started = self._clock.monotonic()
        sensed_at = self._dating.stamp(tick, self._clock.now())
        for sensor in self._sensors:
            sensor.start(sensed_at)
        limit_s = timeout_s or max(self._interval_s - _LAST_MOMENT_S, self._session.timings.response_timeout_s)
        power = self._poll_meter(tick, started + limit_s)
        rows: list[Row] = [self._row(late, tick) for late in self._meter.take_late_polls()]
        if power is not None:
            rows.append(power)
        sensors_until = started + min(_SENSOR_GRACE_S, _SENSOR_SHARE * self._interval_s)
        for sensor in self._sensors:
            row = sensor.collect(sensors_until - self._clock.monotonic(), should_stop=self._should_stop)
            if row is not None:
                rows.append(row)
        self._write(rows)
        self._look_at_clock()
        if power is not None:
            self.last_power = power
        self._notifier.status(self._status(power))
        self._rounds_to_learn = self._rounds_to_learn + 1 if self._meter.has_to_learn else 0
        is_due = not self._clock.is_settled or self._rounds_to_learn > _LEARNS_WITHIN
        if timeout_s is not None or is_due:
            while self._learn(started + timeout_s if timeout_s else self._response_due()):
                self._look_at_clock()
        return power

    @property
    def failure(self) -> str:
        """Why the last failed poll gave no reading; while the link is down, the reason for that says more."""
        return self._last_failure if self._session.up else self._session.down_reason

    def _response_due(self) -> float:
        return self._clock.monotonic() + self._session.timings.longest_wait_s

    def _learn(self, until: float) -> bool:
        """Read the next thing that is not known yet of the meter; return whether there was one and it fitted.

        It begins only where it fits before *until*, but is not cut short there: a lost request holds the air. While
        rows wait for the time, it costs a tick.
        """
        if not (self._meter.has_to_learn and (not self._clock.is_settled or self._budget.fits(_LEARNING, until))):
            return False
        try:
            until = max(until, self._response_due())
            self._budget.spend(_LEARNING, lambda end: self._meter.learn(until=end), until)
        except SkStackError as error:
            logger.debug("who the meter is: %s", error)
        self._idle_tasks.look()
        return True

    def _status(self, power: PowerRow | None) -> str:
        if power is None:
            last = self.last_power
            before = f"; the last at {last.measured_at.astimezone():%Y-%m-%d %H:%M %Z}" if last else ""
            return f"no reading: {self.failure}{before}"
        watts = "power not measured" if power.power_w is None else f"{power.power_w} W"
        return f"{watts} at {power.measured_at.astimezone():%H:%M:%S %Z}"

    def _survived(self, act: Callable[[datetime], ResultT], tick: datetime, *, otherwise: OtherT) -> ResultT | OtherT:
        """Do *act* for *tick*; a fault of ours is logged, once of each kind, and must not end the polling."""
        try:
            result = act(tick)
        except Exception as error:  # the edge of the loop
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind = type(error), place.filename, place.lineno
            if kind not in self._faults:
                self._faults.add(kind)
                logger.exception("a fault of the program; polling goes on")
            to_tick_s = (tick - self._clock.now()).total_seconds()
            self._clock.sleep(max(0.0, min(self._backoff.failed(), to_tick_s)))
            return otherwise
        self._backoff.succeeded()
        return result

    def _wait_for(self, tick: datetime) -> datetime | None:
        """Listen and work until *tick* has come, or the time moved; return which one to take. None: stop."""
        wake_at = self._clock.monotonic()
        zero = self._clock.zero
        self._idle_tasks.look()  # also where the last round has left no time before this tick
        while not self._should_stop():
            self._notifier.watchdog()
            self._look_at_clock()
            remaining_s = (tick - self._clock.now()).total_seconds()
            if remaining_s <= 0 or self._has_moved(zero):
                return self._current(tick)
            now = self._clock.monotonic()
            if self._learn(now + remaining_s):
                continue  # the time may have moved
            end = now + min(remaining_s, self._alive_every_s)
            if now >= wake_at:
                wake_at = self._idle_tasks.work(now + remaining_s)
            self._session.run(min(end, max(wake_at, now + _SHORTEST_NAP_S)))
        return None

    def _has_moved(self, zero: datetime) -> bool:
        """Whether the time has moved, since its *zero* was that, by more than can be waited out."""
        return abs(self._clock.zero - zero) > _WAITED_OUT * timedelta(seconds=self._interval_s)

    def _look_at_clock(self) -> None:
        self._clock.update()
        self._dating.release()

    def _current(self, tick: datetime) -> datetime:
        """Return the latest tick that has come; another one than *tick* if the clock was set, or we overslept."""
        now = self._clock.now()
        if abs(now - tick) < timedelta(seconds=self._interval_s):
            return tick
        return last_tick(now, self._interval_s)

    def _poll_meter(self, tick: datetime, until: float) -> PowerRow | None:
        try:
            poll = self._read_meter(until)
        except StoppedError:
            return None
        except (SkStackError, ValueError) as error:
            self._note_failure(str(error))
            return None
        if poll is None:
            self._note_failure("it responded without a single value")
            return None
        self._note_success()
        return self._row(poll, tick)

    def _row(self, poll: Poll, tick: datetime) -> PowerRow:
        arrived_at = self._clock.at(poll.arrived_at)
        is_of_tick = self._clock.at(poll.sent_at) >= tick - _BEFORE_TICK  # else it responds to an earlier poll
        measured_at = self._dating.stamp(tick if is_of_tick else None, arrived_at)
        return power_row(measured_at, poll.reading)

    def _note_failure(self, reason: str) -> None:
        """Log the first failure, and count the rest until the meter has done well for a while: it may come and go."""
        self._failed_polls += 1
        self._well_since_s = None
        self._last_failure = reason
        level = logging.WARNING if self._failed_polls == 1 else logging.DEBUG
        logger.log(level, "no reading of the meter: %s", self.failure)

    def _note_success(self) -> None:
        """Log that the failures are over, once no poll has failed for a while."""
        if not self._failed_polls:
            return
        now_s = self._clock.monotonic()
        if self._well_since_s is None:
            self._well_since_s = now_s
        if now_s - self._well_since_s >= self._session.timings.recovery.well_s:
            since = f"{self._clock.at(self._well_since_s).astimezone():%H:%M %Z}"
            logger.info(
                "the meter has responded to every poll since %s; failed polls before: %d", since, self._failed_polls
            )
            self._failed_polls = 0

    def _read_meter(self, until: float) -> Poll | None:
        """Poll the meter; where the link is down, or goes down meanwhile, wait for it while the round has time.

        Raises: as Meter.poll.
        """
        last_start = min(until - LATE.total_seconds(), self._clock.monotonic() + _LINK_TIMEOUT_S)
        self._session.run_until_up(last_start)
        try:
            return self._meter.poll(until=until)
        except (SessionLostError, MeterSilentError):
            if not self._session.run_until_up(last_start):
                raise
            return self._meter.poll(until=until)

    def _write(self, rows: list[Row]) -> None:
        rows.extend(radio_event_row(event, self._clock) for event in self._session.take_events())
        if rows:
            self._dating.write(Round(tuple(rows)))

    def _count_missed(self, tick: datetime, took_s: float, *, expected: bool) -> None:
        """Count the ticks that a long round has cost, and say so once an hour.

        *expected*: the link is down, and that was logged before.
        """
        missed = int((took_s - self._catches_up.total_seconds()) // self._interval_s)
        if missed <= 0:
            return
        self.missed_ticks += missed
        is_said = expected or self._clock.monotonic() < self._missed_said_until
        if not is_said:
            self._missed_said_until = self._clock.monotonic() + _REMINDER_S
        level = logging.DEBUG if is_said else logging.WARNING
        text = "the round of %s took %.0f s: %s missed, %d in all"
        logger.log(level, text, f"{tick.astimezone():%H:%M:%S %Z}", took_s, counted(missed, "tick"), self.missed_ticks)
