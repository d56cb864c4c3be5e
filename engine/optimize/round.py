"""One round of either loop: prompts are proposed, scored until they cannot be selected, and the best are kept.

A candidate is scored as soon as it is proposed, while others are still being written.
"""

from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from metaspo.engine.addresses import candidate_address, join
from metaspo.engine.errors import PromptError
from metaspo.engine.evaluation.evaluation import Evaluation
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.gather import gather
from metaspo.engine.journal import events
from metaspo.engine.optimize.round_setup import NodeSpec, RoundSetup
from metaspo.engine.optimize.search_round import RoundSearchContext
from metaspo.engine.optimize.train_calls import TrainCells
from metaspo.engine.runtime.optimizer import Refused, Unanswered
from metaspo.engine.selection.objective import KeepBest, ScoredPrompt, mean, start_of
from metaspo.engine.selection.pruning import CacheFirstGate, CandidateRun, Pruner
from metaspo.engine.selection.races import make_pruner
from metaspo.engine.strategies import Malformed, NoProposal, Proposal, Proposer, Tried

Gather = Callable[[Iterable[Coroutine[Any, Any, None]]], Coroutine[Any, Any, list[None]]]


class Round:
    """The candidates of a round, and what is kept of old and new once all have ended.

    Attributes:
        best: holds what is kept.
        prompts: what was proposed and could be used, by the candidate's number.
        scored: of these, what was scored in full and may be selected.
    """

    def __init__(self, setup: RoundSetup, calls: RoundSearchContext, *, candidates: int) -> None:
        self.setup = setup
        self.old = setup.old
        self.best = KeepBest(setup.keep, self.old)
        self.prompts: dict[int, str] = {}
        self.scored: dict[int, ScoredPrompt] = {}
        self.candidates = candidates
        self._admitted = TrainCells()
        self._calls = calls
        self._nodes = setup.all_nodes
        self._starts = setup.starts
        self._gate = CacheFirstGate(candidates)
        self._pruner = self._make_pruner()

    def _make_pruner(self) -> Pruner:
        setup = self.setup
        if not setup.pruned:
            return Pruner(self.best, objective=setup.objective, exact=False)
        tasks, winners = [node.task for node in self._nodes], min(setup.keep, self.candidates)
        return make_pruner(
            setup.context,
            setup.address,
            tasks,
            self.best,
            objective=setup.objective,
            winners=winners,
            starts=setup.starts,
            gate=setup.gate,
            doubles=setup.doubles,
        )

    @property
    def tried(self) -> tuple[Tried, ...]:
        """What was proposed so far, this round included, and what came of it, once all have ended."""
        told = {tried.prompt: tried for tried in self.setup.tried}
        for number in sorted(self.prompts):
            outcome = self._outcome(number)
            if outcome.score is not None or outcome.prompt not in told:
                told[outcome.prompt] = outcome
        return tuple(told.values())

    def _outcome(self, number: int) -> Tried:
        prompt, kept = self.prompts[number], self.best.kept()
        tried = Tried(prompt, system=self.setup.system if self.setup.level == "user" else "")
        score = next((scored.value for scored in kept if scored.prompt == prompt), None)
        if score is None and (gate := self._pruner.at_gate(number)):
            return replace(tried, gate=gate.score, parent=gate.parent, unread=gate.unread, answers=gate.answers)
        objective = self.setup.objective
        full = len(kept) == self.setup.keep and score is None and not objective.floors
        upper_bound = mean([kept[-1].net_value + objective.penalty * len(prompt)]) if full else None
        return replace(tried, score=score, at_most=upper_bound)

    @property
    def complete(self) -> list[ScoredPrompt | None]:
        """The candidates by number; None for one that was dropped, or never was."""
        numbers = range(1, self.candidates + 1)
        return [None if self._pruner.has_lost(number) else self.scored.get(number) for number in numbers]

    async def candidate(self, number: int, proposal: Proposal) -> None:
        """From the proposal to the end, whichever it is."""
        prompt = await self._propose(number, proposal)
        scored = None if prompt is None else await self._score(number, prompt)
        if scored is not None:
            self.scored[number] = scored
        self._pruner.ended(number, scored)
        self._gate.done(number)

    def note_selection(self, chosen: events.Select) -> tuple[str, ...]:
        """Journal what was selected; the addresses of the candidates that statistics alone have dropped."""
        raced_out = self._pruner.raced_out()
        event = replace(chosen, raced_out=raced_out) if self._pruner.raced else chosen
        self.setup.context.note_spending()
        self.setup.context.journal.write(event)
        return tuple(self._address(number) for number in raced_out)

    async def _propose(self, number: int, proposal: Proposal) -> str | None:
        """The prompt, journaled; None if there is none that can be used."""
        setup, address = self.setup, self._address(number)
        ask = self._calls.asker(address, priority=setup.priority(number), live=partial(self._gate.done, number))
        try:
            prompt = setup.usable(await proposal(ask))
        except (NoProposal, Malformed, PromptError) as reason:
            setup.context.journal.write(_no_proposal(address, reason))
            setup.spare(setup.rows)
            return None
        setup.context.journal.write(events.Proposal.of(prompt, level=setup.level, address=address))
        cells = self._cells(prompt)
        self._admitted |= setup.calls.new(cells)
        if setup.calls.admit(cells) is None:
            raise AssertionError(f"{address}: a candidate beyond what the round may ask")
        self.prompts[number] = prompt
        return prompt

    async def _score(self, number: int, prompt: str) -> ScoredPrompt | None:
        """Score a candidate on all nodes; None, with the reason in the journal, as soon as it is out."""
        setup, address = self.setup, self._address(number)
        context, objective = setup.context, setup.objective
        run = self._enter(number, prompt)
        cards = await run.score()
        if cards is None:
            context.journal.write(replace(self._pruner.rejection(number), address=address, unasked=run.missing))
            context.observer.calls_done(base_calls=run.missing)
            return None
        scored = None if objective.violation(cards) else objective.scored(number, prompt, cards)
        if setup.level == "system":
            context.journal.write(self._candidate(address, cards, scored))
        return scored

    def _candidate(self, address: str, cards: Sequence[Scorecard], scored: ScoredPrompt | None) -> events.Candidate:
        """A system prompt that was scored in full, for the journal."""
        objective = self.setup.objective
        if scored is not None:
            return events.Candidate(address=address, score=scored.value)
        if any(card.invalid for card in cards) or not (fall := objective.fall(cards)):
            return events.Candidate(address=address, invalid=objective.violation(cards))
        bound = objective.value(cards)
        return events.Candidate(address=address, guard=fall.task, reach=fall.reach, floor=fall.floor, bound=bound)

    def give_back(self) -> None:
        """Once all have ended, count for candidates that did not pass a gate what they were asked, and no more."""
        asked = TrainCells()
        for number, prompt in self.prompts.items():
            asked |= self._cells(prompt, self._pruner.rows_asked(number))
        unasked = self._admitted - asked
        self.setup.calls.give_back(unasked)
        if self.setup.calls.left is not None:  # others are asked in their place
            self.setup.context.observer.calls_done(base_calls=-len(unasked))

    def _cells(self, prompt: str, rows: Sequence[Sequence[int]] | None = None) -> TrainCells:
        """What answers to a prompt are to, on these rows of each node; on all of them if none are given."""
        whole = [range(len(node.task.train)) for node in self._nodes]
        cells = TrainCells()
        for node, rows_of_node in zip(self._nodes, rows or whole, strict=True):
            cells.add(node.pair(prompt), node.task.name, rows_of_node)
        return cells

    def _enter(self, number: int, prompt: str) -> CandidateRun:
        evaluations = [
            Evaluation(
                self.setup.context,
                node.pair(prompt),
                node.task,
                examples=node.task.train,
                address=self._score_address(number, node),
            )
            for node in self._nodes
        ]
        self._pruner.enter(number, prompt, evaluations)
        first = [self.setup.priority(number, node=node) for node in self._nodes]
        return CandidateRun(
            number=number,
            evaluations=evaluations,
            stages=self._pruner.stages(number, start_of(self._starts, number).cards, first),
            pruner=self._pruner,
            gate=self._gate,
        )

    def _address(self, number: int) -> str:
        return candidate_address(self.setup.address, number)

    def _score_address(self, number: int, node: NodeSpec) -> str:
        """At level "user" there is one node, which needs no name."""
        if node.task.role == "guard":
            return join(self._address(number), "guard", f"task={node.task.name}")
        below = [f"task={node.task.name}", f"prompt={node.prompt}"] if self.setup.level == "system" else []
        return join(self._address(number), "score", *below)


def _no_proposal(address: str, reason: NoProposal | Malformed | PromptError) -> events.Proposal:
    unusable = isinstance(reason, (Unanswered, Malformed, PromptError))  # else there was nothing to learn from
    refused = isinstance(reason, Refused) or None
    return events.Proposal(address=address, none=str(reason), unusable=unusable, refused=refused)


def affordable(setup: RoundSetup, proposer: Proposer) -> int:
    """How many candidates a round can score in full within its calls; a search is left half of them for its way."""
    if setup.calls.left is None:
        return setup.candidates
    fit = max(0, setup.calls.left - setup.after) // max(1, setup.rows)
    return min(setup.candidates, (fit + 1) // 2 if proposer.work(setup.size).base else fit)


async def hold_round(setup: RoundSetup, proposer: Proposer, *, gather: Gather = gather) -> Round:
    """Let all candidates compete, side by side in `gather`."""
    setup = replace(setup, candidates=affordable(setup, proposer))
    setup.calls.offered += setup.candidates
    calls, context = RoundSearchContext(setup), setup.context
    try:
        proposals = await proposer.proposals(calls)
    except (NoProposal, Malformed) as reason:
        context.journal.write(_no_proposal(setup.address, calls.lost or reason))
        proposals = []
    current = Round(setup, calls, candidates=len(proposals))
    await gather(current.candidate(number, proposal) for number, proposal in enumerate(proposals, start=1))
    current.give_back()
    setup.spare((setup.candidates - len(proposals)) * setup.rows)
    calls.release(proposer.work(setup.size))
    return current
