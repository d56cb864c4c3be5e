"""From a row of a table to a question and its accepted answers, as text."""

import datetime
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import orjson

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.choices import ChoiceError, letter_of, lettered, option_order
from metaspo.engine.tasks.data_spec import Columns
from metaspo.engine.tasks.errors import TaskError
from metaspo.engine.tasks.shown import listed, shown

_FIELD: Final = late_pattern(r"\{([^{}]+)\}")
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source.

    Attributes:
        where: file and line, for messages.
        fault: why it is no row, in a sentence with `where`; "" for one that is.
    """

    where: str
    cells: Mapping[str, object]
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A cell that holds no value; `why` follows the column's name in messages."""

    why: str


def question_of(row: Row, columns: Columns) -> str:
    """The question: a column, or a template with columns filled in; then the options. Raises `TaskError`."""
    stem = _stem(row, columns)
    if not columns.choices:
        return stem
    options, order = _options(row, columns, stem)
    return f"{stem}\n{lettered(options, order)}"


def answers_of(row: Row, columns: Columns, *, none: bool = False, objects: bool = False) -> tuple[str, ...]:
    """The accepted answers, one or a list; see `cell_text` for numbers.

    Args:
        none: there need not be an answer; a missing value (null) or an empty list is "".
        objects: an answer may be an object (a struct), which becomes JSON.

    Raises:
        TaskError: a value is no answer; says which and where.
    """
    if columns.either:
        return (columns.either[_drawn(row, columns)],)
    value = column_of(row, columns.answer)
    values = list(value) if isinstance(value, list | tuple) else [value]
    if none and all(item is None for item in values):
        return ("",)
    if objects:
        values = [_json_of(item, row) if isinstance(item, Mapping) else item for item in values]
    if not values:
        raise TaskError(f"{row.where}: the list of answers (columns.answer = {columns.answer!r}) is empty")
    answers = tuple(_named(row, columns, _checked(row, columns.answer, item)) for item in values)
    if not columns.choices:
        return answers
    options, order = _options(row, columns, _stem(row, columns))
    try:
        return tuple(letter_of(answer, options, order) for answer in answers)
    except ChoiceError as error:
        raise TaskError(f"{row.where}: column {columns.answer!r} {error}") from None


def json_of(value: object, *, ordered: bool = False) -> str:
    """A value as JSON; a date becomes text, a number stays as long as it is. Raises `ValueError`."""
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS if ordered else 0).decode()
    except orjson.JSONEncodeError:  # of numbers beyond 64 bits; of half a surrogate pair, which nothing can hold
        text = json.dumps(value, default=str, sort_keys=ordered, separators=(",", ":"), ensure_ascii=False)
    text.encode()
    return text


def _json_of(value: object, row: Row, *, ordered: bool = False) -> str:
    try:
        return json_of(value, ordered=ordered)
    except ValueError as error:
        raise TaskError(f"{row.where}: holds what is no JSON: {error}") from None


def row_json(row: Row) -> str:
    """All of a row as JSON. Raises `TaskError`."""
    return _json_of(dict(row.cells), row, ordered=True)


def metadata_of(row: Row, columns: Columns) -> dict[str, Any]:
    """The columns that graders see, as plain JSON (a date becomes text). Raises `TaskError` for what is none."""
    metadata: dict[str, Any] = {}
    for column in columns.metadata:
        try:
            metadata[column] = json.loads(json_of(column_of(row, column)))
        except ValueError as error:
            raise TaskError(f"{row.where}: column {column!r} cannot be metadata: {error}") from None
    return metadata


def text_in(row: Row, column: str) -> str:
    """A cell as text, to compare by; "" where it is missing (null). Raises `TaskError` for an unknown column."""
    if column not in row.cells and _nested(row, column) is _MISSING:
        raise TaskError(f"{row.where}: no column {column!r}; there are: {_names(row.cells)}")
    return "" if column_of(row, column) is None else _text(row, column)


def cell_text(value: object) -> str:
    """A cell as text. Numbers lose a fraction of zero: 5 and 5.0 are both "5", like the text "5"; the text "5.0" stays.

    True and false become "true" and "false", dates are as ISO 8601 has them, with a space before the time. Raises
    `ValueError`, saying what the value is instead.
    """
    match value:
        case str():
            if not _is_text(value):
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
        case datetime.date() | datetime.time():
            return str(value)
        case Mapping():
            raise ValueError(f'holds fields ({listed(map(str, value), most=100)}): name one of them, "COLUMN.FIELD"')
        case _:
            raise ValueError(f"is of type {type(value).__name__}, not text or a number")


def _stem(row: Row, columns: Columns) -> str:
    """The question without its options."""
    if columns.either:
        question = _text(row, _drawn(row, columns))
    elif "{" in columns.question:
        question = _FIELD.sub(lambda match: _block(row, match[1]), columns.question)
    else:
        question = _text(row, columns.question)
    for pattern in columns.without:
        question = re.sub(pattern, "", question)
    if columns.without or columns.either:
        question = question.strip()
    if not question.strip():
        raise TaskError(f"{row.where}: the question (columns.question = {columns.question!r}) is empty")
    return question


def _options(row: Row, columns: Columns, stem: str) -> tuple[list[str], tuple[int, ...]]:
    """The options as they stand in the data, and the order to show them in."""
    if isinstance(columns.choices, str):
        value = column_of(row, columns.choices)
        items = [(columns.choices, item) for item in (value if isinstance(value, list | tuple) else [value])]
    else:
        items = [(column, column_of(row, column)) for column in columns.choices]
    options = [_checked(row, column, item) for column, item in items]
    try:
        return options, option_order(options, question=stem, shuffle=columns.shuffle)
    except ChoiceError as error:
        raise TaskError(f"{row.where}: column {columns.choices!r} {error}") from None


def _drawn(row: Row, columns: Columns) -> str:
    """The column that `either` takes of this row: by hash of all of their texts."""
    names = sorted(columns.either)
    digest = hashlib.sha256("\n".join(_text(row, name) for name in names).encode()).digest()
    return names[int.from_bytes(digest) % len(names)]


def _named(row: Row, columns: Columns, answer: str) -> str:
    if not columns.names:
        return answer
    if answer not in columns.names:
        raise TaskError(
            f"{row.where}: column {columns.answer!r} is {shown(answer)}, which columns.names does not hold; "
            f"it holds: {', '.join(columns.names)}"
        )
    return columns.names[answer]


def _block(row: Row, column: str) -> str:
    """A cell in a template: lists become lines, and so do columns beside each other ("title: text")."""
    value = column_of(row, column)
    try:
        return _lines(value)
    except ValueError as error:
        raise TaskError(f"{row.where}: column {column!r} {error}") from None


def _lines(value: object, *, joint: str = "\n") -> str:
    if isinstance(value, list | tuple):
        return joint.join(_lines(item, joint=" ").strip() for item in value)
    if isinstance(value, Mapping) and value and all(isinstance(part, list | tuple) for part in value.values()):
        return joint.join(
            ": ".join(_lines(part, joint=" ") for part in parts) for parts in zip(*value.values(), strict=True)
        )
    return cell_text(value)


def _is_text(value: str) -> bool:
    """Whether all of it can be written down: half of a surrogate pair cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(row: Row, column: str) -> str:
    return _checked(row, column, column_of(row, column))


def _checked(row: Row, column: str, value: object) -> str:
    try:
        return cell_text(value)
    except ValueError as error:
        raise TaskError(f"{row.where}: column {column!r} {error}") from None


def column_of(row: Row, column: str) -> object:
    """A column by its name or, where there is none of that name, by its dotted path into nested ones."""
    value = row.cells[column] if column in row.cells else _nested(row, column)
    if value is _MISSING:
        remedy = delimiter_advice(list(row.cells)) or "set [tasks.columns]"
        raise TaskError(f"{row.where}: no column {column!r}; there are: {_names(row.cells)} ({remedy})")
    if isinstance(value, Unreadable):
        raise TaskError(f"{row.where}: column {column!r} {value.why}")
    return value


def delimiter_advice(names: Sequence[str]) -> str:
    """What to set where a first line of one cell was cut at the wrong sign; "" where it was not."""
    sign = next((sign for sign in ";\t|," if sign in names[0]), "") if len(names) == 1 else ""
    return f'set delimiter = {sign!r} beside path: {{path = "…", delimiter = …}}' if sign else ""


def _names(columns: Iterable[str]) -> str:
    """Names of columns beside each other; one with outer space stands in quotes, or nobody sees it."""
    return listed(name if name == name.strip() else repr(name) for name in columns)


def _nested(row: Row, path: str) -> object:
    value: object = row.cells
    for part in path.split("."):
        value = value.get(part, _MISSING) if isinstance(value, Mapping) else _MISSING
    return value
