"""The two ways to poll: for ever, or once."""

from __future__ import annotations

import logging
import sys

from poller.loop import Poller
from poller.notify import Notifier
from poller.stop import StopSignal
from poller.wiring import Sensors, wired
from settings import Settings
from skstack.session import Session

logger = logging.getLogger(__name__)

ONCE_PATIENCE_S = 240.0  # a scan over every duration takes 140 s, a join up to 60 s


def run_loop(settings: Settings, sensors: Sensors) -> int:
    """Poll until SIGTERM or Ctrl-C; return 0. Raises: StartError: it cannot begin."""
    stop = StopSignal()
    stop.install()
    notifier = Notifier()
    with wired(settings, sensors, stop=stop) as parts:
        logger.info("polling %s every %d s", settings.route_b.device, settings.route_b.interval_s)
        notifier.ready()
        parts.poller.run()
        notifier.stopping()
        logger.info("asked to stop: ending the session")
    return 0


def run_once(settings: Settings, sensors: Sensors, *, patience_s: float = ONCE_PATIENCE_S) -> int:
    """Take one round, store it and end the session; return 0 if the meter was read, else 1 with the reason printed.

    Raises: StartError: it cannot begin.
    """
    stop = StopSignal()
    stop.install()
    with wired(settings, sensors, stop=stop, worker=False) as parts:
        parts.session.run_until_up(parts.clock.monotonic() + patience_s)
        now = parts.clock.now().replace(microsecond=0)
        power = parts.poller.take_round(now, patience_s=3 * settings.route_b.timeout_s)
        if power is None:
            print(
                f"power_consumption.py: the meter was not read: {reason(parts.session, parts.poller)}", file=sys.stderr
            )
            return 1
    return 0


def reason(session: Session, poller: Poller) -> str:
    """Say why there is no reading."""
    if session.up:
        return poller.last_failure or "it gave no answer"
    return str(session.ladder.last_error or session.link.why_silent)
