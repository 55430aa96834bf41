"""Connections to PostgreSQL: every wait has an end and knows of the stop, and the url is never shown with a secret.

psycopg2 hands each wait to us (its "green" mode), so that nothing blocks in C: a server that stops responding in
the middle of a statement costs no more than the deadline, and a stop need not wait for it at all.
Source: psycopg2 documentation, "Support for coroutine libraries".
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg2
import psycopg2.extensions
from psycopg2.extensions import make_dsn, parse_dsn

from storage.errors import DatabaseUnreachableError, UnreadableUrlError
from storage.remedies import remedy_for

Cursor = psycopg2.extensions.cursor  # a class, with a lower-case name
APPLICATION_NAME = "power-consumption"
CONNECT_TIMEOUT_S = 5  # for each address. An SD card that replays its log takes longer: then it is simply tried again
STATEMENT_TIMEOUT_S = 10  # a batch of rounds takes well under one second
LOCK_TIMEOUT_S = 5
RESPONSE_TIMEOUT_S = STATEMENT_TIMEOUT_S + 5.0  # the server says by itself that a statement takes too long
# A peer that vanished without a word (power cut, pulled cable) is noticed within idle + interval x count = 30 s.
KEEPALIVES_IDLE_S, KEEPALIVES_INTERVAL_S, KEEPALIVES_COUNT = 15, 5, 3
TCP_USER_TIMEOUT_S = 15  # the same for what was sent and is not acknowledged
_LONGEST_WAIT_S = 3600.0  # of one call of select
_SECRETS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
_SHORTEST_SECRET = 6  # characters; a shorter one stands in other words
_NO_WORD = 12  # characters; no word in libpq's messages is as long


def limits(*, statement_timeout_s: int = STATEMENT_TIMEOUT_S) -> str:
    """Return SQL that bounds what the server does in the transaction that it begins; to be put before statements."""
    # Local to the transaction: a pooler hands the connection on to others. Not as a start-up option: poolers refuse it.
    return (
        f"select set_config('statement_timeout', '{statement_timeout_s}s', true),"
        f" set_config('lock_timeout', '{LOCK_TIMEOUT_S}s', true); "
    )


class Connection(psycopg2.extensions.connection):
    """A connection whose waits end. *response_timeout_s* is the most that one statement may take.

    While it waits it calls *on_wake* whenever *wake_fd* becomes readable; whatever that raises ends the connection.
    """

    response_timeout_s = RESPONSE_TIMEOUT_S
    wake_fd: int | None = None
    on_wake: Callable[[], None] | None = None


class ReadingCursor(psycopg2.extensions.cursor):
    """Makes each statement a read-only transaction of its own, bounded in time: nothing stays open between them.

    For a connection in autocommit.
    """

    statement_timeout_s = 300  # ten years on an SD card take their time

    def execute(self, query: Any, vars: Any = None) -> None:
        """Execute *query*, a text."""
        bounds = limits(statement_timeout_s=self.statement_timeout_s)
        super().execute(f"{bounds}select set_config('transaction_read_only', 'on', true); {query}", vars)


def connect(url: str) -> Connection:
    """Connect to *url* with bounded waits. A setting of libpq that the url gives overrides ours.

    Each address of each of its hosts is tried in turn, in at most CONNECT_TIMEOUT_S.
    Raises: UnreadableUrlError. DatabaseUnreachableError: no response, or the server refuses; the text never shows a
    secret of the url.
    """
    parts = _parts(url)
    settings: dict[str, Any] = {
        "application_name": APPLICATION_NAME,
        "connect_timeout": CONNECT_TIMEOUT_S,
        "client_encoding": "UTF8",  # a database in another encoding converts, or refuses a text of a row
        "keepalives_idle": KEEPALIVES_IDLE_S,
        "keepalives_interval": KEEPALIVES_INTERVAL_S,
        "keepalives_count": KEEPALIVES_COUNT,
        "tcp_user_timeout": TCP_USER_TIMEOUT_S * 1000,
    }
    psycopg2.extensions.set_wait_callback(_wait)
    reasons: list[str] = []
    for address in _addresses(parts):
        dsn = make_dsn(**{**settings, **parts, **address})
        try:
            return psycopg2.connect(dsn, connection_factory=Connection)
        except psycopg2.Error as err:
            if (reason := one_line(err)) not in reasons:
                reasons.append(reason)
    said = "; ".join(reasons)
    raise DatabaseUnreachableError(
        f"cannot connect to {shown_dsn(url)}: {masked(said, secrets_of(url))}", remedy_for(said)
    )


def masked(text: str, secrets: Iterable[str]) -> str:
    """Hide *secrets* in *text*, whatever their case.

    A short one, or one that may be a word, occurs in innocent text as well: to mask it there would reveal it. It is
    hidden only in quotes, in which libpq names a value.
    """
    for secret in sorted(secrets, key=len, reverse=True):  # one that begins as another does is hidden to its end
        is_word = len(secret) < _NO_WORD and secret.isalpha() and secret.islower()
        quote = '"' if is_word or len(secret) < _SHORTEST_SECRET else ""
        text = re.sub(re.escape(f"{quote}{secret}{quote}"), f"{quote}****{quote}", text, flags=re.IGNORECASE)
    return text


def _wait(connection: psycopg2.extensions.connection) -> None:
    """Wait until psycopg2 has what it waits for. Raises: OperationalError: the deadline has passed."""
    timeout_s, wake_fd, on_wake = float("inf"), None, None  # as psycopg2 itself has it
    if isinstance(connection, Connection):
        timeout_s, wake_fd, on_wake = connection.response_timeout_s, connection.wake_fd, connection.on_wake
    if connection.status == psycopg2.extensions.STATUS_SETUP:
        timeout_s = _connect_timeout_s(connection.dsn)
    deadline = time.monotonic() + timeout_s
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        fd = connection.fileno()
        readers = [fd] if state == psycopg2.extensions.POLL_READ else []
        writers = [fd] if state == psycopg2.extensions.POLL_WRITE else []
        woken = [wake_fd] if wake_fd is not None else []
        remaining_s = deadline - time.monotonic()
        ready = select.select(readers + woken, writers, [], max(0.0, min(remaining_s, _LONGEST_WAIT_S)))
        if on_wake is not None and wake_fd in ready[0]:
            on_wake()
        elif remaining_s <= 0 and not any(ready):
            raise psycopg2.OperationalError(f"no response within {timeout_s:g} s")


def _connect_timeout_s(dsn: str) -> float:
    """Return the timeout in the url, which libpq heeds only when it blocks; its 0 (for ever) means the default here."""
    given = parse_dsn(dsn).get("connect_timeout", "")
    return float(given) if given.isdigit() and int(given) else CONNECT_TIMEOUT_S


def _addresses(parts: Mapping[str, str]) -> Iterator[dict[str, str | None]]:
    """Yield the addresses to try one after the other, as settings of libpq that replace those of the url; None: unset.

    libpq would do so itself, but when it does not block it waits for ever for one that does not respond.
    """
    hosts = parts.get("host", "").split(",")
    ports = parts.get("port", "").split(",")
    if (
        "hostaddr" in parts
        or len(ports) not in (1, len(hosts))
        or parts.get("target_session_attrs") == "prefer-standby"
    ):
        yield {}
        return
    for number, host in enumerate(hosts):
        port = ports[number if len(ports) > 1 else 0]
        for address in _looked_up(host):
            yield {"host": host or None, "port": port or None, "hostaddr": address}


def _looked_up(host: str) -> Sequence[str | None]:
    """Return the addresses of a host; None for a socket directory, or where libpq is to say what is wrong with it."""
    if host and not host.startswith(("/", "@")):
        with suppress(OSError, UnicodeError):
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            return list(dict.fromkeys(str(address[0]) for *_, address in found))
    return [None]


def secrets_of(url: str) -> Sequence[str]:
    """Return what must not be shown of *url*, but for what it shows anyway; nothing where libpq cannot read it."""
    try:
        parts = parse_dsn(url)
    except psycopg2.ProgrammingError:
        return []
    shown = ("", parts.get("user"), parts.get("host"), parts.get("dbname"))
    return [parts[name] for name in _SECRETS if name in parts and parts[name] not in shown]


def shown_dsn(url: str) -> str:
    """Return *url* less its secrets, as psql takes it: where it leads, as whom, and what else libpq knows of it.

    Raises: UnreadableUrlError.
    """
    shown = {name: value for name, value in _parts(url).items() if name not in _SECRETS}
    return make_dsn(**shown) or "postgresql://"


def _parts(url: str) -> dict[str, str]:
    """Take *url* apart.

    Raises: UnreadableUrlError: libpq cannot, or would take a piece of the password for the host or the port.
    """
    with suppress(psycopg2.ProgrammingError):  # its text quotes what it could not parse
        parts = parse_dsn(url)
        misread = "@" in parts.get("host", "").lstrip("@") + parts.get("dbname", "")
        if not misread and all(map(_is_port, parts.get("port", "").split(","))):
            return parts
    raise UnreadableUrlError(
        "the database url cannot be read",
        "write it as postgresql://user@host/database, with signs like @ : / % in a password as %40 %3A %2F %25, and "
        "after a ? nothing but settings of libpq, such as sslmode=require",
    )


def _is_port(text: str) -> bool:
    return not text or (bool(re.fullmatch("[0-9]{1,5}", text)) and 0 < int(text) < 65536)


def one_line(err: Exception) -> str:
    """Return the first line of what libpq or the server said; the others quote statements and rows."""
    return str(err).strip().split("\n", 1)[0]
