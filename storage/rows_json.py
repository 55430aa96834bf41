"""Rounds as text and back, exactly: for the spool.

A round is a list of ``[table, {column: value}]``. Decimals and times are strings, so that no digit is lost; times
are UTC. A column that a later release adds must have a default in its class: then older text still reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, get_type_hints

from storage.records import TABLES, Round, Row


def round_to_json(stored: Round) -> str:
    """Write *stored* as one line of JSON. In ASCII: a text that UTF-8 refuses must not block the rounds behind it."""
    rows = [[TABLES[type(row)], {name: getattr(row, name) for name in _COLUMNS[type(row)]}] for row in stored.rows]
    return json.dumps(rows, default=_to_json, separators=(",", ":"))


def round_from_json(text: str) -> Round:
    """Read what round_to_json wrote.

    Raises: ValueError: it is no such text, or of a later release.
    """
    try:
        return Round(tuple(_row_from_json(table, values) for table, values in json.loads(text)))
    except (TypeError, KeyError, ArithmeticError, AttributeError) as err:
        raise ValueError(f"not a round: {type(err).__name__} {err}") from err


def _to_json(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(f"no column holds a {type(value).__name__}")


def _row_from_json(table: str, values: Mapping[str, Any]) -> Row:
    readers = _COLUMNS[_CLASSES[table]]
    make_row: Callable[..., Row] = _CLASSES[table]
    return make_row(**{name: None if value is None else readers[name](value) for name, value in values.items()})


def _reader(annotation: object) -> Callable[[Any], Any]:
    """Choose how a value of this type is read back; most are what JSON gave."""
    names = str(annotation)
    if "Decimal" in names:
        return Decimal
    if "datetime" in names:
        return datetime.fromisoformat
    return lambda value: value


_CLASSES: Mapping[str, type[Row]] = {table: row_class for row_class, table in TABLES.items()}
_COLUMNS: Mapping[type[Row], Mapping[str, Callable[[Any], Any]]] = {
    row_class: {field.name: _reader(get_type_hints(row_class)[field.name]) for field in fields(row_class)}
    for row_class in TABLES
}
