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
MONTHS = ["January", "February", "March", "April", "May", "June"]
MONTHS += ["July", "August", "September", "October", "November", "December"]
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
    # what the footnote calls the quantities
    power: str
    energy: str
    of_quantity: str
    between_quantities: str
    # units
    celsius: str
    # keys
    bought: str
    sold: str
    usual: str
    yesterday: str
    half_hour_means: str
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
    than_month_before: str
    than_year_before: str
    cost: str
    cost_net: str
    unknown: str
    since: str
    until: str
    between: str
    base_load_night: str
    base_load_day: str
    cost_note: str
    cost_bought_note: str
    cost_parts: str
    cost_unknown: str
    billing_month: str
    so_far: str
    more_than: str
    more_than_usual: str
    mean_temperature: str
    mean_humidity: str
    mean_co2: str
    mean_cpu: str
    pressure_change: str
    pressure_range: str
    range: str
    time_within: str
    over_limit: str
    mean_was: str
    never_over_limit: str
    extreme: str
    limit: str
    # missing and running
    missing: str
    missing_at: str
    missing_places: str
    lack_across: str
    lack_edge: str
    lack_exchange: str
    lack_impossible: str
    exchanged: str
    exchanged_at: str
    places: str
    registers_at: str
    between_notes: str
    now: str


JA = Words(
    language="ja",
    power_title="{when}の電気",
    air_title="{when}の室内の空気",
    power_panel="電力 [W]",
    time_of_day_panel="時刻ごとの電力 [W]",
    energy_half_hour="30分ごとの電力量 [kWh]",
    energy_hour="1時間ごとの電力量 [kWh]",
    energy_day="1日ごとの電力量 [kWh]",
    energy_month="1か月ごとの電力量 [kWh]",
    current_panel="電流 [A]",
    room_panel="室温 [℃]",
    humidity_panel="湿度 [%]",
    pressure_panel="気圧 [hPa]",
    co2_panel="CO₂ [ppm]",
    cpu_panel="CPU温度 [℃]",
    power="電力",
    energy="電力量",
    of_quantity="{quantity}の{note}",
    between_quantities="・",
    celsius="℃",
    bought="買電",
    sold="売電",
    usual="平常（過去{days}日の中央値と四分位範囲）",
    yesterday="前日",
    half_hour_means="30分平均（電力量から）",
    mean_and_extremes="線は平均、帯は最小～最大",
    phase_r="R相",
    phase_t="T相",
    contract="契約 {amperes} A",
    comfort="快適 {low}–{high} {unit}",
    warming_up="安定待ち",
    used_total="使用量",
    bought_total="買電量",
    sold_total="売電量",
    peak="ピーク",
    base_load="ベース",
    per_day="1日あたり",
    than_usual="平常比",
    than_yesterday="前日比",
    than_before="前の{days}日間比",
    than_month_before="前年同月比",
    than_year_before="前年比",
    cost="電気代",
    cost_net="電気代（買電－売電）",
    unknown="不明",
    since="{start} から",
    until="{end} まで",
    between="{start}～{end}",
    base_load_night="夜間の最低（30分平均）",
    base_load_day="1日の最低（30分平均）",
    cost_note="目安",
    cost_bought_note="買電のみの目安",
    cost_parts="買電 {bought}、売電 {sold}",
    cost_unknown="{since} からの使用量が不明",
    billing_month="請求月の見込み（{end} まで）",
    so_far="ここまで {yen}",
    more_than="前 {kwh} kWh、差 {more}",
    more_than_usual="平常 {kwh} kWh、差 {more}",
    mean_temperature="室温の平均",
    mean_humidity="湿度の平均",
    mean_co2="CO₂の平均",
    mean_cpu="CPU温度の平均",
    pressure_change="気圧の変化",
    pressure_range="気圧の範囲",
    range="{low}～{high} hPa",
    time_within="{low}–{high} {unit} の時間 {share} %",
    over_limit="CO₂ {limit} ppm 超",
    mean_was="平均 {mean} ppm",
    never_over_limit="{limit} ppm を超えず",
    extreme="{value}（{when}）",
    limit="換気の目安 {limit} ppm",
    missing="記録なし {length}",
    missing_at="記録なし {length}（{where}）",
    missing_places="記録なし 計 {length}（{count}区間）",
    lack_across="{kwh} kWh は棒をまたぐ（{where}）",
    lack_edge="{kwh} kWh は期間の端をまたぎ合計に含まず（{where}）",
    lack_exchange="{exchanged}、電力量不明（{where}）",
    lack_impossible="指示値の異常のため電力量不明（{where}）",
    exchanged="メーター交換",
    exchanged_at="メーター交換 {time}",
    places="{count}区間",
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
    power="Power",
    energy="Energy",
    of_quantity="{quantity}: {note}",
    between_quantities=", ",
    celsius="°C",
    bought="bought",
    sold="sold",
    usual="usual day (median and middle half of {days} days)",
    yesterday="the day before",
    half_hour_means="mean of half hours, from the registers",
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
    per_day="Per day",
    than_usual="vs. usual",
    than_yesterday="vs. the day before",
    than_before="vs. the {days} days before",
    than_month_before="vs. {month} {year}",
    than_year_before="vs. {year}",
    cost="Cost",
    cost_net="Cost less sold",
    unknown="not known",
    since="since {start}",
    until="until {end}",
    between="{start}–{end}",
    base_load_night="lowest half hour at night",
    base_load_day="lowest half hour of the day",
    cost_note="an estimate",
    cost_bought_note="bought only, an estimate",
    cost_parts="bought {bought}, sold {sold}",
    cost_unknown="use since {since} not known",
    billing_month="Billing month to {end}, expected",
    so_far="{yen} so far",
    more_than="{more} from {kwh} kWh",
    more_than_usual="{more} from {kwh} kWh",
    mean_temperature="Room, mean",
    mean_humidity="Humidity, mean",
    mean_co2="CO₂, mean",
    mean_cpu="CPU, mean",
    pressure_change="Change of pressure",
    pressure_range="Pressure, range",
    range="{low}–{high} hPa",
    time_within="{share} % of the time {low}–{high} {unit}",
    over_limit="CO₂ over {limit} ppm",
    mean_was="mean {mean} ppm",
    never_over_limit="never over {limit} ppm",
    extreme="{value} ({when})",
    limit="open a window above {limit} ppm",
    missing="no data {length}",
    missing_at="no data {length} ({where})",
    missing_places="no data for {length} in all ({count} places)",
    lack_across="{kwh} kWh across bars ({where})",
    lack_edge="{kwh} kWh across the edge, not in the total ({where})",
    lack_exchange="{exchanged}, energy not known ({where})",
    lack_impossible="registers contradict each other, energy not known ({where})",
    exchanged="meter exchanged",
    exchanged_at="meter exchanged {time}",
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
        raise ValueError(f"expected ja or en, got {wanted!r}")
    locale = environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG") or ""
    return "ja" if locale.startswith("ja") else "en"


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
    """Say a share of 0 to 1; with one digit where it would be all or nothing, and is not."""
    text = number(100 * share)
    return number(100 * share, 1) if text in ("0", "100") and 0 < share < 1 else text
