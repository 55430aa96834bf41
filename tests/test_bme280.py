"""sensors.bme280: the arithmetic against the maker's own, the driver against a register-level chip with faults."""

from __future__ import annotations

import json
import struct
from collections import defaultdict
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sensors.bme280 import (
    Bme280,
    Calibration,
    RawSample,
    apply_formulas,
    compensate,
    measuring_time_s,
    parse_calibration,
    parse_sample,
    signed_12,
)
from sensors.errors import SensorError, SensorNotFoundError
from sensors.simulated_bme280 import REAL_CALIBRATION_88, REAL_CALIBRATION_E1, SimulatedBme280
from tests.lab.clock import LabClock
from tests.lab.sensors import WatchedBus


@dataclass(frozen=True, slots=True)
class Vector:
    """One register dump and what the maker makes of it; see the head of the file for the fields."""

    number: int
    kind: str
    calib88: bytes
    calib_e1: bytes
    data_f7: bytes
    dig: tuple[int, ...]
    raw: RawSample
    t_c: float
    p_pa: float | None
    h_pct: float
    skipped: str

    @property
    def calibration(self) -> Calibration:
        return parse_calibration(self.calib88, self.calib_e1)


def _load_vectors() -> list[Vector]:
    vectors = []
    for row in json.loads((Path(__file__).parent / "data" / "bme280.json").read_text())["vectors"]:
        number, kind, calib88, calib_e1, data_f7, dig, (t, p, h), t_c, p_pa, h_pct, _, skipped = row
        blocks = (bytes.fromhex(calib88), bytes.fromhex(calib_e1), bytes.fromhex(data_f7))
        vectors.append(Vector(number, kind, *blocks, tuple(dig), RawSample(t, p, h), t_c, p_pa, h_pct, skipped))
    return vectors


VECTORS = _load_vectors()
BY_KIND: dict[str, list[Vector]] = defaultdict(list)
for _vector in VECTORS:
    BY_KIND[_vector.kind].append(_vector)

every_kind = pytest.mark.parametrize("kind", sorted(BY_KIND))

# Trimming words that make the formulas simple enough for a head: 2**17 counts are 25 C (t_fine 128000, where pressure
# does not depend on temperature); pressure is 1048576 - count pascal; humidity is count / 256 percent.
PLAIN = Calibration(0, 16000, 0, 6250, 0, 0, 0, 0, 0, 0, 0, 0, 0, 256, 0, 0, 0, 0)
COUNT_25_C = 2**17
COUNT_1000_HPA = 948_576


def test_every_vector_is_there() -> None:
    assert len(VECTORS) == 1206


@every_kind
def test_calibration_is_parsed_as_the_maker_parses_it(kind: str) -> None:
    for vector in BY_KIND[kind]:
        assert astuple(vector.calibration) == vector.dig, vector.number


@every_kind
def test_sample_is_parsed_and_shows_whether_anything_was_skipped(kind: str) -> None:
    for vector in BY_KIND[kind]:
        assert parse_sample(vector.data_f7) == vector.raw, vector.number
        assert vector.raw.is_measured == (not vector.skipped), vector.number


@every_kind
def test_formulas_agree_with_the_maker(kind: str) -> None:
    for vector in BY_KIND[kind]:
        if vector.p_pa is None:
            with pytest.raises(SensorError, match="no pressure"):
                apply_formulas(vector.raw, vector.calibration)
            continue
        values = apply_formulas(vector.raw, vector.calibration)
        assert values.temperature_c == pytest.approx(vector.t_c, rel=0, abs=1e-6), vector.number
        assert values.humidity_pct == pytest.approx(vector.h_pct, rel=0, abs=1e-6), vector.number
        assert values.pressure_hpa * 100 == pytest.approx(vector.p_pa, rel=1e-9, abs=0.001), vector.number


@every_kind
def test_compensate_gives_the_maker_s_values_in_range_and_an_error_out_of_it(kind: str) -> None:
    for vector in BY_KIND[kind]:
        raw = parse_sample(vector.data_f7)
        if vector.p_pa is None or not 30000 <= vector.p_pa <= 110000 or not -40 <= vector.t_c <= 85:
            with pytest.raises(SensorError):
                compensate(raw, vector.calibration)
            continue
        values = compensate(raw, vector.calibration)
        assert values.temperature_c == pytest.approx(vector.t_c, rel=0, abs=1e-6), vector.number
        assert values.pressure_hpa * 100 == pytest.approx(vector.p_pa, rel=1e-9, abs=0.001), vector.number
        assert values.humidity_pct == pytest.approx(vector.h_pct, rel=0, abs=1e-6), vector.number


def test_worked_example_of_the_data_sheet() -> None:
    # BMP280 data sheet, section 3.12: 25.08 C, 100653.27 Pa (calculated there in single precision)
    values = compensate(VECTORS[0].raw, VECTORS[0].calibration)
    assert values.temperature_c == pytest.approx(25.08, abs=0.005)
    assert values.pressure_hpa == pytest.approx(1006.5327, abs=0.0002)


@pytest.mark.parametrize(("word", "value"), [(0x000, 0), (0x001, 1), (0x7FF, 2047), (0x800, -2048), (0xFFF, -1)])
def test_twelve_bits_are_signed(word: int, value: int) -> None:
    assert signed_12(word) == value


def _encode(dig: Calibration) -> tuple[bytes, bytes]:
    """Lay out trimming words as the data sheet's table 16 does; the opposite of parse_calibration."""
    words = astuple(dig)
    h4, h5 = dig.dig_h4 & 0xFFF, dig.dig_h5 & 0xFFF
    block_88 = struct.pack("<HhhH8h", *words[:12]) + b"\xa5" + bytes([dig.dig_h1])
    block_e1 = struct.pack("<hB", dig.dig_h2, dig.dig_h3)
    block_e1 += bytes([h4 >> 4, (h4 & 0x0F) | (h5 & 0x0F) << 4, h5 >> 4]) + struct.pack("<b", dig.dig_h6)
    return block_88, block_e1


def _edged(low: int, high: int) -> st.SearchStrategy[int]:
    return st.sampled_from([low, low + 1, -1 if low < 0 else 1, 0, high // 2, high - 1, high]) | st.integers(low, high)


U8, S8, S12, U16, S16 = (
    _edged(*bounds) for bounds in ((0, 255), (-128, 127), (-2048, 2047), (0, 65535), (-32768, 32767))
)


@pytest.mark.system
@given(st.builds(Calibration, U16, *[S16] * 2, U16, *[S16] * 8, U8, S16, U8, S12, S12, S8))
@example(Calibration(*(0, *[-1] * 2, 0, *[-1] * 8, 255, -1, 255, -1, -1, -1)))
@example(Calibration(*(65535, *[-32768] * 2, 65535, *[-32768] * 8, 128, -32768, 128, -2048, -2048, -128)))
@example(Calibration(*(32768, *[32767] * 2, 32768, *[32767] * 8, 127, 32767, 127, 2047, 2047, 127)))
def test_no_word_is_mis_signed(calibration: Calibration) -> None:
    assert parse_calibration(*_encode(calibration)) == calibration


def test_every_twelve_bit_word_survives_beside_the_other() -> None:
    for word in range(-2048, 2048):
        wanted = replace(PLAIN, dig_h4=word, dig_h5=-word - 1)
        assert parse_calibration(*_encode(wanted)) == wanted


def test_every_eight_bit_word_keeps_its_sign() -> None:
    for byte in range(256):
        wanted = replace(PLAIN, dig_h1=byte, dig_h3=255 - byte, dig_h6=byte - 128)
        assert parse_calibration(*_encode(wanted)) == wanted


@pytest.mark.parametrize(("length_88", "length_e1"), [(25, 7), (27, 7), (26, 6), (26, 8), (0, 0)])
def test_a_calibration_block_of_the_wrong_length_is_an_error(length_88: int, length_e1: int) -> None:
    with pytest.raises(SensorError, match=r"expected (26|7) bytes"):
        parse_calibration(bytes(length_88), bytes(length_e1))


@pytest.mark.parametrize("length", [0, 7, 9])
def test_a_sample_of_the_wrong_length_is_an_error(length: int) -> None:
    with pytest.raises(SensorError, match="expected 8 bytes"):
        parse_sample(bytes(length))


@given(st.binary(min_size=26, max_size=26), st.binary(min_size=7, max_size=7), st.binary(min_size=8, max_size=8))
def test_any_registers_give_values_in_range_or_a_sensor_error(block_88: bytes, block_e1: bytes, sample: bytes) -> None:
    try:
        values = compensate(parse_sample(sample), parse_calibration(block_88, block_e1))
    except SensorError:
        return
    assert -40 <= values.temperature_c <= 85
    assert 300 <= values.pressure_hpa <= 1100
    assert 0 <= values.humidity_pct <= 100


def test_reset_contents_are_no_measurement() -> None:
    # data sheet, table 18: 0xF7 to 0xFE read 80 00 00 80 00 00 80 00 after a reset
    assert not parse_sample(bytes.fromhex("8000008000008000")).is_measured


@pytest.mark.parametrize("count", [0x7FFFF, 0x80001])
def test_the_neighbours_of_the_reset_contents_are_measurements(count: int) -> None:
    block = (count << 4).to_bytes(3, "big") * 2 + bytes.fromhex("8001")
    assert parse_sample(block).temperature == parse_sample(block).pressure == count
    assert parse_sample(block).is_measured


def test_the_low_half_of_xlsb_is_ignored() -> None:
    assert parse_sample(bytes.fromhex("12345F 6789AF 0001".replace(" ", ""))) == RawSample(0x6789A, 0x12345, 1)


@pytest.mark.parametrize(("count", "pascal"), [(1018576, 30000), (938576, 110000), (948576, 100000)])
def test_pressure_at_and_within_the_limits_is_given(count: int, pascal: int) -> None:
    assert compensate(RawSample(COUNT_25_C, count, 0), PLAIN).pressure_hpa == pascal / 100


@pytest.mark.parametrize("count", [1018577, 938575, 0])
def test_pressure_past_the_limits_is_an_error(count: int) -> None:
    with pytest.raises(SensorError, match=r"pressure .* outside 300 to 1100 hPa"):
        compensate(RawSample(COUNT_25_C, count, 0), PLAIN)


def test_temperature_at_and_past_the_upper_limit() -> None:
    # 2**19 / 16384 * 13600 = 435200 = 85 * 5120
    plain = replace(PLAIN, dig_t2=13600)
    assert compensate(RawSample(2**19, COUNT_1000_HPA, 0), plain).temperature_c == 85.0
    with pytest.raises(SensorError, match=r"temperature 85[.]00 C is outside -40 to 85 C"):
        compensate(RawSample(2**19 + 1, COUNT_1000_HPA, 0), plain)


def test_temperature_at_and_past_the_lower_limit() -> None:
    # -16384 / 1024 * 12800 = -204800 = -40 * 5120
    plain = replace(PLAIN, dig_t1=16384, dig_t2=12800)
    assert compensate(RawSample(0, COUNT_1000_HPA, 0), plain).temperature_c == -40.0
    with pytest.raises(SensorError, match=r"temperature -40[.]00 C is outside"):
        compensate(RawSample(0, COUNT_1000_HPA, 0), replace(plain, dig_t1=16385))


@pytest.mark.parametrize(
    ("count", "percent"), [(0, 0.0), (12800, 50.0), (25600, 100.0), (25601, 100.0), (65535, 100.0)]
)
def test_the_humidity_formula_ends_at_0_and_100(count: int, percent: float) -> None:
    assert compensate(RawSample(COUNT_25_C, COUNT_1000_HPA, count), PLAIN).humidity_pct == percent


def test_humidity_below_the_dry_point_is_0() -> None:
    assert compensate(RawSample(COUNT_25_C, COUNT_1000_HPA, 0), replace(PLAIN, dig_h4=100)).humidity_pct == 0.0


def test_dig_p1_of_zero_is_an_error() -> None:
    with pytest.raises(SensorError, match="dig_P1 is 0"):
        compensate(RawSample(COUNT_25_C, 948576, 12800), replace(PLAIN, dig_p1=0))


@pytest.mark.parametrize(("factors", "milliseconds"), [((1, 1, 1), 9.3), ((16, 16, 16), 112.8), ((2, 16, 1), 46.1)])
def test_measuring_time_follows_the_data_sheet(factors: tuple[int, int, int], milliseconds: float) -> None:
    assert measuring_time_s(*factors) * 1000 == pytest.approx(milliseconds)


# --- the driver, on a simulated chip ---


class Bench:
    """A simulated chip, a watched bus and the driver on them."""

    def __init__(self, address: int = 0x76, **chip_options: bytes) -> None:
        self.clock = LabClock()
        self.chip = SimulatedBme280(self.clock.monotonic, address=address, **chip_options)
        self.bus = WatchedBus(self.chip, self.clock)
        self.sensor = Bme280(self.bus.open, address, sleep=self.clock.sleep)

    def assert_reads_its_climate(self) -> None:
        reading = self.sensor.read()
        # x1 oversampling resolves 0.005 C and 2.6 Pa; humidity counts are 0.006 %
        assert reading.temperature_c == pytest.approx(self.chip.temperature_c, abs=0.005)
        assert reading.humidity_pct == pytest.approx(self.chip.humidity_pct, abs=0.02)
        assert reading.pressure_hpa == pytest.approx(self.chip.pressure_hpa, abs=0.03)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("climate", [(21.0, 50.0, 1008.0), (-12.5, 85.0, 890.0), (41.0, 8.0, 1040.0)])
def test_reads_the_climate(bench: Bench, climate: tuple[float, float, float]) -> None:
    bench.chip.temperature_c, bench.chip.humidity_pct, bench.chip.pressure_hpa = climate
    bench.assert_reads_its_climate()


def test_every_reading_is_a_new_measurement(bench: Bench) -> None:
    bench.assert_reads_its_climate()
    bench.chip.temperature_c += 3
    bench.assert_reads_its_climate()


def test_the_other_address_is_used_when_chosen() -> None:
    Bench(address=0x77).assert_reads_its_climate()


def test_nothing_is_opened_before_the_first_reading_and_only_once(bench: Bench) -> None:
    assert bench.bus.opened == 0
    bench.sensor.read()
    bench.sensor.read()
    assert bench.bus.opened == 1


def test_registers_are_written_in_the_order_the_chip_needs(bench: Bench) -> None:
    bench.sensor.read()
    # reset; filter off while asleep; humidity x1; then temperature and pressure x1 with forced mode (0b001_001_01)
    assert bench.bus.of("write") == [(0xE0, 0xB6), (0xF5, 0x00), (0xF2, 0x01), (0xF4, 0x25)]


def test_the_second_reading_needs_no_reset_and_no_calibration(bench: Bench) -> None:
    bench.sensor.read()
    del bench.bus.transfers[:]
    bench.sensor.read()
    assert bench.bus.of("write") == [(0xF2, 0x01), (0xF4, 0x25)]
    assert bench.bus.of("read") == [(0xF3, 2), (0xF7, 8)]


def test_the_sample_comes_in_one_burst_after_the_full_measuring_time(bench: Bench) -> None:
    bench.sensor.read()
    samples = [at for at, transfer in enumerate(bench.bus.transfers) if transfer[1] >= 0xF7]
    assert [bench.bus.transfers[at] for at in samples] == [("read", 0xF7, 8)]
    triggered = bench.bus.transfers.index(("write", 0xF4, 0x25))
    first_look = triggered + 1
    assert bench.bus.times[first_look] - bench.bus.times[triggered] >= 0.0093


def test_calibration_is_read_twice(bench: Bench) -> None:
    bench.sensor.read()
    assert bench.bus.of("read").count((0x88, 26)) == 2
    assert bench.bus.of("read").count((0xE1, 7)) == 2


def test_one_wrong_calibration_byte_is_noticed_and_cured_by_reading_again(bench: Bench) -> None:
    bench.chip.wrong_calibration_reads = 1
    bench.assert_reads_its_climate()
    assert bench.bus.of("read").count((0x88, 26)) == 4


@pytest.mark.parametrize(
    ("block_88", "block_e1"),
    [
        (bytes(26), bytes(7)),
        (b"\xff" * 26, b"\xff" * 7),
        (REAL_CALIBRATION_88, b"\xff" * 7),
        (bytes(2) + REAL_CALIBRATION_88[2:], REAL_CALIBRATION_E1),  # dig_T1 = 0
        (REAL_CALIBRATION_88[:2] + bytes(2) + REAL_CALIBRATION_88[4:], REAL_CALIBRATION_E1),  # dig_T2 = 0
        (b"\xff" * 4 + REAL_CALIBRATION_88[4:], REAL_CALIBRATION_E1),  # dig_T1, dig_T2
        (REAL_CALIBRATION_88[:6] + bytes(2) + REAL_CALIBRATION_88[8:], REAL_CALIBRATION_E1),  # dig_P1 = 0
        (REAL_CALIBRATION_88[:6] + b"\xff" * 20, REAL_CALIBRATION_E1),  # dig_P1 and what follows
        (bytes(26), REAL_CALIBRATION_E1),
        (REAL_CALIBRATION_88, bytes(7)),
        (REAL_CALIBRATION_88, bytes(2) + REAL_CALIBRATION_E1[2:]),  # dig_H2 = 0
        (REAL_CALIBRATION_88, b"\xff\xff" + REAL_CALIBRATION_E1[2:]),  # dig_H2 = -1
        (REAL_CALIBRATION_88, b"\x00\x80" + REAL_CALIBRATION_E1[2:]),  # dig_H2 = -32768
    ],
)
def test_an_empty_calibration_is_refused(block_88: bytes, block_e1: bytes) -> None:
    """With zeros for its trimming, humidity is 0.0 % for ever. Source: finitespace/BME280 125, rm-hull/bme280 2."""
    bench = Bench(block_88=block_88, block_e1=block_e1)
    with pytest.raises(SensorError, match="calibration is empty"):
        bench.sensor.read()


@pytest.mark.parametrize(
    ("chip_id", "name"),
    [(0x58, "BMP280.*no humidity"), (0x57, "BMP280"), (0x61, "BME680"), (0x55, "BMP180"), (0x42, "another chip")],
)
def test_another_chip_is_named_and_left_alone(bench: Bench, chip_id: int, name: str) -> None:
    bench.chip.chip_id = chip_id
    with pytest.raises(SensorNotFoundError, match=f"chip id is 0x{chip_id:02X}, not 0x60.*{name}"):
        bench.sensor.read()
    assert bench.bus.transfers == [("read", 0xD0, 1)]


@pytest.mark.parametrize("chip_id", [0x00, 0xFF])
def test_a_chip_id_that_no_chip_has_is_a_disturbed_bus_and_tried_again(bench: Bench, chip_id: int) -> None:
    shown = iter([chip_id, chip_id, bench.chip.chip_id])

    def disturb(_what: str, register: int) -> None:
        if register == 0xD0:
            bench.chip.chip_id = next(shown)

    bench.bus.before_transfer = disturb
    bench.assert_reads_its_climate()


@pytest.mark.parametrize("chip_id", [0x00, 0xFF])
def test_a_bus_that_stays_disturbed_is_named_after_three_attempts(bench: Bench, chip_id: int) -> None:
    bench.chip.chip_id = chip_id
    with pytest.raises(SensorError, match=f"chip id is 0x{chip_id:02X}, not that of any: a disturbed bus") as caught:
        bench.sensor.read()
    assert not isinstance(caught.value, SensorNotFoundError)
    assert bench.bus.of("read") == [(0xD0, 1)] * 3


@pytest.mark.parametrize("nacks", [1, 2])
def test_a_passing_nack_costs_no_reading(bench: Bench, nacks: int) -> None:
    bench.chip.nacks_left = nacks
    bench.assert_reads_its_climate()
    bench.chip.nacks_left = nacks
    bench.assert_reads_its_climate()


def test_nothing_at_the_address_is_not_found(bench: Bench) -> None:
    bench.chip.unplugged = True
    with pytest.raises(SensorNotFoundError, match=r"nothing responds.*0x77"):
        bench.sensor.read()


def test_after_a_failure_the_bus_is_opened_anew_and_the_chip_reset(bench: Bench) -> None:
    bench.sensor.read()
    bench.chip.unplugged = True
    with pytest.raises(SensorError):
        bench.sensor.read()
    assert bench.bus.closed == 1
    bench.chip.unplugged = False
    del bench.bus.transfers[:]
    bench.assert_reads_its_climate()
    assert bench.bus.opened == 2
    assert bench.bus.of("write")[0] == (0xE0, 0xB6)


@pytest.mark.parametrize(
    ("fault", "words"), [("never_finishes", "does not finish"), ("never_starts", "come out of its reset")]
)
def test_a_stuck_chip_ends_in_an_error_within_its_limit_and_comes_back(bench: Bench, fault: str, words: str) -> None:
    setattr(bench.chip, fault, True)
    with pytest.raises(SensorError, match=f"0x76.*{words}"):
        bench.sensor.read()
    assert bench.clock.monotonic() < 0.3
    setattr(bench.chip, fault, False)
    bench.assert_reads_its_climate()


class SlowChip(SimulatedBme280):
    """Finishes only at the third look at its status, and shows one of the two signs of finishing too early."""

    looks = 0
    false_sign = (0xFF, 0xFF)  # masks for status and ctrl_meas

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int, /) -> list[int]:
        if (register, length) != (0xF3, 2):
            return super().read_i2c_block_data(i2c_addr, register, length)
        self.looks += 1
        self.never_finishes = self.looks < 3
        block = super().read_i2c_block_data(i2c_addr, register, length)
        return [value & mask for value, mask in zip(block, self.false_sign, strict=True)]


@pytest.mark.parametrize("false_sign", [(0xF7, 0xFF), (0xFF, 0xFC)], ids=["not measuring", "asleep"])
def test_a_sample_is_new_only_when_both_signs_say_so(false_sign: tuple[int, int]) -> None:
    clock = LabClock()
    chip = SlowChip(clock.monotonic)
    chip.false_sign = false_sign
    bus = WatchedBus(chip, clock)
    reading = Bme280(bus.open, sleep=clock.sleep).read()
    assert reading.temperature_c == pytest.approx(chip.temperature_c, abs=0.005)
    assert bus.of("read").count((0xF3, 2)) == 3
    assert bus.of("read").count((0xF7, 8)) == 1
    assert bus.of("write").count((0xE0, 0xB6)) == 1


def test_every_try_after_a_fault_starts_over_with_a_reset(bench: Bench) -> None:
    bench.sensor.read()
    del bench.bus.transfers[:]
    bench.chip.nacks_left = 1
    bench.assert_reads_its_climate()
    assert bench.bus.of("write") == [(0xF2, 0x01), (0xE0, 0xB6), (0xF5, 0x00), (0xF2, 0x01), (0xF4, 0x25)]


def test_a_brown_out_between_two_readings_costs_nothing(bench: Bench) -> None:
    bench.sensor.read()
    bench.chip.brown_out()
    bench.assert_reads_its_climate()


def _brown_out_while_measuring(bench: Bench, times: int) -> Callable[[str, int], None]:
    left = [times]

    def before_transfer(what: str, register: int) -> None:
        if (what, register) == ("read", 0xF3) and bench.bus.of("write")[-1][0] == 0xF4 and left[0]:
            left[0] -= 1
            bench.chip.brown_out()

    return before_transfer


def test_a_brown_out_while_measuring_is_noticed_and_measured_again(bench: Bench) -> None:
    bench.bus.before_transfer = _brown_out_while_measuring(bench, times=2)
    bench.assert_reads_its_climate()


def test_a_supply_that_keeps_failing_is_an_error_not_weather(bench: Bench) -> None:
    bench.bus.before_transfer = _brown_out_while_measuring(bench, times=3)
    with pytest.raises(SensorError, match="check its supply"):
        bench.sensor.read()
    bench.assert_reads_its_climate()


def test_reset_contents_in_place_of_a_sample_are_an_error(bench: Bench) -> None:
    def before_transfer(what: str, register: int) -> None:
        if register == 0xF7:
            bench.chip.brown_out()

    bench.bus.before_transfer = before_transfer
    with pytest.raises(SensorError, match="reset contents"):
        bench.sensor.read()


@pytest.mark.parametrize(
    ("quantity", "at", "stuck"),
    [
        ("pressure", 0, bytes(3)),
        ("pressure", 0, b"\xff\xff\xf0"),
        ("temperature", 3, bytes(3)),
        ("temperature", 3, b"\xff\xff\xf0"),
        ("humidity", 6, bytes(2)),
        ("humidity", 6, b"\xff\xff"),
    ],
)
def test_a_count_that_is_stuck_at_an_end_is_an_error_and_the_sensor_comes_back(
    quantity: str, at: int, stuck: bytes
) -> None:
    class StuckBus(SimulatedBme280):
        is_stuck = True

        def read_i2c_block_data(self, i2c_addr: int, register: int, length: int, /) -> list[int]:
            block = super().read_i2c_block_data(i2c_addr, register, length)
            if register == 0xF7 and self.is_stuck:
                block[at : at + len(stuck)] = stuck
            return block

    clock = LabClock()
    chip = StuckBus(clock.monotonic)
    sensor = Bme280(lambda: chip, sleep=clock.sleep)
    with pytest.raises(SensorError, match=f"its {quantity} is stuck"):
        sensor.read()
    chip.is_stuck = False
    assert sensor.read().humidity_pct == pytest.approx(50.0, abs=0.02)


def test_a_climate_outside_the_operating_range_is_an_error(bench: Bench) -> None:
    bench.chip.temperature_c = 86.0
    with pytest.raises(SensorError, match=r"temperature 8[56]"):
        bench.sensor.read()


def test_close_closes_the_bus_and_the_next_reading_opens_it(bench: Bench) -> None:
    bench.sensor.close()
    assert bench.bus.closed == 0
    bench.sensor.read()
    bench.sensor.close()
    assert bench.bus.closed == 1
    bench.assert_reads_its_climate()
