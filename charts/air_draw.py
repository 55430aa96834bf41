"""The picture of the air: aligned panels that share one time, only those for which there is data. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from charts import style
from charts.air_load import COMFORT_C, COMFORT_PCT, LIMIT_PPM, AirData, Extreme, Quantity
from charts.axis import days_since_epoch, draw_line, gaps_in_words, hatch_gaps, mark_now, set_time_axis
from charts.gaps import Gap
from charts.period import Period
from charts.text import WORDS, Language, Words, clock, length_of, number, period_title, short_date, signed

_EDGE = 0.05  # of the panel's width: a label nearer to an edge, a hole or now is moved away from it
_LABEL_ROOM = 0.24  # of the panel's range, above and below, for the labels of the extremes


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
    warming_up: pd.DataFrame | None = None


def draw(data: AirData, *, language: Language) -> Figure:
    """Return the picture, 1,200 px wide. Draw and save it within style.applied(language)."""
    words = WORDS[language]
    contents = _panels(data, words)
    title = period_title(data.period, words.air_title, words, now=data.now)
    all_gaps = [gap for content in contents[:1] for gap in content.gaps]
    figure, panels = style.sheet(
        title,
        _key_figures(data, words),
        [content.height_in for content in contents],
        gaps_in_words(all_gaps, data.period, words),
    )
    for axes in panels:
        style.quiet(axes)
    set_time_axis(panels, data.period, language)
    named: set[Gap] = set()
    for axes, content in zip(panels, contents, strict=True):
        _draw_panel(axes, content, data, words, named)
        named.update(content.gaps)
    if data.now is not None:
        mark_now(panels, data.now)
    return figure


def _panels(data: AirData, words: Words) -> list[_Panel]:
    panels = []
    if data.room_c:
        panels.append(_Panel(words.room_panel, 1.75, data.room_c, data.room_c.gaps, 1, 4.0, COMFORT_C, "°C"))
    if data.humidity_pct:
        gaps = data.humidity_pct.gaps
        panels.append(_Panel(words.humidity_panel, 1.35, data.humidity_pct, gaps, 0, 15.0, COMFORT_PCT, "%"))
    if data.pressure_hpa:
        panels.append(_Panel(words.pressure_panel, 1.2, data.pressure_hpa, data.pressure_hpa.gaps, 1, 6.0))
    if data.co2_ppm or data.co2_warming_up is not None:
        panels.append(
            _Panel(
                words.co2_panel,
                1.75,
                data.co2_ppm,
                data.co2_gaps,
                0,
                300.0,
                limit=LIMIT_PPM,
                warming_up=data.co2_warming_up,
            )
        )
    if data.cpu_c:
        panels.append(_Panel(words.cpu_panel, 1.1, data.cpu_c, data.cpu_c.gaps, 1, 8.0))
    return panels


def _key_figures(data: AirData, words: Words) -> list[style.KeyFigure]:
    figures = []
    if data.room_c:
        figures.append(_comfort_figure(data.room_c, words.mean_temperature, 1, COMFORT_C, "°C", words))
    if data.humidity_pct:
        figures.append(_comfort_figure(data.humidity_pct, words.mean_humidity, 0, COMFORT_PCT, "%", words))
    if data.co2_ppm:
        figures.append(_co2_figure(data.co2_ppm, words))
    if data.pressure_hpa:
        course = data.pressure_hpa.frame["mean"].dropna()
        if len(course) > 1:
            first, last = float(course.iloc[0]), float(course.iloc[-1])
            value = f"{signed(number(last - first, 1))} hPa"
            figures.append(style.KeyFigure(words.pressure_change, value, f"{number(first, 1)} → {number(last, 1)}"))
    if data.cpu_c and not figures:
        figures.append(style.KeyFigure(words.mean_cpu, f"{number(data.cpu_c.mean, 1)} °C"))
    return figures


def _comfort_figure(
    quantity: Quantity, caption: str, places: int, comfort: tuple[int, int], unit: str, words: Words
) -> style.KeyFigure:
    low, high = comfort
    share = quantity.share_within(low, high)
    note = ""
    if share is not None:
        note = words.time_within.format(low=low, high=high, unit=unit, share=number(100 * share))
    return style.KeyFigure(caption, f"{number(quantity.mean, places)} {unit}", note)


def _co2_figure(co2_ppm: Quantity, words: Words) -> style.KeyFigure:
    """Lead with what calls for an open window; with the mean where nothing does."""
    limit, mean = number(LIMIT_PPM), number(co2_ppm.mean)
    over = co2_ppm.time_over_limit
    if over:
        length = length_of(over, words.language)
        return style.KeyFigure(
            words.over_limit.format(limit=limit), length, words.mean_was.format(mean=mean), style.BAD
        )
    return style.KeyFigure(words.mean_co2, f"{mean} ppm", words.never_over_limit.format(limit=limit))


def _draw_panel(axes: Axes, panel: _Panel, data: AirData, words: Words, named: set[Gap]) -> None:
    bottom, top = _limits(panel)
    axes.set_ylim(bottom, top)
    key: list[tuple[str, str]] = []
    if axes is axes.figure.axes[0] and panel.quantity and panel.quantity.is_aggregated:
        key.append((words.mean_and_extremes, style.MUTED))
    if panel.comfort:
        low, high = panel.comfort
        axes.axhspan(max(low, bottom), min(high, top), color=style.GOOD, linewidth=0, zorder=0.4, gid="comfort")
        key.append((words.comfort.format(low=low, high=high, unit=panel.unit), style.GOOD_TEXT))
    if panel.warming_up is not None:
        draw_line(axes, panel.warming_up["mean"], style.USUAL, gid="warming up", linewidth=1.6, alpha=0.6)
        key.append((words.warming_up, style.USUAL))
    if panel.limit is not None:
        axes.axhline(panel.limit, color=style.BAD, linewidth=0.9, gid="limit", zorder=2.6)
        key.append((words.limit.format(limit=number(panel.limit)), style.BAD))
    hatch_gaps(axes, panel.gaps, data.period, words, named=named)
    if panel.quantity:
        _draw_quantity(axes, panel.quantity, panel.limit)
        extremes = [(panel.quantity.highest, 1), (panel.quantity.lowest, -1)]
        for extreme, direction in extremes[: 1 if panel.quantity.highest == panel.quantity.lowest else 2]:
            alignment = _alignment(extreme.moment, panel.gaps, data)
            value, moment = number(extreme.value, panel.places), _moment(extreme, data.period, words)
            _label(axes, extreme, direction, words.extreme.format(value=value, when=moment), alignment)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    style.name_panel(axes, panel.name, key)


def _draw_quantity(axes: Axes, quantity: Quantity, limit: int | None) -> None:
    x = days_since_epoch(pd.DatetimeIndex(quantity.frame.index))
    low, high = (quantity.frame[name].to_numpy(dtype="float64") for name in ("lowest", "highest"))
    step: dict[str, Any] = {"step": "mid"} if quantity.is_aggregated else {}
    if quantity.is_aggregated:
        axes.fill_between(x, low, high, **step, color=style.BOUGHT, alpha=0.22, linewidth=0, gid="extremes")
    if limit is not None:
        axes.fill_between(
            x, limit, np.maximum(high, limit), **step, color=style.BAD, alpha=0.25, linewidth=0, gid="over limit"
        )
    draw_line(axes, quantity.frame["mean"], style.BOUGHT, gid="quantity")


def _limits(panel: _Panel) -> tuple[float, float]:
    """Return the range of the panel: all readings, room for two labels, and the limit where there is one."""
    values: list[float] = []
    if panel.quantity:
        values += [panel.quantity.lowest.value, panel.quantity.highest.value]
    if panel.warming_up is not None:
        values += [float(panel.warming_up["lowest"].min()), float(panel.warming_up["highest"].max())]
    if panel.limit is not None:
        values.append(panel.limit)
    low, high = min(values), max(values)
    short = max(panel.least_span - (high - low), 0.0) / 2
    low, high = low - short, high + short
    return low - _LABEL_ROOM * (high - low), high + _LABEL_ROOM * (high - low)


def _moment(extreme: Extreme, period: Period, words: Words) -> str:
    """Return the clock within a day; over several days the date, which is what a point stands for there."""
    if period.days == 1:
        return clock(extreme.moment, period.zone)
    day = extreme.moment.astimezone(period.zone).date()
    return short_date(day, words.language, with_year=period.days > 366)


def _alignment(moment: datetime, gaps: Sequence[Gap], data: AirData) -> Literal["left", "center", "right"]:
    """Return the side of a label that stands at *moment*: away from an edge, from now, and from a hole."""
    near = timedelta(seconds=data.period.seconds * _EDGE)
    if moment - data.period.start < near:
        return "left"
    if (data.now or data.period.end) - moment < near:
        return "right"
    if any(timedelta() <= moment - gap.end < near for gap in gaps):
        return "left"
    return "right" if any(timedelta() <= gap.start - moment < near for gap in gaps) else "center"


def _label(
    axes: Axes, extreme: Extreme, direction: int, text: str, alignment: Literal["left", "center", "right"]
) -> None:
    x = float(days_since_epoch(extreme.moment))
    axes.plot(x, extreme.value, "o", color=style.BOUGHT, markersize=3.5, zorder=4, gid="extreme")
    axes.annotate(
        text,
        (x, extreme.value),
        xytext=(-3 if alignment == "right" else 0, 4 * direction),
        textcoords="offset points",
        ha=alignment,
        va="bottom" if direction > 0 else "top",
        fontsize=9.5,
        color=style.INK,
        zorder=5,
        gid="extreme label",
    )
