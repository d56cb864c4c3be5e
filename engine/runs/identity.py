"""What tells one run from another: all that its result depends on, and nothing else."""

import hashlib
from collections.abc import Sequence
from typing import Any

import orjson

from metaspo.engine.config.model_table import ModelTable
from metaspo.engine.config.models import context_of, weights_of
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.config.tokens import tokenizer_digest
from metaspo.engine.strategies.worked_examples import shows_examples
from metaspo.engine.tasks import Example, Task
from metaspo.engine.tasks.formats.texts import Text
from metaspo.engine.tasks.named_prompts import NumberRange, PromptForm

VERSION = 2
# Of a config, beside the data. What else the tables of the loops hold, and LATER, came later: that enters only where it
# is not at its default, and so renames no run. Of equals the earlier prompt was kept before `ties` came: runs that say
# so have the names of then.
METHOD: dict[str, Any] = {
    **dict.fromkeys(("seed", "iterations", "system_prompt", "roles", "redraws"), True),
    "inner": {"strategy", "options", "candidates", "failures", "keep"},
    "outer": {"strategy", "options", "candidates", "failures"},
    "test": {"source", "baseline"},
}
LATER = {"rows", "train_calls", "stop_below", "system_prompts"}
LOOPS = ("inner", "outer")
TOLD_OF_FORM = {"ape", "evoprompt-de", "evoprompt-ga", "gepa", "mipro", "opro", "protegi", "textgrad"}
SHOWING = {"embedded", "mipro"}  # strategies whose prompts show examples of the data
RULED = {"ape", "mipro"}  # strategies that put the answer rule below what is written, once below every named prompt
SHOWN_TO_OTHERS = 4  # the rules since which no example is asked with its own answer shown
WHAT_IS_ASKED = {"model", "revision", "temperature", "top_p", "max_tokens", "stop", "extra"}


def fingerprint(config: RunConfig, tasks: Sequence[Task]) -> str:
    """Eight hex digits of the SHA-256 over all that the result depends on: config, data, seed, the user's own metrics.

    Where the answers come from, how fast, and at what price does not count: a run may go on with more endpoints, other
    limits or a higher budget.
    """
    return fingerprint_of(identity_of(config, tasks))


def identity_of(config: RunConfig, tasks: Sequence[Task]) -> dict[str, Any]:
    """All that a result depends on, as plain data."""
    return {
        "version": VERSION,
        "method": config.model_dump(mode="json", include=METHOD),
        "racing": config.racing,
        **later(config),
        "base": _model(config.base),
        "optimizer": _model(config.optimizer) if config.optimizer else None,
        **({"judge": _model(config.judge)} if config.judge else {}),
        "tasks": [_task(task) for task in tasks],
        **({"induced": "named"} if config.outer.under == "induced" and any(task.form for task in tasks) else {}),
        **({"rule": "where stated"} if config.inner.strategy in RULED and any(task.form for task in tasks) else {}),
        **({"own": "left out"} if begins_with_examples(config, tasks) and _rules(config) < SHOWN_TO_OTHERS else {}),
        **({"tokenizer": tokenizer_digest(config.base)} if config.outer.max_prompt_tokens else {}),
    }


def begins_with_examples(config: RunConfig, tasks: Sequence[Task]) -> bool:
    """Whether first prompts show examples, as those of a run may that it starts from: none is asked with its own."""
    users = (prompt for task in tasks for prompt in (task.user_prompt, *task.user_prompts))
    return any(map(shows_examples, (config.system_prompt, *config.system_prompts, *users)))


def later(config: RunConfig) -> dict[str, Any]:
    """The keys that came later, as far as they change what a run before them did, and which rules they follow."""
    later = config.model_dump(mode="json", include=LATER, exclude_defaults=True)
    exclude = {loop: METHOD[loop] for loop in LOOPS}
    tables = config.model_dump(mode="json", include=set(LOOPS), exclude=exclude, exclude_defaults=True)
    ties = {} if config.ties == "earlier" else {"ties": config.ties}
    rules = {"rules": rules} if (rules := _rules(config)) > 1 else {}
    return {**later, **ties, **{f"{loop} later": table for loop, table in tables.items() if table}, **rules}


def _rules(config: RunConfig) -> int:
    """The rules of a run: raised where what it asks is not what the same config asked before.

    14: of searches for a system prompt, which are told of the form of answers where most wrong ones could not be read.
    13: of "informed", which is told what could not be read of what was tried, and under which system prompt. 12: of
    induced user prompts, which the first one stands for where one of both alone is in form. 11: of "metaspo" in the
    outer loop, which may set a form where none is asked for. 9: of a gate, which holds a row that can be won, and of
    further first passes, which are told more. 6: of a beam, which stays where `shared` passes the best over. 4: of
    strategies that show examples at work, of which none is any more the one that is asked. 3: whoever wrote a prompt
    that breaks its wording is told so. 2: of `under`.
    """
    strategies, outer = {config.inner.strategy, config.outer.strategy}, config.outer
    if outer.strategy in TOLD_OF_FORM and outer.candidates:
        return 14
    if "informed" in strategies:
        return 13
    if outer.under == "induced":
        return 12
    if outer.strategy == "metaspo" and outer.candidates:
        return 11
    if config.inner.gate or outer.gate or (outer.first_passes > 1 and outer.candidates):
        return 9
    if outer.shared and outer.keep > 1:
        return 6
    if strategies & SHOWING:
        return SHOWN_TO_OTHERS
    if outer.is_set:
        return 3
    return 2 if outer.under != "kept" else 1


def fingerprint_of(identity: object) -> str:
    """Eight hex digits of the SHA-256 over plain data."""
    return hashlib.sha256(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS)).hexdigest()[:8]


def _model(table: ModelTable) -> dict[str, Any]:
    asked = table.model_dump(mode="json", include=WHAT_IS_ASKED)
    return {**asked, "roles": table.roles, "weights": weights_of(table), "context": context_of(table)}


def _task(task: Task) -> dict[str, Any]:
    return {
        "name": task.name,
        "role": task.role,
        "weight": task.weight,
        "user_prompt": task.user_prompt,
        "metric": task.metric.name,
        "grading": task.grading or task.answer_format.describe(),
        "splits": [[_example(example) for example in split] for split in (task.train, task.test)],
        **({"max_tokens": task.max_tokens} if task.max_tokens is not None else {}),
        **({"response_format": task.response_format} if task.response_format else {}),
        **({"user_prompts": task.user_prompts} if task.user_prompts else {}),
        **({"fixed": task.fixed} if task.fixed else {}),
        **({"tolerance": task.tolerance} if task.role == "guard" else {}),
        **({"form": _form(task.form)} if task.form else {}),
        **({"rule": "free"} if isinstance(task.answer_format, Text) and task.answer_format.free else {}),
    }


def _form(form: PromptForm) -> dict[str, Any]:
    """What of it does not show in the first prompts."""
    spaces = {
        name: space.model_dump(include={"low", "high"}) if isinstance(space, NumberRange) else list(space)
        for name, space in form.numbers.items()
    }
    return {"numbers": spaces, "together": form.together}


def _example(example: Example) -> tuple[object, ...]:
    seen: tuple[object, ...] = (example.question, example.answers)
    seen = (*seen, example.metadata) if example.metadata else seen
    if not example.history and not example.images:
        return seen
    turns = [(message.role, message.content, message.extra) for message in example.history]
    images = [(image.kind, hashlib.sha256(image.data.encode()).hexdigest()) for image in example.images]
    return (*seen, {"history": turns, "images": images})
