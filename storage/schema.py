"""Where init.sql is, the command that applies it, and the errors that say that it has to be."""

from __future__ import annotations

import shlex
from pathlib import Path

import psycopg2.errors

from storage.errors import StorageError

NOT_APPLIED = (
    psycopg2.errors.UndefinedTable,
    psycopg2.errors.UndefinedColumn,
    psycopg2.errors.UndefinedFunction,
)
"""What PostgreSQL raises where tables are missing, or are those of an older init.sql."""


def init_sql_path() -> Path:
    """Find init.sql: beside the rooms in a checkout, among the data files of an installed wheel.

    Raises: StorageError: the installation is incomplete.
    """
    beside = Path(__file__).resolve().parent.parent / "init.sql"
    if beside.is_file():
        return beside
    import importlib.metadata  # 2 MB of modules that only an installed wheel needs, and only here

    try:
        installed = importlib.metadata.files("power-consumption") or []
    except importlib.metadata.PackageNotFoundError:
        installed = []
    for file in installed:
        if file.name == "init.sql":
            return Path(str(file.locate())).resolve()
    raise StorageError("init.sql is missing from this installation; install power-consumption again")


def psql_command(dsn: str) -> str:
    """Return the command that applies init.sql to the database at *dsn*, to be run as it is. *dsn* holds no secret."""
    return f"psql -q -1 -v ON_ERROR_STOP=1 -f {shlex.quote(str(init_sql_path()))} {shlex.quote(dsn)}"
