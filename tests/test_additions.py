"""A new table or sensor is named wherever all of them are: no list by hand is left behind."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from poller.sources import SENSORS
from storage.records import TABLES, VIEWS, WRITTEN_TABLES
from tests.lab.documents import ROOT, beside, both_languages, code, rows, section

INIT_SQL = ROOT / "init.sql"
SCALING = ROOT / "docs" / "scaling.md"
GRANTING = [
    INIT_SQL,
    *(folder / name for folder in (ROOT / "docs", ROOT / "docs" / "ja") for name in ("schema.md", "operations.md")),
]
NAMING_SENSORS = [
    ROOT / "docs" / "systemd" / "power-consumption.service",
    *(folder / "operations.md" for folder in (ROOT / "docs", ROOT / "docs" / "ja")),
]
READINGS = {table for row, table in TABLES.items() if any(field.name == "measured_at" for field in fields(row))}


def granted(text: str) -> list[set[str]]:
    """Return the tables of every grant that names more than one, without those of the views."""
    lists = [set(re.split(r",\s*", names)) for names in re.findall(r"grant [a-z, ]+ on ([\w, ]+) to", text)]
    return [names for names in lists if len(names) > 1 and names != set(VIEWS)]


@pytest.mark.parametrize("file", GRANTING, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_grant_on_the_tables_names_them_all(file: Path) -> None:
    lists = granted(file.read_text(encoding="utf-8"))
    assert all(names == set(WRITTEN_TABLES) for names in lists)
    assert lists or file.parts[-2:] == ("ja", "schema.md")  # which points to the English page


@both_languages
def test_the_schema_page_has_a_row_for_each_table(readme: Path) -> None:
    named = [name for first, *_ in rows(beside(readme, "schema.md").read_text("utf-8")) for name in code(first)]
    assert set(WRITTEN_TABLES) <= set(named)


def test_the_scaling_page_knows_each_table_that_grows() -> None:
    named = {name for first, *_ in rows(section(SCALING, "One PostgreSQL")) for name in code(first)}
    assert named == READINGS | {"energy"}


def test_the_scaling_page_spreads_every_table() -> None:
    text = SCALING.read_text("utf-8")
    spread = re.findall(r"create_(?:reference|distributed)_table\('(\w+)'", text)
    assert sorted(spread) == sorted(WRITTEN_TABLES)
    assert set(re.findall(r"create_hypertable\('(\w+)'", text)) == READINGS


@pytest.mark.parametrize("file", NAMING_SENSORS, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_service_is_shown_with_every_sensor(file: Path) -> None:
    (flags,) = re.findall(r"SENSORS=(--[^`\n]*)", file.read_text("utf-8"))
    assert flags.split() == [sensor.flag for sensor in SENSORS]
