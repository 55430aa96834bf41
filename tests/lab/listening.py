"""Hears what the program logs, at every level, and looks whether it may be said."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from skstack.simulator import TEST_PASSWORD, TEST_ROUTE_B_ID

DATABASE_PASSWORD = "s3cret-of-the-database"


class Listener(logging.Handler):
    """Looks for secrets in every line, at every level."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.found: list[str] = []
        self.lines = 0
        secrets = (TEST_ROUTE_B_ID, TEST_PASSWORD, DATABASE_PASSWORD)
        in_hex = (secret.encode().hex() for secret in secrets)
        self._secrets = [secret.lower() for secret in (*secrets, *in_hex)]

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record).lower()
        self.lines += 1
        if any(secret in line for secret in self._secrets):
            self.found.append(f"a secret is logged by {record.name}: {record.msg}")
        if "a fault of the program" in line or "traceback" in line:
            self.found.append(line)


@contextmanager
def listening() -> Iterator[Listener]:
    """Hear all that is logged meanwhile, debug lines as well, in place of whoever hears it otherwise."""
    listener = Listener()
    loggers = [logging.getLogger(name) for name in ("poller", "sensors", "skstack", "storage")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(listener)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
    try:
        yield listener
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(listener)
            logger.setLevel(level)
            logger.propagate = True
