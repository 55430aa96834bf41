"""Whether a request fits before the next tick."""

from __future__ import annotations

import pytest

from poller.idle_tasks.time_budget import TimeBudget
from skstack import SkStackTimeoutError


class Line:
    """A clock, and requests that take as long as they are given."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.deadlines: list[float] = []
        self.budget = TimeBudget(lambda: self.now_s, usual_s=20.0, margin_s=0.5)

    def responded(self, after_s: float, *, until: float = 1e9) -> None:
        self.budget.spend("day", lambda deadline: self._take(after_s, deadline), until, timeout_s=60.0)

    def silent(self, until: float) -> None:
        def fail(deadline: float) -> None:
            waited_s = deadline - self.now_s
            self.now_s = deadline
            raise SkStackTimeoutError("response", waited_s)

        with pytest.raises(SkStackTimeoutError):
            self.budget.spend("day", fail, until, timeout_s=60.0)

    def fits(self, free_s: float) -> bool:
        return self.budget.fits("day", self.now_s + free_s)

    def _take(self, after_s: float, deadline: float) -> None:
        self.deadlines.append(deadline)
        self.now_s += after_s


def test_the_first_request_begins_where_two_seconds_and_the_margin_are_left() -> None:
    assert Line().fits(2.51)
    assert not Line().fits(2.49)


def test_where_there_is_never_that_much_time_less_is_tried_in_the_end() -> None:
    line, ticks = Line(), 0
    while not line.fits(0.9):  # 0.4 s without the margin: 2 s x 0.9 ** 16 = 0.37 s
        line.now_s += 1.0
        ticks += 1
    assert ticks == 16


def test_a_request_begins_only_where_the_slowest_recent_response_would_fit() -> None:
    line = Line()
    line.responded(4.0)
    line.responded(1.0)  # expected: 4.0 x 0.9 = 3.6 s, and 0.5 s of margin
    assert not line.fits(4.0)
    assert line.fits(4.2)


def test_kinds_are_expected_apart() -> None:
    line = Line()
    line.responded(4.0)
    assert line.budget.fits("choose", line.now_s + 3.0)
    assert not line.fits(3.0)


def test_a_response_is_awaited_up_to_the_tick_or_the_timeout() -> None:
    line = Line()
    line.responded(1.0, until=130.0)
    line.responded(1.0, until=1000.0)
    assert line.deadlines == [130.0, 161.0]


def test_a_lost_response_is_not_taken_for_a_slow_one() -> None:
    line = Line()
    line.responded(2.0)
    line.silent(until=line.now_s + 55.0)
    assert line.fits(3.0)


def test_what_was_lost_or_never_had_a_response_begins_where_a_loss_makes_no_poll_late() -> None:
    line = Line()
    line.budget = TimeBudget(lambda: line.now_s, usual_s=20.0, margin_s=0.5, held_s=55.0)
    assert not line.fits(55.4)
    assert line.fits(55.6)
    line.responded(2.0)
    assert line.fits(3.0)
    line.silent(until=line.now_s + 58.0)
    assert not line.fits(49.0)
    assert line.fits(55.6)


def test_after_a_wait_that_the_tick_cut_short_more_time_is_wanted() -> None:
    line = Line()
    line.silent(until=line.now_s + 1.0)  # 1 s was not enough: 2 s
    assert not line.fits(2.4)
    assert line.fits(2.6)
    line.silent(until=line.now_s + 2.6)  # nor 2.6 s: 4 x 2.6 = 10.4 s
    assert not line.fits(10.8)
    assert line.fits(11.0)


def test_a_request_that_never_fits_is_tried_again_after_some_ticks() -> None:
    line = Line()
    line.silent(until=line.now_s + 0.9)
    ticks = 0
    while not line.fits(0.9):  # 1.8 x 0.9^n < 0.4 after 15 ticks
        line.now_s += 1.0
        ticks += 1
    assert ticks == 15


def test_two_checks_before_one_tick_count_once() -> None:
    line = Line()
    line.silent(until=line.now_s + 0.9)
    until = line.now_s + 0.9
    for _ in range(50):
        assert not line.budget.fits("day", until)


def test_nothing_begins_while_a_response_may_still_come_and_that_teaches_nothing() -> None:
    line = Line()
    line.budget = TimeBudget(lambda: line.now_s, usual_s=20.0, margin_s=0.5, free_at=lambda: 140.0)
    for _ in range(30):
        line.now_s += 1.0
        assert not line.fits(20.0)
    line.now_s = 140.0
    assert not line.fits(2.49)
    assert line.fits(2.51)
