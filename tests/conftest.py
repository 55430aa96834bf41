"""Fixtures for everybody: a PostgreSQL server for the session, and a fresh database with our tables for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from hypothesis import settings

from storage.embedded import EmbeddedServer

settings.register_profile("house", deadline=None)  # a busy machine is no finding
settings.load_profile("house")

_numbers = itertools.count(1)


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
