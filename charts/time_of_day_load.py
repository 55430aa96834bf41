"""When in the day power is used, over a long range: from the registers, and from readings where they do not tell it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from charts import coverage
from charts.coverage import Gap
from charts.period import Period, due_until, half_hour_before, next_half_hour
from storage import energy, series
from storage.energy import HALF_HOUR

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class with a lower-case name

_W_OF_KWH = 2000  # a kWh in half an hour


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """Mean power of each half hour of the day (48 rows) over the days of each point (columns)."""

    edges: list[datetime]  # one more than there are columns; midnights, and where the period begins and data can end
    mean_w: NDArray[np.float64]  # negative: sold; NaN where nothing is known
    gaps: list[Gap]  # half hours without step and without reading


def load(
    connection: Connection, site: int, period: Period, edges: Sequence[datetime], *, now: datetime
) -> TimeOfDay | None:
    """Read the steps of one half hour, and the readings of what they leave; None where nothing is known."""
    start, end = next_half_hour(edges[0]), half_hour_before(edges[-1])
    if start >= end:
        return None
    cut = [start, *(min(max(edge, start), end) for edge in edges[1:-1]), end]
    sums_w, counts = np.zeros((48, len(cut) - 1)), np.zeros((48, len(cut) - 1))
    for column in energy.columns(connection, site, cut, period.zone):
        used_steps, sold_steps = np.array(column.used_steps), np.array(column.sold_steps)
        # Where the export is told for fewer of the steps, it is taken to be the same in the others.
        sold_kwh = np.array(column.sold_kwh) * used_steps / np.maximum(sold_steps, 1)
        sums_w[column.half_hours, column.number] = _W_OF_KWH * (np.array(column.used_kwh) - sold_kwh)
        counts[column.half_hours, column.number] = used_steps
    is_whole = int(counts.sum()) == (end - start) // HALF_HOUR  # then there is no need to look for what is left
    left = [] if is_whole else [Gap(*one) for one in energy.uneven(connection, site, "import_kwh", (start, end))]
    read = series.half_hours_of_power(connection, site, [(gap.start, gap.end) for gap in left])
    starts = np.array([edge.timestamp() for edge in cut])
    for half in read:
        local = half.started_at.astimezone(period.zone)
        number = int(np.searchsorted(starts, half.started_at.timestamp(), "right")) - 1
        cell = (local.hour * 2 + local.minute // 30, max(number, 0))
        sums_w[cell] += half.mean_w
        counts[cell] += 1
    if not counts.any():
        return None
    mean_w = np.full_like(sums_w, np.nan)
    np.divide(sums_w, counts, out=mean_w, where=counts > 0)
    gaps = coverage.without(left, [Gap(half.started_at, half.started_at + HALF_HOUR) for half in read])
    return TimeOfDay(list(edges), mean_w, [gap for gap in gaps if gap.start < due_until(now)])
