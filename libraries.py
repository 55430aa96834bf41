"""Libraries of others: what is said where one is missing, or cannot be loaded.

As script.py, this must be readable by whatever Python starts a script.
"""

from __future__ import annotations

import sys

from errors import UsageError

_PARTS = (
    "backoff", "charts", "errors", "help_ja", "ini_file", "libraries", "poller", "power_consumption", "power_graph",
    "private_file", "pseudo_terminal", "script", "sensors", "serial_faults", "settings", "skstack", "storage",
    "temp_graph", "version", "wording",
)  # fmt: skip


def library_error(error: ImportError, extras: str) -> UsageError | None:
    """Return what *error* means for the household, who installs the package's *extras* to have all libraries.

    None: it is no library that cannot be imported, but a part of ours.
    """
    if error.name is None or error.name.split(".")[0] in _PARTS:
        return None
    if not isinstance(error, ModuleNotFoundError):
        reason, *_ = str(error.__cause__ or error).strip().splitlines() or ["it does not say why"]
        return UsageError(
            f"{error.name} is installed, but cannot be loaded: {reason}",
            f"install what it lacks, or itself again: pip install --force-reinstall '.[{extras}]'",
        )
    if sys.prefix != sys.base_prefix:
        return UsageError(
            f"{error.name} is missing in the virtual environment {sys.prefix}", f"run pip install '.[{extras}]' in it"
        )
    return UsageError(
        f"{error.name} is missing",
        "activate the virtual environment (. .venv/bin/activate), or make it (python3 -m venv .venv) and then run "
        f"pip install '.[{extras}]' in it",
    )
