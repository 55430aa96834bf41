"""The simulated module says byte for byte what published logs of real ones show."""

from __future__ import annotations

import doctest
import subprocess
import sys
from datetime import UTC, datetime
from random import Random

import pytest

import skstack.simulator
from skstack.echonet import CONTROLLER, NODE_PROFILE, Esv, Frame, Property
from skstack.simulator import MeterOptions
from tests.lab.module import (
    METER_ADDRESS,
    METER_MAC,
    PASSWORD,
    ROUTE_B_ID,
    lines,
    power_up,
    shape,
    shapes,
)
from tests.lab.transcripts import BY_NUMBER

DIALECTS = ["single", "dual"]
GET_POWER = Frame.get(1, [0xE7])


def shapes_of_log(number: str) -> list[str]:
    return [shape(line.decode("latin-1")) for line in BY_NUMBER[number].lines]


# --- as in the logs of real modules


def test_start_up_as_a_ratoc_prints_it() -> None:
    at = power_up("RS-WSUHA-P")
    commands: list[bytes | str] = [
        "SKVER",
        b"ROPT\r",
        b"RUART\r",
        "SKRESET",
        f"SKSETPWD C {PASSWORD}",
        f"SKSETRBID {ROUTE_B_ID}",
    ]
    typed = b"".join(at.type(command) for command in commands)
    assert typed == BY_NUMBER["01"].wire


def test_a_reset_takes_its_time_and_the_commands_behind_it_wait() -> None:
    at = power_up("BP35A1")
    for command in (b"SKTERM\r\n", b"SKRESET\r\n", b"SKSREG SFE 0\r\n", b"SKVER\r\n"):
        at.type(command, 0)
    first, rest = at.wait(0.5), at.wait(0.5)
    assert lines(first) == ["SKTERM", "FAIL ER10", "SKRESET"]
    assert lines(rest)[:4] == [line.decode() for line in BY_NUMBER["36"].lines[:4]]


def test_a_scan_as_a_ratoc_prints_it() -> None:
    at = power_up("RS-WSUHA-P")
    at.type(f"SKSETRBID {ROUTE_B_ID}")
    printed = shapes(at.type("SKSCAN 2 FFFFFFFF 6 0 ", 20.0))
    log = shapes_of_log("02")
    log[5] = "EVENT" + log[5]  # the word was lost between two reads
    assert printed == log[3:]


def test_a_scan_takes_as_long_as_that_of_a_bp35a1() -> None:
    at = power_up("BP35A1", echo=False, meter={"channel": 0x3B})
    at.type(f"SKSETRBID {ROUTE_B_ID}")
    at.type("SKSCAN 2 FFFFFFFF 6", 0)
    seconds = {piece.split()[0] + piece.split()[1]: at_s for at_s, piece in at.timed(20.0) if piece != b"OK\r\n"}
    # Milliseconds after boot in the log: OK 8030, EVENT 20 24700, EPANDESC 25353, EVENT 22 26040.
    assert seconds[b"EVENT20"] == pytest.approx(16.67, abs=0.2)
    assert seconds[b"EPANDESCChannel:3B"] == pytest.approx(17.32, abs=0.2)
    assert seconds[b"EVENT22"] == pytest.approx(18.01, abs=0.2)


def test_a_join_as_a_ratoc_prints_it() -> None:
    at = power_up("RS-WSUHA-P")
    at.set_up()
    at.type("SKSREG SFE 1")
    printed = [shape(line) for line in lines(at.type(f"SKLL64 {METER_MAC}"))]
    printed += shapes(at.type(f"SKJOIN {METER_ADDRESS}", 8.0))[2:]  # its echo and OK are not in the published log
    assert printed == shapes_of_log("03")[4:]


def test_the_second_handshake_message_carries_the_id_in_clear() -> None:
    at = power_up()
    at.set_up()
    printed = at.type(f"SKJOIN {METER_ADDRESS}", 8.0)
    [challenge] = [line for line in lines(printed) if " 0068 " in line]
    assert bytes.fromhex(challenge.split()[-1]).endswith(b"SM" + ROUTE_B_ID.encode())


def test_a_dss_stick_prints_empty_lines_after_its_join() -> None:
    at = power_up("RL7023 Stick-D/DSS")
    at.set_up()
    assert at.type(f"SKJOIN {METER_ADDRESS}", 8.0).endswith(b"D50401028801\r\n\r\n\r\n\r\n\r\n")
    assert BY_NUMBER["43"].wire.endswith(b"D50401028801\r\n\r\n\r\n\r\n\r\n")


def test_a_get_as_a_bp35a1_responds_to_it() -> None:
    at = power_up("BP35A1", meter={"lacks": frozenset({0xD3})})
    at.join()
    printed = shapes(at.send(Frame.get(1, [0xD3])))
    log = [shape(line).replace("0000:" * 7 + "0000", "<ip>") for line in shapes_of_log("06")]
    assert printed == log


def test_the_send_is_confirmed_before_ok_and_the_response_comes_after() -> None:
    at = power_up("BP35A1")
    at.join()
    payload = GET_POWER.to_bytes()
    at.module.receive(at.send_header(len(payload)) + payload, at.at)
    seconds = {piece.split()[0]: at_s for at_s, piece in at.timed(4.0)}
    # 38 exchanges of a real one: EVENT 21 after 0.115 to 0.343 s, OK within 1 ms of it, ERXUDP after 0.340 to 0.810 s.
    assert 0.115 <= seconds[b"EVENT"] <= seconds[b"OK"] <= seconds[b"EVENT"] + 0.002
    assert 0.340 <= seconds[b"ERXUDP"] <= 0.810


def test_the_echo_of_a_send_ends_before_its_payload() -> None:
    at = power_up()
    at.join()
    at.type("SKSREG SFE 1")
    announced = Frame(1, NODE_PROFILE, NODE_PROFILE, Esv.INF, (Property(0xD5, b"\x01" + CONTROLLER),))
    printed = at.send(announced)
    assert printed.decode().replace(METER_ADDRESS, "<ip>").encode() == BY_NUMBER["15"].wire.replace(
        b"FE80:0000:0000:0000:021C:6400:0001:8CF5", b"<ip>"
    )


def test_the_echo_of_an_ips_stick_goes_on_with_the_payload() -> None:
    at = power_up("RL7023 Stick-D/IPS")
    at.join()
    at.type("SKSREG SFE 1")
    assert at.send(GET_POWER).startswith(at.send_header(14) + GET_POWER.to_bytes() + b"\r\nEVENT 21")


def test_the_end_of_a_session_as_a_bp35a1_prints_it() -> None:
    at = power_up("BP35A1")
    at.join()
    printed = lines(at.type("SKTERM", 2.0))
    assert [line.split()[0] for line in printed] == ["EVENT", "OK", "ERXUDP", "EVENT"]
    assert shape(printed[0]) == shapes_of_log("60")[0] == "EVENT 21 <ip> 02"
    assert shape(printed[3]) == shapes_of_log("60")[3] == "EVENT 27 <ip>"
    assert not at.module.has_session


def test_a_failed_send_gets_ok_all_the_same() -> None:
    at = power_up("BP35A1")
    at.join()
    at.module.faults.fail_sends(1)
    assert shapes(at.send(GET_POWER)) == shapes_of_log("62")


def test_responses_to_product_commands_end_with_cr_alone() -> None:
    at = power_up("BP35A1", echo=False, hex_payload=False)
    assert at.type(b"ROPT\r") + at.type(b"WOPT 01\r") == BY_NUMBER["59"].wire
    assert at.type(b"ROPT\r") == b"OK 01\r"
    assert at.module.flash_writes == 1


def test_some_firmware_adds_a_parameter_to_event_25() -> None:
    at = power_up("RL7023 Stick-D/IPS")
    at.set_up()
    assert f"EVENT 25 {METER_ADDRESS} 00" in lines(at.type(f"SKJOIN {METER_ADDRESS}", 8.0))


def test_register_sa2_adds_the_signal_to_every_datagram() -> None:
    at = power_up()
    at.join()
    assert [len(line.split()) for line in lines(at.send(GET_POWER)) if "ERXUDP" in line] == [10]
    at.type("SKSREG SA2 1")
    [line] = [line for line in lines(at.send(GET_POWER)) if "ERXUDP" in line]
    assert len(line.split()) == len(BY_NUMBER["65"].lines[1].split()) == 11
    assert line.split()[6:9] == ["A7", "1", "0"]


def test_register_sa2_changes_nothing_on_a_single_hop_module() -> None:
    at = power_up("BP35A1")
    at.join()
    assert at.type("SKSREG SA2 1") == b"OK\r\n"
    assert [len(line.split()) for line in lines(at.send(GET_POWER)) if "ERXUDP" in line] == [9]


def test_credentials_do_not_show_themselves() -> None:
    assert PASSWORD not in repr(MeterOptions())
    assert ROUTE_B_ID not in repr(MeterOptions())


@pytest.mark.system
def test_the_simulator_needs_no_serial_library() -> None:
    source = """
import sys
sys.modules["serial"] = None  # an import of it fails
import skstack.simulator
module = skstack.simulator.SimulatedModule(skstack.simulator.SimulatedMeter(skstack.simulator.Household.typical()))
module.receive(b"SKVER\\r\\n", 1.8e9)
assert module.take_output(1.8e9 + 1).endswith(b"OK\\r\\n")
"""
    subprocess.run([sys.executable, "-c", source], check=True)


def test_the_example_of_the_room_is_true() -> None:
    names = {"datetime": datetime, "UTC": UTC, "Random": Random, **vars(skstack.simulator)}
    finder, runner = doctest.DocTestParser(), doctest.DocTestRunner()
    example = finder.get_doctest(str(skstack.simulator.__doc__), names, "skstack.simulator", None, 0)
    assert runner.run(example) == (0, 8)
