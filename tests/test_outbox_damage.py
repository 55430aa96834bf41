"""The outbox after a power cut at any moment, and with its file damaged in any way: no wrong number, no standstill."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from storage.outbox import Outbox
from storage.outbox_files import Rejected
from storage.records import PowerRow, Round
from tests.lab.database import full_round, round_of

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parent.parent
SECTOR = 512
NAMES = ("outbox.rounds", "outbox.rejected")


def number_of(stored: Round) -> int:
    row = stored.rows[0]
    assert isinstance(row, PowerRow)
    assert row.power_w is not None
    return row.power_w


def deliver_all(data_dir: Path) -> list[Round]:
    """Take everything out as the next run does, which goes on appending."""
    found: list[Round] = []
    with closing(Outbox(data_dir, fsync=False)) as outbox:
        while (batch := outbox.oldest(100)).rounds:
            found += batch.rounds
            outbox.remove(batch)
        outbox.append(round_of(999_999))
        assert outbox.error is None
        assert list(outbox.oldest(10).rounds) == [round_of(999_999)]
    return found


# --- damage


def fill(data_dir: Path, rounds: int = 60) -> None:
    """Make an outbox as a kill leaves it: with rounds delivered, some rejected, and some that wait."""
    with closing(Outbox(data_dir, fsync=False)) as outbox:
        for number in range(rounds - 20):
            outbox.append(full_round(number))
        outbox.remove(outbox.oldest(3), [Rejected.of(full_round(at), "out of range", is_final=False) for at in (0, 1)])
        for number in range(rounds - 20, rounds):
            outbox.append(full_round(number))


def flip_bits(content: bytearray, choose: random.Random) -> None:
    for _ in range(choose.choice((1, 1, 1, 2, 8))):
        content[choose.randrange(len(content))] ^= 1 << choose.randrange(8)


def zero_a_sector(content: bytearray, choose: random.Random) -> None:
    at = choose.randrange(len(content) // SECTOR) * SECTOR
    content[at : at + SECTOR] = bytes(SECTOR)


def write_garbage(content: bytearray, choose: random.Random) -> None:
    length = choose.choice((1, 16, SECTOR, 4096))
    at = choose.randrange(max(1, len(content) - length))
    content[at : at + length] = choose.randbytes(length)


def cut_off(content: bytearray, choose: random.Random) -> None:
    del content[choose.randrange(len(content)) :]


def swap_sectors(content: bytearray, choose: random.Random) -> None:
    one, other = (choose.randrange(len(content) // SECTOR) * SECTOR for _ in range(2))
    content[one : one + SECTOR], content[other : other + SECTOR] = (
        content[other : other + SECTOR],
        content[one : one + SECTOR],
    )


DAMAGES = (flip_bits, flip_bits, zero_a_sector, write_garbage, cut_off, swap_sectors)


@pytest.mark.parametrize("times", [150, pytest.param(8000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_no_damage_of_the_file_makes_a_wrong_number_or_a_standstill(tmp_path: Path, times: int) -> None:
    fill(tmp_path / "whole")
    originals = {number: full_round(number) for number in range(60)}
    kept = refused = 0
    for seed in range(times):
        choose = random.Random(seed)
        data_dir = tmp_path / "damaged"
        shutil.copytree(tmp_path / "whole", data_dir)
        path = data_dir / choose.choice(NAMES)
        content = bytearray(path.read_bytes())
        choose.choice(DAMAGES)(content, choose)
        path.write_bytes(content)
        with closing(Outbox(data_dir, fsync=False)) as outbox:
            again = [stored for _, stored in outbox.refused()]
        assert [stored for stored in again if stored not in (originals[0], originals[1])] == []
        refused += len(again)
        found = deliver_all(data_dir)
        assert [stored for stored in found if stored != originals[number_of(stored)]] == [], f"wrong with seed {seed}"
        kept += len({number_of(stored) for stored in found})
        shutil.rmtree(data_dir)
    assert kept > 0.9 * 57 * times
    assert refused > 0.6 * 2 * times  # of a file of two lines


@pytest.mark.parametrize("seed", range(5))
def test_a_bit_costs_two_rounds_at_most_wherever_it_is(tmp_path: Path, seed: int) -> None:
    """Two where it is the end of a line; everything before and behind them is read."""
    fill(tmp_path)
    path = tmp_path / NAMES[0]
    content = bytearray(path.read_bytes())
    place = random.Random(seed).choice([0, len(content) - 1, content.index(b"\n"), *range(0, len(content), 997)])
    content[place] ^= 0x04
    path.write_bytes(content)
    found = [number_of(stored) for stored in deliver_all(tmp_path)]
    assert len({*range(3, 60)} - {*found}) <= 2


def test_a_whole_file_brings_nothing_delivered_back(tmp_path: Path) -> None:
    """Delivered rounds still stand in it."""
    with closing(Outbox(tmp_path / "made", fsync=False)) as outbox:
        for number in range(20):
            outbox.append(round_of(number))
        outbox.remove(outbox.oldest(20), [Rejected.of(round_of(7), "out of range", is_final=True)])
    assert deliver_all(tmp_path / "made") == []


# --- power cuts


APPEND_AND_REMOVE = """
    import os, sys
    from pathlib import Path
    import storage.line_file
    from storage.outbox import Outbox
    from tests.lab.database import round_of

    storage.line_file.ROOM_BYTES = 3000  # so that the file is begun anew now and then
    outbox = Outbox(Path(sys.argv[1]))
    for number in range(120):
        outbox.append(round_of(number))
        os.write(1, b"kept %d\\n" % number)
        if number % 10 == 9:
            batch = outbox.oldest(20 if number % 30 == 29 else 7)
            os.write(1, b"delivered %d\\n" % (outbox_last := batch.rounds[-1].rows[0].power_w))
            outbox.remove(batch)
    outbox.close()
"""

CALL = re.compile(
    r"^\d+ +(?P<name>\w+)\((?P<fd>\d+)(?:<(?P<path>[^>]*)>)?(?:, (?P<rest>.*))?\) += (?P<result>-?\d+)", re.DOTALL
)
HEX = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass
class Written:
    """A file: what is on the disk for certain, and what was written since it was last synced."""

    synced: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes]] = field(default_factory=list)  # offset -1: cut to so many bytes

    def sync(self) -> None:
        self.synced = self.image(None)
        self.pending = []

    def image(self, choose: random.Random | None) -> bytearray:
        """Return what may be found after a power cut; without *choose*, all that was written."""
        content = bytearray(self.synced)
        for offset, data in self.pending:
            if offset < 0:
                if choose is None or choose.random() < 0.5:
                    del content[int.from_bytes(data, "big") :]
                continue
            for begin in range(0, len(data), SECTOR):
                piece = data[begin : begin + SECTOR]
                fate = "whole" if choose is None else choose.choice(("whole", "whole", "dropped", "torn"))
                if fate == "torn":
                    piece = piece[: (choose or random).randrange(len(piece))]
                if fate != "dropped":
                    end = offset + begin + len(piece)
                    content.extend(bytes(max(0, end - len(content))))
                    content[offset + begin : end] = piece
        return content


def recorded(data_dir: Path, trace: Path) -> Iterator[tuple[dict[str, Written], int, int]]:
    """Run an outbox under strace; give the files after each call, the last number kept and the last delivered."""
    command = ["strace", "-f", "-y", "-xx", "-s", "20000", "-o", str(trace),
               "-e", "trace=write,lseek,fsync,fdatasync,ftruncate"]  # fmt: skip
    child = [sys.executable, "-c", textwrap.dedent(APPEND_AND_REMOVE), str(data_dir)]
    subprocess.run(
        [*command, *child], env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, check=True
    )
    files: dict[str, Written] = {name: Written() for name in NAMES}
    place, kept, delivered = 0, -1, -1
    for line in trace.read_text("ascii").splitlines():
        call = CALL.match(line)
        if call is None or call["result"].startswith("-"):
            continue
        name = Path(bytes.fromhex(call["path"].replace("\\x", "")).decode() if call["path"] else "").name
        data = b""
        if call["name"] == "write":
            found = HEX.search(call["rest"] or "")
            data = bytes.fromhex(found[1].replace("\\x", "")) if found else b""
        if call["fd"] == "1" and call["name"] == "write":
            word, number = data.decode().split()
            kept, delivered = (int(number), delivered) if word == "kept" else (kept, int(number))
        if name not in files:
            continue
        if call["name"] == "lseek":
            place = int(call["result"])
        elif call["name"] == "write":
            files[name].pending.append((place, data[: int(call["result"])]))
            place += int(call["result"])
        elif call["name"] == "ftruncate":
            assert call["rest"] is not None
            files[name].pending.append((-1, int(call["rest"], 0).to_bytes(8, "big")))
        elif call["name"] in ("fsync", "fdatasync"):
            files[name].sync()
        yield files, kept, delivered


needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@needs_strace
@pytest.mark.parametrize("images", [80, pytest.param(3000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_a_power_cut_at_any_moment_loses_nothing_that_append_returned_for(tmp_path: Path, images: int) -> None:
    """Sectors that were not synced yet are there, are missing, or are torn, each on its own."""
    choose = random.Random(images)
    calls = sum(1 for _ in recorded(tmp_path / "first", tmp_path / "trace"))
    wanted = sorted(choose.choices(range(calls), k=images))
    for at, (files, kept, delivered) in enumerate(recorded(tmp_path / "second", tmp_path / "trace")):
        while wanted and wanted[0] == at:
            wanted.pop(0)
            data_dir = tmp_path / "cut"
            data_dir.mkdir()
            for name, file in files.items():
                content = file.image(choose)
                if content or name == NAMES[0]:
                    (data_dir / name).write_bytes(content)
            numbers = [number_of(stored) for stored in deliver_all(data_dir)]
            assert set(numbers) >= set(range(delivered + 1, kept + 1)), f"lost after call {at}"
            assert len(numbers) == len(set(numbers)), f"twice after call {at}"
            assert max(numbers, default=0) <= kept + 1
            waiting = [number for number in numbers if number > delivered]  # others may come again
            assert waiting == sorted(waiting)
            shutil.rmtree(data_dir)
    assert wanted == [] or wanted[0] >= calls - 5  # two runs may differ by a call
