"""What systemd hears from us, on a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from poller.process import Notifier


@contextmanager
def listening(address: str | bytes) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(5)
        yield listener


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with listening(str(tmp_path / "notify")) as bound:
        yield bound


def environ(listener: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": listener.getsockname(), **more}


def test_each_message_is_one_datagram_in_order(listener: socket.socket) -> None:
    notifier = Notifier(environ(listener, WATCHDOG_USEC="90000000"))
    notifier.ready()
    notifier.status("552 W at 12:00")
    notifier.watchdog()
    notifier.stopping()
    heard = [listener.recv(1024) for _ in range(4)]
    assert heard == [b"READY=1", b"STATUS=552 W at 12:00", b"WATCHDOG=1", b"STOPPING=1"]


def test_a_name_in_the_abstract_namespace_is_understood() -> None:
    name = f"power-consumption-test-{os.getpid()}"
    with listening(b"\0" + name.encode()) as listener:
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert listener.recv(1024) == b"READY=1"


def test_the_status_may_be_japanese(listener: socket.socket) -> None:
    Notifier(environ(listener)).status("売電中")
    assert listener.recv(1024) == "STATUS=売電中".encode()


@pytest.mark.parametrize(
    ("text", "datagram"),
    [("waiting\nMAINPID=1", b"STATUS=waiting"), ("waiting\r\nREADY=1", b"STATUS=waiting"), ("", b"STATUS=")],
)
def test_a_status_cannot_smuggle_in_another_message(listener: socket.socket, text: str, datagram: bytes) -> None:
    Notifier(environ(listener)).status(text)
    assert listener.recv(1024) == datagram


def test_a_lone_surrogate_in_a_status_does_no_harm(listener: socket.socket) -> None:
    Notifier(environ(listener)).status("port \udcff lost")
    assert listener.recv(1024) == b"STATUS=port ? lost"


def test_outside_of_systemd_nothing_happens(caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier({})
    notifier.ready()
    notifier.status("x")
    notifier.watchdog()
    notifier.stopping()
    assert notifier.watchdog_interval_s is None
    assert caplog.messages == []


@pytest.mark.parametrize("name", ["/nowhere/notify", "/" + "x" * 200, "@" + "x" * 200])
def test_a_socket_that_is_gone_is_reported_once_and_harms_nobody(name: str, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready()
    notifier.status("x")
    notifier.stopping()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_an_address_of_another_kind_is_reported_and_not_used(caplog: pytest.LogCaptureFixture) -> None:
    Notifier({"NOTIFY_SOCKET": "vsock:2:1234"}).ready()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_full_socket_does_not_hold_the_poller_up(listener: socket.socket) -> None:
    notifier = Notifier(environ(listener))
    # Nobody reads: the kernel queues this many datagrams and no more.
    depth = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
    for _ in range(depth + 5):
        notifier.ready()
    assert listener.recv(1024) == b"READY=1"


@pytest.mark.parametrize(
    ("variables", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "180000000"}, 180.0),
        ({"WATCHDOG_USEC": "180000000", "WATCHDOG_PID": str(os.getpid())}, 180.0),
        ({"WATCHDOG_USEC": "180000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "180000000", "WATCHDOG_PID": "x"}, None),
        ({"WATCHDOG_USEC": "500000"}, 0.5),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_USEC": "9" * 400}, None),
    ],
)
def test_the_watchdog_is_ours_only_if_systemd_says_so(variables: dict[str, str], interval_s: float | None) -> None:
    assert Notifier(variables).watchdog_interval_s == interval_s


def test_without_a_watchdog_nobody_is_notified_of_being_alive(listener: socket.socket) -> None:
    notifier = Notifier(environ(listener))
    notifier.watchdog()
    notifier.stopping()
    assert listener.recv(1024) == b"STOPPING=1"
