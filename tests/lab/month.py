"""A poller beside a simulated home whose radio fails on schedule, and a store that looks at every row it is given."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from poller.clock import Clock
from poller.loop import Poller, RadioLog
from skstack.meter import Meter
from skstack.module import Credentials
from skstack.session import Session
from skstack.simulator import (
    MODELS,
    TEST_PASSWORD,
    TEST_ROUTE_B_ID,
    Household,
    MeterOptions,
    SimulatedMeter,
    SimulatedModule,
    VirtualClock,
)
from storage.records import EnergyRow, PowerRow, Round, Row
from tests.lab.faults import Fault, busy_spans, happenings
from tests.lab.radio import Radio

START = datetime(2026, 5, 31, 15, 0, 0, tzinfo=UTC)  # midnight, 1 June, in Japan
DAY_S = 86_400.0
INTERVAL_S = 60
RECOVERY_S = 600.0  # from the end of the last fault to the next reading
_ANSWER_S = 3.0  # a poll that began so shortly before a fault may suffer from it


class Home:
    """One household, its poller and its radio. What kind of module and meter hangs there is told by the seed."""

    def __init__(self, seed: int, faults: Sequence[Fault], *, days: float) -> None:
        rng = random.Random(f"home/{seed}")
        self.clock = VirtualClock(START)
        self.end_s = days * DAY_S
        model = rng.choice(sorted(MODELS))
        is_binary = MODELS[model].has_product_commands and rng.random() < 0.3
        self.household = Household.typical(seed=seed, solar=rng.random() < 0.5, since=START.timestamp() - DAY_S)
        options = MeterOptions(
            coefficient=rng.choice((None, 1)),
            confirmed_notifications=rng.random() < 0.5,
            start_import_kwh=rng.randrange(99_000),
        )
        self.meter = SimulatedMeter(self.household, options)
        self.module = SimulatedModule(self.meter, model=MODELS[model], hex_payload=not is_binary)
        self.radio = Radio(self.module, self.clock, random.Random(f"wire/{seed}"), is_binary=is_binary)
        self.radio.plan(happenings(faults))
        clock = Clock(RadioClock(self.radio), is_synchronised=lambda: True)
        radio_log = RadioLog(clock)
        self.session = Session(
            self.radio.open_port,
            Credentials(TEST_ROUTE_B_ID, TEST_PASSWORD),
            on_event=radio_log.note,
            monotonic=self.clock.monotonic,
            sleep=self.radio.sleep,
            should_stop=lambda: self.clock.monotonic() >= self.end_s,
        )
        meter = Meter(self.session, monotonic=self.clock.monotonic)
        self.checker = Checker(self, busy_spans(faults))
        self.poller = Poller(
            self.session,
            meter,
            [],
            self.checker,
            clock=clock,
            interval_s=INTERVAL_S,
            duties=HalfHours(meter),
            radio_log=radio_log,
            should_stop=lambda: self.clock.monotonic() >= self.end_s,
        )


class RadioClock:
    """The poller's clock: faults begin and end while it sleeps, too."""

    def __init__(self, radio: Radio) -> None:
        self._radio = radio
        self.monotonic, self.now = radio.clock.monotonic, radio.clock.now

    def sleep(self, seconds: float) -> None:
        self._radio.sleep(seconds)


class HalfHours:
    """The duty to keep what the meter tells unasked."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def work(self, until: float) -> float:
        return until

    def rows(self) -> list[Row]:
        return [
            EnergyRow(told.registered_at, told.import_kwh, told.export_kwh, "notified")
            for told in self._meter.take_half_hours()
        ]


class Checker:
    """The store: looks at every row as it comes, and keeps only what the next one is compared with."""

    def __init__(self, home: Home, spans: list[tuple[float, float]]) -> None:
        self._home = home
        self._spans = spans
        self._last_power: PowerRow | None = None
        self.readings: list[float] = []  # seconds since the start
        self.half_hours = 0
        self.problems: list[str] = []

    def write(self, rounds: Round, /) -> None:
        for row in rounds.rows:
            if isinstance(row, PowerRow):
                self._check_power(row)
            elif isinstance(row, EnergyRow):
                self._check_energy(row)
        del self._home.module.sends[:-1]  # a month of them would fill the memory that is watched

    def _check_power(self, row: PowerRow) -> None:
        last = self._last_power
        if last is not None and row.measured_at <= last.measured_at:
            self.problems.append(f"{row.measured_at} came after {last.measured_at}")
        self._last_power = row
        self.readings.append((row.measured_at - START).total_seconds())
        tick = row.measured_at.replace(second=0)
        now = self._home.clock.now()
        # The value was measured after the question, so at the tick or later, and before it was stored: now.
        minutes = [tick + timedelta(minutes=n) for n in range(int((now - tick).total_seconds() // 60) + 1)]
        if not any(self._agrees(row, minute, min(minute + timedelta(seconds=60), now)) for minute in minutes):
            self.problems.append(f"wrong at {row.measured_at}: {row}")

    def _agrees(self, row: PowerRow, begin: datetime, end: datetime) -> bool:
        """Tell whether *row* is what the meter measures at some time from *begin* to *end*, within one minute."""
        at = begin.timestamp()
        power_w = self._home.household.power_w(at)
        r_phase, t_phase = self._home.household.currents_da(at)
        low, high = self._kwh(at), self._kwh(end.timestamp())
        return (
            row.power_w == power_w
            and (row.current_r_a, row.current_t_a) == (Decimal(r_phase) / 10, Decimal(t_phase) / 10)
            and row.import_kwh is not None
            and row.export_kwh is not None
            and low[0] <= row.import_kwh <= high[0]
            and low[1] <= row.export_kwh <= high[1]
        )

    def _kwh(self, at: float) -> tuple[Decimal, Decimal]:
        imported, exported = self._home.meter.registers.counts(at)
        return Decimal(imported) / 10, Decimal(exported) / 10

    def _check_energy(self, row: EnergyRow) -> None:
        self.half_hours += 1
        if (row.import_kwh, row.export_kwh) != self._kwh(row.registered_at.timestamp()):
            self.problems.append(f"wrong registers at {row.registered_at}: {row}")

    def check_recovery(self, end_s: float) -> None:
        """See that the link came back after every time of faults, and was healthy from then on to the next."""
        nexts = [begin for begin, _ in self._spans[1:]] + [end_s]
        for (_, ended_s), next_s in zip(self._spans, nexts, strict=False):
            back_s = next((at for at in self.readings if at > ended_s), end_s)
            if back_s - ended_s > RECOVERY_S and next_s - ended_s > RECOVERY_S + _ANSWER_S:
                self.problems.append(
                    f"no reading for {back_s - ended_s:.0f} s after the faults that ended at {ended_s}"
                )
                continue
            self._check_healthy(back_s, next_s - _ANSWER_S)

    def _check_healthy(self, from_s: float, to_s: float) -> None:
        """See that no tick between the two was missed."""
        read = {at // INTERVAL_S for at in self.readings if from_s <= at <= to_s}
        missed = [tick for tick in range(int(from_s // INTERVAL_S), int(to_s // INTERVAL_S)) if tick not in read]
        self.problems += [f"no reading at {tick * INTERVAL_S} s, while the link was healthy" for tick in missed]


def run(seed: int, faults: Sequence[Fault], *, days: float) -> Home:
    """Poll for *days* with *faults*, and return the home with what was found in home.checker.problems."""
    home = Home(seed, faults, days=days)
    home.poller.run()
    home.session.close()
    home.checker.check_recovery(home.end_s)
    home.checker.problems += home.module.violations
    return home
