"""Files for their owner only: no link is followed, nobody else reads them, the old one stays where writing fails."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

import private_file


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
def test_the_file_is_its_owners_only_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "pan.json"
    path.write_text("old", "ascii")
    path.chmod(0o666)
    private_file.replace(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("what", ["a link", "a link to nothing", "a file of an earlier run"])
def test_what_stands_at_the_temporary_name_is_neither_followed_nor_in_the_way(tmp_path: Path, what: str) -> None:
    path, victim, beside = tmp_path / "pan.json", tmp_path / "victim", tmp_path / "pan.json.new"
    victim.write_text("of somebody else", "ascii")
    if what == "a file of an earlier run":
        beside.write_text("half wri", "ascii")
    else:
        beside.symlink_to(victim if what == "a link" else tmp_path / "nowhere")
    private_file.replace(path, b"new")
    assert victim.read_text("ascii") == "of somebody else"
    assert path.read_bytes() == b"new"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["pan.json", "victim"]


def test_a_link_at_the_place_itself_is_replaced_and_not_followed(tmp_path: Path) -> None:
    path, victim = tmp_path / "pan.json", tmp_path / "victim"
    victim.write_text("of somebody else", "ascii")
    path.symlink_to(victim)
    private_file.replace(path, b"new")
    assert not path.is_symlink()
    assert victim.read_text("ascii") == "of somebody else"


def test_where_it_cannot_be_written_the_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "pan.json"
    path.mkdir()  # no file can take the place of a directory
    (path / "inside").write_text("kept", "ascii")
    with pytest.raises(OSError, match=r"pan\.json"):
        private_file.replace(path, b"new")
    assert (path / "inside").read_text("ascii") == "kept"
    assert [each.name for each in tmp_path.iterdir()] == ["pan.json"]
