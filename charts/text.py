"""Every word in the pictures, in Japanese and English; how titles, footnotes, numbers and dates are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

import help_ja
from charts.period import Period, registers_of

if TYPE_CHECKING:
    from charts.coverage import Gap
    from charts.energy_load import EnergyData
    from storage.energy import Lack

Language = Literal["ja", "en"]
LANGUAGES: tuple[Language, ...] = ("ja", "en")

MINUS = "\N{MINUS SIGN}"
MONTHS = ["January", "February", "March", "April", "May", "June"]
MONTHS += ["July", "August", "September", "October", "November", "December"]
_WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_WEEKDAYS_JA = "月火水木金土日"


class _Word:
    """A string in both languages; fields in {} are filled with str.format."""

    def __init__(self, ja: str, en: str) -> None:
        self._of: dict[Language, str] = {"ja": ja, "en": en}

    def __get__(self, words: Words, owner: type[Words]) -> str:
        return self._of[words.language]


@dataclass(frozen=True, slots=True)
class Words:
    """Every string of one language."""

    language: Language

    # titles
    power_title = _Word("{when}の電気", "Electricity, {when}")
    air_title = _Word("{when}の室内の空気", "Air in the room, {when}")
    # panels: what, and its unit
    power_panel = _Word("電力 [W]", "Power [W]")
    time_of_day_panel = _Word("時刻ごとの電力 [W]", "Power by time of day [W]")
    energy_half_hour = _Word("30分ごとの電力量 [kWh]", "Energy per half hour [kWh]")
    energy_hour = _Word("1時間ごとの電力量 [kWh]", "Energy per hour [kWh]")
    energy_day = _Word("1日ごとの電力量 [kWh]", "Energy per day [kWh]")
    energy_month = _Word("1か月ごとの電力量 [kWh]", "Energy per month [kWh]")
    current_panel = _Word("電流 [A]", "Current [A]")
    room_panel = _Word("室温 [℃]", "Room temperature [°C]")
    humidity_panel = _Word("湿度 [%]", "Humidity [%]")
    pressure_panel = _Word("気圧 [hPa]", "Air pressure [hPa]")
    co2_panel = _Word("CO₂ [ppm]", "CO₂ [ppm]")
    cpu_panel = _Word("CPU温度 [℃]", "CPU temperature [°C]")
    # what the footnote calls the quantities
    power = _Word("電力", "Power")
    current = _Word("電流", "Current")
    energy = _Word("電力量", "Energy")
    of_quantity = _Word("{quantity}の{note}", "{quantity}: {note}")
    between_quantities = _Word("・", ", ")
    # units
    celsius = _Word("℃", "°C")
    # keys
    bought = _Word("買電", "bought")
    sold = _Word("売電", "sold")
    usual = _Word("平常（過去{days}日の中央値と四分位範囲）", "usual day (median and middle half of {days} days)")
    yesterday = _Word("前日", "the day before")
    half_hour_means = _Word("30分平均（電力量から）", "mean of half hours, from the registers")
    mean_and_extremes = _Word("線は平均、帯は最小～最大", "line: mean, band: lowest to highest")
    phase_r = _Word("R相", "phase R")
    phase_t = _Word("T相", "phase T")
    contract = _Word("契約 {amperes} A", "contract {amperes} A")
    comfort = _Word("快適 {low}–{high} {unit}", "comfort {low}–{high} {unit}")
    warming_up = _Word("安定待ち", "warming up")
    # the figures on top
    used_total = _Word("使用量", "Used")
    bought_total = _Word("買電量", "Bought")
    sold_total = _Word("売電量", "Sold")
    peak = _Word("ピーク", "Peak")
    base_load = _Word("ベース", "Base load")
    per_day = _Word("1日あたり", "Per day")
    versus = _Word("{before}比", "vs. {before}")
    usual_use = _Word("平常", "usual")
    days_before = _Word("前の{days}日間", "the {days} days before")
    month_before = _Word("前年同月", "{month} {year}")
    year_before = _Word("前年", "{year}")
    cost = _Word("電気代", "Cost")
    cost_net = _Word("電気代（買電－売電）", "Cost less sold")
    unknown = _Word("不明", "not known")
    since = _Word("{start} から", "since {start}")
    until = _Word("{end} まで", "until {end}")
    between = _Word("{start}～{end}", "{start}–{end}")
    base_load_night = _Word("夜間の最低（30分平均）", "lowest half hour at night")
    base_load_day = _Word("1日の最低（30分平均）", "lowest half hour of the day")
    cost_note = _Word("目安", "an estimate")
    cost_bought_note = _Word("買電のみの目安", "bought only, an estimate")
    cost_parts = _Word("買電 {bought}、売電 {sold}", "bought {bought}, sold {sold}")
    cost_unknown = _Word("{since} からの使用量が不明", "use since {since} not known")
    billing_month = _Word("請求月の見込み（{end} まで）", "Billing month to {end}, expected")
    so_far = _Word("ここまで {yen}", "{yen} so far")
    more_than = _Word("{before} {kwh} kWh、差 {more}", "{more} from {kwh} kWh")
    mean_temperature = _Word("室温の平均", "Room, mean")
    mean_humidity = _Word("湿度の平均", "Humidity, mean")
    mean_co2 = _Word("CO₂の平均", "CO₂, mean")
    mean_cpu = _Word("CPU温度の平均", "CPU, mean")
    pressure_change = _Word("気圧の変化", "Change of pressure")
    pressure_range = _Word("気圧の範囲", "Pressure, range")
    range = _Word("{low}～{high} hPa", "{low}–{high} hPa")
    time_within = _Word("{low}–{high} {unit} の時間 {share} %", "{share} % of the time {low}–{high} {unit}")
    over_limit = _Word("CO₂ {limit} ppm 超", "CO₂ over {limit} ppm")
    mean_was = _Word("平均 {mean} ppm", "mean {mean} ppm")
    never_over_limit = _Word("{limit} ppm を超えた時間なし", "never over {limit} ppm")
    extreme = _Word("{value}（{when}）", "{value} ({when})")
    limit = _Word("換気の目安 {limit} ppm", "open a window above {limit} ppm")
    # missing and running
    missing = _Word("記録なし {length}", "no data {length}")
    missing_at = _Word("記録なし {length}（{where}）", "no data {length} ({where})")
    missing_places = _Word("記録なし 計 {length}（{count}か所）", "no data for {length} in all ({count} places)")
    lack_across = _Word("{kwh} kWh は棒をまたぐ（{where}）", "{kwh} kWh across bars ({where})")
    lack_edge = _Word(
        "{kwh} kWh は期間の端をまたぎ合計に含まず（{where}）", "{kwh} kWh across the edge, not in the total ({where})"
    )
    lack_exchange = _Word("{exchanged}、電力量不明（{where}）", "{exchanged}, energy not known ({where})")
    lack_impossible = _Word(
        "指示値の異常のため電力量不明（{where}）", "registers contradict each other, energy not known ({where})"
    )
    false_reading = _Word("{reading}はあり得ない値のため除外", "{reading} cannot be true, left out")
    false_readings = _Word(
        "{kilowatts} kW を超えるあり得ない値 {count}件を除外",
        "{count} readings over {kilowatts} kW cannot be true, left out",
    )
    exchanged = _Word("メーター交換", "meter exchanged")
    exchanged_at = _Word("メーター交換 {time}", "meter exchanged {time}")
    places = _Word("{count}か所", "{count} places")
    registers_from = _Word(
        "電力量は {start} から（指示値は毎時0分と30分）", "energy from {start} on (registers are at :00 and :30)"
    )
    registers_until = _Word(
        "電力量は {end} まで（指示値は毎時0分と30分）", "energy until {end} (registers are at :00 and :30)"
    )
    between_notes = _Word("　", "; ")
    now = _Word("（{time} 現在）", " (at {time})")


WORDS: Mapping[Language, Words] = {language: Words(language) for language in LANGUAGES}


def language_of(wanted: str | None, environ: Mapping[str, str]) -> Language:
    """Return *wanted*, or where that is none the language of the locale (Japanese or else English)."""
    for language in LANGUAGES:
        if wanted == language:
            return language
    return "ja" if help_ja.is_japanese(environ) else "en"


def long_date(day: date, language: Language) -> str:
    """2025年11月22日（土） or Saturday 22 November 2025."""
    if language == "ja":
        return f"{day.year}年{day.month}月{day.day}日（{_WEEKDAYS_JA[day.weekday()]}）"
    return f"{_WEEKDAYS[day.weekday()]} {day.day} {MONTHS[day.month - 1]} {day.year}"


def short_date(day: date, language: Language, *, with_year: bool = False) -> str:
    """11/22 or 22 Nov; the year only where the picture shows several."""
    if language == "ja":
        return f"{day.year}/{day.month}/{day.day}" if with_year else f"{day.month}/{day.day}"
    return f"{day.day} {MONTHS[day.month - 1][:3]}{f' {day.year}' if with_year else ''}"


def weekday_and_day(day: date, language: Language) -> str:
    """22日（土） or Sat 22."""
    if language == "ja":
        return f"{day.day}日（{_WEEKDAYS_JA[day.weekday()]}）"
    return f"{_WEEKDAYS[day.weekday()][:3]} {day.day}"


def month_name(day: date, language: Language) -> str:
    """11月 or Nov."""
    return f"{day.month}月" if language == "ja" else MONTHS[day.month - 1][:3]


def clock(moment: datetime, zone: ZoneInfo) -> str:
    """18:05, read by a clock in *zone*."""
    local = moment.astimezone(zone)
    return f"{local.hour}:{local.minute:02d}"


def when(moment: datetime, period: Period, language: Language) -> str:
    """Say the clock, with the date in front where *period* has more than one, and the year where it has several."""
    if period.days == 1:
        return clock(moment, period.zone)
    day = moment.astimezone(period.zone).date()
    return f"{short_date(day, language, with_year=period.days > 366)} {clock(moment, period.zone)}"


def stretch(start: datetime, end: datetime, period: Period, language: Language) -> str:
    """9:00–9:30 on the one day of *period*, otherwise with dates: 22 Nov 9:00–9:30, 22 Nov 23:30–23 Nov 0:30."""
    first, last = (moment.astimezone(period.zone).date() for moment in (start, end))
    dash = "～" if language == "ja" else "–"
    begin, finish = clock(start, period.zone), clock(end, period.zone)
    if first != last or period.days > 1:
        begin = f"{short_date(first, language, with_year=period.days > 366)} {begin}"
    if first != last:
        finish = f"{short_date(last, language, with_year=period.days > 366)} {finish}"
    return f"{begin}{dash}{finish}"


def title_of(period: Period, template: str, words: Words, *, now: datetime | None) -> str:
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
    title = template.format(when=name)
    return title + words.now.format(time=when(now, period, language)) if now else title


def _calendar_name(period: Period, language: Language) -> str | None:
    """Return 2025年, 2025年11月, 2025 or November 2025 where the period is just that."""
    first = period.first_date
    if period.is_year:
        return f"{first.year}年" if language == "ja" else str(first.year)
    if period.is_month:
        return f"{first.year}年{first.month}月" if language == "ja" else f"{MONTHS[first.month - 1]} {first.year}"
    return None


def missing_notes(quantities: Sequence[tuple[str, Sequence[Gap]]], period: Period, words: Words) -> list[str]:
    """Say of each quantity how much is missing; of those that miss the same at once, and of all without their names."""
    by_gaps: dict[tuple[Gap, ...], list[str]] = {}
    for name, gaps in quantities:
        by_gaps.setdefault(tuple(gaps), []).append(name)
    notes = []
    for gaps, names in by_gaps.items():
        if gaps:
            note = _missing_note(gaps, period, words)
            of = words.between_quantities.join(names)
            notes.append(note if len(by_gaps) == 1 else words.of_quantity.format(quantity=of, note=note))
    return notes


def _missing_note(gaps: Sequence[Gap], period: Period, words: Words) -> str:
    length = length_of(sum((gap.length for gap in gaps), timedelta()), words.language)
    if len(gaps) > 1:
        return words.missing_places.format(length=length, count=len(gaps))
    where = stretch(gaps[0].start, gaps[0].end, period, words.language)
    return words.missing_at.format(length=length, where=where)


def lack_notes(energy: EnergyData | None, period: Period, words: Words) -> list[str]:
    """Name each reason with its kWh and its time, or with their number where there are several."""
    if energy is None:
        return []
    notes = _by_reason(energy.lacks, energy.exchanges, period, words)
    notes += [f"{words.sold}: {note}" for note in _by_reason(energy.sold_lacks_alone, energy.exchanges, period, words)]
    start, end = registers_of(period)
    if start != period.start and energy.bars:
        notes.append(words.registers_from.format(start=when(start, period, words.language)))
    if end < period.end and energy.used.ended_at == end:
        notes.append(words.registers_until.format(end=when(end, period, words.language)))
    return notes


def _by_reason(lacks: Sequence[Lack], exchanges: Sequence[datetime], period: Period, words: Words) -> list[str]:
    start, end = registers_of(period)
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


def length_of(span: timedelta, language: Language) -> str:
    """Say a length of time, in at most two units: 25分, 6時間, 3日4時間; 25 min, 6 h, 3 d 4 h."""
    minutes = max(1, round(span.total_seconds() / 60))
    names = ("日", "時間", "分") if language == "ja" else (" d", " h", " min")
    days, minutes_left = divmod(minutes, 24 * 60)
    hours, minutes_left = divmod(minutes_left, 60)
    amounts = (days, hours, minutes_left if days == 0 else 0)
    parts = [f"{amount}{name}" for amount, name in zip(amounts, names, strict=True) if amount]
    return ("" if language == "ja" else " ").join(parts)


def number(value: Decimal | float, places: int = 0) -> str:
    """1,234.5 with a real minus sign, and none before zero. An exact kWh is shown with all its digits by kwh()."""
    text = f"{value:,.{places}f}"
    return text.replace("-", "" if not text.strip("-0.,") else MINUS)


def kwh(value: Decimal) -> str:
    """Exactly the digits that the registers have, never rounded and never padded."""
    return f"{value:,f}".replace("-", MINUS)


def difference(value: Decimal | float, places: int = 0) -> str:
    """+0.4 or −0.4; with one more digit where it would be zero; zero has no sign."""
    text = number(value, places)
    if not text.strip("0.,"):
        more = number(value, places + 1)
        text = more if more.strip("0.,") else text
    return text if text.startswith(MINUS) or not text.strip("0.,") else f"+{text}"


def percent(share: float) -> str:
    """Say a share of 0 to 1; with one digit where it would be all or nothing, and never so where it is not."""
    text = number(100 * share)
    return number(min(max(100 * share, 0.1), 99.9), 1) if text in ("0", "100") and 0 < share < 1 else text
