"""A home in which everything fails: the radio and the meter, and the program, its disk, its clock and its database.

All of it comes from one schedule, in virtual time. What was stored is compared with what was measured.
"""

from __future__ import annotations

import gc
import random
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from math import isclose
from operator import itemgetter
from pathlib import Path

from storage.outbox import FILE_NAME
from storage.outbox.outbox import SPARE_NAME
from storage.records import TABLES, Round, Row
from storage.rows_json import round_from_json
from tests.lab.checker import Checker
from tests.lab.clock import DAY_S
from tests.lab.database import Unreliable, key_of
from tests.lab.faults import Fault, happenings
from tests.lab.home import Home
from tests.lab.month import START
from tests.lab.sensors import Room

QUIET_S = 3 * 3600.0  # at the end: what is missing is read from the meter's memory
RIGHT_WITHIN = timedelta(minutes=2)  # of a time that the meter told: it shows whole minutes, and answers late


@dataclass(frozen=True, order=True)
class Trouble(Fault):
    """Something that happens to the program or to what is below it; *kind* is of TROUBLES."""

    @property
    def settles_s(self) -> float:
        """As of a fault: a program that has just begun does not know the meter yet."""
        return 600.0


class Whole(Home):
    """*faults* happen to the radio, *troubles* to all else; rows go into the PostgreSQL at *url*."""

    def __init__(self, seed: int, faults: Sequence[Fault], troubles: Sequence[Trouble], *, url: str, directory: Path):
        self.room = Room(directory)
        self.checker = Checker(self, [*faults, *troubles], start=START)
        self.problems: list[str] = []
        self._troubles = sorted(troubles)
        self._locks: list[sqlite3.Connection] = []
        self.data_dir = directory / "data"
        super().__init__(
            url,
            start=START,
            seed=seed,
            planned=happenings(faults),
            data_dir=self.data_dir,
            outages=(seed, 0),
            sensors=self.room.sources,
            keep=self._checked,
        )
        self.module.set_answer_timer(20.0, longest_s=60.0)

    def run_all(self, days: float) -> None:
        """Let *days* pass, and then as long as it takes until all is delivered."""
        begins = [(trouble.at_s, TROUBLES[trouble.kind].begin, trouble) for trouble in self._troubles]
        ends = [(trouble.ends_s, TROUBLES[trouble.kind].end, trouble) for trouble in self._troubles]
        for at_s, act, trouble in sorted([*begins, *ends], key=itemgetter(0)):
            self._run_to(at_s)
            act(self, trouble)
        self._run_to(days * DAY_S + QUIET_S)
        self.deliver()
        self.close()

    def _run_to(self, at_s: float) -> None:
        if (left_s := at_s - self.clock.monotonic()) > 0:
            self.run(timedelta(seconds=left_s))

    def _checked(self, stored: Round) -> None:
        """Look at a round, by the true time where the machine has it, else as exactly as the meter's clock allows."""
        if self.machine.ahead or not self.machine.is_synchronised:
            for row in stored.rows:
                at = getattr(row, "measured_at", None)
                if at is not None and not self._waits(at):
                    self.problems.append(f"{at} was stored at {self.clock.now()}: {row}")
        else:
            self.checker.write(stored)
        self._store(stored)

    def _waits(self, at: datetime) -> bool:
        """Whether a row of that time may have waited in memory for the clock to be told, and was measured then."""
        return self.clock.now() - timedelta(minutes=15) - RIGHT_WITHIN <= at <= self.clock.now() + RIGHT_WITHIN

    # --- what happens

    @property
    def unreliable(self) -> Unreliable:
        """The database, which can be away."""
        assert isinstance(self.writer, Unreliable)
        return self.writer

    def kill(self) -> None:
        """End the program as kill -9 does, and start it again at once."""
        assert self.store is not None
        if self.store.outbox.rounds_in_memory:  # they would be lost, and may be: neither disk nor database takes them
            self.restart()
            return
        self.session.close = lambda *_arguments, **_options: None  # type: ignore[method-assign]
        self.queries.database.close()
        self.writer.close()
        self.store = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # nothing closes the files of the outbox but their end
            gc.collect()
        self.begin()

    def lock_disk(self) -> None:
        """Let another program hold the outbox."""
        path = self.data_dir / FILE_NAME
        if path.exists() and not self._locks:
            lock = sqlite3.connect(path, isolation_level=None, timeout=1.0)
            lock.execute("begin exclusive")
            self._locks.append(lock)

    def unlock_disk(self) -> None:
        """Let it go."""
        while self._locks:
            self._locks.pop().close()

    # --- what came of it

    def rejected(self) -> set[tuple[object, ...]]:
        """Return the keys of what the outbox keeps as rejected."""
        keys: set[tuple[object, ...]] = set()
        for name in (FILE_NAME, SPARE_NAME):
            if (self.data_dir / name).exists():
                with closing(sqlite3.connect(self.data_dir / name)) as file:
                    for (body,) in file.execute("select body from rejected"):
                        keys.update(map(key_of, round_from_json(body).rows))
        return keys

    def lost_rows(self) -> list[Row]:
        """Return the rows that were given to the outbox, and are neither in PostgreSQL nor rejected."""
        there = {key_of(row) for row in self.stored_rows()} | self.rejected()
        return [row for stored in self.rounds for row in stored.rows if key_of(row) not in there]

    def changed_rows(self) -> list[Row]:
        """Return the rows of PostgreSQL that were never given to the outbox, or with other values."""
        given: dict[tuple[object, ...], list[Row]] = {}
        for row in (row for stored in self.rounds for row in stored.rows):
            given.setdefault(key_of(row), []).append(row)
        return [
            row
            for row in self.stored_rows()
            if not any(_says_the_same(row, other) for other in given.get(key_of(row), []))
        ]

    def stored_rows(self) -> Iterator[Row]:
        """Give every row of every table of PostgreSQL."""
        for kind, table in TABLES.items():
            make: Callable[..., Row] = kind
            names = ", ".join(each.name for each in fields(kind))
            yield from (make(*map(_in_utc, values)) for values in self.execute(f"select {names} from {table}"))


def _in_utc(value: object) -> object:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def _says_the_same(row: Row, other: Row) -> bool:
    """Compare two rows; a real of PostgreSQL has six digits."""
    pairs = [(getattr(row, each.name), getattr(other, each.name)) for each in fields(row)]
    return all(
        one == another
        or (isinstance(one, float) and isinstance(another, float) and isclose(one, another, rel_tol=1e-6))
        for one, another in pairs
    )


# --- the kinds of troubles, each with how it begins and how it ends


def _nothing(_home: Whole, _trouble: Trouble) -> None:
    return None


def _leave(home: Whole, _trouble: Trouble) -> None:
    home.unreliable.is_away = home.queries.is_away = True


def _come_back(home: Whole, _trouble: Trouble) -> None:
    home.unreliable.is_away = home.queries.is_away = False


def _lose_time(home: Whole, trouble: Trouble) -> None:
    """Let the machine start without a time server, hours from the true time."""
    home.machine.ahead = timedelta(hours=trouble.amount - 3)
    home.machine.is_synchronised = False
    home.kill()


def _find_time(home: Whole, _trouble: Trouble) -> None:
    home.machine.ahead = timedelta(0)
    home.machine.is_synchronised = True


def _unplug_bme280(home: Whole, _trouble: Trouble) -> None:
    home.room.chip.unplugged = True


def _plug_bme280(home: Whole, _trouble: Trouble) -> None:
    home.room.chip.unplugged = False


def _silence_mhz19(home: Whole, _trouble: Trouble) -> None:
    home.room.air.silent = True


def _hear_mhz19(home: Whole, _trouble: Trouble) -> None:
    home.room.air.silent = False


@dataclass(frozen=True)
class Kind:
    """How a trouble begins and ends, and how long it may last."""

    begin: Callable[[Whole, Trouble], None]
    end: Callable[[Whole, Trouble], None] = _nothing
    longest_s: float = 7200.0


TROUBLES: dict[str, Kind] = {
    "killed": Kind(lambda home, _trouble: home.kill(), longest_s=60.0),
    "stopped": Kind(lambda home, _trouble: home.restart(), longest_s=60.0),
    "started without a time": Kind(_lose_time, _find_time),
    "database away": Kind(_leave, _come_back),
    "BME280 unplugged": Kind(_unplug_bme280, _plug_bme280),
    "MH-Z19 silent": Kind(_silence_mhz19, _hear_mhz19),
    # SQLite waits for a lock in real time.
    "outbox locked": Kind(lambda home, _trouble: home.lock_disk(), lambda home, _trouble: home.unlock_disk(), 240.0),
}


def troubles_of(seed: int, *, days: float, count: int) -> list[Trouble]:
    """Return up to *count* troubles over *days*, none of a kind while another of it lasts."""
    rng = random.Random(f"troubles/{seed}")
    found: list[Trouble] = []
    free_s = dict.fromkeys(TROUBLES, 0.0)
    for at_s in sorted(rng.uniform(1800.0, (days * 24 - 5) * 3600.0) for _ in range(count)):
        kind = rng.choice(list(TROUBLES))
        if at_s >= free_s[kind]:
            lasts_s = rng.uniform(30.0, TROUBLES[kind].longest_s)
            trouble = Trouble(round(at_s, 1), kind, round(lasts_s, 1), amount=rng.randrange(6))
            free_s[kind] = trouble.ends_s + 1800.0
            found.append(trouble)
    return found
