"""The published conversations of tests/data/transcripts, as bytes on the wire."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DIRECTORY = Path(__file__).parents[1] / "data" / "transcripts"

# Letters that authors wrote instead of their own digits. Keywords are left alone.
_REDACTED = {"38": str.maketrans("X", "1"), "52": str.maketrans("GHIJXY", "111111")}


@dataclass(frozen=True)
class Transcript:
    """One conversation; *lines* is what the module printed, without the empty lines."""

    name: str
    wire: bytes
    lines: tuple[bytes, ...]
    published: dict[str, Any]

    def __str__(self) -> str:
        return self.name


def _load(path: Path) -> Transcript:
    content = json.loads(path.read_text(encoding="utf-8"))
    encoding = "latin-1" if content.get("encoding", "").startswith("latin-1") else "utf-8"
    wire = b""
    lines = []
    for who, text in content["exchange"]:
        if who != "module":
            continue
        keyword, space, fields = text.partition(" ")
        if path.name[:2] in _REDACTED and space:
            text = keyword + space + fields.translate(_REDACTED[path.name[:2]])
        elif path.name.startswith("38"):
            text = text.replace("XXXX", "1111")  # a bare address
        line = text.encode(encoding)
        wire += line if line.endswith(b"\r") else line + b"\r\n"
        if line.rstrip(b"\r"):
            lines.append(line.removesuffix(b"\r"))
    return Transcript(path.stem, wire, tuple(lines), content)


TRANSCRIPTS = [_load(path) for path in sorted(_DIRECTORY.glob("*.json"))]
BY_NUMBER = {transcript.name[:2]: transcript for transcript in TRANSCRIPTS}
