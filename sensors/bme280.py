"""Bosch BME280: temperature, humidity and pressure over I2C.

Source: BST-BME280-DS002, the data sheet, rev. 1.6. The arithmetic never sees a bus; the driver only moves bytes.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from sensors.errors import SensorError, SensorNotFoundError
from sensors.i2c import I2cBus, I2cDevice

# Operating range. Source: data sheet, section 1.
LOWEST_C, HIGHEST_C = -40.0, 85.0
LOWEST_HPA, HIGHEST_HPA = 300.0, 1100.0

# Registers. Source: data sheet, section 5.3, table 18.
CALIBRATION_BLOCKS = ((0x88, 26), (0xE1, 7))  # first register, length
CHIP_ID = 0xD0
RESET = 0xE0
CTRL_HUM = 0xF2
STATUS = 0xF3
CTRL_MEAS = 0xF4
CONFIG = 0xF5
SAMPLE_F7, SAMPLE_F7_BYTES = 0xF7, 8

BME280_ID = 0x60
_UNPROGRAMMED = (0x0000, 0xFFFF)  # what a 16-bit trimming word holds that was never written
RESET_WORD = 0xB6
IM_UPDATE = 0x01  # STATUS: the calibration is being copied into the registers
MEASURING = 0x08  # STATUS: a conversion is running
HUMIDITY_BITS = 0x07  # CTRL_HUM: its oversampling
MODE_BITS = 0x03  # CTRL_MEAS: 00 asleep, 01 forced
FORCED = 0x01
SKIPPED_20_BITS = 0x80000  # what temperature and pressure hold after a reset, or when they were not measured
SKIPPED_16_BITS = 0x8000  # the same for humidity

# Once a minute, each quantity once, no filter: the maker's setting for weather stations (data sheet, section 3.5.1).
# Oversampling x1 has the register code 1; both the registers and the waiting time come from this one number.
OVERSAMPLING = 1
_CTRL_HUM_VALUE = OVERSAMPLING
_CTRL_MEAS_VALUE = OVERSAMPLING << 5 | OVERSAMPLING << 2
_CONFIG_VALUE = 0x00  # filter off; the standby time means nothing in forced mode

_BMP280 = "a BMP280, which measures no humidity"
_DEAD_BUS = (0x00, 0xFF)  # all lines low, or nobody pulls one down
_OTHER_CHIPS = {0x55: "a BMP180", 0x56: _BMP280, 0x57: _BMP280, 0x58: _BMP280, 0x61: "a BME680"}


@dataclass(frozen=True, slots=True)
class Calibration:
    """The factory's trimming words, named as the data sheet names them (table 16)."""

    dig_t1: int  # unsigned 16 bits
    dig_t2: int
    dig_t3: int
    dig_p1: int  # unsigned 16 bits
    dig_p2: int
    dig_p3: int
    dig_p4: int
    dig_p5: int
    dig_p6: int
    dig_p7: int
    dig_p8: int
    dig_p9: int
    dig_h1: int  # unsigned 8 bits
    dig_h2: int
    dig_h3: int  # unsigned 8 bits
    dig_h4: int  # signed 12 bits
    dig_h5: int  # signed 12 bits
    dig_h6: int  # signed 8 bits


@dataclass(frozen=True, slots=True)
class RawSample:
    """What the converter counted."""

    temperature: int  # 20 bits
    pressure: int  # 20 bits
    humidity: int  # 16 bits

    @property
    def is_measured(self) -> bool:
        """Whether no quantity holds its reset contents, which look like weather: about 22 C and 620 hPa.

        The chip has no other sign for them: a true count of the same value (a step of 0.005 C) looks the same.
        Source: data sheet, table 18.
        """
        return SKIPPED_20_BITS not in (self.temperature, self.pressure) and self.humidity != SKIPPED_16_BITS

    @property
    def stuck_quantity(self) -> str:
        """The quantity whose count is all zeros or all ones, "" where none is: no climate drives one so far."""
        ends = {"temperature": 0xFFFFF, "pressure": 0xFFFFF, "humidity": 0xFFFF}
        return next((quantity for quantity, end in ends.items() if getattr(self, quantity) in (0, end)), "")


@dataclass(frozen=True, slots=True)
class Bme280Reading:
    """One whole reading: degrees Celsius, percent relative humidity, hectopascal at the sensor (not at sea level)."""

    temperature_c: float  # -40 to 85
    humidity_pct: float  # 0 to 100
    pressure_hpa: float  # 300 to 1100


def signed_12(word: int) -> int:
    """Return the twelve bits of *word* (0x000 to 0xFFF) as a two's complement number, -2048 to 2047."""
    return (word ^ 0x800) - 0x800


def parse_calibration(block_88: bytes, block_e1: bytes) -> Calibration:
    """Read the trimming words from registers 0x88-0xA1 (26 bytes) and 0xE1-0xE7 (7 bytes).

    It does not judge them: an unprogrammed chip gives words too.
    Raises: SensorError: a block has the wrong length.
    Source: data sheet, section 4.2.2, table 16.
    """
    for block, (register, length) in zip((block_88, block_e1), CALIBRATION_BLOCKS, strict=True):
        _check_length(f"calibration from 0x{register:02X}", block, length)
    h2, h3, e4, e5, e6, h6 = struct.unpack("<hBBBBb", block_e1)
    # H4 and H5 share the byte 0xE5: its low half ends H4, its high half ends H5.
    h4 = signed_12(e4 << 4 | e5 & 0x0F)
    h5 = signed_12(e6 << 4 | e5 >> 4)
    words: tuple[int, ...] = (*struct.unpack("<HhhH8hxB", block_88), h2, h3, h4, h5, h6)  # x: 0xA0 is not used
    return Calibration(*words)


def untrimmed_quantity(calibration: Calibration) -> str:
    """Return the quantity whose trimming words read as zeros or ones, "" where all are programmed.

    Looked at are the words that a quantity is proportional to: with 0 it stands still for ever (humidity at 0 %). Two
    of them are signed, yet positive in every part: each quantity rises with its count.
    """
    if calibration.dig_t1 in _UNPROGRAMMED or calibration.dig_t2 <= 0:
        return "temperature"
    if calibration.dig_p1 in _UNPROGRAMMED:
        return "pressure"
    return "humidity" if calibration.dig_h2 <= 0 else ""


def parse_sample(block_f7: bytes) -> RawSample:
    """Read the counts from registers 0xF7-0xFE (8 bytes).

    Raises: SensorError: not eight bytes.
    Source: data sheet, section 5.4.7 to 5.4.9.
    """
    _check_length("sample", block_f7, SAMPLE_F7_BYTES)
    pressure = int.from_bytes(block_f7[0:3], "big") >> 4  # the low half of xlsb is not part of the number
    temperature = int.from_bytes(block_f7[3:6], "big") >> 4
    return RawSample(temperature, pressure, int.from_bytes(block_f7[6:8], "big"))


def compensate(raw: RawSample, calibration: Calibration) -> Bme280Reading:
    """Turn counts into physical values within the sensor's operating range.

    Raises: SensorError: the calibration gives no pressure (dig_P1 = 0), or temperature or pressure is outside
    -40 to 85 C, 300 to 1100 hPa. Nothing is clamped into range.
    """
    values = apply_formulas(raw, calibration)
    _check_range("temperature", values.temperature_c, LOWEST_C, HIGHEST_C, "C")
    _check_range("pressure", values.pressure_hpa, LOWEST_HPA, HIGHEST_HPA, "hPa")
    return values


def apply_formulas(raw: RawSample, calibration: Calibration) -> Bme280Reading:
    """Turn counts into physical values by the double-precision formulas, without judging temperature and pressure.

    Raises: SensorError: the calibration gives no pressure.
    Source: data sheet, section 8.1 (double precision).
    """
    fine = _fine_temperature(raw.temperature, calibration)
    # The formulas for pressure and humidity take the fine temperature as a 32-bit integer, cut towards zero.
    t_fine = int(fine)
    return Bme280Reading(
        temperature_c=fine / 5120.0,
        humidity_pct=_humidity_pct(raw.humidity, t_fine, calibration),
        pressure_hpa=_pressure_pa(raw.pressure, t_fine, calibration) / 100.0,
    )


def _fine_temperature(count: int, c: Calibration) -> float:
    """Return the temperature in steps of 1/5120 C."""
    linear = (count / 16384.0 - c.dig_t1 / 1024.0) * c.dig_t2
    deviation = count / 131072.0 - c.dig_t1 / 8192.0
    return linear + deviation * deviation * c.dig_t3


def _pressure_pa(count: int, t_fine: int, c: Calibration) -> float:
    """Return pascal. Raises: SensorError: the sensitivity is not positive, so there is no pressure to divide out."""
    offset_c = t_fine / 2.0 - 64000.0
    offset = (offset_c * offset_c * c.dig_p6 / 32768.0 + offset_c * c.dig_p5 * 2.0) / 4.0 + c.dig_p4 * 65536.0
    slope = (c.dig_p3 * offset_c * offset_c / 524288.0 + c.dig_p2 * offset_c) / 524288.0
    sensitivity = (1.0 + slope / 32768.0) * c.dig_p1
    if sensitivity <= 0.0:
        raise SensorError(
            f"BME280: the calibration gives no pressure (dig_P1 is {c.dig_p1})", "replace the chip: it is damaged"
        )
    linear = (1048576.0 - count - offset / 4096.0) * 6250.0 / sensitivity
    square = c.dig_p9 * linear * linear / 2147483648.0
    return linear + (square + linear * c.dig_p8 / 32768.0 + c.dig_p7) / 16.0


def _humidity_pct(count: int, t_fine: int, c: Calibration) -> float:
    """Return percent. The formula itself ends at 0 and 100: in dew and in very dry air the element reads past them.

    The maker's published double-precision code multiplies by the term with dig_H3 once more than this; the data sheet
    and the maker's integer code do not.
    """
    offset_c = t_fine - 76800.0
    dry = c.dig_h4 * 64.0 + c.dig_h5 / 16384.0 * offset_c
    drift = 1.0 + c.dig_h6 / 67108864.0 * offset_c * (1.0 + c.dig_h3 / 67108864.0 * offset_c)
    linear = (count - dry) * (c.dig_h2 / 65536.0 * drift)
    return min(100.0, max(0.0, linear * (1.0 - c.dig_h1 * linear / 524288.0)))


def _check_length(what: str, block: bytes, expected: int) -> None:
    if len(block) != expected:
        raise SensorError(f"BME280: {what}: expected {expected} bytes, got {len(block)}")


def _check_range(what: str, value: float, lowest: float, highest: float, unit: str) -> None:
    if not lowest <= value <= highest:
        span = f"{lowest:.0f} to {highest:.0f} {unit}"
        raise SensorError(f"BME280: {what} {value:.2f} {unit} is outside {span}", "check the wiring")


def measuring_time_s(temperature: int, pressure: int, humidity: int) -> float:
    """Return the longest time a measurement takes at these oversampling factors. Source: data sheet, section 9.1."""
    return (1.25 + 2.3 * temperature + 2.3 * pressure + 0.575 + 2.3 * humidity + 0.575) / 1000.0


ADDRESSES = (0x76, 0x77)  # by its pin SDO; data sheet, section 6.2
_POLL_S = 0.002  # also the start-up time; data sheet, table 1
_STARTUP_POLLS = 6  # the maker's driver allows as many
_MEASURING_POLLS = 10


class Bme280:
    """A BME280 in forced mode: it sleeps between readings, so it neither warms itself nor lags.

    Every failure makes the next try start over with the chip id and a reset, so a sensor that lost its power comes back
    by itself. Source: data sheet, section 3.3 (modes), 4 (reading), 5.4 (registers).
    """

    def __init__(
        self, open_bus: Callable[[], I2cBus], address: int = 0x76, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._device = I2cDevice("BME280", open_bus, address, ADDRESSES, kernel_driver="bmp280_i2c", sleep=sleep)
        self._sleep = sleep
        self._calibration: Calibration | None = None  # None: the chip must be identified, reset and read first

    def read(self) -> Bme280Reading:
        """Measure once: about 12 ms, 40 ms the first time; a passing fault is tried again as I2cDevice.attempt says.

        Raises: SensorNotFoundError: no bus, no response, or another chip. SensorError: any other failure, a skipped
        quantity, a value outside the operating range. The text says what to do.
        """
        return self._device.attempt(self._measure)

    def close(self) -> None:
        """Close the bus; the next read opens it again."""
        self._device.close()

    def _measure(self) -> Bme280Reading:
        device, calibration = self._device, self._calibration or self._initialise()
        self._calibration = None  # until the end is reached
        # Both settings every time: a chip that lost its power since the last reading has forgotten them.
        # The order matters: the chip takes up ctrl_hum when ctrl_meas is written (data sheet, section 5.4.3).
        device.write(CTRL_HUM, _CTRL_HUM_VALUE)
        device.write(CTRL_MEAS, _CTRL_MEAS_VALUE | FORCED)
        # The whole time first: right after the trigger the status may still read "not measuring".
        self._sleep(measuring_time_s(OVERSAMPLING, OVERSAMPLING, OVERSAMPLING))
        device.wait_until(self._has_measured, _MEASURING_POLLS, _POLL_S, "does not finish measuring")
        # One burst: the chip holds the three results together only within one transfer (section 4.1).
        raw = parse_sample(device.read(SAMPLE_F7, SAMPLE_F7_BYTES))
        if stuck := raw.stuck_quantity:
            raise device.passing(f"its {stuck} is stuck at the end of the converter", "replace the chip: it is damaged")
        if not raw.is_measured:
            raise device.passing("holds its reset contents instead of a measurement", "check its supply")
        reading = compensate(raw, calibration)
        self._calibration = calibration
        return reading

    def _initialise(self) -> Calibration:
        """Make sure what chip it is, reset it, read its calibration and choose the settings."""
        device = self._device
        chip_id = device.read(CHIP_ID, 1)[0]
        if chip_id in _DEAD_BUS:
            raise device.passing(
                f"its chip id is 0x{chip_id:02X}, not that of any: a disturbed bus", "check the wiring"
            )
        if chip_id != BME280_ID:
            found = _OTHER_CHIPS.get(chip_id, "another chip")
            raise SensorNotFoundError(
                f"{device.name}: its chip id is 0x{chip_id:02X}, not 0x{BME280_ID:02X}: this is {found}",
                "check the module and the address",
            )
        device.write(RESET, RESET_WORD)
        self._sleep(_POLL_S)
        device.wait_until(self._has_started, _STARTUP_POLLS, _POLL_S, "does not come out of its reset")
        blocks, again = ([device.read(*block) for block in CALIBRATION_BLOCKS] for _ in range(2))
        if blocks != again:
            # One wrong byte shifts every value by a plausible amount (+0.45 C was seen) for as long as it is kept.
            raise device.passing("two readings of its calibration differ", "check the wiring")
        calibration = parse_calibration(*blocks)
        quantity = untrimmed_quantity(calibration)
        if quantity or any(set(block) in ({0x00}, {0xFF}) for block in blocks):
            missing = f" (no {quantity})" if quantity else ""
            raise device.passing(f"its calibration is empty{missing}", "check the wiring, else replace the chip")
        # While asleep, as after the reset: awake it may ignore this (section 5.4.6).
        device.write(CONFIG, _CONFIG_VALUE)
        return calibration

    def _has_started(self) -> bool:
        return not self._device.read(STATUS, 1)[0] & IM_UPDATE

    def _has_measured(self) -> bool:
        """Look for both signs that the sample is new: not measuring, and asleep again."""
        status, ctrl_meas = self._device.read(STATUS, 2)
        return not status & MEASURING and not ctrl_meas & MODE_BITS
