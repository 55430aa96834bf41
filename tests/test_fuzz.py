"""Whatever comes from outside, a wrong input raises the documented error and no other, in linear time.

A few thousand inputs of each kind by default, a million with -m slow; a failure names seed and input.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

import settings
from ini_file import SettingsError
from sensors.bme280 import HIGHEST_C, HIGHEST_HPA, LOWEST_C, LOWEST_HPA, Bme280
from sensors.errors import SensorError
from sensors.mhz19 import HIGHEST_PPM, READ_COMMAND, READ_SLICE_S, Mhz19
from sensors.simulated_bme280 import SimulatedBme280
from sensors.simulated_mhz19 import SimulatedMhz19
from skstack import FrameError, MalformedLineError, SkStackError
from skstack.echonet import CONTROLLER, METER, EnergyScale, Epc, Esv, Frame, Property
from skstack.echonet.device import decode_clock, decode_maker_code, decode_release, decode_serial_number
from skstack.echonet.frame import parse_property_map
from skstack.echonet.history import decode_day_history, decode_scheduled_energy
from skstack.echonet.properties import decode_current_a, decode_power_w, decode_reading
from skstack.echonet.registers import decode_coefficient, decode_digits, decode_register, decode_unit_kwh
from skstack.lines import LineBuffer
from skstack.parser import parse_line, shown
from skstack.simulator import VirtualClock
from storage.records import Bme280Row, Co2Row, EnergyRow, PowerRow, RadioEventRow, Round
from storage.rows_json import round_from_json, round_to_json
from tests.lab.fuzz import nearly
from tests.lab.transcripts import TRANSCRIPTS

Take = Callable[[random.Random], None]  # makes one input and hands it over

AT = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
ID, PASSWORD = "00112233445566778899AABBCCDDEEFF", "ZZ0TEST0ZZ99"

# --- the radio


def lines() -> Take:
    wires = [transcript.wire for transcript in TRANSCRIPTS if transcript.wire]
    buffer = LineBuffer()

    def take(rng: random.Random) -> None:
        right = rng.choice(wires)
        start = rng.randrange(len(right))
        sent = nearly(rng, [right[start : start + 200]]) + rng.choice([b"", b"\r\n", b"\r"])
        cut = rng.randrange(len(sent) + 1)
        for line in buffer.feed(sent[:cut]) + buffer.feed(sent[cut:]):
            with suppress(MalformedLineError):
                assert shown(line, parse_line(line))
        assert buffer.pending <= 4096

    return take


RESPONSES = [
    Frame(
        1,
        METER,
        CONTROLLER,
        Esv.GET_RES,
        (Property(0xE7, bytes.fromhex("000001F8")), Property(0xE8, bytes.fromhex("00280014"))),
    ),
    Frame(2, METER, CONTROLLER, Esv.GET_SNA, (Property(0xE0, bytes.fromhex("0001E240")), Property(0xE3, b""))),
    Frame(3, METER, CONTROLLER, Esv.INF, (Property(0xEA, bytes.fromhex("07EA06010C00000001E240")),)),
]


def frames() -> Take:
    right = [frame.to_bytes() for frame in RESPONSES]

    def take(rng: random.Random) -> None:
        data = nearly(rng, right)
        with suppress(FrameError):
            frame = Frame.from_bytes(data)
            assert Frame.from_bytes(frame.to_bytes()) == frame

    return take


def properties() -> Take:
    right: dict[Callable[[bytes], object], bytes] = {
        decode_power_w: bytes.fromhex("FFFFFFF3"),
        decode_current_a: bytes.fromhex("00287FFE"),
        decode_register: bytes.fromhex("05F5E0FF"),
        decode_coefficient: bytes.fromhex("00000001"),
        decode_unit_kwh: b"\x0a",
        decode_digits: b"\x08",
        decode_scheduled_energy: bytes.fromhex("07EA06010C00000001E240"),
        decode_day_history: b"\x00\x01" + bytes.fromhex("0001E240") * 48,
        decode_release: b"\0\0F\0",
        decode_maker_code: bytes.fromhex("000016"),
        decode_serial_number: b"AB1234567890",
        lambda edt: decode_clock(edt[:2], edt[2:]): bytes.fromhex("0C0007EA0601"),
        parse_property_map: bytes.fromhex("0B8081828897989D9EE0E7E8"),
    }
    scale = EnergyScale(1, Decimal("0.1"), 8)
    told = [Epc.POWER, Epc.CURRENTS, Epc.IMPORT_ENERGY, Epc.EXPORT_ENERGY]

    def take(rng: random.Random) -> None:
        decode = rng.choice(list(right))
        edt = nearly(rng, [right[decode]])
        with suppress(FrameError):
            decode(edt)
        values: dict[int, bytes] = {epc: nearly(rng, [bytes.fromhex("0001E240")]) for epc in told}
        decode_reading(values, scale, report=lambda _epc, _error: None)  # what is no value is left out, and reported

    return take


# --- the disk


def outbox_bodies() -> Take:
    right = [
        round_to_json(stored).encode()
        for stored in (
            Round(
                (PowerRow(AT, 600, Decimal("4.0"), None, Decimal("12345.6"), Decimal("0")), Co2Row(AT, 600, 25, False))
            ),
            Round((EnergyRow(AT, Decimal("1.2"), None, "read"), Bme280Row(AT, 21.5, 40.0, 1000.25))),
            Round((RadioEventRow(AT, "joined", 1.5, detail="x"),)),
        )
    ]

    def take(rng: random.Random) -> None:
        body = nearly(rng, right).decode("utf-8", "replace")
        with suppress(ValueError):
            stored = round_from_json(body)
            assert round_from_json(round_to_json(stored)) == stored

    return take


def what_is_said_of(path: Path) -> str:
    try:
        return repr(settings.load(path).route_b)
    except SettingsError as error:
        return str(error)


def ini_files(directory: Path) -> Take:
    sample = Path(settings.__file__).with_name("power_consumption.ini-sample").read_bytes()
    credentials = f"[routeB]\nid = {ID}\npassword = {PASSWORD}\n".encode()
    extra = b"[graph]\ntimezone = Asia/Tokyo\n[tariff]\ntiers = 120: 29.8, 300: 36.4, 40.5\nbasic = 311.75\n"
    right = [credentials, credentials + extra, sample]
    path = directory / "fuzzed.ini"
    path.touch(0o600)

    def take(rng: random.Random) -> None:
        content = nearly(rng, right)
        path.write_bytes(content)
        said = what_is_said_of(path)
        assert PASSWORD not in said
        assert ID not in said

    return take


# --- the sensors


class NoisyPort:
    """A serial port on which a reply comes with something done to it."""

    def __init__(self, clock: VirtualClock) -> None:
        sensor = SimulatedMhz19()
        sensor.receive(READ_COMMAND, at=0.0)
        self.right = [sensor.take_output(at=1.0)]
        self.rng = random.Random(0)
        self._clock = clock
        self._waiting = b""

    def read(self, size: int, /) -> bytes:
        if not self._waiting:
            self._clock.sleep(READ_SLICE_S)
        taken, self._waiting = self._waiting[:size], self._waiting[size:]
        return taken

    def write(self, data: bytes, /) -> int:
        self._waiting = nearly(self.rng, self.right)
        return len(data)

    def reset_input_buffer(self) -> None:
        self._waiting = b""

    def close(self) -> None:
        """Do nothing."""


def mhz19_replies() -> Take:
    clock = VirtualClock(AT)
    port = NoisyPort(clock)
    sensor = Mhz19(lambda: port, monotonic=clock.monotonic)

    def take(rng: random.Random) -> None:
        port.rng = random.Random(rng.random())
        with suppress(SensorError):
            assert 0 < sensor.read().co2_ppm <= HIGHEST_PPM

    return take


class NoisyBus:
    """A bus on which some of the bytes of a simulated chip change on their way, and some blocks are short."""

    def __init__(self, clock: VirtualClock) -> None:
        self._chip = SimulatedBme280(clock.monotonic)
        self.rng = random.Random(0)

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int, /) -> list[int]:
        block = self._chip.read_i2c_block_data(i2c_addr, register, length)
        return list(nearly(self.rng, [bytes(block)])) if self.rng.random() < 0.1 else block

    def write_byte_data(self, i2c_addr: int, register: int, value: int, /) -> None:
        self._chip.write_byte_data(i2c_addr, register, value)

    def close(self) -> None:
        """Do nothing."""


def bme280_registers() -> Take:
    clock = VirtualClock(AT)
    bus = NoisyBus(clock)
    sensor = Bme280(lambda: bus, sleep=clock.sleep)

    def take(rng: random.Random) -> None:
        bus.rng = random.Random(rng.random())
        with suppress(SensorError):
            reading = sensor.read()
            assert LOWEST_C <= reading.temperature_c <= HIGHEST_C
            assert 0 <= reading.humidity_pct <= 100
            assert LOWEST_HPA <= reading.pressure_hpa <= HIGHEST_HPA

    return take


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("number", [2_000, pytest.param(500_000, marks=[pytest.mark.slow, pytest.mark.timeout(7200)])])
@pytest.mark.parametrize("kind", [lines, frames, properties, outbox_bodies, ini_files, mhz19_replies, bme280_registers])
@pytest.mark.system
def test_a_wrong_input_raises_the_documented_error(
    kind: Callable[..., Take], number: int, seed: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")  # a million inputs leave a line each, or several
    take = kind(tmp_path) if kind is ini_files else kind()
    rng = random.Random(seed)
    for count in range(number):
        try:
            take(rng)
        except Exception as error:
            error.add_note(f"seed {seed}, input {count}")
            raise


# --- how long it takes


def feed_lines(size: int) -> None:
    buffer = LineBuffer()
    for line in buffer.feed(b"ERXUDP " * (size // 7)) + buffer.feed(b"\r\n" + b"EVENT 25\r\n" * (size // 10)):
        with suppress(MalformedLineError):
            parse_line(line)


def parse_long_line(start: bytes, filling: bytes, size: int) -> None:
    with suppress(MalformedLineError):
        parse_line(start + filling * size)


def read_frame(size: int) -> None:
    with suppress(FrameError):
        Frame.from_bytes(bytes.fromhex("1081000102880105FF0172") + b"\xff" + b"\xe7\x00" * size)


def read_body(text: str, size: int) -> None:
    with suppress(ValueError):
        round_from_json(text * size)


def read_ini(directory: Path, line: str, size: int) -> None:
    path = directory / "long.ini"
    path.write_text("[routeB]\n" + line * size, "utf-8")
    with suppress(SettingsError):
        settings.load(path)


def cpu_s(act: Callable[[int], object], size: int) -> float:
    """Return the CPU seconds of the quickest of five."""

    def once() -> Iterator[float]:
        for _ in range(5):
            began = time.process_time()
            act(size)
            yield time.process_time() - began

    return min(once())


@pytest.mark.system
def test_eight_times_as_much_takes_about_eight_times_as_long(tmp_path: Path) -> None:
    acts: dict[str, Callable[[int], object]] = {
        "lines": feed_lines,
        "a line of fields": partial(parse_long_line, b"EVENT", b" 21"),
        "a line of spaces": partial(parse_long_line, b"ERXUDP", b" "),
        "a line of hex": partial(parse_long_line, b"ERXUDP FE80::1 FE80::2 0E1A 0E1A 001C640000016393 1 9999 ", b"0F"),
        "an echo": partial(parse_long_line, b"SKSENDTO 1 ", b"SKSENDTO "),
        "a frame": read_frame,
        "a body of brackets": partial(read_body, "["),
        "a body of columns": partial(read_body, '[["power",{"a":1}],'),
        "a file of keys": partial(read_ini, tmp_path, "id_ = 1\n"),
        "a file of one line": partial(read_ini, tmp_path, "id = 1 2 "),
    }
    slow = {}
    for name, act in acts.items():
        few, many = cpu_s(act, 2_000), cpu_s(act, 16_000)
        if many > 24 * few + 0.002:  # a square would be 64 times as long
            slow[name] = (few, many)
    assert slow == {}


def test_no_error_of_the_radio_is_anything_but_its_own() -> None:
    assert issubclass(MalformedLineError, SkStackError)
    assert issubclass(FrameError, SkStackError)
