"""The Japanese of the command lines: complete, and spoken where the locale is Japanese."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from help_ja import JAPANESE
from poller.sources import SENSORS

pytestmark = pytest.mark.system

ROOT = Path(__file__).parent.parent
SOURCES = ("power_consumption.py", "power_graph.py", "temp_graph.py", "charts/arguments.py")
PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[sdr]")


def marked(source: str) -> set[str]:
    """Return the texts in _(...) calls of *source*."""
    calls = [node for node in ast.walk(ast.parse((ROOT / source).read_text("utf-8"))) if isinstance(node, ast.Call)]
    return {
        argument.value
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "_"
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }


def help_of(script: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    command = [sys.executable, str(ROOT / script), "-h"]
    done = subprocess.run(
        command, capture_output=True, check=True, env={**kept, "PYTHONIOENCODING": "utf-8", **environment}
    )
    return done.stdout.decode()


@pytest.mark.parametrize("source", SOURCES)
def test_every_text_of_the_command_lines_has_a_translation(source: str) -> None:
    texts = marked(source) | {sensor.says for sensor in SENSORS}
    assert texts or source.endswith("graph.py")
    assert texts - JAPANESE.keys() == set()


@pytest.mark.parametrize("english", JAPANESE)
def test_no_placeholder_is_lost_in_translation(english: str) -> None:
    assert JAPANESE[english]
    assert sorted(PLACEHOLDER.findall(JAPANESE[english])) == sorted(PLACEHOLDER.findall(english))


@pytest.mark.parametrize("script", ["power_consumption.py", "power_graph.py", "temp_graph.py"])
@pytest.mark.parametrize(
    ("environment", "expected"),
    [({"LANG": "ja_JP.UTF-8"}, "使い方: "), ({"LANG": "C.UTF-8"}, "usage: "), ({"LC_ALL": "en_US.UTF-8"}, "usage: ")],
)
def test_help_speaks_the_language_of_the_locale(script: str, environment: dict[str, str], expected: str) -> None:
    assert help_of(script, **environment).startswith(expected)


def test_no_line_of_the_japanese_help_is_left_in_english() -> None:
    assert "show " not in help_of("power_consumption.py", LANG="ja_JP.UTF-8")
