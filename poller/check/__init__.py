"""--check: tries every part in order and reports, with what to do about a failure.

It does what the poller does at its start, and takes one reading that it does not store. Whatever happens, the session
is ended and the port closed. Where a poller is running, the radio and the sensors are left to that one.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from poller.app import AnotherPollerError, only_poller
from poller.check.database import DatabaseCheck, check_data_dir
from poller.check.radio import RadioCheck
from poller.check.report import CheckFailedError, Part, Report
from poller.clock import Clock, SystemClock
from poller.once import shown
from poller.process import StopSignal
from poller.sensing import Source
from poller.sources import SENSORS, Sensor
from settings import Settings, SettingsError
from skstack import StoppedError
from storage.connection import secrets_of
from version import VERSION

_FREE = "running poller"


def run_check(settings: Settings, sensors: Sequence[Sensor], *, file: Path, stop: StopSignal) -> int:
    """Try every part and print a report; return 1 if a part failed, 0 too where a signal ended it.

    *file*: where the settings come from, to be named. Nothing secret is printed.
    """
    clock, route_b = Clock(SystemClock(stop.sleep)), settings.route_b
    secrets = (route_b.id, route_b.id[-8:], route_b.password, *secrets_of(settings.database.url or ""))
    report = Report(sys.stdout, secrets=secrets, should_stop=stop.requested, monotonic=clock.monotonic)
    report.say(f"power_consumption.py {VERSION} --check at {clock.now().astimezone():%Y-%m-%d %H:%M:%S %z}")
    report.say(f"Python {platform.python_version()}, {platform.system()} {platform.release()} {platform.machine()}")
    found = f"{file}: a reading every {route_b.interval_s} s, for site {settings.storage.site!r}"
    try:
        with report.gathered_log(), ExitStack() as stack:
            # That the settings are right was seen when they were loaded.
            report.take(Part("settings", lambda: found, ""))
            report.take(
                Part(_FREE, partial(_lock, settings, stack), "stop it first", stands_for="the running poller uses it")
            )
            report.take(Part("data directory", lambda: check_data_dir(settings, report), "let this user write there"))
            with closing(RadioCheck(settings, report, clock, stop)) as radio:
                report.take(*radio.parts(needs=(_FREE,)))
            _try_sensors([sensor.source(settings) for sensor in sensors], report, clock)
            with closing(DatabaseCheck(settings, clock)) as database:
                report.take(*database.parts())
    except StoppedError:
        report.say("stopped: what is not listed was not tried")
        return 0
    count = "one part" if len(report.crosses) == 1 else f"{len(report.crosses)} parts"
    failed = f"{count} failed: {', '.join(report.crosses)}"
    report.say(failed if report.crosses else f"all {report.ticks} parts are fine")
    return 1 if report.crosses else 0


def _lock(settings: Settings, stack: ExitStack) -> str:
    """Keep other pollers away while we try the radio."""
    try:
        is_seen = stack.enter_context(only_poller(settings.storage.data_dir))
    except AnotherPollerError as error:
        raise CheckFailedError(
            "another poller is running, so the radio and the sensors are left to it",
            "to try them too, stop it first (as a service: sudo systemctl stop power-consumption), then check again",
        ) from error
    except SettingsError:  # the part of the data directory says what is wrong with it
        is_seen = False
    return "none with this data directory" if is_seen else "whether there is one cannot be seen"


def _try_sensors(wanted: Sequence[Source], report: Report, clock: Clock) -> None:
    if not wanted:
        report.skip("sensors", f"none asked for ({', '.join(sensor.short for sensor in SENSORS)})")
    for source in wanted:
        needs = () if source.is_shared else (_FREE,)
        with closing(source):
            report.take(Part(source.name, partial(_read, source, clock), "check its wiring", needs))


def _read(source: Source, clock: Clock) -> str:
    return shown(source.read(clock.now()))
