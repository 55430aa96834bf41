"""What time it is: which of the machine, a time server and the meter is believed, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.clock import Clock, SystemClock, next_tick, span

NOON = datetime(2026, 6, 1, 3, 0, tzinfo=UTC)  # in Japan
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
EXACTLY = timedelta(milliseconds=1)
TO_HALF_A_MINUTE = timedelta(seconds=30)


class Machine:
    """A machine whose clock is *ahead* of the true time; it has run for 100 s when that is *true_now*."""

    def __init__(self, *, ahead: timedelta = timedelta(0), synchronised: bool = False) -> None:
        self.true_now = NOON
        self.ahead = ahead
        self.synchronised = synchronised
        self._started = NOON - timedelta(seconds=100)

    def monotonic(self) -> float:
        return (self.true_now - self._started).total_seconds()

    def now(self) -> datetime:
        return self.true_now + self.ahead

    def sleep(self, seconds: float) -> None:
        self.true_now += timedelta(seconds=seconds)

    def clock(self) -> Clock:
        """Start the program."""
        return Clock(self, is_synchronised=lambda: self.synchronised)

    def meet_meter(self, clock: Clock, *, ahead: timedelta = timedelta(0)) -> None:
        """Let the meter show its minute, as it does when a session begins."""
        clock.compare((self.true_now + ahead).replace(second=0, microsecond=0), self.monotonic())
        clock.update()

    def error(self, clock: Clock) -> timedelta:
        """Return by how much *clock* is ahead of the true time."""
        return clock.now() - self.true_now


def test_a_machine_that_follows_a_server_is_right_at_once() -> None:
    machine = Machine(synchronised=True)
    clock = machine.clock()
    assert clock.is_settled
    assert clock.now() == NOON


@pytest.mark.parametrize(
    "ahead", [timedelta(hours=25), timedelta(hours=-25), timedelta(minutes=10), timedelta(days=-400)]
)
def test_a_machine_that_follows_a_server_is_right_beside_any_meter(ahead: timedelta) -> None:
    machine = Machine(synchronised=True)
    clock = machine.clock()
    machine.meet_meter(clock, ahead=ahead)
    assert machine.error(clock) == timedelta(0)


def test_nobody_is_believed_before_a_server_or_the_meter_has_given_the_time() -> None:
    machine = Machine()
    clock = machine.clock()
    assert not clock.is_settled
    machine.meet_meter(clock)
    assert clock.is_settled


@pytest.mark.parametrize(
    "ahead",
    [
        pytest.param(9 * HOUR, id="its battery clock is in local time"),
        pytest.param(-5 * HOUR, id="it was off for five hours"),
        pytest.param(timedelta(days=-400), id="it starts with the date of its image"),
        pytest.param(3 * MINUTE, id="it drifted ahead"),
        pytest.param(-3 * MINUTE, id="it drifted behind"),
    ],
)
@pytest.mark.parametrize("second", [0, 29, 59])
def test_a_machine_left_alone_takes_the_meters_time(
    ahead: timedelta, second: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A meter that shows 12:00 is anywhere from 12:00:00 to 12:00:59: the middle is taken."""
    machine = Machine(ahead=ahead)
    machine.sleep(second)
    clock = machine.clock()
    machine.meet_meter(clock)
    assert machine.error(clock) == timedelta(seconds=30 - second)
    assert caplog.text.count("the meter's clock says so") == 1


@pytest.mark.parametrize("ahead", [timedelta(0), 89 * SECOND, -89 * SECOND])
@pytest.mark.parametrize("second", [0, 59])
def test_a_machine_that_differs_from_the_meter_by_less_than_two_minutes_is_right(
    ahead: timedelta, second: int, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine(ahead=ahead)
    machine.sleep(second)
    clock = machine.clock()
    machine.meet_meter(clock)
    assert machine.error(clock) == ahead
    assert caplog.text == ""


def test_the_minute_that_the_meter_shows_counts_from_when_it_was_read() -> None:
    machine = Machine(ahead=9 * HOUR)
    clock = machine.clock()
    clock.compare(NOON, machine.monotonic())
    machine.sleep(50)
    clock.update()
    assert machine.error(clock) == TO_HALF_A_MINUTE


def test_the_time_changes_in_update_only() -> None:
    machine = Machine(ahead=9 * HOUR)
    clock = machine.clock()
    clock.compare(NOON, machine.monotonic())
    machine.ahead = timedelta(0)
    machine.synchronised = True
    assert clock.now() == NOON + 9 * HOUR
    assert not clock.is_settled
    clock.update()
    assert clock.now() == NOON


def test_a_wait_for_a_quarter_of_an_hour_ends_with_the_machines_clock(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    clock = machine.clock()
    settled = []
    for seconds in (899, 1, 60):
        machine.sleep(seconds)
        clock.update()
        settled.append(clock.is_settled)
    assert settled == [False, True, True]
    assert caplog.text.count("neither a time server nor the meter gives the time") == 1


def test_a_meter_without_a_clock_makes_the_machines_count_at_once() -> None:
    machine = Machine(ahead=9 * HOUR)
    clock = machine.clock()
    clock.compare(None, machine.monotonic())
    clock.update()
    assert clock.is_settled
    assert machine.error(clock) == 9 * HOUR


def test_the_end_of_the_program_waits_for_nobody() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.ahead = 7 * SECOND  # set meanwhile
    clock.settle()
    assert clock.is_settled
    assert machine.error(clock) == 7 * SECOND


def test_a_meter_that_comes_after_the_wait_is_believed_then() -> None:
    machine = Machine(ahead=9 * HOUR)
    clock = machine.clock()
    machine.sleep(1200)
    clock.update()
    assert machine.error(clock) == 9 * HOUR
    machine.meet_meter(clock)
    assert abs(machine.error(clock)) <= TO_HALF_A_MINUTE


def test_a_server_that_is_followed_in_mid_run_has_the_last_word(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(ahead=9 * HOUR)
    clock = machine.clock()
    machine.meet_meter(clock, ahead=25 * HOUR)
    machine.ahead = timedelta(0)
    clock.update()
    assert machine.error(clock) > 24 * HOUR
    machine.synchronised = True
    clock.update()
    assert machine.error(clock) == timedelta(0)
    assert "this machine follows a time server" in caplog.text


@pytest.mark.parametrize("step", [30 * SECOND, -30 * SECOND, HOUR, -HOUR])
def test_steps_of_a_clock_that_follows_a_server_are_followed_and_logged(
    step: timedelta, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine(synchronised=True, ahead=-step)
    clock = machine.clock()
    machine.ahead = timedelta(0)
    clock.update()
    assert machine.error(clock) == timedelta(0)
    assert caplog.text.count(f"the time moves {'forward' if step > timedelta(0) else 'back'} by {span(abs(step))}") == 1


def test_a_server_that_is_lost_leaves_the_time_right() -> None:
    """Daemons say so at once, and the kernel nine hours after one has ended; a clock does not go wrong by that."""
    machine = Machine(synchronised=True)
    clock = machine.clock()
    machine.sleep(86_400)
    machine.synchronised = False
    clock.update()
    machine.meet_meter(clock, ahead=25 * HOUR)
    assert clock.is_settled
    assert machine.error(clock) == timedelta(0)


@pytest.mark.parametrize("step", [30 * SECOND, -HOUR, 9 * HOUR])
def test_a_clock_set_by_hand_moves_no_time_that_was_vouched_for(step: timedelta) -> None:
    """settimeofday(2) ends the synchronisation; who set it knows less than the server or the meter did."""
    for synchronised in (True, False):
        machine = Machine(synchronised=synchronised)
        clock = machine.clock()
        machine.meet_meter(clock)
        machine.synchronised = False
        machine.ahead = step
        clock.update()
        assert machine.error(clock) == timedelta(0)


def test_a_clock_that_nobody_vouches_for_is_followed_when_it_is_set() -> None:
    machine = Machine(ahead=9 * HOUR)
    clock = machine.clock()
    clock.compare(None, machine.monotonic())
    clock.update()
    machine.ahead = timedelta(0)
    clock.update()
    assert machine.error(clock) == timedelta(0)


def test_a_second_session_changes_nothing_that_still_agrees(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(ahead=9 * HOUR)
    clock = machine.clock()
    machine.meet_meter(clock)
    zero = clock.zero
    for _ in range(10):
        machine.sleep(86_400 + 17)
        machine.meet_meter(clock)
    assert clock.zero == zero
    assert caplog.text.count("the meter's clock says so") == 1


def test_a_machine_that_drifts_for_months_is_put_right_by_the_meter() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.meet_meter(clock)
    for day in range(1, 181):
        machine.sleep(86_400)
        machine.meet_meter(
            clock, ahead=timedelta(seconds=4 * day)
        )  # the crystal loses 4 s a day, also the monotonic one
        assert abs(machine.error(clock) - timedelta(seconds=4 * day)) <= 2 * MINUTE + TO_HALF_A_MINUTE


def test_past_times_move_with_the_clock() -> None:
    machine = Machine(ahead=9 * HOUR)
    clock = machine.clock()
    then_s = clock.monotonic()
    machine.sleep(10)
    assert clock.at(then_s) == NOON + 9 * HOUR
    machine.synchronised = True
    machine.ahead = timedelta(0)
    clock.update()
    assert clock.at(then_s) == NOON


def test_sleep_and_monotonic_are_the_machines() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.sleep(2.5)
    assert clock.monotonic() == machine.monotonic() == 102.5


@pytest.mark.parametrize(
    ("duration", "said"),
    [
        (30 * SECOND, "30 s"),
        (90 * SECOND, "90 s"),
        (HOUR, "60.0 min"),
        (25 * HOUR, "25.0 h"),
        (timedelta(days=400), "400.0 days"),
    ],
)
def test_a_span_is_said_in_the_unit_that_suits_it(duration: timedelta, said: str) -> None:
    assert span(duration) == said


@pytest.mark.parametrize(
    ("now", "interval_s", "expected"),
    [
        (datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC), 60, datetime(2026, 3, 1, 12, 1, tzinfo=UTC)),
        (datetime(2026, 3, 1, 12, 0, 59, 999_999, tzinfo=UTC), 60, datetime(2026, 3, 1, 12, 1, tzinfo=UTC)),
        (datetime(2026, 3, 1, 12, 0, 1, tzinfo=UTC), 1, datetime(2026, 3, 1, 12, 0, 2, tzinfo=UTC)),
        (datetime(2026, 3, 1, 23, 59, 30, tzinfo=UTC), 3600, datetime(2026, 3, 2, tzinfo=UTC)),
    ],
)
def test_the_next_tick_is_the_next_multiple_of_the_interval(now: datetime, interval_s: int, expected: datetime) -> None:
    assert next_tick(now, interval_s) == expected


_MOMENTS = st.integers(0, 2_500_000_000_000_000).map(
    lambda us: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
)


@given(_MOMENTS, st.integers(1, 3600))
def test_a_tick_is_ahead_by_no_more_than_the_interval(now: datetime, interval_s: int) -> None:
    tick = next_tick(now, interval_s)
    assert timedelta(0) < tick - now <= timedelta(seconds=interval_s)
    assert tick.timestamp() % interval_s == 0


def test_the_zone_of_the_time_given_does_not_move_the_ticks() -> None:
    tokyo = timezone(timedelta(hours=9))
    now = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
    assert next_tick(now.astimezone(tokyo), 60) == next_tick(now, 60)


def test_the_system_clock_sleeps_with_the_sleep_it_is_given() -> None:
    slept: list[float] = []
    clock = SystemClock(slept.append)
    clock.sleep(2.5)
    assert slept == [2.5]
    assert clock.now().tzinfo is UTC
