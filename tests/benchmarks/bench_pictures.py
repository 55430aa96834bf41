"""What the pictures cost, of a day up to ten years: bench_graphs.py in a process of its own, and its lines read."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.benchmarks.figure import Figure
from tests.benchmarks.measuring import ROOT, counted

BENCH = ROOT / "tests" / "benchmarks" / "bench_graphs.py"
_COST = re.compile(r"(?P<name>\S.*?) +(?P<seconds>[\d.]+) s +(?P<mib>[\d.]+) MiB")
_RATIO = re.compile(r"(?P<name>\S.*?) +(?P<ratio>[\d.]+) \(at most (?P<limit>[\d.]+)\)")


def figures(effort: float) -> list[Figure]:
    """Let it draw, and take its ratios."""
    command = [sys.executable, str(BENCH), "--rounds", str(counted(5, effort))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = figures_in(done.stdout)
    if not found:
        raise RuntimeError(f"{BENCH.name} printed no ratio: {done.stderr}")
    return found


def figures_in(printed: str) -> list[Figure]:
    """Read what bench_graphs.py printed; the costs stand before the ratios made of them."""
    costs = {found["name"]: found for found in map(_COST.match, printed.splitlines()) if found}
    return [
        Figure(
            f"pictures: {found['name']}", *_sides(found["name"], costs), float(found["ratio"]), float(found["limit"])
        )
        for found in map(_RATIO.match, printed.splitlines())
        if found and not found["name"].startswith("-h")  # which has rows of its own
    ]


_CONTENDERS = {
    "day's picture / bare script": ("power_graph, day", "bare script, day"),
    "year's power / day's": ("power_graph, year", "power_graph, day"),
    "10 years' power / day's": ("power_graph, 10 years", "power_graph, day"),
    "year's air / day's": ("temp_graph, year", "temp_graph, day"),
    "peak memory, year / day": ("power_graph, year", "power_graph, day"),
    "peak memory, 10 years / day": ("power_graph, 10 years", "power_graph, day"),
}


def _sides(ratio: str, costs: dict[str, re.Match[str]]) -> tuple[str, str]:
    """Say what was measured, and the reference."""
    column, unit = ("mib", "MiB") if "memory" in ratio else ("seconds", "s")
    contenders = [costs.get(name) for name in _CONTENDERS.get(ratio, ())]
    mine, reference = (f"{found[column]} {unit}" if found else "" for found in contenders) if contenders else ("", "")
    return mine, reference
