"""What the sensors on I2C share: the bus, the attempts, and what an error of the kernel means to a household."""

from __future__ import annotations

import contextlib
import errno
import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from sensors.errors import SensorError, SensorNotFoundError

logger = logging.getLogger(__name__)

ReadingT = TypeVar("ReadingT")


class I2cBus(Protocol):
    """The three methods of smbus2.SMBus that are needed. They raise OSError as the kernel reports it."""

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int, /) -> Sequence[int]:
        """Read up to 32 registers in one transfer."""

    def write_byte_data(self, i2c_addr: int, register: int, value: int, /) -> None:
        """Write one register."""

    def close(self) -> None:
        """Close the bus."""


def open_i2c_bus(bus: int) -> I2cBus:
    """Open /dev/i2c-*bus*. Raises: OSError: the bus is missing or refused. ImportError: smbus2 is not installed."""
    from smbus2 import SMBus  # only a poller with a sensor on I2C needs it

    opened: I2cBus = SMBus(bus)
    return opened


# A lost acknowledge, an electrical fault, a stretched clock: gone a moment later, or the sensor is.
_PASSING_ERRNOS = frozenset({errno.EREMOTEIO, errno.EIO, errno.ETIMEDOUT, errno.ENXIO})
_NO_RESPONSE = ("nothing responds at this address", "check the wiring and the address ({addresses}; i2cdetect -y BUS)")
_REMEDIES = {
    errno.ENOENT: ("no such I2C bus", "switch I2C on (raspi-config, Interface Options) and check the bus number"),
    errno.EACCES: (
        "may not use the bus",
        "add the user to the group i2c (sudo usermod -aG i2c $USER), then log in again",
    ),
    errno.EBUSY: (
        "a kernel driver holds the address",
        "unload it (sudo rmmod {kernel_driver}) or remove its dtoverlay",
    ),
    errno.EREMOTEIO: _NO_RESPONSE,
    errno.ENXIO: _NO_RESPONSE,
    errno.EIO: ("the transfer failed", "check the wiring, keep it short, or slow the bus down (i2c_arm_baudrate)"),
    errno.ETIMEDOUT: ("the bus is stuck", "check the wiring, then switch the sensor off and on"),
}
_NOT_FOUND_ERRNOS = frozenset({errno.ENOENT, errno.EREMOTEIO, errno.ENXIO})

_RETRY_PAUSES_S = (0.02, 0.1)  # three attempts in all: a disturbance of the wire is over within tens of milliseconds


class PassingError(SensorError):
    """The sensor failed for a moment; another attempt may succeed."""


class I2cDevice:
    """A sensor by its *name* and *address*. *open_bus* is called at the first transfer and after a failed reading.

    For the messages: all *addresses* that such a sensor can have, and the *kernel_driver* that may hold it.
    """

    def __init__(
        self,
        name: str,
        open_bus: Callable[[], I2cBus],
        address: int,
        addresses: Sequence[int],
        *,
        kernel_driver: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = f"{name} at 0x{address:02X}"
        self._open_bus = open_bus
        self._address = address
        self._words = {"addresses": " or ".join(f"0x{each:02X}" for each in addresses), "kernel_driver": kernel_driver}
        self._sleep = sleep
        self._bus: I2cBus | None = None

    def attempt(self, measure: Callable[[], ReadingT]) -> ReadingT:
        """Return what *measure* gives; repeat it, twice at most, if it fails with what may pass.

        The pauses are 0.12 s in all; the kernel may wait longer on a stuck bus (up to a second a transfer).
        Raises: SensorNotFoundError: no bus, or no response. SensorError: any other failure, and what *measure* raises.
        The text says what to do, and the bus is closed.
        """
        pauses_s = iter(_RETRY_PAUSES_S)
        while True:
            try:
                return measure()
            except (OSError, SensorError) as error:
                passing = isinstance(error, PassingError) or getattr(error, "errno", None) in _PASSING_ERRNOS
                pause_s = next(pauses_s, None) if passing else None
                if pause_s is None:
                    self.close()
                    if isinstance(error, SensorError):
                        raise
                    raise self._explained(error) from error
                logger.debug("%s: %s; trying again", self.name, error)
            self._sleep(pause_s)

    def read(self, register: int, length: int) -> bytes:
        """Read *length* registers (up to 32) in one transfer. Raises: OSError. SensorError: another number came."""
        block = bytes(self._opened_bus().read_i2c_block_data(self._address, register, length))
        if len(block) != length:
            raise SensorError(
                f"{self.name}: registers from 0x{register:02X}: expected {length} bytes, got {len(block)}"
            )
        return block

    def write(self, register: int, value: int) -> None:
        """Write one register. Raises: OSError."""
        self._opened_bus().write_byte_data(self._address, register, value)

    def wait_until(self, is_done: Callable[[], bool], polls: int, pause_s: float, fault: str) -> None:
        """Call *is_done* up to *polls* times, *pause_s* apart. Raises: PassingError: it was never true: *fault*."""
        for _ in range(polls):
            if is_done():
                return
            self._sleep(pause_s)
        raise self.passing(fault, "switch it off and on")

    def passing(self, what: str, remedy: str) -> PassingError:
        """Return an error in this sensor's name, after which attempt() tries again."""
        return PassingError(f"{self.name}: {what}", remedy)

    def close(self) -> None:
        """Close the bus; the next transfer opens it again."""
        bus, self._bus = self._bus, None
        if bus is not None:
            with contextlib.suppress(OSError):  # an adapter that was unplugged: nothing is left to close
                bus.close()

    def _opened_bus(self) -> I2cBus:
        if self._bus is None:
            self._bus = self._open_bus()
        return self._bus

    def _explained(self, error: OSError) -> SensorError:
        what, remedy = _REMEDIES.get(error.errno or 0, ("the I2C bus failed", "check the wiring"))
        kind = SensorNotFoundError if error.errno in _NOT_FOUND_ERRNOS else SensorError
        return kind(f"{self.name}: {what} ({error})", remedy.format_map(self._words))
