"""From a row of a table to a question and its accepted answers, as text."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from metaspo.engine.tasks.errors import TaskError
from metaspo.engine.tasks.spec import Columns

_FIELD: Final = re.compile(r"\{([^{}]+)\}")
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source.

    Attributes:
        where: file and line, for messages.
    """

    where: str
    cells: Mapping[str, object]


def question_of(row: Row, columns: Columns) -> str:
    """The question: a column, or a template with columns filled in. Raises `TaskError`."""
    if "{" in columns.question:
        question = _FIELD.sub(lambda match: _text(row, match[1]), columns.question)
    else:
        question = _text(row, columns.question)
    if not question.strip():
        raise TaskError(f"{row.where}: the question (columns.question = {columns.question!r}) is empty")
    return question


def answers_of(row: Row, columns: Columns) -> tuple[str, ...]:
    """The accepted answers, one or a list; see `cell_text` for numbers. Raises `TaskError`."""
    value = _cell(row, columns.answer)
    values = list(value) if isinstance(value, list | tuple) else [value]
    if not values:
        raise TaskError(f"{row.where}: the list of answers (columns.answer = {columns.answer!r}) is empty")
    return tuple(_checked(row, columns.answer, item) for item in values)


def cell_text(value: object) -> str:
    """A cell as text. Numbers lose a fraction of zero: 5 and 5.0 are both "5", like the text "5"; the text "5.0" stays.

    True and false become "true" and "false". Raises `ValueError`, saying what the value is instead.
    """
    match value:
        case str():
            if any("\ud800" <= char <= "\udfff" for char in value):
                raise ValueError("holds half of a surrogate pair, which is no text")
            return value
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float() | Decimal() if math.isfinite(value):
            whole = int(value)
            return str(whole) if whole == value else str(value)
        case None | float() | Decimal():
            raise ValueError("is missing (null)" if value is None else f"is {value}")
        case _:
            raise ValueError(f"is of type {type(value).__name__}, not text or a number")


def _text(row: Row, column: str) -> str:
    return _checked(row, column, _cell(row, column))


def _checked(row: Row, column: str, value: object) -> str:
    try:
        return cell_text(value)
    except ValueError as error:
        raise TaskError(f"{row.where}: column {column!r} {error}") from None


def _cell(row: Row, column: str) -> object:
    """A column by its name or, where there is none of that name, by its dotted path into nested ones."""
    if column in row.cells:
        return row.cells[column]
    value: object = row.cells
    for part in column.split("."):
        value = value.get(part, _MISSING) if isinstance(value, Mapping) else _MISSING
    if value is _MISSING:
        raise TaskError(f"{row.where}: no column {column!r}; there are: {', '.join(row.cells)} (set [tasks.columns])")
    return value
