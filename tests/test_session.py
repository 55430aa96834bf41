"""A request gets its own response or an error in time: one on the air, pauses between, silence where it is due."""

from __future__ import annotations

import dataclasses
import logging

import pytest

from skstack import (
    Credentials,
    MeterSilentError,
    SendFailedError,
    SendUnconfirmedError,
    Session,
    SessionLostError,
    SessionTimings,
    SkStackError,
    SkStackTimeoutError,
)
from skstack.echonet import CONTROLLER, METER, NODE_PROFILE, Esv, Frame, Property
from skstack.simulator import INSTANT, MODELS, TEST_PASSWORD, TEST_ROUTE_B_ID, Habit
from tests.lab.habits import announcements, double, late, lost, mistake_tid, repeat
from tests.lab.radio import FaultyPort
from tests.lab.rig import POWER
from tests.lab.scans import deaf_for
from tests.lab.session import WATTS, Lab, MemoryCache

JOINED = ["SKSREG S2", "SKSREG S3", "SKJOIN"]


# --- a request and its response


def test_a_request_gets_its_response() -> None:
    lab = Lab().join()
    assert lab.read_power() == WATTS
    assert lab.module.violations == []


def test_a_property_that_the_meter_has_not_is_left_out() -> None:
    lab = Lab(lacks=frozenset({0xD3})).join()
    response = lab.session.get([0xD3, 0xE1], until=lab.now + 59)
    assert set(response.values) == {0xE1}
    assert set(response.refused) == {0xD3}


def test_a_request_whose_response_is_lost_is_repeated_after_the_timeout_with_another_tid() -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(lost(1))
    assert lab.read_power() == WATTS
    first, second = (sent.payload[2:4] for sent in lab.module.sends[-2:])
    assert first != second
    times = lab.typed_at("SKSENDTO")
    assert times[1] - times[0] == pytest.approx(20.0)


def test_a_late_response_to_the_first_attempt_ends_the_second() -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(late(22.0, 2))  # the second try is made after 20 s
    began = lab.now
    assert lab.read_power() == WATTS
    assert lab.now - began == pytest.approx(22.5, abs=0.1)
    assert len(lab.typed_at("SKSENDTO")) == 2


def test_the_late_response_to_a_request_before_does_not_end_the_wait_for_this_one() -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(late(25.0))
    with pytest.raises(SkStackTimeoutError):
        lab.read_power(19.0)
    lab.module.faults.habits.append(late(15.0))
    assert lab.read_power() == WATTS
    assert len(lab.typed_at("SKSENDTO")) == 2
    assert lab.module.violations == []


def test_a_duplicate_response_is_dropped() -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(Habit(double, times=1))
    assert lab.read_power() == WATTS
    lab.run(1.0)
    assert lab.read_power() == WATTS
    assert len(lab.typed_at("SKSENDTO")) == 2


def test_a_response_with_another_tid_is_not_taken() -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(Habit(mistake_tid, times=1))
    assert lab.read_power() == WATTS
    assert len(lab.typed_at("SKSENDTO")) == 2


FORGERIES = {
    "another sender": {"sender": "001C640003337777"},
    "not secured": {"secured": False},
    "another port": {"port": 0x0E1B},
}


@pytest.mark.parametrize("how", FORGERIES)
def test_a_datagram_that_may_be_anybodys_is_not_taken(how: str) -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(lost(1))
    lab.later((1.0, lambda _: lab.inject(lab.response(lab.last_tid), **FORGERIES[how])))  # type: ignore[arg-type]
    assert lab.read_power() == WATTS


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("SEOJ", lambda frame: frame[:4] + NODE_PROFILE + frame[7:]),
        ("DEOJ", lambda frame: frame[:7] + b"\x05\xff\x02" + frame[10:]),
        ("ESV", lambda frame: frame[:10] + b"\x71" + frame[11:]),
        ("TID", lambda frame: frame[:2] + b"\x7f\x7f" + frame[4:]),
        ("EPC", lambda frame: frame[:12] + b"\xe0" + frame[13:]),
        ("one EPC more", lambda frame: frame[:11] + b"\x02" + frame[12:] + b"\xe0\x00"),
        ("length", lambda frame: frame + b"\x00"),
        ("EHD", lambda frame: b"\x10\x82" + frame[2:]),
    ],
)
def test_a_frame_that_is_no_response_to_the_request_is_not_taken(name: str, spoil: object) -> None:
    assert callable(spoil)
    lab = Lab().join()
    lab.module.faults.habits.append(lost(1))
    lab.later((1.0, lambda _: lab.inject(spoil(lab.response(lab.last_tid)))))
    assert lab.read_power() == WATTS, name


def test_the_genuine_frame_is_taken() -> None:
    lab = Lab().join()  # so that the tests above refuse for the reason they name
    lab.module.faults.habits.append(lost(1))
    lab.later((1.0, lambda _: lab.inject(lab.response(lab.last_tid))))
    assert lab.read_power() == 9999


def test_a_frame_of_the_han_side_is_not_taken() -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(lost(1))
    frame = "FE80:0000:0000:0000:021C:6400:0A0B:8CF5 FF02:0:0:0:0:0:0:1 0E1A 0E1A 001C64000A0B8CF5 A7 1 1"
    lab.later((1.0, lambda radio: radio.say(f"ERXUDP {frame} 0012 {lab.response(lab.last_tid).hex()}".encode())))
    assert lab.read_power() == WATTS


# --- one request at a time


def test_a_pending_request_keeps_the_next_one_back_until_its_time_is_up() -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(lost(1))
    with pytest.raises(SkStackTimeoutError):
        lab.read_power(5.0)
    assert lab.read_power() == WATTS
    first, second = lab.typed_at("SKSENDTO")
    assert second - first == pytest.approx(20.0)
    assert lab.module.violations == []


def test_a_request_that_is_repeated_takes_the_late_response_to_what_was_sent_before() -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(late(8.0))
    with pytest.raises(SkStackTimeoutError):
        lab.read_power(5.0)
    assert lab.read_power() == WATTS
    assert len(lab.typed_at("SKSENDTO")) == 1
    assert lab.module.violations == []


def test_a_response_that_came_while_nobody_listened_is_taken_before_the_request_is_repeated() -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(late(25.0))
    with pytest.raises(SkStackTimeoutError):
        lab.read_power(19.0)
    lab.radio.sleep(10.0)  # the repetition is due since 20 s, the response has come at 25 s
    began = lab.now
    assert lab.read_power() == WATTS
    assert lab.now == began
    assert len(lab.typed_at("SKSENDTO")) == 1


def test_a_different_request_goes_as_soon_as_the_last_one_has_its_response() -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(late(8.0))
    with pytest.raises(SkStackTimeoutError):
        lab.read_power(5.0)
    assert lab.session.get([0xE1], until=lab.now + 59).values
    first, second = lab.typed_at("SKSENDTO")
    assert 8.0 < second - first < 9.0
    assert lab.module.violations == []


@pytest.mark.parametrize("is_other_requested", [False, True])
def test_a_late_response_is_kept_whether_or_not_a_different_request_waits_its_turn(is_other_requested: bool) -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(late(30.0))
    with pytest.raises(SkStackTimeoutError):
        lab.read_power(20.0)
    if is_other_requested:
        assert set(lab.session.get([0xE1], until=lab.now + 59).values) == {0xE1}
    else:
        lab.run(59.0)
    (response,) = lab.session.late_responses
    assert int.from_bytes(response.values[POWER], "big") == WATTS


def test_a_response_that_somebody_waits_for_is_no_late_one() -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(late(8.0))
    with pytest.raises(SkStackTimeoutError):
        lab.read_power(5.0)
    assert lab.read_power() == WATTS  # by what was sent before
    assert not lab.session.late_responses


def test_a_different_request_waits_until_no_response_can_come_any_more() -> None:
    """AIF specification 2.4.2: 60 s for several properties. A slow meter responds late, not never."""
    lab = Lab().join()
    lab.module.faults.habits.append(lost(1))
    with pytest.raises(SkStackTimeoutError):
        lab.read_power(5.0)
    with pytest.raises(SkStackTimeoutError, match="earlier request"):
        lab.session.get([0xE1], until=lab.now + 20)
    assert lab.session.get([0xE1], until=lab.now + 59).values
    first, second = lab.typed_at("SKSENDTO")
    assert second - first == pytest.approx(60.0, abs=0.1)


def test_a_response_that_is_minutes_late_is_not_taken() -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(late(150.0))
    with pytest.raises(SkStackTimeoutError):
        lab.read_power(5.0)
    lab.run(144.0)
    lab.module.faults.habits.append(lost(1))
    with pytest.raises(SkStackTimeoutError):
        lab.read_power(15.0)


def test_a_new_session_owes_nothing_to_the_one_before() -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(lost(1))
    lab.later((1.0, lambda radio: lab.module.emit_event(0x26, radio.time_s)))
    with pytest.raises(SessionLostError):
        lab.read_power()
    lab.run_until_up(30.0)
    began = lab.now
    assert lab.session.get([0xE1], until=lab.now + 59).values
    assert lab.now - began < 2.0


def test_a_request_whose_time_is_up_is_not_sent() -> None:
    lab = Lab().join()
    with pytest.raises(SkStackTimeoutError):
        lab.read_power(0.0)
    with pytest.raises(SkStackTimeoutError):
        lab.read_power(-5.0)
    assert lab.typed_at("SKSENDTO") == []


def test_there_is_a_pause_between_a_response_and_the_next_request() -> None:
    lab = Lab().join()
    lab.read_power()
    answered_at = lab.now
    lab.read_power()
    assert lab.typed_at("SKSENDTO")[1] - answered_at == pytest.approx(0.2)


def test_a_response_that_comes_while_the_next_attempt_waits_is_not_requested_again() -> None:
    lab = Lab().join()
    lab.module.faults.fail_sends(1)  # EVENT 21 01: its acknowledgement was lost, not the request
    lab.later((2.0, lambda _: lab.inject(lab.response(lab.last_tid))))
    assert lab.read_power() == 9999
    assert len(lab.typed_at("SKSENDTO")) == 1


def test_tids_keep_clear_of_line_ends_and_blanks() -> None:
    lab = Lab(timing=INSTANT)
    session = Session(
        lab.radio.open_port,
        Credentials(TEST_ROUTE_B_ID, TEST_PASSWORD),
        monotonic=lab.clock.monotonic,
        sleep=lab.radio.sleep,
        first_tid=0x0CF8,  # past 0D00 to 0DFF, and then past 0E00, 0E0A, 0E0D and 0E20
    )
    assert session.run_until_up(lab.now + 300)
    began = len(lab.module.sends)
    for _ in range(0x40):
        session.get([POWER], until=lab.now + 59)
    tids = [int.from_bytes(sent.payload[2:4], "big") for sent in lab.module.sends[began:]]
    assert tids[-1] > 0x0E20
    assert not {byte for tid in tids for byte in tid.to_bytes(2, "big")} & set(b"\r\n \0")
    assert len(set(tids)) == len(tids)


# --- EVENT 21


def test_a_send_that_failed_is_tried_again_after_five_seconds() -> None:
    lab = Lab().join()
    lab.module.faults.fail_sends(1)
    assert lab.read_power() == WATTS
    first, second = lab.typed_at("SKSENDTO")
    assert second - first == pytest.approx(5.1, abs=0.1)  # EVENT 21 comes after 0.13 s


def test_sends_that_fail_to_the_end_are_reported_as_such() -> None:
    lab = Lab().join()
    lab.module.faults.fail_sends(1, 2)
    with pytest.raises(SendFailedError):
        lab.read_power(9.0)


def test_a_send_that_the_module_is_still_trying_is_waited_for() -> None:
    lab = Lab().join()
    lab.module.faults.fail_sends(2)  # EVENT 21 02: the neighbour is looked for, the datagram follows by itself
    assert lab.read_power() == WATTS
    assert len(lab.typed_at("SKSENDTO")) == 1


def test_a_send_of_which_nothing_is_heard_is_unconfirmed() -> None:
    lab = Lab().join()
    lab.radio.wire.losses.append(b"EVENT 21")
    lab.module.faults.habits.append(lost(1))
    with pytest.raises(SendUnconfirmedError):
        lab.read_power(19.0)


def test_a_response_confirms_a_send() -> None:
    lab = Lab().join()
    lab.radio.wire.losses.append(b"EVENT 21")
    assert lab.read_power() == WATTS


def test_event_21_of_the_modules_own_datagrams_is_not_taken_for_ours() -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(late(5.0))
    lab.later((1.0, lab.event(0x21, "01")))  # our own came after 0.13 s; this one is of a PANA message
    assert lab.read_power() == WATTS
    assert len(lab.typed_at("SKSENDTO")) == 1


def test_the_receipt_of_a_notification_does_not_pass_for_the_request() -> None:
    lab = Lab(confirmed_notifications=True).join()
    lab.module.faults.habits.append(late(10.0))
    lab.later(
        (1.0, lambda radio: lab.module.announce(radio.time_s)),
        (1.05, lambda _: lab.module.faults.fail_sends(1)),  # of the receipt
    )
    assert lab.read_power() == WATTS
    assert len(lab.typed_at("SKSENDTO")) == 2  # one request and one receipt
    assert lab.module.violations == []


def test_a_failed_send_checks_whether_the_limit_is_reached() -> None:
    lab = Lab().join()
    lab.module.hang(lab.radio.time_s + 1.0)
    lab.module.emit_event(0x32, lab.radio.time_s + 0.5)  # unheard: only register SFB shows it
    lab.run(2.0)
    with pytest.raises(SessionLostError, match="EVENT 32"):
        lab.read_power()
    assert lab.typed == ["SKSENDTO", "SKSREG SFB"]
    lab.run(300.0)
    assert lab.typed.count("SKSENDTO") == 1


def test_a_port_that_is_lost_while_the_limit_is_looked_up_ends_the_session() -> None:
    lab = Lab().join()
    lab.module.faults.fail_sends(1)
    lab.module.faults.habits.append(late(30.0))
    lab.later((0.14, lambda radio: radio.unplug(lab.now + 5.0)))  # EVENT 21 came after 0.13 s, SFB is read
    with pytest.raises(SessionLostError):
        lab.read_power()
    assert lab.typed[:2] == ["SKSENDTO", "SKSREG SFB"]
    lab.run_until_up(120.0)


# --- what the module fails to say


def test_a_lost_ok_costs_no_response() -> None:
    lab = Lab().join()
    lab.radio.wire.losses.append(b"OK")
    began = lab.now
    assert lab.read_power() == WATTS
    assert lab.now - began == pytest.approx(3.0, abs=0.1)
    assert len(lab.typed_at("SKSENDTO")) == 1


def test_a_module_that_says_nothing_at_all_is_reset() -> None:
    lab = Lab().join()
    lab.module.hang(lab.radio.time_s + 25.0)
    with pytest.raises(SessionLostError, match="no longer responds"):
        lab.read_power()
    lab.run_until_up(60.0)
    assert "SKRESET" in lab.typed
    assert lab.read_power() == WATTS


def test_a_garbled_send_is_repeated_at_once() -> None:
    lab = Lab().join()
    lab.module.faults.refuse_next("ER09", "SKSENDTO")
    began = lab.now
    assert lab.read_power() == WATTS
    assert lab.now - began < 2.0


@pytest.mark.parametrize(("number", "name"), [(0x29, "EVENT 29"), (0x32, "EVENT 32")])
def test_a_garbled_send_is_not_repeated_into_the_silence_that_an_event_demands(number: int, name: str) -> None:
    """The module refuses the command, and begins to renew its session before it would be repeated."""
    lab = Lab().join()
    lab.module.faults.refuse_next("ER09", "SKSENDTO")
    lab.later((0.02, lab.event(number)))
    with pytest.raises(SessionLostError, match=name):
        lab.read_power()
    assert len(lab.typed_at("SKSENDTO")) == 1
    assert lab.module.violations == []


@pytest.mark.parametrize(("code", "step"), [("ER10", "REJOIN"), ("ER04", "RESET"), ("ER06", "RESET")])
def test_a_refused_send_ends_the_session(code: str, step: str) -> None:
    lab = Lab().join()
    lab.module.faults.refuse_next(code, "SKSENDTO")
    with pytest.raises(SessionLostError, match=code):
        lab.read_power()
    lab.run_until_up(60.0)
    assert ("SKRESET" in lab.typed) == (step == "RESET")
    assert lab.read_power() == WATTS


def test_sends_that_are_refused_for_the_same_reason_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    lab = Lab().join()
    for _ in range(5):
        lab.module.faults.refuse_next("ER10", "SKSENDTO")
        with pytest.raises(SessionLostError):
            lab.read_power()
        lab.run_until_up(600.0)
    assert caplog.text.count("the link is lost") == 1
    assert len({event.detail for event in lab.events if event.kind == "lost"}) == 1


# --- notifications


@pytest.mark.parametrize("confirmed", [False, True])
def test_a_notification_is_kept_and_an_infc_gets_its_response(confirmed: bool) -> None:
    lab = Lab(confirmed_notifications=confirmed).join()
    lab.session.notifications.clear()
    lab.module.announce(lab.radio.time_s)
    lab.run(2.0)
    [notification] = lab.session.notifications
    assert set(notification.values) == {0xEA, 0xEB}
    assert len(lab.simulated.confirmed_tids) == confirmed


def test_an_infc_gets_no_response_before_what_came_with_it_was_looked_at() -> None:
    """The module begins to renew its session right behind the notification."""
    lab = Lab(confirmed_notifications=True).join()
    lab.module.announce(lab.radio.time_s)
    lab.module.emit_event(0x29, lab.radio.time_s)
    lab.clock.sleep(0.1)  # both have arrived, and nobody has looked yet
    lab.run(5.0)
    assert lab.module.violations == []
    assert len(lab.simulated.confirmed_tids) == 1  # after EVENT 25


def test_a_module_that_refuses_the_response_to_an_infc_costs_that_alone() -> None:
    lab = Lab(confirmed_notifications=True).join()
    lab.session.notifications.clear()
    lab.module.faults.refuse_next("ER06", "SKSENDTO")
    lab.module.announce(lab.radio.time_s)
    lab.run(2.0)
    assert len(lab.session.notifications) == 1
    assert lab.simulated.confirmed_tids == []
    assert lab.session.up
    assert lab.read_power() == WATTS


def test_a_port_that_goes_when_an_infc_is_responded_to_is_opened_again() -> None:
    lab = Lab(confirmed_notifications=True, timing=INSTANT).join()
    lab.session.notifications.clear()
    write = FaultyPort.write

    def unplugged(self: FaultyPort, data: bytes) -> None:
        if data.startswith(b"SKSENDTO"):
            lab.radio.unplug(lab.now + 5.0)
        write(self, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FaultyPort, "write", unplugged)
        lab.module.announce(lab.radio.time_s)
        lab.run(2.0)
    assert lab.kinds == ["port_lost"]
    lab.run_until_up(60.0)
    assert lab.read_power() == WATTS


@pytest.mark.parametrize("confirmed", [False, True])
def test_a_notification_between_a_request_and_its_response_is_kept(confirmed: bool) -> None:
    lab = Lab(confirmed_notifications=confirmed).join()
    lab.session.notifications.clear()
    lab.later((0.3, lambda radio: lab.module.announce(radio.time_s)))
    assert lab.read_power() == WATTS
    lab.run(1.0)
    assert len(lab.session.notifications) == 1
    assert len(lab.simulated.confirmed_tids) == confirmed


@pytest.mark.parametrize("esv", [Esv.INF, Esv.INFC])
def test_a_notification_with_our_tid_is_no_response(esv: Esv) -> None:
    lab = Lab().join()
    lab.session.notifications.clear()
    lab.later((0.3, lambda _: lab.inject(lab.response(lab.last_tid)[:10] + bytes((esv,)) + lab.response(1)[11:])))
    assert lab.read_power() == WATTS
    assert [each.values for each in lab.session.notifications] == [{POWER: (9999).to_bytes(4)}]


def test_a_notification_that_contradicts_itself_is_dropped_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    lab = Lab().join()
    lab.session.notifications.clear()
    lab.module.faults.habits.append(Habit(repeat(0xEA, lambda edt: edt[:-1] + bytes((edt[-1] ^ 1,))), announcements))
    for _ in range(3):
        lab.module.announce(lab.clock.time_s)
        lab.run(2.0)
    assert not lab.session.notifications
    assert caplog.text.count("two values for one property") == 1
    assert lab.read_power() == WATTS


def test_the_instance_list_of_the_node_profile_wakes_nobody() -> None:
    lab = Lab()
    lab.run_until_up(60.0)
    lab.run(5.0)
    assert not lab.session.notifications


def test_a_notification_of_another_object_is_dropped() -> None:
    lab = Lab().join()
    lab.session.notifications.clear()
    lab.inject(lab.response(1, seoj=b"\x01\x30\x01")[:10] + bytes((Esv.INF,)) + lab.response(1)[11:])
    lab.run(1.0)
    assert not lab.session.notifications


def test_notifications_that_nobody_takes_do_not_pile_up() -> None:
    lab = Lab().join()
    for _ in range(1100):
        lab.module.announce(lab.radio.time_s)
    lab.run(60.0)
    assert len(lab.session.notifications) == 1000


def test_receipts_that_the_module_does_not_take_hold_us_up_once() -> None:
    lab = Lab(confirmed_notifications=True).join()
    for _ in range(10):
        lab.module.announce(lab.radio.time_s)
    lab.radio.wire.losses.extend([b"OK"] * 10)
    began = lab.now
    lab.run(0.5)
    assert lab.now - began < 4.0


# --- the session ends during a request


@pytest.mark.parametrize("number", [0x24, 0x26, 0x27, 0x28])
def test_an_end_of_the_session_ends_the_request_at_once(number: int) -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(lost(1))
    lab.later((5.0, lab.event(number)))
    began = lab.now
    with pytest.raises(SessionLostError, match=f"EVENT {number:X}"):
        lab.read_power()
    assert lab.now - began == pytest.approx(5.0, abs=0.1)


def test_after_event_29_the_response_still_counts_and_the_next_request_waits_for_event_25() -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(late(1.0))
    lab.later((0.5, lab.event(0x29)))
    assert lab.read_power() == WATTS
    with pytest.raises(SessionLostError, match="EVENT 29"):
        lab.read_power()
    lab.radio.say(b"EVENT 25 FE80:0000:0000:0000:021C:6400:0A0B:8CF5 0")
    lab.run(0.1)
    assert lab.read_power() == WATTS


def test_an_event_29_that_waits_to_be_read_keeps_the_request_back() -> None:
    lab = Lab().join()
    lab.module.emit_event(0x29, lab.radio.time_s)
    lab.clock.sleep(0.2)  # it has arrived, and nobody has looked yet
    with pytest.raises(SessionLostError, match="EVENT 29"):
        lab.read_power()
    assert lab.typed_at("SKSENDTO") == []
    assert lab.module.violations == []


@pytest.mark.parametrize("number", [0x29, 0x32])
def test_silence_is_kept_when_it_begins_between_two_attempts(number: int) -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(lost(5))
    lab.later((19.99, lambda radio: lab.module.emit_event(number, radio.time_s)))
    with pytest.raises(SessionLostError, match=f"EVENT {number:X}"):
        lab.read_power()
    assert lab.module.violations == []


def test_three_attempts_without_a_response_make_the_session_suspect() -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(lost(3))
    with pytest.raises(MeterSilentError):
        lab.read_power(100.0)
    assert not lab.session.up
    assert lab.kinds == ["lost"]
    lab.run_until_up(60.0)
    assert lab.typed[-1] == "SKREJOIN"  # the module still believes in its session
    lab.module.faults.habits.append(lost(1))
    assert lab.read_power() == WATTS  # counted from zero again


def test_background_requests_make_nothing_suspect() -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(lost(5))
    with pytest.raises(SkStackTimeoutError):
        lab.read_power(100.0, background=True)
    assert lab.session.up


def test_a_port_that_goes_during_a_request_is_opened_again() -> None:
    lab = Lab().join()
    lab.later((0.14, lambda radio: radio.unplug(lab.now + 5.0)))
    with pytest.raises(SessionLostError):
        lab.read_power()
    assert lab.kinds == ["port_lost"]
    lab.run_until_up(60.0)
    assert lab.read_power() == WATTS


def test_requests_while_the_link_is_down_do_not_disturb_the_recovery() -> None:
    lab = Lab().join()
    lab.radio.unplug(lab.now + 100.0)
    for _ in range(9):
        lab.run(1.0)
        with pytest.raises(SessionLostError):
            lab.read_power()
    assert lab.kinds.count("port_lost") == 1
    assert len(lab.baud_rates) == 2  # one at the start, one at once; the next comes after a pause


# --- the end


def test_closing_ends_the_session_with_the_meter() -> None:
    lab = Lab().join()
    lab.session.close()
    assert lab.typed == ["SKTERM"]
    assert not lab.module.has_session
    assert lab.session.module is None


@pytest.mark.parametrize("trouble", ["module hangs", "meter away", "port gone", "no session", "recovering", "suspect"])
def test_closing_takes_at_most_five_seconds(trouble: str) -> None:
    lab = Lab().join()
    match trouble:
        case "module hangs":
            lab.module.hang(lab.radio.time_s + 3600.0)
        case "meter away":
            lab.module.faults.silent_until = lab.radio.time_s + 3600.0
        case "port gone":
            lab.radio.unplug(lab.now + 3600.0)
        case "no session":
            lab.module.restart(lab.radio.time_s)
        case "recovering":
            lab.module.faults.fail_joins(9)
            lab.module.emit_event(0x26, lab.radio.time_s)
            lab.run(4.0)
        case "suspect":
            lab.module.faults.habits.append(lost(3))
            with pytest.raises(MeterSilentError):
                lab.read_power(100.0)
    lab.forget()
    began = lab.now
    lab.session.close()
    lab.session.close()
    assert lab.now - began <= 5.0
    assert lab.session.module is None
    assert trouble in ("port gone",) or lab.typed == ["SKTERM"]


def test_closing_before_the_first_run_does_nothing() -> None:
    lab = Lab()
    lab.session.close()
    assert lab.typed == []


@pytest.mark.parametrize("what", ["run", "get", "recovery"])
def test_a_stop_ends_every_wait(what: str) -> None:
    lab = Lab().join()
    lab.module.faults.habits.append(lost(9))
    if what == "recovery":
        lab.module.faults.hearing = deaf_for(99)
        lab.module.faults.fail_joins(99)
        lab.module.emit_event(0x26, lab.radio.time_s)

    def stop(radio: object) -> None:
        lab.stopped = True
        lab.radio.wire.wake_ups = 1  # as the signal does

    lab.later((7.0, stop))
    began = lab.now
    if what == "get":
        with pytest.raises(SkStackError):
            lab.read_power()
    else:
        lab.run(3600.0)
    assert lab.now - began <= 7.5


def test_a_wait_cut_short_by_a_signal_loses_no_response() -> None:
    lab = Lab().join()
    lab.radio.wire.wake_ups = 20
    assert lab.read_power() == WATTS
    assert len(lab.typed_at("SKSENDTO")) == 1


# --- secrets


@pytest.mark.parametrize("model", sorted(MODELS))
@pytest.mark.parametrize("hex_payload", [True, False])
def test_no_secret_is_in_the_log_of_a_whole_session(
    model: str, hex_payload: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    lab = Lab(model=model, hex_payload=hex_payload, confirmed_notifications=True)
    lab.run_until_up(120.0)
    lab.read_power()
    lab.module.restart(lab.radio.time_s)  # the echo is on again
    with pytest.raises(SkStackError):
        lab.read_power()
    lab.run_until_up(120.0)
    for spoiler in ("corrupt", "truncate", "garbage", "split", "merge") * 6:
        lab.radio.wire.spoilers.append(spoiler)
        lab.module.emit_event(0x26, lab.radio.time_s)  # a handshake shows the ID
        lab.run(90.0)
    lab.session.close()
    assert lab.radio.wire.spoilers == lab.radio.wire.spoilers.__class__()
    pairing_id = TEST_ROUTE_B_ID[-8:]
    secrets = [TEST_ROUTE_B_ID, TEST_PASSWORD, pairing_id, pairing_id.encode().hex(), TEST_ROUTE_B_ID[:12]]
    text = caplog.text.upper() + "".join(str(record.args) for record in caplog.records).upper()
    assert "SKSETRBID" in text
    assert [secret for secret in secrets if secret.upper() in text] == []
    assert TEST_ROUTE_B_ID[:8].encode().hex().upper() not in text


@pytest.mark.parametrize("damage", ["none", "contradiction", "cut short", "left over"])
def test_the_route_b_number_of_the_meter_is_in_no_log_and_no_repr(
    damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    number = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
    again = {Property(0xC0, number[:-1] + b"\0")} if damage == "contradiction" else set()
    frame = Frame(1, METER, CONTROLLER, Esv.INF, (Property(0xC0, number), *again)).to_bytes()
    lab = Lab(timing=INSTANT).join()
    lab.session.notifications.clear()
    caplog.set_level(logging.DEBUG)
    lab.inject({"cut short": frame[:-1], "left over": frame + b"\0"}.get(damage, frame))
    lab.run(1.0)
    assert len(lab.session.notifications) == (damage == "none")
    assert "ERXUDP" in caplog.text or "UdpReceived" in caplog.text
    assert "8899aabbccddee" not in caplog.text.lower().replace(" ", "")
    assert repr(number)[2:-5] not in repr(lab.session.notifications)


# --- the figures


def test_the_first_reading_comes_within_two_seconds_where_the_pan_is_known() -> None:
    cache = MemoryCache()
    Lab(cache=cache).join().session.close()
    lab = Lab(cache=cache, timing=INSTANT)
    assert lab.run_until_up() + 1.0 < 2.0  # and at interval = 1 the next tick comes within a second
    assert lab.read_power() == WATTS
    assert lab.now < 2.0
    assert not [words for words in lab.typed if words.startswith("SKSCAN")]


def test_timings_can_be_chosen() -> None:
    lab = Lab(timings=dataclasses.replace(SessionTimings(), response_timeout_s=7.0)).join()
    lab.module.faults.habits.append(lost(1))
    lab.module.set_response_timer(7.0)
    assert lab.session.get([POWER], until=lab.now + 59).values
    first, second = lab.typed_at("SKSENDTO")
    assert second - first == pytest.approx(7.0)


def test_before_the_first_join_there_is_no_session() -> None:
    lab = Lab()
    with pytest.raises(SessionLostError, match="not joined yet"):
        lab.read_power()
