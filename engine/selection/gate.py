"""A gate, opt-in: a candidate is scored on all rows only if it beats what it starts from on a few.

The few are drawn from each task's rows by the run's seed and the candidate's address, so that who passes is a function
of the answers, whatever their timing. Most candidates of a round are no better than their parent, and a gate sends them
away for a fraction of their rows. Among the few is one that the parent has wrong, if there is any: else nothing could
pass. What it loses is a better candidate that is unlucky on the few: if it mends some rows
and breaks others, with the chance that at least as many of the broken as of the mended ones are drawn. Gates that
double lose fewer: at each a candidate may be as good, and one that is worse is out before most rows are asked.
"""

from collections.abc import Mapping, Sequence
from random import Random

from metaspo.engine.addresses import candidate_address, join, rng_at
from metaspo.engine.evaluation.evaluation import Evaluation
from metaspo.engine.evaluation.scorecard import Scorecard, Status
from metaspo.engine.journal.events import Rejected
from metaspo.engine.runtime.priorities import node_by_node
from metaspo.engine.selection.objective import KeepBest, Objective, ScoredPrompt, mean, refusal_so_far, start_of
from metaspo.engine.selection.pruning import AtGate, Pruner, Stage, hard_and_easy
from metaspo.scheduling import Priority

BEST = 1.0  # grade
Nodes = list[list[int]]  # rows, node by node


class Gate(Pruner):
    """A round with a gate; with `exact` bounds drop candidates, too.

    Args:
        starts: the prompts that candidates start from, in turn.
        rows: how many of each task are drawn.
        doubles: whether who passes meets further gates of twice as many rows each, and may be as good at each.
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
        doubles: bool = False,
        seed: int,
        address: str,
    ) -> None:
        super().__init__(best, objective=objective, exact=exact)
        self._starts, self._seed, self._address, self._doubles = starts, seed, address, doubles
        self._sizes = _sizes(rows, objective.counted(starts[0].cards), doubles=doubles)
        self._verdicts: dict[tuple[int, int], float] = {}
        self._bars: dict[tuple[int, int], float] = {}
        self._chosen: dict[int, list[Nodes]] = {}

    def stages(self, number: int, starts: Sequence[Scorecard], first: Sequence[Priority]) -> list[Stage]:
        """The rows of each gate that the one before it has not, then the others, the hard ones first."""
        stages: list[Stage] = []
        there: list[set[int]] = [set() for _ in starts]
        for rows in self._rows(number):
            further = [[row for row in of_node if row not in old] for of_node, old in zip(rows, there, strict=True)]
            stages.append([[(node_by_node(at, part=0), new)] for at, new in zip(first, further, strict=True)])
            there = [set(of_node) for of_node in rows]
        rest: Stage = []
        for rows_of_node, card, priority in zip(there, starts, first, strict=True):
            others = [[row for row in part if row not in rows_of_node] for part in hard_and_easy(card)]
            rest.append([(node_by_node(priority, part=part), left) for part, left in enumerate(others, start=1)])
        return [*stages, rest]

    def cannot_win(self, number: int) -> bool:
        """By its bound, once the gates are answered: who passes is then the same in any timing."""
        return self._is_answered(number) and super().cannot_win(number)

    def violation(self, number: int) -> str:
        """A refusal; any other once the gates are answered, as bounds count from then on."""
        answered = self._is_answered(number)
        return super().violation(number) if answered else refusal_so_far(self._evaluations[number])

    def has_lost(self, number: int) -> bool:
        """Whether a candidate is not above what it started from on a gate, or below it where gates double."""
        return self._lost_at(number) is not None

    def rejection(self, number: int) -> Rejected:
        """What is certain first; else the gate."""
        lost = self._lost_at(number)
        if self.violation(number) or lost is None:
            return super().rejection(number)
        return Rejected(gate=self._verdict(number, lost), parent=self._to_beat(number, lost))

    def at_gate(self, number: int) -> AtGate | None:
        """What it came to on the rows of the gate that it did not pass, if there is one."""
        lost = self._lost_at(number)
        score = None if lost is None else self._verdict(number, lost)
        if lost is None or score is None:
            return None
        of_nodes = zip(self._rows(number)[lost], self._evaluations[number], strict=True)
        outcomes = [evaluation.outcome(row) for rows, evaluation in of_nodes for row in rows]
        unread = sum(outcome is not None and outcome.status is Status.MALFORMED for outcome in outcomes)
        return AtGate(score=score, parent=self._to_beat(number, lost), unread=unread, answers=len(outcomes))

    def rows_asked(self, number: int) -> Sequence[Sequence[int]] | None:
        """Those of the gate that a candidate did not pass."""
        lost = self._lost_at(number)
        return None if lost is None else self._rows(number)[lost]

    def _is_answered(self, number: int) -> bool:
        return all(self._verdict(number, rung) is not None for rung in range(len(self._sizes)))

    def _lost_at(self, number: int) -> int | None:
        """The first gate that a candidate did not pass; None while there is none."""
        for rung in range(len(self._sizes)):
            verdict = self._verdict(number, rung)
            if verdict is None:
                return None
            to_beat = self._to_beat(number, rung)
            if verdict < to_beat or (verdict == to_beat and not self._doubles):
                return rung
        return None

    def _verdict(self, number: int, rung: int) -> float | None:
        """The candidate's mean on a gate; None while an answer is missing or refused."""
        if (number, rung) not in self._verdicts and number in self._evaluations:
            answered = self._answered(self._rows(number)[rung], self._evaluations[number])
            if answered is not None:
                self._verdicts[number, rung] = answered
        return self._verdicts.get((number, rung))

    def _answered(self, chosen: Nodes, evaluations: Sequence[Evaluation]) -> float | None:
        nodes = []
        for rows, evaluation in zip(chosen, evaluations, strict=True):
            outcomes = [evaluation.outcome(row) for row in rows]
            nodes.append([outcome.grade for outcome in outcomes if outcome is not None and outcome.grade is not None])
            if len(nodes[-1]) < len(rows):
                return None
        return self._mean(nodes)

    def _to_beat(self, number: int, rung: int) -> float:
        if (number, rung) not in self._bars:
            cards = zip(self._rows(number)[rung], start_of(self._starts, number).cards, strict=True)
            grades = [[card.outcomes[row].grade or 0.0 for row in rows] for rows, card in cards]
            self._bars[number, rung] = self._mean(grades)
        return self._bars[number, rung]

    def _mean(self, nodes: Sequence[Sequence[float]]) -> float:
        weights = [card.weight for card in self._objective.counted(self._starts[0].cards)]
        return mean([sum(grades) / len(grades) for grades in nodes if grades], weights=weights)

    def _rows(self, number: int) -> list[Nodes]:
        """By gate and node: the same ones of a task, whichever user prompt it is with; none of a guard.

        Asked with every answer, and drawn once: where its start is nearly always right that takes many draws.
        """
        if number not in self._chosen:
            self._chosen[number] = self._choose(number)
        return self._chosen[number]

    def _choose(self, number: int) -> list[Nodes]:
        """Drawn again while its start is right on all of them, and not on all of its own: nothing would be above it.

        A further gate has those of the one before it, and more.
        """
        rng = rng_at(self._seed, join(candidate_address(self._address, number), "gate"))
        cards = start_of(self._starts, number).cards
        whole = [range(self._rows_of(card)) for card in cards]
        rows, has_any = self._drawn(rng, {}, self._sizes[0]), _misses(cards, whole)
        while has_any and not _misses(cards, self._by_node(rows)):
            rows = self._drawn(rng, {}, self._sizes[0])
        gates = [self._by_node(rows)]
        for size in self._sizes[1:]:
            rows = self._drawn(rng, rows, size)
            gates.append(self._by_node(rows))
        return gates

    def _drawn(self, rng: Random, there: Mapping[str, list[int]], size: int) -> dict[str, list[int]]:
        """By task, `size` rows: those that are there and others."""
        drawn: dict[str, list[int]] = {}
        for card in self._starts[0].cards:
            if card.task not in drawn:
                old, left = there.get(card.task, []), self._left(card, there)
                drawn[card.task] = sorted([*old, *rng.sample(left, min(size - len(old), len(left)))])
        return drawn

    def _left(self, card: Scorecard, there: Mapping[str, list[int]]) -> Sequence[int]:
        """The rows of a task that are not there: where none is, no list, since a first gate may take many draws."""
        whole, old = range(self._rows_of(card)), set(there.get(card.task, []))
        return [row for row in whole if row not in old] if old else whole

    def _rows_of(self, card: Scorecard) -> int:
        return 0 if card.task in self._objective.floors else len(card.outcomes)

    def _by_node(self, rows: Mapping[str, list[int]]) -> Nodes:
        return [rows[card.task] for card in self._starts[0].cards]


def _sizes(rows: int, cards: Sequence[Scorecard], *, doubles: bool) -> list[int]:
    """How many rows of each task the gates have: with `doubles` twice as many each, up to half of them."""
    half = max(len(card.outcomes) for card in cards) // 2
    sizes = [rows]
    while doubles and 2 * sizes[-1] <= half:
        sizes.append(2 * sizes[-1])
    return sizes


def _misses(cards: Sequence[Scorecard], rows: Sequence[Sequence[int]]) -> bool:
    """Whether any of the rows has less than the best grade there is."""
    nodes = zip(cards, rows, strict=True)
    return any((card.outcomes[row].grade or 0.0) < BEST for card, of_node in nodes for row in of_node)
