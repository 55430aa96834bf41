"""The spool: exact, in order, and never in the way, whatever happens to its file or its disk."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import SpoolError, SpoolFullError
from storage.records import Bme280Row, Co2Row, CpuTemperatureRow, EnergyRow, MeterRow, PowerRow, RadioEventRow, Round
from storage.rows_json import round_from_json, round_to_json
from storage.spool import Spool
from tests.lab.database import full_round, round_of

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "spool.sqlite3"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    with closing(Spool(path, now=lambda: datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC))) as opened:
        yield opened


def rounds_in(spool: Spool, limit: int = 100) -> list[Round]:
    return [stored for _, stored in spool.peek(limit)]


def plain_connection(path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(path))


TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001 - made aware at once
KWH = st.none() | st.decimals(0, 10**12, places=4)
REALS = st.floats(-1e6, 1e6)
ROWS = st.one_of(
    st.builds(PowerRow, TIMES, st.none() | st.integers(-(2**31), 2**31), KWH, KWH, KWH, KWH),
    st.builds(EnergyRow, TIMES, KWH, KWH, st.sampled_from(["notified", "read", "history"])),
    st.builds(
        MeterRow,
        TIMES,
        st.none() | st.text(),
        st.none(),
        st.none(),
        st.integers(1, 999_999),
        KWH.filter(bool),
        st.none(),
    ),
    st.builds(CpuTemperatureRow, TIMES, REALS),
    st.builds(Co2Row, TIMES, st.integers(0, 5000), st.none() | st.integers(-40, 215), st.booleans()),
    st.builds(Bme280Row, TIMES, REALS, REALS, REALS),
    st.builds(RadioEventRow, TIMES, st.text(min_size=1), st.none() | REALS, detail=st.none() | st.text()),
)


@given(st.lists(ROWS, max_size=7).map(lambda rows: Round(tuple(rows))))
def test_every_round_reads_back_as_it_was_written(stored: Round) -> None:
    text = round_to_json(stored)
    assert "\n" not in text
    assert round_from_json(text) == stored


def test_decimals_keep_their_trailing_zeros_and_times_become_utc() -> None:
    tokyo = datetime.fromisoformat("2024-03-01T09:00:00+09:00")
    text = round_to_json(Round((EnergyRow(tokyo, Decimal("1.10"), None, "read"),)))
    assert json.loads(text) == [
        [
            "energy",
            {"registered_at": "2024-03-01T00:00:00+00:00", "import_kwh": "1.10", "export_kwh": None, "source": "read"},
        ]
    ]


def test_half_a_surrogate_pair_which_no_encoding_takes_is_kept_all_the_same(spool: Spool) -> None:
    broken_text = Round((RadioEventRow(datetime(2024, 3, 1, tzinfo=UTC), "scan", detail="a\ud800b"),))
    spool.append(broken_text, round_of(1))
    spool.set_aside(broken_text, "not a text")
    assert rounds_in(spool) == [broken_text, round_of(1)]


@pytest.mark.parametrize(
    "text",
    ["", "7", "[[]]", '[["nothing", {}]]', '[["power", {"volts": 100}]]', '[["power", {}]]', "[[1, 2, 3]]",
     '[["cpu_temperature", {"measured_at": "yesterday", "temperature_c": 1.0}]]',
     '[["energy", {"registered_at": "2024-03-01T00:00:00+00:00", "import_kwh": "x", "source": "read"}]]'],
)  # fmt: skip
def test_what_is_no_round_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        round_from_json(text)


def test_rounds_come_out_in_the_order_they_went_in_and_only_once(spool: Spool) -> None:
    spool.append(full_round(0))
    spool.append(round_of(1), round_of(2))
    spool.append(round_of(3))
    first = spool.peek(3)
    assert [stored for _, stored in first] == [full_round(0), round_of(1), round_of(2)]
    assert spool.count() == 4
    spool.remove_up_to(first[1][0])
    assert rounds_in(spool) == [round_of(2), round_of(3)]
    assert spool.count() == 2


def test_rounds_are_still_there_for_the_next_run(spool: Spool, path: Path) -> None:
    spool.append(round_of(1), round_of(2))
    spool.remove_up_to(spool.peek(1)[0][0])
    spool.close()
    with closing(Spool(path)) as next_run:
        assert rounds_in(next_run) == [round_of(2)]


def test_the_file_is_for_its_owner_only(spool: Spool, path: Path) -> None:
    spool.append(round_of(1))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_an_append_is_on_the_disk_before_it_returns(spool: Spool, path: Path) -> None:
    spool.append(round_of(1))
    with plain_connection(path) as reader:
        assert reader.execute("pragma journal_mode").fetchone() == ("wal",)
    # 2: full (SQLite documentation, pragma synchronous). It belongs to the connection, so ask the spool's own.
    assert spool._transaction(lambda own: own.execute("pragma synchronous").fetchone()) == (2,)


def test_refused_rows_are_kept_with_their_reason_and_are_not_delivered(spool: Spool, path: Path) -> None:
    spool.append(round_of(1))
    spool.set_aside(round_of(2), "out of range")
    assert spool.count() == 1
    assert spool.count_set_aside() == 1
    assert rounds_in(spool) == [round_of(1)]
    with plain_connection(path) as reader:
        ((refused_at, reason, body),) = reader.execute("select refused_at, reason, body from refused").fetchall()
    assert (refused_at, reason) == ("2024-02-29T01:02:03+00:00", "out of range")
    assert round_from_json(body) == round_of(2)


def test_a_round_that_cannot_be_read_is_set_aside_and_blocks_nothing(
    spool: Spool, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool.append(round_of(1))
    with plain_connection(path) as vandal, vandal:
        vandal.execute("insert into round (body) values ('[[\"power\", {}]]')")
        vandal.execute("insert into round (body) values (cast(x'22ff22' as text))")  # no UTF-8
        vandal.execute("insert into round (body) values (x'80')")
    spool.append(round_of(2))
    assert rounds_in(spool) == [round_of(1), round_of(2)]
    assert spool.count() == 2
    assert spool.count_set_aside() == 3
    assert "cannot be read" in caplog.text


def test_rounds_that_cannot_be_read_do_not_hide_those_behind_them(spool: Spool, path: Path) -> None:
    """Fewer than asked for means: there are no more. So a whole batch of nonsense must not look like the end."""
    spool.hold(round_of(0), boot_id="boot", monotonic_s=1.0)
    with plain_connection(path) as vandal, vandal:
        for boot_id in (None, "boot"):
            vandal.executemany("insert into round (body, boot_id) values ('nonsense', ?)", [(boot_id,)] * 25)
    spool.append(round_of(1), round_of(2))
    spool.hold(round_of(3), boot_id="boot", monotonic_s=2.0)
    assert rounds_in(spool, limit=1) == [round_of(1)]
    assert rounds_in(spool, limit=10) == [round_of(1), round_of(2)]
    assert [each.stored for each in spool.held(2)] == [round_of(0), round_of(3)]
    assert (spool.count(), spool.count_set_aside()) == (2, 50)


@pytest.mark.parametrize(
    "broken",
    [b"this is no database, but it is long enough to have a header" * 20, b"SQLite format 3\0" + bytes(4080)],
    ids=["text", "header of zeros"],
)
def test_a_broken_file_is_moved_aside_and_a_new_one_begun(
    spool: Spool, path: Path, broken: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(broken)
    spool.append(round_of(1))
    assert rounds_in(spool) == [round_of(1)]
    (aside,) = path.parent.glob("spool-broken-*.sqlite3")
    assert aside.name == "spool-broken-20240229T010203000000Z.sqlite3"
    assert aside.read_bytes() == broken
    assert caplog.text.count("the spool is broken") == 1


def test_a_file_that_breaks_while_it_is_open_is_moved_aside_too(spool: Spool, path: Path) -> None:
    for number in range(200):
        spool.append(full_round(number))
    spool.close()
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)  # the first page holds the schema, all after it the rounds
    path.write_bytes(content)
    spool.append(round_of(1))
    assert rounds_in(spool) == [round_of(1)]
    assert len(list(path.parent.glob("spool-broken-*.sqlite3"))) == 1


def test_the_readable_rounds_of_a_broken_file_go_on_in_the_new_one(spool: Spool, path: Path) -> None:
    """One page of 4096 bytes in the middle is broken: it holds at most four rounds of over 820 bytes each."""
    rounds = [full_round(number) for number in range(400)]
    assert len(round_to_json(rounds[0])) > 820
    spool.append(*rounds)
    spool.hold(round_of(7), boot_id="boot", monotonic_s=1.5)
    spool.close()
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = bytes(4096)
    path.write_bytes(content)
    spool.append(round_of(1))
    found = rounds_in(spool, 1000)
    assert [each for each in rounds if each in found] == found[:-1]
    assert 396 <= len(found[:-1]) < 400
    assert found[-1] == round_of(1)
    assert [(each.stored, each.boot_id) for each in spool.held(9)] == [(round_of(7), "boot")]
    (aside,) = path.parent.glob("spool-broken-*.sqlite3")
    assert aside.read_bytes() == content


def test_a_broken_file_whose_rounds_find_no_room_is_kept_and_the_new_one_begun(
    spool: Spool, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool.append(*(full_round(number) for number in range(400)))
    spool.close()
    content = bytearray(path.read_bytes())
    content[200_000:204_096] = bytes(4096)
    path.write_bytes(content)
    with files_of_at_most(150_000):
        spool.append(round_of(1))
    assert rounds_in(spool) == [round_of(1)]
    assert "cannot be copied" in caplog.text


def test_a_database_of_somebody_else_is_moved_aside(spool: Spool, path: Path) -> None:
    path.parent.mkdir()
    with plain_connection(path) as other, other:
        other.execute("create table readings (at text)")
        other.execute("pragma user_version = 1")
    spool.append(round_of(1))
    assert rounds_in(spool) == [round_of(1)]


def test_a_file_of_a_later_release_is_left_as_it_is(spool: Spool, path: Path) -> None:
    spool.append(round_of(1))
    spool.close()
    with plain_connection(path) as later, later:
        later.execute("pragma user_version = 2")
    with pytest.raises(SpoolError, match="later release"):
        spool.append(round_of(2))
    assert [each.name for each in path.parent.iterdir()] == [path.name]


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


def test_a_file_that_may_not_grow_is_an_error_and_keeps_what_it_has(spool: Spool, path: Path) -> None:
    spool.append(round_of(0))
    too_much = [full_round(number) for number in range(1, 1000)]
    with files_of_at_most(200_000), pytest.raises(SpoolError) as caught:
        spool.append(*too_much)
    assert str(path) in str(caught.value)
    assert rounds_in(spool) == [round_of(0)]
    spool.append(round_of(1))
    assert rounds_in(spool) == [round_of(0), round_of(1)]


MOUNTING = ("unshare", "--user", "--map-root-user", "--mount")  # no privilege needed, and nothing is left behind


def may_mount() -> bool:
    return subprocess.run([*MOUNTING, "true"], capture_output=True, timeout=10).returncode == 0


needs_mounts = pytest.mark.skipif(not may_mount(), reason="this kernel or container refuses user namespaces")


def run_with_mount(mount: str, directory: Path, script: str, argument: Path) -> str:
    """Run a Python script after a shell command that mounts something on $1; return what it printed."""
    ran = subprocess.run(
        [*MOUNTING, "sh", "-ec", f'{mount}; exec "$2" -c "$3" "$4"', "sh", directory, sys.executable, script, argument],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


FILL_A_SMALL_DISK = """
    import sys
    from pathlib import Path
    from tests.lab.database import full_round, round_of
    from storage.errors import SpoolFullError
    from storage.spool import Spool

    spool = Spool(Path(sys.argv[1]))
    kept = 0
    try:
        while kept < 10_000:
            spool.append(full_round(kept))
            kept += 1
    except SpoolFullError as err:
        print(err)
    assert spool.count() == kept, (spool.count(), kept)
    # What is delivered now counts as delivered, whether that can be written down or not.
    while batch := spool.peek(100):
        try:
            spool.remove_up_to(batch[-1][0])
        except SpoolFullError:
            pass
    assert spool.count() == 0
    spool.close()
    print("kept", kept)
"""


@needs_mounts
def test_a_full_disk_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite3"
    printed = run_with_mount('mount -t tmpfs -o size=1m none "$1"', tmp_path, textwrap.dedent(FILL_A_SMALL_DISK), path)
    message, kept = printed.splitlines()
    assert message == f"the disk is full: make room for {path}; what is in it is kept"
    assert int(kept.split()[1]) > 100


def test_a_full_disk_is_told_from_other_errors(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")  # 28: ENOSPC

    monkeypatch.setattr("storage.spool.os.open", no_space)
    with pytest.raises(SpoolFullError, match="make room"):
        spool.append(round_of(1))


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file stands where the directory should be: refused to root as well, whom permissions do not stop."""
    in_the_way = tmp_path / "data"
    in_the_way.write_text("")
    with closing(Spool(in_the_way / "spool.sqlite3")) as spool, pytest.raises(SpoolError) as caught:
        spool.append(round_of(1))
    assert f"the spool {in_the_way}/spool.sqlite3 cannot be used" in str(caught.value)
    assert "must be able to write there" in str(caught.value)


APPEND_ONE = """
    import sys
    from pathlib import Path
    from tests.lab.database import round_of
    from storage.errors import SpoolError, SpoolFullError
    from storage.spool import Spool

    try:
        Spool(Path(sys.argv[1])).append(round_of(1))
    except SpoolError as err:
        assert not isinstance(err, SpoolFullError)
        print(err)
"""


@needs_mounts
def test_a_read_only_disk_is_an_error_and_not_a_broken_file(spool: Spool, path: Path) -> None:
    spool.append(round_of(0))
    spool.close()
    printed = run_with_mount(
        'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"', path.parent, textwrap.dedent(APPEND_ONE), path
    )
    assert "cannot be used" in printed
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_two_processes_may_use_one_file(spool: Spool, path: Path) -> None:
    """The poller, and whoever looks after the file by hand beside it."""
    with closing(Spool(path)) as other:
        for number in range(20):
            (spool, other)[number % 2].append(round_of(number))
        assert rounds_in(spool) == rounds_in(other) == [round_of(number) for number in range(20)]
        other.remove_up_to(other.peek(20)[-1][0])
        assert spool.count() == 0


def test_every_round_whose_append_returned_survives_kill_9(tmp_path: Path, path: Path) -> None:
    script = tmp_path / "append.py"
    script.write_text(
        textwrap.dedent("""
            import sys
            from pathlib import Path
            from tests.lab.database import round_of
            from storage.spool import Spool

            spool = Spool(Path(sys.argv[1]))
            for number in range(100_000):
                spool.append(round_of(number))
                print(number, flush=True)
        """)
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, script, path], env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) == 50:
                child.kill()
                break
        told = 50 + len(child.stdout.readlines())
    with closing(Spool(path)) as spool:
        found = rounds_in(spool, 100_000)
    assert found == [round_of(number) for number in range(len(found))]
    assert len(found) > told


def test_a_week_without_a_database_takes_seconds_to_read_and_little_disk(spool: Spool, path: Path) -> None:
    spool.append(*(round_of(number) for number in range(10_080)))
    assert spool.count() == 10_080
    assert path.stat().st_size + Path(f"{path}-wal").stat().st_size < 10_000_000
    assert timedelta(minutes=10_080) == timedelta(days=7)


def test_no_log_line_of_an_ordinary_day_is_a_warning(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    spool.append(round_of(1))
    spool.remove_up_to(spool.peek(1)[0][0])
    assert caplog.records == []
