"""A host that types at a simulated module and notes when lines come, and households easy to reckon with."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from skstack.echonet import Frame
from skstack.simulator import MODELS, Household, MeterOptions, SimulatedMeter, SimulatedModule

METER_MAC = "001C64000A0B8CF5"  # MeterOptions.mac
METER_ADDRESS = "FE80:0000:0000:0000:021C:6400:0A0B:8CF5"
ROUTE_B_ID = "00112233445566778899AABBCCDDEEFF"
PASSWORD = "0123456789AB"

NOON = datetime(2026, 6, 1, 3, 0, tzinfo=UTC).timestamp()  # 12:00 in Japan
MIDNIGHT = NOON - 12 * 3600


def constant_household(watts: int, *, since: float = MIDNIGHT - 10 * 86_400) -> Household:
    """Return a household that draws *watts*, always."""
    return Household(lambda _day: [watts] * 1440, since=since)


def make_meter(watts: int = 600, **options: Any) -> SimulatedMeter:
    """Return a meter whose registers began at zero ten days before NOON's midnight."""
    chosen = {"start_import_kwh": 0, "start_export_kwh": 0, **options}
    return SimulatedMeter(constant_household(watts), MeterOptions(**chosen))


class Host:
    """Types at the module, and reads what comes with its time. The time moves only as far as one waits."""

    def __init__(self, module: SimulatedModule, start: float = NOON) -> None:
        """Sit down at *module* at *start* (Unix seconds)."""
        self.module = module
        self.at = start
        self.dual = module.model.has_side

    def wait(self, seconds: float) -> bytes:
        """Return all bytes that come within *seconds*."""
        self.at += seconds
        return self.module.take_output(self.at)

    def type(self, text: bytes | str, wait_s: float = 1.0) -> bytes:
        """Type a command, its line end added, or raw bytes as they are; return what comes within *wait_s*."""
        self.module.receive(text.encode() + b"\r\n" if isinstance(text, str) else text, self.at)
        return self.wait(wait_s)

    def timed(self, seconds: float) -> list[tuple[float, bytes]]:
        """Return what comes within *seconds*, each piece with the seconds it took."""
        begun, deadline, pieces = self.at, self.at + seconds, []
        while (next_at := self.module.next_output_at()) is not None and next_at <= deadline:
            self.at = max(self.at, next_at)
            piece = self.module.take_output(self.at)
            if piece:
                pieces.append((self.at - begun, piece))
        self.at = deadline
        return pieces

    def set_up(self, route_b_id: str = ROUTE_B_ID, password: str = PASSWORD) -> None:
        """Turn the echo off, hand in the credentials, tune to the meter."""
        for command in (
            "SKSREG SFE 0",
            f"SKSETPWD {len(password):X} {password}",
            f"SKSETRBID {route_b_id}",
            "SKSREG S2 39",
            "SKSREG S3 8CF5",
        ):
            assert self.type(command).endswith(b"OK\r\n")

    def join(self) -> None:
        """Set up, join, and wait until the instance list has come."""
        self.set_up()
        assert b"EVENT 25" in self.type(f"SKJOIN {METER_ADDRESS}", 8.0)
        assert self.module.has_session

    def send_header(self, length: int, *, secure: int = 1, address: str = METER_ADDRESS) -> bytes:
        """Return the SKSENDTO of the module's dialect up to its payload."""
        side = "0 " if self.dual else ""
        return f"SKSENDTO 1 {address} 0E1A {secure} {side}{length:04X} ".encode()

    def send(self, frame: Frame, wait_s: float = 4.0, *, secure: int = 1) -> bytes:
        """Send *frame* to the meter and return what comes within *wait_s*."""
        payload = frame.to_bytes()
        return self.type(self.send_header(len(payload), secure=secure) + payload, wait_s)

    def get(self, *epcs: int, tid: int = 1) -> Frame:
        """Request *epcs* from the meter and return its response."""
        return payloads(self.send(Frame.get(tid, epcs)))[-1]


def lines(output: bytes) -> list[str]:
    """Return the lines of text output."""
    return output.decode("ascii").split("\r\n")[:-1]


def payloads(output: bytes) -> list[Frame]:
    """Return the ECHONET frames in output whose payloads are hexadecimal text."""
    received = [line.split() for line in lines(output) if line.startswith("ERXUDP")]
    return [Frame.from_bytes(bytes.fromhex(words[-1])) for words in received if words[4] == "0E1A"]


def events(output: bytes) -> list[str]:
    """Return the numbers of the EVENT lines."""
    return [line.split()[1] for line in lines(output) if line.startswith("EVENT")]


def power_up(model: str = "BP35C2", **options: object) -> Host:
    """Return a host at a *model*; the meter behind it takes the options in *meter*."""
    meter_options = options.pop("meter", {})
    assert isinstance(meter_options, dict)
    # Announcements at 25 and 55 minutes past, out of the way of what is tested.
    meter = make_meter(**{"notification_delay_s": 1500, **meter_options})
    return Host(SimulatedModule(meter, model=MODELS[model], **options))  # type: ignore[arg-type] # options of all kinds


def of_dialect(dialect: str, **options: object) -> Host:
    """Return a host at the ROHM module of the *dialect*."""
    return power_up("BP35A1" if dialect == "single" else "BP35C2", **options)


def shape(line: str) -> str:
    """Return the line with what is each device's own taken out: addresses, values, keys, the payload of PANA."""
    line = re.sub(r"(FE80|2001)(:[0-9A-F]{4}){7}", "<ip>", line)
    line = re.sub(r"\b[0-9A-F]{16}\b", "<mac>", line)
    line = re.sub(r"^(  (Channel|Pan ID|Addr|LQI|PairID):).*", r"\1", line)
    line = re.sub(r"^(EVER|SKLL64|SKJOIN) .*", r"\1", line)
    if " 02CC 02CC " in line:
        head, _, payload = line.rpartition(" ")
        line = f"{head} <{len(payload) // 2} bytes>"
    return line


def shapes(output: bytes) -> list[str]:
    """Return the shapes of the lines, without the empty ones."""
    return [shape(line) for line in lines(output) if line]
