"""The inner loop: better user prompts for one task under a fixed system prompt.

MetaSPO (arXiv 2505.09666, and its code): all candidates start from the task's best user prompt, each is scored on the
whole train split, and the best `keep` of old and new stay. Ours, beyond it: a proposal equal to a prompt that is
already there is not listed twice, a candidate under which the server refused an example cannot be kept, and one that
cannot be kept any more is not scored to the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from metaspo.engine.addresses import candidate_address, inner_address, join, rng_at
from metaspo.engine.evaluation.evaluation import Evaluation
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.gather import gather
from metaspo.engine.journal import events
from metaspo.engine.optimize.round import Round
from metaspo.engine.optimize.search_round import NodeSpec, SearchSetup, run_search
from metaspo.engine.optimize.state import TaskState
from metaspo.engine.prompts import PromptPair, check_user_prompt
from metaspo.engine.runtime import priorities
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.selection.objective import ranked
from metaspo.engine.selection.pruning import CacheFirstGate, InnerBar
from metaspo.engine.selection.race import ScoredPrompt
from metaspo.engine.selection.races import Races, design_race
from metaspo.engine.strategies import InnerContext, Search


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerRound(Round):
    """One round for one task; `position` is the task's place among the source tasks."""

    state: TaskState
    system: str
    position: int
    bar: InnerBar


async def inner_loop(context: RunContext, state: TaskState, *, system: str, iteration: int, position: int) -> TaskState:
    """One round for one task; the state with the prompts that are kept."""
    candidates = context.config.inner.candidates
    found: list[str] = []
    if isinstance(context.inner, Search) and candidates:
        found = await run_search(
            context.inner, _setup(context, state, system=system, iteration=iteration, position=position)
        )
        state = replace(state, past=tuple(dict.fromkeys((*state.past, *found))))
        context.observer.settled(base_calls=(candidates - len(found)) * len(state.task.train))
        candidates = len(found)
    this = _open_round(context, state, system=system, iteration=iteration, position=position, candidates=candidates)
    return _close_round(this, await gather(_candidate(this, number, found) for number in range(1, candidates + 1)))


def _open_round(
    context: RunContext, state: TaskState, *, system: str, iteration: int, position: int, candidates: int
) -> InnerRound:
    """The round before anything of it is asked."""
    keep, address = context.config.inner.keep, inner_address(iteration, task=state.task.name)
    track = design_race(context, address, [state.task], winners=min(keep, candidates))
    old = [ScoredPrompt.of(card.pair.user, [card]) for card in state.kept]
    return InnerRound(
        context=context,
        state=state,
        system=system,
        iteration=iteration,
        position=position,
        address=address,
        bar=InnerBar(state.kept, keep=keep),
        recall=CacheFirstGate(candidates),
        races=Races(track, old, keep=keep, exact=context.config.early_rejection),
    )


def _close_round(this: InnerRound, proposed: Sequence[Scorecard | None]) -> TaskState:
    """Select, and journal it: the task's state after the round."""
    out = this.races.raced_out()
    here = [None if this.races.lost(number) else card for number, card in enumerate(proposed, start=1)]
    kept = select(this.state.kept, here, keep=this.context.config.inner.keep)
    chosen = events.Select(address=this.address, kept=[events.Kept(card.pair.user, card.score) for card in kept])
    return replace(this.state, kept=kept, raced_out=this.note_selection(chosen, raced_out=out))


def select(kept: tuple[Scorecard, ...], proposed: list[Scorecard | None], *, keep: int) -> tuple[Scorecard, ...]:
    """The best `keep` of the kept and the proposed, ties by position; repeats and invalid cards stay out."""
    cards = list(kept)
    for card in proposed:
        if card is not None and not card.invalid and all(card.pair != other.pair for other in cards):
            cards.append(card)
    return ranked(cards, keep=keep)


def _setup(context: RunContext, state: TaskState, *, system: str, iteration: int, position: int) -> SearchSetup:
    """Where a search looks for user prompts: one task under the system prompt."""
    return SearchSetup(
        context=context,
        level="user",
        address=inner_address(iteration, task=state.task.name),
        candidates=context.config.inner.candidates,
        tasks=(state.task,),
        views=(state.view(),),
        places=(NodeSpec(task=0, prompt=0, other=system),),
        first=tuple((card,) for card in state.kept),
        past=state.past,
        priority=lambda number: priorities.inner(iteration, task=position, candidate=0, part=number),
    )


async def _candidate(this: InnerRound, number: int, found: Sequence[str]) -> Scorecard | None:
    """Score a user prompt that a search found, or propose one and score it; None if there is none, or it is out."""
    context, address = this.context, candidate_address(this.address, number)
    if isinstance(context.inner, Search):
        return await _score(this, number, found[number - 1])
    rank = priorities.inner(this.iteration, task=this.position, candidate=number)
    proposal_context = InnerContext(
        address=address,
        candidate=number,
        show=context.config.inner.failures,
        rng=rng_at(context.config.seed, address),
        system_prompt=this.system,
        task=this.state.view(),
        ask=this.ask(number, priority=rank),
    )
    rows, proposing = len(this.state.task.train), context.inner.propose(proposal_context)
    prompt = await this.proposal(number, proposing, check=check_user_prompt, level="user", rows=rows)
    return None if prompt is None else await _score(this, number, prompt)


async def _score(this: InnerRound, number: int, prompt: str) -> Scorecard | None:
    """Score a candidate; None as soon as it cannot be kept any more."""
    task, address = this.state.task, join(candidate_address(this.address, number), "score")
    node = Evaluation(this.context, PromptPair(this.system, prompt), task, examples=task.train, address=address)
    cards = await this.score(
        number,
        prompt,
        [node],
        starts=this.state.kept[:1],
        ranks=[priorities.inner(this.iteration, task=this.position, candidate=number)],
        rejects=partial(this.bar.rejects, number),
        finished=lambda cards: this.bar.finished(number, cards[0]),
    )
    return cards[0] if cards else None
