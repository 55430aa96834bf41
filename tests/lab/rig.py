"""A household with its meter, a Wi-SUN stick and the line to it, on one clock: what the lab's sessions run over."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from skstack.echonet import CONTROLLER, METER, Esv, Frame, Property
from skstack.simulator import (
    ALL_NODES,
    INSTANT,
    MODELS,
    Beacon,
    Datagram,
    Household,
    MeterOptions,
    SimulatedMeter,
    SimulatedModule,
    Timing,
)
from tests.lab.clock import DAY_S, NOON, LabClock
from tests.lab.module import METER_ADDRESS, METER_MAC
from tests.lab.radio import Happening, Radio

POWER = 0xE7
UNIT_KWH = {0x01: Decimal("0.1"), 0x02: Decimal("0.01")}  # of EPC E1, those that meters here have


@dataclass(frozen=True)
class At:
    """Something done to the radio at a time."""

    at_s: float
    action: Callable[[Radio], object]

    def __call__(self, radio: Radio) -> None:
        self.action(radio)


class MachineClock:
    """The clocks of the machine: *ahead* of the true time. What is planned happens while it sleeps."""

    def __init__(self, radio: Radio, ahead: timedelta, *, is_synchronised: bool) -> None:
        self._radio = radio
        self.ahead = ahead
        self.is_synchronised = is_synchronised  # with a time server, where it may be wrong all the same
        self.monotonic = radio.clock.monotonic

    def now(self) -> datetime:
        return self._radio.clock.now() + self.ahead

    def sleep(self, seconds: float) -> None:
        self._radio.sleep(seconds)


class Rig:
    """One household up to its stick. *clock* is the true time, *machine* what the program takes for it.

    *watts*: what is drawn, always, by the minute of the day, or by a household of one's own; the meter counts it since
    *days_before* the start, and remembers from *installed_at* on. *planned* happens to the radio, *options* are
    MeterOptions by name. *seed* decides what a faulty line does.
    """

    def __init__(
        self,
        *,
        start: datetime = NOON,
        watts: int | Sequence[int] | Household = 600,
        days_before: int = 1,
        installed_at: datetime | None = None,
        model: str = "BP35C2",
        hex_payload: bool = True,
        timing: Timing = INSTANT,
        neighbours: tuple[Beacon, ...] = (),
        planned: Sequence[Happening] = (),
        seed: object = 1,
        machine_ahead: timedelta = timedelta(0),
        is_synchronised: bool = True,
        **options: Any,
    ) -> None:
        self.clock = LabClock(start)
        self.household = _household(watts, since=start.timestamp() - days_before * DAY_S)
        meter = SimulatedMeter(
            self.household, MeterOptions(**options), installed_at=installed_at.timestamp() if installed_at else None
        )
        self.module = SimulatedModule(
            meter, model=MODELS[model], hex_payload=hex_payload, timing=timing, neighbours=neighbours
        )
        self.radio = Radio(self.module, self.clock, random.Random(f"wire/{seed}"), is_binary=not hex_payload)
        self.radio.plan(planned)
        self.machine = MachineClock(self.radio, machine_ahead, is_synchronised=is_synchronised)

    @property
    def simulated(self) -> SimulatedMeter:
        """The meter that is installed now."""
        return self.module.meter

    def later(self, *happenings: tuple[float, Callable[[Radio], object]]) -> None:
        """Let each of these happen so many seconds from now."""
        now = self.clock.monotonic()
        self.radio.plan([At(now + seconds, action) for seconds, action in happenings])

    # --- what the meter and others say

    def tamper(self, change: Callable[[Frame, Frame | None], Frame | None]) -> None:
        """Let *change* see every request and its response, and return another response or none."""
        respond = self.simulated.respond

        def changed(payload: bytes, at: float) -> bytes | None:
            response = respond(payload, at)
            frame = change(Frame.from_bytes(payload), Frame.from_bytes(response) if response else None)
            return frame.to_bytes() if frame else None

        self.simulated.respond = changed  # type: ignore[method-assign]  # a meter with habits of its own

    def response(
        self, tid: int, *, watts: int = 9999, seoj: bytes = b"\x02\x88\x01", deoj: bytes = b"\x05\xff\x01"
    ) -> bytes:
        """Return the response to a request for the power."""
        response = Frame(tid, METER, CONTROLLER, Esv.GET_RES, (Property(POWER, watts.to_bytes(4, "big")),)).to_bytes()
        return response[:4] + seoj + deoj + response[10:]

    def inject(self, payload: bytes, *, sender: str = METER_MAC, secured: bool = True, port: int = 3610) -> None:
        """Let a datagram come out of the air now."""
        self.module.inject(Datagram(sender, payload, ALL_NODES, port, secured), self.clock.time_s)

    def event(self, number: int, param: str | None = None) -> Callable[[Radio], object]:
        """Return what prints an EVENT line without any effect on the module."""
        side = " 0" if self.module.model.has_side else ""
        tail = "" if param is None else f" {param}"
        return lambda radio: radio.say(f"EVENT {number:02X} {METER_ADDRESS}{side}{tail}".encode())

    # --- what was sent, and what is true

    @property
    def last_tid(self) -> int:
        """The TID of the latest datagram that was sent."""
        return int.from_bytes(self.module.sends[-1].payload[2:4], "big")

    def requests(self, *epcs: int) -> list[tuple[datetime, Frame]]:
        """Return the requests for any of *epcs* that the module was given, with their times."""
        sent = [(datetime.fromtimestamp(each.at, tz=UTC), Frame.from_bytes(each.payload)) for each in self.module.sends]
        return [(at, frame) for at, frame in sent if {each.epc for each in frame.properties}.intersection(epcs)]

    def registers(self, at: datetime) -> tuple[Decimal, Decimal]:
        """Return both registers at *at*, kWh, of the meter that was installed then."""
        meters = [self.simulated.registers, *reversed(self.simulated.earlier)]
        then = next((each for each in meters if each.installed_at <= at.timestamp()), meters[-1])
        bought, sold = then.counts(at.timestamp())
        return bought * UNIT_KWH[then.options.unit_code], sold * UNIT_KWH[then.options.unit_code]


def _household(watts: int | Sequence[int] | Household, since: float) -> Household:
    if isinstance(watts, Household):
        return watts
    profile = [watts] * 1440 if isinstance(watts, int) else watts
    return Household(lambda _day: profile, since=since)
