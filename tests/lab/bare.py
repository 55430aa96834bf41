"""The yardstick for lossy links: a poll of three attempts each minute, in a bare loop that knows nothing of our driver.

It types at the module itself and looks for the values in the bytes that come, so that a session can be measured beside
it on the same random numbers.
"""

from __future__ import annotations

from typing import NamedTuple

from skstack.simulator import SimulatedModule
from tests.lab.module import Host

_FOUR = bytes.fromhex("E700 E800 E000 E300")
_POWER, _IMPORT = "E704", "E004"  # EPC and length of what is looked for


class Rows(NamedTuple):
    """How many minutes got a power, and how many of them the import register beside it."""

    with_power: int
    with_registers: int


def three_attempts_a_minute(module: SimulatedModule, *, hours: float, start: float, timeout_s: float = 20.0) -> Rows:
    """Join *module* at *start* (Unix seconds), poll each minute for *hours*, and count the responses in time.

    Each attempt requests E7, E8, E0 and E3 together and waits *timeout_s*; three fit into a minute.
    """
    host = Host(module, start)
    host.join()
    with_power = with_registers = tid = 0
    for minute in range(1, int(hours * 60) + 1):
        host.wait(max(0.0, start + 60 * minute - host.at))
        for _ in range(3):
            tid = (tid + 1) & 0xFFFF
            response = _request(host, tid, timeout_s)
            if response is not None:
                with_power += _POWER in response
                with_registers += _POWER in response and _IMPORT in response
                break
    return Rows(with_power, with_registers)


def _request(host: Host, tid: int, timeout_s: float) -> str | None:
    """Request the four properties; return what follows the TID in the response (hexadecimal); None: none in time."""
    request = b"\x10\x81" + tid.to_bytes(2, "big") + bytes.fromhex("05FF01 028801 62 04") + _FOUR
    deadline = host.at + timeout_s
    head = f"1081{tid:04X}02880105FF01"
    text = host.type(host.send_header(len(request)) + request, 0)
    while host.at < deadline:
        for line in text.decode("ascii").splitlines():
            if line.startswith("ERXUDP") and line.split()[-1].startswith((head + "72", head + "52")):
                return line.split()[-1][len(head) :]
        next_at = host.module.next_output_at()
        text = host.wait(min(deadline, max(next_at or deadline, host.at)) - host.at)
    return None
