"""What a picture costs, each in a fresh process, as a reader of the crontab would pay for it.

    python tests/benchmarks/bench_graphs.py [--rounds N]

Prints seconds and peak memory (medians) and the two ratios that we promise: a day's picture costs at most 1.5 times a
bare matplotlib + pandas + psycopg2 script that draws the same points, and a year's at most 2 times a day's with the
same peak memory. Also that -h takes at most 2 times as long as `python -c "import argparse"`. Exits 1 where one fails.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from storage.embedded import EmbeddedServer  # noqa: E402 - the path comes first

YEAR = ("--from", "2025-01-01", "--to", "2026-01-01")
DAY = ("-d", "2025-11-22")

# Written as a household would write it first: read with pandas, draw with pyplot, save.
BARE = """
import sys
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
import psycopg2
from contextlib import closing
url, path = sys.argv[1:]
with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
    cursor.execute("select measured_at, power_w from power where site_id = 1 and measured_at >= %s and measured_at < %s"
                   " order by measured_at", ("2025-11-22 00:00+09", "2025-11-23 00:00+09"))
    power = pd.DataFrame(cursor.fetchall(), columns=["measured_at", "power_w"]).set_index("measured_at")
    cursor.execute("select registered_at, import_kwh from energy where site_id = 1 and registered_at >= %s"
                   " and registered_at <= %s order by registered_at", ("2025-11-22 00:00+09", "2025-11-23 00:00+09"))
    energy = pd.DataFrame(cursor.fetchall(), columns=["registered_at", "kwh"]).set_index("registered_at")
bars = energy["kwh"].astype(float).diff().dropna()
figure, (upper, lower) = plt.subplots(2, 1, figsize=(12, 8), dpi=100, sharex=True)
upper.plot(power.index, power["power_w"])
upper.set_ylabel("Power [W]")
lower.bar(bars.index, bars.to_numpy(), width=0.02)
lower.set_ylabel("Energy [kWh]")
figure.savefig(path)
"""


class Cost(NamedTuple):
    """Of one process."""

    seconds: float
    peak_mib: float


def run(command: Sequence[str]) -> Cost:
    """Run a command that must succeed."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}: {command}")
    return Cost(time.perf_counter() - began, usage.ru_maxrss / 1024)


def write_household(url: str) -> None:
    """Write a year, and the month before it for what is usual."""
    import psycopg2

    from tests.lab.recorded import Household

    with closing(psycopg2.connect(url)) as connection:
        Household(date(2024, 12, 1), 396, air=True, cpu=True).write(connection)
        connection.commit()


def median(costs: Sequence[Cost]) -> Cost:
    """Take the median of each column."""
    return Cost(*(statistics.median(column) for column in zip(*costs, strict=True)))


def main() -> int:
    """Measure in turns, so that a busy moment of the machine meets all alike."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder, "server"), fsync=False) as server:
        # Elsewhere: the peak of a new process counts what its parent held when it was forked.
        household = multiprocessing.get_context("spawn").Process(target=write_household, args=(server.url(),))
        household.start()
        household.join()
        config = Path(folder, "power_consumption.ini")
        config.write_text(f"[database]\nurl = {server.url()}\n[graph]\noutput_dir = {folder}\n", "utf-8")
        config.chmod(0o600)
        python = sys.executable
        shared = ("--config", str(config), "--lang", "en")
        power, temp = ((python, str(ROOT / name), *shared) for name in ("power_graph.py", "temp_graph.py"))
        commands: dict[str, tuple[str, ...]] = {
            "bare script, day": (python, "-c", BARE, server.url(), str(Path(folder, "bare.png"))),
            "power_graph, day": (*power, *DAY),
            "power_graph, year": (*power, *YEAR),
            "temp_graph, day": (*temp, *DAY),
            "temp_graph, year": (*temp, *YEAR),
            "import argparse": (python, "-c", "import argparse"),
            "power_graph -h": (python, str(ROOT / "power_graph.py"), "-h"),
        }
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        for round_number in range(rounds + 1):
            for name, command in commands.items():
                cost = run(command)
                if round_number:  # the first round fills caches
                    costs[name].append(cost)
    return report({name: median(several) for name, several in costs.items()})


def report(costs: dict[str, Cost]) -> int:
    """Print the table and the ratios; return 1 where one is above its limit."""
    for name, cost in costs.items():
        print(f"{name:20} {cost.seconds:7.3f} s {cost.peak_mib:7.1f} MiB")

    def seconds(name: str) -> float:
        return costs[name].seconds

    ratios = (
        ("day's picture / bare script", seconds("power_graph, day") / seconds("bare script, day"), 1.5),
        ("year's power / day's", seconds("power_graph, year") / seconds("power_graph, day"), 2.0),
        ("year's air / day's", seconds("temp_graph, year") / seconds("temp_graph, day"), 2.0),
        ("peak memory, year / day", costs["power_graph, year"].peak_mib / costs["power_graph, day"].peak_mib, 1.05),
        ("-h / import argparse", seconds("power_graph -h") / seconds("import argparse"), 2.0),
    )
    for name, ratio, limit in ratios:
        print(f"{name:28} {ratio:5.2f} (at most {limit}) {'' if ratio <= limit else 'TOO MUCH'}")
    return int(any(ratio > limit for _, ratio, limit in ratios))


if __name__ == "__main__":
    sys.exit(main())
