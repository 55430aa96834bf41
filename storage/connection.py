"""Connections to PostgreSQL: bounded in their waits, and silent about the url.

One wait has no end: that for a server process that is there and does not run (stopped by a signal, or stuck in its
disk) while a statement is under way. The timeouts of statements and locks are the server's own, and the kernel at the
other end goes on acknowledging; over a Unix socket there is nothing to acknowledge. So nobody who must go on waits for
a query: the Store gives its worker a time limit, and Database.close() leaves a connection in use alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from storage.errors import DatabaseAwayError

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class with a lower-case name

APPLICATION_NAME = "power-consumption"
CONNECT_TIMEOUT_S = 5  # an SD card that replays its log takes longer: then it is simply tried again
STATEMENT_TIMEOUT_S = 10  # a batch of the spool takes well under one second
LOCK_TIMEOUT_S = 5
# A peer that vanished without a word (power cut, pulled cable) is noticed within idle + interval x count = 30 s.
KEEPALIVES_IDLE_S, KEEPALIVES_INTERVAL_S, KEEPALIVES_COUNT = 15, 5, 3
TCP_USER_TIMEOUT_S = 15  # the same for what was sent and is not acknowledged


def connect(url: str) -> Connection:
    """Connect to *url* with bounded waits. What the url itself says of a setting of libpq goes first.

    Raises: DatabaseAwayError: no answer, or the server refuses; the text never shows the url.
    """
    parts = _parts(url)
    if parts is None:
        raise DatabaseAwayError(
            "the database url cannot be read: expected postgresql://user@host/database, "
            "with signs like @ : / % in a password as %40 %3A %2F %25"
        )
    settings: dict[str, Any] = {
        "application_name": APPLICATION_NAME,
        "connect_timeout": CONNECT_TIMEOUT_S,
        "keepalives_idle": KEEPALIVES_IDLE_S,
        "keepalives_interval": KEEPALIVES_INTERVAL_S,
        "keepalives_count": KEEPALIVES_COUNT,
        "tcp_user_timeout": TCP_USER_TIMEOUT_S * 1000,
    }
    try:
        connection = psycopg2.connect(make_dsn(**{**settings, **parts}))
        connection.set_client_encoding("UTF8")  # a database in another encoding converts, or refuses a text of a row
        # Not as a start-up option: poolers between us and the server refuse those.
        with connection, connection.cursor() as cursor:
            cursor.execute("select set_config('statement_timeout', %s, false)", (f"{STATEMENT_TIMEOUT_S}s",))
            cursor.execute("select set_config('lock_timeout', %s, false)", (f"{LOCK_TIMEOUT_S}s",))
    except psycopg2.Error as err:
        reason = one_line(err)
        if password := parts.get("password"):
            reason = reason.replace(password, "****")
        raise DatabaseAwayError(f"cannot connect to {masked_url(url)}: {reason}") from None
    return connection


def masked_url(url: str) -> str:
    """Show where *url* leads and as whom, and nothing else of it: no password, no path of a key."""
    parts = _parts(url)
    if parts is None:
        return "postgresql://****"
    user = f"{quote(parts['user'])}@" if "user" in parts else ""
    host, port, database = parts.get("host", ""), parts.get("port", ""), quote(parts.get("dbname", ""))
    if host.startswith("/"):  # a socket directory cannot stand where a host name does
        return f"postgresql://{user}/{database}?host={quote(host)}{f'&port={port}' if port else ''}"
    return f"postgresql://{user}{host}{f':{port}' if port else ''}/{database}"


def _parts(url: str) -> dict[str, str] | None:
    """Take *url* apart; None where libpq cannot, or would take a piece of the password for the host or the port."""
    try:
        parts = parse_dsn(url)
    except psycopg2.ProgrammingError:  # its text quotes what it stumbled over
        return None
    misread = "@" in parts.get("host", "") + parts.get("dbname", "") or parts.get("port", "").strip("0123456789,")
    return None if misread else parts


def one_line(err: Exception) -> str:
    """Give the first line of what libpq or the server said; the others quote statements and rows."""
    return str(err).strip().split("\n", 1)[0]
