"""ECHONET Lite as a smart meter speaks it: frames, properties, registers and history. Pure: bytes in, values out."""

from skstack.echonet.device import JST, decode_clock
from skstack.echonet.frame import CONTROLLER, METER, NODE_PROFILE, Esv, Frame, Property, encode_property_map
from skstack.echonet.history import MAX_DAY_BACK, DayHistory, ScheduledEnergy, half_hours
from skstack.echonet.identity import MeterIdentity
from skstack.echonet.properties import Epc, MeterReading, decode_power_w
from skstack.echonet.registers import EnergyScale, register_difference

__all__ = [
    "CONTROLLER",
    "JST",
    "MAX_DAY_BACK",
    "METER",
    "NODE_PROFILE",
    "DayHistory",
    "EnergyScale",
    "Epc",
    "Esv",
    "Frame",
    "MeterIdentity",
    "MeterReading",
    "Property",
    "ScheduledEnergy",
    "decode_clock",
    "decode_power_w",
    "encode_property_map",
    "half_hours",
    "register_difference",
]
