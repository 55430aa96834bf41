"""The picture of the rooms, and the files that an addition touches, are those of the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from storage.records import TABLES, VIEWS, WRITTEN_TABLES
from tests.lab.documents import ROOT, blocks, code, prose, rows

PAGE = ROOT / "docs" / "architecture.md"
SCRIPTS = ("power_consumption.py", "power_graph.py", "temp_graph.py")
RADIO_ROOMS = ("skstack/simulator/", "skstack/echonet/", "skstack/errors.py", "skstack/")  # the inner ones first
ROOMS = (*RADIO_ROOMS, "sensors/", "storage/", "poller/", "charts/")
SHARED = tuple(sorted(path.name for path in ROOT.glob("*.py") if path.name not in SCRIPTS))


def place_of(module: str) -> str | None:
    """Return the room, the script or the shared module that *module* is a part of; None: it is not ours."""
    file = module.replace(".", "/") + ".py"
    places = (*ROOMS, *SCRIPTS, *SHARED)
    return next((each for each in places if file == each or f"{file.removesuffix('.py')}/".startswith(each)), None)


def imported_by(file: Path) -> set[str]:
    """Return the places that *file* imports from, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {place_of(name.name) for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            is_file = (ROOT / node.module.replace(".", "/")).with_suffix(".py").exists()
            names = [node.module] if is_file else [f"{node.module}.{name.name}" for name in node.names]
            found |= {place_of(name) for name in names}
    return {place for place in found if place}


def imports() -> set[tuple[str, str]]:
    """Return who imports whom, but for the errors of skstack/, which belong to it."""
    found = set()
    for file in [*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]:
        place = place_of(".".join(file.relative_to(ROOT).with_suffix("").parts)) or ""
        found |= {(place, other) for other in imported_by(file) if other != place}
    return {pair for pair in found if pair != ("skstack/", "skstack/errors.py")}


def arrows() -> set[tuple[str, str]]:
    """Return the arrows of the picture, by the labels of what they join."""
    (picture,) = blocks(PAGE, "mermaid")
    labels = dict(re.findall(r'(\w+)\["([^"]+)"\]', picture))
    found = set()
    for line in re.sub(r'\["[^"]+"\]', "", picture).splitlines():
        drawn = re.fullmatch(r" *([\w &]+?) (?:-->|-\. .* \.->) ([\w &]+)", line)
        if drawn:
            ends = [[labels[name] for name in end.split(" & ")] for end in drawn.groups()]
            found |= {(start, end) for start in ends[0] for end in ends[1]}
    return found


def test_the_arrows_are_the_imports_between_rooms() -> None:
    assert arrows() == {(place, other) for place, other in imports() if not {place, other} & set(SHARED)}


def test_the_table_says_what_each_room_knows_of_the_top_level() -> None:
    table = [row for row in rows(prose(PAGE)) if len(row) == 3]
    told = {code(room)[0]: set(code(known)) for room, _, known in table}
    assert told == {
        room: {other for place, other in imports() if place == room and other in SHARED}
        for room in ROOMS
        if room.endswith("/")
    }


def test_every_file_that_the_page_names_is_there() -> None:
    named = {name for name in code(prose(PAGE)) if re.fullmatch(r"[\w/.-]+(\.\w+|/)", name) and "NAME" not in name}
    ours = {str(path.relative_to(ROOT)) for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    assert len(named) > 30
    assert {n for n in named if not (ROOT / n).exists() and not any(path.endswith(f"/{n}") for path in ours)} == {
        "Meter.poll",
        "Session.get",
        "Outbox.append",
    }


def test_the_tables_are_those_of_the_schema() -> None:
    schema = (ROOT / "init.sql").read_text(encoding="utf-8")
    assert tuple(re.findall(r"^create table if not exists (\w+)", schema, re.MULTILINE)) == WRITTEN_TABLES
    assert set(re.findall(r"create (?:or replace )?view (\w+)", schema)) >= set(VIEWS)
    assert len(TABLES) == len(WRITTEN_TABLES) - 1  # a site is no reading
