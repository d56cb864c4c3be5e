"""Texts for the optimizer model, one TOML file a strategy: tables by level, `$slots` filled in."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from string import Template
from typing import Literal

from metaspo.backends import Message
from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.strategies.base import Level
from metaspo.engine.suggest import nearest

Changed = Mapping[str, Mapping[str, str]]  # texts of a user's own, by table and name
Section = Level | Literal["rules", "kinds", "outcomes", "blocks"]
META = "meta_prompts"  # texts that strategies share, MetaSPO's own among them
LEVELS = ("user", "system", "both")  # tables whose texts any of them may have
TAGS = late_pattern(r"between <(\w+)> and </\1>")  # that an answer is read from


@cache
def _texts(strategy: str) -> dict[str, dict[str, str]]:
    return tomllib.loads(files(__package__).joinpath(f"{strategy}.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Texts:
    """A strategy's texts, with a user's own in the place of some."""

    strategy: str
    changed: Changed = field(default_factory=dict)

    def text(self, section: Section, name: str, slots: Mapping[str, str]) -> str:
        """The text of `[section]`, or of `[both]` where levels share it. Raises `KeyError` if one is missing.

        A text of the user's own for a level goes before one for both, which goes before metaspo's.
        """
        sections = (section, "both") if section in LEVELS else (section,)
        for tables in (self.changed, _texts(self.strategy)):
            for table in (tables.get(each, {}) for each in sections):
                if name in table:
                    return Template(table[name]).substitute(slots).strip()
        raise KeyError(name)


def check_changed(strategy: str, changed: Changed) -> Changed:
    """The texts themselves. Raises `ValueError` for one that the strategy does not have, or could not use."""
    tables = _texts(strategy)
    shared = {name: text for section in LEVELS for name, text in tables.get(section, {}).items()}
    for section, table in changed.items():
        if section not in tables:
            raise ValueError(f"there is no table [{section}]{nearest(section, tables)}; known: {', '.join(tables)}")
        defined = {**shared, **tables[section]} if section in LEVELS else tables[section]
        for name, text in table.items():
            if name not in defined:
                raise ValueError(
                    f"[{section}] has no text '{name}'{nearest(name, defined)}; known: {', '.join(defined)}"
                )
            _check_text(f"[{section}] {name}", text, defined[name], whole=section in LEVELS and name == "role")
    return changed


def _check_text(where: str, text: str, original: str, *, whole: bool) -> None:
    """Raises `ValueError`. One that stands within others may be empty: then it is left out."""
    template, slots = Template(text), Template(original).get_identifiers()
    there = ", ".join(f"${slot}" for slot in slots) or "none"
    if not template.is_valid():
        raise ValueError(f"{where}: a $ stands for itself as $$")
    filled = template.get_identifiers()
    if unknown := [slot for slot in filled if slot not in slots]:
        raise ValueError(f"{where}: nothing fills in ${unknown[0]}; there is {there}")
    if braces := [slot for slot in re.findall(r"(?<!\$)\{(\w+)\}", text) if slot in slots]:
        raise ValueError(f"{where}: {{{braces[0]}}} is filled in where it is written ${braces[0]}")
    tags = TAGS.findall(original)
    if not text.strip() and (whole or tags):
        raise ValueError(f"{where}: is empty")
    if text.strip() and slots and not filled:
        raise ValueError(f"{where}: nothing is filled in; there is {there}")
    if missing := [tag for tag in tags if f"<{tag}>" not in text]:
        raise ValueError(f"{where}: does not ask for <{missing[0]}>, from which the answer is read")


def text(strategy: str, level: Section, step: str, slots: Mapping[str, str]) -> str:
    """metaspo's own text of a strategy."""
    return Texts(strategy).text(level, step, slots)


def messages(strategy: str, level: Level, step: str, slots: Mapping[str, str]) -> tuple[Message, ...]:
    """One optimizer call: the prompt writer's role for the level (shared by all strategies), and the step's request."""
    return (Message("system", text(META, level, "role", {})), Message("user", text(strategy, level, step, slots)))
