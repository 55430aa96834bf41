"""How fast captured streams are read: bytes to lines to values, and the meter's datagrams to frames."""

from __future__ import annotations

import time

from skstack import FrameError, MalformedLineError
from skstack.echonet import Frame
from skstack.events import ECHONET_PORT, UdpReceived
from skstack.lines import LineBuffer
from skstack.parser import parse_line
from tests.benchmarks.figure import Figure
from tests.benchmarks.measuring import counted
from tests.lab.transcripts import BY_NUMBER, TRANSCRIPTS

SERIAL_BYTES_S = 115_200 / 10  # eight bits, start and stop bit
CHUNK_BYTES = 64  # what a USB serial converter delivers at once, or less
LEAST = 1000.0
ATTEMPTS = 40


def figures(effort: float) -> list[Figure]:
    """Read thirteen minutes of polling, and all the published conversations."""
    repeat = counted(40, effort)
    return [
        _figure("parsing 13 minutes of polling, captured", BY_NUMBER["13"].wire * repeat),
        _figure("parsing all captured conversations", b"".join(each.wire for each in TRANSCRIPTS) * repeat),
    ]


def _figure(what: str, stream: bytes) -> Figure:
    # The reference is a constant, so the best of several is taken: what others do to the machine is not in it.
    bytes_s = max(len(stream) / _cpu_s(stream) for _ in range(ATTEMPTS))
    return Figure(
        what,
        f"{bytes_s / 1e6:.1f} MB/s",
        f"115,200 baud: {SERIAL_BYTES_S / 1e3:.1f} kB/s",
        bytes_s / SERIAL_BYTES_S,
        LEAST,
        at_least=True,
    )


def _cpu_s(stream: bytes) -> float:
    buffer = LineBuffer()
    began = time.process_time()
    for start in range(0, len(stream), CHUNK_BYTES):
        for raw in buffer.feed(stream[start : start + CHUNK_BYTES]):
            try:
                line = parse_line(raw)
                if isinstance(line, UdpReceived) and line.local_port == ECHONET_PORT:
                    Frame.from_bytes(line.payload)
            except (MalformedLineError, FrameError):
                continue  # as the driver does
    return time.process_time() - began
