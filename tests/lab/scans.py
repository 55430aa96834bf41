"""How much of the beacons in the air a scan hears."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from skstack.simulator import Beacon, Hearing


def deaf(_beacons: Sequence[Beacon], _channels: int) -> Sequence[Beacon]:
    """Hear none, while the PAN would accept a join all the same."""
    return ()


def deaf_on_one_channel(beacons: Sequence[Beacon], channels: int) -> Sequence[Beacon]:
    """Hear none in a scan of one channel."""
    return beacons if channels > 1 else ()


def hears_share(share: float, rng: Random) -> Hearing:
    """Hear *share* of the beacons (0 to 1). Source: README of hnw/smartmeter-exporter: about half in a bad place."""
    return lambda beacons, _channels: [beacon for beacon in beacons if rng.random() < share]


def deaf_for(scans: int, then: Hearing = lambda beacons, _channels: beacons) -> Hearing:
    """Hear none in so many *scans*; *then* hear as before."""
    left = scans

    def hear(beacons: Sequence[Beacon], channels: int) -> Sequence[Beacon]:
        nonlocal left
        left -= 1
        return () if left >= 0 else then(beacons, channels)

    return hear
