"""Methods by name: what a comparison can put side by side.

A method either scores a fixed system prompt, or changes a run's config and optimizes.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from metaspo.engine.addresses import rng_at
from metaspo.engine.config.baselines import baseline_prompt, read_prompt_file
from metaspo.engine.config.presets import PLUS, planned_for
from metaspo.engine.errors import ConfigError
from metaspo.engine.strategies import UnknownStrategy, inner_strategy, outer_strategy
from metaspo.engine.suggest import nearest, there_is_no
from metaspo.engine.tasks import Task

KINDS = ("system", "user", "bilevel", "file", "global")


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method.

    Attributes:
        fixed: the system prompt that it scores as it is; "" for one that optimizes.
        changes: dotted config keys that it sets.
        times: what it multiplies the config's iterations by.
        sources: how many of the source tasks it optimizes on, the first ones; 0 for all.
        drawn: these are drawn at random instead, by the run's seed.
        everywhere: it optimizes on the source tasks of all the study's domains, whichever it is scored on.
        without: a source task that it leaves out; "" for none.
    """

    name: str
    about: str
    fixed: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    times: int = 1
    sources: int = 0
    drawn: bool = False
    everywhere: bool = False
    without: str = ""

    def overrides(self, iterations: int) -> dict[str, Any]:
        """The dotted keys that turn a config of so many iterations into this method's."""
        times = {"iterations": self.times * iterations} if self.times != 1 else {}
        prompt = {"system_prompt": self.fixed} if self.fixed else {}
        fresh: dict[str, Any] = {
            f"{loop}.options": {} for loop in ("inner", "outer") if f"{loop}.strategy" in self.changes
        }
        return {**times, **prompt, **fresh, **self.changes}

    def tasks(self, tasks: Sequence[Task], *, seed: int) -> tuple[Task, ...]:
        """The tasks that it works with, in a run of this seed.

        With fewer source tasks drawn it has some of the same: what a seed draws is a part of what it draws of more.

        Raises `ConfigError` if there are not as many source tasks, or not this one.
        """
        sources = [task.name for task in tasks if task.role == "source"]
        if self.sources > len(sources):
            raise ConfigError(f"method '{self.name}': wants {self.sources} source tasks, there are {len(sources)}")
        if self.without and self.without not in sources:
            raise ConfigError(
                f"method '{self.name}': there is no source task '{self.without}'{nearest(self.without, sources)}"
            )
        order = rng_at(seed, "sources").sample(sources, len(sources)) if self.drawn else sources
        chosen = [name for name in order[: self.sources or None] if name != self.without]
        return tuple(task for task in tasks if task.role != "source" or task.name in chosen)


def method_names() -> list[str]:
    """The methods that have a name of their own, sorted."""
    return sorted(_shipped_methods())


def method(name: str, *, folder: Path = Path()) -> Method:
    """A method by name: one of `method_names()`, "system:STRATEGY", "user:STRATEGY", "bilevel:STRATEGY", "file:PATH",
    "global:METHOD".

    Paths are relative to `folder`. Raises `ConfigError` for a name that there is not, `PromptError` for a prompt file
    that cannot be used.
    """
    if name in _shipped_methods():
        table = _shipped_methods()[name]
        fixed = baseline_prompt(table["fixed"]) if "fixed" in table else ""
        like = method(table["like"]).changes if "like" in table else {}
        shape = planned_for(None) if table.get("preset") == PLUS else {}
        changes = {**like, **shape, **table.get("set", {})}
        return Method(name=name, about=table["about"], fixed=fixed, changes=changes, times=table.get("times", 1))
    kind, _, value = name.partition(":")
    if kind not in KINDS or not value:
        raise ConfigError(
            f"{there_is_no('method', name, method_names())}, and "
            "system:STRATEGY, user:STRATEGY, bilevel:STRATEGY, file:PATH, global:METHOD"
        )
    if kind == "file":
        return Method(name=name, about=f"the prompt in {value}, as it is", fixed=read_prompt_file(folder / value))
    return _everywhere(name, value, folder=folder) if kind == "global" else _of_strategy(name, kind, value)


def _everywhere(name: str, like: str, *, folder: Path) -> Method:
    """One system prompt for all domains. Raises `ConfigError` for a method that would be the same in each."""
    local = method(like, folder=folder)
    if local.fixed or local.changes.get("outer.candidates") == 0:
        raise ConfigError(
            f"method '{name}': '{like}' learns no system prompt on source tasks: it is the same everywhere"
        )
    return replace(local, name=name, about=f"{local.about}; one prompt for all domains", everywhere=True)


def _of_strategy(name: str, kind: str, strategy: str) -> Method:
    """Both loops by one strategy, or one loop alone in one round."""
    try:
        about = (inner_strategy if kind == "user" else outer_strategy)(strategy).describe()
    except UnknownStrategy as error:
        raise ConfigError(f"method '{name}': {error}") from None
    changes: dict[str, dict[str, Any]] = {
        "system": {"outer.strategy": strategy, "inner.candidates": 0, "iterations": 1},
        "user": {"inner.strategy": strategy, "outer.candidates": 0, "iterations": 1},
        "bilevel": {"inner.strategy": strategy, "outer.strategy": strategy},
    }
    return Method(name=name, about=about, changes=changes[kind])


@cache
def _shipped_methods() -> dict[str, dict[str, Any]]:
    return tomllib.loads(files(__package__).joinpath("methods.toml").read_text(encoding="utf-8"))
