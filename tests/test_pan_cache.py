"""Where a meter was found is known after a restart, without a secret; a broken file costs a scan, no more."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from skstack import FilePanCache, PanDescription
from skstack.pan_cache import cache_key

KEY = cache_key(bytes.fromhex("001D129012345678"), "00112233445566778899AABBCCDDEEFF")
MAC = bytes.fromhex("001C64000A0B8CF5")
PAN = PanDescription(0x39, 0x8CF5, MAC, lqi=0xA7, side=0, pair_id="CCDDEEFF")


def test_what_was_saved_is_loaded_by_another_process(tmp_path: Path) -> None:
    FilePanCache(tmp_path / "pan.json").save(KEY, PAN)
    assert FilePanCache(tmp_path / "pan.json").load(KEY) == PanDescription(0x39, 0x8CF5, MAC)


def test_each_module_and_contract_has_its_own(tmp_path: Path) -> None:
    cache = FilePanCache(tmp_path / "pan.json")
    cache.save(KEY, PAN)
    assert cache.load(cache_key(bytes(8), "00112233445566778899AABBCCDDEEFF")) is None
    assert cache.load(cache_key(bytes.fromhex("001D129012345678"), "0" * 32)) is None


def test_nothing_secret_is_in_the_file(tmp_path: Path) -> None:
    FilePanCache(tmp_path / "pan.json").save(KEY, PAN)
    written = (tmp_path / "pan.json").read_text()
    assert "CCDDEEFF" not in written  # the pairing ID
    assert "00112233" not in written


def test_a_missing_file_costs_a_scan(tmp_path: Path) -> None:
    assert FilePanCache(tmp_path / "pan.json").load(KEY) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        '"text"',
        "\x00",
        json.dumps({KEY: None}),
        json.dumps({KEY: {}}),
        json.dumps({KEY: {"channel": "39", "pan_id": 1, "mac": MAC.hex()}}),
        json.dumps({KEY: {"channel": 0x20, "pan_id": 1, "mac": MAC.hex()}}),
        json.dumps({KEY: {"channel": 0x3D, "pan_id": 1, "mac": MAC.hex()}}),
        json.dumps({KEY: {"channel": 0x39, "pan_id": 0x10000, "mac": MAC.hex()}}),
        json.dumps({KEY: {"channel": 0x39, "pan_id": -1, "mac": MAC.hex()}}),
        json.dumps({KEY: {"channel": 0x39, "pan_id": 1, "mac": "00"}}),
        json.dumps({KEY: {"channel": 0x39, "pan_id": 1, "mac": "zz" * 8}}),
        json.dumps({KEY: {"channel": 0x39, "pan_id": 1, "mac": None}}),
        "[" * 40_000 + "]" * 40_000,
        '{"a":' * 15_000 + "1" + "}" * 15_000,
        json.dumps({KEY: {"channel": 0x39, "pan_id": 1, "mac": MAC.hex()}, "padding": "x" * 1_000_000}),
    ],
    ids=lambda text: text[:60],
)
def test_a_broken_file_costs_a_scan_and_is_written_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pan.json"
    path.write_text(text)
    cache = FilePanCache(path)
    assert cache.load(KEY) is None
    cache.save(KEY, PAN)
    assert cache.load(KEY) is not None


def test_a_directory_that_cannot_be_written_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = FilePanCache(tmp_path / "missing" / "pan.json")
    cache.save(KEY, PAN)
    assert "cannot be written" in caplog.text
    assert cache.load(KEY) is None


def test_a_pipe_in_its_place_costs_a_scan_and_is_replaced(tmp_path: Path) -> None:
    """To open one at which nobody writes would wait for ever."""
    os.mkfifo(tmp_path / "pan.json")
    cache = FilePanCache(tmp_path / "pan.json")
    assert cache.load(KEY) is None
    cache.save(KEY, PAN)
    assert cache.load(KEY) is not None


def test_bytes_that_are_no_text_cost_a_scan(tmp_path: Path) -> None:
    (tmp_path / "pan.json").write_bytes(b"\xff\xfe\x00")
    assert FilePanCache(tmp_path / "pan.json").load(KEY) is None


def test_saving_the_same_again_writes_nothing(tmp_path: Path) -> None:
    cache = FilePanCache(tmp_path / "pan.json")
    cache.save(KEY, PAN)
    before = (tmp_path / "pan.json").stat().st_mtime_ns, (tmp_path / "pan.json").stat().st_ino
    cache.save(KEY, PAN)
    assert ((tmp_path / "pan.json").stat().st_mtime_ns, (tmp_path / "pan.json").stat().st_ino) == before


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    cache = FilePanCache(tmp_path / "pan.json")
    cache.save(KEY, PAN)
    cache.save("other", PAN)
    assert [entry.name for entry in tmp_path.iterdir()] == ["pan.json"]
    assert set(json.loads((tmp_path / "pan.json").read_text())) == {KEY, "other"}


def test_the_key_does_not_reveal_the_id() -> None:
    assert "00112233" not in KEY
    assert len(KEY) == 24
