"""A session over the simulated module in virtual time, with everything at hand that a test may want to see or break."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from skstack import Credentials, PanCache, PanDescription, Port, RadioEvent, Session, SessionTimings
from skstack.simulator import REALISTIC, TEST_PASSWORD, TEST_ROUTE_B_ID
from tests.lab.rig import POWER, Rig

START = datetime(2026, 6, 1, 3, 10, tzinfo=UTC)  # 12:10 in Japan: nothing is announced for a while
WATTS = 686


class MemoryCache:
    """A PAN cache without a disk."""

    def __init__(self) -> None:
        self.pans: dict[str, PanDescription] = {}

    def load(self, key: str) -> PanDescription | None:
        return self.pans.get(key)

    def save(self, key: str, pan: PanDescription) -> None:
        self.pans[key] = pan


class Lab(Rig):
    """A rig with a session. *typed*: what the host wrote; *events*: what it reported of the link; *options*: Rig's."""

    def __init__(
        self,
        *,
        cache: PanCache | None = None,
        credentials: Credentials | None = None,
        timings: SessionTimings | None = None,
        **options: Any,
    ) -> None:
        defaults = {"start": START, "watts": WATTS, "timing": REALISTIC, "notification_delay_s": 60.0}
        super().__init__(**{**defaults, **options})
        self.radio.typed = []
        self._events: list[RadioEvent] = []
        self.baud_rates: list[int] = []
        self.stopped = False
        self.session = Session(
            self._open_port,
            credentials or Credentials(TEST_ROUTE_B_ID, TEST_PASSWORD),
            cache=cache,
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
        self.read_power()
        self.run(10.0)
        self.forget()
        return self

    def run(self, seconds: float) -> None:
        """Let the session listen and recover."""
        self.session.run(self.now + seconds)

    def run_until_up(self, seconds: float = 600.0) -> float:
        """Let the session recover until it is up, and return how long it took."""
        began = self.now
        assert self.session.run_until_up(began + seconds), f"not up after {seconds} s: {self.session.down_reason}"
        return self.now - began

    def read_power(self, timeout_s: float = 59.0, **options: Any) -> int:
        """Request the power in watts."""
        edt = self.session.get([POWER], until=self.now + timeout_s, **options).values[POWER]
        return int.from_bytes(edt, "big", signed=True)

    @property
    def events(self) -> list[RadioEvent]:
        """What happened to the link so far."""
        self._events += self.session.take_events()
        return self._events

    # --- what was typed

    def forget(self) -> None:
        """Forget what was typed, and what was reported of the link."""
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
        """The kinds of what was reported of the link."""
        return [event.kind for event in self.events]
