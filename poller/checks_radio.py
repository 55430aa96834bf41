"""The radio's part of --check: port, module, scan, join, and what the meter says."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from poller.checks_report import CheckFailedError, Report, StoppedError, split_advice
from poller.clock import TOLERANCE, Clock
from poller.loop import RadioLog
from poller.meter_clock import MINUTE
from poller.stop import StopSignal
from poller.wiring import make_session, port_opener
from settings import Settings
from skstack import commands
from skstack.errors import CommandFailedError, MeterNotFoundError, PortLostError
from skstack.events import Dialect, Line, PanCollector, PanDescription, StatusOk
from skstack.meter import Meter
from skstack.module import BAUD_RATES, Credentials, Module, ModuleNotAnsweringError, open_at
from skstack.port import FACTORY_BAUD_RATE
from skstack.scan import scan

_T = TypeVar("_T")

EXCELLENT_DBM, GOOD_DBM, FAIR_DBM = -60.0, -75.0, -85.0  # modules hear down to about -100 dBm

_SLICE_S = 0.5  # how often the join is looked at
_REFUSALS = 2  # one may be bad luck on the air
_TRIES = 3  # of one question

# By the first bytes of the module's own address, and its dialect. Source: the logs of real modules.
_MODELS = {
    ("001d12", Dialect.SINGLE): "ROHM BP35A1",
    ("001d12", Dialect.DUAL): "ROHM BP35C2 or a relative of it (BP35C0, RS-WSUHA-P)",
    ("100723", Dialect.SINGLE): "Tessera RL7023 Stick-D/IPS",
    ("100723", Dialect.DUAL): "Tessera RL7023 Stick-D/DSS",
}
_WEAK_ADVICE = "bring the stick nearer to the meter, or put it on a USB extension cable, away from metal"


@dataclass(frozen=True, slots=True)
class RadioTimings:
    """Seconds. A meter that is not there costs 140 s: the scan over every duration, with its pauses."""

    join_patience_s: float = 100.0  # a refusal takes 9 s, and silence 60 s; then a scan and a second try
    baud_rates: Sequence[int] = BAUD_RATES


class RadioCheck:
    """Tries the parts between us and the meter, over a session that close() ends."""

    def __init__(
        self, settings: Settings, report: Report, *, clock: Clock, stop: StopSignal, timings: RadioTimings
    ) -> None:
        self._route_b = settings.route_b
        self._report = report
        self._clock = clock
        self._stop = stop
        self._timings = timings
        self._open_port = port_opener(settings, stop)
        self._radio_log = RadioLog(clock)
        self._session = make_session(settings, self._radio_log, clock, stop)
        self._meter = Meter(self._session, monotonic=clock.monotonic)

    def run(self, *, needs: Sequence[str]) -> None:
        """Try every part in order."""
        part = self._report.part
        part("serial port", self._port, needs=needs, advice="unplug the stick, plug it in again and try again")
        part(
            "module",
            self._module,
            needs=("serial port",),
            takes=f"up to {3 * len(self._timings.baud_rates)} s",
            advice="unplug the stick, plug it in again and try again",
        )
        part("scan", self._scan, needs=("module",), takes="10 s, up to 2 min 30 s", advice="try again")
        part("join", self._join, needs=("scan",), takes="5 s, up to 2 min", advice=_WEAK_ADVICE)
        for name, attempt in (("meter", self._identity), ("reading", self._reading), ("meter clock", self._difference)):
            part(
                name, attempt, needs=("join",), takes="up to 1 min", advice=f"try again; if it stays so, {_WEAK_ADVICE}"
            )

    def close(self) -> None:
        """End the session with the meter, and close the port."""
        self._session.close()

    def _port(self) -> str:
        device = Path(self._route_b.device)
        try:
            with closing(self._open_port(FACTORY_BAUD_RATE)):
                return f"{device} opens{_product(device)}"
        except PortLostError as error:
            if device.exists():
                raise
            missing = split_advice(str(error), "")
            raise CheckFailedError(missing.found, f"{missing.advice}; {_ports_there()}") from error

    def _module(self) -> str:
        module = self._opened_module()
        self._session.link.attach(module)
        model = _MODELS.get((module.mac.hex()[:6], module.dialect), "of an unknown make")
        return (
            f"{model}, firmware {module.firmware or 'unknown'}, {module.dialect.value} dialect, "
            f"{self._payload_mode()}, {module.baud_rate} baud"
        )

    def _opened_module(self) -> Module:
        credentials = Credentials(self._route_b.id, self._route_b.password)
        for baud_rate in self._timings.baud_rates:
            module = open_at(baud_rate, self._open_port, credentials, monotonic=self._clock.monotonic)
            if module is not None:
                return module
            self._check_stop()
        raise ModuleNotAnsweringError(
            f"nothing answers on {self._route_b.device} at any baud rate: see that [routeB] device names the Wi-SUN "
            "module and nothing else; if it does, unplug it, plug it in again and try again"
        )

    def _payload_mode(self) -> str:
        """Ask, without changing it, how the module prints datagrams; the program reads both ways."""
        try:
            answer = self._session.link.command(lambda _: commands.payload_mode())
        except CommandFailedError as error:
            if error.code == "ER04":  # the command is ROHM's own; the others know hex only
                return "payload always in hex"
            raise
        values = [line.value for line in answer if isinstance(line, StatusOk)]
        return "payload in binary" if values == ["00"] else "payload in hex"

    def _scan(self) -> str:
        link = self._session.link
        pairing_id = Credentials(self._route_b.id, self._route_b.password).pairing_id
        heard: set[bytes] = set()
        collector = PanCollector()

        def note(line: Line) -> None:
            pan = collector.add(line)
            if pan is not None:
                heard.add(pan.mac)

        try:
            found = self._drive(scan(link, pairing_id), note)
        except MeterNotFoundError as error:
            # A module answers for meters with our pairing ID only, so that silence says nothing of the radio itself.
            others = f"; {_meters(len(heard))} heard, so that the radio works" if heard else ""
            advice = str(error).partition(": ")[2]
            raise CheckFailedError(f"this household's meter did not answer{others}", advice) from error
        link.peer = found
        if found.signal_dbm is not None and signal_word(found.signal_dbm) == "weak":
            self._report.remark(f"readings will be lost now and then: {_WEAK_ADVICE}")
        return f"{_pan(found)}; {_meters(len(heard - {found.mac}))} heard"

    def _drive(self, climb: Generator[float, Line | None, _T], note: Callable[[Line], None]) -> _T:
        """Give a step of the climb the lines that come, and *note* them; return what it returns."""
        try:
            until = next(climb)
            while True:
                self._check_stop()
                line = self._session.link.next_line(max(0.0, until - self._clock.monotonic()))
                if line is not None:
                    note(line)
                until = climb.send(line)
        except StopIteration as done:
            found: _T = done.value
            return found

    def _join(self) -> str:
        """Let the session join the meter that was found: it opens the port afresh, as the poller would."""
        until = self._clock.monotonic() + self._timings.join_patience_s
        failures: list[str] = []
        while not self._session.run_until_up(min(until, self._clock.monotonic() + _SLICE_S)):
            self._check_stop()
            failures += [row.detail or "" for row in self._radio_log.take() if row.kind == "join_failed"]
            if len(failures) >= _REFUSALS or self._clock.monotonic() >= until:
                raise self._join_failure(failures)
        took_s = next((row.duration_s for row in self._radio_log.take() if row.kind == "join"), None)
        handshake = "" if took_s is None else f"; the handshake took {took_s:.1f} s"
        return f"the meter accepts the ID and the password{handshake}"

    def _join_failure(self, failures: Sequence[str]) -> CheckFailedError:
        if any("EVENT 24" in failure for failure in failures):
            found = f"the meter refused {'twice' if len(failures) > 1 else 'once'}: {failures[-1]}"
            advice = "compare [routeB] id and password with the letter of the grid company, sign by sign"
            peer = self._session.link.peer
            is_near = peer is not None and (peer.signal_dbm or 0.0) >= GOOD_DBM
            return CheckFailedError(found, advice if is_near else f"{advice}; if both are right, {_WEAK_ADVICE}")
        reason = failures[-1] if failures else str(self._session.ladder.last_error or self._session.link.why_silent)
        return CheckFailedError(reason, f"wait a minute and try again; if it stays so, {_WEAK_ADVICE}")

    def _identity(self) -> str:
        identity = self._meter.identify(until=self._question_until())
        scale = identity.scale
        if scale is None:
            raise CheckFailedError(
                "it does not tell the unit of its registers, without which there are no kWh",
                "wait a few minutes and try again: a meter that has just started may not know yet",
            )
        return (
            f"maker {identity.manufacturer or 'not told'}, serial number {_shortened(identity.serial_number)}, "
            f"release {identity.release or 'not told'}; registers: coefficient {scale.coefficient}, "
            f"unit {scale.unit_kwh} kWh, {scale.digits or 'unknown'} digits; "
            f"measures what is sold: {'yes' if self._meter.measures_export else 'no'}"
        )

    def _reading(self) -> str:
        poll = self._meter.poll(until=self._question_until())
        if poll is None:
            raise CheckFailedError(
                "the meter answered, without a single value",
                "wait a few minutes and try again: a meter that has just started has none yet",
            )
        reading = poll.reading
        values = (
            (reading.power_w, "W"),
            (reading.current_r_a, "A (R)"),
            (reading.current_t_a, "A (T)"),
            (reading.import_kwh, "kWh used"),
            (reading.export_kwh, "kWh sold"),
        )
        return ", ".join(f"{value} {unit}" for value, unit in values if value is not None)

    def _difference(self) -> str:
        shown = self._meter.read_clock(until=self._question_until())
        if shown is None:
            return "the meter does not show a clock"
        now = self._clock.now()
        ahead = max(shown - now, timedelta(0)) or min(shown + MINUTE - now, timedelta(0))
        if not ahead:
            return "agrees with this machine, to the minute"
        found = f"{abs(ahead) / MINUTE:.1f} min {'ahead of' if ahead > timedelta(0) else 'behind'} this machine"
        if self._clock.follows_server:
            return f"{found}, which follows a time server and is right"
        if abs(ahead) > TOLERANCE:
            raise CheckFailedError(found, "let this machine follow a time server: sudo timedatectl set-ntp true")
        return found

    def _question_until(self) -> float:
        return self._clock.monotonic() + _TRIES * self._route_b.timeout_s

    def _check_stop(self) -> None:
        if self._stop.requested():
            raise StoppedError


def _shortened(serial_number: str | None) -> str:
    """Show enough of it to tell two meters apart: a report is pasted into questions to strangers."""
    return f"...{serial_number[-3:]}" if serial_number else "not told"


def signal_word(dbm: float) -> str:
    """Return what a received power in dBm is worth."""
    if dbm >= EXCELLENT_DBM:
        return "excellent"
    if dbm >= GOOD_DBM:
        return "good"
    return "fair" if dbm >= FAIR_DBM else "weak"


def _pan(pan: PanDescription) -> str:
    dbm = pan.signal_dbm
    signal = "signal not told" if dbm is None else f"signal {dbm:.0f} dBm ({signal_word(dbm)})"
    return f"the meter is on channel 0x{pan.channel:02X}, PAN 0x{pan.pan_id:04X}, {signal}"


def _meters(count: int) -> str:
    return {0: "no other meter", 1: "one other meter"}.get(count, f"{count} other meters")


def _product(device: Path) -> str:
    """Return what the USB device behind *device* calls itself; nothing where it is none."""
    from serial.tools.list_ports import comports  # only a poller's machine has it

    name = str(device.resolve())
    return next((f" ({port.product})" for port in comports() if port.device == name and port.product), "")


def _ports_there() -> str:
    """List the serial ports that a stick may be."""
    from serial.tools.list_ports import comports

    ports = [f"{port.device} ({port.product})" for port in comports() if port.product]
    return f"USB serial devices on this machine: {', '.join(ports) or 'none'}"
