"""What can go wrong between us and the record, by who noticed.

StorageError
├── DatabaseAwayError       PostgreSQL cannot be reached, or was lost on the way: spool the round, try again
├── MissingTablesError      PostgreSQL is there, the tables are not: apply init.sql
├── RowRefusedError         PostgreSQL will never take this row: set it aside
├── SpoolError              (also OSError) the spool cannot be written or read
│   └── SpoolFullError      no room left on the disk; what is in the spool is kept
└── EmbeddedServerError     the embedded server cannot be found, made or started
"""

from __future__ import annotations

from storage.records import Row


class StorageError(Exception):
    """Anything that keeps a round out of the record."""


class DatabaseAwayError(StorageError):
    """PostgreSQL does not answer, or stopped answering. Keep the round and try again later."""


class MissingTablesError(StorageError):
    """The database has no tables of ours, or not all. The text holds the command that makes them."""


class RowRefusedError(StorageError):
    """PostgreSQL refused this row for what it says. Trying again is of no use; the rest may be fine."""

    def __init__(self, row: Row, reason: str) -> None:
        """Keep the *row* and the *reason* as the server gave it."""
        super().__init__(f"{type(row).__name__} refused: {reason}")
        self.row = row
        self.reason = reason


class SpoolError(StorageError, OSError):
    """The spool file cannot be opened, read or written. The text says why, and what to do."""


class SpoolFullError(SpoolError):
    """The disk is full. What is in the spool is kept; make room."""


class EmbeddedServerError(StorageError):
    """There is no embedded server to be had. The text says why, and what to do."""
