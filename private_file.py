"""Files and directories of ours: for their owner only, on the disk, and never by way of somebody's link.

What root makes belongs to the owner of the directory that it is made in, for whom it must stay usable.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Make *content* all that is in *path*: the old or the new is there whatever happens, also after a power cut.

    The file gets mode 0600. It is written beside its place, in a file that is made here: what stands there already, a
    link or what an earlier run left, is removed and not followed.

    Raises: OSError: it cannot be written, and *path* is as it was; or it is, but may be lost in a power cut.
    """
    beside = path.with_name(f"{path.name}.new")
    with suppress(FileNotFoundError):
        beside.unlink()
    fd = create(beside)
    try:
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
    sync_directory(path.parent)


def create(path: Path) -> int:
    """Make a file that was not there, of mode 0600; return its descriptor, to read and write.

    Raises: FileExistsError: something is there, be it a link; OSError.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    _leave_to_owner(fd, path.parent)
    return fd


def make_directory(path: Path, mode: int = 0o700) -> None:
    """Make a directory, and those above it, where there is none.

    Raises: FileExistsError: something else is there, be it a link to nothing; OSError.
    """
    if path.is_dir():
        return
    if not path.parent.is_dir():
        make_directory(path.parent, 0o777)
    path.mkdir(mode, exist_ok=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _leave_to_owner(fd, path.parent)
    finally:
        os.close(fd)


def open_existing(path: Path, flags: int) -> int:
    """Open the file at *path*, *flags* being those of os.open; return its descriptor.

    Raises: FileNotFoundError: nothing is there. OSError: it is refused, or no plain file: a link leads elsewhere, and
    to open a pipe would wait for whoever writes into it.
    """
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


def sync_directory(directory: Path) -> None:
    """Bring the names in *directory* to the disk. Raises: OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _leave_to_owner(fd: int, directory: Path) -> None:
    if os.geteuid() == 0:
        owner = directory.stat()
        with suppress(OSError):  # root of a container, or over a network, may not give away what it likes
            os.fchown(fd, owner.st_uid, owner.st_gid)
