"""The poller: reads the meter and the room's sensors, and keeps every reading in PostgreSQL.

Exit codes: 0 done, or ended by a signal; 1 something failed and the message says what; 2 wrong usage or settings.
"""

from __future__ import annotations

import argparse
import sys

import help_ja
import script
from help_ja import text as _
from version import VERSION

TYPE_CHECKING = False  # as in typing, which takes longer to import than argparse
if TYPE_CHECKING:
    from collections.abc import Sequence


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    from poller.sources import SENSORS

    parser = argparse.ArgumentParser(
        prog="power_consumption.py",
        description=_("Read a smart meter over its B-route every minute and store the readings in PostgreSQL."),
        epilog=_("exit codes: 0 done, 1 something failed and the message says what, 2 wrong usage or settings"),
    )
    parser.add_argument("--config", metavar="FILE", help=_("settings file (default: ./power_consumption.ini)"))
    for sensor in SENSORS:
        parser.add_argument(sensor.short, sensor.flag, action="store_true", help=_(sensor.says))
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--once", action="store_true", help=_("take one round of readings, store and print it, then exit (for cron)")
    )
    mode.add_argument("--check", action="store_true", help=_("try every part and report what to do about each failure"))
    mode.add_argument(
        "--upgrade-database",
        action="store_true",
        help=_("bring the embedded database to the newest major version that the installed wheel ships"),
    )
    mode.add_argument("--demo", action="store_true", help=_("run a simulated day, without hardware, and draw it"))
    parser.add_argument("-v", "--verbose", action="store_true", help=_("log in detail (secrets stay masked)"))
    parser.add_argument(
        "--version",
        action="version",
        version=f"%(prog)s {VERSION}",
        help=_("show program's version number and exit"),
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the poller with the arguments *argv*; return the exit code."""
    extras = "poller,graph,embedded" if "--demo" in (sys.argv if argv is None else argv) else "poller"
    return script.run("power_consumption.py", lambda: _main(argv), extras=extras)


def _main(argv: Sequence[str] | None) -> int:
    help_ja.install()
    arguments = make_parser().parse_args(argv)
    from poller.process import configure_log  # here and below: after the arguments, so that -h does not wait for it

    configure_log(verbose=arguments.verbose)
    if arguments.demo:
        return _demo()
    return _upgrade(arguments.config) if arguments.upgrade_database else _run(arguments)


def _demo() -> int:
    import power_graph
    import temp_graph
    from poller.demo import run_demo

    return run_demo({"power": power_graph.picture, "temp": temp_graph.picture})


def _upgrade(config: str | None) -> int:
    from pathlib import Path

    from poller.app import only_poller
    from settings import SettingsError, load_for_graphs
    from storage.embedded import EmbeddedServer
    from storage.embedded.upgrade import upgrade

    settings = load_for_graphs(Path(config) if config is not None else None)
    if settings.database.url is not None:
        raise SettingsError("[database] url names a server of your own: upgrade that as its own manual says")
    with only_poller(settings.storage.data_dir):
        upgrade(EmbeddedServer(settings.storage.data_dir), say=print)
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from poller.process import StopSignal

    stop = StopSignal()
    stop.install()  # before the heavy imports: a signal during the start ends it as well

    from poller.app import run_loop
    from poller.once import run_once
    from poller.sources import SENSORS
    from settings import DEFAULT_FILE, load

    sensors = [sensor for sensor in SENSORS if getattr(arguments, sensor.name)]
    file = Path(arguments.config) if arguments.config is not None else DEFAULT_FILE
    settings = load(file)
    if arguments.check:
        from poller.check import run_check

        return run_check(settings, sensors, file=file, stop=stop)
    run = run_once if arguments.once else run_loop
    return run(settings, sensors, stop=stop)


if __name__ == "__main__":
    sys.exit(main())
