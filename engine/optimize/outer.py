"""The outer loop: a better system prompt for all tasks at once.

MetaSPO (arXiv 2505.09666, and its code): every candidate starts from the incumbent and is scored with every kept user
prompt of every source task; the meta score is the mean over these nodes; the best candidate replaces the
incumbent if it is strictly better. Ours, beyond it: a candidate is scored as soon as it is written, not when all are,
and one that cannot be selected any more is not scored to the end.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from metaspo.engine.addresses import candidate_address, join, outer_address, rng_at
from metaspo.engine.evaluation.evaluation import Evaluation
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.journal import events
from metaspo.engine.optimize.round import Round
from metaspo.engine.optimize.search_round import NodeSpec, SearchSetup, run_search
from metaspo.engine.optimize.state import RunState
from metaspo.engine.prompts import PromptPair, check_system_prompt
from metaspo.engine.runtime import priorities
from metaspo.engine.runtime.barrier import gather_timed
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.selection.objective import meta_score, ranked
from metaspo.engine.selection.optimism import estimate_of, optimism_bound
from metaspo.engine.selection.pruning import CacheFirstGate, OuterBar
from metaspo.engine.selection.race import ScoredPrompt
from metaspo.engine.selection.races import Races, design_race
from metaspo.engine.strategies import OuterContext, Search


@dataclass(frozen=True, slots=True, kw_only=True)
class OuterRound(Round):
    """One round over system candidates."""

    state: RunState
    bar: OuterBar


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A fully scored system prompt: its cards in the order of the round's nodes."""

    number: int
    system: str
    cards: tuple[Scorecard, ...]

    @property
    def invalid(self) -> str:
        """The first refusal by the server, which rules it out; "" if there is none."""
        return next((card.invalid for card in self.cards if card.invalid), "")

    @property
    def meta_score(self) -> float:
        """The mean over all nodes of a valid candidate."""
        return meta_score(self.cards)


async def outer_loop(context: RunContext, state: RunState, *, iteration: int) -> RunState:
    """One round over system candidates; the state with the new incumbent, or the same one."""
    candidates = context.config.outer.candidates
    found: list[str] = []
    if isinstance(context.outer, Search) and candidates:
        found = await run_search(context.outer, _setup(context, state, iteration=iteration))
        state = replace(state, past=tuple(dict.fromkeys((*state.past, *found))))
        context.observer.settled(base_calls=(candidates - len(found)) * _train_rows(state))
        candidates = len(found)
    this = _open_round(context, state, iteration=iteration, candidates=candidates)
    competing = [_candidate(this, number, found) for number in range(1, candidates + 1)]
    return _close_round(this, await gather_timed(context, this.address, competing))


def _open_round(context: RunContext, state: RunState, *, iteration: int, candidates: int) -> OuterRound:
    """The round before anything of it is asked."""
    address = outer_address(iteration)
    track = design_race(context, address, [task.task for _, _, task, _ in state.nodes], winners=min(1, candidates))
    return OuterRound(
        context=context,
        state=state,
        iteration=iteration,
        address=address,
        bar=OuterBar(state.meta_score),
        recall=CacheFirstGate(candidates),
        races=Races(track, [ScoredPrompt.of(state.system, state.cards)], keep=1, exact=context.config.early_rejection),
    )


def _close_round(this: OuterRound, scored: Sequence[Candidate | None]) -> RunState:
    """Select, and journal it: the state after the round."""
    state, races = this.state, this.races
    out = races.raced_out()
    here = [candidate for candidate in scored if candidate and not races.lost(candidate.number)]
    winner = select(here, incumbent=state.meta_score)
    new = adopt(state, winner, candidates=len(scored)) if winner else state
    if winner:
        cards = [candidate.cards if candidate and candidate in here else None for candidate in scored]
        if luck := estimate_of(cards, state.cards, seed=this.context.config.seed):
            this.context.journal.write(events.Optimism(address=this.address, **asdict(luck), says=luck.sentence))
    number = winner.number if winner else 0
    chosen = events.Select(address=this.address, system=new.system, chosen=number, score=new.meta_score)
    return replace(new, raced_out=(*new.raced_out, *this.note_selection(chosen, raced_out=out)))


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
    luck = optimism_bound(winner.cards, state.cards, candidates=candidates, score=winner.meta_score)
    return replace(state, system=winner.system, tasks=tuple(tasks), optimism=luck)


def _setup(context: RunContext, state: RunState, *, iteration: int) -> SearchSetup:
    """Where a search looks for system prompts: every task with its kept user prompts."""
    return SearchSetup(
        context=context,
        level="system",
        address=outer_address(iteration),
        candidates=context.config.outer.candidates,
        tasks=tuple(task.task for task in state.tasks),
        views=tuple(task.view() for task in state.tasks),
        places=tuple(
            NodeSpec(task=position, prompt=prompt, other=card.pair.user) for position, prompt, _, card in state.nodes
        ),
        first=(tuple(state.cards),),
        past=state.past,
        priority=lambda number: priorities.outer(iteration, candidate=0, part=number),
    )


async def _candidate(this: OuterRound, number: int, found: Sequence[str]) -> Candidate | None:
    """Score a system prompt that a search found, or propose one and score it; None if there is none, or it is out."""
    context, address = this.context, candidate_address(this.address, number)
    if isinstance(context.outer, Search):
        return await _score(this, number, found[number - 1])
    proposal_context = OuterContext(
        address=address,
        candidate=number,
        show=context.config.outer.failures,
        rng=rng_at(context.config.seed, address),
        system_prompt=this.state.system,
        tasks=tuple(task.view() for task in this.state.tasks),
        ask=this.ask(number, priority=priorities.outer(this.iteration, candidate=number)),
    )
    rows, proposing = _train_rows(this.state), context.outer.propose(proposal_context)
    system = await this.proposal(number, proposing, check=check_system_prompt, level="system", rows=rows)
    return None if system is None else await _score(this, number, system)


async def _score(this: OuterRound, number: int, system: str) -> Candidate | None:
    """Score a candidate on all nodes; None as soon as it cannot be selected any more."""
    context, address = this.context, candidate_address(this.address, number)
    nodes, ranks = [], []
    for position, prompt, task, card in this.state.nodes:
        place = join(address, "score", f"task={task.task.name}", f"prompt={prompt}")
        pair = PromptPair(system, card.pair.user)
        nodes.append(Evaluation(context, pair, task.task, examples=task.task.train, address=place))
        ranks.append(priorities.outer(this.iteration, candidate=number, task=position, prompt=prompt))
    cards = await this.score(
        number,
        system,
        nodes,
        starts=this.state.cards,
        ranks=ranks,
        rejects=partial(this.bar.rejects, number),
        finished=lambda cards: this.bar.finished(number, meta_score(cards)),
    )
    if cards is None:
        return None
    candidate = Candidate(number=number, system=system, cards=tuple(cards))
    worth = None if candidate.invalid else candidate.meta_score
    context.journal.write(events.Candidate(address=address, score=worth, invalid=candidate.invalid or None))
    return candidate


def _train_rows(state: RunState) -> int:
    """How many examples a system prompt is scored on."""
    return sum(len(task.task.train) for _, _, task, _ in state.nodes)
