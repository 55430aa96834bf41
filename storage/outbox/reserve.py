"""Room that is kept aside on the disk, for the day it is full."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import private_file

logger = logging.getLogger(__name__)

TRY_AGAIN_S = 3600.0  # to keep room aside, after there was none


class Reserve:
    """A file of *size_bytes* that takes room and holds nothing; of 0 bytes there is none."""

    def __init__(self, path: Path, size_bytes: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._monotonic = monotonic
        self._not_before_s = float("-inf")

    def keep(self) -> None:
        """Take the room, if it is not taken yet and there is some; looked at once an hour."""
        if not self._size_bytes or self._monotonic() < self._not_before_s:
            return
        self._not_before_s = self._monotonic() + TRY_AGAIN_S
        if self._path.exists():
            return
        try:
            fd = private_file.create(self._path)
            try:
                os.posix_fallocate(fd, 0, self._size_bytes)
            finally:
                os.close(fd)
        except OSError as err:
            logger.debug("no room can be kept aside: %s", err)
            self._path.unlink(missing_ok=True)

    def release(self) -> bool:
        """Give the room up, for an hour at least; False: there is none to give up."""
        try:
            self._path.unlink()
        except OSError:
            return False
        self._not_before_s = self._monotonic() + TRY_AGAIN_S
        logger.error("the disk is full: the room that was kept aside in %s is used now; make room", self._path.parent)
        return True
