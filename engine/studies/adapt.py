"""Test-time adaptation: a user prompt for an unseen task under a fixed system prompt, round by round.

MetaSPO's second experiment (arXiv 2505.09666, and its code): the task's first user prompt, `children` of it, then
`rounds` rounds in which each of the `keep` kept prompts gets `children` new ones; parents stay eligible, the best
`keep` by train score stay, and every prompt that was ever kept is scored on the test split. With 3, 3 and 6: 58 prompts
scored on the train split. The curve over the amount of data repeats this with the first n train examples only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from metaspo.engine.addresses import join, rng_at
from metaspo.engine.errors import ConfigError
from metaspo.engine.evaluation.evaluation import score
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.evaluation.test_score import TestScore
from metaspo.engine.gather import gather
from metaspo.engine.journal import events
from metaspo.engine.optimize.inner import select
from metaspo.engine.optimize.state import TaskState
from metaspo.engine.prompts import PromptError, PromptPair, check_user_prompt
from metaspo.engine.runtime import priorities
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.runtime.optimizer import asker
from metaspo.engine.selection.objective import score_of
from metaspo.engine.strategies import InnerContext, InnerStrategy, NoProposal, Search
from metaspo.engine.tasks import Task, TaskError


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much adapting is done; the paper's counts.

    Attributes:
        rounds: after the first one, in which only the first prompt has children.
        examples: sizes of the train split to adapt on, each a curve of its own; the whole split if there are none.
    """

    rounds: int = 6
    keep: int = 3
    children: int = 3
    examples: tuple[int, ...] = ()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    context: RunContext
    strategy: InnerStrategy
    system: str
    task: Task
    position: int
    address: str


async def adapt(context: RunContext, system: str, effort: Effort) -> list[Curve]:
    """Adapt to every target task, all at once; curves task by task, each for every amount of data.

    Raises:
        ConfigError: when the config's inner strategy cannot propose one prompt at a time.
        TaskError: for a target task without train examples.
        RunStopped: as any run.
    """
    if isinstance(context.inner, Search):
        raise ConfigError(
            f"adapting takes an inner strategy that proposes prompt by prompt, not '{context.inner.name}'"
        )
    settings = []
    for position, task in enumerate(context.targets):
        if not task.train or not task.test:
            raise TaskError(f"task '{task.name}': adapting needs train and test examples")
        for size in effort.examples or (len(task.train),):
            cut = replace(task, train=task.train[:size])
            place = join("adapt", f"task={task.name}", f"examples={len(cut.train)}")
            setting = _Setting(
                context=context, strategy=context.inner, system=system, task=cut, position=position, address=place
            )
            settings.append(setting)
    return await gather(_curve(setting, effort) for setting in settings)


async def _curve(this: _Setting, effort: Effort) -> Curve:
    first = await _train_score(this, this.task.user_prompt, address=join(this.address, "init"), number=0)
    if first.invalid:
        raise TaskError(f"task '{this.task.name}': refused under the first prompts already: {first.invalid}")
    kept: tuple[Scorecard, ...] = (first,)
    stages = [(0, 1, kept)]
    scored = 1
    for number in range(1, effort.rounds + 2):
        proposed = await gather(
            _child(this, kept, parent=parent, child=child, number=number)
            for parent in range(len(kept))
            for child in range(1, effort.children + 1)
        )
        scored += sum(card is not None for card in proposed)
        kept = select(kept, proposed, keep=effort.keep)
        stages.append((number, scored, kept))
    tests = await _tests(this, [card for _, _, cards in stages for card in cards])
    points = tuple(
        Point(round=number, prompts=count, user=best.pair.user, train=score_of(best), test=tests[best.pair.user])
        for number, count, cards in stages
        for best in cards[:1]
    )
    return Curve(task=this.task.name, examples=len(this.task.train), points=points)


async def _child(
    this: _Setting, kept: Sequence[Scorecard], *, parent: int, child: int, number: int
) -> Scorecard | None:
    """Propose one prompt from one of the kept ones, and score it; None if there is none."""
    context = this.context
    address = join(this.address, f"round={number}", f"parent={parent}", f"cand={child}")
    proposal_context = InnerContext(
        address=address,
        candidate=child,
        show=context.config.inner.failures,
        rng=rng_at(context.config.seed, address),
        system_prompt=this.system,
        task=TaskState(task=this.task, kept=(kept[parent],)).view(),
        ask=asker(context, address, priority=priorities.inner(number, task=this.position, candidate=0)),
    )
    try:
        prompt = check_user_prompt(await this.strategy.propose(proposal_context))
    except (NoProposal, PromptError) as reason:
        context.journal.write(events.Proposal(address=address, none=str(reason)))
        return None
    context.journal.write(events.Proposal(address=address, user=prompt))
    return await _train_score(this, prompt, address=join(address, "score"), number=number)


async def _train_score(this: _Setting, prompt: str, *, address: str, number: int) -> Scorecard:
    return await score(
        this.context,
        PromptPair(this.system, prompt),
        this.task,
        examples=this.task.train,
        address=address,
        priority=priorities.inner(number, task=this.position, candidate=1),
    )


async def _tests(this: _Setting, cards: Sequence[Scorecard]) -> dict[str, TestScore]:
    """Every prompt that was ever kept, on the test split."""
    prompts = list(dict.fromkeys(card.pair.user for card in cards))
    scored = await gather(
        score(
            this.context,
            PromptPair(this.system, prompt),
            this.task,
            examples=this.task.test,
            address=join(this.address, "test", f"prompt={number}"),
            priority=priorities.final(stage="given", task=this.position, prompt=number),
        )
        for number, prompt in enumerate(prompts)
    )
    return {
        prompt: TestScore.of(card, role="target", metric=this.task.metric.name, stage="given", prompt=number)
        for number, (prompt, card) in enumerate(zip(prompts, scored, strict=True))
    }
