"""Exact early rejection: a candidate is dropped as soon as even a perfect remainder could not get it selected.

A candidate that is dropped would not be selected with all its examples scored either, so selections are those of full
scoring, in whatever order answers come in. Which candidates are dropped, and how early, may depend on that order; that
a finished run started again makes no call holds all the same, because of the gate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import anyio

from metaspo.engine.evaluation.evaluation import Evaluation, Part
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.gather import gather
from metaspo.engine.journal.events import Rejected
from metaspo.engine.runtime.priorities import node_by_node
from metaspo.engine.selection.objective import KeepBest, Objective, ScoredPrompt
from metaspo.scheduling import Priority


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


class Pruner(Protocol):
    """What is known of a candidate while it is scored."""

    @property
    def watched(self) -> bool:
        """Whether it can be out before it is scored in full."""
        ...

    @property
    def violation(self) -> str:
        """Why it cannot be selected whatever its value; "" if nothing is known that says so."""
        ...

    @property
    def cannot_win(self) -> bool:
        """Whether it is out by its bound, for certain."""
        ...

    @property
    def raced_out(self) -> bool:
        """Whether it is out by a race."""
        ...

    @property
    def rejection(self) -> Rejected:
        """Why it is out, what is certain first; without an address."""
        ...

    def on_answers(self) -> None:
        """Examples were answered."""
        ...


class Contest(Protocol):
    """How the candidates of a round are dropped, and how they move the bar for each other."""

    @property
    def raced(self) -> bool:
        """Whether by races, too."""
        ...

    def parts(self, number: int, starts: Sequence[Scorecard], first: Sequence[Priority]) -> list[list[Part]]:
        """In which order each node's rows are best asked.

        Args:
            starts: cards of the prompts that candidates start from, node by node.
            first: the priority of what is asked first, node by node.
        """
        ...

    def enter(self, number: int, evaluations: Sequence[Evaluation]) -> Pruner:
        """Candidate `number` is about to be scored."""
        ...

    def ended(self, number: int, scored: ScoredPrompt | None = None) -> None:
        """A candidate has come to its end: scored in full and without violation, or otherwise."""
        ...

    def has_lost(self, number: int) -> bool:
        """Whether a candidate is raced out."""
        ...

    def raced_out(self) -> list[int]:
        """The candidates that statistics alone have dropped, once all have ended."""
        ...


class BoundContest:
    """A round that is not raced: candidates are dropped by exact bounds, or with `exact` off not at all."""

    raced = False

    def __init__(self, best: KeepBest, *, objective: Objective, exact: bool) -> None:
        self._best, self._objective, self._exact = best, objective, exact

    def parts(self, _number: int, starts: Sequence[Scorecard], first: Sequence[Priority]) -> list[list[Part]]:
        """The hard examples first."""
        return [
            [(node_by_node(priority, part=part), rows) for part, rows in enumerate(hard_and_easy(card))]
            for priority, card in zip(first, starts, strict=True)
        ]

    def enter(self, number: int, evaluations: Sequence[Evaluation]) -> Pruner:
        """By all answers there are, in whatever order they come."""
        return BoundPruner(number, evaluations, best=self._best, objective=self._objective, watched=self._exact)

    def ended(self, _number: int, scored: ScoredPrompt | None = None) -> None:
        """The bar moves at once."""
        if scored is not None:
            self._best.add(scored)

    def has_lost(self, _number: int) -> bool:
        """Never."""
        return False

    def raced_out(self) -> list[int]:
        """None."""
        return []


@dataclass(frozen=True, slots=True)
class BoundPruner:
    """A candidate that is not raced: a `Pruner`."""

    number: int
    evaluations: Sequence[Evaluation]
    best: KeepBest
    objective: Objective
    watched: bool

    @property
    def violation(self) -> str:
        """By what is answered so far."""
        return self.objective.violation_so_far(self.evaluations)

    @property
    def cannot_win(self) -> bool:
        """Whether as many as are kept are ahead of it even at its best."""
        return self.best.rejects(self.number, self.objective.bound(self.evaluations))

    @property
    def raced_out(self) -> bool:
        """Never."""
        return False

    @property
    def rejection(self) -> Rejected:
        """A violation, or the bound."""
        if violation := self.violation:
            return Rejected(invalid=violation)
        return Rejected(bound=self.objective.bound(self.evaluations))

    def on_answers(self) -> None:
        """Nothing: bounds are looked at when they are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRun:
    """One candidate on its way through its nodes, each asked in its parts."""

    number: int
    evaluations: Sequence[Evaluation]
    parts: Sequence[Sequence[Part]]
    pruner: Pruner
    gate: CacheFirstGate

    @property
    def missing(self) -> int:
        """How many examples have no answer."""
        return sum(evaluation.missing for evaluation in self.evaluations)

    @property
    def pruned(self) -> bool:
        """Whether it is out, for any reason."""
        return self.pruner.raced_out or self.pruner.cannot_win or bool(self.pruner.violation)

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
        if self.missing or self.pruner.raced_out:
            return None
        return [evaluation.card() for evaluation in self.evaluations]

    async def answer_from_cache(self) -> None:
        """Take what the cache has; calls nothing."""
        for evaluation in self.evaluations:
            await evaluation.recall()
        self.pruner.on_answers()

    async def ask_until_pruned(self) -> None:
        """Ask for what is missing, until nothing is or the candidate is out."""
        if self.pruned:  # before anything is asked: a cancelled scope would still let its tasks take their first step
            return
        with anyio.CancelScope() as asking:

            def on_answers() -> None:
                self.pruner.on_answers()
                if self.pruned:
                    asking.cancel()

            await self._ask(on_answers)

    async def _ask(self, on_answers: Callable[[], None] | None = None) -> None:
        await gather(
            evaluation.ask(rows, on_answers=on_answers)
            for evaluation, rows in zip(self.evaluations, self.parts, strict=True)
        )


def hard_and_easy(card: Scorecard) -> tuple[list[int], list[int]]:
    """The examples that a pair got wrong, and those it got right, each in the split's order.

    A candidate that must beat the pair is best asked the hard ones first: it has to mend some of them, and one that
    mends none is out as soon as they are answered.
    """
    hard = [row for row, outcome in enumerate(card.outcomes) if outcome.grade != 1]
    easy = [row for row, outcome in enumerate(card.outcomes) if outcome.grade == 1]
    return hard, easy
