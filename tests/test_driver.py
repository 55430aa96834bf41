"""A command returns its own response within its time, and nothing else; what comes in between is kept in order."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable

import pytest

from skstack import CommandFailedError, Dialect, PortLostError, SkStackTimeoutError, StoppedError, commands
from skstack.driver import SkStack
from skstack.events import Event, EventCode, ModuleInfo, RegisterValue, StackVersion, StatusOk, UdpReceived
from tests.lab.clock import LabClock
from tests.lab.port import Expect, FakePort, Say, Silence, Step, Unplug, Wake

METER = "FE80:0000:0000:0000:021C:6400:0A0B:8CF5"
SKVER = Expect(b"SKVER\r\n")


def driver(*script: Step) -> tuple[SkStack, FakePort, LabClock]:
    clock = LabClock()
    port = FakePort(clock, list(script))
    return SkStack(port, monotonic=clock.monotonic), port, clock


# --- one command, one response


def test_the_response_is_the_line_that_the_command_declares() -> None:
    stack, port, _ = driver(SKVER, Say(b"EVER 1.2.10\r\nOK\r\n"))
    assert stack.execute(commands.STACK_VERSION) == StackVersion("1.2.10")
    port.assert_done()


def test_an_ok_with_a_value_is_part_of_the_response() -> None:
    stack, port, _ = driver(Expect(b"ROPT\r"), Say(b"OK 01\r"))  # product commands end with CR alone
    assert stack.execute(commands.PAYLOAD_MODE) == StatusOk("01")
    port.assert_done()


def test_a_reply_in_pieces_with_a_long_gap_is_one_reply() -> None:
    stack, port, clock = driver(SKVER, Say(b"EVER 1.2"), Silence(1.3), Say(b".10\r\nO"), Silence(0.4), Say(b"K\r\n"))
    assert stack.execute(commands.STACK_VERSION) == StackVersion("1.2.10")
    assert clock.monotonic() == pytest.approx(1.7)
    port.assert_done()


def test_a_refusal_names_the_command_and_the_code() -> None:
    stack, _, _ = driver(Expect(b"SKTERM\r\n"), Say(b"FAIL ER10\r\n"))
    with pytest.raises(CommandFailedError, match="SKTERM failed with FAIL ER10") as caught:
        stack.execute(commands.TERMINATE)
    assert caught.value.code == "ER10"


@pytest.mark.parametrize("code", ["ER04", "ER05", "ER06", "ER10"])
def test_every_code_of_a_refusal_is_reported(code: str) -> None:
    stack, _, _ = driver(SKVER, Say(f"FAIL {code}\r\n".encode()))
    with pytest.raises(CommandFailedError) as caught:
        stack.execute(commands.STACK_VERSION)
    assert caught.value.code == code


def test_a_command_that_came_in_garbled_is_repeated_at_once() -> None:
    stack, port, clock = driver(
        SKVER, Say(b"FAIL ER09\r\n"), Silence(0.05), SKVER, Say(b"FAIL ER09\r\n"), Silence(0.1), SKVER,
        Say(b"EVER 1.2.10\r\nOK\r\n"),
    )  # fmt: skip
    assert stack.execute(commands.STACK_VERSION) == StackVersion("1.2.10")
    assert clock.monotonic() < 0.5
    port.assert_done()


def test_a_line_that_garbles_every_command_ends_with_the_timeout() -> None:
    clock = LabClock()
    stack = SkStack(BabblingPort(clock, b"FAIL ER09\r\n"), monotonic=clock.monotonic)
    with pytest.raises(CommandFailedError, match="ER09"):
        stack.execute(commands.STACK_VERSION, timeout_s=3.0)
    assert clock.monotonic() < 4.0


def test_the_late_ok_of_another_command_is_no_response_to_one_that_reads_a_value() -> None:
    """SKTERM times out; its OK comes while a register is read."""
    stack, port, _ = driver(
        Expect(b"SKTERM\r\n"), Silence(3.0), Expect(b"SKSREG S3\r\n"), Say(b"OK\r\n"), Say(b"ESREG 8CF5\r\nOK\r\n")
    )
    with pytest.raises(SkStackTimeoutError):
        stack.execute(commands.TERMINATE)
    assert stack.execute(commands.read_register("S3")) == RegisterValue("8CF5")
    port.assert_done()


def test_a_value_that_another_command_requested_is_no_response() -> None:
    stack, _, _ = driver(SKVER, Say(b"ESREG 8CF5\r\nOK\r\n"))
    with pytest.raises(SkStackTimeoutError):
        stack.execute(commands.STACK_VERSION)


def test_a_refusal_does_not_show_the_password() -> None:
    stack, _, _ = driver(Expect(b"SKSETPWD C 0123456789AB\r\n"), Say(b"FAIL ER06\r\n"))
    with pytest.raises(CommandFailedError) as caught:
        stack.execute(commands.set_password("0123456789AB"))
    assert "0123456789AB" not in str(caught.value)


# --- lines that respond to no command


def test_what_comes_between_a_command_and_its_ok_is_kept_in_order() -> None:
    stack, port, _ = driver(
        SKVER,
        Say(f"EVENT 21 {METER} 00\r\nEVER 1.2.10\r\nEVENT 29 {METER}\r\nOK\r\nEVENT 25 {METER}\r\n".encode()),
    )
    assert stack.execute(commands.STACK_VERSION) == StackVersion("1.2.10")
    seen = [stack.receive(0.0) for _ in range(3)]
    assert [line.code for line in seen if isinstance(line, Event)] == [
        EventCode.UDP_SENT,
        EventCode.PANA_EXPIRED,
        EventCode.PANA_CONNECTED,
    ]
    assert stack.receive(0.0) is None
    port.assert_done()


def test_what_came_before_a_command_never_answers_it() -> None:
    stack, port, _ = driver(Say(b"OK\r\nEVER 9.9.9\r\nOK\r\n"), SKVER, Say(b"EVER 1.2.10\r\nOK\r\n"))
    assert stack.execute(commands.STACK_VERSION) == StackVersion("1.2.10")
    port.assert_done()


def test_lines_from_before_a_command_come_before_those_from_during_it() -> None:
    stack, _, _ = driver(
        Say(f"EVENT 29 {METER}\r\n".encode()), SKVER, Say(f"EVENT 25 {METER}\r\nEVER 1.2.10\r\nOK\r\n".encode())
    )
    stack.execute(commands.STACK_VERSION)
    codes = [line.code for line in iter(lambda: stack.receive(0.0), None) if isinstance(line, Event)]
    assert codes == [EventCode.PANA_EXPIRED, EventCode.PANA_CONNECTED]


def test_a_datagram_within_a_response_is_left_for_receive() -> None:
    payload = b"\x10\x81\r\n\x00"  # binary, with a line end in it
    datagram = f"ERXUDP {METER} {METER} 0E1A 0E1A 001C64000A0B8CF5 1 0 0005 ".encode() + payload + b"\r\n"
    stack, _, _ = driver(Expect(b"SKSREG SFB\r\n"), Say(datagram + b"ESREG 0\r\nOK\r\n"))
    assert stack.execute(commands.read_register("SFB")) == RegisterValue("0")
    received = stack.receive(0.0)
    assert isinstance(received, UdpReceived)
    assert received.payload == payload


# --- every wait ends


def test_silence_ends_with_the_timeout() -> None:
    stack, _, clock = driver(SKVER)
    with pytest.raises(SkStackTimeoutError, match=r"no response to SKVER within 3\.0 s"):
        stack.execute(commands.STACK_VERSION, timeout_s=3.0)
    assert clock.monotonic() == 3.0


class BabblingPort:
    """Never stops talking: the same chunk again and again, one each 10 ms."""

    def __init__(self, clock: LabClock, chunk: bytes) -> None:
        self._clock = clock
        self._chunk = chunk

    def read(self, timeout_s: float) -> bytes:
        self._clock.sleep(0.01)
        return self._chunk

    def write(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.parametrize("chunk", [f"EVENT 21 {METER} 00\r\n".encode(), b"\xff\x00garbage", b"ERXUDP ", b"\r\n"])
def test_chatter_does_not_extend_the_deadline(chunk: bytes) -> None:
    clock = LabClock()
    stack = SkStack(BabblingPort(clock, chunk), monotonic=clock.monotonic)
    with pytest.raises(SkStackTimeoutError):
        stack.execute(commands.STACK_VERSION, timeout_s=3.0)
    assert clock.monotonic() < 4.0  # and what was collected before the command took its part


@pytest.mark.parametrize("chunk", [f"EVENT 21 {METER} 00\r\n".encode(), b"\xff\x00garbage"])
def test_a_babbling_device_cannot_hold_any_wait(chunk: bytes) -> None:
    clock = LabClock()
    stack = SkStack(BabblingPort(clock, chunk), monotonic=clock.monotonic)
    stack.synchronise(limit_s=2.0)
    assert clock.monotonic() < 2.1
    stack.collect()
    stack.exchange_raw(b"?", timeout_s=1.0)
    stack.receive(1.0)
    assert clock.monotonic() < 6.0


def test_a_wait_that_a_signal_ends_is_no_timeout() -> None:
    stack, port, clock = driver(SKVER, Silence(0.5), Wake(), Wake(), Silence(0.5), Say(b"EVER 1.2.10\r\nOK\r\n"))
    assert stack.execute(commands.STACK_VERSION) == StackVersion("1.2.10")
    assert clock.monotonic() == 1.0
    port.assert_done()


def test_receive_waits_no_longer_than_its_timeout() -> None:
    stack, _, clock = driver(Silence(10.0), Say(b"OK\r\n"))
    assert stack.receive(4.0) is None
    assert clock.monotonic() == 4.0


def test_receive_returns_at_once_when_woken() -> None:
    stack, _, clock = driver(Silence(1.0), Wake())
    assert stack.receive(4.0) is None
    assert clock.monotonic() == 1.0


def test_a_response_swallowed_by_a_payload_that_declared_too_much_is_found_in_the_end() -> None:
    header = f"ERXUDP {METER} {METER} 0E1A 0E1A 001C64000A0B8CF5 1 0 0400 \x10\x81".encode("latin-1")
    stack, _, clock = driver(SKVER, Say(header + b"\r\nEVER 1.2"), Silence(0.1), Say(b".10\rOK\r"))
    assert stack.execute(commands.STACK_VERSION, timeout_s=3.0) == StackVersion("1.2.10")
    assert clock.monotonic() <= 3.0


# --- echoes and broken lines


def test_the_echo_of_a_command_is_no_response_and_is_counted() -> None:
    stack, _, _ = driver(SKVER, Say(b"SKVER\r\nEVER 1.2.10\r\nOK\r\n"))
    assert stack.execute(commands.STACK_VERSION) == StackVersion("1.2.10")
    assert stack.echoes == 1


def test_the_echo_of_a_password_reaches_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    stack, _, _ = driver(Expect(b"SKSETPWD C 0123456789AB\r\n"), Say(b"SKSETPWD C 0123456789AB\r\nOK\r\n"))
    stack.execute(commands.set_password("0123456789AB"))
    assert "SKSETPWD" in caplog.text
    assert "0123456789AB" not in caplog.text


def test_the_log_has_each_line_as_it_came_but_for_what_may_be_secret(caplog: pytest.LogCaptureFixture) -> None:
    """PANA (port 716) carries the Route-B ID in clear, PairID is the end of it, and a torn echo may begin with it."""
    caplog.set_level(logging.DEBUG)
    shown = [
        f"EVENT 21 {METER} 0 00",
        "EVER 1.2.10",
        "  Channel:39",
        f"ERXUDP {METER} {METER} 0E1A 0E1A 001C64000A0B8CF5 A7 1 0 000E 1081000102880105FF017201E700",
    ]
    masked = [
        f"ERXUDP {METER} {METER} 02CC 02CC 001C64000A0B8CF5 A7 0 0 0004 53454352",
        "  PairID:SECR0001",
        "SECR0002",
        "ESREG 0053454352",
    ]
    stack, _, _ = driver(SKVER, Say("".join(f"{line}\r\n" for line in [*masked, *shown, "OK"]).encode()))
    stack.execute(commands.STACK_VERSION)
    said = [record.getMessage() for record in caplog.records]
    assert [line for line in said if line.removeprefix("< ") in shown] == [f"< {line}" for line in shown]
    assert "< OK" in said
    assert not re.search("SECR|53454352", caplog.text)


def test_a_binary_payload_is_logged_in_hex(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    header = f"ERXUDP {METER} {METER} 0E1A 0E1A 001C64000A0B8CF5 1 0004 "
    stack, _, _ = driver(SKVER, Say(header.encode() + b"\x10\x81\r\n\r\nEVER 1.2.10\r\nOK\r\n"))
    stack.execute(commands.STACK_VERSION)
    assert f"< {header}10810D0A" in [record.getMessage() for record in caplog.records]


def test_of_broken_lines_the_first_one_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    stack, _, _ = driver(SKVER, Say(b"EVENT XX\r\nEVENT \xff\xff\r\nEVER 1.2.10\r\nOK\r\n"))
    stack.execute(commands.STACK_VERSION)
    assert [record.levelname for record in caplog.records if "broken line" in record.message] == ["WARNING", "DEBUG"]


# --- waking a module up


def test_synchronise_ends_half_a_command_and_drops_what_is_said() -> None:
    stack, port, clock = driver(
        Expect(b"\r\n"),
        Say(b"FAIL ER04\r\n"),
        Silence(0.1),
        Say(b"EVENT 2"),
        SKVER,
        Say(b"EVER 1.2.10\r\nOK\r\n"),
    )
    stack.synchronise()
    assert clock.monotonic() == pytest.approx(0.3)  # 0.2 s of silence after the last of it
    assert stack.execute(commands.STACK_VERSION) == StackVersion("1.2.10")
    port.assert_done()


def test_as_many_bytes_are_filled_in_as_any_payload_can_want() -> None:
    stack, port, _ = driver(Expect(b"\r\n" * 616))  # 1232 bytes; command reference 4.7
    stack.fill_data_entry()
    port.assert_done()


def test_a_raw_request_gets_what_comes_before_it_is_quiet() -> None:
    stack, _, _ = driver(Expect(b"\xd0"), Silence(0.5), Say(b"\xd0\xf9"), Silence(0.1), Say(b"\xee"), Silence(9.0))
    assert stack.exchange_raw(b"\xd0", timeout_s=1.0) == b"\xd0\xf9\xee"


# --- the stop


@pytest.mark.parametrize("chunk", [b"", b"x", b"EVENT 21 FE80::1 00\r\n"], ids=["deaf", "dripping", "flooding"])
@pytest.mark.parametrize("number", range(4))
def test_every_wait_ends_at_once_when_a_stop_is_requested(chunk: bytes, number: int) -> None:
    clock = LabClock()
    stack = SkStack(BabblingPort(clock, chunk), monotonic=clock.monotonic, should_stop=lambda: clock.monotonic() >= 0.5)
    call = (
        lambda: stack.execute(commands.STACK_VERSION, timeout_s=60.0),
        lambda: stack.drain(60.0, limit_s=60.0) if chunk else stack.execute(commands.RESET),
        lambda: stack.exchange_raw(b"?", timeout_s=60.0) if chunk else stack.execute(commands.RESET),
        lambda: [stack.receive(0.01) for _ in range(10_000)],
    )[number]
    with pytest.raises(StoppedError):
        call()
    assert clock.monotonic() < 1.5


def test_a_stop_that_was_requested_before_begins_no_wait() -> None:
    stack, _, clock = driver()
    stopped = SkStack(FakePort(clock, []), monotonic=clock.monotonic, should_stop=lambda: True)
    with pytest.raises(StoppedError):
        stopped.receive(60.0)
    assert clock.monotonic() == 0.0
    stack.close()


def test_no_command_is_written_once_a_stop_was_requested() -> None:
    clock = LabClock()
    port = FakePort(clock, [])  # expects nothing
    with pytest.raises(StoppedError):
        SkStack(port, monotonic=clock.monotonic, should_stop=lambda: True).execute(commands.STACK_VERSION)
    assert clock.monotonic() == 0.0


# --- the port


_CALLS: list[Callable[[SkStack], object]] = [
    lambda stack: stack.execute(commands.STACK_VERSION),
    lambda stack: stack.receive(1.0),
    lambda stack: stack.collect(),
    lambda stack: stack.synchronise(),
    lambda stack: stack.fill_data_entry(),
    lambda stack: stack.exchange_raw(b"?", timeout_s=1.0),
]


@pytest.mark.parametrize("call", _CALLS)
def test_a_port_that_is_gone_is_reported_by_every_call(call: Callable[[SkStack], object]) -> None:
    stack, _, _ = driver(Unplug())
    with pytest.raises(PortLostError):
        call(stack)


def test_close_closes_the_port() -> None:
    stack, port, _ = driver()
    stack.close()
    assert port.is_closed


@pytest.mark.parametrize("cuts", list(itertools.combinations(range(1, 60, 7), 2)))
def test_the_response_does_not_depend_on_how_it_was_cut(cuts: tuple[int, int]) -> None:
    whole = b"EINFO FE80:0000:0000:0000:021D:1290:1234:5678 001D129012345678 21 8888 FFFE\r\nOK\r\n"
    pieces = [whole[a:b] for a, b in itertools.pairwise((0, *cuts, len(whole)))]
    stack, _, _ = driver(Expect(b"SKINFO\r\n"), *(Say(piece) for piece in pieces))
    info = stack.execute(commands.MODULE_INFO)
    assert isinstance(info, ModuleInfo)
    assert (info.channel, info.pan_id, info.dialect) == (0x21, 0x8888, Dialect.SINGLE)
