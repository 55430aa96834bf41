"""A module that responds is ready in seconds, whatever its firmware; one that does not is left, and named."""

from __future__ import annotations

import logging

import pytest

from skstack import (
    BAUD_RATES,
    FACTORY_BAUD_RATE,
    CommandFailedError,
    Credentials,
    Dialect,
    ModuleUnsupportedError,
    PortLostError,
    SkStackTimeoutError,
)
from skstack.driver import Module, SkStack
from skstack.module import open_at, prints_binary, set_up, wake
from tests.lab.clock import LabClock
from tests.lab.port import Expect, FakePort, Say, Silence, Step, Unplug

CREDENTIALS = Credentials("00112233445566778899AABBCCDDEEFF", "0123456789AB")
QUIET = Silence(0.2)
OK = Say(b"OK\r\n")
SKVER = Expect(b"SKVER\r\n")
EVER = Say(b"EVER 1.2.10\r\nOK\r\n")
EINFO_SINGLE = Say(b"EINFO FE80:0000:0000:0000:021D:1290:1234:5678 001D129012345678 21 FFFF FFFE\r\nOK\r\n")
EINFO_DUAL = Say(b"EINFO FE80:0000:0000:0000:021D:1290:1234:5678 001D129012345678 21 FFFF 0\r\nOK\r\n")
AWAKE: list[Step] = [Expect(b"\r\n"), QUIET, SKVER, EVER]
SET_PASSWORD = Expect(b"SKSETPWD C 0123456789AB\r\n")
SET_ID = Expect(b"SKSETRBID 00112233445566778899AABBCCDDEEFF\r\n")


def set_up_script(info: Say) -> list[Step]:
    """Return the conversation from SKRESET to the credentials."""
    reset: list[Step] = [Expect(b"SKRESET\r\n"), Silence(0.6), Say(b"SKRESET\r\nOK\r\n")]
    echo_off: list[Step] = [Expect(b"SKSREG SFE 0\r\n"), Say(b"SKSREG SFE 0\r\nOK\r\n")]
    probes: list[Step] = [SKVER, EVER, Expect(b"SKINFO\r\n"), info]
    return [*reset, *echo_off, *probes, SET_PASSWORD, OK, SET_ID, OK]


class Opener:
    """Opens scripted ports one after the other."""

    def __init__(self, *scripts: list[Step]) -> None:
        self.clock = LabClock()
        self._scripts = list(scripts)
        self.ports: list[FakePort] = []
        self.rates: list[int] = []

    def __call__(self, baud_rate: int) -> FakePort:
        self.rates.append(baud_rate)
        self.ports.append(FakePort(self.clock, self._scripts.pop(0)))
        return self.ports[-1]

    def stack(self, baud_rate: int) -> SkStack:
        return SkStack(self(baud_rate), monotonic=self.clock.monotonic)


# --- the whole conversation


def test_a_single_hop_module_is_set_up() -> None:
    opener = Opener([*AWAKE, *set_up_script(EINFO_SINGLE)])
    module = open_at(FACTORY_BAUD_RATE, opener.stack, CREDENTIALS)
    assert module is not None
    assert (module.dialect, module.firmware, module.baud_rate) == (Dialect.SINGLE, "1.2.10", 115_200)
    assert module.mac == bytes.fromhex("001D129012345678")
    opener.ports[0].assert_done()
    assert not opener.ports[0].is_closed


def test_a_dual_stack_module_is_set_up() -> None:
    opener = Opener([*AWAKE, *set_up_script(EINFO_DUAL)])
    module = open_at(FACTORY_BAUD_RATE, opener.stack, CREDENTIALS)
    assert module is not None
    assert module.dialect is Dialect.DUAL
    opener.ports[0].assert_done()


def test_a_module_that_does_not_give_its_dialect_is_assumed_to_be_dual_stack(caplog: pytest.LogCaptureFixture) -> None:
    strange = Say(b"EINFO FE80:0000:0000:0000:021D:1290:1234:5678 001D129012345678 21 FFFF 7\r\nOK\r\n")
    opener = Opener([*AWAKE, *set_up_script(strange)])
    module = open_at(FACTORY_BAUD_RATE, opener.stack, CREDENTIALS)
    assert module is not None
    assert module.dialect is Dialect.DUAL
    assert "does not give its dialect" in caplog.text


def test_a_healthy_module_is_ready_in_well_under_two_seconds() -> None:
    opener = Opener([*AWAKE, *set_up_script(EINFO_SINGLE)])
    open_at(FACTORY_BAUD_RATE, opener.stack, CREDENTIALS)
    assert opener.clock.monotonic() == pytest.approx(0.8)  # 0.2 s of quiet and 0.6 s of SKRESET


# --- waking up


def woken(*script: Step) -> tuple[bool, FakePort, LabClock]:
    clock = LabClock()
    port = FakePort(clock, list(script))
    return wake(SkStack(port, monotonic=clock.monotonic)), port, clock


def test_a_first_skver_that_fails_is_sent_again() -> None:
    awake, port, _ = woken(Expect(b"\r\n"), QUIET, SKVER, Say(b"FAIL ER04\r\n"), SKVER, EVER)  # seen after power-up
    assert awake
    port.assert_done()


def test_a_module_that_only_ever_refuses_is_awake() -> None:
    awake, port, _ = woken(Expect(b"\r\n"), QUIET, SKVER, Say(b"FAIL ER04\r\n"), SKVER, Say(b"FAIL ER04\r\n"))
    assert awake
    port.assert_done()


def test_a_module_that_waits_for_a_payload_gets_as_much_as_it_can_want() -> None:
    awake, port, _ = woken(
        Expect(b"\r\n"),
        QUIET,
        SKVER,
        Silence(3.0),
        Expect(b"\r\n" * 616),
        Expect(b"\r\n"),
        Say(b"OK\r\nFAIL ER04\r\n"),
        QUIET,
        SKVER,
        EVER,
    )
    assert awake
    port.assert_done()


def test_a_silent_module_is_given_up_after_four_and_a_half_seconds() -> None:
    awake, port, clock = woken(
        Expect(b"\r\n"), QUIET, SKVER, Silence(3.0), Expect(b"\r\n" * 616), Expect(b"\r\n"), QUIET, SKVER
    )
    assert not awake
    assert clock.monotonic() == pytest.approx(4.4)
    port.assert_done()


# --- a fault of our own


def test_a_fault_leaves_the_port_closed_for_the_next_attempt() -> None:
    to_info = set_up_script(EINFO_SINGLE)[:-4]
    opener = Opener([*AWAKE, *to_info])
    with pytest.raises(ValueError, match="the password must be"):
        open_at(FACTORY_BAUD_RATE, opener.stack, Credentials(CREDENTIALS.route_b_id, "no spaces"))
    assert opener.ports[0].is_closed
    opener.ports[0].assert_done()


# --- what does not respond as it should

SILENT: list[Step] = [
    Expect(b"\r\n"),
    QUIET,
    SKVER,
    Silence(3.0),
    Expect(b"\r\n" * 616),
    Expect(b"\r\n"),
    QUIET,
    SKVER,
    Silence(1.0),
]
# "Get version", ROHM BP35Cx-J11 UART interface: code D0EA83FC, command 006B, length 4, sums of header and data.
J11_REQUEST = bytes.fromhex("D0EA83FC 006B 0004 03A8 0000".replace(" ", ""))


def test_a_device_that_is_silent_at_a_rate_is_closed() -> None:
    opener = Opener(SILENT)
    assert open_at(9_600, opener.stack, CREDENTIALS) is None
    assert opener.ports[0].is_closed
    opener.ports[0].assert_done()


def test_a_silent_device_is_probed_in_the_other_protocol_too_at_the_factory_rate() -> None:
    opener = Opener([*SILENT, Expect(J11_REQUEST), Silence(1.2)])
    assert open_at(FACTORY_BAUD_RATE, opener.stack, CREDENTIALS) is None
    assert opener.ports[0].is_closed


def test_a_module_with_j11_firmware_is_named() -> None:
    response = bytes.fromhex("D0F9EE5D206B00140452")
    opener = Opener([*SILENT, Expect(J11_REQUEST), Silence(0.05), Say(response)])
    with pytest.raises(ModuleUnsupportedError, match="J11"):
        open_at(FACTORY_BAUD_RATE, opener.stack, CREDENTIALS)
    assert opener.ports[0].is_closed


def test_a_module_that_stops_responding_during_the_setup_is_closed() -> None:
    opener = Opener([*AWAKE, Expect(b"SKRESET\r\n")])
    with pytest.raises(SkStackTimeoutError, match="SKRESET"):
        open_at(FACTORY_BAUD_RATE, opener.stack, CREDENTIALS)
    assert opener.ports[0].is_closed


def test_a_module_that_refuses_the_setup_is_closed() -> None:
    opener = Opener([*AWAKE, Expect(b"SKRESET\r\n"), Say(b"FAIL ER10\r\n")])
    with pytest.raises(CommandFailedError):
        open_at(FACTORY_BAUD_RATE, opener.stack, CREDENTIALS)
    assert opener.ports[0].is_closed


def test_a_port_that_goes_during_the_setup_is_closed() -> None:
    opener = Opener([*AWAKE, Expect(b"SKRESET\r\n"), Silence(0.3), Unplug()])
    with pytest.raises(PortLostError):
        open_at(FACTORY_BAUD_RATE, opener.stack, CREDENTIALS)
    assert opener.ports[0].is_closed


def test_a_module_without_a_readable_einfo_is_not_guessed_about() -> None:
    clock = LabClock()
    script = set_up_script(Say(b"EINFO FE80 \xff\r\nOK\r\n"))[:9]
    with pytest.raises(SkStackTimeoutError, match="SKINFO"):
        set_up(SkStack(FakePort(clock, script), monotonic=clock.monotonic), CREDENTIALS)


class BabblingPort:
    """Says the same for ever, whatever is written."""

    def __init__(self, clock: LabClock, chunk: bytes) -> None:
        self._clock = clock
        self._chunk = chunk
        self.is_closed = False

    def read(self, timeout_s: float) -> bytes:
        self._clock.sleep(0.01)
        return self._chunk

    def write(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("chunk", [b"\xff\x9f\x80", b"temperature 21.5\r\n", b"FAIL ER04\r\n", b"OK\r\n"])
def test_a_device_that_babbles_costs_a_few_seconds(chunk: bytes) -> None:
    clock = LabClock()
    port = BabblingPort(clock, chunk)
    try:
        stack = SkStack(port, monotonic=clock.monotonic)
        assert open_at(FACTORY_BAUD_RATE, lambda _: stack, CREDENTIALS) is None
    except CommandFailedError:
        assert chunk.startswith(b"FAIL")  # it does respond, if never as a module would
    assert port.is_closed
    assert clock.monotonic() < 20.0


# --- credentials


def test_credentials_are_never_shown() -> None:
    shown = f"{CREDENTIALS!r} {CREDENTIALS}"
    assert CREDENTIALS.route_b_id not in shown
    assert CREDENTIALS.password not in shown


def test_the_pairing_id_is_the_end_of_the_route_b_id() -> None:
    assert Credentials("0" * 24 + "abcdef12", "x").pairing_id == "ABCDEF12"  # command reference 4.20


def test_a_setup_shows_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    opener = Opener([*AWAKE, *set_up_script(EINFO_SINGLE)])
    open_at(FACTORY_BAUD_RATE, opener.stack, CREDENTIALS)
    assert "SKSETRBID" in caplog.text
    assert CREDENTIALS.password not in caplog.text
    assert CREDENTIALS.route_b_id not in caplog.text


def test_the_factory_rate_is_tried_first() -> None:
    assert BAUD_RATES == (115_200, 57_600, 38_400, 19_200, 9_600, 4_800, 2_400)  # command reference 4.36


def test_a_late_refusal_of_our_line_end_does_not_shift_every_response() -> None:
    """A module 0.25 s away refuses the empty line (ER04) when SKVER is already written."""
    script: list[Step] = [
        Expect(b"\r\n"),
        QUIET,
        SKVER,
        Say(b"FAIL ER04\r\n"),  # to the empty line
        Silence(0.25),
        EVER,  # to SKVER, and dropped: it must not pass for a response to what is written next
        Silence(0.5),
        SKVER,
        EVER,
    ]
    clock = LabClock()
    port = FakePort(clock, script)
    assert wake(SkStack(port, monotonic=clock.monotonic))
    port.assert_done()


@pytest.mark.parametrize("response", [Say(b"FAIL ER04\r\n"), Silence(3.0)], ids=["refused", "ignored"])
@pytest.mark.parametrize("command", [b"SKSREG SFE 0\r\n", b"SKVER\r\n"])
def test_what_a_module_need_not_offer_does_not_stop_the_setup(command: bytes, response: Step) -> None:
    plain = set_up_script(EINFO_DUAL)
    position = plain.index(Expect(command))
    script = [*plain[: position + 1], response, *plain[position + 2 :]]
    clock = LabClock()
    port = FakePort(clock, script)
    module = set_up(SkStack(port, monotonic=clock.monotonic), CREDENTIALS)
    assert module.dialect is Dialect.DUAL
    port.assert_done()


@pytest.mark.parametrize(
    ("response", "printed"),
    [(b"OK 00\r", True), (b"OK 01\r", False), (b"FAIL ER04\r\n", None)],
    ids=["00", "01", "ER04"],
)
def test_how_payloads_are_printed_is_read_and_not_changed(response: bytes, printed: bool | None) -> None:
    """ROPT gives 00 for binary and 01 for hexadecimal text; a module of another maker has no such command (ER04)."""
    assert prints_binary(module_that_responds(response)) is printed


def test_a_refusal_to_say_how_payloads_are_printed_is_no_response() -> None:
    with pytest.raises(CommandFailedError) as caught:
        prints_binary(module_that_responds(b"FAIL ER10\r"))
    assert caught.value.code == "ER10"


def module_that_responds(response: bytes) -> Module:
    """Return one that takes ROPT, and nothing else."""
    clock = LabClock()
    stack = SkStack(FakePort(clock, [Expect(b"ROPT\r"), Say(response)]), monotonic=clock.monotonic)
    return Module(stack, Dialect.SINGLE, bytes.fromhex("001D129012345678"), "1.2.10", FACTORY_BAUD_RATE)
