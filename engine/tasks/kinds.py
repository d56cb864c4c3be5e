"""Which kinds of values a key takes: text is no number, and a number is no truth value, whatever pydantic says."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, get_args, get_origin

from pydantic_core import ErrorDetails

Kinds = frozenset[object]
"""Types, and the texts among literals."""

MUST_BE: Final = "must be "
PLAINLY: Final = {  # pydantic's faults that name types of Python
    "tuple_type": "must be a list, […]",
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "string_type": "must be text in quotes",
    "int_type": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "extra_forbidden": "unknown key",
    "callable_type": "must be text in quotes",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "may hold no space and no sign but these few: . _ - and, for a method, : + =",
}
_LISTS: Final = frozenset({tuple, list, Sequence})
_NO_TEXT: Kinds = frozenset({int, float, bool, type(None), *_LISTS})  # of other types text may be read, as of paths
_PLAIN: Mapping[type, str] = {int: "a whole number", float: "a number", bool: "true or false"}


def kinds_of(annotation: object) -> Kinds:
    """What a union, or whatever else is made of types, is made of."""
    return frozenset(each for each in _within(annotation) if isinstance(each, type | str) or each is Any)


def _within(annotation: object) -> Iterator[object]:
    inner, origin = get_args(annotation), get_origin(annotation)
    if not inner or origin in _LISTS:
        yield origin or annotation
    for each in inner:
        yield from _within(each)


def require_kind(value: object, kinds: Kinds) -> None:
    """Raises `ValueError` for a value, or one in a list, of another kind than a key takes that takes plain ones."""
    wanted = [words for kind, words in _PLAIN.items() if kind in kinds and not (kind is int and float in kinds)]
    if not wanted or Any in kinds:
        return
    if isinstance(value, list | tuple) and kinds & _LISTS:
        for each in value:
            _require_each(each, kinds)
    elif isinstance(value, Mapping) or value is None or _fits(value, kinds):
        return
    else:
        texts = [f'"{text}"' for text in sorted(kind for kind in kinds if isinstance(kind, str))]
        quoted = isinstance(value, str) and any(_fits(meant, kinds) for meant in _read(value))
        raise ValueError(f"must be {' or '.join([*wanted, *texts])}{': leave the quotes out' if quoted else ''}")


def _require_each(value: object, kinds: Kinds) -> None:
    try:
        require_kind(value, kinds)
    except ValueError as fault:
        raise ValueError(f"each {fault} (one is {value!r})") from None


def _fits(value: object, kinds: Kinds) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int):
        return bool({int, float} & kinds)
    if isinstance(value, float):
        return float in kinds or (int in kinds and value.is_integer())  # 1e6, which TOML has as a float
    if isinstance(value, str):
        return value in kinds or any(isinstance(kind, type) for kind in kinds - _NO_TEXT)
    return not isinstance(value, list | tuple)


def _read(text: str) -> Iterable[object]:
    """What a text would be without its quotes."""
    if text in ("true", "false"):
        yield text == "true"
    for kind in (int, float):
        try:
            yield kind(text)
        except ValueError:
            continue


def in_words(fault: ErrorDetails) -> str:
    """What pydantic finds wrong with a value, in words for people."""
    words = PLAINLY.get(fault["type"], fault["msg"].removeprefix("Value error, "))
    return words.replace("Input should be ", MUST_BE, 1).replace("String should ", "must ", 1)
