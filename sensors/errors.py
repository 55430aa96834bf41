"""What can go wrong with a sensor.

SensorError
├── SensorNotFoundError     nothing there, or something else than the sensor
└── SensorNotReadyError     it has just been switched on and needs its time
"""

from __future__ import annotations

from errors import ExplainedError


class SensorError(ExplainedError):
    """No trustworthy value this time. Leave the row out and read again in the next round."""


class SensorNotFoundError(SensorError):
    """The sensor is not where it was looked for. A person has to check wiring, address or path."""


class SensorNotReadyError(SensorError):
    """The sensor is starting. Nothing is wrong yet; if it lasts, another error says so."""
