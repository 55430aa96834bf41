"""Notify systemd how the poller is doing: ready, a line of status, alive, stopping.

Source: systemd 252, sd_notify(3) and sd_watchdog_enabled(3). The protocol is one datagram of NAME=value lines, so no
library is needed. Outside of systemd every call does nothing, and no call ever raises or blocks: polling matters
more than the supervisor's picture of it.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

logger = logging.getLogger(__name__)


class Notifier:
    """An sd_notify client; without systemd it tells nobody."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Take the socket and the watchdog's interval from *environ*, as systemd sets them."""
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._failures = 0
        self.watchdog_interval_s = _watchdog_interval_s(environ)
        """Seconds after which systemd restarts a service it has not heard from; None: nobody watches.

        Call watchdog() about twice in that time, and only while all is well.
        """

    def ready(self) -> None:
        """Say that start-up is over."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Show *text* in `systemctl status`. Only its first line is kept: another would be another message."""
        first_line, *_ = text.splitlines() or [""]
        self._send(f"STATUS={first_line}")

    def watchdog(self) -> None:
        """Say that the poller is alive and healthy."""
        if self.watchdog_interval_s is not None:
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that shutting down has begun."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(state.encode("utf-8", "replace"), self._address)
        except OSError as err:
            self._failures += 1
            # Once is enough: the next call comes within a minute and most likely fails alike.
            level = logging.WARNING if self._failures == 1 else logging.DEBUG
            logger.log(level, "systemd could not be notified of %s: %s", state, err)


def _address(notify_socket: str) -> bytes | None:
    """Return the socket's name as the kernel takes it; None: there is none, or it is not a Unix socket."""
    if notify_socket.startswith("/"):
        return os.fsencode(notify_socket)
    if notify_socket.startswith("@"):  # the abstract namespace
        return b"\0" + os.fsencode(notify_socket[1:])
    if notify_socket:
        logger.warning("NOTIFY_SOCKET is neither a path nor an abstract name: systemd will not be notified")
    return None


def _watchdog_interval_s(environ: Mapping[str, str]) -> float | None:
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None  # meant for our parent, whose environment we inherited
    try:
        interval_s = int(environ.get("WATCHDOG_USEC", "0")) / 1_000_000
    except (ValueError, OverflowError):
        return None
    return interval_s if interval_s > 0 else None
