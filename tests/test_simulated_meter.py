"""The simulated meter measures what its household draws, and responds as ECHONET Lite has it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from skstack.echonet import CONTROLLER, METER, Esv, Frame, Property
from skstack.echonet.frame import parse_property_map
from skstack.simulator import Household, MeterOptions, SimulatedMeter, local_day, midnight
from skstack.simulator.household import typical_day
from tests.lab.module import MIDNIGHT, NOON, constant_household, make_meter

NO_DATA = bytes.fromhex("FFFFFFFE")


def response_of(meter: SimulatedMeter, request: Frame, at: float = NOON) -> Frame:
    response = meter.respond(request.to_bytes(), at)
    assert response is not None
    return Frame.from_bytes(response)


def read(meter: SimulatedMeter, epc: int, at: float = NOON) -> bytes:
    response = response_of(meter, Frame.get(1, [epc]), at)
    assert response.esv is Esv.GET_RES
    return response.properties[0].edt


def choose(meter: SimulatedMeter, epc: int, edt: bytes) -> Frame:
    return response_of(meter, Frame(2, CONTROLLER, METER, Esv.SET_C, (Property(epc, edt),)))


def announced_by(meter: SimulatedMeter, at: float = NOON) -> Frame:
    announced = meter.half_hour(at)
    assert announced is not None
    return Frame.from_bytes(announced)


def count(edt: bytes) -> int:
    return int.from_bytes(edt, "big")


# --- the household


def test_a_day_begins_at_midnight_in_japan() -> None:
    assert local_day(MIDNIGHT) == local_day(MIDNIGHT - 1) + 1
    assert midnight(local_day(NOON)) == MIDNIGHT


def test_the_registers_are_the_integral_of_the_power_second_by_second() -> None:
    household = Household.typical(seed=3, solar=True, since=MIDNIGHT)
    begin, end = MIDNIGHT + 86_400 * 2 + 11 * 3600 + 7, MIDNIGHT + 86_400 * 2 + 19 * 3600 + 41
    bought = sum(max(household.power_w(second), 0) for second in range(int(begin), int(end)))
    sold = sum(max(-household.power_w(second), 0) for second in range(int(begin), int(end)))
    assert sold > 0
    assert bought > 0
    at_begin, at_end = household.energy_ws(begin), household.energy_ws(end)
    assert (at_end[0] - at_begin[0], at_end[1] - at_begin[1]) == (bought, sold)


def test_the_registers_run_on_over_midnight() -> None:
    household = constant_household(720)
    before, after = household.energy_ws(MIDNIGHT - 10), household.energy_ws(MIDNIGHT + 10)
    assert (after[0] - before[0], after[1] - before[1]) == (720 * 20, 0)


def test_the_registers_stand_at_zero_before_they_begin() -> None:
    household = constant_household(720)
    assert household.energy_ws(household.since - 1) == household.energy_ws(household.since) == (0, 0)


def test_a_fraction_of_a_second_does_not_count() -> None:
    household = constant_household(100)
    assert household.energy_ws(NOON + 0.9) == household.energy_ws(NOON)


@pytest.mark.parametrize("seed", range(4))
def test_the_currents_carry_the_power_at_a_hundred_volts(seed: int) -> None:
    household = Household.typical(seed=seed, solar=True)
    for hour in range(48):
        at = MIDNIGHT + hour * 1777
        r_phase, t_phase = household.currents_da(at)
        assert abs((r_phase + t_phase) * 10 - household.power_w(at)) <= 5


def test_the_same_seed_gives_the_same_day_and_another_one_another() -> None:
    assert typical_day(1, True, 20_000) == typical_day(1, True, 20_000)
    assert typical_day(1, False, 20_000) != typical_day(2, False, 20_000)
    assert typical_day(1, False, 20_000) != typical_day(1, False, 20_001)


def test_a_typical_day_is_one_a_household_could_have() -> None:
    for day in range(20_454, 20_454 + 365, 13):
        watts = typical_day(1, False, day)
        assert min(watts) > 100
        assert max(watts) < 6000  # a contract of 60 A
        assert 5 < sum(watts) / 60_000 < 25  # kWh


def test_panels_sell_at_noon_and_never_at_night() -> None:
    household = Household.typical(solar=True)
    assert household.power_w(NOON) < 0
    assert all(household.power_w(MIDNIGHT + minute * 60) > 0 for minute in range(240))


# --- the meter: live values


def test_power_and_registers_by_hand() -> None:
    meter = make_meter(600)
    # 600 W for ten and a half days: 600 * 252 h = 151.2 kWh, at 0.1 kWh a count.
    assert read(meter, 0xE7) == bytes.fromhex("00000258")
    assert count(read(meter, 0xE0)) == 1512
    assert count(read(meter, 0xE3)) == 0
    assert read(meter, 0xE8) == bytes.fromhex("0024 0018")  # 3.6 A and 2.4 A


def test_a_count_appears_when_its_energy_is_complete() -> None:
    meter = make_meter(600)  # 0.1 kWh takes 600 s
    assert count(read(meter, 0xE0, NOON + 599)) == 1512
    assert count(read(meter, 0xE0, NOON + 600)) == 1513


def test_selling_gives_negative_power_and_currents_and_counts_in_reverse() -> None:
    meter = make_meter(-524)
    assert read(meter, 0xE7) == bytes.fromhex("FFFFFDF4")
    r_phase, t_phase = read(meter, 0xE8)[:2], read(meter, 0xE8)[2:]
    assert count(read(meter, 0xE0)) == 0
    assert count(read(meter, 0xE3)) == 1320  # 0.524 kW * 252 h = 132.048 kWh
    assert int.from_bytes(r_phase, "big", signed=True) + int.from_bytes(t_phase, "big", signed=True) == -52


def test_a_two_wire_meter_measures_no_t_phase() -> None:
    assert read(make_meter(200, two_wire=True), 0xE8) == bytes.fromhex("00147FFE")


@pytest.mark.parametrize(
    ("unit_code", "coefficient", "counts"),
    [(0x00, 1, 151), (0x01, 1, 1512), (0x02, 1, 15_120), (0x03, 1, 151_200), (0x0A, 1, 15), (0x01, 3, 504)],
)
def test_unit_and_coefficient_scale_the_registers(unit_code: int, coefficient: int, counts: int) -> None:
    meter = make_meter(600, unit_code=unit_code, coefficient=coefficient)
    assert count(read(meter, 0xE0)) == counts
    assert read(meter, 0xE1) == bytes((unit_code,))
    assert count(read(meter, 0xD3)) == coefficient


def test_registers_wrap_at_ten_to_the_digits() -> None:
    meter = make_meter(600, start_import_kwh=99_900)  # 999,000 + 1,512 counts of six digits
    assert count(read(meter, 0xE0)) == 512
    assert read(meter, 0xD7) == b"\x06"


def test_the_fixed_register_is_that_of_the_last_half_hour() -> None:
    meter = make_meter(600)
    edt = read(meter, 0xEA, NOON + 44 * 60 + 59)
    assert edt == bytes.fromhex("07EA 06 01 0C 1E 00") + (1515).to_bytes(4, "big")
    assert read(meter, 0xEB, NOON)[:7] == bytes.fromhex("07EA 06 01 0C 00 00")


def test_the_clock_shows_japan_time() -> None:
    meter = make_meter()
    assert read(meter, 0x97, NOON + 26 * 60) == bytes((12, 26))
    assert read(meter, 0x98, MIDNIGHT - 1) == bytes.fromhex("07EA 05 1F")
    assert read(meter, 0x98, MIDNIGHT) == bytes.fromhex("07EA 06 01")


def test_a_second_generation_meter_counts_by_the_minute() -> None:
    meter = make_meter(600, second_generation=True, unit_code=0x03)
    edt = read(meter, 0xD0, NOON + 119)
    assert edt == bytes.fromhex("07EA 06 01 0C 01 00") + (151_210).to_bytes(4, "big") + bytes(4)
    assert len(read(meter, 0xC0)) == 16
    assert read(meter, 0x82) == b"\0\0R\1"


# --- the meter: what it has


def test_the_maps_of_a_first_generation_meter_are_those_of_a_real_one() -> None:
    meter = make_meter()
    assert read(meter, 0x9D) == bytes.fromhex("03808188")
    assert read(meter, 0x9E) == bytes.fromhex("0381E5ED")
    assert read(meter, 0x9F) == bytes.fromhex("1941414160404000624300414040430202")


def test_what_is_not_in_the_map_is_not_given() -> None:
    request = Frame.get(7, [0xD3, 0xE1, 0xE0])
    response = response_of(make_meter(600, lacks=frozenset({0xD3})), request)
    assert response.to_bytes() == bytes.fromhex("1081 0007 028801 05FF01 52 03 D300 E10101 E004 000005E8")


def test_unsupported_properties_come_back_empty() -> None:
    for epc in (0x83, 0x9C, 0xD0, 0xEE):  # the first two as a real meter
        response = response_of(make_meter(), Frame.get(1, [epc]))
        assert (response.esv, response.properties) == (Esv.GET_SNA, (Property(epc),))


def test_a_meter_without_reverse_energy_has_none_of_its_properties() -> None:
    meter = make_meter(measures_export=False)
    for epc in (0xE3, 0xE4, 0xEB):
        assert response_of(meter, Frame.get(1, [epc])).esv is Esv.GET_SNA
    assert [announced.epc for announced in announced_by(meter).properties] == [0xEA]


def test_six_properties_are_given_and_a_seventh_is_not() -> None:
    epcs = [0x80, 0x88, 0xE7, 0xE8, 0xE0, 0xE3]
    assert response_of(make_meter(), Frame.get(1, epcs)).esv is Esv.GET_RES
    seven = Frame(1, CONTROLLER, METER, Esv.GET, tuple(Property(epc) for epc in [*epcs, 0xE1]))
    response = response_of(make_meter(), seven)
    assert response.esv is Esv.GET_SNA
    assert response.properties[6] == Property(0xE1)
    assert response.properties[0] == Property(0x80, b"\x30")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x10\x81\x00\x01",
        bytes.fromhex("1081 0001 05FF01 028801 62 02 E700"),  # cut short
        bytes.fromhex("1082 0001 05FF01 028801 62 01 E700"),  # another format
        bytes.fromhex("1081 0001 05FF01 013001 62 01 8000"),  # an air conditioner
        bytes.fromhex("1081 0001 05FF01 028801 72 01 E700"),  # a response
    ],
)
def test_what_is_broken_or_for_others_is_dropped_without_a_word(payload: bytes) -> None:
    assert make_meter().respond(payload, NOON) is None


def test_announcements_have_the_meters_own_numbers() -> None:
    meter = make_meter()
    assert meter.instance_list() == bytes.fromhex("1081 0000 0EF001 0EF001 73 01 D5 04 01028801")
    frame = announced_by(meter, NOON + 100)
    assert (frame.tid, frame.seoj, frame.deoj, frame.esv) == (1, METER, CONTROLLER, Esv.INF)
    assert frame.properties[0].edt == read(meter, 0xEA, NOON + 100)
    assert frame.properties[1].edt == read(meter, 0xEB, NOON + 100)


def test_announcements_come_within_five_minutes_of_each_half_hour() -> None:
    meter = make_meter()
    at = NOON
    for half_hour in range(48):
        at = meter.next_half_hour(at)
        assert 0 < at - NOON - half_hour * 1800 < 300


def test_a_confirmed_announcement_takes_its_response() -> None:
    meter = make_meter(confirmed_notifications=True)
    meter.half_hour(NOON)
    announced = announced_by(meter)
    assert announced.esv is Esv.INFC
    assert meter.respond(announced.infc_response().to_bytes(), NOON) is None
    assert meter.confirmed_tids == [1]


# --- the meter: its memory


def test_nothing_is_remembered_before_a_day_is_chosen() -> None:
    meter = make_meter()
    assert read(meter, 0xE5) == b"\xff"
    assert read(meter, 0xE2) == b"\x00\xff" + NO_DATA * 48
    assert read(meter, 0xED) == bytes.fromhex("FFFFFFFFFFFF01")
    assert read(meter, 0xEC) == bytes.fromhex("FFFFFFFFFFFF01") + NO_DATA * 2


def test_history_equals_what_the_live_registers_were() -> None:
    meter = SimulatedMeter(Household.typical(seed=2, solar=True), installed_at=NOON - 40 * 86_400)
    assert choose(meter, 0xE5, b"\x03").esv is Esv.SET_RES
    bought, sold = read(meter, 0xE2), read(meter, 0xE4)
    assert bought[:2] == sold[:2] == b"\x00\x03"
    for slot in range(48):
        at = MIDNIGHT - 3 * 86_400 + slot * 1800
        assert bought[2 + slot * 4 : 6 + slot * 4] == read(meter, 0xE0, at) == read(meter, 0xEA, at)[7:]
        assert sold[2 + slot * 4 : 6 + slot * 4] == read(meter, 0xE3, at) == read(meter, 0xEB, at + 1799)[7:]


def test_today_ends_at_the_present_half_hour() -> None:
    meter = make_meter(600)
    choose(meter, 0xE5, b"\x00")
    edt = read(meter, 0xE2, NOON)
    assert count(edt[2 + 24 * 4 : 6 + 24 * 4]) == 1512  # 12:00 itself
    assert edt[2 + 25 * 4 :] == NO_DATA * 23


def test_the_chosen_day_moves_on_at_midnight() -> None:
    meter = make_meter(600)
    choose(meter, 0xE5, b"\x01")
    before, after = read(meter, 0xE2, MIDNIGHT + 86_399), read(meter, 0xE2, MIDNIGHT + 86_400)
    assert before[:2] == after[:2] == b"\x00\x01"
    # A day of 600 W is 14.4 kWh.
    assert count(after[2:6]) - count(before[2:6]) == 144


def test_the_memory_ends_where_the_meter_was_hung() -> None:
    yesterday_at_one = MIDNIGHT - 86_400 + 3600
    options = MeterOptions(start_import_kwh=0)
    meter = SimulatedMeter(constant_household(600), options, installed_at=yesterday_at_one)
    choose(meter, 0xE5, b"\x01")
    edt = read(meter, 0xE2)
    assert edt[2:10] == NO_DATA * 2
    assert count(edt[10:14]) == 0


def test_history_2_goes_back_by_half_hours_newest_first() -> None:
    meter = make_meter(600)
    chosen = bytes.fromhex("07EA 06 01 0C 1E 03")  # 12:30, three items, requested at 12:10
    assert choose(meter, 0xED, chosen).esv is Esv.SET_RES
    edt = read(meter, 0xEC, NOON + 600)
    # 12:30 is still to come; 12:00 and 11:30 at 0.3 kWh a half hour.
    assert edt == chosen + NO_DATA * 2 + (1512).to_bytes(4, "big") + bytes(4) + (1509).to_bytes(4, "big") + bytes(4)
    assert read(meter, 0xED) == chosen


def test_history_3_goes_back_by_minutes() -> None:
    meter = make_meter(600, second_generation=True, unit_code=0x03, measures_export=False)
    chosen = bytes.fromhex("07EA 06 01 0C 00 02")
    assert choose(meter, 0xEF, chosen).esv is Esv.SET_RES
    edt = read(meter, 0xEE)
    assert edt == chosen + (151_200).to_bytes(4, "big") + NO_DATA + (151_190).to_bytes(4, "big") + NO_DATA


@pytest.mark.parametrize(
    ("epc", "edt"),
    [
        (0xE5, bytes((100,))),
        (0xE5, b"\x00\x01"),
        (0xED, bytes.fromhex("07EA 06 01 0C 0F 01")),  # a quarter past
        (0xED, bytes.fromhex("07EA 06 01 0C 00 0D")),  # thirteen items
        (0xED, bytes.fromhex("07EA 0D 01 0C 00 01")),  # the thirteenth month
        (0xEF, bytes.fromhex("07EA 06 01 0C 00 01")),  # a first-generation meter has no EF
    ],
)
def test_what_cannot_be_chosen_is_refused_and_comes_back(epc: int, edt: bytes) -> None:
    refused = choose(make_meter(), epc, edt)
    assert refused.esv is Esv.SET_C_SNA
    assert refused.properties == (Property(epc, edt),)


@pytest.mark.parametrize(("epc", "edt"), [(0x81, b"\x08"), (0x97, b"\x0c\x00"), (0x80, b"\x31"), (0xE0, NO_DATA)])
def test_the_utilitys_properties_are_not_ours_to_write(epc: int, edt: bytes) -> None:
    meter = make_meter()
    request = Frame(3, CONTROLLER, METER, Esv.SET_C, (Property(0xE5, b"\x01"), Property(epc, edt)))
    refused = response_of(meter, request)
    assert refused.esv is Esv.SET_C_SNA
    assert refused.properties == (Property(0xE5), Property(epc, edt))
    assert read(meter, 0xE5) == b"\x01"


def test_an_exchanged_meter_begins_at_zero_with_another_number() -> None:
    meter = make_meter(600, start_import_kwh=50_000)
    choose(meter, 0xE5, b"\x00")
    meter.exchange(NOON, serial_number="NEW0000001")
    assert read(meter, 0x8D, NOON) == b"NEW0000001\0\0"
    assert read(meter, 0xE5) == b"\xff"
    assert count(read(meter, 0xE0, NOON + 3600)) == 6  # 0.6 kWh since
    choose(meter, 0xE5, b"\x00")
    assert read(meter, 0xE2, NOON)[2 : 2 + 24 * 4] == NO_DATA * 24


def test_an_exchanged_meter_may_count_in_another_unit_from_anything_with_any_mac() -> None:
    meter = make_meter(600)
    meter.exchange(NOON, lacks=frozenset({0x8D}), mac="001C640003337777", unit_code=0x02, digits=8, start_import_kwh=7)
    assert meter.options.mac == "001C640003337777"
    assert read(meter, 0xE1, NOON) == b"\x02"
    assert count(read(meter, 0xE0, NOON + 3600)) == 760  # 7 + 0.6 kWh
    assert response_of(meter, Frame.get(1, [0x8D])).esv is Esv.GET_SNA


def test_the_history_from_before_an_exchange_may_be_zeros() -> None:
    meter = make_meter(600, start_import_kwh=50_000)
    meter.exchange(NOON, zeros_before_installation=True)
    choose(meter, 0xE5, b"\x00")
    later = NOON + 3600
    assert read(meter, 0xE2, later)[2:] == bytes(24 * 4) + bytes.fromhex("00000000 00000003 00000006") + NO_DATA * 21


@pytest.mark.parametrize(("code", "told"), [(0x05, b"\x05"), (0x01, b"\x01")])
def test_a_unit_that_is_not_defined_counts_tenths(code: int, told: bytes) -> None:
    meter = make_meter(600, unit_code=code, start_import_kwh=1)
    assert read(meter, 0xE1) == told
    assert count(read(meter, 0xE0)) == 1522  # 151.2 + 1 kWh


def test_a_coefficient_of_zero_is_given_as_it_is() -> None:
    meter = make_meter(600, coefficient=0)
    assert read(meter, 0xD3) == bytes(4)
    assert count(read(meter, 0xE0)) == 1512


def test_what_a_meter_lacks_is_neither_listed_nor_read() -> None:
    meter = make_meter(600, lacks=frozenset({0xE1, 0xD7}))
    assert {0xE1, 0xD7}.isdisjoint(parse_property_map(read(meter, 0x9F)))
    response = response_of(meter, Frame.get(1, [0xE1, 0xE0, 0xD7]))
    assert response.esv is Esv.GET_SNA
    assert [each.edt for each in response.properties] == [b"", (1512).to_bytes(4, "big"), b""]


def test_another_instance_of_the_meter_is_not_there() -> None:
    request = Frame(1, CONTROLLER, bytes.fromhex("028802"), Esv.GET, (Property(0xE7),))
    assert make_meter().respond(request.to_bytes(), NOON) is None


def test_noon_is_noon_in_japan() -> None:
    assert datetime.fromtimestamp(NOON, tz=UTC) + timedelta(hours=9) == datetime(2026, 6, 1, 12, tzinfo=UTC)
