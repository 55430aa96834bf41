"""The serial port that the module is attached to: bytes in chunks, every wait with an end.

The driver sees only the Port protocol; the virtual port of the simulator is another one.
"""

from __future__ import annotations

import os
import select
import termios
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from serial_faults import refusal_of
from skstack.errors import PortLostError, PortRefusedError

if TYPE_CHECKING:
    import serial

FACTORY_BAUD_RATE = 115_200
OTHER_BAUD_RATES = (57_600, 38_400, 19_200, 9_600, 4_800, 2_400)  # what WUART can set; command reference 4.36

_CHUNK_BYTES = 4096  # one kernel tty buffer
# The longest command is 1.3 kB: 0.11 s at 115,200 baud, 5.4 s at 2,400, where the module is given up.
WRITE_TIMEOUT_S = 2.0

_IF_MISSING = "plug the stick in, or check the path (ls -l /dev/serial/by-id/)"


class Port(Protocol):
    """What the driver needs of a serial port."""

    def read(self, timeout_s: float) -> bytes:
        """Return what has come, waiting up to *timeout_s* for the first byte; b"" when nothing came, or when woken.

        Raises: PortLostError: the port is gone.
        """

    def write(self, data: bytes) -> None:
        """Write all of *data*. Raises: PortLostError: the port is gone, or takes nothing any more."""

    def close(self) -> None:
        """Close the port; harmless when it is closed or gone."""


PortOpener = Callable[[int], Port]  # opens the port at the given baud rate


class SerialPort:
    """A real serial port (pyserial), opened exclusively, 8N1 without flow control.

    *wake_fd*: a file descriptor that ends a waiting read as soon as it is readable (a signal came).
    Raises: PortLostError: missing or busy. PortRefusedError: no serial port, or none for this user. The message says
    what to do.
    """

    def __init__(self, device: str, baud_rate: int = FACTORY_BAUD_RATE, *, wake_fd: int | None = None) -> None:
        self._device = device
        self._serial = _open(device, baud_rate)
        self._fd: int = self._serial.fileno()
        self._wake_fd = wake_fd
        self._readable = select.poll()
        self._readable.register(self._fd, select.POLLIN)
        if wake_fd is not None:
            self._readable.register(wake_fd, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(self._fd, select.POLLOUT)

    def read(self, timeout_s: float) -> bytes:
        """Return a chunk; see Port.read."""
        if self._fd < 0:
            raise PortLostError(f"{self._device} is closed")
        ready = self._readable.poll(max(0.0, timeout_s) * 1000)
        if not ready:
            return b""
        if len(ready) == 1 and ready[0][0] == self._wake_fd:
            os.read(self._wake_fd, _CHUNK_BYTES)
            return b""
        try:
            chunk = os.read(self._fd, _CHUNK_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self._lost(error) from error
        if not chunk:  # readable, and yet nothing to read: the device was unplugged
            raise PortLostError(f"{self._device} was unplugged")
        return chunk

    def write(self, data: bytes) -> None:
        """Write all of *data*; see Port.write."""
        rest = memoryview(data)
        deadline = time.monotonic() + WRITE_TIMEOUT_S
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                remaining_s = deadline - time.monotonic()
                if remaining_s <= 0 or not self._writable.poll(remaining_s * 1000):
                    raise PortLostError(f"{self._device} took no data for {WRITE_TIMEOUT_S} s") from None
            except OSError as error:
                raise self._lost(error) from error

    def close(self) -> None:
        """Close the port and give up the lock on it."""
        self._fd = -1  # another file may get the number
        try:
            self._serial.close()
        except OSError:  # the device has vanished; nothing is left to close
            return

    def _lost(self, error: OSError) -> PortLostError:
        return PortLostError(f"{self._device} was unplugged ({error.strerror or error})")


def _open(device: str, baud_rate: int) -> serial.Serial:
    import serial

    try:
        return serial.Serial(device, baud_rate, timeout=0, exclusive=True)
    except (OSError, ValueError, termios.error) as error:  # the last where the device goes while it is being opened
        refusal = refusal_of(error, if_missing=_IF_MISSING)
        kind = PortRefusedError if refusal.is_lasting else PortLostError
        raise kind(f"{device} {refusal.what}", refusal.remedy) from error
