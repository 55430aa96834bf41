"""How fast PostgreSQL catches up with the outbox after an outage, beside COPY of the same rows."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg2
from psycopg2.extensions import set_wait_callback

from storage.database import Database
from storage.delivery import Delivery
from storage.outbox import Outbox
from storage.records import Bme280Row, Co2Row, CpuTemperatureRow, PowerRow, Round
from tests.benchmarks import servers
from tests.benchmarks.figure import Figure
from tests.benchmarks.measuring import counted

ROWS = 40_000  # a week of minutes with every sensor
ROWS_A_ROUND = 4
LEAST_OF_COPY = 1 / 20
MOST_S = 5.0
SITE = "home"
START = datetime(2026, 6, 1, tzinfo=UTC)

_COLUMNS = {
    PowerRow: ("power", "measured_at, power_w, current_r_a, current_t_a, import_kwh, export_kwh"),
    CpuTemperatureRow: ("cpu_temperature", "measured_at, temperature_c"),
    Co2Row: ("co2", "measured_at, co2_ppm, temperature_c, warming_up"),
    Bme280Row: ("bme280", "measured_at, temperature_c, humidity_pct, pressure_hpa"),
}


def figures(effort: float) -> list[Figure]:
    """Deliver an outbox of 40,000 rows, and COPY the same rows into the same tables of another database."""
    rounds = [full_round(number) for number in range(counted(ROWS // ROWS_A_ROUND, effort))]
    rows = len(rounds) * ROWS_A_ROUND
    with servers.embedded_url() as url:
        delivered_s = _deliver(url, rounds)
    with servers.embedded_url() as url:
        copied_s = _copy(url, rounds)
    return [
        Figure(
            f"outbox delivery of {rows:,} rows",
            f"{rows / delivered_s:,.0f} rows/s",
            f"COPY: {rows / copied_s:,.0f} rows/s",
            copied_s / delivered_s,
            LEAST_OF_COPY,
            at_least=True,
        ),
        Figure(f"outbox delivery of {rows:,} rows", f"{delivered_s:.2f} s", "", delivered_s, MOST_S, "s"),
    ]


def full_round(number: int) -> Round:
    """Make the round of minute *number*: the meter and three sensors."""
    at = START + timedelta(minutes=number)
    kwh = Decimal(123_450 + number) / 10
    return Round(
        (
            PowerRow(at, 300 + number % 2000, Decimal(30 + number % 200) / 10, Decimal("1.2"), kwh, Decimal("678.0")),
            CpuTemperatureRow(at, 48.312),
            Co2Row(at, 600 + number % 400, 25, False),
            Bme280Row(at, 21.5, 45.25, 1013.25),
        )
    )


def _deliver(url: str, rounds: Sequence[Round]) -> float:
    with tempfile.TemporaryDirectory() as directory:
        outbox = Outbox(Path(directory), fsync=False)
        for each in rounds:
            outbox.append(each)
        delivery = Delivery(Database.from_url(url, site=SITE), outbox)
        began = time.perf_counter()
        delivery.start()
        if not delivery.wait_until_drained(600.0):
            raise RuntimeError(f"the outbox was not delivered: {delivery.unreachable_reason}")
        elapsed_s = time.perf_counter() - began
        delivery.close()
        outbox.close()
    return elapsed_s


def _copy(url: str, rounds: Sequence[Round]) -> float:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("insert into site (name) values (%s) returning site_id", (SITE,))
        found = cursor.fetchone()
        if found is None:
            raise RuntimeError("no site")
        connection.commit()
        set_wait_callback(None)  # ours, for which psycopg2 has no COPY
        began = time.perf_counter()
        for row_class, (table, columns) in _COLUMNS.items():
            lines = io.StringIO()
            for each in rounds:
                for row in each.rows:
                    if isinstance(row, row_class):
                        values = (getattr(row, name) for name in columns.split(", "))
                        lines.write(f"{found[0]}\t" + "\t".join(map(str, values)) + "\n")
            lines.seek(0)
            cursor.copy_expert(f"copy {table} (site_id, {columns}) from stdin", lines)
        connection.commit()
        return time.perf_counter() - began
