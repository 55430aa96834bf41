"""How long until the first reading, once the meter is known: ours from its PAN cache, momonga with its scan.

The module responds at once, so that what is left is the program's own. Wall time, of a fresh process each.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import psycopg2

from skstack import FilePanCache, Meter
from skstack.simulator import TEST_PASSWORD, TEST_ROUTE_B_ID
from tests.benchmarks import household, servers
from tests.benchmarks.figure import Figure
from tests.benchmarks.measuring import counted, process_s, result_of, script

MOST = 1 / 10
MOST_S = 1.0  # from the start of the process to the first reading in PostgreSQL
PUBLISHED_PAUSE_S = 5.0  # momonga's own, between two requests

_FIRST_READING_OF_MOMONGA = """
import sys
from momonga import Momonga
client = Momonga(*sys.argv[1:4])
client.internal_xmit_interval = float(sys.argv[4])
with client:
    print(client.get_instantaneous_power(), flush=True)
"""


def figures(effort: float) -> list[Figure]:
    """Measure from the making of the objects, and from the start of the process."""
    pause_s = PUBLISHED_PAUSE_S * min(1.0, effort)
    momonga_s: list[float] = []
    momonga_process_s: list[float] = []
    ours_s: list[float] = []
    ours_process_s: list[float] = []
    stored_s: list[float] = []
    with tempfile.TemporaryDirectory() as directory, servers.embedded_url(fsync=False) as url:
        with household.simulated_module() as device:
            config = household.settings_file(Path(directory), device=device, url=url)
            once = script("power_consumption.py", "--config", str(config), "--once")
            process_s(once)  # finds the meter, and keeps where
            for _ in range(counted(5, effort)):
                ours_s.append(_seconds(result_of(until_poll, device, Path(directory, "data", "pan.json"))))
                ours_process_s.append(process_s(once))
            for _ in range(counted(10, effort)):
                stored_s.append(_until_stored(once, url))
        for _ in range(counted(2, effort)):
            with household.simulated_module() as device:
                momonga_s.append(_seconds(result_of(until_open, device, pause_s)))
            with household.simulated_module() as device:
                momonga_process_s.append(_until_printed(device, pause_s))
    median_s = statistics.median(stored_s)
    return [
        Figure(
            "from process start to the first reading in PostgreSQL, PAN cached, without a tick to wait for",
            f"{median_s:.2f} s",
            f"{min(stored_s):.2f} to {max(stored_s):.2f} s",
            median_s,
            MOST_S,
            "s",
        ),
        _figure("from Session() to the first reading, PAN cached", ours_s, "momonga, open()", momonga_s),
        _figure(
            "from process start to the first reading stored and the process ended (--once)",
            ours_process_s,
            "momonga, process start to reading",
            momonga_process_s,
        ),
    ]


def _figure(what: str, ours_s: list[float], reference: str, reference_s: list[float]) -> Figure:
    mine, other = statistics.median(ours_s), statistics.median(reference_s)
    return Figure(what, f"{mine:.2f} s", f"{reference}: {other:.1f} s", mine / other, MOST)


def _seconds(value: object) -> float:
    if not isinstance(value, float):
        raise TypeError("a measurement is a float")
    return value


def until_poll(device: Path, cache: Path) -> float:
    """Return the seconds from nothing to the values of a first poll."""
    began = time.perf_counter()
    session = household.new_session(device, cache=FilePanCache(cache))
    household.bring_up(session)
    Meter(session).poll(until=time.monotonic() + household.UP_WITHIN_S)
    elapsed_s = time.perf_counter() - began
    session.close()
    return elapsed_s


def until_open(device: Path, pause_s: float) -> float:
    """Return the seconds that momonga's open takes."""
    from momonga import Momonga

    client = Momonga(TEST_ROUTE_B_ID, TEST_PASSWORD, str(device))
    client.internal_xmit_interval = pause_s
    began = time.perf_counter()
    client.open()
    elapsed_s = time.perf_counter() - began
    client.close()
    return elapsed_s


def _until_stored(once: list[str], url: str) -> float:
    """Return the seconds until another connection sees the row of a process that takes one round."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("select count(*) from power")
        [before] = cursor.fetchone() or (0,)
        began = time.perf_counter()
        with subprocess.Popen(once, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            while time.perf_counter() - began < household.UP_WITHIN_S:
                cursor.execute("select count(*) from power")
                if (cursor.fetchone() or (0,))[0] > before:
                    return time.perf_counter() - began
                time.sleep(0.005)
    raise RuntimeError("no reading was stored")


def _until_printed(device: Path, pause_s: float) -> float:
    command = [
        sys.executable,
        "-c",
        _FIRST_READING_OF_MOMONGA,
        TEST_ROUTE_B_ID,
        TEST_PASSWORD,
        str(device),
        str(pause_s),
    ]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        if process.stdout is None or not process.stdout.readline():
            raise RuntimeError("momonga gave no reading")
        return time.perf_counter() - began
