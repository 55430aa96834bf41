"""What can go wrong between us, the module and the meter, by who noticed.

SkStackError
├── CommandFailedError      the module responded FAIL ERnn
├── SkStackTimeoutError     (also TimeoutError) nothing came in time
├── MalformedLineError      bytes from the module that we cannot read
├── FrameError              (also ValueError) bytes that are no ECHONET Lite frame, or no such property
├── SendUnconfirmedError    neither EVENT 21 nor a matching response came
├── SendFailedError         EVENT 21 said that the datagram was not sent
├── SessionLostError        PANA is not established, has ended or has expired
│   └── AuthenticationFailedError  the meter refused the handshake
├── MeterSilentError        several requests in a row stayed without a response
├── MeterNotFoundError      a scan ended without the meter
├── ModuleNotRespondingError  nothing comes back, or nothing that a module says
├── ModuleUnsupportedError  the module speaks the binary J11 protocol
├── ModuleRestartedError    the module has lost its session, its credentials and its registers
├── PortLostError           (also OSError) the serial device is gone or busy
│   └── PortRefusedError    it is no serial port, or this user may not open it
└── StoppedError            the caller asked for an end
"""

from __future__ import annotations

import re

from errors import ExplainedError

# By name: a torn echo may begin with the password, and a password may look like any word.
_KEYWORD = re.compile(
    rb"OK|FAIL|EVENT|ERXUDP|ERXTCP|EPONG|ETCP|EADDR|ENEIGHBOR|EPANDESC|EEDSCAN|EHANDLE|EPORT|EINFO|ESREG|EVER|EAPPVER"
    rb"|SK(?:SENDTO|JOIN|SCAN|TERM|SREG|VER|INFO|RESET|REJOIN|LL64|SETPWD|SETRBID)|[RW](?:OPT|UART)"
)

# EPC and PDC of the Route-B identification number. It is as long as the Route-B ID, and treated as just as secret.
_IDENTIFICATION_NUMBER = bytes((0xC0, 16))


def may_hold_secret(frame: bytes) -> bool:
    """Return whether an ECHONET *frame*, be it whole or not, may hold the Route-B identification number (C0)."""
    return _IDENTIFICATION_NUMBER in frame


class SkStackError(ExplainedError):
    """Anything that keeps the module or the meter from responding.

    *is_lasting*: to wait, or to try again soon, is in vain until a person has changed something.
    """

    is_lasting = False


class CommandFailedError(SkStackError):
    """The module refused a command. Look at .code: ER09 is a garbled line, ER10 means it could not be done."""

    def __init__(self, command: str, code: str) -> None:
        """Name the *command* with its secrets masked, and the *code* ("ER10")."""
        super().__init__(f"{command} failed with FAIL {code}")
        self.code = code


class SkStackTimeoutError(SkStackError, TimeoutError):
    """Nothing came before the deadline. Repeat the request, or recover the link."""

    def __init__(self, waiting_for: str, waited_s: float) -> None:
        """Say what was awaited, and for how many seconds."""
        super().__init__(f"no {waiting_for} within {waited_s:.1f} s")
        self.waited_s = waited_s


class MalformedLineError(SkStackError):
    """A line that is neither known nor merely unknown, but broken. Count it, skip it, go on.

    .raw may hold a secret (an echo, a PANA frame): log .shown, never .raw.
    """

    def __init__(self, reason: str, raw: bytes) -> None:
        """Keep the whole line; show its length, and its first word where that is one of the module's own."""
        word = raw.split(b" ", 1)[0]
        keyword = word.decode("ascii") if _KEYWORD.fullmatch(word) else "?"
        self.shown = f"{keyword!r} line of {len(raw)} bytes"
        super().__init__(f"{self.shown}: {reason}")
        self.raw = raw


class FrameError(SkStackError, ValueError):
    """Bytes that are not the frame or the property they should be. Drop the datagram."""

    def __init__(self, reason: str, raw: bytes) -> None:
        """Show the bytes; but where they may hold a secret, their number only."""
        shown = f"{raw[:64].hex(' ')}{' ...' if len(raw) > 64 else ''}"
        super().__init__(f"{reason}: {f'{len(raw)} bytes' if may_hold_secret(raw) else shown}")
        self.raw = raw


class SendUnconfirmedError(SkStackError):
    """It is unknown whether the datagram left. To send a Get again is harmless."""


class SendFailedError(SkStackError):
    """The module reported that the datagram was not sent. Wait a little, then send again."""


class SessionLostError(SkStackError):
    """There is no PANA session, or silence is due. Join again, or wait."""


class AuthenticationFailedError(SessionLostError):
    """The meter refused the handshake (EVENT 24): a wrong ID or password, or a radio too weak for it."""


class MeterSilentError(SkStackError):
    """The session may be dead on the meter's side only: join again."""


class MeterNotFoundError(SkStackError):
    """No meter with our pairing ID responded to a scan. Scan again later; a weak radio misses beacons."""

    def __init__(self, what: str, remedy: str = "", *, others: int = 0) -> None:
        """Say also how many *others* were heard."""
        super().__init__(what, remedy)
        self.others = others


class ModuleNotRespondingError(SkStackError):
    """Nothing came back at any baud rate, or nothing that a module says. Check that the device is the Wi-SUN module."""


class ModuleUnsupportedError(SkStackError):
    """The module speaks the binary J11 protocol. Another module, or its SK firmware, is needed."""

    is_lasting = True


class ModuleRestartedError(SkStackError):
    """The module has lost its session, its credentials and its registers. Set it up again."""


class PortLostError(SkStackError, OSError):
    """The serial port is missing, busy or gone. Open it again later; the remedy says what to do."""


class PortRefusedError(PortLostError):
    """What stands at the path is no serial port, or this user may not open it. The remedy says what to do."""

    is_lasting = True


class StoppedError(SkStackError):
    """The caller asked for an end, or the time for ending is up. Wait for nothing any more."""

    def __init__(self) -> None:
        """Say so; there is no more to it."""
        super().__init__("asked to stop")
