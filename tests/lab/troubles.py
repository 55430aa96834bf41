"""What can go wrong beside the radio, and when: every kind of trouble by name, and schedules of them from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from tests.lab import disk
from tests.lab.clock import DAY
from tests.lab.faults import HOUR_S, Fault

if TYPE_CHECKING:
    from tests.lab.radio import Radio
    from tests.lab.whole import Whole

_BETWEEN_S = 1800.0  # two troubles that would undo each other
_MOST = 6
_SET_BY = (
    timedelta(minutes=-7),
    timedelta(minutes=7),
    timedelta(seconds=-100),
    timedelta(seconds=100),
    -400 * DAY,
    400 * DAY,
)
_LOST_ANSWERS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True, order=True)
class Trouble(Fault):
    """Something that happens to the program or to what is below it; *kind* is of TROUBLES, *amount* from 0 to 5."""

    @property
    def settles_s(self) -> float:
        """As of a fault: a program that has just begun does not know the meter yet."""
        return 600.0


Action = Callable[["Whole", Trouble], object]


def _nothing(_home: Whole, _trouble: Trouble) -> None:
    return None


# --- the program


def _kill(home: Whole, _trouble: Trouble) -> None:
    home.kill()


def _kill_in_delivery(home: Whole, _trouble: Trouble) -> None:
    """Let the program be killed after its next commit, before it hears of that."""
    home.unreliable.after_commit = home.kill


def _kill_in_write(home: Whole, _trouble: Trouble) -> None:
    """Let the program be killed when half of its next write is on the disk."""
    home.disk.in_write = home.kill


def _live_on(home: Whole, _trouble: Trouble) -> None:
    home.live_on()


def _switch_off(home: Whole, trouble: Trouble) -> None:
    home.kill(off_until=trouble.ends_s)


# --- the clock


def _set_clock(home: Whole, trouble: Trouble) -> None:
    """Let somebody, or a time server, set the clock wrong."""
    home.set_clock(_SET_BY[trouble.amount], is_synchronised=int(trouble.at_s) % 2 == 0)


def _start_without_time(home: Whole, trouble: Trouble) -> None:
    """Let the machine start without a time server, hours from the true time."""
    home.set_clock(timedelta(hours=trouble.amount - 3), is_synchronised=False)
    home.kill()


def _cut_power(home: Whole, trouble: Trouble) -> None:
    """Let all lose power for a third of the time, then be without a time server for the rest of it."""
    off_s = trouble.lasts_s / 3
    home.radio.unplug(trouble.at_s + off_s)
    home.room.lose_power(back_s=trouble.at_s + off_s)
    home.set_clock(-timedelta(seconds=off_s), is_synchronised=False)
    home.kill(off_until=trouble.at_s + off_s)


def _right_clock(home: Whole, _trouble: Trouble) -> None:
    home.set_clock(timedelta(0), is_synchronised=True)


# --- the database


def _leave(home: Whole, _trouble: Trouble) -> None:
    home.unreliable.is_away = True


def _come_back(home: Whole, _trouble: Trouble) -> None:
    home.unreliable.is_away = False


def _lose_answers(home: Whole, trouble: Trouble) -> None:
    home.unreliable.lost_answers = _LOST_ANSWERS[trouble.amount]


def _lose_no_answers(home: Whole, _trouble: Trouble) -> None:
    home.unreliable.lost_answers = 0.0


# --- the disk


def _refuse(home: Whole, _trouble: Trouble, *, refusal: disk.Refusal | None) -> None:
    home.disk.refusal = refusal


# --- the sensors


def _plug_bme280(home: Whole, _trouble: Trouble, *, is_in: bool) -> None:
    home.room.chip.unplugged = not is_in


def _talk_mhz19(home: Whole, _trouble: Trouble, *, talks: bool) -> None:
    home.room.air.silent = not talks


@dataclass(frozen=True)
class Kind:
    """How a trouble begins and ends, and how long it may last. Of those on the same *what* one happens at a time."""

    what: str
    begin: Action
    end: Action = _nothing
    longest_s: float = 2 * HOUR_S


def _disk(refusal: disk.Refusal) -> Kind:
    return Kind("disk", partial(_refuse, refusal=refusal), partial(_refuse, refusal=None))


TROUBLES: dict[str, Kind] = {
    "killed": Kind("program", _kill, longest_s=60.0),
    "killed in a delivery": Kind("program", _kill_in_delivery, _live_on, longest_s=HOUR_S),
    "killed in a write": Kind("program", _kill_in_write, _live_on, longest_s=HOUR_S),
    "stopped": Kind("program", lambda home, _trouble: home.terminate(), longest_s=60.0),
    "off": Kind("program", _switch_off, longest_s=5 * HOUR_S),
    "clock set wrong": Kind("clock", _set_clock, _right_clock, longest_s=HOUR_S),
    "started without a time": Kind("clock", _start_without_time, _right_clock),
    "power cut": Kind("clock", _cut_power, _right_clock),
    "database away": Kind("database", _leave, _come_back),
    "database stopped": Kind(
        "database", lambda home, _trouble: home.server.close(), lambda home, _trouble: home.server.start(), HOUR_S
    ),
    "connection terminated": Kind("database", lambda home, _trouble: home.terminate_connections(), longest_s=60.0),
    "responses of the database lost": Kind("answers", _lose_answers, _lose_no_answers),
    "disk full": _disk(disk.FULL),
    "disk read-only": _disk(disk.READ_ONLY),
    "disk failing": _disk(disk.FAILING),
    "data directory gone": Kind(
        "disk", lambda home, _trouble: home.disk.go_away(), lambda home, _trouble: home.disk.come_back()
    ),
    "BME280 unplugged": Kind("BME280", partial(_plug_bme280, is_in=False), partial(_plug_bme280, is_in=True)),
    "MH-Z19 silent": Kind("MH-Z19", partial(_talk_mhz19, talks=False), partial(_talk_mhz19, talks=True)),
}
"""Every kind of trouble by its name; docs/faults.md lists the same names."""


@dataclass(frozen=True)
class Turn:
    """The begin or the end of a trouble, as a Radio is to do it."""

    at_s: float
    home: Whole
    trouble: Trouble
    act: Action

    def __call__(self, radio: Radio) -> None:
        self.act(self.home, self.trouble)


def turns(home: Whole, troubles: list[Trouble]) -> list[Turn]:
    """Return what happens to *home* in *troubles*."""
    begins = [Turn(each.at_s, home, each, TROUBLES[each.kind].begin) for each in troubles]
    ends = [Turn(each.ends_s, home, each, TROUBLES[each.kind].end) for each in troubles]
    return [*begins, *ends]


def troubles_of(seed: int, *, days: float, count: int) -> list[Trouble]:
    """Return up to *count* troubles over *days*, each kind as often as the others."""
    rng = random.Random(f"troubles/{seed}")
    kinds = [kind for _ in range(-(-count // len(TROUBLES))) for kind in TROUBLES]
    rng.shuffle(kinds)
    times = sorted(rng.uniform(1800.0, (days * 24 - 5) * HOUR_S) for _ in range(count))
    found: list[Trouble] = []
    free_s: dict[str, float] = {}
    for at_s, kind in zip(times, kinds, strict=False):
        what = TROUBLES[kind].what
        if at_s >= free_s.get(what, 0.0):
            lasts_s = rng.uniform(30.0, TROUBLES[kind].longest_s)
            found.append(Trouble(round(at_s, 1), kind, round(lasts_s, 1), amount=rng.randrange(_MOST)))
            free_s[what] = found[-1].ends_s + _BETWEEN_S
    return found
