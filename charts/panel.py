"""What all panels share: their time, gaps and marks.

Ticks stand where a reader's clock or calendar has its steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator

from charts import style
from charts.coverage import Course, Gap, days_since_epoch
from charts.labels import WITHIN, Labels
from charts.period import Period, midnight, month_starts
from charts.text import Language, Words, clock, length_of, month_name, short_date, weekday_and_day

_MOST_WEEKENDS_DAYS = 100


@dataclass(frozen=True, slots=True)
class Ticks:
    """Lines at *edges* without words, words at *labels* without lines (the same moments where clocks are named)."""

    edges: list[datetime]
    labels: list[tuple[datetime, str]]


def ticks(period: Period, language: Language) -> Ticks:
    """Choose clock times, days, months or years, so that their words fit below the panel."""
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
    edges = [days_since_epoch(moment) for moment in marks.edges]
    places = [days_since_epoch(moment) for moment, _ in marks.labels]
    for axes in panels:
        axes.set_xlim(days_since_epoch(period.start), days_since_epoch(period.end))
        axes.xaxis.set_major_locator(FixedLocator(edges))
        axes.xaxis.set_major_formatter(FixedFormatter([""] * len(edges)))
        axes.xaxis.set_minor_locator(FixedLocator(places))
        words = [word for _, word in marks.labels] if axes is panels[-1] else [""] * len(places)
        axes.xaxis.set_minor_formatter(FixedFormatter(words))
        axes.xaxis.remove_overlapping_locs = False
        axes.tick_params(axis="x", which="minor", length=0, labelsize=9.5, pad=6)


def draw_line(axes: Axes, course: Course, color: str, **look: Any) -> None:
    """Draw a line that ends where NaN begins; a reading with nothing beside it becomes a dot."""
    axes.plot(course.x, course.mean, color=color, **{"linewidth": 1.1, "solid_joinstyle": "round", "zorder": 3, **look})
    missing = np.isnan(np.concatenate(([np.nan], course.mean, [np.nan])))
    alone = ~missing[1:-1] & missing[:-2] & missing[2:]
    if alone.any():
        dot: dict[str, Any] = {"marker": "o", "markersize": 4, "linestyle": "none", "zorder": 3, "gid": "alone"}
        axes.plot(course.x[alone], course.mean[alone], color=color, **dot)


def is_visible(axes: Axes, course: Course) -> bool:
    """Whether at least two points of a course lie inside the panel: only then is it worth a word of the key."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    inside = (course.x >= left) & (course.x <= right) & (course.mean >= bottom) & (course.mean <= top)
    return int(inside.sum()) >= 2


def hatch_gaps(axes: Axes, gaps: Iterable[Gap], *, low: float = 0.0, high: float = 1.0) -> None:
    """Hatch what is missing, between two parts of the height. That hides what is usual there: it is no measurement."""
    for gap in gaps:
        style.hatch(axes, days_since_epoch(gap.start), days_since_epoch(gap.end), zorder=2.4, low=low, high=high)


def labels_beside(axes: Axes, gaps: Iterable[Gap], now: datetime | None = None) -> Labels:
    """Return the labels of a panel, which leave the gaps to their own, and keep off the line of *now*."""
    labels = Labels(axes, [(days_since_epoch(gap.start), days_since_epoch(gap.end)) for gap in gaps])
    if now is not None:
        labels.keep_off_now(days_since_epoch(now))
    return labels


def set_limits(axes: Axes, low: float, high: float, *, below_px: float = 0.0, above_px: float = 0.0) -> None:
    """Set the range of a panel so that so many pixels for labels are left below and above two values."""
    per_px = (high - low) / (axes.bbox.height - below_px - above_px)
    axes.set_ylim(low - below_px * per_px, high + above_px * per_px)


def label_gaps(
    labels: Labels, gaps: Iterable[Gap], words: Words, *, low: float = 0.0, high: float = 1.0, of: str | None = None
) -> None:
    """Write into each gap how long it is, and *of* what, where that fits; the footnote says it in any case.

    It stands between two parts of the height.
    """
    bottom, top = labels.axes.get_ylim()
    bottom, top = (bottom + part * (top - bottom) for part in (low, high))
    for gap in gaps:
        left, right = days_since_epoch(gap.start), days_since_epoch(gap.end)
        text = words.missing.format(length=length_of(gap.length, words.language))
        text = text if of is None else words.of_quantity.format(quantity=of, note=text)
        points = [((left + right) / 2, bottom + share * (top - bottom)) for share in (0.5, 0.25, 0.75)]
        labels.set(
            text, points, WITHIN, gid="gap label", color=style.MUTED, within=(left, right, bottom), ground=style.GAP
        )


def mark_weekends(panels: Iterable[Axes], period: Period) -> None:
    """Shade Saturdays and Sundays faintly, where days can still be distinguished."""
    if not 1 < period.days <= _MOST_WEEKENDS_DAYS:
        return
    for day in period.dates():
        if day.weekday() >= 5:
            start = max(midnight(day, period.zone), period.start)
            end = min(midnight(day + timedelta(days=1), period.zone), period.end)
            for axes in panels:
                look: dict[str, Any] = {"color": style.WEEKEND, "alpha": style.WEEKEND_ALPHA, "linewidth": 0}
                axes.axvspan(days_since_epoch(start), days_since_epoch(end), zorder=0.45, gid="weekend", **look)


def mark_now(panels: Iterable[Axes], now: datetime) -> None:
    """Draw a line where a running period has come to; the title says when that is."""
    for axes in panels:
        axes.axvline(days_since_epoch(now), color=style.MUTED, linewidth=0.9, zorder=1.5, gid="now")
