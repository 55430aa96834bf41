"""Meters that are not what their property map says, or slower than they should be: the record must go on.

Source of the forms of a refusal: the transcripts 06 and 27 in tests/data/transcripts/.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from skstack.echonet import encode_property_map
from skstack.simulator import Habit
from storage.records import PowerRow
from tests.lab.habits import late, refuse, rewrite
from tests.lab.home import Home


def home_of(**options: Any) -> Home:
    """Return a home that draws nothing: the import register stands at 12345 kWh."""
    return Home(watts=0, idle_tasks=False, **options)


def poll_each_minute(home: Home, minutes: int) -> list[Decimal | None]:
    """Return the import register of each poll that got a response."""
    home.run_minutes(minutes)
    return [row.import_kwh for row in home.of(PowerRow)]


@pytest.mark.parametrize("refuses_as_a_whole", [False, True])
@pytest.mark.parametrize("lacking", [{0xD3}, {0xE3, 0xEB}, {0xD3, 0xE3, 0x8D, 0x82}])
def test_a_property_that_only_the_map_has_costs_nothing_but_itself(lacking: set[int], refuses_as_a_whole: bool) -> None:
    home = home_of()
    home.simulated.habits.append(Habit(refuse(*lacking, whole=refuses_as_a_whole)))
    assert poll_each_minute(home, 3) == [Decimal("12345.0")] * 3


@pytest.mark.parametrize("lacks", [{0xD3}, {0xE3, 0xE4, 0xEB}], ids=["coefficient", "what is sold"])
def test_what_most_homes_lack_is_nothing_to_warn_of(lacks: set[int], caplog: pytest.LogCaptureFixture) -> None:
    """EPC D3 is optional, and then 1; E3, E4 and EB are required only where reverse energy is measured."""
    home = home_of(lacks=frozenset(lacks))
    assert poll_each_minute(home, 5) == [Decimal("12345.0")] * 5
    assert caplog.text == ""


def test_what_was_refused_twice_is_not_requested_again_in_this_session(caplog: pytest.LogCaptureFixture) -> None:
    home = home_of()
    home.simulated.habits.append(Habit(refuse(0xE3)))
    caplog.set_level("INFO")
    poll_each_minute(home, 5)
    assert len(home.requests(0xE3)) == 2
    assert caplog.text.count("refuses EPC E3") == 1
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
    home = home_of(lacks=frozenset({0xD3}), measures_export=False)
    home.simulated.habits += [
        Habit(refuse(0xD3, 0xE3, 0xEB, whole=True)),
        Habit(rewrite(0x9F, lambda _: printed_map)),
    ]
    assert poll_each_minute(home, 3) == [Decimal("12345.0")] * 3


def test_a_meter_that_takes_half_a_minute_for_every_response_is_read_nevertheless() -> None:
    home = home_of()
    home.module.faults.habits.append(late(30.0, 1000))
    assert len(poll_each_minute(home, 10)) >= 5
