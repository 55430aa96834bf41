"""--once: one round of readings, printed and delivered."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from functools import partial

from poller.app import App, Store, opened
from poller.process import StopSignal
from poller.sources import Sensor
from settings import Settings
from skstack import SkStackError
from storage.records import Bme280Row, Co2Row, CpuTemperatureRow, PowerRow, Reading, Round
from wording import counted

ONCE_DELIVERY_S = 20.0  # for PostgreSQL to take the round, also where it is just starting
FINISH_S = 5.0  # for it to say which meter it knows
ONCE_TIMEOUT_S = 240.0  # a scan over every duration takes 140 s, a join up to 60 s


def run_once(settings: Settings, sensors: Sequence[Sensor], *, stop: StopSignal) -> int:
    """Take one round, print it and end the session; return 0 if the meter was read and PostgreSQL has it all, else 1.

    The reason for a 1 is printed; the round is on disk then, and delivered by the next run. Also 0: asked to stop.
    Raises: as opened().
    """
    rounds: list[Round] = []
    with opened(settings, sensors, stop=stop, on_round=rounds.append, takes_one_round=True) as (app, store):
        monotonic = app.clock.monotonic
        finish = partial(app.idle_tasks.finish, sleep=app.clock.sleep, should_stop=stop.requested)
        app.session.run_until_up(monotonic() + ONCE_TIMEOUT_S)
        power = app.poller.take_round(app.clock.now().replace(microsecond=0), timeout_s=3 * settings.route_b.timeout_s)
        if not app.clock.is_settled:
            _read_time(app, is_silent=power is None)
        app.dating.close()
        _print(rounds)
        finish(monotonic() + FINISH_S)
        is_delivered = store.delivery.wait_until_drained(ONCE_DELIVERY_S, should_stop=stop.requested)
        problems = [] if power is not None else [f"the meter was not read: {app.poller.failure}"]
        if not is_delivered:
            problems.append(_undelivered(store, settings, is_stopped=stop.requested()))
        if rejected := store.delivery.rejected:
            problems.append(
                f"{counted(rejected, 'row')} not stored, but kept in {settings.storage.data_dir}: see above"
            )
    for problem in problems:
        print(f"power_consumption.py: {problem}", file=sys.stderr)
    return 1 if problems and not stop.requested() else 0


def _read_time(app: App, *, is_silent: bool) -> None:
    """Read the meter's clock before the round is dated: as long as that may take, where the meter has responded."""
    now, timings = app.clock.monotonic(), app.session.timings
    until = max(now, app.session.free_at) + timings.longest_wait_s
    with suppress(SkStackError):
        app.meter.read_clock(until=now + timings.response_timeout_s if is_silent else until)
    app.idle_tasks.look()


def _print(rounds: Sequence[Round]) -> None:
    """Print the readings, a line each."""
    for round_ in rounds:
        for row in round_.rows:
            if isinstance(row, Reading):
                print(f"{row.measured_at.astimezone():%Y-%m-%d %H:%M:%S}  {shown(row)}", flush=True)


def _undelivered(store: Store, settings: Settings, *, is_stopped: bool) -> str:
    too_late = "asked to stop" if is_stopped else f"PostgreSQL has not taken it within {ONCE_DELIVERY_S:.0f} s"
    why = store.delivery.unreachable_reason or too_late
    if store.outbox.rounds_in_memory:
        return f"the round is in no safe place: {why}; {store.outbox.error}"
    return f"the round waits in {settings.storage.data_dir} for the next run: {store.outbox.error or why}"


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
        case Bme280Row():
            return f"{row.temperature_c:.1f} C, {row.humidity_pct:.0f} %, {row.pressure_hpa:.1f} hPa"


def _registers(import_kwh: Decimal | None, export_kwh: Decimal | None) -> list[str]:
    named = (("used", import_kwh), ("sold", export_kwh))
    return [f"{kwh} kWh {name}" for name, kwh in named if kwh is not None]
