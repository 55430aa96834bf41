"""A home in which everything fails: the radio and the meter, and the program, its disk, its clock and its database.

All of it comes from one schedule, in virtual time. Every number that is stored is compared with what was measured.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import astuple, fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import isclose
from pathlib import Path
from typing import Any

from storage.embedded import EmbeddedServer
from storage.outbox import REJECTED_NAME
from storage.records import TABLES, Bme280Row, Co2Row, CpuTemperatureRow, EnergyRow, PowerRow, Round, Row, SensorRow
from storage.rows_json import round_from_json
from tests.lab.checker import Checker
from tests.lab.clock import DAY, DAY_S, HALF_HOUR
from tests.lab.database import Unreliable, key_of
from tests.lab.disk import Disk
from tests.lab.faults import Fault, happenings
from tests.lab.faulty_home import START, of_seed
from tests.lab.home import LEAD, Home
from tests.lab.listening import DATABASE_PASSWORD
from tests.lab.living_room import LivingRoom
from tests.lab.radio import Later
from tests.lab.rig import At
from tests.lab.troubles import Trouble, turns

QUIET_S = 3 * 3600.0  # at most at the end: what is missing is read from the meter's memory
_OFF_TICK_S = 30.0  # where the loop stands still for a look at the database, no tick is to be missed
ENDS_WITHIN_S = 10.0  # of a signal
_RIGHT_WITHIN = timedelta(seconds=150)  # of the time that a meter gives: two minutes are borne, and it cuts seconds off
_FOLLOWS_WITHIN_S = 90.0  # a machine's clock that is set
_GIVEN_WITHIN_S = 700.0  # a meter that responds: where three requests were lost the next one comes ten minutes later
_WAITS_S = 890.0  # for the time to be known
_DELIVERS_BY_CHANCE = 0.15  # the delivery has its own thread: it comes to it now and then


class KilledError(BaseException):
    """What ends the program wherever it waits."""


class Whole(Home):
    """*faults* happen to the radio, *troubles* to all else; rows go into the PostgreSQL at *url*, of *server*."""

    def __init__(
        self,
        seed: int,
        faults: Sequence[Fault],
        troubles: Sequence[Trouble],
        *,
        url: str,
        server: EmbeddedServer,
        directory: Path,
    ):
        self.server: EmbeddedServer = server
        self.room = LivingRoom(directory, lambda: self.clock.time_s)
        self.checker = Checker(self, [*faults, *troubles], start=START)
        self.problems: list[str] = []
        self.data_dir = directory / "data"
        self.disk: Disk = Disk(self.data_dir)
        self._faults, self._troubles = faults, troubles
        self._luck = random.Random(f"delivery/{seed}")
        self._times: list[tuple[float, timedelta]] = []  # since when a time server has set the machine's clock so
        self._off_until = 0.0
        self._stopped_at: float | None = None  # a signal came then
        self._may_be_lost: list[Round] = []  # neither disk nor database took them
        self._registered: set[datetime] = set()
        self._gone: set[datetime] = set()  # half hours that went with a meter
        self._stored: set[int] = set()
        super().__init__(
            f"{url}&password={DATABASE_PASSWORD}",
            start=START + LEAD,
            seed=seed,
            data_dir=self.data_dir,
            outages=(seed, 0),
            sensors=self.room.sources,
            query=self._run,
            **of_seed(seed),
        )
        exchanges = [Later(each.at_s - 0.01, self._note_gone) for each in faults if each.kind == "another meter"]
        self.radio.plan([*happenings(faults), *turns(self, list(troubles)), *exchanges])
        self.module.set_response_timer(20.0, longest_s=60.0)

    # --- the program's life

    def begin(self) -> None:
        self._begun_s = self.clock.monotonic()
        self._times = [(self._begun_s, self.machine.ahead)] if self.machine.is_synchronised else []
        self._stopped_at = None
        self._answered_s = float("inf")  # the meter, all that is polled, for the first time in this run
        super().begin()

    def run_all(self, days: float) -> None:
        """Let *days* pass, then the quiet time, and as long as it takes until all is delivered; then look at it."""
        end_s = days * DAY_S + min(days * DAY_S, QUIET_S)
        with self.disk.in_use():
            while (now_s := self.clock.monotonic()) < end_s:
                self._live(min(end_s, (now_s // DAY_S + 1) * DAY_S + QUIET_S + _OFF_TICK_S))
            self.deliver()
            self._compare()
            self._end()
        self._compare_all(days)

    def _live(self, until_s: float) -> None:
        """Let the program run until then, or its end; if it has ended, start it again when it may."""
        try:
            self._stop_at = until_s
            self.radio.plan([At(until_s, self._signal)])
            self.poller.run()
            if self._stopped_at is None:
                if self.disk.is_well and not self.deliver_now():  # else what waits on it would be taken for lost
                    self._compare()
                return
            self._end()
            if (took_s := self.clock.monotonic() - self._stopped_at) > ENDS_WITHIN_S:
                self.problems.append(f"ended {took_s:.1f} s after the signal at {self._stopped_at}")
        except KilledError:
            self._die()
        self.store = None
        while (left_s := self._off_until - self.clock.monotonic()) > 0:
            self.radio.sleep(left_s)
        self.begin()

    def deliver_now(self) -> int:
        """Deliver what can be; return how many rounds still wait."""
        assert self.store is not None
        return self.store.deliver()

    def _end(self) -> None:
        """End as a program does that is to stop."""
        assert self.store is not None
        self.app.close()
        self._note_memory()
        self.store.close()
        self.writer.close()

    def _die(self) -> None:
        """End without any of that."""
        self._note_memory()
        self.writer.close()

    def _note_memory(self) -> None:
        """Take note of what is on no disk: it ends with the program."""
        assert self.store is not None
        if waiting := self.store.outbox.rounds_in_memory:
            self._may_be_lost += self.rounds[-waiting:]

    @property
    def _is_running(self) -> bool:
        return self.store is not None

    # --- what the troubles do

    @property
    def unreliable(self) -> Unreliable:
        """The database, which can be away."""
        assert isinstance(self.writer, Unreliable)
        return self.writer

    def kill(self, *, off_until: float = 0.0) -> None:
        """End the program as kill -9 does; it is started again at *off_until* (monotonic), else at once."""
        self._off_until = max(self._off_until, off_until)
        self.live_on()
        if self._is_running:
            raise KilledError

    def live_on(self) -> None:
        """Let the program pass where it was to be killed."""
        self.unreliable.after_commit = self.disk.in_write = lambda: None

    def terminate(self) -> None:
        """Send SIGTERM."""
        if self._is_running and self._stopped_at is None:
            self._stopped_at = self._stop_at = self.clock.monotonic()
            self.radio.is_signalled = True

    def set_clock(self, ahead: timedelta, *, is_synchronised: bool) -> None:
        """Set the machine's clock *ahead* of the true time; *is_synchronised*: a time server did."""
        self.machine.ahead, self.machine.is_synchronised = ahead, is_synchronised
        if is_synchronised:
            self._times.append((self.clock.monotonic(), ahead))

    def terminate_connections(self) -> None:
        """Let the server end all connections but this one."""
        with suppress(Exception):  # it is stopped: there are none
            self.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
                " and pid <> pg_backend_pid()"
            )

    def _note_gone(self) -> None:
        """Note what a meter takes along that is exchanged now: the half hours that nobody has read of it."""
        count = int((self.clock.now() - START) / HALF_HOUR) + 1
        self._gone |= {START + number * HALF_HOUR for number in range(count)} - self._registered

    # --- what the program does

    def write(self, stored: Round, /) -> None:
        """Be the storage: look at the round, keep it, and deliver now and then."""
        assert self.store is not None
        self._look_at(stored)
        self.rounds.append(stored)
        self._registered.update(row.registered_at for row in stored.rows if isinstance(row, EnergyRow))
        try:
            self.store.outbox.append(stored)
        except KilledError:
            self._may_be_lost.append(stored)  # append has not returned
            raise
        if self._luck.random() < _DELIVERS_BY_CHANCE:
            self.deliver_now()

    def _run(self, read: Callable[[Any, int], Any], /) -> Future[Any]:
        assert self.store is not None
        future = self.store.delivery.query(read)
        self.deliver_now()
        return future

    # --- whether it is true

    def _look_at(self, stored: Round) -> None:
        """Compare a round with what there was to measure, by how far the program's clock is from the true time."""
        true_zero = self.clock.now() - timedelta(seconds=self.clock.monotonic())
        ahead = timedelta(seconds=round((self.time.zero - true_zero).total_seconds(), 3))
        if not self._may_be_ahead(ahead):
            self.problems.append(f"the clock was {ahead} ahead at {self.clock.now()}: {stored.rows[:1]}")
        self.checker.write(stored, ahead)
        for row in stored.rows:
            if isinstance(row, SensorRow):
                at = row.measured_at - ahead
                if not self.room.measured(row, at.timestamp()):
                    self.problems.append(f"wrong at {at}: {row}")
            elif isinstance(row, PowerRow) and None not in astuple(row):
                self._answered_s = min(self._answered_s, self.clock.monotonic())
        self._look_at_sensors(stored)

    def _look_at_sensors(self, stored: Round) -> None:
        """See that each sensor has its row, unless something is wrong with itself."""
        kinds = {type(row) for row in stored.rows}
        if CpuTemperatureRow in kinds:
            for kind, trouble in ((Bme280Row, "BME280 unplugged"), (Co2Row, "MH-Z19 silent")):
                if kind not in kinds and not self._lasts(trouble, margin_s=900.0):
                    self.problems.append(f"no {kind.__name__} at {self.clock.now()}")

    def _lasts(self, kind: str, *, margin_s: float) -> bool:
        now_s = self.clock.monotonic()
        return any(each.at_s <= now_s <= each.ends_s + margin_s for each in self._troubles if each.kind == kind)

    def _may_be_ahead(self, ahead: timedelta) -> bool:
        """Whether the time may be so: a time server said so, or the meter, or nobody for a quarter of an hour."""
        second = timedelta(seconds=1)
        now_s = self.clock.monotonic()
        followed = [
            by
            for number, (_, by) in enumerate(self._times)
            if number + 1 == len(self._times) or self._times[number + 1][0] >= now_s - _FOLLOWS_WITHIN_S
        ]
        if self.time.follows_server:
            return any(abs(ahead - by) < second for by in followed)
        may_be_told = now_s - self._answered_s >= _GIVEN_WITHIN_S
        has_given_up = now_s - self._begun_s >= _WAITS_S or self._stopped_at is not None
        return abs(ahead) <= _RIGHT_WITHIN or (has_given_up and not may_be_told)

    # --- whether it arrived

    def _compare(self) -> None:
        """Compare what was handed to the outbox since last time with what is in the database."""
        given: dict[tuple[object, ...], list[Row]] = {}
        for row in (row for stored in self.rounds for row in stored.rows):
            given.setdefault(key_of(row), []).append(row)
        there = {key_of(row): row for row in self._stored_rows(given)}
        rejected = self._rejected()
        lost_in_memory = {id(row) for stored in self._may_be_lost for row in stored.rows}
        for key, rows in given.items():
            stored = there.get(key)
            for row in rows:
                if stored is None and not (id(row) in lost_in_memory or row in rejected.get(key, [])):
                    self.problems.append(f"lost: {row}")
            if stored is not None and not any(_says_the_same(stored, row) for row in rows):
                self.problems.append(f"changed on its way: {stored}, was {rows}")
            others = [row for row in rows if stored is not None and not _says_the_same(stored, row)]
            missing = [row for row in others if row not in rejected.get(key, []) and id(row) not in lost_in_memory]
            self.problems += [f"neither stored nor rejected: {row}" for row in missing]
        self._stored.update(map(hash, there))
        self.rounds.clear()
        self._may_be_lost.clear()

    def _compare_all(self, days: float) -> None:
        """See that there is nothing else in the database, and that energy has no gap and true steps."""
        there = sum(self.execute(f"select count(*) from {table}")[0][0] for table in TABLES.values())
        if there != len(self._stored):
            self.problems.append(f"{there} rows are stored, {len(self._stored)} were given")
        half_hours = self.half_hours()
        wanted = [START + number * HALF_HOUR for number in range(1, int(days * 48) + 1)]
        self.problems += [f"no half hour {at}" for at in wanted if at not in half_hours and at not in self._gone]
        for view, begin, span in (("energy_half_hour", "started_at", HALF_HOUR), ("energy_day", "day", DAY)):
            for since, *stored in self.execute(f"select {begin}, used_kwh, sold_kwh from {view}"):
                self._compare_steps(view, _midnight(since) if type(since) is date else since, span, stored)

    def _compare_steps(self, view: str, since: datetime, span: timedelta, stored: Sequence[Decimal | None]) -> None:
        """Compare a sum of steps with the registers at both ends."""
        begin, end = (self.checker.registers_at(at.timestamp()) for at in (since, since + span))
        for number, kwh in enumerate(stored):
            if kwh is None:
                continue
            if begin is None or end is None or begin[0] is not end[0]:
                self.problems.append(f"{view} of {since}: {kwh} kWh over an exchange")
            elif kwh != begin[0].rise(begin[1][number], end[1][number]):
                self.problems.append(f"{view} of {since}: {kwh} kWh, {begin[1][number]} to {end[1][number]}")

    def _rejected(self) -> dict[tuple[object, ...], list[Row]]:
        """Return what the outbox keeps as rejected, by key."""
        rows: dict[tuple[object, ...], list[Row]] = {}
        with self.disk.shown() as directory:
            path = directory / REJECTED_NAME
            lines = path.read_text("ascii").splitlines() if path.exists() else []
        for line in lines:
            with suppress(ValueError):  # a line that was torn
                for row in round_from_json(json.loads(line.partition(" ")[2])["body"]).rows:
                    rows.setdefault(key_of(row), []).append(row)
        return rows

    def _stored_rows(self, given: dict[tuple[object, ...], list[Row]]) -> Iterator[Row]:
        """Give those rows of every table whose times are among those of *given*."""
        for kind, table in TABLES.items():
            make: Callable[..., Row] = kind
            names = [each.name for each in fields(kind)]
            times = [str(key[1]) for key in given if key[0] is kind]
            rows = self.execute(
                f"select {', '.join(names)} from {table} where {names[0]} = any(%s::timestamptz[])", (times,)
            )
            yield from (row for row in (make(*map(_in_utc, values)) for values in rows) if key_of(row) in given)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=9)


def _in_utc(value: object) -> object:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def _says_the_same(row: Row, other: Row) -> bool:
    """Compare two rows; a real of PostgreSQL has six digits, and a half hour may be read after it was announced."""
    names = [each.name for each in fields(row) if (type(row), each.name) != (EnergyRow, "source")]
    pairs = [(getattr(row, name), getattr(other, name)) for name in names]
    return all(
        one == another
        or (isinstance(one, float) and isinstance(another, float) and isclose(one, another, rel_tol=1e-6))
        for one, another in pairs
    )
