"""The picture of the electricity. Pure: data in, a Figure out; no file, no database, no display."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from charts import style
from charts.coverage import Course, days_since_epoch, unread
from charts.energy_draw import cost_figures, draw_energy, energy_figures
from charts.panel import (
    ABOVE,
    BELOW,
    BESIDE,
    Labels,
    draw_line,
    hatch_gaps,
    is_visible,
    label_gaps,
    labels_beside,
    mark_now,
    mark_weekends,
    set_limits,
    set_time_axis,
)
from charts.power_load import PowerData, TimeOfDay, Usual
from charts.style import KeyEntry
from charts.text import WORDS, Language, Words, lack_notes, missing_notes, number, title_of, when
from storage.series import TRUE_POWER_KW, FalsePower

_COLOURS = LinearSegmentedColormap.from_list(
    "sold to bought", ["#8a5200", style.SOLD, "#fbe3b8", "#ffffff", "#b9d0e4", style.BOUGHT, "#0b2239"]
)
_WHITE = ListedColormap(["#ffffff"])
_POWER_IN, _ENERGY_IN, _CURRENT_IN, _EMPTY_IN = 3.5, 1.75, 1.5, 0.6


def draw(data: PowerData, *, language: Language, contract_a: Decimal | None = None) -> Figure:
    """Return the picture, 1,200 px wide. Draw and save it within style.applied(language)."""
    words = WORDS[language]
    has_current = data.current_r_a is not None or data.current_t_a is not None
    heights = [_POWER_IN if data.has_power else _EMPTY_IN, _ENERGY_IN if data.has_energy else _EMPTY_IN]
    heights += [_CURRENT_IN] if has_current else []
    title = title_of(data.period, words.power_title, words, now=data.now)
    figure, panels = style.sheet(
        title, _key_figures(data, words), heights, _footnote(data, words, with_current=has_current)
    )
    set_time_axis(panels, data.period, language)
    mark_weekends(panels[1:] if data.time_of_day else panels, data.period)
    if data.time_of_day is not None:
        _draw_time_of_day(panels[0], data, data.time_of_day, words)
    else:
        _draw_power(panels[0], data, words)
    draw_energy(panels[1], data, words)
    if has_current:
        _draw_current(panels[2], data, words, contract_a)
    if data.now is not None:
        mark_now(panels, data.now)
    return figure


def _footnote(data: PowerData, words: Words, *, with_current: bool) -> str:
    used_lacks, sold_lacks = (data.energy.lacks, data.energy.sold_lacks_alone) if data.energy else ([], [])
    quantities = [(words.power, data.power_gaps)]
    quantities += [(words.current, data.current_gaps)] if with_current else []
    quantities += [(words.energy, unread(used_lacks, data.period.start, data.until))]
    sold_gaps = unread(sold_lacks, data.period.start, data.until)
    quantities += [(words.sold, sold_gaps)] if sold_gaps else []
    found = missing_notes(quantities, data.period, words) + lack_notes(data.energy, data.period, words)
    if data.false_power is not None:
        found.append(_false_power_note(data.false_power, data, words))
    return style.in_lines(found, words.between_notes)


def _false_power_note(found: FalsePower, data: PowerData, words: Words) -> str:
    if found.readings > 1:
        return words.false_readings.format(count=number(found.readings), kilowatts=TRUE_POWER_KW)
    at = when(found.first_at, data.period, words.language)
    return words.false_reading.format(reading=words.extreme.format(value=f"{number(found.first_w)} W", when=at))


def _key_figures(data: PowerData, words: Words) -> list[style.KeyFigure]:
    figures = energy_figures(data, words)
    if data.peak is not None:
        moment, peak_w = data.peak
        at = when(moment, data.period, words.language)
        figures.append(style.KeyFigure(words.peak, f"{number(peak_w)} W", at))
    if data.base_load_w is not None:
        note = words.base_load_night if data.base_load_at_night else words.base_load_day
        figures.append(style.KeyFigure(words.base_load, f"{number(data.base_load_w)} W", note))
    return figures + cost_figures(data, words)


def _draw_power(axes: Axes, data: PowerData, words: Words) -> None:
    style.name_panel(axes, words.power_panel)
    hatch_gaps(axes, data.power_gaps)
    labels = labels_beside(axes, data.power_gaps, data.now)
    if not data.has_power:
        axes.set_ylim(0, 100)
        axes.set_yticks([])
        label_gaps(labels, data.power_gaps, words)
        return
    highest, lowest = _range_w(data)
    set_limits(axes, lowest, highest, below_px=12 if lowest < 0 else 0, above_px=30)
    axes.axhline(0, color=style.MUTED, linewidth=0.9, zorder=2.6)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    key: list[KeyEntry] = []
    if data.sells:
        key += [KeyEntry(words.bought, style.BOUGHT), KeyEntry(words.sold, style.SOLD_TEXT)]
    if data.usual is not None and _draw_usual(axes, data.usual, data):
        name = words.usual.format(days=data.usual.days) if data.usual.days > 1 else words.yesterday
        key.append(KeyEntry(name, style.USUAL_TEXT, "-", style.USUAL))
    if data.power_w is not None:
        _draw_by_sign(axes, data.power_w, (style.BOUGHT, style.SOLD), gid="power")
        if data.power_w.is_aggregated and is_visible(axes, data.power_w):
            key.append(KeyEntry(words.mean_and_extremes))
    if data.half_hours:
        _draw_half_hours(axes, data)
        key.append(KeyEntry(words.half_hour_means))
    if data.peak is not None:
        x, y = days_since_epoch(data.peak[0]), float(data.peak[1])
        axes.plot(x, y, "o", color=style.BOUGHT, markersize=5, clip_on=False, zorder=4, gid="peak")
        labels.keep_clear_of_point(x, y)
        at = when(data.peak[0], data.period, words.language)
        labels.set(words.extreme.format(value=f"{number(y)} W", when=at), [(x, y)], (*ABOVE, *BESIDE), gid="peak label")
    label_gaps(labels, data.power_gaps, words)
    style.key(axes, key)


def _range_w(data: PowerData) -> tuple[float, float]:
    """Return the highest and the lowest power of the panel; 0 is in it, and at least 100 W."""
    values = [100.0, 0.0, *(power_w for _, power_w in data.half_hours)]
    if data.power_w is not None:
        values += [float(np.nanmax(data.power_w.highest)), float(np.nanmin(data.power_w.lowest))]
    if data.usual is not None:
        values += [float(np.nanmax(data.usual.high_w)), float(np.nanmin(data.usual.low_w))]
    return max(values), min(values)


def _draw_usual(axes: Axes, usual: Usual, data: PowerData) -> bool:
    """Draw what is usual; say whether anything of it can be seen beside the gaps, which hide it."""
    if usual.days > 1:
        band: dict[str, Any] = {"color": style.USUAL, "alpha": 0.18, "linewidth": 0}
        axes.fill_between(usual.x, usual.low_w, usual.high_w, gid="usual", zorder=0.3, **band)
    axes.plot(usual.x, usual.median_w, color=style.USUAL, linewidth=1.3, gid="usual", zorder=2.2)
    hidden = np.zeros(len(usual.x), dtype=np.bool_)
    for gap in data.power_gaps:
        hidden |= (usual.x >= days_since_epoch(gap.start)) & (usual.x <= days_since_epoch(gap.end))
    return int((~hidden & ~np.isnan(usual.median_w)).sum()) >= 2


def _draw_half_hours(axes: Axes, data: PowerData) -> None:
    """Draw the mean of each half hour as a step: that is all that is known of it."""
    for sign, color in ((1, style.BOUGHT), (-1, style.SOLD)):
        shown = [(gap, power_w) for gap, power_w in data.half_hours if (power_w < 0) == (sign < 0)]
        if shown:
            lefts = np.array([days_since_epoch(gap.start) for gap, _ in shown])
            rights = np.array([days_since_epoch(gap.end) for gap, _ in shown])
            watts = np.array([power_w for _, power_w in shown])
            zero = np.zeros(len(shown))  # one outline for all: bars of their own would show seams between them
            x, y = np.stack([lefts, lefts, rights, rights], axis=1), np.stack([zero, watts, watts, zero], axis=1)
            axes.fill(x.ravel(), y.ravel(), color=color, alpha=0.28, linewidth=0, gid="half hours")
            axes.hlines(watts, lefts, rights, color=color, linewidth=1.3, zorder=3, gid="half hour means")


def _draw_by_sign(
    axes: Axes, course: Course, colors: tuple[str, str], *, gid: str, filled: bool = True, **look: object
) -> None:
    """Draw one line twice, each time showing only its own side of zero: the colour changes exactly there."""
    bottom, top = float(np.nanmin(course.lowest)) - 1e3, float(np.nanmax(course.highest)) + 1e3
    left, right = axes.get_xlim()
    for color, low, high in ((colors[0], 0.0, top), (colors[1], bottom, 0.0)):
        if low < 0 and np.nanmin(course.lowest) >= 0:
            continue
        if filled and course.is_aggregated:
            band = (np.clip(course.lowest, low, high), np.clip(course.highest, low, high))
            axes.fill_between(course.x, *band, step="mid", color=color, alpha=0.28, linewidth=0, gid="extremes")
        elif filled:
            axes.fill_between(course.x, 0, np.clip(course.mean, low, high), color=color, alpha=0.13, linewidth=0)
        drawn = len(axes.lines)
        draw_line(axes, course, color, gid=gid, **look)
        window = Rectangle((left, low), right - left, high - low, transform=axes.transData)
        for line in axes.lines[drawn:]:
            line.set_clip_path(window)


def _draw_time_of_day(axes: Axes, data: PowerData, columns: TimeOfDay, words: Words) -> None:
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


def _draw_current(axes: Axes, data: PowerData, words: Words, contract_a: Decimal | None) -> None:
    """Draw the current of each phase. What flows out is drawn as sold, and does not count against the contract."""
    hatch_gaps(axes, data.current_gaps)
    key, highest, lowest = [], 1.0, 0.0
    phases: tuple[tuple[Course | None, str, Literal["-", "--"], str, str], ...] = (
        (data.current_r_a, style.BOUGHT, "-", words.phase_r, "current_r_a"),
        (data.current_t_a, style.SECOND, "--", words.phase_t, "current_t_a"),
    )
    for course, color, line, name, gid in phases:
        if course is not None:
            highest = max(highest, float(np.nanmax(course.highest)))
            lowest = min(lowest, float(np.nanmin(course.lowest)))
            _draw_by_sign(
                axes, _outermost(course), (color, style.SOLD), gid=gid, filled=False, linewidth=1.0, linestyle=line
            )
            key.append(KeyEntry(name, color, line))
    if lowest < 0:
        key.append(KeyEntry(words.sold, style.SOLD_TEXT))
        axes.axhline(0, color=style.MUTED, linewidth=0.9, zorder=2.6)
    if contract_a is not None:
        axes.axhline(float(contract_a), color=style.BAD, linewidth=1.2, gid="contract", zorder=2.6)
        key.append(KeyEntry(words.contract.format(amperes=f"{contract_a.normalize():f}"), style.BAD, "-"))
        highest = max(highest, float(contract_a))
    axes.set_ylim(lowest * 1.1, highest * 1.1)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: number(value, 0 if float(value).is_integer() else 1))
    style.name_panel(axes, words.current_panel)
    style.key(axes, key)


def _outermost(course: Course) -> Course:
    """Return the current of each point that is farthest from zero: a fuse does not see means."""
    current_a = np.where(course.highest >= -course.lowest, course.highest, course.lowest)
    return Course(course.x, current_a, course.lowest, course.highest, course.is_aggregated)
