"""The scan: all channels, longer and longer, until the meter with our pairing ID is heard."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping
from functools import partial

from skstack import commands
from skstack.commands import Command
from skstack.errors import MeterNotFoundError
from skstack.events import Dialect, Event, EventCode, Line, PanDescription, PanField, StatusOk
from skstack.parser import hex_field

logger = logging.getLogger(__name__)

SCAN_DURATIONS = (5, 6, 7, 8)  # 9, 17, 35 and 69 s for 28 channels; each listens twice as long as the one before
_KNOWN_CHANNEL_DURATION = 6  # 0.6 s on the one channel where the meter was last
_LATE_PAN_S = 0.5  # an EPANDESC may come after EVENT 22; transcripts, scan


def scan(
    execute: Callable[[Callable[[Dialect], Command[StatusOk]]], object],
    pairing_id: str,
    *,
    last: PanDescription | None,
    refused_by: Mapping[bytes, int],
    failed_scans: int,
    monotonic: Callable[[], float],
    report: Callable[[str], object],
) -> Generator[float, Line | None, tuple[PanDescription, int]]:
    """Return the PAN with our *pairing_id* that is heard best, and how many other meters were heard.

    Of several, one comes first that has refused us less often: *refused_by* counts that by MAC address.

    *execute* sends a command in the form of the module's dialect. Where the meter was *last* is tried first, for a
    moment, unless another one has refused us, and a scan that fails costs little: it is one only, which grows with the
    *failed_scans* before it. *report* gets a line about each scan. Yields the monotonic time until which it waits for a
    line, and is sent that or None.
    Raises: MeterNotFoundError, and as *execute*.
    """
    collector = PanCollector()  # one for all durations: a late line still counts
    durations = SCAN_DURATIONS if last is None else (SCAN_DURATIONS[failed_scans % len(SCAN_DURATIONS)],)
    attempts = [(duration, commands.ALL_CHANNELS_MASK, len(commands.CHANNELS)) for duration in durations]
    # Another meter there that has refused us would hide ours, which has gone to another channel.
    if last is not None and not refused_by.keys() - {last.mac}:
        attempts.insert(0, (_KNOWN_CHANNEL_DURATION, commands.channel_mask(last.channel), 1))
    for duration, mask, channels in attempts:
        seconds = commands.scan_seconds(duration, channels)
        report(f"scanning {channels} channel(s) for the meter, about {seconds:.0f} s")
        execute(partial(commands.scan, duration=duration, channel_mask=mask))
        yield from _listen(collector, seconds, monotonic)
        ours = [pan for pan in collector.heard if _may_be_ours(pan, pairing_id)]
        if ours:
            best = max(ours, key=lambda pan: (pan.pair_id is not None, -refused_by.get(pan.mac, 0), pan.lqi or 0))
            return best, len({pan.mac for pan in collector.heard} - {best.mac})
    raise MeterNotFoundError(
        "no meter responded to the scan",
        "check the Route-B ID, bring the stick nearer to the meter, and see that the B-route service has begun",
        others=len({pan.mac for pan in collector.heard}),
    )


def _may_be_ours(pan: PanDescription, pairing_id: str) -> bool:
    """Return whether to join *pan*: not another's, nor one whose channel line was damaged.

    Without a PairID, which a scan with our pairing ID prints, it is a last resort: that line was lost, or a firmware
    does not print it.
    """
    return pan.channel in commands.CHANNELS and (pan.pair_id is None or pan.pair_id.upper() == pairing_id)


def _listen(
    collector: PanCollector, seconds: float, monotonic: Callable[[], float]
) -> Generator[float, Line | None, None]:
    """Hand the collector every line, up to EVENT 22 and a little longer.

    No line says which scan it is of. A scan that is ordered while one runs gets its OK and never begins (seen on a
    BP35A1), so whichever EVENT 22 ends: no scan runs behind it, and the next one can begin.
    """
    deadline = monotonic() + seconds * 1.2 + 5.0
    while monotonic() < deadline:
        line = yield deadline
        if line is None:
            continue
        collector.add(line)
        if isinstance(line, Event) and line.code in (EventCode.SCAN_DONE, EventCode.SCAN_ENDED):
            deadline = min(deadline, monotonic() + _LATE_PAN_S)
    collector.close()


class PanCollector:
    """Puts EPANDESC blocks together from the lines as they come. *heard*: what the whole ones said, in order.

    The header may be missing, and six or seven fields come by dialect: a block ends at the first line that is no field,
    or at a key it has already.
    """

    def __init__(self) -> None:
        self.heard: list[PanDescription] = []
        self._fields: dict[str, str] = {}

    def add(self, line: Line) -> None:
        """Take the next line."""
        if not isinstance(line, PanField) or line.key == "Channel" or line.key in self._fields:
            self.close()
        if isinstance(line, PanField):
            self._fields[line.key] = line.value

    def close(self) -> None:
        """End the block under way, if there is one."""
        fields, self._fields = self._fields, {}
        if not fields:
            return
        try:
            self.heard.append(_described(fields))
        except (KeyError, ValueError):
            logger.debug("dropped an EPANDESC block that has only %s, or values that are not hex", ", ".join(fields))


def _described(fields: dict[str, str]) -> PanDescription:
    """Build the description. Raises: KeyError, ValueError: a field that joining needs is missing, or one is broken."""
    return PanDescription(
        channel=hex_field(fields["Channel"], 2, "channel"),
        pan_id=hex_field(fields["Pan ID"], 4, "PAN ID"),
        mac=hex_field(fields["Addr"], 16, "MAC address").to_bytes(8),
        lqi=hex_field(fields["LQI"], 2, "LQI") if "LQI" in fields else None,
        side=hex_field(fields["Side"], 1, "side") if "Side" in fields else None,
        pair_id=fields.get("PairID"),
    )
