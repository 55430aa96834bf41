"""Where the meter was found last, kept on disk so that a restart joins without a scan.

The only file that skstack/ writes, and only where its caller says.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Protocol

import private_file
from skstack.commands import CHANNELS
from skstack.events import PanDescription

logger = logging.getLogger(__name__)

MAX_BYTES = 100_000  # of the file: hundreds of modules; more was not written by us


class PanCache(Protocol):
    """Remembers one PAN for each pair of module and Route-B ID."""

    def load(self, key: str) -> PanDescription | None:
        """Return the PAN remembered under *key*, if any."""

    def save(self, key: str, pan: PanDescription) -> None:
        """Remember *pan* under *key*."""


def cache_key(module_mac: bytes, route_b_id: str) -> str:
    """Return a key for a module and a contract that does not reveal the ID: a digest of both."""
    return hashlib.sha256(module_mac + route_b_id.encode("ascii")).hexdigest()[:24]


class FilePanCache:
    """A small JSON file, replaced as a whole. Whatever is wrong with it costs a scan, never the poller."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, key: str) -> PanDescription | None:
        """Return the PAN remembered under *key*; None too when the file is missing, unreadable or broken."""
        entry = self._entries().get(key)
        if not isinstance(entry, dict):
            return None
        try:
            return PanDescription(
                channel=_number_in(CHANNELS, entry["channel"]),
                pan_id=_number_in(range(0x10000), entry["pan_id"]),
                mac=_eight_bytes(entry["mac"]),
            )
        except (KeyError, TypeError, ValueError):
            logger.warning("%s is damaged: the next start will scan for the meter", self._path)
            return None

    def save(self, key: str, pan: PanDescription) -> None:
        """Remember *pan* under *key*; a disk that refuses costs a warning."""
        entries = self._entries()
        entry = {"channel": pan.channel, "pan_id": pan.pan_id, "mac": pan.mac.hex()}
        if entries.get(key) != entry:
            self._write({**entries, key: entry})

    def _entries(self) -> dict[str, object]:
        try:
            with open(private_file.open_existing(self._path, os.O_RDONLY), "rb") as file:
                entries = json.loads(file.read(MAX_BYTES))
        except (OSError, ValueError, RecursionError):  # the last: lists in lists in lists
            return {}
        return entries if isinstance(entries, dict) else {}

    def _write(self, entries: dict[str, object]) -> None:
        try:
            private_file.replace(self._path, json.dumps(entries, indent=1).encode())
        except OSError as error:
            logger.warning("the PAN cache cannot be written (%s): the next start will scan for the meter", error)


def _number_in(allowed: range, value: object) -> int:
    if not isinstance(value, int) or value not in allowed:
        raise ValueError(f"expected a number in {allowed}")
    return value


def _eight_bytes(value: object) -> bytes:
    mac = bytes.fromhex(value) if isinstance(value, str) else b""
    if len(mac) != 8:
        raise ValueError("expected 16 hex digits")
    return mac
