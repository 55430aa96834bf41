"""The PANA messages a module prints while it joins: the meter's half of an EAP-PSK handshake.

Lengths and fields are those of captured ones. The keys are noise; what matters is that the lines look right, and that
the second message carries the Route-B ID in clear, as real ones do.

Source: RFC 5191 (PANA), RFC 4764 (EAP-PSK), and captures of five modules.
"""

from __future__ import annotations

from hashlib import sha256
from struct import pack

_AUTHENTICATION = 2
_TERMINATION = 3


def handshake(route_b_id: str, session: int, lifetime_s: int) -> list[bytes]:
    """Return the meter's four messages of a join: start, challenge (with the ID), response, result (with lifetime)."""
    challenge = _noise(session, 16)
    identity = b"SM" + route_b_id.encode("ascii")
    return [
        _message(0xC000, _AUTHENTICATION, session, 0, [(6, _u32(5)), (3, _u32(12))]),
        _message(
            0x8000,
            _AUTHENTICATION,
            session,
            1,
            # A nonce with CR and LF in it: a reader of binary payloads must live with them.
            [(5, _noise(session + 1, 14) + b"\r\n"), (2, _eap(0xE3, b"\x2f\x00" + challenge + identity))],
        ),
        _message(
            0x8000, _AUTHENTICATION, session, 2, [(2, _eap(0xE4, b"\x2f\x80" + challenge + _noise(session + 2, 37)))]
        ),
        result(session, lifetime_s),
    ]


def result(session: int, lifetime_s: int) -> bytes:
    """Return the message that ends a join and every renewal: success, key number, lifetime, proof."""
    parts = [(7, _u32(0)), (2, bytes.fromhex("03E40004")), (4, _u32(0x1601)), (8, _u32(lifetime_s))]
    return _message(0xA000, _AUTHENTICATION, session, 3, [*parts, (1, _noise(session + 3, 16))])


def termination(session: int) -> bytes:
    """Return the meter's consent to the end of a session."""
    return _message(0x0000, _TERMINATION, session, 4, [(1, _noise(session + 4, 16))])


def _message(flags: int, kind: int, session: int, step: int, avps: list[tuple[int, bytes]]) -> bytes:
    padded = [pack(">HHHH", code, 0, len(value), 0) + value + bytes(-len(value) % 4) for code, value in avps]
    body = b"".join(padded)
    first = int.from_bytes(_noise(session, 4)) & 0x7FFFFFFF
    return pack(">HHHH", 0, 16 + len(body), flags, kind) + _noise(session + 5, 4) + _u32(first + step) + body


def _eap(number: int, body: bytes) -> bytes:
    return pack(">BBH", 1, number, 4 + len(body)) + body


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def _noise(seed: int, length: int) -> bytes:
    """Return bytes that look random and are the same every time."""
    return b"".join(sha256(f"{seed}/{block}".encode()).digest() for block in range(2))[:length]
