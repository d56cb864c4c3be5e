"""From a task's spec to a `Task`: read by `examples`, sampled, with its format, metric and program."""

from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from metaspo.backends import json_text
from metaspo.backends.counted import counted
from metaspo.engine.tasks.answer_spec import AnswerSpec
from metaspo.engine.tasks.base import PLACEHOLDER, AnswerFormat, Example, Metric, Task
from metaspo.engine.tasks.errors import TaskError
from metaspo.engine.tasks.examples import Reader, needs_no_gold, read_task
from metaspo.engine.tasks.formats.texts import Text
from metaspo.engine.tasks.functions import function_digest
from metaspo.engine.tasks.graders import Grader
from metaspo.engine.tasks.imports import source_digest
from metaspo.engine.tasks.metric_spec import MetricTable, of_a_program, path_of
from metaspo.engine.tasks.metrics import Agreement, build_metric, own_metric
from metaspo.engine.tasks.notices import Notice, Notify, ignore, tell_of_data
from metaspo.engine.tasks.programs import Program, build_program
from metaspo.engine.tasks.sampling import sampled
from metaspo.engine.tasks.shown import shown
from metaspo.engine.tasks.spec import TaskSpec


def load_tasks(
    specs: Sequence[TaskSpec], *, base_dir: Path, seed: int, notify: Notify = ignore, reader: Reader | None = None
) -> tuple[Task, ...]:
    """Every task, in the order given, as `load_task` does. Raises `TaskError`, also where two have one name."""
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise TaskError(f"tasks.name: {name!r} is the name of {names.count(name)} tasks; give each its own")
    return tuple(load_task(spec, base_dir=base_dir, seed=seed, notify=notify, reader=reader) for spec in specs)


def load_task(
    spec: TaskSpec, *, base_dir: Path, seed: int, notify: Notify = ignore, reader: Reader | None = None
) -> Task:
    """Read and check a task's data; blocks on files and, for a dataset, on the network.

    Every row is checked, also those that are not sampled: whether data are accepted does not depend on the seed.

    Args:
        base_dir: the config file's folder, where relative paths start.
        seed: the run's; the sample depends on it, the task's name, the split and the question only.
        notify: called with each `Notice`.
        reader: reads the files; `read_once` where many tasks are loaded from the same ones.

    Raises:
        TaskError: the data or the spec is wrong; one line with file and line or key.
    """
    try:
        return _load(spec, base_dir, seed, notify, reader or read_task)
    except TaskError as error:
        raise TaskError(f"{error} [task {spec.name!r}]") from error


def _load(spec: TaskSpec, base_dir: Path, seed: int, notify: Notify, reader: Reader) -> Task:
    rows = reader(spec, base_dir)
    answer, answer_format = rows.answer, rows.answer_format
    metric = _metric(spec, answer_format, base_dir)
    judge = metric.function if isinstance(metric, Grader) and spec.judge is not None else None
    program = _program(spec, base_dir)
    for split, bad in rows.bad.items():
        if bad:
            message = f"{counted(len(bad), f'{split} row')} left out, which cannot be used; the first: {bad[0]}"
            notify(Notice(task=spec.name, kind="bad-rows", count=len(bad), message=message))
    train = sampled(spec, "train", rows.train, seed, notify)
    test = sampled(spec, "test", rows.test, seed, notify)
    tell_of_data(spec, train, test, pool=rows.train, notify=notify)
    if free := _is_free(spec, (*train, *test)):
        answer_format = Text(number_words=spec.answer.number_words, free=True)
    first = spec.user_prompt or (PLACEHOLDER if free else f"{PLACEHOLDER}\n\n{answer_format.describe()}")
    _require_fixed(spec, first)
    return Task(
        name=spec.name,
        role=spec.role,
        train=train,
        test=test,
        answer_format=answer_format,
        metric=metric,
        user_prompt=first,
        user_prompts=tuple(prompt for prompt in spec.user_prompts if prompt != first),
        fixed=spec.fixed,
        weight=spec.weight,
        grading=grading_of(
            answer, own=(spec.metric_function or "", spec.program or ""), judge=judge, base_dir=base_dir
        ),
        program=program,
        max_tokens=spec.max_tokens,
        response_format=json_text(spec.response_format) if spec.response_format else "",
        tolerance=spec.tolerance or 0.0,
        form=spec.form,
    )


def _require_fixed(spec: TaskSpec, first: str) -> None:
    """Raises `TaskError` where a first user prompt lacks a part that is to stay as it is."""
    for prompt in (first, *spec.user_prompts):
        for part in spec.fixed:
            if part not in prompt:
                raise TaskError(
                    f"fixed: every first user prompt must hold {shown(part)}, letter by letter; {shown(prompt)} does "
                    "not"
                )


def _is_free(spec: TaskSpec, examples: Sequence[Example]) -> bool:
    """Whether an answer is a text that is held against no answer of the data: then nothing says how it must look."""
    plain = spec.answer.kind == "text" and not (spec.answer.tag or spec.answer.unanswerable)
    return plain and needs_no_gold(spec) and not any(answer for example in examples for answer in example.answers)


def _program(spec: TaskSpec, base_dir: Path) -> Program | None:
    if spec.program is None or spec.max_calls is None:
        return None
    return build_program(spec.program, max_calls=spec.max_calls, base_dir=base_dir)


def grading_of(
    answer: AnswerSpec,
    *,
    own: Sequence[str | Callable[..., object]] = (),
    judge: object = None,
    base_dir: Path = Path(),
) -> str:
    """A task's `grading`: how its answers are read, the code of a format, metric or program of the user's own, and
    what its judge is told."""
    named = [path for path in (answer.kind, *own) if isinstance(path, str) and ":" in path]
    code = {path: source_digest(path, base_dir=base_dir) for path in named}
    code |= {path_of(function): function_digest(function) for function in own if callable(function)}
    data = {
        "answer": answer.model_dump(mode="json", exclude_defaults=True),
        "code": code,
        **({"judge": judge} if judge else {}),
    }
    return orjson.dumps(data, option=orjson.OPT_SORT_KEYS).decode()


def _metric(spec: TaskSpec, answer_format: AnswerFormat, base_dir: Path) -> Metric:
    if spec.judge is not None:
        from metaspo.engine.tasks.judges import judge_grader  # a model of its own, which few tasks have

        return judge_grader(spec.judge, base_dir=base_dir)
    max_calls = (isinstance(spec.metric, MetricTable) and spec.metric.max_calls) or 1
    if callable(spec.metric_function):
        return own_metric(spec.metric_name(), spec.metric_function, max_calls=max_calls)
    if of_a_program(spec.metric_name()):
        raise TaskError(
            f"metric: {spec.metric_name()!r} was a function of the program that ran this, and so its answers can be "
            'read by that program alone; give the function a place in a module, "package.module:function"'
        )
    if spec.metric_name() == "agreement":
        return Agreement(answer_format)
    return build_metric(spec.metric_name(), base_dir=base_dir, max_calls=max_calls)
