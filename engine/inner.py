"""The inner loop: better user prompts for one task under a fixed system prompt.

MetaSPO (arXiv 2505.09666, and its code): all candidates start from the task's best user prompt, each is scored on the
whole train split, and the best `keep` of old and new stay. Ours, beyond it: a proposal equal to a prompt that is
already there is not listed twice, a candidate under which the server refused an example cannot be kept, and one that
cannot be kept any more is not scored to the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from metaspo.engine import priorities
from metaspo.engine.address import join, rng_at
from metaspo.engine.arena import Ground, Place, look
from metaspo.engine.ask import asker
from metaspo.engine.concurrent import gather
from metaspo.engine.node import Node
from metaspo.engine.prompts import PromptError, PromptPair, check_user_prompt
from metaspo.engine.racing import Races, Standing, lay_track
from metaspo.engine.rejection import Contest, InnerBar, Recall, note_rejection, score_unless_out
from metaspo.engine.scope import Scope
from metaspo.engine.scoring import Scorecard
from metaspo.engine.state import TaskState, ranked
from metaspo.engine.strategies import InnerContext, NoProposal, Search


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round for one task; `position` is the task's place among the source tasks."""

    scope: Scope
    state: TaskState
    system: str
    iteration: int
    position: int
    bar: InnerBar
    recall: Recall
    races: Races

    @property
    def address(self) -> str:
        """Where the round's candidates and its selection are."""
        return join(f"iter={self.iteration}", "inner", f"task={self.state.task.name}")


async def inner_loop(scope: Scope, state: TaskState, *, system: str, iteration: int, position: int) -> TaskState:
    """One round for one task; the state with the prompts that are kept."""
    keep = scope.config.inner.keep
    candidates = scope.config.inner.candidates
    found: list[str] = []
    if isinstance(scope.inner, Search) and candidates:
        found = await look(scope.inner, _ground(scope, state, system=system, iteration=iteration, position=position))
        state = replace(state, past=tuple(dict.fromkeys((*state.past, *found))))
        scope.watcher.settled(base_calls=(candidates - len(found)) * len(state.task.train))
        candidates = len(found)
    address = join(f"iter={iteration}", "inner", f"task={state.task.name}")
    track = lay_track(scope, address, [state.task], winners=min(keep, candidates))
    old = [Standing.of(card.pair.user, [card]) for card in state.kept]
    races = Races(track, old, keep=keep, exact=scope.config.early_rejection)
    this = Round(
        scope=scope,
        state=state,
        system=system,
        iteration=iteration,
        position=position,
        bar=InnerBar(state.kept, keep=keep),
        recall=Recall(candidates),
        races=races,
    )
    proposed = await gather(_candidate(this, number, found) for number in range(1, candidates + 1))
    out = races.raced_out()
    here = [None if races.lost(number) else card for number, card in enumerate(proposed, start=1)]
    kept = select(state.kept, here, keep=keep)
    chosen = {"kept": [{"user": card.pair.user, "score": card.score} for card in kept]}
    scope.journal.write("select", address, {**chosen, "raced_out": out} if track else chosen)
    return replace(state, kept=kept, raced_out=tuple(join(address, f"cand={number}") for number in out))


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
        address=join(f"iter={iteration}", "inner", f"task={state.task.name}"),
        candidates=scope.config.inner.candidates,
        tasks=(state.task,),
        views=(state.view(),),
        places=(Place(task=0, prompt=0, other=system),),
        first=tuple((card,) for card in state.kept),
        past=state.past,
        priority=lambda number: priorities.inner(iteration, task=position, candidate=0, part=number),
    )


async def _candidate(this: Round, number: int, found: Sequence[str]) -> Scorecard | None:
    """Score a user prompt that a search found, or propose one and score it; None if there is none, or it is out."""
    scope, address = this.scope, join(this.address, f"cand={number}")
    if isinstance(scope.inner, Search):
        return await _score(this, number, PromptPair(this.system, found[number - 1]), address=address)
    context = InnerContext(
        address=address,
        candidate=number,
        show=scope.config.inner.failures,
        rng=rng_at(scope.config.seed, address),
        system_prompt=this.system,
        task=this.state.view(),
        ask=asker(
            scope,
            address,
            priority=priorities.inner(this.iteration, task=this.position, candidate=number),
            live=lambda: this.recall.done(number),
        ),
    )
    try:
        prompt = check_user_prompt(await scope.inner.propose(context))
    except (NoProposal, PromptError) as reason:
        scope.journal.write("proposal", address, {"none": str(reason)})
        scope.watcher.settled(base_calls=len(this.state.task.train))
        this.races.ended(number)
        this.recall.done(number)
        return None
    scope.journal.write("proposal", address, {"user": prompt})
    return await _score(this, number, PromptPair(this.system, prompt), address=address)


async def _score(this: Round, number: int, pair: PromptPair, *, address: str) -> Scorecard | None:
    """Score a candidate; None as soon as it cannot be kept any more."""
    scope, task = this.scope, this.state.task
    node = Node(scope, pair, task, examples=task.train, address=join(address, "score"))

    def finished(cards: Sequence[Scorecard]) -> None:
        if not cards[0].invalid:
            this.bar.finished(number, cards[0])
            this.races.ended(number, Standing.of(pair.user, cards, place=number))

    contest = Contest(
        number=number,
        recall=this.recall,
        prospect=this.races.enter(number, [node], rejects=partial(this.bar.rejects, number)),
        finished=finished,
    )
    rank = priorities.inner(this.iteration, task=this.position, candidate=number)
    parts = this.races.parts(number, [this.state.kept[0]], [rank])
    cards = await score_unless_out([node], parts, contest)
    if cards is None:
        this.races.ended(number)
        note_rejection(scope, address, [node], contest)
        return None
    return cards[0]
