"""A sensor that fails or hangs costs its own rows only, is said once, and comes back by itself."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from poller.sensing import Sensing, Source, ThreadSensing
from sensors.errors import SensorError, SensorNotReadyError
from storage.records import CpuTemperatureRow, Reading

TICK = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LONG_S = 30.0


def row(tick: datetime) -> Reading:
    return CpuTemperatureRow(tick, 48.3)


def failing(_tick: datetime) -> Reading:
    raise SensorError("CPU: no sensor")


@pytest.mark.parametrize("make", [Sensing, ThreadSensing])
def test_a_reading_carries_the_tick(make: Callable[[Source], Sensing]) -> None:
    sensing = make(Source("CPU temperature", row))
    sensing.start(TICK)
    assert sensing.collect(LONG_S) == CpuTemperatureRow(TICK, 48.3)
    sensing.close()


@pytest.mark.parametrize("make", [Sensing, ThreadSensing])
def test_a_failing_sensor_warns_once_and_says_when_it_is_back(
    make: Callable[[Source], Sensing], caplog: pytest.LogCaptureFixture
) -> None:
    readers = [failing, failing, failing, row]
    sensing = make(Source("CPU temperature", lambda tick: readers.pop(0)(tick)))
    with caplog.at_level(logging.INFO):
        rows = []
        for _ in range(4):
            sensing.start(TICK)
            rows.append(sensing.collect(LONG_S))
    assert rows == [None, None, None, CpuTemperatureRow(TICK, 48.3)]
    assert [record.getMessage() for record in caplog.records] == [
        "CPU: no sensor; no reading of the CPU temperature is stored until it responds again",
        "CPU temperature is back after 3 failed readings",
    ]
    sensing.close()


@pytest.mark.parametrize("make", [Sensing, ThreadSensing])
def test_a_sensor_that_does_not_become_ready_is_said_to_be_faulty_once(
    make: Callable[[Source], Sensing], caplog: pytest.LogCaptureFixture
) -> None:
    errors = [SensorNotReadyError("booting")] * 3 + [SensorError("no value")] * 3 + [SensorNotReadyError("booting")]

    def read(tick: datetime) -> Reading:
        if errors:
            raise errors.pop(0)
        return row(tick)

    sensing = make(Source("MH-Z19", read))
    with caplog.at_level(logging.INFO):
        for _ in range(8):
            sensing.start(TICK)
            sensing.collect(LONG_S)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "booting; no reading of the MH-Z19 is stored until it responds again"),
        ("WARNING", "no value; no reading of the MH-Z19 is stored until it responds again"),
        ("INFO", "MH-Z19 is back after 7 failed readings"),
    ]
    sensing.close()


def test_a_hung_sensor_is_left_behind_and_comes_back_with_its_next_reading() -> None:
    begun, hang = threading.Event(), threading.Event()
    asked: list[datetime] = []

    def read(tick: datetime) -> Reading:
        asked.append(tick)
        if len(asked) == 1:
            begun.set()
            hang.wait(LONG_S)
        return row(tick)

    later = TICK.replace(minute=2)
    sensing = ThreadSensing(Source("BME280", read))
    sensing.start(TICK)
    assert begun.wait(LONG_S)
    assert sensing.collect(0.0) is None
    sensing.start(TICK.replace(minute=1))
    assert sensing.collect(0.0) is None
    assert asked == [TICK]  # no second order while the first is under way
    hang.set()
    while sensing.collect(1.0) is None:  # the reading of 12:00 came after its round: it must not be stored as later
        sensing.start(later)
    assert asked[-1] == later
    sensing.close()


def test_a_late_reading_is_not_taken_for_the_next_round() -> None:
    go_on = threading.Event()
    done = threading.Event()

    def read(tick: datetime) -> Reading:
        go_on.wait(LONG_S)
        done.set()
        return row(tick)

    sensing = ThreadSensing(Source("BME280", read))
    sensing.start(TICK)
    assert sensing.collect(0.0) is None
    go_on.set()
    assert done.wait(LONG_S)
    next_tick = TICK.replace(minute=1)
    collected = None
    while collected is None:
        sensing.start(next_tick)
        collected = sensing.collect(1.0)
    assert collected == CpuTemperatureRow(next_tick, 48.3)
    sensing.close()


@pytest.mark.parametrize("looks", [0, 2], ids=["stopped before", "stopped meanwhile"])
def test_a_hung_sensor_does_not_hold_up_the_end_and_that_is_no_failure_of_it(
    looks: int, caplog: pytest.LogCaptureFixture
) -> None:
    hang = threading.Event()
    sensing = ThreadSensing(Source("BME280", lambda tick: row(tick) if hang.wait(LONG_S) else failing(tick)))
    sensing.start(TICK)
    goes_on = iter([False] * looks)
    began = time.monotonic()
    assert sensing.collect(LONG_S, should_stop=lambda: next(goes_on, True)) is None
    assert time.monotonic() - began < LONG_S / 3
    assert caplog.text == ""
    hang.set()
    sensing.close()


def test_what_is_there_when_the_poller_is_to_stop_is_taken() -> None:
    closed = threading.Event()
    sensing = ThreadSensing(Source("BME280", row, closed.set))
    sensing.start(TICK)
    sensing.close()
    assert closed.wait(LONG_S)  # so its reading is there
    assert sensing.collect(LONG_S, should_stop=lambda: True) == row(TICK)


def test_a_fault_of_the_program_ends_neither_the_worker_nor_the_poller(caplog: pytest.LogCaptureFixture) -> None:
    def faulty(_tick: datetime) -> Reading:
        raise ZeroDivisionError

    sensing = ThreadSensing(Source("BME280", faulty))
    for _ in range(2):
        sensing.start(TICK)
        assert sensing.collect(LONG_S) is None
    assert "a fault of the program" in caplog.text
    sensing.close()


def test_closing_closes_the_sensor() -> None:
    closed = threading.Event()
    for make in (Sensing, ThreadSensing):
        closed.clear()
        make(Source("BME280", row, closed.set)).close()
        assert closed.wait(LONG_S)
