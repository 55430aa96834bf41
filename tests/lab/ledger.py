"""A household whose every half hour is known before there is any register: what the record must give back of it.

It counts in whole counts of the meter and in half hours since its first midnight in Japan. The registers are made from
the use, and the truth is added up from the use, never from registers; nothing of the product is used.
"""

from __future__ import annotations

import io
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import accumulate, pairwise
from typing import Any

from psycopg2.extensions import set_wait_callback

A_DAY = 48
_JAPAN_S = 9 * 3600


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter that is installed from a moment on, with its registers as it was mounted."""

    mounted_min: int  # minutes since the first midnight
    maker: str | None
    serial: str | None
    import_counts: int = 0
    export_counts: int = 0
    digits: int = 6
    is_exchange: bool = True  # False: only another row in "meter" for the one that is installed


@dataclass(slots=True)
class Ledger:
    """The use of each half hour, and which registers reached the record."""

    first: date
    days: int
    meters: Sequence[Meter]
    sells: bool = True
    falls: dict[int, int] = field(default_factory=dict)  # half hour in which the import register loses so many counts
    missing: set[int] = field(default_factory=set)  # boundaries (0 is the first midnight) without a row
    zeros: set[int] = field(default_factory=set)  # rows of a memory from before its meter served
    no_export: set[int] = field(default_factory=set)  # rows whose export register is null

    def used(self, half_hour: int) -> int:
        """Give the counts used: more in the evening, in winter, and on some days."""
        of_day, day = half_hour % A_DAY, half_hour // A_DAY
        season = abs((day % 365) - 182) // 40
        return 1 + (half_hour * 7919) % 5 + (4 if 36 <= of_day < 46 else 0) + season + (day * 31) % 3

    def sold(self, half_hour: int) -> int:
        """Give the counts sold: around noon."""
        of_day = half_hour % A_DAY
        return 3 + (half_hour * 104_729) % 9 if self.sells and 18 <= of_day < 30 else 0

    # --- the record

    def at(self, boundary: int) -> datetime:
        midnight_s = (self.first - date(1970, 1, 1)).days * 86_400 - _JAPAN_S
        return datetime.fromtimestamp(midnight_s + boundary * 1800, UTC)

    def boundary(self, day: date, half_hour: int = 0) -> int:
        return (day - self.first).days * A_DAY + half_hour

    def registers(self) -> Iterable[tuple[int, int, int]]:
        """Yield each boundary with both registers in counts, as the meter of its time shows them."""
        mounted = [meter for meter in self.meters if meter.is_exchange]
        meter = mounted.pop(0)
        imported, exported = meter.import_counts, meter.export_counts
        for boundary in range(self.days * A_DAY + 1):
            yield boundary, imported % 10**meter.digits, exported % 10**meter.digits
            use, sale = self.used(boundary), self.sold(boundary)
            if mounted and mounted[0].mounted_min < (boundary + 1) * 30:
                meter = mounted.pop(0)
                left_min = (boundary + 1) * 30 - meter.mounted_min
                imported, exported = meter.import_counts, meter.export_counts
                use, sale = use * left_min // 30, sale * left_min // 30
            imported += use - self.falls.get(boundary, 0)
            exported += sale

    def write(self, connection: Any, site: str) -> int:
        """Write the site, its meters and its registers; return its number. Committing is left to the caller."""
        with connection.cursor() as cursor:
            cursor.execute("insert into site (name) values (%s) returning site_id", (site,))
            (number,) = cursor.fetchone()
            for meter in self.meters:
                cursor.execute(
                    "insert into meter (site_id, since, manufacturer, serial_number, unit_kwh, digits) "
                    "values (%s, %s, %s, %s, 0.1, %s)",
                    (
                        number,
                        self.at(0) + timedelta(minutes=meter.mounted_min),
                        meter.maker,
                        meter.serial,
                        meter.digits,
                    ),
                )
            lines = []
            for boundary, imported, exported in self.registers():
                if boundary in self.zeros:
                    imported, exported = 0, 0
                elif boundary in self.missing:
                    continue
                sold = "\\N" if boundary in self.no_export or not self.sells else f"{exported / 10:.1f}"
                lines.append(f"{self.at(boundary).isoformat()}\t{number}\t{imported / 10:.1f}\t{sold}\thistory\n")
            columns = ("registered_at", "site_id", "import_kwh", "export_kwh", "source")
            set_wait_callback(None)  # ours, for which psycopg2 has no COPY
            cursor.copy_from(io.StringIO("".join(lines)), "energy", columns=columns)
            cursor.execute("analyze meter, energy")
        return int(number)

    # --- the truth

    def steps(self, *, sold: bool = False) -> list[tuple[int, int, bool]]:
        """Give the boundaries of each step, and whether what was used (or sold) in it can be known."""
        # A register that wraps to exactly 0 looks like the zeros of a memory: it is no register either.
        at_zero = {boundary for boundary, imported, _ in self.registers() if imported == 0}
        lost = self.missing | self.zeros | at_zero | (self.no_export if sold else set())
        there = [boundary for boundary in range(self.days * A_DAY + 1) if boundary not in lost]
        exchanges = [meter.mounted_min for meter in self.meters[1:] if meter.is_exchange]
        steps = []
        for earlier, later in pairwise(there):
            exchanged = any(earlier * 30 < minute <= later * 30 for minute in exchanges)
            fell = not sold and any(earlier <= half_hour < later for half_hour in self.falls)
            steps.append((earlier, later, not exchanged and not fell))
        return steps if self.sells or not sold else []


class Truth:
    """What can be known of a ledger: its use (or its sales) over the known steps."""

    def __init__(self, ledger: Ledger, *, sold: bool = False) -> None:
        count = ledger.sold if sold else ledger.used
        self.steps = ledger.steps(sold=sold)
        self._known = [(earlier, later) for earlier, later, known in self.steps if known]
        self._before = [0, *accumulate(count(half_hour) for half_hour in range(ledger.days * A_DAY))]

    def inside(self, begin: int, end: int) -> list[tuple[int, int]]:
        """Give the known steps that lie wholly between two boundaries."""
        first, last = bisect_left(self._known, (begin, 0)), bisect_left(self._known, (end, 0))
        return [step for step in self._known[first:last] if step[1] <= end]

    def kwh(self, begin: int, end: int) -> Decimal | None:
        """Add up the known steps that lie wholly between two boundaries; None: there are none."""
        inside = self.inside(begin, end)
        counts = sum(self._before[later] - self._before[earlier] for earlier, later in inside)
        return Decimal(counts) / 10 if inside else None

    def covered(self, begin: int, end: int) -> int:
        """Count the half hours of the known steps between two boundaries."""
        return sum(later - earlier for earlier, later in self.inside(begin, end))

    def whole_kwh(self, begin: int, end: int) -> Decimal | None:
        """Add up a stretch that known steps cover from begin to end; None: they do not."""
        return self.kwh(begin, end) if self.covered(begin, end) == end - begin else None

    def even(self, begin: int, end: int) -> dict[int, Decimal]:
        """Spread each known step between two boundaries evenly over its half hours."""
        return {
            half_hour: Decimal(self._before[later] - self._before[earlier]) / 10 / (later - earlier)
            for earlier, later in self.inside(begin, end)
            for half_hour in range(earlier, later)
        }
