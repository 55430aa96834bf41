"""The picture of the air: aligned panels that share one time, only those for which there is data. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from charts import style
from charts.air_load import COMFORT_C, COMFORT_PCT, LIMIT_PPM, AirData, Extreme, Quantity
from charts.coverage import Course, Gap, days_since_epoch
from charts.labels import ABOVE, BELOW, BESIDE, Labels, Place
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
from charts.period import Period
from charts.style import KeyEntry
from charts.text import (
    WORDS,
    Language,
    Words,
    clock,
    difference,
    length_of,
    missing_notes,
    number,
    percent,
    short_date,
    title_of,
)

_LABEL_PX = 28  # above and below, for the labels of the extremes
_MOST_OUTLIERS = 3  # are labelled


@dataclass(frozen=True, slots=True)
class _Panel:
    """What one panel shows. least_span keeps a quiet day quiet: noise is not blown up to fill the panel."""

    name: str
    height_in: float
    quantity: Quantity | None
    gaps: list[Gap]
    places: int
    least_span: float
    comfort: tuple[int, int] | None = None
    unit: str = ""
    limit: int | None = None
    warming_up: Course | None = None


def draw(data: AirData, *, language: Language) -> Figure:
    """Return the picture, 1,200 px wide. Draw and save it within style.applied(language)."""
    words = WORDS[language]
    contents = _panels(data, words)
    title = title_of(data.period, words.air_title, words, now=data.now)
    missing = [(content.name.split(" [")[0], content.gaps) for content in contents]
    footnote = style.in_lines(missing_notes(missing, data.period, words), words.between_notes)
    heights = [content.height_in for content in contents]
    figure, panels = style.sheet(title, _key_figures(data, words), heights, footnote)
    set_time_axis(panels, data.period, language)
    mark_weekends(panels, data.period)
    named: list[Gap] = []
    for axes, content in zip(panels, contents, strict=True):
        _draw_panel(axes, content, data, words, [gap for gap in content.gaps if gap not in named])
        named += content.gaps
    if data.now is not None:
        mark_now(panels, data.now)
    return figure


def _panels(data: AirData, words: Words) -> list[_Panel]:
    panels = []
    room, humidity, pressure, cpu = data.room_c, data.humidity_pct, data.pressure_hpa, data.cpu_c
    if room:
        panels.append(_Panel(words.room_panel, 1.75, room, room.gaps, 1, 4.0, COMFORT_C, words.celsius))
    if humidity:
        panels.append(_Panel(words.humidity_panel, 1.35, humidity, humidity.gaps, 0, 15.0, COMFORT_PCT, "%"))
    if pressure:
        panels.append(_Panel(words.pressure_panel, 1.2, pressure, pressure.gaps, 1, 6.0))
    if data.co2_ppm or data.co2_warming_up is not None:
        look: dict[str, Any] = {"limit": LIMIT_PPM, "warming_up": data.co2_warming_up}
        panels.append(_Panel(words.co2_panel, 1.75, data.co2_ppm, data.co2_gaps, 0, 300.0, **look))
    if cpu:
        panels.append(_Panel(words.cpu_panel, 1.1, cpu, cpu.gaps, 1, 8.0))
    return panels


def _key_figures(data: AirData, words: Words) -> list[style.KeyFigure]:
    figures = []
    if data.room_c:
        note = _comfort_note(data.comfort_c_share, COMFORT_C, words.celsius, words)
        value = f"{number(data.room_c.mean, 1)} {words.celsius}"
        figures.append(style.KeyFigure(words.mean_temperature, value, note))
    if data.humidity_pct:
        note = _comfort_note(data.comfort_pct_share, COMFORT_PCT, "%", words)
        figures.append(style.KeyFigure(words.mean_humidity, f"{number(data.humidity_pct.mean)} %", note))
    if data.co2_ppm:
        figures.append(_co2_figure(data, data.co2_ppm, words))
    if data.pressure_hpa:
        figures += _pressure_figures(data, data.pressure_hpa, words)
    if data.cpu_c and not figures:
        figures.append(style.KeyFigure(words.mean_cpu, f"{number(data.cpu_c.mean, 1)} {words.celsius}"))
    return figures


def _comfort_note(share: float, comfort: tuple[int, int], unit: str, words: Words) -> str:
    return words.time_within.format(low=comfort[0], high=comfort[1], unit=unit, share=percent(share))


def _pressure_figures(data: AirData, pressure: Quantity, words: Words) -> list[style.KeyFigure]:
    """Say how the pressure changed; of a long range, in which it comes and goes, between what it lay."""
    if data.is_days:
        low, high = number(pressure.lowest.value, 1), number(pressure.highest.value, 1)
        return [style.KeyFigure(words.pressure_range, words.range.format(low=low, high=high))]
    if data.pressures_hpa is None or int((~np.isnan(pressure.course.mean)).sum()) < 2:
        return []
    # Rounded as they were measured, to 0.01 hPa: single precision holds a little more or less.
    first, last = (round(value, 2) for value in data.pressures_hpa)
    note = f"{number(first, 2)} → {number(last, 2)}"
    return [style.KeyFigure(words.pressure_change, f"{difference(round(last - first, 2), 2)} hPa", note)]


def _co2_figure(data: AirData, co2_ppm: Quantity, words: Words) -> style.KeyFigure:
    """Lead with what calls for an open window; with the mean where nothing does."""
    limit, mean = number(LIMIT_PPM), number(co2_ppm.mean)
    if data.co2_over_limit:
        length = length_of(data.co2_over_limit, words.language)
        note = words.mean_was.format(mean=mean)
        return style.KeyFigure(words.over_limit.format(limit=limit), length, note, style.BAD)
    return style.KeyFigure(words.mean_co2, f"{mean} ppm", words.never_over_limit.format(limit=limit))


def _draw_panel(axes: Axes, panel: _Panel, data: AirData, words: Words, unnamed: Sequence[Gap]) -> None:
    set_limits(axes, *_range(panel), below_px=_LABEL_PX, above_px=_LABEL_PX)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}".replace("-", "\N{MINUS SIGN}"))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    labels = labels_beside(axes, panel.gaps, data.now)
    hatch_gaps(axes, panel.gaps)
    if panel.warming_up is not None:  # it decides no scale: what lies beyond is drawn at the edge
        within = np.clip(panel.warming_up.mean, *axes.get_ylim())
        panel = replace(panel, warming_up=replace(panel.warming_up, mean=within))
    key = _key(axes, panel, words)
    if panel.limit is not None:
        axes.axhline(panel.limit, color=style.BAD, linewidth=0.9, gid="limit", zorder=2.6)
        labels.keep_clear(y=panel.limit)
    if panel.warming_up is not None:
        draw_line(axes, panel.warming_up, style.USUAL, gid="warming up", linewidth=1.6, alpha=0.6, clip_on=False)
    if panel.quantity:
        _draw_quantity(axes, panel.quantity, panel.limit)
        _mark_outliers(axes, labels, panel, panel.quantity, data.period, words)
        _label_extremes(axes, labels, panel, panel.quantity, data.period, words)
    label_gaps(labels, unnamed, words)
    style.name_panel(axes, panel.name)
    style.key(axes, key)


def _key(axes: Axes, panel: _Panel, words: Words) -> list[KeyEntry]:
    bottom, top = axes.get_ylim()
    key = []
    if panel.quantity and panel.quantity.course.is_aggregated and axes is axes.figure.axes[0]:
        key.append(KeyEntry(words.mean_and_extremes))
    if panel.comfort:
        low, high = panel.comfort
        if min(high, top) > max(low, bottom):
            axes.axhspan(max(low, bottom), min(high, top), color=style.GOOD, linewidth=0, zorder=0.4, gid="comfort")
            key.append(KeyEntry(words.comfort.format(low=low, high=high, unit=panel.unit), style.GOOD_TEXT))
    if panel.warming_up is not None and is_visible(axes, panel.warming_up):
        key.append(KeyEntry(words.warming_up, style.USUAL_TEXT, "-", style.USUAL))
    if panel.limit is not None:
        key.append(KeyEntry(words.limit.format(limit=number(panel.limit)), style.BAD, "-"))
    return key


def _draw_quantity(axes: Axes, quantity: Quantity, limit: int | None) -> None:
    course = quantity.course
    step: dict[str, Any] = {"step": "mid"} if course.is_aggregated else {}
    if course.is_aggregated:
        band: dict[str, Any] = {"color": style.BOUGHT, "alpha": 0.22, "linewidth": 0, "gid": "extremes"}
        axes.fill_between(course.x, course.lowest, course.highest, **step, **band)
    if limit is not None:
        over: dict[str, Any] = {"color": style.BAD, "alpha": 0.25, "linewidth": 0, "gid": "over limit"}
        axes.fill_between(course.x, limit, np.maximum(course.highest, limit), **step, **over)
    draw_line(axes, course, style.BOUGHT, gid="quantity")


def _label_extremes(
    axes: Axes, labels: Labels, panel: _Panel, quantity: Quantity, period: Period, words: Words
) -> None:
    extremes = [(quantity.highest, (*ABOVE, *BESIDE, *BELOW)), (quantity.lowest, (*BELOW, *BESIDE, *ABOVE))]
    for extreme, places in extremes[: 1 if quantity.highest == quantity.lowest else 2]:
        x = days_since_epoch(extreme.moment)
        axes.plot(x, extreme.value, "o", color=style.BOUGHT, markersize=3.5, clip_on=False, zorder=4, gid="extreme")
        labels.keep_clear_of_point(x, extreme.value, 1)
        value, moment = number(extreme.value, panel.places), _moment(extreme, period, words)
        text = words.extreme.format(value=value, when=moment)
        points = [(x, extreme.value)]
        if panel.limit is not None and (panel.limit >= extreme.value) == (extreme is quantity.highest):
            points.append((x, panel.limit))  # where its line is in the way, on the line's other side
        labels.set(text, points, places, gid="extreme label")


def _mark_outliers(axes: Axes, labels: Labels, panel: _Panel, quantity: Quantity, period: Period, words: Words) -> None:
    """Point to what lies outside of the panel, at its edge."""
    bottom, top = axes.get_ylim()
    for number_of, outlier in enumerate(quantity.outliers):
        is_above = outlier.value > top
        x, edge = days_since_epoch(outlier.moment), top if is_above else bottom
        inward = -1 if is_above else 1
        marker: dict[str, Any] = {"color": style.BAD, "markersize": 6, "clip_on": False, "zorder": 4, "gid": "outlier"}
        axes.plot(x, edge, "^" if is_above else "v", **marker)
        if number_of < _MOST_OUTLIERS:
            moment = _moment(outlier, period, words)
            text = words.extreme.format(value=number(outlier.value, panel.places), when=moment)
            va = "top" if is_above else "bottom"
            places = (Place(7, 2 * inward, "left", va), Place(-7, 2 * inward, "right", va))
            labels.set(text, [(x, edge)], places, gid="outlier label", color=style.BAD)


def _range(panel: _Panel) -> tuple[float, float]:
    """Return what the panel must hold: all that can be trusted, and the limit where there is one."""
    values: list[float] = []
    if panel.quantity:
        values += [panel.quantity.lowest.value, panel.quantity.highest.value]
    elif panel.warming_up is not None:  # nothing better is known
        values += [float(np.nanmin(panel.warming_up.lowest)), float(np.nanmax(panel.warming_up.highest))]
    if panel.limit is not None:
        values.append(panel.limit)
    low, high = min(values), max(values)
    short = max(panel.least_span - (high - low), 0.0) / 2
    return low - short, high + short


def _moment(extreme: Extreme, period: Period, words: Words) -> str:
    """Return the clock within a day; over several days the date, which is what a point stands for there."""
    if period.days == 1:
        return clock(extreme.moment, period.zone)
    day = extreme.moment.astimezone(period.zone).date()
    return short_date(day, words.language, with_year=period.days > 366)
