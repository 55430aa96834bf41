"""What the poller holds in memory: after 1,000 rounds, after 100,000, and as a process on a terminal.

The long run is in virtual time and in one process with the simulated household, whose memory counts as ours here. The
process is power_consumption.py itself with every sensor, reading each second.
"""

from __future__ import annotations

import importlib
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg2

from poller.app import App
from poller.clock import Clock
from poller.sensing import Sensing
from skstack import Session
from skstack.simulator import INSTANT, Household, SimulatedMeter, SimulatedModule, SimulatedPort, VirtualClock
from storage.database import Database
from storage.delivery import Delivery
from storage.outbox import Outbox
from storage.records import PowerRow, Round
from tests.benchmarks import household, servers
from tests.benchmarks.bench_round import sensors
from tests.benchmarks.figure import Figure
from tests.benchmarks.measuring import counted, resident_mb, result_of, script

ROUNDS = 100_000
EARLY = 1_000
MOST_GROWTH_MB = 1.0
MOST_MB = 38.0
PROCESS_ROUNDS = 30
START = datetime(2026, 6, 1, 2, 59, 30, tzinfo=UTC)
INTERVAL_S = 60
IMPORTED_BY_THE_POLLER = ("power_consumption", "poller.app", "serial", "smbus2")


def figures(effort: float) -> list[Figure]:
    """Run the long run in a process of its own, then the poller."""
    late = counted(ROUNDS, effort, least=20)
    early = min(EARLY, late // 2)
    with servers.embedded_url(fsync=False) as url:
        early_mb, late_mb = _pair(result_of(resident_after, url, early, late))
    with servers.embedded_url(fsync=False) as url:
        process_mb = _process_mb(url, counted(PROCESS_ROUNDS, effort))
    return [
        Figure(
            f"resident memory after {late:,} rounds, virtual time",
            f"{late_mb:.1f} MB",
            f"after {early:,}: {early_mb:.1f} MB",
            late_mb - early_mb,
            MOST_GROWTH_MB,
            "MB more",
        ),
        Figure("the same, simulated household included", f"{late_mb:.1f} MB", "", late_mb, None, "MB"),
        Figure("power_consumption.py -t -c -b, a process", f"{process_mb:.1f} MB", "", process_mb, MOST_MB, "MB"),
    ]


def _pair(value: object) -> tuple[float, float]:
    if not isinstance(value, tuple):
        raise TypeError("two measurements were expected")
    return float(value[0]), float(value[1])


def resident_after(url: str, early: int, late: int) -> tuple[float, float]:
    """Take *late* rounds in virtual time; return the resident MB after *early* and after all."""
    for name in IMPORTED_BY_THE_POLLER:
        importlib.import_module(name)
    clock = VirtualClock(START)
    household_since = START.timestamp() - 100 * 86_400  # simulated before the first look
    module = SimulatedModule(SimulatedMeter(Household.typical(since=household_since)), timing=INSTANT)
    with tempfile.TemporaryDirectory() as directory:
        outbox = Outbox(Path(directory), fsync=False)
        delivery = Delivery(Database.from_url(url, site="home"), outbox)
        delivery.start()
        watched = Watched(outbox, delivery, module, early)
        app = _app(clock, module, watched, Path(directory), until=lambda: watched.rounds >= late)
        app.poller.run()
        late_mb = resident_mb()
        app.close()
        delivery.close()
        outbox.close()
    return watched.early_mb, late_mb


class Watched:
    """The outbox, with the poller's rounds counted and delivered."""

    def __init__(self, outbox: Outbox, delivery: Delivery, module: SimulatedModule, early: int) -> None:
        self.outbox = outbox
        self.delivery = delivery
        self._module = module
        self._early = early
        self.rounds = 0
        self.early_mb = 0.0

    def write(self, rounds: Round, /) -> None:
        self.outbox.append(rounds)
        if not self.delivery.wait_until_drained(60.0):
            raise RuntimeError(f"not delivered: {self.delivery.unreachable_reason}")
        self._module.sends.clear()  # the simulation's own record of requests
        self.rounds += any(isinstance(row, PowerRow) for row in rounds.rows)
        if self.rounds == self._early:
            self.early_mb = resident_mb()


def _app(
    clock: VirtualClock, module: SimulatedModule, store: Watched, directory: Path, *, until: Callable[[], bool]
) -> App:
    """Put a poller with all its idle tasks and sensors before the simulated household."""
    session = Session(
        lambda _baud_rate: SimulatedPort(module, clock),
        household.CREDENTIALS,
        monotonic=clock.monotonic,
        sleep=clock.sleep,
        should_stop=until,
    )
    return App(
        session,
        Clock(clock, is_synchronised=lambda: True),
        keep=store.write,
        query=store.delivery.query,
        sensors=[Sensing(source) for source in sensors(directory)],
        interval_s=INTERVAL_S,
        history_pause_s=10.0,
        should_stop=until,
    )


def _process_mb(url: str, rounds: int) -> float:
    with tempfile.TemporaryDirectory() as directory, household.simulated_module() as device:
        config = household.settings_file(Path(directory), device=device, url=url, interval_s=1)
        command = script("power_consumption.py", "--config", str(config), "-t", "-c", "-b")
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                _wait_for_rows(url, rounds)
                return resident_mb(process.pid)
            finally:
                process.terminate()


def _wait_for_rows(url: str, rounds: int) -> None:
    deadline = time.monotonic() + household.UP_WITHIN_S + 2 * rounds
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        while time.monotonic() < deadline:
            cursor.execute("select count(*) from power")
            if (cursor.fetchone() or (0,))[0] >= rounds:
                return
            time.sleep(0.5)
    raise RuntimeError(f"the poller did not store {rounds} rounds")
