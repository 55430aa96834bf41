"""Reading the meter's memory: a day of half hours (E5, then E2 and E4).

The day is chosen with one request and read with the next ones: nobody else may choose in between.
"""

from __future__ import annotations

from decimal import Decimal

from skstack.echonet.history import DayHistory, decode_day_history, encode_history_day
from skstack.echonet.properties import Epc, decoded, warn
from skstack.meter import Meter
from skstack.session import Session


class MeterHistory:
    """One request a call, all in the background; deadlines are monotonic."""

    def __init__(self, session: Session, meter: Meter) -> None:
        self._session = session
        self._meter = meter

    @property
    def offers_days(self) -> bool:
        """Whether the meter can be asked for its days. It is known only after it was identified."""
        return self._meter.lists(Epc.DAY_HISTORY_DAY, Epc.IMPORT_DAY_HISTORY)

    @property
    def offers_export_days(self) -> bool:
        """Whether the days of what the household sells can be asked for, too."""
        return self._meter.lists(Epc.EXPORT_DAY_HISTORY) and not self._meter.export_is_silent

    @property
    def needs_export_days(self) -> bool:
        """Whether a half hour without what was sold lacks something: not where the meter refuses its register now."""
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
