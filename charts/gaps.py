"""Missing data: where it is, and how it breaks a line. Nothing is ever drawn across a hole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from typing import Protocol

import pandas as pd

# An interval nobody set: the poller takes 1 to 3,600 s.
_LONGEST_INTERVAL_S = 3600.0
_USUAL_INTERVAL_S = 60.0


class Bucket(Protocol):
    """What holes are found in: the readings of one point. The NamedTuples of storage.series are such."""

    @property
    def first_at(self) -> datetime:
        """Moment of its first reading."""

    @property
    def last_at(self) -> datetime:
        """Moment of its last reading."""

    @property
    def readings(self) -> int:
        """How many there are, at least one."""


@dataclass(frozen=True, slots=True)
class Gap:
    """No data from *start*, when a reading was due, to *end*, when the next one came; or an edge of the period."""

    start: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return self.end - self.start


def interval_s(buckets: Sequence[Bucket]) -> float:
    """Return the seconds between two readings, as the readings themselves show it (their median)."""
    within = [(b.last_at - b.first_at).total_seconds() / (b.readings - 1) for b in buckets if b.readings > 1]
    between = [
        (later.first_at - earlier.last_at).total_seconds()
        for earlier, later in pairwise(buckets)
    ]  # fmt: skip
    spacings = within or between
    if not spacings:
        return _USUAL_INTERVAL_S
    return min(sorted(spacings)[len(spacings) // 2], _LONGEST_INTERVAL_S)


def find_gaps(buckets: Sequence[Bucket], start: datetime, end: datetime) -> list[Gap]:
    """Return the stretches of more than two intervals without a reading, the edges of [start, end) included."""
    interval = timedelta(seconds=interval_s(buckets))
    # The latest so far: two kinds of readings may share a bucket's time.
    latest = accumulate((bucket.last_at for bucket in buckets), max)
    due = [start, *(last_at + interval for last_at in latest)]
    came = [*(bucket.first_at for bucket in buckets), end]
    return [Gap(missed, next_at) for missed, next_at in zip(due, came, strict=True) if next_at - missed > interval]


def to_frame(buckets: Sequence[Bucket], gaps: Sequence[Gap]) -> pd.DataFrame:
    """Return the buckets by the middle of their time (UTC), with a row of NaN in each gap to break the line."""
    frame = pd.DataFrame(list(buckets))
    first_at, last_at = (pd.to_datetime(frame.pop(name), utc=True) for name in ("first_at", "last_at"))
    frame.index = pd.DatetimeIndex(first_at + (last_at - first_at) / 2)
    middles = pd.DatetimeIndex([gap.start + gap.length / 2 for gap in gaps], tz="UTC")
    return frame.astype("float64").reindex(frame.index.union(middles))
