"""Where a picture goes, and how it gets there: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")

# The same data make the same bytes, whenever they are drawn.
_NO_DATE: Mapping[str, dict[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


class OutputError(ValueError):
    """The name of the file is no use. The text says what was expected."""


def path_of(wanted: str | None, directory: Path, name: str) -> Path:
    """Return where to write: *wanted*, or a PNG called *name* in the directory *wanted* or in *directory*.

    Raises: OutputError: the suffix is none of those we can write.
    """
    if not wanted:
        return directory / f"{name}.png"
    path = Path(wanted).expanduser()
    if path.is_dir() or wanted.endswith(os.sep):
        return path / f"{name}.png"
    if path.suffix.lower() not in SUFFIXES:
        kinds = ", ".join(SUFFIXES)
        raise OutputError(f"-o: expected a directory, or a file that ends in {kinds}, got {wanted}")
    return path


def save(figure: Figure, path: Path) -> None:
    """Write the picture next to *path* and move it there, so that a reader never sees half of it.

    It is created with the permissions that the umask gives to any new file; where *path* is a link, the file it points
    to is replaced.
    Raises: OSError: the directory is missing, cannot be written or is full. Nothing is left behind.
    """
    target = Path(os.path.realpath(path))
    kind = target.suffix.lower().removeprefix(".") or "png"
    handle, temporary = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            figure.savefig(file, format=kind, metadata=_NO_DATE.get(kind))
            os.fchmod(file.fileno(), 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    """Return the umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
