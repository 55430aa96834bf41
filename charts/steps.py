"""The steps of the energy bars: half hours, hours, days or months, whichever a reader can still tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Literal

from charts.period import Period, midnight
from storage.energy import HALF_HOUR, Span

Step = Literal["half_hour", "hour", "day", "month"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def step_of(period: Period) -> Step:
    """Return the step for *period*: at most about a hundred bars."""
    days = period.seconds / 86_400
    if days <= 2.1:
        return "half_hour"
    if days <= 4.1:
        return "hour"
    return "day" if days <= 100 else "month"


def next_half_hour(moment: datetime) -> datetime:
    """Return *moment*, or the :00 or :30 after it: the meter has registers nowhere else.

    Midnight is not on one of them in zones such as Asia/Kathmandu (UTC+5:45).
    """
    return moment + (_EPOCH - moment) % HALF_HOUR


def half_hour_before(moment: datetime) -> datetime:
    """Return *moment*, or the :00 or :30 before it: the newest register that can be there."""
    return moment - (moment - _EPOCH) % HALF_HOUR


def spans(period: Period, step: Step) -> list[Span]:
    """Cut *period* into steps that begin and end on :00 or :30; the first and last may be shorter."""
    edges = [period.start, *(edge for edge in _edges(period, step) if period.start < edge < period.end), period.end]
    edges = [next_half_hour(edge) for edge in edges]
    return [(start, end) for start, end in pairwise(edges) if start < end]


def clipped(cut: list[Span], start: datetime, end: datetime) -> list[Span]:
    """Keep what lies between *start* and *end* of the spans, cutting those that reach over an edge."""
    inside = [(max(span_start, start), min(span_end, end)) for span_start, span_end in cut]
    return [(span_start, span_end) for span_start, span_end in inside if span_start < span_end]


def _edges(period: Period, step: Step) -> Iterator[datetime]:
    if step == "day":
        yield from (midnight(day, period.zone) for day in period.dates())
    elif step == "month":
        yield from (midnight(day, period.zone) for day in month_starts(period))
    else:
        length = HALF_HOUR if step == "half_hour" else 2 * HALF_HOUR
        edge = next_half_hour(period.start)
        while edge < period.end:
            yield edge
            edge += length


def month_starts(period: Period) -> Iterator[date]:
    """Yield the first day of each month that *period* touches, the first of them possibly before it."""
    day = period.first_date.replace(day=1)
    while day <= period.last_date:
        yield day
        day = date(day.year + day.month // 12, day.month % 12 + 1, 1)
