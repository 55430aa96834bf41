"""Every word in the pictures, in Japanese and English, and how numbers, dates and lengths of time are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo

from charts.period import Period

Language = Literal["ja", "en"]
LANGUAGES: tuple[Language, ...] = ("ja", "en")

MINUS = "\N{MINUS SIGN}"
_MONTHS = ["January", "February", "March", "April", "May", "June"]
_MONTHS += ["July", "August", "September", "October", "November", "December"]
_WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_WEEKDAYS_JA = "月火水木金土日"


@dataclass(frozen=True, slots=True)
class Words:
    """The strings of one language. Fields in {} are filled with str.format."""

    language: Language
    # titles
    power_title: str
    air_title: str
    # panels: what, and its unit
    power_panel: str
    time_of_day_panel: str
    energy_half_hour: str
    energy_hour: str
    energy_day: str
    energy_month: str
    current_panel: str
    room_panel: str
    humidity_panel: str
    pressure_panel: str
    co2_panel: str
    cpu_panel: str
    # keys
    bought: str
    sold: str
    usual: str
    yesterday: str
    mean_and_extremes: str
    phase_r: str
    phase_t: str
    contract: str
    comfort: str
    warming_up: str
    # the figures on top
    used_total: str
    bought_total: str
    sold_total: str
    peak: str
    base_load: str
    per_day: str
    than_usual: str
    than_yesterday: str
    than_before: str
    cost: str
    cost_net: str
    unknown: str
    since: str
    until: str
    between: str
    base_load_note: str
    cost_note: str
    cost_bought_note: str
    cost_parts: str
    cost_unknown: str
    more_than: str
    mean_temperature: str
    mean_humidity: str
    mean_co2: str
    mean_cpu: str
    pressure_change: str
    time_within: str
    over_limit: str
    mean_was: str
    never_over_limit: str
    extreme: str
    limit: str
    # missing and running
    missing: str
    missing_total: str
    missing_places: str
    lack_across: str
    lack_edge: str
    lack_exchange: str
    lack_impossible: str
    places: str
    registers_at: str
    between_notes: str
    now: str


JA = Words(
    language="ja",
    power_title="{when}の電気",
    air_title="{when}の空気",
    power_panel="電力 [W]",
    time_of_day_panel="時刻ごとの電力 [W]",
    energy_half_hour="30分ごとの電力量 [kWh]",
    energy_hour="1時間ごとの電力量 [kWh]",
    energy_day="1日ごとの電力量 [kWh]",
    energy_month="1か月ごとの電力量 [kWh]",
    current_panel="電流 [A]",
    room_panel="室温 [°C]",
    humidity_panel="湿度 [%]",
    pressure_panel="気圧 [hPa]",
    co2_panel="CO₂ [ppm]",
    cpu_panel="CPU温度 [°C]",
    bought="買電",
    sold="売電",
    usual="いつも（過去{days}日の中央値と中央の半数）",
    yesterday="前日",
    mean_and_extremes="線は平均、帯は最小～最大",
    phase_r="R相",
    phase_t="T相",
    contract="契約 {amperes} A",
    comfort="快適 {low}–{high} {unit}",
    warming_up="暖機中",
    used_total="使った量",
    bought_total="買った量",
    sold_total="売った量",
    peak="ピーク",
    base_load="ベース",
    per_day="1日あたり",
    than_usual="いつもより",
    than_yesterday="前日より",
    than_before="前の{days}日間より",
    cost="電気代",
    cost_net="電気代（買電－売電）",
    unknown="不明",
    since="{start} から",
    until="{end} まで",
    between="{start}～{end}",
    base_load_note="夜間30分の最低",
    cost_note="目安",
    cost_bought_note="買電のみの目安",
    cost_parts="買電 {bought}、売電 {sold}",
    cost_unknown="{since} からの使用量が不明",
    more_than="{kwh} kWh より {more}",
    mean_temperature="室温の平均",
    mean_humidity="湿度の平均",
    mean_co2="CO₂の平均",
    mean_cpu="CPU温度の平均",
    pressure_change="気圧の変化",
    time_within="{low}–{high} {unit} の時間 {share} %",
    over_limit="CO₂ {limit} ppm 超",
    mean_was="平均 {mean} ppm",
    never_over_limit="{limit} ppm を超えず",
    extreme="{value}（{when}）",
    limit="換気の目安 {limit} ppm",
    missing="記録なし {length}",
    missing_total="記録なし 計 {length}",
    missing_places="（{count}か所）",
    lack_across="{kwh} kWh は棒をまたぐ（{where}）",
    lack_edge="{kwh} kWh は期間の端をまたぎ合計に含まず（{where}）",
    lack_exchange="メーター交換のため電力量不明（{where}）",
    lack_impossible="指示値の異常のため電力量不明（{where}）",
    places="{count}か所",
    registers_at="電力量は {start} から（指示値は毎時0分と30分）",
    between_notes="　",
    now="（{time} 現在）",
)

EN = Words(
    language="en",
    power_title="Electricity, {when}",
    air_title="Air in the room, {when}",
    power_panel="Power [W]",
    time_of_day_panel="Power by time of day [W]",
    energy_half_hour="Energy per half hour [kWh]",
    energy_hour="Energy per hour [kWh]",
    energy_day="Energy per day [kWh]",
    energy_month="Energy per month [kWh]",
    current_panel="Current [A]",
    room_panel="Room temperature [°C]",
    humidity_panel="Humidity [%]",
    pressure_panel="Air pressure [hPa]",
    co2_panel="CO₂ [ppm]",
    cpu_panel="CPU temperature [°C]",
    bought="bought",
    sold="sold",
    usual="usual day (median and middle half of {days} days)",
    yesterday="the day before",
    mean_and_extremes="line: mean, band: lowest to highest",
    phase_r="phase R",
    phase_t="phase T",
    contract="contract {amperes} A",
    comfort="comfort {low}–{high} {unit}",
    warming_up="warming up",
    used_total="Used",
    bought_total="Bought",
    sold_total="Sold",
    peak="Peak",
    base_load="Base load",
    per_day="A day",
    than_usual="Against the usual",
    than_yesterday="Against the day before",
    than_before="Against the {days} days before",
    cost="Cost",
    cost_net="Cost less sold",
    unknown="not known",
    since="since {start}",
    until="until {end}",
    between="{start}–{end}",
    base_load_note="least half hour at night",
    cost_note="an estimate",
    cost_bought_note="bought only, an estimate",
    cost_parts="bought {bought}, sold {sold}",
    cost_unknown="use since {since} not known",
    more_than="{more} from {kwh} kWh",
    mean_temperature="Room, mean",
    mean_humidity="Humidity, mean",
    mean_co2="CO₂, mean",
    mean_cpu="CPU, mean",
    pressure_change="Change of pressure",
    time_within="{share} % of the time {low}–{high} {unit}",
    over_limit="CO₂ over {limit} ppm",
    mean_was="mean {mean} ppm",
    never_over_limit="never over {limit} ppm",
    extreme="{value} ({when})",
    limit="time to air: {limit} ppm",
    missing="no data {length}",
    missing_total="no data for {length} in all",
    missing_places=" ({count} places)",
    lack_across="{kwh} kWh across bars ({where})",
    lack_edge="{kwh} kWh across the edge, not in the total ({where})",
    lack_exchange="meter exchanged, energy not known ({where})",
    lack_impossible="registers contradict each other, energy not known ({where})",
    places="{count} places",
    registers_at="energy from {start} on (registers are at :00 and :30)",
    between_notes="; ",
    now=" (at {time})",
)

WORDS: Mapping[Language, Words] = {"ja": JA, "en": EN}


def language_of(wanted: str | None, environ: Mapping[str, str]) -> Language:
    """Return *wanted*, or where that is empty the language of the locale (Japanese or else English).

    Raises: ValueError: *wanted* is neither ja nor en.
    """
    for language in LANGUAGES:
        if wanted == language:
            return language
    if wanted:
        raise ValueError(f"unknown language {wanted!r}: ja or en was expected")
    locale = environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG") or ""
    return "ja" if locale.startswith("ja") else "en"


def long_date(day: date, language: Language) -> str:
    """2025年11月22日（土） or Saturday 22 November 2025."""
    if language == "ja":
        return f"{day.year}年{day.month}月{day.day}日（{_WEEKDAYS_JA[day.weekday()]}）"
    return f"{_WEEKDAYS[day.weekday()]} {day.day} {_MONTHS[day.month - 1]} {day.year}"


def short_date(day: date, language: Language, *, with_year: bool = False) -> str:
    """11/22 or 22 Nov; the year only where the picture shows several."""
    if language == "ja":
        return f"{day.year}/{day.month}/{day.day}" if with_year else f"{day.month}/{day.day}"
    return f"{day.day} {_MONTHS[day.month - 1][:3]}{f' {day.year}' if with_year else ''}"


def weekday_and_day(day: date, language: Language) -> str:
    """22日（土） or Sat 22."""
    if language == "ja":
        return f"{day.day}日（{_WEEKDAYS_JA[day.weekday()]}）"
    return f"{_WEEKDAYS[day.weekday()][:3]} {day.day}"


def month_name(day: date, language: Language) -> str:
    """11月 or Nov."""
    return f"{day.month}月" if language == "ja" else _MONTHS[day.month - 1][:3]


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


def length_of(span: timedelta, language: Language) -> str:
    """Say a length of time, in at most two units: 25分, 6時間, 3日4時間; 25 min, 6 h, 3 d 4 h."""
    minutes = max(1, round(span.total_seconds() / 60))
    names = ("日", "時間", "分") if language == "ja" else (" d", " h", " min")
    days, minutes_left = divmod(minutes, 24 * 60)
    hours, minutes_left = divmod(minutes_left, 60)
    amounts = (days, hours, minutes_left if days == 0 else 0)
    parts = [f"{amount}{name}" for amount, name in zip(amounts, names, strict=True) if amount]
    return ("" if language == "ja" else " ").join(parts)


def missing_in_words(length: timedelta, words: Words) -> str:
    """Say how much is missing in all; nothing where nothing is."""
    return words.missing_total.format(length=length_of(length, words.language)) if length else ""


def width_em(text: str) -> float:
    """Estimate how wide a text is, in units of its font size."""
    return sum(1.0 if ord(letter) > 0x2E80 else 0.62 for letter in text)


def number(value: Decimal | float, places: int = 0) -> str:
    """1,234.5 with a real minus sign. An exact kWh is shown with all its digits by kwh() instead."""
    return f"{value:,.{places}f}".replace("-", MINUS)


def kwh(value: Decimal) -> str:
    """Exactly the digits that the registers have, never rounded and never padded."""
    return f"{value:,f}".replace("-", MINUS)


def signed(text: str) -> str:
    """Put a plus before what has no minus; zero has neither."""
    return text if text.startswith(MINUS) or not text.strip("0.,") else f"+{text}"


def period_title(period: Period, template: str, words: Words, *, now: datetime | None) -> str:
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
    return title + words.now.format(time=clock(now, period.zone)) if now else title


def _calendar_name(period: Period, language: Language) -> str | None:
    """Return 2025年, 2025年11月, 2025 or November 2025 where the period is just that."""
    first, following = period.first_date, period.last_date + timedelta(days=1)
    if (first.month, first.day) == (1, 1) and following == date(first.year + 1, 1, 1):
        return f"{first.year}年" if language == "ja" else str(first.year)
    if first.day == 1 and following == (first + timedelta(days=31)).replace(day=1):
        return f"{first.year}年{first.month}月" if language == "ja" else f"{_MONTHS[first.month - 1]} {first.year}"
    return None
