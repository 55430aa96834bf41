"""What the radio gives, as it is stored."""

from __future__ import annotations

from datetime import datetime

from poller.clock import Clock
from skstack import RadioEvent
from skstack.echonet import MeterReading
from storage.records import PowerRow, RadioEventRow


def radio_event_row(event: RadioEvent, clock: Clock) -> RadioEventRow:
    """Return *event* as it is stored; where it happened several times, its detail says so."""
    detail = event.detail
    if event.times > 1:
        detail = f"{detail}, {event.times} times" if detail else f"{event.times} times"
    return RadioEventRow(
        happened_at=clock.at(event.happened_at),
        kind=event.kind,
        duration_s=event.duration_s,
        channel=event.channel,
        pan_id=event.pan_id,
        signal_dbm=event.signal_dbm,
        detail=detail,
    )


def power_row(measured_at: datetime, reading: MeterReading) -> PowerRow:
    """Return *reading* as it is stored."""
    return PowerRow(
        measured_at,
        reading.power_w,
        reading.current_r_a,
        reading.current_t_a,
        reading.import_kwh,
        reading.export_kwh,
    )
