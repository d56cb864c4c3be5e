"""Tasks for configs that are written in Python."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from metaspo.engine.tasks.base import TaskRole
from metaspo.engine.tasks.errors import TaskError
from metaspo.engine.tasks.kinds import in_words
from metaspo.engine.tasks.spec import TaskSpec

Rows = str | Path | Sequence[Mapping[str, Any]] | Mapping[str, Any]


def task(
    name: str,
    *,
    train: Rows | None = None,
    test: Rows | None = None,
    role: TaskRole = "source",
    answer: str | Mapping[str, Any] = "text",
    metric: str | Callable[..., object] | Mapping[str, Any] | None = None,
    user_prompt: str | None = None,
    user_prompts: Sequence[str] | None = None,
    columns: Mapping[str, Any] | None = None,
    train_size: int | Literal["all"] = 50,
    test_size: int | Literal["all"] = 500,
    weight: float = 1.0,
    max_tokens: int | None = None,
    response_format: Mapping[str, Any] | None = None,
    tolerance: float | None = None,
) -> TaskSpec:
    """A task, `metaspo.optimize({"base": {...}, "tasks": [task(...)]})`; keys as in a config's `[[tasks]]`.

    Args:
        train, test: a file's path, a list of rows (mappings by column), or a mapping with the keys of a source.
        answer: a kind of answer, or a mapping with its keys.
        metric: a metric's name, a function `fn(prediction, answers)`, `fn(prediction, example)` or
            `fn(prediction, example, call)`, async or not, or a mapping with the keys of a `MetricTable`.

    Raises:
        TaskError: for a key or a value that a task does not take.
    """
    said = {key: value for key, value in locals().items() if value is not None}  # the arguments, by name
    for split in said.keys() & {"train", "test"}:
        if isinstance(said[split], Path):
            said[split] = str(said[split])
        elif not isinstance(said[split], str | Sequence | Mapping):
            kind = type(said[split]).__name__
            raise TaskError(f"{split}: give a file's path or a list of rows; this is a {kind} [task {name!r}]")
        elif isinstance(said[split], Sequence) and not isinstance(said[split], str):
            _require_rows(said[split], f"[task {name!r}]", split=split)
    try:
        return TaskSpec.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if not str(part).startswith("["))  # no tag of a union
        raise TaskError(f"{where or 'task'}: {in_words(first)} [task {name!r}]") from None


def _require_rows(rows: Sequence[object], whose: str, *, split: str) -> None:
    """Raises `TaskError` for one that has no columns."""
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            like = '{"question": "…", "answer": "…"}'
            raise TaskError(
                f"{split}: a row is a mapping by column, {like}; row {number} is a {type(row).__name__} {whose}"
            )
