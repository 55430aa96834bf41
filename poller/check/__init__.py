"""--check: every part looked at once, each with what to do where it fails."""

from poller.check.check import run_check

__all__ = ["run_check"]
