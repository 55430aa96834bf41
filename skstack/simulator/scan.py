"""How a simulated module scans: channel after channel, each beacon in the time of its channel.

Source: BP35A1 command reference 4.12. The times within a channel are those of a log of a BP35A1, whose scan of duration
6 printed EVENT 20 early and EPANDESC at the end of the channel, 0.65 s later, and EVENT 22 after the last channel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from skstack.simulator.faults import Faults
from skstack.simulator.lines import Beacon, Printer
from skstack.simulator.models import Timing
from skstack.simulator.settings import CHANNELS
from skstack.simulator.uart import Agenda, Life

ENERGY, WITH_PAIRING_ID, WITHOUT = 0, 2, 3  # the modes


class Scanner:
    """Hears the beacons that are in the air, in their order."""

    def __init__(
        self, *, printer: Printer, timing: Timing, agenda: Agenda, faults: Faults, say: Callable[[bytes, float], float]
    ) -> None:
        """Print through *say* what is heard."""
        self._printer = printer
        self._timing = timing
        self._agenda = agenda
        self._faults = faults
        self._say = say
        self._scanning: Life | None = None

    def scan(self, mode: int, mask: int, duration: int, beacons: Sequence[Beacon], at: float, boot: Life) -> None:
        """Listen for *beacons* on the channels of *mask*. While a scan runs, another is not begun.

        The second one is answered OK all the same, and the EVENT 22 that comes is the first one's: seen on a BP35A1.
        """
        if self._scanning is boot:
            return
        self._scanning = boot
        channel_s = self._timing.scan_channel_s(duration)
        listened = [channel for channel in CHANNELS if mask >> (channel - CHANNELS[0]) & 1]
        heard = [] if mode == ENERGY or self._faults.scan_misses() else self._heard(beacons, len(listened))
        for number, channel in enumerate(listened):
            for beacon in heard:
                if beacon.channel == channel:
                    self._plan_beacon(beacon, mode, at + number * channel_s, channel_s, boot)
        end_at = at + len(listened) * channel_s
        self._agenda.plan(end_at, lambda now: self._end(mode, listened, now), boot)
        if heard and self._faults.describes_late():
            self._plan_beacon(heard[0], mode, end_at, self._timing.scan_gap_s, boot)

    def _heard(self, beacons: Sequence[Beacon], channels: int) -> list[Beacon]:
        return [beacon for beacon in beacons if self._faults.hearing(beacon, channels)]

    def _plan_beacon(self, beacon: Beacon, mode: int, start: float, channel_s: float, boot: Life) -> None:
        event = self._printer.event(0x20, self._printer.own_address)
        description = self._printer.description(beacon, with_pairing_id=mode == WITH_PAIRING_ID)
        self._agenda.plan(start + 0.1 * channel_s, lambda now: self._say(event, now), boot)
        self._agenda.plan(start + channel_s, lambda now: self._say(description, now), boot)

    def _end(self, mode: int, listened: list[int], at: float) -> None:
        self._scanning = None
        if mode == ENERGY:
            self._say(self._printer.event(0x1F, self._printer.own_address), at)
            self._say(self._printer.energy(listened), at)
        else:
            self._say(self._printer.event(0x22, self._printer.own_address), at)
