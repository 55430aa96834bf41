"""Meters that are not what their property map says, or slower than they should be: the record must go on.

Source of the forms: protocol facts 4.2 (Get_SNA), 4.3, 5.1; transcripts, surprises 33 and 34.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from skstack.echonet.frame import Frame, encode_property_map
from skstack.errors import SkStackError
from skstack.meter import Meter
from skstack.module import Credentials
from skstack.session import Session
from skstack.simulator import (
    INSTANT,
    Habit,
    Household,
    MeterOptions,
    SimulatedMeter,
    SimulatedModule,
    SimulatedPort,
    VirtualClock,
    refuse,
)
from tests.lab.module import PASSWORD, ROUTE_B_ID

START = datetime(2026, 6, 1, 3, 0, tzinfo=UTC)


class Home:
    """A session with an odd meter in a household that draws nothing: the import register stands at 12345 kWh."""

    def __init__(self, **options: object) -> None:
        self.clock = VirtualClock(START)
        household = Household(lambda _day: [0] * 1440, since=START.timestamp() - 86_400)
        self.odd = SimulatedMeter(household, MeterOptions(**options))  # type: ignore[arg-type]  # by name
        self.module = SimulatedModule(self.odd, timing=INSTANT)
        self.session = Session(
            lambda _baud_rate: SimulatedPort(self.module, self.clock),
            Credentials(ROUTE_B_ID, PASSWORD),
            monotonic=self.clock.monotonic,
            sleep=self.clock.sleep,
        )
        self.meter = Meter(self.session, monotonic=self.clock.monotonic)

    def poll_each_minute(self, minutes: int) -> list[Decimal | None]:
        """Return the import register of each poll that was answered."""
        read = []
        for minute in range(1, minutes + 1):
            self.session.run(60.0 * minute)
            try:
                poll = self.meter.poll(until=60.0 * minute + 59) if self.session.up else None
            except SkStackError:
                continue
            if poll is not None:
                read.append(poll.reading.import_kwh)
        return read


@pytest.mark.parametrize("refuses_as_a_whole", [False, True])
@pytest.mark.parametrize("lacking", [{0xD3}, {0xE3, 0xEB}, {0xD3, 0xE3, 0x8D, 0x82}])
def test_a_property_that_only_the_map_has_costs_nothing_but_itself(lacking: set[int], refuses_as_a_whole: bool) -> None:
    home = Home()
    home.odd.habits.append(Habit(refuse(*lacking, whole=refuses_as_a_whole)))
    assert home.poll_each_minute(3) == [Decimal("12345.0")] * 3


def test_what_was_refused_twice_is_not_asked_again_in_this_session(caplog: pytest.LogCaptureFixture) -> None:
    home = Home()
    home.odd.habits.append(Habit(refuse(0xE3)))
    home.poll_each_minute(5)
    asked = [Frame.from_bytes(sent.payload) for sent in home.module.sends]
    assert sum(0xE3 in {each.epc for each in frame.properties} for frame in asked) == 2
    assert caplog.text.count("E3") == 1
    assert not home.meter.measures_export or not home.meter.offers(0xE3)


@pytest.mark.parametrize(
    "printed_map",
    [
        encode_property_map({0x80, 0x9F}),  # a list without anything to poll
        bytes.fromhex("0280"),  # a list that is cut short
        bytes(17),
    ],
)
def test_a_map_that_no_meter_can_have_counts_as_unknown(printed_map: bytes) -> None:
    home = Home(coefficient=None, measures_export=False, property_map=printed_map)
    home.odd.habits.append(Habit(refuse(0xD3, 0xE3, 0xEB, whole=True)))
    assert home.poll_each_minute(3) == [Decimal("12345.0")] * 3


def test_a_meter_that_takes_half_a_minute_for_every_answer_is_read_nevertheless() -> None:
    home = Home()
    home.module.faults.delay_replies(30.0, 1000)
    assert len(home.poll_each_minute(10)) >= 5
