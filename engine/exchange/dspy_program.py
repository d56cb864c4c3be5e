"""Saved programs of DSPy as tasks: each predictor's instructions, and its demonstrations as examples."""

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from metaspo.engine.exchange.imported import Imported, ImportedTask, Row, task_name
from metaspo.engine.exchange.targets import dspy_instructions
from metaspo.engine.tasks.base import PLACEHOLDER, single_braces


def is_program(data: Mapping[str, Any]) -> bool:
    """Whether it is a saved program."""
    return any(True for _ in _predictors(data, ""))


def read_program(data: Mapping[str, Any], *, name: str) -> Imported:
    """Its predictors, each a task; `name` is that of a program which is a single predictor."""
    made_here = data.get("metadata", {}).get("metaspo", {})
    system = ""
    tasks, notes = [], []
    for predictor, state in _predictors(data, name):
        instructions = str(state["signature"].get("instructions", ""))
        fields = [_field_name(each) for each in state["signature"].get("fields", ())]
        user = _user_prompt(instructions)
        if made_here and instructions in _instructions_of(made_here):
            system, user = made_here["system"], made_here["user"]
            predictor = made_here.get("task", predictor)
        rows = tuple(_rows(state.get("demos", ()), fields))
        if not rows:
            notes.append(f"{predictor} has no demonstrations: its examples have to come from elsewhere")
        tasks.append(ImportedTask(name=task_name(predictor), user_prompt=user, rows=rows))
    return Imported(system_prompt=system, tasks=tuple(tasks), notes=tuple(notes))


def _instructions_of(made_here: Mapping[str, Any]) -> tuple[str, str]:
    """What we wrote, and what DSPy makes of it when it loads and saves it."""
    wrote = dspy_instructions(made_here["system"], made_here["user"])
    return wrote, inspect.cleandoc(wrote)


def _predictors(data: Mapping[str, Any], name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(data.get("signature"), Mapping):
        yield name, data
        return
    for key, state in data.items():
        if isinstance(state, Mapping) and isinstance(state.get("signature"), Mapping):
            yield key, state


def _field_name(field: Mapping[str, str]) -> str:
    """DSPy keeps of a field its prefix and its description, which is "${name}" unless somebody wrote another."""
    said = re.fullmatch(r"\$\{(\w+)\}", field.get("description", ""))
    return said[1] if said else field.get("prefix", "").rstrip(": ").lower().replace(" ", "_")


def _user_prompt(instructions: str) -> str:
    prompt = single_braces(instructions)
    return prompt if prompt.count(PLACEHOLDER) == 1 else f"{prompt.replace(PLACEHOLDER, 'question')}\n\n{PLACEHOLDER}"


def _rows(demos: object, fields: list[str]) -> Iterator[Row]:
    """Demonstrations as questions and answers: the last field is the answer, and reasoning is none."""
    if not isinstance(demos, list) or len(fields) < 2:
        return
    asked = [name for name in fields[:-1] if name not in ("reasoning", "rationale")]
    for demo in demos:
        if isinstance(demo, Mapping) and demo.get(fields[-1]) is not None and all(name in demo for name in asked):
            question = str(demo[asked[0]]) if len(asked) == 1 else "\n".join(f"{name}: {demo[name]}" for name in asked)
            if question.strip():
                yield question, (str(demo[fields[-1]]),)
