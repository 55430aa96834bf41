"""The record: PostgreSQL, the local spool in front of it, and the embedded server."""
