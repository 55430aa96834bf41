"""The meter over a real session with the simulated module.

The household draws 600 W from midnight ten days before: at noon 10.5 days x 24 h x 0.6 kW = 151.2 kWh are counted.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from skstack import HalfHour, Poll, SessionLostError
from skstack.echonet import MeterIdentity
from skstack.simulator import Habit, Reply
from tests.lab.clock import HALF_HOUR, MINUTE, NOON
from tests.lab.habits import lose, refuse, rewrite
from tests.lab.home import Home

AT_NOON_KWH = Decimal("151.2")


def home_with(**options: object) -> Home:
    home = Home(days_before=10, start_import_kwh=0, start_export_kwh=0, **options)  # type: ignore[arg-type]  # by name
    home.connect()
    return home


def poll(home: Home) -> Poll:
    """Poll, and learn after it what is not known yet, as the loop does."""
    polled = home.meter.poll(until=home.soon)
    while home.meter.has_to_learn:
        home.meter.learn(until=home.soon)
    assert polled is not None
    return polled


def listen_until_after_the_notification(home: Home) -> None:
    home.session.run(home.clock.monotonic() + 30)


def test_a_poll_reads_power_currents_and_registers_in_one_request() -> None:
    home = home_with()
    polled = poll(home)
    assert polled.reading.power_w == 600
    assert (polled.reading.current_r_a, polled.reading.current_t_a) == (Decimal("3.6"), Decimal("2.4"))
    assert (polled.reading.import_kwh, polled.reading.export_kwh) == (
        Decimal("151.1"),
        Decimal("0.0"),
    )
    assert len(home.requests(0xE7)) == 1
    assert home.meter.last_poll is polled


def test_who_the_meter_is_is_read_once_a_session() -> None:
    home = home_with()
    for _ in range(3):
        poll(home)
    assert len(home.requests(0x8A)) == 2  # and two responses must agree
    home.module.emit_event(0x26, home.clock.time_s)
    home.session.run(home.clock.monotonic() + 1)
    home.connect()
    identified = [home.meter.is_identified]
    poll(home)
    identified.append(home.meter.is_identified)
    assert identified == [False, True]
    assert len(home.requests(0x8A)) == 3


def test_a_meter_that_refuses_all_for_a_while_is_identified_again_but_not_flooded() -> None:
    home = home_with()
    refusal = Habit(refuse(whole=True), until=home.clock.time_s + 30)
    home.module.faults.habits.append(refusal)
    home.connect()
    sent_before = len(home.module.sends)
    identity = home.meter.identify(until=home.soon)
    assert identity.serial_number == "SIM0000001"
    assert home.meter.is_identified
    assert len(home.module.sends) - sent_before < 30  # three times: the map, six together and the same six alone


@pytest.mark.parametrize(
    "options", [{}, {"lacks": frozenset({0x82, 0x8A, 0x8D, 0xD3, 0xD7, 0xE1})}], ids=["refuses all", "has none of it"]
)
def test_a_meter_that_never_says_who_it_is_is_unknown_in_the_end_and_was_not_flooded(options: dict[str, Any]) -> None:
    home = home_with(**options)
    if not options:
        home.module.faults.habits.append(Habit(refuse(whole=True)))
    home.connect()
    sent_before, until = len(home.module.sends), home.soon
    assert home.meter.identify(until=until) == MeterIdentity(None, None, None, None)
    assert home.clock.monotonic() <= until
    assert len(home.module.sends) - sent_before < 30


def test_who_the_meter_is_is_not_waited_for_where_the_session_ends() -> None:
    """EVENT 26: the meter has ended the session, and no response to what it was asked will come."""
    home = home_with()
    home.module.faults.habits.append(Habit(lose))
    home.module.emit_event(0x26, home.clock.time_s + 1.0)
    began = home.clock.monotonic()
    with pytest.raises(SessionLostError):
        home.meter.identify(until=began + 50.0)
    assert home.clock.monotonic() - began < 2.0


def test_a_meter_that_withholds_its_name_for_a_moment_is_identified_again() -> None:
    home = home_with()
    named = {0x8A, 0x8D}
    answered: list[Reply] = []

    def is_asked_again(reply: Reply) -> bool:
        """Whether *reply* is not the first response with who it is."""
        if reply.request is not None and named.intersection(each.epc for each in reply.request.properties):
            answered.append(reply)
        return len(answered) > 1

    home.module.faults.habits.append(Habit(refuse(*named), is_asked_again, until=home.clock.time_s + 60))
    home.connect()
    poll(home)
    assert not home.meter.is_identified
    home.session.run(home.clock.monotonic() + 120)
    assert home.meter.has_to_learn
    poll(home)
    assert home.meter.is_identified


def test_what_the_meter_announces_every_half_hour_has_its_own_time_stamp() -> None:
    home = home_with()
    poll(home)
    listen_until_after_the_notification(home)
    assert home.meter.take_half_hours() == [HalfHour(NOON, AT_NOON_KWH, Decimal("0.0"))]
    assert home.meter.take_half_hours() == []


def test_what_was_notified_before_the_meter_was_identified_is_kept() -> None:
    home = home_with()
    listen_until_after_the_notification(home)
    assert home.meter.take_half_hours() == []
    poll(home)
    assert [each.registered_at for each in home.meter.take_half_hours()] == [NOON]


def test_the_last_half_hour_can_be_read() -> None:
    home = home_with()
    poll(home)
    home.clock.sleep(7 * 60)
    assert home.meter.read_half_hour(until=home.soon) == HalfHour(NOON, AT_NOON_KWH, Decimal("0.0"))


def test_a_meter_that_measures_one_direction_is_read_for_one() -> None:
    home = home_with(measures_export=False)
    poll(home)
    home.clock.sleep(7 * 60)
    assert home.meter.read_half_hour(until=home.soon) == HalfHour(NOON, AT_NOON_KWH, None)
    assert not home.meter.measures_export
    # By the first poll, which comes before the map, and once alone: some meters give a property only so.
    assert len(home.requests(0xE3, 0xE4, 0xEB)) == 2


def test_a_meter_that_never_has_export_data_does_not_measure_it() -> None:
    home = home_with()
    home.silence_export()
    poll(home)
    assert home.meter.offers(0xEB)
    assert not home.meter.measures_export
    home.clock.sleep(7 * 60)
    assert home.meter.read_half_hour(until=home.soon) == HalfHour(NOON, AT_NOON_KWH, None)


def test_an_export_register_that_has_had_data_is_measured_also_when_it_has_none_once() -> None:
    """FFFFFFFE in E3: the days before would be filled without what was sold, and be taken for complete."""
    home = home_with()
    poll(home)
    home.silence_export()
    assert poll(home).reading.export_kwh is None
    assert home.meter.measures_export


def test_a_half_hour_of_what_was_sold_at_another_time_keeps_no_import_back() -> None:
    """A home without panels: EB stays at the time of the installation, with no data in any export register."""
    home = home_with()
    home.silence_export()
    home.simulated.habits.append(Habit(rewrite(0xEB, lambda _: bytes.fromhex("07E40401000000FFFFFFFE"))))
    poll(home)
    home.clock.sleep(7 * 60)
    assert home.meter.read_half_hour(until=home.soon) == HalfHour(NOON, AT_NOON_KWH, None)


def test_a_meter_without_half_hours_is_not_asked_for_one() -> None:
    """That it has none may come out while the request waits for its turn."""
    home = home_with(lacks=frozenset({0xEA, 0xEB}))
    poll(home)
    sent_before = len(home.module.sends)
    assert home.meter.read_half_hour(until=home.soon) is None
    assert len(home.module.sends) == sent_before


def test_the_clock_is_read_to_the_minute() -> None:
    home = home_with()
    poll(home)
    home.clock.sleep(7 * 60)
    assert home.meter.read_clock(until=home.soon) == NOON + 6 * MINUTE  # 12:06:57 and a little


def test_what_an_exchanged_meter_had_notified_is_not_read_with_the_scale_of_the_new_one() -> None:
    home = home_with()
    poll(home)
    listen_until_after_the_notification(home)
    home.simulated.exchange(home.clock.time_s)
    home.module.emit_event(0x26, home.clock.time_s)
    home.session.run(home.clock.monotonic() + 1)
    home.connect()
    poll(home)
    assert home.meter.take_half_hours() == []


def test_a_clock_that_the_meter_does_not_offer_is_not_requested() -> None:
    home = home_with(lacks=frozenset({0x97}))
    poll(home)
    sent_before = len(home.module.sends)
    assert home.meter.read_clock(until=home.soon) is None
    assert len(home.module.sends) == sent_before


def test_half_hours_follow_each_other_by_what_was_used() -> None:
    home = home_with()
    poll(home)
    notified = []
    for _ in range(3):
        listen_until_after_the_notification(home)
        notified += home.meter.take_half_hours()
        home.session.run(home.clock.monotonic() + timedelta(minutes=29, seconds=30).total_seconds())
    assert [each.registered_at for each in notified] == [NOON, NOON + HALF_HOUR, NOON + 2 * HALF_HOUR]
    assert [each.import_kwh for each in notified] == [Decimal("151.2"), Decimal("151.5"), Decimal("151.8")]
