"""The faults of the simulated month on a real pseudo terminal, in real time, through pyserial and the kernel."""

from __future__ import annotations

import contextlib
import os
import queue
import random
import select
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from poller.app import App
from poller.clock import Clock, SystemClock
from skstack import Credentials, RecoveryTimings, SerialPort, Session, SessionTimings, SkStackError
from skstack.simulator import INSTANT, TEST_PASSWORD, TEST_ROUTE_B_ID, Household, SimulatedMeter, SimulatedModule
from storage.records import PowerRow, Round
from tests.lab.faults import Fault
from tests.lab.radio import Radio, Wire

pytestmark = pytest.mark.system

WATTS = 686
POWER = 0xE7
BACK_WITHIN_S = 20.0
QUICK = SessionTimings(
    response_timeout_s=0.6,
    send_retry_s=0.2,
    request_pause_s=0.02,
    longest_wait_s=1.8,
    recovery=RecoveryTimings(
        renewal_timeout_s=1.0,
        silent_pause_s=0.5,
        longest_silent_pause_s=1.0,
        join_timeout_s=1.5,
        limit_check_s=0.5,
        first_pause_s=0.1,
        longest_pause_s=0.3,
        longest_reopen_pause_s=0.2,
    ),
)


class RealTime:
    """The clock that a radio reads."""

    monotonic = staticmethod(time.monotonic)
    time_s = property(lambda _self: time.time())


class PtyRadio(Radio):
    """A Radio whose module sits behind a pseudo terminal, served by a thread of its own."""

    def __init__(self, link: Path) -> None:
        household = Household(lambda _day: [WATTS] * 1440, since=time.time() - 86_400)
        module = SimulatedModule(SimulatedMeter(household), timing=INSTANT)
        super().__init__(module, RealTime(), random.Random(7))  # type: ignore[arg-type]  # the two methods it calls
        self.wire = Wire(self.rng)
        self.link = link
        self._master_fd = -1
        self._slave_fd = -1
        self._back_at = 0.0
        self._orders: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._arriving: list[tuple[float, bytes]] = []
        self._stopped = False
        self._plug_in()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def order(self, action: Callable[[], object]) -> None:
        """Let *action* be done by the thread that serves the module."""
        self._orders.put(action)

    def unplug(self, until: float) -> None:
        """Take the terminal away until then."""
        self._pull_out()
        self._back_at = until

    def close(self) -> None:
        """End the thread."""
        self._stopped = True
        self._thread.join()
        self._pull_out()

    def _plug_in(self) -> None:
        self._master_fd, self._slave_fd = os.openpty()
        tty.setraw(self._slave_fd)
        os.set_blocking(self._master_fd, False)
        self.link.symlink_to(os.ttyname(self._slave_fd))
        self.module.restart(time.time())

    def _pull_out(self) -> None:
        if self._master_fd >= 0:
            self.link.unlink()
            os.close(self._master_fd)
            os.close(self._slave_fd)
            self._master_fd = -1

    def _serve(self) -> None:
        while not self._stopped:
            while not self._orders.empty():
                self._orders.get()()
            if self._master_fd < 0:
                time.sleep(0.005)
                if time.monotonic() >= self._back_at:
                    self._plug_in()
                continue
            with contextlib.suppress(BlockingIOError):
                self._exchange()

    def _exchange(self) -> None:
        output = self.module.take_output(time.time())
        if output:
            self._arriving += self.wire.carry(output, time.monotonic())
        while self._arriving and self._arriving[0][0] <= time.monotonic():
            os.write(self._master_fd, self._arriving.pop(0)[1])
        if select.select([self._master_fd], [], [], 0.003)[0]:
            typed = os.read(self._master_fd, 4096)
            if self.cut_writes and len(typed) > 2:
                self.cut_writes -= 1
                typed = typed[: self.rng.randrange(1, len(typed))]
            self.module.receive(typed, time.time())


@pytest.fixture(scope="module")
def radio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PtyRadio]:
    opened = PtyRadio(tmp_path_factory.mktemp("pty") / "module")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def session(radio: PtyRadio) -> Iterator[Session]:
    opened = Session(
        lambda baud_rate: SerialPort(str(radio.link), baud_rate),
        Credentials(TEST_ROUTE_B_ID, TEST_PASSWORD),
        timings=QUICK,
    )
    assert opened.run_until_up(time.monotonic() + BACK_WITHIN_S)
    yield opened
    opened.close()


def read_power_w(session: Session) -> int | None:
    """Read once; None: no response."""
    try:
        answered = session.get([POWER], until=time.monotonic() + 1.0).values
    except SkStackError:
        session.run(time.monotonic() + 0.05)
        return None
    return int.from_bytes(answered[POWER], "big", signed=True)


DOZEN = [
    Fault(0.0, "lost replies", 1.0, 2),
    Fault(0.0, "duplicate replies", 0.5, 3),
    Fault(0.0, "replies of another TID", 1.0, 1),
    Fault(0.0, "corrupted lines", 1.0, 3),
    Fault(0.0, "truncated lines", 1.0, 2),
    Fault(0.0, "garbage bursts", 1.0, 4),
    Fault(0.0, "split chunks", 2.0, 6),
    Fault(0.0, "EVENT 21 01", 1.0, 2),
    Fault(0.0, "FAIL ER10 on a send", 0.5, 1),
    Fault(0.0, "EVENT 26", 0.5, 1),
    Fault(0.0, "EVENT 29, then 24", 0.5, 1),
    Fault(0.0, "EVENT 32", 2.0, 1),
    Fault(0.0, "join fails", 1.0, 2),
    Fault(0.0, "module restarts", 0.5, 1),
    Fault(0.0, "module hangs", 1.0, 1),
    Fault(0.0, "port disappears", 1.0, 1),
]


@pytest.mark.parametrize("fault", DOZEN, ids=lambda fault: fault.kind)
def test_the_session_comes_back_on_a_real_terminal(radio: PtyRadio, session: Session, fault: Fault) -> None:
    began = time.monotonic()
    now = Fault(began, fault.kind, fault.lasts_s, fault.amount)
    radio.order(lambda: now(radio))
    while time.monotonic() < now.ends_s:
        assert read_power_w(session) in (WATTS, None)
    radio.order(radio.module.faults.clear)
    radio.order(radio.wire.spoilers.clear)
    seen = None
    while seen is None and time.monotonic() < now.ends_s + BACK_WITHIN_S:
        session.run_until_up(time.monotonic() + 0.5)
        seen = read_power_w(session)
    assert seen == WATTS


# --- the simulator killed and started again


@dataclass
class Readings:
    """A store that keeps every power row."""

    rows: list[PowerRow] = field(default_factory=list)

    def write(self, rounds: Round, /) -> None:
        self.rows += [row for row in rounds.rows if isinstance(row, PowerRow)]


def start_simulator(link: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "skstack.simulator", "--link", str(link), "--instant"],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.DEVNULL,
    )


def kill_and_replug(link: Path, until: float, rng: random.Random) -> None:
    """Start the simulator, kill it without warning, and again, until then; the last one stays for a while."""
    while True:
        simulator = start_simulator(link)
        is_last = time.monotonic() >= until
        time.sleep(8.0 if is_last else rng.uniform(0.5, 3.0))
        simulator.kill()
        simulator.wait()
        link.unlink(missing_ok=True)  # as udev does
        if is_last:
            return
        time.sleep(rng.uniform(0.0, 0.5))


def poll_while_it_is_killed(link: Path, seconds: float) -> list[PowerRow]:
    """Poll every second meanwhile, and return what was stored."""
    clock, readings = Clock(SystemClock(), is_synchronised=lambda: True), Readings()
    killer = threading.Thread(
        target=kill_and_replug, args=(link, time.monotonic() + seconds, random.Random(int(seconds)))
    )
    timings = SessionTimings(
        response_timeout_s=2.0,
        request_pause_s=0.02,
        recovery=RecoveryTimings(first_pause_s=0.2, longest_reopen_pause_s=0.5),
    )
    session = Session(
        lambda baud_rate: SerialPort(str(link), baud_rate),
        Credentials(TEST_ROUTE_B_ID, TEST_PASSWORD),
        timings=timings,
        should_stop=lambda: not killer.is_alive(),
    )
    app = App(
        session,
        clock,
        keep=readings.write,
        query=lambda _read: Future(),
        interval_s=1,
        should_stop=lambda: not killer.is_alive(),
    )
    killer.start()
    app.poller.run()
    killer.join()
    app.close()
    return readings.rows


def check(rows: list[PowerRow]) -> None:
    """See that nothing wrong was stored, nothing twice, and that the last simulator was found."""
    household = Household.typical(seed=1)  # the simulator's own
    assert rows, "nothing was read"
    assert time.time() - rows[-1].measured_at.timestamp() < 6.0
    for row in rows:
        at = row.measured_at.timestamp()
        assert row.power_w in {household.power_w(at + shift_s) for shift_s in (-3.0, 0.0, 3.0)}, row
    assert len({row.measured_at for row in rows}) == len(rows)


def test_killing_and_replugging_never_ends_the_poller(tmp_path: Path) -> None:
    check(poll_while_it_is_killed(tmp_path / "module", 6.0))


@pytest.mark.slow
def test_killing_and_replugging_for_a_minute(tmp_path: Path) -> None:
    check(poll_while_it_is_killed(tmp_path / "module", 60.0))
