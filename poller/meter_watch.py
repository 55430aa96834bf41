"""Which meter hangs there: a row when it is first seen, and a row and an event when it was exchanged.

The views take every newer row of "meter" for an exchange, so the same meter is never written twice.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from poller.clock import Clock
from poller.inquiry import Inquirer
from skstack import Meter, Poll
from skstack.echonet import EnergyScale, MeterIdentity, register_difference
from storage.holes import KnownMeter, LastRegisters, known_meter, last_registers
from storage.records import MeterRow, RadioEventRow, Row

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class with a lower-case name

logger = logging.getLogger(__name__)

_MOMENT = timedelta(seconds=1)  # the times of the record are whole seconds


@dataclass(frozen=True, slots=True)
class _Record:
    """What the record knows from before this run: the meter in service, and the last registers."""

    meter: KnownMeter | None
    registers: LastRegisters | None


@dataclass(frozen=True, slots=True)
class _Sighting:
    """A meter that is in service since row.since; *reason*: how it differs from the one before."""

    row: MeterRow
    reason: str


class MeterWatch:
    """Compares who answers with who answered before, and the registers with the last ones.

    What the record knows from before is asked aside; until that is known, what was seen waits here. Nothing is looked
    at before *clock* is settled: since when a meter hangs there is compared with the dates of the record.
    """

    def __init__(
        self,
        meter: Meter,
        *,
        clock: Clock,
        inquirer: Inquirer,
    ) -> None:
        self._meter = meter
        self._clock = clock
        self._started_s = clock.monotonic()
        self._inquiry = inquirer.about("its meter", self._ask_record)
        self._is_known = False
        self._waiting: list[_Sighting] = []
        self._current: MeterRow | None = None
        self._poll: Poll | None = None
        self._registers: LastRegisters | None = None  # of the last poll
        self._first_registers: LastRegisters | None = None
        self._has_fallen = False
        self._rows: list[Row] = []
        self.serves_from: datetime | None = None
        """The present meter took another one's place at that time; None: as far as is known it was always there."""

    @property
    def is_settled(self) -> bool:
        """Whether it is known which meter answers in this session, and since when it hangs there."""
        return self._is_known and self._meter.is_identified

    def due_at(self) -> float:
        """Return when to ask the record, or to look for its answer (monotonic seconds)."""
        if self._is_known or not self._waiting:
            return float("inf")
        return self._inquiry.due_at()

    def act(self, until: float) -> bool:
        """Ask the record, or take its answer. Needs no room before *until*: it waits for nothing."""
        self._compare_with_record()
        return True

    def rows(self) -> list[Row]:
        """Look at the last poll; return the rows gathered since the last call. Asks the record nothing."""
        if self._clock.is_settled:
            self._look()
        rows, self._rows = self._rows, []
        return rows

    # --- what is seen

    def _look(self) -> None:
        identity, poll = self._meter.identity, self._meter.last_poll
        if not self._meter.is_identified or identity is None or identity.scale is None or poll is None:
            return
        row = _meter_row(identity, identity.scale, self._clock.now())
        if self._current is None:
            self._see(row, "")
        elif reason := _difference(self._current, row):
            self._see(replace(row, since=self._since(row)), reason)
        if poll is not self._poll:
            self._poll = poll
            self._look_at_registers(row, identity.scale, poll)

    def _since(self, row: MeterRow) -> datetime:
        """Return the moment after the last poll of the meter before: every register from then on is the new one's."""
        return self._registers.known_at + _MOMENT if self._registers is not None else row.since

    def _look_at_registers(self, row: MeterRow, scale: EnergyScale, poll: Poll) -> None:
        seen = LastRegisters(row.since, poll.reading.import_kwh, poll.reading.export_kwh)
        if seen.import_kwh is None and seen.export_kwh is None:
            return
        before = self._registers
        if before is not None and _falls(before, seen, scale):
            if not self._has_fallen:  # once may be a slip of the meter; twice is another meter
                self._has_fallen = True
                return
            self._see(replace(row, since=self._since(row)), _fall(before, seen))
        self._has_fallen = False
        self._first_registers = self._first_registers or seen
        self._registers = seen

    def _see(self, row: MeterRow, reason: str) -> None:
        self._current = row
        self._registers = None
        self._has_fallen = False
        sighting = _Sighting(row, reason)
        if self._is_known:
            self._add(sighting)
        else:
            self._waiting.append(sighting)

    # --- what is known

    def _ask_record(self, cursor: Cursor, site_id: int) -> _Record:
        started_at = self._clock.now() - timedelta(seconds=self._clock.monotonic() - self._started_s)
        return _Record(known_meter(cursor, site_id), last_registers(cursor, site_id, before=started_at))

    def _compare_with_record(self) -> None:
        record = self._inquiry.answer()
        if record is None:
            return
        self._is_known = True
        first, *later = self._waiting
        self._waiting = []
        self._compare_first(first, record)
        for sighting in later:
            self._add(sighting)

    def _compare_first(self, first: _Sighting, record: _Record) -> None:
        known, last = record.meter, record.registers
        if known is None:
            self._rows.append(first.row)
            return
        reason = _difference(known.row, first.row) or self._fall_since(first.row, last)
        if reason:
            since = min(last.known_at + _MOMENT, first.row.since) if last else first.row.since
            row = replace(first.row, since=max(since, known.row.since + _MOMENT))
            self._add(_Sighting(row, reason))
        elif known.replaced:
            self.serves_from = known.row.since

    def _fall_since(self, row: MeterRow, last: LastRegisters | None) -> str:
        """Say how the registers fell between two runs; "": they did not."""
        seen = self._first_registers
        scale = EnergyScale(row.coefficient, row.unit_kwh, row.digits)
        return _fall(last, seen) if last and seen and _falls(last, seen, scale) else ""

    def _add(self, sighting: _Sighting) -> None:
        logger.warning("the meter was exchanged: %s", sighting.reason)
        self.serves_from = sighting.row.since
        self._rows.append(sighting.row)
        self._rows.append(RadioEventRow(self._clock.now(), "meter_changed", detail=sighting.reason))


def _meter_row(identity: MeterIdentity, scale: EnergyScale, since: datetime) -> MeterRow:
    return MeterRow(
        since=since,
        manufacturer=identity.manufacturer,
        serial_number=identity.serial_number,
        release=identity.release,
        coefficient=scale.coefficient,
        unit_kwh=scale.unit_kwh,
        digits=scale.digits,
    )


_COMPARED = ("manufacturer", "serial_number", "release", "coefficient", "unit_kwh", "digits")


def _difference(old: MeterRow, new: MeterRow) -> str:
    """Say in what *new* is another meter; "": in nothing. What one of the two did not tell makes no difference."""
    for name in _COMPARED:
        was, is_now = getattr(old, name), getattr(new, name)
        if was is not None and is_now is not None and was != is_now:
            return f"its {name.replace('_', ' ')} was {was} and is {is_now}"
    return ""


def _falls(old: LastRegisters, new: LastRegisters, scale: EnergyScale) -> bool:
    """Whether a register went back without a wrap."""
    pairs = ((old.import_kwh, new.import_kwh), (old.export_kwh, new.export_kwh))
    return any(
        register_difference(_counts(later, scale), _counts(earlier, scale), scale.digits) is None
        for earlier, later in pairs
        if earlier is not None and later is not None
    )


def _counts(kwh: Decimal, scale: EnergyScale) -> int:
    return int(kwh / (scale.coefficient * scale.unit_kwh))


def _fall(old: LastRegisters, new: LastRegisters) -> str:
    return (
        f"its registers went from {old.import_kwh} and {old.export_kwh} kWh (import, export) "
        f"back to {new.import_kwh} and {new.export_kwh} kWh"
    )
