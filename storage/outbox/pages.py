"""Rounds looked for in the bytes of a file of the outbox and of its log, where SQLite finds no way to them.

One flipped bit in the first page hides all rounds from it, and one in the log all those behind it. But a round whose
checksum fits is right wherever it stands.

Source: SQLite, "Database File Format", 1.6 (pages), 2.1 (records) and 4 (the write-ahead log).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

# A round in a page: its number, the types of its columns (none, a text, an integer), and then these. A number is groups
# of seven bits, all but the last with the high bit.
_CELL = re.compile(
    rb"(?P<number>[\x80-\xff]{,8}[\x00-\x7f])[\x04-\x06]\x00"
    rb"(?P<text>[\x80-\xff]{,2}[\x00-\x7f])(?P<integer>[\x01-\x05])(?=\[\[)"
)
_BYTES_OF_INTEGER = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6}

_LOG_HEADER, _FRAME_HEADER = 32, 24
_LITTLE_ENDIAN = 0x377F0682  # the sums of the log; else 0x377F0683


def rounds_in(path: Path) -> Sequence[tuple[int, str]]:
    """Give number and text of the rounds in a file and its log, in order.

    Not found are those of more than a page. What was taken out lately may be: to deliver it twice is harmless.
    Raises: OSError.
    """
    return sorted(_rounds_in(_bytes_of(path)) | _rounds_in(_bytes_of(_log_of(path))))


def lost_in_log(path: Path) -> Sequence[tuple[int, str]]:
    """Give number and text of the rounds in a log that SQLite will not read to its end; none where it will.

    To be called before SQLite opens the file. Raises: OSError.
    """
    log = _bytes_of(_log_of(path))
    return [] if _is_whole(log) else sorted(_rounds_in(log))


def _log_of(path: Path) -> Path:
    return Path(f"{path}-wal")


def _bytes_of(path: Path) -> bytes:
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


def _rounds_in(pages: bytes) -> set[tuple[int, str]]:
    found = set()
    for cell in _CELL.finditer(pages):
        end = cell.end() + (_number(cell["text"]) - 13) // 2  # 13 and 2 for each byte stand for a text
        body, checksum = pages[cell.end() : end], pages[end : end + _BYTES_OF_INTEGER[cell["integer"][0]]]
        if zlib.crc32(body) == int.from_bytes(checksum):
            found.add((_number(cell["number"]), body.decode("ascii", "replace")))
    return found


def _number(groups: bytes) -> int:
    number = 0
    for group in groups:
        number = number << 7 | group & 0x7F
    return number


def _is_whole(log: bytes) -> bool:
    """Whether the sums of a log fit, up to where frames begin that an earlier use of it left."""
    if len(log) < _LOG_HEADER:
        return True
    magic, _version, page_bytes = struct.unpack_from(">3I", log)
    order = "<" if magic == _LITTLE_ENDIAN else ">"
    sums = _sums(order, log[:24], (0, 0))
    if sums != struct.unpack_from(">2I", log, 24):
        return False
    starts = range(_LOG_HEADER, len(log) - _FRAME_HEADER - page_bytes + 1, _FRAME_HEADER + page_bytes)
    salts = log[16:24]
    ours = [log[start + 8 : start + 16] == salts for start in starts]
    for start in starts[: sum(ours)]:
        page = start + _FRAME_HEADER
        sums = _sums(order, log[start : start + 8] + log[page : page + page_bytes], sums)
        if sums != struct.unpack_from(">2I", log, start + 16):
            return False
    return all(ours[: sum(ours)])


def _sums(order: str, content: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    one, other = sums
    words = iter(struct.unpack(f"{order}{len(content) // 4}I", content))
    for word in words:
        one = (one + word + other) & 0xFFFFFFFF
        other = (other + next(words) + one) & 0xFFFFFFFF
    return one, other
