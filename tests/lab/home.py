"""A poller with its real duties beside a simulated household, in virtual time, with a real database or none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg2

from poller.clock import Clock
from poller.duties import MeterDuties
from poller.inquiry import Ask, ask_inline
from poller.loop import Poller, RadioLog
from skstack.echonet.frame import Frame
from skstack.meter import Meter
from skstack.module import Credentials
from skstack.session import Session
from skstack.simulator import (
    INSTANT,
    Household,
    MeterOptions,
    SimulatedMeter,
    SimulatedModule,
    SimulatedPort,
    Timing,
    VirtualClock,
)
from storage.connection import connect
from storage.database import Database
from storage.errors import DatabaseAwayError
from storage.records import Round, Row
from tests.lab.module import PASSWORD, ROUTE_B_ID

NOON = datetime(2026, 6, 1, 3, 0, tzinfo=UTC)  # in Japan
MINUTE, HALF_HOUR, DAY = timedelta(minutes=1), timedelta(minutes=30), timedelta(days=1)
NOWHERE = "postgresql://user@nowhere/home"
SITE = "home"


class Queries:
    """A database that can be away: it counts how often it was asked."""

    def __init__(self, url: str) -> None:
        self.is_away = False
        self.asked = 0
        self._released: threading.Event | None = None
        self.database = Database(lambda: self._connect(url), site=SITE)

    def _connect(self, url: str) -> Any:
        self.asked += 1
        if self._released is not None and not self._released.wait(60.0):
            raise AssertionError("nobody let the database answer")
        if self.is_away or self._released:
            raise DatabaseAwayError("connection refused")
        return connect(url)

    def hang_until(self, released: threading.Event) -> None:
        """Let the database accept no connection before that."""
        self._released = released

    def leave(self) -> None:
        self.database.close()
        self.is_away = True


class Home:
    """A poller beside a household. The clock stands at *start* less three seconds; run() lets time pass."""

    def __init__(
        self,
        url: str,
        *,
        start: datetime = NOON,
        days_before: int = 0,
        watts: int | Sequence[int] = 600,
        interval_s: int = 60,
        timing: Timing = INSTANT,
        history_pause_s: float = 0.0,
        installed_at: datetime | None = None,
        machine_ahead: timedelta = timedelta(0),
        is_synchronised: bool = True,
        ask: Ask = ask_inline,
        is_drained: Callable[[], bool] = lambda: True,
        **options: Any,
    ) -> None:
        self.clock = VirtualClock(start - timedelta(seconds=3))
        self.true_now = self.clock.now
        self.machine_ahead = machine_ahead
        self.is_synchronised = is_synchronised  # with a time server, where the machine may be wrong all the same
        self.clock.now = lambda: self.true_now() + self.machine_ahead  # type: ignore[method-assign]  # may be wrong
        profile = [watts] * 1440 if isinstance(watts, int) else watts
        household = Household(lambda _day: profile, since=start.timestamp() - days_before * 86_400)
        self.simulated = SimulatedMeter(
            household,
            MeterOptions(**{"notification_delay_s": 20.0, **options}),
            installed_at=installed_at.timestamp() if installed_at else None,
        )
        self.module = SimulatedModule(self.simulated, timing=timing)
        self.queries = Queries(url)
        self.writer = Database(lambda: connect(url), site=SITE)
        self.rounds: list[Round] = []
        self._url = url
        self._ask = ask
        self._is_drained = is_drained
        self._interval_s = interval_s
        self._history_pause_s = history_pause_s
        self._stop_at = 0.0
        self.begin()

    def begin(self) -> None:
        """Start the program, again if it ran before."""
        self.time = Clock(self.clock, is_synchronised=lambda: self.is_synchronised)
        self.radio_log = RadioLog(self.time)
        self.session = Session(
            lambda _baud_rate: SimulatedPort(self.module, self.clock),
            Credentials(ROUTE_B_ID, PASSWORD),
            on_event=self.radio_log.note,
            monotonic=self.clock.monotonic,
            sleep=self.clock.sleep,
        )
        self.meter = Meter(self.session, monotonic=self.clock.monotonic)
        self.duties = MeterDuties(
            self.session,
            self.meter,
            self.queries.database,
            self.write,
            clock=self.time,
            timeout_s=self.session.timings.answer_timeout_s,
            history_pause_s=self._history_pause_s,
            ask=self._ask,
            is_drained=self._is_drained,
        )
        self.poller = Poller(
            self.session,
            self.meter,
            [],
            self,
            clock=self.time,
            interval_s=self._interval_s,
            duties=self,
            radio_log=self.radio_log,
            should_stop=lambda: self.clock.monotonic() >= self._stop_at,
        )

    def work(self, until: float) -> float:
        """Be the duties: do them, but wake up in time to stop."""
        return min(self.duties.work(until), self._stop_at)

    def rows(self) -> Sequence[Row]:
        """Be the duties."""
        return self.duties.rows()

    def write(self, stored: Round, /) -> None:
        """Be the store: keep the round, and put it into the database."""
        self.rounds.append(stored)
        refused = self.writer.write([stored])
        assert not refused, refused

    def run(self, passing: timedelta) -> None:
        """Let time pass."""
        self._stop_at = self.clock.monotonic() + passing.total_seconds()
        self.poller.run()

    def run_until(self, time: datetime) -> None:
        """Let it be one second to *time*, truly: a tick at *time* is still to come."""
        self.run(time - self.true_now() - timedelta(seconds=1))

    def silence_export(self) -> None:
        """Let the meter list its export properties, with no data in any of them."""
        self.simulated.registers = replace(self.simulated.registers, measures_export=False)

    def tamper(self, change: Callable[[Frame, Frame | None], Frame | None]) -> None:
        """Let *change* have a say in every answer: it gets the request and the answer, and returns another or none."""
        answer = self.simulated.answer

        def changed(payload: bytes, at: float) -> bytes | None:
            told = answer(payload, at)
            frame = change(Frame.from_bytes(payload), Frame.from_bytes(told) if told else None)
            return frame.to_bytes() if frame else None

        self.simulated.answer = changed  # type: ignore[method-assign]  # a meter with manners of its own

    def connect(self) -> None:
        """Bring the session up, without the loop."""
        assert self.session.run_until_up(self.clock.monotonic() + 120)

    @property
    def soon(self) -> float:
        """A deadline that leaves the meter time to answer."""
        return self.clock.monotonic() + 60

    def restart(self) -> None:
        """End the program and start it again at once."""
        self.session.close()
        self.begin()

    def of(self, kind: type[Row]) -> list[Any]:
        """Return the rows of a class that were written, in order."""
        return [row for stored in self.rounds for row in stored.rows if isinstance(row, kind)]

    def events(self, kind: str) -> list[Any]:
        """Return the radio events of a kind that were written."""
        return [row for stored in self.rounds for row in stored.rows if getattr(row, "kind", None) == kind]

    def asked(self, *epcs: int) -> list[tuple[datetime, Frame]]:
        """Return the requests for any of *epcs* that the module was given, with their times."""
        sent = [(datetime.fromtimestamp(each.at, tz=UTC), Frame.from_bytes(each.payload)) for each in self.module.sends]
        return [(at, frame) for at, frame in sent if {asked.epc for asked in frame.properties}.intersection(epcs)]

    def registers(self, at: datetime) -> tuple[Decimal, Decimal]:
        """Return the simulated meter's own registers, kWh: the unit is 0.1."""
        bought, sold = self.simulated.registers.counts(at.timestamp())
        return Decimal(bought) / 10, Decimal(sold) / 10

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Let the owner of the database execute something."""
        with closing(psycopg2.connect(self._url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def half_hours(self) -> dict[datetime, tuple[Decimal | None, Decimal | None]]:
        """Return what stands in "energy"."""
        found = self.execute("select registered_at, import_kwh, export_kwh from energy")
        return {at.astimezone(UTC): (bought, sold) for at, bought, sold in found}
