"""The modules that can be simulated, as data: what differs between them, and how long each thing takes."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Model:
    """One Wi-SUN module. Everything in which the simulated ones differ stands here.

    Source: BP35A1 command reference 1.3.0, and logs of real modules.
    """

    name: str
    has_side: bool  # dual-stack: commands and lines carry the side, B-route or HAN
    firmware: str  # EVER
    application: str | None  # EAPPVER; None: SKAPPVER fails with ER04
    mac: str
    has_product_commands: bool = True  # ROPT, WOPT, RUART, WUART are ROHM's own
    echoes_payload: bool = False  # the echo of SKSENDTO goes on with the raw bytes
    connected_param: str | None = None  # some firmware prints EVENT 25 with a parameter
    info_tail: str = ""  # some firmware leaves a blank at the end of EINFO
    blank_lines_after_join: int = 0  # empty lines after the instance list


MODELS = {
    model.name: model
    for model in (
        Model("BP35A1", False, "1.2.10", "rev26e", "001D129000012345"),
        Model("BP35C2", True, "1.5.2", "rev12", "001D129000020608", blank_lines_after_join=4),
        Model("RS-WSUHA-P", True, "1.5.2", "rev12", "001D12900002E578"),
        Model(
            "RL7023 Stick-D/IPS",
            False,
            "1.3.0",
            "rev1",
            "100723FFFE0177E3",
            has_product_commands=False,
            echoes_payload=True,
            connected_param="00",
        ),
        Model(
            "RL7023 Stick-D/DSS",
            True,
            "1.4.4",
            None,
            "100723FFFE0212A4",
            has_product_commands=False,
            info_tail=" ",
            blank_lines_after_join=4,
        ),
    )
}
"""Every model by its name. The versions of RS-WSUHA-P and BP35A1 are from logs, the others are plausible."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the module and the meter take, seconds. The defaults are what real ones were seen to take."""

    byte_s: float = 10 / 115_200  # 115200 baud, 8N1
    command_s: float = 0.004  # 3 to 10 ms to an OK
    pause_s: float = 0.0  # added to the usual time of each command
    reset_s: float = 0.6  # SKRESET to its OK
    address_s: float = 0.1  # SKLL64
    send_s: float = 0.13  # SKSENDTO to EVENT 21; 0.115 to 0.343 s in 38 sends
    confirm_s: float = 0.001  # EVENT 21 to OK
    reply_s: float = 0.35  # EVENT 21 to the meter's response, one property
    more_s: float = 0.25  # and for each property more
    history_s: float = 1.2  # and for a property of some two hundred bytes
    scan_unit_s: float = 0.0096  # times 2^D + 1 for each channel, command reference 4.12
    scan_gap_s: float = 0.02  # between channels; 28 of them at D = 6 then take the 18.0 s of a log
    pana_step_s: float = 0.55  # five steps of the handshake: 3.3 s in a log
    refusal_s: float = 9.0  # a wrong password
    unreachable_s: float = 38.0  # nobody there: 2 + 4 + 8 * 4 s of repeated attempts
    instance_list_s: float = 3.1  # EVENT 25 to the meter's instance list
    terminate_s: float = 0.5  # SKTERM to EVENT 27
    terminate_timeout_s: float = 10.0  # SKTERM to EVENT 28 if the meter is silent

    def scan_channel_s(self, duration: int) -> float:
        """Return the time one channel takes in a scan of this *duration* (0 to 14)."""
        return self.scan_unit_s * ((1 << duration) + 1) + self.scan_gap_s

    def response_s(self, epcs: list[int]) -> float:
        """Return how long the meter thinks about a request for *epcs*."""
        histories = len({0xE2, 0xE4, 0xEC, 0xEE}.intersection(epcs))
        return self.reply_s + self.more_s * max(len(epcs) - 1, 0) + self.history_s * histories


REALISTIC = Timing()

INSTANT = Timing(*[0.0] * len(fields(Timing)))
"""Nothing takes time, and the order of things is the same."""
