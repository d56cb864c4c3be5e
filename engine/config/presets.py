"""Shapes of a run by name: how many rows, candidates and rounds.

"metaspo" is the paper's, which the schema's defaults are. "metaspo+" is metaspo's own: many short rounds on few rows
from the best so far, one prompt kept, a gate before the full score, system prompts compared under induced user
prompts, as many rounds as `train_calls` allow (docs/presets.md has what was measured). What a config says itself wins.
"""

from collections.abc import Mapping
from math import isqrt
from typing import Any, Final

from metaspo.engine.config.bounds import MAX_COUNT
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.errors import ConfigError
from metaspo.engine.suggest import nearest

PAPER: Final = "metaspo"
PLUS: Final = "metaspo+"
CALLS: Final = 2000  # of "metaspo+" where nothing is said
MIN_ROWS: Final = 8
MANY: Final = 250  # calls a task from which on two candidates and two induced prompts pay
FEW: Final = 150  # calls a task below which larger first steps pay, and a gain that few rows do not bring by luck

Raw = Mapping[str, Any]


def expand_preset(raw: Raw, *, source: str) -> dict[str, Any]:
    """A config as a mapping, with what its `preset` says where it says nothing itself. Raises `ConfigError`."""
    name = raw.get("preset", PAPER)
    if name not in (PAPER, PLUS):
        like = nearest(str(name), [PAPER, PLUS])
        raise ConfigError(f"{source}: preset: there is no preset '{name}'{like}; known: {PAPER}, {PLUS}")
    if name == PAPER:
        return dict(raw)
    calls, tasks = raw.get("train_calls", CALLS), raw.get("tasks")
    if not isinstance(calls, int) or calls < 1 or not isinstance(tasks, list | tuple):
        return dict(raw)  # the schema says what is wrong with it
    sources = sum(isinstance(task, Mapping) and task.get("role", "source") == "source" for task in tasks)
    planned = shape(calls, sources=sources, optimizer="optimizer" in raw, gated=not raw.get("racing"))
    return {**planned, **raw, **{loop: _under(planned[loop], raw.get(loop, {})) for loop in ("inner", "outer")}}


def shape(calls: int, *, sources: int, optimizer: bool, gated: bool = True) -> dict[str, Any]:
    """What "metaspo+" plans for so many base calls on the train splits of so many source tasks.

    As many rows as passes over them: with N calls a task, each is the root of N.

    Args:
        optimizer: whether there is an optimizer model, which can induce user prompts.
        gated: whether candidates pass a gate before they are scored in full: not if the rounds are raced.
    """
    each = calls // max(sources, 1)
    rows = min(max(MIN_ROWS, isqrt(each)), MAX_COUNT)
    candidates = 2 if each >= MANY else 1
    gate = max(4, rows // 4) if gated else 0
    loop = {"candidates": candidates, "failures": 8, "gate": gate}
    under: dict[str, Any] = {"under": "induced", "induced": candidates, "shared": True}
    if each < FEW:
        under |= {"shared_margin": 10.0, "first_passes": 2}
    if not optimizer:
        under = {"under": "mixed"}
    return {
        "train_calls": calls,
        "rows": rows,
        "inner": {**loop, "keep": 1},
        "outer": {**loop, "failures": 4, "gate": gate // 2, **under},
    }


PLANNED: Final = (
    *("train_calls", "rows", "iterations", "racing"),
    *(f"inner.{key}" for key in ("candidates", "failures", "gate", "keep")),
    *(f"outer.{key}" for key in ("candidates", "failures", "gate", "under", "induced", "keep")),
    *(f"outer.{key}" for key in ("shared", "shared_margin", "first_passes")),
)


def planned_for(calls: int | None) -> dict[str, Any]:
    """Overrides that put the shape of "metaspo+" in the place of whatever shape a config has."""
    cleared: dict[str, Any] = dict.fromkeys(PLANNED)
    return {**cleared, "preset": PLUS, **({} if calls is None else {"train_calls": calls})}


def in_papers_shape(config: RunConfig) -> RunConfig:
    """The same with the paper's counts; strategies and their options stay."""
    said = config.model_dump(exclude_unset=True, exclude={"preset"})
    tables = {loop: _without(said.get(loop, {}), above=f"{loop}.") for loop in ("inner", "outer")}
    return RunConfig.model_validate({**_without(said), **tables})


def _without(said: Raw, *, above: str = "") -> dict[str, Any]:
    """What is not of a shape."""
    return {key: value for key, value in said.items() if f"{above}{key}" not in PLANNED}


def _under(planned: Raw, given: object) -> object:
    if not isinstance(given, Mapping):
        return given
    out = set()
    if given.get("under") in ("kept", "mixed"):  # with changing user prompts nothing is told of shared gains
        out = {"shared", "shared_margin"}
    elif given.get("shared") is False:
        out = {"shared_margin"}
    return {**{key: value for key, value in planned.items() if key not in out}, **given}
