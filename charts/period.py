"""The period of a picture: what the command line says, as two instants and the zone that decides where a day begins.

And how it is cut: into the points of a line, and into the steps of the energy bars, whichever a reader can distinguish.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo

from errors import UsageError
from storage.steps import HALF_HOUR, Span

_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)  # also keeps what is compared, weeks before, inside the calendar
LONGEST_DAYS = 36_600  # a century: beyond it a date on the command line is a slip
MOST_POINTS = 1500
MOST_DAYS = 1080  # as many pixels are between the edges of a panel: a narrower column could fall between two of them
_POINTS_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800)  # lengths that people count in

Step = Literal["half_hour", "hour", "day", "month"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PeriodError(UsageError):
    """The period on the command line makes no sense. The text is for the person who typed it."""


@dataclass(frozen=True, slots=True)
class Period:
    """From *start* to just before *end* (aware, UTC), read by clocks in *zone*."""

    start: datetime
    end: datetime
    zone: ZoneInfo

    @property
    def seconds(self) -> float:
        """Real length; a day is 23 or 25 hours long where the clocks change."""
        return (self.end - self.start).total_seconds()

    @property
    def first_date(self) -> date:
        """Local date of the first instant."""
        return self.start.astimezone(self.zone).date()

    @property
    def last_date(self) -> date:
        """Local date of the last instant, which is just before *end*."""
        return (self.end - timedelta(microseconds=1)).astimezone(self.zone).date()

    @property
    def days(self) -> int:
        """Number of local dates touched."""
        return (self.last_date - self.first_date).days + 1

    @property
    def whole_days(self) -> bool:
        """Whether it begins and ends at midnight."""
        return (
            self.start == midnight(self.first_date, self.zone)
            and self.end == midnight(self.last_date + timedelta(days=1), self.zone)
        )  # fmt: skip

    @property
    def is_month(self) -> bool:
        """Whether it is one month of the calendar."""
        return self._has_months(1)

    @property
    def is_year(self) -> bool:
        """Whether it is one year of the calendar."""
        return self.first_date.month == 1 and self._has_months(12)

    def _has_months(self, count: int) -> bool:
        first = self.first_date
        begins = self.start == midnight(first.replace(day=1), self.zone)
        return begins and self.end == midnight(months_on(first, count), self.zone)

    def a_year_before(self, moment: datetime) -> datetime:
        """Return when the clocks showed the same date and time a year earlier; for 29 February, 1 March."""
        local = moment.astimezone(self.zone).replace(tzinfo=None)
        day = date(local.year - 1, local.month, 1) + timedelta(days=local.day - 1)
        return datetime.combine(day, local.time(), tzinfo=self.zone).astimezone(UTC)

    @property
    def name(self) -> str:
        """How files are named after it: 2025-11-22, 2025-11-16_2025-11-22, or with times where it cuts a day.

        Seconds stand where one of the times has some.
        """
        if not self.whole_days:
            local = [moment.astimezone(self.zone) for moment in (self.start, self.end)]
            form = "%Y-%m-%dT%H%M%S" if any(moment.second for moment in local) else "%Y-%m-%dT%H%M"
            return "_".join(moment.strftime(form) for moment in local)
        if self.days == 1:
            return self.first_date.isoformat()
        return f"{self.first_date.isoformat()}_{self.last_date.isoformat()}"

    def shifted(self, moment: datetime, *, days: int) -> datetime:
        """Return the instant at which the clocks of the zone show the same time *days* later; negative: earlier."""
        local = moment.astimezone(self.zone).replace(tzinfo=None) + timedelta(days=days)
        return local.replace(tzinfo=self.zone).astimezone(UTC)

    def dates(self) -> Iterator[date]:
        """Yield each local date touched, in order."""
        for offset in range(self.days):
            yield self.first_date + timedelta(days=offset)


def months_on(day: date, months: int) -> date:
    """Return *day*, which is a 28th at most, so many months later; negative: earlier."""
    count = day.year * 12 + day.month - 1 + months
    return date(count // 12, count % 12 + 1, day.day)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the instant (UTC) at which *day* begins in *zone*; where clocks skip midnight, the instant of the skip."""
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)


def day_of(day: date, zone: ZoneInfo, days: int = 1) -> Period:
    """Return *days* local days from the beginning of *day* on."""
    return Period(midnight(day, zone), midnight(day + timedelta(days=days), zone), zone)


def resolve(
    *,
    zone: ZoneInfo,
    now: datetime,
    date_text: str | None = None,
    days: int | None = None,
    start_text: str | None = None,
    end_text: str | None = None,
) -> Period:
    """Turn the options of the command line into a period; with none of them, today.

    Raises: PeriodError: unreadable, in the future, or ending before it begins.
    """
    today = now.astimezone(zone).date()
    try:
        if end_text is not None and start_text is None:
            raise PeriodError("--to needs --from, which says where the range begins")
        if start_text is not None:
            period = _range(start_text, end_text, zone=zone, today=today)
        elif days is not None:
            period = _last_days(days, zone=zone, today=today)
        else:
            period = day_of(_date("today" if date_text is None else date_text, today=today), zone)
    except OverflowError as err:
        raise PeriodError("that is outside the calendar") from err
    if period.start < _EARLIEST:
        raise PeriodError(f"expected {_EARLIEST:%Y} or later, got {period.first_date}")
    if period.start > now:
        begins = period.start.astimezone(zone)
        raise PeriodError(f"{begins:%Y-%m-%d %H:%M} is in the future")
    return period


def _date(text: str, *, today: date) -> date:
    if text == "today":
        return today
    if text == "yesterday":
        return today - timedelta(days=1)
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError as err:
        raise PeriodError(f"expected a date (YYYY-MM-DD, today or yesterday), got {text!r}") from err


def _last_days(days: int, *, zone: ZoneInfo, today: date) -> Period:
    if not 1 <= days <= LONGEST_DAYS:
        raise PeriodError(f"--days: expected a number from 1 to {LONGEST_DAYS}, got {days}")
    return day_of(today - timedelta(days=days - 1), zone, days)


def _range(start_text: str, end_text: str | None, *, zone: ZoneInfo, today: date) -> Period:
    start = _instant(start_text, zone=zone, today=today)
    tomorrow = midnight(today + timedelta(days=1), zone)
    end = (
        _instant(end_text, zone=zone, today=today) if end_text is not None else max(tomorrow, start + timedelta(days=1))
    )
    if end <= start:
        raise PeriodError(f"--to {end_text} is not after --from {start_text}")
    if end - start > timedelta(days=LONGEST_DAYS):
        raise PeriodError(f"--from {start_text}: expected a range of at most {LONGEST_DAYS} days, got a longer one")
    return Period(start, end, zone)


def _instant(text: str, *, zone: ZoneInfo, today: date) -> datetime:
    """Read a date (its beginning) or a date and time; without an offset it is in *zone*."""
    try:
        return midnight(_date(text, today=today), zone)
    except PeriodError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as err:
        raise PeriodError(f"expected a date (2025-11-22) or a date and time (2025-11-22T18:30), got {text!r}") from err
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def step_of(period: Period) -> Step:
    """Return the step for *period*: at most about a hundred bars, of months as many as there are."""
    days = period.seconds / 86_400
    if days <= 2.1:
        return "half_hour"
    if days <= 4.1:
        return "hour"
    return "day" if days <= 100 else "month"


def points_of(period: Period, until: datetime) -> tuple[list[datetime], bool]:
    """Cut *period* up to *until* into the points of a line, and say whether they are days or more.

    A picture is 1,200 px wide: more than 1,500 points it cannot show. A day of one-minute polls falls on 60 s: its
    points are the readings themselves. Beyond a month a point is a day of the zone or several: a line that rises and
    falls every day would be a solid block.
    """
    span = until - period.start
    for length_s in _POINTS_S:
        length = timedelta(seconds=length_s)
        if span / length <= MOST_POINTS:
            return [*(period.start + n * length for n in range(math.ceil(span / length))), until], False
    days = math.ceil(period.days / MOST_DAYS)
    starts = (midnight(day, period.zone) for day in list(period.dates())[::days])
    return [period.start, *(start for start in starts if period.start < start < until), until], True


def next_half_hour(moment: datetime) -> datetime:
    """Return *moment*, or the :00 or :30 after it: the meter has registers nowhere else.

    Midnight is not on one of them in zones such as Asia/Kathmandu (UTC+5:45).
    """
    return moment + (_EPOCH - moment) % HALF_HOUR


def half_hour_before(moment: datetime) -> datetime:
    """Return *moment*, or the :00 or :30 before it: the newest register that can be there."""
    return moment - (moment - _EPOCH) % HALF_HOUR


def due_until(now: datetime) -> datetime:
    """Return where the newest half hour ends that must be known by *now*: a register may take some minutes to come."""
    return half_hour_before(now - HALF_HOUR)


def registers_of(period: Period) -> Span:
    """Return the moments of the first and the last register of *period*: its energy lies between them.

    Where midnight is between two registers, a day goes from the one after it to the one after the next midnight: it is
    as long as a day. A range that ends at another time holds nothing from after its end.
    """
    last = next_half_hour(period.end) if period.whole_days else half_hour_before(period.end)
    return next_half_hour(period.start), last


def spans(period: Period, step: Step) -> list[Span]:
    """Cut *period* into steps that begin and end on :00 or :30; the first and last may be shorter."""
    first, last = registers_of(period)
    inside = (next_half_hour(edge) for edge in _edges(period, step) if period.start < edge < period.end)
    edges = [first, *(edge for edge in inside if edge < last), last]
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
        day = months_on(day, 1)
