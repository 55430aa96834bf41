"""What the meter's properties mean: codes, one poll as a reading, and who the meter is.

Class 0x0288, low-voltage smart electric energy meter. A missing value is None. Energy registers, half-hour values and
what any device tells of itself have modules of their own.
Source: ECHONET Device Objects (Appendix) release R, class 0x0288 and the device object superclass.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from struct import Struct
from typing import TypeVar

from skstack.echonet.device import decode_maker_code, decode_release, decode_serial_number
from skstack.echonet.frame import check_length, parse_property_map
from skstack.echonet.registers import (
    EnergyScale,
    decode_coefficient,
    decode_digits,
    decode_register,
    decode_unit_kwh,
)
from skstack.errors import FrameError

logger = logging.getLogger(__name__)

_T = TypeVar("_T")


class Epc(IntEnum):
    """The meter's properties that we use. Import is what the household takes (forward), export what it gives."""

    # the device superclass
    STANDARD_VERSION = 0x82
    MAKER_CODE = 0x8A
    SERIAL_NUMBER = 0x8D
    CLOCK_TIME = 0x97
    CLOCK_DATE = 0x98
    GET_MAP = 0x9F
    # class 0x0288
    COEFFICIENT = 0xD3
    DIGITS = 0xD7
    IMPORT_ENERGY = 0xE0
    ENERGY_UNIT = 0xE1
    IMPORT_DAY_HISTORY = 0xE2
    EXPORT_ENERGY = 0xE3
    EXPORT_DAY_HISTORY = 0xE4
    DAY_HISTORY_DAY = 0xE5
    POWER = 0xE7
    CURRENTS = 0xE8
    SCHEDULED_IMPORT = 0xEA
    SCHEDULED_EXPORT = 0xEB


POWER_NO_DATA = 0x7FFFFFFE
POWER_OVERFLOW = 0x7FFFFFFF
POWER_UNDERFLOW = -0x80000000
CURRENT_NO_DATA = 0x7FFE
CURRENT_OVERFLOW = 0x7FFF
CURRENT_UNDERFLOW = -0x8000

_NO_POWER = frozenset({POWER_NO_DATA, POWER_OVERFLOW, POWER_UNDERFLOW})
_NO_CURRENT = frozenset({CURRENT_NO_DATA, CURRENT_OVERFLOW, CURRENT_UNDERFLOW})
_CURRENTS = Struct(">hh")


def decode_power_w(edt: bytes) -> int | None:
    """Decode instantaneous power (E7), W; negative: selling. None: not measured, or beyond what the meter can show.

    Raises: FrameError: not 4 bytes.
    """
    check_length("power", edt, 4)
    power_w = int.from_bytes(edt, signed=True)
    return None if power_w in _NO_POWER else power_w


def decode_current_a(edt: bytes) -> tuple[Decimal | None, Decimal | None]:
    """Decode instantaneous currents (E8) into (R phase, T phase), A in steps of 0.1; negative: selling.

    None: not measured, normal for T on single-phase two-wire supply, or beyond what the meter can show.
    Raises: FrameError: not 4 bytes.
    """
    check_length("currents", edt, _CURRENTS.size)
    tenths_r, tenths_t = _CURRENTS.unpack(edt)
    return _current_a(tenths_r), _current_a(tenths_t)


def _current_a(tenths: int) -> Decimal | None:
    return None if tenths in _NO_CURRENT else Decimal(tenths).scaleb(-1)


@dataclass(frozen=True, slots=True)
class MeterIdentity:
    """Which meter it is, how its registers count, and what it can be asked (*get_map*: EPCs). None: it did not say."""

    manufacturer: str | None  # 8A, six hex digits
    serial_number: str | None  # 8D
    release: str | None  # 82, the letter
    scale: EnergyScale | None  # D3, E1, D7; without it no energy can be told in kWh
    get_map: frozenset[int]  # 9F; empty: not known


@dataclass(frozen=True, slots=True)
class MeterReading:
    """One poll of the meter. None: the meter said "no data" or did not answer that property."""

    power_w: int | None  # negative: selling
    current_r_a: Decimal | None  # steps of 0.1 A
    current_t_a: Decimal | None  # None on single-phase two-wire supply
    import_kwh: Decimal | None  # the register, exact
    export_kwh: Decimal | None


def _decoded(values: Mapping[int, bytes], epc: Epc, decode: Callable[[bytes], _T]) -> _T | None:
    """Return what *epc* says; None where it is absent or, with a warning, broken: one bad value costs only itself."""
    edt = values.get(epc)
    if edt is None:
        return None
    try:
        return decode(edt)
    except FrameError as error:
        logger.warning("EPC %02X (%s) is taken as not measured: %s", epc, epc.name, error)
        return None


def decode_reading(values: Mapping[int, bytes], scale: EnergyScale | None) -> MeterReading:
    """Decode one poll from the EDTs that came, by EPC. Without *scale* the energies are None."""
    current_r_a, current_t_a = _decoded(values, Epc.CURRENTS, decode_current_a) or (None, None)
    import_raw = _decoded(values, Epc.IMPORT_ENERGY, decode_register)
    export_raw = _decoded(values, Epc.EXPORT_ENERGY, decode_register)
    return MeterReading(
        power_w=_decoded(values, Epc.POWER, decode_power_w),
        current_r_a=current_r_a,
        current_t_a=current_t_a,
        import_kwh=scale.kwh(import_raw) if scale else None,
        export_kwh=scale.kwh(export_raw) if scale else None,
    )


def decode_scale(values: Mapping[int, bytes]) -> EnergyScale | None:
    """Decode how the registers count; None: the unit (E1) is absent or broken, or D3 is there but broken.

    Hand over the answer to a Get that asked for D3: only then does its absence mean coefficient 1.
    A broken D7 costs the digits alone: without them a wrap is not told from an exchange, and nothing is guessed.
    """
    unit_kwh = _decoded(values, Epc.ENERGY_UNIT, decode_unit_kwh)
    coefficient = _decoded(values, Epc.COEFFICIENT, decode_coefficient) if Epc.COEFFICIENT in values else 1
    if unit_kwh is None or coefficient is None:
        return None
    return EnergyScale(coefficient, unit_kwh, _decoded(values, Epc.DIGITS, decode_digits))


def decode_identity(values: Mapping[int, bytes]) -> MeterIdentity:
    """Decode who the meter is from the EDTs that came, by EPC. What is absent or broken is None.

    A meter whose Get map (9F) lists a coefficient that did not come has no scale here: 1 would be a guess.
    """
    get_map = _decoded(values, Epc.GET_MAP, parse_property_map) or frozenset()
    coefficient_owed = Epc.COEFFICIENT in get_map and Epc.COEFFICIENT not in values
    return MeterIdentity(
        manufacturer=_decoded(values, Epc.MAKER_CODE, decode_maker_code),
        serial_number=_decoded(values, Epc.SERIAL_NUMBER, decode_serial_number),
        release=_decoded(values, Epc.STANDARD_VERSION, decode_release),
        scale=None if coefficient_owed else decode_scale(values),
        get_map=get_map,
    )
