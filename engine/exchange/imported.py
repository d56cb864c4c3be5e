"""Tasks and prompts that came from another tool, and the config that is written of them."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from metaspo.backends.paths import read_written, why_unreadable
from metaspo.engine.config.toml import as_toml
from metaspo.engine.errors import ConfigError, PromptError
from metaspo.engine.prompts import DEFAULT_SYSTEM_PROMPT, check_system_prompt, check_user_prompt
from metaspo.engine.tasks import TaskError, TaskSpec
from metaspo.engine.tasks.examples import read_task

Row = tuple[str, tuple[str, ...]]
"""A question and its accepted answers."""

MAX_LABELS = 20
_HEAD = """# Imported by metaspo from {source}. What it would take:  metaspo plan {name}
# How models are reached, and all other keys: docs/config.md.

system_prompt = {system}

[base]                                   # answers the examples
{base}

[optimizer]                              # analyses failures and writes prompts
backend = "openai"                       # the key is read from OPENAI_API_KEY
model = "gpt-4o-mini"
max_tokens = 2000
"""
_LOCAL_BASE = 'backend = "local"\nmodel = "qwen2.5-coder-0.5b"\nmax_tokens = 64'


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedTask:
    """One task: its first user prompt, what examples came with it, and its `answer` table; empty where not known."""

    name: str
    user_prompt: str
    rows: tuple[Row, ...] = ()
    answer: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What files of another tool hold.

    Attributes:
        system_prompt: "" for none.
        base: keys of the `[base]` table, as far as they are told.
        notes: what was left out, and why, in sentences.
    """

    system_prompt: str = ""
    tasks: tuple[ImportedTask, ...] = ()
    base: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def beside(self, another: "Imported") -> "Imported":
        """Both together. Raises `ConfigError` where they have different system prompts or tasks of one name."""
        system = self.system_prompt or another.system_prompt
        if another.system_prompt not in ("", system):
            raise ConfigError("the files hold different system prompts, a config has one: import them one by one")
        names = {task.name for task in self.tasks}
        if twice := [task.name for task in another.tasks if task.name in names]:
            raise ConfigError(f"two of the files hold a task '{twice[0]}': import them one by one")
        tasks, notes = (*self.tasks, *another.tasks), (*self.notes, *another.notes)
        return Imported(system_prompt=system, tasks=tasks, base={**another.base, **self.base}, notes=notes)


def config_files(imported: Imported, *, source: str, data: Path | None = None) -> dict[str, str]:
    """The config and its data, as texts by file name.

    Args:
        source: where it came from, for a comment.
        data: a file of examples that stands in where none came along.

    Raises:
        ConfigError: for a prompt that cannot be used, and for a file that is not there.
    """
    system = imported.system_prompt or DEFAULT_SYSTEM_PROMPT
    try:
        check_system_prompt(system)
        for task in imported.tasks:
            check_user_prompt(task.user_prompt)
    except PromptError as error:
        raise ConfigError(f"{source}: {error}") from None
    base = "\n".join(f"{key} = {_toml(value)}" for key, value in imported.base.items()) or _LOCAL_BASE
    parts = [
        _HEAD.format(
            source="".join(filter(str.isprintable, source)), name="metaspo.toml", system=_toml(system), base=base
        )
    ]
    files: dict[str, str] = {}
    labelled = data is not None and _are_labels(_rows_of(data))
    for task in imported.tasks:
        table, rows = _task(task, data, labelled=labelled)
        parts.append(table)
        files |= rows
    return {"metaspo.toml": "\n".join(parts), **files}


def why_unread(data: Path) -> str:
    """Why a file of examples cannot be read as the config names it, which is to be mended there; "" where it can."""
    try:
        _read(data)
    except TaskError as fault:
        return str(fault)
    return ""


def _rows_of(data: Path) -> tuple[Row, ...]:
    """What a file of examples holds; () where it cannot be read without more keys of the config."""
    if not data.is_file():
        raise ConfigError(f"{data}: no such file")
    try:
        return _read(data)
    except TaskError:
        return ()


def _read(data: Path) -> tuple[Row, ...]:
    spec = TaskSpec.model_validate({"name": "data", "role": "target", "test": str(data.absolute())})
    return tuple((example.question, example.answers) for example in read_task(spec, Path()).test)


def _task(task: ImportedTask, data: Path | None, *, labelled: bool) -> tuple[str, dict[str, str]]:
    """The `[[tasks]]` table, and its files of examples; `labelled` is whether the answers in `data` are labels."""
    files: dict[str, str] = {}
    if len(task.rows) > 1:
        for split, rows in (("train", task.rows[0::2]), ("test", task.rows[1::2])):
            lines = [
                orjson.dumps({"question": question, "answer": answers[0] if len(answers) == 1 else answers}).decode()
                for question, answers in rows
            ]
            files[f"tasks/{task.name}.{split}.jsonl"] = "\n".join(lines)
        splits = [f'{split} = "tasks/{task.name}.{split}.jsonl"' for split in ("train", "test")]
    else:
        path = _toml(str(data.absolute()) if data else f"tasks/{task.name}.jsonl")
        splits = [
            f'{split} = {{path = {path}, part = "{part}", group = "question"}}'
            for split, part in (("train", "0-50%"), ("test", "50-100%"))
        ]
    looks = "label" if (_are_labels(task.rows) if len(task.rows) > 1 else labelled) else "text"
    keys = [f"name = {_toml(task.name)}", 'role = "source"', *splits, f"answer = {as_toml(task.answer or looks)}"]
    return "\n".join(["[[tasks]]", *keys, f"user_prompt = {_toml(task.user_prompt)}", ""]), files


def _are_labels(rows: Sequence[Row]) -> bool:
    """Whether the answers look like a set of labels: few, short, and seen again."""
    answers = {answer.casefold() for _, accepted in rows for answer in accepted}
    one_each = all(len(accepted) == 1 for _, accepted in rows)
    short = all(0 < len(answer) <= 40 for answer in answers)
    return one_each and short and 2 <= len(answers) <= MAX_LABELS and len(rows) >= 2 * len(answers)


def _toml(value: object) -> str:
    """A value of TOML; a text of several lines as one of several lines."""
    if not isinstance(value, str):
        return json.dumps(value)
    lines = [json.dumps(line, ensure_ascii=False)[1:-1].replace("\x7f", "\\u007f") for line in value.split("\n")]
    return f'"{lines[0]}"' if len(lines) == 1 else '"""\n' + "\n".join(lines) + '"""'


def task_name(text: str) -> str:
    """A text as the name of a task."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:80] or "task"


def plain_text(path: Path) -> str:
    """A file's text. Raises `ConfigError` where it cannot be read."""
    try:
        return read_written(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {why_unreadable(error)}") from None
