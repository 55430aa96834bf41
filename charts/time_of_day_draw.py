"""The map of a long range: a column a day or several, a colour for the mean power at that time of day."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.patheffects import Normal, withStroke
from numpy.typing import NDArray

from charts import style
from charts.coverage import days_since_epoch
from charts.labels import ABOVE, BELOW, BESIDE, Labels
from charts.panel import label_gaps, labels_beside
from charts.power_load import PowerData
from charts.text import Words, number, when
from charts.time_of_day_load import TimeOfDay

_COLOURS = LinearSegmentedColormap.from_list(
    "sold to bought", ["#8a5200", style.SOLD, "#fbe3b8", "#ffffff", "#b9d0e4", style.BOUGHT, "#0b2239"]
)
_WHITE = ListedColormap(["#ffffff"])


def draw_time_of_day(axes: Axes, data: PowerData, columns: TimeOfDay, words: Words) -> None:
    """Draw a cell for each half hour and point; where nothing is known, the hatch below shows through."""
    style.name_panel(axes, words.time_of_day_panel)
    edges = np.array([days_since_epoch(edge) for edge in columns.edges])
    style.hatch(axes, float(edges[0]), float(edges[-1]), zorder=0.5)
    bought_w, sold_w = _top_w(columns.mean_w), _top_w(-columns.mean_w)
    # Each side has a scale of its own: what the sun gives would otherwise pale all that is used, or be paled by it.
    shares = columns.mean_w / np.where(columns.mean_w < 0, sold_w, bought_w)  # NaN where nothing is known
    shares = shares.astype(np.float32)  # single: half the memory of ten years
    rows = np.arange(49) / 2
    look: dict[str, Any] = {"zorder": 1, "rasterized": True}  # 17,520 outlines would make an SVG of megabytes
    outside = _outside(data, columns)
    if outside.any():
        axes.pcolormesh(edges, rows, np.ma.masked_equal(outside, 0), cmap=_WHITE, gid="not due", **look)
    axes.pcolormesh(edges, rows, shares, cmap=_COLOURS, vmin=-1, vmax=1, gid="time of day", **look)
    is_sold = columns.mean_w < 0
    if is_sold.any():
        _draw_white_lines(axes, edges, rows[:-1] + 0.25, is_sold)
    axes.set_ylim(0, 24)
    axes.set_yticks(range(0, 25, 6), [f"{hour}:00" for hour in range(0, 25, 6)])
    axes.get_yticklabels()[-1].set_verticalalignment("top")  # the name of the panel stands right above
    axes.grid(visible=False)
    labels = labels_beside(axes, columns.gaps, data.now)
    _mark_peak(axes, labels, data, words)
    label_gaps(labels, columns.gaps, words)
    _draw_scale(axes, bought_w, sold_w if is_sold.any() else None, words)


def _draw_white_lines(
    axes: Axes, edges: NDArray[np.float64], rows: NDArray[np.float64], is_sold: NDArray[np.bool_]
) -> None:
    """Draw white lines through what was sold: in print without colours its shades are those of what was bought."""
    around = np.pad(is_sold, ((0, 0), (1, 1)))
    row, place = np.nonzero(around[:, 1:] != around[:, :-1])  # begin and end of each stretch, in turns
    x = np.stack([edges[place[::2]], edges[place[1::2]], np.full(len(place) // 2, np.nan)], axis=1)
    look: dict[str, Any] = {"color": "white", "alpha": 0.75, "linewidth": 0.72, "snap": True, "rasterized": True}
    axes.plot(x.ravel(), np.repeat(rows[row[::2]], 3), zorder=1.1, gid="sold", **look)


def _outside(data: PowerData, columns: TimeOfDay) -> NDArray[np.uint8]:
    """Mark the cells that are not due: before the period begins, or after what can be known by now."""
    zone = data.period.zone
    outside = np.zeros(columns.mean_w.shape, dtype=np.uint8)
    if len(columns.edges) == 2:  # of a range that goes far beyond now: the days of its one column hold every half hour
        return outside
    first, last = columns.edges[0].astimezone(zone), columns.edges[-1].astimezone(zone)
    if (first.hour, first.minute) != (0, 0):
        outside[: first.hour * 2 + first.minute // 30, 0] = 1
    if (last.hour, last.minute) != (0, 0):
        outside[last.hour * 2 + last.minute // 30 :, -1] = 1
        if data.now is not None:  # the register of a half hour that has just ended may take some minutes to come
            outside[max(last.hour * 2 + last.minute // 30 - 1, 0) :, -1] = 1
    outside[~np.isnan(columns.mean_w)] = 0
    return outside


def _mark_peak(axes: Axes, labels: Labels, data: PowerData, words: Words) -> None:
    if data.peak is None:
        return
    moment, peak_w = data.peak
    local = moment.astimezone(data.period.zone)
    x, y = days_since_epoch(moment), local.hour + local.minute / 60
    halo = [withStroke(linewidth=4.5, foreground="white"), Normal()]
    ring: dict[str, Any] = {
        "markersize": 9,
        "markerfacecolor": "none",
        "markeredgecolor": style.INK,
        "markeredgewidth": 1.5,
    }
    axes.plot(x, y, "o", zorder=4, gid="peak", path_effects=halo, **ring)
    labels.keep_clear_of_point(x, y, 7)
    at = when(moment, data.period, words.language)
    text = words.extreme.format(value=f"{number(peak_w)} W", when=at)
    beside = [place._replace(right=place.right * 1.5) for place in BESIDE]
    further = [place._replace(up=place.up * 2) for place in (*ABOVE, *BELOW)]
    labels.set(text, [(x, y)], (*beside, *further), gid="peak label", ground="white")


def _top_w(mean_w: NDArray[np.float64]) -> float:
    """Return the power of the darkest colour: a round number that one cell in a hundred exceeds."""
    positive = mean_w[mean_w > 0]
    high_w = max(float(np.percentile(positive, 99)) if positive.size else 0.0, 100.0)
    step = 10.0 ** math.floor(math.log10(high_w)) / 2
    return math.ceil(high_w / step) * step


def _draw_scale(axes: Axes, bought_w: float, sold_w: float | None, words: Words) -> None:
    """Draw the key of the colours above the right edge, with the words for its ends."""
    width = 0.28 if sold_w is not None else 0.16
    scale = axes.inset_axes((1 - width, 1.035, width, 0.03))
    low = 0.0 if sold_w is None else -1.0
    values = np.linspace(low, 1.0, 129)
    scale.pcolormesh(values, [0, 1], values[np.newaxis, :-1], cmap=_COLOURS, vmin=-1, vmax=1, rasterized=True)
    if sold_w is not None:
        _draw_white_lines(scale, values, np.array([0.3, 0.7]), np.tile(values[:-1] < 0, (2, 1)))
    scale.set_xlim(low, 1)
    scale.set_yticks([])
    top = f"{number(bought_w)} W"
    if sold_w is not None:
        scale.set_xticks([-1, 0, 1], [f"{words.sold} {number(sold_w)} W", "0", f"{words.bought} {top}"])
    else:
        scale.set_xticks([0, 1], ["0", top])
    scale.tick_params(axis="x", length=0, pad=2, labelsize=9, top=False, labeltop=True, bottom=False, labelbottom=False)
    scale.spines[:].set_visible(False)
    scale.get_xticklabels()[0].set_horizontalalignment("left")
    scale.get_xticklabels()[-1].set_horizontalalignment("right")
