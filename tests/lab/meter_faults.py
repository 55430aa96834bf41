"""How the faults begin that people report of meters and of bad places; which there are stands in faults.py.

Chance comes from the fault itself: what begins at the same time with the same amount is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from pseudo_terminal import Device
from skstack.echonet import Esv
from skstack.simulator import Habit, Hearing
from skstack.simulator.habits import is_response
from tests.lab.devices import Babbling, Deaf
from tests.lab.habits import (
    add_counts,
    announcements,
    delay,
    double,
    lone,
    lose,
    lose_share,
    mistake_tid,
    refuse,
    refuse_bare,
    repeat,
    rewrite,
    several,
    shorten,
    take,
)
from tests.lab.radio import Radio
from tests.lab.scans import deaf, hears_share

if TYPE_CHECKING:
    from tests.lab.faults import Action, Fault

_EXPORT, _IMPORT, _POWER, _SERIAL = 0xE3, 0xE0, 0xE7, 0x8D


def habits(*make: Callable[[Fault], Habit]) -> Action:
    """Let the air have habits until the end of the fault."""

    def begin(radio: Radio, fault: Fault) -> None:
        radio.module.faults.habits += [each(fault) for each in make]

    return begin


def _rng(fault: Fault) -> Random:
    return Random(f"{fault.kind}/{fault.at_s}/{fault.amount}")


# --- responses doubled, misnumbered, shortened, refused, never given

doubled = habits(lambda fault: Habit(double, times=fault.amount))
misnumbered = habits(lambda fault: Habit(mistake_tid, times=fault.amount))
shortened = habits(lambda fault: Habit(shorten(fault.amount, esv=Esv.GET_RES if fault.at_s // 1 % 2 else Esv.GET_SNA)))
refused = habits(lambda _: Habit(refuse()))
refused_bare = habits(lambda _: Habit(refuse_bare))
power_refused = habits(lambda fault: Habit(refuse(_POWER), times=2 * fault.amount))
one_refused = habits(lambda fault: Habit(refuse((_EXPORT, _IMPORT, 0xE8)[fault.amount % 3])))
one_never_answered = habits(lambda _: Habit(refuse(_EXPORT), several), lambda _: Habit(lose, lone(_EXPORT)))
several_never_answered = habits(lambda _: Habit(lose, several))


# --- responses late or lost

slow = habits(lambda fault: Habit(take((4.0, 10.0, 21.0)[fault.amount - 1])))
slower_than_a_minute = habits(lambda _: Habit(take(62.0)))
slow_by_chance = habits(lambda fault: Habit(delay(partial(_rng(fault).uniform, 0.0, 10.0 * fault.amount))))
begins_anew = habits(lambda _: Habit(take(25.0, begins_anew=True), several))
lost_by_chance = habits(lambda fault: Habit(lose_share((0.6, 0.8)[fault.amount - 1], _rng(fault)), is_response))


# --- numbers that slip, a meter that is exchanged

too_high_once = habits(lambda _: Habit(add_counts(_IMPORT, 9), times=1))
too_low_once = habits(lambda _: Habit(add_counts(_IMPORT, -9), times=1))
wrong_digit_once = habits(lambda _: Habit(rewrite(_SERIAL, lambda edt: b"7" + edt[1:]), times=1))


def register_twice(radio: Radio, _fault: Fault) -> None:
    """Let an announcement hold EA twice, with another register the second time."""
    one_more = repeat(0xEA, lambda edt: edt[:-1] + bytes((edt[-1] ^ 1,)))
    radio.module.faults.habits.append(Habit(one_more, announcements, times=1))
    radio.module.announce(radio.time_s)


def exchange(radio: Radio, fault: Fault) -> None:
    """Install another meter: the same MAC, a new one and a new PAN, another unit, no serial number given."""
    number = radio.module.meter.generation + 2
    changes: dict[str, object] = {"serial_number": f"SIM{number:07d}", "start_import_kwh": 1000 * number}
    if fault.amount == 2:
        changes |= {"mac": f"001C640003{number:06X}", "pan_id": 0x3000 + number, "channel": 0x22 + number % 16}
    elif fault.amount == 3:
        changes |= {"unit_code": 0x02 if radio.module.meter.options.unit_code == 0x01 else 0x01, "digits": 8}
    elif fault.amount == 4:
        changes |= {"zeros_before_installation": True, "start_import_kwh": 0}
    radio.module.meter.exchange(radio.time_s, **changes)


# --- bad places


def hear(hearing: Callable[[Fault], Hearing]) -> Action:
    """Let scans hear so from now on, and the session end so that one is needed."""

    def begin(radio: Radio, fault: Fault) -> None:
        radio.module.faults.hearing = hearing(fault)
        radio.module.faults.fail_joins(2)  # SKREJOIN and SKJOIN: what follows may be a scan
        radio.module.emit_event(0x26, radio.time_s)

    return begin


deaf_scans = hear(lambda _: deaf)
half_deaf_scans = hear(lambda fault: hears_share(0.5, _rng(fault)))


def forget_sessions(radio: Radio, fault: Fault) -> None:
    """Let each session die silently after some minutes, and three of four renewals fail."""
    radio.module.faults.forget_sessions(220.0 * fault.amount, rejoins=(False, False, False, True))


# --- modules


def connects_after_all(radio: Radio, _fault: Fault) -> None:
    """Let EVENT 25 come six seconds after EVENT 24."""
    radio.module.faults.fail_joins(1, connects_after_s=6.0)
    radio.module.emit_event(0x26, radio.time_s)


def connected_over_and_over(radio: Radio, fault: Fault) -> None:
    """Let EVENT 25 come thousands of times a minute."""
    radio.module.emit_event(0x25, radio.time_s, times=1000 * fault.amount, every_s=0.02)


def slow_commands(radio: Radio, fault: Fault) -> None:
    """Let each of many commands get its response after 2.85 s."""
    for _ in range(20 * fault.amount):
        radio.module.faults.slow_next(2.85)


def late_ok(radio: Radio, fault: Fault) -> None:
    """Let one command get its response only when the next one is under way."""
    radio.module.faults.slow_next(4.0 * fault.amount)


def limited_and_unplugged(radio: Radio, fault: Fault) -> None:
    """Let the stick be pulled out while it is over its sending limit; put in again, it is not."""
    radio.module.emit_event(0x32, radio.time_s)
    radio.then(5.0, lambda: radio.unplug(fault.ends_s))


def device(make: Callable[[float], Device]) -> Action:
    """Let something else be at the end of the line until the end of the fault."""

    def begin(radio: Radio, _fault: Fault) -> None:
        radio.line.other = make(radio.time_s)

    return begin


drips = device(lambda now: Babbling.drip(start=now))
floods = device(lambda now: Babbling.flood(start=now))
deaf_device = device(lambda _: Deaf())
never_reads = device(lambda _: Deaf(reads=False))
