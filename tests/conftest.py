"""Tiers and fixtures for everybody: a PostgreSQL server for the session, and a fresh database for each test.

Three tiers: unit tests (-m unit) need nothing but Python and wait for nobody; the default run adds those with a real
PostgreSQL, processes, terminals, pictures or days of polling (marked system where no fixture shows it); -m slow is
the rest.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import psycopg2
import pytest
from hypothesis import settings

from storage.embedded import EmbeddedServer

# A busy machine is no finding. Where nobody sits before it, the same examples are tried each time.
settings.register_profile("house", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("house")

# Our programs are started hundreds of times: they are compiled once, also where the environment keeps no bytecode.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell lets what it starts in the background ignore SIGINT, and so would every program that is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)

_numbers = itertools.count(1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Share the tests among three times as many processes as there are processors: the slower ones mostly wait.

    What was named on the command line runs in this process.
    """
    return 3 * (os.cpu_count() or 1) if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave files without a single unit test unread where only those are chosen: they import much."""
    if config.option.markexpr == "unit" and collection_path.name.startswith("test_"):
        return "\npytestmark = pytest.mark.system\n" in collection_path.read_text(encoding="utf-8") or None
    return None


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Call those unit tests that need nothing but Python."""
    for item in items:
        needs = getattr(item, "fixturenames", ())
        if "postgres_server" not in needs and not any(item.get_closest_marker(name) for name in ("system", "slow")):
            item.add_marker(pytest.mark.unit)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """See that a unit test neither sleeps nor starts a process."""
    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("unit"):
            patch.setattr(time, "sleep", _refuse)
            patch.setattr(subprocess, "Popen", _refuse)
        return (yield)


def _refuse(*_arguments: object, **_options: object) -> NoReturn:
    raise AssertionError("a unit test waits for nobody and starts nothing: mark it system")


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """Take back what a program that ran in this process did to the root logger: the next test hears its own log."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """Start a throw-away embedded server. Its own database has our tables and serves as a template."""
    with EmbeddedServer(tmp_path_factory.mktemp("server"), fsync=False) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres_server: EmbeddedServer) -> str:
    """Give the URL of a superuser of the throw-away server, in a database without our tables."""
    return postgres_server.url("postgres")


@pytest.fixture
def empty_database_url(postgres_server: EmbeddedServer) -> Iterator[str]:
    """Make a database of one's own, without our tables."""
    yield from _own_database(postgres_server, "create database %s template template0")


@pytest.fixture
def database_url(postgres_server: EmbeddedServer) -> Iterator[str]:
    """Make a database of one's own with init.sql applied."""
    yield from _own_database(postgres_server, "create database %s template power_consumption")


@pytest.fixture(scope="module")
def module_database_url(postgres_server: EmbeddedServer) -> Iterator[str]:
    """Make a database with init.sql applied for a whole module, whose tests roll back what they do."""
    yield from _own_database(postgres_server, "create database %s template power_consumption")


def _own_database(server: EmbeddedServer, statement: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    _administer(server, statement % name)
    yield server.url(name)
    _administer(server, f"drop database {name} with (force)")


def _administer(server: EmbeddedServer, statement: str) -> None:
    with closing(psycopg2.connect(server.url("postgres"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)


@pytest.fixture
def connection(database_url: str) -> Iterator[Any]:
    """Open a plain psycopg2 connection to the database of this test, in autocommit."""
    with closing(psycopg2.connect(database_url)) as opened:
        opened.autocommit = True
        yield opened
