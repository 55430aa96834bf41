"""The whole poller beside meters and places that depart from the specification, for a minute or for good.

Each is read as well as it lets itself be read. Sources: the field reports of enkunkun/cube-j1-mqtt (specs 024 to 040),
nanamitm/cube-j1-mqtt (2da43aa), hals5412/cube-j1-mqtt (c884ec3) and scottyphillips/echonetlite_homeassistant (150).
"""

from __future__ import annotations

import logging
from random import Random
from typing import Any, NamedTuple

import pytest

from skstack.simulator import REALISTIC, Habit, SimulatedModule
from storage.records import EnergyRow, PowerRow
from tests.lab.bare import three_attempts_a_minute
from tests.lab.clock import HALF_HOUR, NOON
from tests.lab.habits import announcements, lone, lose, lose_share, refuse, refuse_bare, rewrite, several, shorten, take
from tests.lab.home import Home
from tests.lab.module import make_meter
from tests.lab.scans import deaf


class Rows(NamedTuple):
    power: int
    registers: int


def home_of(**options: Any) -> Home:
    return Home(timing=REALISTIC, **options)


def rows(home: Home) -> Rows:
    stored: list[PowerRow] = home.of(PowerRow)
    return Rows(sum(row.power_w is not None for row in stored), sum(row.import_kwh is not None for row in stored))


# --- refusals


def test_what_a_meter_gives_only_when_it_is_requested_alone_is_read() -> None:
    home = home_of()
    home.module.faults.habits.append(Habit(refuse(0xE7), several))
    home.run_minutes(60)
    assert rows(home) == Rows(60, 60)


def test_one_lost_response_to_a_lone_property_costs_no_more_than_that() -> None:
    home = home_of()
    home.module.faults.habits.append(Habit(refuse(0xE7), several))
    home.run_minutes(5)
    home.module.faults.habits.append(Habit(lose, lone(0xE7), times=1))
    home.run_minutes(55)
    assert rows(home) == Rows(59, 60)


def test_what_never_responds_keeps_nothing_back_that_does() -> None:
    home = home_of()
    silent = {0xE3, 0xE8}
    home.tamper(lambda request, response: None if silent & {each.epc for each in request.properties} else response)
    home.run_minutes(120)
    read = rows(home)
    assert read.power >= 100  # some of the first are lost to finding out
    assert read.registers >= 80


def test_a_meter_that_never_gives_its_power_is_read_for_the_rest() -> None:
    home = home_of()
    home.tamper(lambda request, response: None if 0xE7 in {each.epc for each in request.properties} else response)
    home.run_minutes(120)
    assert rows(home).registers >= 80


@pytest.mark.parametrize("silent", [0x8D, 0x8A, 0x82, 0xD7])
def test_what_never_responds_of_who_the_meter_is_keeps_no_half_hour_back(silent: int) -> None:
    """A request that holds what the meter does not respond to gets no response at all: it is split."""
    home = home_of()
    home.tamper(lambda request, response: None if silent in {each.epc for each in request.properties} else response)
    home.run_minutes(70)
    assert rows(home) == Rows(70, 70)
    assert [row.registered_at for row in home.of(EnergyRow)] == [NOON + each * HALF_HOUR for each in range(3)]


def test_another_meter_that_responds_with_its_scale_alone_is_not_taken_for_the_old_one() -> None:
    home = home_of()
    home.run_minutes(6)
    home.simulated.exchange(home.clock.time_s, serial_number="SIM0000002")
    home.tamper(lambda request, response: None if 0x8A in {each.epc for each in request.properties} else response)
    home.module.emit_event(0x26, home.clock.time_s)
    home.run_minutes(3)
    assert home.meter.identity is not None
    assert home.meter.identity.serial_number == "SIM0000001"  # that it is another one has to be seen twice
    assert rows(home) == Rows(9, 6)


def test_a_meter_that_does_not_respond_where_it_lacks_something_is_read_for_what_it_has() -> None:
    home = home_of(lacks=frozenset({0xD3, 0xE3, 0xE4, 0xEB}))
    lacking = {0xD3, 0xE3}
    home.tamper(lambda request, response: None if lacking & {each.epc for each in request.properties} else response)
    home.run_minutes(120)
    assert rows(home).power >= 100
    assert rows(home).registers >= 90


def test_a_property_that_gave_data_in_this_session_is_requested_whatever_is_refused() -> None:
    home = home_of()
    home.run_minutes(5)
    home.module.faults.habits.append(Habit(refuse(0xE7), times=3))
    home.run_minutes(30)
    assert rows(home) == Rows(34, 35)  # two refusals in one poll, together and alone, and one in the next


@pytest.mark.parametrize("refusal", [refuse(), refuse_bare], ids=["52 with empty properties", "52 without a list"])
@pytest.mark.parametrize("before_minutes", [0, 5])
def test_a_meter_that_refuses_everything_for_a_minute_is_read_again_after_it(
    refusal: Any, before_minutes: int, caplog: pytest.LogCaptureFixture
) -> None:
    home = home_of()
    home.run_minutes(before_minutes)
    home.module.faults.habits.append(Habit(refusal, until=home.clock.time_s + 65))
    caplog.set_level(logging.INFO)
    home.run_minutes(60)
    assert rows(home).power >= before_minutes + 57
    assert rows(home).registers >= before_minutes + 50
    assert caplog.text.count("without a single value") <= 1


def test_what_a_meter_refuses_at_first_is_requested_again_within_an_hour() -> None:
    home = home_of()
    home.module.faults.habits.append(Habit(refuse(0xE0), until=home.clock.time_s + 300))
    home.run_minutes(80)
    assert home.of(PowerRow)[-1].import_kwh is not None


def test_a_unit_that_a_meter_refuses_at_first_is_requested_again_within_an_hour() -> None:
    """Who the meter is was known by then: nothing else was to be learnt in this session."""
    home = home_of()
    home.module.faults.habits.append(Habit(refuse(0xE1), until=home.clock.time_s + 300))
    home.run_minutes(80)
    assert home.of(PowerRow)[-1].import_kwh is not None
    assert home.of(EnergyRow)[-1].registered_at == NOON + 2 * HALF_HOUR
    assert len(home.requests(0x8A)) <= 4


# --- how much it gives at once


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5])
def test_a_meter_that_leaves_out_what_is_past_its_nth_property_is_read_in_groups_of_n(most: int) -> None:
    home = home_of()
    home.simulated.habits.append(Habit(shorten(most)))
    home.run_minutes(10)
    assert rows(home) == Rows(10, 10)
    lengths = [len(frame.properties) for _, frame in home.requests(0xE7)]
    assert set(lengths[1:]) == {min(most, 4)}


@pytest.mark.parametrize("most", [4, 5])
def test_a_meter_that_does_not_respond_to_more_than_n_properties_is_read_and_known(most: int) -> None:
    """The first poll of a session holds six properties, the polls after it four."""
    home = home_of()
    home.tamper(lambda request, response: response if len(request.properties) <= most else None)
    home.run_minutes(70)
    assert rows(home).power >= 68
    assert rows(home).registers >= 60
    assert home.meter.is_identified
    assert len(home.of(EnergyRow)) == 3


@pytest.mark.parametrize("seconds", [5.0, 10.0, 14.0])
def test_a_slow_meter_that_responds_to_single_properties_only_is_identified(seconds: float) -> None:
    """What comes late of who it is may be its first name, once the rest has been taken for all that it says."""
    home = home_of()
    home.simulated.habits += [Habit(lose, several), Habit(take(seconds))]
    home.run_minutes(120)
    assert rows(home).power >= 90
    assert rows(home).registers >= 80
    assert len(home.of(EnergyRow)) >= 3


@pytest.mark.parametrize("seconds", [14.0, 19.0])
def test_a_slow_meter_that_does_not_respond_to_more_than_n_properties_has_registers(seconds: float) -> None:
    """Read one by one, who it is takes longer than one timeout."""
    home = home_of()
    home.simulated.habits += [
        Habit(lose, lambda reply: reply.request is not None and len(reply.request.properties) > 4),
        Habit(take(seconds)),
    ]
    home.run_minutes(120)
    assert rows(home).power >= 100
    assert rows(home).registers >= 60
    assert home.of(EnergyRow)


def test_a_property_that_is_neither_given_in_a_group_nor_alone_costs_nothing_but_itself() -> None:
    home = home_of()
    home.simulated.habits += [Habit(refuse(0xE3), several), Habit(lose, lone(0xE3))]
    home.run_minutes(60)
    assert rows(home) == Rows(60, 60)
    assert home.events("lost") == []


def test_a_meter_that_never_responds_to_several_properties_is_read_one_by_one() -> None:
    """Every fourth silent poll is a trial: the second response to a lone property is that of the sixteenth poll."""
    home = home_of()
    home.simulated.habits.append(Habit(lose, several))
    home.run_minutes(60)
    assert rows(home).power >= 45
    assert rows(home).registers >= 40
    lone_polls = [at for at, frame in home.requests(0xE0) if len(frame.properties) == 1]
    assert 15 * 60 <= (lone_polls[0] - NOON).total_seconds() <= 17 * 60


def test_the_first_response_to_a_group_ends_the_reading_one_by_one() -> None:
    home = home_of()
    home.simulated.habits.append(Habit(lose, several, until=home.clock.time_s + 30 * 60))
    home.run_minutes(60)
    assert len(home.requests(0xE7)[-1][1].properties) == 4


def test_a_meter_that_begins_anew_with_each_request_is_given_the_time_it_needs() -> None:
    home = home_of()
    home.simulated.habits.append(Habit(take(25.0, begins_anew=True), several))
    home.run_minutes(60)
    assert rows(home).power >= 55
    assert rows(home).registers >= 54


# --- slowness


@pytest.mark.parametrize("seconds", [4.0, 10.0])
def test_a_slow_meter_never_gets_two_different_requests_at_once(seconds: float) -> None:
    home = home_of()
    home.simulated.habits.append(Habit(take(seconds)))
    home.run_minutes(15)
    home.module.emit_event(0x26, home.clock.time_s)
    home.run_minutes(15)
    assert rows(home).power >= 29
    assert home.module.violations == []


@pytest.mark.parametrize("seconds", [21.0, 25.0, 35.0])
def test_a_meter_that_is_slow_to_say_who_it_is_is_known_and_its_half_hours_kept(seconds: float) -> None:
    """AIF specification 2.4.2: a response may take 20 s for one property, 60 s for several."""
    home = home_of()
    home.simulated.habits.append(Habit(take(seconds)))
    home.run_minutes(70)
    assert rows(home).power >= 69
    assert home.meter.is_identified
    assert [row.registered_at for row in home.of(EnergyRow)] == [NOON + each * HALF_HOUR for each in range(3)]


@pytest.mark.parametrize("seconds", [25.0, 40.0])
def test_half_hours_that_are_slow_to_come_are_read(seconds: float) -> None:
    """AIF specification 2.4.2: they are two properties, which may take 60 s."""
    home = home_of()
    home.simulated.habits += [
        Habit(lose, announcements),
        Habit(take(seconds), lambda reply: reply.request is not None and reply.request.properties[0].epc == 0xEA),
    ]
    home.run_minutes(70)
    assert rows(home) == Rows(70, 70)
    found = [(row.registered_at, row.source) for row in home.of(EnergyRow)]
    assert found == [(NOON + each * HALF_HOUR, "read") for each in range(3)]


def test_half_hours_that_come_after_their_request_was_given_up_for_the_poll_are_kept() -> None:
    home = home_of()
    home.simulated.habits += [Habit(lose, announcements), Habit(take(35.0))]
    home.run_minutes(130)
    found = {row.registered_at: row.source for row in home.of(EnergyRow)}
    assert len(found) >= 3
    assert set(found.values()) == {"read"}


@pytest.mark.parametrize(("interval_s", "seconds", "fewest"), [(10, 21.0, 30), (30, 31.0, 15), (60, 62.0, 9)])
def test_responses_slower_than_the_interval_are_readings_stamped_on_arrival(
    interval_s: int, seconds: float, fewest: int
) -> None:
    home = home_of(interval_s=interval_s)
    home.simulated.habits.append(Habit(take(seconds)))
    home.run_minutes(20)
    assert rows(home).power >= fewest
    assert all(row.measured_at.second % interval_s for row in home.of(PowerRow)[1:])


# --- what it is


@pytest.mark.parametrize("options", [{"lacks": frozenset({0xE1})}, {"unit_code": 0x05}, {"coefficient": 0}], ids=str)
def test_a_meter_without_a_unit_keeps_its_power_and_says_so_once(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    home = home_of(**options)
    home.run_minutes(30)
    assert rows(home) == Rows(30, 0)
    assert caplog.text.count("does not give the unit of its registers") == 1
    assert len(home.requests(0x8A)) <= 2


@pytest.mark.parametrize(("epc", "nothing"), [(0xE1, "FF"), (0xD3, "00000000")], ids=["unit", "coefficient"])
def test_a_meter_whose_unit_means_nothing_at_first_has_registers_an_hour_later(epc: int, nothing: str) -> None:
    home = home_of()
    home.simulated.habits.append(
        Habit(rewrite(epc, lambda _: bytes.fromhex(nothing)), until=home.clock.time_s + 600),
    )
    home.run_minutes(90)
    assert rows(home).power == 90
    assert rows(home).registers >= 10


def test_a_property_map_that_is_empty_at_first_is_read_again() -> None:
    home = home_of()
    home.simulated.habits.append(Habit(rewrite(0x9F, lambda _: b"\0"), until=home.clock.time_s + 300))
    home.run_minutes(20)
    assert home.meter.lists(0xE2, 0xE5)


# --- lossy links


def lossy(share: float, seed: int) -> Habit:
    return Habit(lose_share(share, Random(seed)))


def beside_bare(share: float, seed: int, hours: int) -> tuple[Rows, int]:
    """Return what the poller read, and how often a bare loop of three attempts a minute read the power."""
    module = SimulatedModule(make_meter(notification_delay_s=20.0))
    module.faults.habits.append(lossy(share, seed))
    bare = three_attempts_a_minute(module, hours=hours, start=NOON.timestamp())
    home = home_of(idle_tasks=False)
    home.module.faults.habits.append(lossy(share, seed))
    home.run_minutes(60 * hours)
    assert home.events("reset") == []
    assert len(home.events("scan")) == 1
    return rows(home), bare.with_power


def test_a_link_that_loses_three_of_five_responses_is_read_nearly_as_well_as_by_three_attempts_a_minute() -> None:
    got, bare = beside_bare(0.6, 11, hours=2)
    assert got.power >= 0.95 * bare - 3  # a start costs up to a minute, and chance differs in two hours
    assert got.registers >= 0.8 * got.power


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12, 13])
@pytest.mark.parametrize("share", [0.6, 0.8])
def test_a_lossy_link_is_read_as_well_as_by_three_attempts_a_minute_for_twelve_hours(share: float, seed: int) -> None:
    got, bare = beside_bare(share, seed, hours=12)
    assert got.power >= 0.95 * bare
    assert got.registers >= 0.8 * got.power


@pytest.mark.slow
def test_sessions_that_die_silently_every_eleven_minutes_cost_one_poll_each() -> None:
    """720 less one in each 11 minutes are 655; a rejoin that fails in three of four cases may cost no more."""
    home = home_of(idle_tasks=False)
    home.module.faults.forget_sessions(660.0, (False, False, False, True))
    home.run_minutes(720)
    assert rows(home).power >= 665


def test_a_pan_that_worked_is_joined_again_where_scans_hear_nothing() -> None:
    """README of hnw/smartmeter-exporter: a bad place hears half of the beacons."""
    home = home_of(idle_tasks=False)
    home.run_minutes(5)
    home.module.faults.hearing = deaf
    home.module.faults.fail_joins(2)
    home.module.emit_event(0x24, home.clock.time_s)
    home.run_minutes(30)
    assert rows(home).power >= 32
