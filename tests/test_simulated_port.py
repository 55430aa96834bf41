"""Virtual time and the simulated port: a wait ends with what comes first."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from skstack import PortLostError
from skstack.simulator import SimulatedModule, SimulatedPort, VirtualClock
from tests.lab.devices import Babbling, Deaf
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


def test_a_closed_port_is_lost_and_another_can_be_opened() -> None:
    clock = VirtualClock(datetime.fromtimestamp(NOON, tz=UTC))
    module = SimulatedModule(make_meter(), echo=False)
    port = SimulatedPort(module, clock)
    port.close()
    port.close()
    with pytest.raises(PortLostError, match="closed"):
        port.read(1.0)
    with pytest.raises(PortLostError, match="closed"):
        port.write(b"SKVER\r\n")
    port = SimulatedPort(module, clock)
    port.write(b"SKVER\r\n")
    assert port.read(1.0).startswith(b"EVER")


def test_a_signal_ends_a_read_and_not_a_sleep() -> None:
    clock = VirtualClock(datetime.fromtimestamp(NOON, tz=UTC))
    port = SimulatedPort(SimulatedModule(make_meter(), echo=False), clock)
    came: list[float] = []
    for at_s in (0.2, 2.0, 9.0):
        clock.signal_at(at_s, lambda: came.append(clock.monotonic()))
    port.write(b"SKRESET\r\n")
    assert port.read(10.0) == b""
    assert clock.monotonic() == 0.2
    assert port.read(10.0) == b"OK\r\n"
    clock.sleep(5.0)
    assert clock.monotonic() == pytest.approx(5.6, abs=0.01)
    assert came == [0.2, 2.0]
    assert clock.next_signal_s == 9.0


# --- devices that are no module


def test_a_dripping_device_says_a_byte_now_and_then_and_never_a_line() -> None:
    clock = VirtualClock(datetime.fromtimestamp(NOON, tz=UTC))
    port = SimulatedPort(Babbling.drip(start=NOON), clock)
    port.write(b"SKVER\r\n")
    got = [port.read(1.0) for _ in range(101)]
    assert got == [b"."] * 101
    assert clock.monotonic() == pytest.approx(15.0)


def test_a_flooding_device_fills_the_line_however_often_it_is_read() -> None:
    clock = VirtualClock(datetime.fromtimestamp(NOON, tz=UTC))
    port = SimulatedPort(Babbling.flood(b"EVENT 20\r\n", start=NOON), clock)
    got = b""
    while clock.monotonic() < 10.0:
        got += port.read(1.0)
    assert len(got) == pytest.approx(115_200, abs=200)  # 10 s of 115200 baud
    assert set(got.split(b"\r\n")) == {b"EVENT 20", b""}


def test_a_deaf_device_says_nothing_to_anything() -> None:
    clock = VirtualClock(datetime.fromtimestamp(NOON, tz=UTC))
    port = SimulatedPort(Deaf(), clock)
    for _ in range(1000):
        port.write(b"SKVER\r\n")
    assert port.read(30.0) == b""
    assert clock.monotonic() == 30.0


def test_a_device_that_never_reads_lets_a_write_time_out_once_the_terminal_is_full() -> None:
    clock = VirtualClock(datetime.fromtimestamp(NOON, tz=UTC))
    port = SimulatedPort(Deaf(reads=False), clock)
    port.write(bytes(4096))
    assert clock.monotonic() == 0.0
    with pytest.raises(PortLostError, match=r"took no data for 2\.0 s"):
        port.write(b"SKVER\r\n")
    assert clock.monotonic() == 2.0


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
