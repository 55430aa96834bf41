"""What can be made to go wrong in a simulation. Each method does one named thing; nothing happens by chance."""

from __future__ import annotations

from dataclasses import dataclass, replace

from skstack.simulator.lines import Datagram


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the meter on its way: the datagram and how much later than usual it comes, seconds."""

    datagram: Datagram
    late_s: float = 0.0


class Faults:
    """Faults that wait for their turn. Times are Unix seconds; counts add up and are used up."""

    def __init__(self) -> None:
        """Start with nothing wrong."""
        self.clear()

    def clear(self) -> None:
        """Forget every fault that still waits or lasts."""
        self._lost = self._duplicated = self._mistaken = 0
        self._delays_s: list[float] = []
        self._silent_until = self._mute_until = 0.0
        self._failing_sends: list[int] = []
        self._failing_joins = 0
        self._missed_scans = 0
        self._late_beacons = 0
        self._refusals: list[tuple[str, str | None]] = []

    # --- the meter

    def lose_replies(self, count: int = 1) -> None:
        """Let the next *count* answers of the meter get lost in the air."""
        self._lost += count

    def delay_replies(self, by_s: float, count: int = 1) -> None:
        """Let the next *count* answers of the meter come *by_s* seconds later."""
        self._delays_s += [by_s] * count

    def duplicate_replies(self, count: int = 1) -> None:
        """Let the next *count* answers of the meter come twice."""
        self._duplicated += count

    def mistake_tids(self, count: int = 1) -> None:
        """Let the next *count* answers of the meter carry another TID."""
        self._mistaken += count

    def silence_meter(self, until: float) -> None:
        """Let the meter be out of reach until then: no beacons, no handshake, no acknowledgement (EVENT 21 01)."""
        self._silent_until = until

    def mute_meter(self, until: float) -> None:
        """Let the meter hear everything until then (EVENT 21 00), but neither answer nor announce."""
        self._mute_until = until

    # --- the module

    def fail_sends(self, param: int = 1, count: int = 1) -> None:
        """Let EVENT 21 report *param* for the next *count* sends.

        1: not sent. 2: the neighbour is being looked for; EVENT 02, the send and its EVENT 21 00 follow.
        """
        self._failing_sends += [param] * count

    def fail_joins(self, count: int = 1) -> None:
        """Let the next *count* handshakes, renewals among them, end in EVENT 24."""
        self._failing_joins += count

    def miss_scans(self, count: int = 1) -> None:
        """Let the next *count* scans hear nothing."""
        self._missed_scans += count

    def describe_late(self, count: int = 1) -> None:
        """Let the next *count* scans print one more EVENT 20 and EPANDESC after their EVENT 22."""
        self._late_beacons += count

    def refuse_next(self, code: str, command: str | None = None) -> None:
        """Let the next command, or the next one called *command*, be answered FAIL *code* ("ER10")."""
        self._refusals.append((code, command))

    # --- asked by the simulation

    def meter_is_silent(self, at: float) -> bool:
        """Tell whether the meter is out of reach at *at*."""
        return at < self._silent_until

    def meter_is_mute(self, at: float) -> bool:
        """Tell whether the meter, though in reach, answers nothing at *at*."""
        return at < self._mute_until

    def replies(self, datagram: Datagram) -> list[Reply]:
        """Return what becomes of an answer of the meter."""
        if self._lost:
            self._lost -= 1
            return []
        if self._mistaken:
            self._mistaken -= 1
            payload = bytearray(datagram.payload)
            payload[2] ^= 0x55
            datagram = replace(datagram, payload=bytes(payload))
        reply = Reply(datagram, self._delays_s.pop(0) if self._delays_s else 0.0)
        if self._duplicated:
            self._duplicated -= 1
            return [reply, reply]
        return [reply]

    def send_param(self) -> int:
        """Return what EVENT 21 reports for this send."""
        return self._failing_sends.pop(0) if self._failing_sends else 0

    def join_fails(self) -> bool:
        """Tell whether this handshake is to fail."""
        if self._failing_joins:
            self._failing_joins -= 1
            return True
        return False

    def scan_misses(self) -> bool:
        """Tell whether this scan is to hear nothing."""
        if self._missed_scans:
            self._missed_scans -= 1
            return True
        return False

    def describes_late(self) -> bool:
        """Tell whether this scan is to print one description too late."""
        if self._late_beacons:
            self._late_beacons -= 1
            return True
        return False

    def refusal(self, command: str) -> str | None:
        """Return the code with which *command* is to be refused, if it is."""
        for number, (code, wanted) in enumerate(self._refusals):
            if wanted in (None, command):
                del self._refusals[number]
                return code
        return None
