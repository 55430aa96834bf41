"""Each reason of libpq and the server has its own remedy: nobody is sent to a server that runs, for a missing file."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
import pytest

from storage.embedded import EmbeddedServer
from storage.remedies import LAST_ADVICE, remedy_for

# Said by libpq 16 and PostgreSQL 15.18, set up so; less the address at the front.
SAID = [
    ("server does not support SSL, but SSL was required", "sslmode"),
    ('root certificate file "/home/user/.postgresql/root.crt" does not exist', "sslrootcert=FILE"),
    ('weak sslmode "require" may not be used with sslrootcert=system (use "verify-full")', "sslmode=verify-full"),
    ("SSL error: certificate verify failed", "sslrootcert=FILE"),
    ('server certificate for "db.home" does not match host name "127.0.0.1"', "as the server's certificate names it"),
    ("FATAL:  connection requires a valid client certificate", "sslcert=FILE&sslkey=FILE"),
    ("SSL error: tlsv1 alert unknown ca", "sslcert=FILE&sslkey=FILE"),
    ('certificate present, but not private key file "/nowhere"', "sslcert=FILE&sslkey=FILE"),
    ('private key file "/k" has group or world access; file must have permissions u=rw (0600) or less', "chmod 600"),
    ('invalid sslmode value: "foo"', "require, verify-ca or verify-full"),
    (
        'FATAL:  no pg_hba.conf entry for host "10.0.0.7", user "u", database "d", no encryption',
        "sslmode=require",
    ),
    ('FATAL:  no pg_hba.conf entry for host "10.0.0.7", user "u", database "d", SSL encryption', "pg_hba.conf"),
    ('FATAL:  Peer authentication failed for user "power"', "the system user of that name"),
    ('FATAL:  password authentication failed for user "u"', "the right user and password"),
    ("fe_sendauth: no password supplied", "pgpass"),
    ("FATAL:  sorry, too many clients already", "max_connections"),
    ("FATAL:  remaining connection slots are reserved for non-replication superuser connections", "max_connections"),
    ('FATAL:  too many connections for role "few"', "the limit that it names"),
    ('FATAL:  permission denied for database "d"', "grant connect on database"),
    ('FATAL:  role "nobody" does not exist', "createuser"),
    ('FATAL:  database "nodb" does not exist', "createdb"),
    ('could not translate host name "no.such.host" to address: Name or service not known', "correct the host"),
    ('definition of service "none" not found', ".pg_service.conf"),
    ("received invalid response to SSL negotiation: H", "the port"),
    ("FATAL:  the database system is starting up", "wait"),
    ("session is read-only", "the primary server"),
    ("Connection refused", "listen_addresses"),
    ('connection to server on socket "/nowhere/.s.PGSQL.5432" failed: No such file or directory', "its socket"),
    ("timeout expired", "firewall"),
    ('FATAL:  invalid value for parameter "TimeZone": "nowhere"', "PGTZ"),
    ('no partition of relation "power" found for row', "a default one"),
    ('FATAL:  role "power" is not permitted to log in', "alter role NAME login"),
    ('FATAL:  database "d" is not currently accepting connections', "allow_connections true"),
    ("FATAL:  transaction blocks not allowed in statement pooling mode", "pool_mode = transaction"),  # PgBouncer 1.18
    ("FATAL:  no such database: d", "as the pooler does"),
    ('FATAL:  unrecognized configuration parameter "foo"', "PGOPTIONS"),
    ("FATAL:  -c foo requires a value", "PGOPTIONS"),
    ('FATAL:  invalid page in block 0 of relation "base/5/1259"', "restore a backup"),
    ('pg_ctl: error: could not open file "data/global/pg_control" for reading: No such file', "restore a backup"),
    ('pg_ctl: directory "/d/postgresql/data" is not a database cluster directory', "restore a backup"),
    ('PANIC:  could not open file "global/pg_control": Permission denied', "to the user of the server"),  # not damaged
    ('PANIC:  could not fsync file "global/pg_control": No space left on device', "make room"),
    ("local user with ID 4711 does not exist", "/etc/passwd"),  # libpq, of a url without a user
    ("initdb: could not look up effective user ID 4711: user does not exist", "/etc/passwd"),
    ("Read-only file system: '/home/me/.local/share/power-consumption/postgresql/start.lock'", "dmesg"),
    ('could not write file "data.new/PG_VERSION": No space left on device', "make room"),
]


@pytest.mark.parametrize(("reason", "remedy"), SAID)
def test_each_reason_has_its_remedy(reason: str, remedy: str) -> None:
    assert remedy in remedy_for(f'connection to server at "127.0.0.1", port 5432 failed: {reason}')


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("42501", "grant this user its rights"),
        ("57014", "too busy"),
        ("55P03", "a lock on the tables"),
        ("40P01", "a lock on the tables"),
        ("0A000", "as init.sql makes them"),
        ("08006", "is on its way"),
    ],
)
def test_a_code_of_the_server_counts_whatever_its_language(code: str, remedy: str) -> None:
    """Source: PostgreSQL documentation, appendix A, "PostgreSQL Error Codes"."""
    assert remedy in remedy_for("the database system is shutting down", code)


def test_what_nobody_knows_gets_the_last_advice() -> None:
    assert remedy_for("FATAL:  利用者が見つかりません") == LAST_ADVICE


@contextmanager
def listener(answer: bytes) -> Iterator[int]:
    """Give a port on which the request for SSL gets that *answer*, and then the end."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_one() -> None:
            connection, _ = server.accept()
            with connection:
                (length,) = struct.unpack("!I", connection.recv(4))
                connection.recv(length - 4)
                connection.sendall(answer)

        thread = threading.Thread(target=answer_one)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


def reason_of(url: str) -> str:
    with pytest.raises(psycopg2.OperationalError) as caught:
        psycopg2.connect(url)
    return str(caught.value)


def test_this_libpq_says_of_ssl_what_is_expected_of_it() -> None:
    with listener(b"N") as port:
        assert "sslmode" in remedy_for(reason_of(f"postgresql://u@127.0.0.1:{port}/d?sslmode=require"))
    with listener(b"S") as port:
        missing = reason_of(f"postgresql://u@127.0.0.1:{port}/d?sslmode=verify-full&sslrootcert=/nowhere/root.crt")
        assert "sslrootcert=FILE" in remedy_for(missing)
    with listener(b"HTTP/1.1 400 Bad Request\r\n") as port:
        assert "something else" in remedy_for(reason_of(f"postgresql://u@127.0.0.1:{port}/d"))


def test_this_server_says_of_its_limits_what_is_expected_of_it(postgres_server: EmbeddedServer) -> None:
    with closing(psycopg2.connect(postgres_server.url("postgres"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("drop role if exists few")
            cursor.execute("create role few login connection limit 0")
        full = reason_of(postgres_server.url("postgres").replace("postgres@", "few@"))
        assert "the server is full" in remedy_for(full)
        nobody = reason_of(postgres_server.url("postgres").replace("postgres@", "nobody-here@"))
        assert "createuser" in remedy_for(nobody)
        assert "createdb" in remedy_for(reason_of(postgres_server.url("no_such_database")))
        with connection.cursor() as cursor:
            cursor.execute("drop role few")
