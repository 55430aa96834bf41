"""The process and who runs it: the signals that end it, its log, and what systemd is notified of.

Source: systemd 252, sd_notify(3) and sd_watchdog_enabled(3), sd-daemon(3).
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
from collections.abc import Mapping
from types import FrameType

logger = logging.getLogger(__name__)

# A line that begins with <n> has the syslog priority n.
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


# --- signals


class StopSignal:
    """Set by the first SIGTERM, SIGINT or SIGHUP; a second SIGINT ends the process at once, as people expect.

    A file descriptor ends a wait; nothing is interrupted half-way.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._requested = False

    def install(self) -> None:
        """Take over the three signals. From the main thread only."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # the terminal goes; nohup wants us to stay
            signal.signal(signal.SIGHUP, self._on_signal)

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when a signal comes; the reader drains it."""
        return self._reader

    def requested(self) -> bool:
        """Whether the poller is to end."""
        return self._requested

    def sleep(self, seconds: float) -> None:
        """Wait, unless a signal comes."""
        if select.select([self._reader], [], [], max(0.0, seconds))[0]:
            os.read(self._reader, 4096)

    def request(self) -> None:
        """Let the poller end."""
        self._requested = True
        try:
            os.write(self._writer, b"\0")
        except BlockingIOError:  # the pipe is full of earlier wake-ups: one more says nothing new
            return

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._requested and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        self.request()


# --- the log


class JournalFormatter(logging.Formatter):
    """Begins each line with its priority; the journal has the time itself."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as lines for the journal, of a traceback each with the priority."""
        priority = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(priority + line for line in super().format(record).splitlines())


def configure_log(*, verbose: bool) -> None:
    """Log to standard error: with priorities where that is the journal, else with the time for a person."""
    handler = logging.StreamHandler()
    stderr = os.fstat(2)
    # A terminal that systemd started hands its own on. Source: systemd.exec(5), $JOURNAL_STREAM.
    if os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}":
        handler.setFormatter(JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if verbose else logging.INFO)


# --- systemd


class Notifier:
    """An sd_notify client: one datagram of NAME=value lines a call. Without systemd it notifies nobody.

    No call ever raises or blocks: polling matters more than the supervisor's picture of it.
    """

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
