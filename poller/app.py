"""Puts the poller together, in one place for the loop, --once, --check, the demo and the tests."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from poller.clock import Clock, SystemClock
from poller.dating import LATE, Dating
from poller.idle_tasks.half_hours import HalfHours
from poller.idle_tasks.history import MeterDays
from poller.idle_tasks.meter_clock import MeterClock
from poller.idle_tasks.meter_identity import InstalledMeter
from poller.idle_tasks.scheduler import AskDatabase, IdleTasks, Task
from poller.idle_tasks.time_budget import TimeBudget
from poller.loop import Idle, Poller
from poller.notify import Notifier
from poller.parts import DatabaseAccess, Sensors, only_poller, port_opener, require, sources
from poller.sensing import Sensing, ThreadSensing
from poller.stop import StopSignal
from settings import Settings
from skstack import (
    BAUD_RATES,
    Credentials,
    FilePanCache,
    Meter,
    MeterHistory,
    PanCache,
    PortOpener,
    Session,
    SessionTimings,
)
from storage.database import Database
from storage.delivery import Delivery
from storage.outbox import Outbox
from storage.records import PowerRow, Round
from storage.takeover import read_boot_id, take_over

logger = logging.getLogger(__name__)

LONGEST_WAIT_TIMEOUTS = 3  # AIF specification 2.4.2: 20 s for one property, 60 s for several
DELIVERY_CLOSE_S = 0.5  # of the 10 s in which a signal ends the poller: session 5, embedded server 3


class App:
    """The poller's parts, put together; what differs between a real poller, the demo and a test is a parameter.

    *open_port* opens the module's port, *keep* returns when a round is safe, *query* asks the database. *first_tid*: of
    the requests, 0 to 65535. *takes_one_round*: between polls nothing is asked but the meter's clock. *wrap_idle* may
    stand something before the idle tasks. close() it.
    """

    def __init__(
        self,
        *,
        open_port: PortOpener,
        credentials: Credentials,
        clock: Clock,
        keep: Callable[[Round], None],
        query: AskDatabase,
        sensors: Sequence[Sensing] = (),
        interval_s: int = 60,
        history_pause_s: float = 0.0,
        timings: SessionTimings | None = None,
        cache: PanCache | None = None,
        baud_rates: Sequence[int] = BAUD_RATES,
        first_tid: int = 0,
        takes_one_round: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
        notifier: Notifier | None = None,
        wrap_idle: Callable[[Idle], Idle] = lambda idle: idle,
    ) -> None:
        self.clock = clock
        self.session = Session(
            open_port,
            credentials,
            cache=cache,
            monotonic=clock.monotonic,
            sleep=clock.sleep,
            should_stop=should_stop,
            timings=timings,
            baud_rates=baud_rates,
            first_tid=first_tid,
        )
        self.meter = Meter(self.session, monotonic=clock.monotonic)
        self.dating = Dating(clock, keep, interval_s=interval_s)
        late_s = min(self.session.timings.longest_wait_s, interval_s) - LATE.total_seconds()
        budget = TimeBudget(
            clock.monotonic,
            usual_s=self.session.timings.answer_timeout_s,
            margin_s=2 * self.session.timings.request_pause_s,  # before the request, and between it and the poll
            held_s=0.0 if takes_one_round else late_s,
            free_at=lambda: self.session.free_at,
        )
        self.idle_tasks = IdleTasks(
            self._tasks(history_pause_s, takes_one_round=takes_one_round),
            query=query,
            keep=self.dating.write,
            budget=budget,
            monotonic=clock.monotonic,
            is_up=lambda: self.session.up,
        )
        self.poller = Poller(
            self.session,
            self.meter,
            sensors,
            self.dating,
            clock=clock,
            interval_s=interval_s,
            idle_tasks=wrap_idle(self.idle_tasks),
            budget=budget,
            should_stop=should_stop,
            notifier=notifier or Notifier({}),
        )

    def _tasks(self, history_pause_s: float, *, takes_one_round: bool) -> Sequence[Callable[[], Task]]:
        session, meter, clock = self.session, self.meter, self.clock
        installed = InstalledMeter(meter, clock)
        meter_clock = MeterClock(session, meter, clock)
        half_hours = HalfHours(session, meter, meter_clock, clock)
        tasks = (meter_clock.follow, installed.watch, installed.record, half_hours.keep_announced)
        if takes_one_round:
            return tasks
        history = MeterHistory(session, meter)
        days = MeterDays(session, history, meter_clock, installed, clock, pause_s=history_pause_s)
        return (*tasks, half_hours.ask_for_missing, days.fill)

    def close(self) -> None:
        """Keep what waits for somebody to tell the time, end the session, close the port."""
        try:
            self.dating.close()
        finally:
            self.session.close()


def app_of(settings: Settings, *, stop: StopSignal, **options: Any) -> App:
    """Return the App of *settings*, whose waits end when *stop* is set; *options*: the other parameters of App."""
    route_b = settings.route_b
    return App(
        **{
            "open_port": port_opener(settings, stop),
            "credentials": Credentials(route_b.id, route_b.password),
            "cache": FilePanCache(settings.storage.data_dir / "pan.json"),
            "timings": SessionTimings(
                answer_timeout_s=route_b.timeout_s, longest_wait_s=LONGEST_WAIT_TIMEOUTS * route_b.timeout_s
            ),
            "interval_s": route_b.interval_s,
            "history_pause_s": route_b.history_pause_s,
            "first_tid": secrets.randbelow(0x10000),  # a response to the process before us is not taken for one to us
            "should_stop": stop.requested,
            **options,
        }
    )


class Store:
    """The way to the database: write() returns when a round is on disk, *delivery* brings it there.

    What earlier builds left goes in first, as soon as the clock is settled that dates it.
    """

    def __init__(
        self,
        database: Database,
        data_dir: Path,
        clock: Clock,
        *,
        fsync: bool = True,
        on_round: Callable[[Round], None] = lambda _round: None,
    ) -> None:
        self.outbox = Outbox(data_dir, fsync=fsync)
        self.delivery = Delivery(database, self.outbox)
        self._data_dir = data_dir
        self._clock = clock
        self._on_round = on_round
        self._has_taken_over = False
        self.delivery.start()

    def write(self, stored: Round, /) -> None:
        """Return when the round is safe."""
        if not self._has_taken_over and self._clock.is_settled:
            self._has_taken_over = True
            take_over(self._data_dir, self.outbox, zero=self._clock.zero, boot_id=read_boot_id())
        self.outbox.append(stored)
        self._on_round(stored)

    def close(self) -> None:
        """End the delivery, close the outbox."""
        self.delivery.close(DELIVERY_CLOSE_S)
        self.outbox.close()


@contextmanager
def opened(
    settings: Settings,
    sensors: Sensors,
    *,
    stop: StopSignal,
    on_round: Callable[[Round], None] = lambda _round: None,
    **options: Any,
) -> Iterator[tuple[App, Store]]:
    """Open everything that *settings* name, and close it again in order: session, sensors, storage.

    *on_round* hears of each round, *options* are parameters of App.
    Raises: StartError: another poller uses this data directory, or something needed is not installed.
    """
    require("serial", "poller")
    if sensors.bme280:
        require("smbus2", "poller")
    with ExitStack() as stack:
        stack.enter_context(only_poller(settings.storage.data_dir))
        clock = Clock(SystemClock(stop.sleep))
        access = DatabaseAccess(settings)
        stack.callback(access.close)
        store = Store(access.database, settings.storage.data_dir, clock, on_round=on_round)
        stack.callback(store.close)
        sensing = [ThreadSensing(source) for source in sources(settings, sensors)]
        for sensor in sensing:
            stack.callback(sensor.close)
        app = app_of(
            settings,
            stop=stop,
            clock=clock,
            keep=store.write,
            query=store.delivery.query,
            sensors=sensing,
            **options,
        )
        stack.callback(app.close)
        yield app, store


def run_loop(settings: Settings, sensors: Sensors, *, stop: StopSignal) -> int:
    """Poll until *stop*; return 0. Raises: StartError: it cannot begin."""
    notifier = Notifier()
    with opened(settings, sensors, stop=stop, notifier=notifier, on_round=_FirstReading()) as (app, _store):
        logger.info("polling %s every %d s", settings.route_b.device, settings.route_b.interval_s)
        notifier.ready()
        app.poller.run()
        notifier.stopping()
        logger.info("asked to stop: ending the session")
    return 0


class _FirstReading:
    """Hears of each round that is on disk, and says of the first with a reading that all is well."""

    def __init__(self) -> None:
        self._is_said = False

    def __call__(self, stored: Round) -> None:
        power = next((row for row in stored.rows if isinstance(row, PowerRow) and row.power_w is not None), None)
        if power is not None and not self._is_said:
            self._is_said = True
            logger.info("first reading: %d W, stored", power.power_w)
