"""What a meter can do: which properties it gives, and which requests it responds to.

Meters depart from the specification for a minute or for good: what they give is learnt, and unlearnt again. What has
given data is requested as long as the session lasts; every refusal lapses.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Generic, TypeVar

from skstack.echonet.properties import Epc
from skstack.echonet.request import Response

logger = logging.getLogger(__name__)

# Source: field reports of enkunkun/cube-j1-mqtt, nanamitm and hals5412.
_REFUSALS = 2  # in a row, until a property is no longer requested
_REFUSAL_LASTS_S = 3600.0
# The coefficient, which is then 1; and what is sold, which a home without panels need not have. Source: class 0x0288.
_OFTEN_LACKING = frozenset({Epc.COEFFICIENT, Epc.EXPORT_ENERGY, Epc.SCHEDULED_EXPORT})

_WantedT = TypeVar("_WantedT", int, frozenset[int])  # a property, or those of one request


class _Withheld(Generic[_WantedT]):
    """What the meter withheld several times in a row: it is not requested for a while."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._times: dict[_WantedT, int] = {}  # in a row
        self._until: dict[_WantedT, float] = {}

    def note(self, wanted: _WantedT) -> bool:
        """Count once more; True: from now on it is not to be requested, for the first time since it was given."""
        self._times[wanted] = self._times.get(wanted, 0) + 1
        if self._times[wanted] < _REFUSALS:
            return False
        is_first = wanted not in self._until
        self._until[wanted] = self._monotonic() + _REFUSAL_LASTS_S
        return is_first

    def forget(self, wanted: _WantedT) -> bool:
        """Start counting again; True: it was not to be requested."""
        self._times.pop(wanted, None)
        return self._until.pop(wanted, None) is not None

    def clear(self) -> None:
        """Start counting again for all."""
        self._times.clear()
        self._until.clear()

    def was_last(self, wanted: _WantedT) -> bool:
        """Whether it was withheld when it was last requested."""
        return wanted in self._times

    def lasts(self, wanted: _WantedT) -> bool:
        """Whether it is not to be requested now."""
        return self._monotonic() < self._until.get(wanted, float("-inf"))


class Capability:
    """Which properties the meter of this session gives. Notified of every response and every silence."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._listed: frozenset[int] = frozenset()  # in the property map (9F); empty: not known
        self._given: set[int] = set()  # what has given data in this session
        self._refused: _Withheld[int] = _Withheld(monotonic)
        self._silent: _Withheld[frozenset[int]] = _Withheld(monotonic)  # requests that get no response

    def note_map(self, listed: frozenset[int]) -> bool:
        """Take the property map; False: no meter can have it, and it is as good as none."""
        self._listed = listed if listed & {Epc.POWER, Epc.IMPORT_ENERGY} else frozenset()
        return bool(self._listed)

    def offers(self, epc: int) -> bool:
        """Whether *epc* can be requested: it is listed, or no map is known, and it is not refused now."""
        return not self.is_refused(epc) and (not self._listed or epc in self._listed)

    def lists(self, *epcs: int) -> bool:
        """Whether the property map has all of *epcs*; False while it is not known."""
        return self._listed.issuperset(epcs)

    def begin_session(self) -> None:
        """Forget what was learnt, but for the map."""
        self._given.clear()
        self._silent.clear()
        self.forget_refusals()

    def forget_refusals(self) -> None:
        """Allow every property to be requested again."""
        self._refused.clear()

    def is_refused(self, epc: int) -> bool:
        """Whether the meter has lately refused *epc*, and never given it in this session."""
        return self._refused.lasts(epc)

    def may_come(self, epc: int) -> bool:
        """Whether *epc* was not given in this session, and has not lately gone without a response."""
        return epc not in self._given and self.responds_to({epc})

    def refused(self, epcs: Collection[int]) -> frozenset[int]:
        """Return which of *epcs* the meter refused when they were last requested."""
        return frozenset(epc for epc in epcs if self._refused.was_last(epc))

    def note(self, response: Response) -> None:
        """Learn from a response. One without any data says nothing of the properties: the meter is busy."""
        self._silent.forget(response.requested)
        for epc in response.values:
            self._silent.forget(frozenset({epc}))
            self._given.add(epc)
            if self._refused.forget(epc):
                logger.info("the meter gives EPC %02X again", epc)
        if response.values:
            self.note_refusals(response.refused)

    def note_silence(self, requested: Collection[int]) -> None:
        """Learn that a request got no response in its whole wait: one can be lost, two are a habit."""
        self._silent.note(frozenset(requested))

    def responds_to(self, requested: Collection[int]) -> bool:
        """Whether just these may be requested at once: that has not lately gone without a response."""
        return not self._silent.lasts(frozenset(requested))

    def note_refusals(self, epcs: Collection[int]) -> None:
        """Count refusals; what was refused several times in a row, and never given, is not requested for a while."""
        for epc in epcs:
            if epc not in self._given and self._refused.note(epc):
                level = logging.INFO if epc in _OFTEN_LACKING else logging.WARNING
                logger.log(level, "the meter refuses EPC %02X: it will be requested again in an hour", epc)

    def singly(self, epcs: Sequence[int]) -> list[tuple[int, ...]]:
        """Split *epcs* into single ones; those that got no response come last, since to wait holds up the rest."""
        return [(epc,) for epc in sorted(epcs, key=lambda epc: self._silent.was_last(frozenset({epc})))]
