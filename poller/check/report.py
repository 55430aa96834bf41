"""The report of --check: one line for each part, with what was found; under a cross, one line that says what to do."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from errors import ExplainedError
from libraries import library_error
from skstack import StoppedError
from storage.connection import masked

logger = logging.getLogger(__name__)

_NAME_WIDTH = 15
_INDENT = " " * 5
# The meter's link-local address is made of its MAC, and an error may name a command with it.
_ADDRESS = re.compile(r"\bFE80:[0-9A-F:]+|\b[0-9A-F]{16}\b", re.IGNORECASE)


class CheckFailedError(ExplainedError):
    """A part does not work: what was found, and the remedy. Each is one line for people."""


@dataclass(frozen=True, slots=True)
class Part:
    """Something to be tried: *attempt* returns what was found, or raises.

    *needs*: the parts without which it is not tried. *stands_for*: what those that need it then lack.
    *advice*: what to do about an error that does not say it itself. *takes*: how long it may take, if it is long.
    """

    name: str
    attempt: Callable[[], str]
    advice: str
    needs: Sequence[str] = ()
    stands_for: str | None = None
    takes: str = ""


class Report:
    """Tries one part after the other and prints how each went to *out*, with the *secrets* masked.

    A part that needs one that failed is not tried. *should_stop* ends the check between two parts, and after a part
    that it has cut short.
    """

    def __init__(
        self,
        out: TextIO,
        *,
        secrets: Sequence[str] = (),
        should_stop: Callable[[], bool] = lambda: False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out = out
        self._tick, self._cross = ("✓", "✗") if _can_show("✓✗", out.encoding or "utf-8") else ("ok", "FAIL")
        self._secrets = secrets
        self._should_stop = should_stop
        self._monotonic = monotonic
        self._reasons: dict[str, str] = {}  # why those that need a part are not tried
        self._remarks: list[str] = []
        self.ticks = 0
        self.crosses: list[str] = []

    def take(self, *parts: Part) -> None:
        """Try *parts*, one after the other, unless one that they need has failed. Raises: StoppedError."""
        for part in parts:
            missing = next((self._reasons[need] for need in part.needs if need in self._reasons), None)
            if missing is None:
                self._try(part)
            else:
                self._reasons[part.name] = missing
                self.skip(part.name, f"not tried: {missing}")

    def _try(self, part: Part) -> None:
        self._announce(part.name, part.takes)
        started = self._monotonic()
        remedy = None
        try:
            found = part.attempt()
        except Exception as error:  # a fault of the program in one part must not hide what the others find
            explained = library_error(error, "poller") if isinstance(error, ImportError) else error
            if isinstance(explained, ExplainedError):
                found, remedy = explained.what, explained.remedy or part.advice
            else:
                logger.exception("--check: %s", part.name)
                found, remedy = f"a fault of the program ({type(error).__name__}: {error})", part.advice
        finally:
            self._wipe()
        if self._should_stop():
            raise StoppedError
        found += f" ({self._monotonic() - started:.1f} s)"
        if remedy is None:
            self.ticks += 1
            self._line(self._tick, part.name, found)
            for remark in self._remarks:
                self.say(f"{_INDENT}! {remark}")
        else:
            self.crosses.append(part.name)
            self._reasons[part.name] = part.stands_for or f"needs the {part.name}"
            self._line(self._cross, part.name, found)
            self.say(f"{_INDENT}-> {remedy}")
        self._remarks.clear()

    def skip(self, name: str, why: str) -> None:
        """Print a part that is not tried, which is not a failure."""
        self._line("-", name, why)

    def remark(self, text: str) -> None:
        """Print *text* under the line of the part that is being tried, if it gets its tick."""
        self._remarks.append(text)

    @contextmanager
    def gathered_log(self) -> Iterator[None]:
        """Take what the program would log meanwhile: warnings become remarks. With -v the log stays as it is."""
        root = logging.getLogger()
        if root.isEnabledFor(logging.DEBUG):
            yield
            return
        handlers, root.handlers = root.handlers, [_Gatherer(self.remark)]
        try:
            yield
        finally:
            root.handlers = handlers

    def say(self, text: str) -> None:
        """Print a line."""
        print(_ADDRESS.sub("****", masked(text, self._secrets)), file=self._out, flush=True)

    def _line(self, mark: str, name: str, text: str) -> None:
        self.say(f"{mark:<{len(self._cross)}} {name:<{_NAME_WIDTH}} {text}")

    def _announce(self, name: str, takes: str) -> None:
        """Show on a terminal what is being tried, in a line that the result replaces."""
        if self._out.isatty():
            self._out.write(f"... {name}{takes and f' ({takes})'}")
            self._out.flush()

    def _wipe(self) -> None:
        if self._out.isatty():
            self._out.write("\r\x1b[K")  # to the line's beginning, erase to its end


class _Gatherer(logging.Handler):
    """Hands on each warning, as one line."""

    def __init__(self, take: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        """Hand on the message, without a traceback."""
        self._take(record.getMessage())


def _can_show(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
