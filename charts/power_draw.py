"""The picture of the electricity. Pure: data in, a Figure out; no file, no database, no display."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from charts import style
from charts.axis import days_since_epoch, draw_line, gaps_in_words, hatch_gaps, mark_now, set_time_axis
from charts.cost import Cost, UnknownCost
from charts.energy_draw import draw_energy
from charts.energy_load import Difference, EnergyData
from charts.lacks import lacks_in_words
from charts.power_load import PowerData
from charts.text import (
    MINUS,
    WORDS,
    Language,
    Words,
    kwh,
    missing_in_words,
    number,
    period_title,
    short_date,
    signed,
    when,
)
from charts.time_of_day import draw_time_of_day
from storage.energy import HALF_HOUR, SpanEnergy

_POWER_IN, _ENERGY_IN, _CURRENT_IN = 3.5, 1.75, 1.5


def draw(
    data: PowerData, *, language: Language, with_current: bool = False, contract_a: Decimal | None = None
) -> Figure:
    """Return the picture, 1,200 px wide. Draw and save it within style.applied(language)."""
    words = WORDS[language]
    has_current = with_current and data.power is not None and bool(data.power["current_r_a"].notna().any())
    heights = [_POWER_IN, _ENERGY_IN, *([_CURRENT_IN] if has_current else [])]
    title = period_title(data.period, words.power_title, words, now=data.now)
    footnote = gaps_in_words(data.power_gaps, data.period, words)
    if data.time_of_day is not None:  # its cells show holes that are shorter than a point
        footnote = missing_in_words(data.time_of_day.missing, words)
    notes = [footnote, *lacks_in_words(data.energy, data.period, words)]
    footnote = style.in_lines([note for note in notes if note], words.between_notes)
    figure, panels = style.sheet(title, _key_figures(data, words), heights, footnote)
    for axes in panels:
        style.quiet(axes)
    set_time_axis(panels, data.period, language)
    if data.time_of_day is not None:
        draw_time_of_day(panels[0], data, data.time_of_day, words)
    else:
        _draw_power(panels[0], data, words)
    draw_energy(panels[1], data, words)
    if has_current:
        _draw_current(panels[2], data, words, contract_a)
    if data.now is not None:
        mark_now(panels, data.now)
    return figure


def _sells(data: PowerData) -> bool:
    sold_power = data.power is not None and bool((data.power["lowest_w"] < 0).any())
    return sold_power or bool(data.energy and data.energy.sold.kwh)


def _key_figures(data: PowerData, words: Words) -> list[style.KeyFigure]:
    figures = _energy_figures(data, data.energy, words) if data.energy else []
    if data.peak is not None:
        moment, peak_w = data.peak
        at = when(moment, data.period, words.language)
        figures.append(style.KeyFigure(words.peak, f"{number(peak_w)} W", at))
    if data.base_load_w is not None:
        figures.append(style.KeyFigure(words.base_load, f"{number(data.base_load_w)} W", words.base_load_note))
    if data.energy and data.energy.cost is not None:
        figures.append(_cost_figure(data.energy.cost, data, words))
    return figures


def _energy_figures(data: PowerData, energy: EnergyData, words: Words) -> list[style.KeyFigure]:
    caption = words.bought_total if _sells(data) else words.used_total
    used, sold = energy.used, energy.sold
    if used.kwh is None:
        return [style.KeyFigure(caption, words.unknown, "", style.BOUGHT)] if energy.has_registers else []
    figures = [style.KeyFigure(caption, f"{kwh(used.kwh)} kWh", _covered(data, used, words), style.BOUGHT)]
    if sold.kwh:
        figures.append(style.KeyFigure(words.sold_total, f"{kwh(sold.kwh)} kWh", "", style.SOLD))
    if energy.difference is not None:
        figures.append(_difference_figure(energy.difference, words))
    if data.period.days > 1:
        covered_days = Decimal(used.covered.total_seconds()) / 86_400
        figures.append(style.KeyFigure(words.per_day, f"{number(used.kwh / covered_days, 1)} kWh"))
    return figures


def _cost_figure(cost: Cost | UnknownCost, data: PowerData, words: Words) -> style.KeyFigure:
    if isinstance(cost, UnknownCost):
        since = short_date(cost.since.astimezone(data.period.zone).date(), words.language)
        return style.KeyFigure(words.cost, words.unknown, words.cost_unknown.format(since=since))
    if cost.sold_yen is None:
        note = words.cost_bought_note if _sells(data) else words.cost_note
        return style.KeyFigure(words.cost, _yen(cost.bought_yen), note)
    note = words.cost_parts.format(bought=_yen(cost.bought_yen), sold=_yen(cost.sold_yen))
    return style.KeyFigure(words.cost_net, _yen(cost.yen), note)


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


def _difference_figure(difference: Difference, words: Words) -> style.KeyFigure:
    captions = {
        "usual": words.than_usual,
        "yesterday": words.than_yesterday,
        "before": words.than_before.format(days=difference.days),
    }
    # Rounded: a median of other days is no register.
    places = 1 if difference.usual_kwh >= 1 else 2
    more = signed(number(difference.kwh, places))
    if difference.usual_kwh <= 0:
        return style.KeyFigure(captions[difference.compared_with], f"{more} kWh")
    percent = signed(number(100 * difference.kwh / difference.usual_kwh))
    note = words.more_than.format(more=more, kwh=number(difference.usual_kwh, places))
    return style.KeyFigure(captions[difference.compared_with], f"{percent} %", note)


def _draw_power(axes: Axes, data: PowerData, words: Words) -> None:
    hatch_gaps(axes, data.power_gaps, data.period, words)
    key = []
    highest, lowest = 100.0, 0.0
    if data.usual is not None:
        x = days_since_epoch(data.usual.power.index)  # type: ignore[arg-type]
        usual = data.usual.power
        if data.usual.days > 1:
            axes.fill_between(
                x, usual["low_w"], usual["high_w"], color=style.USUAL, alpha=0.18, linewidth=0, gid="usual"
            )
        axes.plot(x, usual["median_w"], color=style.USUAL, linewidth=1.3, gid="usual", zorder=2.2)
        label = words.usual.format(days=data.usual.days) if data.usual.days > 1 else words.yesterday
        key.append((label, style.USUAL))
        highest, lowest = max(highest, float(usual["high_w"].max())), min(lowest, float(usual["low_w"].min()))
    if data.power is not None:
        power = data.power
        highest, lowest = max(highest, power["highest_w"].max()), min(lowest, power["lowest_w"].min())
        _draw_by_sign(axes, data)
        if lowest < 0:
            key = [(words.bought, style.BOUGHT), (words.sold, style.SOLD), *key]
        if data.is_aggregated:
            key.append((words.mean_and_extremes, style.MUTED))
    axes.set_ylim(lowest * 1.08, highest * 1.08)
    axes.axhline(0, color=style.MUTED, linewidth=0.9, zorder=2.3)
    if data.peak is not None:
        axes.plot(
            days_since_epoch(data.peak[0]), data.peak[1], "o", color=style.BOUGHT, markersize=5, zorder=4, gid="peak"
        )
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    style.name_panel(axes, words.power_panel, key)


def _draw_by_sign(axes: Axes, data: PowerData) -> None:
    """Draw one line twice, each time showing only its own side of zero: the colour changes exactly there."""
    power = data.power
    if power is None:
        return
    x = days_since_epoch(power.index)  # type: ignore[arg-type]
    mean, lowest, highest = (power[name].to_numpy(dtype="float64") for name in ("mean_w", "lowest_w", "highest_w"))
    bottom, top = np.nanmin(lowest) - 1e3, np.nanmax(highest) + 1e3
    left, right = axes.get_xlim()
    for color, low, high in ((style.BOUGHT, 0.0, top), (style.SOLD, bottom, 0.0)):
        if low < 0 and np.nanmin(lowest) >= 0:
            continue
        if data.is_aggregated:
            band = (np.clip(lowest, low, high), np.clip(highest, low, high))
            axes.fill_between(x, *band, step="mid", color=color, alpha=0.28, linewidth=0, gid="extremes")
        else:
            axes.fill_between(x, 0, np.clip(mean, low, high), color=color, alpha=0.13, linewidth=0)
        drawn = len(axes.lines)
        draw_line(axes, power["mean_w"], color, gid="power")
        window = Rectangle((left, low), right - left, high - low, transform=axes.transData)
        for line in axes.lines[drawn:]:
            line.set_clip_path(window)


def _draw_current(axes: Axes, data: PowerData, words: Words, contract_a: Decimal | None) -> None:
    if data.power is None:
        return
    hatch_gaps(axes, data.power_gaps, data.period, words, named=data.power_gaps)
    key, highest = [], 1.0
    for column, color, name in (
        ("current_r_a", style.BOUGHT, words.phase_r),
        ("current_t_a", style.SECOND, words.phase_t),
    ):
        values = data.power[column]
        if values.notna().any():
            draw_line(axes, values, color, gid=column, linewidth=1.0)
            key.append((name, color))
            highest = max(highest, float(values.max()))
    if contract_a is not None:
        axes.axhline(float(contract_a), color=style.BAD, linewidth=1.2, gid="contract")
        key.append((words.contract.format(amperes=f"{contract_a.normalize():f}"), style.BAD))
        highest = max(highest, float(contract_a))
    axes.set_ylim(0, highest * 1.1)
    style.name_panel(axes, words.current_panel, key)
