"""The processor's temperature, from the kernel's thermal zones or else from the Raspberry Pi's firmware.

Source: kernel documentation, Documentation/ABI/testing/sysfs-class-thermal.
"""

from __future__ import annotations

import logging
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from sensors.errors import SensorError, SensorNotFoundError

logger = logging.getLogger(__name__)

# The zones that are the processor, best first. Their numbers differ from machine to machine; the types do not.
# acpitz is not among them: on many boards it is a constant.
CPU_ZONE_TYPES = ("cpu-thermal", "cpu_thermal", "bcm2835_thermal", "soc-thermal", "x86_pkg_temp")

LOWEST_C, HIGHEST_C = -40.0, 125.0  # no processor works outside; a Pi was seen to report -650788.984 C
SUSPICIOUS_C = 85.0  # a Pi was seen to report this when it was much cooler, for one reading

_VCGENCMD_LIMIT_S = 2.0  # it takes milliseconds, or hangs


def read_cpu_temperature_c(
    *,
    thermal_root: Path = Path("/sys/class/thermal"),
    run: Callable[..., subprocess.CompletedProcess[bytes]] = subprocess.run,
) -> float:
    """Return the processor's temperature in degrees Celsius.

    The zone of a known type is asked first, then thermal_zone0, then vcgencmd (which ends within two seconds).
    Raises: SensorNotFoundError: this machine has none of them. SensorError: all there are failed; the text says how.
    """
    failures: list[str] = []
    for zone in _cpu_zones(thermal_root):
        try:
            return _read_zone_c(zone)
        except (OSError, ValueError) as error:
            failures.append(f"{zone.name}: {error}")
    try:
        return _read_firmware_c(run)
    except FileNotFoundError:
        if not failures:
            raise SensorNotFoundError(
                f"CPU: no temperature sensor: {thermal_root} has no thermal zone and there is no vcgencmd "
                "(usual in a virtual machine or container): run without --temp"
            ) from None
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        failures.append(f"vcgencmd: {error}")
    raise SensorError(f"CPU: no temperature: {'; '.join(failures)}")


def _cpu_zones(thermal_root: Path) -> list[Path]:
    """Return the zones worth asking, best first: those of a known type, then zone 0 whatever it is."""
    known: list[tuple[int, int, Path]] = []
    for zone in thermal_root.glob("thermal_zone*"):
        try:
            zone_type = (zone / "type").read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            logger.debug("CPU: %s has no readable type: %s", zone.name, error)
            continue
        if zone_type in CPU_ZONE_TYPES:
            known.append((CPU_ZONE_TYPES.index(zone_type), len(zone.name), zone))  # zone 2 before zone 10
    zones = [zone for _, _, zone in sorted(known)]
    first = thermal_root / "thermal_zone0"
    if first.exists() and first not in zones:
        zones.append(first)
    return zones


def _read_zone_c(zone: Path) -> float:
    """Read a zone, a doubtful value twice. Raises: OSError, ValueError: it has no temperature."""
    try:
        temperature_c = _read_zone_once_c(zone)
    except ValueError:
        return _read_zone_once_c(zone)
    return _read_zone_once_c(zone) if temperature_c == SUSPICIOUS_C else temperature_c


def _read_zone_once_c(zone: Path) -> float:
    text = (zone / "temp").read_text(encoding="ascii").strip()
    if not re.fullmatch(r"-?[0-9]+", text):
        raise ValueError(f"expected thousandths of a degree, got {text[:20]!r}")
    return _checked_c(int(text) / 1000)


def _read_firmware_c(run: Callable[..., subprocess.CompletedProcess[bytes]]) -> float:
    """Ask the Pi's firmware, which answers temp=55.8'C in every locale."""
    answer = run(
        ["vcgencmd", "measure_temp"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_VCGENCMD_LIMIT_S,
        check=False,
    )
    found = re.search(rb"temp=(-?[0-9]+(?:\.[0-9]+)?)", answer.stdout)
    if found is None:
        said = (answer.stdout + answer.stderr).decode("ascii", "replace").strip()[:60]
        raise ValueError(f"expected temp=..., got {said!r}: add the user to the group video")
    return _checked_c(float(found[1]))


def _checked_c(temperature_c: float) -> float:
    if not LOWEST_C <= temperature_c <= HIGHEST_C:
        raise ValueError(f"{temperature_c:.1f} C is outside {LOWEST_C:.0f} to {HIGHEST_C:.0f} C")
    return temperature_c
