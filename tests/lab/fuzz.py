"""Inputs that are nearly right: a published one with something done to it, from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence

_MOST_CHANGES = 4
_MOST_BYTES_INSERTED = 12


def nearly(rng: random.Random, right: Sequence[bytes]) -> bytes:
    """Return one of *right* after one to four changes, sometimes one of them as it is, sometimes mere noise."""
    if rng.random() < 0.05:
        return rng.randbytes(rng.randrange(64))
    changed = bytearray(rng.choice(right))
    for _ in range(rng.randrange(_MOST_CHANGES + 1)):
        at = rng.randrange(len(changed) + 1)
        upto = min(len(changed), at + rng.randrange(1, _MOST_BYTES_INSERTED))
        match rng.randrange(6):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                del changed[at:upto]
            case 2:
                changed[at:at] = rng.randbytes(rng.randrange(_MOST_BYTES_INSERTED))
            case 3:
                changed[at:at] = changed[at:upto]
            case 4:
                del changed[at:]
            case _:
                other = rng.choice(right)
                changed[at:] = other[rng.randrange(len(other) + 1) :]
    return bytes(changed)
