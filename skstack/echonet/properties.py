"""What the meter's properties mean: codes, decoders by EPC, one poll as a reading, and who the meter is.

Class 0x0288, low-voltage smart electric energy meter. A missing value is None. Energy registers, history and what any
device tells of itself have modules of their own, whose names are here again: callers need this module only.
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

from skstack.echonet import device, history
from skstack.echonet.device import (
    JST,
    RouteBNumber,
    decode_clock,
    decode_maker_code,
    decode_release,
    decode_serial_number,
)
from skstack.echonet.frame import check_length, parse_instance_list, parse_property_map
from skstack.echonet.history import (
    HALF_HOURS,
    MINUTES,
    DayHistory,
    RegisterPair,
    ScheduledEnergy,
    decode_day_history,
    decode_half_hour_history,
    decode_minute_energy,
    decode_minute_history,
    decode_scheduled_energy,
    encode_history_day,
    encode_history_time,
    half_hours,
)
from skstack.echonet.registers import (
    REGISTER_NO_DATA,
    EnergyScale,
    decode_coefficient,
    decode_digits,
    decode_register,
    decode_unit_kwh,
    register_difference,
)
from skstack.errors import FrameError

__all__ = [
    "CURRENT_NO_DATA",
    "CURRENT_OVERFLOW",
    "CURRENT_UNDERFLOW",
    "DECODERS",
    "HALF_HOURS",
    "JST",
    "MINUTES",
    "NODE_DECODERS",
    "POWER_NO_DATA",
    "POWER_OVERFLOW",
    "POWER_UNDERFLOW",
    "REGISTER_NO_DATA",
    "DayHistory",
    "EnergyScale",
    "Epc",
    "MeterIdentity",
    "MeterReading",
    "NodeEpc",
    "RegisterPair",
    "RouteBNumber",
    "ScheduledEnergy",
    "decode_clock",
    "decode_coefficient",
    "decode_current_a",
    "decode_day_history",
    "decode_digits",
    "decode_half_hour_history",
    "decode_identity",
    "decode_maker_code",
    "decode_minute_energy",
    "decode_minute_history",
    "decode_power_w",
    "decode_reading",
    "decode_register",
    "decode_release",
    "decode_scale",
    "decode_scheduled_energy",
    "decode_serial_number",
    "decode_unit_kwh",
    "encode_history_day",
    "encode_history_time",
    "half_hours",
    "parse_property_map",
    "register_difference",
]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")


class Epc(IntEnum):
    """The meter's properties. Import is what the household takes (forward), export what it gives (reverse)."""

    # the device superclass
    OPERATION_STATUS = 0x80
    LOCATION = 0x81
    STANDARD_VERSION = 0x82
    IDENTIFICATION_NUMBER = 0x83
    OWN_POWER = 0x84
    OWN_ENERGY = 0x85
    MAKER_FAULT_CODE = 0x86
    CURRENT_LIMIT = 0x87
    FAULT_STATUS = 0x88
    FAULT_CONTENT = 0x89
    MAKER_CODE = 0x8A
    PLACE_CODE = 0x8B
    PRODUCT_CODE = 0x8C
    SERIAL_NUMBER = 0x8D
    MANUFACTURE_DATE = 0x8E
    POWER_SAVING = 0x8F
    REMOTE_CONTROL = 0x93
    CLOCK_TIME = 0x97
    CLOCK_DATE = 0x98
    POWER_LIMIT = 0x99
    OPERATING_TIME = 0x9A
    ANNOUNCE_MAP = 0x9D
    SET_MAP = 0x9E
    GET_MAP = 0x9F
    # class 0x0288; C0, D0, EE and EF came with release R: the Get map decides
    ROUTE_B_NUMBER = 0xC0
    MINUTE_ENERGY = 0xD0
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
    HALF_HOUR_HISTORY = 0xEC
    HALF_HOUR_HISTORY_TIME = 0xED
    MINUTE_HISTORY = 0xEE
    MINUTE_HISTORY_TIME = 0xEF


class NodeEpc(IntEnum):
    """Properties of the node profile (0EF0) that mean something else than the same code on the meter."""

    VERSION = 0x82
    UNIQUE_ID = 0xBF
    INSTANCE_COUNT = 0xD3
    CLASS_COUNT = 0xD4
    INSTANCE_LIST_NOTIFICATION = 0xD5
    INSTANCE_LIST = 0xD6
    CLASS_LIST = 0xD7


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


_SUPERCLASS_DECODERS: Mapping[int, Callable[[bytes], object]] = {
    Epc.OPERATION_STATUS: device.decode_operation_status,
    Epc.LOCATION: device.decode_location,
    Epc.STANDARD_VERSION: device.decode_release,
    Epc.IDENTIFICATION_NUMBER: device.decode_identification_number,
    Epc.OWN_POWER: device.decode_own_power_w,
    Epc.OWN_ENERGY: device.decode_own_energy_kwh,
    Epc.MAKER_FAULT_CODE: device.decode_maker_fault_code,
    Epc.CURRENT_LIMIT: device.decode_current_limit_percent,
    Epc.FAULT_STATUS: device.decode_fault_status,
    Epc.FAULT_CONTENT: device.decode_fault_content,
    Epc.MAKER_CODE: device.decode_maker_code,
    Epc.PLACE_CODE: device.decode_place_code,
    Epc.PRODUCT_CODE: device.decode_product_code,
    Epc.SERIAL_NUMBER: device.decode_serial_number,
    Epc.MANUFACTURE_DATE: device.decode_manufacture_date,
    Epc.POWER_SAVING: device.decode_power_saving,
    Epc.REMOTE_CONTROL: device.decode_remote_control,
    Epc.CLOCK_TIME: device.decode_clock_time,
    Epc.CLOCK_DATE: device.decode_clock_date,
    Epc.POWER_LIMIT: device.decode_power_limit_w,
    Epc.OPERATING_TIME: device.decode_operating_time,
    Epc.ANNOUNCE_MAP: parse_property_map,
    Epc.SET_MAP: parse_property_map,
    Epc.GET_MAP: parse_property_map,
}

DECODERS: Mapping[int, Callable[[bytes], object]] = {
    **_SUPERCLASS_DECODERS,
    Epc.ROUTE_B_NUMBER: device.decode_route_b_number,
    Epc.MINUTE_ENERGY: decode_minute_energy,
    Epc.COEFFICIENT: decode_coefficient,
    Epc.DIGITS: decode_digits,
    Epc.IMPORT_ENERGY: decode_register,
    Epc.ENERGY_UNIT: decode_unit_kwh,
    Epc.IMPORT_DAY_HISTORY: decode_day_history,
    Epc.EXPORT_ENERGY: decode_register,
    Epc.EXPORT_DAY_HISTORY: decode_day_history,
    Epc.DAY_HISTORY_DAY: history.decode_history_day,
    Epc.POWER: decode_power_w,
    Epc.CURRENTS: decode_current_a,
    Epc.SCHEDULED_IMPORT: decode_scheduled_energy,
    Epc.SCHEDULED_EXPORT: decode_scheduled_energy,
    Epc.HALF_HOUR_HISTORY: decode_half_hour_history,
    Epc.HALF_HOUR_HISTORY_TIME: history.decode_half_hour_history_time,
    Epc.MINUTE_HISTORY: decode_minute_history,
    Epc.MINUTE_HISTORY_TIME: history.decode_minute_history_time,
}
"""The decoder of every property a meter may have. Each raises FrameError for an EDT that is none."""

NODE_DECODERS: Mapping[int, Callable[[bytes], object]] = {
    **_SUPERCLASS_DECODERS,
    NodeEpc.VERSION: device.decode_node_version,
    NodeEpc.UNIQUE_ID: device.decode_unique_id,
    NodeEpc.INSTANCE_COUNT: device.decode_instance_count,
    NodeEpc.CLASS_COUNT: device.decode_class_count,
    NodeEpc.INSTANCE_LIST_NOTIFICATION: parse_instance_list,
    NodeEpc.INSTANCE_LIST: parse_instance_list,
    NodeEpc.CLASS_LIST: device.decode_class_list,
}
"""The same for the node profile."""


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
