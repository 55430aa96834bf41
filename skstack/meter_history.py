"""Reading the meter's memory: a day of half hours (E5, then E2 and E4).

What is to be read is chosen with one request and read with the next ones: nobody else may choose in between.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

from skstack.echonet.frame import Esv, Frame
from skstack.echonet.properties import (
    DayHistory,
    Epc,
    decode_day_history,
    encode_history_day,
)
from skstack.errors import FrameError
from skstack.meter import Meter
from skstack.session import Session

logger = logging.getLogger(__name__)

T = TypeVar("T")

HISTORY_PATIENCE = 3
"""Times the timeout of a poll. Source: AIF specification 2.4.2, 20 s for one property, 60 s for a history."""


class MeterHistory:
    """One request a call. None of them puts the link in doubt where it stays unanswered; deadlines are monotonic."""

    def __init__(self, session: Session, meter: Meter) -> None:
        self._session = session
        self._meter = meter

    @property
    def offers_days(self) -> bool:
        """Whether the meter can be asked for its days. It is known only after it was identified."""
        return self._offers(Epc.DAY_HISTORY_DAY, Epc.IMPORT_DAY_HISTORY)

    @property
    def offers_export_days(self) -> bool:
        """Whether the days of what the household sells can be asked for, too."""
        return self._offers(Epc.EXPORT_DAY_HISTORY) and self.measures_export

    @property
    def measures_export(self) -> bool:
        """Whether the meter counts what the household sells."""
        return self._meter.measures_export

    def choose_day(self, day_back: int, *, until: float) -> bool:
        """Choose the day to be read next, 0 (today) to 99 back by the meter's clock; False: the meter refuses.

        Raises: as Session.ask.
        """
        return self._choose(Epc.DAY_HISTORY_DAY, encode_history_day(day_back), until)

    def read_day(self, epc: Epc, *, until: float) -> DayHistory | None:
        """Read IMPORT_DAY_HISTORY or EXPORT_DAY_HISTORY of the chosen day, in counts; None: nothing that can be read.

        Raises: as Session.ask.
        """
        return self._read(epc, decode_day_history, until)

    def kwh(self, raw: int | None) -> Decimal | None:
        """Return counts of the meter's registers in kWh, exactly."""
        identity = self._meter.identity
        return identity.scale.kwh(raw) if identity is not None and identity.scale is not None else None

    def _offers(self, *epcs: Epc) -> bool:
        """As the property map says: here a map that is not known is a no, since a guess costs a minute of silence."""
        identity = self._meter.identity
        return identity is not None and identity.get_map.issuperset(epcs)

    def _choose(self, epc: Epc, edt: bytes, until: float) -> bool:
        return self._meter.ask_aside(Frame.set_c(0, epc, edt), until=until).esv is Esv.SET_RES

    def _read(self, epc: Epc, decode: Callable[[bytes], T], until: float) -> T | None:
        timeout_s = HISTORY_PATIENCE * self._session.timings.answer_timeout_s
        answer = self._meter.ask_aside(Frame.get(0, (epc,)), until=until, timeout_s=timeout_s)
        try:
            edt = answer.edt_by_epc().get(epc)
            return None if edt is None else decode(edt)
        except FrameError as error:
            logger.warning("history %02X is dropped: %s", epc, error)
            return None
