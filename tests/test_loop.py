"""The loop over the simulated module, in virtual time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from poller.sensing import Source
from skstack import Poll
from skstack.echonet import Frame
from skstack.simulator import Habit
from storage.records import CpuTemperatureRow, PowerRow, RadioEventRow, Reading
from tests.lab.clock import NOON
from tests.lab.habits import delay, late, lost, refuse, rewrite, several, shorten
from tests.lab.home import Home
from tests.lab.scans import deaf_for

# Said while there is nothing to say. Source: Machine Readable Appendix, release M, class 0x0288.
NO_DATA = {
    0xE7: bytes.fromhex("7FFFFFFE"),
    0xE8: bytes.fromhex("7FFE7FFE"),
    0xE0: bytes.fromhex("FFFFFFFE"),
    0xE3: bytes.fromhex("FFFFFFFE"),
}


def no_data(epc: int, _edt: bytes) -> bytes:
    return NO_DATA[epc]


def asks_for(request: Frame, *epcs: int) -> bool:
    return tuple(each.epc for each in request.properties) == epcs


def read_cpu(tick: datetime) -> Reading:
    return CpuTemperatureRow(tick, 48.3)


@pytest.fixture
def _machine_in_japan(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def home_of(read: Callable[[datetime], Reading] | None = None, **options: Any) -> Home:
    """Return a home in which nothing but the polls goes on, with a sensor that *read* reads."""
    sources = [Source("CPU temperature", read)] if read else []
    return Home(idle_tasks=False, sensors=lambda _clock: sources, **options)


def seconds_of(rows: Sequence[PowerRow]) -> list[int]:
    return [row.measured_at.second for row in rows]


def test_a_reading_is_stored_on_every_tick_with_the_ticks_time() -> None:
    home = home_of()
    home.run_minutes(3)
    power = home.of(PowerRow)
    assert [row.measured_at for row in power] == [NOON + timedelta(minutes=n) for n in range(3)]
    assert {row.power_w for row in power} == {600}
    # 600 W at 100 V a phase are 6.0 A, whichever phase carries them.
    assert {(row.current_r_a or 0) + (row.current_t_a or 0) for row in power} == {Decimal("6.0")}


def test_sensor_rows_of_a_round_carry_the_same_tick() -> None:
    home = home_of(read_cpu)
    home.run_minutes(3)
    sensed = [row.measured_at for row in home.of(CpuTemperatureRow)]
    assert sensed == [row.measured_at for row in home.of(PowerRow)]


def test_a_failed_poll_writes_no_power_row_and_the_next_one_does() -> None:
    home = home_of()
    home.run_minutes(1)
    home.module.faults.habits.append(lost(3))  # every try of one round
    home.run_minutes(3)
    assert [row.measured_at for row in home.of(PowerRow)] == [NOON + timedelta(minutes=n) for n in (0, 2, 3)]


@pytest.mark.parametrize(("late_s", "second"), [(4.0, 0), (7.0, 7)])
def test_only_a_response_over_five_seconds_late_is_stamped_on_arrival(late_s: float, second: int) -> None:
    home = home_of()
    home.run_minutes(2)
    home.module.faults.habits.append(late(late_s))
    home.run_minutes(1)
    assert seconds_of(home.of(PowerRow)) == [0, 0, second]


def test_a_late_response_without_the_power_is_a_reading_all_the_same() -> None:
    home = home_of(interval_s=30)
    home.run_minutes(1)
    # The poll of 12:01:00 is repeated after 20 s and given up after 29; its first attempt's response comes then.
    home.simulated.habits.append(Habit(refuse(0xE7), several, times=1))
    home.module.faults.habits.append(late(29.3, 2))
    home.run_minutes(1.5)
    [without] = [row for row in home.of(PowerRow) if row.power_w is None]
    assert without.import_kwh is not None
    assert without.measured_at == NOON + timedelta(minutes=1, seconds=29)


def test_what_comes_late_of_the_rest_of_a_reading_is_no_row_of_its_own() -> None:
    """A meter that gives two properties at once: the request for the registers follows that for the power."""
    home = home_of()
    home.simulated.habits.append(Habit(shorten(2)))
    home.run_minutes(2)
    of_registers = Habit(delay(25.0), lambda reply: reply.request is not None and asks_for(reply.request, 0xE0, 0xE3))
    home.module.faults.habits.append(of_registers)
    home.run_minutes(1)
    home.module.faults.habits.clear()
    home.run_minutes(1)
    power = home.of(PowerRow)
    assert [row.measured_at for row in power] == [NOON + timedelta(minutes=n) for n in range(4)]
    assert [row.power_w for row in power] == [600] * 4
    assert [row.import_kwh is None for row in power] == [False, False, True, False]


def test_a_round_that_outlasts_its_interval_skips_ticks_and_counts_them(caplog: pytest.LogCaptureFixture) -> None:
    home = home_of(interval_s=10)
    home.run_minutes(2)
    home.module.faults.habits.append(late(19.0))  # within the 20 s after which a request is repeated
    home.run_minutes(1)
    assert home.poller.missed_ticks == 1
    assert "1 tick missed" in caplog.text
    caplog.clear()
    home.module.faults.habits.append(late(19.0))
    home.run_minutes(1)
    assert home.poller.missed_ticks == 2
    assert caplog.text == ""  # counted, and said again in an hour at the earliest


@pytest.mark.usefixtures("_machine_in_japan")
def test_a_meter_that_responds_without_values_is_logged_once_and_once_that_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "poller")
    home = home_of()
    home.run_minutes(1)
    caplog.clear()
    home.simulated.habits += [Habit(rewrite(epc, partial(no_data, epc))) for epc in NO_DATA]
    home.run_minutes(10)
    assert home.of(PowerRow)[1:] == []
    home.simulated.habits.clear()
    home.run_minutes(20)
    assert [record.getMessage() for record in caplog.records if record.name == "poller.loop"] == [
        "no reading of the meter: it responded without a single value",
        "the meter has responded to every poll since 12:11 JST; failed polls before: 10",
    ]


@pytest.mark.system
def test_the_log_of_a_healthy_day_is_that_of_its_start(caplog: pytest.LogCaptureFixture) -> None:
    """With the renewals of the session, the announcements and all that goes on between two polls."""
    caplog.set_level(logging.INFO)
    home = Home()
    home.run_minutes(24 * 60)
    assert len(home.of(PowerRow)) == 24 * 60
    assert [(record.levelname, record.getMessage().split()[0]) for record in caplog.records] == [
        ("INFO", "module"),
        ("INFO", "scanning"),
        ("INFO", "joined"),
        ("INFO", "first"),
        ("INFO", "the"),
    ]


def test_what_happens_to_the_link_is_stored_with_the_next_round() -> None:
    home = home_of()
    home.run_minutes(1)
    kinds = [row.kind for row in home.of(RadioEventRow)]
    assert kinds[:2] == ["scan", "join"]
    scan = home.of(RadioEventRow)[0]
    assert scan.channel == 0x39
    assert scan.signal_dbm == pytest.approx(0.275 * 0xA7 - 104.27)  # dBm of an LQI, as signal_dbm() says


def test_sensors_are_stored_while_the_meter_is_unreachable() -> None:
    home = home_of(read_cpu)
    home.module.faults.hearing = deaf_for(1000)
    home.run_minutes(5)
    assert home.of(PowerRow) == []
    assert len(home.of(CpuTemperatureRow)) == 5


def set_clock(home: Home, ahead: timedelta, in_s: float = 1.0) -> None:
    """Let somebody set the machine's clock in a moment."""
    home.later((in_s, lambda _radio: setattr(home.machine, "ahead", ahead)))


def test_a_clock_that_is_set_back_does_not_stop_the_polls() -> None:
    home = home_of()
    home.run_minutes(2)
    set_clock(home, timedelta(hours=-2))
    home.run_minutes(2)
    times = [row.measured_at for row in home.of(PowerRow)]
    assert times[2:] == [NOON + timedelta(hours=-2, minutes=n) for n in (2, 3)]


def test_a_clock_that_is_set_forward_between_two_ticks_costs_no_wrong_time() -> None:
    home = home_of()
    home.run_minutes(1)
    set_clock(home, timedelta(hours=2))
    home.run_minutes(2)
    times = [row.measured_at for row in home.of(PowerRow)]
    assert times[1:] == [NOON + timedelta(hours=2, minutes=n) for n in (1, 2)]


def test_a_fault_of_the_program_is_logged_and_the_next_round_is_taken(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = iter([ZeroDivisionError()])
    home = home_of(read_cpu)
    poll = home.meter.poll

    def faulty(*, until: float) -> Poll | None:
        for fault in faults:
            raise fault
        return poll(until=until)

    monkeypatch.setattr(home.meter, "poll", faulty)
    home.run_minutes(3)
    assert "a fault of the program; polling goes on" in caplog.text
    assert len(home.of(CpuTemperatureRow)) == 2


@pytest.mark.parametrize("faults", [1, 1000])
def test_faults_between_two_ticks_cost_no_round_and_bring_no_other(faults: int) -> None:
    home = home_of()
    home.run_minutes(2)
    pending = iter(range(faults))

    def fail() -> None:
        for _ in pending:
            raise ZeroDivisionError

    home.between_ticks = fail
    before = len(home.module.sends)
    home.run_minutes(3)
    assert len(home.of(PowerRow)) == 5
    assert len(home.module.sends) - before == 3


def test_a_fault_that_stays_is_logged_once_of_each_kind_and_met_ever_more_rarely(
    caplog: pytest.LogCaptureFixture,
) -> None:
    home = home_of()
    home.run_minutes(2)
    met: list[float] = []

    def fail() -> None:
        met.append(home.clock.monotonic())
        raise ZeroDivisionError if len(met) % 2 else KeyError

    home.between_ticks = fail
    home.run_minutes(3)
    said = [record for record in caplog.records if record.getMessage() == "a fault of the program; polling goes on"]
    assert [record.exc_info[0] for record in said if record.exc_info] == [ZeroDivisionError, KeyError]
    # 1, 2, 4, 8 and then 10 s apart: two before the first tick, nine in each of the three minutes that follow.
    assert len(met) <= 2 + 3 * 9
    assert len(home.of(PowerRow)) == 5


def test_sensors_that_are_read_late_are_not_stamped_with_the_tick() -> None:
    home = home_of(read_cpu, interval_s=3600)
    set_clock(home, timedelta(minutes=47))  # NTP sets the clock within an hour, past the tick
    home.run_minutes(30)
    times = [row.measured_at for row in home.of(CpuTemperatureRow)]
    assert times
    assert all(home.machine.now() - at < timedelta(hours=1) for at in times)
    assert NOON not in times


def test_a_session_that_is_lost_at_the_poll_and_back_at_once_does_not_cost_the_minute() -> None:
    home = home_of()
    home.run_minutes(2)
    home.module.emit_event(0x26, home.clock.time_s + 2.9)  # the meter ends the session just before the tick
    home.run_minutes(2)
    assert len(home.of(PowerRow)) == 4
    assert seconds_of(home.of(PowerRow)) == [0, 0, 0, 0]  # joined again within the 5 s of a tick


def test_what_was_not_learnt_after_one_poll_is_learnt_before_the_next_which_may_be_an_hour_away() -> None:
    home = home_of(interval_s=3600)
    lost = iter(range(3))

    def lose_map(request: Frame, response: Frame | None) -> Frame | None:
        """Lose every response to one request for the property map, of which three attempts are made."""
        is_lost = 0x9F in {each.epc for each in request.properties} and next(lost, None) is not None
        return None if is_lost else response

    home.tamper(lose_map)
    home.run(timedelta(minutes=5))
    assert home.meter.is_identified
    assert home.meter.has_looked_at_clock


def test_learning_costs_no_tick_where_it_fits_before_the_next() -> None:
    home = home_of(interval_s=10)
    home.simulated.habits.append(Habit(delay(3.0)))  # each response
    home.run_minutes(3)
    assert home.meter.is_identified
    assert [row.measured_at for row in home.of(PowerRow)] == [NOON + timedelta(seconds=10 * n) for n in range(18)]


def test_what_never_fits_before_a_tick_is_learnt_all_the_same() -> None:
    home = home_of(interval_s=10)
    home.simulated.habits.append(Habit(delay(11.0)))
    home.run_minutes(5)
    assert home.meter.is_identified
    assert len(home.of(PowerRow)) > 10
