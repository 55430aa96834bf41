"""No row is kept before its time is known, and no time is given twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from poller.clock import Clock
from poller.dating import Dating
from skstack.simulator import VirtualClock
from storage.records import CpuTemperatureRow, EnergyRow, MeterRow, PowerRow, RadioEventRow, Round, Row

NOON = datetime(2026, 6, 1, 3, 0, tzinfo=UTC)  # in Japan
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


class Keeping:
    """Readings a minute apart, dated by a machine that may be wrong, and what was kept of them."""

    def __init__(self, *, ahead: timedelta = timedelta(0), synchronised: bool = False) -> None:
        self._true = VirtualClock(NOON)
        self.monotonic, self.sleep = self._true.monotonic, self._true.sleep
        self.ahead = ahead
        self.synchronised = synchronised
        self.rows: list[Row] = []
        self.clock = Clock(self, is_synchronised=lambda: self.synchronised)
        self.dating = Dating(self.clock, lambda stored: self.rows.extend(stored.rows), interval_s=60)

    def now(self) -> datetime:
        return self._true.now() + self.ahead

    def read(self, power_w: int) -> None:
        """Read the meter now, and let a minute pass."""
        self.dating.write(Round((power(self.clock.now(), power_w),)))
        self.sleep(60)

    def be_set(self) -> None:
        """Let a time server set the machine's clock."""
        self.ahead, self.synchronised = timedelta(0), True
        self.clock.update()
        self.dating.release()

    def times(self) -> list[datetime]:
        return [row.measured_at for row in self.rows if isinstance(row, PowerRow)]


def power(at: datetime, power_w: int = 0) -> PowerRow:
    return PowerRow(at, power_w, None, None, None, None)


def test_rows_of_a_settled_clock_are_kept_at_once() -> None:
    keeping = Keeping(synchronised=True)
    keeping.read(100)
    assert keeping.rows == [power(NOON, 100)]


def test_a_fault_while_a_round_is_kept_costs_no_round() -> None:
    keeping = Keeping(synchronised=True)
    faults = [MemoryError()]
    kept: list[Round] = []

    def keep(stored: Round) -> None:
        if faults:
            raise faults.pop()
        kept.append(stored)

    dating = Dating(keeping.clock, keep, interval_s=60)
    with pytest.raises(MemoryError):
        dating.write(Round((power(NOON, 100),)))
    dating.write(Round((power(NOON + MINUTE, 200),)))
    assert [stored.rows for stored in kept] == [(power(NOON, 100),), (power(NOON + MINUTE, 200),)]


def test_a_round_that_cannot_be_kept_at_all_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    keeping = Keeping(synchronised=True)
    kept: list[Round] = []

    def keep(stored: Round) -> None:
        if power(NOON, 100) in stored.rows:
            raise KeyError("a fault of ours")
        kept.append(stored)

    dating = Dating(keeping.clock, keep, interval_s=60)
    with pytest.raises(KeyError):
        dating.write(Round((power(NOON, 100),)))
    for _ in range(2):  # three attempts in all
        with pytest.raises(KeyError):
            dating.release()
    dating.write(Round((power(NOON + MINUTE, 200),)))
    assert [stored.rows for stored in kept] == [(power(NOON + MINUTE, 200),)]
    assert "a round cannot be kept and is lost" in caplog.text


@pytest.mark.parametrize("ahead", [9 * HOUR, timedelta(days=-400, microseconds=250_000), timedelta(0)])
def test_rows_wait_until_the_time_is_known_and_get_the_one_at_which_they_were_taken(ahead: timedelta) -> None:
    keeping = Keeping(ahead=ahead)
    for power_w in (100, 200, 300):
        keeping.read(power_w)
    assert keeping.rows == []
    keeping.be_set()
    keeping.read(400)
    assert keeping.rows == [power(NOON + minute * MINUTE, 100 * (minute + 1)) for minute in range(4)]


def test_the_meters_clock_dates_what_waits() -> None:
    keeping = Keeping(ahead=9 * HOUR)
    keeping.read(100)
    keeping.clock.compare(NOON + MINUTE, keeping.monotonic())
    keeping.clock.update()
    keeping.dating.release()
    assert keeping.times() == [NOON + 30 * SECOND]  # the middle of the minute that the meter shows


def test_rows_wait_for_a_quarter_of_an_hour_at_most_also_without_any_meter() -> None:
    """A sensor's readings are kept while the module is missing."""
    keeping = Keeping()
    for number in range(20):
        keeping.clock.update()
        keeping.dating.write(Round((CpuTemperatureRow(keeping.clock.now(), float(number)),)))
        assert len(keeping.rows) == (0 if number < 15 else number + 1)
        keeping.sleep(60)
    assert keeping.rows == [CpuTemperatureRow(NOON + number * MINUTE, float(number)) for number in range(20)]


def test_the_end_keeps_what_waits_by_the_machines_clock() -> None:
    keeping = Keeping(ahead=9 * HOUR)
    keeping.read(100)
    keeping.dating.close()
    assert keeping.times() == [NOON + 9 * HOUR]


def test_radio_events_move_and_the_rows_that_carry_the_meters_time_do_not() -> None:
    keeping = Keeping(ahead=9 * HOUR)
    wrong = keeping.clock.now()
    half_hour = EnergyRow(NOON, Decimal("1.0"), None, "notified")
    meter = MeterRow(NOON, "000016", "SIM0000001", "F", 1, Decimal("0.1"), 6)
    keeping.dating.write(Round((CpuTemperatureRow(wrong, 48.3), RadioEventRow(wrong, "scan", 3.5), half_hour, meter)))
    keeping.be_set()
    assert keeping.rows == [CpuTemperatureRow(NOON, 48.3), RadioEventRow(NOON, "scan", 3.5), half_hour, meter]


def test_a_round_that_is_refused_holds_up_no_other() -> None:
    keeping = Keeping()
    kept: list[Round] = []

    def keep(stored: Round) -> None:
        if not stored.rows:
            raise ValueError("a round has rows")
        kept.append(stored)

    dating = Dating(keeping.clock, keep, interval_s=60)
    first, second = (Round((power(NOON + number * MINUTE),)) for number in range(2))
    for stored in (first, Round(()), second):
        dating.write(stored)
    keeping.be_set()
    with pytest.raises(ValueError, match="a round has rows"):
        dating.release()
    dating.release()
    assert kept == [first, second]


# --- which time a reading carries


def test_readings_carry_their_tick_up_to_five_seconds_after_it() -> None:
    dating = Keeping(synchronised=True).dating
    assert dating.stamp(NOON, NOON) == NOON
    assert dating.stamp(NOON, NOON + timedelta(seconds=5)) == NOON
    assert dating.stamp(NOON, NOON + timedelta(seconds=5.1)) == NOON + timedelta(seconds=5)
    assert dating.stamp(NOON, NOON + timedelta(seconds=42.9)) == NOON + timedelta(seconds=42)


def test_a_tick_that_was_given_before_is_not_given_again() -> None:
    keeping = Keeping(synchronised=True)
    stamps = []
    for _ in range(4):  # the clock is set back each time
        stamps.append(keeping.dating.stamp(NOON, NOON + timedelta(seconds=1.5)))
        keeping.dating.write(Round((power(stamps[-1]),)))
    assert stamps == [NOON, NOON + SECOND, NOON + 2 * SECOND, NOON + 3 * SECOND]


def test_all_readings_of_a_round_carry_one_tick() -> None:
    keeping = Keeping(synchronised=True)
    stamps = [keeping.dating.stamp(NOON, NOON + timedelta(seconds=late_s)) for late_s in (0.0, 0.8, 3.1)]
    assert stamps == [NOON] * 3


def test_a_round_without_readings_takes_no_time() -> None:
    keeping = Keeping(synchronised=True)
    keeping.dating.write(Round((RadioEventRow(NOON, "scan", 3.5),)))
    assert keeping.dating.stamp(NOON, NOON) == NOON


def test_what_was_dated_wrongly_at_first_takes_the_time_that_it_was_given_in_the_end() -> None:
    keeping = Keeping(ahead=HOUR)
    keeping.read(100)
    keeping.be_set()
    assert keeping.dating.stamp(NOON + HOUR, NOON + HOUR) == NOON + HOUR
    assert keeping.dating.stamp(NOON, NOON) == NOON + SECOND


def test_the_memory_of_what_was_given_reaches_back_a_month() -> None:
    keeping = Keeping(synchronised=True)
    late = timedelta(seconds=7)
    for day in range(100):
        for at in (NOON, NOON + late):  # a tick, and a second that is none
            keeping.dating.write(Round((power(at + timedelta(days=day)),)))
    month_ago = NOON + timedelta(days=100 - 31)
    assert keeping.dating.stamp(month_ago, month_ago) != month_ago
    assert keeping.dating.stamp(None, month_ago + late) != month_ago + late
    assert keeping.dating.stamp(NOON, NOON) == NOON  # and is bounded


def test_rows_of_any_kind_are_moved_whole_seconds() -> None:
    """A clock is not right to the millisecond, and the times of readings are whole seconds."""
    keeping = Keeping(ahead=timedelta(seconds=0.3))
    tick = keeping.clock.now().replace(microsecond=0)
    keeping.dating.write(Round((power(tick), replace(power(tick), measured_at=tick + MINUTE))))
    keeping.be_set()
    assert keeping.times() == [NOON, NOON + MINUTE]


@pytest.mark.parametrize(
    ("arrived", "stamped"),
    [
        (timedelta(seconds=-0.08), timedelta(seconds=-1)),  # 11:59:59.92
        (timedelta(seconds=0.3), timedelta(seconds=1)),  # within the second of a tick
        (timedelta(seconds=24.86), timedelta(seconds=24)),
    ],
)
def test_a_response_to_an_earlier_poll_bears_its_second_but_never_a_tick(
    arrived: timedelta, stamped: timedelta
) -> None:
    keeping = Keeping(synchronised=True)
    assert keeping.dating.stamp(None, NOON + arrived) == NOON + stamped
    assert keeping.dating.stamp(NOON, NOON + SECOND) == NOON  # the tick is left for its own reading


def test_two_that_come_in_the_last_second_before_a_tick_leave_it_free() -> None:
    keeping = Keeping(synchronised=True)
    arrived_at = NOON - SECOND / 4
    stamps = []
    for power_w in (1, 2):
        stamps.append(keeping.dating.stamp(None, arrived_at))
        keeping.dating.write(Round((power(stamps[-1], power_w),)))
    assert stamps == [NOON - SECOND, NOON + SECOND]
    assert keeping.dating.stamp(NOON, NOON + SECOND / 2) == NOON
