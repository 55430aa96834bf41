r"""A simulated Wi-SUN module, the meter behind it and its household. Does no I/O but in its pseudo-terminal.

>>> clock = VirtualClock(datetime(2026, 6, 1, 3, 0, tzinfo=UTC))
>>> meter = SimulatedMeter(Household.typical(), MeterOptions(lacks=frozenset({0xE1})))  # that tells no unit,
>>> module = SimulatedModule(meter, model=MODELS["BP35A1"])
>>> module.faults.habits.append(Habit(lose_share(0.6, Random(1))))  # and is heard badly
>>> port = SimulatedPort(module, clock)  # the driver's port
>>> port.write(b"SKVER\r\n")
>>> port.read(timeout_s=1.0)
b'SKVER\r\n'
>>> port.read(timeout_s=1.0)
b'EVER 1.2.10\r\n'
"""

from skstack.simulator.audit import Sent
from skstack.simulator.devices import Babbling, Deaf, Device
from skstack.simulator.faults import Faults, Hearing, deaf, deaf_on_one_channel, hears_share
from skstack.simulator.habits import (
    Habit,
    Reply,
    add_counts,
    announcements,
    answers,
    delay,
    double,
    everything,
    lone,
    lose,
    lose_share,
    mistake_tid,
    reframe,
    refuse,
    refuse_bare,
    repeat,
    rewrite,
    several,
    shorten,
    take,
)
from skstack.simulator.household import Household, local_day, midnight, typical_day
from skstack.simulator.lines import ALL_NODES, Beacon, Datagram, link_local
from skstack.simulator.meter import MeterOptions, SimulatedMeter
from skstack.simulator.models import (
    INSTANT,
    MODELS,
    REALISTIC,
    TEST_PASSWORD,
    TEST_ROUTE_B_ID,
    Credentials,
    Model,
    Timing,
)
from skstack.simulator.module import SimulatedModule
from skstack.simulator.port import SimulatedPort, VirtualClock
from skstack.simulator.pseudo_terminal import serve, terminal_at
from skstack.simulator.registers import Registers

__all__ = [
    "ALL_NODES",
    "INSTANT",
    "MODELS",
    "REALISTIC",
    "TEST_PASSWORD",
    "TEST_ROUTE_B_ID",
    "Babbling",
    "Beacon",
    "Credentials",
    "Datagram",
    "Deaf",
    "Device",
    "Faults",
    "Habit",
    "Hearing",
    "Household",
    "MeterOptions",
    "Model",
    "Registers",
    "Reply",
    "Sent",
    "SimulatedMeter",
    "SimulatedModule",
    "SimulatedPort",
    "Timing",
    "VirtualClock",
    "add_counts",
    "announcements",
    "answers",
    "deaf",
    "deaf_on_one_channel",
    "delay",
    "double",
    "everything",
    "hears_share",
    "link_local",
    "local_day",
    "lone",
    "lose",
    "lose_share",
    "midnight",
    "mistake_tid",
    "reframe",
    "refuse",
    "refuse_bare",
    "repeat",
    "rewrite",
    "serve",
    "several",
    "shorten",
    "take",
    "terminal_at",
    "typical_day",
]
