"""The period asked for: what the command line says, as two instants and the zone that decides where a day begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)  # also keeps what is compared, weeks before, inside the calendar
LONGEST_DAYS = 36_600  # a century: beyond it a date on the command line is a slip


class PeriodError(ValueError):
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
    def name(self) -> str:
        """How files are named after it: 2025-11-22, 2025-11-16_2025-11-22, or with times where it cuts a day."""
        if not self.whole_days:
            local = (moment.astimezone(self.zone) for moment in (self.start, self.end))
            return "_".join(moment.strftime("%Y-%m-%dT%H%M") for moment in local)
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


def zone_named(name: str) -> ZoneInfo:
    """Return the zone. Raises: PeriodError: this machine knows no such zone."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as err:
        raise PeriodError(f"unknown time zone {name!r}: a name such as Asia/Tokyo was expected") from err


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
        raise PeriodError(f"{period.first_date} is before any record: {_EARLIEST:%Y} or later was expected")
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
        raise PeriodError(f"{text!r} is no date: YYYY-MM-DD, today or yesterday was expected") from err


def _last_days(days: int, *, zone: ZoneInfo, today: date) -> Period:
    if not 1 <= days <= LONGEST_DAYS:
        raise PeriodError(f"--days {days}: a number from 1 to {LONGEST_DAYS} was expected")
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
        raise PeriodError(f"--from {start_text}: a range of at most {LONGEST_DAYS} days was expected")
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
        raise PeriodError(f"{text!r} is neither a date (2025-11-22) nor a date and time (2025-11-22T18:30)") from err
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
