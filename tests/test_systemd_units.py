"""The systemd units: they say what the programs understand, and they lock up all but the devices."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

import settings
from poller.sources import SENSORS
from storage.embedded import cluster

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[1]
UNITS = ROOT / "docs" / "systemd"
POLLER = UNITS / "power-consumption.service"
GRAPHS = UNITS / "power-consumption-graphs.service"
TIMER = UNITS / "power-consumption-graphs.timer"
SERVICES = (POLLER, GRAPHS)
PROGRAMS = "/opt/power-consumption/venv/bin"

# The flags each program promises to its users.
GRAPH_FLAGS = {"--config", "--date", "--days", "--from", "--to", "--output", "--lang"}
FLAGS = {
    "power-consumption": {sensor.flag for sensor in SENSORS} | {"--config", "--once", "--check", "--demo", "--verbose"},
    "power-graph": GRAPH_FLAGS | {"--current"},
    "temp-graph": GRAPH_FLAGS,
}

needs_systemd_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine"
)


def read(unit: Path) -> dict[str, list[str]]:
    """Return every value by its name, in order; a name may come again. Form: systemd.syntax(7)."""
    values: dict[str, list[str]] = {}
    for line in re.sub(r"\\\n\s*", "", unit.read_text(encoding="utf-8")).splitlines():
        if line and line[0] not in "#;[":
            name, equals, value = line.partition("=")
            assert equals, f"{unit.name}: {line}"
            values.setdefault(name, []).append(value)
    return values


def commands(unit: Path) -> list[list[str]]:
    return [value.removeprefix("-").split() for value in read(unit)["ExecStart"]]


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_the_programs_are_those_the_package_installs_and_know_the_flags(unit: Path) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    for path, *arguments in commands(unit):
        directory, _, program = path.rpartition("/")
        assert directory == PROGRAMS
        assert program in scripts
        assert {argument for argument in arguments if argument.startswith("-")} <= FLAGS[program]


def test_the_service_reads_the_sensors_that_its_defaults_name() -> None:
    assert commands(POLLER)[0][-1] == "$SENSORS"


def test_all_services_read_one_settings_file() -> None:
    named = {words[words.index("--config") + 1] for unit in SERVICES for words in commands(unit)}
    assert len(named) == 1


def test_the_credentials_of_the_unit_are_read_by_the_settings_the_unit_describes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [value.partition(":")[0] for value in read(POLLER)["LoadCredential"]]
    for name, content in zip(names, ["00112233445566778899AABBCCDDEEFF\n", "0123456789AB\n"], strict=True):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o400)
    described = re.findall(r"\b(id_file|password_file) = ([a-z-]+)", POLLER.read_text(encoding="utf-8"))
    file = tmp_path / "elsewhere" / "power_consumption.ini"
    file.parent.mkdir()
    file.write_text("[routeB]\n" + "".join(f"{key} = {name}\n" for key, name in described))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    read_back = settings.load(file)
    assert read_back.route_b.password == "0123456789AB"


def test_the_poller_reports_to_systemd_and_is_restarted_but_for_wrong_settings() -> None:
    unit = read(POLLER)
    assert unit["Type"] == ["notify"]
    assert unit["Restart"] == ["always"]
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert unit["RestartPreventExitStatus"] == ["2"]


def test_the_documents_and_the_unit_name_one_watchdog() -> None:
    assert read(POLLER)["WatchdogSec"] == ["10min"]
    text = " ".join((ROOT / "docs" / "operations.md").read_text(encoding="utf-8").split())
    assert re.search(r"After ten minutes without such a [a-z]+ \(`WatchdogSec=`\),? systemd restarts it", text)


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_no_secret_is_left_in_a_core_dump_or_a_keyring(unit: Path) -> None:
    assert read(unit)["LimitCORE"] == ["0"]
    assert read(unit)["KeyringMode"] == ["private"]


def test_the_install_makes_the_directories_that_a_stock_system_lacks() -> None:
    """Debian 12 has no /etc/sysusers.d."""
    for document in (POLLER, ROOT / "docs" / "operations.md"):
        assert "install -D -m 644" in document.read_text(encoding="utf-8")


def test_the_install_leaves_nothing_of_root_s_in_the_clone() -> None:
    """Root builds nothing there: build/ and *.egg-info would be its own, and the next build would fail."""
    commands_as_root = re.findall(r"sudo \S*pip install (.*)", (ROOT / "docs" / "operations.md").read_text("utf-8"))
    assert commands_as_root
    assert not [command for command in commands_as_root if re.search(r"(^|[\s'\"])\.", command)]


def test_the_devices_stay_in_reach_of_the_poller() -> None:
    unit = read(POLLER)
    assert "PrivateDevices" not in unit
    allowed = {value for value in unit["DeviceAllow"] if value.startswith("char-")}
    # By number, since a name is looked up when the service starts, and a stick may bring its driver later.
    # ttyUSB, ttyACM, ttyAMA, ttyS, i2c. Source: Linux, Documentation/admin-guide/devices.txt.
    assert allowed == {f"char-{major} rw" for major in (188, 166, 204, 4, 89)}
    assert unit["SupplementaryGroups"] == ["dialout i2c video"]


def test_every_group_of_the_poller_is_made_where_it_is_missing() -> None:
    lines = [line.split() for line in (UNITS / "power-consumption.sysusers").read_text().splitlines()]
    made = {line[1] for line in lines if line[:1] in (["g"], ["u"])}
    unit = read(POLLER)
    # dialout and video are in systemd's own sysusers.d/basic.conf: to name them again earns a warning.
    assert {*unit["User"], *unit["SupplementaryGroups"][0].split()} == made | {"dialout", "video"}


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_the_embedded_database_can_run(unit: Path) -> None:
    values = read(unit)
    assert "AF_UNIX" in values["RestrictAddressFamilies"][0].split()
    assert values["RemoveIPC"] == ["no"]
    # Code made at run time is denied, so the server must not compile its queries.
    assert values["MemoryDenyWriteExecute"] == ["yes"]
    assert re.search(r"^jit = off$", cluster.SETTINGS, re.MULTILINE)


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_both_services_find_the_same_data_as_the_same_user(unit: Path) -> None:
    values = read(unit)
    assert values["User"] == ["power-consumption"]
    assert values["StateDirectory"][0].split()[0] == "power-consumption"
    assert "XDG_DATA_HOME=%S" in " ".join(values["Environment"]).split()


def test_the_pictures_go_where_the_graphs_service_may_write() -> None:
    directories = read(GRAPHS)["StateDirectory"][0].split()
    for words in commands(GRAPHS):
        assert words[words.index("--output") + 1].removeprefix("%S/") in directories


@needs_systemd_analyze
@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_the_hardening_is_rated_1_9_or_better(unit: Path) -> None:
    # An exposure below 5.0 is rated OK; the threshold is in tenths.
    command = ["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=19", str(unit)]
    rated = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert rated.returncode == 0, rated.stdout[-200:] + rated.stderr
    assert re.search(r"Overall exposure level for \S+: [01]\.\d (OK|SAFE)", rated.stdout)


@needs_systemd_analyze
def test_systemd_finds_no_fault_in_the_units(tmp_path: Path) -> None:
    copies = []
    for unit in (*SERVICES, TIMER):
        copies.append(tmp_path / unit.name)
        copies[-1].write_text(unit.read_text(encoding="utf-8").replace(PROGRAMS, str(tmp_path)))
    for program in FLAGS:
        (tmp_path / program).symlink_to("/bin/true")  # verify insists on programs that are there
    command = ["systemd-analyze", "verify", "--recursive-errors=no", *map(str, copies)]
    verified = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


@needs_systemd_analyze
def test_the_timer_names_a_time() -> None:
    command = ["systemd-analyze", "calendar", *read(TIMER)["OnCalendar"]]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 0
