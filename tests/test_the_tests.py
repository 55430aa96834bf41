"""The tests stand on the lab and on public names only, and each file says what it protects."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FILES = sorted(TESTS.rglob("*.py"))


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def is_private(name: str) -> bool:
    if name == "_replace":  # public for all its underscore: the documented method of a named tuple
        return False
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def private_names(tree: ast.Module) -> Iterator[str]:
    """Yield every private name that is not the file's own: attributes of others, imports, what is patched by name."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls") | ast.Call(func=ast.Name(id="super"))):
                continue
            case ast.Attribute(attr=name) if is_private(name):
                yield ast.unparse(node)
            case ast.ImportFrom(names=names):
                yield from (each.name for each in names if is_private(each.name))
            case ast.Call(func=ast.Attribute(attr="setattr" | "delattr"), args=arguments):
                texts = [each.value for each in arguments[:2] if isinstance(each, ast.Constant)]
                yield from (text for text in texts if isinstance(text, str) and is_private(text))


def test_private_names_are_left_alone() -> None:
    found = {str(path.relative_to(TESTS)): list(private_names(tree_of(path))) for path in FILES}
    assert {path: names for path, names in found.items() if names} == {}


def test_no_test_file_is_imported() -> None:
    imported = {
        node.module
        for path in FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tests"
    }
    assert [name for name in imported if not name.startswith(("tests.lab", "tests.benchmarks"))] == []


@pytest.mark.parametrize("path", sorted(TESTS.glob("test_*.py")), ids=lambda path: path.name)
def test_each_file_says_what_it_protects(path: Path) -> None:
    assert ast.get_docstring(tree_of(path))
