"""Questions to the database that the loop never waits for: put again after a pause where there is no answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from storage.errors import DatabaseUnreachableError, StorageError

logger = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_S = 30.0  # after the database did not answer
_LOOK_AGAIN_S = 0.2  # while the answer is awaited

Question = Callable[[Any, int], T]  # is handed a cursor and the number of our site, in another thread


class Query(Protocol):
    """How a question is put: Delivery.query."""

    def __call__(self, question: Question[T], /) -> Future[T]:
        """Put *question*; the future holds its answer, or what it raised."""


@dataclass(frozen=True, slots=True)
class Inquirer:
    """How to inquire of the database."""

    query: Query
    monotonic: Callable[[], float]

    def about(self, name: str, question: Question[T]) -> Inquiry[T]:
        """Make an inquiry; *name* says in the log what about."""
        return Inquiry(name, question, query=self.query, monotonic=self.monotonic)


class Inquiry(Generic[T]):
    """One question, put again after a pause until it is answered; and anew, when its answer is wanted again."""

    def __init__(self, name: str, question: Question[T], *, query: Query, monotonic: Callable[[], float]) -> None:
        self._name = name
        self._question = question
        self._query = query
        self._monotonic = monotonic
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
            self._asked = self._query(self._question)
        if self._asked is None or not self._asked.done():
            return None
        asked, self._asked = self._asked, None
        self._not_before = self._monotonic() + RETRY_S
        try:
            return asked.result()
        except DatabaseUnreachableError as error:
            logger.debug("the database cannot be asked for %s: %s", self._name, error)
        except StorageError as error:
            logger.warning("the database cannot be asked for %s: %s", self._name, error)
        return None
