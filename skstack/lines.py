"""Bytes from the serial port to complete lines, whatever the module puts into them.

A line ends at CR; the LF that usually follows, or a lone LF, only ends an empty line, and empty lines are dropped.
Two lines carry a payload that may hold CR, LF and spaces: ERXUDP (where the module prints binary, WOPT bit 0 clear) and
the echo of SKSENDTO. There the declared length decides, never the module's settings.
"""

from __future__ import annotations

import re

MAX_PAYLOAD_BYTES = 1232
"""The longest datagram a module sends or prints. Source: BP35Cx-J11 UART interface specification; two SK clients."""

TRUNCATED = b"\x18CUT"
"""Ends a line that was longer than the buffer allows (0x18 is ASCII CANCEL). No line of a module ends so."""

# Everything up to and with the space before the payload. Six to nine tokens stand between ERXUDP and DATALEN: two
# addresses, two ports, the MAC, then [LQI] SECURED [SIDE] - and one stray token more in a published capture. The first
# token of exactly four hex digits after the sixth is DATALEN. Source: BP35A1 command reference 5.1.
_RECEIVED_HEADER = re.compile(rb"ERXUDP (?:[^ ]+ ){6,9}?([0-9A-Fa-f]{4}) ")
# SKSENDTO <handle> <address> <port> <sec> [side] <DATALEN> <data>. Source: BP35A1 command reference 4.7.
_ECHO_HEADER = re.compile(rb"SKSENDTO [0-9A-Fa-f]+ [0-9A-Fa-f:]+ [0-9A-Fa-f]{4} \d (?:\d )?([0-9A-Fa-f]{4}) ")
# What shows, inside a binary payload, that bytes were lost and the next line has begun.
_NEXT_LINE = re.compile(
    rb"\r\n(?:(?:EVENT|ERXUDP|ERXTCP|EINFO|ESREG|EVER|EAPPVER|EPONG|ETCP) "
    rb"|(?:EPANDESC|EADDR|ENEIGHBOR|EEDSCAN|EHANDLE|EPORT)\r|OK(?: [0-9A-F]{2})?\r|FAIL )"
)
_LINE_END = re.compile(rb"[\r\n]")
_HEX_DIGITS = b"0123456789ABCDEFabcdef"
_CR = 0x0D


def payload_span(line: bytes) -> tuple[int, int] | None:
    """Return where the payload of an ERXUDP line or SKSENDTO echo starts in *line*, and its declared length in bytes.

    None where *line* has no whole header, or declares more than any datagram can hold.
    """
    # An echo may be glued before an ERXUDP, never the other way round: ERXUDP goes first.
    header = _RECEIVED_HEADER.search(line) or _ECHO_HEADER.search(line)
    if header is None:
        return None
    length = int(header[1], 16)
    return (header.end(), length) if length <= MAX_PAYLOAD_BYTES else None


class LineBuffer:
    """Collects what the port delivers and gives back whole lines, without their terminator.

    The result does not depend on how the bytes were cut into chunks, and no more than max_line_bytes are held between
    two calls.
    """

    def __init__(self, max_line_bytes: int = 4096) -> None:
        if max_line_bytes <= len(TRUNCATED):
            raise ValueError(f"max_line_bytes must be more than {len(TRUNCATED)}")
        self._max_line_bytes = max_line_bytes
        self._held = b""
        self._dropping = False  # the rest of a line that was too long is still coming
        self._given_up = False  # the payload of the line under way was abandoned: its next line end is the end

    @property
    def pending(self) -> int:
        """Number of bytes held back until more come."""
        return len(self._held)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines completed by *data*, without their terminator; keep the rest.

        A line over max_line_bytes comes out cut, with TRUNCATED at its end, and input is dropped up to the next line
        end. A payload whose declared length proves wrong ends at its first CR, and what follows is read as lines.
        """
        held = self._held + data
        lines: list[bytes] = []
        done = self._end_of_dropped(held) if self._dropping else 0
        start = following = 0
        for piece in held.splitlines(keepends=True):
            start, following = following, following + len(piece)
            line = piece.rstrip(b"\r\n")
            if start < done or not line:  # within a payload, or an empty line
                continue
            if len(line) == len(piece):
                break
            if (b"ERXUDP " in line or b"SKSENDTO " in line) and not self._given_up:
                done = self._payload_line_end(held, start, start + len(line))
                if done < 0:  # the payload is not complete
                    break
                line = held[start:done]
            lines.append(line if len(line) <= self._max_line_bytes else self._cut(line))
            self._given_up = False
        else:
            start = following
        self._held = held[start:]
        if len(self._held) > self._max_line_bytes:
            lines.append(self._cut(self._held))
            self._held = b""
            self._dropping = True
            self._given_up = False
        return lines

    def abandon(self) -> list[bytes]:
        """Stop waiting for a payload: read what is held as plain lines, return the whole ones, keep the last part.

        For a caller whose response did not come in time: a wrong length may have swallowed it.
        """
        *lines, self._held = _LINE_END.split(self._held)
        self._given_up = payload_span(self._held) is not None
        return [line for line in lines if line]

    def _payload_line_end(self, held: bytes, start: int, first_end: int) -> int:
        """Return where the line from *start* ends if it has a payload, -1 if that cannot be known yet.

        *first_end* is the first CR or LF, which may belong to the payload.
        """
        line = held[start:first_end]
        span = payload_span(line)
        if span is None:
            return first_end
        offset, length = span
        payload_end = start + offset + length
        if payload_end - start > self._max_line_bytes:
            return first_end
        if held[first_end] == _CR and not line[offset:].strip(_HEX_DIGITS):  # hex text, or no payload at all
            return first_end
        # The search takes in the terminator: a payload that is four bytes short and ends in "OK" must not pass.
        if (next_line := _NEXT_LINE.search(held, start + offset, payload_end + 1)) is not None:
            return next_line.start()
        if len(held) <= payload_end:
            return -1
        return payload_end if held[payload_end] == _CR else first_end

    def _cut(self, line: bytes) -> bytes:
        """Return as much of *line* as is allowed, marked."""
        return line[: self._max_line_bytes - len(TRUNCATED)] + TRUNCATED

    def _end_of_dropped(self, data: bytes) -> int:
        """Return where the line that is being dropped ends in *data*."""
        found = _LINE_END.search(data)
        self._dropping = found is None
        return found.start() if found else len(data)
