"""Commands: the exact bytes, what is refused, and what is never shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skstack import Dialect, commands
from skstack.commands import Command
from skstack.events import Echo, StatusOk
from skstack.lines import LineBuffer
from skstack.parser import parse_line
from tests.lab.transcripts import TRANSCRIPTS

METER = "FE80:0000:0000:0000:021C:6400:0001:6393"
A = b"FE80:0000:0000:0000:021C:6400:0001:6393"
PASSWORD = "0123456789AB"
ROUTE_B_ID = "00112233445566778899AABBCCDDEEFF"
GET_E7 = bytes.fromhex("1081000105FF010288016201E700")
BREAKS = ["\r", "\n", "\r\n", "\x00", "\x7f", "é", "\u2028", "０"]  # a full-width digit is the point

SINGLE, DUAL = Dialect.SINGLE, Dialect.DUAL

EVERY_COMMAND: list[tuple[Command[Any], bytes]] = [
    (commands.RESET, b"SKRESET\r\n"),
    (commands.ECHO_OFF, b"SKSREG SFE 0\r\n"),
    (commands.STACK_VERSION, b"SKVER\r\n"),
    (commands.MODULE_INFO, b"SKINFO\r\n"),
    (commands.set_password(PASSWORD), b"SKSETPWD C 0123456789AB\r\n"),
    (commands.set_password("!" * 32), b"SKSETPWD 20 " + b"!" * 32 + b"\r\n"),
    (commands.set_route_b_id(ROUTE_B_ID.lower()), b"SKSETRBID 00112233445566778899AABBCCDDEEFF\r\n"),
    (commands.scan(SINGLE, duration=6), b"SKSCAN 2 FFFFFFFF 6\r\n"),
    (commands.scan(DUAL, duration=6), b"SKSCAN 2 FFFFFFFF 6 0\r\n"),
    (commands.scan(DUAL, duration=14, channel=0x21), b"SKSCAN 2 00000001 E 0\r\n"),
    (commands.write_register("S2", "3B"), b"SKSREG S2 3B\r\n"),
    (commands.read_register("SFD"), b"SKSREG SFD\r\n"),
    (commands.join(METER), b"SKJOIN " + A + b"\r\n"),
    (commands.REJOIN, b"SKREJOIN\r\n"),
    (commands.TERMINATE, b"SKTERM\r\n"),
    (commands.PAYLOAD_MODE, b"ROPT\r"),
    (commands.send_udp(SINGLE, METER, GET_E7), b"SKSENDTO 1 " + A + b" 0E1A 1 000E " + GET_E7),
    (commands.send_udp(DUAL, METER, GET_E7), b"SKSENDTO 1 " + A + b" 0E1A 1 0 000E " + GET_E7),
    (commands.send_udp(DUAL, METER, bytes(1232)), b"SKSENDTO 1 " + A + b" 0E1A 1 0 04D0 " + bytes(1232)),
]


@pytest.mark.parametrize(("command", "wire"), EVERY_COMMAND, ids=lambda value: str(value)[:40])
def test_command_is_sent_as(command: Command[Any], wire: bytes) -> None:
    assert command.to_bytes() == wire


@pytest.mark.parametrize(("command", "wire"), EVERY_COMMAND, ids=lambda value: str(value)[:40])
def test_the_echo_of_every_command_is_known_as_one(command: Command[Any], wire: bytes) -> None:
    [line] = LineBuffer().feed(wire + b"\r\n")
    assert parse_line(line) == Echo(command.name)


def test_what_hosts_published_is_what_we_would_send() -> None:
    hosts = {line for transcript in TRANSCRIPTS for who, line in transcript.published["exchange"] if who == "host"}
    ours = {str(command) for command, _ in EVERY_COMMAND if command.payload is None and not command.secret}
    assert hosts & ours >= {"SKRESET", "SKVER", "SKINFO", "SKTERM", "SKSREG SFE 0", "ROPT", "SKSCAN 2 FFFFFFFF 6"}


def test_nothing_here_writes_the_flash_memory() -> None:
    named = {command.name for command, _ in EVERY_COMMAND}
    assert not named & {"WOPT", "WUART", "SKSAVE", "SKERASE"}
    constructors = [
        name for name, value in vars(commands).items() if getattr(value, "__module__", "") == "skstack.commands"
    ]
    assert not [name for name in constructors if any(word in name for word in ("save", "erase", "wopt", "wuart"))]


# --- refused


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: commands.set_password(""), "1 to 32"),
        (lambda: commands.set_password("x" * 33), "1 to 32"),
        (lambda: commands.set_password("with space"), "visible"),
        (lambda: commands.set_route_b_id(ROUTE_B_ID[:-1]), "32 hex"),
        (lambda: commands.set_route_b_id(ROUTE_B_ID + "0"), "32 hex"),
        (lambda: commands.set_route_b_id("G" * 32), "32 hex"),
        (lambda: commands.send_udp(SINGLE, METER, b""), "1 to 1232"),
        (lambda: commands.send_udp(SINGLE, METER, bytes(1233)), "not 1233"),
    ],
)
def test_is_refused(make: Callable[[], object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make()


@pytest.mark.parametrize("broken", BREAKS)
@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        commands.set_password,
        lambda text: commands.set_route_b_id(text.rjust(32, "0")),
        commands.read_register,
        lambda text: commands.write_register("S2", text),
        lambda text: Command(f"SKSETPWD 1 {text}", StatusOk, secret=text),
        lambda text: Command(text, StatusOk),
    ],
)
def test_a_line_end_or_foreign_character_never_gets_onto_the_wire(
    make: Callable[[str], Command[Any]], broken: str, at_end: bool
) -> None:
    value = "0A12" + broken if at_end else "0A" + broken + "12"
    with pytest.raises(ValueError, match=r"\w") as caught:
        make(value).to_bytes()
    assert "0A" not in str(caught.value)
    assert "\r" not in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=40))
def test_any_argument_stays_in_its_line_or_is_refused(text: str) -> None:
    try:
        wire = Command(f"SKSREG {text}", StatusOk).to_bytes()
    except ValueError:
        assert not (text.isascii() and text.isprintable())
    else:
        assert wire == b"SKSREG " + text.encode("ascii") + b"\r\n"
        assert wire.count(b"\r") == wire.count(b"\n") == 1


# --- shown


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (commands.set_password(PASSWORD), "SKSETPWD C ****"),
        (commands.set_route_b_id(ROUTE_B_ID), "SKSETRBID ****"),
        (commands.scan(DUAL, duration=6), "SKSCAN 2 FFFFFFFF 6 0"),
        (
            commands.send_udp(DUAL, METER, GET_E7),  # a log that somebody sends shows what was requested
            f"SKSENDTO 1 {A.decode()} 0E1A 1 0 000E 1081000105FF010288016201E700",
        ),
    ],
)
def test_a_command_is_shown_without_its_secret(command: Command[Any], shown: str) -> None:
    assert str(command) == shown
    assert repr(command) == f"<Command {shown}>"
    assert f"{command}" == shown


def test_a_command_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        commands.RESET.line = "SKERASE"  # type: ignore[misc]  # the very thing that must not work


# --- numbers


@pytest.mark.parametrize(("channel", "mask"), [(0x21, 1), (0x22, 2), (0x31, 0x10000), (0x3C, 0x8000000)])
def test_the_mask_of_a_scan_has_bit_0_for_channel_33(channel: int, mask: int) -> None:
    assert commands.scan(SINGLE, duration=6, channel=channel).line == f"SKSCAN 2 {mask:08X} 6"


@pytest.mark.parametrize(("duration", "seconds"), [(4, 4.57), (6, 17.47), (7, 34.68), (8, 69.08)])
def test_seconds_of_a_scan_of_all_channels(duration: int, seconds: float) -> None:
    # 9.6 ms x (2 ** duration + 1) x 28; published measurements: 17.62 s for 6, 34.72 s for 7.
    assert commands.scan_seconds(duration) == pytest.approx(seconds, abs=0.005)


def test_seconds_of_a_scan_of_one_channel() -> None:
    assert commands.scan_seconds(6, channels=1) == pytest.approx(0.624)
