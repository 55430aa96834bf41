"""The meter as the household knows it: who it is, what it measures now, and what it tells every half hour.

Source of the start-up order: AIF specification of the low-voltage meter, sections 3.1.2 and 3.1.3 (protocol facts 3.3).
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from skstack.echonet.device import decode_clock
from skstack.echonet.frame import METER, encode_property_map
from skstack.echonet.history import ScheduledEnergy, decode_scheduled_energy
from skstack.echonet.properties import Epc, MeterIdentity, MeterReading, decode_identity, decode_reading
from skstack.errors import FrameError, SkStackError
from skstack.session import Session

logger = logging.getLogger(__name__)

_CLOCK_TIMEOUT_S = 3.0  # less than makes the first poll's row late

_POLLED = (Epc.POWER, Epc.CURRENTS, Epc.IMPORT_ENERGY, Epc.EXPORT_ENERGY)
_IDENTIFYING = (
    Epc.COEFFICIENT,
    Epc.DIGITS,
    Epc.ENERGY_UNIT,
    Epc.MAKER_CODE,
    Epc.SERIAL_NUMBER,
    Epc.STANDARD_VERSION,
)


@dataclass(frozen=True, slots=True)
class Poll:
    """One answered poll; *arrived_at* is the monotonic time of the answer."""

    reading: MeterReading
    arrived_at: float


@dataclass(frozen=True, slots=True)
class HalfHour:
    """The registers at one :00 or :30, in kWh; export None: the meter does not measure it."""

    registered_at: datetime
    import_kwh: Decimal | None
    export_kwh: Decimal | None


@dataclass(frozen=True, slots=True)
class ShownClock:
    """What the meter's clock showed, to the minute, aware UTC; *read_at* is the monotonic time of the answer."""

    shown: datetime
    read_at: float


class Meter:
    """Asks over a *session*, and asks only for what the meter's own property map (9F) offers."""

    def __init__(self, session: Session, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._session = session
        self._monotonic = monotonic
        self._identified_session = 0
        self._export_is_silent = False
        self._map_session = 0
        self._get_map: frozenset[int] = frozenset()  # empty: not known
        self._refused: set[int] = set()  # what the map offers, but the meter has not got, in this session
        self._has_to_look_at_clock = False
        self.shown_clock: ShownClock | None = None  # when the present session began; None: it did not tell
        self.identity: MeterIdentity | None = None
        self.last_poll: Poll | None = None

    def offers(self, epc: int) -> bool:
        """Whether the meter can be asked for *epc*; True while its property map is not known."""
        if epc in self._refused:
            return False
        return self.identity is None or not self.identity.get_map or epc in self.identity.get_map

    @property
    def measures_export(self) -> bool:
        """Whether the meter counts what the household sells: it has the register, and not only "no data" in it."""
        return self.offers(Epc.SCHEDULED_EXPORT) and not self._export_is_silent

    @property
    def has_clock(self) -> bool:
        """Whether the meter can be asked for its time."""
        return self.offers(Epc.CLOCK_TIME) and self.offers(Epc.CLOCK_DATE)

    @property
    def is_identified(self) -> bool:
        """Whether it is known who answers in the present session, and how its registers count."""
        known = self.identity is not None and self.identity.scale is not None
        return known and self._identified_session == self._session.number

    def identify(self, *, until: float) -> MeterIdentity:
        """Return who the meter is; asks once a session, since the meter may have been exchanged between two.

        Raises: as Session.get.
        """
        if self.identity is None or not self.is_identified:
            session_number = self._session.number
            if self._map_session != session_number:  # kept, should a slow meter not answer the rest in this round
                values = self._session.get((Epc.GET_MAP,), until=until)
                self._get_map = _believable(decode_identity(values).get_map)
                self._refused = set()
                self._map_session = session_number
            asked = [epc for epc in _IDENTIFYING if not self._get_map or epc in self._get_map]
            values = self._read(asked, until)
            if self._get_map:
                values[Epc.GET_MAP] = encode_property_map(self._get_map - self._refused)
            identity = decode_identity(values)
            if self.identity is not None and identity.serial_number != self.identity.serial_number:
                self._session.notifications.clear()  # told by the meter that was installed before
            self.identity = identity
            self._identified_session = session_number
            self.shown_clock = None
            self._has_to_look_at_clock = True
            logger.info("the meter: maker %s, release %s", identity.manufacturer, identity.release)
        return self.identity

    def _look_at_clock(self, until: float) -> None:
        """Read the meter's clock after the first poll of a session; a response that does not come soon is left."""
        self._has_to_look_at_clock = False
        with contextlib.suppress(SkStackError):
            shown = self.read_clock(until=min(until, self._monotonic() + _CLOCK_TIMEOUT_S))
            self.shown_clock = ShownClock(shown, self._monotonic()) if shown else None

    def poll(self, *, until: float) -> Poll | None:
        """Read power, currents and registers in one request; None if the meter answered without a single value.

        Raises: as Session.get: no answer by *until* (monotonic), or no link.
        """
        identity = self.identify(until=until)
        values = self._read([epc for epc in _POLLED if self.offers(epc)], until)
        reading = decode_reading(values, identity.scale)
        if reading == MeterReading(None, None, None, None, None):
            return None
        if identity.scale is not None and (Epc.EXPORT_ENERGY in values or Epc.EXPORT_ENERGY in self._refused):
            self._export_is_silent = reading.export_kwh is None
        self.last_poll = poll = Poll(reading, self._monotonic())
        if self._has_to_look_at_clock:
            self._look_at_clock(until)
        return poll

    def _read(self, epcs: Sequence[int], until: float) -> dict[int, bytes]:
        """Read *epcs*. What does not come is asked for once more, alone; refused again, not any more in this session.

        Raises: as Session.get.
        """
        values = self._session.get(epcs, until=until) if epcs else {}
        for epc in epcs:
            if epc not in values:
                alone = self._session.get((epc,), until=until)
                values.update(alone)
                if not alone:
                    logger.log(
                        logging.WARNING if self._get_map else logging.DEBUG,
                        "the meter offers %02X in its property map, but has no such property",
                        epc,
                    )
                    self._refused.add(epc)
        return values

    def read_clock(self, *, until: float) -> datetime | None:
        """Return the meter's own time (97, 98), to the minute; None: it has no clock. Raises: as Session.get."""
        if not self.has_clock:
            return None
        return _clock(self._session.get((Epc.CLOCK_TIME, Epc.CLOCK_DATE), until=until, background=True))

    def read_half_hour(self, *, until: float) -> HalfHour | None:
        """Ask for the registers of the last :00 or :30 (EA, EB). Raises: as Session.get."""
        asked = [epc for epc in (Epc.SCHEDULED_IMPORT, Epc.SCHEDULED_EXPORT) if self.offers(epc)]
        return self._half_hour(self._session.get(asked, until=until, background=True))

    def take_half_hours(self) -> list[HalfHour]:
        """Return what the meter has told unasked since the last call. It is kept until the meter is identified."""
        if not self.is_identified:
            return []
        told = []
        while self._session.notifications:
            notification = self._session.notifications.popleft()
            if notification.source == METER:
                half_hour = self._half_hour(notification.values)
                if half_hour is not None:
                    told.append(half_hour)
        return told

    def _half_hour(self, values: Mapping[int, bytes]) -> HalfHour | None:
        """Decode EA and EB; None: missing, broken, of two different times, or without a direction it measures."""
        identity = self.identity
        if identity is None or identity.scale is None:
            return None
        imported = _scheduled(values, Epc.SCHEDULED_IMPORT)
        exported = _scheduled(values, Epc.SCHEDULED_EXPORT)
        times = {told.registered_at for told in (imported, exported) if told is not None}
        if len(times) != 1 or imported is None or imported.raw is None:
            return None
        export_raw = exported.raw if exported is not None else None
        if export_raw is None and self.measures_export:
            return None
        return HalfHour(times.pop(), identity.scale.kwh(imported.raw), identity.scale.kwh(export_raw))


def _clock(values: Mapping[int, bytes]) -> datetime | None:
    try:
        return decode_clock(values[Epc.CLOCK_TIME], values[Epc.CLOCK_DATE])
    except (KeyError, FrameError):
        return None


def _believable(get_map: frozenset[int]) -> frozenset[int]:
    """Return *get_map*, or an empty one, which means not known, if it is none that a meter can have."""
    return get_map if Epc.ENERGY_UNIT in get_map and get_map & {Epc.POWER, Epc.IMPORT_ENERGY} else frozenset()


def _scheduled(values: Mapping[int, bytes], epc: int) -> ScheduledEnergy | None:
    try:
        return decode_scheduled_energy(values[epc])
    except KeyError:
        return None
    except FrameError as error:
        logger.warning("a half-hour register is dropped: %s", error)
        return None
