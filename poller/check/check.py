"""--check: tries every part in order and reports, with what to do about a failure.

It does what the poller does at its start, and takes one reading that it does not store. Whatever happens, the session
is ended and the port closed. Where a poller is running, the radio and the sensors are left to that one.
"""

from __future__ import annotations

import os
import platform
import stat
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TextIO

from poller.check.database import DatabaseCheck, check_data_dir, secrets_of
from poller.check.radio import RadioCheck, RadioTimings
from poller.check.report import CheckFailedError, Part, Report, StoppedError
from poller.clock import Clock, SystemClock
from poller.parts import Sensors, StartError, only_poller, sources
from poller.sensing import Source
from poller.shown import shown
from poller.stop import StopSignal
from settings import Settings
from version import VERSION

_FREE = "running poller"


def run_check(
    settings: Settings,
    sensors: Sensors,
    *,
    file: Path | None = None,
    out: TextIO | None = None,
    stop: StopSignal | None = None,
    timings: RadioTimings | None = None,
) -> int:
    """Try every part and report to *out* (default: stdout); return 1 if a part failed, 0 too where a signal ended it.

    *file*: where the settings come from, to be named and looked at. Nothing secret is printed.
    """
    if stop is None:
        stop = StopSignal()
        stop.install()
    clock = Clock(SystemClock(stop.sleep))
    secrets = (settings.route_b.id, settings.route_b.id[-8:], settings.route_b.password)
    report = Report(
        out or sys.stdout,
        secrets=(*secrets, *secrets_of(settings.database.url)),
        should_stop=stop.requested,
        monotonic=clock.monotonic,
    )
    try:
        with report.gathered_log(), ExitStack() as stack:
            _try_all(settings, sensors, report, stack, file=file, clock=clock, stop=stop, timings=timings)
    except StoppedError:
        report.say("stopped: what is not listed was not tried")
        return 0
    report.say(_verdict(report))
    return 1 if report.crosses else 0


def _try_all(
    settings: Settings,
    sensors: Sensors,
    report: Report,
    stack: ExitStack,
    *,
    file: Path | None,
    clock: Clock,
    stop: StopSignal,
    timings: RadioTimings | None,
) -> None:
    """Try every part in order; *stack* takes what is to be closed at the end."""
    report.say(f"power_consumption.py {VERSION} --check at {clock.now().astimezone():%Y-%m-%d %H:%M:%S %z}")
    report.say(f"Python {platform.python_version()}, {platform.system()} {platform.release()} {platform.machine()}")
    alone = Part(_FREE, lambda: _lock(settings, stack), "stop it first", stands_for="the running poller uses it")
    with closing(RadioCheck(settings, report, clock=clock, stop=stop, timings=timings or RadioTimings())) as radio:
        _take_all(
            report,
            Part("settings", lambda: _settings(settings, file, report), "see power_consumption.ini-sample"),
            alone,
            Part("data directory", lambda: check_data_dir(settings, report), "let this user write there"),
            *radio.parts(needs=(_FREE,)),
        )
    _try_sensors(sources(settings, sensors), report, clock)
    with closing(DatabaseCheck(settings, clock)) as database:
        _take_all(report, *database.parts())


def _take_all(report: Report, *parts: Part) -> None:
    for part in parts:
        report.take(part)


def _settings(settings: Settings, file: Path | None, report: Report) -> str:
    """Describe what the rest of the report is about. That the values are right was seen when they were loaded."""
    if file is not None and _shows_secret(file, settings):
        report.remark(f"others on this machine can read the password: run chmod 600 {file}")
    where = "" if file is None else f"{file}: "
    return f"{where}a reading every {settings.route_b.interval_s} s, for site {settings.storage.site!r}"


def _shows_secret(file: Path, settings: Settings) -> bool:
    """Tell whether others can read *file*, and a password is in it."""
    try:
        readable = os.stat(file).st_mode & (stat.S_IRGRP | stat.S_IROTH)
        content = file.read_text("utf-8", "replace")
    except OSError:  # it was read a moment ago: whatever has happened since, it is not open to others
        return False
    passwords = (settings.route_b.password, *secrets_of(settings.database.url))
    return bool(readable) and any(password in content for password in passwords)


def _lock(settings: Settings, stack: ExitStack) -> str:
    """Keep other pollers away while we try the radio."""
    try:
        stack.enter_context(only_poller(settings.storage.data_dir))
    except StartError as error:
        raise CheckFailedError(
            "another poller is running, so the radio and the sensors are left to it",
            "to try them too, stop it first (as a service: sudo systemctl stop power-consumption), then check again",
        ) from error
    return "none with this data directory"


def _try_sensors(wanted: Sequence[Source], report: Report, clock: Clock) -> None:
    if not wanted:
        report.skip("sensors", "none asked for: -t, -c and -b add them")
    for source in wanted:
        is_shared = source.name == "CPU temperature"
        try:
            needs = () if is_shared else (_FREE,)
            report.take(Part(source.name, partial(_read, source, clock), "check its wiring", needs))
        finally:
            source.close()


def _read(source: Source, clock: Clock) -> str:
    return shown(source.read(clock.now()))


def _verdict(report: Report) -> str:
    if report.crosses:
        count = "one part" if len(report.crosses) == 1 else f"{len(report.crosses)} parts"
        return f"{count} failed: {', '.join(report.crosses)}"
    return f"all {report.ticks} parts are fine"
