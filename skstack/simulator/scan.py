"""How a simulated module scans: channel after channel, each beacon in the time of its channel.

Source: BP35A1 command reference 4.12. The times within a channel are those of a log of a BP35A1, whose scan of duration
6 printed EVENT 20 early and EPANDESC at the end of the channel, 0.65 s later, and EVENT 22 after the last channel.
"""

from __future__ import annotations

from collections.abc import Sequence

from skstack.simulator.air import Air
from skstack.simulator.lines import Beacon
from skstack.simulator.settings import CHANNELS
from skstack.simulator.uart import Life

WITH_PAIRING_ID, WITHOUT = 2, 3  # the modes


class Scanner:
    """Hears the beacons that are in the *air*, in their order."""

    def __init__(self, air: Air) -> None:
        """Start with no scan under way."""
        self._air = air
        self._scanning: Life | None = None

    def scan(self, mode: int, mask: int, duration: int, beacons: Sequence[Beacon], at: float) -> None:
        """Listen for *beacons* on the channels of *mask*. While a scan runs, another is not begun.

        The second one is answered OK all the same, and the EVENT 22 that comes is the first one's: seen on a BP35A1.
        """
        air = self._air
        if self._scanning is air.boot:
            return
        self._scanning = air.boot
        channel_s = air.timing.scan_channel_s(duration)
        listened = [channel for channel in CHANNELS if mask >> (channel - CHANNELS[0]) & 1]
        heard = air.faults.hearing(beacons, len(listened))
        for number, channel in enumerate(listened):
            for beacon in heard:
                if beacon.channel == channel:
                    self._plan_beacon(beacon, mode, at + number * channel_s, channel_s)
        end_at = at + len(listened) * channel_s
        air.agenda.plan(end_at, self._end, air.boot)
        if heard and air.faults.describes_late():
            self._plan_beacon(heard[0], mode, end_at, air.timing.scan_gap_s)

    def _plan_beacon(self, beacon: Beacon, mode: int, start: float, channel_s: float) -> None:
        air = self._air
        air.plan_line(start + 0.1 * channel_s, air.printer.event(0x20, air.printer.own_address))
        description = air.printer.description(beacon, with_pairing_id=mode == WITH_PAIRING_ID)
        air.plan_line(start + channel_s, description)

    def _end(self, at: float) -> None:
        self._scanning = None
        self._air.say(self._air.printer.event(0x22, self._air.printer.own_address), at)
