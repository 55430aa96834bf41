"""The two ways to poll: for ever, or once."""

from __future__ import annotations

import logging
import sys

from poller.loop import Poller
from poller.notify import Notifier
from poller.stop import StopSignal
from poller.wiring import Sensors, wired
from settings import Settings
from skstack import Session

logger = logging.getLogger(__name__)

ONCE_PATIENCE_S = 240.0  # a scan over every duration takes 140 s, a join up to 60 s


def run_loop(settings: Settings, sensors: Sensors, *, stop: StopSignal) -> int:
    """Poll until *stop*; return 0. Raises: StartError: it cannot begin."""
    notifier = Notifier()
    with wired(settings, sensors, stop=stop, notifier=notifier) as parts:
        logger.info("polling %s every %d s", settings.route_b.device, settings.route_b.interval_s)
        notifier.ready()
        parts.poller.run()
        notifier.stopping()
        logger.info("asked to stop: ending the session")
    return 0


def run_once(settings: Settings, sensors: Sensors, *, stop: StopSignal, patience_s: float = ONCE_PATIENCE_S) -> int:
    """Take one round, keep it and end the session; return 0 if the meter was read and the round is safe, else 1.

    Safe is in PostgreSQL, or in the spool while that is away. The reason for a 1 is printed.
    Raises: StartError: it cannot begin.
    """
    with wired(settings, sensors, stop=stop, worker=False) as parts:
        parts.session.run_until_up(parts.clock.monotonic() + patience_s)
        now = parts.clock.now().replace(microsecond=0)
        power = parts.poller.take_round(now, patience_s=3 * settings.route_b.timeout_s)
        parts.duties.read_clock(parts.clock.monotonic() + settings.route_b.timeout_s)
        parts.poller.close()
        parts.duties.conclude()
        status = parts.store.status()
        if status.spool_error and status.waiting_rounds:
            return _failed(f"the round is lost: {status.away_reason}; {status.spool_error}")
        if power is None:
            why = "it was asked to stop" if stop.requested() else _reason(parts.session, parts.poller)
            return _failed(f"the meter was not read: {why}")
    return 0


def _failed(why: str) -> int:
    print(f"power_consumption.py: {why}", file=sys.stderr)
    return 1


def _reason(session: Session, poller: Poller) -> str:
    if session.up:
        return poller.last_failure or "it gave no answer"
    return session.down_reason
