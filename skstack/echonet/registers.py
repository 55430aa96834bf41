"""The meter's energy registers: counts, the three properties that scale them, and what lies between two counts.

A register is a whole number of counts. Energy = count x coefficient (D3) x unit (E1), in kWh, always exact.
Source: ECHONET Device Objects (Appendix) release R, class 0x0288, EPC D3, D7, E0, E1, E3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from skstack.echonet.frame import check_length
from skstack.errors import FrameError

REGISTER_NO_DATA = 0xFFFFFFFE
REGISTER_MAX = 99_999_999
COEFFICIENT_MAX = 999_999
DIGITS_MAX = 8

UNIT_KWH_BY_CODE: Mapping[int, Decimal] = {
    0x00: Decimal("1"),
    0x01: Decimal("0.1"),
    0x02: Decimal("0.01"),
    0x03: Decimal("0.001"),
    0x04: Decimal("0.0001"),
    0x0A: Decimal("10"),
    0x0B: Decimal("100"),
    0x0C: Decimal("1000"),
    0x0D: Decimal("10000"),
}
"""EPC E1: kWh that one count stands for, before the coefficient."""


@dataclass(frozen=True, slots=True)
class EnergyScale:
    """What turns counts into kWh. It is fixed for a meter: read it once per session.

    *digits* (D7): the register wraps at 10 ** digits counts; None where the meter did not say.
    """

    coefficient: int
    unit_kwh: Decimal
    digits: int | None

    def __post_init__(self) -> None:
        if not 1 <= self.coefficient <= COEFFICIENT_MAX:
            raise ValueError(f"a coefficient is 1 to {COEFFICIENT_MAX}, not {self.coefficient}")
        if self.unit_kwh not in UNIT_KWH_BY_CODE.values():
            raise ValueError(f"{self.unit_kwh} kWh is no unit of EPC E1")
        if self.digits is not None and not 1 <= self.digits <= DIGITS_MAX:
            raise ValueError(f"a register has 1 to {DIGITS_MAX} digits, not {self.digits}")

    def kwh(self, raw: int | None) -> Decimal | None:
        """Return the energy of *raw* counts in kWh, exactly, with the decimals of the unit; None stays None."""
        if raw is None:
            return None
        return raw * self.coefficient * self.unit_kwh  # at most 8 + 6 digits: far from where Decimal would round


def register_value(count: int, edt: bytes) -> int | None:
    """Return *count* as it came in *edt*, or None where it is the no-data code.

    Raises: FrameError: over 99,999,999, which no register reaches.
    """
    if count <= REGISTER_MAX:
        return count
    if count == REGISTER_NO_DATA:
        return None
    raise FrameError(f"a register is at most {REGISTER_MAX}, not {count}", edt)


def decode_register(edt: bytes) -> int | None:
    """Decode cumulative energy (E0 import, E3 export) into counts; None: not measured (FFFFFFFE).

    Raises: FrameError: not 4 bytes, or over 99,999,999.
    """
    check_length("cumulative energy", edt, 4)
    return register_value(int.from_bytes(edt), edt)


def decode_coefficient(edt: bytes) -> int:
    """Decode the coefficient (D3), 1 to 999,999. A meter without D3 has coefficient 1.

    The table of the standard starts at 0, but with 0 every energy of the household would be 0: that is refused.
    Raises: FrameError: not 4 bytes, 0, or over 999,999.
    """
    check_length("coefficient", edt, 4)
    coefficient = int.from_bytes(edt)
    if not 1 <= coefficient <= COEFFICIENT_MAX:
        raise FrameError(f"a coefficient is 1 to {COEFFICIENT_MAX}, not {coefficient}", edt)
    return coefficient


def decode_unit_kwh(edt: bytes) -> Decimal:
    """Decode the unit of cumulative energy (E1), kWh.

    Raises: FrameError: not 1 byte, or a code without a meaning.
    """
    check_length("energy unit", edt, 1)
    unit_kwh = UNIT_KWH_BY_CODE.get(edt[0])
    if unit_kwh is None:
        raise FrameError(f"unknown energy unit {edt[0]:02X}", edt)
    return unit_kwh


def decode_digits(edt: bytes) -> int:
    """Decode the number of effective digits of the registers (D7), 1 to 8.

    Raises: FrameError: not 1 byte, or outside 1 to 8.
    """
    check_length("effective digits", edt, 1)
    if not 1 <= edt[0] <= DIGITS_MAX:
        raise FrameError(f"a register has 1 to {DIGITS_MAX} digits, not {edt[0]}", edt)
    return edt[0]


def register_difference(new: int, old: int, digits: int | None) -> int | None:
    """Return by how many counts a register rose from *old* to *new*, over its wrap at 10 ** *digits* if need be.

    None: it went backwards. A fall is a wrap only where the rise it stands for is less than half the register's
    range; any other is a new meter or a broken value. Without *digits* no fall is a wrap.
    """
    if new >= old:
        return new - old
    if digits is None or old >= 10**digits:
        return None
    rise = new - old + 10**digits
    return rise if rise < 10**digits // 2 else None
