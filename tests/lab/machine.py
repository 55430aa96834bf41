"""A machine for the systemd units: systemd as PID 1 in namespaces of its own, over an overlay of this system.

What runs in it can change nothing outside: its root is a copy in memory, its cgroups are a branch of ours, kernel
parameters are read-only, and it may neither load modules nor set the clock. The program is this checkout, run by this
Python. Its stick is the simulator on a pseudo terminal.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
SYSTEMD = Path("/lib/systemd/systemd")
TOOLS = ("unshare", "nsenter", "setpriv", "mount", "pivot_root", "chroot")
HOME = "/opt/power-consumption"
UNIT = "power-consumption.service"
STATE = "/var/lib/power-consumption"
SET_UP_FAILED = 97

_SET_UP = r"""
set -eu
trap 'exit 97' EXIT
base=$1; root=$base/root; unit_dir=$root/etc/systemd/system
mount --make-rprivate /
mount -t tmpfs tmpfs "$base"
mkdir "$base/upper" "$base/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in 'null 1 3' 'zero 1 5' 'full 1 7' 'random 1 8' 'urandom 1 9' 'tty 5 0'; do
    set -- $node; mknod -m 666 "$root/dev/$1" c "$2" "$3"
done
mknod -m 660 "$root/dev/ttyUSB9" c 188 9
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mkdir -p "$root/etc/systemd"; rm -rf "$unit_dir"; mkdir "$unit_dir"
rm -rf "$root/etc/power-consumption" "$root/etc/default/power-consumption" "$root/opt/power-consumption" \
    "$root/var/lib/power-consumption" "$root/var/log/journal"
: > "$root/etc/fstab"
mkdir -p "$root/opt/power-consumption/python" "$root/opt/power-consumption/site" "$root/opt/power-consumption/source"
mount --bind "$PYTHON_PREFIX" "$root/opt/power-consumption/python"
mount --bind "$SITE_PACKAGES" "$root/opt/power-consumption/site"
mount --bind "$SOURCE" "$root/opt/power-consumption/source"
cp -r "$FILES/." "$root/"
chroot "$root" systemd-sysusers
chgrp dialout "$root/dev/ttyUSB9"
chroot "$root" systemctl --quiet enable $ENABLED
mkdir -p "$root/old"
cd "$root"
pivot_root . old
umount -l /old
mount --make-rshared /
trap - EXIT
exec setpriv --bounding-set -sys_module,-sys_time,-sys_rawio,-syslog --inh-caps -all \
    env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --unit=multi-user.target --show-status=no --log-target=journal
"""

_PROGRAM = """\
#!/bin/sh
export LD_LIBRARY_PATH={home}/python/lib PYTHONPATH={home}/source:{home}/site PYTHONDONTWRITEBYTECODE=1
exec {home}/python/bin/{python} {arguments} "$@"
"""

# In the place of a USB stick. Its terminal belongs to dialout, as udev would have it.
_STICK = f"""\
[Unit]
Before={UNIT}
[Service]
Type=exec
EnvironmentFile=-/etc/default/stick
ExecStart={HOME}/bin/python -m skstack.simulator --link /dev/ttyUSB0 --instant $OPTIONS
ExecStartPost=/bin/sh -c 'until test -e /dev/ttyUSB0; do sleep 0.1; done'
ExecStartPost=/bin/chgrp dialout /dev/ttyUSB0
ExecStartPost=/bin/chmod 660 /dev/ttyUSB0
[Install]
WantedBy=multi-user.target
"""

# The simulator's terminal has another major number than a stick. What the sandbox lets through is noted by the poller's
# user within it, before each start.
_DROP_IN = f"""\
[Service]
DeviceAllow=char-136 rw
ExecStartPre={HOME}/bin/python {HOME}/probe.py
"""

_PROBE = f"""\
import ctypes, json, os
libc = ctypes.CDLL(None, use_errno=True)
found = {{"adjtimex": libc.adjtimex(ctypes.create_string_buffer(512))}}
try:
    os.close(os.open("/dev/ttyUSB9", os.O_RDWR | os.O_NONBLOCK))
    found["ttyUSB9"] = 0
except OSError as error:
    found["ttyUSB9"] = error.errno
with open("{STATE}/probe.json", "w") as file:
    json.dump(found, file)
"""


class NoMachineError(Exception):
    """No machine can be made on this system; the text says why."""


class Machine:
    """Starts with `with`; ends with it, and takes everything in it along.

    *stick*: plugged in at boot. *drop_ins*: more settings of units, by unit.
    Raises: NoMachineError.
    """

    def __init__(self, *, stick: bool = True, drop_ins: Mapping[str, str] | None = None) -> None:
        self._stick = stick
        self._drop_ins = drop_ins or {}
        self._process: subprocess.Popen[str] | None = None
        self._init_pid = 0

    def __enter__(self) -> Self:
        self._base = Path(tempfile.mkdtemp(prefix="lab-machine-"))
        self._cgroup = _cgroup_root() / self._base.name
        try:
            self._boot()
        except BaseException:
            self._take_down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            sys.stderr.write(self.journal())  # pytest shows it when the test fails
        self._take_down()

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command in the machine as root and return what it prints."""
        done = subprocess.run(
            ["nsenter", "-t", str(self._init_pid), "-a", "--", *command], capture_output=True, text=True, timeout=120
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def show(self, name: str, unit: str = UNIT) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit)

    def journal(self, unit: str = UNIT) -> str:
        """Return all that the unit has logged."""
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}", check=False)

    def query(self, sql: str) -> list[list[Any]]:
        """Query the embedded database of the service; nothing where it does not respond, or has no tables yet."""
        code = (
            "import json, psycopg2, sys; c = psycopg2.connect(sys.argv[1]).cursor(); c.execute(sys.argv[2]);"
            "print(json.dumps(c.fetchall(), default=str))"
        )
        url = f"host={STATE}/postgresql/run dbname=power_consumption user=postgres"
        rows: list[list[Any]] = json.loads(self.run(f"{HOME}/bin/python", "-c", code, url, sql, check=False) or "[]")
        return rows

    def wait_until(self, what: str, holds: Callable[[], bool], *, within_s: float = 60.0) -> float:
        """Return the seconds it took; fail with *what* and the journal if it takes longer."""
        begun = time.monotonic()
        while not holds():
            assert time.monotonic() < begun + within_s, f"not within {within_s} s: {what}"
            time.sleep(0.2)
        return time.monotonic() - begun

    def wait_for_reading(self, *, within_s: float = 60.0) -> None:
        """Wait until the status of the unit shows a reading."""
        self.wait_until("a reading in the status", lambda: " W at " in self.show("StatusText"), within_s=within_s)

    def _boot(self) -> None:
        missing = [tool for tool in TOOLS if shutil.which(tool) is None]
        if os.geteuid() != 0 or missing or not SYSTEMD.exists():
            raise NoMachineError(f"it takes root, systemd and util-linux (missing: {', '.join(missing) or 'none'})")
        try:
            self._cgroup.mkdir()
        except OSError as error:
            raise NoMachineError(f"no cgroup can be made in {self._cgroup.parent}: {error.strerror}") from error
        files = self._base / "files"
        _write_files(files, self._drop_ins)
        enter = f'echo $$ > {self._cgroup}/cgroup.procs && exec "$@"'
        namespaces = ("--pid", "--mount", "--net", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child")
        set_up = ("/bin/sh", "-c", _SET_UP, "set-up", str(self._base))
        units = f"{UNIT} power-consumption-graphs.timer{' stick.service' if self._stick else ''}"
        # The overlay hides the directory once it is mounted, so the files are copied from another place.
        staged = Path(tempfile.mkdtemp(prefix="lab-files-"))
        shutil.copytree(files, staged, dirs_exist_ok=True)
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", enter, "enter", "setpriv", "--pdeathsig=KILL", "unshare", *namespaces, *set_up],
                env={
                    **os.environ,
                    "PYTHON_PREFIX": sys.base_prefix,
                    "SITE_PACKAGES": sysconfig.get_path("purelib"),
                    "SOURCE": str(ROOT),
                    "FILES": str(staged),
                    "ENABLED": units,
                },
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            self.wait_until("systemd is up", self._is_up, within_s=60)
        finally:
            shutil.rmtree(staged)

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            _, said = self._process.communicate()
            if self._process.returncode == SET_UP_FAILED:
                raise NoMachineError(f"namespaces are not allowed here: {said.strip().splitlines()[-1:]}")
            raise AssertionError(f"systemd ended with {self._process.returncode}: {said}")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        if not children or Path(f"/proc/{children[0]}/comm").read_text().strip() != "systemd":
            return False
        self._init_pid = int(children[0])
        state = self.run("systemctl", "is-system-running", check=False)
        return state in ("running", "degraded", "starting")

    def _take_down(self) -> None:
        if self._process is not None:
            self._process.kill()  # takes PID 1 of the machine along, and with it everything
            self._process.communicate()
        deadline = time.monotonic() + 10
        while self._cgroup.exists() and not _removed(self._cgroup) and time.monotonic() < deadline:
            time.sleep(0.1)
        shutil.rmtree(self._base, ignore_errors=True)


def _cgroup_root() -> Path:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    raise NoMachineError("there is no cgroup2 file system")


def _removed(cgroup: Path) -> bool:
    try:
        for directory, _, _ in os.walk(cgroup, topdown=False):
            os.rmdir(directory)
    except OSError:  # somebody in it is still ending
        return False
    return True


def _write_files(root: Path, drop_ins: Mapping[str, str]) -> None:
    """Make what the documents want an administrator to make, and what stands for stick and virtual environment."""
    units = root / "etc/systemd/system"
    for name in (f"{UNIT}.d", "power-consumption-graphs.timer.d"):
        (units / name).mkdir(parents=True)
    for unit in (ROOT / "docs/systemd").iterdir():
        if unit.suffix in (".service", ".timer"):
            shutil.copy(unit, units)
    (units / "stick.service").write_text(_STICK)
    (units / f"{UNIT}.d/lab.conf").write_text(_DROP_IN)
    for unit_name, text in drop_ins.items():
        (units / f"{unit_name}.d/test.conf").write_text(text)
    _write(
        root / "etc/sysusers.d/power-consumption.conf", (ROOT / "docs/systemd/power-consumption.sysusers").read_text()
    )
    _write(root / "etc/default/stick", "")
    settings = (ROOT / "power_consumption.ini-sample").read_text(encoding="utf-8")
    for key, value in {
        "id": "",
        "password": "",
        "id_file": "routeb-id",
        "password_file": "routeb-password",
        "interval": "5",
        "history_pause": "0",
    }.items():
        lines = [f"{key} = {value}" if line.startswith(f"{key} =") else line for line in settings.splitlines()]
        settings = "\n".join(lines)
    _write(root / "etc/power-consumption/power_consumption.ini", settings, 0o644)
    _write(root / "etc/power-consumption/routeb-id", "00112233445566778899AABBCCDDEEFF\n", 0o600)
    _write(root / "etc/power-consumption/routeb-password", "0123456789AB\n", 0o600)
    _write(root / f"{HOME[1:]}/probe.py", _PROBE)
    _write(root / f"{HOME[1:]}/bin/python", _program(""), 0o755)
    for program in ("power-consumption", "power-graph", "temp-graph"):
        script = f"{HOME}/source/{program.replace('-', '_')}.py"
        _write(root / f"{HOME[1:]}/venv/bin/{program}", _program(script), 0o755)


def _program(arguments: str) -> str:
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return _PROGRAM.format(home=HOME, python=python, arguments=arguments)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
