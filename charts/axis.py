"""Time below the panels: ticks where a reader's clock or calendar has its steps, and everything that lies on time."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator
from numpy.typing import NDArray

from charts import style
from charts.gaps import Gap
from charts.period import Period, midnight
from charts.steps import month_starts
from charts.text import (
    Language,
    Words,
    clock,
    length_of,
    missing_in_words,
    month_name,
    short_date,
    weekday_and_day,
    width_em,
)

_DAY_S = 86_400.0
_WIDTH_PT = (style.WIDTH_IN - 1.2) * 72


@dataclass(frozen=True, slots=True)
class Ticks:
    """Lines at *edges* without words, words at *labels* without lines (the same moments where clocks are named)."""

    edges: list[datetime]
    labels: list[tuple[datetime, str]]


def days_since_epoch(moments: datetime | pd.DatetimeIndex) -> NDArray[np.float64]:
    """Return matplotlib's own measure of time, which is in UTC."""
    if isinstance(moments, datetime):
        return np.float64(moments.timestamp() / _DAY_S)  # type: ignore[return-value]
    naive = moments.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[us]")
    return np.asarray(naive.astype("int64") / (_DAY_S * 1e6), dtype=np.float64)


def ticks(period: Period, language: Language) -> Ticks:
    """Choose clock times, days, months or years, so that a dozen or so words fit below the panel."""
    hours = period.seconds / 3600
    if hours <= 50:
        return _clock_ticks(period, hours, language)
    if period.days <= 31:
        return _calendar_ticks(period, [(day, _day_label(day, period, language)) for day in period.dates()])
    if period.days <= 100:
        mondays = [day for day in period.dates() if day.weekday() == 0]
        return Ticks(
            [midnight(day, period.zone) for day in mondays],
            [(midnight(day, period.zone), short_date(day, language)) for day in mondays],
        )
    months = list(month_starts(period))
    if len(months) <= 26:
        return _calendar_ticks(period, [(month, _month_label(month, months[0], language)) for month in months])
    years = sorted({month.year for month in months})
    return _calendar_ticks(period, [(date(year, 1, 1), str(year)) for year in years])


def _clock_ticks(period: Period, hours: float, language: Language) -> Ticks:
    step_min = next(step for step in (5, 10, 15, 30, 60, 120, 180, 360) if hours * 60 / step <= 12 or step == 360)
    labels = []
    for day in (*period.dates(), period.last_date + timedelta(days=1)):
        for minute in range(0, 24 * 60, step_min):
            moment = datetime.combine(day, time(minute // 60, minute % 60), tzinfo=period.zone).astimezone(UTC)
            if period.start <= moment <= period.end:
                labels.append((moment, _clock_label(moment, period, language)))
    return Ticks([moment for moment, _ in labels], labels)


def _clock_label(moment: datetime, period: Period, language: Language) -> str:
    label = clock(moment, period.zone)
    if label == "0:00" and moment == period.end:
        return "24:00"
    if label == "0:00" and period.days > 1:
        return short_date(moment.astimezone(period.zone).date(), language)
    return label


def _calendar_ticks(period: Period, steps: Sequence[tuple[date, str]]) -> Ticks:
    """Draw a line where each step begins and set its word in the middle of it; a sliver of a step gets no word."""
    begins = [max(midnight(day, period.zone), period.start) for day, _ in steps]
    ends = [*begins[1:], period.end]
    labels = [
        (begin + (end - begin) / 2, word)
        for begin, end, (_, word) in zip(begins, ends, steps, strict=True)
        if (end - begin).total_seconds() / period.seconds > 0.6 / (len(steps) + 1)
    ]
    return Ticks([*begins, period.end], labels)


def _day_label(day: date, period: Period, language: Language) -> str:
    if period.days <= 10:
        return weekday_and_day(day, language)
    if day == period.first_date or day.day == 1:
        return short_date(day, language).replace(" ", "\n")
    return str(day.day)


def _month_label(month: date, first: date, language: Language) -> str:
    if month == first or month.month == 1:
        year = f"{month.year}年" if language == "ja" else str(month.year)
        return f"{month_name(month, language)}\n{year}"
    return month_name(month, language)


def set_time_axis(panels: Sequence[Axes], period: Period, language: Language) -> None:
    """Give all panels the same time; only the lowest carries the words."""
    marks = ticks(period, language)
    edges = [float(days_since_epoch(moment)) for moment in marks.edges]
    places = [float(days_since_epoch(moment)) for moment, _ in marks.labels]
    for axes in panels:
        axes.set_xlim(float(days_since_epoch(period.start)), float(days_since_epoch(period.end)))
        axes.xaxis.set_major_locator(FixedLocator(edges))
        axes.xaxis.set_major_formatter(FixedFormatter([""] * len(edges)))
        axes.xaxis.set_minor_locator(FixedLocator(places))
        words = [word for _, word in marks.labels] if axes is panels[-1] else [""] * len(places)
        axes.xaxis.set_minor_formatter(FixedFormatter(words))
        axes.xaxis.remove_overlapping_locs = False
        axes.tick_params(axis="x", which="minor", length=0, labelsize=9.5, pad=6)


def draw_line(axes: Axes, values: pd.Series, color: str, **look: Any) -> None:
    """Draw a line that ends where NaN begins; a reading with nothing beside it becomes a dot."""
    x = days_since_epoch(pd.DatetimeIndex(values.index))
    y = values.to_numpy(dtype="float64")
    axes.plot(x, y, color=color, **{"linewidth": 1.1, "solid_joinstyle": "round", "zorder": 3, **look})
    missing = np.isnan(np.concatenate(([np.nan], y, [np.nan])))
    alone = ~missing[1:-1] & missing[:-2] & missing[2:]
    if alone.any():
        axes.plot(x[alone], y[alone], color=color, marker="o", markersize=4, linestyle="none", zorder=3, gid="alone")


def gap_label(gap: Gap, period: Period, words: Words) -> tuple[str, int] | None:
    """Return how long *gap* is, in words, and at how many degrees that fits into it; None: it does not."""
    label = words.missing.format(length=length_of(gap.length, words.language))
    room_pt = gap.length.total_seconds() / period.seconds * _WIDTH_PT
    needed_pt = 9.5 * width_em(label) + 6
    if room_pt > needed_pt:
        return label, 0
    return (label, 90) if room_pt > 18 else None


def gaps_in_words(gaps: Sequence[Gap], period: Period, words: Words) -> str:
    """Say how much is missing where the picture itself does not: several holes, or one too narrow for its label."""
    if not gaps or (len(gaps) == 1 and gap_label(gaps[0], period, words)):
        return ""
    places = words.missing_places.format(count=len(gaps)) if len(gaps) > 1 else ""
    return missing_in_words(sum((gap.length for gap in gaps), timedelta()), words) + places


def hatch_gaps(axes: Axes, gaps: Sequence[Gap], period: Period, words: Words, *, named: Container[Gap] = ()) -> None:
    """Hatch what is missing, with its length where that fits and no panel above has *named* the same hole.

    The hatch hides what is usual there: that is no measurement.
    """
    for gap in gaps:
        start, end = (float(days_since_epoch(moment)) for moment in (gap.start, gap.end))
        style.hatch(axes, start, end, zorder=2.4)
    label_gaps(axes, [gap for gap in gaps if gap not in named], period, words)


def label_gaps(axes: Axes, gaps: Iterable[Gap], period: Period, words: Words) -> None:
    """Write into each hole how long it is, where that fits."""
    for gap in gaps:
        label = gap_label(gap, period, words)
        if label:
            axes.text(
                float(days_since_epoch(gap.start + gap.length / 2)),
                0.5,
                label[0],
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="center",
                rotation=label[1],
                fontsize=9.5,
                color=style.MUTED,
                gid="gap label",
                bbox={"facecolor": style.HOLE, "edgecolor": "none", "pad": 2.0},
                zorder=2.5,
            )


def mark_now(panels: Iterable[Axes], now: datetime) -> None:
    """Draw a line where a running period has come to; the title says when that is."""
    for axes in panels:
        axes.axvline(float(days_since_epoch(now)), color=style.MUTED, linewidth=0.9, zorder=1.5, gid="now")
