"""TOML: read from a file or a text, and written in a line."""

import json
import tomllib
from collections.abc import Iterable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from metaspo.backends.late_patterns import late_pattern
from metaspo.backends.paths import read_written, why_unreadable
from metaspo.engine.errors import ConfigError

STARTER = "metaspo.toml"  # what `metaspo init` calls the config that it writes
BARE = late_pattern(r"[A-Za-z0-9_-]+")  # a key that needs no quotes
# A comment or a string: of one over several lines the quotes that begin and end it; only double ones can be escaped.
STRINGS = late_pattern(r"""(?s)#[^\n]*|((\"{3})|'{3})(?:(?(2)\\.|.)|.)*?(\1|\Z)|"(?:\\.|[^"\\\n])*+"?|'[^'\n]*'""")
BEGINNING = late_pattern(r"""[^"'\n]*=[ \t]*(?:\"{3}|'{3})\Z""")
DEEPEST, TOO_DEEP = 50, "it is nested too deep"


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a file. Raises `ConfigError`."""
    try:
        text = read_written(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: cannot be read: no such file") from None
    except IsADirectoryError:
        hint = f"; did you mean {path / STARTER}?" if (path / STARTER).is_file() else ""
        raise ConfigError(f"{path}: is a folder{hint}") from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise ConfigError(f"{path}: cannot be read: {why_unreadable(error)}") from error
    try:
        return parse_toml(text)
    except ValueError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}{_unclosed(text)}") from error


def _unclosed(text: str) -> str:
    """Of a text that is not valid TOML: which string over several lines has no end, or ends where the next one begins;
    "" for none."""
    for string in STRINGS.finditer(text):
        quotes, end = string[1], string.end()
        line = max(text.rfind("\n", string.start(), end) + 1, string.start())  # it ends in
        if quotes and (not string[3] or BEGINNING.match(text, line, end)):
            first, last = (text.count("\n", 0, place) + 1 for place in (string.start(), end))
            goes_on = f"goes on to line {last}, where the next one begins" if string[3] else "has no end"
            return f"; the string that begins with {quotes} in line {first} {goes_on}: close it"
    return ""


def parse_toml(text: str) -> dict[str, Any]:
    """The table in a text. Raises `ValueError`, also for what is valid but nested deeper than any config is."""
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    level: list[Any] = [table]
    for _ in range(DEEPEST):
        level = [inner for value in level for inner in _within(value)]
    if level:
        raise ValueError(TOO_DEEP)
    return table


def _within(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def key_parts(dotted: str) -> list[str]:
    """The tables on the way to a dotted key, and the key; what holds a dot of its own stands in quotes, as in TOML."""
    if not {'"', "'"} & set(dotted):
        return dotted.split(".")
    parts: list[str] = []
    table: object = parse_toml(f"{dotted.replace(chr(10), ' ')} = 0")
    while isinstance(table, dict):
        ((key, table),) = table.items()
        parts.append(key)
    return parts


def as_toml(value: object) -> str:
    """A value as a config says it, in a line; what is None in a table is left out."""
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    if isinstance(value, Mapping):
        said = (f"{_key(key)} = {as_toml(inner)}" for key, inner in value.items() if inner is not None)
        return f"{{{', '.join(said)}}}"
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    return key if BARE.fullmatch(key) else as_toml(key)
