"""Questions to the record that never keep the asker waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from poller.inquiry import AskAside, Inquirer, Inquiry, ask_inline
from storage.errors import DatabaseAwayError


class Desk:
    """Asks inline, with a clock that stands still and a record that may be away."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.is_drained = True
        self.is_away = False
        self.times_asked = 0
        self.inquiry: Inquiry[str] = Inquirer(ask_inline, lambda: self.now_s, lambda: self.is_drained).about(
            "a word", self._question
        )

    def _question(self) -> str:
        self.times_asked += 1
        if self.is_away:
            raise DatabaseAwayError("connection refused")
        return "answer"


def test_an_answer_is_there_at_once_when_asked_inline() -> None:
    assert Desk().inquiry.answer() == "answer"


def test_a_record_that_is_away_is_asked_again_after_a_pause() -> None:
    desk = Desk()
    desk.is_away = True
    assert desk.inquiry.answer() is None
    assert desk.inquiry.due_at() == 30.0
    desk.is_away = False
    assert desk.inquiry.answer() is None  # too early
    assert desk.times_asked == 1
    desk.now_s = 30.0
    assert desk.inquiry.answer() == "answer"


def test_nothing_is_asked_before_all_that_was_written_has_arrived() -> None:
    desk = Desk()
    desk.is_drained = False
    assert desk.inquiry.answer() is None
    assert desk.times_asked == 0
    desk.is_drained = True
    desk.now_s = 30.0
    assert desk.inquiry.answer() == "answer"


def test_a_fault_of_the_program_is_raised_to_the_asker() -> None:
    def fault() -> str:
        raise ZeroDivisionError

    inquiry = Inquirer(ask_inline, lambda: 0.0).about("a word", fault)
    with pytest.raises(ZeroDivisionError):
        inquiry.answer()


def test_a_database_that_hangs_keeps_nobody_waiting() -> None:
    released = threading.Event()

    def slow() -> str:
        assert released.wait(30.0)
        return "late"

    inquiry = Inquirer(AskAside(), lambda: 5.0).about("a word", slow)
    assert inquiry.answer() is None
    assert inquiry.answer() is None
    assert inquiry.due_at() > 5.0
    released.set()
    assert _soon(inquiry.answer) == "late"


def test_questions_put_aside_are_put_one_at_a_time() -> None:
    ask, busy, most = AskAside(), [0], [0]
    gate = threading.Barrier(1)

    def question() -> str:
        busy[0] += 1
        most[0] = max(most[0], busy[0])
        gate.wait(1.0)
        busy[0] -= 1
        return "done"

    answers = [ask(question) for _ in range(20)]
    assert [answer.result(timeout=30.0) for answer in answers] == ["done"] * 20
    assert most == [1]


def _soon(answer: Callable[[], str | None]) -> str | None:
    """Look until there is an answer, giving way to the thread that has it."""
    waiting = threading.Event()
    for _ in range(3000):
        if (found := answer()) is not None:
            return found
        waiting.wait(0.01)
    return None
