"""The documents as the tests read them: blocks, sections, tables, code spans."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGLISH = ROOT / "README.md"
JAPANESE = ROOT / "docs" / "ja" / "README.md"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
READMES = [ENGLISH, JAPANESE]

both_languages = pytest.mark.parametrize("readme", READMES, ids=["en", "ja"])


def beside(readme: Path, name: str) -> Path:
    """Return the document of that name in the language of *readme*."""
    return (ROOT / "docs" if readme == ENGLISH else JAPANESE.parent) / name


def blocks(path: Path, language: str) -> list[str]:
    """Return the fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def prose(path: Path) -> str:
    """Return a document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def section(path: Path, *words: str) -> str:
    """Return what stands under the one heading that has all the *words*, up to the next heading of its level."""
    text = prose(path)
    found = [
        heading
        for heading in re.finditer(r"^(#+) (.*)$", text, re.MULTILINE)
        if all(word in heading[2] for word in words)
    ]
    assert len(found) == 1, (path.name, words)
    rest = text[found[0].end() :]
    following = re.search(rf"^#{{1,{len(found[0][1])}}} ", rest, re.MULTILINE)
    return rest[: following.start()] if following else rest


def rows(text: str) -> list[list[str]]:
    """Return the rows of every table, but for the headings and the rules below them."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    tables = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    rules = [number for number, row in enumerate(tables) if set("".join(row)) <= set("- :")]
    return [row for number, row in enumerate(tables) if number not in rules and number + 1 not in rules]


def code(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def section_named(path: Path, heading: str) -> str:
    """Return what stands under the heading that is exactly *heading*."""
    parts = re.split(r"^## (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[heading]
