"""Shapes of a run by name: how many rows, candidates and rounds.

"metaspo" is the paper's, which the schema's defaults are. "metaspo+" is metaspo's own: many short rounds on few rows
from the best so far, one prompt kept, gates before the full score, system prompts compared under induced user
prompts, as many rounds as `train_calls` allow (docs/presets.md has what was measured). What a config says itself wins.
"""

from collections.abc import Mapping
from math import isqrt, sqrt
from operator import index
from typing import Any, Final, SupportsIndex, TypeVar

from pydantic import BaseModel

from metaspo.engine.config.bounds import MAX_COUNT
from metaspo.engine.suggest import nearest

PAPER: Final = "metaspo"
PLUS: Final = "metaspo+"
CALLS: Final = 2000  # of "metaspo+" where nothing is said
MIN_ROWS: Final = 8
MANY: Final = 250  # calls a task from which on two system candidates and two induced prompts pay
FEW: Final = 150  # calls a task below which larger first steps pay, and gates that double do not
LUCK: Final = 100 / 3  # points, a gain's standard error for one answer a task: of three tasks, where a third differ
MOST: Final = 10.0  # points of it that are asked for

Raw = Mapping[str, Any]
C = TypeVar("C", bound=BaseModel)
_TABLES = (Mapping, BaseModel)
LOOPS: Final = ("inner", "outer")


def planned(raw: Raw) -> dict[str, Any]:
    """What the `preset` of a config says of what the config does not say itself. Raises `ValueError`."""
    name = raw.get("preset", PAPER)
    if name not in (PAPER, PLUS):
        like = nearest(str(name), [PAPER, PLUS])
        raise ValueError(f"preset: there is no preset '{name}'{like}; known: {PAPER}, {PLUS}")
    if name == PAPER:
        return {}
    calls, tasks = raw.get("train_calls", CALLS), raw.get("tasks")
    if not isinstance(calls, SupportsIndex) or index(calls) < 1 or not isinstance(tasks, list | tuple):
        return {}  # the schema says what is wrong with it
    sources = sum(_said(task).get("role", "source") == "source" for task in tasks)
    plan = shape(
        index(calls),
        sources=sources,
        optimizer=raw.get("optimizer") is not None,
        gated=not raw.get("racing"),
        doubling=not _is_no(_said(raw.get("outer", {})).get("gate_doubles")),
    )
    loops = {loop: _beside(plan.pop(loop), _said(raw.get(loop, {}))) for loop in LOOPS}
    return {**{key: value for key, value in plan.items() if key not in raw}, **loops}


def count_as_unsaid(config: BaseModel, plan: Raw) -> None:
    """A config does not say what was planned for it: said again with changes, that is planned anew."""
    config.model_fields_set.difference_update(plan.keys() - set(LOOPS))
    for loop in plan.keys() & set(LOOPS):
        config_table: BaseModel = getattr(config, loop)
        config_table.model_fields_set.difference_update(plan[loop])


def with_planned(raw: Raw, plan: Raw) -> dict[str, Any]:
    """A config with what its preset says; tables that are none are left to the schema."""
    loops = {loop: raw.get(loop, {}) for loop in LOOPS if loop in plan}
    tables = {loop: {**plan[loop], **_said(given)} for loop, given in loops.items() if isinstance(given, _TABLES)}
    return {**plan, **raw, **tables}


def shape(calls: int, *, sources: int, optimizer: bool, gated: bool = True, doubling: bool = True) -> dict[str, Any]:
    """What "metaspo+" plans for so many base calls on the train splits of so many source tasks.

    As many rows as passes over them: with N calls a task, each is the root of N.

    Args:
        optimizer: whether there is an optimizer model, which can induce user prompts.
        gated: whether candidates pass a gate before they are scored in full: not if the rounds are raced.
        doubling: whether the gate of the outer loop may begin smaller and double.
    """
    each = calls // max(sources, 1)
    rows = min(max(MIN_ROWS, isqrt(each)), MAX_COUNT)
    candidates = 2 if each >= MANY else 1
    gate = max(4, rows // 4) if gated else 0
    loop = {"candidates": 1, "failures": 8, "gate": gate}
    margin = min(MOST, round(LUCK / sqrt(rows * candidates), 1))
    under: dict[str, Any] = {"under": "induced", "induced": candidates, "shared": True, "shared_margin": margin}
    outer: dict[str, Any] = {"candidates": candidates, "failures": 4, "gate": gate // 2}
    if each < FEW:
        under["first_passes"] = 2
    else:
        outer |= {"gate": gate // 4, "gate_doubles": True} if gated and doubling else {}
        outer["reserve"] = True
    if not optimizer:
        under = {"under": "mixed"}
    return {
        "train_calls": calls,
        "rows": rows,
        "inner": {**loop, "keep": 1},
        "outer": {**loop, **outer, **under},
    }


PLANNED: Final = (
    *("train_calls", "rows", "iterations", "racing"),
    *(f"inner.{key}" for key in ("candidates", "failures", "gate", "gate_doubles", "keep")),
    *(f"outer.{key}" for key in ("candidates", "failures", "gate", "gate_doubles", "under", "induced", "keep")),
    *(f"outer.{key}" for key in ("shared", "shared_margin", "first_passes", "reserve")),
)


def planned_for(calls: int | None) -> dict[str, Any]:
    """Overrides that put the shape of "metaspo+" in the place of whatever shape a config has."""
    cleared: dict[str, Any] = dict.fromkeys(PLANNED)
    return {**cleared, "preset": PLUS, **({} if calls is None else {"train_calls": calls})}


def in_papers_shape(config: C) -> C:
    """The same run with the paper's counts; strategies and their options stay."""
    said = config.model_dump(exclude_unset=True, exclude={"preset"})
    tables = {loop: _without(said.get(loop, {}), above=f"{loop}.") for loop in LOOPS}
    return type(config).model_validate({**_without(said), **tables})


def _without(said: Raw, *, above: str = "") -> dict[str, Any]:
    """What is not of a shape."""
    return {key: value for key, value in said.items() if f"{above}{key}" not in PLANNED}


def _beside(plan: Raw, given: Raw) -> dict[str, Any]:
    """What is planned for a loop of which a config says something itself."""
    out = set(given)
    if given.get("under") in ("kept", "mixed"):  # with changing user prompts nothing is told of shared gains
        out |= {"shared", "shared_margin"}
    elif _is_no(given.get("shared")):
        out |= {"shared_margin"}
    if "gate" in given:  # who says what a gate is has that one
        out |= {"gate_doubles"}
    return {key: value for key, value in plan.items() if key not in out}


def _is_no(value: object) -> bool:
    """Whether it is false, be it numpy's."""
    return value is not None and not value


def _said(table: object) -> Raw:
    """What a table says, be it a mapping or made in Python already."""
    if isinstance(table, BaseModel):
        return table.model_dump(exclude_unset=True)
    return table if isinstance(table, Mapping) else {}
