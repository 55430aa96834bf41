"""Why a serial port cannot be opened, and what to do: one table for the radio's module and the sensors."""

from __future__ import annotations

import errno
from typing import NamedTuple


class Refusal(NamedTuple):
    """*what* the system said of a device, as the end of a sentence that begins with its path, and the *remedy*.

    *is_lasting*: no waiting helps, as it may where the device is missing or in use.
    """

    what: str
    remedy: str
    is_missing: bool = False
    is_lasting: bool = False


_MISSING = frozenset({errno.ENOENT, errno.ENODEV, errno.ENXIO})
_REFUSED = Refusal(
    "may not be opened",
    "run 'sudo usermod -aG dialout $USER' (the group dialout) and log in again",
    is_lasting=True,
)
_BUSY = Refusal("is in use", "stop the other program that has it open (a serial console, getty, is one too)")
_NO_PORT = Refusal("is not a serial port", "check the path", is_lasting=True)
_REFUSALS = {
    errno.EACCES: _REFUSED,
    errno.EPERM: _REFUSED,
    errno.EBUSY: _BUSY,
    errno.EAGAIN: _BUSY,  # the exclusive lock is taken
    errno.ENOTTY: _NO_PORT,
    errno.EISDIR: _NO_PORT,
    errno.EINVAL: _NO_PORT,
}


def refusal_of(error: BaseException, *, if_missing: str) -> Refusal:
    """Return what *error*, raised by pyserial while it opened a port, means; *if_missing*: the remedy for no device."""
    number = _number(error)
    if number in _MISSING:
        return Refusal("is not there", if_missing, is_missing=True)
    return _REFUSALS.get(number) or Refusal(f"cannot be opened ({error})", "unplug it, plug it in again, try again")


def _number(error: BaseException) -> int:
    """Return the errno of *error*, or of what pyserial wrapped in it; 0 where there is none."""
    numbers = (cause.args[0] for cause in (error, error.__context__) if cause is not None and cause.args)
    return next((number for number in numbers if isinstance(number, int)), 0)
