"""python -m skstack.simulator: the simulated module on a pseudo terminal."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pseudo_terminal import ANNOUNCE, STOP, serve, signals_as_bytes, terminal_at
from skstack.echonet.device import JST
from skstack.simulator.household import DAY_S, Household
from skstack.simulator.meter import SimulatedMeter
from skstack.simulator.models import INSTANT, MODELS, REALISTIC
from skstack.simulator.module import SimulatedModule
from skstack.simulator.options import TEST_PASSWORD, TEST_ROUTE_B_ID, MeterOptions

_REMEMBERED_DAYS = 120  # more than the meter's history is deep


def build_parser() -> argparse.ArgumentParser:
    """Return the command line of the simulator."""
    parser = argparse.ArgumentParser(
        prog="python -m skstack.simulator",
        description="A simulated Wi-SUN module and smart meter on a pseudo-terminal. "
        "SIGUSR1 makes the meter send its half-hour notification at once; SIGTERM or Ctrl-C ends it.",
    )
    parser.add_argument("--link", type=Path, required=True, metavar="PATH", help="symbolic link to the terminal")
    parser.add_argument("--model", choices=sorted(MODELS), default="BP35C2", help="the module (default %(default)s)")
    parser.add_argument("--binary", action="store_true", help="WOPT 00 at the start: payloads as raw bytes")
    parser.add_argument("--instant", action="store_true", help="no waiting for scans, joins and responses")
    parser.add_argument("--solar", action="store_true", help="a house with solar panels")
    parser.add_argument("--second-generation", action="store_true", help="a meter with C0, D0, EE and EF")
    parser.add_argument("--no-d3", action="store_true", help="a meter without a coefficient")
    parser.add_argument("--no-export", action="store_true", help="a meter that does not measure what is sold")
    parser.add_argument("--two-wire", action="store_true", help="a meter without a T phase")
    parser.add_argument("--infc", action="store_true", help="notifications that want a response (INFC)")
    parser.add_argument(
        "--unit", metavar="HEX", type=lambda text: int(text, 16), default=0x01, help="unit code E1 (default 01)"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=1, help="another number, another household")
    parser.add_argument(
        "--id", default=TEST_ROUTE_B_ID, help="the Route-B ID the meter accepts (default: a test value)"
    )
    parser.add_argument("--password", default=TEST_PASSWORD, help="the password it accepts (default: a test value)")
    parser.add_argument(
        "--start", metavar="TIME", type=datetime.fromisoformat, help="where to begin, ISO; Japan time by default"
    )
    return parser


def build_module(args: argparse.Namespace, start: float) -> SimulatedModule:
    """Return the module that the command line *args* describe, with a past of 120 days before *start*."""
    household = Household.typical(seed=args.seed, solar=args.solar, since=start - _REMEMBERED_DAYS * DAY_S)
    options = MeterOptions(
        unit_code=args.unit,
        lacks=frozenset({0xD3} if args.no_d3 else ()),
        measures_export=not args.no_export,
        second_generation=args.second_generation,
        two_wire=args.two_wire,
        confirmed_notifications=args.infc,
        route_b_id=args.id,
        password=args.password,
    )
    return SimulatedModule(
        SimulatedMeter(household, options),
        model=MODELS[args.model],
        hex_payload=not args.binary,
        timing=INSTANT if args.instant else REALISTIC,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the simulator until a signal; return the exit code."""
    args = build_parser().parse_args(argv)
    start = time.time() if args.start is None else _moment(args.start)
    ahead_s = start - time.monotonic()  # the wall clock may be set back, the module's must not
    try:
        with terminal_at(args.link) as master_fd:
            stop_fd = signals_as_bytes({signal.SIGTERM: STOP, signal.SIGINT: STOP, signal.SIGUSR1: ANNOUNCE})
            module = build_module(args, start)
            sys.stdout.write(f"{args.model} at {args.link}\n")
            sys.stdout.flush()
            serve(module, master_fd, stop_fd=stop_fd, now=lambda: time.monotonic() + ahead_s, announce=module.announce)
    except OSError as error:
        sys.stderr.write(f"cannot serve {args.link}: {error.strerror}\n")
        return 1
    return 0


def _moment(when: datetime) -> float:
    return (when if when.tzinfo else when.replace(tzinfo=JST)).timestamp()


if __name__ == "__main__":
    raise SystemExit(main())
