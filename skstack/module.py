"""From a silent port to a module that knows its credentials: open, wake, reset, probe, set up.

Blocking, and bounded: under a second for a healthy module, about 5 s for a silent one at each baud rate, half a minute
for one that responds to each command as late as it may.
Nothing here writes the module's flash: WOPT, WUART and SKSAVE are never sent.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from skstack import commands
from skstack.commands import Command, ResponseT
from skstack.driver import COMMAND_TIMEOUT_S, Module, SkStack, Waiting
from skstack.errors import (
    CommandFailedError,
    ModuleNotRespondingError,
    ModuleUnsupportedError,
    SkStackTimeoutError,
)
from skstack.events import Dialect
from skstack.port import FACTORY_BAUD_RATE, OTHER_BAUD_RATES

logger = logging.getLogger(__name__)

BAUD_RATES = (FACTORY_BAUD_RATE, *OTHER_BAUD_RATES)
RESET_TIMEOUT_S = 5.0  # SKRESET was seen to take 0.6 s
_PROBE_TIMEOUT_S = 1.0  # for a module that did not respond in COMMAND_TIMEOUT_S
_LATE_RESPONSE_S = 0.5  # in the logs no response but that of SKRESET took more than 0.34 s

# J11 firmware speaks binary frames and responds to any well-framed request. Source: ROHM BP35Cx-J11 UART interface.
_J11_MAGIC_REQUEST = bytes.fromhex("D0EA83FC")
_J11_MAGIC_RESPONSE = bytes.fromhex("D0F9EE5D")
_J11_GET_VERSION = 0x006B


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the utility sent for the B-route service; never shown."""

    route_b_id: str = field(repr=False)
    password: str = field(repr=False)

    @property
    def pairing_id(self) -> str:
        """The last 8 characters of the ID: what a scan filters by. Source: command reference 4.20."""
        return self.route_b_id[-8:].upper()


StackOpener = Callable[[int], SkStack]  # opens the port at the given baud rate; raises PortLostError


def open_at(baud_rate: int, open_stack: StackOpener, credentials: Credentials) -> Module | None:
    """Open the port at one of BAUD_RATES and set the module up; None, and the port closed, if it is silent there.

    Raises: PortLostError: no such device, refused or busy. ModuleUnsupportedError: J11 firmware. SkStackError: it
        responds, but not as a module should. StoppedError.
    """
    with contextlib.ExitStack() as unless_it_responds:  # a port left open would be busy for the next attempt
        stack = open_stack(baud_rate)
        unless_it_responds.callback(stack.close)
        if wake(stack):
            module = set_up(stack, credentials, baud_rate=baud_rate)
            unless_it_responds.pop_all()
            return module
        if baud_rate == FACTORY_BAUD_RATE and _speaks_j11(stack):
            raise ModuleUnsupportedError(
                "the module speaks the binary J11 protocol (BP35C1-J11, RS-WSUHA-J11 ...), which is not supported",
                "use a module with SK firmware (BP35A1, BP35C2, RL7023, RS-WSUHA-P)",
            )
    return None


def open_module(baud_rates: Sequence[int], open_stack: StackOpener, credentials: Credentials) -> Waiting[Module]:
    """Return the module, set up, at the first of *baud_rates* at which it responds.

    Yields after each rate, since each takes seconds: the caller may look at the clock. It yields a time in the past,
    so that it goes on at once.
    Raises: ModuleNotRespondingError: it is silent at all of them. As open_at.
    """
    for baud_rate in baud_rates:
        module = open_at(baud_rate, open_stack, credentials)
        if module is not None:
            return module
        yield 0.0
    raise ModuleNotRespondingError(
        "the module does not respond at any baud rate",
        "see that [routeB] device names the Wi-SUN module; if it does, unplug it and plug it in again",
    )


def reset(module: Module, credentials: Credentials) -> Module:
    """Set an open *module* up anew. Raises: ModuleNotRespondingError: it is silent. As set_up."""
    if not wake(module.stack):
        raise ModuleNotRespondingError("the module no longer responds")
    return set_up(module.stack, credentials, baud_rate=module.baud_rate)


def wake(stack: SkStack) -> bool:
    """Bring the module to where it takes commands; False if it is silent. Raises: PortLostError, StoppedError."""
    stack.synchronise()
    if _responds(stack, COMMAND_TIMEOUT_S):
        return True
    stack.fill_data_entry()
    stack.synchronise()
    return _responds(stack, _PROBE_TIMEOUT_S)


def set_up(stack: SkStack, credentials: Credentials, *, baud_rate: int = FACTORY_BAUD_RATE) -> Module:
    """Reset the module, learn its dialect and give it the credentials; the session and the echo are off afterwards.

    Raises: SkStackError: the module refused or stopped responding.
    """

    def attempt(command: Command[ResponseT]) -> ResponseT | None:
        """Execute what a module need not offer; None where it refuses or says nothing."""
        try:
            return stack.execute(command)
        except (CommandFailedError, SkStackTimeoutError) as error:
            logger.debug("not offered by this module: %s", error)
            return None

    stack.execute(commands.RESET, timeout_s=RESET_TIMEOUT_S)
    attempt(commands.ECHO_OFF)
    version = attempt(commands.STACK_VERSION)
    info = stack.execute(commands.MODULE_INFO)
    if info.dialect is None:
        logger.warning("the module does not give its dialect (EINFO): assuming dual-stack")
    stack.execute(commands.set_password(credentials.password))
    stack.execute(commands.set_route_b_id(credentials.route_b_id))
    firmware = version.version if version else None
    return Module(stack, info.dialect or Dialect.DUAL, info.mac, firmware, baud_rate)


def prints_binary(module: Module) -> bool | None:
    """Read how the module prints payloads (ROPT), without changing it; None: only ROHM's have ROPT, others print hex.

    Raises: SkStackError.
    """
    try:
        return module.stack.execute(commands.PAYLOAD_MODE).value == "00"
    except CommandFailedError as error:
        if error.code == "ER04":
            return None
        raise


def _responds(stack: SkStack, timeout_s: float) -> bool:
    """Read the version, twice: the first SKVER after power-up was seen to fail (transcripts, start-up)."""
    for _ in range(2):
        try:
            stack.execute(commands.STACK_VERSION, timeout_s=timeout_s)
        except CommandFailedError:
            pass
        except SkStackTimeoutError:
            return False
        else:
            return True
        stack.drain(_LATE_RESPONSE_S)  # FAIL was for our line end; SKVER's own must not pass for what follows
    return True  # it did respond, if only with FAIL


def _speaks_j11(stack: SkStack) -> bool:
    header = _J11_MAGIC_REQUEST + _J11_GET_VERSION.to_bytes(2, "big") + (4).to_bytes(2, "big")
    request = header + (sum(header) & 0xFFFF).to_bytes(2, "big") + bytes(2)
    return _J11_MAGIC_RESPONSE in stack.exchange_raw(request, timeout_s=_PROBE_TIMEOUT_S)
