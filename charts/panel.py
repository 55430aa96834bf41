"""What all panels share: their time, gaps and marks, and labels that touch no other, no edge and no line.

Ticks stand where a reader's clock or calendar has its steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedFormatter, FixedLocator

from charts import style
from charts.coverage import Course, Gap, days_since_epoch
from charts.period import Period, midnight, month_starts
from charts.text import Language, Words, clock, length_of, month_name, short_date, weekday_and_day

_MOST_WEEKENDS_DAYS = 100
_APART_PX = 3.0
_LINE_HEIGHT = 1.3  # of the font's size, and as much again for each further line


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


def label_gaps(labels: Labels, gaps: Iterable[Gap], words: Words, *, low: float = 0.0) -> None:
    """Write into each gap how long it is, where that fits above a part of the height; the footnote says it anyhow."""
    bottom, top = labels.axes.get_ylim()
    bottom += low * (top - bottom)
    for gap in gaps:
        left, right = days_since_epoch(gap.start), days_since_epoch(gap.end)
        text = words.missing.format(length=length_of(gap.length, words.language))
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


class Box(NamedTuple):
    """A rectangle of the sheet, in its pixels from below left."""

    left: float
    bottom: float
    right: float
    top: float

    def touches(self, other: Box) -> bool:
        """Whether less than a few pixels lie between the two."""
        return (
            self.left < other.right + _APART_PX
            and other.left < self.right + _APART_PX
            and self.bottom < other.top + _APART_PX
            and other.bottom < self.top + _APART_PX
        )


class Place(NamedTuple):
    """Where a label may stand: pixels from its point to the edge or the middle that ha and va name."""

    right: float
    up: float
    ha: str
    va: str
    rotation: int = 0


_SIDES = ((0, "center"), (0, "left"), (0, "right"), (8, "left"), (-8, "right"))  # the last two beside a gap's edge
ABOVE = tuple(Place(right, 7, ha, "bottom") for right, ha in _SIDES)
BELOW = tuple(Place(right, -7, ha, "top") for right, ha in _SIDES)
BESIDE = (Place(8, 0, "left", "center"), Place(-8, 0, "right", "center"))
WITHIN = (Place(0, 0, "center", "center"), Place(0, 0, "center", "center", 90))


@dataclass(slots=True)
class Labels:
    """The labels of one panel, whose limits must be set. The first that are set have the choice."""

    axes: Axes
    gaps: Sequence[tuple[float, float]] = ()  # stretches of x that are left to labels within them, as far as can be
    taken: list[Box] = field(default_factory=list)
    crossable: list[Box] = field(default_factory=list)  # over which labels stand where there is no room beside

    def keep_clear(self, *, x: float | None = None, y: float | None = None) -> None:
        """Keep labels off a line at *x* or *y* that runs through the panel."""
        if x is not None:
            self.taken.append(self._stretch(x, x))
        if y is not None:
            panel, (_, y_px) = self._panel(), self._pixels(self.axes.get_xlim()[0], y)
            self.taken.append(Box(panel.left, y_px, panel.right, y_px))

    def keep_off_now(self, x: float) -> None:
        """Keep labels off the line of now, over which they stand on a white ground where nothing else is left."""
        self.crossable.append(self._stretch(x, x))

    def keep_clear_of_point(self, x: float, y: float, radius_px: float = 3.0) -> None:
        """Keep labels off a dot."""
        x_px, y_px = self._pixels(x, y)
        self.taken.append(Box(x_px - radius_px, y_px - radius_px, x_px + radius_px, y_px + radius_px))

    def keep_clear_of_bar(self, start: float, end: float, y: float) -> None:
        """Keep labels off a bar from 0 to *y*, between two values of x."""
        (left, base), (right, tip) = self._pixels(start, 0.0), self._pixels(end, y)
        self.taken.append(Box(left, min(base, tip), right, max(base, tip)))

    def set(
        self,
        text: str,
        points: Sequence[tuple[float, float]],
        places: Iterable[Place],
        *,
        gid: str,
        color: str = style.INK,
        size_pt: float = style.SMALL_PT,
        within: tuple[float, float, float] | None = None,
        ground: str | None = None,
    ) -> bool:
        """Set a label at the first of *places* around the first of *points* (data) where it fits; say whether it did.

        It must stay *within* two values of x and above one of y, where they are given. *ground* is a colour to fill
        it with.
        """
        tried = [(point, place) for place in places for point in points]
        # Over a gap only where there is no room beside it, and over the line of now where there is none at all.
        gaps = [] if within is not None else [self._stretch(*gap) for gap in self.gaps]
        for avoided in ([*gaps, *self.crossable], self.crossable, gaps, []):
            for point, place in tried:
                box = self._box(text, point, place, size_pt)
                if self._fits(box, within, avoided):
                    self.taken.append(box)
                    is_crossed = any(box.touches(line) for line in self.crossable)
                    ground = ground or ("white" if is_crossed else None)
                    self._draw(text, point, place, ground, gid=gid, color=color, fontsize=size_pt)
                    return True
        return False

    def _fits(self, box: Box, within: tuple[float, float, float] | None, avoided: Sequence[Box]) -> bool:
        room = self._panel() if within is None else self._stretch(*within)
        inside = room.left <= box.left and box.right <= room.right and room.bottom <= box.bottom and box.top <= room.top
        return inside and not any(box.touches(other) for other in (*self.taken, *avoided))

    def _stretch(self, start: float, end: float, low: float | None = None) -> Box:
        """Return the panel between two values of x, above a value of y."""
        y = self.axes.get_ylim()[0] if low is None else low
        (left, bottom), (right, _) = self._pixels(start, y), self._pixels(end, y)
        return Box(left, bottom, right, self._panel().top)

    def _draw(self, text: str, point: tuple[float, float], place: Place, ground: str | None, **look: Any) -> None:
        if ground is not None:
            look["bbox"] = {"facecolor": ground, "edgecolor": "none", "pad": 2.0}
        else:
            look["path_effects"] = [withStroke(linewidth=2.5, foreground="white", alpha=0.85)]
        per_px = 72 / style.DPI
        self.axes.annotate(
            text,
            point,
            xytext=(place.right * per_px, place.up * per_px),
            textcoords="offset points",
            ha=place.ha,
            va=place.va,
            rotation=place.rotation,
            zorder=5,
            annotation_clip=False,
            **look,
        )

    def _box(self, text: str, point: tuple[float, float], place: Place, size_pt: float) -> Box:
        per_pt = style.DPI / 72
        width = style.width_pt(text, size_pt) * per_pt + 2
        height = size_pt * _LINE_HEIGHT * (text.count("\n") + 1) * per_pt
        if place.rotation == 90:
            width, height = height, width
        x, y = self._pixels(*point)
        x, y = x + place.right, y + place.up
        left = x - {"left": 0.0, "center": width / 2, "right": width}[place.ha]
        bottom = y - {"bottom": 0.0, "center": height / 2, "top": height}[place.va]
        return Box(left, bottom, left + width, bottom + height)

    def _pixels(self, x: float, y: float) -> tuple[float, float]:
        found = self.axes.transData.transform((x, y))
        return float(found[0]), float(found[1])

    def _panel(self) -> Box:
        extent = self.axes.bbox
        return Box(extent.x0, extent.y0, extent.x1, extent.y1)
