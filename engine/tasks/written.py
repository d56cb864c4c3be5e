"""Tasks for configs that are written in Python."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from pydantic import ValidationError

from metaspo.engine.tasks.base import TaskRole
from metaspo.engine.tasks.errors import TaskError
from metaspo.engine.tasks.spec import TaskSpec

Rows = str | Sequence[Mapping[str, Any]] | Mapping[str, Any]


def task(
    name: str,
    *,
    train: Rows | None = None,
    test: Rows | None = None,
    role: TaskRole = "source",
    answer: str | Mapping[str, Any] = "text",
    metric: str | Callable[..., object] | Mapping[str, Any] | None = None,
    user_prompt: str | None = None,
    user_prompts: Sequence[str] = (),
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
    said = {
        "name": name,
        "role": role,
        "train": train,
        "test": test,
        "answer": answer,
        "metric": metric,
        "user_prompt": user_prompt,
        "user_prompts": user_prompts or None,
        "columns": columns,
        "train_size": train_size,
        "test_size": test_size,
        "weight": weight,
        "max_tokens": max_tokens,
        "response_format": response_format,
        "tolerance": tolerance,
    }
    try:
        return TaskSpec.model_validate({key: value for key, value in said.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise TaskError(f"{where or 'task'}: {first['msg'].removeprefix('Value error, ')} [task {name!r}]") from None
