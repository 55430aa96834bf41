"""The simulated radio scans, joins, renews, limits and fails as the command reference has it."""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random

import pytest

from skstack.echonet import Esv, Frame, Property
from skstack.simulator import INSTANT, MODELS, REALISTIC, Beacon, Datagram, Habit
from tests.lab.habits import double, late, lost, mistake_tid, mute
from tests.lab.module import (
    METER_ADDRESS,
    PASSWORD,
    ROUTE_B_ID,
    events,
    lines,
    payloads,
    power_up,
    shapes,
)
from tests.lab.scans import deaf, deaf_for, deaf_on_one_channel, hears_share

GET_POWER = Frame.get(1, [0xE7])


# --- scanning


def test_only_the_meter_of_the_pairing_id_responds_to_an_active_scan() -> None:
    other = Beacon(0x22, 0x1234, "001C640000000001", 0x30, "00000000")
    same = Beacon(0x22, 0x1235, "001C640000000002", 0x31, "CCDDEEFF")
    at = power_up("BP35A1", echo=False, neighbours=[other, same])
    at.type(f"SKSETRBID {ROUTE_B_ID}")
    paired = at.type("SKSCAN 2 FFFFFFFF 4", 8.0)
    assert re.findall(b"Pan ID:(....)", paired) == [b"1235", b"8CF5"]
    assert b"PairID:CCDDEEFF" in paired
    everybody = at.type("SKSCAN 3 FFFFFFFF 4", 8.0)
    assert re.findall(b"Pan ID:(....)", everybody) == [b"1234", b"1235", b"8CF5"]
    assert b"PairID" not in everybody


def test_a_scan_hears_only_the_channels_of_its_mask() -> None:
    at = power_up("BP35A1", echo=False)
    at.type(f"SKSETRBID {ROUTE_B_ID}")
    only_39 = f"{1 << (0x39 - 0x21):08X}"
    assert events(at.type(f"SKSCAN 2 {only_39} 6", 1.0)) == ["20", "22"]  # one channel of 0.64 s
    assert events(at.type("SKSCAN 2 00000001 6", 1.0)) == ["22"]


def test_a_scan_over_a_scan_gets_ok_and_is_not_begun() -> None:
    at = power_up("BP35A1", echo=False)
    at.type("SKSCAN 2 FFFFFFFF 4", 4.6)
    assert at.type("SKSCAN 2 FFFFFFFF 5", 0.2) == b"OK\r\n"
    assert events(at.wait(60.0)) == ["22"]


def test_a_scan_may_miss_and_a_description_may_come_late() -> None:
    at = power_up("BP35A1", echo=False)
    at.type(f"SKSETRBID {ROUTE_B_ID}")
    at.module.faults.hearing = deaf_for(1)
    at.module.faults.describe_late(1)
    assert events(at.type("SKSCAN 2 FFFFFFFF 4", 8.0)) == ["22"]
    assert events(at.type("SKSCAN 2 FFFFFFFF 4", 8.0)) == ["20", "22", "20"]
    assert events(at.type("SKSCAN 2 FFFFFFFF 4", 8.0)) == ["20", "22"]


def test_a_scan_may_be_deaf_while_the_pan_accepts_a_join() -> None:
    at = power_up("BP35A1", echo=False)
    at.set_up()
    at.module.faults.hearing = deaf
    for _ in range(3):
        assert events(at.type("SKSCAN 2 FFFFFFFF 4", 8.0)) == ["22"]
    at.join()


def test_a_scan_of_one_channel_alone_may_be_deaf() -> None:
    at = power_up("BP35A1", echo=False)
    at.type(f"SKSETRBID {ROUTE_B_ID}")
    at.module.faults.hearing = deaf_on_one_channel
    assert events(at.type("SKSCAN 2 01000000 6", 8.0)) == ["22"]
    assert events(at.type("SKSCAN 2 FFFFFFFF 4", 8.0)) == ["20", "22"]


def test_a_scan_may_hear_a_share_of_the_beacons() -> None:
    """Source: README of hnw/smartmeter-exporter: about half of them in a bad place."""
    at = power_up("BP35A1", echo=False)
    at.type(f"SKSETRBID {ROUTE_B_ID}")
    at.module.faults.hearing = hears_share(0.5, Random(4))
    drawn = Random(4)
    expected = [["20", "22"] if drawn.random() < 0.5 else ["22"] for _ in range(20)]
    assert [events(at.type("SKSCAN 2 FFFFFFFF 4", 8.0)) for _ in range(20)] == expected
    assert ["20", "22"] in expected
    assert ["22"] in expected
    at.module.faults.clear()
    assert events(at.type("SKSCAN 2 FFFFFFFF 4", 8.0)) == ["20", "22"]


# --- the session


@pytest.mark.parametrize(
    ("route_b_id", "password"), [(ROUTE_B_ID, "0123456789AC"), ("F" + ROUTE_B_ID[1:], PASSWORD), (ROUTE_B_ID, "0123")]
)
def test_wrong_credentials_end_in_event_24(route_b_id: str, password: str) -> None:
    at = power_up("BP35A1")
    at.set_up(route_b_id, password)
    printed = at.type(f"SKJOIN {METER_ADDRESS}", 20.0)
    assert lines(printed)[-1] == f"EVENT 24 {METER_ADDRESS}"
    assert not at.module.has_session


def test_other_credentials_can_be_the_right_ones() -> None:
    at = power_up(meter={"route_b_id": "F" * 32, "password": "PASSWORD"})
    at.set_up("F" * 32, "PASSWORD")
    assert "25" in events(at.type(f"SKJOIN {METER_ADDRESS}", 8.0))


@pytest.mark.parametrize("command", ["SKSREG S2 3A", "SKSREG S3 8CF6"])
def test_a_join_on_another_channel_or_pan_finds_nobody(command: str) -> None:
    at = power_up()
    at.set_up()
    at.type(command)
    assert events(at.type(f"SKJOIN {METER_ADDRESS}", 30.0)) == ["21"]
    assert events(at.wait(20.0)) == ["24"]


def test_a_join_over_a_join_is_er10() -> None:
    at = power_up()
    at.set_up()
    at.type(f"SKJOIN {METER_ADDRESS}", 0.5)
    assert b"FAIL ER10" in at.type(f"SKJOIN {METER_ADDRESS}", 0.1)


def test_the_instance_list_comes_some_seconds_after_the_join() -> None:
    at = power_up("BP35A1")
    at.set_up()
    at.type(f"SKJOIN {METER_ADDRESS}", 0)
    seconds = {piece[:8] + piece[-14:]: at_s for at_s, piece in at.timed(8.0)}
    joined = next(at_s for piece, at_s in seconds.items() if piece.startswith(b"EVENT 25"))
    announced = next(at_s for piece, at_s in seconds.items() if piece.endswith(b"D50401028801\r\n"))
    assert joined == pytest.approx(3.3, abs=0.1)  # 26202 to 29529 ms in a log
    assert announced - joined == pytest.approx(3.1, abs=0.1)  # 29529 to 32617 ms


def test_the_session_is_renewed_at_four_fifths_of_its_lifetime() -> None:
    at = power_up()
    at.join()
    before = 0.8 * 86_400 - 60
    assert "25" not in events(at.wait(before))
    assert events(at.wait(60)) == ["21", "25"]
    assert "25" in events(at.wait(0.8 * 86_400 + 10))  # and again
    assert at.get(0xE7).esv is Esv.GET_RES


def test_without_renewal_the_session_expires() -> None:
    at = power_up(meter={"session_lifetime_s": 1000})
    at.join()
    at.type("SKSREG S17 0")
    assert "29" not in events(at.wait(990))
    assert events(at.wait(10)) == ["29"]
    assert at.send(GET_POWER) == b"FAIL ER10\r\n"


def test_a_renewal_that_fails_ends_the_session() -> None:
    at = power_up()
    at.join()
    at.module.faults.fail_joins(1)
    assert "24" in events(at.wait(0.8 * 86_400 + 10))
    assert not at.module.has_session


def test_an_expired_session_is_renewed_by_the_module_and_sends_nothing_meanwhile() -> None:
    at = power_up()
    at.join()
    at.module.emit_event(0x29, at.at)
    assert events(at.wait(0.5)) == ["29"]
    assert shapes(at.send(GET_POWER, 0.2))[0] == "EVENT 21 <ip> 0 01"
    assert "25" in events(at.wait(5))
    assert at.get(0xE7).esv is Esv.GET_RES
    assert len(at.module.violations) == 1


def test_an_expired_session_may_be_lost_instead() -> None:
    at = power_up()
    at.join()
    at.module.faults.fail_joins(1)
    at.module.emit_event(0x29, at.at)
    assert events(at.wait(5)) == ["29", "24"]
    assert at.send(GET_POWER) == b"FAIL ER10\r\n"


@pytest.mark.parametrize("number", [0x24, 0x26])
def test_a_session_may_end_of_itself(number: int) -> None:
    at = power_up()
    at.join()
    at.module.emit_event(number, at.at + 5)
    assert events(at.wait(10)) == [f"{number:X}"]
    assert not at.module.has_session


def test_over_the_hourly_limit_nothing_is_sent_until_it_is_lifted() -> None:
    at = power_up()
    at.join()
    at.module.emit_event(0x32, at.at)
    at.wait(1)
    assert lines(at.type("SKSREG SFB")) == ["ESREG 1", "OK"]
    assert shapes(at.send(GET_POWER)) == ["EVENT 21 <ip> 0 01", "OK"]
    at.module.emit_event(0x33, at.at)
    assert events(at.wait(1)) == ["33"]
    assert at.get(0xE7).esv is Esv.GET_RES
    [violation] = at.module.violations
    assert "after EVENT 32" in violation


def test_a_rejoin_renews_the_session() -> None:
    at = power_up()
    at.join()
    assert events(at.type("SKREJOIN", 5)) == ["21", "25"]


def test_a_silent_meter_lets_the_end_of_a_session_time_out() -> None:
    at = power_up()
    at.join()
    at.module.faults.silent_until = at.at + 100
    assert events(at.type("SKTERM", 20)) == ["21", "28"]


def test_half_hour_values_come_by_themselves_while_there_is_a_session() -> None:
    at = power_up("BP35A1", meter={"notification_delay_s": None})
    at.join()
    announced = payloads(at.wait(3600))
    assert [frame.esv for frame in announced] == [Esv.INF, Esv.INF]
    assert announced[1].properties[0].edt == bytes.fromhex("07EA 06 01 0C 1E 00") + (1515).to_bytes(4, "big")
    assert [frame.tid for frame in announced] == [1, 2]  # the instance list was 0
    at.type("SKTERM", 5)
    assert payloads(at.wait(3600)) == []


@pytest.mark.parametrize(("lacks", "announced"), [({0xEB}, [[0xEA]]), ({0xEA, 0xEB}, [])])
def test_a_meter_announces_only_what_it_has(lacks: set[int], announced: list[list[int]]) -> None:
    at = power_up(meter={"lacks": frozenset(lacks)})
    at.join()
    at.module.announce(at.at)
    assert [[each.epc for each in frame.properties] for frame in payloads(at.wait(1))] == announced


# --- what can be made to go wrong


def test_replies_can_be_lost_late_doubled_and_mistaken() -> None:
    at = power_up()
    at.join()
    at.module.set_response_timer(0)
    faults = at.module.faults
    faults.habits.append(lost(1))
    assert payloads(at.send(GET_POWER, 30)) == []
    faults.habits.append(late(25))
    assert payloads(at.send(GET_POWER, 20)) == []
    assert len(payloads(at.wait(10))) == 1
    faults.habits.append(Habit(double, times=1))
    assert len(payloads(at.send(GET_POWER))) == 2
    faults.habits.append(Habit(mistake_tid, times=1))
    assert [frame.tid for frame in payloads(at.send(GET_POWER))] == [0x0001 ^ 0x5500]
    assert at.module.violations == []


def test_a_meter_out_of_reach_acknowledges_nothing_and_a_mute_one_never_responds() -> None:
    at = power_up()
    at.join()
    at.module.faults.silent_until = at.at + 30
    assert shapes(at.send(GET_POWER, 30)) == ["EVENT 21 <ip> 0 01", "OK"]
    at.module.faults.habits.append(mute(at.at + 30))
    assert shapes(at.send(GET_POWER, 30)) == ["EVENT 21 <ip> 0 00", "OK"]
    assert at.get(0xE7).esv is Esv.GET_RES


def test_a_neighbour_may_have_to_be_looked_for_first() -> None:
    at = power_up()
    at.join()
    at.module.faults.fail_sends(2)
    printed = shapes(at.send(GET_POWER))
    assert printed[:4] == ["EVENT 21 <ip> 0 02", "OK", "EVENT 02 <ip> 0", "EVENT 21 <ip> 0 00"]
    assert printed[4].startswith("ERXUDP")


def test_a_command_can_be_refused() -> None:
    at = power_up(echo=False)
    at.module.faults.refuse_next("ER09", "SKINFO")
    at.module.faults.refuse_next("ER10")
    assert at.type("SKVER") == b"FAIL ER10\r\n"
    assert at.type("SKVER").startswith(b"EVER")
    assert at.type("SKINFO") == b"FAIL ER09\r\n"
    assert at.type("SKINFO").startswith(b"EINFO")


def test_joins_can_fail_as_often_as_wanted() -> None:
    at = power_up()
    at.set_up()
    at.module.faults.fail_joins(2)
    for expected in ("24", "24", "25"):
        assert events(at.type(f"SKJOIN {METER_ADDRESS}", 15))[-1] == expected


def test_event_25_may_follow_event_24_after_all() -> None:
    at = power_up()
    at.set_up()
    at.module.faults.fail_joins(1, connects_after_s=6.0)
    at.type(f"SKJOIN {METER_ADDRESS}", 0)
    seconds = {piece[:8]: at_s for at_s, piece in at.timed(20) if piece[:8] in (b"EVENT 24", b"EVENT 25")}
    assert list(seconds) == [b"EVENT 24", b"EVENT 25"]
    assert seconds[b"EVENT 25"] - seconds[b"EVENT 24"] == pytest.approx(6.0, abs=0.01)
    assert at.get(0xE7).esv is Esv.GET_RES


def test_another_join_takes_the_place_of_an_event_25_on_its_way() -> None:
    at = power_up()
    at.set_up()
    at.module.faults.fail_joins(1, connects_after_s=6.0)
    assert events(at.type(f"SKJOIN {METER_ADDRESS}", 10.0))[-1] == "24"
    at.module.faults.fail_joins(1)
    assert "25" not in events(at.type(f"SKJOIN {METER_ADDRESS}", 30.0))
    at.module.faults.fail_joins(1, connects_after_s=6.0)
    assert events(at.type(f"SKJOIN {METER_ADDRESS}", 10.0))[-1] == "24"
    at.type("SKRESET")
    assert events(at.wait(30.0)) == []


def test_a_session_may_be_forgotten_without_a_word() -> None:
    at = power_up()
    at.join()
    at.wait(600)
    at.module.faults.forget_sessions(660.0)  # of which 600 and some are over
    assert at.get(0xE7).esv is Esv.GET_RES
    at.wait(60)
    assert shapes(at.send(GET_POWER, 120)) == ["EVENT 21 <ip> 0 00", "OK"]  # acknowledged, and that is all
    at.module.announce(at.at)
    assert at.wait(10) == b""
    assert events(at.type("SKREJOIN", 10)) == ["24"]
    assert not at.module.has_session
    at.join()
    assert at.get(0xE7).esv is Esv.GET_RES


def test_some_of_the_renewals_of_a_forgotten_session_work() -> None:
    at = power_up()
    at.join()
    at.module.faults.forget_sessions(60.0, rejoins=(False, False, False, True))
    renewed = []
    for _ in range(8):
        at.wait(60)
        renewed.append("25" in events(at.type("SKREJOIN", 10)))
        if not renewed[-1]:
            at.join()
        assert at.get(0xE7).esv is Esv.GET_RES
    assert renewed == [False, False, False, True] * 2


def test_a_forgotten_session_ends_in_event_28() -> None:
    at = power_up()
    at.join()
    at.module.faults.forget_sessions(1.0)
    assert events(at.type("SKTERM", 20)) == ["21", "28"]


def test_the_meter_may_end_sessions_as_soon_as_they_are_made() -> None:
    at = power_up()
    at.set_up()
    at.module.faults.end_sessions(0.1, count=2)
    for expected in (["25", "26"], ["25", "26"], ["25"]):
        joined = events(at.type(f"SKJOIN {METER_ADDRESS}", 10))
        assert [number for number in joined if number in ("25", "26")] == expected
    assert at.get(0xE7).esv is Esv.GET_RES


def test_an_event_may_come_thousands_of_times_a_minute() -> None:
    at = power_up("BP35A1")
    at.join()
    at.module.emit_event(0x25, at.at, times=3000, every_s=0.02)
    assert events(at.wait(30)) == ["25"] * 1500
    assert at.get(0xE7).esv is Esv.GET_RES
    assert len(events(at.wait(60))) + 4 / 0.02 == pytest.approx(1500, abs=2)


def test_the_hourly_limit_is_the_modules_that_said_it() -> None:
    at = power_up()
    at.join()
    at.module.emit_event(0x32, at.at)
    at.wait(1)
    at.module.restart(at.at)  # pulled out and put in again
    at.join()
    assert at.get(0xE7).esv is Esv.GET_RES
    assert at.module.violations == []


def test_the_ok_of_a_command_may_come_while_the_next_one_is_waited_for() -> None:
    at = power_up(echo=False)
    at.join()
    at.module.faults.slow_next(12.0, "SKTERM")
    assert "FAIL" not in at.type("SKTERM", 10.0).decode()
    late = lines(at.type("SKSREG S3", 30.0))
    assert late[:3] == ["OK", "ESREG 8CF5", "OK"]  # SKTERM's, and then what was typed after it
    assert at.type("SKVER", 0.1).startswith(b"EVER")


def test_every_command_may_take_as_long_as_one_likes() -> None:
    at = power_up(echo=False, timing=replace(REALISTIC, pause_s=2.85))
    for command, usual_s in (("SKVER", 0.004), ("SKSREG S3 8CF5", 0.004), ("SKRESET", 0.6)):
        at.type(command, 0)
        (seconds, response), *_ = at.timed(5.0)
        assert response.endswith(b"\r\n")
        assert seconds == pytest.approx(2.85 + usual_s, abs=0.01)


def test_a_hung_module_hears_and_says_nothing() -> None:
    at = power_up(echo=False)
    at.module.hang(at.at + 30)
    assert at.type("SKVER", 29) == b""
    at.wait(1)
    assert at.type("SKVER").startswith(b"EVER")


@pytest.mark.parametrize("boot_line", [b"", b"BOOT\r\n"])
def test_a_module_may_restart_by_itself_and_has_forgotten_everything(boot_line: bytes) -> None:
    at = power_up()
    at.join()
    at.module.restart(at.at + 5, boot_line=boot_line)
    assert at.wait(6) == boot_line
    assert lines(at.type("SKSREG S3")) == ["SKSREG S3", "ESREG FFFF", "OK"]
    assert b"FAIL ER10" in at.send(GET_POWER)


def test_a_restart_in_the_middle_of_a_command_leaves_it_without_a_response() -> None:
    at = power_up()
    at.join()
    at.module.restart(at.at + 0.05)
    assert at.send(GET_POWER) == b""
    assert at.type("SKVER").startswith(b"SKVER\r\nEVER")


def test_an_exchanged_meter_responds_only_in_a_new_session() -> None:
    at = power_up()
    at.join()
    at.module.meter.exchange(at.at)
    assert payloads(at.send(GET_POWER, 30)) == []
    at.join()
    assert at.get(0x8D).properties[0].edt == b"SIM0000002\0\0"


def test_any_datagram_can_come_out_of_the_air() -> None:
    at = power_up("BP35A1")
    forged = GET_POWER.response(Esv.GET_RES, (Property(0xE7, bytes(4)),)).to_bytes()
    at.module.inject(Datagram("00000000000000AA", forged, secured=False), at.at)
    [line] = lines(at.wait(1))
    assert line.split()[1] == "FE80:0000:0000:0000:0200:0000:0000:00AA"
    assert line.split()[6] == "0"


# --- audit


def test_a_request_over_another_is_a_violation_until_the_timer_ends() -> None:
    at = power_up()
    at.join()
    at.module.faults.habits.append(lost(2))
    at.send(GET_POWER, 10)
    at.send(GET_POWER, 21)
    assert len(at.module.violations) == 1
    at.send(GET_POWER, 10)
    assert len(at.module.violations) == 1


def test_a_different_request_may_come_only_after_the_longest_wait() -> None:
    at = power_up()
    at.join()
    at.module.set_response_timer(20, longest_s=60)
    at.module.faults.habits.append(lost(9))
    at.send(GET_POWER, 25)
    at.send(Frame.get(2, [0xE7]), 15)  # the same one, 25 s later, with another TID
    assert at.module.violations == []
    at.send(Frame.get(3, [0xE0]), 25)  # another one, 40 s after the first
    [violation] = at.module.violations
    assert "sent 40.000 s after" in violation
    at.send(Frame.get(4, [0xE7]), 30)  # 25 s after that
    assert len(at.module.violations) == 2
    at.wait(35)
    at.send(Frame.get(5, [0xE0]), 1)  # 65 s after that
    assert len(at.module.violations) == 2


def test_a_request_after_a_response_is_no_repetition() -> None:
    at = power_up()
    at.join()
    for _ in range(3):
        assert at.get(0xE7).esv is Esv.GET_RES
    assert at.module.violations == []
    assert [sent.payload for sent in at.module.sends] == [GET_POWER.to_bytes()] * 3


def test_a_receipt_is_no_request() -> None:
    at = power_up(meter={"confirmed_notifications": True})
    at.join()
    at.module.announce(at.at)
    [announced] = payloads(at.wait(1))
    at.module.faults.habits.append(lost(1))
    at.send(GET_POWER, 1)
    at.send(announced.infc_response(), 1)
    assert at.module.violations == []
    assert at.module.meter.confirmed_tids == [announced.tid]


# --- without time


@pytest.mark.parametrize("model", MODELS)
def test_the_order_is_the_same_when_nothing_takes_time(model: str) -> None:
    printed = []
    for timing in ({}, {"timing": INSTANT}):
        at = power_up(model, **timing)
        text = b""
        for command in ("SKVER", "SKRESET", f"SKSETPWD C {PASSWORD}", f"SKSETRBID {ROUTE_B_ID}"):
            text += at.type(command)
        text += at.type("SKSCAN 2 FFFFFFFF 4" + (" 0" if at.dual else ""), 8)
        for command in ("SKSREG S2 39", "SKSREG S3 8CF5", f"SKJOIN {METER_ADDRESS}"):
            text += at.type(command, 10)
        printed.append(text)
    assert printed[0] == printed[1]


def test_instantly_means_at_the_same_moment() -> None:
    at = power_up("BP35A1", timing=INSTANT)
    for command in (
        "SKSREG SFE 0",
        f"SKSETPWD C {PASSWORD}",
        f"SKSETRBID {ROUTE_B_ID}",
        "SKSREG S2 39",
        "SKSREG S3 8CF5",
    ):
        at.type(command, 0)
    assert "25" in events(at.type(f"SKJOIN {METER_ADDRESS}", 0))
    assert payloads(at.send(GET_POWER, 0))[-1].properties[0].edt == bytes.fromhex("00000258")
