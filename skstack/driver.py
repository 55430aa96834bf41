"""The blocking driver: one command, its response, one deadline. One thread, no policy.

Lines that respond to no command (events, datagrams, scan results) are kept in order and returned by receive.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

from backoff import Backoff
from skstack.commands import Command, ResponseT
from skstack.errors import CommandFailedError, MalformedLineError, SkStackTimeoutError, StoppedError
from skstack.events import Dialect, Echo, Line, StatusFail, StatusOk
from skstack.lines import LineBuffer
from skstack.parser import parse_line, shown
from skstack.port import Port

logger = logging.getLogger(__name__)

_ResultT = TypeVar("_ResultT")

Waiting = Generator[float, Line | None, _ResultT]
"""What waits for lines: it yields the monotonic time until which it waits, and is sent the line that came, or None."""

COMMAND_TIMEOUT_S = 3.0  # in the logs no response but that of SKRESET took more than 0.34 s
_QUIET_S = 0.2  # longer than any gap seen within the output of a module
_MOST_CHUNKS = 64  # a device that never stops talking must not hold us for ever
_GARBLED_PAUSE_S, _LONGEST_GARBLED_PAUSE_S = 0.05, 0.8


class SkStack:
    """SK commands over a *port*. Every wait ends with StoppedError as soon as *should_stop* says so.

    *written_at*: when the last command was written (monotonic). *echoes* counts the echoes of our own commands: after
    the echo was switched off, one more means that the module has restarted.
    """

    def __init__(
        self,
        port: Port,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._port = port
        self._monotonic = monotonic
        self._should_stop = should_stop
        self._buffer = LineBuffer()
        self._unsolicited: deque[Line] = deque()  # in order of arrival; part of no response
        self._has_warned = False
        self.written_at = 0.0
        self.echoes = 0

    def execute(self, command: Command[ResponseT], *, timeout_s: float = COMMAND_TIMEOUT_S) -> ResponseT:
        """Send *command* and return its response; repeat it if the module received it garbled (ER09).

        A datagram is not repeated over what came meanwhile: whoever receives that decides.

        What came before the command was written never answers it. Events and datagrams are left for receive, and
        however many come, they do not extend the wait.
        Raises: CommandFailedError: the module responded FAIL. SkStackTimeoutError: no response within *timeout_s*.
            PortLostError: the port is gone. StoppedError.
        """
        deadline = self._monotonic() + timeout_s
        backoff: Backoff | None = None
        while True:
            try:
                return self._attempt(command, deadline)
            except CommandFailedError as error:
                backoff = backoff or Backoff(_GARBLED_PAUSE_S, _LONGEST_GARBLED_PAUSE_S)
                again_at = self._monotonic() + backoff.failed()
                if error.code != "ER09" or again_at >= deadline:
                    raise
                while self._monotonic() < again_at:
                    self._unsolicited.extend(self._receive(again_at))
                if command.payload is not None and self._unsolicited:
                    raise  # an EVENT 29 or 32 among them forbids sending

    def receive(self, timeout_s: float) -> Line | None:
        """Return the next line that responds to no command, waiting up to *timeout_s*; None when none came.

        Raises: PortLostError: the port is gone. StoppedError.
        """
        if not self._unsolicited:
            self._unsolicited.extend(self._receive(self._monotonic() + timeout_s))
        return self._unsolicited.popleft() if self._unsolicited else None

    def collect(self) -> int:
        """Take in what has already arrived, without waiting; return how many lines are ready for receive.

        Raises: PortLostError: the port is gone. StoppedError.
        """
        for _ in range(_MOST_CHUNKS):
            chunk = self._read(0.0)
            if not chunk:
                break
            self._unsolicited.extend(self._parse(self._buffer.feed(chunk)))
        return len(self._unsolicited)

    def synchronise(self, *, limit_s: float = 2.0) -> None:
        """End a half-typed command and wait until the module is quiet; what it says meanwhile is dropped.

        A device that is never quiet costs *limit_s*. Raises: PortLostError: the port is gone. StoppedError.
        """
        self._port.write(b"\r\n")
        self.drain(_QUIET_S, limit_s=limit_s)

    def drain(self, quiet_s: float, *, limit_s: float = 2.0) -> None:
        """Drop what comes until nothing has come for *quiet_s*. Raises: PortLostError, StoppedError."""
        deadline = self._monotonic() + limit_s
        while self._monotonic() < deadline and self._read(quiet_s):
            pass
        self._buffer = LineBuffer()
        self._unsolicited.clear()

    def fill_data_entry(self) -> None:
        """Feed a module that still waits for the payload of a broken SKSENDTO as many bytes as it can want.

        Source: command reference 4.7: data entry lasts until DATALEN (at most 1232) bytes have come.
        Raises: PortLostError: the port is gone.
        """
        self._port.write(b"\r\n" * 616)

    def exchange_raw(self, request: bytes, *, timeout_s: float) -> bytes:
        """Send bytes that are no SK command and return what comes within *timeout_s*, up to the first quiet moment.

        Raises: PortLostError: the port is gone. StoppedError.
        """
        self._port.write(request)
        deadline = self._monotonic() + timeout_s
        received = self._read(timeout_s)
        while (remaining_s := deadline - self._monotonic()) > 0:
            more = self._read(min(_QUIET_S, remaining_s))
            if not more:
                break
            received += more
        return received

    def close(self) -> None:
        """Close the port."""
        self._port.close()

    def _attempt(self, command: Command[ResponseT], deadline: float) -> ResponseT:
        """Send *command* once and return its response. Raises: as execute."""
        self.collect()
        logger.debug("> %s", command)
        started = self.written_at = self._monotonic()
        self._port.write(command.to_bytes())
        response: ResponseT | None = None
        while True:
            is_over = self._monotonic() >= deadline
            # A payload that declared too much may have swallowed the response.
            lines = iter(self._parse(self._buffer.abandon()) if is_over else self._receive(deadline))
            for line in lines:
                if isinstance(line, command.response):
                    response = line
                elif isinstance(line, StatusFail):
                    self._unsolicited.extend(lines)
                    raise CommandFailedError(str(command._replace(payload=None)), line.code)  # its TID is new each time
                elif not isinstance(line, StatusOk):
                    self._unsolicited.append(line)
                if response is not None and isinstance(line, StatusOk):
                    self._unsolicited.extend(lines)
                    return response
            if is_over:
                raise SkStackTimeoutError(f"response to {command.name}", self._monotonic() - started)

    def _receive(self, deadline: float) -> list[Line]:
        """Wait for lines until *deadline*; none when it has passed, or the wait was cut short."""
        while True:
            remaining_s = deadline - self._monotonic()
            chunk = self._read(max(0.0, remaining_s))
            if not chunk:
                return []
            lines = self._parse(self._buffer.feed(chunk))
            if lines or remaining_s <= 0:
                return lines

    def _read(self, timeout_s: float) -> bytes:
        """Read from the port; every wait passes here. Raises: StoppedError, PortLostError."""
        if self._should_stop():
            raise StoppedError
        return self._port.read(timeout_s)

    def _parse(self, raw_lines: list[bytes]) -> list[Line]:
        """Return what the lines say, but for those that are broken, and echoes."""
        lines: list[Line] = []
        is_debugging = logger.isEnabledFor(logging.DEBUG)
        for raw in raw_lines:
            try:
                line = parse_line(raw)
            except MalformedLineError as error:
                logger.log(
                    logging.DEBUG if self._has_warned else logging.WARNING,
                    "skipped a broken line from the module: %s",
                    error,
                )
                self._has_warned = True
                continue
            if is_debugging:
                logger.debug("< %s", shown(raw, line))
            if isinstance(line, Echo):
                self.echoes += 1
            else:
                lines.append(line)
        return lines


@dataclass(frozen=True, slots=True)
class Module:
    """A module that is ready to scan and join: its driver, and what it reported of itself when it was set up."""

    stack: SkStack
    dialect: Dialect
    mac: bytes
    firmware: str | None
    baud_rate: int
