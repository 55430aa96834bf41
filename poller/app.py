"""Puts the poller together, in one place for the loop, --once, --check, the demo and the tests."""

from __future__ import annotations

import errno
import importlib
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import private_file
from errors import ExplainedError
from poller.clock import Clock, SystemClock
from poller.dating import LATE, Dating
from poller.idle_tasks.half_hours import HalfHours
from poller.idle_tasks.history import MeterDays
from poller.idle_tasks.meter_clock import MeterClock
from poller.idle_tasks.meter_identity import InstalledMeter
from poller.idle_tasks.scheduler import IdleTasks, QueryDatabase, Task
from poller.idle_tasks.time_budget import TimeBudget
from poller.loop import Poller
from poller.process import Notifier, StopSignal
from poller.sensing import Sensing, ThreadSensing
from poller.sources import Sensor
from settings import Settings, SettingsError
from skstack import Credentials, FilePanCache, Meter, MeterHistory, PanCache, SerialPort, Session, SessionTimings
from storage.database import Database
from storage.delivery import Delivery
from storage.errors import EmbeddedServerError
from storage.filelock import FileLock
from storage.outbox import Outbox
from storage.records import Round
from storage.takeover import read_boot_id, take_over

logger = logging.getLogger(__name__)

LONGEST_WAIT_TIMEOUTS = 3  # AIF specification 2.4.2: 20 s for one property, 60 s for several
PAN_CACHE_NAME = "pan.json"  # in the data directory
# This user, or the path, is wrong. Anything else is the disk's: rather poll without the lock than not at all.
_WRONG_PLACE = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG)
DELIVERY_CLOSE_S = 0.5  # of the 10 s in which a signal ends the poller: session 5, embedded server 3


class AnotherPollerError(ExplainedError):
    """Another process polls with this data directory."""


class App:
    """The poller's parts, put together; what differs between a real poller, the demo and a test is a parameter.

    *keep* returns when a round is safe, *query* queries the database. *takes_one_round*: between polls nothing is read
    but the meter's clock. close() it.
    """

    def __init__(
        self,
        session: Session,
        clock: Clock,
        *,
        keep: Callable[[Round], None],
        query: QueryDatabase,
        sensors: Sequence[Sensing] = (),
        interval_s: int = 60,
        history_pause_s: float = 0.0,
        takes_one_round: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
        notifier: Notifier | None = None,
    ) -> None:
        self.session = session
        self.clock = clock
        self.meter = Meter(session, monotonic=clock.monotonic)
        self.dating = Dating(clock, keep, interval_s=interval_s)
        late_s = min(session.timings.longest_wait_s, interval_s) - LATE.total_seconds()
        budget = _budget(session, clock, held_s=0.0 if takes_one_round else late_s)
        self.idle_tasks = IdleTasks(
            self.tasks(history_pause_s, takes_one_round=takes_one_round),
            query=query,
            keep=self.dating.write,
            budget=budget,
            monotonic=clock.monotonic,
            is_up=lambda: session.up,
        )
        self.poller = Poller(
            session,
            self.meter,
            sensors,
            self.dating,
            clock=clock,
            interval_s=interval_s,
            idle_tasks=self.idle_tasks,
            budget=budget,
            should_stop=should_stop,
            notifier=notifier or Notifier({}),
        )

    def tasks(self, history_pause_s: float, *, takes_one_round: bool) -> Sequence[Callable[[], Task]]:
        """Return what is done between two polls, the most urgent first."""
        session, meter, clock = self.session, self.meter, self.clock
        installed = InstalledMeter(meter, clock)
        meter_clock = MeterClock(session, meter, clock)
        half_hours = HalfHours(session, meter, meter_clock, clock)
        tasks = (meter_clock.follow, meter_clock.read, installed.watch, installed.record, half_hours.keep_announced)
        if takes_one_round:
            return tasks
        history = MeterHistory(session, meter)
        days = MeterDays(session, history, meter_clock, installed, clock, pause_s=history_pause_s)
        return (*tasks, half_hours.read_missing, days.fill)

    def close(self) -> None:
        """Keep what waits for the time to be known, end the session, close the port."""
        try:
            self.dating.close()
        finally:
            self.session.close()


def _budget(session: Session, clock: Clock, *, held_s: float) -> TimeBudget:
    return TimeBudget(
        clock.monotonic,
        usual_s=session.timings.response_timeout_s,
        margin_s=2 * session.timings.request_pause_s,  # before the request, and between it and the poll
        held_s=held_s,
        free_at=lambda: session.free_at,
    )


def session_of(settings: Settings, clock: Clock, stop: StopSignal, cache: PanCache, **options: Any) -> Session:
    """Return the session of *settings*, whose waits end when *stop* is set; *options*: more parameters of Session."""
    route_b = settings.route_b
    return Session(
        lambda baud_rate: SerialPort(route_b.device, baud_rate, wake_fd=stop.fileno()),
        Credentials(route_b.id, route_b.password),
        cache=cache,
        monotonic=clock.monotonic,
        sleep=clock.sleep,
        should_stop=stop.requested,
        timings=SessionTimings(
            response_timeout_s=route_b.timeout_s, longest_wait_s=LONGEST_WAIT_TIMEOUTS * route_b.timeout_s
        ),
        first_tid=secrets.randbelow(0x10000),  # a response to the process before us is not taken for one to us
        **options,
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

    def write(self, round_: Round, /) -> None:
        """Return when the round is safe."""
        if not self._has_taken_over and self._clock.is_settled:
            self._has_taken_over = True  # before it is done: a fault in old files is met once, and withholds no round
            take_over(self._data_dir, self.outbox, zero=self._clock.zero, boot_id=read_boot_id())
        self.outbox.append(round_)
        self._on_round(round_)

    def close(self) -> None:
        """End the delivery, close the outbox."""
        self.delivery.close(DELIVERY_CLOSE_S)
        self.outbox.close()


@contextmanager
def only_poller(data_dir: Path) -> Iterator[bool]:
    """Hold the right to poll with *data_dir*; False: its disk takes no lock, and whether others poll cannot be seen.

    Raises: AnotherPollerError; SettingsError: this user may not use the directory.
    """
    lock = FileLock(data_dir / "poller.lock")
    try:
        yield _locked(lock, data_dir)
    finally:
        lock.release()


def _locked(lock: FileLock, data_dir: Path) -> bool:
    try:
        private_file.make_directory(data_dir)
        if lock.acquire():
            return True
    except OSError as error:
        if error.errno in _WRONG_PLACE:
            raise SettingsError(
                f"{data_dir} cannot be used: {error.strerror}",
                "run this as the user whose files these are, or set [storage] data_dir to another directory",
            ) from error
        logger.warning(
            "%s cannot be written (%s): while PostgreSQL is unreachable, readings wait in memory",
            data_dir,
            error.strerror,
        )
        return False
    raise AnotherPollerError(f"another poller is running with the data directory {data_dir}", "stop it first")


@contextmanager
def database_of(settings: Settings) -> Iterator[Database]:
    """Give the household's PostgreSQL, or the embedded one: started for the first connection, left at the end.

    Whoever uses the Database closes it. Raises: UsageError: the url cannot be read, or there is none and the embedded
    server is not installed.
    """
    url, site = settings.database.url, settings.storage.site
    if url:
        yield Database.from_url(url, site=site)
        return
    from storage.embedded import EmbeddedServer  # 2 MB of modules
    from storage.embedded.programs import installed_programs

    try:
        installed_programs()
    except EmbeddedServerError as error:
        what = f"no database: [database] url is empty, and {error.what}"
        raise SettingsError(what, error.remedy) from error
    with closing(EmbeddedServer(settings.storage.data_dir)) as server:
        yield Database(server.connect, site=site, shown="the embedded PostgreSQL")


@contextmanager
def opened(
    settings: Settings,
    sensors: Sequence[Sensor],
    *,
    stop: StopSignal,
    on_round: Callable[[Round], None] = lambda _round: None,
    **options: Any,
) -> Iterator[tuple[App, Store]]:
    """Open everything that *settings* name, and close it again in order: session, sensors, storage.

    *on_round* is called with each round, *options* are parameters of App.
    Raises: ExplainedError: another poller uses this data directory, or it is no use; ImportError: a library is missing.
    """
    for library in ("serial", *filter(None, (sensor.library for sensor in sensors))):
        importlib.import_module(library)  # it is used later, and that it is missing is said now
    with ExitStack() as stack:
        stack.enter_context(only_poller(settings.storage.data_dir))
        clock = Clock(SystemClock(stop.sleep))
        store = Store(stack.enter_context(database_of(settings)), settings.storage.data_dir, clock, on_round=on_round)
        stack.callback(store.close)
        sensing = [ThreadSensing(sensor.source(settings)) for sensor in sensors]
        for each in sensing:
            stack.callback(each.close)
        app = App(
            session_of(settings, clock, stop, FilePanCache(settings.storage.data_dir / PAN_CACHE_NAME)),
            clock,
            keep=store.write,
            query=store.delivery.query,
            sensors=sensing,
            interval_s=settings.route_b.interval_s,
            history_pause_s=settings.route_b.history_pause_s,
            should_stop=stop.requested,
            **options,
        )
        stack.callback(app.close)
        yield app, store


def run_loop(settings: Settings, sensors: Sequence[Sensor], *, stop: StopSignal) -> int:
    """Poll until *stop*; return 0. Raises: as opened()."""
    notifier = Notifier()
    with opened(settings, sensors, stop=stop, notifier=notifier) as (app, _store):
        logger.info("polling %s every %d s", settings.route_b.device, settings.route_b.interval_s)
        notifier.ready()
        app.poller.run()
        notifier.stopping()
        logger.info("stopping: ending the session")
    return 0
