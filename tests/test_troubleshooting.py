"""Every message that a person may meet has its row in the table of messages, and every row a message."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.lab.documents import ENGLISH, JAPANESE, ROOT, beside, both_languages, code, prose, rows

ROOMS = ("skstack", "poller", "storage", "sensors", "charts")
LOUD = ("warning", "error", "exception", "critical")
PRINTED = re.compile(
    r"(Settings|Start|Graph|NoData|Period|Output|Storage|DatabaseUnreachable|EmbeddedServer|Outbox)Error"
)
"""Errors that the scripts print. Those of --check are not among them: each names its remedy itself."""
SEEN_BY_NOBODY = (  # each is caught by ours, or says that ours called things in a wrong order
    "the embedded PostgreSQL was closed",
    "the embedded PostgreSQL was not started",
)
SENSOR_ERROR = re.compile(r"Sensor\w*Error|kind|(\w+\.)*(passing|wait_until)")  # wait_until has its text last
LEAST_WORDS = 2  # behind the name of a part: a text with fewer only hands on what another says, such as "%s: %s"


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for file in [*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]:
        if "simulat" not in str(file.relative_to(ROOT)):
            yield file, ast.parse(file.read_text(encoding="utf-8"))


def text_of(node: ast.AST) -> str | None:
    """Return a literal with an ellipsis for each value that is filled in; None: it is none."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%(\.\d|0\d)?[a-zA-Z]", "…", node.value)
    return None


@cache
def texts_in_code() -> list[str]:
    return [text for _, tree in sources() for node in ast.walk(tree) if (text := text_of(node)) is not None]


def is_loud(called: str, inside: str) -> bool:
    """Whether what is *called* logs a warning or worse, reports why a link is down, or is printed as an error."""
    if called == "logger.log":
        return "logging.WARNING" in inside or "logging.ERROR" in inside
    if called in ("self._report", "sys.stderr.write"):
        return True
    return called.removeprefix("logger.") in LOUD or PRINTED.fullmatch(called) is not None


def loud_texts(tree: ast.Module) -> Iterator[str]:
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        inside = ast.unparse(function)
        named = {
            node.targets[0].id: node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and is_loud(ast.unparse(node.func), inside):
                for argument in node.args[:2]:  # log() has the level before its text
                    meant = named.get(argument.id, argument) if isinstance(argument, ast.Name) else argument
                    text = text_of(meant)
                    if text is not None:
                        yield text
                        break


def sensor_texts(tree: ast.Module) -> Iterator[str]:
    """Yield what a sensor says is wrong: in an error, or in a pair with its remedy."""
    for node in ast.walk(tree):
        said: list[ast.expr] = []
        if isinstance(node, ast.Call) and node.args and SENSOR_ERROR.fullmatch(ast.unparse(node.func)):
            said = [node.args[-1 if ast.unparse(node.func).endswith("wait_until") else 0]]
        elif isinstance(node, ast.Tuple) and len(node.elts) == 2:
            said = node.elts
        texts = [text for each in said if (text := text_of(each)) is not None]
        if texts and len(texts) == len(said):
            yield ": ".join(texts)


def explained(text: str) -> bool:
    """Whether the table has a row for *text*, or it only hands on what another says."""
    known = [message for message in quoted_messages(ENGLISH) if len(re.findall(r"\w+", message)) > 1]
    words = re.findall(r"\w+", re.sub(r"^[\w-]+: ", "", text))
    return len(words) < LEAST_WORDS or any(pattern(message).search(text) for message in known)


@cache
def quoted_messages(readme: Path) -> list[str]:
    return [message for row in rows(prose(beside(readme, "troubleshooting.md"))) for message in code(row[0])]


def pattern(message: str) -> re.Pattern[str]:
    """Return what finds *message* in a text; an ellipsis stands for anything."""
    return re.compile(".*".join(map(re.escape, message.split("…"))), re.DOTALL)


@pytest.mark.system
@both_languages
def test_every_message_in_the_table_is_said_by_the_program(readme: Path) -> None:
    said = texts_in_code()
    unknown = [message for message in quoted_messages(readme) if not any(map(pattern(message).search, said))]
    assert unknown == []


@pytest.mark.system
def test_every_warning_and_error_of_the_program_is_in_the_table() -> None:
    unknown = {
        f"{file.relative_to(ROOT)}: {text}"
        for file, tree in sources()
        for text in loud_texts(tree)
        if text not in SEEN_BY_NOBODY and not explained(text)
    }
    assert sorted(unknown) == []


@pytest.mark.system
def test_every_error_of_a_sensor_is_in_the_table() -> None:
    said = {
        f"{file.relative_to(ROOT)}: {text}"
        for file, tree in sources()
        if file.parent == ROOT / "sensors"
        for text in sensor_texts(tree)
        if not explained(text)
    }
    assert sorted(said) == []


def test_both_languages_explain_the_same_messages() -> None:
    assert quoted_messages(JAPANESE) == quoted_messages(ENGLISH)
    assert len(quoted_messages(ENGLISH)) == len(set(quoted_messages(ENGLISH)))
