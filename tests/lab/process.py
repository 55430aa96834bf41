"""The poller as a process: a module on a pseudo terminal, a settings file, and what has come into PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pseudo_terminal import serve, terminal_at
from skstack.simulator import (
    INSTANT,
    MODELS,
    Beacon,
    Household,
    MeterOptions,
    SimulatedMeter,
    SimulatedModule,
    Timing,
)
from tests.lab.module import PASSWORD, ROUTE_B_ID

ROOT = Path(__file__).parents[2]
DAY_S = 86_400


@contextmanager
def module_on(
    link: Path,
    watts: int = 600,
    *,
    model: str = "BP35C2",
    timing: Timing = INSTANT,
    hex_payload: bool = True,
    ahead_s: float = 0.0,
    neighbours: tuple[Beacon, ...] = (),
    **options: Any,
) -> Iterator[SimulatedModule]:
    """Serve a module at *link*, and the meter of a household that draws *watts*, always, *ahead_s* of our time."""
    household = Household(lambda _day: [watts] * 1440, since=time.time() + ahead_s - 10 * DAY_S)
    module = SimulatedModule(
        SimulatedMeter(household, MeterOptions(**options)),
        model=MODELS[model],
        hex_payload=hex_payload,
        timing=timing,
        neighbours=neighbours,
    )
    stop_reader, stop_writer = os.pipe()
    begun, start = time.monotonic(), time.time() + ahead_s
    with terminal_at(link) as master_fd:
        thread = threading.Thread(
            target=serve,
            args=(module, master_fd),
            kwargs={"stop_fd": stop_reader, "now": lambda: start + time.monotonic() - begun},
        )
        thread.start()
        try:
            yield module
        finally:
            os.write(stop_writer, b"q")
            thread.join(10)
            os.close(stop_reader)
            os.close(stop_writer)


def settings_file(directory: Path, *, device: Path, url: str, interval_s: int = 1) -> Path:
    path = directory / "power_consumption.ini"
    path.write_text(
        f"[routeB]\ndevice = {device}\nid = {ROUTE_B_ID}\npassword = {PASSWORD}\ninterval = {interval_s}\n"
        f"[database]\nurl = {url}\n[storage]\ndata_dir = {directory / 'data'}\n",
        encoding="utf-8",
    )
    path.chmod(0o600)
    return path


def command(config: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "power_consumption.py"), "--config", str(config), *arguments]


@contextmanager
def polling(config: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the poller, and see that SIGTERM ends it with exit code 0 within 10 s."""
    process = subprocess.Popen(command(config, *arguments), stderr=subprocess.PIPE, text=True)
    try:
        yield process
    except BaseException:
        process.kill()
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
        sys.stderr.write(errors)  # pytest shows it when the test fails
    assert process.returncode == 0
    assert "Traceback" not in errors


def wait_for_rows(connection: Any, table: str, count: int, *, within_s: float = 30.0) -> list[tuple[Any, ...]]:
    """Return the first *count* rows of *table* as soon as they are there."""
    deadline = time.monotonic() + within_s
    with connection.cursor() as cursor:
        while True:
            cursor.execute(f"select * from {table} order by 2 limit %s", (count,))
            rows = cursor.fetchall()
            if len(rows) >= count:
                return list(rows)
            assert time.monotonic() < deadline, f"{len(rows)} rows in {table} after {within_s} s"
            time.sleep(0.05)


def power(connection: Any, count: int = 2) -> list[dict[str, Any]]:
    wait_for_rows(connection, "power", count)
    with connection.cursor() as cursor:
        cursor.execute(
            "select measured_at, power_w, current_r_a, current_t_a, import_kwh, export_kwh"
            " from power order by measured_at"
        )
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
