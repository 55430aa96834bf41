"""One line of the table: what was measured, beside what, and what was promised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """*value* is a ratio to the reference, or a number in *unit* where a limit stands alone.

    *limit* None: nothing was promised; it helps to understand another line.
    """

    what: str
    measured: str
    reference: str
    value: float
    limit: float | None
    unit: str = "x"
    at_least: bool = False  # the limit is the least, not the most

    @property
    def is_met(self) -> bool:
        """Whether the promise is kept."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def cells(self) -> tuple[str, str, str, str, str, str]:
        """The columns of HEADINGS."""
        bound = "at least" if self.at_least else "at most"
        limit = "" if self.limit is None else f"{bound} {number(self.limit)} {self.unit}"
        met = "" if self.limit is None else "yes" if self.is_met else "NO"
        return (
            self.what,
            self.measured,
            self.reference,
            f"{number(self.value)} {self.unit}",
            limit,
            met,
        )


HEADINGS = ("what", "measured", "reference in the same run", "result", "target", "met")


def number(value: float) -> str:
    """Write three significant digits, without an exponent."""
    if value and abs(value) < 100:
        return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.5f}"
    return f"{value:,.0f}"


def as_text(figures: Sequence[Figure]) -> str:
    """Align the columns for a terminal."""
    rows = [HEADINGS, *(figure.cells for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def as_markdown(figures: Sequence[Figure]) -> str:
    """Make the table of docs/performance.md."""
    rule = ("---",) * len(HEADINGS)
    return "\n".join(f"| {' | '.join(row)} |" for row in (HEADINGS, rule, *(figure.cells for figure in figures)))
