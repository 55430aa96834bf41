"""What the energy costs with ten years of two sites stored: bars as the pictures need them, and the views by hand.

The least of several times, each planned anew: a busy moment of the machine only adds to the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import date, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2

from charts.period import day_of, midnight, spans
from storage import energy
from storage.steps import Span
from tests.benchmarks import servers
from tests.benchmarks.figure import Figure
from tests.benchmarks.measuring import counted

TOKYO = ZoneInfo("Asia/Tokyo")
SITE = 1
HALF_HOURS = 175_344  # ten years

_WRITE = f"""
insert into site (site_id, name) overriding system value values (1, 'home'), (2, 'shed');
insert into meter (site_id, since, manufacturer, serial_number, unit_kwh, digits)
select site_id, since::timestamptz, '000016', since, 0.1, 6
from site, unnest(array['2016-03-01 12:00+09', '2024-05-02 10:17+09']) as since;
insert into energy (registered_at, site_id, import_kwh, export_kwh, source)
select timestamptz '2016-01-01 00:00+09' + n * interval '30 minutes', site_id, 100 + 0.3 * n, 50 + 0.1 * n, 'notified'
from generate_series(0, {HALF_HOURS}) as n, site
"""

VIEWS: Mapping[str, tuple[str, float | None]] = {
    "energy_half_hour, any day": (
        "select * from energy_half_hour where site_id = 1 "
        "and started_at >= '2024-05-02 00:00+09' and started_at < '2024-05-03 00:00+09'",
        150,
    ),
    "energy_half_hour, the newest 48": (
        "select * from energy_half_hour where site_id = 1 order by started_at desc limit 48",
        350,
    ),
    "energy_day, any day": ("select * from energy_day where site_id = 1 and day = '2024-05-01'", 150),
    "energy_day, a year": (
        "select * from energy_day where site_id = 1 and day >= '2024-01-01' and day < '2025-01-01'",
        None,
    ),
    "energy_day, ten years": ("select * from energy_day where site_id = 1", None),
}


def figures(effort: float) -> list[Figure]:
    """Query both servers, the system's and the embedded one."""
    times = counted(9, effort)
    with servers.system_url(connections=20) as url:
        found = _on(url, times)
    with servers.embedded_url(fsync=False) as url:
        return found + _on(url, times)


def _on(url: str, times: int) -> list[Figure]:
    server = f"PostgreSQL {servers.version_of(url)}"
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(_WRITE)
            cursor.execute("vacuum analyze")
        day = spans(day_of(date(2024, 5, 2), TOKYO), "half_hour")
        dates = [date(2024, 1, 1) + timedelta(days=number) for number in range(366)]
        year = [(midnight(each, TOKYO), midnight(each + timedelta(days=1), TOKYO)) for each in dates]
        asked: dict[str, tuple[Callable[[], object], float | None]] = {
            "a day's bars, used and sold": (partial(_both, connection, day), 20),
            "a year of days, used and sold": (partial(_both, connection, year), 100),
            **{what: (partial(_rows, connection, sql), limit) for what, (sql, limit) in VIEWS.items()},
        }
        return [
            Figure(f"energy of ten years: {what}", server, "", _least_ms(deed, times), limit, "ms")
            for what, (deed, limit) in asked.items()
        ]


def _both(connection: Any, cut: list[Span]) -> object:
    return [energy.read(connection, SITE, register, cut) for register in ("import_kwh", "export_kwh")]


def _rows(connection: Any, sql: str) -> object:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def _least_ms(deed: Callable[[], object], times: int) -> float:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        deed()
        took.append(time.perf_counter() - began)
    return min(took) * 1000
