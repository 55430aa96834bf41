"""A reading in words, for a person: what --once and --check print."""

from __future__ import annotations

from decimal import Decimal

from storage.records import Co2Row, CpuTemperatureRow, PowerRow, Reading


def shown(row: Reading) -> str:
    """Say what a row holds, in its units; nothing of what was not measured."""
    match row:
        case PowerRow():
            currents = ((row.current_r_a, "R"), (row.current_t_a, "T"))
            phases = (f"{current_a} A ({phase})" for current_a, phase in currents if current_a is not None)
            power = "power not measured" if row.power_w is None else f"{row.power_w} W"
            return ", ".join((power, *phases, *_registers(row.import_kwh, row.export_kwh)))
        case CpuTemperatureRow():
            return f"{row.temperature_c:.1f} C"
        case Co2Row():
            inside = "" if row.temperature_c is None else f", {row.temperature_c} C inside of it"
            return f"{row.co2_ppm} ppm{inside}{' (still warming up)' if row.warming_up else ''}"
    return f"{row.temperature_c:.1f} C, {row.humidity_pct:.0f} %, {row.pressure_hpa:.1f} hPa"


def _registers(import_kwh: Decimal | None, export_kwh: Decimal | None) -> list[str]:
    named = (("used", import_kwh), ("sold", export_kwh))
    return [f"{kwh} kWh {name}" for name, kwh in named if kwh is not None]
