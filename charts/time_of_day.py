"""The panel of a long range: when in the day power is used, each day a column, darker where it is more.

A line over a year would rise and fall 365 times and show nothing; this shows seasons, habits and holidays.
"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from charts import style
from charts.axis import days_since_epoch, label_gaps
from charts.power_load import PowerData, TimeOfDay
from charts.text import Words, number

_COLOURS = LinearSegmentedColormap.from_list(
    "sold to bought", ["#8a5200", style.SOLD, "#fbe3b8", "#ffffff", "#b9d0e4", style.BOUGHT, "#0b2239"]
)


def draw_time_of_day(axes: Axes, data: PowerData, columns: TimeOfDay, words: Words) -> None:
    """Draw a cell for each half hour and point; where nothing was read, the hatch below shows through."""
    style.name_panel(axes, words.time_of_day_panel)
    edges = np.array([float(days_since_epoch(edge)) for edge in columns.edges])
    style.hatch(axes, float(edges[0]), float(edges[-1]), zorder=0.5)
    top_w = _top_w(columns)
    axes.pcolormesh(
        edges,
        np.arange(49) / 2,
        np.ma.masked_invalid(columns.mean_w),
        cmap=_COLOURS,
        vmin=-top_w,
        vmax=top_w,
        zorder=1,
        gid="time of day",
        rasterized=True,  # 17,520 outlines would make an SVG of megabytes
    )
    axes.set_ylim(0, 24)
    axes.set_yticks(range(0, 25, 6), [f"{hour}:00" for hour in range(0, 25, 6)])
    axes.grid(visible=False)
    label_gaps(axes, data.power_gaps, data.period, words)
    if data.peak is not None:
        moment = data.peak[0].astimezone(data.period.zone)
        place = (float(days_since_epoch(moment)), moment.hour + moment.minute / 60)
        axes.plot(*place, "o", markersize=8, markerfacecolor="none", markeredgecolor=style.INK, zorder=4, gid="peak")
    _draw_scale(axes, top_w, sells=bool(np.nanmin(columns.mean_w) < 0), words=words)


def _top_w(columns: TimeOfDay) -> float:
    """Return the power of the darkest colour: a round number that one cell in a hundred exceeds."""
    high_w = max(float(np.nanpercentile(np.abs(columns.mean_w), 99)), 100.0)
    step = 10.0 ** math.floor(math.log10(high_w)) / 2
    return math.ceil(high_w / step) * step


def _draw_scale(axes: Axes, top_w: float, *, sells: bool, words: Words) -> None:
    """Draw the key of the colours above the right edge, with the words for its ends."""
    width = 0.28 if sells else 0.16
    scale = axes.inset_axes((1 - width, 1.035, width, 0.03))
    low_w = -top_w if sells else 0.0
    values = np.linspace(low_w, top_w, 128)
    scale.pcolormesh(values, [0, 1], values[np.newaxis, :-1], cmap=_COLOURS, vmin=-top_w, vmax=top_w, rasterized=True)
    scale.set_xlim(low_w, top_w)
    scale.set_yticks([])
    top = f"{number(top_w)} W"
    if sells:
        scale.set_xticks([low_w, 0, top_w], [f"{words.sold} {top}", "0", f"{words.bought} {top}"])
    else:
        scale.set_xticks([0, top_w], ["0", top])
    scale.tick_params(axis="x", length=0, pad=2, labelsize=9, top=False, labeltop=True, bottom=False, labelbottom=False)
    scale.spines[:].set_visible(False)
    scale.get_xticklabels()[0].set_horizontalalignment("left")
    scale.get_xticklabels()[-1].set_horizontalalignment("right")
