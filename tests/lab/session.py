"""A session over the simulated module in virtual time, with everything at hand that a test may want to see or break."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from skstack.echonet.frame import CONTROLLER, METER, Esv, Frame, Property
from skstack.link import RadioEvent
from skstack.module import Credentials
from skstack.pan_cache import PanCache
from skstack.pans import PanDescription
from skstack.port import Port
from skstack.session import Session, SessionTimings
from skstack.simulator import (
    ALL_NODES,
    MODELS,
    REALISTIC,
    TEST_PASSWORD,
    TEST_ROUTE_B_ID,
    Beacon,
    Datagram,
    Household,
    MeterOptions,
    SimulatedMeter,
    SimulatedModule,
    Timing,
    VirtualClock,
    link_local,
)
from tests.lab.radio import Radio

START = datetime(2026, 6, 1, 3, 10, tzinfo=UTC)  # 12:10 in Japan: nothing is announced for a while
WATTS = 686
METER_MAC = "001C64000A0B8CF5"
METER_ADDRESS = "FE80:0000:0000:0000:021C:6400:0A0B:8CF5"
POWER = 0xE7


@dataclass(frozen=True)
class At:
    """Something done to the radio at a time."""

    at_s: float
    action: Callable[[Radio], object]

    def __call__(self, radio: Radio) -> None:
        self.action(radio)


class MemoryCache:
    """A PAN cache without a disk."""

    def __init__(self) -> None:
        self.pans: dict[str, PanDescription] = {}

    def load(self, key: str) -> PanDescription | None:
        return self.pans.get(key)

    def save(self, key: str, pan: PanDescription) -> None:
        self.pans[key] = pan

    def drop(self, key: str) -> None:
        self.pans.pop(key, None)


class Lab:
    """One session. *typed* holds what the host wrote, *events* what it told of the link."""

    def __init__(
        self,
        *,
        model: str = "BP35C2",
        hex_payload: bool = True,
        timing: Timing = REALISTIC,
        cache: PanCache | None = None,
        credentials: Credentials | None = None,
        timings: SessionTimings | None = None,
        neighbours: tuple[Beacon, ...] = (),
        **options: Any,
    ) -> None:
        self.clock = VirtualClock(START)
        household = Household(lambda _day: [WATTS] * 1440, since=START.timestamp() - 86_400)
        self.meter = SimulatedMeter(household, MeterOptions(notification_delay_s=60.0, **options))
        self.module = SimulatedModule(
            self.meter, model=MODELS[model], hex_payload=hex_payload, timing=timing, neighbours=neighbours
        )
        self.radio = Radio(self.module, self.clock, random.Random(1), is_binary=not hex_payload)
        self.radio.typed = []
        self.events: list[RadioEvent] = []
        self.baud_rates: list[int] = []
        self.stopped = False
        self.session = Session(
            self._open_port,
            credentials or Credentials(TEST_ROUTE_B_ID, TEST_PASSWORD),
            cache=cache,
            on_event=self.events.append,
            monotonic=self.clock.monotonic,
            sleep=self.radio.sleep,
            should_stop=lambda: self.stopped,
            timings=timings,
        )

    def _open_port(self, baud_rate: int) -> Port:
        self.baud_rates.append(baud_rate)
        return self.radio.open_port(baud_rate)

    # --- time

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self.clock.monotonic()

    def join(self) -> Lab:
        """Bring the link up as if a reading was stored, and let it be quiet; what was typed for that is forgotten."""
        assert self.session.run_until_up(self.now + 300.0)
        self.session.reading_stored()
        self.run(10.0)
        self.forget()
        return self

    def run(self, seconds: float) -> None:
        """Let the session listen and climb."""
        self.session.run(self.now + seconds)

    def run_until_up(self, seconds: float = 600.0) -> float:
        """Let the session climb until it is up, and return how long it took."""
        began = self.now
        assert self.session.run_until_up(began + seconds), f"not up after {seconds} s: {self.session.link.why_silent}"
        return self.now - began

    def ask(self, patience_s: float = 59.0, **options: Any) -> int:
        """Ask for the power in watts."""
        edt = self.session.get([POWER], until=self.now + patience_s, **options)[POWER]
        return int.from_bytes(edt, "big", signed=True)

    def later(self, *happenings: tuple[float, Callable[[Radio], object]]) -> None:
        """Let each of these happen so many seconds from now."""
        self.radio.plan([At(self.now + seconds, action) for seconds, action in happenings])

    # --- what the meter and others say

    def answer(
        self, tid: int, *, watts: int = 9999, seoj: bytes = b"\x02\x88\x01", deoj: bytes = b"\x05\xff\x01"
    ) -> bytes:
        """Return the answer to a question for the power."""
        answer = Frame(tid, METER, CONTROLLER, Esv.GET_RES, (Property(POWER, watts.to_bytes(4, "big")),)).to_bytes()
        return answer[:4] + seoj + deoj + answer[10:]

    def inject(self, payload: bytes, *, sender: str = METER_MAC, secured: bool = True, port: int = 3610) -> None:
        """Let a datagram come out of the air now."""
        self.module.inject(Datagram(sender, payload, ALL_NODES, port, secured), self.radio.time_s)

    @property
    def last_tid(self) -> int:
        """The TID of the latest datagram that was sent."""
        return int.from_bytes(self.module.sends[-1].payload[2:4], "big")

    def event(self, number: int, param: str | None = None) -> Callable[[Radio], object]:
        """Return what prints an EVENT line without any effect on the module."""
        side = " 0" if self.module.model.has_side else ""
        tail = "" if param is None else f" {param}"
        return lambda radio: radio.say(f"EVENT {number:02X} {METER_ADDRESS}{side}{tail}".encode())

    # --- what was typed

    def forget(self) -> None:
        """Forget what was typed, and what was told of the link."""
        if self.radio.typed is not None:
            self.radio.typed.clear()
        self.events.clear()

    @property
    def typed(self) -> list[str]:
        """The commands typed, registers and arguments of scans included."""
        shown = []
        for _, data in self.radio.typed or []:
            words = data.split(b" ")
            kept = {b"SKSREG": 2, b"SKSCAN": 4}.get(words[0], 1)
            shown.append(b" ".join(words[:kept]).strip().decode("latin-1"))
        return [words for words in shown if words]

    def typed_at(self, command: str) -> list[float]:
        """When *command* was typed."""
        return [at for at, data in self.radio.typed or [] if data.startswith(command.encode())]

    @property
    def kinds(self) -> list[str]:
        """The kinds of what was told of the link."""
        return [event.kind for event in self.events]


def own_address(lab: Lab) -> str:
    """Return the module's own address."""
    return link_local(lab.module.model.mac)
