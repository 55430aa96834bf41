"""What can go wrong between us and the record, by who noticed.

StorageError
├── DatabaseAwayError       PostgreSQL cannot be reached, or was lost on the way: spool the round, try again
│   └── MissingTablesError  PostgreSQL is there, the tables are not: apply init.sql, the rounds wait
├── SpoolError              (also OSError) the spool cannot be written or read
│   └── SpoolFullError      no room left on the disk; what is in the spool is kept
└── EmbeddedServerError     the embedded server cannot be found, made or started
"""

from __future__ import annotations


class StorageError(Exception):
    """Anything that keeps a round out of the record."""


class DatabaseAwayError(StorageError):
    """PostgreSQL does not take what we bring, whatever it is. Keep the round and try again later."""


class MissingTablesError(DatabaseAwayError):
    """The database has no tables of ours, or not all. The text holds the command that makes them."""


class SpoolError(StorageError, OSError):
    """The spool file cannot be opened, read or written. The text says why, and what to do."""


class SpoolFullError(SpoolError):
    """The disk is full. What is in the spool is kept; make room."""


class EmbeddedServerError(StorageError):
    """There is no embedded server to be had. The text says why, and what to do."""
