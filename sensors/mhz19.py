"""Winsen MH-Z19, MH-Z19B, MH-Z19C: CO2 over a serial line at 9600 baud.

Source: the maker's manuals, MH-Z19B v1.5 and MH-Z19C v1.21. Only the read command (0x86) is ever sent: the others
calibrate the sensor or change its range, which a logger must never do by itself.
"""

from __future__ import annotations

import contextlib
import logging
import re
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sensors.errors import SensorError, SensorNotFoundError, SensorNotReadyError
from serial_faults import refusal_of

logger = logging.getLogger(__name__)

READ_COMMAND = bytes.fromhex("FF 01 86 00 00 00 00 00 79")
FRAME_BYTES = 9
START = 0xFF
READ = 0x86

# What the sensor says while it boots; these are no measurements.
BOOTING_STATUS = 1  # first MH-Z19
BOOTING_U = 15000  # first MH-Z19
HIGHEST_PPM = 10_000  # the widest range there is
# What a sensor shows where there is more to measure, by its range. It does not report which range it has.
RANGE_ENDS_PPM = (2000, 5000, 10_000)
FRESH_AIR_PPM = 400  # less is possible on a sensor whose zero has drifted

# The byte is the temperature inside the sensor's box plus 40, and in no manual. Several degrees too high is usual;
# outside these bounds (operating range -10 to 50 C, and a margin) it means something else, or nothing.
LOWEST_C, HIGHEST_C = -20, 70


@dataclass(frozen=True, slots=True)
class Mhz19Reply:
    """One valid reply as it came, not yet judged."""

    co2_ppm: int
    temperature_c: int | None  # inside the box; None: this sensor does not give it (byte 0)
    status: int  # S; only 1 has a known meaning
    u: int  # U; only 15000 has a known meaning


@dataclass(frozen=True, slots=True)
class Mhz19Reading:
    """One reading: parts per million, and degrees Celsius inside the sensor's box (several degrees over the room)."""

    co2_ppm: int  # 1 to 10,000
    temperature_c: int | None
    warming_up: bool  # not to be trusted yet


def checksum(frame: bytes) -> int:
    """Return what the ninth byte of *frame* must be: the sum of bytes 1 to 7, negated, in eight bits."""
    return -sum(frame[1:8]) & 0xFF


def parse_reply(frame: bytes) -> Mhz19Reply:
    """Read one reply of exactly nine bytes to the read command.

    Raises: SensorError: wrong length, start byte, command byte or checksum, looked at in this order. The checksum
    alone would accept nine zero bytes.
    Source: manual MH-Z19B v1.5, chapter 7; status, U and temperature are in no manual.
    """
    if fault := _fault_of(frame):
        raise SensorError(f"MH-Z19: {fault}")
    return Mhz19Reply(
        co2_ppm=int.from_bytes(frame[2:4], "big"),
        temperature_c=frame[4] - 40 if frame[4] else None,
        status=frame[5],
        u=int.from_bytes(frame[6:8], "big"),
    )


def _fault_of(frame: bytes) -> str:
    """Say why *frame* is not a reply to the read command; "" where it is one."""
    if len(frame) != FRAME_BYTES:
        return f"short or long reply: expected {FRAME_BYTES} bytes, got {len(frame)}"
    if frame[0] != START:
        return f"wrong start byte: expected 0x{START:02X}, got 0x{frame[0]:02X}"
    if frame[1] != READ:
        return f"reply to another command: expected 0x{READ:02X}, got 0x{frame[1]:02X}"
    if frame[8] != checksum(frame):
        return f"wrong checksum: expected 0x{checksum(frame):02X}, got 0x{frame[8]:02X}"
    return ""


def find_reply(received: bytes) -> Mhz19Reply | None:
    """Return the first valid reply in *received*, however much stands before it; None if there is none (yet)."""
    for begun in re.finditer(bytes((START, READ)), received):
        with contextlib.suppress(SensorError):
            return parse_reply(received[begun.start() : begun.start() + FRAME_BYTES])
    return None


def describe_failure(heard: bytes) -> tuple[str, str]:
    """Say why *heard*, all that came, is not a valid reply; and what to do."""
    if not heard:
        return "no response", "check its 5 V supply, and that its TX goes to our RX and its RX to our TX"
    if READ_COMMAND in heard:
        return "our own command comes back", "connect RX and TX to the sensor, not to one another"
    # The next byte is the upper half of a concentration, so words that begin with BM are not taken for it.
    if re.search(rb"BM[\x00-\x1f]", heard):
        return (
            "it sends 16-byte 'BM' frames: this is not an MH-Z19 but a look-alike (C8, sold as MH-Z19C) "
            "that speaks another protocol",
            "use an MH-Z19",
        )
    if set(heard) <= {0x00, 0xFF}:
        return "the line is dead (only 00 or FF)", "check ground, supply and the 3.3 V level"
    if _is_text(heard):
        # What it says is not shown: if this is the port of another device, its lines may hold secrets.
        return (
            "text comes instead of replies: a login console (getty) or another device is on this port",
            "disable the serial console (raspi-config, Interface Options, Serial Port), or correct the path",
        )
    begun_at = max(heard.find(START), 0)
    frame = heard[begun_at : begun_at + FRAME_BYTES]
    fault = _fault_of(frame)
    return f"{fault} in {frame.hex(' ')}" if fault else "replies come in pieces", "check the wiring"


def _is_text(heard: bytes) -> bool:
    """Return whether at least four bytes came and nine in ten of them are printable or end a line."""
    readable = sum(0x20 <= byte < 0x7F or byte in b"\r\n\t\x1b" for byte in heard)
    return len(heard) >= 4 and readable * 10 >= len(heard) * 9


class SerialLike(Protocol):
    """The methods of serial.Serial that are needed. They raise OSError (termios.error when unplugged)."""

    def read(self, size: int, /) -> bytes:
        """Return up to *size* bytes, fewer when READ_SLICE_S has passed."""

    def write(self, data: bytes, /) -> int | None:
        """Send *data*."""

    def reset_input_buffer(self) -> None:
        """Drop what came and was not read."""

    def close(self) -> None:
        """Close the port."""


READ_SLICE_S = 0.05  # the timeout the port must be opened with: how far a wait may pass its deadline
_WRITE_TIMEOUT_S = 0.5  # nine bytes take 10 ms

_IF_MISSING = "check the path, and that the serial port is switched on (raspi-config, Interface Options)"


def open_serial_port(device: str) -> SerialLike:
    """Open *device* at 9600 baud, 8N1, for this program alone.

    Raises: SensorNotFoundError: it is not there. SensorError: refused or busy; the text says what to do. ImportError:
    pyserial is not installed.
    """
    import serial  # only a poller with this sensor needs it

    try:
        return serial.Serial(device, 9600, timeout=READ_SLICE_S, write_timeout=_WRITE_TIMEOUT_S, exclusive=True)
    except (OSError, ValueError, termios.error) as error:
        refusal = refusal_of(error, if_missing=_IF_MISSING)
        kind = SensorNotFoundError if refusal.is_missing else SensorError
        raise kind(f"MH-Z19: {device} {refusal.what}", refusal.remedy) from error


_CHANGES_WHEN_SETTLED = 2
_MOST_LOST_REPLIES = 1
_JUMP_PPM = 50  # the sensor's own uncertainty, without the part that grows with the value
_ATTEMPTS = 3
_REPLY_S = 0.6  # per attempt; sensors were seen to respond within 15 to 120 ms
_QUIET_S = 0.1  # a gap of about 100 bytes: whatever was being sent has ended
_QUIET_LIMIT_S = 0.25  # and something that never pauses is not waited for
_HEARD_LIMIT_BYTES = 4096  # 0.6 s at 9600 baud bring 580


class Mhz19:
    """An MH-Z19 on its own serial port, opened at the first reading, after it failed and after two lost replies.

    For *warm_up_s* after opening, readings are marked as warming up: it is not known when the sensor got its power,
    so a restart of the program marks again; readings are marked, not withheld. No value distinguishes warming
    up from fresh air (410 fixed, 400 then 448, 388 then 555 were all seen), but a settled sensor is never still: the
    mark ends early when three readings in a row differ, each from the one before.

    A settled sensor that misses one reading has lost a reply, or its power for a moment. It stays settled as long as
    its values go on from where they were; one that jumps within *warm_up_s* of its first reply is warming up.

    A sensor without a value is booting for *warm_up_s* after the first such reply; after that it is faulty. A settled
    one that stands at the end of its range has met more than it can measure, or is faulty: no value either.
    """

    def __init__(
        self,
        open_port: Callable[[], SerialLike],
        *,
        warm_up_s: float = 180.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_port = open_port
        self._warm_up_s = warm_up_s
        self._monotonic = monotonic
        self._port: SerialLike | None = None
        self._low_is_said = False
        self._no_value_since: float | None = None  # monotonic; cleared by a value
        self._highest_ppm = 0  # of the settled sensor: its range reaches as far
        self._lost_replies = 0  # in a row
        self._begin_warm_up()

    def read(self) -> Mhz19Reading:
        """Take one reading: usually 0.1 s; up to three attempts, all within 3 s.

        Raises: SensorNotFoundError: no such port. SensorNotReadyError: the sensor is booting. SensorError: the port
        failed, no valid reply came, the sensor has no value although its warm-up is over, or the value is impossible
        (over 10000 ppm) or the end of its range. The text says what to do.
        """
        try:
            reply = self._request(self._opened_port())
        except (OSError, termios.error) as error:
            self.close()
            what, remedy = _port_remedy(error)
            raise SensorError(f"MH-Z19: {what} ({error})", remedy) from error
        except SensorError:
            self._note_lost_reply()
            raise
        if self._lost_replies:
            self._lost_replies = 0
            if self._settled:
                self._ppm_before_loss, self._suspect_until = self._last_ppm, self._monotonic() + self._warm_up_s
        return self._judged(reply)

    def _note_lost_reply(self) -> None:
        """Keep the port after one; after more it may be stuck, or be another one by now."""
        self._lost_replies += 1
        if self._lost_replies > _MOST_LOST_REPLIES:
            self.close()
        if not self._settled:
            self._begin_warm_up()

    def close(self) -> None:
        """Close the port; the next read opens it again, and marks its readings as warming up again."""
        port, self._port = self._port, None
        if port is not None:
            with contextlib.suppress(OSError, termios.error):  # unplugged: nothing is left to close
                port.close()

    def _opened_port(self) -> SerialLike:
        if self._port is None:
            self._port = self._open_port()
            self._begin_warm_up()
        return self._port

    def _request(self, port: SerialLike) -> Mhz19Reply:
        heard = b""
        for _ in range(_ATTEMPTS):
            # A byte left over from before would shift every reply from now on.
            port.reset_input_buffer()
            port.write(READ_COMMAND)
            received = self._listen(port, b"", _REPLY_S, _REPLY_S)
            if find_reply(received) is None:  # what is still being sent may hold it: a reply that is late is good
                received = self._listen(port, received, _QUIET_LIMIT_S, _QUIET_S)
            reply = find_reply(received)
            if reply is not None:
                return reply
            logger.debug("MH-Z19: no reply in %d bytes", len(received))
            heard += received
        what, remedy = describe_failure(heard)
        raise SensorError(f"MH-Z19: {what}", remedy)

    def _listen(self, port: SerialLike, received: bytes, longest_s: float, quiet_s: float) -> bytes:
        """Return *received* and what follows, up to a valid reply, or until nothing has come for *quiet_s*."""
        now = self._monotonic()
        deadline, quiet_at = now + longest_s, now + quiet_s
        while now < min(deadline, quiet_at) and find_reply(received) is None and len(received) < _HEARD_LIMIT_BYTES:
            chunk = port.read(FRAME_BYTES)
            received += chunk
            now = self._monotonic()
            if chunk:
                quiet_at = now + quiet_s
        return received

    def _judged(self, reply: Mhz19Reply) -> Mhz19Reading:
        if reply.status == BOOTING_STATUS or reply.u == BOOTING_U or reply.co2_ppm == 0:
            self._begin_warm_up()
            raise self._without_value()
        self._no_value_since = None
        if reply.co2_ppm > HIGHEST_PPM:
            raise SensorError(
                f"MH-Z19: {reply.co2_ppm} ppm is more than any range ({HIGHEST_PPM} ppm)", "check the wiring"
            )
        if reply.co2_ppm < FRESH_AIR_PPM and not self._low_is_said:
            self._low_is_said = True
            logger.warning(
                "MH-Z19: %d ppm is less than fresh air (%d ppm): its zero has drifted", reply.co2_ppm, FRESH_AIR_PPM
            )
        temperature_c = reply.temperature_c
        if temperature_c is not None and not LOWEST_C <= temperature_c <= HIGHEST_C:
            logger.debug("MH-Z19: %d C is not the temperature of a box; left out", temperature_c)
            temperature_c = None
        last_ppm = self._last_ppm
        warming_up = self._is_warming_up(reply.co2_ppm)
        if not warming_up:
            self._check_range(reply.co2_ppm, last_ppm)
        return Mhz19Reading(reply.co2_ppm, temperature_c, warming_up)

    def _without_value(self) -> SensorError:
        now = self._monotonic()
        if self._no_value_since is None:
            self._no_value_since = now
        if now - self._no_value_since < self._warm_up_s:
            return SensorNotReadyError("MH-Z19: the sensor is booting and has no value yet", "wait for its warm-up")
        return SensorError(
            f"MH-Z19: the sensor still has no value (0 ppm, or booting) after {self._warm_up_s:.0f} s of warm-up",
            "check its 5 V supply (150 mA), switch it off and on, else replace it",
        )

    def _check_range(self, co2_ppm: int, last_ppm: int | None) -> None:
        """Raise SensorError where *co2_ppm* is the end of the range, hence not a measurement.

        Nothing above it was ever seen. As 2000 lies within the range of most sensors, it takes two in a row.
        """
        is_end = co2_ppm in RANGE_ENDS_PPM and self._highest_ppm <= co2_ppm
        if is_end and (co2_ppm > RANGE_ENDS_PPM[0] or last_ppm == co2_ppm):
            raise SensorError(
                f"MH-Z19: {co2_ppm} ppm is the end of its range", "air the room; if it stays, the sensor is faulty"
            )
        self._highest_ppm = max(self._highest_ppm, co2_ppm)

    def _begin_warm_up(self) -> None:
        self._warm_at = self._monotonic() + self._warm_up_s
        self._settled = False
        # Of a settled sensor: that its values are not those of before the loss means a restart.
        self._suspect_until = float("-inf")
        self._ppm_before_loss = None
        self._last_ppm: int | None = None
        self._changes_in_a_row = 0

    def _is_warming_up(self, co2_ppm: int) -> bool:
        before = self._ppm_before_loss if self._monotonic() < self._suspect_until else None
        if before is not None and abs(co2_ppm - before) > _JUMP_PPM:
            self._begin_warm_up()
        if self._last_ppm is not None:
            self._changes_in_a_row = self._changes_in_a_row + 1 if co2_ppm != self._last_ppm else 0
        self._last_ppm = co2_ppm
        if self._changes_in_a_row >= _CHANGES_WHEN_SETTLED or self._monotonic() >= self._warm_at:
            self._settled = True
        return not self._settled


def _port_remedy(error: Exception) -> tuple[str, str]:
    """Return what is wrong with the port, and what to do."""
    # pyserial's words when someone else took the bytes that were there to be read.
    if "multiple access" in str(error):
        return "another program reads from the port", "stop it, or disable the serial console (getty) in raspi-config"
    return "the port failed", "see whether the adapter is still plugged in"
