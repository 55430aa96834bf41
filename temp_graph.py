#!/usr/bin/env python3
"""Draw the air of a room over a day, or any other period, from the readings in PostgreSQL."""

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

    from charts.air_load import AirData
    from charts.command import Order, Picture
    from storage.connection import Connection


def picture() -> Picture[AirData]:
    """Import what loading the picture needs, and return how it is loaded and drawn."""
    from charts import air_load, command

    def load(connection: Connection, site: int, order: Order) -> AirData:
        return air_load.load(connection, site, order.period, now=order.now)

    def draw(data: AirData, order: Order) -> Figure | None:
        if data.is_empty:
            return None
        from charts import air_draw

        return air_draw.draw(data, language=order.language)

    return command.Picture(load, draw)


def main(argv: Sequence[str] | None = None, *, now: datetime | None = None) -> int:
    """Write the picture, print its path and return the exit code; *now* (aware) is the clock's unless given."""
    return script.run("temp_graph.py", lambda: _main(argv, now), extras="graph,embedded")


def _main(argv: Sequence[str] | None, now: datetime | None) -> int:
    parser = arguments.parser(
        "temp_graph.py",
        _("Draw temperature, humidity, pressure and CO2 of a room over a day, or over any other period."),
    )
    options = parser.parse_args(argv)

    from charts import command  # after the arguments: -h does not wait for it

    print(command.run(options, "temp", picture, now=now))
    return 0


if __name__ == "__main__":
    sys.exit(main())
