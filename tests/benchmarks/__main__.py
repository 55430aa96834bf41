"""Measure, and print one table: python -m tests.benchmarks [ROW ...]. Exits 1 where a promise is not kept."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

from tests.benchmarks import (
    bench_energy,
    bench_get,
    bench_help,
    bench_memory,
    bench_outbox,
    bench_parsing,
    bench_pictures,
    bench_plain,
    bench_record,
    bench_round,
    bench_sites,
    bench_start,
)
from tests.benchmarks.figure import Figure, as_markdown, as_text

ROWS: Mapping[str, Callable[[float], list[Figure]]] = {
    "get": bench_get.figures,
    "start": bench_start.figures,
    "round": bench_round.figures,
    "memory": bench_memory.figures,
    "plain": bench_plain.figures,
    "help": bench_help.figures,
    "parsing": bench_parsing.figures,
    "outbox": bench_outbox.figures,
    "pictures": bench_pictures.figures,
    "record": bench_record.figures,
    "energy": bench_energy.figures,
    "sites": bench_sites.figures,
}


def main() -> int:
    """Run the chosen rows, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure what the program costs.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"what to measure (default: all): {', '.join(ROWS)}")
    parser.add_argument("--effort", type=float, default=1.0, help="share of the repetitions (default: %(default)s)")
    parser.add_argument("--markdown", action="store_true", help="print the table as docs/performance.md has it")
    arguments = parser.parse_args()
    if unknown := set(arguments.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    figures: list[Figure] = []
    for name in arguments.rows or ROWS:
        sys.stderr.write(f"{name} ...\n")
        figures += ROWS[name](arguments.effort)
    print(as_markdown(figures) if arguments.markdown else as_text(figures))
    return int(not all(figure.is_met for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
