"""The gaps of the half-hour record, filled from the simulated meter's memory into a real database.

What is expected stands in the simulated meter's own registers, in steps of 0.1 kWh.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest

from skstack.echonet import JST, Esv, Frame
from skstack.simulator import INSTANT, REALISTIC, Habit
from storage.records import EnergyRow, PowerRow
from tests.lab.clock import DAY, HALF_HOUR, MINUTE, NOON
from tests.lab.habits import refuse
from tests.lab.home import Home

HISTORY_EPCS = (0xE2, 0xE4, 0xE5)
SOLAR = [-900 if 540 <= minute < 900 else 750 for minute in range(1440)]  # sells from 9 to 15 o'clock
MIDNIGHT = NOON - timedelta(hours=12)


def slots(first: datetime, last: datetime) -> list[datetime]:
    return [first + number * HALF_HOUR for number in range((last - first) // HALF_HOUR + 1)]


def solar_home(url: str, **options: object) -> Home:
    """Return a home that has had its meter for longer than the meter remembers."""
    return Home(url, **{"days_before": 103, "watts": SOLAR, **options})  # type: ignore[arg-type]  # by name


def assert_filled(home: Home, wanted: Iterable[datetime]) -> None:
    found = home.half_hours()
    for at in wanted:
        assert found.get(at) == home.registers(at), at


def history_days(home: Home) -> list[int]:
    """Return the days back that were chosen, in order."""
    return [frame.properties[0].edt[0] for _, frame in home.requests(0xE5)]


def assert_polls_on_every_tick(home: Home, interval_s: int) -> None:
    _while_it_joined, *times = [row.measured_at for row in home.of(PowerRow) if row.power_w is not None]
    assert (times[0] - NOON) % timedelta(seconds=interval_s) == timedelta(0)
    assert times == [times[0] + number * timedelta(seconds=interval_s) for number in range(len(times))]
    assert home.clock.now() - times[-1] <= timedelta(seconds=interval_s)


def assert_one_request_at_a_time(home: Home) -> None:
    assert home.module.violations == []


def test_a_fresh_database_fills_with_today_and_99_days(database_url: str) -> None:
    home = solar_home(database_url)
    home.run_until(NOON + timedelta(minutes=20))
    assert_filled(home, slots(MIDNIGHT - 99 * DAY, NOON))
    assert min(home.half_hours()) == MIDNIGHT - 99 * DAY
    assert history_days(home) == list(range(100))  # newest first, each once
    assert_polls_on_every_tick(home, 60)
    assert_one_request_at_a_time(home)


def test_99_days_arrive_within_an_hour_at_the_pace_of_a_real_meter(database_url: str) -> None:
    home = solar_home(database_url, timing=REALISTIC, history_pause_s=10.0)
    home.run_until(NOON + timedelta(minutes=70))
    requests = home.requests(*HISTORY_EPCS)
    assert len(requests) == 300
    assert requests[-1][0] - requests[0][0] < timedelta(hours=1)
    assert_filled(home, slots(MIDNIGHT - 99 * DAY, NOON + HALF_HOUR))
    pauses = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(requests)]
    assert min(pauses) >= timedelta(seconds=9.7)  # after a poll its own pause of 0.2 s comes on top
    assert_polls_on_every_tick(home, 60)
    assert_one_request_at_a_time(home)


def test_polls_every_second_stay_on_their_seconds(database_url: str) -> None:
    home = solar_home(database_url, interval_s=1)
    home.run_until(NOON + timedelta(minutes=6))
    assert_filled(home, slots(MIDNIGHT - 99 * DAY, NOON - HALF_HOUR))
    assert_polls_on_every_tick(home, 1)
    assert_one_request_at_a_time(home)


def test_99_days_arrive_between_polls_every_five_seconds_at_the_pace_of_a_real_meter(database_url: str) -> None:
    home = solar_home(database_url, interval_s=5, timing=REALISTIC)
    home.run_until(NOON + timedelta(minutes=59))
    assert_filled(home, slots(MIDNIGHT - 99 * DAY, NOON + HALF_HOUR))
    begun = home.requests(*HISTORY_EPCS)[0][0]  # its identity is read before, which takes longer than 5 s
    times = [row.measured_at for row in home.of(PowerRow) if row.power_w is not None and row.measured_at > begun]
    assert times == [times[0] + number * timedelta(seconds=5) for number in range(len(times))]
    assert len(times) > 690  # of 708
    assert_one_request_at_a_time(home)


@pytest.mark.parametrize("epc", HISTORY_EPCS)
def test_a_day_that_is_interrupted_at_any_step_is_begun_anew(database_url: str, epc: int) -> None:
    home = solar_home(database_url, days_before=2)
    lost: list[int] = []

    def interrupt(request: Frame, response: Frame | None) -> Frame | None:
        """Let the meter end the session in place of its first response to *epc*."""
        if request.properties[0].epc == epc and not lost:
            lost.append(epc)
            home.later((0.1, lambda _radio: home.module.emit_event(0x26, home.clock.time_s)))
            return None
        return response

    home.tamper(interrupt)
    home.run_until(NOON + timedelta(minutes=20))
    assert home.session.number == 2
    assert history_days(home)[:2] == [0, 0]
    assert_filled(home, slots(MIDNIGHT - 2 * DAY, NOON))


@pytest.mark.parametrize("ahead", [timedelta(days=4), timedelta(days=-4)])
def test_the_days_are_right_where_the_clocks_are_days_apart(database_url: str, ahead: timedelta) -> None:
    home = solar_home(database_url, days_before=6, machine_ahead=ahead)
    home.run_until(NOON + timedelta(minutes=20))
    assert_filled(home, slots(MIDNIGHT - 6 * DAY, NOON))
    assert len(home.half_hours()) == 6 * 48 + 25


def test_an_exchange_in_the_middle_leaves_what_was_read_and_adds_nothing_from_the_time_before_it(
    database_url: str,
) -> None:
    home = solar_home(database_url, days_before=20, timing=REALISTIC)
    home.run_until(NOON + timedelta(minutes=3))
    of_the_old = home.half_hours()
    assert 48 < len(of_the_old) < 19 * 48  # in the middle
    used_before = home.clock.time_s - 5 * 86_400  # elsewhere: it remembers that
    home.simulated.exchange(used_before, serial_number="SIM0000002")
    home.module.emit_event(0x26, home.clock.time_s)
    home.run_until(NOON + timedelta(minutes=50))
    found = home.half_hours()
    assert {at: kwh for at, kwh in found.items() if at <= NOON} == of_the_old
    assert found[NOON + HALF_HOUR] == home.registers(NOON + HALF_HOUR)


@pytest.mark.parametrize(
    "cut",
    [
        f"registered_at = '{MIDNIGHT - 99 * DAY}'",  # the oldest that a meter remembers
        f"registered_at = '{NOON - HALF_HOUR}'",
        f"registered_at between '{MIDNIGHT - 31 * DAY - 5 * HALF_HOUR}' and '{MIDNIGHT - 29 * DAY}'",
        "extract(epoch from registered_at)::bigint / 1800 % 997 = 3",  # here and there
        "true",
    ],
)
def test_a_gap_cut_anywhere_is_filled_at_the_next_start(database_url: str, cut: str) -> None:
    home = solar_home(database_url)
    home.run_until(NOON + timedelta(minutes=20))
    before = home.half_hours()
    home.execute(f"delete from energy where {cut}")
    assert home.half_hours() != before
    home.restart()
    home.run_until(NOON + timedelta(minutes=42))
    assert home.half_hours().keys() == before.keys() | {NOON + HALF_HOUR}
    assert_filled(home, before)


def test_only_the_days_with_gaps_are_read(database_url: str) -> None:
    home = solar_home(database_url)
    home.run_until(NOON + timedelta(minutes=20))
    home.execute(f"delete from energy where registered_at in ('{MIDNIGHT - 7 * DAY}', '{NOON - 40 * DAY}')")
    home.restart()
    home.run_until(NOON + timedelta(minutes=25))
    assert history_days(home)[100:] == [7, 40]


def test_a_recovery_fills_what_was_missed(database_url: str) -> None:
    home = solar_home(database_url, days_before=2)
    home.run_until(NOON + timedelta(minutes=10))
    home.module.faults.silent_until = home.clock.time_s + 3 * 3600
    home.run_until(NOON + timedelta(hours=4, minutes=10))
    assert_filled(home, slots(MIDNIGHT - 2 * DAY, NOON + timedelta(hours=4)))
    sources = {row.registered_at: row.source for row in home.of(EnergyRow)}
    assert sources[NOON + timedelta(hours=1)] == "history"


def test_gaps_are_looked_for_once_a_day(database_url: str) -> None:
    home = solar_home(database_url, days_before=2, interval_s=600)
    home.run_until(NOON + timedelta(hours=1))
    home.execute(f"delete from energy where registered_at = '{NOON - DAY}'")
    home.run_until(NOON + timedelta(hours=23))
    assert NOON - DAY not in home.half_hours()
    home.run_until(NOON + timedelta(hours=25))
    assert_filled(home, [NOON - DAY])


def test_what_the_meter_does_not_remember_is_read_once_a_day(database_url: str) -> None:
    home = solar_home(database_url, days_before=3, interval_s=600)
    home.run_until(NOON + timedelta(hours=1))
    assert len(history_days(home)) == 100
    home.module.emit_event(0x26, home.clock.time_s)
    home.run_until(NOON + timedelta(hours=2))
    assert home.session.number == 2
    assert len(history_days(home)) == 100
    home.run_until(NOON + timedelta(hours=25))
    assert len(history_days(home)) == 195  # the days before the meter hung there, and no other: 99 less the 4 it knows
    assert min(home.half_hours()) == MIDNIGHT - 3 * DAY


def test_a_meter_that_measures_one_direction_is_read_for_one(database_url: str) -> None:
    home = solar_home(database_url, days_before=5, measures_export=False)
    home.run_until(NOON + timedelta(minutes=20))
    found = home.half_hours()
    assert {at: bought for at, (bought, _) in found.items()} == {
        at: home.registers(at)[0] for at in slots(MIDNIGHT - 5 * DAY, NOON)
    }
    assert {sold for _, sold in found.values()} == {None}
    assert home.requests(0xE4) == []


def test_a_meter_with_no_export_data_ever_fills_the_import(database_url: str) -> None:
    home = solar_home(database_url, days_before=5)
    home.silence_export()
    home.run_until(NOON + timedelta(minutes=20))
    found = home.half_hours()
    assert sorted(found) == slots(MIDNIGHT - 5 * DAY, NOON)
    assert {sold for _, sold in found.values()} == {None}


def test_what_was_sold_is_read_from_the_days_also_while_the_meter_refuses_the_register_of_now(
    database_url: str,
) -> None:
    home = solar_home(database_url, days_before=2)
    home.module.faults.habits.append(Habit(refuse(0xE3)))
    home.run_until(NOON + timedelta(minutes=20))
    assert_filled(home, slots(MIDNIGHT - 2 * DAY, NOON))


def test_a_meter_that_refuses_all_of_what_is_sold_fills_the_import(database_url: str) -> None:
    home = solar_home(database_url, days_before=2)
    home.module.faults.habits += [Habit(refuse(epc)) for epc in (0xE3, 0xE4, 0xEB)]
    home.run_until(NOON + timedelta(minutes=20))
    found = home.half_hours()
    assert {at: bought for at, (bought, _) in found.items()} == {
        at: home.registers(at)[0] for at in slots(MIDNIGHT - 2 * DAY, NOON)
    }
    assert {sold for at, (_, sold) in found.items() if at < NOON} == {None}  # what is announced holds it all the same


def test_a_meter_that_lists_the_days_of_what_was_sold_and_refuses_them_fills_the_import(database_url: str) -> None:
    home = solar_home(database_url, days_before=2)
    home.module.faults.habits.append(Habit(refuse(0xE4)))
    home.run_until(NOON + timedelta(minutes=20))
    found = home.half_hours()
    assert {at: bought for at, (bought, _) in found.items()} == {
        at: home.registers(at)[0] for at in slots(MIDNIGHT - 2 * DAY, NOON)
    }
    assert {sold for at, (_, sold) in found.items() if at < NOON} == {None}


def test_one_refusal_of_what_was_sold_on_a_day_costs_nothing(database_url: str) -> None:
    home = solar_home(database_url, days_before=2)
    home.module.faults.habits.append(Habit(refuse(0xE4), times=1))
    home.run_until(NOON + timedelta(minutes=20))
    assert_filled(home, slots(MIDNIGHT - 2 * DAY, NOON))


@pytest.mark.parametrize("refused", [0xE5, 0xE2])
def test_a_day_that_the_meter_refuses_is_requested_once_that_day(
    database_url: str, caplog: pytest.LogCaptureFixture, refused: int
) -> None:
    caplog.set_level("INFO")
    home = solar_home(database_url, days_before=2)

    def refuse_yesterday(request: Frame, response: Frame | None) -> Frame | None:
        if response is None or (asked := request.properties[0]).epc != refused or history_days(home)[-1] != 1:
            return response
        return request.response(Esv.SET_C_SNA if refused == 0xE5 else Esv.GET_SNA, (asked,))

    home.tamper(refuse_yesterday)
    home.run_until(NOON + timedelta(minutes=20))
    yesterday = slots(MIDNIGHT - DAY, MIDNIGHT - HALF_HOUR)
    assert_filled(home, set(slots(MIDNIGHT - 2 * DAY, NOON)) - set(yesterday))
    assert home.half_hours().keys().isdisjoint(yesterday)
    assert history_days(home).count(1) == 1
    assert "0 of 48 half hours (refused by the meter)" in caplog.text


def test_a_half_hour_without_one_direction_is_not_written(database_url: str) -> None:
    home = solar_home(database_url, days_before=1)
    lost = NOON - timedelta(hours=5)  # 7:00, slot 14 of today

    def forget(request: Frame, response: Frame | None) -> Frame | None:
        if response is None or response.properties[0].epc != 0xE4:
            return response
        edt = response.properties[0].edt
        if int.from_bytes(edt[:2]) == 0:
            edt = edt[: 2 + 4 * 14] + b"\xff\xff\xff\xfe" + edt[2 + 4 * 15 :]
        return request.response(response.esv, (type(response.properties[0])(0xE4, edt),))

    home.tamper(forget)
    home.run_until(NOON + timedelta(minutes=20))
    assert set(slots(MIDNIGHT - DAY, NOON)) - home.half_hours().keys() == {lost}


def test_nothing_is_read_around_midnight(database_url: str) -> None:
    start = MIDNIGHT - timedelta(minutes=25)
    home = solar_home(database_url, start=start, timing=REALISTIC, history_pause_s=10.0)
    home.run_until(MIDNIGHT + timedelta(minutes=60))
    around = [at for at, _ in home.requests(*HISTORY_EPCS) if abs(at - MIDNIGHT) < 10 * MINUTE]
    assert around == []
    assert home.requests(*HISTORY_EPCS)[0][0] < MIDNIGHT
    assert_filled(home, slots(MIDNIGHT - 99 * DAY + DAY, MIDNIGHT))


def test_a_day_that_was_begun_before_midnight_is_begun_anew_after_it(database_url: str) -> None:
    start = MIDNIGHT - timedelta(minutes=14)
    home = solar_home(database_url, start=start, days_before=2, history_pause_s=150.0)
    home.run_until(MIDNIGHT + timedelta(hours=1, minutes=40))
    requests = [(frame.properties[0].epc, at > MIDNIGHT) for at, frame in home.requests(*HISTORY_EPCS)]
    late = (0xE4, True)  # what it gives is of a day that was chosen before midnight, and counts for nothing
    assert requests[:6] == [(0xE5, False), (0xE2, False), late, (0xE5, True), (0xE2, True), (0xE4, True)]
    assert history_days(home)[:2] == [0, 1]  # the same day, which is yesterday's now
    assert_filled(home, slots(MIDNIGHT - 2 * DAY, MIDNIGHT - 2 * HALF_HOUR))


def test_the_midnight_is_the_meters(database_url: str) -> None:
    start = MIDNIGHT - timedelta(minutes=25)
    home = solar_home(database_url, start=start, days_before=30, machine_ahead=timedelta(hours=3))
    home.run_until(MIDNIGHT + timedelta(hours=1))
    assert [at for at, _ in home.requests(*HISTORY_EPCS) if abs(at - MIDNIGHT) < 9 * MINUTE] == []
    assert_filled(home, slots(MIDNIGHT - 30 * DAY, MIDNIGHT))
    assert max(home.half_hours()) == MIDNIGHT + HALF_HOUR


def test_a_response_for_another_day_is_not_taken(database_url: str) -> None:
    home = solar_home(database_url, days_before=20)
    strangers = [0]

    def meddle(request: Frame, response: Frame | None) -> Frame | None:
        """Let somebody else choose day 9 once, right after us."""
        if request.properties[0].epc == 0xE5 and not strangers[0]:
            strangers[0] += 1
            home.simulated.respond(Frame.set_c(0x7777, 0xE5, b"\x09").to_bytes(), home.clock.time_s)
        return response

    home.tamper(meddle)
    home.run_until(NOON + timedelta(minutes=20))
    assert history_days(home)[:3] == [0, 0, 1]  # what was read the first time is dropped
    assert_filled(home, slots(MIDNIGHT - 20 * DAY, NOON))
    assert len(home.half_hours()) == 20 * 48 + 25


def test_a_history_without_a_response_disturbs_no_poll(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    home = solar_home(database_url)
    home.tamper(lambda request, response: None if request.properties[0].epc == 0xE2 else response)
    home.run_until(NOON + timedelta(minutes=60))
    assert home.session.number == 1
    assert_polls_on_every_tick(home, 60)
    assert len(home.requests(0xE2)) == 9  # three attempts on each of three days
    assert caplog.text.count("does not respond to requests for its history") == 1


def test_lost_responses_are_requested_again(database_url: str) -> None:
    home = solar_home(database_url, days_before=10)
    lost = iter(range(1000))
    home.tamper(
        lambda request, response: (
            None if request.properties[0].epc in HISTORY_EPCS and next(lost) % 5 == 1 else response
        )
    )
    home.run_until(NOON + timedelta(hours=3))
    assert_filled(home, slots(MIDNIGHT - 10 * DAY, NOON))
    polled = {row.measured_at.replace(second=0) for row in home.of(PowerRow) if row.power_w is not None}
    # While the response to a lost request may still come, for a minute, nothing else is requested: that poll is late.
    assert len(polled) >= 3 * 60 - 2


def test_a_slow_history_is_begun_only_where_it_fits_before_the_tick(database_url: str) -> None:
    home = solar_home(database_url, days_before=10, interval_s=10, timing=REALISTIC)
    home.run_until(NOON + timedelta(minutes=30))
    assert_filled(home, slots(MIDNIGHT - 10 * DAY, NOON))
    assert_polls_on_every_tick(home, 10)
    assert_one_request_at_a_time(home)


def test_a_session_that_ends_half_way_does_not_end_the_history(database_url: str) -> None:
    home = solar_home(database_url, timing=REALISTIC, history_pause_s=10.0)
    home.run_until(NOON + timedelta(minutes=20))
    home.module.emit_event(0x26, home.clock.time_s + 3)
    home.run_until(NOON + timedelta(minutes=75))
    assert home.session.number == 2
    assert_filled(home, slots(MIDNIGHT - 99 * DAY, NOON))


def test_while_the_database_is_unreachable_polls_go_on_and_later_it_is_filled(database_url: str) -> None:
    home = solar_home(database_url, days_before=3)
    home.queries.leave()
    home.run_until(NOON + timedelta(minutes=30))
    assert history_days(home) == []
    assert home.queries.count <= 62  # every 30 s
    home.queries.is_away = False
    home.run_until(NOON + timedelta(minutes=50))
    assert_filled(home, slots(MIDNIGHT - 3 * DAY, NOON))
    assert_polls_on_every_tick(home, 60)
    assert_one_request_at_a_time(home)


def test_registers_that_wrap_are_kept_as_they_are(database_url: str) -> None:
    # 0.75 kW for 18 h are 13.5 kWh a day: from 990.0 kWh the four digits of 0.1 kWh wrap within the first day.
    home = solar_home(database_url, days_before=4, digits=4, start_import_kwh=990)
    home.run_until(NOON + timedelta(minutes=20))
    assert_filled(home, slots(MIDNIGHT - 4 * DAY, NOON))
    used = home.execute(
        "select min(used_kwh), max(used_kwh), count(*) filter (where used_kwh is null) from energy_half_hour"
    )
    assert [float(value) for value in used[0]] == [0.0, pytest.approx(0.4), 0]  # 0.375 kWh, in steps of 0.1
    assert home.events("meter_changed") == []


def test_progress_shows_a_line_a_day_and_a_sum(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="poller")
    home = solar_home(database_url, days_before=2, timing=INSTANT)
    home.run_until(NOON + timedelta(minutes=5))
    lines = [record.getMessage() for record in caplog.records if record.name == "poller.idle_tasks.history"]
    assert lines[0] == "4776 missing half hours of 100 days to request from the meter"  # 99 x 48, and 24 of today
    assert lines[1] == "history of 2026-06-01: 24 of 24 half hours, 99 days to go"
    assert len(lines) == 102
    assert lines[-1].startswith("history: 120 half hours of 100 days filled in")


def test_the_days_are_those_of_japan(database_url: str) -> None:
    home = solar_home(database_url, days_before=2)
    home.run_until(NOON + timedelta(minutes=5))
    assert (min(home.half_hours())).astimezone(JST).time().isoformat() == "00:00:00"
