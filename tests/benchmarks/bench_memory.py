"""What the poller holds in memory: after 1,000 rounds, after 100,000, and as a process on a terminal.

The long run is in virtual time and in one process with the simulated household, whose memory counts as ours here. The
process is power_consumption.py itself with every sensor asked for, reading each second.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg2

from tests.benchmarks import household, servers
from tests.benchmarks.figure import Figure
from tests.benchmarks.measuring import counted, resident_mb, result_of, script

ROUNDS = 100_000
EARLY = 1_000
MOST_GROWTH_MB = 1.0
MOST_MB = 40.0
PROCESS_ROUNDS = 30
START = datetime(2026, 6, 1, 2, 59, 30, tzinfo=UTC)
INTERVAL_S = 60


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
        Figure("the same, simulated household included", f"{late_mb:.1f} MB", "", late_mb, MOST_MB, "MB"),
        Figure("power_consumption.py -t -c -b, a process", f"{process_mb:.1f} MB", "", process_mb, MOST_MB, "MB"),
    ]


def _pair(value: object) -> tuple[float, float]:
    if not isinstance(value, tuple):
        raise TypeError("two measurements were expected")
    return float(value[0]), float(value[1])


def resident_after(url: str, early: int, late: int) -> tuple[float, float]:
    """Take *late* rounds in virtual time; return the resident MB after *early* and after all."""
    import serial  # noqa: F401
    import smbus2  # noqa: F401

    import poller.running  # noqa: F401
    import power_consumption  # noqa: F401 - what the poller's process imports is in its memory
    from poller.duties import MeterDuties
    from poller.inquiry import ask_inline
    from poller.loop import Poller, RadioLog
    from poller.sensing import InlineSensing
    from skstack.household import Household
    from skstack.meter import Meter
    from skstack.session import Session
    from skstack.simulated_meter import SimulatedMeter
    from skstack.simulated_models import INSTANT
    from skstack.simulated_port import SimulatedPort, VirtualClock
    from skstack.simulator import SimulatedModule
    from storage.database import Database
    from storage.records import Round
    from storage.spool import Spool
    from storage.store import Store
    from tests.benchmarks.bench_round import sensors

    class Watched:
        """The store; counts the rounds of the meter and ends the run."""

        def __init__(self, store: Store) -> None:
            self._store = store
            self.rounds = 0
            self.early_mb = 0.0

        def write(self, rounds: Round, /) -> None:
            self._store.write(rounds)
            module.sends.clear()  # the checker's record of the simulation
            self.rounds += 1
            if self.rounds == early:
                self.early_mb = resident_mb()

    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        clock = VirtualClock(START)
        module = SimulatedModule(SimulatedMeter(Household.typical(since=START.timestamp() - 86_400)), timing=INSTANT)
        session = Session(
            lambda _baud_rate: SimulatedPort(module, clock),
            household.CREDENTIALS,
            monotonic=clock.monotonic,
            sleep=clock.sleep,
        )
        meter = Meter(session, monotonic=clock.monotonic)
        queries = Database.from_url(url, site="home")
        stack.callback(queries.close)
        store = Store(
            Database.from_url(url, site="home"),
            Spool(directory / "spool.sqlite3"),
            monotonic=clock.monotonic,
            now=clock.now,
        )
        stack.callback(store.close)
        watched = Watched(store)
        radio_log = RadioLog(clock.now)
        Poller(
            session,
            meter,
            [InlineSensing(source) for source in sensors(directory)],
            watched,
            clock=clock,
            interval_s=INTERVAL_S,
            duties=MeterDuties(
                session,
                meter,
                queries,
                store.write,
                clock=clock,
                interval_s=INTERVAL_S,
                timeout_s=session.timings.answer_timeout_s,
                history_pause_s=10.0,
                ask=ask_inline,
            ),
            radio_log=radio_log,
            should_stop=lambda: watched.rounds >= late,
        ).run()
        return watched.early_mb, resident_mb()


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
