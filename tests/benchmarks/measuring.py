"""How to measure on a machine that has other things to do: in turns, with medians, each contender a process.

A contender has one processor, and what is simulated beside it another: as the module is a chip of its own, it does not
take the caches of who asks it.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

Deed = Callable[[], object]
Contender = Callable[[], AbstractContextManager[Deed]]  # prepared on entering; called again and again

_spawn = multiprocessing.get_context("spawn")  # nothing of the measuring process lives on in the measured ones


def counted(number: int, effort: float, *, least: int = 1) -> int:
    """Return *number* of repetitions at full effort, fewer at less."""
    return max(least, round(number * effort))


def cpu_s_each(deed: Deed, times: int) -> float:
    """Return the CPU seconds of this process, all threads, user and system, for one *deed*."""
    began = time.process_time()
    for _ in range(times):
        deed()
    return (time.process_time() - began) / times


def cpu_s_in_turns(contenders: Mapping[str, Contender], *, times: Mapping[str, int], blocks: int) -> dict[str, float]:
    """Let the *contenders*, each in a process of its own, act *times* in turn; return the median CPU seconds of a deed.

    The first block of each is not counted: it fills caches.
    """
    costs: dict[str, list[float]] = {name: [] for name in contenders}
    with ExitStack() as stack:
        processes = {name: stack.enter_context(_process_of(contender)) for name, contender in contenders.items()}
        for block in range(blocks + 1):
            for name, orders in processes.items():
                orders.send(times[name])
                cost = orders.recv()
                if block:
                    costs[name].append(cost)
    return {name: statistics.median(several) for name, several in costs.items()}


@contextmanager
def _process_of(contender: Contender) -> Iterator[Connection]:
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(target=_obey, args=(contender, theirs))
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()  # which ends it
        process.join()


@contextmanager
def other_processors() -> Iterator[None]:
    """Let what is started here run on all processors but the first. Where there is only one, do nothing."""
    processors = os.sched_getaffinity(0)
    others = processors - {min(processors)}
    os.sched_setaffinity(0, others or processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, processors)


def _obey(contender: Contender, orders: Connection) -> None:
    with contender() as deed:
        first = {min(os.sched_getaffinity(0))}
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), first)
        while True:
            try:
                times = orders.recv()
            except EOFError:
                return
            orders.send(cpu_s_each(deed, times))


def result_of(function: Callable[..., object], *arguments: object) -> object:
    """Return what *function* returns in a new process."""
    with _spawn.Pool(1) as pool:
        return pool.apply(function, arguments)


def process_s(command: Sequence[str], *, cwd: Path = ROOT) -> float:
    """Return the wall seconds of a process that must succeed, from its start to its end."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    elapsed_s = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode} of {' '.join(command)}: {done.stderr}")
    return elapsed_s


def resident_mb(pid: int | None = None) -> float:
    """Return the resident memory of a process (default: this one) in MB of 1,000,000 bytes."""
    pages = int(Path(f"/proc/{pid or os.getpid()}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def script(name: str, *arguments: str) -> list[str]:
    """Return the command line of one of our scripts."""
    return [sys.executable, str(ROOT / name), *arguments]
