"""The way into PostgreSQL: the outbox on disk, the delivery, the database, and the embedded server."""
