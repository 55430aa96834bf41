"""The log of the poller: to standard error, in the form that its reader wants."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import TextIO

# Source: sd-daemon(3): a line that begins with <n> has the syslog priority n.
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class JournalFormatter(logging.Formatter):
    """Begins each line with its priority; the journal has the time itself."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as lines for the journal, of a traceback each with the priority."""
        priority = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(priority + line for line in super().format(record).splitlines())


def configure(*, verbose: bool, stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> None:
    """Log to *stream* (standard error), for the journal where systemd says so, else with the time for a person."""
    handler = logging.StreamHandler(stream or sys.stderr)
    if "JOURNAL_STREAM" in environ:
        handler.setFormatter(JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
