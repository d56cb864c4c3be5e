"""Generalization: how a system prompt does on unseen tasks under user prompts that it was not optimized with.

MetaSPO's first experiment (arXiv 2505.09666, and its code): for each target task ten user prompts, each induced from
ten train examples of that task as in APE, or given; the test score is averaged over a task's prompts, then over tasks.
The induced prompts know nothing of the system prompt: every method is measured under the same ones.
"""

from collections.abc import Mapping, Sequence

from metaspo.engine.addresses import join
from metaspo.engine.errors import ConfigError
from metaspo.engine.evaluation.evaluation import score
from metaspo.engine.evaluation.test_score import TestScore
from metaspo.engine.gather import gather
from metaspo.engine.optimize.induced import induce
from metaspo.engine.prompts import PromptPair
from metaspo.engine.runtime import priorities
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.tasks import Task, TaskError

UserPrompts = Mapping[str, Sequence[str]]  # by task


async def induce_user_prompts(context: RunContext, *, count: int = 10, demos: int = 10) -> dict[str, tuple[str, ...]]:
    """`count` user prompts for every target task, each induced from `demos` train examples; an equal one comes once.

    Raises:
        ConfigError: without an optimizer model.
        TaskError: for a target task without train examples, or one for which no prompt could be induced.
    """
    if context.optimizer is None:
        raise ConfigError(
            "inducing user prompts asks an optimizer model: add an [optimizer] table, or give the prompts"
        )
    induced = await gather(
        _induce(context, task, position, count=count, demos=demos) for position, task in enumerate(context.targets)
    )
    return {task.name: prompts for task, prompts in zip(context.targets, induced, strict=True)}


async def generalize(context: RunContext, system: str, prompts: UserPrompts) -> list[TestScore]:
    """A system prompt on the test split of every target task under each of its user prompts; task by task."""
    by_task = await gather(
        under_each(
            context,
            system,
            task,
            prompts[task.name],
            above=join("generalize", "test", f"task={task.name}"),
            place=place,
        )
        for place, task in enumerate(context.targets)
        if task.test
    )
    return [row for rows in by_task for row in rows]


async def under_each(
    context: RunContext, system: str, task: Task, users: Sequence[str], *, above: str, place: int
) -> list[TestScore]:
    """A system prompt on the test split of an unseen task under each of some user prompts, at addresses below `above`.

    `place`: the task's among the target tasks.
    """
    cards = await gather(
        score(
            context,
            PromptPair(system, user),
            task,
            examples=task.test,
            address=join(above, f"prompt={number}"),
            priority=priorities.final(stage="given", task=place, prompt=number),
        )
        for number, user in enumerate(users)
    )
    metric = task.metric.name
    return [
        TestScore.of(card, role="target", metric=metric, stage="given", prompt=number)
        for number, card in enumerate(cards)
    ]


async def _induce(context: RunContext, task: Task, position: int, *, count: int, demos: int) -> tuple[str, ...]:
    if not task.train:
        raise TaskError(
            f"task '{task.name}': inducing user prompts needs train examples; give a train file, or prompts"
        )
    prompts = await induce(context, task, above="generalize", position=position, count=count, demos=demos)
    if not prompts:
        raise TaskError(f"task '{task.name}': no user prompt could be induced; the journal says why")
    return prompts
