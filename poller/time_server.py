"""Whether this machine's clock follows a time server: the kernel says so, or, where that is refused, systemd."""

from __future__ import annotations

import ctypes
import os.path
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

# Nobody vouches for a clock whose error may be this large. The kernel begins with it and returns to it when the clock
# is set by hand; daemons lower it (timesyncd, ntpd; chronyd too where its configuration lacks rtcsync and the flag
# STA_UNSYNC therefore stays), and it grows by 0.5 ms a second: a daemon that is gone counts for nine more hours.
# Source: Linux, kernel/time/ntp.c, NTP_PHASE_LIMIT; systemd, src/timedate/timedated.c; chrony, sys_timex.c.
UNSYNCHRONISED_US = 16_000_000

TIMESYNCD_MARK = Path("/run/systemd/timesync/synchronized")  # made when it has set the clock: systemd-timesyncd(8)
TIMEDATED = ("timedatectl", "show", "--property=NTPSynchronized", "--value")
_TIMEDATED_S = 2.0
_QUERY_AGAIN_S = 120.0
_TIMEX_BYTES = 512  # struct timex has at most 208


_LIBC = ctypes.CDLL(None)


class _Timex(ctypes.Structure):
    """The head of struct timex; *modes* 0 only reads, which needs no privilege. Source: adjtimex(2)."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("rest", ctypes.c_char * _TIMEX_BYTES),
    )


def kernel_max_error_us() -> int | None:
    """Return how far off the kernel's clock may be, as the daemon that steers it says, in microseconds.

    None: the call is refused (a seccomp filter such as systemd's ProtectClock=).
    """
    timex = _Timex()
    state = _LIBC.adjtimex(ctypes.byref(timex))
    return None if state < 0 else int(timex.maxerror)


def timedated_says_so() -> bool:
    """Query systemd-timedated over D-Bus; False also where there is none."""
    try:
        done = subprocess.run(TIMEDATED, capture_output=True, text=True, timeout=_TIMEDATED_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.stdout.strip() == "yes"


class TimeServer:
    """Knows whether a time server sets this machine's clock. Works inside the sandbox of the systemd unit.

    The parameters stand in for the machine in tests.
    """

    def __init__(
        self,
        *,
        max_error_us: Callable[[], int | None] = kernel_max_error_us,
        mark: Path = TIMESYNCD_MARK,
        timedated: Callable[[], bool] = timedated_says_so,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_error_us = max_error_us
        self._mark = mark
        self._timedated = timedated
        self._monotonic = monotonic
        self._query_at = float("-inf")
        self._is_followed = False

    def is_followed(self) -> bool:
        """Whether the clock follows a time server; where the kernel does not say, systemd is queried now and then."""
        error_us = self._max_error_us()
        if error_us is not None:
            return error_us < UNSYNCHRONISED_US
        if self._monotonic() >= self._query_at:
            self._query_at = self._monotonic() + _QUERY_AGAIN_S
            self._is_followed = os.path.exists(self._mark) or self._timedated()  # unlike Path.exists, never raises
        return self._is_followed
