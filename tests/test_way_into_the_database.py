"""The poller as a process on its way into the database: how much of the machine it takes, and what hangs beside it."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from psycopg2.extensions import parse_dsn

import settings
from poller.once import run_once
from poller.process import StopSignal
from storage.outbox import Outbox
from tests.lab.process import command, module_on, polling, power, settings_file


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def connections(connection: Any) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "select pid from pg_stat_activity"
            " where application_name = 'power-consumption' and datname = current_database()"
        )
        return [pid for (pid,) in cursor.fetchall()]


def test_a_poller_without_sensors_has_two_threads_and_never_more_than_one_connection(
    tmp_path: Path, database_url: str, connection: Any
) -> None:
    link = tmp_path / "tty"
    config = settings_file(tmp_path, device=link, url=database_url)
    seen_connections, seen_threads = [0], [0]
    with module_on(link, 300), polling(config) as process:
        power(connection, 1)
        end = time.monotonic() + 6.0
        while time.monotonic() < end:
            seen_connections.append(len(connections(connection)))
            seen_threads.append(threads_of(process.pid))
            time.sleep(0.05)
    assert max(seen_connections) == 1
    assert max(seen_threads) == 2


def test_a_database_that_hangs_costs_no_tick(tmp_path: Path, database_url: str, connection: Any) -> None:
    """Its process is frozen in the middle of the work, and goes on five seconds later."""
    link = tmp_path / "tty"
    config = settings_file(tmp_path, device=link, url=database_url)
    with module_on(link, 300), polling(config):
        power(connection, 2)
        [pid] = connections(connection)
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(5.0)  # real time: the server's process stands still in it
        finally:
            os.kill(pid, signal.SIGCONT)
        rows = power(connection, 10)
    seconds = [int(row["measured_at"].timestamp()) for row in rows[1:]]  # the first round may have been late
    assert seconds == list(range(seconds[0], seconds[0] + len(seconds)))


class SwallowingProxy:
    """A proxy before PostgreSQL that lets nothing through any more once it has seen some bytes."""

    def __init__(self, upstream: str, swallowed: bytes) -> None:
        self._upstream = upstream
        self._swallowed = swallowed
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._upstream)
            is_silent = False
            while True:
                for source in select.select([client, server], [], [])[0]:
                    try:
                        data = source.recv(65536)
                    except OSError:
                        return
                    if not data:
                        return
                    is_silent = is_silent or (source is client and self._swallowed in data)
                    if not is_silent:
                        (server if source is client else client).sendall(data)


@contextmanager
def swallowing_inserts(database_url: str) -> Iterator[str]:
    """Give a url that leads through a proxy which swallows an insert into "power", and all after it."""
    told = parse_dsn(database_url)
    with closing(SwallowingProxy(f"{told['host']}/.s.PGSQL.5432", b"insert into power")) as proxy:
        yield f"postgresql://postgres@127.0.0.1:{proxy.port}/{told['dbname']}"


def test_once_ends_in_its_time_where_the_insert_is_swallowed_and_the_next_run_delivers_it(
    tmp_path: Path,
    database_url: str,
    connection: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("poller.once.ONCE_DELIVERY_S", 1.0)
    monkeypatch.setattr("poller.once.FINISH_S", 1.0)
    link = tmp_path / "tty"
    with module_on(link, 300), swallowing_inserts(database_url) as url:
        hanging = settings.load(settings_file(tmp_path, device=link, url=url))
        began = time.monotonic()
        assert run_once(hanging, (), stop=StopSignal()) == 1
        assert time.monotonic() - began < 15.0
        printed = capsys.readouterr()
        assert "300 W" in printed.out
        assert f"the round waits in {tmp_path / 'data'} for the next run" in printed.err
        with closing(Outbox(tmp_path / "data")) as outbox:
            assert outbox.count() >= 1
        whole = settings.load(settings_file(tmp_path, device=link, url=database_url))
        assert run_once(whole, (), stop=StopSignal()) == 0
    assert [row["power_w"] for row in power(connection, 2)] == [300, 300]


def test_once_ends_on_sigterm_while_the_database_hangs_and_the_round_is_on_disk(
    tmp_path: Path, database_url: str
) -> None:
    link = tmp_path / "tty"
    with module_on(link, 300), swallowing_inserts(database_url) as url:
        config = settings_file(tmp_path, device=link, url=url)
        process = subprocess.Popen(command(config, "--once"), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert "300 W" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 0
        assert "Traceback" not in errors
        with closing(Outbox(tmp_path / "data")) as outbox:
            assert outbox.count() >= 1
