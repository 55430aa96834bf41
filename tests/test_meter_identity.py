"""Which meter is installed: what is written at the first sight, and what when it was exchanged."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import cast

import pytest

from poller.clock import Clock
from poller.idle_tasks.meter_identity import InstalledMeter
from poller.idle_tasks.scheduler import Keep, Pause, Query
from skstack import HalfHour, Meter, Poll
from skstack.echonet import EnergyScale, Frame, MeterIdentity, MeterReading, Property
from skstack.simulator import Habit
from storage.records import MeterRow, PowerRow, RadioEventRow, Row
from tests.lab.clock import HALF_HOUR, MINUTE, NOON, LabClock
from tests.lab.habits import refuse, rewrite
from tests.lab.home import Home

OLD, NEW = "SIM0000001", "SIM0000002"


def home_at(url: str, **options: object) -> Home:
    return Home(url, **{"days_before": 3, **options})  # type: ignore[arg-type]  # by name


def exchange(home: Home, serial_number: str) -> None:
    """Hang a new meter there now, counting from zero; it knows nothing of our session."""
    home.simulated.exchange(home.clock.time_s, serial_number=serial_number)
    home.module.emit_event(0x26, home.clock.time_s)


def count_in_hundredths(home: Home) -> None:
    """Let the same meter report from now on that it counts 0.01 kWh, not 0.1, and do so."""
    home.simulated.options = replace(home.simulated.options, unit_code=0x02, digits=8)
    home.simulated.registers = replace(home.simulated.registers, options=home.simulated.options)


def meters(home: Home) -> list[tuple[datetime, str]]:
    found = home.execute("select since, serial_number from meter order by since")
    return [(since, serial_number) for since, serial_number in found]


def test_the_meter_is_written_when_it_is_first_seen(database_url: str) -> None:
    home = home_at(database_url)
    home.run_until(NOON + 5 * MINUTE)
    (row,) = home.of(MeterRow)
    assert row.since - NOON < timedelta(seconds=5)
    assert (row.manufacturer, row.serial_number, row.release) == ("000016", OLD, "F")
    assert (row.coefficient, row.unit_kwh, row.digits) == (1, Decimal("0.1"), 6)
    assert home.events("meter_changed") == []


def test_the_same_meter_is_never_written_twice(database_url: str) -> None:
    home = home_at(database_url)
    for minutes in (5, 10, 15):
        home.run_until(NOON + minutes * MINUTE)
        home.restart()
    home.run_until(NOON + 20 * MINUTE)
    home.module.emit_event(0x26, home.clock.time_s)
    home.run_until(NOON + 25 * MINUTE)
    assert len(home.of(MeterRow)) == 1
    assert home.events("meter_changed") == []


def test_a_meter_without_a_serial_number_is_the_same_each_time(database_url: str) -> None:
    home = home_at(database_url)
    home.tamper(_without_serial_number)
    home.run_until(NOON + 5 * MINUTE)
    home.restart()
    home.run_until(NOON + 10 * MINUTE)
    (row,) = home.of(MeterRow)
    assert row.serial_number is None


def test_what_one_response_left_out_does_not_make_another_meter(database_url: str) -> None:
    home = home_at(database_url)
    home.run_until(NOON + 5 * MINUTE)
    home.tamper(_without_serial_number)
    home.module.emit_event(0x26, home.clock.time_s)
    home.run_until(NOON + 10 * MINUTE)
    assert len(home.of(MeterRow)) == 1


def test_while_the_database_is_unreachable_the_first_sight_is_kept_with_its_time(database_url: str) -> None:
    home = home_at(database_url)
    home.queries.leave()
    home.run_until(NOON + 30 * MINUTE)
    assert home.of(MeterRow) == []
    home.queries.is_away = False
    home.run_until(NOON + 35 * MINUTE)
    (row,) = home.of(MeterRow)
    assert row.since - NOON < timedelta(seconds=5)


def test_an_exchanged_meter_is_a_new_row_and_an_event(database_url: str) -> None:
    home = home_at(database_url)
    home.run_until(NOON + 40 * MINUTE)
    exchange(home, NEW)
    home.run_until(NOON + 100 * MINUTE)
    (_, first), (since, second) = meters(home)
    assert (first, second) == (OLD, NEW)
    assert NOON + 39 * MINUTE < since < NOON + 40 * MINUTE  # after the last poll of the old one
    (event,) = home.events("meter_changed")
    assert event.detail == f"its serial number was {OLD} and is {NEW}"


@pytest.mark.parametrize("while_off", [False, True])
def test_a_serial_number_that_came_after_the_meter_was_written_still_tells_it_from_the_next(
    database_url: str, while_off: bool
) -> None:
    """What a meter refuses at first is requested again within an hour; its row in "meter" stays as it was."""
    home = home_at(database_url)
    home.simulated.habits.append(Habit(refuse(0x8D), until=home.clock.time_s + 300))
    home.run_until(NOON + 80 * MINUTE)
    assert home.meter.identity is not None
    assert home.meter.identity.serial_number == OLD
    if while_off:
        home.session.close()
    exchange(home, NEW)
    if while_off:
        home.begin()
    home.run_until(NOON + 100 * MINUTE)
    assert [row.serial_number for row in home.of(MeterRow)] == [None, NEW]
    _, (since, _) = meters(home)
    assert NOON + 79 * MINUTE < since < NOON + 80 * MINUTE


def test_no_half_hour_spans_two_meters(database_url: str) -> None:
    home = home_at(database_url)
    home.run_until(NOON + 40 * MINUTE)
    exchange(home, NEW)
    home.run_until(NOON + 3 * 60 * MINUTE)
    used = dict(home.execute(f"select started_at, used_kwh from energy_half_hour where started_at >= '{NOON}'"))
    assert used[NOON] == Decimal("0.3")
    assert used[NOON + HALF_HOUR] is None  # the half hour of the exchange
    assert [used[NOON + number * HALF_HOUR] for number in (2, 3, 4)] == [Decimal("0.3")] * 3


def test_an_exchange_while_the_poller_was_off_is_seen_at_the_next_start(database_url: str) -> None:
    home = home_at(database_url)
    home.run_until(NOON + 40 * MINUTE)
    home.session.close()
    home.clock.sleep(90 * 60)
    exchange(home, NEW)
    home.clock.sleep(90 * 60)
    home.begin()
    home.run_until(NOON + 5 * 60 * MINUTE)
    (_, _), (since, serial_number) = meters(home)
    assert serial_number == NEW
    last_of_the_old = max(row.measured_at for row in home.of(PowerRow) if row.measured_at < NOON + 60 * MINUTE)
    assert since == last_of_the_old + timedelta(seconds=1)
    # Its memory begins at 14:10, and is read; what the old meter knew (13:00 to 14:00) is lost with it.
    energies = home.half_hours()
    assert NOON + 2 * HALF_HOUR not in energies
    assert energies[NOON + 5 * HALF_HOUR] == (Decimal("0.2"), Decimal("0.0"))  # 20 minutes x 0.6 kW
    used = dict(home.execute(f"select started_at, used_kwh from energy_half_hour where started_at >= '{NOON}'"))
    assert used[NOON + 5 * HALF_HOUR] == Decimal("0.3")


def test_the_memory_of_a_new_meter_fills_no_gap_of_the_old_ones_time(database_url: str) -> None:
    home = home_at(database_url)
    home.run_until(NOON + 40 * MINUTE)
    home.execute(f"delete from energy where registered_at = '{NOON - 5 * HALF_HOUR}'")
    used_before = home.clock.time_s - 86_400  # as one that hung elsewhere until today, and remembers that
    home.simulated.exchange(used_before, serial_number=NEW)
    home.module.emit_event(0x26, home.clock.time_s)
    home.run_until(NOON + 120 * MINUTE)
    assert [serial_number for _, serial_number in meters(home)] == [OLD, NEW]
    assert NOON - 5 * HALF_HOUR not in home.half_hours()
    home.restart()
    home.run_until(NOON + 140 * MINUTE)
    assert NOON - 5 * HALF_HOUR not in home.half_hours()


NAMELESS = {"lacks": frozenset({0x8D})}


def test_where_no_serial_number_is_given_registers_on_a_new_course_are_another_meter(database_url: str) -> None:
    home = home_at(database_url, **NAMELESS)
    home.run_until(NOON + 40 * MINUTE)
    exchange(home, OLD)
    home.run_until(NOON + 60 * MINUTE)
    assert len(meters(home)) == 2
    (event,) = home.events("meter_changed")
    assert event.detail is not None
    assert event.detail.startswith("its registers went from 12395.7 ")  # 12345 + 84.65 h x 0.6 kW
    home.restart()
    home.run_until(NOON + 65 * MINUTE)
    assert len(meters(home)) == 2


def test_registers_that_fall_under_the_same_serial_number_are_no_other_meter(database_url: str) -> None:
    home = home_at(database_url)
    home.run_until(NOON + 40 * MINUTE)
    exchange(home, OLD)
    home.run_until(NOON + 60 * MINUTE)
    home.restart()
    home.run_until(NOON + 65 * MINUTE)
    assert len(meters(home)) == 1


def test_another_release_is_no_other_meter(database_url: str) -> None:
    home = home_at(database_url)
    home.run_until(NOON + 10 * MINUTE)
    home.simulated.habits.append(Habit(rewrite(0x82, lambda _: bytes.fromhex("00005201"))))
    home.module.emit_event(0x26, home.clock.time_s)
    home.run_until(NOON + 20 * MINUTE)
    assert len(meters(home)) == 1


@pytest.mark.parametrize("at_a_start", [False, True])
def test_one_wrong_digit_of_the_serial_number_once_is_no_other_meter(database_url: str, at_a_start: bool) -> None:
    home = home_at(database_url)
    home.run_until(NOON + 10 * MINUTE)
    if at_a_start:
        home.restart()
    else:
        home.module.emit_event(0x26, home.clock.time_s)
    home.module.faults.habits.append(Habit(rewrite(0x8D, lambda edt: b"7" + edt[1:]), times=1))
    home.run_until(NOON + 20 * MINUTE)
    assert len(meters(home)) == 1
    assert home.events("meter_changed") == []
    true = [home.registers(row.measured_at)[0] for row in home.of(PowerRow)]
    assert all(
        row.import_kwh in (None, kwh, kwh + Decimal("0.1")) for row, kwh in zip(home.of(PowerRow), true, strict=True)
    )


@pytest.mark.parametrize("while_off", [False, True])
def test_another_unit_of_the_same_meter_is_a_row_and_no_exchange(database_url: str, while_off: bool) -> None:
    home = home_at(database_url)
    home.run_until(NOON + 10 * MINUTE)
    home.execute(f"delete from energy where registered_at = '{NOON - HALF_HOUR}'")
    count_in_hundredths(home)
    if while_off:
        home.restart()
    else:
        home.module.emit_event(0x26, home.clock.time_s)
    home.run_until(NOON + 20 * MINUTE)
    rows = home.execute("select serial_number, unit_kwh from meter order by since")
    assert rows == [(OLD, Decimal("0.1")), (OLD, Decimal("0.01"))]
    assert home.events("meter_changed") == []
    assert home.execute("select distinct exchanged_at = 'infinity' from meter_service") == [(True,)]
    home.restart()
    home.run_until(NOON + 30 * MINUTE)
    assert len(meters(home)) == 2
    assert NOON - HALF_HOUR in home.half_hours()  # from before that row, out of the same meter's memory


@pytest.mark.parametrize("while_off", [False, True])
def test_another_unit_where_no_serial_number_is_given_is_another_meter(database_url: str, while_off: bool) -> None:
    home = home_at(database_url, **NAMELESS)
    home.run_until(NOON + 10 * MINUTE)
    count_in_hundredths(home)
    if while_off:
        home.restart()
    else:
        home.module.emit_event(0x26, home.clock.time_s)
    home.run_until(NOON + 20 * MINUTE)
    assert len(meters(home)) == 2
    (event,) = home.events("meter_changed")
    assert event.detail == "its unit (kWh) was 0.1 and is 0.01"


def test_nothing_is_stored_on_a_wrong_scale_while_a_meter_is_exchanged_for_one_with_another_unit(
    database_url: str,
) -> None:
    home = home_at(database_url)
    home.run_until(NOON + 10 * MINUTE)
    home.simulated.exchange(home.clock.time_s, serial_number=NEW, unit_code=0x02, digits=8, start_import_kwh=0)
    home.module.emit_event(0x26, home.clock.time_s)
    home.run_until(NOON + 20 * MINUTE)
    assert [serial_number for _, serial_number in meters(home)] == [OLD, NEW]
    of_the_new = [row.import_kwh for row in home.of(PowerRow) if row.measured_at >= NOON + 10 * MINUTE]
    assert len(of_the_new) == 10
    assert all(kwh is None or kwh < 1 for kwh in of_the_new)
    assert len([kwh for kwh in of_the_new if kwh is None]) <= 2


def test_nothing_is_stored_on_a_wrong_scale_where_the_new_meter_shows_only_by_its_silence(database_url: str) -> None:
    """The first poll that the new one responds to follows one without a response: it asks for less, not for trust."""
    home = home_at(database_url)
    home.run_until(NOON + 10 * MINUTE)
    home.simulated.exchange(home.clock.time_s, serial_number=NEW, unit_code=0x02, digits=8, start_import_kwh=2000)
    home.run_until(NOON + 20 * MINUTE)
    of_the_new = [row.import_kwh for row in home.of(PowerRow) if row.measured_at >= NOON + 10 * MINUTE]
    assert len(of_the_new) >= 8
    assert all(kwh is None or 2000 <= kwh < 2001 for kwh in of_the_new)
    assert None not in of_the_new[-5:]


def test_registers_that_fell_while_the_poller_was_off_are_another_meter(database_url: str) -> None:
    home = home_at(database_url, **NAMELESS)
    home.run_until(NOON + 40 * MINUTE)
    home.session.close()
    exchange(home, OLD)
    home.clock.sleep(600)
    home.begin()
    home.run_until(NOON + 60 * MINUTE)
    assert len(meters(home)) == 2
    assert len(home.events("meter_changed")) == 1


def test_one_low_register_alone_is_no_other_meter(database_url: str) -> None:
    home = home_at(database_url)
    slips = [0]

    def slip(request: Frame, response: Frame | None) -> Frame | None:
        """Let the meter give 1.0 kWh once, at 12:10."""
        if response is None or request.properties[0].epc != 0xE7:
            return response
        slips[0] += 1
        if slips[0] != 11:
            return response
        low = [type(each)(0xE0, b"\x00\x00\x00\x0a") if each.epc == 0xE0 else each for each in response.properties]
        return request.response(response.esv, tuple(low))

    home.tamper(slip)
    home.run_until(NOON + 20 * MINUTE)
    assert min(row.import_kwh for row in home.of(PowerRow)) == Decimal("1.0")
    assert len(meters(home)) == 1


@pytest.mark.parametrize("counts", [-9, 9])
@pytest.mark.parametrize("at_a_start", [False, True])
def test_one_wrong_register_of_a_meter_without_a_serial_number_is_no_other_meter(
    database_url: str, counts: int, at_a_start: bool
) -> None:
    """A slip of 0.9 kWh, once: what follows goes on from what was before."""
    home = home_at(database_url)
    home.tamper(_without_serial_number)
    polls = [0]

    def slip(request: Frame, response: Frame | None) -> Frame | None:
        if response is None or 0xE7 not in {each.epc for each in request.properties}:
            return response
        polls[0] += 1
        if polls[0] != 11:
            return response
        changed = [
            type(each)(0xE0, (int.from_bytes(each.edt) + counts).to_bytes(4)) if each.epc == 0xE0 else each
            for each in response.properties
        ]
        return request.response(response.esv, tuple(changed))

    home.tamper(slip)
    home.run_until(NOON + 10 * MINUTE)
    if at_a_start:
        home.restart()
    home.run_until(NOON + 90 * MINUTE)
    assert len(meters(home)) == 1
    assert home.events("meter_changed") == []


def test_a_wrap_is_no_exchange(database_url: str) -> None:
    # 36 kW are 18 kWh a half hour. From 990.0 kWh at the midnight three days before, the four digits of 0.1 kWh (1000.0
    # kWh) wrap every 27.8 h; from noon, 990 + 84 h x 36 = 4014.0, so 14.0 kWh: the next wrap is 27.4 h later.
    home = home_at(database_url, watts=36_000, digits=4, start_import_kwh=990, interval_s=600)
    home.run_until(NOON + timedelta(hours=30))
    imports = [row.import_kwh for row in home.of(PowerRow)]
    assert imports[0] == Decimal("14.0")
    assert max(imports) > Decimal("990")
    assert imports[-1] < Decimal("100")
    assert len(meters(home)) == 1
    assert home.events("meter_changed") == []
    used = home.execute("select distinct used_kwh from energy_half_hour")
    assert used == [(Decimal("18.0"),)]


def test_a_second_exchange_is_a_third_row(database_url: str) -> None:
    home = home_at(database_url)
    home.run_until(NOON + 20 * MINUTE)
    exchange(home, NEW)
    home.run_until(NOON + 40 * MINUTE)
    exchange(home, "SIM0000003")
    home.run_until(NOON + 60 * MINUTE)
    assert [serial_number for _, serial_number in meters(home)] == [OLD, NEW, "SIM0000003"]


def test_an_exchange_while_the_database_is_unreachable_is_written_in_order(database_url: str) -> None:
    home = home_at(database_url)
    home.queries.leave()
    home.run_until(NOON + 20 * MINUTE)
    exchange(home, NEW)
    home.run_until(NOON + 40 * MINUTE)
    home.queries.is_away = False
    home.run_until(NOON + 45 * MINUTE)
    assert [serial_number for _, serial_number in meters(home)] == [OLD, NEW]
    assert NOON + 19 * MINUTE < meters(home)[1][0] < NOON + 20 * MINUTE  # after the last poll of the old one


class Said(SimpleNamespace):
    """A meter without a serial number that has said just what a test puts into it."""

    def __init__(self) -> None:
        scale = EnergyScale(1, Decimal("0.1"), 6)
        super().__init__(
            identity=MeterIdentity("000016", None, "F", scale),
            identified_at=0.0,
            is_identified=True,
            last_half_hour=None,
        )

    def poll(self, at_s: float, kwh: str) -> None:
        reading = MeterReading(600, None, None, Decimal(kwh), None)
        self.last_poll = Poll(reading, sent_at=at_s, arrived_at=at_s)

    def half_hour(self, at: datetime, kwh: str) -> None:
        self.last_half_hour = HalfHour(at, Decimal(kwh), None)


class Watched:
    """The two tasks of an installed meter, as the scheduler runs them; the database knows of no meter."""

    def __init__(self, meter: Said) -> None:
        self.clock = Clock(LabClock(), is_synchronised=lambda: True)
        installed = InstalledMeter(cast(Meter, meter), self.clock)
        self._tasks = (installed.watch(), installed.record())
        self._wanted = [next(task) for task in self._tasks]

    def look(self) -> list[Row]:
        """Let both tasks go on; return the rows that they want to keep."""
        kept: list[Row] = []
        for number, task in enumerate(self._tasks):
            while not isinstance(want := self._wanted[number], Pause) or want.is_over():
                if isinstance(want, Keep):
                    kept += want.rows
                self._wanted[number] = task.send((None, None) if isinstance(want, Query) else None)
        return kept


@pytest.mark.parametrize(("at", "exchanges"), [(NOON, 0), (NOON + 3 * HALF_HOUR, 1)])
def test_a_half_hour_from_before_the_last_poll_is_on_no_new_course(at: datetime, exchanges: int) -> None:
    """Two polls, at 12:30 and 13:00, and then two half hours with less in them."""
    meter = Said()
    watched = Watched(meter)
    for minutes, kwh in ((30, "100.3"), (60, "100.6")):
        meter.poll(watched.clock.monotonic() + 60.0 * minutes, kwh)
        watched.look()
    changes = []
    for number in range(2):
        meter.half_hour(at + number * HALF_HOUR, f"99.{number}")
        changes += [row for row in watched.look() if isinstance(row, RadioEventRow)]
    assert len(changes) == exchanges


def test_a_new_course_that_falls_itself_begins_anew() -> None:
    """The registers of 12:03 fall below those of 12:02, so the three that make a new meter begin there."""
    meter = Said()
    watched = Watched(meter)
    details = []
    for minutes, kwh in enumerate(("100.3", "100.6", "50.2", "49.9", "50.0", "50.1")):
        meter.poll(watched.clock.monotonic() + 60.0 * minutes, kwh)
        details.append([row.detail for row in watched.look() if isinstance(row, RadioEventRow)])
    fall = "its registers went from 100.6 and None kWh (import, export) back to 49.9 and None kWh"
    assert details == [[], [], [], [], [], [fall]]


def _without_serial_number(request: Frame, response: Frame | None) -> Frame | None:
    if response is None:
        return None
    return request.response(
        response.esv, tuple(Property(each.epc) if each.epc == 0x8D else each for each in response.properties)
    )
