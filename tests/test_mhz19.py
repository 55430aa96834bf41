"""sensors.mhz19: published replies, every way a line can go wrong, and the honest marking of the warm-up."""

from __future__ import annotations

import errno
import json
import os
import termios
from pathlib import Path
from typing import Any

import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st

from sensors.errors import SensorError, SensorNotFoundError, SensorNotReadyError
from sensors.mhz19 import (
    READ_COMMAND,
    Mhz19,
    Mhz19Reading,
    Mhz19Reply,
    checksum,
    describe_failure,
    find_reply,
    open_serial_port,
    parse_reply,
)
from sensors.simulated_mhz19 import CONSOLE_TEXT, LOOK_ALIKE_FRAME, Mhz19Port, SimulatedMhz19
from tests.lab.clock import LabClock
from tests.lab.sensors import ScriptedPort

REPLIES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "mhz19.json").read_text())["replies"]
every_reply = pytest.mark.parametrize("vector", REPLIES, ids=[str(reply["id"]) for reply in REPLIES])

ERROR_WORDS = {"short": "short", "start": "start byte", "command": "another command", "checksum": "wrong checksum"}


def frame(co2_ppm: int, box: int = 65, status: int = 0, u: int = 0) -> bytes:
    """Build a valid reply, with the checksum worked out as the manual words it: invert the sum, add one."""
    body = bytes([0xFF, 0x86]) + co2_ppm.to_bytes(2, "big") + bytes([box, status]) + u.to_bytes(2, "big")
    return body + bytes([((0xFF - sum(body[1:]) % 256) + 1) % 256])


def test_every_vector_is_there() -> None:
    assert len(REPLIES) == 38


@every_reply
def test_nine_bytes_get_the_published_verdict(vector: dict[str, Any]) -> None:
    first_nine, expect = bytes.fromhex(vector["hex"])[:9], vector["expect"]
    if expect["ok"]:
        reply = parse_reply(first_nine)
        assert reply == Mhz19Reply(expect["co2"], expect["temperature"], expect["status"], expect["u"])
    else:
        with pytest.raises(SensorError, match=ERROR_WORDS[expect["error"]]) as caught:
            parse_reply(first_nine)
        if "want" in expect:
            assert f"expected 0x{expect['want']:02X}, got 0x{expect['got']:02X}" in str(caught.value)


@every_reply
def test_sliding_finds_the_first_valid_reply_or_none(vector: dict[str, Any]) -> None:
    received, expect = bytes.fromhex(vector["hex"]), vector["resync"]
    reply = find_reply(received)
    if expect is None:
        assert reply is None
    else:
        assert reply == parse_reply(received[expect["offset"] :][:9])
        assert (reply.co2_ppm, reply.temperature_c) == (expect["co2"], expect["temperature"])


def test_a_long_reply_is_refused() -> None:
    with pytest.raises(SensorError, match="expected 9 bytes, got 10"):
        parse_reply(frame(620) + b"\x00")


def test_nine_zero_bytes_are_refused_although_their_checksum_is_right() -> None:
    assert checksum(bytes(9)) == 0
    with pytest.raises(SensorError, match="start byte"):
        parse_reply(bytes(9))


def test_the_read_command_is_the_manual_s() -> None:
    assert bytes([0xFF, 0x01, 0x86, 0, 0, 0, 0, 0, 0x79]) == READ_COMMAND
    assert checksum(READ_COMMAND) == 0x79


@given(st.binary(max_size=40))
def test_any_bytes_give_a_reply_or_none_and_an_explanation(received: bytes) -> None:
    reply = find_reply(received)
    assert reply is None or 0 <= reply.co2_ppm <= 65535
    assert all(describe_failure(received))


@given(before=st.binary(max_size=30).filter(lambda data: 0xFF not in data), after=st.binary(max_size=30))
def test_a_reply_is_found_amid_noise_and_only_when_whole(before: bytes, after: bytes) -> None:
    reply = frame(812, box=63)
    assert find_reply(before + reply + after) == Mhz19Reply(812, 23, 0, 0)
    for cut in range(len(reply)):
        assert find_reply(before + reply[:cut]) is None


@given(position=st.integers(1, 8), bit=st.integers(0, 7))
def test_one_flipped_bit_never_passes(position: int, bit: int) -> None:
    spoiled = bytearray(frame(700))
    spoiled[position] ^= 1 << bit
    with pytest.raises(SensorError):
        parse_reply(bytes(spoiled))


@pytest.mark.parametrize(
    ("heard", "words"),
    [
        (b"", "no response.*5 V"),
        (READ_COMMAND, "our own command comes back: connect RX and TX to the sensor"),
        (LOOK_ALIKE_FRAME, "'BM' frames.*look-alike"),
        (b"\x00\xe2" + LOOK_ALIKE_FRAME, "look-alike"),
        (b"\x00" * 9, "line is dead"),
        (b"\xff" * 30, "line is dead"),
        (CONSOLE_TEXT, "login console"),
        (b"Password: BMW\r\n", "login console"),
        (bytes.fromhex("ff7901000000000086"), "another command: expected 0x86, got 0x79"),
        (bytes.fromhex("ff86018b3e00000000"), "wrong checksum: expected 0xB0, got 0x00 in ff 86 01 8b"),
        (bytes.fromhex("8602bc3e0000007e"), "short"),
    ],
)
def test_what_is_heard_instead_of_a_reply_is_named(heard: bytes, words: str) -> None:
    with pytest.raises(SensorError, match=words):
        raise SensorError(*describe_failure(heard))


def test_text_from_another_device_is_not_repeated_in_the_error() -> None:
    assert "0123456789AB" not in str(describe_failure(b"SKSETPWD C 0123456789AB\r\n"))


# --- the driver ---


class Bench:
    """The driver with a port on a clock; ports are what the next openings give."""

    def __init__(self, *ports: ScriptedPort | Mhz19Port | Exception, clock: LabClock, warm_up_s: float = 0.0) -> None:
        self.clock = clock
        self.ports = list(ports)
        self.opened = 0
        self.sensor = Mhz19(self._open, warm_up_s=warm_up_s, monotonic=clock.monotonic)

    def _open(self) -> ScriptedPort | Mhz19Port:
        self.opened += 1
        port = self.ports[0] if len(self.ports) == 1 else self.ports.pop(0)
        if isinstance(port, Exception):
            raise port
        return port

    def warming_up_after(self, seconds: float) -> bool:
        self.clock.sleep(seconds)
        return self.sensor.read().warming_up


@pytest.fixture
def clock() -> LabClock:
    return LabClock()


def simulated(clock: LabClock, **faults: object) -> tuple[SimulatedMhz19, Bench]:
    sensor = SimulatedMhz19(warm_up_s=0.0)
    for name, value in faults.items():
        setattr(sensor, name, value)
    return sensor, Bench(Mhz19Port(sensor, monotonic=clock.monotonic, sleep=clock.sleep), clock=clock)


def test_reads_co2_and_box_temperature(clock: LabClock) -> None:
    sensor, bench = simulated(clock)
    assert bench.sensor.read() == Mhz19Reading(620, 25, warming_up=False)
    sensor.co2_ppm, sensor.temperature_c = 1800, -3
    assert bench.sensor.read() == Mhz19Reading(1800, -3, warming_up=False)


def test_a_reply_is_taken_as_soon_as_it_is_whole(clock: LabClock) -> None:
    _, bench = simulated(clock)
    bench.sensor.read()
    assert clock.monotonic() == pytest.approx(0.02 + 9 * 10 / 9600, abs=0.001)


def test_a_sensor_without_temperature_gives_none(clock: LabClock) -> None:
    _, bench = simulated(clock, temperature_c=None)
    assert bench.sensor.read().temperature_c is None


@pytest.mark.parametrize(("box", "temperature_c"), [(19, None), (20, -20), (110, 70), (111, None), (255, None)])
def test_an_implausible_box_temperature_is_left_out(clock: LabClock, box: int, temperature_c: int | None) -> None:
    bench = Bench(ScriptedPort(clock, frame(620, box=box)), clock=clock)
    assert bench.sensor.read() == Mhz19Reading(620, temperature_c, warming_up=False)


@pytest.mark.parametrize("co2_ppm", [1, 399, 400, 1999, 2000, 2001, 4999, 5001, 9999])
def test_every_possible_concentration_is_kept(clock: LabClock, co2_ppm: int) -> None:
    assert Bench(ScriptedPort(clock, frame(co2_ppm)), clock=clock).sensor.read().co2_ppm == co2_ppm


@pytest.mark.parametrize("co2_ppm", [10001, 32767, 65535])
def test_an_impossible_concentration_is_refused(clock: LabClock, co2_ppm: int) -> None:
    with pytest.raises(SensorError, match=f"{co2_ppm} ppm is more than any range"):
        Bench(ScriptedPort(clock, frame(co2_ppm)), clock=clock).sensor.read()


@pytest.mark.parametrize("reply", [frame(410, status=1), frame(410, u=15000), frame(0)])
def test_boot_values_are_refused_and_start_the_warm_up_again(clock: LabClock, reply: bytes) -> None:
    bench = Bench(ScriptedPort(clock, frame(700), reply, frame(700), frame(700)), clock=clock, warm_up_s=180.0)
    bench.sensor.read()
    clock.sleep(200.0)
    with pytest.raises(SensorError, match="booting"):
        bench.sensor.read()
    assert bench.warming_up_after(170.0)
    assert not bench.warming_up_after(10.0)


@pytest.mark.parametrize(("status", "u"), [(64, 0), (232, 10752), (0, 25856), (2, 14999)])
def test_other_status_bytes_mean_nothing(clock: LabClock, status: int, u: int) -> None:
    assert Bench(ScriptedPort(clock, frame(818, status=status, u=u)), clock=clock).sensor.read().co2_ppm == 818


def test_a_low_reading_is_logged_once(clock: LabClock, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(ScriptedPort(clock, frame(388), frame(390)), clock=clock)
    bench.sensor.read()
    bench.sensor.read()
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "MH-Z19: 388 ppm is less than fresh air (400 ppm): its zero has drifted"
    ]


def test_nothing_but_the_read_command_is_ever_sent(clock: LabClock) -> None:
    port = ScriptedPort(clock, b"noise", b"", frame(500), frame(0), LOOK_ALIKE_FRAME)
    bench = Bench(port, clock=clock)
    bench.sensor.read()
    for _ in range(2):
        with pytest.raises(SensorError):
            bench.sensor.read()
    assert set(port.written) == {READ_COMMAND}


def test_the_input_is_flushed_before_every_command(clock: LabClock) -> None:
    port = ScriptedPort(clock, b"", frame(500)[1:], frame(500))
    Bench(port, clock=clock).sensor.read()
    assert port.flushes == len(port.written) == 3


def test_a_byte_left_over_does_not_shift_later_replies(clock: LabClock) -> None:
    sensor, bench = simulated(clock)
    for co2_ppm in (600, 601, 602):
        sensor.co2_ppm = co2_ppm
        sensor.stray = b"\x86"
        assert bench.sensor.read().co2_ppm == co2_ppm


@pytest.mark.parametrize("stray", [b"\x00", b"\xff", b"\xff\x86", bytes.fromhex("0000000c")])
def test_stray_bytes_before_a_reply_are_skipped(clock: LabClock, stray: bytes) -> None:
    _, bench = simulated(clock, stray=stray)
    assert bench.sensor.read().co2_ppm == 620
    assert clock.monotonic() < 0.2


def test_a_reply_in_two_pieces_is_put_together(clock: LabClock) -> None:
    _, bench = simulated(clock, split_s=0.4)
    assert bench.sensor.read().co2_ppm == 620
    assert clock.monotonic() < 0.6


def test_the_echo_of_a_half_duplex_adapter_before_the_reply_does_no_harm(clock: LabClock) -> None:
    assert Bench(ScriptedPort(clock, READ_COMMAND + frame(505)), clock=clock).sensor.read().co2_ppm == 505


@pytest.mark.parametrize("fault", ["silences_left", "wrong_checksums_left"])
def test_two_failed_attempts_cost_no_reading(clock: LabClock, fault: str) -> None:
    _, bench = simulated(clock, **{fault: 2})
    assert bench.sensor.read().co2_ppm == 620
    assert bench.opened == 1


@pytest.mark.parametrize(
    ("fault", "value", "words"),
    [
        ("silent", True, "no response"),
        ("wrong_checksums_left", 3, "wrong checksum"),
        ("echo", True, "our own command"),
        ("pushed", LOOK_ALIKE_FRAME, "look-alike"),
        ("pushed", CONSOLE_TEXT, "login console"),
    ],
)
def test_a_fault_ends_within_three_seconds_and_the_next_reading_works_when_it_is_over(
    clock: LabClock, fault: str, value: object, words: str
) -> None:
    sensor, bench = simulated(clock)
    good = getattr(sensor, fault)
    setattr(sensor, fault, value)
    with pytest.raises(SensorError, match=words):
        bench.sensor.read()
    assert clock.monotonic() <= 3.0
    setattr(sensor, fault, good)
    assert bench.sensor.read().co2_ppm == 620
    assert bench.opened == 1


def test_a_port_that_stays_silent_is_opened_again(clock: LabClock) -> None:
    stuck, whole = ScriptedPort(clock, *[b""] * 6), ScriptedPort(clock, frame(640))
    bench = Bench(stuck, whole, clock=clock)
    for _ in range(2):
        with pytest.raises(SensorError, match="no response"):
            bench.sensor.read()
    assert stuck.closed == 1
    assert bench.sensor.read().co2_ppm == 640


def test_endless_noise_ends_within_three_seconds(clock: LabClock) -> None:
    class Noise(ScriptedPort):
        def read(self, size: int, /) -> bytes:
            clock.sleep(size * 10 / 9600)
            return b"\xa5" * size

    with pytest.raises(SensorError, match="start byte"):
        Bench(Noise(clock), clock=clock).sensor.read()
    assert clock.monotonic() <= 3.0


def test_a_flood_does_not_hang_the_reading(clock: LabClock) -> None:
    class Flood(ScriptedPort):
        def read(self, size: int, /) -> bytes:
            return b"\xa5" * size

    with pytest.raises(SensorError):
        Bench(Flood(clock), clock=clock).sensor.read()


def test_a_reply_after_its_deadline_still_counts(clock: LabClock) -> None:
    _, bench = simulated(clock, split_s=0.65)
    assert bench.sensor.read().co2_ppm == 620


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EIO, os.strerror(errno.EIO)), "still plugged in"),
        (termios.error(errno.EIO, os.strerror(errno.EIO)), "still plugged in"),
        (
            serial.SerialException("device reports readiness to read but returned no data (multiple access on port?)"),
            "another program.*getty",
        ),
    ],
)
def test_a_port_that_fails_is_closed_and_opened_again(clock: LabClock, error: Exception, words: str) -> None:
    broken, whole = ScriptedPort(clock, error), ScriptedPort(clock, frame(640))
    bench = Bench(broken, whole, clock=clock)
    with pytest.raises(SensorError, match=words):
        bench.sensor.read()
    assert broken.closed == 1
    assert bench.sensor.read().co2_ppm == 640


def test_one_port_is_kept_open(clock: LabClock) -> None:
    _, bench = simulated(clock)
    for _ in range(5):
        bench.sensor.read()
    assert bench.opened == 1


def test_nothing_is_opened_before_the_first_reading(clock: LabClock) -> None:
    _, bench = simulated(clock)
    bench.sensor.close()
    assert bench.opened == 0


def test_a_port_that_cannot_be_opened_is_tried_again_at_the_next_reading(clock: LabClock) -> None:
    bench = Bench(SensorNotFoundError("gone"), ScriptedPort(clock, frame(640)), clock=clock)
    with pytest.raises(SensorNotFoundError, match="gone"):
        bench.sensor.read()
    assert bench.sensor.read().co2_ppm == 640


# --- warm-up ---


def scripted(clock: LabClock, *co2_ppm: int) -> Bench:
    return Bench(ScriptedPort(clock, *map(frame, co2_ppm)), clock=clock, warm_up_s=180.0)


def test_readings_are_marked_for_the_warm_up_time_after_opening(clock: LabClock) -> None:
    bench = scripted(clock, 410, 410, 410, 410)
    marks = [bench.warming_up_after(0.0), bench.warming_up_after(90.0), bench.warming_up_after(89.0)]
    assert marks == [True, True, True]
    assert not bench.warming_up_after(1.0)


@pytest.mark.parametrize("values", [(388, 555, 555, 555), (500, 5000, 5000, 5000), (400, 400, 448, 448)])
def test_the_single_jump_of_a_warming_sensor_does_not_end_the_mark(clock: LabClock, values: tuple[int, ...]) -> None:
    bench = scripted(clock, *values)
    assert [bench.warming_up_after(20.0) for _ in values] == [True] * 4


def test_a_value_that_keeps_changing_ends_the_mark_early_and_for_good(clock: LabClock) -> None:
    bench = scripted(clock, 640, 642, 639, 639, 639)
    assert [bench.warming_up_after(10.0) for _ in range(5)] == [True, True, False, False, False]


def marks(clock: LabClock, settled_ppm: int, lost: int, *after_ppm: int) -> list[bool]:
    """Return the marks of what comes after *lost* readings without a reply, twenty seconds apart."""
    settled, silence = [frame(settled_ppm), frame(settled_ppm)], [b""] * 3 * lost
    bench = Bench(ScriptedPort(clock, *settled, *silence, *map(frame, after_ppm)), clock=clock, warm_up_s=180.0)
    assert bench.warming_up_after(0.0)
    assert not bench.warming_up_after(181.0)
    for _ in range(lost):
        with pytest.raises(SensorError):
            bench.sensor.read()
    return [bench.warming_up_after(20.0) for _ in after_ppm]


@pytest.mark.parametrize("values", [(604, 604, 604, 604), (554, 600, 650, 601)])
def test_one_missed_reading_does_not_unsettle_a_sensor_that_goes_on_from_where_it_was(
    clock: LabClock, values: tuple[int, ...]
) -> None:
    assert marks(clock, 604, 1, *values) == [False] * 4


@pytest.mark.parametrize(
    ("settled_ppm", "values", "expected"),
    [
        (640, (410, 410, 410, 410), [True] * 4),
        (412, (388, 555, 555, 555), [False, True, True, True]),  # 388 is as true as the 412 before it
        (900, (500, 5000, 5000, 5000), [True] * 4),
        (430, (400, 448, 490, 490), [False, False, True, True]),  # it walks away from what it was
    ],
)
def test_a_sensor_that_restarted_within_one_missed_reading_is_marked_by_its_jump(
    clock: LabClock, settled_ppm: int, values: tuple[int, ...], expected: list[bool]
) -> None:
    """The values are those that sensors were seen to show while they warmed up."""
    assert marks(clock, settled_ppm, 1, *values) == expected


def test_a_sensor_that_was_silent_for_longer_is_marked_again_since_it_may_have_lost_its_power(clock: LabClock) -> None:
    assert marks(clock, 640, 2, 640, 640) == [True, True]


def test_a_missed_reading_during_the_warm_up_begins_it_anew(clock: LabClock) -> None:
    bench = Bench(ScriptedPort(clock, frame(410), b"", b"", b"", frame(410), frame(410)), clock=clock, warm_up_s=180.0)
    bench.sensor.read()
    clock.sleep(170.0)
    with pytest.raises(SensorError):
        bench.sensor.read()
    assert bench.warming_up_after(20.0)
    assert not bench.warming_up_after(170.0)


@pytest.mark.parametrize("reply", [frame(0), frame(410, status=1), frame(410, u=15000)])
def test_a_sensor_without_a_value_is_booting_for_its_warm_up_and_then_faulty(clock: LabClock, reply: bytes) -> None:
    """A value of 0 ppm after the start is in WifWaf/MH-Z19 issue 6; for ever, in arendst/Tasmota issue 16309."""
    bench = Bench(ScriptedPort(clock, *[reply] * 6, frame(700), reply), clock=clock, warm_up_s=180.0)
    for _ in range(3):
        with pytest.raises(SensorNotReadyError, match="booting"):
            bench.sensor.read()
        clock.sleep(59.0)
    clock.sleep(3.0)
    for _ in range(3):
        with pytest.raises(SensorError, match=r"no value.*after 180 s.*supply") as caught:
            bench.sensor.read()
        assert not isinstance(caught.value, SensorNotReadyError)
        clock.sleep(60.0)
    assert bench.sensor.read().warming_up  # switched off and on: it begins anew
    with pytest.raises(SensorNotReadyError):
        bench.sensor.read()


def test_a_missed_reply_does_not_make_a_faulty_sensor_a_booting_one(clock: LabClock) -> None:
    bench = Bench(ScriptedPort(clock, frame(0), b"", b"", b"", frame(0)), clock=clock, warm_up_s=180.0)
    with pytest.raises(SensorNotReadyError):
        bench.sensor.read()
    clock.sleep(170.0)
    with pytest.raises(SensorError, match="no response"):
        bench.sensor.read()
    clock.sleep(10.0)
    with pytest.raises(SensorError, match="still has no value"):
        bench.sensor.read()


@pytest.mark.parametrize("end_ppm", [5000, 10000])
def test_a_settled_sensor_at_the_end_of_its_range_has_no_value(clock: LabClock, end_ppm: int) -> None:
    """The reading is cut off at 2000, 5000 or 10000 ppm by the range. Source: manual MH-Z19B v1.5, table of ranges."""
    bench = Bench(ScriptedPort(clock, frame(700), *[frame(end_ppm)] * 3, frame(1200)), clock=clock)
    assert bench.sensor.read().co2_ppm == 700
    for _ in range(3):
        with pytest.raises(SensorError, match=f"{end_ppm} ppm is the end of its range"):
            bench.sensor.read()
    assert bench.sensor.read().co2_ppm == 1200


def test_2000_in_a_row_is_the_end_of_a_range_and_alone_it_is_a_value(clock: LabClock) -> None:
    bench = Bench(ScriptedPort(clock, *map(frame, (1990, 2000, 1995, 2000, 2000, 2000, 1980))), clock=clock)
    assert [bench.sensor.read().co2_ppm for _ in range(4)] == [1990, 2000, 1995, 2000]
    for _ in range(2):
        with pytest.raises(SensorError, match="2000 ppm is the end of its range"):
            bench.sensor.read()
    assert bench.sensor.read().co2_ppm == 1980


def test_what_lies_within_the_range_that_was_seen_is_a_value(clock: LabClock) -> None:
    bench = Bench(ScriptedPort(clock, *map(frame, (2001, 2000, 2000, 5001, 5000, 5000))), clock=clock)
    assert [bench.sensor.read().co2_ppm for _ in range(6)] == [2001, 2000, 2000, 5001, 5000, 5000]


def test_the_simulated_warm_up_is_marked_to_its_end(clock: LabClock) -> None:
    sensor = SimulatedMhz19(powered_at=clock.monotonic(), warm_up_s=180.0)
    port = Mhz19Port(sensor, monotonic=clock.monotonic, sleep=clock.sleep)
    bench = Bench(port, clock=clock, warm_up_s=180.0)
    readings = []
    for minute in range(5):
        clock.sleep(minute * 60.0 - clock.monotonic())
        readings.append(bench.sensor.read())
    assert [(reading.co2_ppm, reading.warming_up) for reading in readings] == [
        (410, True),
        (410, True),
        (410, True),
        (620, False),
        (620, False),
    ]


# --- opening a real port ---


def test_a_missing_device_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(SensorNotFoundError, match="serial9 is not there: check the path"):
        open_serial_port(str(tmp_path / "serial9"))


def test_a_file_is_no_serial_port(tmp_path: Path) -> None:
    path = tmp_path / "serial0"
    path.write_text("")
    for other in (str(path), str(tmp_path), os.devnull):
        with pytest.raises(SensorError, match=f"{other} is not a serial port: check the path"):
            open_serial_port(other)


def test_a_port_in_use_is_named() -> None:
    ours, theirs = os.openpty()
    device = os.ttyname(theirs)
    try:
        port = open_serial_port(device)
        with pytest.raises(SensorError, match=r"is in use: stop the other program.*getty"):
            open_serial_port(device)
        port.close()
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_refused_device_names_the_group(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise serial.SerialException(number, "could not open port")

    monkeypatch.setattr(serial, "Serial", refuse)
    with pytest.raises(SensorError, match="group dialout"):
        open_serial_port("/dev/serial0")
