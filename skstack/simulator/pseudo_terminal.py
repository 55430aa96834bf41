"""The simulated module on a pseudo terminal, for any program that wants a serial port: python -m skstack.simulator."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import sys
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType

from skstack.simulator.devices import Device
from skstack.simulator.household import DAY_S, Household
from skstack.simulator.meter import MeterOptions, SimulatedMeter
from skstack.simulator.models import INSTANT, MODELS, REALISTIC, TEST_PASSWORD, TEST_ROUTE_B_ID, Credentials
from skstack.simulator.module import SimulatedModule
from skstack.simulator.registers import JAPAN

_REMEMBERED_DAYS = 120  # more than the meter's history is deep
_LONGEST_WAIT_S = 60.0
_CHUNK_BYTES = 4096
_STOP, _ANNOUNCE = b"q", b"a"


def serve(device: Device, master_fd: int, *, stop_fd: int, now: Callable[[], float]) -> None:
    """Carry bytes between *device* and a pseudo terminal until *stop_fd* is readable.

    A byte "a" read from *stop_fd* lets a module's meter announce its half-hour values; any other ends the loop.
    The other end may be closed and opened again: what the device prints meanwhile waits in the terminal, and is dropped
    when it is full, as on a real line that nobody reads.
    """
    poll = select.poll()
    if device.reads:
        poll.register(master_fd, select.POLLIN)
    poll.register(stop_fd, select.POLLIN)
    while True:
        output = device.take_output(now())
        if output:
            with contextlib.suppress(BlockingIOError):
                os.write(master_fd, output)
        next_at = device.next_output_at()
        wait_s = _LONGEST_WAIT_S if next_at is None else min(max(next_at - now(), 0.0), _LONGEST_WAIT_S)
        ready = dict(poll.poll(wait_s * 1000))
        if stop_fd in ready:
            if os.read(stop_fd, 1) != _ANNOUNCE:
                return
            if isinstance(device, SimulatedModule):
                device.announce(now())
        if master_fd in ready:
            device.receive(os.read(master_fd, _CHUNK_BYTES), now())


@contextlib.contextmanager
def pseudo_terminal(link: Path) -> Iterator[int]:
    """Open a raw pseudo terminal, let *link* point to it, and yield the module's end; remove the link afterwards.

    Raises: OSError: *link* is there and is no symbolic link, or cannot be made.
    """
    master_fd, slave_fd = os.openpty()
    try:
        # The slave stays open here as well, so that a client may come and go without a hang-up.
        tty.setraw(slave_fd)
        os.set_blocking(master_fd, False)
        if link.is_symlink():
            link.unlink()
        link.symlink_to(os.ttyname(slave_fd))
        try:
            yield master_fd
        finally:
            with contextlib.suppress(FileNotFoundError):
                link.unlink()
    finally:
        os.close(master_fd)
        os.close(slave_fd)


def build_parser() -> argparse.ArgumentParser:
    """Return the command line of the simulator."""
    parser = argparse.ArgumentParser(
        prog="python -m skstack.simulator",
        description="A Wi-SUN module and a smart meter that are not there, on a pseudo terminal. "
        "SIGUSR1 lets the meter announce its half-hour values at once; SIGTERM or Ctrl-C ends it.",
    )
    parser.add_argument("--link", type=Path, required=True, metavar="PATH", help="symbolic link to the terminal")
    parser.add_argument("--model", choices=sorted(MODELS), default="BP35C2", help="the module (default %(default)s)")
    parser.add_argument("--binary", action="store_true", help="WOPT 00 at the start: payloads as raw bytes")
    parser.add_argument("--instant", action="store_true", help="no waiting for scans, joins and answers")
    parser.add_argument("--solar", action="store_true", help="a house with solar panels")
    parser.add_argument("--second-generation", action="store_true", help="a meter with C0, D0, EE and EF")
    parser.add_argument("--no-d3", action="store_true", help="a meter without a coefficient")
    parser.add_argument("--no-export", action="store_true", help="a meter that does not measure what is sold")
    parser.add_argument("--two-wire", action="store_true", help="a meter without a T phase")
    parser.add_argument("--infc", action="store_true", help="announcements that want an answer")
    parser.add_argument("--unit", type=lambda text: int(text, 16), default=0x01, help="unit code E1, hex (default 01)")
    parser.add_argument("--seed", type=int, default=1, help="another number, another household")
    parser.add_argument(
        "--id", default=TEST_ROUTE_B_ID, help="the Route-B ID the meter accepts (default: a test value)"
    )
    parser.add_argument("--password", default=TEST_PASSWORD, help="the password it accepts (default: a test value)")
    parser.add_argument("--start", type=datetime.fromisoformat, help="the time to begin at, ISO; Japan time by default")
    return parser


def build_module(args: argparse.Namespace, start: float) -> SimulatedModule:
    """Return the module that the command line *args* ask for, with a past of 120 days before *start*."""
    household = Household.typical(seed=args.seed, solar=args.solar, since=start - _REMEMBERED_DAYS * DAY_S)
    options = MeterOptions(
        unit_code=args.unit,
        coefficient=None if args.no_d3 else 1,
        measures_export=not args.no_export,
        second_generation=args.second_generation,
        two_wire=args.two_wire,
        confirmed_notifications=args.infc,
    )
    return SimulatedModule(
        SimulatedMeter(household, options),
        model=MODELS[args.model],
        hex_payload=not args.binary,
        credentials=Credentials(args.id, args.password),
        timing=INSTANT if args.instant else REALISTIC,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the simulator until a signal; return the exit code."""
    args = build_parser().parse_args(argv)
    start = time.time() if args.start is None else _moment(args.start)
    begun = time.monotonic()  # the wall clock may be set back, the module's must not
    try:
        with pseudo_terminal(args.link) as master_fd:
            stop_fd, signal_fd = os.pipe()
            _turn_signals_into_bytes(signal_fd)
            module = build_module(args, start)
            sys.stdout.write(f"{args.model} at {args.link}\n")
            sys.stdout.flush()
            serve(module, master_fd, stop_fd=stop_fd, now=lambda: start + time.monotonic() - begun)
    except OSError as error:
        sys.stderr.write(f"cannot serve {args.link}: {error.strerror}\n")
        return 1
    return 0


def _turn_signals_into_bytes(signal_fd: int) -> None:
    """Let a handler do no more than write a byte: all work is done in the loop."""
    meanings = {signal.SIGTERM: _STOP, signal.SIGINT: _STOP, signal.SIGUSR1: _ANNOUNCE}

    def handle(number: int, _frame: FrameType | None) -> None:
        os.write(signal_fd, meanings[signal.Signals(number)])

    for number in meanings:
        signal.signal(number, handle)


def _moment(when: datetime) -> float:
    return (when if when.tzinfo else when.replace(tzinfo=JAPAN)).timestamp()
