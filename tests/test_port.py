"""The real serial port: bytes pass as they are, every wait ends, an error names its remedy."""

from __future__ import annotations

import errno
import os
import termios
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import serial

from skstack import PortLostError, SerialPort, commands
from skstack.driver import SkStack
from skstack.events import StackVersion
from skstack.port import OTHER_BAUD_RATES


@dataclass
class Terminal:
    """A pseudo terminal: the device, and the module's end of it."""

    device: str
    module_fd: int
    device_fd: int

    def unplug(self) -> None:
        """Take the module's end away, as a stick that is pulled out."""
        if self.module_fd >= 0:
            os.close(self.module_fd)
            self.module_fd = -1


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    module_fd, device_fd = os.openpty()
    tty.setraw(device_fd)
    opened = Terminal(os.ttyname(device_fd), module_fd, device_fd)
    yield opened
    opened.unplug()
    os.close(device_fd)


# --- the real thing


def test_a_command_and_its_response_pass_through_pyserial(terminal: Terminal) -> None:
    port = SerialPort(terminal.device)

    def answer() -> None:
        assert os.read(terminal.module_fd, 100) == b"SKVER\r\n"
        os.write(terminal.module_fd, b"EVER 1.2")
        os.write(terminal.module_fd, b".10\r\nOK\r\n")

    module = threading.Thread(target=answer)
    module.start()
    try:
        assert SkStack(port).execute(commands.STACK_VERSION) == StackVersion("1.2.10")
    finally:
        module.join()
        port.close()


def test_a_read_returns_what_has_come_at_once(terminal: Terminal) -> None:
    port = SerialPort(terminal.device)
    os.write(terminal.module_fd, b"OK\r\n")
    began = time.monotonic()
    assert port.read(10.0) == b"OK\r\n"
    assert time.monotonic() - began < 5.0
    port.close()


def test_a_read_ends_with_its_timeout(terminal: Terminal) -> None:
    port = SerialPort(terminal.device)
    began = time.monotonic()
    assert port.read(0.05) == b""
    assert port.read(-1.0) == b""
    assert 0.04 < time.monotonic() - began < 5.0
    port.close()


def test_binary_bytes_pass_unchanged_in_both_directions(terminal: Terminal) -> None:
    port = SerialPort(terminal.device)
    everything = bytes(range(256))
    port.write(everything)
    assert os.read(terminal.module_fd, 300) == everything
    os.write(terminal.module_fd, everything)
    received = b""
    while len(received) < 256:
        received += port.read(5.0)
    assert received == everything
    port.close()


@pytest.mark.parametrize("baud_rate", OTHER_BAUD_RATES)
def test_every_rate_that_wuart_can_set_can_be_opened(terminal: Terminal, baud_rate: int) -> None:
    SerialPort(terminal.device, baud_rate).close()


# --- a signal


def test_a_readable_wake_descriptor_ends_a_wait(terminal: Terminal) -> None:
    wake_fd, signal_fd = os.pipe()
    port = SerialPort(terminal.device, wake_fd=wake_fd)
    os.write(signal_fd, b"\0\0")
    began = time.monotonic()
    assert port.read(10.0) == b""
    assert time.monotonic() - began < 5.0
    assert port.read(0.01) == b""  # it was drained: the next wait is a whole one
    port.close()
    os.close(wake_fd)
    os.close(signal_fd)


def test_a_wake_up_loses_no_bytes(terminal: Terminal) -> None:
    wake_fd, signal_fd = os.pipe()
    port = SerialPort(terminal.device, wake_fd=wake_fd)
    os.write(signal_fd, b"\0")
    os.write(terminal.module_fd, b"OK\r\n")
    assert port.read(5.0) + port.read(5.0) == b"OK\r\n"
    port.close()
    os.close(wake_fd)
    os.close(signal_fd)


# --- what cannot be opened


def test_a_missing_device_is_reported_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PortLostError, match="is not there: plug the stick in") as caught:
        SerialPort(str(tmp_path / "ttyUSB0"))
    assert str(tmp_path / "ttyUSB0") in str(caught.value)


def test_a_device_in_use_is_reported_with_what_to_do(terminal: Terminal) -> None:
    first = SerialPort(terminal.device)
    with pytest.raises(PortLostError, match="is in use: stop the other program"):
        SerialPort(terminal.device)
    first.close()
    SerialPort(terminal.device).close()


def test_a_file_is_no_serial_port(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PortLostError, match="is not a serial port"):
        SerialPort(str(tmp_path / "file"))
    with pytest.raises(PortLostError, match="is not a serial port"):
        SerialPort(str(tmp_path))


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOENT, "plug the stick in"),
        (errno.ENXIO, "plug the stick in"),
        (errno.ENODEV, "plug the stick in"),
        (errno.EACCES, "dialout"),
        (errno.EPERM, "dialout"),
        (errno.EBUSY, "stop the other program"),
        (errno.EAGAIN, "stop the other program"),
        (errno.EIO, "cannot be opened"),
    ],
)
def test_every_refusal_of_the_system_has_its_remedy(number: int, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise serial.SerialException(number, f"could not open port /dev/ttyUSB0: {os.strerror(number)}")

    monkeypatch.setattr(serial, "Serial", refuse)
    with pytest.raises(PortLostError, match=remedy):
        SerialPort("/dev/ttyUSB0")


def test_a_device_that_goes_while_it_is_opened_is_reported_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def vanish(*_args: object, **_options: object) -> None:
        raise termios.error(errno.EIO, "Input/output error")  # pyserial lets it through when it flushes the input

    monkeypatch.setattr(serial, "Serial", vanish)
    with pytest.raises(PortLostError, match="cannot be opened"):
        SerialPort("/dev/ttyUSB0")


# --- what goes away


def test_an_unplugged_device_is_reported_by_read_and_write(terminal: Terminal) -> None:
    port = SerialPort(terminal.device)
    terminal.unplug()
    with pytest.raises(PortLostError, match="was unplugged"):
        port.read(5.0)
    with pytest.raises(PortLostError, match="was unplugged"):
        port.write(b"SKVER\r\n")
    port.close()


@contextmanager
def reads_that_raise(code: int) -> Iterator[None]:
    """Let each os.read fail as the kernel reports *code*."""

    def fail(*_arguments: object) -> bytes:
        raise OSError(code, os.strerror(code))  # of the class for its code, such as BlockingIOError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "read", fail)
        yield


def test_a_device_that_fails_is_reported_unplugged_with_the_reason(terminal: Terminal) -> None:
    port = SerialPort(terminal.device)
    os.write(terminal.module_fd, b"OK\r\n")
    expected = r"was unplugged \(Input/output error\)"
    with reads_that_raise(errno.EIO), pytest.raises(PortLostError, match=expected):
        port.read(5.0)
    port.close()


def test_a_device_that_has_nothing_after_all_is_not_lost(terminal: Terminal) -> None:
    """A descriptor that poll calls readable may still have nothing to read (poll(2), select(2): Bugs)."""
    port = SerialPort(terminal.device)
    os.write(terminal.module_fd, b"OK\r\n")
    with reads_that_raise(errno.EAGAIN):
        assert port.read(5.0) == b""
    assert port.read(5.0) == b"OK\r\n"
    port.close()


def test_a_device_that_cannot_be_closed_is_closed_all_the_same(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: serial.Serial) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    port = SerialPort(terminal.device)
    with monkeypatch.context() as patch:
        patch.setattr(serial.Serial, "close", fail)
        port.close()
    with pytest.raises(PortLostError, match="is closed"):
        port.read(0.0)


def test_an_unplugged_device_ends_a_wait_at_once(terminal: Terminal) -> None:
    port = SerialPort(terminal.device)
    puller = threading.Timer(0.05, terminal.unplug)
    puller.start()
    began = time.monotonic()
    with pytest.raises(PortLostError):
        port.read(30.0)
    assert time.monotonic() - began < 10.0
    puller.join()
    port.close()


def test_a_device_that_takes_nothing_any_more_is_lost(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skstack.port.WRITE_TIMEOUT_S", 0.1)
    port = SerialPort(terminal.device)
    with pytest.raises(PortLostError, match="took no data"):
        port.write(bytes(1_000_000))  # nobody reads: the terminal's buffer fills
    port.close()


def test_a_closed_port_is_lost_and_closing_twice_is_harmless(terminal: Terminal) -> None:
    port = SerialPort(terminal.device)
    port.close()
    port.close()
    with pytest.raises(PortLostError):
        port.read(0.0)
    with pytest.raises(PortLostError):
        port.write(b"\r\n")
