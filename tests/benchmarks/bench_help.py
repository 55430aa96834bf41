"""How soon each script answers -h: the whole process, beside one that only imports argparse."""

from __future__ import annotations

import statistics
import sys

from tests.benchmarks.figure import Figure
from tests.benchmarks.measuring import counted, process_s, script

SCRIPTS = ("power_consumption.py", "power_graph.py", "temp_graph.py")
MOST = 2.0


def figures(effort: float) -> list[Figure]:
    """Measure the scripts and the reference in turns."""
    commands = {name: script(name, "-h") for name in SCRIPTS}
    reference = [sys.executable, "-c", "import argparse"]
    elapsed_s: dict[str, list[float]] = {name: [] for name in (*SCRIPTS, "reference")}
    for _ in range(counted(41, effort)):
        elapsed_s["reference"].append(process_s(reference))
        for name, command in commands.items():
            elapsed_s[name].append(process_s(command))
    median_s = {name: statistics.median(several) for name, several in elapsed_s.items()}
    return [
        Figure(
            f"{name} -h, whole process",
            f"{median_s[name] * 1e3:.0f} ms",
            f'python -c "import argparse": {median_s["reference"] * 1e3:.0f} ms',
            median_s[name] / median_s["reference"],
            MOST,
        )
        for name in SCRIPTS
    ]
