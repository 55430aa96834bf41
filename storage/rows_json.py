"""Rounds as text and back, exactly, every value checked: for the outbox.

A round is a list of ``[table, {column: value}]``. Decimals and times are strings, so that no digit is lost; times
are UTC. A column that a later release adds must have a default in its class: then older text still reads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from storage.records import TABLES, Round, Row

MAX_BYTES = 1_000_000  # of a round: a day of half hours takes 6,000
_ENCODER = json.JSONEncoder(separators=(",", ":"))


class _Kind(NamedTuple):
    """A kind of values in *words*; how one *is_right*, and how it becomes the text that stands for it, and back."""

    words: str
    is_right: Callable[[Any], bool] = lambda _value: True
    to_text: Callable[[Any], str] | None = None  # None: JSON has the kind itself
    of_text: Callable[[str], object] | None = None


class _Column(NamedTuple):
    """What a column holds: a value of one of *kinds*; where there are *choices*, one of these texts."""

    kinds: tuple[type, ...]  # that of its values first
    choices: tuple[str, ...] = ()

    def checked(self, name: str, value: object) -> object:
        """Return *value*. Raises: ValueError: it is of another kind, such as a time without a zone."""
        kind = type(value)
        if kind in self.kinds and (not self.choices or value in self.choices) and _KINDS[kind].is_right(value):
            return value
        expected = " or ".join(self.choices) or _KINDS[self.kinds[0]].words
        raise ValueError(f"{name}: expected {expected}, got {kind.__name__} {str(value)[:40]!r}")

    def read(self, value: object) -> object:
        """Return what *value* stands for; only a text stands for something else: Decimal(1.1) is not 1.1."""
        of_text = _KINDS[self.kinds[0]].of_text
        return of_text(value) if of_text is not None and isinstance(value, str) else value


def row_to_values(row: Row) -> dict[str, object]:
    """Return the columns of *row* as JSON has them. Raises: ValueError: a value is of the wrong kind."""
    values: dict[str, object] = {}
    for name, column in _COLUMNS[type(row)].items():
        value = column.checked(name, getattr(row, name))
        to_text = _KINDS[type(value)].to_text
        values[name] = value if to_text is None else to_text(value)
    return values


def round_to_json(round_: Round) -> str:
    """Write *round_* as one line of JSON. In ASCII: a text that UTF-8 refuses must not block the rounds behind it.

    Raises: ValueError: a value is of the wrong kind, or there are too many of them.
    """
    text = _ENCODER.encode([[TABLES[type(row)], row_to_values(row)] for row in round_.rows])
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
    row_class = _CLASSES[table]
    columns = _COLUMNS[row_class]
    read = {name: columns[name].checked(name, columns[name].read(value)) for name, value in values.items()}
    make_row: Callable[..., Row] = row_class
    return make_row(**read)


def _is_moment(moment: datetime) -> bool:
    """Whether it has a zone, and is not the first or the last day that there is, east or west of Greenwich."""
    with suppress(OverflowError):
        return moment.tzinfo is not None and bool(moment.astimezone(UTC))
    return False


def _utc_text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


_KINDS: Mapping[type, _Kind] = {
    datetime: _Kind("a time with its zone", _is_moment, _utc_text, datetime.fromisoformat),
    Decimal: _Kind("a decimal number", Decimal.is_finite, str, Decimal),
    bool: _Kind("true or false"),
    int: _Kind("a whole number"),
    float: _Kind("a number", math.isfinite),
    str: _Kind("a text"),
    NoneType: _Kind("nothing"),
}


def _column(annotation: object) -> _Column:
    """Choose by the type of a field what its column holds."""
    if get_origin(annotation) is Literal:
        return _Column((str,), get_args(annotation))
    kinds = get_args(annotation) or (annotation,)
    return _Column((*kinds, int) if float in kinds else kinds)


_CLASSES: Mapping[str, type[Row]] = {table: row_class for row_class, table in TABLES.items()}
_COLUMNS: Mapping[type[Row], Mapping[str, _Column]] = {
    row_class: {field.name: _column(get_type_hints(row_class)[field.name]) for field in fields(row_class)}
    for row_class in TABLES
}
