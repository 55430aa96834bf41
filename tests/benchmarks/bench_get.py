"""What one request to the meter costs the processor: the power (E7), over a pseudo-terminal.

The module is simulated in another process and responds at once, so that only the client's work is in the figure.
"""

from __future__ import annotations

import itertools
import os
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skstack import PortLostError, SerialPort, Session, commands
from skstack.echonet import Epc, Frame, decode_power_w
from skstack.events import UdpReceived
from skstack.simulator import TEST_PASSWORD, TEST_ROUTE_B_ID
from tests.benchmarks import household
from tests.benchmarks.figure import Figure
from tests.benchmarks.measuring import Deed, counted, cpu_s_in_turns

MOST_OF_BARE = 4.0
MOST_OF_MOMONGA = 1 / 20
ANSWER_WITHIN_S = 5.0
BARE = "bare os.write and os.read"


def figures(effort: float) -> list[Figure]:
    """Measure a Get of ours, of a bare loop and of momonga."""
    cpu_s = cpu_s_in_turns(
        {"driver": driver, "session": session, "bare": bare, "momonga": momonga},
        times={"driver": 50, "session": 50, "bare": 50, "momonga": 10},
        blocks=counted(60, effort),
    )
    return [
        Figure(
            what,
            f"{cpu_s[ours] * 1e6:.0f} us",
            f"{reference}: {cpu_s[other] * 1e6:.0f} us",
            cpu_s[ours] / cpu_s[other],
            limit,
        )
        for ours, what, limits in (
            ("driver", "CPU of one Get, driver and codec", (MOST_OF_BARE, MOST_OF_MOMONGA)),
            ("session", "the same through the session, as the poller reads", (None, None)),
        )
        for other, reference, limit in zip(("bare", "momonga"), (BARE, "momonga"), limits, strict=True)
    ]


@contextmanager
def driver() -> Iterator[Deed]:
    """Read over the driver: frame, command, lines, frame, value. The session is joined before, and not used."""
    with household.simulated_module() as device:
        joined = household.new_session(device)
        household.bring_up(joined)
        module, peer = joined.module, joined.peer
        if module is None or peer is None:
            raise RuntimeError("there is no link")
        stack, dialect, address = module.stack, module.dialect, peer.address
        tids = itertools.cycle(range(0x2121, 0x7E7E))  # without control characters

        def get() -> int | None:
            request = Frame.get(next(tids), (Epc.POWER,))
            stack.execute(commands.send_udp(dialect, address, request.to_bytes()))
            while True:
                line = stack.receive(ANSWER_WITHIN_S)
                if line is None:
                    raise RuntimeError("no response")
                if isinstance(line, UdpReceived):
                    response = Frame.from_bytes(line.payload)
                    if response.matches(request):
                        return decode_power_w(response.edt_by_epc()[Epc.POWER])

        yield get
        joined.close()


@contextmanager
def session() -> Iterator[Deed]:
    """Read over our session: also what else may come, whether sending is allowed, and the attempts."""
    with household.simulated_module() as device:
        joined = household.new_session(device)
        household.bring_up(joined)
        yield lambda: get_power_w(joined)
        joined.close()


def get_power_w(joined: Session) -> int | None:
    """Read the power, W."""
    return decode_power_w(joined.get((Epc.POWER,), until=time.monotonic() + ANSWER_WITHIN_S).values[Epc.POWER])


@contextmanager
def momonga() -> Iterator[Deed]:
    """Read with the published client; the pauses it makes between two requests are taken out."""
    from momonga import Momonga

    with household.simulated_module() as device:
        client = Momonga(TEST_ROUTE_B_ID, TEST_PASSWORD, str(device))
        client.internal_xmit_interval = 0
        with client:
            yield client.get_instantaneous_power


@contextmanager
def bare() -> Iterator[Deed]:
    """Send the very bytes of our Get and wait for the whole reply, looking at nothing but its length."""
    with household.simulated_module() as device:
        request, response_bytes = _recorded_get(device)
        fd = os.open(device, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(fd)
        settings = termios.tcgetattr(fd)
        settings[6][termios.VMIN], settings[6][termios.VTIME] = 1, 0  # a read waits for the first byte
        termios.tcsetattr(fd, termios.TCSANOW, settings)

        def exchange() -> None:
            os.write(fd, request)
            missing = response_bytes
            while missing > 0:
                missing -= len(os.read(fd, 4096))

        yield exchange
        os.close(fd)


def _recorded_get(device: Path) -> tuple[bytes, int]:
    """Read once with our session, which is left open, and return what went out and how many bytes came back."""
    ports: list[_RecordingPort] = []

    def open_port(baud_rate: int) -> _RecordingPort:
        ports.append(_RecordingPort(str(device), baud_rate))
        return ports[-1]

    joined = household.new_session(device, open_port=open_port)
    household.bring_up(joined)
    get_power_w(joined)
    port = ports[-1]
    port.written, port.read_bytes = b"", 0
    get_power_w(joined)
    port.drain()
    request, response_bytes = port.written, port.read_bytes
    port.close()
    return request, response_bytes


class _RecordingPort(SerialPort):
    """A port that remembers what passed it."""

    written = b""
    read_bytes = 0

    def read(self, timeout_s: float) -> bytes:
        chunk = super().read(timeout_s)
        self.read_bytes += len(chunk)
        return chunk

    def write(self, data: bytes) -> None:
        self.written += data
        super().write(data)

    def drain(self) -> None:
        """Read what is still on its way. Raises: PortLostError: nothing was recorded."""
        while self.read(0.1):
            pass
        if not self.read_bytes:
            raise PortLostError("nothing was recorded")
