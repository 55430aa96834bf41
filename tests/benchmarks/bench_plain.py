"""What a day costs: power_consumption.py beside a plain script of momonga and psycopg2 that stores the same values.

Both are processes before a simulated module of their own, poll each second, and are measured from their tenth row on; a
day has 1,440 polls. Without its sensors the poller stores what the script does: power, currents and both registers.
What goes on between two polls all day (wake-ups, half hours) is in the figure of the poller, sixty times too often.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import psycopg2

from skstack.simulator import TEST_PASSWORD, TEST_ROUTE_B_ID
from tests.benchmarks import household, servers
from tests.benchmarks.figure import Figure
from tests.benchmarks.measuring import counted, resident_mb, script

POLLS = 120
FIRST_POLLS = 10
POLLS_A_DAY = 1440
OTHERS_STARTING_S = 60.0

# momonga as published, but for its pauses of seconds between two requests, which cost no CPU.
PLAIN = """
import sys, time
import momonga, psycopg2
route_b_id, password, device, url = sys.argv[1:]
connection = psycopg2.connect(url)
connection.autocommit = True
cursor = connection.cursor()
cursor.execute("insert into site (name) values ('plain') returning site_id")
site_id, = cursor.fetchone()
client = momonga.Momonga(route_b_id, password, device)
client.internal_xmit_interval = 0
with client as meter:
    while True:
        current = meter.get_instantaneous_current()
        row = (meter.get_instantaneous_power(), current["r phase current"], current["t phase current"],
               meter.get_measured_cumulative_energy(), meter.get_measured_cumulative_energy(reverse=True))
        cursor.execute("insert into power values (now(), %s, %s, %s, %s, %s, %s)", (site_id, *row))
        time.sleep(1)
"""


def figures(effort: float) -> list[Figure]:
    """Measure the poller and the plain script, one after the other."""
    polls = counted(POLLS, effort, least=2)
    cpu_s, memory_mb = _costs_of_the_poller(polls)
    plain_cpu_s, plain_mb = _costs_of_the_plain_script(polls)
    a_day, plain_a_day = cpu_s * POLLS_A_DAY, plain_cpu_s * POLLS_A_DAY
    return [
        Figure(
            "CPU of a day of minutes", f"{a_day:.1f} s", f"plain script: {plain_a_day:.1f} s", a_day / plain_a_day, None
        ),
        Figure(
            "resident memory beside it",
            f"{memory_mb:.1f} MB",
            f"plain script: {plain_mb:.1f} MB",
            memory_mb / plain_mb,
            None,
        ),
    ]


def _costs_of_the_poller(polls: int) -> tuple[float, float]:
    with (
        servers.embedded_url(fsync=False) as url,
        tempfile.TemporaryDirectory() as directory,
        household.simulated_module() as device,
    ):
        config = household.settings_file(Path(directory), device=device, url=url, interval_s=1)
        return _costs(script("power_consumption.py", "--config", str(config)), url, polls)


def _costs_of_the_plain_script(polls: int) -> tuple[float, float]:
    with servers.embedded_url(fsync=False) as url, household.simulated_module() as device:
        return _costs([sys.executable, "-c", PLAIN, TEST_ROUTE_B_ID, TEST_PASSWORD, str(device), url], url, polls)


def _costs(command: list[str], url: str, polls: int) -> tuple[float, float]:
    """Return the CPU seconds of a poll, and the resident MB at the end."""
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            first = _wait_for_rows(url, FIRST_POLLS, within_s=OTHERS_STARTING_S)
            began_s = _cpu_s(process.pid)
            last = _wait_for_rows(url, first + polls, within_s=10.0 + 3 * polls)
            return (_cpu_s(process.pid) - began_s) / (last - first), resident_mb(process.pid)
        finally:
            process.terminate()


def _wait_for_rows(url: str, rows: int, *, within_s: float) -> int:
    """Return how many rows there are, once there are as many as that."""
    deadline = time.monotonic() + within_s
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        while time.monotonic() < deadline:
            cursor.execute("select count(*) from power")
            if (found := int((cursor.fetchone() or (0,))[0])) >= rows:
                return found
            time.sleep(0.2)
    raise RuntimeError(f"{rows} rows did not come")


def _cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used, user and system. Source: proc(5), stat, fields 14 and 15."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
