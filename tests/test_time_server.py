"""Whether the machine follows a time server is found out: with every daemon, and inside the sandbox of the unit."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from ctypes.util import find_library
from pathlib import Path

import pytest

from poller import time_server
from poller.time_server import TimeServer, kernel_max_error_us, timedated_says_so

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "docs" / "systemd" / "power-consumption.service"

needs_seccomp = pytest.mark.skipif(
    find_library("seccomp") is None or shutil.which("systemd-analyze") is None,
    reason="libseccomp and systemd-analyze are not both on this machine",
)


def server(
    tmp_path: Path,
    error_us: int | None,
    *,
    timedated: Callable[[], bool] = lambda: False,
    monotonic: Callable[[], float] = lambda: 0.0,
) -> TimeServer:
    return TimeServer(max_error_us=lambda: error_us, mark=tmp_path / "mark", timedated=timedated, monotonic=monotonic)


@pytest.mark.parametrize(
    ("said_by", "error_us", "is_followed"),
    [
        ("the kernel at its start, and after the clock was set by hand", 16_000_000, False),
        ("timesyncd at a synchronisation", 0, True),
        ("timesyncd half an hour after one, at 500 ppm", 1_024_000, True),
        ("chronyd, with rtcsync or without", 17_288, True),
        ("chronyd whose sources are lost", 16_000_000, False),
        ("a daemon that ended 32,000 s ago, less one", 15_999_500, True),
    ],
)
def test_the_kernels_largest_error_shows_whether_its_clock_is_steered(
    tmp_path: Path, said_by: str, error_us: int, is_followed: bool
) -> None:
    """STA_UNSYNC does not decide it: chronyd leaves it set unless it has rtcsync.

    Source: Linux, kernel/time/ntp.c: 500 us are added each second, up to NTP_PHASE_LIMIT, 16 s; settimeofday(2) sets
    it to that. chrony, sys_timex.c; systemd, src/timedate/timedated.c, which reads it in the same way.
    """
    assert server(tmp_path, error_us).is_followed() == is_followed, said_by


def test_where_the_kernel_responds_nobody_else_is_queried(tmp_path: Path) -> None:
    (tmp_path / "mark").touch()
    assert not server(tmp_path, 16_000_000, timedated=lambda: True).is_followed()


def test_where_the_kernel_refuses_timesyncds_mark_decides(tmp_path: Path) -> None:
    asked = server(tmp_path, None)
    assert not asked.is_followed()
    (tmp_path / "mark").touch()
    assert server(tmp_path, None).is_followed()


def test_where_the_kernel_refuses_and_timesyncd_is_not_used_timedated_decides(tmp_path: Path) -> None:
    assert server(tmp_path, None, timedated=lambda: True).is_followed()


def test_systemd_is_queried_every_two_minutes_at_most(tmp_path: Path) -> None:
    now_s, asked = [0.0], []

    def timedated() -> bool:
        asked.append(now_s[0])
        return now_s[0] >= 240.0

    followed = server(tmp_path, None, timedated=timedated, monotonic=lambda: now_s[0])
    told = []
    for now_s[0] in (0.0, 60.0, 119.0, 120.0, 230.0, 240.0, 250.0):
        told.append(followed.is_followed())
    assert asked == [0.0, 120.0, 240.0]
    assert told == [False, False, False, False, False, True, True]


@pytest.mark.parametrize(
    ("script", "says_so"),
    [
        ("echo yes", True),
        ("echo no", False),
        ("echo Failed to connect to bus >&2; exit 1", False),
        ("exec sleep 60", False),
    ],
)
def test_timedated_is_queried_through_timedatectl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, says_so: bool
) -> None:
    """A bus that hangs costs two seconds."""
    program = tmp_path / "timedatectl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert timedated_says_so() == says_so


def test_a_machine_without_timedatectl_is_none_that_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not timedated_says_so()


# --- under the seccomp filter that systemd would apply

_UNDER_FILTER = """
import ctypes, json, sys
from ctypes.util import find_library
import poller.time_server as asked

errno, names = json.loads(sys.argv[1])
seccomp = ctypes.CDLL(find_library("seccomp"))
seccomp.seccomp_init.restype = ctypes.c_void_p
context = ctypes.c_void_p(seccomp.seccomp_init(0x00050000 | errno))  # SCMP_ACT_ERRNO for all that is not named
for name in names:
    number = seccomp.seccomp_syscall_resolve_name(name.encode())
    if number >= 0:
        assert seccomp.seccomp_rule_add(context, 0x7FFF0000, number, 0) == 0  # SCMP_ACT_ALLOW
assert seccomp.seccomp_load(context) == 0
server = asked.TimeServer(mark=__import__("pathlib").Path(sys.argv[2]))
print(json.dumps([asked.kernel_max_error_us(), server.is_followed()]))
"""


def filter_set(*names: str) -> set[str]:
    """Return the system calls of systemd's sets, and those that are named themselves."""
    calls = {name for name in names if not name.startswith("@")}
    for name in set(names) - calls:
        listed = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, timeout=60)
        inner = [line.strip() for line in listed.stdout.splitlines()[1:] if line.strip() and "#" not in line]
        calls |= filter_set(*inner)
    return calls


def allowed_calls(unit: str) -> set[str]:
    """Return what the unit's filter lets through. Source: systemd.exec(5), SystemCallFilter= and ProtectClock=."""
    calls: set[str] = set()
    for value in re.findall(r"^SystemCallFilter=(.*)$", unit, re.MULTILINE):
        if value.startswith("~"):
            calls -= filter_set(*value[1:].split())
        else:
            calls |= filter_set(*value.split())
    if "\nProtectClock=yes\n" in unit:
        calls -= filter_set("@clock")
    return calls


def asked_under(calls: set[str], mark: Path, *, errno: int = 1) -> tuple[int | None, bool]:
    """Return the kernel's largest error and whether a server is followed, as found under a filter."""
    command = [sys.executable, "-c", _UNDER_FILTER, json.dumps([errno, sorted(calls)]), str(mark)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert told.returncode == 0, told.stderr
    error_us, is_followed = json.loads(told.stdout)
    return error_us, is_followed


@needs_seccomp
def test_the_kernel_can_be_queried_under_the_filter_of_the_unit(tmp_path: Path) -> None:
    """Source: systemd issue 26413: ProtectClock= refuses adjtimex also to those who only read."""
    if kernel_max_error_us() is None:
        pytest.skip("the kernel refuses already here, as some containers do")
    error_us, _ = asked_under(allowed_calls(UNIT.read_text(encoding="utf-8")), tmp_path / "mark")
    assert error_us is not None
    assert 0 <= error_us <= time_server.UNSYNCHRONISED_US


@needs_seccomp
@pytest.mark.parametrize("errno", [1, 38], ids=["EPERM", "ENOSYS"])
def test_a_filter_that_refuses_leaves_timesyncds_mark_in_reach(tmp_path: Path, errno: int) -> None:
    """So it is under the unit of version 1.0, and in containers."""
    mark = tmp_path / "mark"
    mark.touch()
    calls = allowed_calls(UNIT.read_text(encoding="utf-8") + "\nProtectClock=yes\n")
    assert asked_under(calls, mark, errno=errno) == (None, True)
