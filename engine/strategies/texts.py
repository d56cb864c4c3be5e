"""Texts for the optimizer model, one TOML file a strategy: tables by level, `$slots` filled in."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from string import Template
from typing import Literal

from metaspo.backends import Message
from metaspo.engine.strategies.meta_prompts import Level, fill


@cache
def _texts(strategy: str) -> dict[str, dict[str, str]]:
    return tomllib.loads(files(__package__).joinpath(f"{strategy}.toml").read_text(encoding="utf-8"))


def text(strategy: str, level: Level | Literal["rules"], step: str, slots: Mapping[str, str]) -> str:
    """The text of `[level]`, or of `[both]` where the levels share it. Raises `KeyError` for a missing text or slot."""
    tables = _texts(strategy)
    of_level = tables.get(level, {})
    template = of_level[step] if step in of_level else tables["both"][step]
    return Template(template).substitute(slots).strip()


def messages(strategy: str, level: Level, step: str, slots: Mapping[str, str]) -> tuple[Message, ...]:
    """One optimizer call: the prompt writer's role for the level (shared by all strategies), and the step's request."""
    return (Message("system", fill(level, "role", {})), Message("user", text(strategy, level, step, slots)))
