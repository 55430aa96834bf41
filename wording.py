"""How what is printed and logged is worded, where several rooms say it alike."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """Say how many there are: 1 round, 2 rounds."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
