"""Every reading is stored, once, and with its true time, whatever the machine's clock does; in virtual time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2
import pytest

from poller.once import run_once
from poller.process import StopSignal
from poller.time_server import TimeServer
from skstack.echonet import Esv, Frame, Property
from skstack.simulator import Habit
from storage.records import MeterRow, PowerRow
from tests.lab.check import at_home
from tests.lab.clock import MINUTE, NOON
from tests.lab.habits import take
from tests.lab.home import Home
from tests.lab.process import module_on

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
TO_HALF_A_MINUTE = timedelta(seconds=31)  # the meter shows minutes; readings carry whole seconds


def stored(home: Home) -> list[datetime]:
    """Return the times of the polls in the database."""
    return [at.astimezone(UTC) for (at,) in home.execute("select measured_at from power order by measured_at")]


def polled(home: Home) -> list[datetime]:
    """Return the true times at which the power was requested."""
    return [at for at, _ in home.requests(0xE7)]


def set_later(home: Home, after: timedelta, *, ahead: timedelta = timedelta(0), is_synchronised: bool = True) -> None:
    """Let the machine's clock be set when it is *after* noon."""

    def be_set() -> None:
        home.machine.ahead, home.machine.is_synchronised = ahead, is_synchronised

    home.clock.signal_at(home.clock.monotonic() + (NOON + after - home.clock.now()).total_seconds(), be_set)


def minutes(count: int) -> list[datetime]:
    return [NOON + number * MINUTE for number in range(count)]


def each_is_true(home: Home, *, within: timedelta = TO_HALF_A_MINUTE) -> None:
    """See that there is one row for each poll, dated when that was, in the order they were written."""
    written = [row.measured_at for row in home.of(PowerRow)]
    assert len(written) == len(polled(home))
    assert all(abs(at - true) <= within for at, true in zip(written, polled(home), strict=True))
    assert stored(home) == sorted(written)


def show(ahead: timedelta) -> Callable[[Frame, Frame | None], Frame | None]:
    """Let the meter's clock be *ahead*. Source: ECHONET Device Objects, super class, EPC 97 and 98."""

    def change(request: Frame, response: Frame | None) -> Frame | None:
        if response is None or not _requests_the_time(request):
            return response
        told = response.edt_by_epc()
        date, time = told[0x98], told[0x97]
        at = datetime(int.from_bytes(date[:2], "big"), date[2], date[3], time[0], time[1]) + ahead  # noqa: DTZ001 - Japan's
        return request.response(
            response.esv,
            (
                Property(0x97, bytes((at.hour, at.minute))),
                Property(0x98, at.year.to_bytes(2, "big") + bytes((at.month, at.day))),
            ),
        )

    return change


@pytest.mark.parametrize("ahead", [25 * HOUR, -25 * HOUR, timedelta(days=-365), timedelta(minutes=7)])
def test_no_meter_keeps_anything_from_a_machine_that_follows_a_server(
    database_url: str, ahead: timedelta, caplog: pytest.LogCaptureFixture
) -> None:
    home = Home(database_url, days_before=2)
    home.tamper(show(ahead))
    home.run_until(NOON + 10 * MINUTE)
    home.module.emit_event(0x26, home.clock.time_s)  # a second session
    home.run_until(NOON + 30 * MINUTE)
    assert stored(home) == minutes(30)
    assert caplog.text.count("this machine follows a time server, and is right") == 1


@pytest.mark.parametrize("ahead", [9 * HOUR, -5 * HOUR, timedelta(days=-400, seconds=0.25), 3 * MINUTE])
def test_a_machine_that_follows_no_server_takes_the_meters_time_from_the_first_reading_on(
    database_url: str, ahead: timedelta, caplog: pytest.LogCaptureFixture
) -> None:
    """A battery clock in local time is nine hours ahead in Japan; a machine without one starts where it stopped."""
    home = Home(database_url, days_before=2, machine_ahead=ahead, is_synchronised=False)
    home.run_until(NOON + 10 * MINUTE)
    each_is_true(home)
    assert len(stored(home)) >= 10
    assert caplog.text.count("the meter's clock says so, and this machine follows no time server") == 1
    ((since,),) = home.execute("select since from meter")
    assert abs(since - NOON) <= 3 * MINUTE


def test_a_server_that_comes_in_mid_run_makes_the_times_exact_and_no_row_vanishes(database_url: str) -> None:
    home = Home(database_url, days_before=2, machine_ahead=9 * HOUR, is_synchronised=False)
    set_later(home, 10 * MINUTE - 20 * SECOND)
    home.run_until(NOON + 30 * MINUTE)
    each_is_true(home)
    assert stored(home)[-15:] == minutes(30)[-15:]


def test_an_hour_ahead_beside_a_meter_without_a_clock_loses_no_row_when_the_server_comes(database_url: str) -> None:
    """The times from 13:00 to 13:19 were given before they came: their ticks are not given again."""
    home = Home(database_url, days_before=2, machine_ahead=HOUR, is_synchronised=False)
    home.tamper(_without_clock)
    set_later(home, 20 * MINUTE - 20 * SECOND)
    home.run_until(NOON + 90 * MINUTE)
    written = [row.measured_at for row in home.of(PowerRow)]
    assert len(written) == len(polled(home)) >= 90
    assert stored(home) == sorted(set(written))
    assert {NOON + number * MINUTE + SECOND for number in range(60, 80)} < set(written)
    assert {NOON + number * MINUTE for number in range(80, 90)} < set(written)


def _requests_the_time(request: Frame) -> bool:
    return 0x97 in {each.epc for each in request.properties}


def _without_clock(request: Frame, response: Frame | None) -> Frame | None:
    if response is None or not _requests_the_time(request):
        return response
    return request.response(Esv.GET_SNA, tuple(Property(each.epc, b"") for each in request.properties))


@pytest.mark.parametrize("step", [-30 * SECOND, -90 * SECOND, -2 * MINUTE])
def test_a_small_step_back_is_waited_out(database_url: str, step: timedelta) -> None:
    home = Home(database_url, days_before=2, machine_ahead=-step)
    set_later(home, 10 * MINUTE + 30 * SECOND)
    home.run_until(NOON + 30 * MINUTE)
    written = [row.measured_at for row in home.of(PowerRow)]
    assert len(stored(home)) == len(written) == len(polled(home))
    assert all(later - earlier == MINUTE for earlier, later in itertools.pairwise(written))


def test_after_a_large_step_back_the_loop_goes_on_by_the_new_time_and_writes_no_tick_twice(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    home = Home(database_url, days_before=2, machine_ahead=HOUR)
    set_later(home, 70 * MINUTE + 30 * SECOND)  # it has given the ticks from 13:00 to 14:10 by then
    home.run_until(NOON + 140 * MINUTE)
    written = [row.measured_at for row in home.of(PowerRow)]
    assert stored(home) == sorted(set(written))
    assert written[:71] == [NOON + number * MINUTE for number in range(60, 131)]
    assert written[71:] == [
        *(NOON + number * MINUTE + SECOND for number in range(71, 131)),
        *(NOON + number * MINUTE for number in range(131, 140)),
    ]
    assert "the time moves back by 60.0 min" in caplog.text


@pytest.mark.parametrize("step", [30 * SECOND, HOUR])
def test_a_step_forward_costs_no_reading(database_url: str, step: timedelta) -> None:
    home = Home(database_url, days_before=2, machine_ahead=-step)
    set_later(home, 10 * MINUTE + 20 * SECOND)
    home.run_until(NOON + 30 * MINUTE)
    times = stored(home)
    assert len(times) == len(polled(home))
    assert set(minutes(30)[12:]) <= set(times)


@pytest.mark.parametrize("step", [-30 * SECOND, 30 * SECOND, HOUR, -HOUR])
def test_a_clock_set_by_hand_beside_a_meter_moves_no_reading(database_url: str, step: timedelta) -> None:
    home = Home(database_url, days_before=2, is_synchronised=False)
    set_later(home, 10 * MINUTE + 20 * SECOND, ahead=step, is_synchronised=False)
    home.run_until(NOON + 30 * MINUTE)
    assert stored(home) == minutes(30)


def test_over_midnight_the_machine_follows_the_meter_all_the_same(database_url: str) -> None:
    midnight = NOON + 12 * HOUR
    home = Home(
        database_url, start=midnight - 10 * MINUTE, days_before=2, machine_ahead=-9 * HOUR, is_synchronised=False
    )
    home.run_until(midnight + 10 * MINUTE)
    each_is_true(home)
    assert len(stored(home)) >= 20


def test_a_meter_that_does_not_give_its_time_delays_the_rows_by_a_quarter_of_an_hour_and_loses_none(
    database_url: str,
) -> None:
    home = Home(database_url, days_before=2, is_synchronised=False)
    home.tamper(lambda request, response: None if _requests_the_time(request) else response)
    home.run_until(NOON + 14 * MINUTE)
    assert stored(home) == []
    home.run_until(NOON + 20 * MINUTE)
    # While the response to a lost request may still come no other is sent: the poll after it is late.
    assert [at.replace(second=0) for at in stored(home)] == minutes(20)
    assert len(home.of(MeterRow)) == 1


def test_a_late_response_with_the_time_dates_all_that_waited(database_url: str) -> None:
    home = Home(database_url, days_before=2, machine_ahead=9 * HOUR, is_synchronised=False, takes_one_round=True)
    is_mute = [True]
    home.tamper(lambda request, response: None if is_mute[0] and _requests_the_time(request) else response)
    home.run_until(NOON + 90 * SECOND)
    assert stored(home) == []
    is_mute[0] = False
    home.run_until(NOON + 10 * MINUTE)
    each_is_true(home)


@pytest.mark.parametrize("seconds", [28.0, 35.0, 48.0, 59.0])
def test_a_meter_that_takes_most_of_a_minute_for_its_time_dates_all_that_waited(seconds: float) -> None:
    """AIF specification 1.01, 2.4.2: several properties may take 60 s, and nothing fits between two such polls."""
    home = Home(machine_ahead=HOUR, is_synchronised=False)
    home.simulated.habits.append(Habit(take(seconds)))
    home.run_minutes(20)
    written = [row.measured_at for row in home.of(PowerRow)]
    assert len(written) >= 14
    assert NOON - MINUTE <= min(written) <= max(written) <= NOON + 21 * MINUTE


def test_a_meter_without_a_clock_delays_nothing(database_url: str) -> None:
    home = Home(database_url, days_before=2, is_synchronised=False)
    home.tamper(_without_clock)
    home.run_until(NOON + 5 * MINUTE)
    assert stored(home) == minutes(5)


def test_a_meter_whose_map_lists_no_clock_delays_nothing_and_is_not_asked_for_one(database_url: str) -> None:
    home = Home(database_url, days_before=2, is_synchronised=False, lacks=frozenset({0x97, 0x98}))
    home.run_until(NOON + 5 * MINUTE)
    assert stored(home) == minutes(5)
    assert home.requests(0x97, 0x98) == []


def test_a_restart_on_a_machine_nine_hours_ahead_overlaps_nothing(database_url: str) -> None:
    home = Home(database_url, days_before=2, machine_ahead=9 * HOUR, is_synchronised=False)
    home.run_until(NOON + 5 * MINUTE)
    home.restart()
    home.run_until(NOON + 10 * MINUTE)
    assert len(stored(home)) == len(home.of(PowerRow)) == len(polled(home))
    assert max(stored(home)) <= NOON + 10 * MINUTE + TO_HALF_A_MINUTE


def test_radio_events_before_the_time_was_known_are_dated_rightly(database_url: str) -> None:
    home = Home(database_url, days_before=2, machine_ahead=9 * HOUR, is_synchronised=False)
    home.run_until(NOON + 3 * MINUTE)
    times = {kind: at for kind, at in home.execute("select kind, happened_at from radio_event")}
    assert abs(times["join"] - NOON) <= MINUTE


def test_the_end_stores_what_waits(database_url: str) -> None:
    home = Home(database_url, days_before=2, is_synchronised=False)
    home.tamper(lambda request, response: None if _requests_the_time(request) else response)
    home.run_until(NOON + 5 * MINUTE)
    home.app.dating.close()
    assert stored(home) == minutes(5)


# --- a single round, for cron


def test_a_single_round_that_does_not_know_the_time_reads_it_before_the_row_is_kept(database_url: str) -> None:
    home = Home(database_url, days_before=2, machine_ahead=9 * HOUR, is_synchronised=False, takes_one_round=True)
    is_mute = [True]
    home.tamper(lambda request, response: None if is_mute[0] and _requests_the_time(request) else response)
    home.connect()
    home.poller.take_round(home.time.now().replace(microsecond=0), timeout_s=60.0)
    assert stored(home) == []
    is_mute[0] = False
    home.finish(60.0)
    home.app.dating.close()
    each_is_true(home)


def test_a_single_round_dates_the_meter_by_the_meters_clock(database_url: str) -> None:
    home = Home(database_url, days_before=2, machine_ahead=9 * HOUR, is_synchronised=False, takes_one_round=True)
    home.connect()
    home.poller.take_round(home.time.now().replace(microsecond=0), timeout_s=60.0)
    each_is_true(home)
    home.finish(60.0)
    ((since,),) = home.execute("select since from meter")
    assert abs(since - home.clock.now()) <= TO_HALF_A_MINUTE


@pytest.mark.parametrize(("is_synchronised", "takes_s"), [(False, 0.0), (True, 0.0), (False, 1.6)])
def test_a_single_round_beside_a_meter_three_hours_ahead(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, is_synchronised: bool, takes_s: float
) -> None:
    """On a real clock: whoever follows a time server is right, everybody else takes the meter's time.

    Also where that comes only after the timeout of a request, 1 s here.
    """
    monkeypatch.setattr(TimeServer, "is_followed", lambda _self: is_synchronised)
    settings = at_home(tmp_path, database_url)
    with module_on(tmp_path / "tty", ahead_s=3 * 3600.0) as module:
        module.faults.habits.append(Habit(take(takes_s)))
        assert run_once(settings, (), stop=StopSignal()) == 0
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("select measured_at - now() from power")
        ((ahead,),) = cursor.fetchall()
    expected = timedelta(0) if is_synchronised else 3 * HOUR
    assert abs(ahead - expected) <= TO_HALF_A_MINUTE + MINUTE  # a test machine may be busy
