"""What a picture costs, each in a fresh process, as a reader of the crontab would pay for it.

    python tests/benchmarks/bench_graphs.py [--rounds N]

Prints seconds and peak memory (medians) and the ratios that we promise: a day's picture costs at most 1.5 times a bare
matplotlib + pandas + psycopg2 script that draws the same points; a year's at most 1.5 times a day's, and that of ten
years of a household that sells at most 3 times, with the same peak memory. Also that -h takes at most 2 times as long
as `python -c "import argparse"`. Exits 1 where one fails. The bare script of a year and of ten years runs once.
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

DAY, YEAR, DECADE = ("2025-11-22", "2025-11-23"), ("2025-01-01", "2026-01-01"), ("2016-01-01", "2026-01-01")

# Written as a household would write it first: read with pandas, draw with pyplot, save.
BARE = """
import sys
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
import psycopg2
from contextlib import closing
url, path, start, end = sys.argv[1:]
period = tuple(f"{day} 00:00+09" for day in (start, end))
with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
    cursor.execute("select measured_at, power_w from power where site_id = 1 and measured_at >= %s and measured_at < %s"
                   " order by measured_at", period)
    power = pd.DataFrame(cursor.fetchall(), columns=["measured_at", "power_w"]).set_index("measured_at")["power_w"]
    cursor.execute("select registered_at, import_kwh from energy where site_id = 1 and registered_at >= %s"
                   " and registered_at <= %s order by registered_at", period)
    energy = pd.DataFrame(cursor.fetchall(), columns=["registered_at", "kwh"]).set_index("registered_at")["kwh"]
bars = energy.astype(float).diff().dropna()
figure, (upper, lower) = plt.subplots(2, 1, figsize=(12, 8), dpi=100)
if len(bars) <= 48:
    upper.plot(power.index, power)
    lower.bar(bars.index, bars.to_numpy(), width=0.02)
else:
    halves = power.tz_convert("Asia/Tokyo").resample("30min").mean()
    map = halves.groupby([halves.index.date, halves.index.hour * 2 + halves.index.minute // 30]).mean().unstack(0)
    upper.pcolormesh(map)
    months = bars.tz_convert("Asia/Tokyo").resample("MS").sum()
    lower.bar(months.index, months.to_numpy(), width=25)
upper.set_ylabel("Power [W]")
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


def write_households(url: str) -> None:
    """Write ten years of a household that sells, and a year of air; and the month before each for what is usual."""
    import psycopg2

    from tests.lab.recorded import Household

    with closing(psycopg2.connect(url)) as connection:
        Household(date(2015, 12, 1), 3684, solar=True).write(connection, "home")
        Household(date(2024, 12, 1), 396, air=True, cpu=True).write(connection, "room")
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
        households = multiprocessing.get_context("spawn").Process(target=write_households, args=(server.url(),))
        households.start()
        households.join()

        def graph(script: str, site: str, period: tuple[str, str]) -> tuple[str, ...]:
            config = Path(folder, f"{site}.ini")
            text = f"[database]\nurl = {server.url()}\n[storage]\nsite = {site}\n[graph]\noutput_dir = {folder}\n"
            config.write_text(text, "utf-8")
            config.chmod(0o600)
            start, end = period
            options = ("--config", str(config), "--lang", "en", "--from", start, "--to", end)
            return (sys.executable, str(ROOT / script), *options)

        def bare(period: tuple[str, str]) -> tuple[str, ...]:
            return (sys.executable, "-c", BARE, server.url(), str(Path(folder, "bare.png")), *period)

        commands: dict[str, tuple[str, ...]] = {
            "bare script, day": bare(DAY),
            "power_graph, day": graph("power_graph.py", "home", DAY),
            "power_graph, year": graph("power_graph.py", "home", YEAR),
            "power_graph, 10 years": graph("power_graph.py", "home", DECADE),
            "temp_graph, day": graph("temp_graph.py", "room", DAY),
            "temp_graph, year": graph("temp_graph.py", "room", YEAR),
            "import argparse": (sys.executable, "-c", "import argparse"),
            "power_graph -h": (sys.executable, str(ROOT / "power_graph.py"), "-h"),
        }
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        for round_number in range(rounds + 1):
            for name, command in commands.items():
                cost = run(command)
                if round_number:  # the first round fills caches
                    costs[name].append(cost)
        once = {"bare script, year": run(bare(YEAR)), "bare script, 10 years": run(bare(DECADE))}
    return report({name: median(several) for name, several in costs.items()} | once)


def report(costs: dict[str, Cost]) -> int:
    """Print the table and the ratios; return 1 where one is above its limit."""
    for name, cost in costs.items():
        print(f"{name:20} {cost.seconds:7.3f} s {cost.peak_mib:7.1f} MiB")

    def seconds(name: str) -> float:
        return costs[name].seconds

    def peak_mib(name: str) -> float:
        return costs[name].peak_mib

    ratios = (
        ("day's picture / bare script", seconds("power_graph, day") / seconds("bare script, day"), 1.5),
        ("year's power / day's", seconds("power_graph, year") / seconds("power_graph, day"), 1.5),
        ("10 years' power / day's", seconds("power_graph, 10 years") / seconds("power_graph, day"), 3.0),
        ("year's air / day's", seconds("temp_graph, year") / seconds("temp_graph, day"), 1.5),
        ("peak memory, year / day", peak_mib("power_graph, year") / peak_mib("power_graph, day"), 1.05),
        ("peak memory, 10 years / day", peak_mib("power_graph, 10 years") / peak_mib("power_graph, day"), 1.05),
        ("-h / import argparse", seconds("power_graph -h") / seconds("import argparse"), 2.0),
    )
    for name, ratio, limit in ratios:
        print(f"{name:28} {ratio:5.2f} (at most {limit}) {'' if ratio <= limit else 'TOO MUCH'}")
    return int(any(ratio > limit for _, ratio, limit in ratios))


if __name__ == "__main__":
    sys.exit(main())
