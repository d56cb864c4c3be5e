"""How run directories were named before, so that runs begun then are found again and go on where they are.

Nothing here follows the program as it changes: the names are those that were given.
"""

import hashlib
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

import orjson

from metaspo.engine.config.models import weights_of
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.runs.identity import begins_with_examples, later
from metaspo.engine.tasks import Task
from metaspo.engine.tasks.answer_spec import AnswerSpec

METHOD: dict[str, Any] = {
    **dict.fromkeys(("seed", "iterations", "system_prompt", "roles", "redraws"), True),
    "inner": {"strategy", "options", "candidates", "failures", "keep"},
    "outer": {"strategy", "options", "candidates", "failures"},
    "test": {"source", "baseline"},
}
WHAT_IS_ASKED = {"model", "revision", "temperature", "top_p", "max_tokens", "stop", "extra"}
KINDS = {None, "letter", "integer", "label", "text"}
KNOWN = {"kind", "tag", "labels", "number_words"}  # keys of an `answer`


def old_fingerprint(config: RunConfig, tasks: Sequence[Task]) -> str:
    """The eight hex digits of a run's old name; "" for one that could not be begun then."""
    answers = [orjson.loads(task.grading)["answer"] for task in tasks if task.grading]
    tables = [table for table in (config.base, config.optimizer) if table is not None]
    if (
        later(config)
        or begins_with_examples(config, tasks)
        or config.judge
        or len(answers) < len(tasks)
        or not all(map(_known_then, answers))
        or any(table.roles for table in tables)
        or any(
            task.role == "guard"
            or task.user_prompts
            or task.program
            or task.max_tokens is not None
            or task.response_format
            for task in tasks
        )
    ):
        return ""
    models = {
        name: {**table.model_dump(mode="json", include=WHAT_IS_ASKED), "weights": weights_of(table)}
        for name, table in (("base", config.base), ("optimizer", config.optimizer))
        if table is not None
    }
    data = [
        {
            "name": task.name,
            "role": task.role,
            "user_prompt": task.user_prompt,
            "metric": task.metric.name,
            "answers": shown(AnswerSpec.model_validate(answer)),
            "splits": [[(e.question, e.answers) for e in split] for split in (task.train, task.test)],
            **({} if task.weight == 1 else {"weight": task.weight}),
        }
        for task, answer in zip(tasks, answers, strict=True)
    ]
    method = config.model_dump(mode="json", include=METHOD)
    if config.racing is not None:
        method["racing"] = config.racing
    text = orjson.dumps([method, models, data], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:8]


def _known_then(answer: dict[str, Any]) -> bool:
    return answer.keys() <= KNOWN and answer.get("kind") in KINDS


def shown(spec: AnswerSpec) -> str:
    """The answer format as Python showed its record."""
    match spec.kind:
        case "letter":
            kind = f"Letter(letters={spec.labels or tuple(ascii_uppercase)!r})"
        case "label":
            kind = f"Label(labels={spec.labels!r}, number_words={spec.number_words})"
        case "integer":
            kind = f"Integer(number_words={spec.number_words})"
        case _:
            kind = f"Text(number_words={spec.number_words})"
    return kind if spec.tag is None else f"Tagged(inner={kind}, tag={spec.tag!r})"
