"""An entry as bytes, and as an object of JSON: both by one table of its fields.

    b"1" + CRC-32 of key and body (4 bytes, big-endian) + b'["text","stop",120,7,0,0.41,"server","model","","run",2e9]'

The checksum covers the key, so that a damaged text or a row under another row's key is found out and never used. It is
no signature: who can write the file can also make a right checksum, but can make nothing of it except data.

A field that is stored only where it is set makes a record of version 2: after the others the array has an object with
those fields by name. A version of metaspo that knows none of them refuses that record and reads all others.

Not compressed: on 600-byte answers zlib saves 38 % of the bytes and costs 18 to 63 us to write and 5 us to read,
where everything else about reading one takes about 5 us.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Any
from zlib import crc32

import orjson

from metaspo.backends import Completion, Usage
from metaspo.cache.base import Entry

FORMAT = 1
"""Of keys and records, in every store."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its name, its type, and what it belongs to; an optional one is stored only where it is set."""

    name: str
    kind: type
    owner: type
    optional: bool = False


FIELDS = (
    Field("text", str, Completion),
    Field("finish_reason", str, Completion),
    Field("prompt_tokens", int, Usage),
    Field("completion_tokens", int, Usage),
    Field("cached_tokens", int, Usage),
    Field("latency", float, Completion),
    Field("server", str, Completion),
    Field("model", str, Entry),
    Field("revision", str, Entry),
    Field("run", str, Entry),
    Field("created", float, Entry),
    Field("reasoning", str, Completion, optional=True),
    Field("rest", str, Completion, optional=True),
)
"""All fields in the order in which a record has them. A new one goes to the end, with a default, and is optional."""

_HEAD = 5
_new = tuple.__new__  # a third of what the class's own takes
_NOT_AN_ENTRY = "its fields are not those of an entry"
_PATHS = {Completion: "completion.", Usage: "completion.usage.", Entry: ""}
_ALWAYS = tuple(field for field in FIELDS if not field.optional)
_NAMES = tuple(field.name for field in _ALWAYS)
_TYPES = tuple(field.kind for field in _ALWAYS)
_OPTIONAL = {field.name: field for field in FIELDS if field.optional}


def _getter(*fields: Field) -> "attrgetter[Any]":
    return attrgetter(*(_PATHS[field.owner] + field.name for field in fields))


_get_values = _getter(*_ALWAYS)
_get_floats = itemgetter(*(position for position, kind in enumerate(_TYPES) if kind is float))
_get_optional = _getter(*_OPTIONAL.values())


class BadRecord(ValueError):
    """The bytes stored under a key are not an entry of that key that this version can read; `str()` says why."""


def encode_entry(key: str, entry: Entry) -> bytes:
    """The bytes kept for an entry under a key. Raises `BadRecord` if its fields are not what they should be."""
    values, extras = _values(entry)
    body = dump_json([*values, extras] if extras else values)
    return (b"2" if extras else b"1") + _checksum(key, body).to_bytes(4, "big") + body


def decode_entry(key: str, data: bytes) -> Entry:
    """The entry kept under a key. Raises `BadRecord`."""
    version, body = data[:1], data[_HEAD:]
    if version not in (b"1", b"2"):
        raise BadRecord(f"its record format is {version!r}, this version reads b'1' and b'2'")
    if int.from_bytes(data[1:_HEAD], "big") != _checksum(key, body):
        raise BadRecord("its checksum does not fit, so it was damaged or changed")
    try:
        values = orjson.loads(body)
    except orjson.JSONDecodeError:
        values = load_json(body)
    if not isinstance(values, list):
        raise BadRecord(_NOT_AN_ENTRY)
    extras = values.pop() if version == b"2" and values else None
    if tuple(map(type, values)) != _TYPES:
        raise BadRecord(_NOT_AN_ENTRY)
    return _plain_entry(values) if version == b"1" else _entry(values, extras)


def entry_to_dict(entry: Entry) -> dict[str, Any]:
    """The fields by name. Raises `BadRecord` if they are not what they should be."""
    values, extras = _values(entry)
    return dict(zip(_NAMES, values, strict=True)) | extras


def entry_from_dict(fields: Mapping[str, object]) -> Entry:
    """Undoes `entry_to_dict`. Raises `BadRecord`."""
    values = [fields.get(name) for name in _NAMES]
    if tuple(map(type, values)) != _TYPES:
        raise BadRecord(_NOT_AN_ENTRY)
    return _entry(values, {name: value for name, value in fields.items() if name not in _NAMES})


def _values(entry: Entry) -> tuple[Sequence[object], dict[str, object]]:
    """What is always stored, in the table's order, and what only this entry has. Raises `BadRecord`."""
    values: Sequence[Any] = _get_values(entry)
    if tuple(map(type, values)) != _TYPES:
        values = [_as_kind(value, kind) for value, kind in zip(values, _TYPES, strict=True)]
    if not math.isfinite(sum(_get_floats(values))):
        raise BadRecord(f"{_NOT_AN_ENTRY}: {values[2:]}")
    optional: Sequence[Any] = _get_optional(entry)
    if not any(optional):
        return values, {}
    return values, {
        name: _as_kind(value, field.kind)
        for (name, field), value in zip(_OPTIONAL.items(), optional, strict=True)
        if value
    }


def _as_kind(value: object, kind: type) -> object:
    """A value that comes back as one of its kind: a subclass is written as what it is derived from, but not `True`."""
    if kind is float and type(value) is int:
        return float(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise BadRecord(f"{_NOT_AN_ENTRY}: {value!r:.60} is no {kind.__name__}")
    return value


def _plain_entry(values: Sequence[Any]) -> Entry:
    """The entry of the fields that are always there; by hand and as tuples, because every hit pays for it."""
    text, reason, prompt, answer, cached, latency, server, model, revision, run, created = values
    usage = _new(Usage, (prompt, answer, cached))
    completion = _new(Completion, (text, reason, usage, latency, server, "", ""))
    return _new(Entry, (completion, model, revision, run, created))


def _entry(values: Sequence[Any], extras: object) -> Entry:
    """The entry of all fields. Raises `BadRecord`."""
    entry = _plain_entry(values)
    if not isinstance(extras, dict) or not _fit(extras):
        raise BadRecord(_NOT_AN_ENTRY)
    usage, completion, rest = (
        {name: value for name, value in extras.items() if _OPTIONAL[name].owner is owner}
        for owner in (Usage, Completion, Entry)
    )
    usage_too = entry.completion.usage._replace(**usage)
    return entry._replace(completion=entry.completion._replace(usage=usage_too, **completion), **rest)


def _fit(extras: Mapping[str, object]) -> bool:
    return all(name in _OPTIONAL and type(value) is _OPTIONAL[name].kind for name, value in extras.items())


def _checksum(key: str, body: bytes) -> int:
    return crc32(body, crc32(key.encode()))


def dump_json(value: object) -> bytes:
    """Compact JSON, also of texts with lone surrogates, which orjson refuses: an answer that was paid for is kept."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def load_json(data: bytes) -> object:
    """What `dump_json` wrote. Raises `BadRecord`."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadRecord(f"it is not JSON ({error})") from None
