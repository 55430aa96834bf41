"""The PANs that a scan finds: blocks of EPANDESC lines to descriptions."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address

from skstack.values import Line, PanField

logger = logging.getLogger(__name__)


def signal_dbm(lqi: int) -> float:
    """Return the received power in dBm for an LQI (or energy level) of 0 to 255. Source: two published clients."""
    return 0.275 * lqi - 104.27


@lru_cache(maxsize=16)
def link_local(mac: bytes) -> IPv6Address:
    """Return FE80::/64 and the MAC of 8 bytes with the universal/local bit flipped, as SKLL64 does.

    Source: RFC 4291, appendix A; BP35A1 command reference 4.33. Raises: ValueError: not 8 bytes.
    """
    if len(mac) != 8:
        raise ValueError(f"a MAC address has 8 bytes, not {len(mac)}")
    return IPv6Address(b"\xfe\x80" + bytes(6) + bytes([mac[0] ^ 0x02]) + mac[1:])


@dataclass(frozen=True, slots=True)
class PanDescription:
    """A meter that answered the scan. Source: BP35A1 command reference 5.7."""

    channel: int
    pan_id: int
    mac: bytes
    lqi: int | None = None
    side: int | None = None  # dual-stack modules only
    pair_id: str | None = field(default=None, repr=False)  # scan mode 2 only: the last 8 characters of the Route-B ID

    @property
    def address(self) -> IPv6Address:
        """The link-local address to join."""
        return link_local(self.mac)

    @property
    def signal_dbm(self) -> float | None:
        """The received power in dBm, None where the module did not tell."""
        return None if self.lqi is None else signal_dbm(self.lqi)


class PanCollector:
    """Puts EPANDESC blocks together from the lines as they come.

    The header may be missing, and six or seven fields come by dialect: a block ends at the first line that is no field,
    or at a key it has already.
    """

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}

    def add(self, line: Line) -> PanDescription | None:
        """Take the next line; return the description that it ended, if any."""
        if not isinstance(line, PanField):
            return self.close()
        finished = self.close() if line.key == "Channel" or line.key in self._fields else None
        self._fields[line.key] = line.value
        return finished

    def close(self) -> PanDescription | None:
        """End the block under way; return its description, None where there is no (whole) block."""
        fields, self._fields = self._fields, {}
        if not fields:
            return None
        try:
            return _described(fields)
        except (KeyError, ValueError):
            logger.debug("dropped an EPANDESC block that has only %s, or values that are not hex", ", ".join(fields))
            return None


def _described(fields: dict[str, str]) -> PanDescription:
    """Build the description. Raises: KeyError, ValueError: a field that joining needs is missing, or one is broken."""
    return PanDescription(
        channel=_number(fields["Channel"], 2),
        pan_id=_number(fields["Pan ID"], 4),
        mac=_number(fields["Addr"], 16).to_bytes(8),
        lqi=_number(fields["LQI"], 2) if "LQI" in fields else None,
        side=_number(fields["Side"], 1) if "Side" in fields else None,
        pair_id=fields.get("PairID"),
    )


def _number(text: str, digits: int) -> int:
    # The exact width: a line that lost a digit is no smaller number. int() alone would also take "+1" and "1_0".
    if len(text) != digits or not set(text) <= _HEX_DIGITS:
        raise ValueError(f"not {digits} hex digits")
    return int(text, 16)


_HEX_DIGITS = frozenset("0123456789ABCDEFabcdef")
