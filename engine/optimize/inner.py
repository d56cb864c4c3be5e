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
from metaspo.engine.evaluation.evaluation import Node
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.gather import gather
from metaspo.engine.optimize.round import Round
from metaspo.engine.optimize.search_round import Ground, Place, look
from metaspo.engine.optimize.state import TaskState
from metaspo.engine.prompts import PromptPair, check_user_prompt
from metaspo.engine.runtime import priorities
from metaspo.engine.runtime.context import Scope
from metaspo.engine.selection.objective import ranked
from metaspo.engine.selection.pruning import InnerBar, Recall
from metaspo.engine.selection.race import Standing
from metaspo.engine.selection.races import Races, lay_track
from metaspo.engine.strategies import InnerContext, Search


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerRound(Round):
    """One round for one task; `position` is the task's place among the source tasks."""

    state: TaskState
    system: str
    position: int
    bar: InnerBar


async def inner_loop(scope: Scope, state: TaskState, *, system: str, iteration: int, position: int) -> TaskState:
    """One round for one task; the state with the prompts that are kept."""
    candidates = scope.config.inner.candidates
    found: list[str] = []
    if isinstance(scope.inner, Search) and candidates:
        found = await look(scope.inner, _ground(scope, state, system=system, iteration=iteration, position=position))
        state = replace(state, past=tuple(dict.fromkeys((*state.past, *found))))
        scope.watcher.settled(base_calls=(candidates - len(found)) * len(state.task.train))
        candidates = len(found)
    this = _open_round(scope, state, system=system, iteration=iteration, position=position, candidates=candidates)
    return _close_round(this, await gather(_candidate(this, number, found) for number in range(1, candidates + 1)))


def _open_round(
    scope: Scope, state: TaskState, *, system: str, iteration: int, position: int, candidates: int
) -> InnerRound:
    """The round before anything of it is asked."""
    keep, address = scope.config.inner.keep, inner_address(iteration, task=state.task.name)
    track = lay_track(scope, address, [state.task], winners=min(keep, candidates))
    old = [Standing.of(card.pair.user, [card]) for card in state.kept]
    return InnerRound(
        scope=scope,
        state=state,
        system=system,
        iteration=iteration,
        position=position,
        address=address,
        bar=InnerBar(state.kept, keep=keep),
        recall=Recall(candidates),
        races=Races(track, old, keep=keep, exact=scope.config.early_rejection),
    )


def _close_round(this: InnerRound, proposed: Sequence[Scorecard | None]) -> TaskState:
    """Select, and journal it: the task's state after the round."""
    out = this.races.raced_out()
    here = [None if this.races.lost(number) else card for number, card in enumerate(proposed, start=1)]
    kept = select(this.state.kept, here, keep=this.scope.config.inner.keep)
    chosen = {"kept": [{"user": card.pair.user, "score": card.score} for card in kept]}
    return replace(this.state, kept=kept, raced_out=this.note_selection(chosen, raced_out=out))


def select(kept: tuple[Scorecard, ...], proposed: list[Scorecard | None], *, keep: int) -> tuple[Scorecard, ...]:
    """The best `keep` of the kept and the proposed, ties by position; repeats and invalid cards stay out."""
    cards = list(kept)
    for card in proposed:
        if card is not None and not card.invalid and all(card.pair != other.pair for other in cards):
            cards.append(card)
    return ranked(cards, keep=keep)


def _ground(scope: Scope, state: TaskState, *, system: str, iteration: int, position: int) -> Ground:
    """Where a search looks for user prompts: one task under the system prompt."""
    return Ground(
        scope=scope,
        level="user",
        address=inner_address(iteration, task=state.task.name),
        candidates=scope.config.inner.candidates,
        tasks=(state.task,),
        views=(state.view(),),
        places=(Place(task=0, prompt=0, other=system),),
        first=tuple((card,) for card in state.kept),
        past=state.past,
        priority=lambda number: priorities.inner(iteration, task=position, candidate=0, part=number),
    )


async def _candidate(this: InnerRound, number: int, found: Sequence[str]) -> Scorecard | None:
    """Score a user prompt that a search found, or propose one and score it; None if there is none, or it is out."""
    scope, address = this.scope, candidate_address(this.address, number)
    if isinstance(scope.inner, Search):
        return await _score(this, number, found[number - 1])
    rank = priorities.inner(this.iteration, task=this.position, candidate=number)
    context = InnerContext(
        address=address,
        candidate=number,
        show=scope.config.inner.failures,
        rng=rng_at(scope.config.seed, address),
        system_prompt=this.system,
        task=this.state.view(),
        ask=this.ask(number, priority=rank),
    )
    rows, proposing = len(this.state.task.train), scope.inner.propose(context)
    prompt = await this.proposal(number, proposing, check=check_user_prompt, level="user", rows=rows)
    return None if prompt is None else await _score(this, number, prompt)


async def _score(this: InnerRound, number: int, prompt: str) -> Scorecard | None:
    """Score a candidate; None as soon as it cannot be kept any more."""
    task, address = this.state.task, join(candidate_address(this.address, number), "score")
    node = Node(this.scope, PromptPair(this.system, prompt), task, examples=task.train, address=address)
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
