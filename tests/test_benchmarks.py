"""Each benchmark runs and fills its lines of the table; how fast anything is, is no matter of these tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.__main__ import ROWS
from tests.benchmarks.bench_pictures import figures_in
from tests.benchmarks.figure import Figure, as_markdown, as_text

ROOT = Path(__file__).parent.parent

LEAST_EFFORT = 0.001
WITH_A_YEAR_TO_DRAW = {"pictures"}  # minutes of work, whatever the effort
QUICK = {"parsing"}


@pytest.mark.system
@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, marks=[] if row in QUICK else pytest.mark.slow)
        for row in sorted(set(ROWS) - WITH_A_YEAR_TO_DRAW)
    ],
)
def test_a_benchmark_measures_something(row: str) -> None:
    figures = ROWS[row](LEAST_EFFORT)
    assert figures
    for figure in figures:
        assert figure.limit is None or figure.limit >= 0
        assert figure.measured
    if row not in ("memory", "sites"):  # nothing more, and none late, is what we hope for
        assert all(figure.value > 0 for figure in figures)


def test_what_the_benchmark_of_the_pictures_prints_becomes_lines_of_the_table() -> None:
    printed = (
        "bare script, day       1.234 s   150.5 MiB\n"
        "power_graph, day       1.500 s   160.0 MiB\n"
        "day's picture / bare script   1.22 (at most 1.5) \n"
        "-h / import argparse          1.50 (at most 2.0) \n"
    )
    assert figures_in(printed) == [Figure("pictures: day's picture / bare script", "1.500 s", "1.234 s", 1.22, 1.5)]


@pytest.mark.parametrize(
    ("value", "at_least", "met"),
    [(2.0, False, True), (2.01, False, False), (2.0, True, True), (1.99, True, False)],
)
def test_a_limit_is_the_most_or_the_least(value: float, at_least: bool, met: bool) -> None:
    figure = Figure("what", "1", "2", value, 2.0, at_least=at_least)
    assert figure.is_met is met
    assert figure.cells[-1] == ("yes" if met else "NO")


def test_the_table_has_a_line_for_each_figure() -> None:
    figures = [Figure("one", "1 s", "2 s", 0.5, 1.0), Figure("another", "40,000", "", 40_000, 50_000, "sites")]
    assert as_text(figures).splitlines()[1].split("  ")[0] == "one"
    assert as_markdown(figures).splitlines()[2] == "| one | 1 s | 2 s | 0.5 x | at most 1 x | yes |"
    assert as_markdown(figures).splitlines()[3] == "| another | 40,000 |  | 40,000 sites | at most 50,000 sites | yes |"


def test_the_page_on_performance_names_each_row_and_the_command() -> None:
    page = (ROOT / "docs" / "performance.md").read_text("utf-8")
    assert "python -m tests.benchmarks" in page
    for row in ROWS:
        assert f"`{row}`" in page
