"""The minutes of the last hours, filled from a second-generation meter's own memory.

The household draws 6 kW: 0.1 kWh, one count, a minute. At noon 84 h x 6 kW = 504.0 kWh are counted.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from skstack.echonet.frame import Frame
from storage.records import PowerRow
from tests.fakes_duties import MINUTE, NOON, Home

AT_NOON_KWH = Decimal("504.0")


def home_at(url: str, **options: object) -> Home:
    """Return a home with a second-generation meter, whose minutes before noon are in the record."""
    defaults: dict[str, object] = {"second_generation": True, "start_import_kwh": 0, "start_export_kwh": 0}
    home = Home(url, days_before=3, watts=6000, **{**defaults, **options})  # type: ignore[arg-type]  # by name
    home.execute(
        f"insert into site (name) values ('home'); insert into power (site_id, measured_at) "
        f"select site_id, generate_series('{NOON}'::timestamptz - interval '7 hours', '{NOON - MINUTE}', "
        f"interval '1 minute') from site"
    )
    return home


def outage(home: Home, minutes: int) -> None:
    """Let the meter be out of reach."""
    home.module.faults.silence_meter(home.clock.time_s + minutes * 60)


def filled(home: Home) -> dict[datetime, PowerRow]:
    return {row.measured_at: row for row in home.of(PowerRow) if row.power_w is None}


def polled(home: Home) -> list[datetime]:
    return [row.measured_at for row in home.of(PowerRow) if row.power_w is not None]


def register(at: datetime) -> Decimal:
    return AT_NOON_KWH + (at - NOON) // MINUTE * Decimal("0.1")


def test_the_minutes_of_an_outage_are_filled_with_registers_alone(database_url: str) -> None:
    home = home_at(database_url)
    home.run_until(NOON + 10 * MINUTE)
    outage(home, 45)
    home.run_until(NOON + 120 * MINUTE)
    missed = {NOON + number * MINUTE for number in range(120)} - {
        at.replace(second=0, microsecond=0) for at in polled(home)
    }
    assert len(missed) >= 40
    rows = filled(home)
    assert rows.keys() == missed
    assert {at: row.import_kwh for at, row in rows.items()} == {at: register(at) for at in missed}
    assert {(row.current_r_a, row.current_t_a, row.export_kwh) for row in rows.values()} == {
        (None, None, Decimal("0.0"))
    }


def test_the_newest_minutes_come_first_ten_at_a_time(database_url: str) -> None:
    home = home_at(database_url)
    home.run_until(NOON + 10 * MINUTE)
    outage(home, 45)
    home.run_until(NOON + 120 * MINUTE)
    chosen = [frame.properties[0].edt for _, frame in home.asked(0xEF)]
    times = [(edt[4] * 60 + edt[5], edt[6]) for edt in chosen]  # minute of the day, count
    assert [count for _, count in times[:4]] == [10] * 4
    assert [minute for minute, _ in times[:5]] == [times[0][0] - 10 * number for number in range(5)]


def test_a_first_generation_meter_is_not_asked_for_minutes(database_url: str) -> None:
    home = home_at(database_url, second_generation=False)
    home.run_until(NOON + 10 * MINUTE)
    outage(home, 20)
    home.run_until(NOON + 90 * MINUTE)
    assert home.asked(0xEE, 0xEF) == []


def test_a_single_lost_minute_is_filled_within_two_hours(database_url: str) -> None:
    home = home_at(database_url)
    home.run_until(NOON + 10 * MINUTE)
    home.execute(f"delete from power where measured_at = '{NOON + 5 * MINUTE}'")
    home.run_until(NOON + 120 * MINUTE)
    assert filled(home).keys() == {NOON + 5 * MINUTE}
    assert home.session.link.sessions == 1


def test_a_late_reading_within_the_minute_leaves_no_hole(database_url: str) -> None:
    home = home_at(database_url)
    home.run_until(NOON + 10 * MINUTE)
    home.execute(
        f"update power set measured_at = measured_at + interval '17 seconds' where measured_at = '{NOON + 5 * MINUTE}'"
    )
    home.run_until(NOON + 120 * MINUTE)
    assert filled(home) == {}


def test_nothing_is_filled_where_polls_are_further_apart_than_a_minute(database_url: str) -> None:
    home = home_at(database_url, interval_s=600)
    home.run_until(NOON + 120 * MINUTE)
    assert home.asked(0xEE, 0xEF) == []


def test_what_the_meter_does_not_remember_is_not_asked_for_again(database_url: str) -> None:
    home = home_at(database_url, installed_at=NOON - 30 * MINUTE)
    home.execute("delete from power")
    home.run_until(NOON + 30 * MINUTE)
    asked_before = len(home.asked(0xEF))
    assert asked_before == 36  # six hours
    assert min(filled(home)) == NOON - 30 * MINUTE
    home.run_until(NOON + 150 * MINUTE)
    assert len(home.asked(0xEF)) == asked_before + 1  # 11:59, which was too young the first time


def test_minutes_wait_for_the_days(database_url: str) -> None:
    home = home_at(database_url)
    home.execute("delete from power")
    home.run_until(NOON + 20 * MINUTE)
    assert home.asked(0xEF)[0][0] > home.asked(0xE5)[-1][0]


def test_minutes_of_a_clock_that_disagrees_are_not_mixed_with_ours(database_url: str) -> None:
    home = home_at(database_url, machine_ahead=timedelta(minutes=-10))
    home.execute("delete from power")
    home.run_until(NOON + 20 * MINUTE)
    assert home.asked(0xEE) == []


def test_a_meter_that_never_answers_is_given_up_for_an_hour(database_url: str) -> None:
    home = home_at(database_url)
    home.execute("delete from power")

    def mute(request: Frame, answer: Frame | None) -> Frame | None:
        return None if request.properties[0].epc == 0xEE else answer

    home.tamper(mute)
    home.run_until(NOON + 50 * MINUTE)
    assert len(home.asked(0xEE)) == 6  # two tries for each of three stretches
    assert len(polled(home)) == 50
    assert home.session.link.sessions == 1


def test_polls_stay_on_their_ticks_while_minutes_are_filled(database_url: str) -> None:
    home = home_at(database_url, interval_s=1)
    home.execute("delete from power")
    home.run_until(NOON + 5 * MINUTE)
    assert len(filled(home)) > 300
    times = polled(home)
    assert times == [times[0] + timedelta(seconds=number) for number in range(len(times))]
    assert len(times) >= 300
    assert home.module.violations == []


def test_minutes_planned_before_the_clock_was_set_wrong_are_not_read(database_url: str) -> None:
    home = home_at(database_url, history_pause_s=5.0)
    home.execute("delete from power")
    while not home.asked(0xEE):  # the days come first
        home.run(MINUTE)
    read = len(home.asked(0xEE, 0xEF))
    home.machine_ahead = timedelta(minutes=-10)
    home.run(20 * MINUTE)
    assert read <= 12  # one every five seconds, of two for each of 36 stretches
    assert len(home.asked(0xEE, 0xEF)) == read
