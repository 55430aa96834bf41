"""A poller beside a simulated home whose radio fails on schedule; every row it stores is looked at."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

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
from storage.records import EnergyRow, Row
from tests.lab.checker import Checker
from tests.lab.faults import Fault, happenings
from tests.lab.radio import Radio

START = datetime(2026, 5, 31, 15, 0, 0, tzinfo=UTC)  # midnight, 1 June, in Japan
DAY_S = 86_400.0
INTERVAL_S = 60


class Home:
    """One household, its poller and its radio. The seed tells what module and meter it has, but for *options*."""

    def __init__(
        self,
        seed: int,
        faults: Sequence[Fault],
        *,
        days: float,
        interval_s: int = INTERVAL_S,
        reads_while: Mapping[str, float] | None = None,
        **options: Any,
    ) -> None:
        rng = random.Random(f"home/{seed}")
        self.clock = VirtualClock(START)
        self.end_s = days * DAY_S
        model = rng.choice(sorted(MODELS))
        is_binary = MODELS[model].has_product_commands and rng.random() < 0.3
        self.household = Household.typical(seed=seed, solar=rng.random() < 0.5, since=START.timestamp() - DAY_S)
        usual = {
            "coefficient": rng.choice((None, 1)),
            "confirmed_notifications": rng.random() < 0.5,
            "start_import_kwh": rng.randrange(99_000),
        }
        self.meter = SimulatedMeter(self.household, MeterOptions(**{**usual, **options}))
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
        self.checker = Checker(self, faults, start=START, interval_s=interval_s, reads_while=reads_while)
        self.poller = Poller(
            self.session,
            meter,
            [],
            self.checker,
            clock=clock,
            interval_s=interval_s,
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


def run(seed: int, faults: Sequence[Fault], *, days: float, **how: Any) -> Home:
    """Poll for *days* with *faults*, and return the home with what was found in home.checker.problems."""
    home = Home(seed, faults, days=days, **how)
    home.poller.run()
    home.session.close()
    home.checker.check_recovery(home.end_s)
    home.checker.problems += home.module.violations
    return home
