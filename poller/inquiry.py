"""Questions to the record, asked aside: a database that is slow or away never keeps the loop waiting."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from storage.errors import DatabaseAwayError, StorageError

logger = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_S = 30.0  # after the record could not be asked
_LOOK_AGAIN_S = 0.2  # while the answer is awaited


class Ask(Protocol):
    """How a question is put: at once, or in a thread."""

    def __call__(self, question: Callable[[], T], /) -> Future[T]:
        """Put *question*; the future holds its answer, or what it raised."""


def ask_inline(question: Callable[[], T], /) -> Future[T]:
    """Put *question* here and now: for a virtual clock, and for a poller that takes one round only."""
    future: Future[T] = Future()
    _answer(future, question)
    return future


class AskAside:
    """Puts questions in a thread that lives no longer than its question; one question at a time.

    The thread is a daemon: a database that hangs does not keep the process from ending.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()

    def __call__(self, question: Callable[[], T], /) -> Future[T]:
        """Put *question* as soon as the one before it is answered."""
        future: Future[T] = Future()
        threading.Thread(target=self._take_turn, args=(future, question), name="question", daemon=True).start()
        return future

    def _take_turn(self, future: Future[T], question: Callable[[], T]) -> None:
        with self._turn:
            _answer(future, question)


def _answer(future: Future[T], question: Callable[[], T]) -> None:
    try:
        future.set_result(question())
    except Exception as error:  # noqa: BLE001 - it is raised again where the answer is taken
        future.set_exception(error)


@dataclass(frozen=True, slots=True)
class Inquirer:
    """How to inquire of the record. *is_drained*: all that was written has reached it; before, nothing is asked."""

    ask: Ask
    monotonic: Callable[[], float]
    is_drained: Callable[[], bool] = lambda: True

    def about(self, name: str, question: Callable[[], T]) -> Inquiry[T]:
        """Make an inquiry; *name* says in the log what about."""
        return Inquiry(name, question, ask=self.ask, monotonic=self.monotonic, is_drained=self.is_drained)


class Inquiry(Generic[T]):
    """One question, put again after a pause until it is answered; and anew, when its answer is wanted again."""

    def __init__(
        self,
        name: str,
        question: Callable[[], T],
        *,
        ask: Ask,
        monotonic: Callable[[], float],
        is_drained: Callable[[], bool],
    ) -> None:
        self._name = name
        self._question = question
        self._ask = ask
        self._monotonic = monotonic
        self._is_drained = is_drained
        self._asked: Future[T] | None = None
        self._not_before = float("-inf")

    def due_at(self) -> float:
        """Return when to look for the answer (monotonic seconds)."""
        if self._asked is not None:
            now = self._monotonic()
            return now if self._asked.done() else now + _LOOK_AGAIN_S
        return self._not_before

    def answer(self) -> T | None:
        """Return the answer if it is there; put the question if it is time to. Never waits."""
        if self._asked is None and self._monotonic() >= self._not_before:
            if not self._is_drained():
                self._not_before = self._monotonic() + RETRY_S
                return None
            self._asked = self._ask(self._question)
        if self._asked is None or not self._asked.done():
            return None
        asked, self._asked = self._asked, None
        self._not_before = self._monotonic() + RETRY_S
        try:
            return asked.result()
        except DatabaseAwayError as error:
            logger.debug("the record cannot be asked for %s: %s", self._name, error)
        except StorageError as error:
            logger.warning("the record cannot be asked for %s: %s", self._name, error)
        return None
