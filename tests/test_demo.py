"""The demo, as a newcomer runs it: a whole simulated day in both pictures, and nothing else is left of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from poller.demo import run_demo
from storage.delivery import Delivery
from storage.errors import StorageError

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[1]
PNG = b"\x89PNG\r\n\x1a\n"  # PNG specification, 5.2


def yesterday_in_japan() -> str:
    return f"{datetime.now(ZoneInfo('Asia/Tokyo')) - timedelta(days=1):%Y-%m-%d}"


def test_a_day_passes_and_both_pictures_are_all_that_is_left(tmp_path: Path) -> None:
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    may_be = {yesterday_in_japan()}
    done = subprocess.run(
        [sys.executable, str(ROOT / "power_consumption.py"), "--demo"],
        cwd=here,
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    may_be.add(yesterday_in_japan())  # midnight may have passed meanwhile
    assert (done.returncode, done.stderr) == (0, "")
    *_, bar, power, temp = done.stdout.splitlines()
    assert "100%" in bar
    assert " 1449/1449 " in bar  # 24 h, 3 minutes before them and 6 after
    assert (power, temp) in {(f"{here}/power_{day}.png", f"{here}/temp_{day}.png") for day in may_be}
    assert sorted(map(str, here.iterdir())) == [power, temp]
    assert [Path(picture).read_bytes()[:8] for picture in (power, temp)] == [PNG, PNG]
    assert list(temporary.iterdir()) == []


def test_a_server_that_does_not_take_the_day_is_an_error_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(Delivery, "wait_until_drained", lambda *_arguments, **_options: False)
    with pytest.raises(StorageError, match="the embedded PostgreSQL: it has not taken everything within 60 s"):
        run_demo({"power": lambda: pytest.fail("it drew")})
    assert list(tmp_path.iterdir()) == []
