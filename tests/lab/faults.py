"""What can go wrong with the radio, and when: every kind of fault by name, and schedules of them from a seed.

A fault begins at a time and lasts; when it ends nothing of it is left (counts that were not used up are dropped), so
that one can say of any moment whether the link ought to be healthy.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from operator import attrgetter

from skstack.echonet import CONTROLLER, METER, Esv, Frame, Property
from skstack.simulator import Datagram, link_local
from tests.lab import meter_faults
from tests.lab.habits import late, lost, mute
from tests.lab.radio import Radio
from tests.lab.scans import deaf_for

HOUR_S = 3600.0
STRANGE_POWER_W = (
    31_415  # what nobody's household draws here: seen in a row, it came from a frame that is not the meter's
)


@dataclass(frozen=True, order=True)
class Fault:
    """One thing that goes wrong. *at_s* and *lasts_s* in seconds; *amount* is how often or how much, by its kind."""

    at_s: float
    kind: str
    lasts_s: float
    amount: int = 1

    @property
    def ends_s(self) -> float:
        """When nothing of it is left."""
        return self.at_s + self.lasts_s

    @property
    def settles_s(self) -> float:
        """For how long after its end a row may still lack values."""
        return KINDS[self.kind].settles_s

    def __call__(self, radio: Radio) -> None:
        KINDS[self.kind].begin(radio, self)


@dataclass(frozen=True)
class End:
    """The end of a fault: of several at a time the last one cleans up."""

    fault: Fault
    is_last: bool

    @property
    def at_s(self) -> float:
        return self.fault.ends_s

    def __call__(self, radio: Radio) -> None:
        if self.is_last:
            radio.module.faults.clear()
            radio.wire.spoilers.clear()
            radio.wire.losses.clear()
            radio.wire.wake_ups = 0
            radio.cut_writes = 0
            radio.line.other = None


Action = Callable[[Radio, Fault], object]


@dataclass(frozen=True)
class Kind:
    """A kind of fault: how it begins, how long it may last, and the most of its amount.

    For *settles_s* after its end a row may still lack values, while it is found out again what the meter has.
    """

    begin: Action
    lasts_s: tuple[float, float] = (60.0, 300.0)
    most: int = 3
    settles_s: float = 600.0


def happenings(faults: Sequence[Fault]) -> list[Fault | End]:
    """Return what a Radio is to do: every fault, and its end; the last of those that overlap cleans up."""
    lasts = {end for _, end in busy_spans(faults)}
    return [*faults, *(End(fault, fault.ends_s in lasts) for fault in faults)]


def busy_spans(faults: Sequence[Fault]) -> list[tuple[float, float]]:
    """Return the times in which something is wrong, as (begin, end), in order and without overlap."""
    spans: list[tuple[float, float]] = []
    for fault in sorted(faults, key=attrgetter("at_s")):
        if spans and fault.at_s <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], fault.ends_s))
        else:
            spans.append((fault.at_s, fault.ends_s))
    return spans


def schedule(seed: int, *, days: float, count: int, kinds: Collection[str] | None = None) -> list[Fault]:
    """Return *count* faults of *kinds* over *days*, each kind as often as the others, and quiet at both ends."""
    rng = random.Random(f"faults/{seed}")
    wanted = KINDS if kinds is None else kinds
    names = [name for _ in range(-(-count // len(wanted))) for name in wanted]
    rng.shuffle(names)
    return sorted(
        make_fault(name, rng.uniform(0.25 * HOUR_S, (days * 24 - 5) * HOUR_S), rng.random(), rng.random())
        for name in names[:count]
    )


def make_fault(kind: str, at_s: float, length: float, severity: float) -> Fault:
    """Return a fault of *kind* at *at_s*; *length* and *severity*, 0 to 1, choose within what the kind allows."""
    shortest_s, longest_s = KINDS[kind].lasts_s
    amount = 1 + min(int(severity * KINDS[kind].most), KINDS[kind].most - 1)
    return Fault(round(at_s, 1), kind, round(shortest_s + length**3 * (longest_s - shortest_s), 1), amount)


# --- the kinds


def _event(number: int) -> Action:
    return lambda radio, _fault: radio.module.emit_event(number, radio.time_s)


def _spoil(how: str) -> Action:
    return lambda radio, fault: radio.wire.spoilers.extend([how] * fault.amount)


def _lose_line(start: bytes) -> Action:
    return lambda radio, fault: radio.wire.losses.extend([start] * fault.amount)


def _refuse(code: str, command: str | None) -> Action:
    def begin(radio: Radio, fault: Fault) -> None:
        for _ in range(fault.amount):
            radio.module.faults.refuse_next(code, command)

    return begin


def _join_again(number: int, *also: Action) -> Action:
    """Let the session end with EVENT *number*, and *also* something go wrong on the way back."""

    def begin(radio: Radio, fault: Fault) -> None:
        for action in also:
            action(radio, fault)
        radio.module.emit_event(number, radio.time_s)

    return begin


def _fail_joins(radio: Radio, fault: Fault) -> None:
    radio.module.faults.fail_joins(fault.amount)


def _fail_one_join(radio: Radio, _fault: Fault) -> None:
    radio.module.faults.fail_joins(2)  # SKREJOIN and SKJOIN: what follows is a scan


def _out_of_reach(radio: Radio, fault: Fault) -> None:
    radio.module.faults.silent_until = radio.time_s + fault.lasts_s


def _miss_scans(radio: Radio, fault: Fault) -> None:
    radio.module.faults.hearing = deaf_for(fault.amount, then=radio.module.faults.hearing)


def _describe_late(radio: Radio, _fault: Fault) -> None:
    radio.module.faults.describe_late(1)


def _limit(radio: Radio, fault: Fault) -> None:
    radio.module.emit_event(0x32, radio.time_s)
    radio.module.emit_event(0x33, radio.time_s + fault.lasts_s - 1.0)


def _limit_unheard(radio: Radio, fault: Fault) -> None:
    radio.wire.losses.append(b"EVENT 33")
    _limit(radio, fault)


def _expire_unheard(radio: Radio, fault: Fault) -> None:
    radio.wire.losses.append(b"EVENT 25")
    radio.module.emit_event(0x29, radio.time_s)


def _cut_writes(radio: Radio, fault: Fault) -> None:
    radio.cut_writes += fault.amount


def _wake(radio: Radio, fault: Fault) -> None:
    radio.wire.wake_ups += 10 * fault.amount


def _strangers(radio: Radio, _fault: Fault) -> None:
    """Let frames come that look like the response to the next poll, but for one thing each, while it is awaited."""
    sends = radio.module.sends
    tid = int.from_bytes(sends[-1].payload[2:4], "big") if sends else 0
    poll_at = radio.time_s // 60 * 60 + 60
    ours, meter = link_local(radio.module.model.mac), radio.module.meter.options.mac
    for guess in range(tid + 1, tid + 5):
        response = _response(guess & 0xFFFF)
        for datagram in (
            Datagram("001C640003337777", response, ours),  # another sender
            Datagram(meter, response, ours, secured=False),
            Datagram(meter, response, ours, port=0x0E1B),
            Datagram(meter, response[:-1], ours),  # cut short in the air
            Datagram(meter, response[:4] + b"\x0e\xf0\x01" + response[7:], ours),  # of the node profile
            Datagram(meter, response[:7] + b"\x05\xff\x02" + response[10:], ours),  # to another controller
            Datagram(meter, response[:10] + b"\x71" + response[11:], ours),  # the response to a SetC
            Datagram(meter, _response(guess & 0xFFFF, 0xE7, 0xEA), ours),  # with a property that nobody requested
        ):
            radio.module.inject(datagram, poll_at + 0.5)


def _response(tid: int, *epcs: int) -> bytes:
    power = STRANGE_POWER_W.to_bytes(4, "big")
    edts = {0xE7: power, 0xE8: power[2:] * 2, 0xE0: power, 0xE3: power}
    given = tuple(Property(epc, edts.get(epc, power)) for epc in epcs or edts)
    return Frame(tid, METER, CONTROLLER, Esv.GET_RES, given).to_bytes()


_REFUSALS_LAPSE_S = HOUR_S + 600.0

KINDS: dict[str, Kind] = {
    # the meter
    "lost replies": Kind(lambda radio, fault: radio.module.faults.habits.append(lost(fault.amount)), most=4),
    "late replies": Kind(lambda radio, fault: radio.module.faults.habits.append(late(9.0 * fault.amount, 2)), most=7),
    "duplicate replies": Kind(meter_faults.doubled),
    "replies of another TID": Kind(meter_faults.misnumbered),
    "strangers' frames": Kind(_strangers),
    "notification out of turn": Kind(lambda radio, _fault: radio.module.announce(radio.time_s)),
    "meter out of reach": Kind(_out_of_reach, (60.0, 4 * HOUR_S)),
    "meter mute": Kind(
        lambda radio, fault: radio.module.faults.habits.append(mute(radio.time_s + fault.lasts_s)), (60.0, 2 * HOUR_S)
    ),
    # the line
    "corrupted lines": Kind(_spoil("corrupt"), most=6),
    "truncated lines": Kind(_spoil("truncate"), most=6),
    "garbage bursts": Kind(_spoil("garbage"), most=6),
    "split chunks": Kind(_spoil("split"), most=20),
    "merged chunks": Kind(_spoil("merge"), most=20),
    "lost OK": Kind(_lose_line(b"OK")),
    "lost EVENT 21": Kind(_lose_line(b"EVENT 21")),
    "lost ERXUDP": Kind(_lose_line(b"ERXUDP")),
    "cut commands": Kind(_cut_writes),
    "waits broken off": Kind(_wake),
    # the module
    "EVENT 21 01": Kind(lambda radio, fault: radio.module.faults.fail_sends(1, fault.amount), most=4),
    "EVENT 21 02": Kind(lambda radio, fault: radio.module.faults.fail_sends(2, fault.amount)),
    "FAIL ER09": Kind(_refuse("ER09", None)),
    "FAIL ER10 on a send": Kind(_refuse("ER10", "SKSENDTO")),
    "FAIL ER04 on a send": Kind(_refuse("ER04", "SKSENDTO"), most=1),
    "EVENT 24": Kind(_event(0x24)),
    "EVENT 26": Kind(_event(0x26)),
    "EVENT 29": Kind(_event(0x29)),
    "EVENT 29, then 24": Kind(_join_again(0x29, _fail_joins)),
    "EVENT 29, and 25 unheard": Kind(_expire_unheard),
    "EVENT 32": Kind(_limit, (60.0, 0.9 * HOUR_S)),
    "EVENT 32, and 33 unheard": Kind(_limit_unheard, (60.0, 0.9 * HOUR_S)),
    "join fails": Kind(_join_again(0x26, _fail_joins), (60.0, 900.0), most=6),
    "EVENT 25 unheard in a join": Kind(_join_again(0x26, _lose_line(b"EVENT 25")), (60.0, 600.0), most=2),
    "scan misses": Kind(_join_again(0x26, _fail_one_join, _miss_scans), (60.0, 900.0), most=6),
    "EPANDESC after EVENT 22": Kind(_join_again(0x26, _fail_one_join, _describe_late)),
    "module hangs": Kind(lambda radio, fault: radio.module.hang(radio.time_s + fault.lasts_s), (2.0, 0.5 * HOUR_S)),
    "module restarts": Kind(lambda radio, _fault: radio.module.restart(radio.time_s)),
    "port disappears": Kind(lambda radio, fault: radio.unplug(fault.ends_s), (1.0, 2 * HOUR_S)),
    # meters as people report them
    "a register twice": Kind(meter_faults.register_twice),
    "responses shortened": Kind(meter_faults.shortened, (60.0, 2 * HOUR_S), most=5),
    "everything refused without a list": Kind(meter_faults.refused_bare, (65.0, HOUR_S), settles_s=_REFUSALS_LAPSE_S),
    "one property never answered": Kind(
        meter_faults.one_never_answered, (60.0, 2 * HOUR_S), settles_s=_REFUSALS_LAPSE_S
    ),
    "several never answered": Kind(meter_faults.several_never_answered, (60.0, 2 * HOUR_S), settles_s=1200.0),
    "slow responses": Kind(meter_faults.slow, (60.0, HOUR_S)),
    "responses slower than a minute": Kind(meter_faults.slower_than_a_minute, (300.0, HOUR_S)),
    "responses slow by chance": Kind(meter_faults.slow_by_chance, (60.0, HOUR_S)),
    "a meter that begins anew": Kind(meter_faults.begins_anew, (300.0, HOUR_S), settles_s=1200.0),
    "responses lost by chance": Kind(meter_faults.lost_by_chance, (300.0, 3 * HOUR_S), most=2, settles_s=1200.0),
    "a register too high once": Kind(meter_faults.too_high_once),
    "a register too low once": Kind(meter_faults.too_low_once),
    "a wrong digit once": Kind(meter_faults.wrong_digit_once),
    "another meter": Kind(meter_faults.exchange, most=4, settles_s=1800.0),
    # bad places
    "deaf scans": Kind(meter_faults.deaf_scans, (60.0, 2 * HOUR_S)),
    "half-deaf scans": Kind(meter_faults.half_deaf_scans, (60.0, HOUR_S)),
    "sessions forgotten": Kind(meter_faults.forget_sessions, (600.0, 3 * HOUR_S)),
    # modules, and what may be there instead
    "EVENT 24, then 25": Kind(meter_faults.connects_after_all),
    "EVENT 25 over and over": Kind(meter_faults.connected_over_and_over),
    "slow commands": Kind(meter_faults.slow_commands),
    "late OK": Kind(meter_faults.late_ok),
    "EVENT 32, then unplugged": Kind(meter_faults.limited_and_unplugged, (60.0, HOUR_S)),
    "line that drips": Kind(meter_faults.drips),
    "line that floods": Kind(meter_faults.floods, (5.0, 20.0)),
    "line that is deaf": Kind(meter_faults.deaf_device),
    "line that is not read": Kind(meter_faults.never_reads),
    # refusals
    "everything refused": Kind(meter_faults.refused, (65.0, HOUR_S), settles_s=_REFUSALS_LAPSE_S),
    "power refused": Kind(meter_faults.power_refused, (60.0, HOUR_S), settles_s=_REFUSALS_LAPSE_S),
    "one property refused": Kind(meter_faults.one_refused, (60.0, 2 * HOUR_S), settles_s=_REFUSALS_LAPSE_S),
}
"""Every kind of fault by its name; docs/faults.md lists the same names."""

READS_WHILE: dict[str, float] = {
    "responses shortened": 0.9,
    "power refused": 0.9,
    "one property refused": 0.9,
    "one property never answered": 0.9,
    "several never answered": 0.9,
    "slow responses": 0.9,
    "responses slower than a minute": 0.3,
    "responses slow by chance": 0.8,
    "a meter that begins anew": 0.5,
    "responses lost by chance": 0.45,  # of four in five: three attempts, 1 - 0.8 ** 3, and joins between them
    "deaf scans": 0.9,
    "half-deaf scans": 0.9,
    "sessions forgotten": 0.6,
}
"""The share of the polls that give a row while such a fault lasts alone, once its first twenty polls are over."""

BY_CHANCE = frozenset({"responses lost by chance"})
"""Of these the share is the mean, from which so few polls as a fault may have depart."""
