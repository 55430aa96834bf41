"""Days of polling in virtual time: the real loop, session and driver over the simulator, with faults from a seed.

A failure prints its seed; FAULTS_SEED=seed pytest tests/test_twelve_days.py replays it.
"""

from __future__ import annotations

import dataclasses
import gc
import logging
import os
import re
from collections.abc import Iterable
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, find, given, settings
from hypothesis import strategies as st

from skstack import driver
from skstack.echonet import Frame
from skstack.events import Line, UdpReceived
from skstack.link import Link
from skstack.parser import parse_line
from tests.lab.faults import KINDS, Fault, make_fault, schedule
from tests.lab.faulty_home import FaultyHome, run

pytestmark = pytest.mark.system

MONTH_DAYS = 30.0
MONTH_FAULTS = 520  # each of the kinds some ten times
SHORT_DAYS = 12.0
SEED = int(os.environ.get("FAULTS_SEED", "1"))


def check(seed: int, *, days: float, count: int) -> FaultyHome:
    """Poll for *days* with *count* faults and say how to see it again if anything was wrong."""
    home = run(seed, schedule(seed, days=days, count=count), days=days)
    problems = "\n".join(home.checker.problems[:20])
    assert not problems, f"seed {seed}; replay with: FAULTS_SEED={seed} pytest tests/test_twelve_days.py\n{problems}"
    return home


@pytest.fixture(autouse=True)
def _short_log(caplog: pytest.LogCaptureFixture) -> None:
    """Keep the log of a month short: what would be a fault of the program, and little else."""
    caplog.set_level(logging.ERROR)


def test_twelve_days_with_every_kind_of_fault_three_times(caplog: pytest.LogCaptureFixture) -> None:
    home = check(SEED, days=SHORT_DAYS, count=3 * len(KINDS))
    assert len(home.checker.readings) > 0.9 * SHORT_DAYS * 1440
    assert "a fault of the program" not in caplog.text


def test_without_faults_no_minute_is_missed() -> None:
    home = check(2, days=2.0, count=0)
    assert len(home.checker.readings) == 2 * 1440 - 1  # the link comes up during the first minute
    assert home.checker.half_hours == 2 * 48  # the first midnight's, told after the start, to the second 23:30's


def test_memory_does_not_grow() -> None:
    faults = schedule(3, days=4.0, count=70)
    home = FaultyHome(3, faults)
    objects = []
    for day in (1.0, 4.0):
        home.run_to_day(day)
        gc.collect()
        objects.append(len(gc.get_objects()))
    assert objects[1] - objects[0] < 1000  # three days of polls would be 4320


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_year() -> None:
    check(SEED, days=365.0, count=365 * MONTH_FAULTS // 30)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 31))
def test_a_month_of_each_of_thirty_seeds(seed: int) -> None:
    check(seed, days=MONTH_DAYS, count=MONTH_FAULTS)


# --- one kind at a time, and any few together

QUIET_S = 1000.0  # at the end, for the link to come back


def fault_lists(hours: float, kinds: Iterable[str] = KINDS, most: int = 12) -> st.SearchStrategy[list[Fault]]:
    """Draw up to *most* faults of *kinds* within *hours*, the last of them over in good time."""
    end_s = hours * 3600 - QUIET_S
    fault = st.builds(
        make_fault,
        st.sampled_from(sorted(kinds)),
        st.integers(0, int(end_s) // 10).map(lambda tens: 10.0 * tens),
        st.sampled_from((0.0, 0.3, 0.6)),
        st.sampled_from((0.0, 0.5, 0.99)),
    )
    return st.lists(fault.filter(lambda fault: fault.ends_s <= end_s), max_size=most)


def settled_s(faults: Iterable[Fault]) -> float:
    """Return when the last of *faults* has settled, and the link had its time to come back."""
    return max(fault.ends_s + fault.settles_s for fault in faults) + QUIET_S


def problems(faults: list[Fault], *, seed: int = 1, hours: float = 6.0) -> list[str]:
    """Return what goes wrong in a few hours with *faults*."""
    return run(seed, faults, days=hours / 24).checker.problems


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("severity", [0.0, 0.99])
def test_from_every_kind_of_fault_the_link_comes_back(kind: str, severity: float) -> None:
    first = make_fault(kind, 1800.0, 0.3, severity)
    second = make_fault(kind, 60.0 * (settled_s([first]) // 60) + 58.0, 0.6, severity)
    assert problems([first, second], hours=settled_s([second]) / 3600) == []


MOST_WARNINGS = 6  # of one fault: what failed, what each step of the recovery met, that no reading came
MOST_LINES = 20  # with the four of the start, what is tried meanwhile, and the end


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_is_logged_once_and_once_that_it_is_over(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fault = make_fault(kind, 1800.0, 0.99, 0.99)
    minutes = ceil(settled_s([fault]) / 60) + 60  # what is refused is requested again in an hour
    home = run(3, [fault], days=minutes / 1440)
    told = [record.getMessage() for record in caplog.records]
    assert not any(record.exc_info for record in caplog.records)
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) <= MOST_WARNINGS, told
    assert len(told) <= MOST_LINES, told
    failed = [text for text in told if text.startswith("no reading of the meter")]
    over = [text for text in told if text.startswith("the meter has responded to every poll since")]
    assert len(failed) == len(over) <= 1, told
    lost = [text for text in told if text.startswith("the link is lost")]
    joined = [text for text in told if text.startswith("joined the meter")]
    assert len(lost) <= 2, told
    assert 1 + bool(lost) <= len(joined) <= 1 + len(lost), told  # the first one is that of the start
    if len(home.checker.readings) < minutes - 1:
        assert told[4:], told  # nothing is missing without a word


@settings(
    max_examples=40,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(fault_lists(6.0), st.integers(1, 30))
@example(  # what ends the wait is a late response to an attempt of before the link was lost
    [make_fault("lost ERXUDP", 980.0, 0.6, 0.99), make_fault("responses slower than a minute", 920.0, 0.3, 0.0)], 25
)
@example(  # the module refuses a request, and before it is repeated it begins to renew its session
    [
        make_fault("EVENT 29, and 25 unheard", 15720.0, 0.3, 0.0),
        make_fault("FAIL ER09", 15720.0, 0.3, 0.99),
        make_fault("sessions forgotten", 550.0, 0.0, 0.5),
    ],
    1,
)
def test_from_any_faults_the_link_comes_back(faults: list[Fault], seed: int) -> None:
    assert problems(faults, seed=seed) == []


@pytest.mark.parametrize(("interval_s", "hours"), [(1, 2.0), (10, 6.0), (3600, 96.0)])
def test_at_any_interval_the_link_comes_back(interval_s: int, hours: float) -> None:
    faults = [Fault(1800.0, "lost replies", 100.0, 4), Fault(2700.0, "EVENT 26", 100.0), Fault(3590.0, "late OK", 60.0)]
    home = run(1, faults, days=hours / 24, interval_s=interval_s)
    assert home.checker.problems == []
    assert len(home.checker.readings) > 0.9 * hours * 3600 / max(interval_s, 2)  # a response takes over a second


@pytest.mark.parametrize(
    "options", [{"lacks": frozenset({0xE1})}, {"unit_code": 0x05}, {"coefficient": 0, "lacks": frozenset()}]
)
def test_without_a_unit_the_power_is_read_and_the_registers_are_null(options: dict[str, Any]) -> None:
    home = run(1, [Fault(1800.0, "lost replies", 100.0, 2)], days=0.1, **options)
    assert home.checker.problems == []
    assert len(home.checker.readings) == 143  # of 144 minutes; the link comes up during the first


@pytest.mark.parametrize("amount", [1, 2, 3, 4])
def test_another_meter_is_read_in_its_own_unit_wherever_its_pan_is(amount: int) -> None:
    faults = [Fault(1800.0, "another meter", 300.0, amount), Fault(7200.0, "another meter", 300.0, amount)]
    assert problems(faults, hours=4.0) == []


# --- the checks have teeth


def test_a_driver_that_takes_any_response_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Frame, "matches", lambda _frame, _request: True)
    found = problems([Fault(1810.0, "strangers' frames", 120.0)])
    assert any(problem.startswith("wrong at") for problem in found)


def test_a_driver_that_trusts_unsecured_frames_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def trusting(raw: bytes) -> Line:
        line = parse_line(raw)
        return line._replace(secured=True) if isinstance(line, UdpReceived) else line

    monkeypatch.setattr(driver, "parse_line", trusting)
    found = problems([Fault(1810.0, "strangers' frames", 120.0)])
    assert any(problem.startswith("wrong at") for problem in found)


def test_a_driver_that_sends_into_the_silence_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Link, "up", property(lambda link: link.joined))
    found = problems([Fault(1790.0, "EVENT 32", 300.0)])
    assert any("after EVENT 32" in problem for problem in found)


def test_a_driver_that_never_gives_a_request_its_time_is_caught() -> None:
    home = FaultyHome(1, [Fault(1790.0, "lost replies", 300.0, 3)])
    home.session.timings = dataclasses.replace(home.session.timings, response_timeout_s=5.0)
    home.run_to_day(0.1)
    assert any("a pending request" in violation for violation in home.module.violations)


def test_the_smallest_schedule_that_fails_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Link, "up", property(lambda link: link.joined))
    smallest = find(
        fault_lists(0.5, ("EVENT 26", "EVENT 32", "lost replies"), most=4),
        lambda faults: any("after EVENT 32" in problem for problem in problems(faults, hours=0.5)),
        settings=settings(max_examples=200),
    )
    assert [fault.kind.split(",")[0] for fault in smallest] == ["EVENT 32"]


# --- the documentation


def test_every_kind_of_fault_is_documented_with_a_test_that_exists() -> None:
    tests = Path(__file__).parent
    text = (tests.parent / "docs" / "faults.md").read_text("utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert {row[0].removeprefix("| ") for row in rows} >= set(KINDS)
    for row in rows:
        module = ""
        for named in re.findall(r"`(test_\w+\.py)?(?:::(test_\w+))?`", row[-1]):
            module = named[0] or module
            assert f"def {named[1]}(" in (tests / module).read_text("utf-8") if named[1] else (tests / module).exists()
