"""A data directory of an earlier build, as that left it: its rounds go on, once, and nothing of it is deleted."""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zlib import crc32

import pytest

import poller.app
from poller.app import Store
from poller.clock import Clock
from poller.dating import Dating
from skstack.pan_cache import FilePanCache
from storage.connection import Connection
from storage.database import Database
from storage.errors import DatabaseUnreachableError
from storage.outbox import Outbox
from storage.records import CpuTemperatureRow, EnergyRow, PowerRow, RadioEventRow, Round, Row
from storage.rows_json import round_to_json
from storage.takeover import read_boot_id, take_over
from tests.lab.clock import LabClock

# Made by running version 1.0 beside its simulator: three polls refused by a constraint, four while the table was gone,
# then, by its clock guard, rounds held in two boots, one every 60 s, the machine's clock then being in 2020.
LEFT = Path(__file__).parent / "data" / "version_1.0"
BOOT_ID = "7c3e1a52-0f0e-4d0b-9d7e-5d7a3c0f1b2a"
ZERO = datetime(2026, 11, 26, 0, 0, 0, 250_000, tzinfo=UTC)  # when that boot began
KWH, EXPORTED = Decimal("13433.8"), Decimal("678.0")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return Path(shutil.copytree(LEFT, tmp_path / "data"))


@pytest.fixture
def outbox(data_dir: Path) -> Iterator[Outbox]:
    with closing(Outbox(data_dir)) as opened:
        yield opened


def rows_in(outbox: Outbox) -> list[Row]:
    return [row for stored in outbox.oldest(100).rounds for row in stored.rows]


def refused_in(outbox: Outbox) -> list[Row]:
    return [row for _, stored in outbox.refused() for row in stored.rows]


def polled(second: int) -> PowerRow:
    at = datetime(2026, 11, 26, 1, 48, second, tzinfo=UTC)
    return PowerRow(at, 220, Decimal("1.3"), Decimal("0.9"), KWH, EXPORTED)


def held(monotonic_s: int, watts: int) -> list[Row]:
    at = ZERO.replace(microsecond=0) + timedelta(seconds=monotonic_s)
    return [PowerRow(at, watts, Decimal("1.1"), None, Decimal("12345.6"), None), CpuTemperatureRow(at, 48.3)]


WAITING: list[Row] = [
    *(polled(second) for second in (47, 48, 49, 50)),
    EnergyRow(datetime(2026, 11, 26, 1, 30, tzinfo=UTC), Decimal("13433.7"), EXPORTED, "read"),
]
HELD: list[Row] = [
    *held(160, 222),
    *held(220, 223),
    *held(280, 224),
    RadioEventRow(ZERO + timedelta(seconds=280), "scan", 3.5, detail="held"),
]


def test_waiting_and_held_rounds_go_on_and_refused_rows_are_tried_again(data_dir: Path, outbox: Outbox) -> None:
    outbox.append(Round((polled(59),)))
    take_over(data_dir, outbox, zero=ZERO, boot_id=BOOT_ID)
    assert rows_in(outbox) == [polled(59), *WAITING, *HELD]
    assert refused_in(outbox) == [polled(second) for second in (44, 45, 46)]
    assert outbox.count_rejected() == 3 + 4  # and the four rounds of another boot, which cannot be dated any more


@pytest.mark.parametrize("boot_id", [None, "a-later-boot"])
def test_rounds_held_in_another_boot_are_rejected_with_the_reason(
    data_dir: Path, outbox: Outbox, boot_id: str | None
) -> None:
    take_over(data_dir, outbox, zero=ZERO, boot_id=boot_id)
    assert rows_in(outbox) == WAITING
    lines = (data_dir / "outbox.rejected").read_text("ascii").splitlines()
    found = [each["reason"] for line in lines if (each := json.loads(line.partition(" ")[2]))["is_final"]]
    assert found == ["read before the clock was right, in an earlier run of the machine"] * 8


def test_it_happens_once_and_the_old_file_is_kept_under_another_name(data_dir: Path, outbox: Outbox) -> None:
    before = (data_dir / "spool.sqlite3").read_bytes()
    for _ in range(2):
        take_over(data_dir, outbox, zero=ZERO, boot_id=BOOT_ID)
    assert rows_in(outbox) == [*WAITING, *HELD]
    assert not (data_dir / "spool.sqlite3").exists()
    assert (data_dir / "spool-taken-over.sqlite3").read_bytes() == before


def test_a_crash_before_the_old_file_is_renamed_loses_nothing(
    data_dir: Path, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits may then be there twice; to deliver it twice changes nothing."""
    with monkeypatch.context() as crash:
        crash.setattr("storage.takeover.Path.rename", lambda *_: (_ for _ in ()).throw(OSError("the power is cut")))
        take_over(data_dir, outbox, zero=ZERO, boot_id=BOOT_ID)
    assert (data_dir / "spool.sqlite3").exists()
    take_over(data_dir, outbox, zero=ZERO, boot_id=BOOT_ID)
    assert rows_in(outbox) == [*WAITING, *HELD] * 2
    assert outbox.count_rejected() == 7
    assert not (data_dir / "spool.sqlite3").exists()


def test_what_cannot_be_taken_over_now_is_left_as_it_is_and_said(
    data_dir: Path, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    before = (data_dir / "spool.sqlite3").read_bytes()
    (data_dir / "outbox.rejected").mkdir()
    take_over(data_dir, outbox, zero=ZERO, boot_id=BOOT_ID)
    assert (data_dir / "spool.sqlite3").read_bytes() == before
    assert "not taken over yet" in caplog.text
    (data_dir / "outbox.rejected").rmdir()
    take_over(data_dir, outbox, zero=ZERO, boot_id=BOOT_ID)
    assert rows_in(outbox) == [*WAITING, *HELD]


def make_outbox_of_an_earlier_build(path: Path, rounds: list[Round], refused: list[Round]) -> None:
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("create table round (round_id integer primary key, body text not null, checksum integer not null)")
        file.execute(
            "create table rejected (rejected_id integer primary key, rejected_at text, reason text, is_final integer,"
            " body text, checksum integer)"
        )
        bodies = [round_to_json(stored) for stored in rounds]
        file.executemany(
            "insert into round (body, checksum) values (?, ?)", [(body, crc32(body.encode())) for body in bodies]
        )
        bodies = [round_to_json(stored) for stored in refused]
        values = [("2026-11-26", "out of range", body, crc32(body.encode())) for body in bodies]
        file.executemany(
            "insert into rejected (rejected_at, reason, is_final, body, checksum) values (?, ?, 0, ?, ?)", values
        )


def test_an_outbox_in_sqlite_and_its_spare_file_are_taken_over_too(tmp_path: Path) -> None:
    one, other, third, refused = (Round((polled(second),)) for second in (1, 2, 3, 4))
    make_outbox_of_an_earlier_build(tmp_path / "outbox.sqlite3", [one, other], [refused])
    make_outbox_of_an_earlier_build(tmp_path / "outbox-spare.sqlite3", [third], [])
    with closing(sqlite3.connect(tmp_path / "outbox.sqlite3")) as file, file:
        file.execute("update round set body = replace(body, '220', '221') where round_id = 2")
    with closing(Outbox(tmp_path)) as outbox:
        take_over(tmp_path, outbox, zero=ZERO, boot_id=BOOT_ID)
        assert rows_in(outbox) == [polled(1), polled(3)]
        assert refused_in(outbox) == [polled(4)]
        assert outbox.count_rejected() == 2
    assert {each.name for each in tmp_path.glob("*.sqlite3")} == {
        "outbox-taken-over.sqlite3",
        "outbox-spare-taken-over.sqlite3",
    }


def test_a_broken_page_costs_the_rounds_in_it_and_no_other(tmp_path: Path) -> None:
    """They are read from both ends."""
    rounds = [Round((polled(second), polled(second))) for second in range(60)] * 4
    make_outbox_of_an_earlier_build(tmp_path / "outbox.sqlite3", rounds, [])
    with (tmp_path / "outbox.sqlite3").open("r+b") as file:
        file.seek(9 * 4096)
        file.write(b"\xff" * 4096)
    with closing(Outbox(tmp_path)) as outbox:
        take_over(tmp_path, outbox, zero=ZERO, boot_id=BOOT_ID)
        found = outbox.oldest(1000).rounds
    assert [found[0], found[-1]] == [rounds[0], rounds[-1]]
    assert 200 <= len(found) < 240


def test_a_file_that_cannot_be_opened_is_left_as_it_is_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "spool.sqlite3").mkdir()
    with closing(Outbox(tmp_path)) as outbox:
        take_over(tmp_path, outbox, zero=ZERO, boot_id=BOOT_ID)
        assert outbox.count() == 0
    assert (tmp_path / "spool.sqlite3").is_dir()
    assert "is not taken over yet: " in caplog.text


def test_a_machine_that_does_not_tell_its_boot_gives_none(tmp_path: Path) -> None:
    assert read_boot_id(tmp_path / "boot_id") is None
    (tmp_path / "boot_id").write_text(f"{BOOT_ID}\n")
    assert read_boot_id(tmp_path / "boot_id") == BOOT_ID


def test_a_half_hour_that_was_held_keeps_the_meters_own_time(data_dir: Path, outbox: Outbox) -> None:
    """The meter dated it, not the clock that was not right."""
    half_hour = EnergyRow(datetime(2026, 11, 26, 2, 0, tzinfo=UTC), Decimal("13433.9"), EXPORTED, "read")
    with closing(sqlite3.connect(data_dir / "spool.sqlite3")) as spool, spool:
        spool.execute("insert into round (body, boot_id) values (?, ?)", (round_to_json(Round((half_hour,))), BOOT_ID))
    take_over(data_dir, outbox, zero=ZERO, boot_id=BOOT_ID)
    assert rows_in(outbox) == [*WAITING, *HELD, half_hour]


def test_a_broken_spool_gives_what_can_be_read_in_it(data_dir: Path, outbox: Outbox) -> None:
    spool = data_dir / "spool.sqlite3"
    with closing(sqlite3.connect(spool)) as file, file:
        file.execute("update round set body = replace(body, '220', 'x20') where round_id = 2")
        file.execute("update refused set body = '[' where refused_id = 1")
    take_over(data_dir, outbox, zero=ZERO, boot_id=BOOT_ID)
    assert rows_in(outbox) == [row for row in [*WAITING, *HELD] if row != polled(48)]
    assert refused_in(outbox) == [polled(45), polled(46)]
    assert outbox.count_rejected() == 8


def test_a_held_round_of_an_impossible_date_is_rejected_and_blocks_no_other(data_dir: Path, outbox: Outbox) -> None:
    """Version 1.0 kept no checksum: one bit makes a held round of 1970 one of 9970."""
    with closing(sqlite3.connect(data_dir / "spool.sqlite3")) as spool, spool:
        statement = "update round set body = replace(body, '1970-', '9970-') where round_id = ?"
        first = spool.execute("select min(round_id) from round where boot_id = ?", (BOOT_ID,)).fetchone()
        spool.execute(statement, first)
    take_over(data_dir, outbox, zero=ZERO, boot_id=BOOT_ID)
    assert not (data_dir / "spool.sqlite3").exists()
    assert len(rows_in(outbox)) == len(WAITING) + len(HELD) - 2


def test_without_anything_of_version_1_0_nothing_is_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with closing(Outbox(tmp_path)) as outbox:
        take_over(tmp_path, outbox, zero=ZERO, boot_id=BOOT_ID)
        assert rows_in(outbox) == []
    assert caplog.text == ""


def test_the_pan_that_version_1_0_remembered_is_known(data_dir: Path) -> None:
    [known] = json.loads((data_dir / "pan.json").read_text("utf-8"))
    pan = FilePanCache(data_dir / "pan.json").load(known)
    assert pan is not None
    assert (pan.channel, pan.pan_id, pan.mac) == (57, 36085, bytes.fromhex("001c64000a0b8cf5"))


def test_a_fault_of_ours_in_what_was_left_costs_no_round_and_is_met_once(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[Path] = []

    def fail(left: Path, *_: object, **__: object) -> None:
        met.append(left)
        raise ZeroDivisionError

    def connect() -> Connection:
        raise DatabaseUnreachableError("out")

    monkeypatch.setattr(poller.app, "take_over", fail)
    clock = Clock(LabClock(), is_synchronised=lambda: True)
    with closing(Store(Database(connect, site="home", shown="PostgreSQL"), data_dir, clock)) as store:
        dating = Dating(clock, store.write, interval_s=60)
        with pytest.raises(ZeroDivisionError):
            dating.write(Round((polled(58),)))
        dating.write(Round((polled(59),)))
        assert rows_in(store.outbox) == [polled(58), polled(59)]
    assert met == [data_dir]
