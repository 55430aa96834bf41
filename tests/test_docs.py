"""The documents say what the programs do: first blocks, flags, keys, defaults and links."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest

import power_consumption
import power_graph
import settings
import temp_graph
from sensors import simulated_mhz19
from skstack.simulator import MODELS, TEST_PASSWORD, TEST_ROUTE_B_ID
from skstack.simulator import __main__ as simulator_command
from tests.lab.documents import (
    DOCUMENTS,
    ENGLISH,
    JAPANESE,
    READMES,
    ROOT,
    beside,
    blocks,
    both_languages,
    code,
    prose,
    rows,
    section,
)

SAMPLE = ROOT / "power_consumption.ini-sample"


def project() -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"])


# --- the first two blocks

FIRST_BLOCK = """\
python3 -m venv .venv
. .venv/bin/activate
pip install '.[poller,graph,embedded]'
python power_consumption.py --demo
"""
SECOND_BLOCK = """\
python3 -m venv .venv
. .venv/bin/activate
pip install -e '.[poller,graph,embedded,test]'
python -m pytest
"""


@both_languages
def test_the_first_two_blocks_are_the_demo_and_the_tests(readme: Path) -> None:
    assert blocks(readme, "sh") == [FIRST_BLOCK, SECOND_BLOCK]


@both_languages
def test_the_extras_that_are_named_are_those_of_the_package(readme: Path) -> None:
    extras = project()["optional-dependencies"]
    text = readme.read_text(encoding="utf-8")
    named = {extra for group in re.findall(r"'\.\[([a-z,]+)\]'", text) for extra in group.split(",")}
    named |= set(re.findall(r"(?:-E|--extra) ([a-z]+)", text))
    assert named == set(extras)


# --- command lines


def help_of(main: Callable[[Sequence[str]], int]) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit) as ended:
        main(["-h"])
    assert ended.value.code == 0
    return said.getvalue()


def flags_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])(-[a-z]|--[a-z][a-z0-9-]*)(?![\w-])", text))


def real_flags(main: Callable[[Sequence[str]], int]) -> set[str]:
    """Return the options that a program's help lists, without what the sentences beside them mention."""
    listed = re.findall(r"^  (-\S.*?)(?:  |$)", help_of(main), re.MULTILINE)
    return flags_in(" ".join(listed))


def documented_flags(readme: Path, *words: str) -> dict[str, set[str]]:
    """Return the options in the first column of a section's table, by the program they are said to belong to."""
    return flags_of(section(readme, *words))


def flags_of(text: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for first, *_ in rows(text):
        only = re.search(r"\(([a-z_]+\.py)\)", first)
        found.setdefault(only[1] if only else "", set()).update(flags_in(" ".join(code(first))))
    return found


@both_languages
def test_the_options_of_the_poller_are_those_of_its_parser(readme: Path) -> None:
    assert documented_flags(readme, "power_consumption.py") == {"": real_flags(power_consumption.main)}


@both_languages
def test_the_options_of_the_graph_scripts_are_those_of_their_parsers(readme: Path) -> None:
    documented = documented_flags(readme, "power_graph.py", "temp_graph.py")
    assert documented[""] == real_flags(temp_graph.main)
    assert documented[""] | documented["power_graph.py"] == real_flags(power_graph.main)
    assert set(documented) == {"", "power_graph.py"}


@both_languages
def test_the_options_of_the_simulator_are_those_of_its_parser(readme: Path) -> None:
    module, sensor = prose(beside(readme, "simulator.md")).split("\n## ")
    assert flags_of(module) == {"": real_flags(simulator_command.main)}
    assert set(MODELS) <= set(code(module))
    assert {TEST_ROUTE_B_ID, TEST_PASSWORD} <= set(code(module))
    assert flags_of(sensor) == {"": real_flags(simulated_mhz19.main)}
    assert set(simulated_mhz19.FAULTS) <= set(code(sensor))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_option_in_an_example_exists(document: Path) -> None:
    mains: Mapping[str, Callable[[Sequence[str]], int]] = {
        "power_consumption.py": power_consumption.main,
        "bin/power-consumption": power_consumption.main,
        "power_graph.py": power_graph.main,
        "temp_graph.py": temp_graph.main,
        "skstack.simulator": simulator_command.main,
        "sensors.simulated_mhz19": simulated_mhz19.main,
    }
    for language in ("sh", "bash", "cron"):
        for line in "\n".join(blocks(document, language)).replace("\\\n", " ").splitlines():
            for program, main in mains.items():
                _, found, arguments = line.partition(program)
                if found:
                    used = flags_in(re.split(r"[#&>]|2>", arguments)[0])
                    assert used <= real_flags(main), line


def test_every_module_and_script_in_an_example_is_there() -> None:
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for module in re.findall(r"python -m ((?:skstack|sensors|tests)[\w.]*)", text):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
        for script in re.findall(r"python ([\w/]+\.py)", text):
            assert (ROOT / script).exists(), script


# --- settings


def settings_rows(readme: Path) -> list[tuple[str, str, str]]:
    """Return section, key and default of each row of the settings table."""
    found = []
    for cells in rows(beside(readme, "settings.md").read_text(encoding="utf-8")):
        in_brackets = re.fullmatch(r"`\[(\w+)\]`", cells[0])
        if in_brackets:
            found.append((in_brackets[1], *code(cells[1]), cells[2]))
    return [(name, key, default) for name, key, default in found]


@both_languages
def test_the_settings_table_has_every_key_in_its_order(readme: Path) -> None:
    assert [row[:2] for row in settings_rows(readme)] == [
        (section_name, key) for section_name, keys in settings.KEYS.items() for key in keys
    ]


def test_the_sample_has_every_key_and_each_with_its_default() -> None:
    parser = ConfigParser(interpolation=None, default_section="")
    parser.read_string(SAMPLE.read_text(encoding="utf-8"))
    assert {name: tuple(parser[name]) for name in parser.sections()} == settings.KEYS
    for name, key, default in settings_rows(ENGLISH):
        if key not in ("id", "password"):
            assert parser[name][key] == "".join(code(default)), (name, key)


def test_both_languages_name_the_same_defaults() -> None:
    def named(readme: Path) -> list[list[str]]:
        return [code(default) for _, _, default in settings_rows(readme)]

    assert named(JAPANESE) == named(ENGLISH)


def test_the_defaults_are_those_of_the_program(tmp_path: Path) -> None:
    defaults = {(name, key): "".join(code(default)) for name, key, default in settings_rows(ENGLISH)}
    file = tmp_path / "power_consumption.ini"
    file.write_text(f"[routeB]\nid = {TEST_ROUTE_B_ID}\npassword = {TEST_PASSWORD}\n")
    file.chmod(0o600)
    loaded = settings.load(file)
    assert defaults["routeB", "device"] == loaded.route_b.device
    assert float(defaults["routeB", "interval"]) == loaded.route_b.interval_s
    assert float(defaults["routeB", "timeout"]) == loaded.route_b.timeout_s
    assert float(defaults["routeB", "history_pause"]) == loaded.route_b.history_pause_s
    assert defaults["storage", "site"] == loaded.storage.site
    assert defaults["co2", "device"] == loaded.co2.device
    assert float(defaults["co2", "warm_up"]) == loaded.co2.warm_up_s
    assert int(defaults["bme280", "bus"]) == loaded.bme280.bus
    assert int(defaults["bme280", "address"], 16) == loaded.bme280.address
    assert Path(defaults["graph", "output_dir"]) == loaded.graph.output_dir
    assert defaults["graph", "timezone"] == loaded.graph.timezone.key


# --- the documents themselves


def slug(heading: str) -> str:
    """Return the anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_inside_the_project_leads_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:")):
            continue
        name, _, anchor = target.partition("#")
        file = (document.parent / name).resolve() if name else document
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, target


TRANSLATED = ("settings.md", "troubleshooting.md", "operations.md", "simulator.md", "protocol.md")
PAIRS = [(ENGLISH, JAPANESE), *((beside(ENGLISH, name), beside(JAPANESE, name)) for name in TRANSLATED)]
both_of_each = pytest.mark.parametrize(("english", "japanese"), PAIRS, ids=lambda path: path.name)


@both_of_each
def test_both_languages_have_the_same_parts_in_the_same_order(english: Path, japanese: Path) -> None:
    def levels(document: Path) -> list[int]:
        return [len(marks) for marks in re.findall(r"^(#+) ", prose(document), re.MULTILINE)]

    assert levels(japanese) == levels(english)


@both_of_each
def test_both_languages_have_the_same_commands(english: Path, japanese: Path) -> None:
    def commands(document: Path) -> list[str]:
        text = document.read_text(encoding="utf-8")
        fences = re.findall(r"^```(?:sh|bash|ini|cron|sql)\n.*?^```$", text, re.MULTILINE | re.DOTALL)
        return [re.sub(r"\s+# .*$", "", fence, flags=re.MULTILINE) for fence in fences]

    assert commands(japanese) == commands(english)


@both_of_each
def test_both_languages_link_to_the_same_sources_and_name_the_same_modules(english: Path, japanese: Path) -> None:
    in_english, in_japanese = (document.read_text(encoding="utf-8") for document in (english, japanese))
    links = re.compile(r"\]\((https?:[^)\s]+)\)")
    assert set(links.findall(in_japanese)) == set(links.findall(in_english))
    modules = re.compile(r"\b(?:BP35\w+(?:-J11[\w-]*)?|WSR35A1-00|RS-WSUHA-\w+|Stick-D/\w+|HAT-C1)")
    assert set(modules.findall(in_japanese)) == set(modules.findall(in_english))


def test_no_line_of_a_japanese_paragraph_is_broken() -> None:
    """Markdown would show a gap there."""
    for document in JAPANESE.parent.glob("*.md"):
        text = re.sub(r"^(?:\||#|!|- ).*$", "", prose(document), flags=re.MULTILINE)
        assert re.findall(r"^\S.*\n\S.*$", text, re.MULTILINE) == [], document.name


def test_the_readme_is_short_and_names_every_document() -> None:
    assert len(ENGLISH.read_text(encoding="utf-8").splitlines()) <= 220
    for readme, documents in ((ENGLISH, (ROOT / "docs").glob("*.md")), (JAPANESE, JAPANESE.parent.glob("[!R]*.md"))):
        linked = re.findall(r"\]\(([^)#\s]+)\)", readme.read_text(encoding="utf-8"))
        assert {(readme.parent / name).resolve() for name in linked} >= {path.resolve() for path in documents}


@both_languages
def test_both_pictures_are_shown(readme: Path) -> None:
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", readme.read_text(encoding="utf-8"))
    language = ".ja" if readme == JAPANESE else ""
    assert [Path(name).name for name in shown] == [f"power{language}.png", f"temp{language}.png"]


def test_the_changelog_has_the_version_on_top() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[([^\]]+)\]", text, re.MULTILINE)
    assert newest is not None
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit):
        power_consumption.main(["--version"])
    assert newest[1] == said.getvalue().split()[-1]


def test_the_oldest_python_is_that_of_the_package() -> None:
    needed = project()["requires-python"]
    for readme in READMES:
        assert f"Python {needed.removeprefix('>=')}" in readme.read_text(encoding="utf-8")
    assert sys.version_info >= tuple(int(part) for part in needed.removeprefix(">=").split("."))
