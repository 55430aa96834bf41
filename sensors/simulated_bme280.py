"""A BME280 down to its registers, for tests and the demo: it goes wherever an I2C bus goes.

It owns no clock: it calls the one it is given, so it follows virtual time as well as real time.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from sensors.bme280 import (
    BME280_ID,
    CALIBRATION_BLOCKS,
    CHIP_ID,
    CONFIG,
    CTRL_HUM,
    CTRL_MEAS,
    FORCED,
    HUMIDITY_BITS,
    IM_UPDATE,
    MEASURING,
    MODE_BITS,
    RESET,
    RESET_WORD,
    SAMPLE_F7,
    SAMPLE_F7_BYTES,
    SKIPPED_16_BITS,
    SKIPPED_20_BITS,
    STATUS,
    Bme280Reading,
    Calibration,
    RawSample,
    apply_formulas,
    measuring_time_s,
    parse_calibration,
)

# The calibration of a real part, as its owner published it (registers 0x88-0xA1 and 0xE1-0xE7).
REAL_CALIBRATION_88 = bytes.fromhex("366f726832009992f5d6d00b3e2462fff9ffac260ad8bd10004b")
REAL_CALIBRATION_E1 = bytes.fromhex("6001001529031e")

COPYING_S = 0.002  # after power-on or reset the calibration is copied into the registers; data sheet, table 1
_OVERSAMPLING_FACTORS = (0, 1, 2, 4, 8, 16, 16, 16)  # by register code; data sheet, section 5.4.3


class SimulatedBme280:
    """One BME280 alone on its bus; it satisfies sensors.i2c.I2cBus. It knows the sleep and forced modes.

    Set temperature_c, humidity_pct and pressure_hpa to the climate it is in. Set a fault to make it misbehave:

    nacks_left              so many transfers from now on are not acknowledged (OSError, EREMOTEIO)
    unplugged               no transfer is acknowledged
    chip_id                 it is another chip
    never_starts            after a reset it copies its calibration for ever
    never_finishes          it measures for ever
    wrong_calibration_reads so many calibration blocks from now on come with one wrong byte
    brown_out()             it loses its power for a moment: asleep, settings gone, reset contents
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        address: int = 0x76,
        block_88: bytes = REAL_CALIBRATION_88,
        block_e1: bytes = REAL_CALIBRATION_E1,
    ) -> None:
        self.temperature_c = 21.0
        self.humidity_pct = 50.0
        self.pressure_hpa = 1008.0
        self.nacks_left = 0
        self.unplugged = False
        self.chip_id = BME280_ID
        self.never_starts = False
        self.never_finishes = False
        self.wrong_calibration_reads = 0
        self._monotonic = monotonic
        self._address = address
        self._calibration = parse_calibration(block_88, block_e1)
        self._calibration_blocks = dict(zip((0x88, 0xE1), (block_88, block_e1), strict=True))
        self._registers = bytearray(256)
        self.brown_out()

    def brown_out(self) -> None:
        """Lose power and get it back: everything as after power-on. Source: data sheet, table 18."""
        self._registers = bytearray(256)
        for register, block in self._calibration_blocks.items():
            self._registers[register : register + len(block)] = block
        self._store_sample(SKIPPED_20_BITS, SKIPPED_20_BITS, SKIPPED_16_BITS)
        self._humidity_code = 0
        self._copying_until = self._monotonic() + COPYING_S
        self._measuring_until: float | None = None

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int, /) -> list[int]:
        """Return the registers of one transfer. Raises: OSError: no acknowledge."""
        self._acknowledge(i2c_addr)
        self._pass_time()
        self._registers[CHIP_ID] = self.chip_id
        block = bytearray(self._registers[register : register + length])
        if self.wrong_calibration_reads and (register, length) in CALIBRATION_BLOCKS:
            self.wrong_calibration_reads -= 1
            block[5] ^= 0x23  # dig_T3, upper byte: +0.4 C
        return list(block)

    def write_byte_data(self, i2c_addr: int, register: int, value: int, /) -> None:
        """Take one register. Raises: OSError: no acknowledge."""
        self._acknowledge(i2c_addr)
        self._pass_time()
        if register == RESET:
            if value == RESET_WORD:
                self.brown_out()
        elif register in (CTRL_HUM, CONFIG):
            self._registers[register] = value
        elif register == CTRL_MEAS:
            self._registers[CTRL_MEAS] = value
            self._humidity_code = self._registers[CTRL_HUM] & HUMIDITY_BITS  # only now it takes effect
            if value & MODE_BITS in (FORCED, FORCED + 1):
                self._measuring_until = self._monotonic() + measuring_time_s(
                    *(_OVERSAMPLING_FACTORS[code] for code in self._codes())
                )

    def close(self) -> None:
        """Do nothing: the next to open the bus finds the same chip."""

    def _acknowledge(self, address: int) -> None:
        if self.nacks_left:
            self.nacks_left -= 1
        elif not self.unplugged and address == self._address:
            return
        raise OSError(errno.EREMOTEIO, os.strerror(errno.EREMOTEIO))

    def _codes(self) -> tuple[int, int, int]:
        """Return the oversampling codes of temperature, pressure and humidity."""
        ctrl_meas = self._registers[CTRL_MEAS]
        return ctrl_meas >> 5, ctrl_meas >> 2 & 0x07, self._humidity_code

    def _pass_time(self) -> None:
        """Finish what has taken its time by now."""
        now = self._monotonic()
        if self._measuring_until is not None and now >= self._measuring_until and not self.never_finishes:
            self._measure()
            self._registers[CTRL_MEAS] &= ~MODE_BITS & 0xFF  # asleep again
            self._measuring_until = None
        measuring = 0 if self._measuring_until is None else MEASURING
        copying = IM_UPDATE if self.never_starts or now < self._copying_until else 0
        self._registers[STATUS] = measuring | copying

    def _measure(self) -> None:
        temperature_code, pressure_code, humidity_code = self._codes()
        whole = counts_for(self._calibration, self.temperature_c, self.humidity_pct, self.pressure_hpa)
        humidity = _unlike(SKIPPED_16_BITS, whole.humidity, 1) if humidity_code else SKIPPED_16_BITS
        temperature, pressure = _coarse(whole.temperature, temperature_code), _coarse(whole.pressure, pressure_code)
        self._store_sample(temperature, pressure, humidity)

    def _store_sample(self, temperature: int, pressure: int, humidity: int) -> None:
        self._registers[SAMPLE_F7 : SAMPLE_F7 + SAMPLE_F7_BYTES] = (
            (pressure << 4).to_bytes(3, "big") + (temperature << 4).to_bytes(3, "big") + humidity.to_bytes(2, "big")
        )


def _coarse(count: int, code: int) -> int:
    """Round a 20-bit count to the resolution of the oversampling: 16 bits at x1. Source: data sheet, section 3.4."""
    if not code:
        return SKIPPED_20_BITS
    step = 1 << 5 - min(code, 5)
    return _unlike(SKIPPED_20_BITS, min((count + step // 2) // step * step, 0xFFFFF), step)


def _unlike(skipped: int, count: int, step: int) -> int:
    """Move a count that would read as "not measured" by one step, as a real chip's noise does sooner or later."""
    return count + step if count == skipped else count


def counts_for(calibration: Calibration, temperature_c: float, humidity_pct: float, pressure_hpa: float) -> RawSample:
    """Return the counts from which the formulas make this climate, as near as they can.

    Found by halving: with a real part's calibration temperature and humidity rise with their count, pressure falls.
    """

    def at(temperature: int, pressure: int = 0, humidity: int = 0) -> Bme280Reading:
        return apply_formulas(RawSample(temperature, pressure, humidity), calibration)

    temperature = _first(0xFFFFF, lambda count: at(count).temperature_c >= temperature_c)
    humidity = _first(0xFFFF, lambda count: at(temperature, humidity=count).humidity_pct >= humidity_pct)
    pressure = _first(0xFFFFF, lambda count: at(temperature, count).pressure_hpa <= pressure_hpa)
    return RawSample(temperature, pressure, humidity)


def _first(last: int, reached: Callable[[int], bool]) -> int:
    """Return the least count from 0 to *last* that has *reached* the wanted value; *last* if none has."""
    low, high = 0, last
    while low < high:
        middle = (low + high) // 2
        if reached(middle):
            high = middle
        else:
            low = middle + 1
    return low
