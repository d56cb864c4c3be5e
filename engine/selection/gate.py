"""A gate, opt-in: a candidate is scored on all rows only if it beats what it starts from on a few.

The few are drawn from each task's rows by the run's seed and the candidate's address, so that who passes is a function
of the answers, whatever their timing. Most candidates of a round are no better than their parent, and a gate sends them
away for a fraction of their rows. Among the few is one that the parent has wrong, if there is any: else nothing could
pass. What it loses is a better candidate that is unlucky on the few: if it mends some rows
and breaks others, with the chance that at least as many of the broken as of the mended ones are drawn.
"""

from collections.abc import Sequence
from random import Random

from metaspo.engine.addresses import candidate_address, join, rng_at
from metaspo.engine.evaluation.evaluation import Evaluation
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.journal.events import Rejected
from metaspo.engine.runtime.priorities import node_by_node
from metaspo.engine.selection.objective import KeepBest, Objective, ScoredPrompt, mean, refusal_so_far, start_of
from metaspo.engine.selection.pruning import Pruner, Stage, hard_and_easy
from metaspo.scheduling import Priority

BEST = 1.0  # grade


class Gate(Pruner):
    """A round with a gate; with `exact` bounds drop candidates, too.

    Args:
        starts: the prompts that candidates start from, in turn.
        rows: how many of each task are drawn.
    """

    watched = True

    def __init__(
        self,
        best: KeepBest,
        *,
        objective: Objective,
        exact: bool,
        starts: Sequence[ScoredPrompt],
        rows: int,
        seed: int,
        address: str,
    ) -> None:
        super().__init__(best, objective=objective, exact=exact)
        self._starts, self._size, self._seed, self._address = starts, rows, seed, address
        self._verdicts: dict[int, float | None] = {}
        self._chosen: dict[int, list[list[int]]] = {}

    def stages(self, number: int, starts: Sequence[Scorecard], first: Sequence[Priority]) -> list[Stage]:
        """The rows of the gate, then the others, the hard ones first."""
        gate: Stage = []
        rest: Stage = []
        for rows, card, priority in zip(self._rows(number), starts, first, strict=True):
            gate.append([(node_by_node(priority, part=0), rows)])
            others = [[row for row in part if row not in rows] for part in hard_and_easy(card)]
            rest.append([(node_by_node(priority, part=part), left) for part, left in enumerate(others, start=1)])
        return [gate, rest]

    def cannot_win(self, number: int) -> bool:
        """By its bound, once the gate is answered: who passes is then the same in any timing."""
        return self._verdict(number) is not None and super().cannot_win(number)

    def violation(self, number: int) -> str:
        """A refusal; any other once the gate is answered, as bounds count from then on."""
        answered = self._verdict(number) is not None
        return super().violation(number) if answered else refusal_so_far(self._evaluations[number])

    def has_lost(self, number: int) -> bool:
        """Whether a candidate is not above what it started from on the rows of the gate."""
        verdict = self._verdict(number)
        return verdict is not None and verdict <= self._to_beat(number)

    def rejection(self, number: int) -> Rejected:
        """What is certain first; else the gate."""
        if self.violation(number) or not self.has_lost(number):
            return super().rejection(number)
        return Rejected(gate=self._verdict(number))

    def at_gate(self, number: int) -> float | None:
        """Its mean on the rows of the gate, if it did not pass."""
        return self._verdict(number) if self.has_lost(number) else None

    def rows_asked(self, number: int) -> Sequence[Sequence[int]] | None:
        """Those of the gate, of a candidate that did not pass it."""
        return self._rows(number) if self.has_lost(number) else None

    def _verdict(self, number: int) -> float | None:
        """The candidate's mean on the gate; None while an answer is missing or refused."""
        if self._verdicts.get(number) is None and number in self._evaluations:
            self._verdicts[number] = self._answered(number, self._evaluations[number])
        return self._verdicts.get(number)

    def _answered(self, number: int, evaluations: Sequence[Evaluation]) -> float | None:
        nodes = []
        for rows, evaluation in zip(self._rows(number), evaluations, strict=True):
            outcomes = [evaluation.outcome(row) for row in rows]
            nodes.append([outcome.grade for outcome in outcomes if outcome is not None and outcome.grade is not None])
            if len(nodes[-1]) < len(rows):
                return None
        return self._mean(nodes)

    def _to_beat(self, number: int) -> float:
        cards = zip(self._rows(number), start_of(self._starts, number).cards, strict=True)
        return self._mean([[card.outcomes[row].grade or 0.0 for row in rows] for rows, card in cards])

    def _mean(self, nodes: Sequence[Sequence[float]]) -> float:
        weights = [card.weight for card in self._objective.counted(self._starts[0].cards)]
        return mean([sum(grades) / len(grades) for grades in nodes if grades], weights=weights)

    def _rows(self, number: int) -> list[list[int]]:
        """By node: the same ones of a task, whichever user prompt it is with; none of a guard. Asked with every answer,
        and drawn once: where its start is nearly always right that takes many draws.
        """
        if number not in self._chosen:
            self._chosen[number] = self._choose(number)
        return self._chosen[number]

    def _choose(self, number: int) -> list[list[int]]:
        """Drawn again while its start is right on all of them, and not on all of its own: nothing would be above it."""
        rng = rng_at(self._seed, join(candidate_address(self._address, number), "gate"))
        cards = start_of(self._starts, number).cards
        whole = [range(0 if card.task in self._objective.floors else len(card.outcomes)) for card in cards]
        rows, has_any = self._drawn(rng), _misses(cards, whole)
        while has_any and not _misses(cards, rows):
            rows = self._drawn(rng)
        return rows

    def _drawn(self, rng: Random) -> list[list[int]]:
        drawn: dict[str, list[int]] = {}
        for card in self._starts[0].cards:
            if card.task not in drawn:
                size = len(card.outcomes)
                guard = card.task in self._objective.floors
                drawn[card.task] = [] if guard else sorted(rng.sample(range(size), min(self._size, size)))
        return [drawn[card.task] for card in self._starts[0].cards]


def _misses(cards: Sequence[Scorecard], rows: Sequence[Sequence[int]]) -> bool:
    """Whether any of the rows has less than the best grade there is."""
    nodes = zip(cards, rows, strict=True)
    return any((card.outcomes[row].grade or 0.0) < BEST for card, of_node in nodes for row in of_node)
