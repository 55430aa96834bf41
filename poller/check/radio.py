"""The radio's part of --check: port, module, scan, join, and what the meter says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from poller.app import PAN_CACHE_NAME, session_of
from poller.check.report import CheckFailedError, Part, Report
from poller.clock import TOLERANCE, Clock
from poller.idle_tasks.meter_clock import MINUTE, beyond_minute
from poller.once import shown
from poller.process import StopSignal
from poller.rows import power_row
from settings import Settings
from skstack import (
    BAUD_RATES,
    FACTORY_BAUD_RATE,
    AuthenticationFailedError,
    Dialect,
    FilePanCache,
    Meter,
    MeterNotFoundError,
    ModuleNotRespondingError,
    PanDescription,
    PortLostError,
    RadioEvent,
    SerialPort,
    StoppedError,
    prints_binary,
)

T = TypeVar("T")

EXCELLENT_DBM, GOOD_DBM, FAIR_DBM = -60.0, -75.0, -85.0  # modules hear down to about -100 dBm

JOIN_TIMEOUT_S = 100.0  # a refusal takes 9 s, and silence 60 s; then a scan and a second attempt

_SLICE_S = 0.5  # how often what the link has reached is looked at
_REFUSALS = 2  # one may be bad luck on the air
_OF_IDENTITY = 3  # requests: what the meter has, and twice who it is

# By the first bytes of the module's own address, and its dialect. Source: the logs of real modules.
_MODELS = {
    ("001d12", Dialect.SINGLE): "ROHM BP35A1",
    ("001d12", Dialect.DUAL): "ROHM BP35C2 or a relative of it (BP35C0, RS-WSUHA-P)",
    ("100723", Dialect.SINGLE): "Tessera RL7023 Stick-D/IPS",
    ("100723", Dialect.DUAL): "Tessera RL7023 Stick-D/DSS",
}
_WEAK_ADVICE = "bring the stick nearer to the meter, or put it on a USB extension cable, away from metal"


class RadioCheck:
    """Checks the parts between us and the meter, over a session that close() ends."""

    def __init__(self, settings: Settings, report: Report, clock: Clock, stop: StopSignal) -> None:
        self._route_b = settings.route_b
        self._report = report
        self._clock = clock
        self._stop = stop
        cache = _WriteOnlyCache(settings.storage.data_dir / PAN_CACHE_NAME)
        self._session = session_of(settings, clock, stop, cache, baud_rates=BAUD_RATES)
        self._meter = Meter(self._session, monotonic=clock.monotonic)
        self._events: list[RadioEvent] = []

    def parts(self, *, needs: Sequence[str]) -> Sequence[Part]:
        """Return every part, in the order in which they depend on one another; the first *needs* others."""
        unplug = "unplug the stick, plug it in again and try again"
        takes = f"up to {5 * len(BAUD_RATES)} s"
        again = f"try again; if it stays so, {_WEAK_ADVICE}"
        return (
            Part("serial port", self._port, unplug, needs),
            Part("module", self._module, unplug, ("serial port",), takes=takes),
            Part("scan", self._scan, "try again", ("module",), takes="10 s, up to 2 min 30 s"),
            Part("join", self._join, _WEAK_ADVICE, ("scan",), takes="5 s, up to 2 min"),
            Part("meter", self._identity, again, ("join",), takes="up to 3 min"),
            Part("reading", self._reading, again, ("join",), takes="up to 1 min"),
            Part("meter clock", self._difference, again, ("join",), takes="up to 1 min"),
        )

    def close(self) -> None:
        """End the session with the meter, and close the port."""
        self._session.close()

    def _port(self) -> str:
        device = Path(self._route_b.device)
        try:
            with closing(SerialPort(self._route_b.device, FACTORY_BAUD_RATE, wake_fd=self._stop.fileno())):
                return f"{device} opens{_product(device)}"
        except PortLostError as error:
            if device.exists():
                raise
            raise CheckFailedError(error.what, f"{error.remedy}; {_ports_there()}") from error

    def _module(self) -> str:
        try:
            module = self._reach(lambda: self._session.module)
        except ModuleNotRespondingError as error:
            raise CheckFailedError(
                f"nothing responds on {self._route_b.device} at any baud rate", error.remedy
            ) from error
        model = _MODELS.get((module.mac.hex()[:6], module.dialect), "of an unknown make")
        payload = {None: "always in hex", False: "in hex", True: "in binary"}[prints_binary(module)]
        return (
            f"{model}, firmware {module.firmware or 'unknown'}, {module.dialect.value} dialect, "
            f"payload {payload}, {module.baud_rate} baud"
        )

    def _scan(self) -> str:
        try:
            found = self._reach(lambda: self._session.peer)
        except MeterNotFoundError as error:
            # A module reports only meters with our pairing ID, so that silence says nothing about the radio itself.
            meters = "one other meter" if error.others == 1 else f"{error.others} other meters"
            others = f"; {meters} heard, so that the radio works" if error.others else ""
            raise CheckFailedError(f"this household's meter did not respond{others}", error.remedy) from error
        if found.signal_dbm is not None and signal_word(found.signal_dbm) == "weak":
            self._report.remark(f"readings will be lost now and then: {_WEAK_ADVICE}")
        heard = next((event.detail for event in self._events if event.kind == "scan"), None)
        return f"{_pan(found)}; {heard or 'no other meter heard'}"

    def _reach(self, get: Callable[[], T | None]) -> T:
        """Let the session do its work until *get* has what it is to reach. Raises: SkStackError: what failed first."""
        before = self._session.failure
        while (found := get()) is None:
            if self._session.failure is not before:
                raise self._session.failure
            self._session.run(self._clock.monotonic() + _SLICE_S)
            self._note_slice()
        return found

    def _note_slice(self) -> None:
        self._events += self._session.take_events()
        if self._stop.requested():
            raise StoppedError

    def _join(self) -> str:
        until = self._clock.monotonic() + JOIN_TIMEOUT_S
        is_rejected = False
        while not self._session.run_until_up(self._clock.monotonic() + _SLICE_S):
            self._note_slice()
            if self._session.failure.is_lasting:
                raise self._session.failure
            is_rejected |= isinstance(self._session.failure, AuthenticationFailedError)
            failures = [event for event in self._events if event.kind == "join_failed"]
            is_refused = sum(failure.times for failure in failures) >= _REFUSALS
            if is_refused or self._clock.monotonic() >= until:
                raise self._join_failure([failure.detail or "" for failure in failures], is_rejected=is_rejected)
        self._note_slice()
        took_s = next((event.duration_s for event in self._events if event.kind == "join"), None)
        handshake = "" if took_s is None else f"; the handshake took {took_s:.1f} s"
        return f"the meter accepts the ID and the password{handshake}"

    def _join_failure(self, failures: Sequence[str], *, is_rejected: bool) -> CheckFailedError:
        if is_rejected and failures:
            found = f"the meter refused {'twice' if len(failures) > 1 else 'once'}: {failures[-1]}"
            advice = "compare [routeB] id and password with the letter of the grid company, character by character"
            peer = self._session.peer
            is_near = peer is not None and (peer.signal_dbm or 0.0) >= GOOD_DBM
            return CheckFailedError(found, advice if is_near else f"{advice}; if both are right, {_WEAK_ADVICE}")
        reason = failures[-1] if failures else self._session.down_reason
        return CheckFailedError(reason, f"wait a minute and try again; if it stays so, {_WEAK_ADVICE}")

    def _identity(self) -> str:
        identity = self._meter.identify(until=self._wait_until(requests=_OF_IDENTITY))
        scale = identity.scale
        if scale is None:
            self._report.remark(
                "it does not give the unit of its registers (E1, D3): power and currents are stored, energy is not"
            )
        counting = "unit unknown"
        if scale is not None:
            counting = f"coefficient {scale.coefficient}, unit {scale.unit_kwh} kWh, {scale.digits or 'unknown'} digits"
        return (
            f"maker {identity.manufacturer or 'unknown'}, serial number {_shortened(identity.serial_number)}, "
            f"release {identity.release or 'unknown'}; registers: {counting}; "
            f"measures what is sold: {'yes' if self._meter.measures_export else 'no'}"
        )

    def _reading(self) -> str:
        poll = self._meter.poll(until=self._wait_until())
        if poll is None:
            raise CheckFailedError(
                "the meter responded without a single value",
                "wait a few minutes and try again: a meter that has just started has none yet",
            )
        return shown(power_row(self._clock.now(), poll.reading))

    def _difference(self) -> str:
        minute = self._meter.read_clock(until=self._wait_until())
        if minute is None:
            return "the meter does not show a clock"
        ahead = beyond_minute(minute - self._clock.now())
        if not ahead:
            return "agrees with this machine, to the minute"
        found = f"{abs(ahead) / MINUTE:.1f} min {'ahead of' if ahead > timedelta(0) else 'behind'} this machine"
        if self._clock.follows_server:
            return f"{found}, which follows a time server and is right"
        if abs(ahead) > TOLERANCE:
            raise CheckFailedError(found, "let this machine follow a time server: sudo timedatectl set-ntp true")
        return found

    def _wait_until(self, *, requests: int = 1) -> float:
        """Wait until the link is up and the air is free; return until when (monotonic) so many *requests* may take."""
        self._session.run_until_up(self._clock.monotonic() + JOIN_TIMEOUT_S)
        began = max(self._clock.monotonic(), self._session.free_at)
        return began + requests * self._session.timings.longest_wait_s


class _WriteOnlyCache(FilePanCache):
    """Remembers the PAN for the poller, and lets the check scan all the same."""

    def load(self, key: str) -> PanDescription | None:
        """Return None."""
        return None


def _shortened(serial_number: str | None) -> str:
    """Show enough of it to distinguish two meters, and no more: reports are shown to strangers."""
    return f"...{serial_number[-3:]}" if serial_number else "unknown"


def signal_word(dbm: float) -> str:
    """Return what a received power in dBm is worth."""
    if dbm >= EXCELLENT_DBM:
        return "excellent"
    if dbm >= GOOD_DBM:
        return "good"
    return "fair" if dbm >= FAIR_DBM else "weak"


def _pan(pan: PanDescription) -> str:
    dbm = pan.signal_dbm
    signal = "signal unknown" if dbm is None else f"signal {dbm:.0f} dBm ({signal_word(dbm)})"
    return f"the meter is on channel 0x{pan.channel:02X}, PAN 0x{pan.pan_id:04X}, {signal}"


def _product(device: Path) -> str:
    """Return what the USB device behind *device* calls itself; nothing where it is not one."""
    from serial.tools.list_ports import comports  # only a poller's machine has it

    name = str(device.resolve())
    return next((f" ({port.product})" for port in comports() if port.device == name and port.product), "")


def _ports_there() -> str:
    """List the serial ports that a stick may be."""
    from serial.tools.list_ports import comports

    ports = [f"{port.device} ({port.product})" for port in comports() if port.product]
    return f"USB serial devices on this machine: {', '.join(ports) or 'none'}"
