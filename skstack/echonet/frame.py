"""ECHONET Lite frames: bytes to values and back. No units and no meaning of a property: see properties.py.

Layout, big endian: 10 81, TID 2, SEOJ 3, DEOJ 3, ESV 1, OPC 1, then OPC times (EPC 1, PDC 1, EDT of PDC bytes). The
SetGet family, which has two such lists, is none that we speak.
Source: ECHONET Lite Specification 1.12, part 2, chapter 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from skstack.errors import FrameError

_FORMAT_1 = 0x1081
_HEADER = Struct(">HH3s3sBB")  # EHD, TID, SEOJ, DEOJ, ESV, OPC
_EOJ_BYTES = 3
_FIRST_EPC = 0x80  # part 2, 3.2.7: the top bit of an EPC is always set
_LAST_EPC = 0xFF

SET_ALLOWED = frozenset({0xE5})
"""The only property we ever write: which day of its history the meter gives next. It belongs to the utility."""

MAX_GET_PROPERTIES = 6
"""What a meter must take in one Get. Source: low-voltage meter AIF specification 1.01, section 2.4.4."""

_SECRET_EPCS = frozenset({0xC0})  # the Route-B identification number; see errors.may_hold_secret


def check_length(name: str, edt: bytes, length: int) -> None:
    """Check that *edt* has exactly *length* bytes.

    Raises: FrameError: it has not; the text gives *name* and both lengths.
    """
    if len(edt) != length:
        raise FrameError(f"{name} is {length} bytes, not {len(edt)}", edt)


Eoj = bytes
"""An ECHONET object: class group, class and instance, a byte each. Source: part 2, 3.2.4."""

CONTROLLER = bytes.fromhex("05FF01")
METER = bytes.fromhex("028801")
NODE_PROFILE = bytes.fromhex("0EF001")


class Esv(IntEnum):
    """What a frame requests or responds, of what we speak; SNA: refused, or only partly done. Source: part 2, 3.2.5."""

    SET_C_SNA = 0x51
    GET_SNA = 0x52
    SET_C = 0x61
    GET = 0x62
    SET_RES = 0x71
    GET_RES = 0x72
    INF = 0x73
    INFC = 0x74
    INFC_RES = 0x7A


_ESV_BY_CODE: Mapping[int, Esv] = {esv.value: esv for esv in Esv}  # a dict is several times faster than Esv(code)
_REFUSALS = frozenset({Esv.SET_C_SNA, Esv.GET_SNA})
_RESPONSES: Mapping[Esv, frozenset[Esv]] = {  # to our requests, refusals included
    Esv.SET_C: frozenset({Esv.SET_RES, Esv.SET_C_SNA}),
    Esv.GET: frozenset({Esv.GET_RES, Esv.GET_SNA}),
}


class Property(NamedTuple):
    """One property of a frame: its code and its data, which is empty in a request and for "refused" or "done"."""

    epc: int
    edt: bytes = b""

    def __repr__(self) -> str:
        shown = "****" if self.epc in _SECRET_EPCS and self.edt else self.edt.hex().upper()
        return f"Property({self.epc:02X}: {shown})"

    def to_bytes(self) -> bytes:
        """Return EPC, PDC and EDT. Raises: ValueError: no EPC, or an EDT that is too long."""
        epc, edt = self
        if not _FIRST_EPC <= epc <= _LAST_EPC:
            raise ValueError(f"an EPC is 80 to FF, not {epc:X}")
        if len(edt) > 0xFF:
            raise ValueError(f"EDT of {epc:02X} is at most 255 bytes, not {len(edt)}")
        return bytes((epc, len(edt))) + edt


class Frame(NamedTuple):
    """An ECHONET Lite format 1 frame. Source: part 2, chapter 3."""

    tid: int
    seoj: Eoj
    deoj: Eoj
    esv: Esv
    properties: tuple[Property, ...]

    # --- our requests

    @classmethod
    def get(cls, tid: int, epcs: Iterable[int]) -> Frame:
        """Return a request for the properties *epcs*, in that order.

        Raises: ValueError: none, more than MAX_GET_PROPERTIES, or one twice.
        """
        requested = tuple(map(Property, epcs))
        if not 1 <= len(requested) <= MAX_GET_PROPERTIES:
            raise ValueError(f"a Get asks for 1 to {MAX_GET_PROPERTIES} properties, not {len(requested)}")
        if len(set(requested)) != len(requested):
            raise ValueError("a Get asks for each property once")
        return cls(tid, CONTROLLER, METER, Esv.GET, requested)

    @classmethod
    def set_c(cls, tid: int, epc: int, edt: bytes) -> Frame:
        """Return a request to write *edt* to the meter, and to respond.

        Raises: ValueError: *epc* is not in SET_ALLOWED.
        """
        if epc not in SET_ALLOWED:
            raise ValueError(f"EPC {epc:02X} of the meter is not ours to write")
        return cls(tid, CONTROLLER, METER, Esv.SET_C, (Property(epc, edt),))

    # --- responses

    def response(self, esv: Esv, properties: tuple[Property, ...]) -> Frame:
        """Return a response to this frame: same TID, the two objects swapped."""
        return Frame(self.tid, self.deoj, self.seoj, esv, properties)

    def infc_response(self) -> Frame:
        """Return the response that an INFC requires: same TID, objects swapped, the same EPCs in order, no data.

        Raises: ValueError: this frame is no INFC.
        Source: part 2, 4.2.3.5.
        """
        if self.esv is not Esv.INFC:
            raise ValueError(f"only an INFC wants an INFC_RES, not {self.esv.name}")
        return self.response(Esv.INFC_RES, tuple(Property(announced.epc) for announced in self.properties))

    def matches(self, request: Frame) -> bool:
        """Return whether this frame responds to *request*: ESV, TID, both objects, and no property not requested.

        Some may be missing: meters leave out what is beyond the number they give at once.
        """
        if self.esv not in _RESPONSES.get(request.esv, ()):
            return False
        if self.tid != request.tid or self.seoj != request.deoj or self.deoj != request.seoj:
            return False
        requested = [each.epc for each in request.properties]
        return all([given.epc in requested for given in self.properties])

    def edt_by_epc(self) -> dict[int, bytes]:
        """Return the data that came, by EPC; a property without data (unsupported, in a Get_SNA) is left out.

        Raises: FrameError: two different values for one EPC. To take the first would be to guess which is true.
        """
        edts = {found.epc: found.edt for found in self.properties if found.edt}
        if len(edts) != len(self.properties) and len(edts) != len({found for found in self.properties if found.edt}):
            raise FrameError("two values for one property", self.to_bytes())
        return edts

    # --- bytes

    def to_bytes(self) -> bytes:
        """Return the frame as it travels in the datagram. Raises: ValueError: it cannot."""
        tid, seoj, deoj, esv, properties = self
        if not 0 <= tid <= 0xFFFF:
            raise ValueError(f"a TID is 16 bits, not {tid}")
        if not len(seoj) == len(deoj) == _EOJ_BYTES:
            raise ValueError(f"an EOJ is three bytes, not {seoj.hex()} or {deoj.hex()}")
        fewest = 0 if esv in _REFUSALS else 1  # some meters refuse without a list
        if not fewest <= len(properties) <= 0xFF:
            raise ValueError(f"a frame carries {fewest} to 255 properties, not {len(properties)}")
        header = _HEADER.pack(_FORMAT_1, tid, seoj, deoj, esv, len(properties))
        return header + b"".join(map(Property.to_bytes, properties))

    @classmethod
    def from_bytes(cls, data: bytes) -> Frame:
        """Read one whole frame.

        Raises: FrameError: wrong header, unknown ESV, no property, truncated, or bytes left over.
        """
        if len(data) < _HEADER.size:
            raise FrameError(f"a frame has at least {_HEADER.size} bytes, not {len(data)}", data)
        ehd, tid, seoj, deoj, esv_code, count = _HEADER.unpack_from(data)
        if ehd != _FORMAT_1:
            raise FrameError(f"header is {ehd:04X}, not {_FORMAT_1:04X}", data)
        esv = _ESV_BY_CODE.get(esv_code)
        if esv is None:
            raise FrameError(f"unknown ESV {esv_code:02X}", data)
        properties, end = _read_properties(data, _HEADER.size, count)
        if end != len(data):
            raise FrameError(f"{len(data) - end} bytes left over", data)
        if not properties and esv not in _REFUSALS:
            raise FrameError("a frame without a property", data)
        return cls(tid, seoj, deoj, esv, properties)


def _read_properties(data: bytes, start: int, count: int) -> tuple[tuple[Property, ...], int]:
    """Return *count* properties from *start* on, and where they end."""
    properties: list[Property] = []
    for _ in range(count):
        edt_start = start + 2
        if edt_start > len(data):
            raise FrameError(f"{count} properties announced, {len(properties)} there", data)
        epc, end = data[start], edt_start + data[start + 1]
        if end > len(data):  # a slice past the end would succeed and be short
            raise FrameError(f"EDT of {epc:02X} is cut short", data)
        if epc < _FIRST_EPC:
            raise FrameError(f"an EPC is 80 to FF, not {epc:02X}", data)
        properties.append(Property(epc, data[edt_start:end]))
        start = end
    return tuple(properties), start


# --- lists inside a property


_MAP_BYTES = 16  # a map of this many EPCs or more is a bitmap


def parse_property_map(edt: bytes) -> frozenset[int]:
    """Return the EPCs of a property map (9D, 9E, 9F).

    Below 16 properties: a count and that many EPCs. From 16 on: the count and 16 bytes, where bit j of byte i stands
    for EPC 80 + 10 * j + i (hex).
    Raises: FrameError: the count disagrees with what follows.
    Source: ECHONET Lite Specification, part 2, 6.11, and its Appendix 1.
    """
    if not edt:
        raise FrameError("an empty property map", edt)
    count, listed = edt[0], edt[1:]
    if count < _MAP_BYTES:
        epcs = frozenset(listed)
        if len(listed) != count or len(epcs) != count or (epcs and min(epcs) < _FIRST_EPC):
            raise FrameError(f"a property map that does not list {count} properties", edt)
        return epcs
    check_length("property map", edt, 1 + _MAP_BYTES)
    epcs = frozenset(
        _FIRST_EPC + 0x10 * bit + low for low, bits in enumerate(listed) for bit in range(8) if bits >> bit & 1
    )
    if len(epcs) != count:
        raise FrameError(f"a property map of {count} properties with {len(epcs)} bits set", edt)
    return epcs


def encode_property_map(epcs: Iterable[int]) -> bytes:
    """Return the property map of *epcs*, in the form their number requires (see parse_property_map).

    Raises: ValueError: an EPC outside 80 to FF.
    """
    ordered = sorted(set(epcs))
    if ordered and not _FIRST_EPC <= ordered[0] <= ordered[-1] <= _LAST_EPC:
        raise ValueError("a property map holds EPCs from 80 to FF only")
    if len(ordered) < _MAP_BYTES:
        return bytes((len(ordered), *ordered))
    bitmap = bytearray(_MAP_BYTES)
    for epc in ordered:
        bitmap[epc & 0x0F] |= 1 << ((epc - _FIRST_EPC) >> 4)
    return bytes((len(ordered),)) + bitmap
