"""The Japanese of the command lines: complete, compiled, and spoken where the locale is Japanese."""

from __future__ import annotations

import ast
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po

pytestmark = pytest.mark.system

ROOT = Path(__file__).parent.parent
CATALOGUE = ROOT / "commandline" / "locale" / "ja" / "LC_MESSAGES" / "power_consumption.po"
SOURCES = ("power_consumption.py", "power_graph.py", "temp_graph.py", "charts/arguments.py")


def catalogue() -> Catalog:
    with CATALOGUE.open("rb") as file:
        return read_po(file)


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


def texts_of(read: Catalog) -> set[tuple[str, str]]:
    return {(str(message.id), str(message.string)) for message in read if message.id}


def help_of(script: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    command = [sys.executable, str(ROOT / script), "-h"]
    done = subprocess.run(
        command, capture_output=True, check=True, env={**kept, "PYTHONIOENCODING": "utf-8", **environment}
    )
    return done.stdout.decode()


@pytest.mark.parametrize("source", SOURCES)
def test_every_text_of_the_command_lines_has_a_translation(source: str) -> None:
    texts = marked(source)
    assert texts or source.endswith("graph.py")
    translated = catalogue()
    assert {text for text in texts if text not in translated or not translated[text].string} == set()


def test_the_compiled_catalogue_is_the_one_that_people_edit() -> None:
    compiled = io.BytesIO()
    write_mo(compiled, catalogue())
    compiled.seek(0)
    with CATALOGUE.with_suffix(".mo").open("rb") as file:
        assert texts_of(read_mo(file)) == texts_of(read_mo(compiled))


def test_no_placeholder_is_lost_in_translation() -> None:
    assert [list(message.check()) for message in catalogue() if list(message.check())] == []


@pytest.mark.parametrize("script", ["power_consumption.py", "power_graph.py", "temp_graph.py"])
@pytest.mark.parametrize(
    ("environment", "expected"),
    [({"LANG": "ja_JP.UTF-8"}, "使い方: "), ({"LANG": "C.UTF-8"}, "usage: "), ({"LC_ALL": "en_US.UTF-8"}, "usage: ")],
)
def test_help_speaks_the_language_of_the_locale(script: str, environment: dict[str, str], expected: str) -> None:
    assert help_of(script, **environment).startswith(expected)


def test_no_line_of_the_japanese_help_is_left_in_english() -> None:
    assert "show " not in help_of("power_consumption.py", LANG="ja_JP.UTF-8")
