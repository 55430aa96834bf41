"""The simulated module takes and refuses commands as the command reference has it."""

from __future__ import annotations

import pytest

from skstack.echonet import Frame
from skstack.simulator import MODELS, link_local
from tests.lab.module import (
    METER_ADDRESS,
    ROUTE_B_ID,
    events,
    lines,
    of_dialect,
    payloads,
    power_up,
    shapes,
)

DIALECTS = ["single", "dual"]
GET_POWER = Frame.get(1, [0xE7])


# --- commands


@pytest.mark.parametrize(("dialect", "last"), [("single", "FFFE"), ("dual", "0")])
def test_info_gives_the_dialect(dialect: str, last: str) -> None:
    at = of_dialect(dialect, echo=False)
    own = link_local(at.module.model.mac)
    assert lines(at.type("SKINFO")) == [f"EINFO {own} {at.module.model.mac} 21 FFFF {last}", "OK"]


@pytest.mark.parametrize(
    ("dialect", "command"),
    [
        ("single", "SKSCAN 2 FFFFFFFF 6 0"),
        ("dual", "SKSCAN 2 FFFFFFFF 6"),
        ("single", "SKSREG"),
        ("dual", "SKSREG S2 21 0"),
        ("dual", "SKJOIN"),
        ("single", "SKSETPWD 0123456789AB"),
        ("single", "SKSENDTO 1 0E1A"),
        ("dual", f"SKSENDTO 1 {METER_ADDRESS} 0E1A 1 000E"),
    ],
)
def test_a_wrong_number_of_arguments_is_er05(dialect: str, command: str) -> None:
    assert of_dialect(dialect, echo=False).type(command) == b"FAIL ER05\r\n"


@pytest.mark.parametrize(
    "command",
    [
        "SKSREG S2 20",
        "SKSREG S2 3D",
        "SKSREG S3 8CF",
        "SKSREG SFE 2",
        "SKSREG SQ",
        "SKSREG SFB 1",
        "SKSCAN 1 FFFFFFFF 6",
        "SKSCAN 2 FFFF 6",
        "SKSCAN 2 FFFFFFFF F",
        "SKSCAN 2 FFFFFFFF 06",
        "SKLL64 001C64000A0B8CF",
        "SKJOIN FE80::21C:6400:A0B:8CF5",
        "SKJOIN fe80:0000:0000:0000:021c:6400:0a0b:8cf5",
        "SKSETPWD 21 x",
        "SKSETPWD 0 x",
        "SKSCAN 0 FFFFFFFF 6",
    ],
)
def test_what_is_out_of_form_or_range_is_er06(command: str) -> None:
    assert power_up("BP35A1", echo=False).type(command) == b"FAIL ER06\r\n"


@pytest.mark.parametrize(
    ("model", "command"),
    [
        ("BP35A1", "SKNONSENSE"),
        ("BP35C2", "skver"),
        ("RL7023 Stick-D/DSS", "SKAPPVER"),
        ("RL7023 Stick-D/DSS", "ROPT"),
        ("RL7023 Stick-D/IPS", "WOPT 01"),
    ],
)
def test_an_unknown_command_is_er04(model: str, command: str) -> None:
    at = power_up(model, echo=False)
    assert at.type(command) == b"FAIL ER04\r\n"
    assert at.module.flash_writes == 0


@pytest.mark.parametrize("command", ["SKTERM", "SKREJOIN"])
def test_what_needs_a_session_is_er10_without_one(command: str) -> None:
    assert power_up(echo=False).type(command) == b"FAIL ER10\r\n"


def test_registers_have_two_spellings_and_start_at_the_factorys_values() -> None:
    at = power_up("BP35A1", echo=False)
    factory = {"S2": "21", "S03": "FFFF", "SA": "CCDDEEFF", "S17": "1", "SFB": "0", "SFE": "0"}
    for register, value in factory.items():
        assert lines(at.type(f"SKSREG {register}")) == [f"ESREG {value}", "OK"]
    at.type("SKSREG S02 3C")
    assert lines(at.type("SKSREG S2")) == ["ESREG 3C", "OK"]
    at.type(f"SKSETRBID {ROUTE_B_ID}")
    assert lines(at.type("SKSREG S0A")) == ["ESREG CCDDEEFF", "OK"]  # the last eight of the ID


def test_a_way_to_print_that_does_not_exist_is_er06_and_not_written() -> None:
    at = power_up("BP35A1", echo=False)
    assert at.type("WOPT 02") == b"FAIL ER06\r"
    assert at.module.flash_writes == 0


@pytest.mark.parametrize(("model", "application"), [("BP35A1", "rev26e"), ("BP35C2", "rev12")])
def test_the_application_s_version_is_given(model: str, application: str) -> None:
    assert lines(power_up(model, echo=False).type("SKAPPVER")) == [f"EAPPVER {application}", "OK"]


def test_a_dual_module_gives_its_own_mac() -> None:
    assert lines(power_up(echo=False).type("SKSREG S1")) == [f"ESREG {MODELS['BP35C2'].mac}", "OK"]


def test_a_reset_forgets_registers_credentials_session_and_turns_the_echo_on() -> None:
    at = power_up()
    at.join()
    assert at.type("SKRESET") == b"OK\r\n"
    assert lines(at.type("SKSREG S3")) == ["SKSREG S3", "ESREG FFFF", "OK"]
    assert not at.module.has_session
    at.type("SKSREG S2 39")
    at.type("SKSREG S3 8CF5")
    assert events(at.type(f"SKJOIN {METER_ADDRESS}", 60.0))[-1] == "24"


def test_an_empty_command_says_nothing_and_is_echoed() -> None:
    assert power_up(echo=False).type(b"\r\n") == b""
    assert power_up().type(b"\r\n") == b"\r\n"


def test_what_was_typed_is_echoed_before_its_line_ends() -> None:
    at = power_up()
    assert at.type(b"SKV") == b"SKV"
    assert at.type(b"ER\r\n").startswith(b"ER\r\nEVER")


def test_every_write_to_flash_memory_is_counted() -> None:
    at = power_up("BP35A1", echo=False)
    for command in (b"WUART 80\r", b"WOPT 01\r", b"SKSAVE\r\n"):
        assert at.type(command).startswith(b"OK")
    assert at.module.flash_writes == 3


# --- the payload of SKSENDTO


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_short_payload_swallows_the_next_command(dialect: str) -> None:
    at = of_dialect(dialect)
    at.join()
    assert at.type(at.send_header(14) + b"\x10\x81\x00") == b""
    assert at.type("SKINFO") == b""  # 8 of the 11 bytes that were still to come
    printed = at.type("SKVER")  # its first three letters complete them, and the rest is no command
    assert at.module.sends[0].payload == b"\x10\x81\x00SKINFO\r\nSKV"
    assert [line.split()[0] for line in lines(printed)] == ["EVENT", "OK", "FAIL"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_line_ends_and_spaces_in_a_payload_are_data(dialect: str) -> None:
    at = of_dialect(dialect)
    at.join()
    request = Frame.get(0x0D0A, [0xE7])
    assert payloads(at.send(request))[-1].tid == 0x0D0A
    request = Frame.get(0x2020, [0xE7])
    assert payloads(at.send(request))[-1].tid == 0x2020


@pytest.mark.parametrize("dialect", DIALECTS)
def test_payloads_may_come_as_raw_bytes_with_line_ends_in_them(dialect: str) -> None:
    at = of_dialect(dialect, hex_payload=False)
    at.join()
    response = at.send(Frame.get(0x0D0A, [0xE7]))
    assert response.endswith(b" 0012 " + bytes.fromhex("1081 0D0A 028801 05FF01 72 01 E704 00000258") + b"\r\n")


@pytest.mark.parametrize("address", ["FE80::1", METER_ADDRESS.lower()])
def test_an_address_that_is_not_written_out_is_er06(address: str) -> None:
    at = power_up()
    at.join()
    assert at.type(at.send_header(3, address=address) + b"abc") == b"FAIL ER06\r\n"
    assert at.module.sends == []


def test_the_length_may_be_in_lower_case() -> None:
    at = power_up("BP35A1")
    at.join()
    header = at.send_header(14).replace(b"000E", b"000e")
    assert b"ERXUDP" in at.type(header + GET_POWER.to_bytes(), 4.0)


def test_a_send_in_the_other_dialect_does_not_get_through() -> None:
    at = power_up("BP35A1")
    at.join()
    dual = at.send_header(14).replace(b" 000E", b" 0 000E")
    assert at.type(dual + GET_POWER.to_bytes()) == b"FAIL ER06\r\n"
    at = power_up("BP35C2")
    at.join()
    single = at.send_header(14).replace(b" 0 000E", b" 000E")
    assert at.type(single + GET_POWER.to_bytes()) == b""
    assert at.type("") == b"FAIL ER05\r\n"


def test_without_a_key_nothing_is_sent_encrypted() -> None:
    at = power_up(echo=False)
    assert at.send(GET_POWER) == b"FAIL ER10\r\n"
    assert at.module.sends == []


def test_without_a_key_sec_2_sends_in_clear_and_the_meter_keeps_silent() -> None:
    at = power_up()
    at.set_up()
    assert shapes(at.send(GET_POWER, 30.0, secure=2)) == ["EVENT 21 <ip> 0 00", "OK"]
    assert [sent.secured for sent in at.module.sends] == [False]


def test_a_handle_that_is_no_udp_handle_sends_nothing() -> None:
    at = power_up(echo=False)
    at.join()
    assert at.type(at.send_header(3).replace(b"SKSENDTO 1", b"SKSENDTO 7") + b"abc") == b"FAIL ER10\r\n"
    assert at.module.sends == []


@pytest.mark.parametrize("command", ["SKREJOIN", "SKTERM"])
def test_a_session_that_ends_while_a_command_for_it_is_taken_stays_ended(command: str) -> None:
    at = power_up("BP35C2", echo=False)
    at.join()
    at.module.receive(f"{command}\r\n".encode(), at.at)
    at.module.emit_event(0x26, at.at)
    seen = events(at.wait(30.0))
    assert [number for number in seen if number != "21"] == ["26"]
    assert not at.module.has_session


def test_without_a_session_none_expires() -> None:
    at = power_up(echo=False)
    at.module.emit_event(0x29, at.at)
    assert at.wait(600.0) == b""


def test_a_neighbour_that_is_not_there_does_not_acknowledge() -> None:
    at = power_up()
    at.join()
    nobody = link_local("0000000000000001")
    assert at.type(at.send_header(3, address=nobody) + b"abc") == f"EVENT 21 {nobody} 0 01\r\nOK\r\n".encode()
