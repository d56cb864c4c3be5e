"""The test splits: what the optimized prompts are worth on examples, and tasks, that the loops never saw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from metaspo.engine.addresses import join
from metaspo.engine.evaluation.evaluation import score
from metaspo.engine.evaluation.test_score import Stage, TestScore
from metaspo.engine.gather import gather
from metaspo.engine.optimize.result import Gain
from metaspo.engine.optimize.state import RunState
from metaspo.engine.prompts import PromptPair
from metaspo.engine.runtime import priorities
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.statistics import mean_interval, paired_gain_interval, weighted_mean
from metaspo.engine.tasks import Task, TaskRole


async def score_before(context: RunContext) -> list[TestScore]:
    """The first prompts on every test split; nothing if the config asks for no comparison."""
    if not context.config.test.baseline:
        return []
    sources = context.sources if context.config.test.source != "none" else ()
    system = context.config.system_prompt
    return await gather(
        _score_pair(context, task, PromptPair(system, task.user_prompt), stage="before")
        for task in (*sources, *context.targets)
        if task.test
    )


async def score_after(context: RunContext, state: RunState) -> list[TestScore]:
    """The optimized system prompt: with the kept user prompts of source tasks, the first ones of target tasks."""
    wanted = {"kept": context.config.inner.keep, "best": 1, "none": 0}[context.config.test.source]
    sources = [
        _score_pair(context, task.task, PromptPair(state.system, card.pair.user), stage="after", prompt=prompt)
        for task in state.tasks
        for prompt, card in enumerate(task.kept[:wanted])
        if task.task.test
    ]
    targets = [
        _score_pair(context, task, PromptPair(state.system, task.user_prompt), stage="after")
        for task in context.targets
    ]
    return await gather([*sources, *targets])


async def _score_pair(
    context: RunContext,
    task: Task,
    pair: PromptPair,
    *,
    stage: Stage,
    prompt: int = 0,
    split: Literal["train", "test"] = "test",
) -> TestScore:
    position = [other.name for other in context.tasks].index(task.name)
    priority = priorities.final(stage=stage, task=position, prompt=prompt)
    address = join(split, stage, f"task={task.name}", f"prompt={prompt}")
    examples = task.train if split == "train" else task.test
    card = await score(context, pair, task, examples=examples, address=address, priority=priority)
    return TestScore.of(card, role=task.role, metric=task.metric.name, stage=stage, prompt=prompt)


async def score_given(
    context: RunContext, system: str, users: Mapping[str, str], *, split: Literal["train", "test"]
) -> list[TestScore]:
    """A given system prompt with each task's given user prompt, on one split of every task."""
    return await gather(
        _score_pair(context, task, PromptPair(system, users[task.name]), stage="given", split=split)
        for task in context.tasks
        if (task.train if split == "train" else task.test)
    )


def gains(tests: Sequence[TestScore]) -> tuple[Gain, ...]:
    """Per role the mean gain over its tasks, best user prompt against first; none where nothing can be compared."""
    roles: tuple[TaskRole, ...] = ("target", "source")
    return tuple(_gain(role, pairs) for role in roles if (pairs := _paired(tests, role)))


@dataclass(frozen=True, slots=True)
class _Paired:
    """One task's grades on the examples answered under both."""

    weight: float
    before: list[float]
    after: list[float]


def _gain(role: TaskRole, tasks: Sequence[_Paired]) -> Gain:
    weights = [task.weight for task in tasks]
    before, after = [task.before for task in tasks], [task.after for task in tasks]
    several = len(tasks) > 1
    return Gain(
        role=role,
        tasks=len(tasks),
        before=weighted_mean([fmean(task) for task in before], weights),
        after=weighted_mean([fmean(task) for task in after], weights),
        interval=paired_gain_interval(before, after, weights=weights),
        over_tasks=paired_gain_interval(before, after, weights=weights, over="tasks") if several else None,
        before_interval=mean_interval(before, over="examples", weights=weights),
        after_interval=mean_interval(after, over="examples", weights=weights),
    )


def _paired(tests: Sequence[TestScore], role: TaskRole) -> list[_Paired]:
    """Per task of a role its grades on the examples answered both before and after, where there are any."""
    best = {(row.task, row.stage): row for row in tests if row.role == role and row.prompt == 0}
    pairs = []
    for (task, stage), row in best.items():
        after = best.get((task, "after"))
        if stage != "before" or after is None:
            continue
        both = [(b, a) for b, a in zip(row.grades, after.grades, strict=True) if b is not None and a is not None]
        if both:
            pairs.append(_Paired(row.weight, [b for b, _ in both], [a for _, a in both]))
    return pairs
