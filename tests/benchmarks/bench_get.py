"""What one question to the meter costs the processor: the power (E7), over a pseudo-terminal.

The module is simulated in another process and answers at once, so that only the client's work is in the figure.
"""

from __future__ import annotations

import os
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skstack.errors import PortLostError
from skstack.port import SerialPort
from skstack.properties import Epc, decode_power_w
from skstack.session import Session
from skstack.simulated_models import TEST_PASSWORD, TEST_ROUTE_B_ID
from tests.benchmarks import household
from tests.benchmarks.figure import Figure
from tests.benchmarks.measuring import Deed, counted, cpu_s_in_turns

MOST_OF_BARE = 4.0
MOST_OF_MOMONGA = 1 / 20


def figures(effort: float) -> list[Figure]:
    """Measure a Get of ours, of a bare loop and of momonga."""
    cpu_s = cpu_s_in_turns(
        {"ours": ours, "bare": bare, "momonga": momonga},
        times={"ours": 50, "bare": 50, "momonga": 10},
        blocks=counted(60, effort),
    )
    mine = f"{cpu_s['ours'] * 1e6:.0f} us"
    return [
        Figure(
            "CPU of one Get",
            mine,
            f"bare os.write and os.read: {cpu_s['bare'] * 1e6:.0f} us",
            cpu_s["ours"] / cpu_s["bare"],
            MOST_OF_BARE,
        ),
        Figure(
            "CPU of one Get",
            mine,
            f"momonga: {cpu_s['momonga'] * 1e6:.0f} us",
            cpu_s["ours"] / cpu_s["momonga"],
            MOST_OF_MOMONGA,
        ),
    ]


@contextmanager
def ours() -> Iterator[Deed]:
    """Ask over our session: request, driver, lines, frame, value."""
    with household.simulated_module() as device:
        session = household.new_session(device)
        household.bring_up(session)
        yield lambda: get_power_w(session)
        session.close()


def get_power_w(session: Session) -> int | None:
    """Read the power, W."""
    return decode_power_w(session.get((Epc.POWER,), until=time.monotonic() + 5.0)[Epc.POWER])


@contextmanager
def momonga() -> Iterator[Deed]:
    """Ask with the published client; the pauses it makes between two requests are taken out."""
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
        question, answer_bytes = _recorded_get(device)
        fd = os.open(device, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(fd)
        settings = termios.tcgetattr(fd)
        settings[6][termios.VMIN], settings[6][termios.VTIME] = 1, 0  # a read waits for the first byte
        termios.tcsetattr(fd, termios.TCSANOW, settings)

        def exchange() -> None:
            os.write(fd, question)
            missing = answer_bytes
            while missing > 0:
                missing -= len(os.read(fd, 4096))

        yield exchange
        os.close(fd)


def _recorded_get(device: Path) -> tuple[bytes, int]:
    """Ask once with our session, which is left open, and return what went out and how many bytes came back."""
    ports: list[_RecordingPort] = []

    def open_port(baud_rate: int) -> _RecordingPort:
        ports.append(_RecordingPort(str(device), baud_rate))
        return ports[-1]

    session = household.new_session(device, open_port=open_port)
    household.bring_up(session)
    get_power_w(session)
    port = ports[-1]
    port.written, port.read_bytes = b"", 0
    get_power_w(session)
    port.drain()
    question, answer_bytes = port.written, port.read_bytes
    port.close()
    return question, answer_bytes


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
