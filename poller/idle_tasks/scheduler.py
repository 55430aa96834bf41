"""What is done between two polls: each task is a generator that reads from top to bottom; one scheduler runs them all.

A task yields what it wants next, and goes on when it has it:

- MeterRequest: one request to the meter. It begins only where its response can be expected before the next tick, and
  there is never more than one. What the radio raises is thrown into the task: also SessionLostError while the link is
  down, so that each task starts over with the next session.
- Query: something to read from the database. Outages are waited out here; no task ever notices one.
- Keep: rows for the outbox.
- Pause: nothing before a time, or before something is true.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from backoff import Backoff
from poller.idle_tasks.time_budget import TimeBudget
from skstack import SessionLostError, SkStackError
from storage.errors import DatabaseUnreachableError, StorageError
from storage.records import Round, Row

if TYPE_CHECKING:
    from storage.connection import Cursor

logger = logging.getLogger(__name__)

T = TypeVar("T")

FAULT_PAUSE_S = 60.0  # of a task after a fault of the program
_LOOK_AGAIN_S = 0.2  # while a query is under way
_FIRST_QUERY_PAUSE_S, _LAST_QUERY_PAUSE_S = 5.0, 60.0  # after it did not respond


@dataclass(frozen=True, slots=True)
class MeterRequest:
    """*send* sends one request to the meter and returns its response; it gets its deadline (monotonic seconds).

    *kind*: requests of one kind take about the same time. It is given up after *timeout_s*.
    """

    kind: str
    send: Callable[[float], Any]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Query:
    """*read* gets a cursor and the number of our site, in the delivery's thread; *about* names it in the log."""

    about: str
    read: Callable[[Cursor, int], Any]


@dataclass(frozen=True, slots=True)
class Keep:
    """Rows that belong together, for the outbox."""

    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Pause:
    """Until the monotonic time *until*, or until *is_over* is true, which is called at least once a tick."""

    until: float = float("inf")
    is_over: Callable[[], bool] = lambda: False


Want = MeterRequest | Query | Keep | Pause
Task = Generator[Want, Any, None]
Subtask = Generator[Want, Any, T]  # of a task, called with "yield from": it returns a T


def request(kind: str, send: Callable[[float], T], *, timeout_s: float) -> Subtask[T]:
    """Send one request, see MeterRequest. Raises: what *send* raises; SessionLostError: the link is down."""
    response: T = yield MeterRequest(kind, send, timeout_s)
    return response


def attempt(kind: str, send: Callable[[float], T], *, timeout_s: float) -> Subtask[T | None]:
    """Send one request as request() does; None: it was refused, or got no response. Raises: SessionLostError."""
    try:
        return (yield from request(kind, send, timeout_s=timeout_s))
    except SessionLostError:
        raise
    except SkStackError:
        return None


def query(about: str, read: Callable[[Cursor, int], T]) -> Subtask[T]:
    """Query the database, see Query, however long that takes."""
    result: T = yield Query(about, read)
    return result


class QueryDatabase(Protocol):
    """How the database is queried: Delivery.query."""

    def __call__(self, read: Callable[[Cursor, int], T], /) -> Future[T]:
        """Let the owner of the connection call *read*."""


@dataclass(slots=True)
class _Running:
    """A task, what it wants, and what it waits for."""

    begin: Callable[[], Task]
    task: Task
    want: Want = field(default_factory=lambda: Pause(until=float("-inf")))
    result: Future[Any] | None = None  # of the query under way
    query_at: float = float("-inf")  # not before
    backoff: Backoff = field(default_factory=lambda: Backoff(_FIRST_QUERY_PAUSE_S, _LAST_QUERY_PAUSE_S))
    said: set[object] = field(default_factory=set)  # faults and refused queries


class IdleTasks:
    """Runs *tasks*, each given by what begins it, the most urgent first.

    *query* queries the database, *keep* returns when a round is safe, *is_up*: whether requests can be sent.
    A fault of the program is logged, once of each kind; its task starts over a minute later, the others go on.
    """

    def __init__(
        self,
        tasks: Sequence[Callable[[], Task]],
        *,
        query: QueryDatabase,
        keep: Callable[[Round], None],
        budget: TimeBudget,
        monotonic: Callable[[], float],
        is_up: Callable[[], bool],
    ) -> None:
        self._tasks = [_Running(begin, begin()) for begin in tasks]
        self._query = query
        self._keep = keep
        self._budget = budget
        self._monotonic = monotonic
        self._is_up = is_up

    def look(self) -> None:
        """Let each task go on as far as it can without a request. Waits for nothing."""
        for running in self._tasks:
            while self._goes_on(running):
                continue

    def work(self, until: float) -> float:
        """Let each task go on, with at most one request, over by *until*; return when there is more to do."""
        self.look()
        if any(self._goes_on(running, until) for running in self._tasks):
            self.look()
            return self._monotonic()
        return min((self._due_at(running, until) for running in self._tasks), default=until)

    def finish(self, until: float, *, sleep: Callable[[float], None], should_stop: Callable[[], bool]) -> None:
        """Work until no task waits for the meter or the database any more, or *until* (monotonic) has come."""
        due_at = self.work(until)
        while any(isinstance(each.want, MeterRequest | Query) for each in self._tasks) and not should_stop():
            if self._monotonic() >= until:
                return
            sleep(max(0.0, min(due_at, until) - self._monotonic()))
            due_at = self.work(until)

    def _goes_on(self, running: _Running, until: float = float("-inf")) -> bool:
        """Give the task what it wants, if that is there, and take its next want; return whether it went on.

        A request is sent where its response can be expected before *until*. Whatever a task raises ends here.
        """
        try:
            match running.want:
                case MeterRequest(kind=kind) as wanted:
                    if self._is_up() and not self._budget.fits(kind, until):
                        return False
                    running.want = self._send(running.task, wanted, until)
                case Query() as wanted:
                    if running.result is None and self._monotonic() >= running.query_at:
                        running.result = self._query(wanted.read)
                    if running.result is None or not running.result.done():
                        return False
                    running.want = self._take(running.result, running, wanted)
                case Keep(rows=rows):
                    self._keep(Round(tuple(rows)))
                    running.want = running.task.send(None)
                case Pause(until=over_at, is_over=is_over):
                    if self._monotonic() < over_at and not is_over():
                        return False
                    running.want = running.task.send(None)
        except StopIteration:
            running.want = Pause()
        except Exception as error:  # noqa: BLE001 - it is logged
            self._start_over(running, error)
        return True

    def _send(self, task: Task, wanted: MeterRequest, until: float) -> Want:
        """Send the request; return what the task wants next."""
        try:
            if not self._is_up():
                raise SessionLostError("the link is down")
            response = self._budget.spend(wanted.kind, wanted.send, until, timeout_s=wanted.timeout_s)
        except SkStackError as error:
            logger.debug("%s: %s", wanted.kind, error)
            return task.throw(error)
        return task.send(response)

    def _take(self, result: Future[Any], running: _Running, wanted: Query) -> Want:
        """Pass on the result of the query; return what the task wants next: the same, if the query failed."""
        running.result = None
        try:
            found = result.result(timeout=0)
        except StorageError as error:
            running.query_at = self._monotonic() + running.backoff.failed()
            is_news = not isinstance(error, DatabaseUnreachableError) and str(error) not in running.said
            if is_news:
                running.said.add(str(error))
            level = logging.WARNING if is_news else logging.DEBUG
            logger.log(level, "the database cannot be queried for %s: %s", wanted.about, error)
            return wanted
        running.backoff.succeeded()
        return running.task.send(found)

    def _due_at(self, running: _Running, until: float) -> float:
        """Return when to see whether the task can go on (monotonic seconds)."""
        now = self._monotonic()
        match running.want:
            case Pause(until=over_at):
                return over_at
            case Query():
                return max(running.query_at, now + _LOOK_AGAIN_S)
        # A request fits as soon as the air is free, or not before the tick.
        free_at = self._budget.free_at()
        return min(free_at, until) if free_at > now else until

    def _start_over(self, running: _Running, error: Exception) -> None:
        if type(error) not in running.said:
            running.said.add(type(error))
            logger.error("a fault of the program in %s, the rest goes on", running.begin.__qualname__, exc_info=error)
        running.task = running.begin()
        running.want = Pause(until=self._monotonic() + FAULT_PAUSE_S)
        running.result = None
