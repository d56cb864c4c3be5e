"""The outer loop: a better system prompt for all tasks at once.

MetaSPO (arXiv 2505.09666, and its code): every candidate starts from the incumbent and is scored with every kept user
prompt of every source task; the meta score is the mean over these nodes; the best candidate replaces the
incumbent if it is strictly better. Ours, beyond it: a candidate is scored as soon as it is written, not when all are,
and one that cannot be selected any more is not scored to the end.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from metaspo.engine import priorities
from metaspo.engine.address import join, rng_at
from metaspo.engine.arena import Ground, Place, look
from metaspo.engine.ask import asker
from metaspo.engine.luck import bound_of, estimate_of
from metaspo.engine.node import Node
from metaspo.engine.prompts import PromptError, PromptPair, check_system_prompt
from metaspo.engine.racing import Races, Standing, lay_track
from metaspo.engine.rejection import Contest, OuterBar, Recall, note_rejection, score_unless_out
from metaspo.engine.scope import Scope
from metaspo.engine.scoring import Scorecard
from metaspo.engine.state import RunState, TaskState, meta_score, ranked
from metaspo.engine.strategies import NoProposal, OuterContext, Search
from metaspo.engine.waits import gather_at_barrier


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round over system candidates."""

    scope: Scope
    state: RunState
    iteration: int
    bar: OuterBar
    recall: Recall
    races: Races

    @property
    def address(self) -> str:
        """Where the round's candidates and its selection are."""
        return join(f"iter={self.iteration}", "outer")

    @property
    def nodes(self) -> list[tuple[int, int, TaskState, Scorecard]]:
        """(task position, prompt position, task, incumbent's card) of all that a candidate is scored on."""
        return [
            (position, prompt, task, card)
            for position, task in enumerate(self.state.tasks)
            for prompt, card in enumerate(task.kept)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A fully scored system prompt: its cards in the order of the round's nodes.

    Attributes:
        invalid: why it cannot be selected, "" if it can.
    """

    number: int
    system: str
    cards: tuple[Scorecard, ...]

    @property
    def invalid(self) -> str:
        """The first refusal by the server; "" if there is none."""
        return next((card.invalid for card in self.cards if card.invalid), "")

    @property
    def meta_score(self) -> float:
        """The mean over all nodes of a valid candidate."""
        return meta_score(self.cards)


async def outer_loop(scope: Scope, state: RunState, *, iteration: int) -> RunState:
    """One round over system candidates; the state with the new incumbent, or the same one."""
    candidates = scope.config.outer.candidates
    found: list[str] = []
    if isinstance(scope.outer, Search) and candidates:
        found = await look(scope.outer, _ground(scope, state, iteration=iteration))
        state = replace(state, past=tuple(dict.fromkeys((*state.past, *found))))
        train = sum(len(task.task.train) * len(task.kept) for task in state.tasks)
        scope.watcher.settled(base_calls=(candidates - len(found)) * train)
        candidates = len(found)
    address = join(f"iter={iteration}", "outer")
    bar, recall = OuterBar(state.meta_score), Recall(candidates)
    track = lay_track(
        scope, address, [task.task for task in state.tasks for _ in task.kept], winners=min(1, candidates)
    )
    incumbent = [card for task in state.tasks for card in task.kept]
    old = [Standing.of(state.system, incumbent)]
    races = Races(track, old, keep=1, exact=scope.config.early_rejection)
    this = Round(scope=scope, state=state, iteration=iteration, bar=bar, recall=recall, races=races)
    competing = [_candidate(this, number, found) for number in range(1, candidates + 1)]
    scored = await gather_at_barrier(scope, address, competing)
    out = races.raced_out()
    here = [candidate for candidate in scored if candidate and not races.lost(candidate.number)]
    winner = select(here, incumbent=state.meta_score)
    new = adopt(state, winner, candidates=candidates) if winner else state
    if winner:
        cards = [candidate.cards if candidate and candidate in here else None for candidate in scored]
        if luck := estimate_of(cards, incumbent, seed=scope.config.seed):
            scope.journal.write("optimism", address, {**asdict(luck), "says": luck.sentence})
    chosen = {"system": new.system, "chosen": winner.number if winner else 0, "score": new.meta_score}
    scope.journal.write("select", address, {**chosen, "raced_out": out} if track else chosen)
    return replace(new, raced_out=(*new.raced_out, *(join(address, f"cand={number}") for number in out)))


def select(candidates: list[Candidate], *, incumbent: float) -> Candidate | None:
    """The best candidate strictly above the incumbent's meta score, ties to the earlier one; None if there is none."""
    best, best_score = None, incumbent
    for candidate in candidates:
        if not candidate.invalid and candidate.meta_score > best_score:
            best, best_score = candidate, candidate.meta_score
    return best


def adopt(state: RunState, winner: Candidate, *, candidates: int) -> RunState:
    """Make the best of so many candidates the incumbent: its cards replace the old ones, each task's ranked anew."""
    cards = iter(winner.cards)
    tasks = []
    for task in state.tasks:
        own = [next(cards) for _ in task.kept]
        tasks.append(replace(task, kept=ranked(own, keep=len(own))))
    old = [card for task in state.tasks for card in task.kept]
    luck = bound_of(winner.cards, old, candidates=candidates, score=winner.meta_score)
    return replace(state, system=winner.system, tasks=tuple(tasks), optimism=luck)


def _ground(scope: Scope, state: RunState, *, iteration: int) -> Ground:
    """Where a search looks for system prompts: every task with its kept user prompts."""
    cards = [
        (position, prompt, card) for position, task in enumerate(state.tasks) for prompt, card in enumerate(task.kept)
    ]
    return Ground(
        scope=scope,
        level="system",
        address=join(f"iter={iteration}", "outer"),
        candidates=scope.config.outer.candidates,
        tasks=tuple(task.task for task in state.tasks),
        views=tuple(task.view() for task in state.tasks),
        places=tuple(Place(task=position, prompt=prompt, other=card.pair.user) for position, prompt, card in cards),
        first=(tuple(card for _, _, card in cards),),
        past=state.past,
        priority=lambda number: priorities.outer(iteration, candidate=0, part=number),
    )


async def _candidate(this: Round, number: int, found: Sequence[str]) -> Candidate | None:
    """Score a system prompt that a search found, or propose one and score it; None if there is none, or it is out."""
    scope, address = this.scope, join(this.address, f"cand={number}")
    if isinstance(scope.outer, Search):
        return await _score(this, number, found[number - 1], address=address)
    context = OuterContext(
        address=address,
        candidate=number,
        show=scope.config.outer.failures,
        rng=rng_at(scope.config.seed, address),
        system_prompt=this.state.system,
        tasks=tuple(task.view() for task in this.state.tasks),
        ask=asker(
            scope,
            address,
            priority=priorities.outer(this.iteration, candidate=number),
            live=lambda: this.recall.done(number),
        ),
    )
    try:
        system = check_system_prompt(await scope.outer.propose(context))
    except (NoProposal, PromptError) as reason:
        scope.journal.write("proposal", address, {"none": str(reason)})
        scope.watcher.settled(base_calls=sum(len(task.task.train) for _, _, task, _ in this.nodes))
        this.races.ended(number)
        this.recall.done(number)
        return None
    scope.journal.write("proposal", address, {"system": system})
    return await _score(this, number, system, address=address)


async def _score(this: Round, number: int, system: str, *, address: str) -> Candidate | None:
    """Score a candidate on all nodes; None as soon as it cannot be selected any more."""
    scope = this.scope
    nodes, ranks = [], []
    for position, prompt, task, card in this.nodes:
        place = join(address, "score", f"task={task.task.name}", f"prompt={prompt}")
        pair = PromptPair(system, card.pair.user)
        nodes.append(Node(scope, pair, task.task, examples=task.task.train, address=place))
        ranks.append(priorities.outer(this.iteration, candidate=number, task=position, prompt=prompt))

    def finished(cards: Sequence[Scorecard]) -> None:
        candidate = Candidate(number=number, system=system, cards=tuple(cards))
        if not candidate.invalid:
            this.bar.finished(number, candidate.meta_score)
            this.races.ended(number, Standing.of(system, cards, place=number))

    contest = Contest(
        number=number,
        recall=this.recall,
        prospect=this.races.enter(number, nodes, rejects=partial(this.bar.rejects, number)),
        finished=finished,
    )
    parts = this.races.parts(number, [card for _, _, _, card in this.nodes], ranks)
    cards = await score_unless_out(nodes, parts, contest)
    if cards is None:
        this.races.ended(number)
        note_rejection(scope, address, nodes, contest)
        return None
    candidate = Candidate(number=number, system=system, cards=tuple(cards))
    worth = {"invalid": candidate.invalid} if candidate.invalid else {"score": candidate.meta_score}
    scope.journal.write("candidate", address, worth)
    return candidate
