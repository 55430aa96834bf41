"""What ten years cost: bytes of a row of "power" with its index, and the query of one day."""

from __future__ import annotations

import statistics
from contextlib import closing
from typing import Any

import psycopg2

from tests.benchmarks import servers
from tests.benchmarks.figure import Figure
from tests.benchmarks.measuring import counted

MINUTES = 3653 * 1440  # ten years with three leap days: 5.26 million
MOST_BYTES = 120.0
MOST_MS = 20.0

# Made by the server itself, in the order of time, as a poller writes: a household's watts, amperes and registers.
_FILL = """
insert into power (site_id, measured_at, power_w, current_r_a, current_t_a, import_kwh, export_kwh)
select %(site)s, '2016-01-01 00:00+09'::timestamptz + n * interval '1 minute',
       (300 + 2000 * random())::integer, (random() * 20)::numeric(6,1), (random() * 10)::numeric(6,1),
       10000 + n / 200 * 0.1, 678.0 + n / 500 * 0.1
from generate_series(0, %(minutes)s - 1) as n
"""

_DAY = """
explain (analyze, format json)
select measured_at, power_w, current_r_a, current_t_a, import_kwh, export_kwh from power
where site_id = %(site)s and measured_at >= %(day)s and measured_at < %(day)s + interval '1 day'
order by measured_at
"""


def figures(effort: float) -> list[Figure]:
    """Fill ten years, look at the size, and query days all over them."""
    minutes = counted(MINUTES, effort, least=2 * 1440)
    with servers.embedded_url(fsync=False) as url, closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("insert into site (name) values ('home') returning site_id")
            site = _one(cursor)
            cursor.execute(_FILL, {"site": site, "minutes": minutes})
            cursor.execute("vacuum (analyze) power")
            cursor.execute("select pg_total_relation_size('power')::float8 / %s", (minutes,))
            row_bytes = float(_one(cursor))
            cursor.execute("select pg_relation_size('power_pkey')::float8 / %s", (minutes,))
            index_bytes = float(_one(cursor))
            days_ms = []
            for number in range(20):
                cursor.execute(
                    "select '2016-01-01 00:00+09'::timestamptz + %s * interval '1 day'",
                    (minutes // 1440 * number // 20,),
                )
                days_ms.append(_day_ms(cursor, site, _one(cursor)))
    return [
        Figure(
            f"a row of power, index included, of {minutes:,}",
            f"{row_bytes:.1f} bytes",
            f"of these the index: {index_bytes:.1f}",
            row_bytes,
            MOST_BYTES,
            "bytes",
        ),
        Figure(
            "a day of these, by index",
            f"{statistics.median(days_ms):.2f} ms, the slowest of 20 {max(days_ms):.2f} ms",
            "explain (analyze)",
            max(days_ms),
            MOST_MS,
            "ms",
        ),
    ]


def _one(cursor: Any) -> Any:
    return cursor.fetchone()[0]


def _day_ms(cursor: Any, site: int, day: object) -> float:
    """Return the time of one day's query, planning included."""
    cursor.execute(_DAY, {"site": site, "day": day})
    [explained] = _one(cursor)
    if "Index" not in str(explained["Plan"]):
        raise RuntimeError(f"no index was used: {explained}")
    return float(explained["Planning Time"] + explained["Execution Time"])
