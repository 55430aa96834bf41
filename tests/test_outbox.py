"""The outbox: exact, in order, and never in the way, whatever happens to its file or its disk."""

from __future__ import annotations

import errno
import json
import logging
import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from zlib import crc32

import pytest

from storage.errors import OutboxError
from storage.line_file import LineFile, Reserve
from storage.outbox import Outbox
from storage.outbox_files import Rejected, RejectedFile
from storage.records import RadioEventRow, Round
from storage.rows_json import round_to_json
from tests.lab.database import full_round, power_row, round_of
from tests.lab.disk import FAILING, FULL, READ_ONLY, Disk, Refusal

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parent.parent
NOW = datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def path(data_dir: Path) -> Path:
    return data_dir / "outbox.rounds"


@pytest.fixture
def outbox(data_dir: Path) -> Iterator[Outbox]:
    with closing(Outbox(data_dir)) as opened:
        yield opened


def rounds_in(outbox: Outbox, limit: int = 20_000) -> list[Round]:
    return list(outbox.oldest(limit).rounds)


def append_all(outbox: Outbox, numbers: range) -> None:
    for number in numbers:
        outbox.append(round_of(number))


def deliver_all(outbox: Outbox) -> list[Round]:
    """Take everything out, batch by batch."""
    delivered: list[Round] = []
    while (batch := outbox.oldest(100)).rounds:
        outbox.remove(batch)
        delivered += batch.rounds
    return delivered


def rejected_in(data_dir: Path) -> list[tuple[str, str]]:
    lines = (data_dir / "outbox.rejected").read_text("ascii").splitlines()
    found = [json.loads(line.partition(" ")[2]) for line in lines]
    return [(each["reason"], each["body"]) for each in found]


def refused_in(outbox: Outbox) -> list[Round]:
    return [stored for _, stored in outbox.refused()]


def change_line(path: Path, number: int, change: Callable[[bytes], bytes]) -> None:
    """Change a line of a file by hand."""
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number] = change(lines[number])
    path.write_bytes(b"".join(lines))


def messages(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


# --- order


def test_rounds_come_out_in_the_order_they_went_in_and_only_once(outbox: Outbox) -> None:
    append_all(outbox, range(5))
    first = outbox.oldest(3)
    assert list(first.rounds) == [round_of(number) for number in range(3)]
    assert outbox.oldest(3).rounds == first.rounds  # until they are removed
    outbox.remove(first)
    append_all(outbox, range(5, 6))
    assert rounds_in(outbox) == [round_of(number) for number in (3, 4, 5)]
    assert outbox.count() == 3


def test_rounds_are_still_there_for_the_next_run(outbox: Outbox, data_dir: Path) -> None:
    append_all(outbox, range(3))
    outbox.remove(outbox.oldest(1))
    outbox.close()
    with closing(Outbox(data_dir)) as next_run:
        append_all(next_run, range(3, 4))
        assert rounds_in(next_run) == [round_of(number) for number in (1, 2, 3)]


def test_the_files_are_for_their_owner_only(outbox: Outbox, data_dir: Path) -> None:
    before = os.umask(0)
    try:
        append_all(outbox, range(1))
    finally:
        os.umask(before)
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert {each.name: stat.S_IMODE(each.stat().st_mode) for each in data_dir.iterdir()} == {
        name: 0o600 for name in ("outbox.rounds", "outbox.reserve")
    }


def test_a_round_can_be_read_by_another_process_before_append_returns(outbox: Outbox, path: Path) -> None:
    outbox.append(full_round(1))
    body = round_to_json(full_round(1))
    assert path.read_text("ascii").rstrip("\0") == f"{crc32(f'1 0 {body}'.encode()):08x} 1 0 {body}\n"


def test_half_a_surrogate_pair_which_no_encoding_takes_is_kept_all_the_same(outbox: Outbox) -> None:
    broken_text = Round((RadioEventRow(NOW, "scan", detail="a\ud800b"),))
    outbox.append(broken_text)
    assert rounds_in(outbox) == [broken_text]


def test_another_process_may_count_what_waits(outbox: Outbox, data_dir: Path) -> None:
    """As --check does, beside the poller: what was delivered is written down with the next round."""
    append_all(outbox, range(3))
    outbox.remove(outbox.oldest(2), [Rejected.of(round_of(0), "out of range", is_final=False)])
    append_all(outbox, range(3, 4))
    before = sorted(data_dir.iterdir())
    with closing(Outbox(data_dir)) as other:
        assert (other.count(), other.count_rejected()) == (2, 1)
    assert sorted(data_dir.iterdir()) == before
    append_all(outbox, range(4, 5))
    assert rounds_in(outbox) == [round_of(number) for number in (2, 3, 4)]


def test_the_file_of_years_without_an_outage_stays_small(
    outbox: Outbox, path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.line_file.ROOM_BYTES", 3000)
    for number in range(200):
        append_all(outbox, range(number, number + 1))
        assert rounds_in(outbox) == [round_of(number)]
        outbox.remove(outbox.oldest(1))
        assert path.stat().st_size < 3500
    append_all(outbox, range(200, 203))
    with closing(Outbox(data_dir)) as after_kill_9:
        assert rounds_in(after_kill_9)[-3:] == [round_of(number) for number in (200, 201, 202)]


@pytest.mark.parametrize("refusal", [READ_ONLY, FULL])
def test_what_was_delivered_does_not_come_again_where_the_file_cannot_be_begun_anew(
    outbox: Outbox, path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch, refusal: Refusal
) -> None:
    monkeypatch.setattr("storage.line_file.ROOM_BYTES", 1000)
    append_all(outbox, range(20))
    assert len(deliver_all(outbox)) == 20
    assert path.stat().st_size > 1000
    disk = Disk(data_dir)
    with disk.in_use():
        disk.refusal = refusal
        append_all(outbox, range(20, 22))
        assert deliver_all(outbox) == [round_of(20), round_of(21)]
        append_all(outbox, range(22, 23))
        disk.refusal = None
        append_all(outbox, range(23, 24))
    assert deliver_all(outbox) == [round_of(22), round_of(23)]
    assert outbox.count() == 0


def test_a_week_without_a_database_takes_little_disk(outbox: Outbox, path: Path) -> None:
    for number in range(1000):
        outbox.append(Round(full_round(number).rows[:4]))
    assert path.stat().st_size < 1000 * 900  # 4 rows a round


# --- what is wrong with a round


def test_a_row_of_the_wrong_kind_is_rejected_and_the_rest_of_its_round_is_kept(
    outbox: Outbox, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    naive = replace(power_row(2), measured_at=datetime(2024, 3, 1))  # noqa: DTZ001 - it is to be refused
    outbox.append(Round((power_row(1), naive, power_row(3))))
    assert rounds_in(outbox) == [Round((power_row(1), power_row(3)))]
    [(reason, body)] = rejected_in(path.parent)
    assert "measured_at: expected a time with its zone" in reason
    assert body == repr(naive)
    assert len(messages(caplog, logging.ERROR)) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(b'"power_w":2', b'"power_w":6'),
        lambda line: line.replace(b"17.1", b"17.9"),
        lambda line: line[:9] + b"[" + line[9:],
        lambda _: b"\xff\xfe\x00\n",
        lambda _: b"0\n",
        lambda line: b"0" + line[1:] if line[:1] != b"0" else b"1" + line[1:],
        lambda line: b"none" + line[8:],
        lambda line: line[:-20] + b"\n",
    ],
)
def test_a_round_that_is_not_what_was_written_is_rejected_and_blocks_nothing(
    outbox: Outbox, path: Path, change: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    append_all(outbox, range(5))
    change_line(path, 2, change)
    for _ in range(2):
        assert rounds_in(outbox) == [round_of(number) for number in (0, 1, 3, 4)]
    assert outbox.count() == 4
    [(reason, _)] = rejected_in(path.parent)
    assert reason == "unreadable: its checksum does not fit"
    assert len(messages(caplog, logging.ERROR)) == 1


@pytest.mark.parametrize(
    "body", ["[" * 100_000, '[["power",' * 20_000, "[" * 90_000 + "]" * 90_000, '"' + "x" * 2_000_000]
)
def test_a_round_that_is_deep_or_huge_is_rejected(outbox: Outbox, path: Path, body: str) -> None:
    append_all(outbox, range(2))
    with path.open("ab") as file:
        file.write(f"{crc32(f'1 0 {body}'.encode()):08x} 1 0 {body}\n".encode())
    outbox.append(round_of(3))
    assert rounds_in(outbox) == [round_of(0), round_of(1), round_of(3)]
    assert len(rejected_in(path.parent)) == 1


def test_what_was_just_appended_is_given_in_order_and_no_more_than_asked_for(data_dir: Path) -> None:
    """It need not be read back, but what was taken over behind it must be, and a part of it."""
    disk = Disk(data_dir)
    with disk.in_use(), closing(Outbox(data_dir)) as outbox:
        disk.refusal = FULL
        append_all(outbox, range(3))
        disk.refusal = None
        outbox.settle()
        assert outbox.rounds_in_memory == 0
        assert rounds_in(outbox, 2) == [round_of(0), round_of(1)]
        disk.refusal = Refusal(errno.EIO, at_read=True)
        assert rounds_in(outbox) == [round_of(0), round_of(1), round_of(2)]
        disk.refusal = None
        outbox.adopt([round_to_json(round_of(3))], [])
        assert deliver_all(outbox) == [round_of(number) for number in range(4)]


def test_a_round_of_a_later_release_is_delivered_when_that_is_installed_again(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def has_no_such_column(_text: str) -> Round:
        raise ValueError("not a round: KeyError 'reactive_kvarh'")

    with closing(Outbox(data_dir)) as later_release:
        append_all(later_release, range(1))
    with monkeypatch.context() as earlier_release, closing(Outbox(data_dir)) as outbox:
        earlier_release.setattr("storage.outbox_files.round_from_json", has_no_such_column)
        assert rounds_in(outbox) == []
        assert outbox.count_rejected() == 1
    with closing(Outbox(data_dir)) as next_run:
        assert refused_in(next_run) == [round_of(0)]


def test_an_outage_that_a_later_release_recorded_is_rejected_once_and_not_dropped_in_silence(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An earlier release that is installed again looks at them at each attempt to reach the database."""
    minutes = 20_000
    bodies = [f'[["reactive", {{"number": {number}}}]]' for number in range(minutes)]
    with closing(Outbox(data_dir, fsync=False)) as outbox:
        outbox.adopt(bodies, [])
        append_all(outbox, range(1))
        rounds_in(outbox)
        began = time.process_time()
        assert rounds_in(outbox) == [round_of(0)]
        assert time.process_time() - began < 10.0  # compared with one another they took minutes
        assert outbox.count_rejected() == minutes
    assert "dropped" not in caplog.text


def test_a_round_of_too_many_rows_is_refused_at_once(outbox: Outbox) -> None:
    """Each of its rows could be kept. Source of the 1,000,000 bytes: MAX_BYTES of the reader."""
    events = tuple(RadioEventRow(NOW, "scan", detail="x" * 1000) for _ in range(1000))
    with pytest.raises(ValueError, match="1000000 is the most"):
        outbox.append(Round(events))
    assert rounds_in(outbox) == []


def test_unreadable_rounds_do_not_hide_those_behind_them(outbox: Outbox, path: Path) -> None:
    append_all(outbox, range(40))
    for number in range(30):
        change_line(path, number, lambda line: line.replace(b"power", b"pover"))
    assert list(outbox.oldest(5).rounds) == [round_of(number) for number in range(30, 35)]


def test_unreadable_rounds_are_kept_also_where_the_disk_is_full(
    outbox: Outbox, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    append_all(outbox, range(3))
    change_line(path, 1, lambda line: line.replace(b"power", b"pover"))

    def full(_file: RejectedFile, _rejected: object) -> NoReturn:
        raise OutboxError("the disk is full")

    with monkeypatch.context() as full_disk:
        full_disk.setattr(RejectedFile, "add", full)
        for _ in range(2):
            batch = outbox.oldest(10)
        outbox.remove(batch)  # it is delivered meanwhile
        assert list(batch.rounds) == [round_of(0), round_of(2)]
    outbox.settle()
    assert (outbox.count(), outbox.count_rejected()) == (0, 1)
    assert len([said for said in messages(caplog, logging.ERROR) if "cannot be read" in said]) == 1


def test_what_was_rejected_and_found_no_place_until_the_end_is_said_to_be_lost(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a full disk the file of rounds has room for a few more, where that of the rejected has none."""

    def full(_file: RejectedFile, _rejected: object) -> NoReturn:
        raise OutboxError("the disk is full")

    monkeypatch.setattr(RejectedFile, "add", full)
    with closing(Outbox(data_dir)) as outbox:
        append_all(outbox, range(2))
        outbox.remove(outbox.oldest(2), [Rejected.of(round_of(1), "another row has its place", is_final=True)])
    assert "lost: 1 round that neither PostgreSQL nor the disk took" in messages(caplog, logging.ERROR)


def test_a_file_of_unreadable_rounds_alone_is_worked_off(outbox: Outbox, path: Path) -> None:
    append_all(outbox, range(3))
    for number in range(3):
        change_line(path, number, lambda line: line.replace(b"power", b"pover"))
    assert rounds_in(outbox) == []
    append_all(outbox, range(3, 4))
    assert rounds_in(outbox) == [round_of(3)]
    assert len(rejected_in(path.parent)) == 3


def test_rejected_rows_are_bounded_and_the_oldest_go(
    outbox: Outbox, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.outbox_files.MAX_REJECTED_BYTES", 2000)  # some five rows
    for number in range(20):
        append_all(outbox, range(number, number + 1))
        batch = outbox.oldest(10)
        outbox.remove(batch, [Rejected.of(batch.rounds[0], "out of range", is_final=False)])
    found = [body for _, body in rejected_in(path.parent)]
    assert (path.parent / "outbox.rejected").stat().st_size <= 2000
    assert len(found) >= 4
    assert found == [round_to_json(round_of(number)) for number in range(20 - len(found), 20)]
    assert "the oldest are dropped" in caplog.text


@pytest.mark.parametrize("at_once", [3, 20])
def test_rejected_rows_are_bounded_however_many_come_at_once(
    outbox: Outbox, path: Path, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.outbox_files.MAX_REJECTED_BYTES", 2000)  # some five rows
    for first in range(0, 10 * at_once, at_once):
        append_all(outbox, range(first, first + at_once))
        batch = outbox.oldest(at_once)
        outbox.remove(batch, [Rejected.of(stored, "out of range", is_final=False) for stored in batch.rounds])
        assert (path.parent / "outbox.rejected").stat().st_size <= 2000
    found = [body for _, body in rejected_in(path.parent)]
    assert len(found) >= 3
    assert found == [round_to_json(round_of(number)) for number in range(10 * at_once - len(found), 10 * at_once)]


def test_what_was_refused_is_given_again_and_what_is_final_is_not(outbox: Outbox) -> None:
    append_all(outbox, range(3))
    rejected = [
        Rejected.of(round_of(0), "out of range", is_final=False),
        Rejected.of(round_of(1), "another row has its place", is_final=True),
        Rejected.of(round_of(2), "out of range", is_final=False),
    ]
    outbox.remove(outbox.oldest(3), rejected)
    assert outbox.count() == 0
    assert refused_in(outbox) == [round_of(0), round_of(2)]
    outbox.exchange_rejected([rejected[0]], [])
    assert refused_in(outbox) == [round_of(2)]
    assert outbox.count_rejected() == 2


def test_what_is_rejected_twice_is_kept_once(outbox: Outbox) -> None:
    """Such as after a kill between the two steps of a removal: the rejected rows are written first."""
    append_all(outbox, range(2))
    batch = outbox.oldest(2)
    for _ in range(2):
        outbox.remove(batch, [Rejected.of(round_of(0), "out of range", is_final=False)])
    assert outbox.count_rejected() == 1


def test_a_damaged_line_among_the_rejected_is_kept_and_not_tried_again(outbox: Outbox, data_dir: Path) -> None:
    append_all(outbox, range(3))
    rejected = [Rejected.of(round_of(number), "out of range", is_final=False) for number in range(3)]
    outbox.remove(outbox.oldest(3), rejected)
    change_line(data_dir / "outbox.rejected", 1, lambda line: line.replace(b"power_w", b"pover_w"))
    assert refused_in(outbox) == [round_of(0), round_of(2)]
    outbox.exchange_rejected([rejected[0]], [])
    assert outbox.count_rejected() == 2
    assert "pover_w" in rejected_in(data_dir)[0][1]


# --- what is wrong with the file


@pytest.mark.parametrize("content", [b"", b"not a round " * 1000, b"x\n" * 1000, b"\xff" * 8000, b"\0" * 5000])
def test_whatever_stands_at_its_place_blocks_nothing_and_is_kept(outbox: Outbox, path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    append_all(outbox, range(2))
    assert rounds_in(outbox) == [round_of(0), round_of(1)]
    kept = "".join(body for _, body in rejected_in(path.parent)) if content.strip(b"\0") else ""
    assert len(kept) > 0 or not content.strip(b"\0")
    append_all(outbox, range(2, 3))
    assert deliver_all(outbox) == [round_of(0), round_of(1), round_of(2)]


def test_a_torn_end_spoils_no_round_behind_it(outbox: Outbox, path: Path, data_dir: Path) -> None:
    append_all(outbox, range(3))
    with path.open("ab") as file:
        file.write(b'01234567 0 [["power",{"meas')
    with closing(Outbox(data_dir)) as next_run:
        append_all(next_run, range(3, 5))
        assert rounds_in(next_run) == [round_of(number) for number in range(5)]


def test_a_file_that_is_removed_under_us_is_made_anew(
    outbox: Outbox, path: Path, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    append_all(outbox, range(2))
    outbox.remove(outbox.oldest(1))
    path.unlink()
    append_all(outbox, range(2, 4))
    assert "was removed while it was in use" in caplog.text
    with closing(Outbox(data_dir)) as other:
        assert rounds_in(other) == [round_of(2), round_of(3)]


def test_a_file_that_is_removed_before_anything_was_delivered_is_reported_too(
    outbox: Outbox, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    append_all(outbox, range(2))
    path.unlink()
    append_all(outbox, range(2, 4))
    assert len([said for said in messages(caplog, logging.ERROR) if "was removed while it was in use" in said]) == 1
    assert rounds_in(outbox) == [round_of(2), round_of(3)]


def test_a_delivery_under_way_takes_nothing_out_of_the_file_that_follows_a_removed_one(
    outbox: Outbox, path: Path
) -> None:
    append_all(outbox, range(1))
    batch = outbox.oldest(1)
    path.unlink()
    append_all(outbox, range(1, 2))  # as long as the one under way
    outbox.remove(batch)
    assert rounds_in(outbox) == [round_of(1)]


def test_a_block_that_comes_back_from_before_the_file_was_begun_anew_hides_no_round(
    outbox: Outbox, path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a card that has lost a write: its lines tell that all before them was delivered."""
    monkeypatch.setattr("storage.line_file.ROOM_BYTES", 3000)
    number = 0
    while not path.exists() or path.stat().st_size == 3000:
        append_all(outbox, range(number, number + 1))
        deliver_all(outbox)
        number += 1
    before = path.read_bytes()
    append_all(outbox, range(100, 103))
    now = path.read_bytes()
    assert now.index(b"\0") < 1024
    path.write_bytes(now[:1024] + before[1024:3000])
    with closing(Outbox(data_dir)) as next_run:
        append_all(next_run, range(103, 104))
        assert rounds_in(next_run) == [round_of(number) for number in range(100, 104)]


def test_a_block_that_cannot_be_read_for_an_hour_costs_the_rounds_in_it_and_no_other(
    outbox: Outbox, path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_all(outbox, range(60))
    disk = Disk(data_dir)
    disk.bad_at = 4096
    content = path.read_bytes()
    first, last = content[:4096].count(b"\n"), content[: 2 * 4096].count(b"\n")
    with disk.in_use(), closing(Outbox(data_dir)) as next_run:
        append_all(next_run, range(60, 61))
        assert next_run.rounds_in_memory == 0
        assert rounds_in(next_run) == []
        monkeypatch.setattr("storage.outbox_files.BAD_AFTER_S", 0.0)
        found = deliver_all(next_run)
        assert found == [round_of(number) for number in range(61) if not first <= number <= last]
        append_all(next_run, range(61, 62))
        assert next_run.error is None
    assert "????" in rejected_in(data_dir)[0][1]


def test_a_block_that_cannot_be_read_is_left_for_later_where_the_disk_does_not_write_either(
    outbox: Outbox, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.outbox_files.BAD_AFTER_S", 0.0)
    append_all(outbox, range(60))
    disk = Disk(data_dir)
    disk.bad_at, disk.refusal = 4096, READ_ONLY
    with disk.in_use():
        assert rounds_in(outbox) == []
    assert rounds_in(outbox) == [round_of(number) for number in range(60)]


def test_a_link_at_its_place_is_not_followed(outbox: Outbox, path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("of somebody else")
    path.parent.mkdir()
    path.symlink_to(victim)
    append_all(outbox, range(1))
    assert victim.read_text() == "of somebody else"
    assert outbox.rounds_in_memory == 1
    assert rounds_in(outbox) == [round_of(0)]
    assert outbox.count_rejected() == 0  # what stands in it is no line of ours


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, partial(os.mknod, mode=stat.S_IFSOCK | 0o600)])
@pytest.mark.parametrize("name", ["outbox.rounds", "outbox.rejected"])
def test_what_is_no_plain_file_holds_up_nothing(
    outbox: Outbox, data_dir: Path, name: str, make: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    """To open a pipe at which nobody writes would wait for ever."""
    data_dir.mkdir()
    make(data_dir / name)
    append_all(outbox, range(2))
    batch = outbox.oldest(2)
    assert batch.rounds == [round_of(0), round_of(1)]
    outbox.remove(batch, [Rejected.of(round_of(0), "no", is_final=False)])
    assert "not a plain file" in caplog.text
    (data_dir / name).rmdir() if make is Path.mkdir else (data_dir / name).unlink()
    assert rounds_in(outbox) == []
    outbox.settle()
    assert refused_in(outbox) == [round_of(0)]


# --- what is wrong with the disk


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size."""
    previous_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous_handler)


def test_a_file_that_may_not_grow_loses_nothing(outbox: Outbox) -> None:
    append_all(outbox, range(1))
    with files_of_at_most(200_000):
        append_all(outbox, range(1, 1500))
        assert "cannot be used" in str(outbox.error)
    append_all(outbox, range(1500, 1501))
    assert sorted(deliver_all(outbox), key=repr) == sorted((round_of(number) for number in range(1501)), key=repr)


MOUNTING = ("unshare", "--user", "--map-root-user", "--mount")  # no privilege needed, and nothing is left behind


def may_mount() -> bool:
    return subprocess.run([*MOUNTING, "true"], capture_output=True, timeout=10).returncode == 0


needs_mounts = pytest.mark.skipif(not may_mount(), reason="this kernel or container refuses user namespaces")


def run_with_mount(mount: str, directory: Path, script: str, argument: Path) -> str:
    """Run a Python script after a shell command that mounts something on $1; return what it printed."""
    script = textwrap.dedent(script)
    ran = subprocess.run(
        [*MOUNTING, "sh", "-ec", f'{mount}; exec "$2" -c "$3" "$4"', "sh", directory, sys.executable, script, argument],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


FILL_A_SMALL_DISK = """
    import sys
    from pathlib import Path
    from tests.lab.database import full_round
    from storage.outbox import Outbox

    data_dir = Path(sys.argv[1])
    outbox = Outbox(data_dir)
    outbox.append(full_round(0))
    with open(data_dir / "log of somebody else", "wb", buffering=0) as log:
        try:
            while True:
                log.write(b"x" * 4096)
        except OSError:
            pass
    kept = 1
    while outbox.error is None and kept < 20_000:
        outbox.append(full_round(kept))
        kept += 1
    print(outbox.error)
    print(kept - 1)  # without the one that waits in memory
    after_kill_9 = Outbox(data_dir)
    print(after_kill_9.count())
    after_kill_9.close()
    # What is delivered now counts as delivered, whether that can be written down or not.
    while (batch := outbox.oldest(100)).rounds:
        outbox.remove(batch)
    print(outbox.count())
    (data_dir / "log of somebody else").unlink()
    outbox.append(full_round(kept))
    print(outbox.error, outbox.count())
    outbox.close()
"""


@needs_mounts
def test_space_is_kept_for_the_day_the_disk_is_full_and_then_that_is_said(tmp_path: Path) -> None:
    printed = run_with_mount('mount -t tmpfs -o size=12m none "$1"', tmp_path, FILL_A_SMALL_DISK, tmp_path)
    error, kept, on_disk, left, mended = printed.splitlines()
    assert error == f"the disk is full: make room for {tmp_path}/outbox.rounds; what is in it is kept"
    assert int(kept) > 4 * 1440  # four days of minutes with a row of every table
    assert on_disk == kept
    assert left == "0"
    assert mended == "None 1"


USE_THE_RESERVE_AND_MAKE_ROOM = """
    import sys
    from pathlib import Path
    from tests.lab.database import full_round
    from storage.outbox import Outbox

    data_dir = Path(sys.argv[1])
    reserve, log = data_dir / "outbox.reserve", data_dir / "log of somebody else"
    outbox = Outbox(data_dir)
    outbox.append(full_round(0))
    left = []
    for freed in (0, 1_000_000):  # besides the reserve
        with open(log, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
        while reserve.exists():
            outbox.append(full_round(outbox.count()))
        with open(log, "r+b") as file:
            file.truncate(max(0, log.stat().st_size - freed))
        outbox.append(full_round(outbox.count()))
        left.append(reserve.exists())
        log.unlink()
        outbox.append(full_round(outbox.count()))
        left.append(reserve.exists())
    print(left, outbox.error)
    outbox.close()
"""


@needs_mounts
def test_space_is_kept_again_as_soon_as_there_is_room_though_rounds_still_wait(tmp_path: Path) -> None:
    """The last of a disk is left to others: a database on it fails where even a log cannot be written."""
    mount = 'mount -t tmpfs -o size=20m none "$1"'
    printed = run_with_mount(mount, tmp_path, USE_THE_RESERVE_AND_MAKE_ROOM, tmp_path)
    assert printed == "[False, True, False, True] None\n"


def test_where_no_space_can_be_reserved_none_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", no_space)
    reserve = Reserve(tmp_path / "reserve")
    reserve.keep()
    assert list(tmp_path.iterdir()) == []
    assert not reserve.release()


def test_space_that_a_killed_process_did_not_come_to_reserve_is_taken_by_the_next_one(tmp_path: Path) -> None:
    left_behind = tmp_path / "reserve"
    left_behind.touch()
    for _ in range(2):
        Reserve(left_behind).keep()
        assert left_behind.stat().st_size == 8_000_000


def test_a_file_that_cannot_be_read_counts_what_is_in_memory(outbox: Outbox, data_dir: Path) -> None:
    disk = Disk(data_dir)
    with disk.in_use():
        disk.refusal = FAILING
        outbox.append(round_of(0))
        outbox.append(round_of(1))
        assert outbox.count() == 2
        disk.refusal = None
        assert outbox.count() == 2


def test_a_full_disk_is_distinguished_from_other_errors(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")  # 28: ENOSPC

    monkeypatch.setattr("storage.line_file.os.open", no_space)
    file = LineFile(data_dir / "outbox.rounds", Reserve(data_dir / "outbox.reserve"))
    with pytest.raises(OutboxError, match="make room"):
        file.append(["one line"], None)


def test_a_directory_that_cannot_be_written_is_named_once_and_rounds_wait_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file stands where the directory should be: refused to root as well, whom permissions do not stop."""
    in_the_way = tmp_path / "data"
    in_the_way.write_text("")
    with closing(Outbox(in_the_way)) as outbox:
        append_all(outbox, range(3))
        assert rounds_in(outbox) == [round_of(number) for number in range(3)]
        assert outbox.rounds_in_memory == 3
        [said] = messages(caplog, logging.ERROR)
        assert f"{in_the_way}/outbox.rounds cannot be used" in said
        assert "that this user can write" in said
        in_the_way.unlink()
        append_all(outbox, range(3, 4))
        assert (outbox.error, outbox.count()) == (None, 4)
        assert deliver_all(outbox) == [round_of(number) for number in range(4)]


APPEND_ONE = """
    import sys
    from pathlib import Path
    from tests.lab.database import round_of
    from storage.outbox import Outbox

    outbox = Outbox(Path(sys.argv[1]))
    outbox.append(round_of(1))
    print(outbox.error)
"""


@needs_mounts
def test_a_read_only_disk_is_an_error_and_not_a_broken_file(outbox: Outbox, path: Path, data_dir: Path) -> None:
    append_all(outbox, range(1))
    outbox.close()
    before = sorted(each.name for each in data_dir.iterdir())
    printed = run_with_mount('mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"', data_dir, APPEND_ONE, data_dir)
    assert "cannot be used" in printed
    assert sorted(each.name for each in data_dir.iterdir()) == before


def test_memory_is_bounded_the_oldest_goes_first_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.outbox.MEMORY_ROUNDS", 5)
    (tmp_path / "data").write_text("")
    outbox = Outbox(tmp_path / "data")
    append_all(outbox, range(8))
    assert rounds_in(outbox) == [round_of(number) for number in range(3, 8)]
    assert len([said for said in messages(caplog, logging.ERROR) if "the oldest are lost" in said]) == 1
    outbox.close()
    assert "lost: 5 rounds that neither PostgreSQL nor the disk took" in caplog.text


def test_a_disk_that_hangs_costs_two_seconds_once_and_nothing_is_lost(
    outbox: Outbox, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delivery's thread is the one that hangs; the loop goes on."""
    answers, append = threading.Event(), LineFile.append
    woken = threading.Semaphore(0)

    def hanging(file: LineFile, *arguments: Any, **options: Any) -> int:
        assert answers.wait(30.0)
        return append(file, *arguments, **options)

    def help_out() -> None:
        while woken.acquire(timeout=30.0) and not answers.is_set():
            outbox.settle()

    monkeypatch.setattr(LineFile, "append", hanging)
    helper = threading.Thread(target=help_out)
    helper.start()
    outbox.help_with(woken.release)
    took_s = []
    for number in range(4):
        began = time.monotonic()
        outbox.append(round_of(number))
        took_s.append(time.monotonic() - began)
    answers.set()
    woken.release()
    helper.join()
    assert took_s[0] < 5.0  # of 30 s that the disk hangs
    assert max(took_s[1:]) < 1.5
    [said] = messages(caplog, logging.ERROR)
    assert "does not respond" in said
    assert rounds_in(outbox) == [round_of(number) for number in range(4)]


def test_an_append_waits_for_no_helper_that_is_held_elsewhere(outbox: Outbox, path: Path) -> None:
    """Such as by libpq looking up a name: the round goes to the disk without it."""
    outbox.help_with(lambda: None)
    outbox.append(round_of(1))
    assert path.read_bytes().count(b"\n") == 1


def test_a_disk_that_hangs_at_the_end_does_not_hold_up_the_end(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("storage.outbox.DISK_TIMEOUT_S", 0.05)
    hangs, goes_on = threading.Event(), threading.Event()
    append_to = LineFile.append

    def hanging(file: LineFile, *arguments: Any, **options: Any) -> int:
        hangs.set()
        goes_on.wait(30.0)
        return append_to(file, *arguments, **options)

    monkeypatch.setattr(LineFile, "append", hanging)
    first = threading.Thread(target=append_all, args=(outbox, range(1)))
    first.start()
    assert hangs.wait(10.0)
    began = time.monotonic()
    outbox.close()
    assert time.monotonic() - began < 9.0  # of the 10 in which the poller ends
    assert "lost: 1 round that neither PostgreSQL nor the disk took" in messages(caplog, logging.ERROR)
    goes_on.set()
    first.join(10.0)
    assert rounds_in(outbox) == [round_of(0)]  # who was at the files has gone on


def test_a_disk_that_hangs_while_the_helper_is_held_elsewhere_costs_no_more(
    outbox: Outbox, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, append = threading.Event(), LineFile.append

    def hanging(file: LineFile, *arguments: Any, **options: Any) -> int:
        assert answers.wait(30.0)
        return append(file, *arguments, **options)

    monkeypatch.setattr(LineFile, "append", hanging)
    outbox.help_with(lambda: None)
    took_s = []
    for number in range(3):
        began = time.monotonic()
        outbox.append(round_of(number))
        took_s.append(time.monotonic() - began)
    answers.set()
    assert took_s[0] < 5.0  # of 30 s that the disk hangs
    assert max(took_s[1:]) < 1.5
    [said] = messages(caplog, logging.ERROR)
    assert "does not respond" in said
    assert rounds_in(outbox) == [round_of(number) for number in range(3)]


def test_no_log_line_of_an_ordinary_day_is_a_warning(outbox: Outbox, caplog: pytest.LogCaptureFixture) -> None:
    append_all(outbox, range(30))
    deliver_all(outbox)
    outbox.close()
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []


APPEND_UNTIL_KILLED = """
    import sys
    from pathlib import Path
    from tests.lab.database import round_of
    from storage.outbox import Outbox

    outbox = Outbox(Path(sys.argv[1]))
    first = int(sys.argv[2])
    for number in range(first, first + 100_000):
        outbox.append(round_of(number))
        print("kept", number, flush=True)
        if number % 7 == 0:
            batch = outbox.oldest(5)
            print("delivered", *(stored.rows[0].power_w for stored in batch.rounds), flush=True)
            outbox.remove(batch)
"""


@pytest.mark.parametrize("kills", [5, pytest.param(500, marks=pytest.mark.slow)])
def test_every_round_whose_append_returned_survives_kill_9(data_dir: Path, kills: int) -> None:
    """Those that were being removed at the kill may be there or not: they are delivered."""
    kept, delivered, first = set[int](), set[int](), 0
    for kill in range(kills):
        command = [sys.executable, "-c", textwrap.dedent(APPEND_UNTIL_KILLED), str(data_dir), str(first)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(3 + kill * 7 % 50)]
            child.kill()
            lines += child.stdout.readlines()
        for line in lines:
            word, *numbers = line.split()
            (kept if word == "kept" else delivered).update(map(int, numbers))
        first = max(kept) + 2  # one more may be kept of which we were not told
    with closing(Outbox(data_dir)) as next_run:
        found = [stored.rows[0].power_w for stored in rounds_in(next_run, 1_000_000)]  # type: ignore[union-attr]
    assert found == sorted(set(found), key=found.index), "a round is there twice"
    assert kept - delivered <= set(found)
    assert len(set(found) - kept) <= kills


def test_decimals_and_times_of_the_outbox_are_exact(outbox: Outbox) -> None:
    stored = Round((replace(power_row(1), import_kwh=Decimal("1.10")),))
    outbox.append(stored)
    [found] = rounds_in(outbox)
    assert json.loads(round_to_json(found))[0][1]["import_kwh"] == "1.10"


def test_an_unusable_file_says_so_to_who_reads_the_rejected(tmp_path: Path) -> None:
    (tmp_path / "outbox.rejected").mkdir()
    with pytest.raises(OutboxError, match="cannot be used"):
        Outbox(tmp_path).count_rejected()
