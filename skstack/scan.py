"""The search for the household's meter: scans, and what is remembered from one to the next."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from skstack import commands
from skstack.driver import Waiting
from skstack.errors import MeterNotFoundError
from skstack.events import Event, EventCode, Line, PanDescription, PanField
from skstack.link import Link
from skstack.module import Credentials
from skstack.pan_cache import PanCache, cache_key
from skstack.parser import hex_field

logger = logging.getLogger(__name__)

_DURATIONS = (5, 6, 7, 8)  # 9, 17, 35 and 69 s for 28 channels; each listens twice as long as the one before
_LONGER_DURATIONS = (9, 10)  # 138 and 275 s: one more with each search that has heard no meter. SKSCAN takes up to 14
_KNOWN_CHANNEL_DURATION = 6  # 0.6 s on the one channel where the meter was last
_LATE_PAN_S = 0.5  # an EPANDESC may come after EVENT 22; transcripts, scan


class Search:
    """Chooses the PAN that the *link* is to join. *log* gets a line about each scan.

    *proven*: the PAN that worked last. It is kept until another one has worked, and the *cache* keeps it on disk.
    """

    def __init__(
        self,
        link: Link,
        credentials: Credentials,
        *,
        cache: PanCache | None,
        monotonic: Callable[[], float],
        log: Callable[[str], object],
    ) -> None:
        self._link = link
        self._credentials = credentials
        self._cache = cache
        self._monotonic = monotonic
        self._log = log
        self.proven: PanDescription | None = None
        self._failed_scans = 0  # since a meter was joined
        self._refused_by: Counter[bytes] = Counter()  # MAC addresses, since a meter was joined

    @property
    def refusals(self) -> int:
        """How many handshakes were refused since a meter was joined."""
        return self._refused_by.total()

    def note_refusal(self, peer: PanDescription) -> None:
        """Note that *peer* has refused a handshake."""
        self._refused_by[peer.mac] += 1

    def note_joined(self, peer: PanDescription) -> None:
        """Note that *peer* was joined."""
        self.proven, self._failed_scans, self._refused_by = peer, 0, Counter()
        if self._cache is not None:
            self._cache.save(self._key(), peer)

    def recall(self) -> None:
        """Choose the PAN that worked last with this module, if the cache has one."""
        if self._cache is not None and (cached := self._cache.load(self._key())) is not None:
            self.proven = cached
            self._link.choose(cached)

    def find(self) -> Waiting[None]:
        """Scan, and choose the PAN with our pairing ID that is heard best; where none is, the one that worked last.

        Of several, one comes first that has refused us less often.
        Raises: MeterNotFoundError: none is heard, and none is known. As Link.execute.
        """
        link, began = self._link, self._monotonic()
        collector = PanCollector()  # one for all scans: a late line still counts
        best: PanDescription | None = None
        for duration, channel in self._scans():
            channels = len(commands.CHANNELS) if channel is None else 1
            seconds = commands.scan_seconds(duration, channels)
            on = "one channel" if channel is not None else f"{channels} channels"
            self._log(f"scanning {on} for the meter, about {seconds:.0f} s")
            link.execute_in_dialect(partial(commands.scan, duration=duration, channel=channel))
            yield from _listen(collector, seconds, self._monotonic)
            best = self._best_of(collector.heard)
            if best is not None:
                break
        heard = {pan.mac for pan in collector.heard}
        if best is not None:
            link.choose(best)
            others = len(heard - {best.mac})
            detail = "one other meter heard" if others == 1 else f"{others} other meters heard"
            link.record("scan", self._monotonic() - began, peer=best, detail=detail if others else None)
            return
        self._failed_scans += 1
        if self.proven is not None:
            self._log("no meter responded to the scan; joining the meter where it was last")
            link.choose(self.proven)
        else:
            raise MeterNotFoundError(
                "no meter responded to the scan",
                "check the Route-B ID, bring the stick nearer to the meter, and see that the B-route service has begun",
                others=len(heard),
            )

    def _scans(self) -> Iterator[tuple[int, int | None]]:
        """Yield the duration and the channel (None: all) of one scan after the other, each longer than the one before.

        Once a meter was joined, its channel is tried first, for a moment, and a search that fails costs little: one
        scan of all channels, longer with each search.
        """
        if self.proven is None:
            durations = (*_DURATIONS, *_LONGER_DURATIONS[: self._failed_scans])
            yield from ((duration, None) for duration in durations)
            return
        # Another meter there that has refused us would hide ours, which has gone to another channel.
        if not self._refused_by.keys() - {self.proven.mac}:
            yield _KNOWN_CHANNEL_DURATION, self.proven.channel
        yield _DURATIONS[self._failed_scans % len(_DURATIONS)], None

    def _best_of(self, heard: Sequence[PanDescription]) -> PanDescription | None:
        def merit(pan: PanDescription) -> tuple[bool, int, int]:
            return pan.pair_id is not None, -self._refused_by[pan.mac], pan.lqi or 0

        return max(filter(self._may_be_ours, heard), key=merit, default=None)

    def _may_be_ours(self, pan: PanDescription) -> bool:
        """Return whether to join *pan*: not another's, nor one whose channel line was damaged.

        Without a PairID, which a scan with our pairing ID prints, it is a last resort: that line was lost, or a
        firmware does not print it.
        """
        is_ours = pan.pair_id is None or pan.pair_id.upper() == self._credentials.pairing_id
        return pan.channel in commands.CHANNELS and is_ours

    def _key(self) -> str:
        return cache_key(self._link.attached.mac, self._credentials.route_b_id)


def _listen(collector: PanCollector, seconds: float, monotonic: Callable[[], float]) -> Waiting[None]:
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
