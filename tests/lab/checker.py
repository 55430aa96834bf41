"""A store that looks at every row it is given: was it measured like that, and was it there when it ought to be."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from math import inf, sqrt
from operator import attrgetter, sub
from typing import Protocol

from skstack.simulator import SimulatedModule, VirtualClock
from skstack.simulator.registers import Registers
from storage.records import EnergyRow, PowerRow, Round
from tests.lab.faults import BY_CHANCE, KINDS, Fault, busy_spans

RECOVERY_S = 600.0  # from the end of the last fault to the next reading
_RESPONSE_S = 3.0  # a poll that began so shortly before a fault may suffer from it
_LATEST_S = 200.0  # how old a value may be that comes late: three timeouts of a minute, and a little
_GRID_S = 10  # at shorter intervals not every tick can have its response
_LEARNS_IN = 20  # so many polls it may take to find out what a meter does
_FEWEST_POLLS = 20  # that say anything about a share
_DEVIATIONS = 3  # from a mean that are still chance
_LATE = frozenset(
    {
        "late replies",
        "slow responses",
        "responses slower than a minute",
        "responses slow by chance",
        "a meter that begins anew",
    }
)
_SLIPS = frozenset({"a register too high once", "a register too low once"})
_SLIP_COUNTS = 9
_LATE_TICK = timedelta(seconds=5)
_EXACT = timedelta(0)
_COUNT_KWH = {0x01: Decimal("0.1"), 0x02: Decimal("0.01")}


@dataclass(frozen=True)
class Era:
    """The time from *since* (Unix seconds) on in which one meter served; *count_kwh*: None where it gives no unit."""

    since: float
    registers: Registers
    count_kwh: Decimal | None

    def kwh(self, at: float) -> tuple[Decimal, Decimal]:
        """Return import and export at *at*, in counts of a kilowatt hour's part."""
        imported, exported = self.registers.counts(at)
        assert self.count_kwh is not None
        return imported * self.count_kwh, exported * self.count_kwh

    def rise(self, earlier: Decimal, later: Decimal) -> Decimal:
        """Return what lies between two registers, kWh; the counter may have begun anew once."""
        assert self.count_kwh is not None
        return (later - earlier) % (Decimal(10) ** self.registers.options.digits * self.count_kwh)


def earliest(at: float, *, takes_s: float = 0.0) -> float:
    """Return when a row that bears the true time *at* may have been measured, whose response takes *takes_s*.

    One that moved with the clock bears a whole second of that, which was rounded; and its tick was at any second of the
    true minute.
    """
    return at - takes_s - 0.5 if at % 1 else at


class Checked(Protocol):
    """A home that can be looked at, once it is there."""

    @property
    def module(self) -> SimulatedModule: ...

    @property
    def clock(self) -> VirtualClock: ...


class Checker:
    """Looks at every row as it comes, and keeps only what the next one is compared with. Times are Unix seconds."""

    def __init__(
        self,
        home: Checked,
        faults: Sequence[Fault],
        *,
        start: datetime,
        interval_s: int = 60,
        reads_while: Mapping[str, float] | None = None,
    ) -> None:
        """Watch *home* from *start* on, while *faults* happen; *reads_while*: see faults.READS_WHILE."""
        self._home = home
        self._interval_s = interval_s
        self._reads_while = reads_while or {}
        self._start = start.timestamp()
        self._faults = sorted(faults, key=attrgetter("at_s"))
        self._spans = busy_spans(faults)
        self._begins = [fault.at_s for fault in self._faults]
        # Every tenth poll requests what was given up; and the last of those that overlap cleans up.
        self._settled = [self._gone_s(fault) + max(fault.settles_s, 11.0 * interval_s) for fault in self._faults]
        self._longest_s = max(map(sub, self._settled, self._begins), default=0.0)
        self._eras: list[Era] = []
        self._last_power: PowerRow | None = None
        self.readings: list[float] = []  # seconds since the start
        self.half_hours = 0
        self.problems: list[str] = []

    # --- each row

    def write(self, rounds: Round, /, ahead: timedelta = _EXACT) -> None:
        """Look at what a program stores whose clock is *ahead* of the true time."""
        self._follow_exchanges()
        for row in rounds.rows:
            if isinstance(row, PowerRow):
                self._check_power(row, ahead)
            elif isinstance(row, EnergyRow):
                self._check_energy(row)
        del self._home.module.sends[:-1]  # a month of them would fill the memory that is watched

    def _follow_exchanges(self) -> None:
        meter = self._home.module.meter
        if not self._eras or self._eras[-1].registers is not meter.registers:
            options = meter.options
            gives_unit = 0xE1 not in options.lacks and options.coefficient != 0
            count_kwh = _COUNT_KWH.get(options.unit_code) if gives_unit else None
            self._eras.append(Era(meter.installed_at, meter.registers, count_kwh))

    def _check_power(self, stored: PowerRow, ahead: timedelta) -> None:
        row = replace(stored, measured_at=stored.measured_at - ahead)
        last = self._last_power.measured_at if self._last_power is not None else None
        # A tick may be taken some seconds late, after what came in those.
        if last is not None and (row.measured_at == last or row.measured_at < last - _LATE_TICK):
            self.problems.append(f"{row.measured_at} came after {last}")
        self._last_power = row
        stamped, now = row.measured_at.timestamp(), self._home.clock.time_s
        self.readings.append(stamped - self._start)
        may_lack = self._touched(KINDS, stamped - self._start)
        # A value is measured after the request, so at the tick or later, and before it is stored: now. One that comes
        # late bears the time of its arrival, or of the tick at which it was requested again.
        on_time = stored.measured_at.timestamp() % self._interval_s == 0
        comes_late = may_lack and not on_time
        if comes_late or self._touched(_LATE, stamped - self._start):
            begin = stamped - _LATEST_S
        else:
            # What bears the second of its arrival may be of the minute before.
            begin = earliest(stamped, takes_s=_RESPONSE_S) if on_time else (stamped - _RESPONSE_S - 0.5) // 60 * 60
        minutes = [max(begin, minute) for minute in range(int(begin) // 60 * 60, int(now) + 1, 60)]
        # What is requested alone, one after the other, may be of two minutes.
        moments = [minutes] if comes_late else [[minute] for minute in minutes]
        if not any(self._agrees(row, each, min(each[-1] // 60 * 60 + 60, now), may_lack) for each in moments):
            self.problems.append(f"wrong at {row.measured_at}: {row}")

    def _agrees(self, row: PowerRow, minutes: Sequence[float], end: float, may_lack: bool) -> bool:
        """Return whether *row* is what the meter measures: power and currents in *minutes*, registers up to *end*."""
        household = self._home.module.meter.household
        currents = [household.currents_da(at) for at in minutes]
        measured: list[tuple[object, Collection[object]]] = [
            (row.power_w, {household.power_w(at) for at in minutes}),
            (row.current_r_a, {Decimal(r_phase) / 10 for r_phase, _ in currents}),
            (row.current_t_a, {Decimal(t_phase) / 10 for _, t_phase in currents}),
        ]
        if not all(stored in true or (stored is None and may_lack) for stored, true in measured):
            return False
        begin = minutes[0]
        eras = [era for era, ended in self._served() if era.since <= end and begin < ended]
        return any(self._registers_agree(row, era, begin, end, may_lack) for era in eras)

    def _served(self) -> list[tuple[Era, float]]:
        """Return each era with its end."""
        ends = [era.since for era in self._eras[1:]] + [float("inf")]
        return list(zip(self._eras, ends, strict=True))

    def registers_at(self, at: float) -> tuple[Era, tuple[Decimal, Decimal]] | None:
        """Return the meter that served at *at* (Unix seconds), and its registers; None: it gives no unit."""
        served = (era for era, ended in self._served() if era.count_kwh and era.since <= at < ended)
        return next(((era, era.kwh(at)) for era in served), None)

    def _registers_agree(self, row: PowerRow, era: Era, begin: float, end: float, may_lack: bool) -> bool:
        if era.count_kwh is None:
            return (row.import_kwh, row.export_kwh) == (None, None)
        slip_kwh = _SLIP_COUNTS * era.count_kwh * len(self._touching(_SLIPS, end - self._start))
        stored = zip((row.import_kwh, row.export_kwh), era.kwh(max(begin, era.since)), era.kwh(end), strict=True)
        return all(may_lack if kwh is None else low - slip_kwh <= kwh <= high + slip_kwh for kwh, low, high in stored)

    def _check_energy(self, row: EnergyRow) -> None:
        self.half_hours += 1
        at = row.registered_at.timestamp()
        true = [era.kwh(at) for era, ended in self._served() if era.count_kwh and era.since <= at < ended]
        stored = (row.import_kwh, row.export_kwh)
        if stored in true:
            return
        # A meter that was not there yet has no register, or 0: such a row is no register to whoever reads it.
        was_there = at >= self._eras[-1].since
        may_lack = not was_there or self._touched(KINDS, at - self._start)
        if not may_lack or any(stored):
            self.problems.append(f"wrong registers at {row.registered_at}: {row}")

    def _touched(self, kinds: Collection[str], at_s: float) -> bool:
        """Return whether a fault of *kinds* may still have an effect on what is stored for *at_s*."""
        return bool(self._touching(kinds, at_s))

    def _touching(self, kinds: Collection[str], at_s: float) -> list[Fault]:
        """Return the faults of *kinds* that may still have an effect on what is stored for *at_s*."""
        first = bisect_left(self._begins, at_s - self._longest_s)
        end = bisect_right(self._begins, at_s + max(_RESPONSE_S, self._interval_s))
        near = zip(self._faults[first:end], self._settled[first:end], strict=True)
        return [fault for fault, settled_s in near if fault.kind in kinds and at_s <= settled_s]

    def _gone_s(self, fault: Fault) -> float:
        """Return when nothing of *fault* is left."""
        return self._spans[bisect_right(self._spans, (fault.at_s, inf)) - 1][1]

    # --- all of them

    def check_recovery(self, end_s: float) -> None:
        """See that the link came back after every time of faults, and was healthy from then on to the next."""
        self.readings.sort()
        recovery_s = RECOVERY_S + (self._interval_s if self._interval_s > 60 else 0)
        self._check_reads_while()
        nexts = [begin for begin, _ in self._spans[1:]] + [end_s]
        for (_, ended_s), next_s in zip(self._spans, nexts, strict=False):
            later = bisect_right(self.readings, ended_s)
            back_s = self.readings[later] if later < len(self.readings) else end_s
            if back_s - ended_s > recovery_s and next_s - ended_s > recovery_s + _RESPONSE_S:
                self.problems.append(
                    f"no reading for {back_s - ended_s:.0f} s after the faults that ended at {ended_s}"
                )
                continue
            self._check_healthy(back_s, next_s - _RESPONSE_S)

    def _check_reads_while(self) -> None:
        """See that while a fault lasted alone as many polls gave a row as its kind allows, but for the first ones."""
        for fault in self._faults:
            share = self._reads_while.get(fault.kind)
            from_s = fault.at_s + _LEARNS_IN * self._interval_s
            polls = int((fault.ends_s - from_s) // self._interval_s)
            if share is None or polls < _FEWEST_POLLS or not self._is_alone(fault):
                continue
            read = bisect_left(self.readings, fault.ends_s) - bisect_left(self.readings, from_s)
            luck = _DEVIATIONS * sqrt(polls * share * (1 - share)) if fault.kind in BY_CHANCE else 0.0
            if read < share * polls - luck:
                self.problems.append(f"{read} of {polls} polls gave a row while {fault}")

    def _is_alone(self, fault: Fault) -> bool:
        end = bisect_left(self._begins, fault.ends_s)
        return not any(other is not fault and fault.at_s < other.ends_s for other in self._faults[:end])

    def _check_healthy(self, from_s: float, to_s: float) -> None:
        """See that no tick between the two was missed."""
        grid_s = max(self._interval_s, _GRID_S)
        first, end = bisect_left(self.readings, from_s), bisect_right(self.readings, to_s)
        read = {at // grid_s for at in self.readings[first:end]}
        missed = [tick for tick in range(int(from_s // grid_s), int(to_s // grid_s)) if tick not in read]
        self.problems += [f"no reading at {tick * grid_s} s, while the link was healthy" for tick in missed]
