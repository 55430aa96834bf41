from __future__ import annotations

from datetime import UTC, datetime

import pytest

from skstack.errors import PortLostError
from skstack.simulator.module import SimulatedModule
from skstack.simulator.port import SimulatedPort, VirtualClock
from tests.lab.module import (
    NOON,
    make_meter,
)

# --- the virtual port


def test_a_wait_at_the_port_ends_with_the_first_bytes() -> None:
    clock = VirtualClock(datetime.fromtimestamp(NOON, tz=UTC))
    port = SimulatedPort(SimulatedModule(make_meter(), echo=False), clock)
    port.write(b"SKRESET\r\n")
    assert port.read(10.0) == b"OK\r\n"
    assert clock.monotonic() == pytest.approx(0.6, abs=0.01)


def test_a_wait_at_the_port_ends_at_its_deadline() -> None:
    clock = VirtualClock(datetime.fromtimestamp(NOON, tz=UTC))
    port = SimulatedPort(SimulatedModule(make_meter(), echo=False), clock)
    port.write(b"SKRESET\r\n")
    assert port.read(0.25) == b""
    assert clock.monotonic() == pytest.approx(0.25)
    assert port.read(0) == b""
    assert clock.monotonic() == pytest.approx(0.25)


def test_the_wire_may_spoil_or_swallow_what_it_carries() -> None:
    clock = VirtualClock(datetime.fromtimestamp(NOON, tz=UTC))
    module = SimulatedModule(make_meter(), echo=False)
    port = SimulatedPort(module, clock, wire=lambda chunk: chunk.replace(b"OK\r\n", b"").replace(b"EVER", b"EV\xffR"))
    port.write(b"SKVER\r\n")
    assert port.read(1.0) == b"EV\xffR 1.5.2\r\n"
    assert port.read(1.0) == b""


def test_a_closed_or_unplugged_port_is_lost_and_another_can_be_opened() -> None:
    clock = VirtualClock(datetime.fromtimestamp(NOON, tz=UTC))
    module = SimulatedModule(make_meter(), echo=False)
    port = SimulatedPort(module, clock)
    port.close()
    port.close()
    with pytest.raises(PortLostError, match="closed"):
        port.read(1.0)
    port = SimulatedPort(module, clock)
    port.unplug()
    with pytest.raises(PortLostError, match="unplugged"):
        port.write(b"SKVER\r\n")
    port = SimulatedPort(module, clock)
    port.write(b"SKVER\r\n")
    assert port.read(1.0).startswith(b"EVER")


def test_the_virtual_clock_moves_only_when_waited_for() -> None:
    clock = VirtualClock(datetime(2026, 6, 1, 3, 0, tzinfo=UTC))
    assert (clock.monotonic(), clock.time_s) == (0.0, NOON)
    clock.sleep(90)
    clock.sleep(-1)
    clock.advance_to(NOON)
    assert clock.now() == datetime(2026, 6, 1, 3, 1, 30, tzinfo=UTC)
    assert clock.monotonic() == 90.0
    with pytest.raises(ValueError, match="aware"):
        VirtualClock(datetime(2026, 6, 1))  # noqa: DTZ001 - that is what is refused
