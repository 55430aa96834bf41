"""What can go wrong with a sensor.

SensorError
├── SensorNotFoundError     nothing there, or something else than the sensor
└── SensorNotReadyError     it has just got its power and needs its time
"""

from __future__ import annotations


class SensorError(Exception):
    """No trustworthy value this time. Leave the row out and ask again at the next round.

    *what* went wrong; *remedy*: what the household can do about it, empty where that is nothing. Both are for people.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        """Show both, as "what: remedy"."""
        super().__init__(f"{what}: {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy


class SensorNotFoundError(SensorError):
    """The sensor is not where it was looked for. A person has to check wiring, address or path."""


class SensorNotReadyError(SensorError):
    """The sensor is starting. Nothing is wrong yet; if it lasts, another error says so."""
