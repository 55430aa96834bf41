"""The shape of skstack/: who imports whom, who writes what, and what is imported only where it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RADIO = ROOT / "skstack"
PUBLIC = {"skstack", "skstack.echonet", "skstack.simulator"}
MOST_FILES = 19
MOST_FLOORS = 9


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> set[str]:
    """Return the modules of skstack that *path* imports, wherever in the file."""
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "skstack":
            files = {f"{node.module}.{name.name}" for name in node.names} & MODULES.keys()
            found |= files or {node.module}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name.split(".")[0] == "skstack"}
    return found


MODULES = {module_name(path): path for path in RADIO.rglob("*.py")}


def test_outside_the_room_names_come_from_its_three_doors() -> None:
    rooms = ("charts", "ini_file", "poller", "sensors", "storage")
    files = [path for room in rooms for path in (ROOT / room).rglob("*.py")] + list(ROOT.glob("*.py"))
    strange = {(path.name, name) for path in files for name in imported(path) if name not in PUBLIC}
    assert strange == set()


def test_inside_the_room_names_come_from_their_files() -> None:
    doors = {module: imported(path) & PUBLIC for module, path in MODULES.items()}
    assert {module: names for module, names in doors.items() if names} == {}


def test_what_a_door_offers_is_there() -> None:
    for name in PUBLIC:
        module = __import__(name, fromlist=["__all__"])
        assert [public for public in module.__all__ if not hasattr(module, public)] == []


def test_the_room_has_few_files_and_few_floors_and_no_circle() -> None:
    assert len(list(RADIO.glob("*.py"))) <= MOST_FILES
    under_way: list[str] = []

    @cache
    def floor(module: str) -> int:
        assert module not in under_way, f"a circle: {under_way}"
        under_way.append(module)
        floors = [floor(name) for name in imported(MODULES[module])]
        under_way.pop()
        return 1 + max(floors, default=0)

    by_floor = {module: floor(module) for module in MODULES if module not in PUBLIC}
    assert max(floor for module, floor in by_floor.items() if "simulator" not in module) <= MOST_FLOORS


def own_attributes(tree: ast.Module) -> set[str]:
    """Return every attribute that a class of this file has, by an annotation or an assignment to self."""
    names = set()
    for class_ in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        for node in ast.walk(class_):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node):
                names.add(node.attr)
    return names


def is_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "self"


def test_no_attribute_of_a_class_is_written_by_another_file() -> None:
    strange = []
    inside = [*RADIO.glob("*.py"), *(RADIO / "echonet").glob("*.py")]
    attributes = set().union(*(own_attributes(parsed(path)) for path in inside))
    for path in [*inside, *(ROOT / "poller").rglob("*.py")]:
        tree = parsed(path)
        own = own_attributes(tree)
        for node in ast.walk(tree):
            is_written = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del)
            if not isinstance(node, ast.Attribute) or not is_written or is_self(node) or node.attr in own:
                continue
            if path in inside or node.attr in attributes:
                strange.append(f"{path.name}:{node.lineno} {ast.unparse(node)}")
    assert strange == []


@pytest.mark.system
def test_pyserial_is_imported_only_where_a_port_is_opened() -> None:
    program = """
import sys
sys.modules["serial"] = None  # an import of it fails
import skstack, skstack.echonet, skstack.simulator
from skstack.simulator import SimulatedModule
try:
    skstack.SerialPort("/dev/null")
except ImportError:
    print("as it should be")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.stdout, done.stderr) == ("as it should be\n", "")
