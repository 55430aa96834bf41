"""sensors.cpu: zones as kernels present them, bogus values, and vcgencmd where there is nothing else."""

from __future__ import annotations

import errno
import io
import os
import subprocess
from collections.abc import Callable
from pathlib import Path, PosixPath
from typing import Any

import pytest

from sensors.cpu import read_cpu_temperature_c
from sensors.errors import SensorError, SensorNotFoundError

Run = Callable[..., subprocess.CompletedProcess[bytes]]


def no_vcgencmd(*args: object, **options: object) -> subprocess.CompletedProcess[bytes]:
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "vcgencmd")


def vcgencmd(stdout: bytes, stderr: bytes = b"") -> Run:
    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        assert command == ["vcgencmd", "measure_temp"]
        assert options["timeout"] == 2.0
        return subprocess.CompletedProcess(command, 255 if stderr else 0, stdout, stderr)

    return run


def zones(root: Path, *types_and_texts: tuple[str, str]) -> Path:
    for number, (zone_type, text) in enumerate(types_and_texts):
        zone = root / f"thermal_zone{number}"
        zone.mkdir()
        (zone / "type").write_text(f"{zone_type}\n")
        (zone / "temp").write_text(text)
    return root


def read_c(root: Path, zone: str = "", run: Run = no_vcgencmd) -> float:
    """Read a machine whose zones, and hardware monitors where it has any, are under *root*."""
    return read_cpu_temperature_c(zone, thermal_root=root, monitor_root=root / "hwmon", run=run)


class ScriptedPath(PosixPath):
    """A thermal directory whose temp files give one scripted text, or error, after the other."""

    script: tuple[str | OSError, ...] = ()
    reads = 0

    def open(self, *how: Any, **options: Any) -> Any:
        if self.name != "temp":
            return super().open(*how, **options)
        entry = ScriptedPath.script[ScriptedPath.reads]
        ScriptedPath.reads += 1
        if isinstance(entry, OSError):
            raise entry
        return io.BytesIO(entry.encode())


@pytest.fixture
def pi_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., float]:
    """Read a Pi's only zone, whose successive texts are the arguments."""
    zones(tmp_path, ("cpu-thermal", ""))

    def read(*script: str | OSError) -> float:
        monkeypatch.setattr(ScriptedPath, "script", script)
        monkeypatch.setattr(ScriptedPath, "reads", 0)
        return read_c(ScriptedPath(tmp_path))

    return read


@pytest.mark.parametrize(
    ("text", "temperature_c"),
    [("48312\n", 48.312), ("0\n", 0.0), ("-5250\n", -5.25), ("-40000", -40.0), ("125000\n", 125.0)],
)
def test_thousandths_become_degrees(tmp_path: Path, text: str, temperature_c: float) -> None:
    assert read_c(zones(tmp_path, ("cpu-thermal", text))) == temperature_c


def test_what_is_no_plain_file_is_no_thermometer(tmp_path: Path) -> None:
    """To open a pipe at which nobody writes would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SensorError, match="pipe: not a plain file"):
        read_cpu_temperature_c(str(tmp_path / "pipe"))


@pytest.mark.parametrize(
    "zone_type",
    [
        "cpu-thermal",
        "cpu_thermal",
        "bcm2835_thermal",
        "soc-thermal",
        "soc_thermal",
        "x86_pkg_temp",
        "CPU-therm",
        "cpu0-thermal",
        "cpu-0-0-usr",
        "cpu_thermal_zone",
        "bigcore0-thermal",
        "package-thermal",
        "imx_thermal_zone",
        "TCPU",
    ],
)
def test_the_processor_s_zone_is_found_by_its_type_wherever_it_is(tmp_path: Path, zone_type: str) -> None:
    others = [("acpitz", "27800\n"), ("INT3400 Thermal", "20000\n"), ("iwlwifi_1", "38000\n")]
    assert read_c(zones(tmp_path, *others, (zone_type, "51000\n"))) == 51.0


def test_of_several_known_types_the_first_of_the_list_wins(tmp_path: Path) -> None:
    root = zones(tmp_path, ("cpu0-thermal", "50000"), ("soc-thermal", "49000"), ("cpu-thermal", "48000"))
    assert read_c(root) == 48.0


def test_zone_2_comes_before_zone_10(tmp_path: Path) -> None:
    root = zones(tmp_path, *[("pch", "1000")] * 2, *[("x86_pkg_temp", f"{number}000") for number in range(2, 11)])
    assert read_c(root) == 2.0


def test_a_phone_s_battery_is_not_the_processor(tmp_path: Path) -> None:
    """Exynos boards have both; the battery is zone 0. Source: CasaOS issue 661 and the device trees of Exynos."""
    assert read_c(zones(tmp_path, ("battery", "31000\n"), ("cpu0-thermal", "56000\n"))) == 56.0


def test_the_always_on_domain_of_a_tegra_is_not_the_processor(tmp_path: Path) -> None:
    """A Jetson Nano's zone 0 is AO-therm. Source: MartinMatta/Jetson-Nano-temperature issue 2."""
    assert read_c(zones(tmp_path, ("AO-therm", "41000\n"), ("CPU-therm", "36500\n"), ("GPU-therm", "34000\n"))) == 36.5


@pytest.mark.parametrize(
    "types_and_texts",
    [
        [("iwlwifi_1", "38000\n")],
        [("INT3400 Thermal", "20000\n")],
        [("acpitz", "16000\n"), ("acpitz", "52000\n"), ("iwlwifi_1", "38000\n")],
        [("battery", "31000\n"), ("gpu-thermal", "40000\n")],
        [("acpitz", "16800\n"), ("pch_cannonlake", "55000\n"), ("SEN1", "40000\n")],
        [("nvme-thermal", "38000\n"), ("cpu-fan-thermal", "30000\n"), ("soc-board-thermal", "30000\n")],
    ],
)
def test_a_zone_that_may_be_something_else_is_never_read_and_all_are_listed(
    tmp_path: Path, types_and_texts: list[tuple[str, str]]
) -> None:
    """Sources: CasaOS issue 727, intel/thermal_daemon issue 6, cockpit pull request 17160."""
    with pytest.raises(SensorNotFoundError, match=r"set \[cpu\] zone") as caught:
        read_c(zones(tmp_path, *types_and_texts))
    for number, (zone_type, text) in enumerate(types_and_texts):
        assert f"thermal_zone{number} {zone_type} {int(text) / 1000:.1f} C" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_zone_without_a_type_is_passed_over(tmp_path: Path) -> None:
    root = zones(tmp_path, ("acpitz", "27800\n"), ("x", "1000"), ("cpu-thermal", "44000\n"))
    (root / "thermal_zone1" / "type").unlink()
    assert read_c(root) == 44.0


def test_a_known_zone_that_fails_is_followed_by_the_next_known_one_only(tmp_path: Path) -> None:
    root = zones(tmp_path, ("acpitz", "39000\n"), ("cpu-thermal", "\n"), ("cpu0-thermal", "47000\n"))
    assert read_c(root) == 47.0
    (root / "thermal_zone2" / "temp").unlink()
    with pytest.raises(SensorError, match="thermal_zone1: expected thousandths"):
        read_c(root)


# --- the hardware monitor


def monitors(root: Path, *drivers_and_inputs: tuple[str, dict[str, str]]) -> Path:
    for number, (driver, inputs) in enumerate(drivers_and_inputs):
        monitor = root / "hwmon" / f"hwmon{number}"
        monitor.mkdir(parents=True)
        (monitor / "name").write_text(f"{driver}\n")
        for index, (label, text) in enumerate(inputs.items(), 1):
            (monitor / f"temp{index}_label").write_text(f"{label}\n")
            (monitor / f"temp{index}_input").write_text(text)
    return root


@pytest.mark.parametrize(
    ("driver", "inputs", "temperature_c"),
    [
        ("coretemp", {"Core 0": "61000\n", "Package id 0": "63000\n"}, 63.0),
        ("k10temp", {"Tctl": "45250\n", "Tccd1": "41000\n"}, 45.25),
        ("k10temp", {"Tctl": "72250\n", "Tdie": "45250\n"}, 45.25),  # the offset of a first Threadripper: 27 C
    ],
)
def test_where_no_zone_is_certain_the_processor_s_own_monitor_is(
    tmp_path: Path, driver: str, inputs: dict[str, str], temperature_c: float
) -> None:
    """The only zone shows 16 C for ever there. Source: intel/thermal_daemon 6; kernel, hwmon/k10temp."""
    root = zones(tmp_path, ("acpitz", "16000\n"))
    assert read_c(monitors(root, ("nvme", {"Composite": "38000\n"}), (driver, inputs))) == temperature_c


def test_a_monitor_of_something_else_is_not_read(tmp_path: Path) -> None:
    root = monitors(zones(tmp_path, ("acpitz", "16000\n")), ("nct6775", {"CPUTIN": "116000\n", "Tctl": "30000\n"}))
    with pytest.raises(SensorNotFoundError, match="acpitz"):
        read_c(root)


def test_a_monitor_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    root = monitors(zones(tmp_path), ("coretemp", {"Package id 0": "61000\n"}), ("k10temp", {"Tctl": "45250\n"}))
    (root / "hwmon" / "hwmon0" / "name").unlink()
    assert read_c(root) == 45.25


# --- [cpu] zone


@pytest.mark.parametrize(
    "wanted", ["acpitz", "ACPITZ", "thermal_zone1", "{root}/thermal_zone1", "{root}/thermal_zone1/temp"]
)
def test_the_zone_of_the_settings_is_read_and_no_other(tmp_path: Path, wanted: str) -> None:
    root = zones(tmp_path, ("cpu-thermal", "48000\n"), ("acpitz", "52000\n"))
    wanted = wanted.format(root=root)
    assert read_c(root, wanted) == 52.0
    (root / "thermal_zone1" / "temp").unlink()
    with pytest.raises(SensorError, match="No such file"):
        read_c(root, wanted)


def test_a_type_that_several_zones_have_is_refused_with_their_names(tmp_path: Path) -> None:
    root = zones(tmp_path, ("acpitz", "16000\n"), ("acpitz", "52000\n"))
    with pytest.raises(SensorNotFoundError, match=r"thermal_zone0 acpitz 16.0 C, thermal_zone1 acpitz 52.0 C"):
        read_c(root, "acpitz")
    assert read_c(root, "thermal_zone1") == 52.0


def test_a_zone_without_a_value_is_listed_with_what_is_wrong_with_it(tmp_path: Path) -> None:
    root = zones(tmp_path, ("acpitz", "16000\n"), ("acpitz", "hot\n"), ("acpitz", ""))
    (root / "thermal_zone2" / "temp").unlink()
    listed = "thermal_zone0 acpitz 16.0 C, thermal_zone1 acpitz no temperature, thermal_zone2 acpitz No such file"
    with pytest.raises(SensorNotFoundError, match=listed):
        read_c(root, "acpitz")


def test_a_type_that_no_zone_has_is_refused_with_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(SensorNotFoundError, match=r"'cpu-thermo'.*thermal_zone0 cpu-thermal 48.0 C"):
        read_c(zones(tmp_path, ("cpu-thermal", "48000\n")), "cpu-thermo")
    with pytest.raises(SensorNotFoundError, match="there is none at all"):
        read_c(tmp_path / "missing", "cpu-thermal")


# --- values


def test_a_bogus_value_is_read_again(pi_reading: Callable[..., float]) -> None:
    assert pi_reading("-650788984\n", "45000\n") == 45.0
    assert ScriptedPath.reads == 2


def test_85_degrees_are_read_again_since_they_may_be_bogus(pi_reading: Callable[..., float]) -> None:
    assert pi_reading("85000\n", "45000\n") == 45.0


def test_85_degrees_twice_are_true(pi_reading: Callable[..., float]) -> None:
    assert pi_reading("85000\n", "85000\n") == 85.0


def test_a_good_value_is_read_once(pi_reading: Callable[..., float]) -> None:
    pi_reading("45000\n")
    assert ScriptedPath.reads == 1


@pytest.mark.parametrize(
    "text", ["-650788984\n", "45\n", "125001\n", "-40001\n", "\n", "N/A\n", "45.0\n", "4_5000\n", "٤٥٠٠٠"]
)
def test_a_value_that_stays_bogus_is_an_error(pi_reading: Callable[..., float], text: str) -> None:
    with pytest.raises(SensorError, match="thermal_zone0"):
        pi_reading(text, text)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENODATA, errno.EAGAIN])
def test_a_zone_that_refuses_to_be_read_is_an_error(pi_reading: Callable[..., float], number: int) -> None:
    with pytest.raises(SensorError, match=f"thermal_zone0: .Errno {number}"):
        pi_reading(OSError(number, os.strerror(number)), OSError(number, os.strerror(number)))


@pytest.mark.parametrize(
    ("said", "temperature_c"), [(b"temp=55.8'C\n", 55.8), (b"temp=-1.5'C\n", -1.5), (b"temp=47\xc2\xb0C", 47.0)]
)
def test_without_zones_the_firmware_is_queried(tmp_path: Path, said: bytes, temperature_c: float) -> None:
    assert read_c(tmp_path, run=vcgencmd(said)) == temperature_c


def test_after_a_bogus_zone_the_firmware_is_queried(tmp_path: Path) -> None:
    root = zones(tmp_path, ("cpu-thermal", "-650788984\n"))
    assert read_c(root, run=vcgencmd(b"temp=55.8'C\n")) == 55.8


@pytest.mark.parametrize(
    "run",
    [
        vcgencmd(b"", b"VCHI initialization failed\n"),
        vcgencmd(b"", b"Can't open device file: /dev/vcio\n"),
        vcgencmd(b"temp=N/A\n"),
        vcgencmd(b"temp=850.0'C\n"),
    ],
)
def test_a_firmware_without_a_temperature_is_an_error(tmp_path: Path, run: Run) -> None:
    with pytest.raises(SensorError, match="vcgencmd: "):
        read_c(tmp_path, run=run)


def test_a_user_who_may_not_query_the_firmware_is_shown_the_group(tmp_path: Path) -> None:
    with pytest.raises(SensorError, match="VCHI initialization failed") as caught:
        read_c(tmp_path, run=vcgencmd(b"", b"VCHI initialization failed\n"))
    assert "group video" in caught.value.remedy
    assert "group video" not in caught.value.what


def test_a_hanging_vcgencmd_is_an_error(tmp_path: Path) -> None:
    def hang(command: list[str], *, timeout: float, **options: Any) -> subprocess.CompletedProcess[bytes]:
        raise subprocess.TimeoutExpired(command, timeout)

    with pytest.raises(SensorError, match="timed out after 2"):
        read_c(tmp_path, run=hang)


def test_a_machine_without_any_sensor_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SensorNotFoundError, match=r"virtual machine.*without --temp"):
        read_c(tmp_path / "missing")


def test_a_file_of_secrets_that_the_setting_names_by_mistake_is_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "routeb-password").write_text("0A1B2C3D4E5F\n")
    with pytest.raises(SensorError, match=r"got another text \(not shown\)") as caught:
        read_c(tmp_path, str(tmp_path / "routeb-password"))
    assert "0A1B" not in str(caught.value)


def test_a_failed_zone_is_reported_when_there_is_no_vcgencmd(tmp_path: Path) -> None:
    root = zones(tmp_path, ("cpu-thermal", "N/A\n"))
    with pytest.raises(SensorError, match="thermal_zone0: expected thousandths of a degree, got 'N/A'") as caught:
        read_c(root)
    assert not isinstance(caught.value, SensorNotFoundError)
    assert caught.value.remedy == "set [cpu] zone to another thermal zone, or run without --temp"
