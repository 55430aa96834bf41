"""A link that is lost comes back by the mildest step that does, at any hour, without flooding the air."""

from __future__ import annotations

import contextlib
import itertools
import logging
from dataclasses import replace

import pytest

from skstack import (
    BAUD_RATES,
    Credentials,
    MeterSilentError,
    PanDescription,
    Port,
    PortLostError,
    Session,
    SessionLostError,
)
from skstack.errors import PortRefusedError
from skstack.link import Link
from skstack.simulator import REALISTIC, TEST_PASSWORD, TEST_ROUTE_B_ID, Beacon
from tests.lab.clock import LabClock
from tests.lab.module import METER_ADDRESS, METER_MAC
from tests.lab.scans import deaf_for
from tests.lab.session import WATTS, Lab, MemoryCache

BRING_UP = ["SKVER", "SKRESET", "SKSREG SFE", "SKVER", "SKINFO", "SKSETPWD", "SKSETRBID"]
JOIN = ["SKSREG S2", "SKSREG S3", "SKJOIN"]
FULL_SCANS = [f"SKSCAN 2 FFFFFFFF {duration}" for duration in (5, 6, 7, 8)]
KNOWN_CHANNEL = "SKSCAN 2 01000000 6"  # channel 39: bit 24
ENDED = 0x26


def lose(lab: Lab, number: int = ENDED) -> None:
    """Let the session end with an EVENT."""
    lab.module.emit_event(number, lab.radio.time_s)
    lab.run(0.1)
    assert not lab.session.up


# --- the way up


def test_the_first_start_sets_the_module_up_scans_and_joins() -> None:
    lab = Lab()
    lab.run_until_up(60.0)
    assert lab.typed == [*BRING_UP, FULL_SCANS[0], *JOIN]
    assert lab.kinds == ["scan", "join"]
    scan, join = lab.events[:2]
    assert (scan.channel, scan.pan_id) == (0x39, 0x8CF5)
    assert scan.signal_dbm == pytest.approx(-58.345)  # 0.275 x 0xA7 - 104.27
    assert scan.duration_s == pytest.approx(28 * (0.0096 * 33 + 0.02) + 0.5, abs=0.1)  # 28 channels, D = 5
    assert join.duration_s == pytest.approx(3.3, abs=0.1)  # six steps of 0.55 s


def test_no_command_ever_writes_flash_memory() -> None:
    lab = Lab().join()
    lose(lab)
    lab.run_until_up(60.0)
    lab.session.close()
    assert lab.module.flash_writes == 0


def test_a_port_that_is_refused_no_longer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_baud_rate: int) -> Port:
        raise PortRefusedError("this user may not open it")  # udev has not set its group yet

    lab = Lab()
    with monkeypatch.context() as patch:
        patch.setattr(lab.radio, "open_port", refuse)
        assert not lab.session.run_until_up(lab.now + 60.0)
    lab.run(12.0)
    assert lab.session.module is not None
    assert lab.run_until_up(60.0) > 1.0


def test_a_restart_joins_without_a_scan() -> None:
    cache = MemoryCache()
    Lab(cache=cache).join().session.close()
    lab = Lab(cache=cache)
    lab.run_until_up(60.0)
    assert lab.typed == [*BRING_UP, *JOIN]


def test_a_failed_join_on_a_remembered_pan_leads_to_a_scan() -> None:
    cache = MemoryCache()
    Lab(cache=cache).join().session.close()
    lab = Lab(cache=cache, pan_id=0x1234)  # the meter has moved meanwhile
    lab.run_until_up(120.0)
    assert lab.typed == [*BRING_UP, *JOIN, "SKSREG S3", KNOWN_CHANNEL, *JOIN]
    assert [pan.pan_id for pan in cache.pans.values()] == [0x1234]


# --- step by step


def test_the_first_step_joins_again_at_once() -> None:
    lab = Lab().join()
    lose(lab)
    lab.run(1.0)
    assert lab.typed == ["SKSREG S3", *JOIN]
    lab.run_until_up(10.0)
    assert lab.kinds == ["lost", "join", "recovered"]
    assert lab.events[-1].detail == "rejoin"


def test_the_second_step_scans_the_channel_where_the_meter_was_first() -> None:
    lab = Lab().join()
    lab.module.faults.fail_joins(1)
    lose(lab)
    lab.run_until_up(60.0)
    assert lab.typed == ["SKSREG S3", *JOIN, "SKSREG S3", KNOWN_CHANNEL, *JOIN]
    assert lab.events[-1].detail == "rescan"


def test_the_third_step_resets_the_module_and_gives_it_the_credentials_again() -> None:
    lab = Lab().join()
    lab.module.faults.fail_joins(2)
    lose(lab)
    lab.run_until_up(120.0)
    assert lab.typed == ["SKSREG S3", *JOIN, "SKSREG S3", KNOWN_CHANNEL, *JOIN, *BRING_UP, *JOIN]
    assert lab.kinds == ["lost", "join_failed", "scan", "join_failed", "reset", "join", "recovered"]


def test_the_fourth_step_opens_the_port_again() -> None:
    lab = Lab().join()
    lab.module.faults.fail_joins(3)
    lose(lab)
    lab.run_until_up(120.0)
    assert lab.baud_rates == [BAUD_RATES[0]] * 2
    assert lab.events[-1].detail == "reopen"


def test_after_the_last_step_it_begins_with_a_scan_again() -> None:
    lab = Lab().join()
    lab.module.faults.fail_joins(4)
    lose(lab)
    lab.run_until_up(240.0)
    assert lab.events[-1].detail == "rescan"


def test_the_first_try_of_each_step_comes_within_a_second_of_the_failure_before() -> None:
    lab = Lab().join()
    lab.module.faults.fail_joins(3)
    lost_at = lab.now
    lose(lab)
    lab.run_until_up(120.0)
    joins = lab.typed_at("SKJOIN")
    refused_after_s = 9.0  # the simulated meter's EVENT 24
    assert joins[0] - lost_at < 1.0
    scan_s, reset_s = 0.6 + 0.02 + 0.5, 0.2 + 0.6  # one channel at D = 6; quiet and SKRESET
    for gap, work_s in zip([b - a for a, b in itertools.pairwise(joins)], (scan_s, reset_s, reset_s), strict=True):
        assert gap - refused_after_s - work_s < 1.0


def test_pauses_double_from_the_second_try_of_a_step_and_have_an_end() -> None:
    lab = Lab().join()
    lab.module.faults.fail_joins(1000)
    lose(lab)
    lab.run(4 * 3600.0)
    assert sum(event.times for event in lab.events if event.kind == "scan") > 50  # it never gives up
    rescans = [at for at, data in lab.radio.typed or [] if data.startswith(b"SKSCAN 2 01000000")]
    gaps = [b - a for a, b in itertools.pairwise(rescans)]
    assert max(gaps) < 360.0
    joins = lab.typed_at("SKJOIN")
    assert max(b - a for a, b in itertools.pairwise(joins)) < 150.0


def test_a_response_ends_the_pauses() -> None:
    lab = Lab().join()
    lab.module.faults.fail_joins(30)
    lose(lab)
    lab.run(3600.0)
    lab.module.faults.clear()
    lab.run_until_up(600.0)
    lab.read_power()
    lab.run(10.0)
    lab.forget()
    lose(lab)
    assert lab.run_until_up(60.0) < 5.0
    assert lab.typed == ["SKSREG S3", *JOIN]


def test_a_session_that_shakes_hands_but_never_responds_is_at_most_joined_again() -> None:
    lab = Lab().join()
    for _ in range(4):
        lose(lab)
        lab.run_until_up(120.0)
    assert lab.events[-1].detail == "rejoin"
    assert lab.typed_at("SKSCAN") == []


def test_a_session_that_drops_between_two_hourly_polls_costs_no_pause_that_grows() -> None:
    """Every join works and gets a response: nothing is left of the one before."""
    lab = Lab().join()
    for _ in range(9):
        lab.run(1200.0)
        lose(lab)
        assert lab.run_until_up(60.0) < 5.0
        assert lab.read_power() == WATTS
    assert lab.typed_at("SKRESET") == []


def test_a_stick_that_is_gone_for_days_is_looked_for_every_half_minute() -> None:
    lab = Lab().join()
    lab.radio.unplug(lab.now + 5 * 86_400.0)
    lab.run(5 * 86_400.0)
    attempts = len(lab.baud_rates) - 1
    assert 5 * 86_400 / 30 - 2 <= attempts <= 5 * 86_400 / 30 + 5
    lab.run_until_up(120.0)
    assert lab.read_power() == WATTS


def test_a_stick_that_is_back_is_found_within_half_a_minute() -> None:
    lab = Lab().join()
    lab.radio.unplug(lab.now + 600.0)
    lab.run(600.0)
    assert lab.run_until_up(120.0) < 30.0 + 10.0


class DeadPort:
    """Opens, and is gone at the first read."""

    def __init__(self, clock: LabClock) -> None:
        self.reads = 0
        self._clock = clock

    def read(self, timeout_s: float) -> bytes:
        self.reads += 1
        raise PortLostError("the fake stick was unplugged")

    def write(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_port_that_dies_whenever_it_is_opened_does_not_make_the_recovery_spin() -> None:
    clock = LabClock()
    port = DeadPort(clock)
    session = Session(
        lambda _: port,
        Credentials(TEST_ROUTE_B_ID, TEST_PASSWORD),
        monotonic=clock.monotonic,
        sleep=clock.sleep,
    )
    session.run(3600.0)
    assert clock.monotonic() == 3600.0
    assert port.reads < 150


def test_a_link_whose_port_was_never_opened_says_so() -> None:
    clock = LabClock()
    link = Link(monotonic=clock.monotonic, sleep=clock.sleep)
    with pytest.raises(PortLostError, match="the port is closed"):
        link.collect()


def test_a_stick_pulled_as_a_session_ends_is_lost_once_and_opened_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """Two lines have come before a request: with the first the session ends, with the second it is joined again."""
    lab = Lab().join()
    for say in (lab.event(ENDED), lab.event(0xC0)):
        say(lab.radio)
    lab.later((0.001, lambda radio: radio.unplug(lab.now)))  # while register S3 is read
    with pytest.raises(SessionLostError, match="the simulated stick was unplugged"):
        lab.read_power()
    lab.run_until_up(10.0)
    failed = [record.message for record in caplog.records if "failed" in record.message]
    assert failed == ["joining again failed: the simulated stick was unplugged"]


def test_a_stick_pulled_during_a_pause_is_noticed_once() -> None:
    lab = Lab().join()
    lab.module.faults.fail_joins(1000)
    lose(lab)
    lab.run(300.0)  # pauses between the attempts by now
    lab.forget()
    lab.radio.unplug(lab.now + 600.0)
    lab.run(590.0)
    assert lab.typed == []
    assert len(lab.baud_rates) < 40


# --- a module that forgot everything


def test_a_module_that_restarted_is_set_up_and_joined_without_a_scan() -> None:
    lab = Lab().join()
    lab.module.restart(lab.radio.time_s)
    with pytest.raises(SessionLostError, match="ER10"):
        lab.read_power()
    lab.run_until_up(30.0)
    assert lab.typed == ["SKSENDTO", "SKSREG S3", *BRING_UP, *JOIN]
    assert lab.read_power() == WATTS


def test_a_module_that_restarted_during_a_join_is_set_up_again() -> None:
    lab = Lab().join()
    lose(lab)
    lab.run(1.0)
    lab.module.restart(lab.radio.time_s)
    lab.run_until_up(180.0)
    assert "SKSETRBID" in lab.typed
    assert lab.read_power() == WATTS


def test_a_module_stuck_in_a_half_sent_datagram_is_freed() -> None:
    lab = Lab().join()
    lab.radio.cut_writes = 1
    with pytest.raises(SessionLostError):
        lab.read_power()
    lab.run_until_up(60.0)
    assert lab.read_power() == WATTS


def test_a_module_found_in_the_middle_of_a_datagram_is_set_up_all_the_same() -> None:
    lab = Lab()
    lab.module.receive(f"SKSENDTO 1 {METER_ADDRESS} 0E1A 1 0 04D0 ".encode(), lab.radio.time_s)
    lab.run_until_up(60.0)
    assert lab.read_power() == WATTS


class Misprinting:
    """A port to a module whose EINFO names the other dialect than it speaks."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self.write = port.write
        self.close = port.close

    def read(self, timeout_s: float) -> bytes:
        chunk = self._port.read(timeout_s)
        if chunk.startswith(b"EINFO"):
            line, end, rest = chunk.partition(b"\r\n")
            wrong = b"0" if line.endswith(b"FFFE") else b"FFFE"
            return line[: line.rindex(b" ") + 1] + wrong + end + rest
        return chunk


@pytest.mark.parametrize("is_known", [False, True], ids=["first start", "PAN known"])
@pytest.mark.parametrize("model", ["BP35A1", "BP35C2"])
def test_a_module_that_speaks_another_dialect_than_it_says_is_read(
    model: str, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hsakoh/broute-mqtt, issues 1 and 2: a Stick-D/DSS that took the forms without side; a BP35C2 refused them."""
    cache = MemoryCache()
    if is_known:
        Lab(model=model, cache=cache).join()
    lab = Lab(model=model, cache=cache)
    open_port = lab.radio.open_port
    monkeypatch.setattr(lab.radio, "open_port", lambda baud_rate: Misprinting(open_port(baud_rate)))
    lab.run_until_up(60.0)
    with contextlib.suppress(SessionLostError):  # without a scan the first datagram shows it
        lab.read_power()
    lab.run_until_up(60.0)
    assert lab.read_power() == WATTS


@pytest.mark.parametrize("model", ["BP35A1", "BP35C2"])
def test_a_dialect_that_was_refused_is_not_tried_again_because_no_meter_is_heard(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(model=model)
    open_port = lab.radio.open_port
    monkeypatch.setattr(lab.radio, "open_port", lambda baud_rate: Misprinting(open_port(baud_rate)))
    lab.module.faults.hearing = deaf_for(20)
    lab.run_until_up(3600.0)
    assert lab.read_power() == WATTS
    scans = [words[-1] for words in lab.typed if "SKSCAN" in words]
    repeated = [scan for scan, following in itertools.pairwise(scans) if scan == following]
    assert repeated == ["5"]  # the first, which was refused


@pytest.mark.parametrize("command", ["SKRESET", "SKINFO", "SKSETPWD", "SKSETRBID", "SKSREG", "SKSCAN", "SKJOIN"])
@pytest.mark.parametrize("code", ["ER04", "ER05", "ER06", "ER09", "ER10"])
def test_a_refusal_on_the_way_up_costs_a_pause_at_most(command: str, code: str) -> None:
    lab = Lab()
    lab.module.faults.refuse_next(code, command)
    lab.run_until_up(90.0)
    assert lab.read_power() == WATTS


@pytest.mark.parametrize("position", range(12))
def test_an_ok_lost_anywhere_on_the_way_up_costs_little(position: int) -> None:
    lab = Lab()
    writes = 0
    typed = lab.radio.typed
    assert typed is not None
    while len(lab.typed) <= position and writes < 100_000:
        lab.run(0.01)
        writes += 1
    lab.radio.wire.losses.append(b"OK")
    lab.run_until_up(180.0)
    assert lab.read_power() == WATTS


@pytest.mark.parametrize(("step_s", "mended_by"), [(0.4, "rejoin"), (0.8, "reset")])
def test_a_join_whose_ok_is_lost_is_one_where_event_25_comes_while_the_ok_is_awaited(
    step_s: float, mended_by: str
) -> None:
    """The OK is awaited for 3 s; six steps of 0.4 s end before that, six of 0.8 s after it."""
    timing = replace(REALISTIC, pana_step_s=step_s)
    twin = Lab(timing=timing).join()
    lose(twin)
    twin.run_until_up(60.0)
    [joins_at] = twin.typed_at("SKJOIN")
    lab = Lab(timing=timing).join()
    lab.later((joins_at + 0.001 - lab.now, lambda radio: radio.wire.losses.append(b"OK")))  # it takes 4 ms to an OK
    lose(lab)
    lab.run_until_up(60.0)
    assert lab.events[-1].detail == mended_by
    assert len(lab.typed_at("SKJOIN")) == (1 if mended_by == "rejoin" else 2)
    assert lab.read_power() == WATTS


def test_a_module_that_refuses_to_show_a_register_is_joined_all_the_same() -> None:
    lab = Lab().join()
    lab.module.faults.refuse_next("ER06", "SKSREG")
    lose(lab)
    lab.run_until_up(60.0)
    assert lab.typed == ["SKSREG S3", *JOIN]


@pytest.mark.parametrize("line", ["EVENT 25", "EVENT 22", "EVENT 24", "EINFO", "EVER"])
def test_a_line_lost_on_the_way_up_costs_a_minute_or_two(line: str) -> None:
    lab = Lab()
    lab.radio.wire.losses.append(line.encode())
    lab.run_until_up(180.0)
    assert lab.read_power() == WATTS


# --- scans


def test_scans_become_longer_until_the_meter_is_heard() -> None:
    lab = Lab()
    lab.module.faults.hearing = deaf_for(3)
    lab.run_until_up(180.0)
    assert [words for words in lab.typed if "SKSCAN" in words] == FULL_SCANS


def test_a_meter_that_no_scan_has_heard_is_listened_for_longer_and_longer() -> None:
    """SKSCAN takes a duration of up to 14; legnoh/smartmeter-exporter tries 4 to 9."""
    lab = Lab()
    lab.module.faults.hearing = deaf_for(20)
    lab.run_until_up(3600.0)
    scans = [int(words[-1], 16) for words in lab.typed if "SKSCAN" in words]
    assert scans == [5, 6, 7, 8, 5, 6, 7, 8, 9, 5, 6, 7, 8, 9, 10, 5, 6, 7, 8, 9, 10]


def test_a_description_after_the_end_of_the_scan_counts() -> None:
    lab = Lab(neighbours=())
    lab.module.faults.describe_late(1)
    lab.run_until_up(60.0)
    assert [words for words in lab.typed if "SKSCAN" in words] == FULL_SCANS[:1]


def test_a_description_that_comes_only_after_the_end_of_the_scan_is_enough() -> None:
    lab = Lab()
    lab.module.faults.hearing = deaf_for(1)
    description = [
        b"EPANDESC",
        b"  Channel:39",
        b"  Channel Page:09",
        b"  Pan ID:8CF5",
        b"  Addr:001C64000A0B8CF5",
        b"  LQI:A7",
        b"  Side:0",
        b"  PairID:CCDDEEFF",
    ]
    while not lab.typed_at("SKSCAN"):
        lab.run(0.01)
    scan_s = 28 * (0.0096 * 33 + 0.02)
    lab.later(*((scan_s + 0.3, lambda radio, line=line: radio.say(line)) for line in description))
    lab.run_until_up(30.0)
    assert [words for words in lab.typed if "SKSCAN" in words] == FULL_SCANS[:1]


def neighbour(pairing_id: str, lqi: int = 0xFF) -> Beacon:
    return Beacon(0x3A, 0x1111, "001C640003337777", lqi, pairing_id)


def test_a_louder_meter_of_a_neighbour_is_not_joined() -> None:
    lab = Lab(neighbours=(neighbour("12345678"),))
    lab.run_until_up(60.0)
    assert lab.session.peer is not None
    assert lab.session.peer.mac.hex().upper() == METER_MAC


def test_of_two_meters_with_our_pairing_id_the_other_one_is_joined_where_the_louder_one_refuses() -> None:
    """The pairing ID is the end of the Route-B ID only: eight characters that a neighbour's may share."""
    lab = Lab(neighbours=(neighbour("CCDDEEFF"),))
    lab.run_until_up(300.0)
    assert lab.read_power() == WATTS


def test_a_meter_that_has_left_its_channel_to_another_with_our_pairing_id_is_found() -> None:
    lab = Lab(neighbours=(Beacon(0x39, 0x1111, "001C640003337777", 0x20, "CCDDEEFF"),)).join()
    lab.simulated.options = replace(lab.simulated.options, channel=0x25, pan_id=0x4444)
    lab.module.emit_event(0x26, lab.clock.time_s)
    lab.run(1.0)
    lab.run_until_up(600.0)
    assert lab.read_power() == WATTS


def test_a_foreign_description_that_the_module_prints_anyway_is_not_joined() -> None:
    lab = Lab()
    while not lab.typed_at("SKSCAN"):
        lab.run(0.01)
    for line in (
        b"EPANDESC",
        b"  Channel:3A",
        b"  Pan ID:1111",
        b"  Addr:001C640003337777",
        b"  LQI:FF",
        b"  PairID:12345678",
    ):
        lab.radio.say(line)
    lab.run_until_up(60.0)
    assert lab.session.peer is not None
    assert lab.session.peer.pan_id == 0x8CF5


@pytest.mark.parametrize("channel", ["FF", "20", "3D"])
def test_a_description_of_a_channel_that_does_not_exist_is_passed_over(channel: str) -> None:
    lab = Lab()
    while not lab.typed_at("SKSCAN"):
        lab.run(0.01)
    for line in (
        "EPANDESC",
        f"  Channel:{channel}",
        "  Pan ID:1111",
        f"  Addr:{METER_MAC}",
        "  LQI:FF",
        "  PairID:CCDDEEFF",
    ):
        lab.radio.say(line.encode())
    lab.run_until_up(60.0)
    assert lab.session.peer is not None
    assert lab.session.peer.channel == 0x39


def test_a_description_without_its_pairid_line_is_a_last_resort() -> None:
    lab = Lab()
    lab.radio.wire.losses.append(b"  PairID")
    lab.run_until_up(60.0)
    assert lab.read_power() == WATTS


# --- EVENT 29 and 25, 32 and 33


def test_a_renewal_by_the_module_is_no_loss() -> None:
    lab = Lab().join()
    lab.module.emit_event(0x29, lab.radio.time_s)
    lab.run(60.0)
    assert lab.typed == []
    assert lab.kinds == ["expired", "renewed"]
    assert lab.events[1].duration_s == pytest.approx(1.65, abs=0.1)


def test_an_unsolicited_event_25_is_noted() -> None:
    lab = Lab(session_lifetime_s=3600).join()
    lab.run(3000.0)  # renewed at four fifths of the lifetime, without EVENT 29
    assert lab.kinds == ["renewed"]
    assert lab.session.up


def test_a_renewal_that_is_not_heard_of_ends_in_a_join_after_a_minute() -> None:
    lab = Lab().join()
    lab.radio.wire.losses.append(b"EVENT 25")
    lab.module.emit_event(0x29, lab.radio.time_s)
    lab.run(59.0)
    assert lab.typed == []
    assert not lab.session.up
    lab.run(2.0)
    assert lab.typed == ["SKSREG S3", *JOIN]
    lab.run_until_up(30.0)


def test_a_renewal_that_fails_is_joined_again() -> None:
    lab = Lab().join()
    lab.module.faults.fail_joins(1)
    lab.module.emit_event(0x29, lab.radio.time_s)
    lab.run(1.0)
    lab.run_until_up(60.0)
    assert lab.typed == ["SKSREG S3", *JOIN]


def test_over_the_limit_nothing_is_sent_until_event_33() -> None:
    lab = Lab(confirmed_notifications=True).join()
    lab.module.emit_event(0x32, lab.radio.time_s)
    lab.later((50.0, lambda radio: lab.module.announce(radio.time_s)))
    lab.run(100.0)
    assert not lab.session.up
    assert lab.typed == []
    lab.module.emit_event(0x33, lab.radio.time_s)
    lab.run(1.0)
    assert lab.kinds == ["limited", "unlimited"]
    assert lab.events[1].duration_s == pytest.approx(100.0, abs=0.1)
    assert lab.read_power() == WATTS
    assert lab.module.violations == []


def test_the_limit_belongs_to_the_module_that_said_it() -> None:
    """The stick is pulled while EVENT 32 holds, and put in again an hour later: it has forgotten, and so have we."""
    lab = Lab().join()
    lab.module.emit_event(0x32, lab.clock.time_s)
    lab.run(10.0)
    lab.radio.unplug(lab.now + 3600.0)
    lab.run(60.0)
    assert lab.kinds == ["limited", "unlimited", "port_lost"]
    assert "limit" not in lab.session.down_reason
    lab.run(3540.0)
    lab.run_until_up(60.0)
    assert lab.read_power() == WATTS


def test_a_register_that_says_the_limit_holds_is_believed_after_an_hour_too() -> None:
    lab = Lab().join()
    lab.module.emit_event(0x32, lab.clock.time_s)
    lab.run(4500.0)
    assert not lab.session.up
    assert lab.kinds == ["limited"]


def test_events_that_come_thousands_of_times_are_counted() -> None:
    lab = Lab().join()
    lab.module.emit_event(0x25, lab.clock.time_s, times=5000, every_s=0.012)
    lab.run(61.0)
    assert set(lab.kinds) == {"renewed"}
    assert len(lab.events) <= 5
    assert sum(event.times for event in lab.events) == 5000


def test_while_the_first_join_is_under_way_nothing_is_said_of_a_closed_port() -> None:
    lab = Lab()
    while not lab.typed_at("SKJOIN"):
        lab.run(0.5)
        assert "closed" not in lab.session.down_reason


def test_two_refusals_before_a_session_are_not_held_against_the_password(caplog: pytest.LogCaptureFixture) -> None:
    lab = Lab()
    lab.module.faults.fail_joins(2)
    lab.run_until_up(120.0)
    assert "password" not in caplog.text


def test_a_lost_event_33_is_found_out_by_register_sfb() -> None:
    lab = Lab().join()
    lab.radio.wire.losses.append(b"EVENT 33")
    lab.module.emit_event(0x32, lab.radio.time_s)
    lab.module.emit_event(0x33, lab.radio.time_s + 130.0)
    lab.run(200.0)
    assert not lab.session.up
    assert lab.typed == ["SKSREG SFB"]
    lab.run(60.0)
    assert lab.session.up


def test_a_session_that_ends_over_the_limit_is_joined_after_it() -> None:
    lab = Lab().join()
    lab.module.emit_event(0x32, lab.radio.time_s)
    lab.module.emit_event(0x26, lab.radio.time_s + 10.0)
    lab.module.emit_event(0x33, lab.radio.time_s + 500.0)
    lab.run(490.0)
    assert "SKJOIN" not in lab.typed
    lab.run_until_up(60.0)
    assert lab.read_power() == WATTS


def test_events_of_the_han_side_change_nothing() -> None:
    lab = Lab().join()
    for number in (0x24, 0x26, 0x29, 0x32):
        lab.radio.say(f"EVENT {number:02X} {METER_ADDRESS} 1".encode())
    lab.run(1.0)
    assert lab.session.up


@pytest.mark.parametrize("number", ["01", "02", "05", "1F", "20", "22", "C0", "40", "57", "99"])
def test_events_that_say_nothing_of_the_session_change_nothing(number: str) -> None:
    lab = Lab().join()
    lab.radio.say(b"EVENT C0" if number == "C0" else f"EVENT {number} {METER_ADDRESS} 0".encode())
    lab.run(1.0)
    assert lab.session.up
    assert lab.read_power() == WATTS


@pytest.mark.parametrize("number", [0x26, 0x27, 0x28])
def test_the_end_of_an_older_session_does_not_end_a_join(number: int) -> None:
    lab = Lab()
    while not lab.typed_at("SKJOIN"):
        lab.run(0.01)
    lab.event(number)(lab.radio)
    lab.run_until_up(10.0)
    assert lab.kinds == ["scan", "join"]


# --- EVENT 25 at odd times


def test_a_session_that_comes_back_during_a_pause_ends_the_recovery() -> None:
    lab = Lab().join()
    lab.module.faults.fail_joins(5)
    lose(lab)
    while lab.kinds.count("join_failed") < 5:
        lab.run(1.0)
    lab.run(2.0)
    assert lab.session.peer is not None
    lab.forget()
    lab.event(0x25)(lab.radio)
    lab.run(0.5)
    assert lab.session.up
    assert lab.typed == []


def test_a_session_with_nobody_knows_whom_does_not_end_the_recovery() -> None:
    lab = Lab()
    lab.module.faults.hearing = deaf_for(6)
    while lab.session.module is None:
        lab.run(1.0)
    for _ in range(20):
        lab.event(0x25)(lab.radio)
        lab.run(10.0)
        assert not lab.session.up
    lab.run_until_up(600.0)
    assert lab.read_power() == WATTS


def test_a_join_without_a_response_is_given_up_after_a_minute() -> None:
    lab = Lab().join()
    lab.radio.wire.losses.append(b"EVENT 25")
    lose(lab)
    lab.run(59.0)
    assert lab.kinds == ["lost"]
    lab.run(2.0)
    assert lab.kinds[:2] == ["lost", "join_failed"]
    assert lab.events[1].detail == "the meter did not respond within 60 s"
    lab.run_until_up(60.0)


def test_a_module_that_is_late_to_take_the_pan_is_no_meter_that_refuses(caplog: pytest.LogCaptureFixture) -> None:
    lab = Lab()
    for _ in range(30):
        lab.module.faults.slow_next(4.0, "SKSREG")
    lab.run(300.0)
    assert lab.typed_at("SKJOIN") == []
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == []
    failed = [record.message for record in caplog.records if "joining failed" in record.message]
    assert failed
    assert all("no response to SKSREG within 3.0 s" in message for message in failed)


def test_a_module_that_is_late_to_take_the_pan_has_not_lost_its_port_again() -> None:
    lab = Lab().join()
    lab.radio.unplug(lab.now + 20.0)
    lab.run(21.0)
    lab.forget()
    for _ in range(2):  # the echo, and the channel
        lab.module.faults.slow_next(4.0, "SKSREG")
    lab.run(120.0)
    assert lab.session.up
    assert "port_lost" not in lab.kinds


# --- a fault of our own


class UnreadableOnce(MemoryCache):
    """Fails the first time a PAN is looked for."""

    is_faulty = True

    def load(self, key: str) -> PanDescription | None:
        if self.is_faulty:
            self.is_faulty = False
            raise RuntimeError("a fault, once")
        return super().load(key)


class FaultyOnce(MemoryCache):
    """Fails the first time a PAN is to be kept."""

    is_faulty = True

    def save(self, key: str, pan: PanDescription) -> None:
        if self.is_faulty:
            self.is_faulty = False
            raise RuntimeError("a fault, once")
        super().save(key, pan)


def test_a_fault_while_the_module_is_opened_costs_that_attempt() -> None:
    lab = Lab()

    def faulty(_: int) -> Port:
        raise RuntimeError("a fault, once")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lab.radio, "open_port", faulty)
        with pytest.raises(RuntimeError):
            lab.session.run_until_up(lab.now + 60.0)
    lab.run_until_up(60.0)
    assert lab.read_power() == WATTS


def openings(error: Exception) -> int:
    """Return how often the port is opened in an hour in which *error* comes of it; each fault costs a second."""
    lab = Lab()

    def faulty(_: int) -> Port:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lab.radio, "open_port", faulty)
        while lab.now < 3600.0:
            with contextlib.suppress(RuntimeError):
                lab.session.run(3600.0)
            lab.clock.sleep(1.0)
    return len(lab.baud_rates)


def test_a_fault_that_stays_is_met_no_more_often_than_a_device_that_is_missing() -> None:
    assert openings(RuntimeError("a fault")) <= openings(PortLostError("missing"))


def test_a_fault_before_any_pan_is_known_leads_to_a_scan() -> None:
    lab = Lab(cache=UnreadableOnce())
    with pytest.raises(RuntimeError):
        lab.session.run_until_up(lab.now + 60.0)
    assert lab.typed == BRING_UP
    lab.forget()
    lab.run_until_up(60.0)
    assert lab.typed == ["SKSREG S3", "SKSREG S3", FULL_SCANS[0], *JOIN]
    assert lab.read_power() == WATTS


def test_a_fault_after_a_join_costs_nothing_of_the_session_and_the_next_loss_is_recovered() -> None:
    lab = Lab(cache=FaultyOnce())
    with pytest.raises(RuntimeError):
        lab.session.run_until_up(lab.now + 60.0)
    lab.run(60.0)
    assert lab.read_power() == WATTS
    assert len(lab.typed_at("SKJOIN")) == 1
    lose(lab)
    lab.run_until_up(60.0)
    assert lab.read_power() == WATTS


# --- what is logged


def test_each_reason_is_logged_once_until_the_meter_has_responded(caplog: pytest.LogCaptureFixture) -> None:
    lab = Lab().join()
    lab.module.faults.fail_joins(1000)
    lose(lab)
    caplog.clear()
    lab.run(3600.0)
    warnings = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == len(set(warnings))
    assert len(warnings) <= 6


def test_reasons_without_end_are_not_all_remembered_and_each_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A port that fails in another way each time; of a hundred ways each is remembered, so that it is logged once."""
    clock, ways = LabClock(), itertools.count()

    def fail(_baud_rate: int) -> Port:
        raise PortLostError(f"way {min(next(ways), 150) % 150}")

    session = Session(fail, Credentials(TEST_ROUTE_B_ID, TEST_PASSWORD), monotonic=clock.monotonic, sleep=clock.sleep)
    session.run(86_400.0)
    told = [record.message.rpartition(": ")[2] for record in caplog.records if record.levelno >= logging.WARNING]
    assert [told.count(f"way {number}") for number in (1, 75, 149)] == [1, 1, 1]
    assert told.count("way 0") == 2  # forgotten meanwhile, and then all that came of it was counted


def test_a_wrong_password_is_named_once_and_never_ends_the_recovery(caplog: pytest.LogCaptureFixture) -> None:
    lab = Lab(credentials=Credentials(TEST_ROUTE_B_ID, "BA9876543210"))
    lab.run(3600.0)
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == ["the meter was heard but opens no session: check the Route-B ID and the password"]
    assert str(lab.session.failure) == "PANA authentication failed (EVENT 24)"
    assert len(lab.typed_at("SKJOIN")) > 20


def test_a_meter_that_is_silent_for_hours_is_joined_within_minutes_of_its_return() -> None:
    lab = Lab().join()
    lab.module.faults.silent_until = lab.radio.time_s + 6 * 3600.0
    with pytest.raises(MeterSilentError):
        lab.read_power(100.0)
    lab.run(6 * 3600.0 - (lab.now % 3600))
    assert lab.run_until_up(600.0) < 600.0
    assert lab.read_power() == WATTS


# --- slow modules, other rates, other firmware


def test_a_module_that_responds_to_every_command_as_late_as_it_may_is_joined_and_read() -> None:
    lab = Lab(timing=replace(REALISTIC, pause_s=2.85))  # from power-up on; a command is given up after 3 s
    assert lab.run_until_up(180.0) < 120.0
    assert lab.read_power() == WATTS
    assert lab.baud_rates == [BAUD_RATES[0]]


class SilentAt:
    """Opens the lab's port at one rate only; at all others nothing is heard."""

    def __init__(self, lab: Lab, rate: int) -> None:
        self._lab = lab
        self._rate = rate
        self.rates: list[int] = []

    def __call__(self, baud_rate: int) -> Port:
        self.rates.append(baud_rate)
        if baud_rate == self._rate:
            return self._lab.radio.open_port(baud_rate)
        return QuietPort(self._lab)


class QuietPort:
    """Takes everything and says nothing."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def read(self, timeout_s: float) -> bytes:
        self._lab.radio.sleep(timeout_s)
        return b""

    def write(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass


def session_over(lab: Lab, opener: SilentAt) -> Session:
    return Session(
        opener,
        Credentials(TEST_ROUTE_B_ID, TEST_PASSWORD),
        monotonic=lab.clock.monotonic,
        sleep=lab.radio.sleep,
    )


@pytest.mark.parametrize("rate", BAUD_RATES)
def test_a_module_at_any_rate_is_found(rate: int) -> None:
    lab = Lab()
    opener = SilentAt(lab, rate)
    session = session_over(lab, opener)
    assert session.run_until_up(120.0)
    assert opener.rates == list(BAUD_RATES[: BAUD_RATES.index(rate) + 1])


def test_a_device_that_says_nothing_at_any_rate_is_tried_again_and_again() -> None:
    lab = Lab()
    opener = SilentAt(lab, 0)
    session = session_over(lab, opener)
    session.run(600.0)
    assert opener.rates[:8] == [*BAUD_RATES, BAUD_RATES[0]]
    assert "see that [routeB] device names the Wi-SUN module" in session.failure.remedy
    assert lab.now < 610.0
