"""What the bars do not hold, as a stretch of time to hatch and as words for below the picture."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from charts.energy_load import EnergyData
from charts.gaps import Gap
from charts.period import Period
from charts.steps import next_half_hour
from charts.text import Words, clock, kwh, stretch
from storage.energy import Lack


def gaps_of(energy: EnergyData | None, start: datetime, until: datetime) -> list[Gap]:
    """Return where no bar holds what was used, between *start* and *until*."""
    gaps: list[Gap] = []
    for lack in energy.lacks if energy else ():
        begin, end = max(lack.started_at, start), min(lack.ended_at, until)
        if gaps and gaps[-1].end >= begin:
            begin = gaps.pop().start
        if begin < end:
            gaps.append(Gap(begin, end))
    return gaps


def lacks_in_words(energy: EnergyData | None, period: Period, words: Words) -> list[str]:
    """Name each reason with its kWh and its time, or with their number where there are several.

    Stretches without any register are named where they are hatched.
    """
    if energy is None:
        return []
    notes = _by_reason(energy.lacks, period, words)
    notes += [f"{words.sold}: {note}" for note in _by_reason(energy.sold_lacks, period, words)]
    start = next_half_hour(period.start)
    if start != period.start and energy.bars:
        notes.append(words.registers_at.format(start=clock(start, period.zone)))
    return notes


def _by_reason(lacks: Sequence[Lack], period: Period, words: Words) -> list[str]:
    start, end = next_half_hour(period.start), next_half_hour(period.end)
    lacks = [lack for lack in lacks if lack.kwh != 0]  # of which nothing is lost
    inside = [lack for lack in lacks if start <= lack.started_at and lack.ended_at <= end]
    templates = (
        (words.lack_across, [lack for lack in inside if lack.reason == "across"]),
        (words.lack_edge, [lack for lack in lacks if lack.reason == "across" and lack not in inside]),
        (words.lack_exchange, [lack for lack in lacks if lack.reason == "exchange"]),
        (words.lack_impossible, [lack for lack in lacks if lack.reason == "impossible"]),
    )
    notes = []
    for template, found in templates:
        if not found:
            continue
        total_kwh = sum((lack.kwh for lack in found if lack.kwh is not None), Decimal(0))
        where = stretch(found[0].started_at, found[0].ended_at, period, words.language)
        if len(found) > 1:
            where = words.places.format(count=len(found))
        notes.append(template.format(kwh=kwh(total_kwh), where=where))
    return notes
