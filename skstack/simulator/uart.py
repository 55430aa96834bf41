"""The serial side of a simulated module: what is due when, what leaves the UART when, and what the host has typed."""

from __future__ import annotations

import heapq
import itertools
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

Action = Callable[[float], object]

_PIECE_END = re.compile(rb"[\r\n ]")
_LENGTH = re.compile(r"[0-9A-Fa-f]{4}")  # of a payload; lower case was seen to be accepted


@dataclass(slots=True)
class Scope:
    """Something that ends, and with it what was planned within it: the module until it restarts, a session."""

    over: bool = False


class Agenda:
    """What will happen, in order of time; what is planned for the same moment keeps its order."""

    def __init__(self) -> None:
        """Start with nothing planned."""
        self._planned: list[tuple[float, int, Action, Scope | None]] = []
        self._number = itertools.count()

    def plan(self, at: float, action: Action, within: Scope | None = None) -> None:
        """Call *action* with its time once *at* has come, unless *within* is over by then."""
        heapq.heappush(self._planned, (at, next(self._number), action, within))

    def run(self, until: float) -> None:
        """Do everything due by *until*, also what that itself plans."""
        while self._planned and self._planned[0][0] <= until:
            at, _, action, within = heapq.heappop(self._planned)
            if within is None or not within.over:
                action(at)

    def next_at(self) -> float | None:
        """Return when the next action is due."""
        return self._planned[0][0] if self._planned else None


class Outlet:
    """Bytes on their way out of the UART: a line leaves when its last byte has."""

    def __init__(self, byte_s: float) -> None:
        """Take *byte_s* seconds for each byte."""
        self._byte_s = byte_s
        self._free_at = 0.0
        self._waiting: deque[tuple[float, bytes]] = deque()

    def put(self, text: bytes, at: float) -> float:
        """Queue *text* at *at* behind what is still leaving; return when it will have left."""
        self._free_at = max(self._free_at, at) + len(text) * self._byte_s
        self._waiting.append((self._free_at, text))
        return self._free_at

    def take(self, at: float) -> bytes:
        """Return what has left by *at*, in order."""
        left = []
        while self._waiting and self._waiting[0][0] <= at:
            left.append(self._waiting.popleft()[1])
        return b"".join(left)

    def next_at(self) -> float | None:
        """Return when the next line will have left."""
        return self._waiting[0][0] if self._waiting else None


@dataclass(frozen=True, slots=True)
class TypedCommand:
    """One command as typed: its words, and the payload where it is an SKSENDTO."""

    words: tuple[str, ...]
    payload: bytes | None = None


class CommandReader:
    """Cuts the host's bytes into commands, and gives the echo of each byte.

    A command ends at CR; an LF right after it belongs to it. SKSENDTO ends with its length and a space: as many raw
    bytes follow as it announced, whatever they are. If the host sends fewer, its next command is swallowed.
    Source: BP35A1 command reference 4.7.
    """

    def __init__(self, send_words: int, *, echoes_payload: bool) -> None:
        """Expect *send_words* words before the payload of an SKSENDTO, itself counted."""
        self._send_words = send_words
        self._echoes_payload = echoes_payload
        self._inbox = bytearray()
        self._line = bytearray()
        self._header: tuple[str, ...] = ()
        self._payload = bytearray()
        self._missing = 0
        self._after_cr = False

    def feed(self, typed: bytes) -> None:
        """Take bytes from the host; they wait here while the module is busy."""
        self._inbox += typed

    def forget(self) -> None:
        """Lose everything typed so far, as a restart does."""
        self._inbox.clear()
        self._line.clear()
        self._payload.clear()
        self._missing = 0

    @property
    def idle(self) -> bool:
        """True if nothing typed is waiting to be read."""
        return not self._inbox

    def next(self) -> tuple[bytes, TypedCommand | None]:
        """Return the echo of what was read, and the command it completed, if any."""
        echo = bytearray()
        while self._inbox:
            if self._missing:
                if self._read_payload(echo):
                    return bytes(echo), self._complete(self._header, bytes(self._payload))
                continue
            found = _PIECE_END.search(self._inbox)
            piece = self._take(found.end() if found else len(self._inbox))
            if piece == b"\n" and self._after_cr:
                self._after_cr = False
                continue
            self._after_cr = piece.endswith(b"\r")
            self._line += piece
            if self._after_cr:
                echo += piece + b"\n"
                return bytes(echo), self._complete(tuple(self._line.decode("latin-1").split()), None)
            echo += piece
            if piece.endswith(b" ") and self._begins_payload(echo):
                return bytes(echo), self._complete(self._header, b"")
        return bytes(echo), None

    def _take(self, count: int) -> bytes:
        """Remove up to *count* bytes from the inbox and return them."""
        taken = bytes(self._inbox[:count])
        del self._inbox[:count]
        return taken

    def _complete(self, words: tuple[str, ...], payload: bytes | None) -> TypedCommand:
        self._line.clear()
        self._payload.clear()
        return TypedCommand(words, payload)

    def _begins_payload(self, echo: bytearray) -> bool:
        """Look for a whole SKSENDTO header; return True if it announces no payload at all."""
        if not self._line.startswith(b"SKSENDTO "):
            return False
        words = tuple(self._line.decode("latin-1").split())
        if len(words) != self._send_words:
            return False
        self._header = words
        # An unreadable length announces nothing: the module refuses the header, and takes the payload for commands.
        self._missing = int(words[-1], 16) if _LENGTH.fullmatch(words[-1]) else 0
        if not self._echoes_payload:
            echo += b"\r\n"
        return self._missing == 0

    def _read_payload(self, echo: bytearray) -> bool:
        """Take payload bytes from the inbox; return True when all have come."""
        taken = self._take(self._missing)
        self._payload += taken
        self._missing -= len(taken)
        if self._echoes_payload:
            echo += taken if self._missing else taken + b"\r\n"
        return not self._missing
