"""What stands above and below a picture: its title; what is missing, of which quantity, when and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from charts.coverage import Gap, of_energy, total
from charts.energy_load import EnergyData
from charts.period import Period, next_half_hour
from charts.text import MONTHS, Language, Words, clock, kwh, length_of, long_date, stretch, when
from storage.energy import Lack


def title(period: Period, template: str, words: Words, *, now: datetime | None) -> str:
    """Fill the title of a picture with its period: a year, a month, one date, two dates, or two moments.

    *now* is given while the period is running.
    """
    language = words.language
    dash = "～" if language == "ja" else " to "
    first, last = long_date(period.first_date, language), long_date(period.last_date, language)
    start, end = clock(period.start, period.zone), clock(period.end, period.zone)
    if period.whole_days:
        several = _calendar_name(period, language) or f"{first}{dash}{last}"
        name = first if period.days == 1 else several
    elif period.days == 1:
        name = f"{first} {start}{dash}{'24:00' if end == '0:00' else end}"
    else:
        name = f"{first} {start}{dash}{long_date(period.end.astimezone(period.zone).date(), language)} {end}"
    told = template.format(when=name)
    return told + words.now.format(time=when(now, period, language)) if now else told


def _calendar_name(period: Period, language: Language) -> str | None:
    """Return 2025年, 2025年11月, 2025 or November 2025 where the period is just that."""
    first = period.first_date
    if period.is_year:
        return f"{first.year}年" if language == "ja" else str(first.year)
    if period.is_month:
        return f"{first.year}年{first.month}月" if language == "ja" else f"{MONTHS[first.month - 1]} {first.year}"
    return None


def missing(quantities: Sequence[tuple[str, Sequence[Gap]]], period: Period, words: Words) -> list[str]:
    """Say of each quantity how much is missing; of those that miss the same at once, and of all without their names."""
    by_gaps: dict[tuple[Gap, ...], list[str]] = {}
    for name, gaps in quantities:
        by_gaps.setdefault(tuple(gaps), []).append(name)
    notes = []
    for gaps, names in by_gaps.items():
        if gaps:
            note = _missing(gaps, period, words)
            of = words.between_quantities.join(names)
            notes.append(note if len(by_gaps) == 1 else words.of_quantity.format(quantity=of, note=note))
    return notes


def _missing(gaps: Sequence[Gap], period: Period, words: Words) -> str:
    length = length_of(total(gaps), words.language)
    if len(gaps) > 1:
        return words.missing_places.format(length=length, count=len(gaps))
    where = stretch(gaps[0].start, gaps[0].end, period, words.language)
    return words.missing_at.format(length=length, where=where)


def unread(energy: EnergyData | None, start: datetime, until: datetime) -> list[Gap]:
    """Return where no register tells anything; the other lacks have their reasons."""
    lacks = energy.lacks if energy else []
    return of_energy([lack for lack in lacks if lack.reason == "unread"], start, until)


def lacks(energy: EnergyData | None, period: Period, words: Words) -> list[str]:
    """Name each reason with its kWh and its time, or with their number where there are several."""
    if energy is None:
        return []
    notes = _by_reason(energy.lacks, energy.exchanges, period, words)
    notes += [f"{words.sold}: {note}" for note in _by_reason(energy.sold_lacks, energy.exchanges, period, words)]
    start = next_half_hour(period.start)
    if start != period.start and energy.bars:
        notes.append(words.registers_at.format(start=clock(start, period.zone)))
    return notes


def _by_reason(lacks: Sequence[Lack], exchanges: Sequence[datetime], period: Period, words: Words) -> list[str]:
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
        moments = [moment for moment in exchanges if found[0].started_at < moment <= found[0].ended_at]
        one = len(found) == len(moments) == 1
        exchanged = words.exchanged_at.format(time=when(moments[0], period, words.language)) if one else words.exchanged
        notes.append(template.format(kwh=kwh(total_kwh), where=where, exchanged=exchanged))
    return notes
