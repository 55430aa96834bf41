"""The command lines in Japanese where the locale is Japanese, in English elsewhere: their own words, and argparse's.

As script.py, this must be readable by whatever Python starts a script.
"""

from __future__ import annotations

import argparse
import os

TYPE_CHECKING = False  # as in typing, which takes longer to import than argparse
if TYPE_CHECKING:
    from collections.abc import Mapping

JAPANESE = {
    "Read a smart meter over its B-route every minute and store the readings in PostgreSQL.": (
        "スマートメーターを B ルートで一定の間隔 (既定は 1 分) で読み取り、PostgreSQL に記録します。"
    ),
    "exit codes: 0 done, 1 something failed and the message says what, 2 wrong usage or settings": (
        "終了コード: 0 = 正常に終わった、またはシグナルで止められた。1 = 失敗した (理由はメッセージに表示)。"
        "2 = 使い方または設定の誤り"
    ),
    "settings file (default: ./power_consumption.ini)": "設定ファイル (既定値: ./power_consumption.ini)",
    "also log the CPU temperature": "CPU 温度も記録する",
    "also log an MH-Z19 CO2 sensor": "MH-Z19 系 CO2 センサーも記録する",
    "also log a BME280": "BME280 も記録する",
    "take one round of readings, store and print it, then exit (for cron)": (
        "1 回だけ読み取って記録し、結果を表示して終了する (cron 用)"
    ),
    "try every part and report what to do about each failure": "各項目を順に点検し、問題があれば対処法を表示する",
    "bring the embedded database to the newest major version that the installed wheel ships": (
        "組み込みの PostgreSQL を、インストール済みのパッケージに入っている最新のメジャーバージョンに移行する"
    ),
    "run a simulated day, without hardware, and draw it": "機器なしで一日分をシミュレートし、グラフを描く",
    "log in detail (secrets stay masked)": "詳しいログを出す (ID とパスワードは伏せたまま)",
    "Draw the electricity of a day, or of any other period: its power, its energy, and what is missing.": (
        "一日または任意の期間の電力と電力量を、欠測も含めてグラフに描きます。"
    ),
    "Draw temperature, humidity, pressure and CO2 of a room over a day, or over any other period.": (
        "一日または任意の期間の室内の温度、湿度、気圧、CO2 をグラフに描きます。"
    ),
    "also draw the current of each phase": "各相の電流も描く",
    (
        "Ranges are half-open: the end is not part of them, so --from 2025-11-01 --to 2025-12-01 is November.\n"
        "A date begins at its midnight in [graph] timezone (default Asia/Tokyo), and a time without an offset\n"
        "is in that zone too."
    ): (
        "期間の終わりは期間に含まれません。11 月の 1 か月分なら --from 2025-11-01 --to 2025-12-01 です。\n"
        "一日は [graph] timezone (既定値 Asia/Tokyo) の午前 0 時に始まります。時差を付けずに書いた時刻も、\n"
        "そのタイムゾーンの時刻とみなします。"
    ),
    (
        "exit codes: 0 the picture is written and its path printed; 1 no data in the period, no PostgreSQL,\n"
        "or the picture cannot be written; 2 wrong usage or settings"
    ): (
        "終了コード:\n"
        "  0: グラフを書き出し、そのパスを表示した\n"
        "  1: 期間にデータがない、データベースに接続できない、またはグラフを書き出せない\n"
        "  2: 使い方または設定の誤り"
    ),
    "the settings (default: ./power_consumption.ini if it is there)": (
        "設定ファイル (既定値: ./power_consumption.ini があればそれ)"
    ),
    "one day: YYYY-MM-DD, today (the default) or yesterday": "一日: YYYY-MM-DD、today (既定値) または yesterday",
    "the last N days, today among them": "今日を含む直近 N 日間",
    "start of a range: a date, or a date and time": "期間の始まり: 日付、または日付と時刻",
    "its end, not included (default: the end of today)": "期間の終わり (その時刻は含まない。既定値: 今日の終わり)",
    "where to write; the suffix chooses PNG, SVG or PDF (default: a PNG in [graph] output_dir)": (
        "出力先。拡張子で PNG、SVG、PDF を選ぶ (既定値: [graph] output_dir に PNG)"
    ),
    "language of the picture (default: [graph] language, else the locale's)": (
        "グラフの言語 (既定値: [graph] language、空ならロケール)"
    ),
    "usage: ": "使い方: ",
    "options": "オプション",
    "positional arguments": "引数",
    "show this help message and exit": "このヘルプを表示して終了する",
    "show program's version number and exit": "バージョンを表示して終了する",
    "%(prog)s: error: %(message)s\n": "%(prog)s: エラー: %(message)s\n",
    "argument %(argument_name)s: %(message)s": "引数 %(argument_name)s: %(message)s",
    "unrecognized arguments: %s": "不明な引数です: %s",
    "not allowed with argument %s": "引数 %s と同時には使えません",
    "expected %s argument": "値が %s 個必要です",
    "expected %s arguments": "値が %s 個必要です",
    "expected one argument": "値が 1 つ必要です",
    "invalid %(type)s value: %(value)r": "%(type)s として読めない値です: %(value)r",
    "invalid choice: %(value)r (choose from %(choices)s)": "選べない値です: %(value)r (%(choices)s から選んでください)",
}


def text(english: str) -> str:
    """Return a text in the language of the environment (LANGUAGE, LC_ALL, LC_MESSAGES, LANG, as gettext has it)."""
    return JAPANESE.get(english, english) if is_japanese(os.environ) else english


def install() -> None:
    """Let argparse speak that language too: it looks its words up under these names."""
    argparse._ = text  # type: ignore[attr-defined]  # argparse's own, unknown to its stub
    argparse.ngettext = lambda one, many, count: text(one if count == 1 else many)  # type: ignore[attr-defined]  # as above


def is_japanese(environ: Mapping[str, str]) -> bool:
    """Whether *environ* selects Japanese, as gettext has it."""
    names = (environ.get(name) for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"))
    return next((name for name in names if name), "").startswith("ja")
