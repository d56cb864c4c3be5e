"""What `--set key=value` and `--calls` change of a config."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from metaspo.engine import ConfigError
from metaspo.engine.config.presets import planned_for
from metaspo.engine.config.toml import parse_toml
from metaspo.engine.errors import told_as


def all_overrides(calls: int | None, sets: Sequence[str] | None) -> dict[str, Any]:
    """What both options change; a key that is set wins over what is planned for it."""
    return {**({} if calls is None else planned_for(calls)), **parse_overrides(sets)}


def naming_calls(calls: int | None, sets: Sequence[str] | None) -> AbstractContextManager[None]:
    """What is wrong with `train_calls` is told of `--calls`, where that said so many. Raises `ConfigError`."""
    if calls is None or "train_calls" in parse_overrides(sets):
        return nullcontext()
    return told_as("train_calls", f"--calls {calls}")


def parse_overrides(given: Sequence[str] | None) -> dict[str, Any]:
    """Dotted keys to values. A value is read as TOML (`4`, `true`, `["a"]`), else taken as text.

    Raises:
        ConfigError: where there is no `=`.
    """
    overrides: dict[str, Any] = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {text}: must be KEY=VALUE, e.g. --set outer.candidates=4")
        overrides[key.strip()] = _value(value.strip())
    return overrides


def _value(text: str) -> object:
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text
