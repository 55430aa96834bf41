"""The panel of the energy: a bar for each half hour, hour, day or month, bought upwards and sold downwards."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from charts import style
from charts.axis import days_since_epoch, hatch_gaps
from charts.energy_load import Bar
from charts.lacks import gaps_of
from charts.power_load import PowerData
from charts.steps import step_of
from charts.text import Words, kwh, number

_MOST_LABELLED = 31
_MOST_EXACT = 8  # more labels than that have room for one decimal place only


def draw_energy(axes: Axes, data: PowerData, words: Words) -> None:
    """Draw the bars. Where each carries its own number, an axis of numbers would only repeat them."""
    names = {
        "half_hour": words.energy_half_hour,
        "hour": words.energy_hour,
        "day": words.energy_day,
        "month": words.energy_month,
    }
    step = data.energy.step if data.energy else step_of(data.period)
    style.name_panel(axes, names[step])
    hatch_gaps(axes, gaps_of(data.energy, data.period.start, data.until), data.period, words)
    axes.axhline(0, color=style.MUTED, linewidth=0.9, zorder=2.3)
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):,.10g}")
    bars = data.energy.bars if data.energy else []
    known = [bar for bar in bars if bar.used_kwh is not None or bar.sold_kwh is not None]
    labelled = False
    if known:
        # As many bars as the period has room for, whether they are there or not.
        slots = data.period.seconds / max((bar.ended_at - bar.started_at).total_seconds() for bar in known)
        labelled = step in ("day", "month") and slots <= _MOST_LABELLED + 0.5
        _draw_bars(axes, known, labelled=labelled)
    if labelled or not known:
        axes.set_yticks([])


def _draw_bars(axes: Axes, bars: Sequence[Bar], *, labelled: bool) -> None:
    starts = np.array([float(days_since_epoch(bar.started_at)) for bar in bars])
    widths = np.array([float(days_since_epoch(bar.ended_at)) for bar in bars]) - starts
    used = np.array([float(bar.used_kwh or 0) for bar in bars])
    sold = np.array([float(bar.sold_kwh or 0) for bar in bars])
    space = widths.max() * 0.12
    look: dict[str, Any] = {"width": np.maximum(widths - space, space), "align": "edge", "linewidth": 0}
    axes.bar(starts + space / 2, used, color=style.BOUGHT, gid="used", **look)
    if sold.any():
        axes.bar(starts + space / 2, -sold, color=style.SOLD, gid="sold", **look)
    room = 1.22 if labelled else 1.06
    axes.set_ylim(-sold.max() * room, max(used.max(), sold.max() * 0.05, 0.01) * room)
    if labelled:
        for bar, center in zip(bars, starts + widths / 2, strict=True):
            _label(axes, bar.used_kwh, center, 1, exact=len(bars) <= _MOST_EXACT)
            _label(axes, bar.sold_kwh, center, -1, exact=len(bars) <= _MOST_EXACT)


def _label(axes: Axes, value: Decimal | None, center: float, direction: int, *, exact: bool) -> None:
    if value:
        axes.annotate(
            kwh(value) if exact else number(value, 1),
            (center, direction * float(value)),
            xytext=(0, 3 * direction),
            textcoords="offset points",
            ha="center",
            va="bottom" if direction > 0 else "top",
            fontsize=9.5 if exact else 9,
            color=style.MUTED,
            gid="bar label",
        )
