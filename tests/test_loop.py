"""The loop over the simulated module, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

import pytest

from poller.loop import Poller, RadioLog
from poller.sensing import InlineSensing, Source
from skstack.bringup import Credentials
from skstack.household import Household
from skstack.meter import Meter
from skstack.session import Session
from skstack.simulated_meter import MeterOptions, SimulatedMeter
from skstack.simulated_models import INSTANT, Timing
from skstack.simulated_port import SimulatedPort, VirtualClock
from skstack.simulator import SimulatedModule
from storage.records import CpuTemperatureRow, PowerRow, RadioEventRow, Round, Row
from tests.fakes_simulator import PASSWORD, ROUTE_B_ID

START = datetime(2026, 6, 1, 2, 59, 57, tzinfo=UTC)
RowT = TypeVar("RowT")
NOON_JST = datetime(2026, 6, 1, 3, 0, tzinfo=UTC)


class NoDuties:
    """Has nothing to do between ticks."""

    def work(self, until: float) -> float:
        return until

    def rows(self) -> Sequence[Row]:
        return ()


@dataclass
class Memory:
    """A store that keeps everything in a list."""

    rounds: list[Round] = field(default_factory=list)

    def write(self, rounds: Round, /) -> None:
        self.rounds.append(rounds)

    def of(self, kind: type[RowT]) -> list[RowT]:
        return [row for stored in self.rounds for row in stored.rows if isinstance(row, kind)]


class Home:
    """A poller beside a simulated household that draws *watts*, always."""

    def __init__(
        self,
        *,
        watts: int = 600,
        interval_s: int = 60,
        minutes: float = 3.0,
        timing: Timing = INSTANT,
        sources: Sequence[Source] = (),
        **options: object,
    ) -> None:
        self.clock = VirtualClock(START)
        self.stop_at = START + timedelta(minutes=minutes)
        household = Household(lambda _day: [watts] * 1440, since=START.timestamp() - 86_400)
        self.module = SimulatedModule(SimulatedMeter(household, MeterOptions(**options)), timing=timing)  # type: ignore[arg-type]  # by name
        self.radio_log = RadioLog(self.clock.now)
        self.session = Session(
            lambda _baud_rate: SimulatedPort(self.module, self.clock),
            Credentials(ROUTE_B_ID, PASSWORD),
            on_event=self.radio_log.note,
            monotonic=self.clock.monotonic,
            sleep=self.clock.sleep,
        )
        self.memory = Memory()
        self.poller = Poller(
            self.session,
            Meter(self.session, monotonic=self.clock.monotonic),
            [InlineSensing(source) for source in sources],
            self.memory,
            clock=self.clock,
            interval_s=interval_s,
            duties=NoDuties(),
            radio_log=self.radio_log,
            should_stop=lambda: self.clock.now() >= self.stop_at,
        )


def test_a_reading_is_stored_on_every_tick_with_the_ticks_time() -> None:
    home = Home()
    home.poller.run()
    power = home.memory.of(PowerRow)
    assert [row.measured_at for row in power] == [NOON_JST + timedelta(minutes=n) for n in range(3)]
    assert {row.power_w for row in power} == {600}
    assert {row.current_r_a + row.current_t_a for row in power if row.current_r_a and row.current_t_a} == {
        Decimal("6.0")
    }


def test_sensor_rows_of_a_round_carry_the_same_tick() -> None:
    home = Home(sources=[Source("CPU temperature", lambda tick: CpuTemperatureRow(tick, 48.3))])
    home.poller.run()
    assert [row.measured_at for row in home.memory.of(CpuTemperatureRow)] == [
        row.measured_at for row in home.memory.of(PowerRow)
    ]


def test_a_failed_poll_writes_no_power_row_and_the_next_one_does() -> None:
    home = Home(minutes=4.0)
    home.module.faults.lose_replies(1000)
    home.session.run_until_up(30.0)
    home.clock.advance_to(NOON_JST.timestamp() - 1)
    home.stop_at = NOON_JST + timedelta(seconds=61)
    home.poller.run()
    assert home.memory.of(PowerRow) == []


def test_an_answer_more_than_five_seconds_late_is_stamped_on_arrival() -> None:
    home = Home(minutes=2.0)
    home.poller.run()  # the meter is known now
    before = len(home.memory.of(PowerRow))
    home.module.faults.delay_replies(7.0)
    home.stop_at += timedelta(minutes=1)
    home.poller.run()
    assert [row.measured_at.second for row in home.memory.of(PowerRow)[before:]] == [7]


def test_an_answer_up_to_five_seconds_late_carries_the_tick() -> None:
    home = Home(minutes=2.0)
    home.poller.run()
    before = len(home.memory.of(PowerRow))
    home.module.faults.delay_replies(4.0)
    home.stop_at += timedelta(minutes=1)
    home.poller.run()
    assert [row.measured_at.second for row in home.memory.of(PowerRow)[before:]] == [0]


def test_a_round_that_outlasts_its_interval_skips_ticks_and_counts_them(caplog: pytest.LogCaptureFixture) -> None:
    home = Home(interval_s=10, minutes=2.0)
    home.poller.run()
    home.module.faults.delay_replies(19.0)  # within the 20 s after which a question is asked again
    home.stop_at += timedelta(minutes=1)
    home.poller.run()
    assert home.poller.missed_ticks == 1
    assert "1 ticks missed" in caplog.text


def test_what_happens_to_the_link_is_stored_with_the_next_round() -> None:
    home = Home()
    home.poller.run()
    kinds = [row.kind for row in home.memory.of(RadioEventRow)]
    assert kinds[:3] == ["scan", "join", "recovered"]
    scan = home.memory.of(RadioEventRow)[0]
    assert scan.channel == 0x39
    assert scan.signal_dbm == pytest.approx(0.275 * 0xA7 - 104.27)  # command reference: dBm of an LQI


def test_sensors_are_stored_while_the_meter_is_away() -> None:
    home = Home(sources=[Source("CPU temperature", lambda tick: CpuTemperatureRow(tick, 48.3))], minutes=5.0)
    home.module.faults.miss_scans(1000)
    home.poller.run()
    assert home.memory.of(PowerRow) == []
    assert len(home.memory.of(CpuTemperatureRow)) == 5


def test_a_meter_without_a_single_value_writes_no_row(caplog: pytest.LogCaptureFixture) -> None:
    home = Home()
    home.poller.run()
    assert None not in {row.power_w for row in home.memory.of(PowerRow)}
    assert "without a single value" not in caplog.text


def test_a_clock_that_is_set_back_does_not_stop_the_polls() -> None:
    home = Home(minutes=3.0)
    real_now, jump = home.clock.now, timedelta(hours=2)
    jumped_at = NOON_JST + timedelta(seconds=30)
    home.clock.now = lambda: real_now() - (jump if real_now() >= jumped_at else timedelta(0))  # type: ignore[method-assign]  # a clock set by hand
    home.stop_at -= jump
    home.poller.run()
    times = [row.measured_at for row in home.memory.of(PowerRow)]
    assert times[0] == NOON_JST
    assert times[1] == NOON_JST - jump + timedelta(minutes=1)
    assert all(time.second == 0 for time in times)
