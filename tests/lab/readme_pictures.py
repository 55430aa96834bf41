"""Draw the pictures of both READMEs, docs/images/: python -m tests.lab.readme_pictures."""

from __future__ import annotations

import tempfile
from contextlib import closing
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import get_args
from zoneinfo import ZoneInfo

import psycopg2
from PIL import Image

import power_graph
import temp_graph
from charts import command
from charts.period import day_of
from charts.text import LANGUAGES
from storage.connection import connect
from storage.embedded import EmbeddedServer
from storage.records import TABLES, Reading
from storage.schema import init_sql_path
from tests.lab.recorded import Household

ZONE = ZoneInfo("Asia/Tokyo")
DAY = date(2025, 11, 22)
OFF_FROM, OFF_FOR = datetime(2025, 11, 22, 14, 10, tzinfo=ZONE), timedelta(minutes=90)
IMAGES = Path(__file__).parents[2] / "docs" / "images"
ENDINGS = {"en": ".png", "ja": ".ja.png"}


def main() -> None:
    """Record a month of a household that sells, with every sensor, and draw a day in which the poller was off."""
    with tempfile.TemporaryDirectory() as data_dir, EmbeddedServer(Path(data_dir), fsync=False) as server:
        with closing(psycopg2.connect(server.url())) as connection, connection, connection.cursor() as cursor:
            cursor.execute(init_sql_path().read_text(encoding="utf-8"))
            Household(DAY - timedelta(days=29), 30, solar=True, air=True, cpu=True).write(connection)
            for table in (TABLES[row_class] for row_class in get_args(Reading)):
                cursor.execute(
                    f"delete from {table} where measured_at >= %s and measured_at < %s", (OFF_FROM, OFF_FROM + OFF_FOR)
                )
        period = day_of(DAY, ZONE)
        for language in LANGUAGES:
            order = command.Order(period=period, now=period.end, language=language)
            for name, write in (
                ("power", partial(command.write, power_graph.picture())),
                ("temp", partial(command.write, temp_graph.picture())),
            ):
                reading = command.for_reading(connect(server.url()))
                shrink(write(closing(reading), "home", order, IMAGES / (name + ENDINGS[language])))


def shrink(path: Path) -> None:
    """Store a picture with a palette, at a third of its size. Every color of a word stays apart."""
    colors = Image.open(path).convert("RGB").quantize(255, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    colors.save(path, optimize=True)


if __name__ == "__main__":
    main()
