"""The session with the meter: one question at a time, and whatever it says unasked.

The caller gives its time in slices: run() until the next tick, then a question. A climb back that outlasts a slice
goes on in the next one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

from skstack.echonet.frame import METER, NODE_PROFILE, Eoj, Esv, Frame
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
from skstack.events import ECHONET_PORT, UdpReceived
from skstack.keeper import KeeperTimings, LinkKeeper
from skstack.link import Link, Pana, RadioEvent, Sending
from skstack.module import Credentials
from skstack.pan_cache import NoPanCache, PanCache
from skstack.port import PortOpener
from skstack.recovery import Ladder, LadderTimings, Rung

logger = logging.getLogger(__name__)

_CONTROL_BYTES = frozenset(b"\r\n \0")  # kept out of our TIDs: an echoed payload must not look like the end of a line


@dataclass(frozen=True, slots=True)
class SessionTimings:
    """Seconds, unless the name says otherwise. Sources: protocol facts 3.3 and 3.6."""

    answer_timeout_s: float = 20.0  # then the question is asked again; AIF response-wait timer 1
    send_retry_s: float = 5.0  # after EVENT 21 01, as peers do
    request_pause_s: float = 0.2  # between an answer and the next question
    unanswered_limit: int = 3  # tries in a row without an answer: the link is taken for dead
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
    tries: dict[int, Frame] = dataclasses.field(default_factory=dict)  # by TID
    sending: Sending | None = None  # of the last try
    answer: Frame | None = None

    def is_answered_by(self, frame: Frame) -> bool:
        """Tell whether *frame* answers one of the tries."""
        asked = self.tries.get(frame.tid)
        return asked is not None and frame.matches(asked)


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
        self._question: _Question | None = None  # the one under way
        self._last_question: _Question | None = None  # if unanswered, its answer may still come
        self._owed: deque[Frame] = deque(maxlen=16)  # answers to INFC, sent when no command is under way
        self._tid = first_tid & 0xFFFF
        self._unanswered = 0
        self._not_before = 0.0  # when the next question may be sent

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

        An earlier question that was not answered is given its time first: there is never more than one on its way. A
        *vital* question that stays unanswered puts the link in doubt. What the module fails to confirm may delay the
        return by some 3 s beyond *until* (monotonic).
        Raises: SkStackTimeoutError: no answer by *until*. SendUnconfirmedError, SendFailedError: nor is it sure that
            the question was sent. SessionLostError: the link is down, or silence is due.
        """
        if not self.up:
            raise SessionLostError(self.link.why_silent)
        self._question = question = _Question(request)
        started = self._monotonic()
        try:
            while question.answer is None and self._turn_comes(question, until):
                self._try(question, until, timeout_s or self.timings.answer_timeout_s)
                if vital and self._is_link_dead(question):
                    break
            if question.answer is None:
                raise self._no_answer(question, started)
        except PortLostError as error:
            self._keeper.lose(Rung.REOPEN, str(error))
            raise SessionLostError(str(error)) from error
        finally:
            self._question, self._last_question = None, question
        self._unanswered = 0  # a late answer, and one to a question that is not vital, prove the link too
        self._not_before = self._monotonic() + self.timings.request_pause_s
        return question.answer

    def reading_stored(self) -> None:
        """Note that the link has proved itself: the next climb starts from the bottom, without pauses."""
        self.ladder.reading_stored()

    def close(self) -> None:
        """End the PANA session, so that the meter is free for the next one, and close the port. Raises nothing."""
        self._keeper.close()

    # --- one try

    def _turn_comes(self, question: _Question, until: float) -> bool:
        """Wait until the question may be sent; False when it is answered meanwhile, or its time is up.

        Raises: SessionLostError: the session ends meanwhile. PortLostError.
        """
        self._listen_until(until, lambda: question.answer is not None or self.link.pana is Pana.CLOSED)
        if question.answer is None and self.link.pana is Pana.CLOSED:
            raise SessionLostError(self.link.ending)
        return question.answer is None and self._monotonic() < until and not self._should_stop()

    def _try(self, question: _Question, until: float, timeout_s: float) -> None:
        """Send the question once and wait for an answer to this or an earlier try.

        Raises: SessionLostError: the link is down or goes down meanwhile, or silence is due. PortLostError.
        """
        heard_before = self.link.lines
        sent_at = self._monotonic()
        sending, confirmed = self._send(question)
        self._not_before = sent_at + timeout_s  # so long it counts as on its way, even if *until* comes first
        self._listen_until(
            until, lambda: question.answer is not None or sending.failed or self.link.pana is Pana.CLOSED
        )
        if question.answer is not None:
            return
        if self.link.pana is Pana.CLOSED:
            raise SessionLostError(self.link.ending)
        if sending.failed:
            self._not_before = self._monotonic() + self.timings.send_retry_s
            with contextlib.suppress(SkStackTimeoutError):  # then the next try will show what is wrong
                self.link.check_limit()
        elif not confirmed and self.link.lines == heard_before:
            self._lose(Rung.RESET, "the module no longer answers")

    def _send(self, question: _Question) -> tuple[Sending, bool]:
        """Send the question under a new TID; False if the module did not say OK: it may have been sent nevertheless.

        Raises: SessionLostError: the module refused, the link is down, or silence is due. PortLostError.
        """
        asked = question.request
        tid = self._next_tid()
        frame = Frame(tid, asked.seoj, asked.deoj, asked.esv, asked.properties, asked.get_properties)
        question.tries[tid] = frame
        question.sending = sending = Sending()
        try:
            self.link.send(frame.to_bytes(), sending)
        except SkStackTimeoutError:
            return sending, False
        except CommandFailedError as error:  # ER10: no session; anything else: the module and we are out of step
            self._lose(Rung.REJOIN if error.code == "ER10" else Rung.RESET, str(error))
        return sending, True

    def _is_link_dead(self, question: _Question) -> bool:
        """Count the tries that were not answered; after so many in a row, take the link for dead and begin to climb."""
        self._unanswered = self._unanswered + 1 if question.answer is None else 0
        if self._unanswered < self.timings.unanswered_limit:
            return False
        self._keeper.lose(Rung.REJOIN, f"{self._unanswered} questions in a row were not answered")
        self._unanswered = 0
        return True

    def _lose(self, first: Rung, reason: str) -> NoReturn:
        """Give the link up. Raises: SessionLostError."""
        self._unanswered = 0
        self._keeper.lose(first, reason)
        raise SessionLostError(reason)

    def _listen_until(self, until: float, done: Callable[[], bool]) -> None:
        """Listen until it is *done*, until *until*, or until another question may be sent: a late answer frees it."""
        while not done() and self._monotonic() < min(until, self._not_before) and not self._should_stop():
            self._keeper.listen(min(until, self._not_before))
            self._pay_debts()

    def _no_answer(self, question: _Question, started: float) -> SkStackError:
        sending = question.sending
        if sending is not None and sending.failed:
            return SendFailedError("the module could not send (EVENT 21 01): weak radio, or a busy channel")
        if sending is not None and sending.result is None:
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
        question, last = self._question, self._last_question
        if question is not None and question.is_answered_by(frame):
            question.answer = question.answer or frame
            return
        waiting_for_last = question is None or not question.tries
        if last is not None and waiting_for_last and last.is_answered_by(frame):  # too late, but now it is our turn
            self._not_before = min(self._not_before, self._monotonic() + self.timings.request_pause_s)
        if last is not None and last.is_answered_by(frame):
            self._unanswered = 0  # the meter is slow, not dead
        self._drop("an answer to no question of ours, or a late one")

    def _drop(self, reason: str) -> None:
        self.dropped_datagrams += 1
        logger.debug("dropped a datagram: %s", reason)

    def _pay_debts(self) -> None:
        """Answer the INFCs. A failure is no loss: the meter repeats what was not acknowledged.

        Raises: PortLostError.
        """
        while self._owed and self.link.up:
            try:
                self.link.send(self._owed.popleft().to_bytes(), Sending())
            except PortLostError:
                raise
            except SkStackError as error:
                logger.debug("%d INFCs stay unanswered: %s", 1 + len(self._owed), error)
                self._owed.clear()  # so that a module that hangs holds us up once, not once for each
