"""The two ways to poll: for ever, or once."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from poller.loop import Poller
from poller.notify import Notifier
from poller.shown import shown
from poller.stop import StopSignal
from poller.wiring import Parts, Sensors, wired
from settings import Settings
from skstack import Session
from storage.records import EnergyRow, MeterRow, PowerRow, RadioEventRow, Round

logger = logging.getLogger(__name__)

ONCE_DELIVERY_S = 20.0  # for PostgreSQL to take the round, also where it is just starting
CONCLUDE_S = 5.0  # for it to say which meter it knows
ONCE_PATIENCE_S = 240.0  # a scan over every duration takes 140 s, a join up to 60 s


def run_loop(settings: Settings, sensors: Sensors, *, stop: StopSignal) -> int:
    """Poll until *stop*; return 0. Raises: StartError: it cannot begin."""
    notifier = Notifier()
    with wired(settings, sensors, stop=stop, notifier=notifier, on_round=_FirstReading()) as parts:
        logger.info("polling %s every %d s", settings.route_b.device, settings.route_b.interval_s)
        notifier.ready()
        parts.poller.run()
        notifier.stopping()
        logger.info("asked to stop: ending the session")
    return 0


class _FirstReading:
    """Hears of each round that is on disk, and says of the first with a reading that all is well."""

    def __init__(self) -> None:
        self._is_said = False

    def __call__(self, stored: Round) -> None:
        power = next((row for row in stored.rows if isinstance(row, PowerRow) and row.power_w is not None), None)
        if power is not None and not self._is_said:
            self._is_said = True
            logger.info("first reading: %d W, stored", power.power_w)


def run_once(settings: Settings, sensors: Sensors, *, stop: StopSignal, patience_s: float = ONCE_PATIENCE_S) -> int:
    """Take one round, print it and end the session; return 0 if the meter was read and PostgreSQL has it all, else 1.

    The reason for a 1 is printed; the round is on disk then, and delivered by the next run. Also 0: asked to stop.
    Raises: StartError: it cannot begin.
    """
    rounds: list[Round] = []
    with wired(settings, sensors, stop=stop, on_round=rounds.append) as parts:
        parts.session.run_until_up(parts.clock.monotonic() + patience_s)
        now = parts.clock.now().replace(microsecond=0)
        power = parts.poller.take_round(now, patience_s=3 * settings.route_b.timeout_s)
        parts.duties.read_clock(parts.clock.monotonic() + settings.route_b.timeout_s)
        parts.poller.close()
        _print(rounds)
        parts.duties.conclude(parts.clock.monotonic() + CONCLUDE_S, should_stop=stop.requested)
        is_delivered = parts.delivery.wait_until_drained(ONCE_DELIVERY_S, should_stop=stop.requested)
        problems = [] if power is not None else [f"the meter was not read: {_reason(parts.session, parts.poller)}"]
        if not is_delivered:
            problems.append(_undelivered(parts, settings, is_stopped=stop.requested()))
    for problem in problems:
        print(f"power_consumption.py: {problem}", file=sys.stderr)
    return 1 if problems and not stop.requested() else 0


def _print(rounds: Sequence[Round]) -> None:
    """Print the readings, a line each."""
    for stored in rounds:
        for row in stored.rows:
            if not isinstance(row, EnergyRow | MeterRow | RadioEventRow):
                print(f"{row.measured_at.astimezone():%Y-%m-%d %H:%M:%S}  {shown(row)}", flush=True)


def _undelivered(parts: Parts, settings: Settings, *, is_stopped: bool) -> str:
    too_late = "asked to stop" if is_stopped else f"PostgreSQL has not taken it within {ONCE_DELIVERY_S:.0f} s"
    why = parts.delivery.unreachable_reason or too_late
    if parts.outbox.rounds_in_memory:
        return f"the round is in no safe place: {why}; {parts.outbox.error}"
    return f"the round waits in {settings.storage.data_dir} for the next run: {why}"


def _reason(session: Session, poller: Poller) -> str:
    if session.up:
        return poller.last_failure or "it gave no answer"
    return session.down_reason
