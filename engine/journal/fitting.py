"""Whether what was read from a file is of the types that a record says: files are edited, and break."""

from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def fits(record: object) -> bool:
    """Whether a record's fields, and those of the records in them, are of the types that it names."""
    if isinstance(record, type) or not (is_dataclass(record) or hasattr(record, "_fields")):
        return True
    kind: Any = type(record)
    for name, classes in _fields(kind):
        value = getattr(record, name)
        if not isinstance(value, classes) or not fits(value):
            return False
        if isinstance(value, list | tuple) and not all(map(fits, value)):
            return False
    return True


@cache
def _fields(kind: type) -> tuple[tuple[str, tuple[type, ...]], ...]:
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)] if is_dataclass(kind) else kind._fields  # type: ignore[attr-defined]
    return tuple((name, tuple(_classes(hints[name]))) for name in names)


def _classes(hint: Any) -> list[type]:  # noqa: ANN401 - an annotation
    """The classes that an annotation allows; a number without a fraction is one with it, too."""
    if get_origin(hint) in (Union, UnionType):
        return [each for arg in get_args(hint) for each in _classes(arg)]
    if get_origin(hint) is Literal:
        return [type(value) for value in get_args(hint)]
    return [float, int] if hint is float else [get_origin(hint) or hint]
