#!/usr/bin/env python3
"""Draw the electricity of a day, or of any other period, from the readings in PostgreSQL."""

from __future__ import annotations

import sys

import script
from charts import arguments
from help_ja import text as _

TYPE_CHECKING = False  # as in typing, which takes longer to import than argparse
if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from matplotlib.figure import Figure

    from charts.command import Order, Picture
    from charts.power_load import PowerData
    from storage.connection import Connection


def picture() -> Picture[PowerData]:
    """Import what loading the picture needs, and return how it is loaded and drawn."""
    from charts import command, power_load

    def load(connection: Connection, site: int, order: Order) -> PowerData:
        return power_load.load(
            connection,
            site,
            order.period,
            now=order.now,
            tariff=order.tariff,
            with_current=order.with_current,
        )

    def draw(data: PowerData, order: Order) -> Figure | None:
        if data.is_empty:
            return None
        from charts import power_draw

        return power_draw.draw(data, language=order.language, contract_a=order.contract_a)

    return command.Picture(load, draw)


def main(argv: Sequence[str] | None = None, *, now: datetime | None = None) -> int:
    """Write the picture, print its path and return the exit code; *now* (aware) is the clock's unless given."""
    return script.run("power_graph.py", lambda: _main(argv, now), extras="graph,embedded")


def _main(argv: Sequence[str] | None, now: datetime | None) -> int:
    parser = arguments.parser(
        "power_graph.py",
        _("Draw the electricity of a day, or of any other period: its power, its energy, and what is missing."),
    )
    parser.add_argument("--current", action="store_true", help=_("also draw the current of each phase"))
    options = parser.parse_args(argv)

    from charts import command  # after the arguments: -h does not wait for it

    print(command.run(options, "power", picture, now=now))
    return 0


if __name__ == "__main__":
    sys.exit(main())
