"""A simulated low-voltage smart meter: ECHONET Lite object 0288. Datagrams in, datagrams out.

It has no clock and does no I/O: each call is given the time, Unix seconds. Its own clock shows Japan time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from skstack.echonet.frame import (
    CONTROLLER,
    METER,
    NODE_PROFILE,
    Esv,
    Frame,
    Property,
    encode_property_map,
)
from skstack.errors import FrameError
from skstack.simulator.habits import Habit
from skstack.simulator.household import Household
from skstack.simulator.options import MeterOptions
from skstack.simulator.registers import (
    HALF_HOUR_S,
    HISTORY_DAYS,
    NEVER_SET,
    WS_A_KWH,
    Registers,
    can_choose,
    encode_time,
    half_hour_before,
)

_INSTANCE_LIST = b"\x01" + METER
_NOTIFIED_WITHIN_S = 240  # a real meter sends its half-hour values within five minutes
_CHOICES = {0xED: (12, (0, 30)), 0xEF: (10, range(60))}  # of histories 2 and 3: the most items, and the minutes


class SimulatedMeter:
    """The meter. *installed_at* (Unix seconds) is when its registers begin; the household's own start by default."""

    def __init__(
        self,
        household: Household,
        options: MeterOptions | None = None,
        *,
        installed_at: float | None = None,
        habits: Iterable[Habit] = (),
    ) -> None:
        """Install the meter at *household*; *habits* apply to everything it sends while it serves."""
        self.household = household
        self.habits = list(habits)
        self.options = options or MeterOptions()
        self.installed_at = float(household.since if installed_at is None else installed_at)
        self.earlier: list[Registers] = []  # of the meters that were installed before
        self.confirmed_tids: list[int] = []  # of the INFCs that got a response
        self._begin(self.options.start_import_kwh, self.options.start_export_kwh)

    @property
    def generation(self) -> int:
        """How often the meter was exchanged: a new one knows no old session."""
        return len(self.earlier)

    def exchange(self, at: float, **changes: Any) -> None:
        """Install another meter in its place, which knows nothing of the session and the history of the old one.

        *changes* are fields of MeterOptions: what is different with it. By default that is the serial number alone, and
        its registers stand at zero.
        """
        usual = {"serial_number": "SIM0000002", "start_import_kwh": 0, "start_export_kwh": 0}
        self.options = replace(self.options, **{**usual, **changes})
        self.earlier.append(self.registers)
        self.installed_at = at
        self.habits = []
        self._begin(self.options.start_import_kwh, self.options.start_export_kwh)

    def _begin(self, import_kwh: int, export_kwh: int) -> None:
        """Start as a meter that has counted so much."""
        import_ws, export_ws = self.household.energy_ws(self.installed_at)
        zero_ws = import_ws - import_kwh * WS_A_KWH, export_ws - export_kwh * WS_A_KWH
        self.registers = Registers(self.household, self.installed_at, self.options, zero_ws)
        self._tid = 0
        self._day = 0xFF
        self._chosen = dict.fromkeys((0xED, 0xEF) if self.options.second_generation else (0xED,), NEVER_SET)

    # --- announcements

    def instance_list(self) -> bytes:
        """Return the announcement of its objects that follows a join, to everybody."""
        announced = (Property(0xD5, _INSTANCE_LIST),)
        return Frame(self._next_tid(), NODE_PROFILE, NODE_PROFILE, Esv.INF, announced).to_bytes()

    def next_half_hour(self, after: float) -> float:
        """Return when the half-hour values are next announced, later than *after*."""
        boundary = half_hour_before(after)
        while True:
            delay_s = self.options.notification_delay_s
            if delay_s is None:
                delay_s = 15 + boundary // HALF_HOUR_S * 37 % (_NOTIFIED_WITHIN_S - 15)
            if boundary + delay_s > after:
                return boundary + delay_s
            boundary += HALF_HOUR_S

    def half_hour(self, at: float) -> bytes | None:
        """Return the announcement of the registers at the last :00 or :30: those of EA and EB that the meter has."""
        readers = self._readers()
        announced = [Property(epc, readers[epc](at)) for epc in (0xEA, 0xEB) if epc in readers]
        if not announced:
            return None
        esv = Esv.INFC if self.options.confirmed_notifications else Esv.INF
        return Frame(self._next_tid(), METER, CONTROLLER, esv, tuple(announced)).to_bytes()

    def _next_tid(self) -> int:
        tid = self._tid
        self._tid = (self._tid + 1) & 0xFFFF
        return tid

    # --- requests

    def respond(self, payload: bytes, at: float) -> bytes | None:
        """Return the response to a datagram; None: it is broken, for somebody else, or requires none."""
        try:
            request = Frame.from_bytes(payload)
        except FrameError:
            return None
        if request.deoj != METER:
            return None
        response = None
        match request.esv:
            case Esv.GET:
                response = self._read(request, at)
            case Esv.SET_C:
                response = self._write(request)
            case Esv.INFC_RES:
                self.confirmed_tids.append(request.tid)
        return response.to_bytes() if response else None

    def _read(self, request: Frame, at: float) -> Frame:
        """Read what can be read; other properties, and those beyond most_properties, come back without data."""
        readers, read = self._readers(), []
        for number, wanted in enumerate(request.properties):
            reader = readers.get(wanted.epc) if number < self.options.most_properties else None
            read.append(Property(wanted.epc, reader(at) if reader else b""))
        complete = all(found.edt for found in read)
        return request.response(Esv.GET_RES if complete else Esv.GET_SNA, tuple(read))

    def _write(self, request: Frame) -> Frame:
        """Write what may be written; the others come back with their data."""
        done = [self._write_one(wanted) for wanted in request.properties]
        results = tuple(
            Property(wanted.epc) if is_done else wanted
            for wanted, is_done in zip(request.properties, done, strict=True)
        )
        return request.response(Esv.SET_RES if all(done) else Esv.SET_C_SNA, results)

    def _write_one(self, wanted: Property) -> bool:
        if wanted.epc == 0xE5 and len(wanted.edt) == 1 and wanted.edt[0] <= HISTORY_DAYS:
            self._day = wanted.edt[0]
        elif wanted.epc in self._chosen and can_choose(wanted.edt, *_CHOICES[wanted.epc]):
            self._chosen[wanted.epc] = wanted.edt
        else:
            return False
        return True

    # --- properties

    def _readers(self) -> Readers:
        """Return every property that can be read, by EPC, each with what reads it."""
        options, registers = self.options, self.registers
        maker = options.maker.to_bytes(3, "big")
        readers: Readers = {
            0x80: lambda _: b"\x30",
            0x81: lambda _: b"\x61",
            0x82: lambda _: b"\x00\x00R\x01" if options.second_generation else b"\x00\x00F\x00",
            0x88: lambda _: b"\x42",
            0x8A: lambda _: maker,
            0x8D: lambda _: options.serial_number.encode("ascii").ljust(12, b"\x00"),
            0x97: lambda at: encode_time(at)[4:6],
            0x98: lambda at: encode_time(at)[:4],
            0xD3: lambda _: options.coefficient.to_bytes(4, "big"),
            0xD7: lambda _: bytes((options.digits,)),
            0xE0: lambda at: registers.value(at, now=at),
            0xE1: lambda _: bytes((options.unit_code,)),
            0xE2: lambda at: registers.day(self._day, at),
            0xE5: lambda _: bytes((self._day,)),
            0xE7: lambda at: self.household.power_w(at).to_bytes(4, "big", signed=True),
            0xE8: self._currents,
            0xEA: lambda at: registers.fixed(at),
            0xEC: lambda at: registers.back_from(self._chosen[0xED], HALF_HOUR_S, at),
            0xED: lambda _: self._chosen[0xED],
        }
        if options.measures_export:
            readers[0xE3] = lambda at: registers.value(at, now=at, export=True)
            readers[0xE4] = lambda at: registers.day(self._day, at, export=True)
            readers[0xEB] = lambda at: registers.fixed(at, export=True)
        if options.second_generation:
            readers[0xC0] = lambda _: b"\x00" + maker + b"\x00" * 11 + b"\x01"
            readers[0xD0] = registers.minute
            readers[0xEE] = lambda at: registers.back_from(self._chosen[0xEF], 60, at)
            readers[0xEF] = lambda _: self._chosen[0xEF]
        return self._with_maps({epc: reader for epc, reader in readers.items() if epc not in options.lacks})

    def _with_maps(self, readers: Readers) -> Readers:
        """Return *readers* and what lists them: the property maps."""
        readable = {*readers, 0x9D, 0x9E, 0x9F}
        # 81, the place of installation, is in the set map of every captured meter. Writing it is refused here all the
        # same, so that a driver which does it is noticed.
        return readers | {
            0x9D: lambda _: encode_property_map({0x80, 0x81, 0x88}),
            0x9E: lambda _: encode_property_map({0x81, 0xE5, *self._chosen}),
            0x9F: lambda _: encode_property_map(readable),
        }

    def _currents(self, at: float) -> bytes:
        r_phase, t_phase = self.household.currents_da(at)
        if self.options.two_wire:
            return (r_phase + t_phase).to_bytes(2, "big", signed=True) + b"\x7f\xfe"
        return r_phase.to_bytes(2, "big", signed=True) + t_phase.to_bytes(2, "big", signed=True)


Readers = dict[int, Callable[[float], bytes]]
"""What reads each property at a given time, by EPC."""
