"""The simulator on a pseudo terminal: bytes as they are, the link kept in order, the options as described."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
import serial

from pseudo_terminal import Device, serve, terminal_at
from skstack.simulator import INSTANT, MODELS, SimulatedMeter, SimulatedModule
from skstack.simulator.__main__ import build_module, build_parser, main
from tests.lab.devices import Babbling, Deaf
from tests.lab.module import NOON, make_meter

pytestmark = pytest.mark.system


@contextmanager
def served(link: Path, device: Device | None = None) -> Iterator[int]:
    """Serve *device*, or an instant module, at *link* in a thread; yield the file descriptor that stops it."""
    stop_fd, told_fd = os.pipe()
    device = device or SimulatedModule(make_meter(), timing=INSTANT, echo=False)
    begun = time.monotonic()
    with terminal_at(link) as master_fd:
        thread = threading.Thread(
            target=serve,
            args=(device, master_fd),
            kwargs={"stop_fd": stop_fd, "now": lambda: NOON + time.monotonic() - begun},
        )
        thread.start()
        try:
            yield told_fd
        finally:
            os.write(told_fd, b"q")
            thread.join(timeout=10)
    assert not thread.is_alive()
    os.close(stop_fd)
    os.close(told_fd)


def execute(port: serial.Serial, command: bytes) -> bytes:
    port.write(command)
    return port.read_until(b"OK\r\n")


def test_a_client_may_close_the_terminal_and_open_it_again(tmp_path: Path) -> None:
    link = tmp_path / "tty"
    with served(link):
        for _ in range(2):
            with serial.Serial(str(link), 115_200, timeout=30) as port:
                assert execute(port, b"SKVER\r\n") == b"EVER 1.5.2\r\nOK\r\n"


def test_a_device_may_drip_flood_be_deaf_or_never_read(tmp_path: Path) -> None:
    link = tmp_path / "tty"
    with served(link, Babbling.drip(every_s=0.02, start=NOON)), serial.Serial(str(link), timeout=30) as port:
        assert port.read(5) == b"....."
    with served(link, Babbling.flood(start=NOON)), serial.Serial(str(link), timeout=30) as port:
        assert b"EVENT 20\r\n" in port.read(4000)
    with served(link, Deaf()) as stop_fd, serial.Serial(str(link), timeout=0.2, write_timeout=30) as port:
        port.write(bytes(100_000))
        os.write(stop_fd, b"a")  # it has no meter that could announce anything
        assert port.read(1) == b""
    with served(link, Deaf(reads=False)), serial.Serial(str(link), write_timeout=0.2) as port:
        with pytest.raises(serial.SerialTimeoutException):
            port.write(bytes(100_000))
        port.reset_output_buffer()


def test_the_terminal_passes_every_byte_as_it_is(tmp_path: Path) -> None:
    link = tmp_path / "tty"
    with served(link), serial.Serial(str(link), 115_200, timeout=30) as port:
        assert execute(port, b"SKSREG SFE 1\r\n") == b"OK\r\n"
        typed = bytes(byte for byte in range(1, 256) if byte not in b"\r\n")
        port.write(typed)
        assert port.read(len(typed)) == typed


def test_a_stale_link_is_replaced_and_removed_at_the_end(tmp_path: Path) -> None:
    link = tmp_path / "tty"
    link.symlink_to("/nowhere")
    with terminal_at(link):
        assert link.resolve().is_char_device()
    assert not link.is_symlink()


def test_what_is_no_link_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = tmp_path / "tty"
    link.write_text("precious")
    assert main(["--link", str(link)]) == 1
    assert str(link) in capsys.readouterr().err
    assert link.read_text() == "precious"


def test_the_command_line_chooses_module_and_meter() -> None:
    words = "--link x --binary --instant --no-d3 --no-export --two-wire --infc --second-generation --unit 0A"
    args = build_parser().parse_args([*words.split(), "--model", "BP35A1", "--start", "2026-06-01T12:00"])
    module = build_module(args, NOON)
    assert module.model == MODELS["BP35A1"]
    assert module.timing == INSTANT
    module.receive(b"ROPT\r", NOON)
    assert module.take_output(NOON).endswith(b"OK 00\r")
    options = module.meter.options
    assert (options.lacks, options.measures_export, options.two_wire) == (frozenset({0xD3}), False, True)
    assert (options.confirmed_notifications, options.second_generation, options.unit_code) == (True, True, 0x0A)
    assert args.start == datetime(2026, 6, 1, 12, 0)  # noqa: DTZ001 - Japan time is meant where none is given


def test_the_meter_has_a_past_longer_than_its_history() -> None:
    module = build_module(build_parser().parse_args(["--link", "x"]), NOON)
    meter: SimulatedMeter = module.meter
    assert NOON - meter.installed_at > 100 * 86_400
