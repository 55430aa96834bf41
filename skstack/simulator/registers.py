"""The energy registers of a simulated meter: counts now and at any time it remembers, from one and the same function.

Source: Machine Readable Appendix 1.3.1, class 0x0288; the shapes as in the responses of real meters.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from skstack.echonet.device import JST
from skstack.echonet.registers import UNIT_KWH_BY_CODE
from skstack.simulator.household import DAY_S, Household, local_day, midnight
from skstack.simulator.options import MeterOptions

HALF_HOUR_S = 1800
_ZERO = bytes(4)
NO_DATA = bytes.fromhex("FFFFFFFE")
NEVER_SET = bytes.fromhex("FFFFFFFFFFFF01")  # ED and EF before they were written
HISTORY_DAYS = 99
_SLOTS_A_DAY = 48
WS_A_KWH = 3_600_000

UNIT_WS = {code: int(unit_kwh * WS_A_KWH) for code, unit_kwh in UNIT_KWH_BY_CODE.items()}
"""What one count of unit code E1 is worth, watt-seconds."""


def half_hour_before(at: float) -> int:
    """Return the last :00 or :30 up to *at*; Unix half hours are Japanese ones."""
    return int(at) // HALF_HOUR_S * HALF_HOUR_S


def encode_time(at: float) -> bytes:
    """Return year (2 bytes), month, day, hour, minute and second, as the meter's clock shows them."""
    local = datetime.fromtimestamp(at, tz=JST)
    return local.year.to_bytes(2, "big") + bytes((local.month, local.day, local.hour, local.minute, local.second))


@dataclass(frozen=True, slots=True)
class Registers:
    """Two counters in their unit, which run from *installed_at* (Unix seconds).

    *zero_ws* is what the household had bought and sold when the counters would have stood at zero.
    """

    household: Household
    installed_at: float
    options: MeterOptions
    zero_ws: tuple[int, int]

    def counts(self, at: float) -> tuple[int, int]:
        """Return the import and the export register at *at*, whole counts, wrapped at ten to the *digits*."""
        import_ws, export_ws = self.household.energy_ws(at)
        count_ws = UNIT_WS.get(self.options.unit_code, UNIT_WS[0x01]) * (self.options.coefficient or 1)
        wrap = 10**self.options.digits
        return (import_ws - self.zero_ws[0]) // count_ws % wrap, (export_ws - self.zero_ws[1]) // count_ws % wrap

    def value(self, at: float, *, now: float, export: bool = False) -> bytes:
        """Return the four bytes of one register at *at*; no data in the future, nor before it was there."""
        if at > now or (export and not self.options.measures_export):
            return NO_DATA
        if at < self.installed_at:
            return _ZERO if self.options.zeros_before_installation else NO_DATA
        return self.counts(at)[export].to_bytes(4, "big")

    def fixed(self, now: float, *, export: bool = False) -> bytes:
        """Return EA or EB: the last half hour and its register."""
        at = half_hour_before(now)
        return encode_time(at) + self.value(at, now=now, export=export)

    def minute(self, now: float) -> bytes:
        """Return D0: the last whole minute and both registers."""
        at = int(now) // 60 * 60
        return encode_time(at) + self.value(at, now=now) + self.value(at, now=now, export=True)

    def day(self, days_back: int, now: float, *, export: bool = False) -> bytes:
        """Return E2 or E4: the day as *days_back* (FF: never chosen) and its 48 half hours."""
        head = days_back.to_bytes(2, "big")
        if days_back > HISTORY_DAYS:
            return head + NO_DATA * _SLOTS_A_DAY
        start = midnight(local_day(now)) - days_back * DAY_S
        slots = (start + slot * HALF_HOUR_S for slot in range(_SLOTS_A_DAY))
        return head + b"".join(self.value(slot, now=now, export=export) for slot in slots)

    def back_from(self, chosen: bytes, step_s: int, now: float) -> bytes:
        """Return EC or EE: what ED or EF chose, then pairs of registers, newest first, *step_s* apart."""
        if chosen == NEVER_SET:
            return chosen + NO_DATA * 2
        newest = _time_chosen(chosen)
        slots = [newest - step_s * item for item in range(chosen[6])]
        return chosen + b"".join(self.value(slot, now=now) + self.value(slot, now=now, export=True) for slot in slots)


def can_choose(edt: bytes, most: int, minutes: Collection[int]) -> bool:
    """Return whether *edt* can be written to ED or EF: a time at one of *minutes*, and 1 to *most* items."""
    if len(edt) != 7 or edt[5] not in minutes or not 1 <= edt[6] <= most:
        return False
    try:
        _time_chosen(edt)
    except ValueError:
        return False
    return True


def _time_chosen(edt: bytes) -> int:
    """Return the Unix second in ED or EF. Raises: ValueError: the bytes are no time."""
    year = int.from_bytes(edt[:2], "big")
    return int(datetime(year, edt[2], edt[3], edt[4], edt[5], tzinfo=JST).timestamp())
