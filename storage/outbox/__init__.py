"""The outbox: rounds on disk, in SQLite, until PostgreSQL has them."""

from storage.outbox.file import Rejected, utc_now
from storage.outbox.outbox import FILE_NAME, Batch, Outbox

__all__ = ["FILE_NAME", "Batch", "Outbox", "Rejected", "utc_now"]
