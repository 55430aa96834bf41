"""Reading the meter's memory: a day of half hours (E5, then E2 and E4).

One request chooses the day and the next ones read it: nobody else may choose another in between.
"""

from __future__ import annotations

from decimal import Decimal

from skstack.echonet.history import DayHistory, decode_day_history, encode_history_day
from skstack.echonet.properties import Epc, decoded, warn
from skstack.meter import Meter
from skstack.session import Session


class MeterHistory:
    """Each call is one request in the background; deadlines are monotonic."""

    def __init__(self, session: Session, meter: Meter) -> None:
        self._session = session
        self._meter = meter

    @property
    def offers_days(self) -> bool:
        """Whether the meter's days can be read. It is known only after the meter was identified."""
        return self._meter.lists(Epc.DAY_HISTORY_DAY, Epc.IMPORT_DAY_HISTORY)

    @property
    def offers_export_days(self) -> bool:
        """Whether the days of what the household sells can be read, too."""
        return self._meter.lists(Epc.EXPORT_DAY_HISTORY) and not self._meter.export_is_silent

    @property
    def needs_export_days(self) -> bool:
        """Whether a half hour without what was sold is incomplete: not where the meter refuses that register now."""
        return self._meter.measures_export

    def choose_day(self, day_back: int, *, until: float) -> bool:
        """Choose the day to be read next, 0 (today) to 99 back by the meter's clock; False: the meter refuses.

        Raises: as Session.get.
        """
        return self._session.set(Epc.DAY_HISTORY_DAY, encode_history_day(day_back), until=until)

    def read_day(self, epc: Epc, *, until: float) -> DayHistory | None:
        """Read IMPORT_DAY_HISTORY or EXPORT_DAY_HISTORY of the chosen day, in counts; None: nothing that can be read.

        Raises: as Session.get.
        """
        # AIF specification 2.4.2: a history takes as long as several properties.
        timeout_s = self._session.timings.longest_wait_s
        values = self._session.get((epc,), until=until, background=True, timeout_s=timeout_s).values
        return decoded(values, epc, decode_day_history, warn)

    def kwh(self, raw: int | None) -> Decimal | None:
        """Return counts of the meter's registers in kWh, exactly."""
        identity = self._meter.identity
        return identity.scale.kwh(raw) if identity is not None and identity.scale is not None else None
