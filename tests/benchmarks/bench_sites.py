"""A thousand households in one PostgreSQL 15 with the settings it comes with: each writes its round once a minute.

Every site has a connection of its own, as pollers have, and writes with the poller's own Database. The meters of a
thousand sites respond within some three seconds of the tick, so the writes of a minute are spread over these. A round
is late when it is not committed two seconds after it was due.
"""

from __future__ import annotations

import itertools
import random
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier

from storage.database import Database
from tests.benchmarks import servers
from tests.benchmarks.bench_outbox import full_round
from tests.benchmarks.figure import Figure
from tests.benchmarks.measuring import counted

SITES = 1000
MINUTES = 3
MINUTE_S = 60.0
ANSWERS_WITHIN_S = 3.0
LATE_S = 2.0
PROCESSES = 4
THREADS = 8  # of a process: so many commits of it may be on their way at once
FLAT_OUT_S = 20.0
CONNECTED_WITHIN_S = 120.0

_all_connected: Barrier  # in each of the writing processes


@dataclass(frozen=True, slots=True)
class Written:
    """One round: seconds from when it was due to its commit, and those of the write alone."""

    late_s: float
    write_s: float


def figures(effort: float) -> list[Figure]:
    """Write for some minutes at the pace of the households, then as fast as it goes."""
    sites = counted(SITES, effort, least=2 * PROCESSES)
    minute_s = max(MINUTE_S * min(1.0, effort), ANSWERS_WITHIN_S)
    minutes = counted(MINUTES, effort)
    busy_s = FLAT_OUT_S * min(1.0, effort)
    with servers.system_url(connections=2 * sites + 50) as url:  # twice: a server needs a moment to let one go
        version = servers.version_of(url)
        paced = _written(partial(pace, minutes=minutes, minute_s=minute_s), url, sites)
        flat_out = _written(partial(hurry, for_s=busy_s), url, sites)
    late = [each for each in paced if each.late_s > LATE_S]
    latest_s = max(each.late_s for each in paced)
    rounds_s = len(flat_out) / busy_s
    return [
        Figure(
            f"{sites:,} sites, 4 rows each a minute, {minutes} minutes, PostgreSQL {version}: rounds late",
            f"{len(late)} of {len(paced):,}, the latest by {latest_s:.2f} s; commit {_quantiles(paced)}",
            f"late is {LATE_S:.0f} s after the meter's response",
            len(late),
            0,
            "late",
        ),
        Figure(
            "the same, as fast as it goes: sites that would fit into a minute",
            f"{rounds_s:,.0f} rounds/s; commit {_quantiles(flat_out)}",
            f"{sites:,} sites",
            rounds_s * MINUTE_S,
            SITES,
            "sites",
            at_least=True,
        ),
    ]


def _quantiles(written: Sequence[Written]) -> str:
    ms = [each.write_s * 1e3 for each in written]
    return f"median {statistics.median(ms):.1f} ms, p99 {statistics.quantiles(ms, n=100)[98]:.0f} ms"


class Site:
    """One household's way into the record."""

    def __init__(self, number: int, url: str) -> None:
        self._database = Database.from_url(url, site=f"site {number}")
        self._minute = 0
        self.offset_s = random.Random(number).uniform(0.0, ANSWERS_WITHIN_S)

    def write(self) -> float:
        """Write the next round; return the seconds it took."""
        stored = full_round(self._minute)
        self._minute += 1
        began = time.perf_counter()
        if self._database.write([stored]):
            raise RuntimeError("a row was refused")
        return time.perf_counter() - began

    def close(self) -> None:
        self._database.close()


Work = Callable[[Sequence[Site], float], list[Written]]  # by these sites, beginning at a Unix time


def pace(sites: Sequence[Site], begin_at: float, *, minutes: int, minute_s: float) -> list[Written]:
    """Write a round of each site each minute, at the moment it is due."""
    written = []
    in_turn = sorted(sites, key=lambda site: site.offset_s)
    for minute in range(minutes):
        for site in in_turn:
            due = begin_at + minute * minute_s + site.offset_s
            time.sleep(max(0.0, due - time.time()))
            write_s = site.write()
            written.append(Written(time.time() - due, write_s))
    return written


def hurry(sites: Sequence[Site], begin_at: float, *, for_s: float) -> list[Written]:
    """Write rounds of one site after the other, without a pause."""
    time.sleep(max(0.0, begin_at - time.time()))
    written = []
    for site in itertools.cycle(sites):
        if time.time() >= begin_at + for_s:
            break
        written.append(Written(0.0, site.write()))
    return written


def _written(work: Work, url: str, sites: int) -> list[Written]:
    """Share the sites among processes, and gather what all of them wrote."""
    context = get_context("spawn")
    all_connected = context.Barrier(PROCESSES)
    with ProcessPoolExecutor(
        PROCESSES, mp_context=context, initializer=_remember, initargs=(all_connected,)
    ) as processes:
        shares = [processes.submit(_share, work, url, range(n, sites, PROCESSES)) for n in range(PROCESSES)]
        return [written for share in shares for written in share.result()]


def _remember(all_connected: Barrier) -> None:
    global _all_connected
    _all_connected = all_connected


def _share(work: Work, url: str, numbers: Sequence[int]) -> list[Written]:
    """Write for the sites *numbers*, each always from the same thread of this process."""
    sites = [Site(number, url) for number in numbers]
    for site in sites:
        site.write()
    _all_connected.wait(CONNECTED_WITHIN_S)
    begin_at = time.time() + 1.0
    with ThreadPoolExecutor(THREADS) as threads:
        shares = [threads.submit(work, sites[n::THREADS], begin_at) for n in range(THREADS)]
        written = [each for share in shares for each in share.result()]
    for site in sites:
        site.close()
    return written
