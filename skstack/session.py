"""The session with the meter: one request on the air at a time, and whatever the meter sends unsolicited.

The caller gives its time in slices: run() until the next tick, then a request. A recovery of the link that outlasts a
slice goes on in the next one.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from skstack.driver import Module, SkStack
from skstack.echonet.frame import METER, NODE_PROFILE, Esv, Frame
from skstack.echonet.request import Notification, Request, Response, next_tid
from skstack.errors import (
    CommandFailedError,
    FrameError,
    MeterSilentError,
    ModuleNotRespondingError,
    PortLostError,
    SessionLostError,
    SkStackError,
    SkStackTimeoutError,
    StoppedError,
)
from skstack.events import Pana, PanDescription, UdpReceived
from skstack.link import Link, RadioEvent, Sending
from skstack.module import BAUD_RATES, Credentials
from skstack.pan_cache import PanCache
from skstack.port import PortOpener
from skstack.recovery import Recovery
from skstack.timings import SessionTimings

logger = logging.getLogger(__name__)

_FRESH_WAITS = 2  # a response that took more than so many longest waits says nothing about now


class Session:
    """A session with the household's meter, over the module that *open_port* opens.

    *monotonic* and *sleep* are the clock; every wait ends as soon as *should_stop* is true. *notifications* holds what
    came unsolicited, and *late_responses* what came for requests that had been given up, oldest first, until the
    caller takes it.
    """

    def __init__(
        self,
        open_port: PortOpener,
        credentials: Credentials,
        *,
        cache: PanCache | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        should_stop: Callable[[], bool] = lambda: False,
        timings: SessionTimings | None = None,
        baud_rates: Sequence[int] = BAUD_RATES,
        first_tid: int = 1,
    ) -> None:
        self.timings = timings or SessionTimings()
        self.notifications: deque[Notification] = deque(maxlen=1000)
        self.late_responses: deque[Response] = deque(maxlen=100)
        self._link = Link(monotonic=monotonic, sleep=sleep)
        self._recovery = Recovery(
            self._link,
            lambda baud_rate: SkStack(open_port(baud_rate), monotonic=monotonic, should_stop=self._must_stop),
            credentials,
            cache=cache,
            monotonic=monotonic,
            timings=self.timings.recovery,
            baud_rates=baud_rates,
        )
        self._monotonic = monotonic
        self._should_stop = should_stop
        self._closes_at: float | None = None
        self._request: Request | None = None  # the one under way, or the last one
        self._sending: Sending | None = None  # its last attempt; None: there was none
        self._infc_responses: deque[Frame] = deque(maxlen=16)  # sent when no command is under way
        self._tid = first_tid & 0xFFFF
        self._silent_attempts = 0
        self._pause_until = 0.0  # between a response and the next request
        self._has_warned = False
        self._awaited: Request | None = None  # the one whose response the caller waits for

    # --- how it stands

    @property
    def up(self) -> bool:
        """Requests may be sent."""
        return self._link.up

    @property
    def down_reason(self) -> str:
        """Say why nothing may be sent now."""
        return self._link.down_reason

    @property
    def failure(self) -> SkStackError:
        """What keeps the link down, or did so last."""
        return self._link.failure

    @property
    def module(self) -> Module | None:
        """The module; None while no port is open."""
        return self._link.module

    @property
    def peer(self) -> PanDescription | None:
        """The meter's PAN; None before one was found."""
        return self._link.peer

    @property
    def renewals(self) -> int:
        """How often a session was renewed or authenticated anew."""
        return self._link.renewals

    @property
    def number(self) -> int:
        """How many sessions were established: a new one may be with another meter."""
        return self._link.sessions

    @property
    def free_at(self) -> float:
        """Until when (monotonic) a response to the last request may come, so that no different one is sent."""
        pending = self._pending
        return pending.free_at if pending is not None else float("-inf")

    @property
    def _pending(self) -> Request | None:
        """The last request, while its response may come; None: it has come, or its session is over."""
        last = self._request
        return last if last is not None and not last.has_response() and last.session == self.number else None

    def take_events(self) -> list[RadioEvent]:
        """Return what happened to the link since the last call, in order; what repeated itself is counted."""
        return self._link.take_events()

    # --- time

    def run(self, until: float, *, done: Callable[[], bool] = lambda: False) -> None:
        """Listen, and recover the link while it is down, until the monotonic time *until*, a stop, or it is *done*.

        Raises nothing.
        """
        with contextlib.suppress(StoppedError):
            while not done() and self._monotonic() < until:
                self._advance(until)

    def run_until_up(self, until: float) -> bool:
        """As run, but return as soon as requests may be sent, or there is no use in waiting; say whether they may."""
        self.run(until, done=lambda: self.up or (self.module is None and self.failure.is_lasting))
        return self.up

    def close(self) -> None:
        """End the PANA session, so that the meter is free for the next one, and close the port. Raises nothing.

        Takes close_timeout_s at most, also after a stop was requested.
        """
        self._recovery.end_life()
        self._closes_at = self._monotonic() + self.timings.close_timeout_s
        try:
            self._link.terminate(timeout_s=self.timings.close_timeout_s / 2)
            while self._link.module is not None and self._link.pana is not Pana.CLOSED:
                self._link.receive(max(0.0, self._closes_at - self._monotonic()))
        except SkStackError as error:  # ER10: there was no session any more
            logger.debug("ending the session: %s", error)
        finally:
            self._link.detach()
            self._link.give_up(SessionLostError("closed"))
            self._closes_at = None

    # --- requests

    def get(
        self, epcs: Iterable[int], *, until: float, background: bool = False, timeout_s: float | None = None
    ) -> Response:
        """Read properties of the meter.

        Repeats after each *timeout_s* (default: response_timeout_s), until *until* (monotonic); while an earlier,
        different request may still get its response, this one waits. A *background* request that stays without one
        does not make the link suspect. What the module fails to confirm may delay the return by some 3 s.
        Raises: SkStackTimeoutError: no response by *until*. SendUnconfirmedError, SendFailedError: nor is it sure that
            the request was sent. MeterSilentError: nor to the ones before, so that the meter is joined again.
            SessionLostError: the link is down, or silence is due. StoppedError.
        """
        return self._request_once(Frame.get(0, epcs), until, background, timeout_s)

    def set(self, epc: int, edt: bytes, *, until: float, timeout_s: float | None = None) -> bool:
        """Write a property of the meter, in the background; False: it refuses. Raises: as get."""
        return self._request_once(Frame.set_c(0, epc, edt), until, True, timeout_s).esv is Esv.SET_RES

    def _request_once(self, frame: Frame, until: float, background: bool, timeout_s: float | None) -> Response:
        if not self.up:
            raise SessionLostError(self.down_reason)
        started = self._monotonic()
        try:
            request = self._awaited = self._take_turn(frame, until)
            while not request.has_response():
                self._listen(min(until, max(request.repeat_at, self._pause_until)), request.has_response)
                if request.has_response() or self._monotonic() >= until:
                    break
                self._attempt(request, until, timeout_s or self.timings.response_timeout_s)
                if not request.has_response() and not background:
                    self._note_silence()
        finally:
            self._awaited = None
        if request.response is None:
            send_error = self._sending.send_error if self._sending is not None else None
            waited_s = self._monotonic() - min(started, request.began_at)  # it may continue an earlier one
            raise send_error or SkStackTimeoutError("response from the meter", waited_s)
        return request.response

    def _take_turn(self, frame: Frame, until: float) -> Request:
        """Return the request for *frame*, once no response to a different one can come any more.

        A repetition continues the earlier request: a response to any of its attempts counts.
        Raises: SkStackTimeoutError: not before *until*. SessionLostError, StoppedError.
        """
        pending = self._pending
        if pending is not None:
            if pending.frame == frame:
                return pending
            started = self._monotonic()
            self._listen(min(until, pending.free_at), pending.has_response)
            if not pending.has_response() and self._monotonic() < pending.free_at:
                raise SkStackTimeoutError("response to an earlier request", self._monotonic() - started)
        self._sending = None
        self._request = request = Request(frame, self.number, self._monotonic())
        return request

    def _attempt(self, request: Request, until: float, timeout_s: float) -> None:
        """Send the request once and wait for a response to this or an earlier attempt.

        Raises: SessionLostError: the link is down or goes down meanwhile, or silence is due. StoppedError.
        """
        try:
            for _ in range(self._link.collect()):  # an EVENT 29 or 32 among them forbids sending before we write
                self._advance(self._monotonic())
            if request.has_response():
                return
            heard_before = self._link.lines
            self._tid = next_tid(self._tid)
            frame = request.attempt(self._tid, self._monotonic())
            self._sending = sending = self._link.send(frame.to_bytes())
        except (CommandFailedError, PortLostError) as error:
            self._lose(error)
        request.sent(sending.sent_at, timeout_s=timeout_s, longest_wait_s=self.timings.longest_wait_s)
        self._listen(min(until, request.repeat_at), lambda: request.has_response() or sending.failed)
        if request.has_response():
            return
        if sending.failed:
            request.not_sent(self._monotonic() + self.timings.send_retry_s)
            with contextlib.suppress(SkStackTimeoutError, PortLostError):  # the next attempt will show what is wrong
                self._link.check_limit()
        elif not sending.accepted and self._link.lines == heard_before:
            self._lose(ModuleNotRespondingError("the module no longer responds"))

    def _note_silence(self) -> None:
        """Count an attempt without a response; after so many in a row the link's life decides what follows.

        Raises: MeterSilentError: the meter is joined again.
        """
        self._silent_attempts += 1
        if self._silent_attempts >= self.timings.silent_attempts and self.up:
            self._silent_attempts = 0
            error = MeterSilentError(f"{self.timings.silent_attempts} requests in a row got no response")
            self._recovery.fail(error)
            if self._link.pana is Pana.SUSPECT:
                raise error

    # --- the life of the link

    def _listen(self, until: float, done: Callable[[], bool]) -> None:
        """Listen until *done* is true, or *until*. Raises: SessionLostError: the session ends first. StoppedError."""
        while not done() and self._monotonic() < until:
            self._advance(until)
            if self._link.pana not in (Pana.OPEN, Pana.EXPIRED) and not done():
                raise SessionLostError(self.down_reason)

    def _advance(self, until: float) -> None:
        """Let the life of the link go on by one line, or by one wait up to *until*. Raises: StoppedError."""
        if self._must_stop():
            raise StoppedError
        try:
            line = self._link.receive(max(0.0, min(until, self._recovery.wake_at) - self._monotonic()))
        except PortLostError as error:
            self._recovery.fail(error)
            return
        if isinstance(line, UdpReceived):
            self._sort(line)
        if line is not None or self._monotonic() >= self._recovery.wake_at:
            self._recovery.go_on(line)
        if self._infc_responses:
            self._send_infc_responses()

    def _lose(self, error: SkStackError) -> NoReturn:
        """Report to the link's life that *error* ended the session. Raises: SessionLostError."""
        self._silent_attempts = 0
        self._recovery.fail(error)
        raise SessionLostError(str(error)) from error

    def _must_stop(self) -> bool:
        if self._closes_at is not None:
            return self._monotonic() >= self._closes_at
        return self._should_stop()

    # --- datagrams

    def _sort(self, datagram: UdpReceived) -> None:
        """Sort a datagram: a response to our request, a notification, or nothing for us."""
        if not datagram.is_echonet:
            return  # PANA, MLE: the module's own business
        peer = self._link.peer
        if peer is None or not datagram.is_from(peer.address):
            logger.debug("dropped a datagram: not secured, or not from the meter")
            return
        if self._link.pana in (Pana.CLOSED, Pana.JOINING):
            logger.debug("dropped a datagram: outside a session")
            return
        try:
            frame = Frame.from_bytes(datagram.payload)
            values = frame.edt_by_epc()
        except FrameError as error:
            logger.log(logging.DEBUG if self._has_warned else logging.WARNING, "dropped a frame: %s", error)
            self._has_warned = True
            return
        if frame.esv in (Esv.INF, Esv.INFC):
            self._take_notification(frame, values)
        else:
            self._take_response(frame, values)

    def _take_notification(self, frame: Frame, values: dict[int, bytes]) -> None:
        """Keep what the meter sends unsolicited; its TID is the meter's own and means nothing to us."""
        if frame.seoj == METER:
            self.notifications.append(Notification(values))
        else:  # its node profile announces objects that we know
            logger.debug("dropped a notification of %s", frame.seoj.hex())
        if frame.esv is Esv.INFC and frame.seoj in (METER, NODE_PROFILE):
            self._infc_responses.append(frame.infc_response())

    def _take_response(self, frame: Frame, values: dict[int, bytes]) -> None:
        request, now = self._request, self._monotonic()
        fresh_s = _FRESH_WAITS * self.timings.longest_wait_s
        if request is None or not request.take(frame, values, now, fresh_s=fresh_s):
            logger.debug("dropped a response to no request of ours, or one that came too late")
            return
        if request.response is not None and request is not self._awaited:
            self.late_responses.append(request.response)
        self._silent_attempts = 0
        self._pause_until = now + self.timings.request_pause_s
        self._link.note_response()

    def _send_infc_responses(self) -> None:
        """Respond to INFCs. A failure is no loss: the meter repeats what was not acknowledged. Raises: StoppedError."""
        while self._infc_responses and self.up:
            try:
                if self._link.collect():
                    return  # an EVENT 29 or 32 among them forbids sending
                if not self._link.send(self._infc_responses.popleft().to_bytes()).accepted:
                    self._infc_responses.clear()  # a module that hangs delays us once, not once for each
            except PortLostError as error:
                self._recovery.fail(error)
            except (CommandFailedError, SessionLostError) as error:
                logger.debug("an INFC stays without a response: %s", error)
