"""The poller: reads the meter and the room's sensors, and keeps every reading in PostgreSQL.

Exit codes: 0 done, or ended by a signal; 1 something failed and the message says what; 2 wrong usage or settings.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from poller.version import VERSION


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="power_consumption.py",
        description="Read a smart meter over its B-route every minute and keep the record in PostgreSQL.",
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="settings file (default: ./power_consumption.ini)")
    parser.add_argument("-t", "--temp", action="store_true", help="also log the CPU temperature")
    parser.add_argument("-c", "--co2", action="store_true", help="also log an MH-Z19 CO2 sensor")
    parser.add_argument("-b", "--bme280", action="store_true", help="also log a BME280")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--once", action="store_true", help="take one round of readings, store it and exit (for cron)")
    mode.add_argument("--check", action="store_true", help="try every part and report, with what to do about a failure")
    mode.add_argument("--demo", action="store_true", help="run a simulated day, without hardware, and draw it")
    parser.add_argument("-v", "--verbose", action="store_true", help="log in detail (secrets stay masked)")
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the poller with the arguments *argv*; return the exit code."""
    arguments = make_parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if arguments.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    try:
        if arguments.demo:
            import power_graph
            import temp_graph
            from poller.demo import run_demo

            return run_demo({"power": power_graph.picture, "temp": temp_graph.picture})
        return _run(arguments)
    except ImportError as error:
        extra = "poller,graph,embedded" if arguments.demo else "poller"
        print(f"power_consumption.py: {error.name} is missing: run pip install '.[{extra}]'", file=sys.stderr)
        return 2


def _run(arguments: argparse.Namespace) -> int:
    from poller.wiring import Sensors, StartError
    from settings import SettingsError, load

    sensors = Sensors(temperature=arguments.temp, co2=arguments.co2, bme280=arguments.bme280)
    try:
        settings = load(arguments.config)
        if arguments.check:
            from poller.check import run_check

            return run_check(settings, sensors)
        from poller.running import run_loop, run_once

        return run_once(settings, sensors) if arguments.once else run_loop(settings, sensors)
    except SettingsError as error:
        print(f"power_consumption.py: {error}", file=sys.stderr)
        return 2
    except StartError as error:
        print(f"power_consumption.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
