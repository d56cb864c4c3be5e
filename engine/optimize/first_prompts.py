"""What a run begins with: its first prompts, scored on the train splits, and what is wrong with them told."""

from collections.abc import Sequence
from itertools import chain

from metaspo.engine.addresses import join
from metaspo.engine.evaluation.evaluation import score
from metaspo.engine.evaluation.scorecard import Scorecard, require_answers
from metaspo.engine.evaluation.test_score import TestScore, unreadable
from metaspo.engine.gather import gather
from metaspo.engine.optimize.state import GuardState, RunState, TaskState
from metaspo.engine.optimize.train_calls import TrainCalls, cells_of
from metaspo.engine.prompts import PromptPair
from metaspo.engine.runtime import priorities
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.selection.objective import score_of
from metaspo.engine.selection.shared_gain import by_task
from metaspo.engine.tasks import Task


async def score_first(context: RunContext, calls: TrainCalls) -> RunState:
    """Every source task's first user prompt under the first system prompt, and every guard's; all count in `calls`."""
    context.observer.stage("first prompts")
    every = await _first_cards(context)
    cards, guarding = every[: len(context.sources)], every[len(context.sources) :]
    plain = await gather(_plain(context, card, position) for position, card in enumerate(cards))
    calls.admit(cells_of([*every, *chain.from_iterable(plain)]))
    tasks = tuple(
        _task_state(task, card, beside, searched=context.config.inner.candidates > 0)
        for task, card, beside in zip(context.sources, cards, plain, strict=True)
    )
    guards = tuple(
        GuardState(task=task, first=score_of(card), card=card)
        for task, card in zip(context.guards, guarding, strict=True)
    )
    first = by_task([card for task in tasks for card in task.under(context.config.outer.under)])
    state = RunState(system=context.config.system_prompt, tasks=tasks, guards=guards, first=first)
    _tell_idle_guards(context, guards)
    _tell_unreadable(context, cards)
    context.observer.new_best(score=state.best_score, address="init")
    return state


def _task_state(task: Task, first: Scorecard, plain: Sequence[Scorecard], *, searched: bool) -> TaskState:
    """A task as it begins; `plain`: what system prompts were to be compared under, `searched`: whether it has rounds.

    Where most answers to an induced prompt can be read and most to the first one cannot, or the other way round, system
    prompts are compared under the first one in its place. Unseen tasks come with such: so form is what there is to
    mend, or nothing to be looked for. The induced one stays as a user prompt.
    """
    fit = {card.pair.user: card for card in (card if _formless(card) == _formless(first) else first for card in plain)}
    aside = (card for card in plain if searched and card.pair.user not in fit)
    return TaskState(task=task, kept=(first, *aside), plain=tuple(fit.values()))


def _formless(card: Scorecard) -> bool:
    """Whether most answers could not be read."""
    return 2 * card.malformed > len(card.outcomes)


def _tell_idle_guards(context: RunContext, guards: Sequence[GuardState]) -> None:
    """Say so of a guard that no system prompt can fall below."""
    for guard in guards:
        if not guard.floor:
            context.observer.warn(
                f"guard {guard.task.name} guards nothing: the first prompts have {guard.first:.1%} there, and its "
                f"tolerance is {guard.task.tolerance:.1%}, so no system prompt can fall below its floor: mend its "
                "first prompts or its answers, or lower the tolerance"
            )


def _tell_unreadable(context: RunContext, cards: Sequence[Scorecard]) -> None:
    """Say so before a search is paid for where hardly an answer can be read."""
    if not any(card.malformed for card in cards):
        return  # as nearly always, and then no interval of a score has to be worked out
    tasks = zip(cards, context.sources, strict=True)
    rows = [TestScore.of(card, role=task.role, metric=task.metric.name, stage="before") for card, task in tasks]
    if says := unreadable(rows):
        context.observer.warn(f"under the first prompts {says}; the run goes on, and mends what a prompt can")


async def _first_cards(context: RunContext) -> list[Scorecard]:
    """Of the source tasks, then of the guards."""
    cards = await gather(
        score(
            context,
            PromptPair(context.config.system_prompt, task.user_prompt),
            task,
            examples=task.train,
            address=join("guard" if task.role == "guard" else "init", f"task={task.name}"),
            priority=priorities.initial(position),
        )
        for position, task in enumerate((*context.sources, *context.guards))
    )
    require_answers(cards)
    return cards


async def _plain(context: RunContext, first: Scorecard, position: int) -> tuple[Scorecard, ...]:
    """The user prompts beside the kept ones that system prompts are compared under: the first one, or induced ones.

    Where none can be induced, or the server refuses an example under each, the first one stands for them.
    """
    table, task = context.config.outer, context.sources[position]
    if table.under == "kept":
        return ()
    if table.under != "induced":
        return (first,)
    from metaspo.engine.optimize.induced import induce  # with the strategy that it is from

    prompts = await induce(context, task, above="induced", position=position, count=table.induced)
    cards = await gather(
        score(
            context,
            PromptPair(context.config.system_prompt, prompt),
            task,
            examples=task.train,
            address=join("induced", f"task={task.name}", f"prompt={number}", "score"),
            priority=priorities.initial(position),
        )
        for number, prompt in enumerate(prompts, start=1)
    )
    usable = tuple(card for card in cards if not card.invalid)
    missing = table.induced - len(prompts)
    context.observer.calls_done(base_calls=missing * len(task.train), optimizer_calls=missing * task.user_texts)
    return usable or (first,)
