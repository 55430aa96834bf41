"""Where init.sql is, and the command that applies it."""

from __future__ import annotations

from pathlib import Path

from storage.errors import StorageError


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
