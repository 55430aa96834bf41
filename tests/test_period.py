"""The period on the command line, where a day begins, and the steps and ticks cut from it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from charts.period import (
    Period,
    PeriodError,
    clipped,
    day_of,
    midnight,
    next_half_hour,
    resolve,
    spans,
    step_of,
)

TOKYO = ZoneInfo("Asia/Tokyo")
NEW_YORK = ZoneInfo("America/New_York")
NOW = datetime(2025, 11, 22, 5, 32, tzinfo=UTC)  # 14:32 in Tokyo, 0:32 in New York


@pytest.fixture(autouse=True, params=["Asia/Tokyo", "America/New_York"])
def _machine_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run each test under two clocks of the machine, which must not matter."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_without_options_it_is_today_in_the_zone_of_the_settings() -> None:
    period = resolve(zone=TOKYO, now=NOW)
    # Tokyo is UTC+9: its 22 November begins at 15:00 UTC on the 21st.
    assert (period.start, period.end) == (utc("2025-11-21T15:00"), utc("2025-11-22T15:00"))


def test_the_same_instant_is_another_day_in_another_zone() -> None:
    assert resolve(zone=TOKYO, now=utc("2025-11-22T15:00")).first_date == date(2025, 11, 23)
    assert resolve(zone=NEW_YORK, now=utc("2025-11-22T15:00")).first_date == date(2025, 11, 22)


@pytest.mark.parametrize(
    ("text", "day"),
    [("2025-11-03", date(2025, 11, 3)), ("today", date(2025, 11, 22)), ("yesterday", date(2025, 11, 21))],
)
def test_a_date_is_that_day_from_midnight_to_midnight(text: str, day: date) -> None:
    period = resolve(zone=TOKYO, now=NOW, date_text=text)
    assert period == day_of(day, TOKYO)
    assert period.whole_days
    assert period.name == day.isoformat()


def test_days_end_with_today() -> None:
    period = resolve(zone=TOKYO, now=NOW, days=7)
    assert (period.first_date, period.last_date, period.days) == (date(2025, 11, 16), date(2025, 11, 22), 7)
    assert period.name == "2025-11-16_2025-11-22"


def test_a_range_of_dates_leaves_its_end_out() -> None:
    period = resolve(zone=TOKYO, now=NOW, start_text="2025-11-01", end_text="2025-11-03")
    assert (period.first_date, period.last_date) == (date(2025, 11, 1), date(2025, 11, 2))


def test_a_naive_time_is_in_the_zone_of_the_settings() -> None:
    period = resolve(zone=TOKYO, now=NOW, start_text="2025-11-20T06:00", end_text="2025-11-20 18:30")
    assert (period.start, period.end) == (utc("2025-11-19T21:00"), utc("2025-11-20T09:30"))
    assert period.name == "2025-11-20T0600_2025-11-20T1830"


def test_two_periods_within_a_minute_are_two_files() -> None:
    first = resolve(zone=TOKYO, now=NOW, start_text="2025-11-20T12:00:10", end_text="2025-11-20T12:00:40")
    second = resolve(zone=TOKYO, now=NOW, start_text="2025-11-20T12:00:50", end_text="2025-11-20T12:00:55")
    assert first.name == "2025-11-20T120010_2025-11-20T120040"
    assert second.name == "2025-11-20T120050_2025-11-20T120055"


def test_a_time_with_an_offset_is_taken_as_it_is() -> None:
    period = resolve(zone=TOKYO, now=NOW, start_text="2025-11-20T06:00Z", end_text="2025-11-20T06:00-05:00")
    assert (period.start, period.end) == (utc("2025-11-20T06:00"), utc("2025-11-20T11:00"))


def test_a_range_without_end_goes_to_the_end_of_today() -> None:
    period = resolve(zone=TOKYO, now=NOW, start_text="2025-11-20T06:00")
    assert period.end == utc("2025-11-22T15:00")


@pytest.mark.parametrize(
    ("day", "hours"),
    [(date(2025, 3, 9), 23), (date(2025, 11, 2), 25), (date(2025, 11, 3), 24)],  # New York's clock changes of 2025
)
def test_a_day_is_as_long_as_its_clock_says(day: date, hours: int) -> None:
    assert day_of(day, NEW_YORK).seconds == hours * 3600


def test_a_day_whose_midnight_is_skipped_begins_with_the_skip() -> None:
    # In Beirut the clock went from 24:00 on 29 March 2025 straight to 1:00 on the 30th (UTC+2 to UTC+3).
    assert midnight(date(2025, 3, 30), ZoneInfo("Asia/Beirut")) == utc("2025-03-29T22:00")


def test_a_day_whose_midnight_comes_twice_begins_with_the_first() -> None:
    # In Havana the clock went from 1:00 back to 0:00 on 2 November 2025 (UTC-4 to UTC-5).
    havana = ZoneInfo("America/Havana")
    assert midnight(date(2025, 11, 2), havana) == utc("2025-11-02T04:00")
    assert day_of(date(2025, 11, 2), havana).seconds == 25 * 3600


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"date_text": "2025-11-23"}, "in the future"),
        ({"start_text": "2025-11-22T14:33"}, "in the future"),
        ({"start_text": "2025-11-20", "end_text": "2025-11-20"}, "is not after"),
        ({"start_text": "2025-11-20", "end_text": "2025-11-19"}, "is not after"),
        ({"end_text": "2025-11-20"}, "--to needs --from"),
        ({"date_text": "22.11.2025"}, r"expected a date \(YYYY"),
        ({"date_text": "2025-02-30"}, r"expected a date \(YYYY"),
        ({"date_text": "tomorrow"}, r"expected a date \(YYYY"),
        ({"date_text": ""}, r"expected a date \(YYYY"),
        ({"start_text": "noon"}, "or a date and time"),
        ({"start_text": ""}, "or a date and time"),
        ({"start_text": "2025-11-20", "end_text": "2025-11-20T25:00"}, "or a date and time"),
        ({"days": 0}, "from 1 to"),
        ({"days": -3}, "from 1 to"),
        ({"days": 10**9}, "from 1 to"),
        ({"start_text": "1800-01-01", "end_text": "2025-01-01"}, "at most"),
        ({"date_text": "0001-01-01"}, "outside the calendar"),
        ({"date_text": "0001-01-20"}, "expected 1900 or later"),
        ({"start_text": "1899-12-31", "end_text": "1900-02-01"}, "expected 1900 or later"),
        ({"start_text": "9999-12-31T23:00-12:00"}, "outside the calendar"),
    ],
)
def test_a_period_that_makes_no_sense_is_refused_in_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(PeriodError, match=message) as caught:
        resolve(zone=TOKYO, now=NOW, **options)  # type: ignore[arg-type]  # parameters of several types
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("days", "step"), [(1, "half_hour"), (2, "half_hour"), (3, "hour"), (7, "day"), (100, "day"), (365, "month")]
)
def test_steps_grow_with_the_period(days: int, step: str) -> None:
    assert step_of(day_of(date(2025, 1, 1), TOKYO, days)) == step


def test_half_hours_of_a_day_meet_each_other() -> None:
    cut = spans(day_of(date(2025, 11, 22), TOKYO), "half_hour")
    assert len(cut) == 48
    assert cut[0][0] == utc("2025-11-21T15:00")
    assert all(end - start == timedelta(minutes=30) for start, end in cut)
    assert all(end == start for (_, end), (start, _) in pairwise(cut))


def test_months_are_cut_at_midnight_of_their_first_day() -> None:
    period = Period(midnight(date(2025, 1, 15), TOKYO), midnight(date(2025, 3, 5), TOKYO), TOKYO)
    assert [start for start, _ in spans(period, "month")] == [
        midnight(day, TOKYO) for day in (date(2025, 1, 15), date(2025, 2, 1), date(2025, 3, 1))
    ]
    assert spans(period, "month")[-1][1] == period.end


def test_where_midnight_has_no_register_the_next_half_hour_counts() -> None:
    # Kathmandu is UTC+5:45: its midnight is 18:15 UTC, and meters keep :00 and :30.
    kathmandu = ZoneInfo("Asia/Kathmandu")
    cut = spans(day_of(date(2025, 11, 22), kathmandu), "half_hour")
    assert cut[0][0] == utc("2025-11-21T18:30")
    assert next_half_hour(utc("2025-11-21T18:30")) == utc("2025-11-21T18:30")


def test_spans_are_clipped_to_what_is_held() -> None:
    cut = spans(day_of(date(2025, 11, 22), TOKYO), "half_hour")
    held = clipped(cut, utc("2025-11-21T16:00"), utc("2025-11-21T16:45"))
    assert held == [
        (utc("2025-11-21T16:00"), utc("2025-11-21T16:30")),
        (utc("2025-11-21T16:30"), utc("2025-11-21T16:45")),
    ]
