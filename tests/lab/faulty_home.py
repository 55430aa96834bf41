"""A home whose radio fails on schedule; every row that comes of it is looked at."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from skstack.simulator import MODELS, REALISTIC, Household
from tests.lab.checker import Checker
from tests.lab.clock import DAY_S
from tests.lab.faults import READS_WHILE, Fault, happenings
from tests.lab.home import LEAD, Home

START = datetime(2026, 5, 31, 15, 0, 0, tzinfo=UTC)  # midnight, 1 June, in Japan


def of_seed(seed: int) -> dict[str, Any]:
    """Return what module, meter and household there is: options of a Rig."""
    rng = random.Random(f"home/{seed}")
    model = rng.choice(sorted(MODELS))
    is_binary = MODELS[model].has_product_commands and rng.random() < 0.3
    return {
        "watts": Household.typical(seed=seed, solar=rng.random() < 0.5, since=START.timestamp() - DAY_S),
        "model": model,
        "hex_payload": not is_binary,
        "timing": REALISTIC,
        "notification_delay_s": None,
        "lacks": rng.choice((frozenset((0xD3,)), frozenset())),
        "confirmed_notifications": rng.random() < 0.5,
        "start_import_kwh": rng.randrange(99_000),
    }


class FaultyHome(Home):
    """*faults* happen to the radio. The seed decides what module and meter there is, but for *options*."""

    def __init__(
        self,
        seed: int,
        faults: Sequence[Fault],
        *,
        interval_s: int = 60,
        **options: Any,
    ) -> None:
        self.checker = Checker(self, faults, start=START, interval_s=interval_s, reads_while=READS_WHILE)
        super().__init__(
            start=START + LEAD,
            planned=happenings(faults),
            seed=seed,
            interval_s=interval_s,
            idle_tasks=False,
            keep=self.checker.write,
            **{**of_seed(seed), **options},
        )

        self.module.set_response_timer(20.0, longest_s=60.0)

    def run_to_day(self, day: float) -> None:
        """Let it be the end of *day*."""
        self.run(timedelta(seconds=day * DAY_S - self.clock.monotonic()))


def run(seed: int, faults: Sequence[Fault], *, days: float, **how: Any) -> FaultyHome:
    """Poll for *days* with *faults*, and return the home with what was found in home.checker.problems."""
    home = FaultyHome(seed, faults, **how)
    home.run_to_day(days)
    home.session.close()
    home.checker.check_recovery(days * DAY_S)
    home.checker.problems += home.module.violations
    return home
