"""The blocking driver: one command, one answer, one deadline. One thread, no retries, no policy.

Lines that are nobody's answer (events, datagrams, scan results) are kept in order and handed out by next_line.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from skstack.commands import Command
from skstack.errors import CommandFailedError, MalformedLineError, SkStackTimeoutError
from skstack.events import (
    AddressLine,
    AppVersion,
    Echo,
    Line,
    ModuleInfo,
    RegisterValue,
    StackVersion,
    StatusFail,
    StatusOk,
    UnknownLine,
    parse_line,
)
from skstack.lines import LineBuffer
from skstack.port import Port

logger = logging.getLogger(__name__)

COMMAND_TIMEOUT_S = 3.0  # SKRESET, the slowest, was seen to take 0.6 s
_QUIET_S = 0.2  # longer than any gap seen within the output of a module
_MOST_CHUNKS = 64  # a babbling device must not hold us for ever

_ANSWERS = (RegisterValue, ModuleInfo, StackVersion, AppVersion, AddressLine, UnknownLine)


class SkStack:
    """SK commands over a *port*.

    *malformed_lines* counts what could not be read; *echoes* counts the echoes of our own commands: after the echo was
    switched off, one more means that the module has restarted.
    """

    def __init__(self, port: Port, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._port = port
        self._monotonic = monotonic
        self._buffer = LineBuffer()
        self._received: deque[Line] = deque()  # in the order of arrival, not looked at yet
        self._unsolicited: deque[Line] = deque()  # seen while an answer was awaited, and not part of it
        self.malformed_lines = 0
        self.echoes = 0

    def execute(self, command: Command, *, timeout_s: float = COMMAND_TIMEOUT_S) -> list[Line]:
        """Send *command* and return the lines of its answer, without the OK unless it carries a value.

        What came before the command was written never answers it. Events and datagrams are left for next_line, and
        however many come, they do not extend the wait.

        Raises: CommandFailedError: the module answered FAIL. SkStackTimeoutError: no OK within *timeout_s*.
            PortLostError: the port is gone.
        """
        self.collect()
        self._unsolicited.extend(self._received)
        self._received.clear()
        logger.debug("> %s", command)
        self._port.write(command.to_bytes())
        started = self._monotonic()
        deadline = started + timeout_s
        answer: list[Line] = []
        while not self._completed(command, answer):
            if self._monotonic() >= deadline:
                self.abandon()  # a payload that declared too much may have swallowed the answer
                if self._completed(command, answer):
                    break
                raise SkStackTimeoutError(f"answer to {command.name}", self._monotonic() - started)
            self._receive(deadline)
        return answer

    def next_line(self, timeout_s: float) -> Line | None:
        """Return the next line that is nobody's answer, waiting up to *timeout_s*; None when none came.

        Raises: PortLostError: the port is gone.
        """
        if self._unsolicited:
            return self._unsolicited.popleft()
        if self._received or self._receive(self._monotonic() + timeout_s):
            return self._received.popleft()
        return None

    def collect(self) -> int:
        """Take in what has already arrived, without waiting; return how many lines are ready for next_line.

        Raises: PortLostError: the port is gone.
        """
        for _ in range(_MOST_CHUNKS):
            chunk = self._port.read(0.0)
            if not chunk:
                break
            self._take(chunk)
        return len(self._unsolicited) + len(self._received)

    def synchronise(self, *, limit_s: float = 2.0) -> None:
        """End a half-typed command and wait until the module is quiet; what it says meanwhile is dropped.

        A device that is never quiet costs *limit_s*. Raises: PortLostError: the port is gone.
        """
        self._port.write(b"\r\n")
        self.drain(_QUIET_S, limit_s=limit_s)

    def drain(self, quiet_s: float, *, limit_s: float = 2.0) -> None:
        """Drop what comes until nothing has come for *quiet_s*. Raises: PortLostError: the port is gone."""
        deadline = self._monotonic() + limit_s
        while self._monotonic() < deadline and self._port.read(quiet_s):
            pass
        self._buffer = LineBuffer()
        self._unsolicited.clear()
        self._received.clear()

    def abandon(self) -> None:
        """Give up a payload that will not be completed, so that it cannot swallow what comes next."""
        self._parse(self._buffer.abandon())

    def fill_data_entry(self) -> None:
        """Feed a module that still waits for the payload of a broken SKSENDTO as many bytes as it can want.

        Source: command reference 4.7: data entry lasts until DATALEN (at most 1232) bytes have come.
        Raises: PortLostError: the port is gone.
        """
        self._port.write(b"\r\n" * 616)

    def ask_raw(self, question: bytes, *, timeout_s: float) -> bytes:
        """Send bytes that are no SK command and return what comes back before it is quiet again.

        Raises: PortLostError: the port is gone.
        """
        self._port.write(question)
        reply = self._port.read(timeout_s)
        for _ in range(_MOST_CHUNKS):
            more = self._port.read(_QUIET_S)
            if not more:
                break
            reply += more
        return reply

    def close(self) -> None:
        """Close the port."""
        self._port.close()

    def _completed(self, command: Command, answer: list[Line]) -> bool:
        """Sort what has come, up to the end of the answer to *command*; False if that is still awaited."""
        while self._received:
            if self._sort(self._received.popleft(), command, answer):
                return True
        return False

    def _sort(self, line: Line, command: Command, answer: list[Line]) -> bool:
        """Put *line* where it belongs; True when it completes the answer to *command*."""
        if isinstance(line, StatusOk):
            if line.value is not None:
                answer.append(line)
            return command.has_status
        if isinstance(line, StatusFail):
            raise CommandFailedError(str(command), line.code)
        if isinstance(line, _ANSWERS):
            answer.append(line)
            return not command.has_status and isinstance(line, AddressLine)
        self._unsolicited.append(line)
        return False

    def _receive(self, deadline: float) -> bool:
        """Wait for lines until *deadline*; False when it has passed, or the wait was broken off, without any."""
        while True:
            remaining_s = deadline - self._monotonic()
            chunk = self._port.read(max(0.0, remaining_s))
            if not chunk:
                return False
            if self._take(chunk):
                return True
            if remaining_s <= 0:
                return False

    def _take(self, chunk: bytes) -> bool:
        """Parse what a *chunk* completes; True if it brought a line worth keeping."""
        return self._parse(self._buffer.feed(chunk))

    def _parse(self, raw_lines: list[bytes]) -> bool:
        kept = False
        for raw in raw_lines:
            try:
                line = parse_line(raw)
            except MalformedLineError as error:
                self.malformed_lines += 1
                level = logging.WARNING if self.malformed_lines == 1 else logging.DEBUG
                logger.log(level, "skipped a broken line from the module: %s", error)
                continue
            logger.debug("< %r", line)
            if isinstance(line, Echo):
                self.echoes += 1
                continue
            self._received.append(line)
            kept = True
        return kept
