"""The store that looks at every row of a simulated month lets the right ones pass and notices the others."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from skstack.simulator import Household, MeterOptions, SimulatedMeter, SimulatedModule, VirtualClock
from storage.records import PowerRow, Round
from tests.lab.checker import Checker
from tests.lab.faults import Fault

START_AT = datetime(2026, 5, 31, 15, tzinfo=UTC)
A_MINUTE_LATER = START_AT + timedelta(minutes=1)


class Checked:
    """A home that was never polled: 600 W since a day, 14.4 kWh, 0.01 kWh a minute; 601 W in its first minute."""

    def __init__(self) -> None:
        self.clock = VirtualClock(START_AT)
        household = Household(lambda _day: [601] + [600] * 1439, since=START_AT.timestamp() - 86_400)
        self.module = SimulatedModule(SimulatedMeter(household, MeterOptions(start_import_kwh=0, start_export_kwh=0)))


def found_in(row: PowerRow, faults: list[Fault], *, exchange: bool = False) -> list[str]:
    """Return what the checker finds wrong with *row*, stored two seconds after its tick."""
    home = Checked()
    checker = Checker(home, faults, start=START_AT)
    checker.write(Round(()))
    if exchange:
        home.module.meter.exchange(START_AT.timestamp() + 30, unit_code=0x02)
    home.clock.sleep(62.0)
    checker.write(Round((row,)))
    return checker.problems


RIGHT = PowerRow(A_MINUTE_LATER, 600, Decimal("3.6"), Decimal("2.4"), Decimal("14.4"), Decimal(0))


def test_the_checker_lets_pass_what_is_right() -> None:
    assert found_in(RIGHT, []) == []
    assert found_in(replace(RIGHT, import_kwh=None), [Fault(0.0, "one property refused", 60.0)]) == []
    assert found_in(replace(RIGHT, import_kwh=Decimal("15.3")), [Fault(0.0, "a register too high once", 60.0)]) == []
    assert (
        found_in(replace(RIGHT, import_kwh=Decimal("0.00")), [Fault(30.0, "another meter", 60.0)], exchange=True) == []
    )


def test_the_checker_lets_pass_what_was_measured_in_the_minute_before_it_arrived() -> None:
    """Where the clock moves during a poll, its row bears the second of its arrival."""
    arrived = replace(RIGHT, measured_at=A_MINUTE_LATER + timedelta(seconds=2))
    assert found_in(replace(arrived, power_w=601), []) == []
    assert found_in(replace(arrived, power_w=602), []) != []


@pytest.mark.parametrize(
    ("row", "faults", "exchange"),
    [
        (replace(RIGHT, power_w=601), [], False),
        (replace(RIGHT, current_t_a=Decimal("2.5")), [Fault(0.0, "one property refused", 60.0)], False),
        (replace(RIGHT, import_kwh=None), [], False),
        (replace(RIGHT, power_w=None), [], False),
        (replace(RIGHT, import_kwh=Decimal("15.3")), [], False),
        (replace(RIGHT, import_kwh=Decimal("15.4")), [Fault(0.0, "a register too high once", 60.0)], False),
        (replace(RIGHT, export_kwh=Decimal("144.0")), [Fault(30.0, "another meter", 60.0)], True),
        (RIGHT, [Fault(30.0, "another meter", 60.0)], True),
    ],
)
def test_the_checker_notices_what_is_wrong(row: PowerRow, faults: list[Fault], exchange: bool) -> None:
    [problem] = found_in(row, faults, exchange=exchange)
    assert problem.startswith("wrong at")


def test_the_checker_notices_polls_without_a_row_while_a_fault_lasts() -> None:
    fault = Fault(600.0, "responses shortened", 6000.0)
    home = Checked()
    checker = Checker(home, [fault], start=START_AT, reads_while={"responses shortened": 0.9})
    checker.readings = [60.0 * minute for minute in range(1, 300) if minute % 2]
    checker.check_recovery(18_000.0)
    assert checker.problems[0].startswith("40 of 80 polls gave a row while")


@pytest.mark.parametrize(("read", "is_wrong"), [(22, True), (23, False)])
def test_where_responses_are_lost_by_chance_fewer_polls_than_the_mean_may_give_a_row(read: int, is_wrong: bool) -> None:
    fault = Fault(600.0, "responses lost by chance", 6000.0)
    checker = Checker(Checked(), [fault], start=START_AT, reads_while={fault.kind: 0.45})
    checker.readings = [1800.0 + 60.0 * number for number in range(read)]
    checker.check_recovery(6600.0)
    # Of 80 polls 36 in the mean, with a deviation of (80 x 0.45 x 0.55) ** 0.5 = 4.45: at least 22.65.
    assert any("polls gave a row while" in problem for problem in checker.problems) is is_wrong
