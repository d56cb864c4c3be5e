"""Plain data of a file as a record."""

from functools import cache
from typing import Any, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


def read_as(kind: type[T], data: object) -> T:
    """The record that data of any version is, as JSON has it: a list may be a tuple, no text is a number.

    Raises `ValueError` that names the first field that cannot be read.
    """
    of_any: Any = kind  # mypy takes no type of a variable for hashable
    try:
        record: T = _adapter(of_any).validate_json(orjson.dumps(data), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return record


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:  # noqa: ANN401 - of any type
    """Which takes 10 ms to make, and a list of runs reads one for each."""
    return TypeAdapter(kind)
