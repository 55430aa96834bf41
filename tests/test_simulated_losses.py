"""The bare run of three attempts a minute, beside which a session is measured on a lossy link."""

from __future__ import annotations

from random import Random

import pytest

from skstack.simulator import Habit, SimulatedModule
from tests.lab.bare import Rows, three_attempts_a_minute
from tests.lab.habits import lose_share, refuse
from tests.lab.module import NOON, make_meter


def lossy(share: float, seed: int) -> SimulatedModule:
    module = SimulatedModule(make_meter(notification_delay_s=20.0))
    module.faults.habits.append(Habit(lose_share(share, Random(seed))))
    return module


@pytest.mark.parametrize(("share", "expected"), [(0.6, 564), (0.8, 351)])
def test_three_attempts_a_minute_get_through_as_chance_has_it(share: float, expected: int) -> None:
    """A minute is lost with share^3: of 720, 720 x (1 - 0.6^3) = 564 are read, and 720 x (1 - 0.8^3) = 351."""
    drawn = Random(11)
    by_hand = sum(any(drawn.random() >= share for _ in range(3)) for _ in range(720))
    read = three_attempts_a_minute(lossy(share, 11), hours=12, start=NOON)
    assert read == Rows(by_hand, by_hand)
    assert by_hand == pytest.approx(expected, abs=40)  # three standard deviations of 13


def test_without_losses_every_minute_is_read() -> None:
    assert three_attempts_a_minute(lossy(0.0, 1), hours=1, start=NOON) == Rows(60, 60)


def test_rows_without_the_register_are_counted_apart() -> None:
    module = lossy(0.0, 1)
    module.faults.habits.append(Habit(refuse(0xE0), until=NOON + 600))
    assert three_attempts_a_minute(module, hours=1, start=NOON) == Rows(60, 51)
