"""The command line that both graph scripts share. Imports argparse alone, so that -h answers at once."""

from __future__ import annotations

import argparse

from poller.version import VERSION

_EPILOG = """\
Ranges are half-open: the end is not part of them, so --from 2025-11-01 --to 2025-12-01 is November.
A date begins at its midnight in [graph] timezone (default Asia/Tokyo), and a time without an offset
is in that zone too.

exit codes: 0 the picture is written and its path printed; 1 no data in the period, the database is away or
the picture cannot be written; 2 wrong usage or settings"""


def parser(prog: str, description: str) -> argparse.ArgumentParser:
    """Return the parser with everything but what only one of the scripts takes."""
    result = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "--config", metavar="FILE", help="the settings (default: ./power_consumption.ini if it is there)"
    )
    period = result.add_mutually_exclusive_group()
    period.add_argument("-d", "--date", metavar="DATE", help="one day: YYYY-MM-DD, today (the default) or yesterday")
    period.add_argument("--days", metavar="N", type=int, help="the last N days, today among them")
    period.add_argument("--from", metavar="T", dest="start", help="begin of a range: a date, or a date and time")
    result.add_argument("--to", metavar="T", dest="end", help="its end, not included (default: the end of today)")
    result.add_argument(
        "-o",
        "--output",
        metavar="FILE_OR_DIR",
        help="where to write; the suffix chooses PNG, SVG or PDF (default: a PNG in [graph] output_dir)",
    )
    result.add_argument("--lang", choices=("ja", "en"), help="language of the picture (default: [graph] language)")
    result.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    return result
