"""What a simulated meter can be made to do to its responses, against bytes written by hand.

The meter draws 600 W since ten and a half days: E7 is 0000 0258; E8 3.6 A and 2.4 A, 0024 and 0018; E0 10.5 days x 24 h
x 0.6 kW = 151.2 kWh, 1,512 counts, 0000 05E8; E3 0.
"""

from __future__ import annotations

from functools import partial
from random import Random

import pytest

from skstack.echonet import Esv
from skstack.simulator import Habit
from tests.lab.habits import (
    add_counts,
    announcements,
    delay,
    lone,
    lose,
    lose_share,
    reframe,
    refuse,
    refuse_bare,
    repeat,
    rewrite,
    several,
    shorten,
    take,
)
from tests.lab.module import Host, lines, power_up

FOUR = "1081 0001 05FF01 028801 62 04 E700 E800 E000 E300"
POWER = "1081 0002 05FF01 028801 62 01 E700"
IMPORT = "1081 0003 05FF01 028801 62 01 E000"
SERIAL = "1081 0004 05FF01 028801 62 01 8D00"
ALL_FOUR = "1081 0001 028801 05FF01 72 04 E704 00000258 E804 00240018 E004 000005E8 E304 00000000"
ONLY_POWER = "1081 0002 028801 05FF01 72 01 E704 00000258"


def joined(**options: object) -> Host:
    """Return a host at a BP35A1 with a session, whose requests may follow one another at will."""
    at = power_up("BP35A1", echo=False, **options)
    at.join()
    at.module.set_response_timer(0)
    return at


def heard(output: bytes) -> list[str]:
    """Return the ECHONET payloads that came, as hexadecimal text."""
    received = [line.split() for line in lines(output) if line.startswith("ERXUDP")]
    return [words[-1] for words in received if words[4] == "0E1A"]


def send(at: Host, request: str, wait_s: float = 4.0) -> list[str]:
    """Send *request* and return what comes within *wait_s*."""
    payload = bytes.fromhex(request)
    return heard(at.type(at.send_header(len(payload)) + payload, wait_s))


def packed(text: str) -> str:
    return text.replace(" ", "")


# --- what it says


@pytest.mark.parametrize(
    ("esv", "given"),
    [
        (Esv.GET_SNA, "1081 0001 028801 05FF01 52 02 E704 00000258 E804 00240018"),
        (Esv.GET_RES, "1081 0001 028801 05FF01 72 02 E704 00000258 E804 00240018"),
    ],
)
def test_a_response_may_end_after_its_nth_property(esv: Esv, given: str) -> None:
    """Source: nanamitm/cube-j1-mqtt 2da43aa, hals5412/cube-j1-mqtt c884ec3."""
    at = joined()
    at.module.meter.habits.append(Habit(shorten(2, esv=esv)))
    assert send(at, FOUR) == [packed(given)]
    assert send(at, POWER) == [packed(ONLY_POWER)]


def test_what_is_too_much_for_one_get_may_come_without_data_instead() -> None:
    at = joined(meter={"most_properties": 3})
    given = "1081 0001 028801 05FF01 52 04 E704 00000258 E804 00240018 E004 000005E8 E300"
    assert send(at, FOUR) == [packed(given)]


@pytest.mark.parametrize(
    ("epcs", "whole", "given"),
    [
        ((0xE7,), False, "52 04 E700 E804 00240018 E004 000005E8 E304 00000000"),
        ((0xE7, 0xE3), False, "52 04 E700 E804 00240018 E004 000005E8 E300"),
        ((0xE7,), True, "52 04 E700 E800 E000 E300"),
        ((), False, "52 04 E700 E800 E000 E300"),
        ((0xD0,), False, "72 04 E704 00000258 E804 00240018 E004 000005E8 E304 00000000"),
    ],
)
def test_properties_may_be_refused(epcs: tuple[int, ...], whole: bool, given: str) -> None:
    at = joined()
    at.module.faults.habits.append(Habit(refuse(*epcs, whole=whole)))
    assert send(at, FOUR) == [packed("1081 0001 028801 05FF01" + given)]


def test_a_get_may_be_refused_without_a_list() -> None:
    at = joined()
    at.module.faults.habits.append(Habit(refuse_bare))
    assert send(at, FOUR) == [packed("1081 0001 028801 05FF01 52 00")]


def test_a_write_is_not_refused_with_the_gets() -> None:
    at = joined()
    at.module.faults.habits += [Habit(refuse()), Habit(refuse_bare), Habit(shorten(0))]
    assert send(at, "1081 0005 05FF01 028801 61 01 E501 02") == [packed("1081 0005 028801 05FF01 71 01 E500")]


def test_a_refusal_may_last_for_seconds_or_for_responses() -> None:
    at = joined()
    at.module.faults.habits.append(Habit(refuse(), until=at.at + 65))
    bare = packed("1081 0002 028801 05FF01 52 01 E700")
    assert [send(at, POWER, 20) for _ in range(5)] == [[bare]] * 4 + [[packed(ONLY_POWER)]]
    at.module.faults.habits.append(Habit(refuse(0xE7), times=2))
    assert send(at, IMPORT) == [packed("1081 0003 028801 05FF01 72 01 E004 000005E8")]  # uses up none of the times
    assert [send(at, POWER) for _ in range(3)] == [[bare], [bare], [packed(ONLY_POWER)]]
    assert at.module.faults.habits == []


def test_a_register_may_slip_once() -> None:
    """Source: nordicopen/easee_hass 440, nekorevend/esphome-emporia-vue-utility 18."""
    at = joined()
    given = [packed(f"1081 0003 028801 05FF01 72 01 E004 {count}") for count in ("000005F1", "000005DF", "000005E8")]
    at.module.faults.habits.append(Habit(add_counts(0xE0, 9), times=1))
    assert send(at, IMPORT) == [given[0]]  # 1,521
    at.module.faults.habits.append(Habit(add_counts(0xE0, -9), times=1))
    assert send(at, IMPORT) == [given[1]]  # 1,503
    assert send(at, IMPORT) == [given[2]]


def test_a_register_without_data_does_not_slip() -> None:
    at = joined()
    at.module.meter.exchange(at.at + 3600)
    at.join()
    at.module.faults.habits.append(Habit(add_counts(0xE0, 9)))
    assert send(at, IMPORT) == [packed("1081 0003 028801 05FF01 72 01 E004 FFFFFFFE")]


def test_one_digit_of_the_serial_number_may_be_wrong_once() -> None:
    at = joined()
    at.module.faults.habits.append(Habit(rewrite(0x8D, lambda edt: b"7" + edt[1:]), times=1))
    head = "1081 0004 028801 05FF01 72 01 8D0C"
    assert send(at, SERIAL) == [packed(head + "37494D30303030303031 0000")]  # 7IM0000001
    assert send(at, SERIAL) == [packed(head + "53494D30303030303031 0000")]  # SIM0000001


def test_properties_may_come_in_any_order() -> None:
    at = joined()
    backwards = reframe(lambda frame: frame._replace(properties=frame.properties[::-1]))
    at.module.meter.habits.append(Habit(backwards))
    given = "1081 0001 028801 05FF01 72 04 E304 00000000 E004 000005E8 E804 00240018 E704 00000258"
    assert send(at, FOUR) == [packed(given)]


def test_an_announcement_may_hold_the_register_twice() -> None:
    at = joined()
    at.module.faults.habits.append(Habit(repeat(0xEA, lambda edt: edt[:-1] + b"\xff"), announcements, times=1))
    time = "07EA 06 01 0C 00 00"  # noon
    both = f"EA0B {time} 000005E8 EB0B {time} 00000000"
    for given in (
        f"1081 0001 0288 01 05FF01 73 03 {both} EA0B {time} 000005FF",
        f"1081 0002 028801 05FF01 73 02 {both}",
    ):
        at.module.announce(at.at)
        assert heard(at.wait(1)) == [packed(given)]


# --- whether, and when


def test_a_property_requested_alone_may_never_get_a_response() -> None:
    at = joined()
    at.module.meter.habits.append(Habit(lose, lone(0xE3)))
    assert send(at, "1081 0006 05FF01 028801 62 01 E300", 120) == []
    assert send(at, POWER) == [packed(ONLY_POWER)]
    assert send(at, FOUR) == [packed(ALL_FOUR)]


def test_a_get_of_several_may_never_get_a_response() -> None:
    at = joined()
    at.module.meter.habits.append(Habit(lose, several))
    assert send(at, FOUR, 120) == []
    assert send(at, "1081 0007 05FF01 028801 62 02 E700 E000", 120) == []
    assert send(at, POWER) == [packed(ONLY_POWER)]


def test_responses_are_lost_as_the_generator_says_and_announcements_are_not() -> None:
    """Source: enkunkun/cube-j1-mqtt, specs 024 to 040."""
    at = joined()
    at.module.faults.habits.append(Habit(lose_share(0.6, Random(5))))
    drawn = Random(5)
    expected = [[] if drawn.random() < 0.6 else [packed(ONLY_POWER)] for _ in range(40)]
    assert [send(at, POWER) for _ in range(40)] == expected
    assert 5 < sum(map(bool, expected)) < 30
    at.module.announce(at.at)
    assert len(heard(at.wait(1))) == 1


@pytest.mark.parametrize("seconds", [4.0, 21.0, 31.0, 62.0])
def test_every_response_may_take_as_long_as_one_likes(seconds: float) -> None:
    at = joined()
    at.module.meter.habits.append(Habit(take(seconds)))
    assert send(at, POWER, seconds) == []  # it left 0.13 s later than it was typed
    assert heard(at.wait(0.2)) == [packed(ONLY_POWER)]


def test_an_announcement_may_come_later_than_it_is_due() -> None:
    at = joined()
    at.module.faults.habits.append(Habit(delay(7.0), announcements, times=1))
    at.module.announce(at.at)
    assert heard(at.wait(6.9)) == []
    assert len(heard(at.wait(0.2))) == 1


def test_responses_may_take_a_time_that_is_drawn_for_each() -> None:
    at = joined()
    at.module.meter.habits.append(Habit(take(partial(Random(3).uniform, 2.0, 30.0))))
    drawn = Random(3)
    for _ in range(5):
        seconds = drawn.uniform(2.0, 30.0)
        assert send(at, POWER, seconds) == []
        assert len(heard(at.wait(0.2))) == 1


def test_a_meter_may_need_longer_for_several_properties() -> None:
    at = joined()
    at.module.meter.habits.append(Habit(delay(25.0), several))
    assert send(at, FOUR, 25) == []
    assert heard(at.wait(5)) == [packed(ALL_FOUR)]
    assert send(at, POWER, 1) == [packed(ONLY_POWER)]


def test_a_meter_may_begin_anew_with_each_request() -> None:
    at = joined()
    at.module.meter.habits.append(Habit(take(25.0, begins_anew=True), several))
    assert send(at, FOUR, 20) == []
    assert send(at, FOUR.replace("0001", "0009", 1), 20) == []
    assert heard(at.wait(6)) == [packed(ALL_FOUR).replace("0001", "0009", 1)]
    assert heard(at.wait(120)) == []
    assert send(at, FOUR, 20) == []
    assert send(at, POWER, 100) == [packed(ONLY_POWER)]  # the short one, too, takes its place


def test_a_meter_that_does_not_start_over_responds_to_both() -> None:
    at = joined()
    at.module.meter.habits.append(Habit(take(25.0)))
    assert send(at, FOUR, 20) == []
    assert send(at, POWER, 30) == [packed(ALL_FOUR), packed(ONLY_POWER)]


def test_the_habits_of_the_meter_come_before_those_of_the_air() -> None:
    at = joined()
    at.module.faults.habits.append(Habit(add_counts(0xE0, 1), times=1))
    at.module.meter.habits.append(Habit(refuse(0xE0), times=1))
    assert send(at, IMPORT) == [packed("1081 0003 028801 05FF01 52 01 E000")]
    assert send(at, IMPORT) == [packed("1081 0003 028801 05FF01 72 01 E004 000005E9")]


def test_with_the_faults_the_habits_of_the_air_end_and_the_meters_stay() -> None:
    at = joined()
    at.module.faults.habits.append(Habit(lose))
    at.module.meter.habits.append(Habit(refuse()))
    at.module.faults.clear()
    assert send(at, POWER) == [packed("1081 0002 028801 05FF01 52 01 E700")]
