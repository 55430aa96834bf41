"""From a serial port to a session with the household's smart meter, over a Wi-SUN module that speaks SKSTACK IP.

A Session keeps the link up and sends requests; a Meter knows what the responses mean; a MeterHistory reads its memory.
"""

from skstack.echonet.properties import HalfHour
from skstack.errors import (
    AuthenticationFailedError,
    CommandFailedError,
    FrameError,
    MalformedLineError,
    MeterNotFoundError,
    MeterSilentError,
    ModuleNotRespondingError,
    ModuleUnsupportedError,
    PortLostError,
    SendFailedError,
    SendUnconfirmedError,
    SessionLostError,
    SkStackError,
    SkStackTimeoutError,
    StoppedError,
)
from skstack.events import Dialect, PanDescription
from skstack.link import RadioEvent
from skstack.meter import Meter, Poll
from skstack.meter_history import MeterHistory
from skstack.module import BAUD_RATES, Credentials, prints_binary
from skstack.pan_cache import FilePanCache, PanCache
from skstack.port import FACTORY_BAUD_RATE, Port, PortOpener, SerialPort
from skstack.session import Session
from skstack.timings import RecoveryTimings, SessionTimings

__all__ = [
    "BAUD_RATES",
    "FACTORY_BAUD_RATE",
    "AuthenticationFailedError",
    "CommandFailedError",
    "Credentials",
    "Dialect",
    "FilePanCache",
    "FrameError",
    "HalfHour",
    "MalformedLineError",
    "Meter",
    "MeterHistory",
    "MeterNotFoundError",
    "MeterSilentError",
    "ModuleNotRespondingError",
    "ModuleUnsupportedError",
    "PanCache",
    "PanDescription",
    "Poll",
    "Port",
    "PortLostError",
    "PortOpener",
    "RadioEvent",
    "RecoveryTimings",
    "SendFailedError",
    "SendUnconfirmedError",
    "SerialPort",
    "Session",
    "SessionLostError",
    "SessionTimings",
    "SkStackError",
    "SkStackTimeoutError",
    "StoppedError",
    "prints_binary",
]
