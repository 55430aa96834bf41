"""The processor's temperature: the kernel's thermal zone or hardware monitor, or else the Raspberry Pi's firmware.

Source: kernel documentation, Documentation/ABI/testing/sysfs-class-thermal, Documentation/hwmon/ (sysfs-interface,
coretemp, k10temp). The types are named by device trees and drivers, so no document lists them all.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sensors.errors import SensorError, SensorNotFoundError

logger = logging.getLogger(__name__)

# The types that are the processor and nothing else, best first; they are compared in lower case, with hyphens.
# What is not here may be anything: acpitz is a constant on many boards, INT3400 on all, a WiFi card has a zone too.
CPU_ZONE_TYPES = tuple(
    re.compile(pattern)
    for pattern in (
        r"cpu-therm(al)?(-zone)?",  # Raspberry Pi and most boards; Tegra: CPU-therm
        r"bcm2835-thermal",  # Raspberry Pi, older kernels
        r"x86-pkg-temp",  # Intel
        r"package-thermal",  # RK3588
        r"soc-thermal",  # Rockchip, Amlogic: the chip with the processor
        r"cpu-?[0-9]+(-[0-9]+)*(-(top|bottom|usr))?(-therm(al)?)?",  # one sensor a core: Exynos, Qualcomm, NXP
        r"(cpu-)?(big|little)(-?core)?s?[0-9]*-therm(al)?",  # one a cluster: RK3588, MediaTek
        r"imx-thermal-zone",  # NXP i.MX
        r"tcpu",  # Intel, as its firmware calls it
        r"soc-dts[0-9]",  # Intel Atom
    )
)
# Drivers of the hardware monitor that measure nothing but the processor, and the inputs that are all of it.
CPU_MONITORS = ("coretemp", "k10temp")
_WHOLE_CPU_LABELS = ("Package id 0", "Tdie", "Tctl")  # Tctl, for fans, is offset where there is a Tdie

LOWEST_C, HIGHEST_C = -40.0, 125.0  # no processor works outside; a Pi was seen to report -650788.984 C
SUSPICIOUS_C = 85.0  # a Pi was seen to report this when it was much cooler, for one reading
_WHOLE_DEGREES = 200  # no processor is within 0.2 C of freezing: old kernels that give 45 for 45 C are found out

_MOST_BYTES = 4096  # of a file of sysfs: a page
_SHOWN = 4  # characters of what is no temperature, such as N/A
_VCGENCMD_LIMIT_S = 2.0  # it takes milliseconds, or hangs
_OTHER_ZONE = "set [cpu] zone to another thermal zone, or run without --temp"
_JOIN_VIDEO = "add the user to the group video (sudo usermod -aG video $USER), then log in again"
_THERMAL_ROOT, _MONITOR_ROOT = Path("/sys/class/thermal"), Path("/sys/class/hwmon")


@dataclass(frozen=True, slots=True)
class _Thermometer:
    """A file that holds thousandths of a degree."""

    name: str  # for people: thermal_zone0
    type: str
    file: Path

    def __str__(self) -> str:
        return f"{self.name} {self.type}".strip()


class _FirmwareRefusedError(Exception):
    """The Pi's firmware could not be queried: vcgencmd says why."""


def read_cpu_temperature_c(
    zone: str = "",
    *,
    thermal_root: Path = _THERMAL_ROOT,
    monitor_root: Path = _MONITOR_ROOT,
    run: Callable[..., subprocess.CompletedProcess[bytes]] = subprocess.run,
) -> float:
    """Return the processor's temperature in degrees Celsius.

    *zone* is the type of a thermal zone in any case (such as acpitz), its name (thermal_zone1), or a path: of a zone,
    or of a file that holds thousandths of a degree. Then nothing else is read. Without it, what certainly is the
    processor is: a zone of a known type, the hardware monitor of a known driver, or vcgencmd (it ends within two
    seconds).
    Raises: SensorNotFoundError: there is none, or several are of that type; the text lists what there is.
    SensorError: all there are failed; the text says how.
    """
    zones = _zones(thermal_root)
    thermometers = [_chosen(zone, zones)] if zone else itertools.chain(_certain_zones(zones), _monitors(monitor_root))
    failures: list[str] = []
    remedy = _OTHER_ZONE
    for thermometer in thermometers:
        try:
            return _read_c(thermometer)
        except (OSError, ValueError) as error:
            failures.append(f"{thermometer.name}: {error}")
    if not zone:
        try:
            return _read_firmware_c(run)
        except FileNotFoundError:
            if not failures:
                raise _nothing_certain(zones, thermal_root) from None
        except _FirmwareRefusedError as error:
            failures.append(f"vcgencmd: {error}")
            remedy = _JOIN_VIDEO
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            failures.append(f"vcgencmd: {error}")
    raise SensorError(f"CPU: no temperature: {'; '.join(failures)}", remedy)


def _zones(thermal_root: Path) -> list[_Thermometer]:
    """Return every thermal zone by its number; one without a readable type has an empty one."""
    try:
        names = [name for name in os.listdir(thermal_root) if name.startswith("thermal_zone")]
    except OSError:
        return []
    zones = []
    for name in names:
        directory = thermal_root / name
        try:
            zone_type = _printable(_text_of(directory / "type"))
        except (OSError, ValueError) as error:
            logger.debug("CPU: %s has no readable type: %s", name, error)
            zone_type = ""
        zones.append(_Thermometer(name, zone_type, directory / "temp"))
    return sorted(zones, key=lambda zone: (len(zone.name), zone.name))  # zone 2 before zone 10


def _certain_zones(zones: list[_Thermometer]) -> Iterator[_Thermometer]:
    """Yield the zones that certainly are the processor, best first."""
    for known in CPU_ZONE_TYPES:
        yield from (zone for zone in zones if known.fullmatch(_plain(zone.type)))


def _monitors(monitor_root: Path) -> Iterator[_Thermometer]:
    """Yield what the hardware monitor's drivers for processors say of the whole of it, best first."""
    for directory in sorted(monitor_root.glob("hwmon*")):
        try:
            driver = _text_of(directory / "name")
            labels = {_text_of(file): file for file in directory.glob("temp*_label")}
        except (OSError, ValueError) as error:
            logger.debug("CPU: %s cannot be read: %s", directory.name, error)
            continue
        label = next((label for label in _WHOLE_CPU_LABELS if label in labels), None)
        if driver in CPU_MONITORS and label:
            file = labels[label]
            yield _Thermometer(directory.name, f"{driver} {label}", file.with_name(file.name.replace("label", "input")))


def _chosen(wanted: str, zones: list[_Thermometer]) -> _Thermometer:
    """Return what the setting names. Raises: SensorNotFoundError: it is not there, or not the only one."""
    if "/" in wanted:
        path = Path(wanted)
        return _Thermometer(wanted, "", path / "temp" if path.is_dir() else path)
    found = [zone for zone in zones if _plain(wanted) in (_plain(zone.type), _plain(zone.name))]
    if len(found) == 1:
        return found[0]
    if found:
        raise SensorNotFoundError(
            f"CPU: {len(found)} thermal zones are of the type {wanted!r} ({_listed(found)})",
            "set [cpu] zone to the name of one, such as thermal_zone1",
        )
    raise SensorNotFoundError(
        f"CPU: no thermal zone is of the type {wanted!r} ({_listed(zones)})", "correct [cpu] zone"
    )


def _nothing_certain(zones: list[_Thermometer], thermal_root: Path) -> SensorNotFoundError:
    if zones:
        return SensorNotFoundError(
            f"CPU: no thermal zone is certain to be the processor ({_listed(zones)})",
            "set [cpu] zone to the one that is, or run without --temp",
        )
    return SensorNotFoundError(
        f"CPU: no temperature sensor: {thermal_root} has no thermal zone and there is no vcgencmd "
        "(usual in a virtual machine or container)",
        "run without --temp",
    )


def _listed(zones: list[_Thermometer]) -> str:
    """Name each zone with its type and what it shows now."""
    return ", ".join(f"{zone} {_shown_now(zone)}" for zone in zones) or "there is none at all"


def _shown_now(zone: _Thermometer) -> str:
    try:
        return f"{_read_once_c(zone.file):.1f} C"
    except OSError as error:
        return str(error.strerror)
    except ValueError:
        return "no temperature"


def _plain(zone_type: str) -> str:
    """Return a type as types are compared: kernels disagree in case and in hyphens."""
    return zone_type.lower().replace("_", "-")


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())[:40]


def _read_c(thermometer: _Thermometer) -> float:
    """Read a thermometer, a suspicious value twice. Raises: OSError, ValueError: it has no temperature."""
    try:
        temperature_c = _read_once_c(thermometer.file)
    except ValueError:
        return _read_once_c(thermometer.file)
    return _read_once_c(thermometer.file) if temperature_c == SUSPICIOUS_C else temperature_c


def _read_once_c(file: Path) -> float:
    text = _text_of(file)
    if not re.fullmatch(r"-?[0-9]{1,12}", text) or 0 < abs(int(text)) < _WHOLE_DEGREES:
        # [cpu] zone may name any file: a longer text may be a secret in it.
        is_harmless = len(text) <= _SHOWN or re.fullmatch(r"[-+.0-9]{1,20}", text)
        got = repr(text) if is_harmless else "another text (not shown)"
        raise ValueError(f"expected thousandths of a degree, got {got}")
    return _checked_c(int(text) / 1000)


def _text_of(file: Path) -> str:
    """Return what a file of the kernel says, in one read. Raises: OSError, ValueError: it is not ASCII, or no file."""
    if not stat.S_ISREG(file.stat().st_mode):
        raise ValueError("not a plain file")  # to read from a terminal or a pipe may wait for ever
    with file.open("rb", buffering=0) as opened:
        return opened.read(_MOST_BYTES).decode("ascii").strip()


def _read_firmware_c(run: Callable[..., subprocess.CompletedProcess[bytes]]) -> float:
    """Query the Pi's firmware, which prints temp=55.8'C in every locale. Raises: _FirmwareRefusedError, and others."""
    done = run(
        ["vcgencmd", "measure_temp"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_VCGENCMD_LIMIT_S,
        check=False,
    )
    found = re.search(rb"temp=(-?[0-9]+(?:\.[0-9]+)?)", done.stdout)
    if found is None:
        said = (done.stdout + done.stderr).decode("ascii", "replace").strip()[:60]
        kind = ValueError if done.stdout.startswith(b"temp=") else _FirmwareRefusedError
        raise kind(f"expected temp=..., got {said!r}")
    return _checked_c(float(found[1]))


def _checked_c(temperature_c: float) -> float:
    if not LOWEST_C <= temperature_c <= HIGHEST_C:
        raise ValueError(f"{temperature_c:.1f} C is outside {LOWEST_C:.0f} to {HIGHEST_C:.0f} C")
    return temperature_c
