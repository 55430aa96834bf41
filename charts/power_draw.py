"""The picture of the electricity. Pure: data in, a Figure out; no file, no database, no display."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from charts import style
from charts.coverage import Course, days_since_epoch, unread
from charts.energy_draw import cost_figures, draw_energy, energy_figures
from charts.labels import ABOVE, BESIDE
from charts.panel import (
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
from charts.power_load import PowerData, Usual
from charts.style import KeyEntry
from charts.text import WORDS, Language, Words, lack_notes, missing_notes, number, title_of, when
from charts.time_of_day_draw import draw_time_of_day
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
        draw_time_of_day(panels[0], data, data.time_of_day, words)
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
