"""Reading the meter's memory, over a real session with the simulated module.

The household draws 600 W from midnight ten days before, 14.4 kWh a day: the day before noon's begins with 9 x 14.4 =
129.6 kWh, and each half hour adds 0.3 kWh.
"""

from __future__ import annotations

from decimal import Decimal

import pytest

from skstack import MeterHistory, SkStackTimeoutError
from skstack.echonet import Epc, Esv, Property
from tests.lab.habits import late, mute
from tests.lab.home import Home


def history_of(home: Home) -> MeterHistory:
    home.connect()
    home.meter.identify(until=home.soon)  # its property map says what it remembers
    return MeterHistory(home.session, home.meter)


def home_with(**options: object) -> Home:
    return Home(days_before=10, start_import_kwh=0, start_export_kwh=0, **options)  # type: ignore[arg-type]  # by name


def test_a_day_is_chosen_and_read() -> None:
    home = home_with()
    history = history_of(home)
    assert history.offers_days
    assert history.choose_day(1, until=home.soon)
    day = history.read_day(Epc.IMPORT_DAY_HISTORY, until=home.soon)
    assert day is not None
    assert day.day_back == 1
    assert [history.kwh(raw) for raw in day.slots[:3]] == [Decimal("129.6"), Decimal("129.9"), Decimal("130.2")]
    assert history.kwh(day.slots[47]) == Decimal("143.7")  # 129.6 + 47 x 0.3


def test_both_directions_of_a_day_are_read_after_one_choice() -> None:
    home = home_with(watts=-600)
    history = history_of(home)
    assert history.offers_export_days
    history.choose_day(1, until=home.soon)
    exported = history.read_day(Epc.EXPORT_DAY_HISTORY, until=home.soon)
    imported = history.read_day(Epc.IMPORT_DAY_HISTORY, until=home.soon)
    assert exported is not None
    assert imported is not None
    assert history.kwh(exported.slots[0]) == Decimal("129.6")
    assert history.kwh(imported.slots[0]) == Decimal("0.0")


def test_slots_still_to_come_are_none() -> None:
    home = home_with()
    history = history_of(home)
    history.choose_day(0, until=home.soon)
    day = history.read_day(Epc.IMPORT_DAY_HISTORY, until=home.soon)
    assert day is not None
    assert day.slots[23] is not None  # 11:30, and it is 11:59:57
    assert set(day.slots[24:]) == {None}


def test_a_meter_that_refuses_the_day_says_so() -> None:
    home = home_with()
    history = history_of(home)

    home.tamper(lambda request, _response: request.response(Esv.SET_C_SNA, request.properties))
    assert not history.choose_day(1, until=home.soon)


def test_a_request_without_a_response_leaves_the_link_alone() -> None:
    home = home_with()
    history = history_of(home)
    home.module.faults.habits.append(mute(home.clock.time_s + 300))
    with pytest.raises(SkStackTimeoutError):
        history.read_day(Epc.IMPORT_DAY_HISTORY, until=home.clock.monotonic() + 200)
    assert home.session.up


def test_a_response_within_three_times_the_timeout_of_a_poll_is_awaited() -> None:
    home = home_with()
    history = history_of(home)
    history.choose_day(1, until=home.soon)
    sent_before = len(home.module.sends)
    home.module.faults.habits.append(late(59.0))
    assert history.read_day(Epc.IMPORT_DAY_HISTORY, until=home.clock.monotonic() + 100) is not None
    assert len(home.module.sends) == sent_before + 1


def test_a_broken_history_is_nothing_that_can_be_read(caplog: pytest.LogCaptureFixture) -> None:
    home = home_with()
    history = history_of(home)
    home.tamper(
        lambda request, response: (
            request.response(Esv.GET_RES, tuple(Property(each.epc, each.edt[:-4]) for each in response.properties))
            if response
            else None
        )
    )
    assert history.read_day(Epc.IMPORT_DAY_HISTORY, until=home.soon) is None
    assert "194 bytes, not 190" in caplog.text
