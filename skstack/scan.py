"""The scan: all channels, longer and longer, until the meter with our pairing ID is heard."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence

from skstack import commands
from skstack.errors import MeterNotFoundError
from skstack.events import Event, EventCode, Line, PanCollector, PanDescription
from skstack.link import Link

logger = logging.getLogger(__name__)

SCAN_DURATIONS = (5, 6, 7, 8)  # 9, 18, 35 and 70 s for 28 channels; each step listens twice as long
_KNOWN_CHANNEL_DURATION = 6  # 0.6 s on the one channel where the meter was last
_LATE_PAN_S = 0.5  # an EPANDESC may come after EVENT 22; transcripts, scan
_CHANNELS = range(commands.FIRST_CHANNEL, commands.LAST_CHANNEL + 1)


def scan(
    link: Link, pairing_id: str, *, last_channel: int | None = None, durations: Sequence[int] = SCAN_DURATIONS
) -> Generator[float, Line | None, PanDescription]:
    """Return the PAN with our *pairing_id* that is heard best. A step of the climb: see ladder.py.

    Tries the *last_channel* first, for a moment. Raises: MeterNotFoundError, and as Link.command.
    """
    collector = PanCollector()  # one for all durations: what a late line tells still counts
    tries = [(duration, commands.ALL_CHANNELS_MASK, len(_CHANNELS)) for duration in durations]
    if last_channel is not None:
        tries.insert(0, (_KNOWN_CHANNEL_DURATION, commands.channel_mask(last_channel), 1))
    for duration, mask, channels in tries:
        seconds = commands.scan_seconds(duration, channels)
        logger.info("scanning %s for the meter, about %.0f s", f"{channels} channel(s)", seconds)
        heard = yield from _scan_once(link, collector, duration, mask, seconds)
        ours = [pan for pan in heard if _may_be_ours(pan, pairing_id)]
        if ours:
            return max(ours, key=lambda pan: (pan.pair_id is not None, pan.lqi or 0))
        if heard:
            logger.info("heard %d other meter(s), not ours", len(heard))
    raise MeterNotFoundError(
        "no meter answered the scan: check the Route-B ID, bring the stick nearer to the meter, and see that the "
        "B-route service has begun"
    )


def _may_be_ours(pan: PanDescription, pairing_id: str) -> bool:
    """Tell whether to join *pan*: not another's, nor one whose channel line was damaged.

    Without a PairID, which a scan with our pairing ID prints, it is a last resort: that line was lost, or a firmware
    does not print it.
    """
    return pan.channel in _CHANNELS and (pan.pair_id is None or pan.pair_id.upper() == pairing_id)


def _scan_once(
    link: Link, collector: PanCollector, duration: int, mask: int, seconds: float
) -> Generator[float, Line | None, list[PanDescription]]:
    """Scan with one *duration* and return every PAN heard, up to EVENT 22 and a little longer."""
    heard: list[PanDescription] = []
    link.command(lambda dialect: commands.scan(dialect, duration=duration, channel_mask=mask))
    deadline = link.monotonic() + seconds * 1.2 + 5.0
    while link.monotonic() < deadline:
        line = yield deadline
        if line is None:
            continue
        pan = collector.add(line)
        if pan is not None:
            heard.append(pan)
        if isinstance(line, Event) and line.code in (EventCode.SCAN_DONE, EventCode.SCAN_ENDED):
            deadline = min(deadline, link.monotonic() + _LATE_PAN_S)
    pan = collector.close()
    if pan is not None:
        heard.append(pan)
    return heard
