"""The command line that both graph scripts share. Imports argparse alone, so that -h is printed at once."""

from __future__ import annotations

import argparse

import help_ja
from help_ja import text as _
from version import VERSION


def parser(prog: str, description: str) -> argparse.ArgumentParser:
    """Return the parser with everything but what only one of the scripts takes."""
    help_ja.install()
    result = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "--config", metavar="FILE", help=_("the settings (default: ./power_consumption.ini if it is there)")
    )
    period = result.add_mutually_exclusive_group()
    period.add_argument("-d", "--date", metavar="DATE", help=_("one day: YYYY-MM-DD, today (the default) or yesterday"))
    period.add_argument("--days", metavar="N", type=int, help=_("the last N days, today among them"))
    period.add_argument("--from", metavar="T", dest="start", help=_("start of a range: a date, or a date and time"))
    result.add_argument("--to", metavar="T", dest="end", help=_("its end, not included (default: the end of today)"))
    result.add_argument(
        "-o",
        "--output",
        metavar="FILE_OR_DIR",
        help=_("where to write; the suffix chooses PNG, SVG or PDF (default: a PNG in [graph] output_dir)"),
    )
    result.add_argument(
        "--lang", choices=("ja", "en"), help=_("language of the picture (default: [graph] language, else the locale's)")
    )
    result.add_argument(
        "--version",
        action="version",
        version=f"%(prog)s {VERSION}",
        help=_("show program's version number and exit"),
    )
    return result


def _epilog() -> str:
    ranges = _(
        "Ranges are half-open: the end is not part of them, so --from 2025-11-01 --to 2025-12-01 is November.\n"
        "A date begins at its midnight in [graph] timezone (default Asia/Tokyo), and a time without an offset\n"
        "is in that zone too."
    )
    exit_codes = _(
        "exit codes: 0 the picture is written and its path printed; 1 no data in the period, no PostgreSQL,\n"
        "or the picture cannot be written; 2 wrong usage or settings"
    )
    return f"{ranges}\n\n{exit_codes}"
