"""What the meter's properties mean: codes, and one poll as a reading.

Class 0x0288, low-voltage smart electric energy meter. A missing value is None. Energy registers, half-hour values and
what any device reports about itself have modules of their own.
Source: ECHONET Device Objects (Appendix) release R, class 0x0288 and the device object superclass.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import IntEnum
from struct import Struct
from typing import TypeVar

from skstack.echonet.frame import check_length
from skstack.echonet.history import decode_scheduled_energy
from skstack.echonet.registers import EnergyScale, decode_register
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
class MeterReading:
    """One poll of the meter. None: the meter said "no data" or did not give that property."""

    power_w: int | None  # negative: selling
    current_r_a: Decimal | None  # steps of 0.1 A
    current_t_a: Decimal | None  # None on single-phase two-wire supply
    import_kwh: Decimal | None  # the register, exact
    export_kwh: Decimal | None


@dataclass(frozen=True, slots=True)
class HalfHour:
    """The registers at one :00 or :30, in kWh; export None: the meter does not measure it."""

    registered_at: datetime
    import_kwh: Decimal | None
    export_kwh: Decimal | None


Report = Callable[[Epc, FrameError | None], None]
"""Is called for each property that came: what is broken in its data; None: nothing."""


def warn(epc: Epc, error: FrameError | None) -> None:
    """Log that *epc* is broken, if it is."""
    if error is not None:
        logger.warning("EPC %02X (%s) is taken as not measured: %s", epc, epc.name, error)


def decoded(values: Mapping[int, bytes], epc: Epc, decode: Callable[[bytes], _T], report: Report) -> _T | None:
    """Return what *epc* says; None where it is absent or, with a *report*, broken: one bad value costs only itself."""
    edt = values.get(epc)
    if edt is None:
        return None
    try:
        value = decode(edt)
    except FrameError as error:
        report(epc, error)
        return None
    report(epc, None)
    return value


def decode_reading(values: Mapping[int, bytes], scale: EnergyScale | None, *, report: Report = warn) -> MeterReading:
    """Decode one poll from the EDTs that came, by EPC. Without *scale* the energies are None."""
    current_r_a, current_t_a = decoded(values, Epc.CURRENTS, decode_current_a, report) or (None, None)
    import_raw = decoded(values, Epc.IMPORT_ENERGY, decode_register, report)
    export_raw = decoded(values, Epc.EXPORT_ENERGY, decode_register, report)
    return MeterReading(
        power_w=decoded(values, Epc.POWER, decode_power_w, report),
        current_r_a=current_r_a,
        current_t_a=current_t_a,
        import_kwh=scale.kwh(import_raw) if scale else None,
        export_kwh=scale.kwh(export_raw) if scale else None,
    )


def decode_half_hour(
    values: Mapping[int, bytes], scale: EnergyScale | None, *, needs_export: bool, report: Report = warn
) -> HalfHour | None:
    """Decode EA and EB; None: EA missing, broken or without *scale*, or an EB that is needed.

    An EB of another time is none of this half hour.
    """
    imported = decoded(values, Epc.SCHEDULED_IMPORT, decode_scheduled_energy, report)
    exported = decoded(values, Epc.SCHEDULED_EXPORT, decode_scheduled_energy, report)
    if scale is None or imported is None or imported.raw is None:
        return None
    if exported is not None and exported.registered_at != imported.registered_at:
        exported = None
    export_raw = exported.raw if exported is not None else None
    if export_raw is None and needs_export:
        return None
    return HalfHour(imported.registered_at, scale.kwh(imported.raw), scale.kwh(export_raw))
