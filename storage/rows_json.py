"""Rounds as text and back, exactly, every value checked: for the outbox.

A round is a list of ``[table, {column: value}]``. Decimals and times are strings, so that no digit is lost; times
are UTC. A column that a later release adds must have a default in its class: then older text still reads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, get_args, get_origin, get_type_hints

from storage.records import TABLES, Round, Row

MAX_BYTES = 1_000_000  # of a round: a day of half hours takes 6,000
_ENCODER = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class _Column:
    """What a column holds: whether a value is of its *kind*, how it is read and written, and whether it may be None.

    *read* and *write* are None where JSON has the kind itself.
    """

    kind: str
    is_right: Callable[[Any], bool]
    read: Callable[[Any], Any] | None = None
    write: Callable[[Any], str] | None = None
    is_optional: bool = False

    def checked(self, name: str, value: object) -> object:
        """Return *value*. Raises: ValueError: it is of another kind, such as a time without a zone."""
        if (value is None and self.is_optional) or (value is not None and self.is_right(value)):
            return value
        raise ValueError(f"{name}: expected {self.kind}, got {type(value).__name__} {str(value)[:40]!r}")


def row_to_values(row: Row) -> dict[str, object]:
    """Return the columns of *row* as JSON has them. Raises: ValueError: a value is of the wrong kind."""
    values: dict[str, object] = {}
    for name, column in _COLUMNS[type(row)].items():
        value = column.checked(name, getattr(row, name))
        write = column.write
        values[name] = value if value is None or write is None else write(value)
    return values


def round_to_json(stored: Round) -> str:
    """Write *stored* as one line of JSON. In ASCII: a text that UTF-8 refuses must not block the rounds behind it.

    Raises: ValueError: a value is of the wrong kind, or there are too many of them.
    """
    text = _ENCODER.encode([[TABLES[type(row)], row_to_values(row)] for row in stored.rows])
    if len(text) > MAX_BYTES:
        raise ValueError(f"a round of {len(text)} bytes: {MAX_BYTES} is the most")
    return text


def round_from_json(text: str) -> Round:
    """Read what round_to_json wrote.

    Raises: ValueError: it is no such text, or of a later release.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"not a round: {len(text)} bytes")
    try:
        return Round(tuple(_row_from_json(table, values) for table, values in json.loads(text)))
    except (TypeError, KeyError, ArithmeticError, AttributeError, RecursionError) as err:
        raise ValueError(f"not a round: {type(err).__name__} {str(err)[:100]}") from err


def _row_from_json(table: str, values: Mapping[str, Any]) -> Row:
    make_row: Callable[..., Row] = _CLASSES[table]
    columns, checked = _COLUMNS[_CLASSES[table]], {}
    for name, value in values.items():
        read = columns[name].read
        checked[name] = columns[name].checked(name, value if value is None or read is None else read(value))
    return make_row(**checked)


def _is_moment(value: object) -> bool:
    if not isinstance(value, datetime) or value.tzinfo is None:
        return False
    try:
        value.astimezone(UTC)
    except OverflowError:  # the first or the last day that there is, east or west of Greenwich
        return False
    return True


def _moment_of(text: object) -> datetime:
    return datetime.fromisoformat(_text_of(text))


def _utc_text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def _is_decimal(value: object) -> bool:
    return isinstance(value, Decimal) and value.is_finite()


def _text_of(value: object) -> str:
    """Let only a text through: Decimal(1.1) would be another number than Decimal("1.1")."""
    if not isinstance(value, str):
        raise ValueError(f"expected a text, got {type(value).__name__}")
    return value


_KINDS: Mapping[object, _Column] = {
    datetime: _Column("a time with its zone", _is_moment, _moment_of, _utc_text),
    Decimal: _Column("a decimal number", _is_decimal, lambda value: Decimal(_text_of(value)), str),
    bool: _Column("true or false", lambda value: isinstance(value, bool)),
    int: _Column("a whole number", _is_whole),
    float: _Column("a number", _is_number),
    str: _Column("a text", lambda value: isinstance(value, str)),
}


def _column(annotation: object) -> _Column:
    """Choose by the type of a field how its values are checked and read."""
    choices = get_args(annotation)
    if get_origin(annotation) is Literal:
        return _Column(" or ".join(choices), lambda value: value in choices)
    kinds = choices or (annotation,)
    column = next(_KINDS[kind] for kind in kinds if kind in _KINDS)
    return replace(column, is_optional=type(None) in kinds)


_CLASSES: Mapping[str, type[Row]] = {table: row_class for row_class, table in TABLES.items()}
_COLUMNS: Mapping[type[Row], Mapping[str, _Column]] = {
    row_class: {field.name: _column(get_type_hints(row_class)[field.name]) for field in fields(row_class)}
    for row_class in TABLES
}
