"""How a meter is read: how many properties at once, how patiently, and one by one where it must be.

What it responds to is learnt from every poll, and tried again now and then.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import Protocol

from skstack.capability import Capability
from skstack.echonet.frame import MAX_GET_PROPERTIES
from skstack.echonet.request import Response
from skstack.errors import SessionLostError, SkStackError, SkStackTimeoutError, StoppedError
from skstack.timings import SessionTimings

logger = logging.getLogger(__name__)

# Numbers of polls. Source: field reports of enkunkun/cube-j1-mqtt, nanamitm and hals5412.
_SILENT_POLLS = 3  # without any response, before other forms are tried
_TRIAL_EVERY = 4  # polls
_BRIEF_EVERY = 3  # silent polls: so that the first trial of a patient group is none
_LONE_RESPONSES = 2  # in a row, until properties are requested one by one
_GROUP_EVERY = 10  # polls after which the group is requested again meanwhile


class Form(Enum):
    """How a poll is split into requests."""

    GROUPS = auto()
    PATIENT_GROUP = auto()  # one request that waits as long as it may: some meters start over with each
    ONE = auto()  # one request for one property
    SINGLES = auto()  # one request for each property


class Get(Protocol):
    """One request for properties: Session.get, which says what it raises."""

    def __call__(
        self, epcs: Iterable[int], *, until: float, background: bool = False, timeout_s: float | None = None
    ) -> Response:
        """Return the response to it."""


class Reader:
    """Reads the meter in the form that its *capability* allows, and learns from what comes.

    *is_single*: the meter does not respond to requests for several properties. *reads_singly*: read() has requested
    what it was asked for last one by one.
    """

    def __init__(
        self, get: Get, capability: Capability, *, timings: SessionTimings, monotonic: Callable[[], float]
    ) -> None:
        self._get = get
        self._capability = capability
        self._timings = timings
        self._monotonic = monotonic
        self._at_once = MAX_GET_PROPERTIES
        self._groupless_polls = 0  # since the last response to a group
        self._lone_responses = 0
        self.is_single = False
        self.reads_singly = False
        self._is_slow = False
        self._form = Form.GROUPS  # of the last poll without a response
        self._silent_until = float("-inf")  # and its deadline

    def begin_session(self) -> None:
        """Forget what was learnt, but not that groups stay silent: joining again changes nothing there."""
        self._capability.begin_session()
        self._at_once = MAX_GET_PROPERTIES
        self._is_slow = False

    def note(self, response: Response) -> None:
        """Learn from a response, also from a late one."""
        self._capability.note(response)
        listed = response.values.keys() | response.refused
        if response.values and len(listed) < min(len(response.requested), self._at_once):
            self._at_once = len(listed)
            logger.info("the meter gives %d properties at once: they are requested in groups of that many", len(listed))

    def is_brief(self, until: float) -> bool:
        """Whether the poll up to *until* is to hold no more than it must: the last got no response, maybe for that."""
        silent_polls = self._groupless_polls - (until == self._silent_until)
        return not self.is_single and silent_polls % _BRIEF_EVERY == 1

    def poll(self, epcs: Sequence[int], until: float) -> tuple[Response, dict[int, bytes]]:
        """Request *epcs* in the form that is due; return the first response, and all the data that came, by EPC.

        Raises: as Get: no response by *until* (monotonic).
        """
        form = self._form if until == self._silent_until else self._next_form()
        is_group = form in (Form.GROUPS, Form.PATIENT_GROUP) and len(epcs) > 1
        is_patient = form is Form.PATIENT_GROUP or (is_group and self._is_slow)
        groups = self._groups(epcs) if is_group else self._capability.singly(epcs)
        if form is Form.ONE:
            groups = groups[:1]
        began = self._monotonic()
        try:
            first = self._get(groups[0], until=until, timeout_s=self._timings.longest_wait_s if is_patient else None)
        except (StoppedError, SessionLostError):
            raise
        except SkStackError:
            if until != self._silent_until:  # else it is the same poll, repeated after the meter was joined again
                self._note_groupless(form)
                if not is_group:
                    self._capability.note_silence(groups[0])  # then it comes last
            self._form, self._silent_until = form, until
            raise
        if is_group:
            took_s = first.arrived_at - began if is_patient else 0.0
            self._note_group(is_slow=took_s > self._timings.response_timeout_s)
        values = self._read_rest(first, groups[1:], until)
        if not is_group:
            self._retry_group(form, epcs, values, until)
        return first, values

    def read(self, epcs: Sequence[int], until: float) -> dict[int, bytes]:
        """Return what the meter gives of *epcs*, in the background. Raises: as Get: the first request got no response.

        Where a group gets none, its properties are requested one by one for a while.
        """
        groups = self._groups(epcs)
        if not self._capability.responds_to(groups[0]):
            groups = self._capability.singly(epcs)
        self.reads_singly = len(groups[0]) == 1 < len(epcs)
        is_long = len(groups[0]) > 1
        return self._read_rest(self._background(groups[0], until, is_long=is_long), groups[1:], until)

    def _next_form(self) -> Form:
        """Return the form of the next poll."""
        if self.is_single:
            return Form.SINGLES
        polls = self._groupless_polls
        if polls < _SILENT_POLLS or polls % _TRIAL_EVERY != _SILENT_POLLS % _TRIAL_EVERY:
            return Form.GROUPS
        return Form.ONE if polls // _TRIAL_EVERY % 2 else Form.PATIENT_GROUP

    def _groups(self, epcs: Sequence[int]) -> list[tuple[int, ...]]:
        """Split *epcs* into groups of as many as the meter gives at once."""
        at_once = 1 if self.is_single else self._at_once
        return [tuple(epcs[start : start + at_once]) for start in range(0, len(epcs), at_once)]

    def _note_group(self, *, is_slow: bool) -> None:
        """Learn that a group got a response; *is_slow*: only after the request would have been repeated."""
        self._groupless_polls = self._lone_responses = 0
        if self.is_single:
            self.is_single = False
            logger.info("the meter responds to requests for several properties again")
        if self._is_slow != is_slow:
            self._is_slow = is_slow
            logger.info("the meter is %s: the timeout follows", "slow to respond" if is_slow else "quick again")

    def _note_groupless(self, form: Form, given: Collection[int] = ()) -> None:
        """Learn that a poll ended without a response to a group; *given*: what came one by one."""
        self._groupless_polls += 1
        if form is Form.ONE:
            self._lone_responses = self._lone_responses + 1 if given else 0
            if self._lone_responses >= _LONE_RESPONSES:
                self.is_single = True
                self._groupless_polls = 1
                logger.warning(
                    "the meter does not respond to requests for several properties: they are requested one by one"
                )

    def _retry_group(self, form: Form, epcs: Sequence[int], values: Mapping[int, bytes], until: float) -> None:
        """Where properties are requested one by one, try the group again now and then."""
        if self.is_single and self._groupless_polls % _GROUP_EVERY == 0:
            with contextlib.suppress(SkStackError):
                self.note(self._background(epcs[: self._at_once], until))
                self._note_group(is_slow=False)
                return
        self._note_groupless(form, values)

    def _read_rest(self, first: Response, groups: Iterable[Sequence[int]], until: float) -> dict[int, bytes]:
        """Return what *first* gave, and what the other *groups* give; what was left out is requested once more.

        A request that gets no response is left at that: what came is a reading.
        """
        values: dict[int, bytes] = {}
        refused_alone: set[int] = set()
        waiting = deque(groups)
        response: Response | None = first
        while response is not None:
            self.note(response)
            values.update(response.values)
            if len(response.requested) == 1:
                refused_alone |= response.refused
            waiting.extend(self._once_more(response))
            response = None
            if waiting:
                response = self._response_or_none(waiting.popleft(), until)
        if values:  # else the meter is busy, and refuses whatever it is
            self._capability.note_refusals(refused_alone)
        return values

    def _response_or_none(self, epcs: Sequence[int], until: float) -> Response | None:
        """Return the response to _background; None: none came."""
        with contextlib.suppress(SkStackError):
            return self._background(epcs, until)
        return None

    def _once_more(self, response: Response) -> list[tuple[int, ...]]:
        """Return what to request again: what a response left out, in groups, and what it refused, one by one.

        Some meters refuse all because of one, or give a property only when it is requested alone.
        """
        if len(response.requested) == 1:
            return []
        refused = response.refused if response.values else response.requested
        left_out = response.requested - response.values.keys() - refused
        alone = ((epc,) for epc in sorted(refused) if self._capability.responds_to({epc}))
        return [*self._groups(sorted(left_out)), *alone]

    def _background(self, epcs: Sequence[int], until: float, *, is_long: bool = False) -> Response:
        """Send a request whose failure counts against *epcs*, not the link; wait one timeout. Raises: as Get.

        *is_long*: wait as long as a response may take.
        """
        timeout_s = self._timings.longest_wait_s if self._is_slow or is_long else self._timings.response_timeout_s
        try:
            return self._get(epcs, until=min(until, self._monotonic() + timeout_s), background=True)
        except SkStackTimeoutError as error:
            if error.waited_s >= self._timings.response_timeout_s:  # else the wait was cut short
                self._capability.note_silence(epcs)
            raise
