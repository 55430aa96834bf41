"""An MH-Z19 for tests and the demo: bytes and a time go in, bytes come out when they are due.

The core does no I/O and owns no clock. Mhz19Port puts it where a serial port is expected, on any clock;
`python -m sensors.simulated_mhz19 --link PATH` puts it behind a pseudo-terminal, for a program that opens a device.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pseudo_terminal import STOP, serve, signals_as_bytes, terminal_at
from sensors.mhz19 import FRAME_BYTES, READ, READ_COMMAND, READ_SLICE_S, START, checksum

BYTE_S = 10 / 9600  # eight bits, start and stop bit at 9600 baud
RESPONSE_S = 0.02  # sensors were seen to respond within 15 to 120 ms
PUSH_EVERY_S = 1.0
WARM_UP_PPM = 410  # what a sensor in its warm-up was seen to repeat

# One frame of a look-alike, as an owner published it, and the greeting of a serial console.
LOOK_ALIKE_FRAME = bytes.fromhex("424d08d5089001c9012e0000e21102f2")
CONSOLE_TEXT = b"\r\nDebian GNU/Linux 12 raspberrypi ttyS0\r\n\r\nraspberrypi login: "


class SimulatedMhz19:
    """The sensor behind its UART. Source: manual MH-Z19B v1.5, chapter 7.

    Set co2_ppm and temperature_c (inside the box; None for a sensor that does not give it) to what it measures.
    Until *warm_up_s* after *powered_at* it repeats 410 ppm instead. Set a fault to make it misbehave:

    silent                it never responds
    silences_left         so many commands from now on get no reply
    wrong_checksums_left  so many replies from now on have a wrong checksum
    stray                 these bytes come before each reply
    split_s               each reply pauses for so long after its fourth byte
    echo                  TX is wired to RX: what is sent comes back, and nothing else
    pushed                it is not an MH-Z19: it sends these bytes every second, and never responds
    status, u             the bytes S and U of its replies (S 1, U 15000: booting)
    """

    reads = True  # see pseudo_terminal.Device

    def __init__(self, *, powered_at: float = 0.0, warm_up_s: float = 180.0) -> None:
        self.co2_ppm = 620
        self.temperature_c: int | None = 25
        self.silent = False
        self.silences_left = 0
        self.wrong_checksums_left = 0
        self.stray = b""
        self.split_s = 0.0
        self.echo = False
        self.pushed = b""
        self.status = 0
        self.u = 0
        self._warm_at = powered_at + warm_up_s
        self._next_push_at = powered_at + PUSH_EVERY_S
        self._received = b""
        self._sending: deque[tuple[float, int]] = deque()  # when a byte has left, and the byte

    def receive(self, data: bytes, at: float) -> None:
        """Take *data* from the host at the time *at*; only the read command is known."""
        if self.echo:
            self._send(data, at)
            return
        self._received += data
        while READ_COMMAND in self._received:
            _, _, self._received = self._received.partition(READ_COMMAND)
            if self._responds():
                self._respond(at + RESPONSE_S)
        self._received = self._received[-(FRAME_BYTES - 1) :]

    def take_output(self, at: float) -> bytes:
        """Return the bytes that have left the sensor by *at* and were not taken yet."""
        # What was pushed while nobody listened for long is lost, as in any receiver.
        self._next_push_at = max(self._next_push_at, at - 2 * PUSH_EVERY_S)
        while self.pushed and self._next_push_at <= at:
            self._send(self.pushed, self._next_push_at)
            self._next_push_at += PUSH_EVERY_S
        taken = bytearray()
        while self._sending and self._sending[0][0] <= at:
            taken.append(self._sending.popleft()[1])
        return bytes(taken)

    def next_output_at(self) -> float | None:
        """Return when the next byte will have left; None: never, unless something is received."""
        if self._sending:
            return self._sending[0][0]
        return self._next_push_at + BYTE_S if self.pushed else None

    def _responds(self) -> bool:
        if self.silences_left:
            self.silences_left -= 1
            return False
        return not self.silent and not self.pushed

    def _respond(self, at: float) -> None:
        ppm = self.co2_ppm if at >= self._warm_at else WARM_UP_PPM
        box = 0 if self.temperature_c is None else self.temperature_c + 40
        frame = bytes((START, READ, *ppm.to_bytes(2, "big"), box, self.status, *self.u.to_bytes(2, "big")))
        check = checksum(frame)
        if self.wrong_checksums_left:
            self.wrong_checksums_left -= 1
            check ^= 0x01
        self._send(self.stray + frame[:4], at)
        self._send(frame[4:] + bytes((check,)), at + self.split_s)

    def _send(self, data: bytes, at: float) -> None:
        if self._sending:
            at = max(at, self._sending[-1][0])
        for byte in data:
            at += BYTE_S
            self._sending.append((at, byte))


class Mhz19Port:
    """A serial port with the simulated sensor at its other end; it satisfies sensors.mhz19.SerialLike.

    Its reads wait on the given clock: they sleep to the next byte, not in steps.
    """

    def __init__(
        self,
        sensor: SimulatedMhz19,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
        timeout_s: float = READ_SLICE_S,
    ) -> None:
        self._sensor = sensor
        self._monotonic = monotonic
        self._sleep = sleep
        self._timeout_s = timeout_s
        self._unread = b""

    def read(self, size: int, /) -> bytes:
        """Return up to *size* bytes, fewer when the timeout has passed."""
        deadline = self._monotonic() + self._timeout_s
        while True:
            now = self._monotonic()
            self._unread += self._sensor.take_output(now)
            if len(self._unread) >= size or now >= deadline:
                break
            next_at = self._sensor.next_output_at()
            wake_at = deadline if next_at is None else min(next_at, deadline)
            self._sleep(wake_at - now)
        taken, self._unread = self._unread[:size], self._unread[size:]
        return taken

    def write(self, data: bytes, /) -> int:
        """Send *data* to the sensor."""
        self._sensor.receive(data, self._monotonic())
        return len(data)

    def reset_input_buffer(self) -> None:
        """Drop what has come and was not read."""
        self._sensor.take_output(self._monotonic())
        self._unread = b""

    def close(self) -> None:
        """Do nothing: the sensor stays where it is."""


FAULTS: Mapping[str, Mapping[str, object]] = {
    "silence": {"silent": True},
    "checksum": {"wrong_checksums_left": 1_000_000},
    "stray": {"stray": b"\x00"},
    "split": {"split_s": 0.3},
    "echo": {"echo": True},
    "look-alike": {"pushed": LOOK_ALIKE_FRAME},
    "console": {"pushed": CONSOLE_TEXT},
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the simulated sensor as a program. Return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m sensors.simulated_mhz19", description="A simulated MH-Z19.")
    parser.add_argument(
        "--link",
        type=Path,
        required=True,
        metavar="PATH",
        help="symbolic link to the terminal; open it as the serial device",
    )
    parser.add_argument(
        "--co2", type=int, default=620, metavar="PPM", help="what it measures, in ppm (default: %(default)s)"
    )
    parser.add_argument(
        "--warm-up", type=float, default=180.0, metavar="SECONDS", help="how long it warms up (default: %(default)g)"
    )
    parser.add_argument("--fault", choices=sorted(FAULTS), help="misbehave like this")
    arguments = parser.parse_args(argv)
    if arguments.link.is_symlink() or arguments.link.exists():
        parser.error(f"{arguments.link} exists already: remove it, or choose another path")
    sensor = SimulatedMhz19(powered_at=time.monotonic(), warm_up_s=arguments.warm_up)
    sensor.co2_ppm = arguments.co2
    for name, value in FAULTS.get(arguments.fault, {}).items():
        setattr(sensor, name, value)
    try:
        with terminal_at(arguments.link) as master_fd:
            stop_fd = signals_as_bytes({signal.SIGTERM: STOP, signal.SIGINT: STOP})
            sys.stdout.write(f"{arguments.link}\n")
            sys.stdout.flush()
            serve(sensor, master_fd, stop_fd=stop_fd, now=time.monotonic)
    except OSError as error:
        parser.error(f"cannot serve {arguments.link}: {error.strerror}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
