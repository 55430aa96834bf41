"""The meter as the household knows it: who it is, what it measures now, and what it announces every half hour.

A session begins with a poll; who the meter is, and all that is not urgent, is read after it, in learn().
Source of the properties: AIF specification of the low-voltage meter 1.01, sections 3.1.2 and 3.1.3.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from backoff import Backoff
from skstack.capability import Capability
from skstack.echonet.device import decode_clock
from skstack.echonet.frame import parse_property_map
from skstack.echonet.identity import MeterIdentity, Recognition, decode_identity
from skstack.echonet.properties import Epc, HalfHour, MeterReading, decode_half_hour, decode_reading, decoded, warn
from skstack.echonet.registers import EnergyScale
from skstack.echonet.request import Response
from skstack.errors import FrameError, SessionLostError, SkStackError, StoppedError
from skstack.reader import Reader
from skstack.session import Session

logger = logging.getLogger(__name__)

_POLLED = (Epc.POWER, Epc.CURRENTS, Epc.IMPORT_ENERGY, Epc.EXPORT_ENERGY)
_SCALE = (Epc.COEFFICIENT, Epc.ENERGY_UNIT)  # read with the first poll of an unknown meter
_IDENTITY = (*_SCALE, Epc.DIGITS, Epc.MAKER_CODE, Epc.SERIAL_NUMBER, Epc.STANDARD_VERSION)
_TELLTALES = (Epc.SERIAL_NUMBER, Epc.ENERGY_UNIT)  # and with the first poll of a session with a known one
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 60.0, 3600.0  # between two attempts to learn what did not come
_SHORT_PAUSE_S = 10.0  # where somebody waits: a meter that has just started refuses everything for a minute
_NO_READING = MeterReading(None, None, None, None, None)
_MOST_RESPONSES = 3  # read in one go to learn who the meter is: one may be wrong


@dataclass(frozen=True, slots=True)
class Poll:
    """One poll; *sent_at* is the monotonic time of the request, *arrived_at* that of the response."""

    reading: MeterReading
    sent_at: float
    arrived_at: float


@dataclass(frozen=True, slots=True)
class ShownClock:
    """What the meter's clock showed, to the minute, aware UTC; *read_at* is the monotonic time of the response."""

    shown: datetime
    read_at: float


class Meter:
    """Reads over a *session* only what the meter's property map (9F) offers and the meter did not refuse lately."""

    def __init__(self, session: Session, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._session = session
        self._monotonic = monotonic
        self._capability = Capability(monotonic)
        self._reader = Reader(session.get, self._capability, timings=session.timings, monotonic=monotonic)
        self._identity = Recognition()
        self._session_number = 0
        self._renewals = 0
        self._mac = b""
        self._to_learn: list[Callable[..., object]] = []  # what is still to be learnt in this session
        self._learn_at = float("-inf")
        self._backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        self._telltales: tuple[Epc, ...] = ()
        self._has_export_data: bool | None = None  # in its register; None: not read yet
        self._broken: set[int] = set()  # properties whose data mean nothing
        self._introduced: MeterIdentity | None = None  # the one that the log has named
        self._introduced_in = 0  # the session in which that one has said who it is
        self._lacks_until = float("-inf")  # before that, nothing that it refused, or that meant nothing, is read again
        self._has_missed_scale = False
        self.shown_clock: ShownClock | None = None  # in the present session; None: it did not give the time
        self.last_poll: Poll | None = None
        self.last_half_hour: HalfHour | None = None

    # --- what is known

    @property
    def identity(self) -> MeterIdentity | None:
        """Who the meter is, as far as it is known."""
        return self._identity.known

    @property
    def identified_at(self) -> float:
        """When that meter was first seen (monotonic)."""
        return self._identity.since

    def offers(self, epc: int) -> bool:
        """Whether *epc* can be read; True while the property map is not known."""
        return self._capability.offers(epc)

    def lists(self, *epcs: int) -> bool:
        """Whether the property map offers all of *epcs*; False while it is not known."""
        return self._capability.lists(*epcs)

    @property
    def export_is_silent(self) -> bool:
        """Whether the register of what the household sells never held anything but "no data"."""
        return self._has_export_data is False

    @property
    def measures_export(self) -> bool:
        """Whether the meter counts what the household sells: it gives the register, and not only "no data" in it."""
        is_given = self.offers(Epc.SCHEDULED_EXPORT) and not self._capability.is_refused(Epc.EXPORT_ENERGY)
        return is_given and not self.export_is_silent

    @property
    def has_clock(self) -> bool:
        """Whether the meter's time can be read."""
        return self.offers(Epc.CLOCK_TIME) and self.offers(Epc.CLOCK_DATE)

    @property
    def is_known(self) -> bool:
        """Whether the meter's identity was read in this session, and nothing is suspect."""
        return self._introduced_in == self._session.number and self._identity.is_confirmed

    @property
    def has_looked_at_clock(self) -> bool:
        """Whether the meter's time was requested in this session; what it showed is shown_clock."""
        return self._session_number == self._session.number and self.read_clock not in self._to_learn

    @property
    def is_identified(self) -> bool:
        """Whether it is known which meter responds in this session, and how its registers count."""
        return self.is_known and self._scale() is not None

    # --- the poll

    def poll(self, *, until: float) -> Poll | None:
        """Read power, currents and registers; None if the meter responded without a single value.

        What came is a reading, even if not all came. Raises: as Session.get: no response by *until* (monotonic).
        """
        self._notice_session()
        telltales = () if self._reader.is_brief(until) else self._telltales
        epcs = [epc for epc in (*_POLLED, *telltales) if self.offers(epc)] or list(_POLLED)
        was_single = self._reader.is_single
        first, values = self._reader.poll(epcs, until)
        if self._telltales and not telltales and self._scale() is not None:
            self._identity.suspect(self._monotonic())  # who responds was left out of a brief poll, and is read below
        self._telltales = ()
        if self._reader.is_single and not was_single:
            self._learn_at = float("-inf")  # what got no response as a group may get one now
        if telltales:
            self._look_at_telltales(telltales, values)
        if not self._identity.is_sure:  # until two responses agree; if none comes, again after the next poll
            with contextlib.suppress(SkStackError):
                self._learn_identity(until=until)
        poll = Poll(decode_reading(values, self._scale(), report=self._report), first.sent_at, first.arrived_at)
        if poll.reading == _NO_READING:
            return None
        if self._scale() is not None and Epc.EXPORT_ENERGY in values:
            self._has_export_data = bool(self._has_export_data) or poll.reading.export_kwh is not None
        self.last_poll = poll
        return poll

    def take_late_polls(self) -> list[Poll]:
        """Return the polls whose response came after they had been given up, since the last call, oldest first."""
        polls = []
        while self._session.late_responses:
            late = self._session.late_responses.popleft()
            self._reader.note(late)
            self._take_late(late)
            if Epc.POWER not in late.requested:  # part of another poll's reading, no row of its own
                continue
            for telltales in (_SCALE, _TELLTALES):
                if late.requested.issuperset(telltales):
                    self._look_at_telltales(telltales, late.values)
            reading = decode_reading(late.values, self._scale(), report=self._report)
            if reading != _NO_READING:
                polls.append(Poll(reading, late.sent_at, late.arrived_at))
        return polls

    def _report(self, epc: Epc, error: FrameError | None) -> None:
        """Log a property that is broken once, until it can be read again."""
        if error is not None and epc not in self._broken:
            self._broken.add(epc)
            warn(epc, error)
        elif error is None and epc in self._broken:
            self._broken.remove(epc)
            logger.info("EPC %02X can be read again", epc)

    # --- who it is

    @property
    def has_to_learn(self) -> bool:
        """Whether something about this session's meter is not known yet, and it is time to read it (again)."""
        return self._session.up and bool(self._to_learn) and self._monotonic() >= self._learn_at

    def learn(self, *, until: float) -> None:
        """Read the next thing that is not known yet, in the background, for one timeout, or up to *until* (monotonic).

        What is read property by property is given the longest wait. What does not come is requested again after a
        growing pause; the clock is not: whoever needs it reads it.
        Raises: as Session.get.
        """
        self._notice_session()
        read_next = self._to_learn[0]
        timings = self._session.timings
        wait_s = timings.longest_wait_s if self._reader.reads_singly else timings.response_timeout_s
        is_learnt = False
        try:
            is_learnt = bool(read_next(until=min(until, self._monotonic() + wait_s)))
        finally:
            del self._to_learn[0]
            if is_learnt or read_next == self.read_clock:
                self._backoff.succeeded()
            else:
                self._to_learn.append(read_next)  # one that never gets a response holds up no other
                self._learn_at = self._monotonic() + self._backoff.failed()

    def identify(self, *, until: float) -> MeterIdentity:
        """Return who the meter of this session is, also before any poll; may take up to *until* (monotonic).

        A meter that responds without its identity is read again after a pause; one that responds to nothing is given
        the longest wait. Raises: as Session.get.
        """
        backoff = Backoff(_SHORT_PAUSE_S, _FIRST_PAUSE_S)
        silent_until = min(until, self._monotonic() + self._session.timings.longest_wait_s)
        while not self.is_known:
            self._notice_session()
            try:
                self._learn_map(until=silent_until)
                silent_until = until
                self._learn_identity(until=until)
            except (StoppedError, SessionLostError):
                raise
            except SkStackError:
                if self._monotonic() >= silent_until:
                    raise
            else:
                again_at = self._monotonic() + backoff.failed()
                if again_at + self._session.timings.response_timeout_s > until:
                    break
                self._session.run(again_at, done=lambda: self.is_known)
        return self._identity.known or MeterIdentity(None, None, None, None)

    def _note_learnt(self, step: Callable[..., object]) -> None:
        with contextlib.suppress(ValueError):
            self._to_learn.remove(step)

    def _notice_session(self) -> None:
        if self._renewals != self._session.renewals:
            self._renewals = self._session.renewals
            self._capability.forget_refusals()
        peer = self._session.peer
        if self._session_number == self._session.number or peer is None:
            return
        self._session_number = self._session.number
        self._reader.begin_session()
        self._to_learn = [self._learn_map, self.read_clock, self._learn_identity]  # rows may wait for the time
        self._learn_at = float("-inf")
        self._backoff.succeeded()
        self.shown_clock = None
        self._telltales = _TELLTALES if self._scale() is not None else _SCALE
        if self._identity.known is not None and peer.mac != self._mac:
            self._suspect("another MAC address")
        self._mac = peer.mac

    def _suspect(self, reason: str) -> None:
        """Trust no register before the meter's identity has been read again."""
        if self._identity.is_sure:
            logger.info("the meter's identity will be read again: %s", reason)
        self._identity.suspect(self._monotonic())

    def _look_at_telltales(self, requested: Sequence[Epc], values: Mapping[int, bytes]) -> None:
        """Compare what came with the first poll of a session with what is known; or learn how registers count."""
        self._telltales = ()
        known = self._identity.known
        if known is None or requested == _SCALE:
            self._recognise(requested, values)
            return
        seen = decode_identity(values, frozenset({Epc.COEFFICIENT}), report=self._report)
        if seen.serial_number and known.serial_number and seen.serial_number != known.serial_number:
            self._suspect("another serial number")
        if seen.scale and known.scale and seen.scale.unit_kwh != known.scale.unit_kwh:
            self._suspect("another unit")

    def _learn_map(self, *, until: float) -> bool:
        """Read the property map; return whether one came that a meter can have. Raises: as Session.get."""
        return self._learn_map_of(self._reader.read((Epc.GET_MAP,), until))

    def _learn_map_of(self, values: Mapping[int, bytes]) -> bool:
        listed = decoded(values, Epc.GET_MAP, parse_property_map, self._report)
        return self._capability.note_map(listed or frozenset())

    def _learn_identity(self, *, until: float) -> bool:
        """Read the meter's identity; return whether it is now confirmed, and lacks nothing. Raises: as Session.get."""
        if self.is_known and self._monotonic() < self._lacks_until:
            return False
        wanted = [epc for epc in _IDENTITY if self.offers(epc) or epc is Epc.COEFFICIENT]
        for _ in range(_MOST_RESPONSES):  # two must agree before either is believed
            values = self._reader.read(wanted, until)
            if not values:
                return False
            self._recognise(wanted, values)
            if self._identity.is_confirmed:
                break
        if self._scale() is None and self.offers(Epc.ENERGY_UNIT) and self._capability.may_come(Epc.ENERGY_UNIT):
            return False  # read property by property, there was not the time for all
        return self._introduce()

    def _introduce(self) -> bool:
        """Log, once, who the meter is and whether its registers can be read; return as _learn_identity."""
        known, introduced = self._identity.known, self._introduced
        if known is not None and self._identity.is_confirmed and not (introduced and known.agrees(introduced)):
            self._introduced = known
            logger.info("the meter: maker %s, release %s", known.manufacturer, known.release)
        if self._identity.is_sure and self._scale() is None and not self._has_missed_scale:
            self._has_missed_scale = True
            logger.warning(
                "the meter does not give the unit of its registers (E1, D3): power and currents are stored, no energy"
            )
        if not self._identity.is_confirmed:
            return False
        self._introduced_in = self._session.number
        is_refused = any(self.lists(epc) and self._capability.is_refused(epc) for epc in _IDENTITY)
        if is_refused or (self._scale() is None and self.lists(Epc.ENERGY_UNIT)):
            self._lacks_until = self._monotonic() + _LONGEST_PAUSE_S
            return False
        return True

    def _recognise(self, requested: Sequence[int], values: Mapping[int, bytes]) -> None:
        has_none = Epc.COEFFICIENT in requested and not self.offers(Epc.COEFFICIENT)
        refused = self._capability.refused(requested) | ({Epc.COEFFICIENT} if has_none else frozenset())
        seen = decode_identity(values, refused, report=self._report)
        if self._identity.note(seen, self._monotonic()):
            self._session.notifications.clear()  # of the meter that was installed before
            self._has_export_data = None
        if not self._identity.is_confirmed and self._learn_identity not in self._to_learn:
            self._to_learn.append(self._learn_identity)  # its first name came late

    def _take_late(self, late: Response) -> None:
        """Use what came too late for its request: it still shows what the meter offers, its time, and who it is."""
        if Epc.GET_MAP in late.values:
            self._learn_map_of(late.values)
            self._note_learnt(self._learn_map)
        elif Epc.CLOCK_TIME in late.requested:
            self._show_clock(late.values, late.arrived_at)
        elif Epc.SCHEDULED_IMPORT in late.requested:
            self._half_hour(late.values)
        elif late.values and late.requested.issubset(_IDENTITY):
            self._recognise(sorted(late.requested), late.values)
            names = {epc for epc in (Epc.MAKER_CODE, Epc.SERIAL_NUMBER) if self.offers(epc)}
            if late.requested.issuperset(names) and self._introduce():
                self._note_learnt(self._learn_identity)

    def _show_clock(self, values: Mapping[int, bytes], read_at: float) -> datetime | None:
        """Take note of what the meter's clock shows, if that is a time, and return it."""
        with contextlib.suppress(KeyError, FrameError):
            shown = decode_clock(values[Epc.CLOCK_TIME], values[Epc.CLOCK_DATE])
            self.shown_clock = ShownClock(shown, read_at)
            return shown
        return None

    def _scale(self) -> EnergyScale | None:
        return self._identity.known.scale if self._identity.known is not None and self._identity.is_sure else None

    # --- the clock, and what it announces every half hour

    def read_clock(self, *, until: float) -> datetime | None:
        """Return the meter's own time (97, 98), to the minute; None: it has no clock. Raises: as Session.get."""
        if not self.has_clock:
            return None
        values = self._reader.read((Epc.CLOCK_TIME, Epc.CLOCK_DATE), until)
        return self._show_clock(values, self._monotonic())

    def read_half_hour(self, *, until: float) -> HalfHour | None:
        """Read the registers of the last :00 or :30 (EA, EB); None: the meter gives none. Raises: as Session.get."""
        if not self.offers(Epc.SCHEDULED_IMPORT):
            return None
        wanted = [epc for epc in (Epc.SCHEDULED_IMPORT, Epc.SCHEDULED_EXPORT) if self.offers(epc)]
        return self._half_hour(self._reader.read(wanted, until))

    def take_half_hours(self) -> list[HalfHour]:
        """Return what the meter has notified since the last call. It is kept until the meter is identified."""
        if not self.is_identified:
            return []
        notified = []
        while self._session.notifications:
            half_hour = self._half_hour(self._session.notifications.popleft().values)
            if half_hour is not None:
                notified.append(half_hour)
        return notified

    def _half_hour(self, values: Mapping[int, bytes]) -> HalfHour | None:
        half_hour = decode_half_hour(values, self._scale(), needs_export=self.measures_export, report=self._report)
        if half_hour is not None:
            self.last_half_hour = half_hour
        return half_hour
