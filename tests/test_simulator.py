from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from fakes_lines import BY_NUMBER
from fakes_simulator import (
    METER_ADDRESS,
    METER_MAC,
    NOON,
    PASSWORD,
    ROUTE_B_ID,
    Host,
    events,
    lines,
    make_meter,
    payloads,
)

from skstack.echonet import CONTROLLER, METER, NODE_PROFILE, Esv, Frame, Property
from skstack.errors import PortLostError
from skstack.simulated_lines import Beacon, Datagram, link_local
from skstack.simulated_models import INSTANT, MODELS, Credentials
from skstack.simulated_port import SimulatedPort, VirtualClock
from skstack.simulator import SimulatedModule

DIALECTS = ["single", "dual"]
GET_POWER = Frame.get(1, [0xE7])


def host(model: str = "BP35C2", **options: object) -> Host:
    meter_options = options.pop("meter", {})
    assert isinstance(meter_options, dict)
    # Announcements at 25 and 55 minutes past, out of the way of what is tested.
    meter = make_meter(**{"notification_delay_s": 1500, **meter_options})
    return Host(SimulatedModule(meter, model=MODELS[model], **options))  # type: ignore[arg-type] # options of all kinds


def of_dialect(dialect: str, **options: object) -> Host:
    return host("BP35A1" if dialect == "single" else "BP35C2", **options)


def shape(line: str) -> str:
    """Return the line with what is each device's own taken out: addresses, values, keys, the payload of PANA."""
    line = re.sub(r"(FE80|2001)(:[0-9A-F]{4}){7}", "<ip>", line)
    line = re.sub(r"\b[0-9A-F]{16}\b", "<mac>", line)
    line = re.sub(r"^(  (Channel|Pan ID|Addr|LQI|PairID):).*", r"\1", line)
    line = re.sub(r"^(EVER|SKLL64|SKJOIN) .*", r"\1", line)
    if " 02CC 02CC " in line:
        head, _, payload = line.rpartition(" ")
        line = f"{head} <{len(payload) // 2} bytes>"
    return line


def shapes_of_log(number: str) -> list[str]:
    return [shape(line.decode("latin-1")) for line in BY_NUMBER[number].lines]


def shapes(output: bytes) -> list[str]:
    return [shape(line) for line in lines(output) if line]


# --- as in the logs of real modules


def test_start_up_as_a_ratoc_prints_it() -> None:
    at = host("RS-WSUHA-P")
    commands: list[bytes | str] = [
        "SKVER",
        b"ROPT\r",
        b"RUART\r",
        "SKRESET",
        f"SKSETPWD C {PASSWORD}",
        f"SKSETRBID {ROUTE_B_ID}",
    ]
    typed = b"".join(at.type(command) for command in commands)
    assert typed == BY_NUMBER["01"].wire.replace(b"OK 80", b"OK 00")


def test_a_reset_takes_its_time_and_the_commands_behind_it_wait() -> None:
    at = host("BP35A1")
    for command in (b"SKTERM\r\n", b"SKRESET\r\n", b"SKSREG SFE 0\r\n", b"SKVER\r\n"):
        at.type(command, 0)
    first, rest = at.wait(0.5), at.wait(0.5)
    assert lines(first) == ["SKTERM", "FAIL ER10", "SKRESET"]
    assert lines(rest)[:4] == [line.decode() for line in BY_NUMBER["36"].lines[:4]]


def test_a_scan_as_a_ratoc_prints_it() -> None:
    at = host("RS-WSUHA-P")
    at.type(f"SKSETRBID {ROUTE_B_ID}")
    printed = shapes(at.type("SKSCAN 2 FFFFFFFF 6 0 ", 20.0))
    log = shapes_of_log("02")
    log[5] = "EVENT" + log[5]  # the word was lost between two reads
    assert printed == log[3:]


def test_a_scan_takes_as_long_as_that_of_a_bp35a1() -> None:
    at = host("BP35A1", echo=False, meter={"channel": 0x3B})
    at.type(f"SKSETRBID {ROUTE_B_ID}")
    at.type("SKSCAN 2 FFFFFFFF 6", 0)
    seconds = {piece.split()[0] + piece.split()[1]: at_s for at_s, piece in at.timed(20.0) if piece != b"OK\r\n"}
    # Milliseconds after boot in the log: OK 8030, EVENT 20 24700, EPANDESC 25353, EVENT 22 26040.
    assert seconds[b"EVENT20"] == pytest.approx(16.67, abs=0.2)
    assert seconds[b"EPANDESCChannel:3B"] == pytest.approx(17.32, abs=0.2)
    assert seconds[b"EVENT22"] == pytest.approx(18.01, abs=0.2)


def test_a_join_as_a_ratoc_prints_it() -> None:
    at = host("RS-WSUHA-P")
    at.set_up()
    at.type("SKSREG SFE 1")
    printed = [shape(line) for line in lines(at.type(f"SKLL64 {METER_MAC}"))]
    printed += shapes(at.type(f"SKJOIN {METER_ADDRESS}", 8.0))[2:]  # its echo and OK are not in the published log
    assert printed == shapes_of_log("03")[4:]


def test_the_second_handshake_message_carries_the_id_in_clear() -> None:
    at = host()
    at.set_up()
    printed = at.type(f"SKJOIN {METER_ADDRESS}", 8.0)
    [challenge] = [line for line in lines(printed) if " 0068 " in line]
    assert bytes.fromhex(challenge.split()[-1]).endswith(b"SM" + ROUTE_B_ID.encode())


def test_a_dss_stick_prints_empty_lines_after_its_join() -> None:
    at = host("RL7023 Stick-D/DSS")
    at.set_up()
    assert at.type(f"SKJOIN {METER_ADDRESS}", 8.0).endswith(b"D50401028801\r\n\r\n\r\n\r\n\r\n")
    assert BY_NUMBER["43"].wire.endswith(b"D50401028801\r\n\r\n\r\n\r\n\r\n")


def test_a_get_as_a_bp35a1_answers_it() -> None:
    at = host("BP35A1", meter={"coefficient": None})
    at.join()
    printed = shapes(at.send(Frame.get(1, [0xD3])))
    log = [shape(line).replace("0000:" * 7 + "0000", "<ip>") for line in shapes_of_log("06")]
    assert printed == log


def test_the_send_is_confirmed_before_ok_and_answered_after() -> None:
    at = host("BP35A1")
    at.join()
    payload = GET_POWER.to_bytes()
    at.module.receive(at.send_header(len(payload)) + payload, at.at)
    seconds = {piece.split()[0]: at_s for at_s, piece in at.timed(4.0)}
    # 38 exchanges of a real one: EVENT 21 after 0.115 to 0.343 s, OK within 1 ms of it, ERXUDP after 0.340 to 0.810 s.
    assert 0.115 <= seconds[b"EVENT"] <= seconds[b"OK"] <= seconds[b"EVENT"] + 0.002
    assert 0.340 <= seconds[b"ERXUDP"] <= 0.810


def test_the_echo_of_a_send_ends_before_its_payload() -> None:
    at = host()
    at.join()
    at.type("SKSREG SFE 1")
    announced = Frame(1, NODE_PROFILE, NODE_PROFILE, Esv.INF, (Property(0xD5, b"\x01" + CONTROLLER.to_bytes()),))
    printed = at.send(announced)
    assert printed.decode().replace(METER_ADDRESS, "<ip>").encode() == BY_NUMBER["15"].wire.replace(
        b"FE80:0000:0000:0000:021C:6400:0001:8CF5", b"<ip>"
    )


def test_the_echo_of_an_ips_stick_goes_on_with_the_payload() -> None:
    at = host("RL7023 Stick-D/IPS")
    at.join()
    at.type("SKSREG SFE 1")
    assert at.send(GET_POWER).startswith(at.send_header(14) + GET_POWER.to_bytes() + b"\r\nEVENT 21")


def test_the_end_of_a_session_as_a_bp35a1_prints_it() -> None:
    at = host("BP35A1")
    at.join()
    printed = lines(at.type("SKTERM", 2.0))
    assert [line.split()[0] for line in printed] == ["EVENT", "OK", "ERXUDP", "EVENT"]
    assert shape(printed[0]) == shapes_of_log("60")[0] == "EVENT 21 <ip> 02"
    assert shape(printed[3]) == shapes_of_log("60")[3] == "EVENT 27 <ip>"
    assert not at.module.has_session


def test_a_failed_send_is_answered_ok_all_the_same() -> None:
    at = host("BP35A1")
    at.join()
    at.module.faults.fail_sends(1)
    assert shapes(at.send(GET_POWER)) == shapes_of_log("62")


def test_a_bp35a1_prints_more_ports_than_the_manual_says() -> None:
    assert host("BP35A1", echo=False).type("SKTABLE E") == BY_NUMBER["57"].wire


def test_an_energy_scan_as_a_bp35a1_prints_it() -> None:
    at = host("BP35A1", echo=False)
    printed = at.type("SKSCAN 0 FFFFFFFF 2", 5.0)
    assert [shape(line) for line in lines(printed)[:3]] == shapes_of_log("58")[:3]
    assert len(lines(printed)[3].split()) == len(BY_NUMBER["58"].lines[3].split()) == 56
    assert printed.endswith(b"\r\n\r\n")


def test_product_commands_are_answered_with_cr_alone() -> None:
    at = host("BP35A1", echo=False, hex_payload=False)
    assert at.type(b"ROPT\r") + at.type(b"WOPT 01\r") == BY_NUMBER["59"].wire
    assert at.type(b"ROPT\r") == b"OK 01\r"
    assert at.module.flash_writes == 1


def test_some_firmware_adds_a_parameter_to_event_25() -> None:
    at = host("RL7023 Stick-D/IPS")
    at.set_up()
    assert f"EVENT 25 {METER_ADDRESS} 00" in lines(at.type(f"SKJOIN {METER_ADDRESS}", 8.0))


def test_register_sa2_adds_the_signal_to_every_datagram() -> None:
    at = host()
    at.join()
    assert [len(line.split()) for line in lines(at.send(GET_POWER)) if "ERXUDP" in line] == [10]
    at.type("SKSREG SA2 1")
    [line] = [line for line in lines(at.send(GET_POWER)) if "ERXUDP" in line]
    assert len(line.split()) == len(BY_NUMBER["65"].lines[1].split()) == 11
    assert line.split()[6:9] == ["A7", "1", "0"]


def test_register_sa2_changes_nothing_on_a_single_hop_module() -> None:
    at = host("BP35A1")
    at.join()
    assert at.type("SKSREG SA2 1") == b"OK\r\n"
    assert [len(line.split()) for line in lines(at.send(GET_POWER)) if "ERXUDP" in line] == [9]


# --- commands


@pytest.mark.parametrize(("dialect", "last"), [("single", "FFFE"), ("dual", "0")])
def test_info_tells_the_dialect(dialect: str, last: str) -> None:
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
        "SKTABLE 9",
    ],
)
def test_what_is_out_of_form_or_range_is_er06(command: str) -> None:
    assert host("BP35A1", echo=False).type(command) == b"FAIL ER06\r\n"


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
    at = host(model, echo=False)
    assert at.type(command) == b"FAIL ER04\r\n"
    assert at.module.flash_writes == 0


@pytest.mark.parametrize("command", ["SKTERM", "SKREJOIN"])
def test_what_needs_a_session_is_er10_without_one(command: str) -> None:
    assert host(echo=False).type(command) == b"FAIL ER10\r\n"


def test_registers_have_two_spellings_and_start_at_the_factorys_values() -> None:
    at = host("BP35A1", echo=False)
    factory = {"S2": "21", "S03": "FFFF", "SA": "CCDDEEFF", "S17": "1", "SFB": "0", "SFD": "0" * 16, "SA1": "1"}
    for register, value in factory.items():
        assert lines(at.type(f"SKSREG {register}")) == [f"ESREG {value}", "OK"]
    at.type("SKSREG S02 3C")
    assert lines(at.type("SKSREG S2")) == ["ESREG 3C", "OK"]
    at.type(f"SKSETRBID {ROUTE_B_ID}")
    assert lines(at.type("SKSREG S0A")) == ["ESREG CCDDEEFF", "OK"]  # the last eight of the ID


def test_a_dual_module_tells_its_own_mac() -> None:
    assert lines(host(echo=False).type("SKSREG S1")) == [f"ESREG {MODELS['BP35C2'].mac}", "OK"]


def test_a_reset_forgets_registers_credentials_session_and_turns_the_echo_on() -> None:
    at = host()
    at.join()
    assert at.type("SKRESET") == b"OK\r\n"
    assert lines(at.type("SKSREG S3")) == ["SKSREG S3", "ESREG FFFF", "OK"]
    assert not at.module.has_session
    at.type("SKSREG S2 39")
    at.type("SKSREG S3 8CF5")
    assert events(at.type(f"SKJOIN {METER_ADDRESS}", 60.0))[-1] == "24"


def test_an_empty_command_says_nothing_and_is_echoed() -> None:
    assert host(echo=False).type(b"\r\n") == b""
    assert host().type(b"\r\n") == b"\r\n"


def test_what_was_typed_is_echoed_before_its_line_ends() -> None:
    at = host()
    assert at.type(b"SKV") == b"SKV"
    assert at.type(b"ER\r\n").startswith(b"ER\r\nEVER")


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
    asked = Frame.get(0x0D0A, [0xE7])
    assert payloads(at.send(asked))[-1].tid == 0x0D0A
    asked = Frame.get(0x2020, [0xE7])
    assert payloads(at.send(asked))[-1].tid == 0x2020


@pytest.mark.parametrize("dialect", DIALECTS)
def test_payloads_may_come_as_raw_bytes_with_line_ends_in_them(dialect: str) -> None:
    at = of_dialect(dialect, hex_payload=False)
    at.join()
    answered = at.send(Frame.get(0x0D0A, [0xE7]))
    assert answered.endswith(b" 0012 " + bytes.fromhex("1081 0D0A 028801 05FF01 72 01 E704 00000258") + b"\r\n")


@pytest.mark.parametrize("address", ["FE80::1", METER_ADDRESS.lower()])
def test_an_address_that_is_not_written_out_is_er06(address: str) -> None:
    at = host()
    at.join()
    assert at.type(at.send_header(3, address=address) + b"abc") == b"FAIL ER06\r\n"
    assert at.module.sends == []


def test_the_length_may_be_in_lower_case() -> None:
    at = host("BP35A1")
    at.join()
    header = at.send_header(14).replace(b"000E", b"000e")
    assert b"ERXUDP" in at.type(header + GET_POWER.to_bytes(), 4.0)


def test_a_send_in_the_other_dialect_does_not_get_through() -> None:
    at = host("BP35A1")
    at.join()
    dual = at.send_header(14).replace(b" 000E", b" 0 000E")
    assert at.type(dual + GET_POWER.to_bytes()) == b"FAIL ER06\r\n"
    at = host("BP35C2")
    at.join()
    single = at.send_header(14).replace(b" 0 000E", b" 000E")
    assert at.type(single + GET_POWER.to_bytes()) == b""
    assert at.type("") == b"FAIL ER05\r\n"


def test_without_a_key_nothing_is_sent_encrypted() -> None:
    at = host(echo=False)
    assert at.send(GET_POWER) == b"FAIL ER10\r\n"
    assert at.module.sends == []


def test_without_a_key_sec_2_sends_in_clear_and_the_meter_keeps_silent() -> None:
    at = host()
    at.set_up()
    assert shapes(at.send(GET_POWER, 30.0, secure=2)) == ["EVENT 21 <ip> 0 00", "OK"]
    assert [sent.secured for sent in at.module.sends] == [False]


def test_a_neighbour_that_is_not_there_does_not_acknowledge() -> None:
    at = host()
    at.join()
    nobody = link_local("0000000000000001")
    assert at.type(at.send_header(3, address=nobody) + b"abc") == f"EVENT 21 {nobody} 0 01\r\nOK\r\n".encode()


# --- scanning


def test_only_the_meter_of_the_pairing_id_answers_an_active_scan() -> None:
    other = Beacon(0x22, 0x1234, "001C640000000001", 0x30, "00000000")
    same = Beacon(0x22, 0x1235, "001C640000000002", 0x31, "CCDDEEFF")
    at = host("BP35A1", echo=False, neighbours=[other, same])
    at.type(f"SKSETRBID {ROUTE_B_ID}")
    paired = at.type("SKSCAN 2 FFFFFFFF 4", 8.0)
    assert re.findall(b"Pan ID:(....)", paired) == [b"1235", b"8CF5"]
    assert b"PairID:CCDDEEFF" in paired
    everybody = at.type("SKSCAN 3 FFFFFFFF 4", 8.0)
    assert re.findall(b"Pan ID:(....)", everybody) == [b"1234", b"1235", b"8CF5"]
    assert b"PairID" not in everybody


def test_a_scan_hears_only_the_channels_of_its_mask() -> None:
    at = host("BP35A1", echo=False)
    at.type(f"SKSETRBID {ROUTE_B_ID}")
    only_39 = f"{1 << (0x39 - 0x21):08X}"
    assert events(at.type(f"SKSCAN 2 {only_39} 6", 1.0)) == ["20", "22"]  # one channel of 0.64 s
    assert events(at.type("SKSCAN 2 00000001 6", 1.0)) == ["22"]


def test_a_scan_over_a_scan_is_answered_and_not_begun() -> None:
    at = host("BP35A1", echo=False)
    at.type("SKSCAN 2 FFFFFFFF 4", 4.6)
    assert at.type("SKSCAN 2 FFFFFFFF 5", 0.2) == b"OK\r\n"
    assert events(at.wait(60.0)) == ["22"]


def test_a_scan_may_miss_and_a_description_may_come_late() -> None:
    at = host("BP35A1", echo=False)
    at.type(f"SKSETRBID {ROUTE_B_ID}")
    at.module.faults.miss_scans(1)
    at.module.faults.describe_late(1)
    assert events(at.type("SKSCAN 2 FFFFFFFF 4", 8.0)) == ["22"]
    assert events(at.type("SKSCAN 2 FFFFFFFF 4", 8.0)) == ["20", "22", "20"]
    assert events(at.type("SKSCAN 2 FFFFFFFF 4", 8.0)) == ["20", "22"]


# --- the session


@pytest.mark.parametrize(
    ("route_b_id", "password"), [(ROUTE_B_ID, "0123456789AC"), ("F" + ROUTE_B_ID[1:], PASSWORD), (ROUTE_B_ID, "0123")]
)
def test_wrong_credentials_end_in_event_24(route_b_id: str, password: str) -> None:
    at = host("BP35A1")
    at.set_up(route_b_id, password)
    printed = at.type(f"SKJOIN {METER_ADDRESS}", 20.0)
    assert lines(printed)[-1] == f"EVENT 24 {METER_ADDRESS}"
    assert not at.module.has_session


def test_other_credentials_can_be_the_right_ones() -> None:
    other = Credentials("F" * 32, "PASSWORD")
    at = host(credentials=other)
    at.set_up("F" * 32, "PASSWORD")
    assert "25" in events(at.type(f"SKJOIN {METER_ADDRESS}", 8.0))


@pytest.mark.parametrize("command", ["SKSREG S2 3A", "SKSREG S3 8CF6"])
def test_a_join_on_another_channel_or_pan_finds_nobody(command: str) -> None:
    at = host()
    at.set_up()
    at.type(command)
    assert events(at.type(f"SKJOIN {METER_ADDRESS}", 30.0)) == ["21"]
    assert events(at.wait(20.0)) == ["24"]


def test_a_join_over_a_join_is_er10() -> None:
    at = host()
    at.set_up()
    at.type(f"SKJOIN {METER_ADDRESS}", 0.5)
    assert b"FAIL ER10" in at.type(f"SKJOIN {METER_ADDRESS}", 0.1)


def test_the_instance_list_comes_some_seconds_after_the_join() -> None:
    at = host("BP35A1")
    at.set_up()
    at.type(f"SKJOIN {METER_ADDRESS}", 0)
    seconds = {piece[:8] + piece[-14:]: at_s for at_s, piece in at.timed(8.0)}
    joined = next(at_s for piece, at_s in seconds.items() if piece.startswith(b"EVENT 25"))
    announced = next(at_s for piece, at_s in seconds.items() if piece.endswith(b"D50401028801\r\n"))
    assert joined == pytest.approx(3.3, abs=0.1)  # 26202 to 29529 ms in a log
    assert announced - joined == pytest.approx(3.1, abs=0.1)  # 29529 to 32617 ms


def test_the_session_is_renewed_at_four_fifths_of_its_lifetime() -> None:
    at = host()
    at.join()
    before = 0.8 * 86_400 - 60
    assert "25" not in events(at.wait(before))
    assert events(at.wait(60)) == ["21", "25"]
    assert "25" in events(at.wait(0.8 * 86_400 + 10))  # and again
    assert at.get(0xE7).esv is Esv.GET_RES


def test_without_renewal_the_session_expires() -> None:
    at = host(meter={"session_lifetime_s": 1000})
    at.join()
    at.type("SKSREG S17 0")
    assert "29" not in events(at.wait(990))
    assert events(at.wait(10)) == ["29"]
    assert at.send(GET_POWER) == b"FAIL ER10\r\n"


def test_a_renewal_that_fails_ends_the_session() -> None:
    at = host()
    at.join()
    at.module.faults.fail_joins(1)
    assert "24" in events(at.wait(0.8 * 86_400 + 10))
    assert not at.module.has_session


def test_an_expired_session_is_renewed_by_the_module_and_sends_nothing_meanwhile() -> None:
    at = host()
    at.join()
    at.module.emit_event(0x29, at.at)
    assert events(at.wait(0.5)) == ["29"]
    assert shapes(at.send(GET_POWER, 0.2))[0] == "EVENT 21 <ip> 0 01"
    assert "25" in events(at.wait(5))
    assert at.get(0xE7).esv is Esv.GET_RES
    assert len(at.module.violations) == 1


def test_an_expired_session_may_be_lost_instead() -> None:
    at = host()
    at.join()
    at.module.faults.fail_joins(1)
    at.module.emit_event(0x29, at.at)
    assert events(at.wait(5)) == ["29", "24"]
    assert at.send(GET_POWER) == b"FAIL ER10\r\n"


@pytest.mark.parametrize("number", [0x24, 0x26])
def test_a_session_may_end_of_itself(number: int) -> None:
    at = host()
    at.join()
    at.module.emit_event(number, at.at + 5)
    assert events(at.wait(10)) == [f"{number:X}"]
    assert not at.module.has_session


def test_over_the_hourly_limit_nothing_is_sent_until_it_is_lifted() -> None:
    at = host()
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


def test_the_airtime_adds_up_and_can_be_set_to_nothing() -> None:
    at = host()
    at.join()
    at.get(0xE7)  # 14 bytes and 60 around them at 100 kbit/s: 5.92 ms
    assert lines(at.type("SKSREG SFD")) == ["ESREG 0000000000000006", "OK"]
    assert at.type("SKSREG SFD 0") == b"OK\r\n"
    assert lines(at.type("SKSREG SFD")) == ["ESREG 0000000000000000", "OK"]


def test_a_rejoin_renews_the_session() -> None:
    at = host()
    at.join()
    assert events(at.type("SKREJOIN", 5)) == ["21", "25"]


def test_a_silent_meter_lets_the_end_of_a_session_time_out() -> None:
    at = host()
    at.join()
    at.module.faults.silence_meter(at.at + 100)
    assert events(at.type("SKTERM", 20)) == ["21", "28"]


def test_half_hour_values_come_by_themselves_while_there_is_a_session() -> None:
    at = host("BP35A1", meter={"notification_delay_s": None})
    at.join()
    announced = payloads(at.wait(3600))
    assert [frame.esv for frame in announced] == [Esv.INF, Esv.INF]
    assert announced[1].properties[0].edt == bytes.fromhex("07EA 06 01 0C 1E 00") + (1515).to_bytes(4, "big")
    assert [frame.tid for frame in announced] == [1, 2]  # the instance list was 0
    at.type("SKTERM", 5)
    assert payloads(at.wait(3600)) == []


# --- what can be made to go wrong


def test_replies_can_be_lost_late_doubled_and_mistaken() -> None:
    at = host()
    at.join()
    at.module.set_answer_timer(0)
    faults = at.module.faults
    faults.lose_replies(1)
    assert payloads(at.send(GET_POWER, 30)) == []
    faults.delay_replies(25)
    assert payloads(at.send(GET_POWER, 20)) == []
    assert len(payloads(at.wait(10))) == 1
    faults.duplicate_replies(1)
    assert len(payloads(at.send(GET_POWER))) == 2
    faults.mistake_tids(1)
    assert [frame.tid for frame in payloads(at.send(GET_POWER))] == [0x0001 ^ 0x5500]
    assert at.module.violations == []


def test_a_meter_out_of_reach_acknowledges_nothing_and_a_mute_one_answers_nothing() -> None:
    at = host()
    at.join()
    at.module.faults.silence_meter(at.at + 30)
    assert shapes(at.send(GET_POWER, 30)) == ["EVENT 21 <ip> 0 01", "OK"]
    at.module.faults.mute_meter(at.at + 30)
    assert shapes(at.send(GET_POWER, 30)) == ["EVENT 21 <ip> 0 00", "OK"]
    assert at.get(0xE7).esv is Esv.GET_RES


def test_a_neighbour_may_have_to_be_looked_for_first() -> None:
    at = host()
    at.join()
    at.module.faults.fail_sends(2)
    printed = shapes(at.send(GET_POWER))
    assert printed[:4] == ["EVENT 21 <ip> 0 02", "OK", "EVENT 02 <ip> 0", "EVENT 21 <ip> 0 00"]
    assert printed[4].startswith("ERXUDP")


def test_a_command_can_be_refused() -> None:
    at = host(echo=False)
    at.module.faults.refuse_next("ER09", "SKINFO")
    at.module.faults.refuse_next("ER10")
    assert at.type("SKVER") == b"FAIL ER10\r\n"
    assert at.type("SKVER").startswith(b"EVER")
    assert at.type("SKINFO") == b"FAIL ER09\r\n"
    assert at.type("SKINFO").startswith(b"EINFO")


def test_joins_can_fail_as_often_as_wanted() -> None:
    at = host()
    at.set_up()
    at.module.faults.fail_joins(2)
    for expected in ("24", "24", "25"):
        assert events(at.type(f"SKJOIN {METER_ADDRESS}", 15))[-1] == expected


def test_a_hung_module_hears_and_says_nothing() -> None:
    at = host(echo=False)
    at.module.hang(at.at + 30)
    assert at.type("SKVER", 29) == b""
    at.wait(1)
    assert at.type("SKVER").startswith(b"EVER")


@pytest.mark.parametrize("boot_line", [b"", b"BOOT\r\n"])
def test_a_module_may_restart_by_itself_and_has_forgotten_everything(boot_line: bytes) -> None:
    at = host()
    at.join()
    at.module.restart(at.at + 5, boot_line=boot_line)
    assert at.wait(6) == boot_line
    assert lines(at.type("SKSREG S3")) == ["SKSREG S3", "ESREG FFFF", "OK"]
    assert b"FAIL ER10" in at.send(GET_POWER)


def test_a_restart_in_the_middle_of_a_command_leaves_it_unanswered() -> None:
    at = host()
    at.join()
    at.module.restart(at.at + 0.05)
    assert at.send(GET_POWER) == b""
    assert at.type("SKVER").startswith(b"SKVER\r\nEVER")


def test_an_exchanged_meter_answers_only_a_new_session() -> None:
    at = host()
    at.join()
    at.module.meter.exchange(at.at)
    assert payloads(at.send(GET_POWER, 30)) == []
    at.join()
    assert at.get(0x8D).properties[0].edt == b"SIM0000002\0\0"


def test_any_datagram_can_come_out_of_the_air() -> None:
    at = host("BP35A1")
    forged = GET_POWER.answer(Esv.GET_RES, (Property(0xE7, bytes(4)),)).to_bytes()
    at.module.inject(Datagram("00000000000000AA", forged, "", secured=False), at.at)
    [line] = lines(at.wait(1))
    assert line.split()[1] == "FE80:0000:0000:0000:0200:0000:0000:00AA"
    assert line.split()[6] == "0"


# --- manners


def test_a_question_over_another_is_a_violation_until_the_timer_ends() -> None:
    at = host()
    at.join()
    at.module.faults.lose_replies(2)
    at.send(GET_POWER, 10)
    at.send(GET_POWER, 21)
    assert len(at.module.violations) == 1
    at.send(GET_POWER, 10)
    assert len(at.module.violations) == 1


def test_a_question_after_an_answer_is_none() -> None:
    at = host()
    at.join()
    for _ in range(3):
        assert at.get(0xE7).esv is Esv.GET_RES
    assert at.module.violations == []
    assert [sent.payload for sent in at.module.sends] == [GET_POWER.to_bytes()] * 3


def test_a_receipt_is_no_question() -> None:
    at = host(meter={"confirmed_notifications": True})
    at.join()
    at.module.announce(at.at)
    [announced] = payloads(at.wait(1))
    at.module.faults.lose_replies(1)
    at.send(GET_POWER, 1)
    at.send(announced.answer_to_infc(), 1)
    assert at.module.violations == []
    assert at.module.meter.confirmed_tids == [announced.tid]


# --- without time


@pytest.mark.parametrize("model", MODELS)
def test_the_order_is_the_same_when_nothing_takes_time(model: str) -> None:
    printed = []
    for timing in ({}, {"timing": INSTANT}):
        at = host(model, **timing)
        text = b""
        for command in ("SKVER", "SKRESET", f"SKSETPWD C {PASSWORD}", f"SKSETRBID {ROUTE_B_ID}"):
            text += at.type(command)
        text += at.type("SKSCAN 2 FFFFFFFF 4" + (" 0" if at.dual else ""), 8)
        for command in ("SKSREG S2 39", "SKSREG S3 8CF5", f"SKJOIN {METER_ADDRESS}"):
            text += at.type(command, 10)
        printed.append(text)
    assert printed[0] == printed[1]


def test_instantly_means_at_the_same_moment() -> None:
    at = host("BP35A1", timing=INSTANT)
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


# --- the virtual port


def test_a_wait_at_the_port_ends_with_the_first_bytes() -> None:
    clock = VirtualClock(datetime.fromtimestamp(NOON, tz=UTC))
    port = SimulatedPort(SimulatedModule(make_meter(), echo=False), clock)
    port.write(b"SKRESET\r\n")
    assert port.read(10.0) == b"OK\r\n"
    assert clock.monotonic() == pytest.approx(0.6, abs=0.01)


def test_a_wait_at_the_port_ends_at_its_deadline() -> None:
    clock = VirtualClock(datetime.fromtimestamp(NOON, tz=UTC))
    port = SimulatedPort(SimulatedModule(make_meter(), echo=False), clock)
    port.write(b"SKRESET\r\n")
    assert port.read(0.25) == b""
    assert clock.monotonic() == pytest.approx(0.25)
    assert port.read(0) == b""
    assert clock.monotonic() == pytest.approx(0.25)


def test_the_wire_may_spoil_or_swallow_what_it_carries() -> None:
    clock = VirtualClock(datetime.fromtimestamp(NOON, tz=UTC))
    module = SimulatedModule(make_meter(), echo=False)
    port = SimulatedPort(module, clock, wire=lambda chunk: chunk.replace(b"OK\r\n", b"").replace(b"EVER", b"EV\xffR"))
    port.write(b"SKVER\r\n")
    assert port.read(1.0) == b"EV\xffR 1.5.2\r\n"
    assert port.read(1.0) == b""


def test_a_closed_or_unplugged_port_is_lost_and_another_can_be_opened() -> None:
    clock = VirtualClock(datetime.fromtimestamp(NOON, tz=UTC))
    module = SimulatedModule(make_meter(), echo=False)
    port = SimulatedPort(module, clock)
    port.close()
    port.close()
    with pytest.raises(PortLostError, match="closed"):
        port.read(1.0)
    port = SimulatedPort(module, clock)
    port.unplug()
    with pytest.raises(PortLostError, match="unplugged"):
        port.write(b"SKVER\r\n")
    port = SimulatedPort(module, clock)
    port.write(b"SKVER\r\n")
    assert port.read(1.0).startswith(b"EVER")


def test_the_virtual_clock_moves_only_when_waited_for() -> None:
    clock = VirtualClock(datetime(2026, 6, 1, 3, 0, tzinfo=UTC))
    assert (clock.monotonic(), clock.time_s) == (0.0, NOON)
    clock.sleep(90)
    clock.sleep(-1)
    clock.advance_to(NOON)
    assert clock.now() == datetime(2026, 6, 1, 3, 1, 30, tzinfo=UTC)
    assert clock.monotonic() == 90.0
    with pytest.raises(ValueError, match="aware"):
        VirtualClock(datetime(2026, 6, 1))  # noqa: DTZ001 - that is what is refused


def test_credentials_do_not_show_themselves() -> None:
    assert PASSWORD not in repr(Credentials())
    assert ROUTE_B_ID not in repr(Credentials())
    assert METER.to_bytes() == bytes.fromhex("028801")
