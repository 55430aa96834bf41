"""What every error of ours has in common: it says what is wrong, and what to do about it.

As script.py, this must be readable by whatever Python starts a script.
"""

from __future__ import annotations


class ExplainedError(Exception):
    """A script that it ends says it in a line or two.

    *what* went wrong; *remedy*: what the household can do about it, empty where that is nothing, or *what* says it.
    Both are for people.
    """

    exit_code = 1  # of that script

    def __init__(self, what: str, remedy: str = "") -> None:
        """Show both, as "what: remedy"."""
        super().__init__(f"{what}: {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy


class UsageError(ExplainedError):
    """Wrong usage or settings."""

    exit_code = 2
