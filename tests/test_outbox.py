"""The outbox: exact, in order, and never in the way, whatever happens to its file or its disk."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from storage.errors import OutboxError, OutboxFullError
from storage.outbox import Batch, Outbox
from storage.outbox.file import OutboxFile, Rejected
from storage.records import RadioEventRow, Round
from storage.rows_json import round_to_json
from tests.lab.database import full_round, power_row, round_of

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parent.parent
NOW = datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def path(data_dir: Path) -> Path:
    return data_dir / "outbox.sqlite3"


@pytest.fixture
def outbox(data_dir: Path) -> Iterator[Outbox]:
    with closing(Outbox(data_dir, now=lambda: NOW)) as opened:
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


@contextmanager
def changing(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file of the outbox by hand."""
    with closing(sqlite3.connect(path)) as connection, connection:
        yield connection


def rejected_in(path: Path) -> list[tuple[str, str]]:
    with changing(path) as file:
        return file.execute("select reason, body from rejected order by rejected_id").fetchall()


def broken_files(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.glob("*broken*"))


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
        name: 0o600 for name in ("outbox.sqlite3", "outbox.sqlite3-wal", "outbox.sqlite3-shm", "outbox.reserve")
    }


def test_a_round_can_be_read_by_another_process_before_append_returns(outbox: Outbox, path: Path) -> None:
    outbox.append(full_round(1))
    with changing(path) as other:
        assert other.execute("select body from round").fetchall() == [(round_to_json(full_round(1)),)]


def test_half_a_surrogate_pair_which_no_encoding_takes_is_kept_all_the_same(outbox: Outbox) -> None:
    broken_text = Round((RadioEventRow(NOW, "scan", detail="a\ud800b"),))
    outbox.append(broken_text)
    assert rounds_in(outbox) == [broken_text]


def test_two_processes_may_use_one_file(outbox: Outbox, data_dir: Path) -> None:
    """The poller, and whoever looks after the file beside it."""
    with closing(Outbox(data_dir)) as other:
        append_all(outbox, range(1))
        assert other.count() == 1
        other.remove(other.oldest(1))
        append_all(outbox, range(1, 2))
        assert rounds_in(other) == [round_of(1)]


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
    [(reason, body)] = rejected_in(path)
    assert "measured_at: expected a time with its zone" in reason
    assert body == repr(naive)
    assert len(messages(caplog, logging.ERROR)) == 1


@pytest.mark.parametrize(
    "change",
    [
        "update round set body = replace(body, '\"power_w\":2', '\"power_w\":6') where round_id = 3",
        "update round set body = replace(body, '17.1', '17.9') where round_id = 3",
        "update round set body = '[' || body where round_id = 3",
        "update round set body = x'fffe00' where round_id = 3",
        "update round set body = '' where round_id = 3",
        "update round set checksum = checksum + 1 where round_id = 3",
        "update round set checksum = 'none' where round_id = 3",
    ],
)
def test_a_round_that_is_not_what_was_written_is_rejected_and_blocks_nothing(
    outbox: Outbox, path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    append_all(outbox, range(5))
    with changing(path) as file:
        file.execute(change)
    assert rounds_in(outbox) == [round_of(number) for number in (0, 1, 3, 4)]
    assert outbox.count() == 4
    [(reason, _)] = rejected_in(path)
    assert reason == "unreadable: its checksum does not fit"
    assert len(messages(caplog, logging.ERROR)) == 1


@pytest.mark.parametrize(
    "body", ["[" * 100_000, '[["power",' * 20_000, "[" * 90_000 + "]" * 90_000, '"' + "x" * 2_000_000]
)
def test_a_round_that_is_deep_or_huge_is_rejected(outbox: Outbox, path: Path, body: str) -> None:
    from zlib import crc32

    append_all(outbox, range(2))
    with changing(path) as file:
        file.execute("insert into round (round_id, body, checksum) values (3, ?, ?)", (body, crc32(body.encode())))
    outbox.append(round_of(3))
    assert rounds_in(outbox) == [round_of(0), round_of(1), round_of(3)]
    assert len(rejected_in(path)) == 1


def test_unreadable_rounds_do_not_hide_those_behind_them(outbox: Outbox, path: Path) -> None:
    append_all(outbox, range(40))
    with changing(path) as file:
        file.execute("update round set checksum = 0 where round_id <= 30")
    assert list(outbox.oldest(5).rounds) == [round_of(number) for number in range(30, 35)]


def test_rejected_rows_are_bounded_and_the_oldest_go(
    outbox: Outbox, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.outbox.file.MAX_REJECTED", 5)
    for number in range(8):
        append_all(outbox, range(number, number + 1))
        batch = outbox.oldest(10)
        outbox.remove(batch, [Rejected.of(batch.rounds[0], "out of range", is_final=False)])
    assert [body for _, body in rejected_in(path)] == [round_to_json(round_of(number)) for number in range(3, 8)]
    assert "the oldest are dropped" in caplog.text


def test_what_was_refused_is_given_again_and_what_is_final_is_not(outbox: Outbox) -> None:
    append_all(outbox, range(3))
    rejected = [
        Rejected.of(round_of(0), "out of range", is_final=False),
        Rejected.of(round_of(1), "another row has its place", is_final=True),
        Rejected.of(round_of(2), "out of range", is_final=False),
    ]
    outbox.remove(outbox.oldest(3), rejected)
    assert outbox.count() == 0
    refused = outbox.refused(Batch(), 10)
    assert refused.rounds == [round_of(0), round_of(2)]
    assert outbox.refused(refused, 10) == Batch()
    outbox.forget_refused(refused, refused.numbers[:1], [])
    assert outbox.refused(Batch(), 10).rounds == [round_of(2)]
    assert outbox.count_rejected() == 2


def test_what_was_refused_from_the_spare_file_is_given_again_too(outbox: Outbox, path: Path) -> None:
    append_all(outbox, range(1))
    outbox.remove(outbox.oldest(1), [Rejected.of(round_of(0), "out of range", is_final=False)])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin exclusive")
        append_all(outbox, range(1, 2))
        outbox.remove(outbox.oldest(1), [Rejected.of(round_of(1), "out of range", is_final=False)])
        other.execute("rollback")
    append_all(outbox, range(2, 3))
    outbox.remove(outbox.oldest(1))
    first = outbox.refused(Batch(), 10)
    second = outbox.refused(first, 10)
    assert sorted([*first.rounds, *second.rounds], key=repr) == [round_of(0), round_of(1)]
    assert outbox.refused(second, 10) == Batch()
    for batch in (first, second):
        outbox.forget_refused(batch, batch.numbers, [])
    assert outbox.count_rejected() == 0


# --- what is wrong with the file


@pytest.mark.parametrize(
    "content", [b"", b"not a database " * 1000, b"SQLite format 3\0" + b"\xff" * 8000, b"\0" * 5000]
)
def test_whatever_stands_at_its_place_is_kept_and_a_new_file_begun(outbox: Outbox, path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    append_all(outbox, range(2))
    assert rounds_in(outbox) == [round_of(0), round_of(1)]
    kept = [path.with_name(name).read_bytes() for name in broken_files(path) if name.endswith("sqlite3")]
    assert kept == ([content] if content else [])


def test_a_database_of_somebody_else_is_kept_and_left_as_it_is(outbox: Outbox, path: Path) -> None:
    path.parent.mkdir()
    with changing(path) as file:
        file.execute("create table bookmark (url text)")
    append_all(outbox, range(1))
    assert rounds_in(outbox) == [round_of(0)]
    [name] = [each for each in broken_files(path) if each.endswith("sqlite3")]
    with changing(path.with_name(name)) as file:
        assert file.execute("select name from sqlite_master").fetchall() == [("bookmark",)]


def damage(path: Path, page: int, content: bytes = b"\xff" * 4096) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(content)


def test_the_readable_rounds_of_a_broken_file_go_on_in_the_new_one(
    outbox: Outbox, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    append_all(outbox, range(200))
    outbox.remove(outbox.oldest(20), [Rejected.of(round_of(7), "out of range", is_final=False)])
    outbox.close()
    before = path.read_bytes()
    damage(path, 10)
    found = rounds_in(outbox)
    # A page has some 20 rounds; those before and behind it are read.
    assert [round_of(20), round_of(199)] == [found[0], found[-1]]
    assert 130 <= len(found) < 180
    assert found == sorted(found, key=lambda stored: stored.rows[0].measured_at)  # type: ignore[union-attr]
    assert outbox.refused(Batch(), 10).rounds == [round_of(7)]
    [name] = [each for each in broken_files(path) if each.endswith("sqlite3")]
    assert len(path.with_name(name).read_bytes()) == len(before)
    assert "is broken" in messages(caplog, logging.ERROR)[0]
    append_all(outbox, range(200, 201))
    assert rounds_in(outbox)[-1] == round_of(200)


@pytest.mark.parametrize("offset", [18, 19])
def test_a_bit_that_forbids_to_write_is_a_broken_file_too(outbox: Outbox, path: Path, offset: int) -> None:
    """Source: SQLite, "Database File Format", 1.3.2: a write version of more than 2 makes a file read-only."""
    append_all(outbox, range(3))
    outbox.close()
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\x03")
    append_all(outbox, range(3, 4))
    assert rounds_in(outbox) == [round_of(number) for number in range(4)]
    assert len(broken_files(path)) >= 1


def test_a_bit_in_the_description_of_the_tables_is_a_broken_file_too(outbox: Outbox, path: Path) -> None:
    """The sqlite3 module raises UnicodeDecodeError where it quotes a name that is none."""
    append_all(outbox, range(3))
    outbox.close()
    content = bytearray(path.read_bytes())
    at = content.index(b"CREATE TABLE round") + len("CREATE TABLE ")
    content[at] ^= 0x80
    path.write_bytes(bytes(content))
    append_all(outbox, range(3, 5))
    assert rounds_in(outbox)[-2:] == [round_of(3), round_of(4)]
    assert outbox.error is None


def test_a_file_that_is_removed_under_us_is_made_anew(outbox: Outbox, path: Path, data_dir: Path) -> None:
    """SQLite goes on writing an open file without a name, and a kill would take all of that."""
    append_all(outbox, range(2))
    for file in data_dir.glob("outbox.sqlite3*"):
        file.unlink()
    append_all(outbox, range(2, 4))
    with closing(Outbox(data_dir)) as other:
        assert rounds_in(other) == [round_of(2), round_of(3)]


@pytest.mark.parametrize("step", ["copy", "rename to ready", "rename broken", "rename log", "rename ready"])
def test_a_crash_at_any_step_of_a_rescue_forgets_nothing(
    outbox: Outbox, path: Path, data_dir: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was done of it by then is carried on, or begun again, at the next start."""
    append_all(outbox, range(60))
    with closing(sqlite3.connect(path)) as holding:  # so that the log stays beside the file
        holding.execute("pragma wal_checkpoint").fetchone()
        outbox.close()
        damage(path, 8)

        class PowerCut(BaseException):
            """Nothing catches it, as nothing catches a power cut."""

        steps = {"rename to ready": 0, "rename broken": 1, "rename log": 2, "rename ready": -1}
        renamed: list[Path] = []
        rename = Path.rename

        def cut_at(source: Path, target: Path) -> Path:
            is_last = source.suffix == ".ready"
            if steps[step] == len(renamed) or (steps[step] < 0 and is_last):
                raise PowerCut
            renamed.append(source)
            return rename(source, target)

        with monkeypatch.context() as cut:
            if step == "copy":
                cut.setattr("storage.outbox.rescue.readable_rows", lambda *_: (_ for _ in ()).throw(PowerCut))
            else:
                cut.setattr("storage.outbox.rescue.Path.rename", cut_at)
            with pytest.raises(PowerCut):
                outbox.oldest(100)
    with closing(Outbox(data_dir)) as next_run:
        found = rounds_in(next_run)
        assert 20 <= len(found) <= 60
        assert [found[0], found[-1]] == [round_of(0), round_of(59)]
    assert not list(data_dir.glob("*.salvage*"))
    assert not list(data_dir.glob("*.ready*"))


def test_a_file_of_a_later_release_is_left_as_it_is_and_rounds_are_on_disk_all_the_same(
    outbox: Outbox, path: Path, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    append_all(outbox, range(1))
    outbox.close()
    with changing(path) as later:
        later.execute("pragma user_version = 3")
    before = path.read_bytes()
    append_all(outbox, range(1, 4))
    assert path.read_bytes() == before
    [said] = messages(caplog, logging.ERROR)
    assert "was made by a later release" in said
    assert outbox.rounds_in_memory == 0
    outbox.close()
    with closing(Outbox(data_dir)) as next_run:
        assert rounds_in(next_run) == [round_of(number) for number in (1, 2, 3)]
        with changing(path) as later:
            later.execute("pragma user_version = 2")  # the later release is installed, so to say
        assert deliver_all(next_run) == [round_of(number) for number in (0, 1, 2, 3)]


def test_a_locked_file_holds_nobody_up_and_rounds_are_on_disk_all_the_same(
    outbox: Outbox, path: Path, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    append_all(outbox, range(1))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin exclusive")
        began = time.monotonic()
        append_all(outbox, range(1, 4))
        assert time.monotonic() - began < 3.0
        assert len(messages(caplog, logging.ERROR)) == 1
        assert "is locked by another program" in caplog.text
        with closing(Outbox(data_dir)) as after_kill_9:
            assert rounds_in(after_kill_9) == [round_of(number) for number in (1, 2, 3)]
        other.execute("rollback")
    append_all(outbox, range(4, 5))
    assert outbox.error is None
    assert sorted(deliver_all(outbox), key=repr) == [round_of(number) for number in range(5)]
    assert outbox.count() == 0


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
    from storage.outbox import Batch, Outbox

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
def test_room_is_kept_for_the_day_the_disk_is_full_and_then_that_is_said(tmp_path: Path) -> None:
    printed = run_with_mount('mount -t tmpfs -o size=12m none "$1"', tmp_path, FILL_A_SMALL_DISK, tmp_path)
    error, kept, on_disk, left, mended = printed.splitlines()
    assert error == f"the disk is full: make room for {tmp_path}/outbox.sqlite3; what is in it is kept"
    assert int(kept) > 4 * 1440  # four days of minutes with a row of every table
    assert on_disk == kept
    assert left == "0"
    assert mended == "None 1"


def test_a_full_disk_is_told_from_other_errors(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")  # 28: ENOSPC

    monkeypatch.setattr("storage.outbox.file.os.open", no_space)
    with pytest.raises(OutboxFullError, match="make room"):
        OutboxFile(data_dir / "outbox.sqlite3").append([])


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
        said, of_the_spare = messages(caplog, logging.ERROR)
        assert f"{in_the_way}/outbox.sqlite3 cannot be used" in said
        assert "must be able to write there" in said
        assert f"{in_the_way}/outbox-spare.sqlite3 cannot be used" in of_the_spare
        in_the_way.unlink()
        append_all(outbox, range(3, 4))
        assert (outbox.error, outbox.count()) == (None, 4)
        assert deliver_all(outbox) == [round_of(number) for number in range(4)]


APPEND_ONE = """
    import sys
    from pathlib import Path
    from tests.lab.database import round_of
    from storage.outbox import Batch, Outbox

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
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data").write_text("")
    outbox = Outbox(tmp_path / "data", memory_rounds=5)
    append_all(outbox, range(8))
    assert rounds_in(outbox) == [round_of(number) for number in range(3, 8)]
    assert len([said for said in messages(caplog, logging.ERROR) if "the oldest are lost" in said]) == 1
    outbox.close()
    assert "5 rounds are lost: neither PostgreSQL nor the disk took them" in caplog.text


def test_a_disk_that_hangs_costs_two_seconds_once_and_nothing_is_lost(
    outbox: Outbox, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delivery's thread is the one that hangs; the loop goes on."""
    answers, append = threading.Event(), OutboxFile.append
    woken = threading.Semaphore(0)

    def hanging(file: OutboxFile, *arguments: Any) -> None:
        assert answers.wait(30.0)
        append(file, *arguments)

    def help_out() -> None:
        while woken.acquire(timeout=30.0) and not answers.is_set():
            outbox.settle()

    monkeypatch.setattr(OutboxFile, "append", hanging)
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
    assert took_s[0] < 2.5
    assert max(took_s[1:]) < 0.5
    [said] = messages(caplog, logging.ERROR)
    assert "does not answer" in said
    assert rounds_in(outbox) == [round_of(number) for number in range(4)]


def test_an_append_waits_for_no_helper_that_is_held_elsewhere(outbox: Outbox, path: Path) -> None:
    """Such as by libpq looking up a name: then who appends goes to the disk by itself."""
    outbox.help_with(lambda: None)
    outbox.append(round_of(1))
    with changing(path) as other:
        assert other.execute("select count(*) from round").fetchall() == [(1,)]


def test_no_log_line_of_an_ordinary_day_is_a_warning(outbox: Outbox, caplog: pytest.LogCaptureFixture) -> None:
    append_all(outbox, range(30))
    deliver_all(outbox)
    outbox.close()
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []


def test_a_failure_to_write_down_a_removal_does_not_make_delivered_rounds_come_again(
    outbox: Outbox, path: Path
) -> None:
    append_all(outbox, range(3))
    batch = outbox.oldest(2)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin exclusive")
        outbox.remove(batch)
    assert rounds_in(outbox) == [round_of(2)]
    assert outbox.count() == 1


APPEND_UNTIL_KILLED = """
    import sys
    from pathlib import Path
    from tests.lab.database import round_of
    from storage.outbox import Batch, Outbox

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


def test_an_unusable_file_says_so_to_who_asks_for_the_rejected(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(OutboxError, match="cannot be used"):
        Outbox(tmp_path / "data").count_rejected()
