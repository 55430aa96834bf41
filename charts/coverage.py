"""What is known of a quantity, what is missing, and what is not due yet. Whatever draws or says it comes here.

Readings: how often they come is seen where they were read, from the spacings beside. A reading was due one such
spacing after the one before; where nothing came for more than two, the time since is missing. Each reading counts for
its own spacing. Energy: missing is what no bar holds (see charts.energy_load). Nothing is due after now.

A course is what is known of one value, as arrays to draw, with NaN where it is missing: no line crosses a gap.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from storage.energy import Lack
from storage.series import Point, Run

_DAY_S = 86_400.0
_LONGEST_CADENCE_S = 3600.0  # the poller takes 1 to 3,600 s
_USUAL_CADENCE_S = 60.0
_A_CADENCE = 3  # as many even spacings in a row show how often readings come
_BESIDE = 5  # otherwise as many before and after are looked at


@dataclass(frozen=True, slots=True)
class Gap:
    """Missing from *start*, when a reading was due, to *end*, when the next one came; or an edge of the period."""

    start: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Coverage:
    """Of one kind of readings: the gaps, in the order of time, and how long the readings of each run count."""

    gaps: list[Gap]
    runs: Sequence[Run]
    weights_s: list[float]

    def time_counted(self, condition: int) -> timedelta:
        """Return how long a counted condition was true."""
        return timedelta(seconds=sum(self._of(condition)))

    def share_counted(self, condition: int) -> float:
        """Return the part of the time, 0 to 1, in which a counted condition was true; 1 only if it always was."""
        if all(run.counted[condition] == run.readings for run in self.runs):
            return float(bool(self.runs))  # a sum of floats may come to a little more or less
        whole = sum(self.weights_s)
        return sum(self._of(condition)) / whole if whole else 0.0

    def _of(self, condition: int) -> Iterable[float]:
        return (
            weight * run.counted[condition] / run.readings
            for weight, run in zip(self.weights_s, self.runs, strict=True)
        )


def of_readings(runs: Sequence[Run], start: datetime, end: datetime) -> Coverage:
    """Find what is missing between *start* and *end*, before which everything is due."""
    if not runs:
        return Coverage([Gap(start, end)], [], [])
    spacings_s = [_spacing_s(run) for run in runs]
    cadences_s = [_cadence_s(runs, spacings_s, place) for place in range(len(runs))]
    gaps = _edge(start, runs[0].first_at, cadences_s[0])
    weights_s = []
    for run, spacing_s, (before_s, after_s) in zip(runs, spacings_s, cadences_s, strict=True):
        per_spacing = run.readings / run.spacings
        if spacing_s is None or spacing_s <= 2 * max(before_s, after_s):
            weights_s.append(run.readings * (before_s if spacing_s is None else spacing_s))
            continue
        weights_s.append(run.readings * before_s)
        length = timedelta(seconds=spacing_s * per_spacing)
        for place in range(run.spacings if run.next_at else run.spacings - 1):  # the last of all ends at the edge
            begin = run.first_at + place * length
            gaps.append(Gap(begin + timedelta(seconds=before_s * per_spacing), begin + length))
    last_s = cadences_s[-1][0]
    due = runs[-1].last_at + timedelta(seconds=last_s)
    return Coverage(gaps + _edge(due, end, (last_s, last_s)), runs, weights_s)


def _edge(due: datetime, came: datetime, cadence_s: tuple[float, float]) -> list[Gap]:
    return [Gap(due, came)] if (came - due).total_seconds() > max(cadence_s) else []


def _spacing_s(run: Run) -> float | None:
    """Return the seconds from each reading of a run to the next; None: there is only the last of all."""
    until = run.next_at or run.last_at
    readings = run.readings if run.next_at else run.readings - 1
    return (until - run.first_at).total_seconds() / readings if readings else None


def _cadence_s(runs: Sequence[Run], spacings_s: Sequence[float | None], place: int) -> tuple[float, float]:
    """Return how often readings came before and after the spacings of a run."""
    spacing_s = spacings_s[place]
    own_s = None if spacing_s is None else min(spacing_s, _LONGEST_CADENCE_S)
    if runs[place].spacings >= _A_CADENCE and own_s is not None:
        return own_s, own_s
    before_s = _median_beside(runs, spacings_s, range(place - 1, -1, -1))
    after_s = _median_beside(runs, spacings_s, range(place + 1, len(runs)))
    known = [cadence_s for cadence_s in (before_s, after_s, own_s, _USUAL_CADENCE_S) if cadence_s is not None]
    return before_s or known[0], after_s or known[0]


def _median_beside(runs: Sequence[Run], spacings_s: Sequence[float | None], places: range) -> float | None:
    found: list[float] = []
    for place in places:
        spacing_s = spacings_s[place]
        if spacing_s is not None:
            found += [spacing_s] * min(runs[place].spacings, _BESIDE - len(found))
        if len(found) >= _BESIDE:
            break
    return min(statistics.median(found), _LONGEST_CADENCE_S) if found else None


def of_energy(lacks: Iterable[Lack], start: datetime, until: datetime) -> list[Gap]:
    """Return where no bar holds what was used, between *start* and *until*."""
    inside = [Gap(max(lack.started_at, start), min(lack.ended_at, until)) for lack in lacks]
    return merged(gap for gap in inside if gap.start < gap.end)


def unread(lacks: Iterable[Lack], start: datetime, until: datetime) -> list[Gap]:
    """Return where there is no register at all; the other lacks have their reasons."""
    return of_energy([lack for lack in lacks if lack.reason == "unread"], start, until)


def merged(gaps: Iterable[Gap]) -> list[Gap]:
    """Return the gaps in the order of time; those that touch are one."""
    found: list[Gap] = []
    for gap in sorted(gaps, key=lambda gap: gap.start):
        if found and found[-1].end >= gap.start:
            before = found.pop()
            gap = Gap(before.start, max(before.end, gap.end))
        found.append(gap)
    return found


def without(gaps: Sequence[Gap], known: Sequence[Gap]) -> list[Gap]:
    """Return what is left of *gaps* where the stretches of *known* are taken out; both in the order of time."""
    left: list[Gap] = []
    place = 0
    for gap in gaps:
        start = gap.start
        while place < len(known) and known[place].start < gap.end:
            if known[place].start > start:
                left.append(Gap(start, known[place].start))
            start = max(start, known[place].end)
            if start >= gap.end:
                break
            place += 1
        if start < gap.end:
            left.append(Gap(start, gap.end))
    return left


def overlaps(gaps: Sequence[Gap], stretches: Sequence[Gap]) -> list[timedelta]:
    """Return how much of each of *stretches* is missing; both in the order of time."""
    lengths = []
    first = 0
    for one in stretches:
        while first < len(gaps) and gaps[first].end <= one.start:
            first += 1
        length, place = timedelta(), first
        while place < len(gaps) and gaps[place].start < one.end:
            length += min(gaps[place].end, one.end) - max(gaps[place].start, one.start)
            place += 1
        lengths.append(length)
    return lengths


def days_since_epoch(moment: datetime) -> float:
    """Return matplotlib's own measure of time, which is in UTC."""
    return moment.timestamp() / _DAY_S


@dataclass(frozen=True, slots=True)
class Course:
    """Mean, lowest and highest reading of each point; NaN in gaps."""

    x: NDArray[np.float64]  # days since 1970, UTC: the middle of the point's readings
    mean: NDArray[np.float64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    is_aggregated: bool  # a point is a mean of several readings


def middle_of(point: Point) -> datetime:
    """Return the middle of a point's readings."""
    return point.first_at + (point.last_at - point.first_at) / 2


def course_of(points: Sequence[Point], gaps: Sequence[Gap], spacing: timedelta) -> Course | None:
    """Return the course; None where there is no point. Gaps shorter than the *spacing* of points lie inside of one."""
    if not points:
        return None
    rows = [(days_since_epoch(middle_of(point)), point.mean, point.lowest, point.highest) for point in points]
    rows += [
        (days_since_epoch(gap.start + gap.length / 2), np.nan, np.nan, np.nan) for gap in gaps if gap.length >= spacing
    ]
    x, mean, lowest, highest = np.array(sorted(rows, key=lambda row: row[0]), dtype=np.float64).T
    return Course(x, mean, lowest, highest, any(point.readings > 1 for point in points))
