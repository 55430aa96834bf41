"""What the three scripts share at their edges: old Pythons, missing libraries, signals, and a reader that has gone.

Whatever Python starts a script must be able to read this file: nothing newer than Python 3.7 stands in it, nor in what
it or a script imports at the top.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import signal
import sys

from errors import ExplainedError
from libraries import library_error

TYPE_CHECKING = False  # as in typing, which takes longer to import than argparse
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

_OLDEST = 0x030B0000  # as sys.hexversion: Python 3.11


def run(prog: str, act: Callable[[], int], *, extras: str) -> int:
    """Run *act*, the whole of a script, and return its exit code; 0 too where a signal ends it.

    Says what an ExplainedError says, that Python is too old, or that a library of the package's *extras* is missing.
    Nothing that is printed meanwhile fails: neither where its reader has gone, nor on a full disk, nor in a poor
    encoding.
    """
    with _unfailing("stdout", 1), _unfailing("stderr", 2), _interruptible(), _owner_unmasked():
        try:
            if sys.hexversion < _OLDEST:
                found = ".".join(map(str, sys.version_info[:3]))
                sys.stderr.write(f"{prog}: Python 3.11 or newer is needed, this is {found}\n")
                return 1
            return act()
        except ExplainedError as error:
            sys.stderr.write(f"{prog}: {error}\n")
            return error.exit_code
        except ImportError as error:
            explained = library_error(error, extras)
            if explained is None:
                raise
            sys.stderr.write(f"{prog}: {explained}\n")
            return explained.exit_code
        except KeyboardInterrupt:
            return 0


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP do as SIGINT does: what is half done is cleared away on the way out."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # nohup wants us to stay when the terminal goes
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        atexit.register(_ignore_signals)  # the last to be registered is the first to be called
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    """Let a signal that comes while Python ends not change the exit code of what is done."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def _owner_unmasked() -> Iterator[None]:
    """Let the umask take rights from others, but none from the user: what we make would be of no use to us."""
    before = os.umask(0o077)
    os.umask(before & 0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def _unfailing(name: str, number: int) -> Iterator[None]:
    """Stand before a standard stream, unless somebody has put another in its place; what a closed one gets is lost."""
    stream: TextIO | None = getattr(sys, name)
    if stream is not getattr(sys, f"__{name}__"):
        yield
        return
    raw = _UnfailingFile(_taken(number) if stream is None else stream.fileno())
    encoding = "utf-8" if stream is None else stream.encoding
    setattr(sys, name, io.TextIOWrapper(raw, encoding, "backslashreplace", write_through=True))
    try:
        yield
    finally:
        setattr(sys, name, stream)


def _taken(number: int) -> int:
    """Open the null device as *number* and as every free number below: a connection that got one would be printed into.

    Return its last number, which is higher where *number* is taken already.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor < number:
        descriptor = os.open(os.devnull, os.O_RDWR)
    return descriptor


class _UnfailingFile(io.RawIOBase):
    """A file whose writes succeed, whatever becomes of them."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data) -> int:  # type: ignore[no-untyped-def]  # Buffer has its name from Python 3.12 on
        rest = memoryview(data).cast("B")
        size = len(rest)
        with contextlib.suppress(OSError):
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        return size
