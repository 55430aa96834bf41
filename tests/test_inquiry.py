"""Questions to the database that never keep the asker waiting."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from poller.inquiry import Inquirer, Inquiry
from storage.errors import DatabaseUnreachableError


class Desk:
    """Takes one question after another, with a clock that stands still; each is answered when told."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.taken: list[Future[Any]] = []
        self.inquiry: Inquiry[str] = Inquirer(self.take, lambda: self.now_s).about("a word", lambda _cursor, _site: "")

    def take(self, _question: object, /) -> Future[Any]:
        self.taken.append(Future())
        return self.taken[-1]


def test_the_answer_is_given_when_it_is_there_and_meanwhile_nothing_is_asked_again() -> None:
    desk = Desk()
    for _ in range(3):
        assert desk.inquiry.answer() is None
        assert desk.inquiry.due_at() > desk.now_s
        desk.now_s += 100.0
    assert len(desk.taken) == 1
    desk.taken[0].set_result("answer")
    assert desk.inquiry.due_at() == desk.now_s
    assert desk.inquiry.answer() == "answer"


def test_a_database_that_does_not_answer_is_asked_again_after_a_pause() -> None:
    desk = Desk()
    assert desk.inquiry.answer() is None
    desk.taken[0].set_exception(DatabaseUnreachableError("connection refused"))
    assert desk.inquiry.answer() is None
    assert desk.inquiry.due_at() == 30.0
    assert desk.inquiry.answer() is None  # too early
    assert len(desk.taken) == 1
    desk.now_s = 30.0
    desk.inquiry.answer()
    desk.taken[1].set_result("answer")
    assert desk.inquiry.answer() == "answer"


def test_a_fault_of_the_program_is_raised_to_the_asker() -> None:
    desk = Desk()
    desk.inquiry.answer()
    desk.taken[0].set_exception(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        desk.inquiry.answer()
