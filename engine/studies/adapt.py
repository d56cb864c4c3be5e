"""Test-time adaptation: a user prompt for an unseen task under a fixed system prompt, round by round.

MetaSPO's second experiment (arXiv 2505.09666, and its code): the task's first user prompt, `children` of it, then
`rounds` rounds in which each of the `keep` kept prompts gets `children` new ones; parents stay eligible, the best
`keep` by train score stay, and every prompt that was ever kept is scored on the test split. With 3, 3 and 6: 58 prompts
scored on the train split. The curve over the amount of data repeats this with the first n train examples only.
"""

from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from metaspo.engine.addresses import join
from metaspo.engine.config.table import Table
from metaspo.engine.evaluation.evaluation import score
from metaspo.engine.evaluation.scorecard import require_answers
from metaspo.engine.evaluation.test_score import TestScore
from metaspo.engine.gather import gather
from metaspo.engine.optimize.round import Round, hold_round
from metaspo.engine.optimize.round_setup import RoundSetup
from metaspo.engine.optimize.state import TaskState
from metaspo.engine.optimize.train_calls import TrainCalls, cells_of
from metaspo.engine.prompts import PromptPair
from metaspo.engine.runtime import priorities
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.selection.objective import KeepBest, Objective, ScoredPrompt, score_of
from metaspo.engine.strategies import Tried
from metaspo.engine.studies.generalize import under_each
from metaspo.engine.tasks import Task, TaskError


class AdaptTable(Table):
    """How much adapting is done; the paper's counts."""

    rounds: int = Field(default=6, ge=0, description="after the first one, in which only the first prompt has children")
    keep: int = Field(default=3, ge=1)
    children: int = Field(default=3, ge=1, description="new prompts of each kept one in a round")
    examples: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(), description="sizes of the train split, a curve each; the whole split if left out"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Where adapting stood after a round; round 0 is the first user prompt.

    Attributes:
        prompts: how many prompts had been scored on the train split by then.
        user: the best one by train score.
        train: its score on the train examples, 0 to 1.
        test: its score on the test split.
    """

    round: int
    prompts: int
    user: str
    train: float
    test: TestScore


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Adapting to one task on so many train examples."""

    task: str
    examples: int
    points: tuple[Point, ...]


async def adapt(context: RunContext, system: str, effort: AdaptTable) -> list[Curve]:
    """Adapt to every target task, all at once; curves task by task, each for every amount of data.

    Raises:
        TaskError: for a target task without train examples.
        RunStopped: as any run.
    """
    adaptations = []
    for position, task in enumerate(context.targets):
        if not task.train or not task.test:
            raise TaskError(f"task '{task.name}': adapting needs train and test examples")
        for size in effort.examples or (len(task.train),):
            cut = task.with_train(size)
            adaptations.append(_Adaptation(context=context, system=system, task=cut, position=position, effort=effort))
    return await gather(adaptation.curve() for adaptation in adaptations)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Adaptation:
    """Adapting to one task on the train examples that it is given with."""

    context: RunContext
    system: str
    task: Task
    position: int
    effort: AdaptTable

    @property
    def address(self) -> str:
        return join("adapt", f"task={self.task.name}", f"examples={len(self.task.train)}")

    async def curve(self) -> Curve:
        best = KeepBest(self.effort.keep, [await self._first()])
        stages, scored, tried = [(0, 1, best.kept())], 1, tuple[Tried, ...]()
        for number in range(1, self.effort.rounds + 2):
            rounds = await gather(
                self._children(parent, parent_number=parent_number, number=number, tried=tried)
                for parent_number, parent in enumerate(best.kept())
            )
            tried = tuple({prompt.prompt: prompt for held in rounds for prompt in held.tried}.values())
            children = [child for held in rounds for child in held.complete if child]
            for position, child in enumerate(children, start=scored):
                best.add(replace(child, position=position))
            scored += sum(len(held.prompts) for held in rounds)
            stages.append((number, scored, best.kept()))
        users = list(dict.fromkeys(prompt.prompt for _, _, kept in stages for prompt in kept))
        above = join(self.address, "test")
        rows = await under_each(self.context, self.system, self.task, users, above=above, place=self.position)
        tests = dict(zip(users, rows, strict=True))
        points = tuple(
            Point(round=number, prompts=count, user=top.prompt, train=score_of(top.cards[0]), test=tests[top.prompt])
            for number, count, (top, *_) in stages
        )
        return Curve(task=self.task.name, examples=len(self.task.train), points=points)

    async def _first(self) -> ScoredPrompt:
        """The task's first user prompt."""
        card = await score(
            self.context,
            PromptPair(self.system, self.task.user_prompt),
            self.task,
            examples=self.task.train,
            address=join(self.address, "init"),
            priority=priorities.inner(0, task=self.position, candidate=1),
        )
        require_answers([card])
        return Objective(ties=self.context.config.ties).scored(0, card.pair.user, [card])

    async def _children(
        self, parent: ScoredPrompt, *, parent_number: int, number: int, tried: tuple[Tried, ...]
    ) -> Round:
        """Propose prompts from one of the kept ones, and score them all in full."""
        setup = RoundSetup(
            context=self.context,
            level="user",
            iteration=number,
            address=join(self.address, f"round={number}", f"parent={parent_number}"),
            system=self.system,
            tasks=(TaskState(task=self.task, kept=parent.cards),),
            task_position=self.position,
            candidates=self.effort.children,
            keep=self.effort.keep,
            tried=tried,
            pruned=False,
            calls=TrainCalls(counted=cells_of(parent.cards)),
            objective=Objective(ties=self.context.config.ties),
        )
        return await hold_round(setup, self.context.inner_for(self.task))
