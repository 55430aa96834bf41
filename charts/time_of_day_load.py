"""The map of a long range: the mean power of each half hour of the day over the days of a point, nothing drawn.

It comes from the registers, and from readings where they do not give it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from charts import coverage
from charts.coverage import Gap
from charts.period import Period, due_until, half_hour_before, next_half_hour
from storage import energy_map, series
from storage.steps import HALF_HOUR, W_OF_KWH, Span

if TYPE_CHECKING:
    from storage.connection import Connection


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """Mean power of each half hour of the day (48 rows) over the days of each point (columns)."""

    edges: list[datetime]  # one more than there are columns; midnights, and where the period begins and data can end
    mean_w: NDArray[np.float64]  # negative: sold; NaN where nothing is known
    gaps: list[Gap]  # half hours without step and without reading


class _Cells:
    """Sums of power in the cells of the map: a row for each half hour of the day, a column between two edges."""

    def __init__(self, edges: Sequence[datetime], zone: ZoneInfo) -> None:
        self._starts = np.array([edge.timestamp() for edge in edges])
        self._zone = zone
        shape = (48, len(edges) - 1)
        self._sums_w, self.counts = np.zeros(shape), np.zeros(shape)
        self._is_unsold = np.zeros(shape, dtype=np.bool_)  # no step of one half hour tells what was sold

    def add_steps(self, column: energy_map.Column) -> None:
        """Take the steps of one half hour. Where the export is known for fewer, it counts as the same in the others."""
        used_steps, sold_steps = np.array(column.used_steps), np.array(column.sold_steps)
        sold_kwh = np.array(column.sold_kwh) * used_steps / np.maximum(sold_steps, 1)
        self._sums_w[column.half_hours, column.number] = W_OF_KWH * (np.array(column.used_kwh) - sold_kwh)
        self.counts[column.half_hours, column.number] = used_steps
        self._is_unsold[column.half_hours, column.number] = sold_steps == 0

    def drop_unsold(self, connection: Connection, site: int, span: Span) -> list[Gap]:
        """Empty the cells in which nothing is known of what was sold; return their half hours."""
        if not self._is_unsold.any():
            return []
        unsold: list[datetime] = []
        for begin, finish in energy_map.uneven(connection, site, "export_kwh", span):
            moments = (begin + n * HALF_HOUR for n in range((finish - begin) // HALF_HOUR))
            unsold += [moment for moment in moments if self._is_unsold[self._cell_of(moment)]]
        for moment in unsold:
            self._sums_w[self._cell_of(moment)] = self.counts[self._cell_of(moment)] = 0
        return [Gap(moment, moment + HALF_HOUR) for moment in unsold]

    def add_reading(self, started_at: datetime, mean_w: float) -> None:
        """Take the mean of a half hour's readings."""
        self._sums_w[self._cell_of(started_at)] += mean_w
        self.counts[self._cell_of(started_at)] += 1

    def mean_w(self) -> NDArray[np.float64]:
        """Return the mean of each cell; NaN where nothing is known."""
        means = np.full_like(self._sums_w, np.nan)
        return np.divide(self._sums_w, self.counts, out=means, where=self.counts > 0)

    def _cell_of(self, moment: datetime) -> tuple[int, int]:
        local = moment.astimezone(self._zone)
        number = int(np.searchsorted(self._starts, moment.timestamp(), "right")) - 1
        return local.hour * 2 + local.minute // 30, max(number, 0)


def load(
    connection: Connection,
    site: int,
    period: Period,
    edges: Sequence[datetime],
    *,
    now: datetime,
    sells: bool,
) -> TimeOfDay | None:
    """Read the steps of one half hour, and the readings of what they leave; None where nothing is known."""
    start, end = next_half_hour(edges[0]), half_hour_before(edges[-1])
    cut = [start, *(min(max(edge, start), end) for edge in edges[1:-1]), end]
    cells = _Cells(cut, period.zone)
    for column in energy_map.columns(connection, site, cut, period.zone):
        cells.add_steps(column)
    unsold = cells.drop_unsold(connection, site, (start, end)) if sells else []
    is_whole = int(cells.counts.sum()) == (end - start) // HALF_HOUR  # then there is no need to look for what is left
    left = [] if is_whole else [Gap(*one) for one in energy_map.uneven(connection, site, "import_kwh", (start, end))]
    left = coverage.merged([*left, *coverage.without(unsold, left)])
    read = series.half_hours_of_power(connection, site, [(gap.start, gap.end) for gap in left])
    for half in read:
        cells.add_reading(half.started_at, half.mean_w)
    if not cells.counts.any():
        return None
    gaps = coverage.without(left, [Gap(half.started_at, half.started_at + HALF_HOUR) for half in read])
    return TimeOfDay(list(edges), cells.mean_w(), [gap for gap in gaps if gap.start < due_until(now)])
