"""The loop over the simulated module, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

import pytest

from poller.clock import Clock
from poller.loop import Poller, RadioLog, RoundStore
from poller.sensing import InlineSensing, Source
from skstack.meter import Meter
from skstack.module import Credentials
from skstack.session import Session
from skstack.simulator import (
    INSTANT,
    Household,
    MeterOptions,
    SimulatedMeter,
    SimulatedModule,
    SimulatedPort,
    Timing,
    VirtualClock,
)
from storage.records import CpuTemperatureRow, PowerRow, RadioEventRow, Round, Row
from tests.lab.module import PASSWORD, ROUTE_B_ID

START = datetime(2026, 6, 1, 2, 59, tzinfo=UTC)
RowT = TypeVar("RowT")
NOON_JST = datetime(2026, 6, 1, 3, 0, tzinfo=UTC)


class NoDuties:
    """Has nothing to do between ticks, or nothing but faults."""

    def __init__(self) -> None:
        self.faults = 0

    def work(self, until: float) -> float:
        if self.faults:
            self.faults -= 1
            raise ZeroDivisionError
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
        timing: Timing = INSTANT,
        sources: Sequence[Source] = (),
        **options: object,
    ) -> None:
        self.clock = VirtualClock(START)
        self.time = Clock(self.clock, is_synchronised=lambda: True)
        self.stop_at = START
        household = Household(lambda _day: [watts] * 1440, since=START.timestamp() - 86_400)
        self.module = SimulatedModule(SimulatedMeter(household, MeterOptions(**options)), timing=timing)  # type: ignore[arg-type]  # by name
        self.radio_log = RadioLog(self.time)
        self.session = Session(
            lambda _baud_rate: SimulatedPort(self.module, self.clock),
            Credentials(ROUTE_B_ID, PASSWORD),
            on_event=self.radio_log.note,
            monotonic=self.clock.monotonic,
            sleep=self.clock.sleep,
        )
        self.meter = Meter(self.session, monotonic=self.clock.monotonic)
        self.memory = Memory()
        self.duties = NoDuties()
        self.interval_s = interval_s
        self.sources = list(sources)
        self.poller = self._make_poller(self.memory)

    def add_sensors(self, sources: Sequence[Source]) -> None:
        """Put sensors beside the meter; to be called before the first run."""
        self.sources.extend(sources)
        self.poller = self._make_poller(self.memory)

    def store_in(self, store: RoundStore) -> None:
        """Keep the rounds there instead of in memory; to be called before the first run."""
        self.poller = self._make_poller(store)

    def run_minutes(self, minutes: float) -> None:
        """Poll on the ticks of the next *minutes*."""
        # A virtual wait ends on the tick, and half an interval later the loop is asked to end before the next round.
        self.stop_at = self.clock.now() + timedelta(minutes=minutes, seconds=self.interval_s / 2)
        self.poller.run()

    def _make_poller(self, store: RoundStore) -> Poller:
        return Poller(
            self.session,
            self.meter,
            [InlineSensing(source) for source in self.sources],
            store,
            clock=self.time,
            interval_s=self.interval_s,
            duties=self.duties,
            radio_log=self.radio_log,
            should_stop=lambda: self.clock.now() >= self.stop_at,
        )


def seconds_of(rows: Sequence[PowerRow]) -> list[int]:
    return [row.measured_at.second for row in rows]


def test_a_reading_is_stored_on_every_tick_with_the_ticks_time() -> None:
    home = Home()
    home.run_minutes(3)
    power = home.memory.of(PowerRow)
    assert [row.measured_at for row in power] == [NOON_JST + timedelta(minutes=n) for n in range(3)]
    assert {row.power_w for row in power} == {600}
    # 600 W at 100 V a phase are 6.0 A, whichever phase carries them.
    assert {(row.current_r_a or 0) + (row.current_t_a or 0) for row in power} == {Decimal("6.0")}


def test_sensor_rows_of_a_round_carry_the_same_tick() -> None:
    home = Home(sources=[Source("CPU temperature", lambda tick: CpuTemperatureRow(tick, 48.3))])
    home.run_minutes(3)
    sensed = [row.measured_at for row in home.memory.of(CpuTemperatureRow)]
    assert sensed == [row.measured_at for row in home.memory.of(PowerRow)]


def test_a_failed_poll_writes_no_power_row_and_the_next_one_does() -> None:
    home = Home()
    home.run_minutes(1)
    home.module.faults.lose_replies(3)  # every try of one round
    home.run_minutes(3)
    # The runs end on 12:01, which is therefore not polled; 12:02 is the round that fails.
    assert [row.measured_at for row in home.memory.of(PowerRow)] == [NOON_JST + timedelta(minutes=n) for n in (0, 3, 4)]


@pytest.mark.parametrize(("late_s", "second"), [(4.0, 0), (7.0, 7)])
def test_only_an_answer_over_five_seconds_late_is_stamped_on_arrival(late_s: float, second: int) -> None:
    home = Home()
    home.run_minutes(2)
    home.module.faults.delay_replies(late_s)
    home.run_minutes(1)
    assert seconds_of(home.memory.of(PowerRow)) == [0, 0, second]


def test_a_round_that_outlasts_its_interval_skips_ticks_and_counts_them(caplog: pytest.LogCaptureFixture) -> None:
    home = Home(interval_s=10)
    home.run_minutes(2)
    home.module.faults.delay_replies(19.0)  # within the 20 s after which a question is asked again
    home.run_minutes(1)
    assert home.poller.missed_ticks == 1
    assert "1 ticks missed" in caplog.text


def test_what_happens_to_the_link_is_stored_with_the_next_round() -> None:
    home = Home()
    home.run_minutes(1)
    kinds = [row.kind for row in home.memory.of(RadioEventRow)]
    assert kinds[:3] == ["scan", "join", "recovered"]
    scan = home.memory.of(RadioEventRow)[0]
    assert scan.channel == 0x39
    assert scan.signal_dbm == pytest.approx(0.275 * 0xA7 - 104.27)  # dBm of an LQI; protocol facts 1.6


def test_sensors_are_stored_while_the_meter_is_away() -> None:
    home = Home(sources=[Source("CPU temperature", lambda tick: CpuTemperatureRow(tick, 48.3))])
    home.module.faults.miss_scans(1000)
    home.run_minutes(5)
    assert home.memory.of(PowerRow) == []
    assert len(home.memory.of(CpuTemperatureRow)) == 5


def test_a_clock_that_is_set_back_does_not_stop_the_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home()
    home.run_minutes(2)
    hours_back = timedelta(hours=2)
    real_now = home.clock.now
    monkeypatch.setattr(home.clock, "now", lambda: real_now() - hours_back)
    home.run_minutes(2)
    times = [row.measured_at for row in home.memory.of(PowerRow)]
    assert times[2:] == [NOON_JST + timedelta(minutes=n) - hours_back for n in (3, 4)]


def test_a_clock_that_is_set_forward_between_two_ticks_costs_no_wrong_time(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home()
    home.run_minutes(1)
    real_now, began = home.clock.now, home.clock.now()
    jump = timedelta(hours=2)
    monkeypatch.setattr(home.clock, "now", lambda: real_now() + (jump if real_now() > began else timedelta(0)))
    home.stop_at = began + jump + timedelta(minutes=2, seconds=30)
    home.poller.run()
    assert [row.measured_at for row in home.memory.of(PowerRow)][1:] == [
        began + jump + timedelta(minutes=n) for n in (1, 2)
    ]


def test_a_fault_of_the_program_is_logged_and_the_next_round_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    faults = iter([ZeroDivisionError()])

    def read(tick: datetime) -> Row:
        for fault in faults:
            raise fault
        return CpuTemperatureRow(tick, 48.3)

    home = Home(sources=[Source("CPU temperature", read)])
    home.run_minutes(3)
    assert "a fault of the program; polling goes on" in caplog.text
    assert len(home.memory.of(CpuTemperatureRow)) == 2


@pytest.mark.parametrize("faults", [1, 1000])
def test_faults_between_two_ticks_cost_no_round_and_bring_no_other(faults: int) -> None:
    home = Home()
    home.run_minutes(2)
    home.duties.faults = faults
    before = len(home.module.sends)
    home.run_minutes(3)
    assert len(home.memory.of(PowerRow)) == 5
    assert len(home.module.sends) - before == 3


def test_sensors_that_are_read_late_are_not_stamped_with_the_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(interval_s=3600, sources=[Source("CPU temperature", lambda tick: CpuTemperatureRow(tick, 48.3))])
    real_now, began = home.clock.now, home.clock.now()
    jump = timedelta(minutes=47)  # NTP sets the clock within an hour, past the tick
    monkeypatch.setattr(home.clock, "now", lambda: real_now() + (jump if real_now() > began else timedelta(0)))
    home.stop_at = began + jump + timedelta(minutes=30)
    home.poller.run()
    assert all(real_now() + jump - row.measured_at < timedelta(hours=1) for row in home.memory.of(CpuTemperatureRow))
    assert NOON_JST not in [row.measured_at for row in home.memory.of(CpuTemperatureRow)]


def test_a_session_that_is_lost_at_the_poll_and_back_at_once_does_not_cost_the_minute() -> None:
    home = Home()
    home.run_minutes(2)
    home.module.emit_event(0x26, home.clock.time_s + 59.9)  # the meter ends the session just before the tick
    home.run_minutes(2)
    assert len(home.memory.of(PowerRow)) == 4
    assert seconds_of(home.memory.of(PowerRow)) == [0, 0, 0, 0]  # joined again within the 5 s of a tick
