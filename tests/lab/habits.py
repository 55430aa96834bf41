"""What the frames of a simulated meter may come to on their way: losses, delays, refusals, contradictions.

Chance comes from a generator that is handed in, so that the same seed gives the same story.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from skstack import FrameError
from skstack.echonet import Esv, Frame, Property
from skstack.simulator import Effect, Habit, Reply
from skstack.simulator.habits import Condition
from skstack.simulator.registers import NO_DATA

_ESV_AT = 10  # in an ECHONET Lite frame

Seconds = float | Callable[[], float]
"""A time that is always the same, or one drawn anew each time (partial(rng.uniform, 2.0, 30.0))."""


# --- which frames


def announcements(reply: Reply) -> bool:
    """Whatever the meter says by itself: the half-hour values, and its objects after a join."""
    return reply.request is None


def everything(_reply: Reply) -> bool:
    """Responses and announcements."""
    return True


def several(reply: Reply) -> bool:
    """Responses to a Get of more than one property."""
    return reply.request is not None and reply.request.esv is Esv.GET and len(reply.request.properties) > 1


def lone(*epcs: int) -> Condition:
    """Responses to a Get of one property: of any, or of one of *epcs*."""
    return lambda reply: (
        reply.request is not None
        and reply.request.esv is Esv.GET
        and len(reply.request.properties) == 1
        and (not epcs or reply.request.properties[0].epc in epcs)
    )


# --- habits


def lost(times: int = 1) -> Habit:
    """Let the next responses get lost in the air."""
    return Habit(lose, times=times)


def late(by_s: float, times: int = 1) -> Habit:
    """Let the next responses come *by_s* seconds later."""
    return Habit(delay(by_s), times=times)


def mute(until: float) -> Habit:
    """Let the meter hear everything until then (EVENT 21 00, Unix seconds), but neither respond nor announce."""
    return Habit(lose, everything, until=until)


# --- effects: whether and when


def lose(_reply: Reply) -> tuple[Reply, ...]:
    """Let it get lost, or never be said."""
    return ()


def lose_share(share: float, rng: Random) -> Effect:
    """Let *share* of them (0 to 1) get lost; one number of *rng* is drawn for each.

    Source: enkunkun/cube-j1-mqtt, specs 024 to 040: homes where three of five responses are lost, while joins work.
    """
    return lambda reply: () if rng.random() < share else (reply,)


def double(reply: Reply) -> tuple[Reply, ...]:
    """Let it come twice."""
    return reply, reply


def delay(by: Seconds) -> Effect:
    """Let it come later than usual."""
    return lambda reply: (replace(reply, delay_s=reply.delay_s + _drawn(by)),)


def take(seconds: Seconds, *, begins_anew: bool = False) -> Effect:
    """Let the meter need so long for it; if it *begins_anew*, every further request ends the one it was at.

    Source: AIF specification 1.01, 2.4.2, gives it 20 s for one property and 60 s for several.
    """
    return lambda reply: (replace(reply, delay_s=_drawn(seconds), begins_anew=begins_anew),)


def _drawn(seconds: Seconds) -> float:
    return seconds() if callable(seconds) else seconds


# --- effects: what it says


def mistake_tid(reply: Reply) -> tuple[Reply, ...]:
    """Let it carry another TID."""
    payload = bytearray(reply.payload)
    payload[2] ^= 0x55
    return (replace(reply, payload=bytes(payload)),)


def shorten(most: int, *, esv: Esv = Esv.GET_SNA) -> Effect:
    """Let the response to a Get end after *most* properties, its count smaller, as *esv*: GET_SNA or GET_RES.

    Source: nanamitm/cube-j1-mqtt 2da43aa and hals5412/cube-j1-mqtt c884ec3, two meters at six;
    scottyphillips/echonetlite_homeassistant 150.
    """

    def effect(reply: Reply) -> tuple[Reply, ...]:
        frame = _get_response(reply)
        if frame is None or len(frame.properties) <= most:
            return (reply,)
        return _said(reply, frame._replace(esv=esv, properties=frame.properties[:most]))

    return effect


def refuse(*epcs: int, whole: bool = False) -> Effect:
    """Let *epcs*, or all where none are named, come without data (52, PDC 0); if *whole*, all beside them too."""

    def effect(reply: Reply) -> tuple[Reply, ...]:
        frame = _get_response(reply)
        if frame is None or (epcs and not any(each.epc in epcs for each in frame.properties)):
            return (reply,)
        refused = {each.epc for each in frame.properties if whole or not epcs or each.epc in epcs}
        left = tuple(Property(each.epc) if each.epc in refused else each for each in frame.properties)
        return _said(reply, frame._replace(esv=Esv.GET_SNA, properties=left))

    return effect


def refuse_bare(reply: Reply) -> tuple[Reply, ...]:
    """Let a Get be refused (52) without a list of properties: OPC 0."""
    if _get_response(reply) is None:
        return (reply,)
    return (replace(reply, payload=reply.payload[:_ESV_AT] + bytes((Esv.GET_SNA, 0))),)


def reframe(change: Callable[[Frame], Frame]) -> Effect:
    """Let it say what *change* makes of it; what is no whole frame any more is left as it is."""

    def effect(reply: Reply) -> tuple[Reply, ...]:
        frame = _frame(reply.payload)
        return (reply,) if frame is None else _said(reply, change(frame))

    return effect


def rewrite(epc: int, change: Callable[[bytes], bytes]) -> Effect:
    """Let *change* make other data of what *epc* says; where it says nothing, nothing is changed."""

    def changed(frame: Frame) -> Frame:
        said = (Property(epc, change(each.edt)) if each.epc == epc and each.edt else each for each in frame.properties)
        return frame._replace(properties=tuple(said))

    return reframe(changed)


def add_counts(epc: int, counts: int) -> Effect:
    """Let the register at the end of *epc* (E0, E3, EA, EB) slip by *counts*; "no data" stays what it is.

    Source: nordicopen/easee_hass 440 and nekorevend/esphome-emporia-vue-utility 18: one value too high, the next right.
    """

    def slip(edt: bytes) -> bytes:
        if edt[-4:] == NO_DATA:
            return edt
        return edt[:-4] + ((int.from_bytes(edt[-4:], "big") + counts) % 2**32).to_bytes(4, "big")

    return rewrite(epc, slip)


def repeat(epc: int, change: Callable[[bytes], bytes] = lambda edt: edt) -> Effect:
    """Let the frame hold *epc* once more at its end, with what *change* makes of its data."""

    def changed(frame: Frame) -> Frame:
        again = [Property(epc, change(each.edt)) for each in frame.properties if each.epc == epc][:1]
        return frame._replace(properties=(*frame.properties, *again))

    return reframe(changed)


def _frame(payload: bytes) -> Frame | None:
    try:
        return Frame.from_bytes(payload)
    except FrameError:  # another habit has left no whole frame
        return None


def _get_response(reply: Reply) -> Frame | None:
    """Return the frame if it responds to a Get."""
    return _frame(reply.payload) if reply.request is not None and reply.request.esv is Esv.GET else None


def _said(reply: Reply, frame: Frame) -> tuple[Reply, ...]:
    return (replace(reply, payload=frame.to_bytes()),)
