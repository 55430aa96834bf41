r"""A simulated Wi-SUN module, the meter behind it and its household. Does no I/O.

>>> clock = VirtualClock(datetime(2026, 6, 1, 3, 0, tzinfo=UTC))
>>> meter = SimulatedMeter(Household.typical(), MeterOptions(lacks=frozenset({0xE1})))  # that gives no unit,
>>> module = SimulatedModule(meter, model=MODELS["BP35A1"])
>>> module.faults.habits.append(Habit(lambda reply: (), times=3))  # and is heard badly at first
>>> port = SimulatedPort(module, clock)  # the driver's port
>>> port.write(b"SKVER\r\n")
>>> port.read(timeout_s=1.0)
b'SKVER\r\n'
>>> port.read(timeout_s=1.0)
b'EVER 1.2.10\r\n'
"""

from skstack.simulator.faults import Hearing
from skstack.simulator.habits import Effect, Habit, Reply
from skstack.simulator.household import Household, local_day, midnight
from skstack.simulator.lines import ALL_NODES, Beacon, Datagram, link_local
from skstack.simulator.meter import SimulatedMeter
from skstack.simulator.models import INSTANT, MODELS, REALISTIC, Timing
from skstack.simulator.module import SimulatedModule
from skstack.simulator.options import TEST_PASSWORD, TEST_ROUTE_B_ID, MeterOptions
from skstack.simulator.port import SimulatedPort, VirtualClock

__all__ = [
    "ALL_NODES",
    "INSTANT",
    "MODELS",
    "REALISTIC",
    "TEST_PASSWORD",
    "TEST_ROUTE_B_ID",
    "Beacon",
    "Datagram",
    "Effect",
    "Habit",
    "Hearing",
    "Household",
    "MeterOptions",
    "Reply",
    "SimulatedMeter",
    "SimulatedModule",
    "SimulatedPort",
    "Timing",
    "VirtualClock",
    "link_local",
    "local_day",
    "midnight",
]
