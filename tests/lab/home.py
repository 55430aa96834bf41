"""The whole poller beside a simulated household, in virtual time: radio, idle tasks, sensors and storage.

The poller is put together where the program itself does that: poller/app.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2

from poller.app import App
from poller.clock import Clock
from poller.idle_tasks.scheduler import Keep, Pause, QueryDatabase, Task
from poller.process import Notifier
from poller.sensing import Sensing, Source
from skstack import Credentials, Session
from skstack.simulator import TEST_PASSWORD, TEST_ROUTE_B_ID
from storage.database import Database
from storage.records import EnergyRow, Round, Row
from tests.lab.clock import NOON
from tests.lab.database import FakeDatabase, Queries, Storage, Unreliable, run_at_once
from tests.lab.radio import Radio
from tests.lab.rig import At, MachineClock, Rig

SITE = "home"
LEAD = timedelta(seconds=3)  # in which the link comes up before the first tick


class PlainApp(App):
    """Between two polls nothing is done but to keep the half hours that the meter announces."""

    def tasks(self, _history_pause_s: float, *, takes_one_round: bool) -> Sequence[Callable[[], Task]]:
        return [self._keep_notified]

    def _keep_notified(self) -> Task:
        while True:
            yield Pause(is_over=lambda: self.meter.is_identified and bool(self.session.notifications))
            if notified := self.meter.take_half_hours():
                yield Keep(
                    [EnergyRow(each.registered_at, each.import_kwh, each.export_kwh, "notified") for each in notified]
                )


class Watcher(Notifier):
    """Looks on between two ticks, as systemd does."""

    def __init__(self, home: Home) -> None:
        super().__init__({})
        self._home = home

    def watchdog(self) -> None:
        self._home.between_ticks()


class Home(Rig):
    """A poller and its household; *options*: Rig's. The clock stands three seconds before *start*.

    *url*: the rows go into that PostgreSQL, else into a FakeDatabase (self.database), which runs no queries.
    *data_dir*: rounds reach it through the storage on disk, which outages of it fill; else each is written at once, and
    must be taken. *outages*: a seed and how many days; the database is unreachable now and then in them.
    *sensors*: makes what is read beside the meter, by the machine's clock.
    *idle_tasks*: False: between two polls nothing is done but to keep the half hours that the meter announces.
    *takes_one_round*: as --once.
    *keep*: gets each round in place of all that, which would grow in a long run.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        start: datetime = NOON,
        interval_s: int = 60,
        history_pause_s: float = 0.0,
        data_dir: Path | None = None,
        outages: tuple[int, int] | None = None,
        sensors: Callable[[MachineClock], Sequence[Source]] = lambda _clock: (),
        idle_tasks: bool = True,
        takes_one_round: bool = False,
        keep: Callable[[Round], None] | None = None,
        query: QueryDatabase | None = None,
        **options: Any,
    ) -> None:
        super().__init__(start=start - LEAD, **{"notification_delay_s": 20.0, **options})
        self.interval_s = interval_s
        self.history_pause_s = history_pause_s
        self.rounds: list[Round] = []
        self.queries = Queries(url, SITE)
        self.database = FakeDatabase()
        writer: Database = Database.from_url(url, site=SITE) if url else self.database
        if outages:
            writer = Unreliable(writer, self.clock.now, seed=outages[0], days=outages[1])
        self.writer = writer
        self.between_ticks: Callable[[], object] = lambda: None  # what a test wants to go wrong there
        self._url = url
        self._data_dir = data_dir
        self._sensors = sensors
        self._idle_tasks = idle_tasks
        self._takes_one_round = takes_one_round
        self._keep = keep or self._store
        self._query = query or run_at_once(self.queries.database)
        self._stop_at = float("inf")
        self.begin()

    def begin(self) -> None:
        """Put the poller together, as a process does that starts."""
        self.time = clock = Clock(self.machine, is_synchronised=lambda: self.machine.is_synchronised)
        self.session = Session(
            self.radio.open_port,
            Credentials(TEST_ROUTE_B_ID, TEST_PASSWORD),
            monotonic=clock.monotonic,
            sleep=clock.sleep,
            should_stop=self._should_stop,
        )
        self.app = (App if self._idle_tasks else PlainApp)(
            self.session,
            clock,
            keep=self.write,
            query=self._query,
            sensors=[Sensing(source) for source in self._sensors(self.machine)],
            interval_s=self.interval_s,
            history_pause_s=self.history_pause_s,
            takes_one_round=self._takes_one_round,
            should_stop=self._should_stop,
            notifier=Watcher(self),
        )
        self.meter, self.poller = self.app.meter, self.app.poller
        self.store: Storage | None = None
        if self._data_dir is not None:
            self.store = Storage(self.writer, self._data_dir, monotonic=clock.monotonic)

    def _should_stop(self) -> bool:
        return self.clock.monotonic() >= self._stop_at

    def _signal(self, radio: Radio) -> None:
        radio.is_signalled = True

    # --- what the poller sees of the lab

    def finish(self, within_s: float, *, is_stopped: bool = False) -> None:
        """Let the idle tasks end, as after a single round."""
        until = self.clock.monotonic() + within_s
        self.app.idle_tasks.finish(until, sleep=self.clock.sleep, should_stop=lambda: is_stopped)

    def write(self, stored: Round, /) -> None:
        """Be the storage."""
        self._keep(stored)

    def _store(self, stored: Round) -> None:
        """Bring the round to the database, and remember it."""
        if self.store is not None:
            self.store.write(stored)
        else:
            refused = self.writer.write([stored])
            assert not refused, refused
        self.rounds.append(stored)

    # --- time

    def run(self, passing: timedelta) -> None:
        """Let time pass."""
        self._stop_at = self.clock.monotonic() + passing.total_seconds()
        self.radio.plan([At(self._stop_at, self._signal)])
        self.poller.run()
        self._stop_at, self.radio.is_signalled = float("inf"), False  # a test may go on with the session alone

    def run_minutes(self, minutes: float) -> None:
        """Let so many ticks come, where the interval is a minute."""
        self.run(timedelta(minutes=minutes))

    def run_until(self, time: datetime) -> None:
        """Let it be one second to *time*, truly: a tick at *time* is still to come."""
        self.run(time - self.clock.now() - timedelta(seconds=1))

    def connect(self) -> None:
        """Bring the session up, without the loop."""
        assert self.session.run_until_up(self.clock.monotonic() + 120)

    @property
    def soon(self) -> float:
        """A deadline that leaves the meter time to respond."""
        return self.clock.monotonic() + 60

    def restart(self) -> None:
        """End the program and start it again at once."""
        self.close()
        self.begin()

    def close(self) -> None:
        """End the program."""
        self.session.close()
        if self.store is not None:
            self.store.close()
        self.queries.database.close()
        self.writer.close()

    def deliver(self) -> None:
        """Let time pass until everything that waits on the disk has reached the database."""
        assert self.store is not None
        for _ in range(100):
            self.clock.sleep(600.0)
            if not self.store.deliver():
                return
        raise AssertionError(self.store.delivery.unreachable_reason)

    # --- what came of it

    def silence_export(self) -> None:
        """Let the meter list its export properties, with no data in any of them."""
        silent = replace(self.simulated.options, measures_export=False)
        self.simulated.registers = replace(self.simulated.registers, options=silent)

    def of(self, kind: type[Row]) -> list[Any]:
        """Return the rows of a class that were written, in order."""
        return [row for stored in self.rounds for row in stored.rows if isinstance(row, kind)]

    def events(self, kind: str) -> list[Any]:
        """Return the radio events of a kind that were written."""
        return [row for stored in self.rounds for row in stored.rows if getattr(row, "kind", None) == kind]

    def execute(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Let the owner of the database execute something."""
        assert self._url is not None
        with closing(psycopg2.connect(self._url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def half_hours(self) -> dict[datetime, tuple[Decimal | None, Decimal | None]]:
        """Return what stands in "energy"."""
        found = self.execute("select registered_at, import_kwh, export_kwh from energy")
        return {at.astimezone(UTC): (bought, sold) for at, bought, sold in found}
