"""Exact early rejection: a candidate is dropped as soon as even a perfect remainder could not get it selected.

A candidate that is dropped would not be selected with all its examples scored either, so selections are those of full
scoring, in whatever order answers come in. Which candidates are dropped, and how early, may depend on that order; that
a finished run started again makes no call holds all the same, because of the gate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio

from metaspo.engine.evaluation.evaluation import Evaluation, Part
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.gather import gatherer
from metaspo.engine.journal.events import Rejected
from metaspo.engine.runtime.priorities import node_by_node
from metaspo.engine.selection.objective import KeepBest, Objective, ScoredPrompt
from metaspo.scheduling import Priority

Stage = list[list[Part]]  # by node


@dataclass(frozen=True, slots=True, kw_only=True)
class AtGate:
    """A candidate at the gate that it did not pass.

    Attributes:
        score, parent: its score on the gate's rows, and that of what it started from.
        unread, answers: how many of its answers there could not be read, of how many.
    """

    score: float
    parent: float
    unread: int
    answers: int


class CacheFirstGate:
    """Lets no candidate of a round ask the base model before all have taken what the cache has for them.

    What rejected a candidate in an earlier, interrupted or finished, session is then known again before it could ask
    for the rest. A candidate that waits for the optimizer model has nothing in the cache to wait for.
    """

    def __init__(self, candidates: int) -> None:
        self._recalling = set(range(1, candidates + 1))
        self._all_done = anyio.Event()

    def done(self, number: int) -> None:
        """A candidate has taken what there is, asks the optimizer, or brings no proposal; idempotent."""
        self._recalling.discard(number)
        if not self._recalling:
            self._all_done.set()

    async def wait(self) -> None:
        """Until all are done."""
        await self._all_done.wait()


class Pruner:
    """How a round's candidates are dropped and move the bar for each other: here by exact bounds, or not at all.

    Args:
        best: holds the prompts there were before the round; gets those that come to be selected from.
        exact: whether exact bounds drop candidates.
    """

    raced = False

    def __init__(self, best: KeepBest, *, objective: Objective, exact: bool) -> None:
        self._best, self._objective, self._exact = best, objective, exact
        self._evaluations: dict[int, Sequence[Evaluation]] = {}
        self._prompts: dict[int, str] = {}

    @property
    def watched(self) -> bool:
        """Whether a candidate can be out before it is scored in full."""
        return self._exact

    def stages(self, _number: int, starts: Sequence[Scorecard], first: Sequence[Priority]) -> list[Stage]:
        """What is asked once all before it is answered, each node's rows in the order in which they are best asked:
        here all at once, the hard ones first.

        Args:
            starts: cards of the prompts that candidates start from, node by node.
            first: the priority of what is asked first, node by node.
        """
        return [
            [
                [(node_by_node(priority, part=part), rows) for part, rows in enumerate(hard_and_easy(card))]
                for priority, card in zip(first, starts, strict=True)
            ]
        ]

    def enter(self, number: int, prompt: str, evaluations: Sequence[Evaluation]) -> None:
        """A candidate is about to be scored."""
        self._prompts[number] = prompt
        self._evaluations[number] = evaluations

    def on_answers(self, number: int) -> None:
        """Examples of a candidate were answered."""

    def violation(self, number: int) -> str:
        """Why a candidate cannot be selected whatever its value; "" if nothing is known that says so."""
        return self._objective.violation_so_far(self._evaluations[number])

    def bound(self, number: int) -> float:
        """The highest value that is still within a candidate's reach."""
        return self._objective.bound(self._evaluations[number])

    def cannot_win(self, number: int) -> bool:
        """Whether a candidate is out by its bound, for certain."""
        return self._exact and self._is_beaten(number)

    def _is_beaten(self, number: int) -> bool:
        return self._best.rejects(self._objective.rank(number, self._prompts[number], self.bound(number)))

    def has_lost(self, _number: int) -> bool:
        """Whether a candidate is out by its answers so far, though it could still win: never, by exact bounds."""
        return False

    def rows_asked(self, _number: int) -> Sequence[Sequence[int]] | None:
        """By node, the rows that a candidate was asked, if a rule that no timing changes made them fewer than all."""
        return None

    def at_gate(self, _number: int) -> "AtGate | None":
        """What a candidate came to at the gate that it did not pass; None for any other."""
        return None

    def rejection(self, number: int) -> Rejected:
        """Why a candidate is out, what is certain first."""
        if fall := self._objective.fall_so_far(self._evaluations.get(number, ())):  # a raced round has no guards
            return Rejected(bound=self.bound(number), guard=fall.task, reach=fall.reach, floor=fall.floor)
        if violation := self.violation(number):
            return Rejected(invalid=violation)
        return Rejected(bound=self.bound(number))

    def ended(self, _number: int, scored: ScoredPrompt | None = None) -> None:
        """A candidate has come to its end: scored in full and without violation, or otherwise."""
        if scored is not None:
            self._best.add(scored)

    def raced_out(self) -> list[int]:
        """The candidates that statistics alone have dropped, once all have ended."""
        return []


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRun:
    """One candidate on its way through its nodes, each asked in its stages and their parts."""

    number: int
    evaluations: Sequence[Evaluation]
    stages: Sequence[Stage]
    pruner: Pruner
    gate: CacheFirstGate

    @property
    def missing(self) -> int:
        """How many examples have no answer."""
        return sum(evaluation.missing for evaluation in self.evaluations)

    @property
    def pruned(self) -> bool:
        """Whether it is out, for any reason."""
        pruner, number = self.pruner, self.number
        return pruner.has_lost(number) or pruner.cannot_win(number) or bool(pruner.violation(number))

    async def score(self) -> list[Scorecard] | None:
        """The cards; None once it is out. Scored in full it is out by a race alone: the selection decides the rest."""
        if self.pruner.watched:
            await self.answer_from_cache()
            if self.missing:
                self.gate.done(self.number)
                await self.gate.wait()
                await self.ask_until_pruned()
        else:
            await self._ask()
        if self.missing or self.pruner.has_lost(self.number):
            return None
        return [evaluation.card() for evaluation in self.evaluations]

    async def answer_from_cache(self) -> None:
        """Take what the cache has; calls nothing."""
        for evaluation in self.evaluations:
            await evaluation.recall()
        self.pruner.on_answers(self.number)

    async def ask_until_pruned(self) -> None:
        """Ask for what is missing, until nothing is or the candidate is out."""
        with anyio.CancelScope() as asking:

            def on_answers() -> None:
                self.pruner.on_answers(self.number)
                if self.pruned:
                    asking.cancel()

            await self._ask(on_answers)

    async def _ask(self, on_answers: Callable[[], None] | None = None) -> None:
        for stage in self.stages:
            if on_answers is not None and self.pruned:  # a cancelled scope would let its tasks take their first step
                return
            await gatherer(watched=on_answers is not None)(
                evaluation.ask(rows, on_answers=on_answers)
                for evaluation, rows in zip(self.evaluations, stage, strict=True)
            )


def hard_and_easy(card: Scorecard) -> tuple[list[int], list[int]]:
    """The examples that a pair got wrong, and those it got right, each in the split's order.

    A candidate that must beat the pair is best asked the hard ones first: it has to mend some of them, and one that
    mends none is out as soon as they are answered.
    """
    hard = [row for row, outcome in enumerate(card.outcomes) if outcome.grade != 1]
    easy = [row for row, outcome in enumerate(card.outcomes) if outcome.grade == 1]
    return hard, easy
