"""Reads files of other tools, whichever they are."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import reduce
from pathlib import Path
from typing import Any

from metaspo.engine.errors import ConfigError
from metaspo.engine.exchange.dspy_program import is_program, read_program
from metaspo.engine.exchange.exported import ABOUT
from metaspo.engine.exchange.imported import Imported, task_name
from metaspo.engine.exchange.kept_prompts import is_kept, read_kept
from metaspo.engine.exchange.prompt_files import read_chat, read_prompt_file
from metaspo.engine.exchange.promptfoo_tests import is_promptfoo, read_promptfoo
from metaspo.engine.exchange.structured import read_structured
from metaspo.engine.tasks import AnswerSpec

# What another shape comes to.
UNSHAPED = (AttributeError, LookupError, TypeError, ValueError, RecursionError, csv.Error)
STRUCTURED = (".json", ".yaml", ".yml")


def read_files(paths: Sequence[Path]) -> Imported:
    """What files hold together: configs of promptfoo, programs of DSPy, prompts of Langfuse, LangSmith and LangChain,
    bodies of chat requests, prompts as texts.

    How the answers of what metaspo exported look stands in the `about.json` beside it.

    Raises:
        ConfigError: for a file that is none of these or cannot be used, or files that do not go together.
    """
    imported = reduce(Imported.beside, (_read(path) for path in paths if path.name != ABOUT), Imported())
    if not imported.tasks:
        raise ConfigError(
            f"{', '.join(map(str, paths))}: no task there: a user prompt has a place for the question, {{question}}"
        )
    answers: dict[str, Any] = {}
    for folder in {path.parent: None for path in paths}:
        answers |= _answers(folder / ABOUT)
    tasks = (replace(task, answer=answers.get(task.name, {})) for task in imported.tasks)
    return replace(imported, tasks=tuple(tasks))


def _answers(path: Path) -> dict[str, Any]:
    """By task how its answers look, where the file is one of an export that says so. Raises `ConfigError`."""
    if not path.is_file():
        return {}
    try:
        about = read_structured(path)
        tasks = about["tasks"] if isinstance(about, Mapping) and "metaspo" in about else ()
        said = {task_name(task["task"]): task["answer"] for task in tasks if task.get("answer")}
        for answer in said.values():
            AnswerSpec.model_validate(answer)
        json.dumps(said, ensure_ascii=False).encode()
    except UNSHAPED as error:
        raise ConfigError(f"{path}: is not as `metaspo export` writes it; move it away to do without") from error
    return said


def _read(path: Path) -> Imported:
    """What one file holds. Its tool's readers take for granted the shape that the tool writes."""
    try:
        imported = _as_written(path)
        json.dumps(asdict(imported), ensure_ascii=False).encode()  # half a surrogate pair is no text
        return imported
    except ConfigError:
        raise
    except UNSHAPED as error:
        raise ConfigError(f"{path}: is not as its tool writes it: {_in_words(error)}") from error


def _in_words(error: Exception) -> str:
    """What an error of code that takes a shape for granted says of the file."""
    if isinstance(error, KeyError):
        return f"{error} is missing"
    if isinstance(error, AttributeError | TypeError | LookupError):
        return "a text, a list or a table stands where the tool writes another of these"
    return "its tables lie too deep" if isinstance(error, RecursionError) else str(error)


def _as_written(path: Path) -> Imported:
    if path.suffix.lower() == ".toml":
        raise ConfigError(
            f"{path}: is TOML, as metaspo's own configs are, and no file of another tool: use it as it is"
        )
    if path.suffix.lower() not in STRUCTURED:
        return read_prompt_file(path)
    data = read_structured(path)
    if isinstance(data, Mapping):
        if is_program(data):
            return read_program(data, name=path.stem)
        if is_promptfoo(data):
            return read_promptfoo(data, path=path)
        if is_kept(data):
            return read_kept(data, name=path.stem, source=str(path))
        if "messages" in data:
            return read_chat(data, name=path.stem, source=str(path))
    raise ConfigError(
        f"{path}: is no config of promptfoo, no saved program of DSPy, no prompt of Langfuse or LangSmith and no chat; "
        "prompts as texts: .txt or .md"
    )
