"""Whether what was read from a file is of the types that a record says: files are edited, and break."""

from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_PLAIN = frozenset({bool, float, int, str, type(None)})


def fits(record: object) -> bool:
    """Whether a record's fields, and those of the records in them, are of the types that it names."""
    kind: Any = type(record)
    for name, classes in _fields(kind):
        value = getattr(record, name)
        if not isinstance(value, classes):
            return False
        if type(value) in _PLAIN:  # as nearly all are
            continue
        if not fits(value) or (isinstance(value, list | tuple) and not all(map(fits, value))):
            return False
    return True


@cache
def _fields(kind: Any) -> tuple[tuple[str, tuple[type, ...]], ...]:  # noqa: ANN401 - any class
    """Of a record, and nothing of any other class."""
    if not (is_dataclass(kind) or hasattr(kind, "_fields")):
        return ()
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)] if is_dataclass(kind) else kind._fields
    return tuple((name, tuple(_classes(hints[name]))) for name in names)


def _classes(hint: Any) -> list[type]:  # noqa: ANN401 - an annotation
    """The classes that an annotation allows; a number without a fraction is one with it, too."""
    if get_origin(hint) in (Union, UnionType):
        return [each for arg in get_args(hint) for each in _classes(arg)]
    if get_origin(hint) is Literal:
        return [type(value) for value in get_args(hint)]
    return [float, int] if hint is float else [get_origin(hint) or hint]
