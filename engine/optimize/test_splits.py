"""The test splits: what the optimized prompts are worth on examples, and tasks, that the loops never saw."""

from collections.abc import Mapping, Sequence
from typing import Literal

from metaspo.engine.addresses import join
from metaspo.engine.evaluation.evaluation import score
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.evaluation.test_score import Stage, TestScore
from metaspo.engine.gather import gather
from metaspo.engine.optimize.result import Gain
from metaspo.engine.optimize.state import RunState
from metaspo.engine.prompts import PromptPair
from metaspo.engine.runtime import priorities
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.statistics import compare, mean_score, shared
from metaspo.engine.tasks import Task, TaskRole


async def score_before(context: RunContext) -> list[TestScore]:
    """The first prompts on every test split; nothing if the config asks for no comparison."""
    if not context.config.test.baseline:
        return []
    sources = context.sources if context.config.test.source != "none" else ()
    system = context.config.system_prompt
    return await gather(
        _score_pair(context, task, PromptPair(system, task.user_prompt), stage="before")
        for task in (*sources, *_beside(context))
        if task.test
    )


async def score_after(context: RunContext, state: RunState) -> list[TestScore]:
    """The optimized system prompt: with the kept user prompts of source tasks, the first ones of all others."""
    wanted = {"kept": context.config.inner.keep, "best": 1, "none": 0}[context.config.test.source]
    sources = [
        _score_pair(context, task.task, PromptPair(state.system, card.pair.user), stage="after", prompt=prompt)
        for task in state.tasks
        for prompt, card in enumerate(task.kept[:wanted])
        if task.task.test
    ]
    others = [
        _score_pair(context, task, PromptPair(state.system, task.user_prompt), stage="after")
        for task in _beside(context)
    ]
    return await gather([*sources, *others])


def _beside(context: RunContext) -> list[Task]:
    """Target and guard tasks that have a test split."""
    return [task for task in context.tasks if task.role != "source" and task.test]


async def _score_pair(
    context: RunContext,
    task: Task,
    pair: PromptPair,
    *,
    stage: Stage,
    prompt: int = 0,
) -> TestScore:
    card = await _card(context, task, pair, stage=stage, prompt=prompt, split="test")
    return TestScore.of(card, role=task.role, metric=task.metric.name, stage=stage, prompt=prompt)


async def _card(
    context: RunContext, task: Task, pair: PromptPair, *, stage: Stage, prompt: int, split: Literal["train", "test"]
) -> Scorecard:
    position = [sibling.name for sibling in context.tasks].index(task.name)
    priority = priorities.final(stage=stage, task=position, prompt=prompt)
    address = join(split, stage, f"task={task.name}", f"prompt={prompt}")
    examples = task.train if split == "train" else task.test
    return await score(context, pair, task, examples=examples, address=address, priority=priority)


async def score_given(
    context: RunContext, system: str, users: Mapping[str, str], *, split: Literal["train", "test"]
) -> list[tuple[TestScore, Scorecard]]:
    """A given system prompt with each task's given user prompt, on one split of every task that has it."""
    tasks = [task for task in context.tasks if (task.train if split == "train" else task.test)]
    cards = await gather(
        _card(context, task, PromptPair(system, users[task.name]), stage="given", prompt=0, split=split)
        for task in tasks
    )
    return [
        (TestScore.of(card, role=task.role, metric=task.metric.name, stage="given"), card)
        for task, card in zip(tasks, cards, strict=True)
    ]


def gains(tests: Sequence[TestScore]) -> tuple[Gain, ...]:
    """Per role the mean gain over its tasks, best user prompt against first; none where nothing can be compared."""
    roles: tuple[TaskRole, ...] = ("target", "source")
    return tuple(gain for role in roles if (gain := _gain(tests, role)))


def _gain(tests: Sequence[TestScore], role: TaskRole) -> Gain | None:
    best = [row for row in tests if row.role == role and row.prompt == 0]
    before = [row.split_grades() for row in best if row.stage == "before"]
    after = [row.split_grades() for row in best if row.stage == "after"]
    pairs = shared(after, before)
    if not pairs:
        return None
    compared = compare(after, before, names=("after", "before"))
    return Gain(
        role=role,
        tasks=compared.tasks,
        before=compared.score_b,
        after=compared.score_a,
        interval=compared.interval,
        over_tasks=compared.over_tasks,
        before_interval=mean_score([old for _, old in pairs]).over_examples,
        after_interval=mean_score([new for new, _ in pairs]).over_examples,
        p=compared.p,
    )
