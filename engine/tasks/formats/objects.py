"""A JSON object, compared field by field."""

import importlib.util
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.formats.tagged import Kind

_FENCE: Final = late_pattern(r"```(?:json)?[^\S\n]*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_MAX_STARTS: Final = 200
_MAX_IN_VAIN: Final = 2_000_000  # characters read of objects that turn out to be none: some hundredths of a second
_WANTED: Final = "one JSON object"


@dataclass(frozen=True, slots=True)
class Json(Kind):
    """The JSON object in the text, with text or a fence (```json) around it; several different ones are malformed.

    So is one that does not fit the schema or names a field twice. The canonical form has its fields sorted.

    Attributes:
        schema: a JSON schema (draft 2020-12) that every answer must fit; empty: any object. Needs the extra `json`.
    """

    schema: Mapping[str, Any] = field(default_factory=dict)
    _validator: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_validator", _validator(self.schema) if self.schema else None)

    @property
    def wanted(self) -> str:
        if not self.schema:
            return _WANTED
        return f"{_WANTED} that fits this JSON schema: {json.dumps(self.schema, ensure_ascii=False)}"

    def parse(self, text: str, /) -> str | None:
        if self.schema:
            text = text.replace(self.wanted, " ")
        objects = {written for value in _objects(text) if (written := self._fitting(value)) is not None}
        return objects.pop() if len(objects) == 1 else None

    def canonical(self, answer: str, /) -> str | None:
        value = _loaded(answer.strip())
        return None if value is None else self._fitting(value)

    def reading(self) -> str:
        return "The one JSON object in an answer counts, wherever it stands; several different ones cannot be read."

    def similarity(self, prediction: str, answer: str, /) -> float:
        """The share of fields that agree, of those that either of them has.

        A field within a field counts for itself, a list and each of its items too. Texts are equal whatever their case
        and white space, numbers by value.
        """
        given, right = dict(_fields(json.loads(prediction))), dict(_fields(json.loads(answer)))
        paths = given.keys() | right.keys()
        return sum(path in given and path in right and given[path] == right[path] for path in paths) / len(paths)

    def _fitting(self, value: dict[str, Any]) -> str | None:
        if self._validator is not None and not self._validator.is_valid(value):
            return None
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _validator(schema: Mapping[str, Any]) -> Any:  # noqa: ANN401 - of a library without types
    """Raises `ValueError` where the schema is none, or the library is not there."""
    if importlib.util.find_spec("jsonschema") is None:
        raise ValueError('a json_schema needs a library that is not installed: pip install "metaspo[json]"')
    from jsonschema import Draft202012Validator, SchemaError
    from referencing import Registry

    try:
        Draft202012Validator.check_schema(dict(schema))
    except SchemaError as error:
        raise ValueError(f"json_schema is no JSON schema: {error.json_path}: {error.message}") from None
    return Draft202012Validator(dict(schema), registry=Registry())  # a registry of its own: nothing is fetched


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Every object that stands for itself: the whole text, in a fence, or within the text."""
    for part in (text, *_FENCE.findall(text)):
        if (value := _loaded(part.strip())) is not None:
            yield value
            return
    position, in_vain = text.find("{"), 0
    for _ in range(_MAX_STARTS):
        if position < 0 or in_vain > _MAX_IN_VAIN:
            return
        try:
            value, end = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            in_vain += (error.pos if isinstance(error, json.JSONDecodeError) else len(text)) - position
            end = position + 1
        else:
            yield value
        position = text.find("{", end)


def _loaded(text: str) -> dict[str, Any] | None:
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a field occurs twice")
    return value


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is no number of JSON")
    return value


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite)


def _fields(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """Every value that is no object or list, with the way to it; an empty object or list is such a value."""
    items: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    if items:
        for name, item in items:
            yield from _fields(item, (*path, name))
    elif isinstance(value, str):
        yield path, " ".join(value.split()).casefold()
    else:
        yield path, ("flag", value) if isinstance(value, bool) else value if not isinstance(value, dict | list) else ()
