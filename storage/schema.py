"""Where init.sql is, the errors that say that it has to be applied, and what is said then."""

from __future__ import annotations

import shlex
from pathlib import Path

import psycopg2.errors

from storage.errors import MissingTablesError, StorageError

NOT_APPLIED = (
    psycopg2.errors.UndefinedTable,
    psycopg2.errors.UndefinedColumn,
    psycopg2.errors.UndefinedFunction,
)
"""What PostgreSQL raises where tables are missing, or are those of an older init.sql, or others of the same name."""


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


def missing_tables(found: str, dsn: str) -> MissingTablesError:
    """Return the error for a database at *dsn*, which holds no secret: what was *found*, and the command that helps."""
    command = f"psql -q -1 -v ON_ERROR_STOP=1 -f {shlex.quote(str(init_sql_path()))} {shlex.quote(dsn)}"
    return MissingTablesError(
        f"tables are missing ({found}), or this user's search_path leads past them",
        f"as the owner of the database, run: {command}",
    )
