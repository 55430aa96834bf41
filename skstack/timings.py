"""How long the radio waits for what, and how long it rests between two attempts."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RecoveryTimings:
    """Seconds. Source of what is waited for: BP35A1 command reference 4.4, 4.5 and 5.11; the pauses are our choice."""

    join_timeout_s: float = 60.0  # 38 to 40 s is the worst estimate
    renewal_timeout_s: float = 60.0  # after EVENT 29 without 24 or 25: join
    limit_check_s: float = 120.0  # how often SFB is read while EVENT 32 holds us, should EVENT 33 be lost
    first_pause_s: float = 10.0  # doubled with each attempt of a step, until the meter has responded
    longest_pause_s: float = 120.0
    longest_reopen_pause_s: float = 30.0  # looking for a missing device disturbs nobody
    silent_pause_s: float = 60.0  # between handshakes with a meter that then stays silent
    longest_silent_pause_s: float = 300.0
    well_s: float = 900.0  # without a failure: then the next one is new, and is logged


@dataclass(frozen=True, slots=True)
class SessionTimings:
    """Seconds, unless the name says otherwise. Source of the timers: AIF specification 1.01, section 2.4.2."""

    response_timeout_s: float = 20.0  # then the request is repeated; AIF response-wait timer 1
    longest_wait_s: float = 60.0  # a response may take this long; AIF response-wait timer 2
    send_retry_s: float = 5.0  # after EVENT 21 01, as peers do
    request_pause_s: float = 0.2  # between a response and the next request
    silent_attempts: int = 3  # in a row without a response: the session may be dead
    close_timeout_s: float = 4.0  # SKTERM is over with EVENT 27 or 28; a module that hangs costs no more than this
    recovery: RecoveryTimings = field(default_factory=RecoveryTimings)
