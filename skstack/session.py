"""The session with the meter: one question at a time, and whatever it says unasked.

The caller gives its time in slices: run() until the next tick, then a question. A climb back that outlasts a slice
goes on in the next one.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from skstack.bringup import Credentials
from skstack.echonet import METER, NODE_PROFILE, Eoj, Esv, Frame
from skstack.errors import (
    CommandFailedError,
    FrameError,
    PortLostError,
    SendFailedError,
    SendUnconfirmedError,
    SessionLostError,
    SkStackError,
    SkStackTimeoutError,
)
from skstack.events import UdpReceived
from skstack.keeper import KeeperTimings, LinkKeeper
from skstack.ladder import Ladder, LadderTimings, Rung
from skstack.link import Link, Pana, RadioEvent
from skstack.pan_cache import NoPanCache, PanCache
from skstack.port import PortOpener

logger = logging.getLogger(__name__)

ECHONET_PORT = 0x0E1A  # UDP 3610; ECHONET Lite specification, part 2
_SEND_FAILED = 0x01  # EVENT 21: busy channel, sending limit, or no ACK; command reference 5.11
_CONTROL_BYTES = frozenset(b"\r\n \0")  # kept out of our TIDs: an echoed payload must not look like the end of a line


@dataclass(frozen=True, slots=True)
class SessionTimings:
    """Seconds, unless the name says otherwise. Sources: protocol facts 3.3 and 3.6."""

    answer_timeout_s: float = 20.0  # then the question is asked again; AIF response-wait timer 1
    send_retry_s: float = 5.0  # after EVENT 21 01, as peers do
    request_pause_s: float = 0.2  # between an answer and the next question
    unanswered_limit: int = 3  # questions in a row without an answer: the link is taken for dead
    keeper: KeeperTimings = dataclasses.field(default_factory=KeeperTimings)
    ladder: LadderTimings = dataclasses.field(default_factory=LadderTimings)


@dataclass(frozen=True, slots=True)
class Notification:
    """A frame that the meter or its node profile sent unasked (INF, INFC), and its arrival (monotonic seconds)."""

    frame: Frame
    arrived_at: float


@dataclass(slots=True)
class _Question:
    """A request with all its tries: a late answer to an earlier one still counts."""

    request: Frame
    tries: dict[int, Frame]
    answer: Frame | None = None


class Session:
    """A session with the household's meter, over the module that *open_port* opens.

    *monotonic* and *sleep* are the clock; *should_stop* ends every wait once it is true. *on_event* is told what
    happens to the link. *notifications* holds what came unasked, oldest first, until the caller takes it.
    """

    def __init__(
        self,
        open_port: PortOpener,
        credentials: Credentials,
        *,
        cache: PanCache | None = None,
        on_event: Callable[[RadioEvent], None] = lambda _event: None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        should_stop: Callable[[], bool] = lambda: False,
        timings: SessionTimings | None = None,
        first_tid: int = 1,
    ) -> None:
        self.timings = timings or SessionTimings()
        self.link = Link(on_datagram=self._on_datagram, on_event=on_event, monotonic=monotonic)
        self.ladder = Ladder(
            self.link,
            open_port,
            credentials,
            cache=cache or NoPanCache(),
            on_event=on_event,
            monotonic=monotonic,
            timings=self.timings.ladder,
        )
        self._keeper = LinkKeeper(
            self.link,
            self.ladder,
            on_idle=self._pay_debts,
            on_event=on_event,
            monotonic=monotonic,
            sleep=sleep,
            should_stop=should_stop,
            timings=self.timings.keeper,
        )
        self.notifications: deque[Notification] = deque(maxlen=1000)
        self.dropped_datagrams = 0
        self.last_lqi: int | None = None
        self._monotonic = monotonic
        self._should_stop = should_stop
        self._question: _Question | None = None
        self._owed: deque[Frame] = deque(maxlen=16)  # answers to INFC, sent when no command is under way
        self._tid = first_tid & 0xFFFF
        self._unanswered = 0
        self._not_before = 0.0

    # --- the caller's face

    @property
    def up(self) -> bool:
        """Questions may be asked."""
        return self._keeper.up

    def run(self, until: float) -> None:
        """Listen, and climb while the link is down, until the monotonic time *until*. Raises nothing of the radio's."""
        self._keeper.run(until)

    def run_until_up(self, until: float) -> bool:
        """As run, but return True as soon as questions may be asked."""
        return self._keeper.run_until_up(until)

    def get(self, epcs: Iterable[int], *, until: float, deoj: Eoj = METER, vital: bool = True) -> dict[int, bytes]:
        """Read properties and return their data by EPC, without those that the meter has not.

        Raises: as ask, and FrameError: the answer contradicts itself.
        """
        return self.ask(Frame.get(0, epcs, deoj), until=until, vital=vital).edt_by_epc()

    def ask(self, request: Frame, *, until: float, timeout_s: float | None = None, vital: bool = True) -> Frame:
        """Ask the meter, again after each *timeout_s*, with a TID of its own each time; return the answer or refusal.

        A *vital* question that stays unanswered puts the link in doubt.
        Raises: SkStackTimeoutError: no answer by *until* (monotonic). SendUnconfirmedError, SendFailedError: nor is it
            sure that the question was sent. SessionLostError: the link is down, or silence is due.
        """
        self._question = question = _Question(request, {})
        started = self._monotonic()
        try:
            while True:
                answer = self._try(question, until, timeout_s or self.timings.answer_timeout_s)
                if answer is not None:
                    self._unanswered = 0
                    self._not_before = self._monotonic() + self.timings.request_pause_s
                    return answer
                self._unanswered += 1
                if vital and self._unanswered >= self.timings.unanswered_limit:
                    self._keeper.lose(Rung.REJOIN, f"{self._unanswered} questions in a row were not answered")
                    raise self._no_answer(started)
                if self._should_stop() or self._monotonic() >= until:
                    raise self._no_answer(started)
        except PortLostError as error:
            self._keeper.lose(Rung.REOPEN, str(error))
            raise SessionLostError(str(error)) from error
        finally:
            self._question = None

    def reading_stored(self) -> None:
        """Note that the link has proved itself: the next climb starts from the bottom, without pauses."""
        self.ladder.reading_stored()

    def close(self) -> None:
        """End the PANA session, so that the meter is free for the next one, and close the port. Raises nothing."""
        self._keeper.close()

    # --- one try

    def _try(self, question: _Question, until: float, timeout_s: float) -> Frame | None:
        """Send the question once and wait for an answer to this or an earlier try; None: not in time, or not sent."""
        self._listen_until(min(self._not_before, until), lambda: question.answer is not None)
        heard_before = self.link.lines
        sent = self._send(question)
        sent_at = self._monotonic()
        self._listen_until(
            min(until, sent_at + timeout_s),
            lambda: (
                question.answer is not None or self.link.send_result == _SEND_FAILED or self.link.pana is Pana.CLOSED
            ),
        )
        if question.answer is not None:
            return question.answer
        if not sent and self.link.lines == heard_before:
            self._keeper.lose(Rung.RESET, "the module no longer answers")
            raise SessionLostError(self.link.ending)
        if self.link.pana is Pana.CLOSED:
            raise SessionLostError(self.link.ending)
        if self.link.send_result == _SEND_FAILED:
            self._not_before = self._monotonic() + self.timings.send_retry_s
        return None

    def _send(self, question: _Question) -> bool:
        """Send the question under a new TID; False if the module did not say OK: it may have been sent nevertheless.

        Raises: SessionLostError: the module refused, the link is down, or silence is due.
        """
        frame = dataclasses.replace(question.request, tid=self._next_tid())
        question.tries[frame.tid] = frame
        try:
            self.link.send(frame.to_bytes())
        except SkStackTimeoutError:
            return False
        except CommandFailedError as error:  # ER10: no session; anything else: the module and we are out of step
            self._keeper.lose(Rung.REJOIN if error.code == "ER10" else Rung.RESET, str(error))
            raise SessionLostError(str(error)) from error
        return True

    def _listen_until(self, until: float, done: Callable[[], bool]) -> None:
        while not done() and self._monotonic() < until and not self._should_stop():
            self._keeper.listen(until)
            self._pay_debts()

    def _no_answer(self, started: float) -> SkStackError:
        if self.link.send_result == _SEND_FAILED:
            return SendFailedError("the module could not send (EVENT 21 01): weak radio, or a busy channel")
        if self.link.send_result is None:
            return SendUnconfirmedError("neither an answer nor EVENT 21 came: unknown whether it was sent")
        return SkStackTimeoutError("answer from the meter", self._monotonic() - started)

    def _next_tid(self) -> int:
        while True:
            self._tid = (self._tid + 1) & 0xFFFF
            if not _CONTROL_BYTES.intersection(self._tid.to_bytes(2, "big")):
                return self._tid

    # --- datagrams

    def _on_datagram(self, datagram: UdpReceived) -> None:
        """Sort a datagram: an answer to our question, a notification, or nothing for us."""
        if datagram.local_port != ECHONET_PORT or datagram.remote_port != ECHONET_PORT:
            return  # PANA, MLE: the module's own business
        peer = self.link.peer
        if not datagram.secured or datagram.side not in (None, 0) or peer is None or datagram.sender != peer.address:
            self._drop("not secured, or not from the meter")
            return
        if self.link.pana in (Pana.CLOSED, Pana.JOINING):
            self._drop("outside a session")
            return
        try:
            frame = Frame.from_bytes(datagram.payload)
        except FrameError as error:
            self._drop(str(error))
            return
        if datagram.lqi is not None:
            self.last_lqi = datagram.lqi
        if frame.esv in (Esv.INF, Esv.INFC):
            self._on_notification(frame)
        else:
            self._on_answer(frame)

    def _on_notification(self, frame: Frame) -> None:
        """Keep what the meter tells unasked; its TID is its own and means nothing to us."""
        if frame.seoj not in (METER, NODE_PROFILE):
            self._drop(f"a notification of {frame.seoj}")
            return
        self.notifications.append(Notification(frame, self._monotonic()))
        if frame.esv is Esv.INFC:
            self._owed.append(frame.answer_to_infc())

    def _on_answer(self, frame: Frame) -> None:
        question = self._question
        asked = question.tries.get(frame.tid) if question else None
        if question is None or asked is None or not frame.matches(asked):
            self._drop("an answer to no question of ours, or a late one")
        elif question.answer is None:
            question.answer = frame

    def _drop(self, reason: str) -> None:
        self.dropped_datagrams += 1
        logger.debug("dropped a datagram: %s", reason)

    def _pay_debts(self) -> None:
        """Answer the INFCs. A failure is no loss: the meter repeats what was not acknowledged."""
        while self._owed and self.link.up:
            try:
                self.link.send(self._owed.popleft().to_bytes())
            except PortLostError:
                raise
            except SkStackError as error:
                logger.debug("an INFC stays unanswered: %s", error)
