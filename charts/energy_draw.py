"""The energy: what the headline says of it, and its panel: a bar for each half hour, hour, day or month."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from charts import coverage, style
from charts.cost import BillingMonth, Cost, UnknownCost
from charts.coverage import days_since_epoch
from charts.energy_load import Bar, Difference, EnergyData
from charts.labels import Labels, Place
from charts.panel import hatch_gaps, label_gaps, labels_beside, set_limits
from charts.period import Period, Step, midnight, next_half_hour, spans, step_of
from charts.power_load import PowerData
from charts.text import MINUS, Words, difference, kwh, month_name, number, short_date, when
from storage.energy import Lack, SpanEnergy
from storage.steps import HALF_HOUR

_MOST_LABELLED = 31
_A_YEAR_AT_LEAST = 27  # bars of months: from here on each year has its total
_EXCHANGE_PX = 20  # above the bars, for the words at the line of an exchange
_BAR_SHARE = 0.86  # of the place of a bar, the rest is white


class _Form(NamedTuple):
    """A number format of the bars."""

    write: Callable[[Decimal], str]
    size_pt: float

    def half_px(self, value: Decimal) -> float:
        """Return half of the width that a number needs, with what keeps it apart from the next."""
        return style.width_pt(self.write(value), self.size_pt) * style.DPI / 72 / 2 + 3


_FORMS = (_Form(kwh, 9.5), _Form(lambda value: number(value, 1), 9.0), _Form(number, 9.0))  # most precise first


def energy_figures(data: PowerData, words: Words) -> list[style.KeyFigure]:
    """Return what the headline says of the kWh."""
    energy = data.energy
    if energy is None:
        return []
    caption = words.bought_total if data.sells else words.used_total
    used, sold = energy.used, energy.sold
    figures = []
    if used.kwh is not None:
        figures.append(style.KeyFigure(caption, f"{kwh(used.kwh)} kWh", _covered(data, used, words), style.BOUGHT))
    elif energy.has_registers:
        figures.append(style.KeyFigure(caption, words.unknown, "", style.BOUGHT))
    if sold.kwh:
        figures.append(style.KeyFigure(words.sold_total, f"{kwh(sold.kwh)} kWh", "", style.SOLD_TEXT))
    if used.kwh is None:
        return figures
    if energy.difference is not None:
        figures.append(_difference_figure(energy.difference, used.kwh, data, words))
    if data.period.days > 1:
        covered_days = Decimal(used.covered.total_seconds()) / 86_400
        figures.append(style.KeyFigure(words.per_day, f"{number(used.kwh / covered_days, 1)} kWh"))
    return figures


def cost_figures(data: PowerData, words: Words) -> list[style.KeyFigure]:
    """Return what the headline says of the yen."""
    figures = []
    if data.energy and data.energy.cost is not None:
        figures.append(_cost_figure(data.energy.cost, data, words))
    if data.energy and data.energy.billing_month is not None:
        figures.append(_billing_month_figure(data.energy.billing_month, data, words))
    return figures


def _cost_figure(cost: Cost | UnknownCost, data: PowerData, words: Words) -> style.KeyFigure:
    if isinstance(cost, UnknownCost):
        day = cost.since.astimezone(data.period.zone).date()
        since = short_date(day, words.language, with_year=day.year != data.period.last_date.year)
        return style.KeyFigure(words.cost, words.unknown, words.cost_unknown.format(since=since))
    if cost.sold_yen is None:
        note = words.cost_bought_note if data.sells else words.cost_note
        return style.KeyFigure(words.cost, _yen(cost.bought_yen), note)
    note = words.cost_parts.format(bought=_yen(cost.bought_yen), sold=_yen(cost.sold_yen))
    return style.KeyFigure(words.cost_net, _yen(cost.yen), note)


def _billing_month_figure(found: BillingMonth, data: PowerData, words: Words) -> style.KeyFigure:
    end = short_date(found.month.last_date, words.language)
    so_far = words.so_far.format(yen=_yen(found.so_far.yen))
    return style.KeyFigure(words.billing_month.format(end=end), _yen(found.at_end.yen), so_far)


def _yen(yen: Decimal) -> str:
    return f"¥{number(yen)}".replace(f"¥{MINUS}", f"{MINUS}¥")


def _covered(data: PowerData, total: SpanEnergy, words: Words) -> str:
    """Say which part of the period the registers cover, unless it is all of it."""
    first_at, last_at = total.first_at or total.started_at, total.last_at or total.ended_at
    start, end = (when(moment, data.period, words.language) for moment in (first_at, last_at))
    late = first_at - data.period.start >= HALF_HOUR
    early = data.period.end - last_at >= HALF_HOUR
    if late and early:
        return words.between.format(start=start, end=end)
    if late:
        return words.since.format(start=start)
    return words.until.format(end=end) if early else ""


def _difference_figure(found: Difference, used_kwh: Decimal, data: PowerData, words: Words) -> style.KeyFigure:
    names = {
        "usual": words.usual_use,
        "yesterday": words.yesterday,
        "before": words.days_before.format(days=found.days),
        "year_before": _a_year_before(data.period, words),
    }
    before = names[found.compared_with]
    caption = words.versus.format(before=before)
    # Rounded: a median of other days is no register.
    has_hundredths = len(kwh(used_kwh).partition(".")[2]) > 1
    places = 2 if found.usual_kwh < 1 and has_hundredths else 1
    more = difference(found.kwh, places)
    if found.usual_kwh <= 0:
        return style.KeyFigure(caption, f"{more} kWh")
    is_same = not more.strip("0.")
    percent = "0" if is_same else difference(100 * found.kwh / found.usual_kwh)
    note = words.more_than.format(before=before, more=more, kwh=number(found.usual_kwh, places))
    return style.KeyFigure(caption, f"{percent} %", note)


def _a_year_before(period: Period, words: Words) -> str:
    if period.is_year:
        return words.year_before.format(year=period.first_date.year - 1)
    month = month_name(period.first_date, words.language)
    return words.month_before.format(month=month, year=period.first_date.year - 1)


def draw_energy(axes: Axes, data: PowerData, words: Words) -> None:
    """Draw the bars, bought upwards and sold downwards.

    Where each carries its own number, an axis of numbers would only repeat them.
    """
    names = {
        "half_hour": words.energy_half_hour,
        "hour": words.energy_hour,
        "day": words.energy_day,
        "month": words.energy_month,
    }
    energy = data.energy
    style.name_panel(axes, names[energy.step if energy else step_of(data.period)])
    gaps = coverage.of_energy(energy.lacks if energy else [], data.period.start, data.until)
    axes.axhline(0, color=style.MUTED, linewidth=0.9, zorder=2.6)
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):,.10g}")
    labels = labels_beside(axes, gaps)
    known = [bar for bar in energy.bars if (bar.used_kwh, bar.sold_kwh) != (None, None)] if energy else []
    if energy and known:
        _draw_bars(axes, labels, known, energy, data)
    else:
        axes.set_yticks([])
    bottom, top = axes.get_ylim()
    zero = -bottom / (top - bottom)  # each quantity is missing on its own side
    hatch_gaps(axes, gaps, low=zero)
    unsold = coverage.of_energy(energy.sold_lacks, data.period.start, data.until) if energy and zero > 0 else []
    hatch_gaps(axes, unsold, high=zero)
    if energy:
        _mark_exchanges(axes, labels, energy, data.period, words)
    if data.now is not None:
        labels.keep_off_now(days_since_epoch(data.now))
    if zero > 0:
        labels.keep_clear(y=0)
    for bar in known:
        for kwh_up in (bar.used_kwh or 0, -(bar.sold_kwh or 0)):
            labels.keep_clear_of_bar(days_since_epoch(bar.started_at), days_since_epoch(bar.ended_at), float(kwh_up))
    for gap, of_both in zip(gaps, coverage.overlaps(unsold, gaps), strict=True):
        label_gaps(labels, [gap], words, low=0 if of_both else zero)
    label_gaps(labels, coverage.without(unsold, gaps), words, high=zero, of=words.sold)


def _draw_bars(axes: Axes, labels: Labels, bars: Sequence[Bar], energy: EnergyData, data: PowerData) -> None:
    starts = np.array([days_since_epoch(bar.started_at) for bar in bars])
    ends = np.array([days_since_epoch(bar.ended_at) for bar in bars])
    used = np.array([float(bar.used_kwh or 0) for bar in bars])
    sold = np.array([float(bar.sold_kwh or 0) for bar in bars])
    # Months have 28 to 31 days, and the first and last bar may be cut: the eye compares bars of one width.
    width = float(np.median(ends - starts)) * _BAR_SHARE
    centers = (starts + ends) / 2
    widths = np.where(ends - starts < width, (ends - starts) * _BAR_SHARE, width)
    look: dict[str, Any] = {"width": widths, "linewidth": 0, "snap": False, "zorder": 2.5}  # a hatch hides no bar
    axes.bar(centers, used, color=style.BOUGHT, gid="used", **look)
    if sold.any():
        axes.bar(centers, -sold, color=style.SOLD, gid="sold", **look)
    slots = data.period.seconds / 86_400 / float((ends - starts).max())
    can_be_numbered = energy.step in ("day", "month") and slots <= _MOST_LABELLED + 0.5
    places = _number_places(bars, centers.tolist(), energy.step, data)
    bought_row = _Row(1, [(bar.used_kwh, x) for bar, x in zip(bars, places, strict=True) if bar.used_kwh is not None])
    sold_row = _Row(-1, [(bar.sold_kwh, x) for bar, x in zip(bars, places, strict=True) if bar.sold_kwh])
    rows = [row for row in (bought_row, sold_row) if row.numbers]
    forms = {row.sign: row.form(axes) if can_be_numbered else None for row in rows}
    by_year = energy.step == "month" and len(bars) >= _A_YEAR_AT_LEAST and not forms.get(1)
    above_px = (24 if forms.get(1) or by_year or not used.any() else 6) + (_EXCHANGE_PX if energy.exchanges else 0)
    below_px = 24 if forms.get(-1) or energy.sold_lacks_alone else 6 if sold.any() else 0
    set_limits(axes, -sold.max(), max(used.max(), 0.01), below_px=below_px, above_px=above_px)
    for row in rows:
        if (form := forms[row.sign]) is not None:
            _number_bars(labels, row, form, [*energy.exchanges, *([data.now] if data.now else [])])
    if all(forms.values()):
        axes.set_yticks([])
    if by_year:
        _label_years(labels, bars, energy.lacks, data)


class _Row(NamedTuple):
    """The numbers of the bars on one side of zero."""

    sign: int
    numbers: list[tuple[Decimal, float]]  # kWh, and x of its number

    def form(self, axes: Axes) -> _Form | None:
        """Return the most precise form in which all fit beside each other; None: in none."""
        places_px = _pixels(axes, [x for _, x in self.numbers])
        for form in _FORMS:
            halves_px = np.array([form.half_px(value) for value, _ in self.numbers])
            if (halves_px[1:] + halves_px[:-1] <= np.diff(places_px)).all():
                return form
        return None


def _number_places(bars: Sequence[Bar], centers: Sequence[float], step: Step, data: PowerData) -> list[float]:
    """Return x of each bar's number: its middle; of the bar that runs, the middle of its whole day or month."""
    places = list(centers)
    for start, end in spans(data.period, step):
        if data.now and bars[-1].started_at == start and data.now < end:
            places[-1] = (days_since_epoch(start) + days_since_epoch(end)) / 2
    return places


def _number_bars(labels: Labels, row: _Row, form: _Form, lines: Sequence[datetime]) -> None:
    """Set each bar's number; over one of the *lines* through the panel, on white."""
    lines_px = _pixels(labels.axes, [days_since_epoch(moment) for moment in lines])
    for (value, x), x_px in zip(row.numbers, _pixels(labels.axes, [x for _, x in row.numbers]), strict=True):
        is_crossed = bool((np.abs(lines_px - x_px) < form.half_px(value)).any())
        labels.set(
            form.write(value),
            [(x, row.sign * float(value))],
            [Place(0, 3 * row.sign, "center", "bottom" if row.sign > 0 else "top")],
            gid="bar label",
            color=style.MUTED,
            size_pt=form.size_pt,
            ground="white" if is_crossed else None,
        )


def _pixels(axes: Axes, x: Sequence[float]) -> NDArray[np.float64]:
    points = np.array([(value, 0.0) for value in x]).reshape(-1, 2)
    return np.asarray(axes.transData.transform(points)[:, 0])


def _label_years(labels: Labels, bars: Sequence[Bar], lacks: Sequence[Lack], data: PowerData) -> None:
    """Set the total of each year above its highest bar: all steps inside of the year, also those across its months."""
    period = data.period
    for year in range(period.first_date.year, period.last_date.year + 1):
        first, last = (midnight(date(number, 1, 1), period.zone) for number in (year, year + 1))
        start, end = next_half_hour(max(first, period.start)), next_half_hour(min(last, data.until))
        of_months = [bar.used_kwh for bar in bars if start <= bar.started_at < end and bar.used_kwh is not None]
        across = [lack.kwh for lack in lacks if lack.kwh and start <= lack.started_at and lack.ended_at <= end]
        if not of_months and not across:
            continue
        total = sum(of_months + across, Decimal(0))
        labels.set(
            f"{kwh(total)} kWh" if period.days < 5 * 366 else kwh(total),
            [((days_since_epoch(start) + days_since_epoch(end)) / 2, float(max(of_months, default=0)))],
            [Place(0, 4, "center", "bottom")],
            gid="year label",
            color=style.INK,
            ground="white",
        )


def _mark_exchanges(axes: Axes, labels: Labels, energy: EnergyData, period: Period, words: Words) -> None:
    """Mark where another meter took over: kWh before and after it are of two registers."""
    for moment in energy.exchanges:
        x = days_since_epoch(moment)
        axes.axvline(x, color=style.INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=2.7, gid="exchange")
        bottom, top = axes.get_ylim()
        text = words.exchanged_at.format(time=when(moment, period, words.language))
        places = (Place(5, -3, "left", "top"), Place(-5, -3, "right", "top"))
        above_bars, *over_bars = [(x, top - share * (top - bottom)) for share in (0.0, 0.2, 0.4, 0.6)]
        if not labels.set(text, [above_bars], places, gid="exchange label"):
            labels.set(text, over_bars, places, gid="exchange label", ground="white")
        labels.keep_clear(x=x)
