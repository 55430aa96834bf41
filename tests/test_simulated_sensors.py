"""The simulated BME280 and MH-Z19: as strict as the real ones, so that a driver which passes them can be believed."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sensors.bme280 import (
    CONFIG,
    CTRL_HUM,
    CTRL_MEAS,
    RESET,
    SAMPLE_F7,
    STATUS,
    apply_formulas,
    compensate,
    parse_calibration,
    parse_sample,
)
from sensors.mhz19 import READ_COMMAND, Mhz19, Mhz19Reading, open_serial_port, parse_reply
from sensors.simulated_bme280 import SimulatedBme280, counts_for
from sensors.simulated_mhz19 import BYTE_S, LOOK_ALIKE_FRAME, Mhz19Port, SimulatedMhz19, main
from sensors.simulated_room import room_climate
from tests.lab.clock import LabClock

ROOT = Path(__file__).parent.parent
RESET_CONTENTS = bytes.fromhex("8000008000008000")


@pytest.fixture
def clock() -> LabClock:
    return LabClock()


@pytest.fixture
def chip(clock: LabClock) -> SimulatedBme280:
    """Return a chip that has started up."""
    chip = SimulatedBme280(clock.monotonic)
    clock.sleep(0.01)
    return chip


START_S = 1_780_239_600.0  # midnight in Japan, 1 June 2026


def sample_of(chip: SimulatedBme280) -> bytes:
    return bytes(chip.read_i2c_block_data(0x76, SAMPLE_F7, 8))


def status_of(chip: SimulatedBme280) -> int:
    return chip.read_i2c_block_data(0x76, STATUS, 1)[0]


# --- BME280 ---


def test_counts_for_undoes_the_formulas_with_every_realistic_calibration() -> None:
    vectors = json.loads((Path(__file__).parent / "data" / "bme280.json").read_text())["vectors"]
    realistic = [vector for vector in vectors if vector[1] == "realistic"]
    assert len(realistic) == 404
    for number, _, calib88, calib_e1, _, _, _, t_c, p_pa, h_pct, *_ in realistic:
        calibration = parse_calibration(bytes.fromhex(calib88), bytes.fromhex(calib_e1))
        values = apply_formulas(counts_for(calibration, t_c, h_pct, p_pa / 100), calibration)
        assert values.temperature_c == pytest.approx(t_c, abs=0.001), number
        assert values.humidity_pct == pytest.approx(h_pct, abs=0.02), number
        assert values.pressure_hpa == pytest.approx(p_pa / 100, abs=0.01), number


def test_after_power_on_it_copies_its_calibration_and_holds_reset_contents(clock: LabClock) -> None:
    chip = SimulatedBme280(clock.monotonic)
    assert status_of(chip) == 0x01
    clock.sleep(0.002)
    assert status_of(chip) == 0x00
    assert sample_of(chip) == RESET_CONTENTS


def test_a_measurement_takes_its_time_and_the_old_sample_stays_until_then(
    chip: SimulatedBme280, clock: LabClock
) -> None:
    chip.write_byte_data(0x76, CTRL_HUM, 0x01)
    chip.write_byte_data(0x76, CTRL_MEAS, 0x25)
    clock.sleep(0.0092)
    assert status_of(chip) == 0x08
    assert sample_of(chip) == RESET_CONTENTS
    clock.sleep(0.0002)
    assert status_of(chip) == 0x00
    assert chip.read_i2c_block_data(0x76, CTRL_MEAS, 1) == [0x24]  # asleep again
    assert parse_sample(sample_of(chip)).is_measured


def test_the_humidity_setting_takes_effect_only_with_the_next_ctrl_meas(chip: SimulatedBme280, clock: LabClock) -> None:
    chip.write_byte_data(0x76, CTRL_MEAS, 0x25)
    chip.write_byte_data(0x76, CTRL_HUM, 0x01)
    clock.sleep(0.1)
    raw = parse_sample(sample_of(chip))
    assert 0x80000 not in (raw.temperature, raw.pressure)
    assert raw.humidity == 0x8000


def test_a_skipped_quantity_holds_the_skip_word(chip: SimulatedBme280, clock: LabClock) -> None:
    chip.write_byte_data(0x76, CTRL_HUM, 0x01)
    chip.write_byte_data(0x76, CTRL_MEAS, 0b001_000_01)  # temperature x1, pressure skipped
    clock.sleep(0.1)
    assert sample_of(chip)[:3] == b"\x80\x00\x00"


def test_oversampling_once_gives_16_bits_and_sixteen_times_gives_20(chip: SimulatedBme280, clock: LabClock) -> None:
    chip.write_byte_data(0x76, CTRL_MEAS, 0b001_001_01)
    clock.sleep(0.2)
    coarse = parse_sample(sample_of(chip))
    chip.write_byte_data(0x76, CTRL_MEAS, 0b101_101_01)
    clock.sleep(0.2)
    fine = parse_sample(sample_of(chip))
    assert coarse.temperature % 16 == coarse.pressure % 16 == 0
    assert abs(coarse.temperature - fine.temperature) <= 8
    assert abs(coarse.pressure - fine.pressure) <= 8


def test_a_measurement_never_looks_like_a_skipped_one(chip: SimulatedBme280, clock: LabClock) -> None:
    # With this part's calibration 0x80000 is 21.9219 C, 621.5 hPa and 0x8000 is 57.25 %.
    chip.temperature_c, chip.pressure_hpa, chip.humidity_pct = 21.9219, 621.525, 57.249
    chip.write_byte_data(0x76, CTRL_HUM, 0x01)
    chip.write_byte_data(0x76, CTRL_MEAS, 0x25)
    clock.sleep(0.1)
    raw = parse_sample(sample_of(chip))
    assert raw.temperature == raw.pressure == 0x80010
    assert raw.humidity == 0x8001


def test_only_the_reset_word_resets(chip: SimulatedBme280, clock: LabClock) -> None:
    chip.write_byte_data(0x76, CONFIG, 0x10)
    chip.write_byte_data(0x76, RESET, 0xB5)
    assert chip.read_i2c_block_data(0x76, CONFIG, 1) == [0x10]
    chip.write_byte_data(0x76, RESET, 0xB6)
    assert chip.read_i2c_block_data(0x76, CONFIG, 1) == [0x00]
    assert status_of(chip) == 0x01


def test_a_wrong_calibration_byte_moves_the_temperature_by_a_plausible_amount(clock: LabClock) -> None:
    chip = SimulatedBme280(clock.monotonic)
    good = bytes(chip.read_i2c_block_data(0x76, 0x88, 26))
    chip.wrong_calibration_reads = 1
    wrong = bytes(chip.read_i2c_block_data(0x76, 0x88, 26))
    block_e1 = bytes(chip.read_i2c_block_data(0x76, 0xE1, 7))
    raw = counts_for(parse_calibration(good, block_e1), 21.0, 50.0, 1000.0)
    moved_c = compensate(raw, parse_calibration(wrong, block_e1)).temperature_c - 21.0
    assert 0.1 < moved_c < 2.0


@pytest.mark.parametrize("address", [0x75, 0x77])
def test_nobody_acknowledges_another_address(chip: SimulatedBme280, address: int) -> None:
    with pytest.raises(OSError, match="I/O") as caught:
        chip.read_i2c_block_data(address, 0xD0, 1)
    assert caught.value.errno == errno.EREMOTEIO


# --- MH-Z19 ---


def test_a_reply_leaves_byte_by_byte_at_9600_baud() -> None:
    sensor = SimulatedMhz19(warm_up_s=0.0)
    assert sensor.next_output_at() is None
    sensor.receive(READ_COMMAND, 5.0)
    first_at = sensor.next_output_at()
    assert first_at == pytest.approx(5.02 + 10 / 9600)
    assert sensor.take_output(5.02) == b""
    pieces = [sensor.take_output(5.02 + BYTE_S * (number + 0.5)) for number in range(1, 10)]
    assert [len(piece) for piece in pieces] == [1] * 9
    assert parse_reply(b"".join(pieces)).co2_ppm == 620
    assert sensor.next_output_at() is None


def test_a_command_may_come_in_pieces_and_after_noise() -> None:
    sensor = SimulatedMhz19(warm_up_s=0.0)
    sensor.receive(b"\x00\xff" + READ_COMMAND[:4], 0.0)
    assert sensor.take_output(1.0) == b""
    sensor.receive(READ_COMMAND[4:], 1.0)
    assert len(sensor.take_output(2.0)) == 9


def test_other_commands_get_no_reply() -> None:
    sensor = SimulatedMhz19(warm_up_s=0.0)
    sensor.receive(bytes.fromhex("ff0187000000000078"), 0.0)  # calibrate the zero
    assert sensor.next_output_at() is None


def test_during_its_warm_up_it_repeats_one_value() -> None:
    sensor = SimulatedMhz19(powered_at=100.0, warm_up_s=60.0)
    for at, co2_ppm in ((100.0, 410), (159.0, 410), (160.0, 620)):
        sensor.receive(READ_COMMAND, at)
        assert parse_reply(sensor.take_output(at + 1)).co2_ppm == co2_ppm


def test_a_look_alike_pushes_a_frame_a_second_and_never_responds() -> None:
    sensor = SimulatedMhz19()
    sensor.pushed = LOOK_ALIKE_FRAME
    sensor.receive(READ_COMMAND, 0.0)
    assert [sensor.take_output(at) for at in (1.0, 1.5, 2.5)] == [b"", LOOK_ALIKE_FRAME, LOOK_ALIKE_FRAME]
    # A day later only the last seconds are still there.
    assert sensor.take_output(86_400.0).startswith(LOOK_ALIKE_FRAME)
    assert len(sensor.take_output(86_400.5)) <= 16 * 3


def test_the_port_waits_to_the_byte_and_not_past_its_timeout(clock: LabClock) -> None:
    sensor = SimulatedMhz19(warm_up_s=0.0)
    port = Mhz19Port(sensor, monotonic=clock.monotonic, sleep=clock.sleep, timeout_s=0.05)
    assert port.read(9) == b""
    assert clock.monotonic() == pytest.approx(0.05)
    port.write(READ_COMMAND)
    assert len(port.read(4)) == 4
    assert clock.monotonic() == pytest.approx(0.05 + 0.02 + 4 * BYTE_S, abs=1e-4)
    port.reset_input_buffer()
    assert len(port.read(9)) == 5  # only what had not arrived yet


def test_ports_on_a_clock_far_from_zero_come_to_an_end(clock: LabClock) -> None:
    clock.sleep(1.7e9)  # where a float second has steps of 2e-7
    sensor = SimulatedMhz19(powered_at=clock.monotonic(), warm_up_s=0.0)
    driver = Mhz19(
        lambda: Mhz19Port(sensor, monotonic=clock.monotonic, sleep=clock.sleep),
        monotonic=clock.monotonic,
    )
    assert driver.read().co2_ppm == 620


# --- the program behind a pseudo-terminal, and what importing costs ---


@contextmanager
def running_sensor(link: Path, *options: str) -> Iterator[None]:
    command = [sys.executable, "-m", "sensors.simulated_mhz19", "--link", str(link), "--warm-up", "0", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"{link}\n"  # it says so once it can be opened
            yield
        finally:
            process.terminate()
            assert process.wait(timeout=30) == 0
    assert not link.is_symlink()


@pytest.mark.system
def test_the_driver_reads_the_program_over_a_real_serial_port(tmp_path: Path) -> None:
    link = tmp_path / "mhz19"
    with running_sensor(link, "--co2", "777"):
        driver = Mhz19(lambda: open_serial_port(str(link)), warm_up_s=0.0)
        assert driver.read() == Mhz19Reading(777, 25, warming_up=False)
        driver.close()
        assert driver.read().co2_ppm == 777
        driver.close()


@pytest.mark.system
def test_the_program_can_misbehave(tmp_path: Path) -> None:
    link = tmp_path / "mhz19"
    with running_sensor(link, "--fault", "stray"):
        port = open_serial_port(str(link))
        port.write(READ_COMMAND)
        received = b""
        for _ in range(100):  # each waits up to 50 ms, and all but one of them are not needed
            received += port.read(3 - len(received))
            if len(received) == 3:
                break
        assert received == b"\x00\xff\x86"
        port.close()


def test_the_program_does_not_overwrite_a_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = tmp_path / "mhz19"
    link.write_text("precious")
    with pytest.raises(SystemExit) as caught:
        main(["--link", str(link)])
    assert caught.value.code == 2
    assert "exists already" in capsys.readouterr().err
    assert link.read_text() == "precious"


def test_the_program_says_that_its_link_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--link", str(tmp_path / "nowhere" / "mhz19")])
    assert caught.value.code == 2
    assert "mhz19: No such file or directory" in capsys.readouterr().err


@pytest.mark.system
def test_importing_the_sensors_loads_no_library_and_no_other_room() -> None:
    modules = ", ".join(f"sensors.{file.stem}" for file in sorted((ROOT / "sensors").glob("*.py")))
    script = (
        f"import sys, {modules}\n"
        "rooms = {'serial', 'smbus2', 'skstack', 'storage', 'charts', 'poller', 'settings', 'psycopg2', 'matplotlib'}\n"
        "print(sorted(rooms & {name.partition('.')[0] for name in sys.modules}))"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


# --- the room


def test_the_room_stays_within_what_sensors_measure() -> None:
    for hour in range(0, 24 * 370, 7):
        air = room_climate(START_S + hour * 3600)
        assert 10 < air.temperature_c < 35
        assert 20 < air.humidity_pct < 80
        assert 980 < air.pressure_hpa < 1040
        assert 400 <= air.co2_ppm < 2000
        assert 30 < air.cpu_temperature_c < 70
