"""What can go wrong between us and the database, by who noticed.

StorageError
├── DatabaseUnreachableError  PostgreSQL cannot be reached, or was lost on the way: the rounds wait, try again
│   └── MissingTablesError    PostgreSQL is there, the tables are not: apply init.sql, the rounds wait
├── OutboxError               (also OSError) the outbox cannot be written or read
└── EmbeddedServerError       the embedded server cannot be found, made or started

UnreadableUrlError            (a UsageError) the url of the database is none: no attempt can help
"""

from __future__ import annotations

from errors import ExplainedError, UsageError


class StorageError(ExplainedError):
    """Anything that keeps a round out of the database."""


class DatabaseUnreachableError(StorageError):
    """PostgreSQL does not take what we bring, whatever it is. Keep the round and try again later."""


class MissingTablesError(DatabaseUnreachableError):
    """The database has no tables of ours, or not all. The text holds the command that makes them."""


class OutboxError(StorageError, OSError):
    """A file of the outbox cannot be opened, read or written. The text says why, and what to do."""


class EmbeddedServerError(StorageError):
    """There is no embedded server to be had. The text says why, and what to do."""


class UnreadableUrlError(UsageError):
    """The url of the database cannot be read. The text says how to write it, and shows nothing of it."""
