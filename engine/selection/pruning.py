"""Exact early rejection: a candidate is dropped as soon as even a perfect remainder could not get it selected.

The bars below are what is known of a round so far; they are synchronous and know nothing of calls. A candidate that
they reject would not be selected with all its examples scored either, so selections are those of full scoring, in
whatever order answers come in. Which candidates are rejected, and how early, may depend on that order; that a finished
run started again makes no call holds all the same, because of the `CacheFirstGate` gate.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import anyio

from metaspo.engine.evaluation.evaluation import Evaluation, Part
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.gather import gather
from metaspo.engine.journal import events
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.selection.objective import comparable, mean


class OuterBar:
    """The outer loop keeps the best candidate strictly above the incumbent, the earlier one of equals."""

    def __init__(self, incumbent: float) -> None:
        self._incumbent = incumbent
        self._best = incumbent
        self._best_number = 0

    def rejects(self, number: int, bound: float) -> bool:
        """Whether a candidate that can reach `bound` at most is out."""
        if bound <= self._incumbent or bound < self._best:
            return True
        return bound == self._best and 0 < self._best_number < number

    def finished(self, number: int, score: float) -> None:
        """A candidate has its final score."""
        if score > self._best or (score == self._best and 0 < number < self._best_number):
            self._best, self._best_number = score, number


class InnerBar:
    """The inner loop keeps the best `keep` prompts of old and new, the earlier ones of equals."""

    def __init__(self, kept: Sequence[Scorecard], *, keep: int) -> None:
        self._keep = keep
        self._old = len(kept)
        self._known = {card.pair.user: (comparable(card), position) for position, card in enumerate(kept)}

    def rejects(self, number: int, bound: float) -> bool:
        """Whether at least `keep` prompts are ahead of candidate `number` (from 1) even at its best."""
        position = self._old + number - 1
        ahead = sum(score > bound or (score == bound and place < position) for score, place in self._known.values())
        return ahead >= self._keep

    def finished(self, number: int, card: Scorecard) -> None:
        """A candidate has its final score. A prompt that is there twice counts once, at the earlier place."""
        place = self._old + number - 1
        _, known = self._known.get(card.pair.user, (0.0, place))
        self._known[card.pair.user] = (comparable(card), min(place, known))


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
    def refusal(self) -> str:
        """The first example that the server refused, and why, which rules a candidate out; "" if there is none."""
        ...

    @property
    def bound(self) -> float:
        """The best mean still within reach."""
        ...

    @property
    def beaten(self) -> bool:
        """Whether it is out by its bound, for certain."""
        ...

    @property
    def lost(self) -> bool:
        """Whether it is raced out."""
        ...

    @property
    def evidence(self) -> Mapping[str, float]:
        """Figures on that for the journal."""
        ...

    def hear(self, position: int, /) -> None:
        """Examples of the node at this position were answered."""
        ...


class BoundPruner:
    """The prospect of a candidate that is not raced: by all answers there are, in whatever order they come."""

    lost = False

    def __init__(self, nodes: Sequence[Evaluation], rejects: Callable[[float], bool] | None) -> None:
        """`rejects`: whether a candidate with this best mean within reach is out; None: nobody is."""
        self.watched = rejects is not None
        self._nodes, self._rejects = nodes, rejects
        self._bounds = [1.0] * len(nodes)

    @property
    def refusal(self) -> str:
        """The first refusal on any node."""
        return next((node.refusal for node in self._nodes if node.refusal), "")

    @property
    def bound(self) -> float:
        """The mean of the nodes' bounds."""
        return mean(self._bounds, weights=[node.task.weight for node in self._nodes])

    @property
    def beaten(self) -> bool:
        """Whether the bar rejects it."""
        return self._rejects is not None and self._rejects(self.bound)

    @property
    def evidence(self) -> Mapping[str, float]:
        """None."""
        return {}

    def hear(self, position: int, /) -> None:
        """Look at the node's answers again."""
        self._bounds[position] = self._nodes[position].bound


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRun:
    """What one candidate's scoring has to know of its round.

    Attributes:
        finished: is told the cards of a candidate that was scored to the end.
    """

    number: int
    recall: CacheFirstGate
    prospect: Pruner
    finished: Callable[[Sequence[Scorecard]], None]

    @property
    def out(self) -> bool:
        """Whether the candidate is out, for any reason."""
        return self.prospect.lost or self.prospect.beaten or bool(self.prospect.refusal)


async def score_with_pruning(
    nodes: Sequence[Evaluation], parts: Sequence[Sequence[Part]], contest: CandidateRun
) -> list[Scorecard] | None:
    """Score a candidate on its nodes, all at once, each in its parts; None as soon as it is out."""
    prospect = contest.prospect
    if not prospect.watched:
        await gather(node.ask(rows) for node, rows in zip(nodes, parts, strict=True))
        return _finish(nodes, contest)
    for node in nodes:
        await node.recall()
    for position in range(len(nodes)):
        prospect.hear(position)
    if not any(node.missing for node in nodes):
        cards = None if prospect.lost else _finish(nodes, contest)
        contest.recall.done(contest.number)
        return cards
    contest.recall.done(contest.number)
    await contest.recall.wait()
    prospect.hear(0)  # others may have moved the bar
    if contest.out:
        return None  # before anything is asked: a cancelled scope would still let its tasks take their first step
    with anyio.CancelScope() as scoring:

        def hear(position: int) -> None:
            prospect.hear(position)
            if contest.out:
                scoring.cancel()

        await gather(
            node.ask(rows, heard=partial(hear, position))
            for position, (node, rows) in enumerate(zip(nodes, parts, strict=True))
        )
        if not prospect.lost:  # by its last answers, too late to be cancelled
            return _finish(nodes, contest)
    return None


def _finish(nodes: Sequence[Evaluation], contest: CandidateRun) -> list[Scorecard]:
    cards = [node.card() for node in nodes]
    contest.finished(cards)
    return cards


def note_rejection(context: RunContext, address: str, nodes: Sequence[Evaluation], contest: CandidateRun) -> None:
    """Journal why a candidate is out: an example was refused, it cannot reach the bar any more, or it is raced out."""
    prospect = contest.prospect
    unasked = sum(node.missing for node in nodes)
    why = events.Rejected(address=address, bound=prospect.bound, unasked=unasked)
    if prospect.refusal:
        why = replace(why, bound=None, invalid=prospect.refusal)
    elif prospect.lost and not prospect.beaten:
        why = replace(why, bound=None, raced=prospect.evidence["raced"], rows=int(prospect.evidence["rows"]))
    context.journal.write(why)
    context.observer.settled(base_calls=unasked)


def hard_and_easy(card: Scorecard) -> tuple[list[int], list[int]]:
    """The examples that a pair got wrong, and those it got right, each in the split's order.

    A candidate that must beat the pair is best asked the hard ones first: it has to mend some of them, and one that
    mends none is out as soon as they are answered.
    """
    hard = [position for position, outcome in enumerate(card.outcomes) if outcome.grade != 1]
    easy = [position for position, outcome in enumerate(card.outcomes) if outcome.grade == 1]
    return hard, easy
