"""What helps where PostgreSQL refuses a connection or a statement: by its code, or by what is said of it in English.

libpq gives no codes for a connection that fails: its words are all there is. In another language the last advice does.
"""

from __future__ import annotations

import re

READ_ONLY_DISK = "the disk is mounted read-only, as it is after a fault: look at dmesg, then restart the machine"
LAST_ADVICE = "see that PostgreSQL runs there and takes connections"
GRANT = "as the owner of the tables, grant this user its rights as init.sql says"

_BUSY = "the server is too busy, or somebody holds a lock on the tables: try again once that is over"
# Source: PostgreSQL documentation, "PostgreSQL Error Codes".
_REMEDIES_BY_CODE = {
    # insufficient_privilege, of a role or by a policy
    "42501": f"{GRANT}; where row-level security is on, it needs policies to read and add rows, too",
    "0A000": "the tables are not as init.sql makes them: take rules and triggers of your own away",  # not supported
    # query_canceled, after statement_timeout
    "57014": f"{_BUSY}; where it never is, the server is too slow for so many days at once",
    "55P03": _BUSY,  # lock_not_available, after lock_timeout
    "40P01": _BUSY,  # deadlock_detected
}

# The first that is found counts. Words: libpq's fe-connect.c, fe-secure-openssl.c and fe-auth.c, the server's auth.c,
# postinit.c and proc.c, PostgreSQL 13 to 18.
_REMEDIES = tuple(
    (re.compile(words), remedy)
    for words, remedy in (
        (
            r"server does not support SSL",
            "switch ssl on in the server's postgresql.conf; or, where you trust the network between, "
            "take sslmode out of [database] url",
        ),
        (
            r"root certificate file .* does not exist",
            "name the certificate of the authority that signed the server's in [database] url: sslrootcert=FILE, "
            "or sslrootcert=system for a public one",
        ),
        (r"weak sslmode", "write sslmode=verify-full in [database] url"),
        (
            r"certificate verify failed",
            "name the certificate of the authority that signed the server's in [database] url: sslrootcert=FILE; "
            "if that is right, look whether the server's has expired",
        ),
        (
            r"server certificate for .* does not match host name",
            "write the host in [database] url as the server's certificate names it",
        ),
        (
            r"private key file .* has group or world access",
            "let nobody else read the private key: chmod 600 its file",
        ),
        (
            r"valid client certificate|certificate present, but not private key|alert unknown ca"
            r"|certificate authentication failed|could not (?:open|read|load) (?:certificate|private key)",
            "this server requires a certificate of ours that its authority signed: name both files in [database] url: "
            "sslcert=FILE&sslkey=FILE",
        ),
        (
            r"invalid sslmode value",
            "write sslmode in [database] url as disable, allow, prefer, require, verify-ca or verify-full",
        ),
        (
            r"no pg_hba\.conf entry .* no encryption",
            "let this user and machine in: add a line to pg_hba.conf of the server and reload it; where its lines are "
            "hostssl, add sslmode=require to [database] url",
        ),
        (
            r"no pg_hba\.conf entry|pg_hba\.conf rejects",
            "let this user and machine in: add a line to pg_hba.conf of the server and reload it",
        ),
        (
            r"[Pp]eer authentication failed|[Ii]dent authentication failed",
            "run this as the system user of that name; or give the role a password and write host=localhost",
        ),
        (r"authentication failed", "put the right user and password into [database] url"),
        (r"no password supplied", "put the user's password into [database] url, or into a pgpass file of mode 0600"),
        (
            r"too many clients|connection slots are reserved|too many connections for",
            "the server is full: end connections that nobody uses, or raise max_connections or the limit that it names",
        ),
        (r'role ".*" does not exist', "make the user: createuser NAME (as the PostgreSQL administrator)"),
        (r"is not permitted to log in", "let the user log in: alter role NAME login (as the PostgreSQL administrator)"),
        (
            r"is not currently accepting connections",
            "let the database be used: alter database NAME allow_connections true (as the PostgreSQL administrator)",
        ),
        (r"statement pooling mode", "let the pooler work with pool_mode = transaction, or session"),
        (r"no such database", "name the database in [database] url as the pooler does"),
        (
            r'database ".*" does not exist',
            "make the database: createdb NAME (as the PostgreSQL administrator), then apply init.sql",
        ),
        (
            r"permission denied for database",
            "as the owner of the database: grant connect on database NAME to USER",
        ),
        (r"could not translate host name", "correct the host in [database] url, or see that names are resolved here"),
        (r"definition of service .* not found", "define the service in ~/.pg_service.conf, or write the url in full"),
        (
            r"invalid response to SSL negotiation|expected authentication request",
            "something else than PostgreSQL listens there: correct the host and the port in [database] url",
        ),
        (r"the database system is |is not accepting", "wait a little: it is on its way, and is tried again"),
        (
            r"read-only|not in hot standby mode|is in hot standby mode",
            "name the primary server in [database] url, not a standby; or set default_transaction_read_only off",
        ),
        (r"No space left on device", "make room on the disk of the database server"),
        (r"no partition of relation", "make a partition for these rows, or a default one"),
        (r"Read-only file system", READ_ONLY_DISK),
        (r'could not open file ".*Permission denied', "give all files of the data directory to the user of the server"),
        (
            r"invalid page in block|could not read block|valid checkpoint record|pg_control|not a database cluster",
            "the disk has damaged the data: restore a backup",
        ),
        (
            r"user (?:with )?ID [0-9]+",
            "run this as a user that has a name on this machine (in /etc/passwd, also in a container)",
        ),
        (
            r"invalid value for parameter|unrecognized configuration parameter|requires a value",
            "correct options= in [database] url, and PGOPTIONS and PGTZ in the environment",
        ),
        (
            r"Connection refused",
            "see that PostgreSQL runs there and listens on this port (listen_addresses in its postgresql.conf)",
        ),
        (
            r"on socket .* No such file or directory",
            "see that PostgreSQL runs on this machine and has its socket in this directory",
        ),
        (
            r"timeout expired|no response within|No route to host|Network is unreachable",
            "see that the machine is on, and that its firewall lets this one in",
        ),
    )
)


def remedy_for(reason: str, code: str | None = None, *, otherwise: str = LAST_ADVICE) -> str:
    """Return what helps against *reason*, which libpq or the server gave, the server with its *code* (SQLSTATE).

    *otherwise*: where neither says anything known.
    """
    if code in _REMEDIES_BY_CODE:
        return _REMEDIES_BY_CODE[code]
    return next((remedy for words, remedy in _REMEDIES if words.search(reason)), otherwise)
