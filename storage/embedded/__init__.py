"""The embedded server: a PostgreSQL of the household's own, where no other is set."""

from storage.embedded.server import EmbeddedServer

__all__ = ["EmbeddedServer"]
