"""Who the meter is and how its registers count; and when what it reports makes it another meter.

Source: ECHONET Device Objects (Appendix) release R, device object superclass, and class 0x0288, EPC D3, D7, E1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from skstack.echonet.device import decode_maker_code, decode_release, decode_serial_number
from skstack.echonet.properties import Epc, Report, decoded, warn
from skstack.echonet.registers import EnergyScale, decode_coefficient, decode_digits, decode_unit_kwh

_AGREEING = 2  # responses that prove another meter: a single one may have a wrong digit


@dataclass(frozen=True, slots=True)
class MeterIdentity:
    """Which meter it is and how its registers count. None: it did not say."""

    manufacturer: str | None  # 8A, six hex digits
    serial_number: str | None  # 8D
    release: str | None  # 82, the letter
    scale: EnergyScale | None  # D3, E1, D7; without it no energy can be given in kWh

    @property
    def is_named(self) -> bool:
        """Whether it gives a maker or a serial number."""
        return bool(self.manufacturer or self.serial_number)

    def agrees(self, other: MeterIdentity) -> bool:
        """Return whether both can be the same meter with the same scale; what one did not give makes no difference."""
        pairs = zip(self._facts(), other._facts(), strict=True)
        return all(one is None or another is None or one == another for one, another in pairs)

    def _facts(self) -> tuple[object, ...]:
        """Return what distinguishes one meter from another, None where it did not say."""
        scale = self.scale
        counts = (scale.coefficient, scale.unit_kwh, scale.digits) if scale is not None else (None, None, None)
        return self.manufacturer, self.serial_number, *counts

    def completed(self, known: MeterIdentity) -> MeterIdentity:
        """Return this identity with what only *known* has."""
        scale = self.scale or known.scale
        if scale is not None and scale.digits is None and known.scale is not None:
            scale = known.scale
        return MeterIdentity(
            self.manufacturer or known.manufacturer,
            self.serial_number or known.serial_number,
            self.release or known.release,
            scale,
        )


def decode_identity(
    values: Mapping[int, bytes], refused: frozenset[int] = frozenset(), *, report: Report = warn
) -> MeterIdentity:
    """Decode who the meter is from the EDTs that came, by EPC. What is absent or (see *report*) broken is None.

    A coefficient (D3) that the meter has *refused*, since it has none, is 1; one that just did not come is not guessed.
    """
    unit_kwh = decoded(values, Epc.ENERGY_UNIT, decode_unit_kwh, report)
    coefficient = decoded(values, Epc.COEFFICIENT, decode_coefficient, report)
    if Epc.COEFFICIENT in refused:
        coefficient = 1
    # A broken D7 costs the digits alone: without them a wrap looks like a fall, and nothing is guessed.
    digits = decoded(values, Epc.DIGITS, decode_digits, report)
    scale = EnergyScale(coefficient, unit_kwh, digits) if unit_kwh is not None and coefficient is not None else None
    return MeterIdentity(
        manufacturer=decoded(values, Epc.MAKER_CODE, decode_maker_code, report),
        serial_number=decoded(values, Epc.SERIAL_NUMBER, decode_serial_number, report),
        release=decoded(values, Epc.STANDARD_VERSION, decode_release, report),
        scale=scale,
    )


class Recognition:
    """The identity that is known, and whether the meter may be another one. Times are the caller's, in seconds.

    *since*: the first sighting of the known identity. *sightings*: in a row.
    """

    def __init__(self) -> None:
        self.known: MeterIdentity | None = None
        self.since = 0.0
        self.sightings = 0
        self.is_sure = True
        self._seen_at = 0.0
        self._other: MeterIdentity | None = None  # that was seen instead, once

    @property
    def is_confirmed(self) -> bool:
        """Whether it is sure who the meter is: it was seen twice, or it gives no name that could be wrong."""
        is_enough = self.known is not None and (not self.known.is_named or self.sightings >= _AGREEING)
        return self.is_sure and is_enough

    def suspect(self, at: float) -> None:
        """Note that since *at* the meter may be another one."""
        if self.is_sure:
            self.is_sure = False
            self._seen_at = at
            self._other = None

    def note(self, seen: MeterIdentity, at: float) -> bool:
        """Take note of who the meter says it is; True where that makes it another one than was known."""
        if self.known is None:
            self.known, self.since, self.sightings, self.is_sure = seen, at, seen.is_named, True
            return False
        if seen.agrees(self.known):
            # Many meters count alike: where this one has a name, its scale alone does not end a suspicion.
            self.is_sure = self.is_sure or seen.is_named or not self.known.is_named
            self.known = seen.completed(self.known)
            self.sightings += seen.is_named
            return False
        self.suspect(at)
        if self._other is None or not seen.agrees(self._other):
            self._other = seen
            return False
        self.known, self.since, self.sightings, self.is_sure = seen, self._seen_at, _AGREEING, True
        return True
