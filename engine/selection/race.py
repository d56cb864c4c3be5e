"""One candidate's race: its grades against those of prompts that are known in full, row by row in a random order."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from metaspo.engine.addresses import candidate_address, join, rng_at
from metaspo.engine.evaluation.evaluation import CHUNK
from metaspo.engine.evaluation.scorecard import Outcome
from metaspo.engine.selection.betting import Wager
from metaspo.engine.selection.objective import ScoredPrompt, mean

WAVE_ROWS = 4  # of each node in a wave, about: smaller ones stop sooner, larger ones are asked in better batches

Grades = list[list[float]]  # by node and row


class Rows(Protocol):
    """What a race looks at: an `Evaluation`, or what stands for one."""

    def outcome(self, row: int, /) -> Outcome | None:
        """The outcome of one example, if it has one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceDesign:
    """What all candidates of a round race on.

    Attributes:
        sizes: how many rows each node has.
        node_weights: how much each node counts in the score.
        rate: how often at most a candidate that would be selected is dropped.
    """

    seed: int
    address: str
    sizes: tuple[int, ...]
    node_weights: tuple[float, ...]
    rate: float

    @property
    def weights(self) -> list[float]:
        """What a row of each node weighs: a node's weight is shared by its rows; 1 is the most."""
        shares = [weight / size for weight, size in zip(self.node_weights, self.sizes, strict=True)]
        return [share / max(shares) for share in shares]

    def order(self, number: int) -> list[tuple[int, int]]:
        """Every (node, row) in the random order of candidate `number`."""
        places = [(node, row) for node, size in enumerate(self.sizes) for row in range(size)]
        rng_at(self.seed, join(candidate_address(self.address, number), "race")).shuffle(places)
        return places

    def waves(self, number: int) -> Iterator[list[list[int]]]:
        """The rows of each node, wave by wave: what is best asked together, and before what comes later."""
        size, order = max(CHUNK, WAVE_ROWS * len(self.sizes)), self.order(number)
        for start in range(0, len(order), size):
            wave: list[list[int]] = [[] for _ in self.sizes]
            for node, row in order[start : start + size]:
                wave[node].append(row)
            yield wave


class Race:
    """Candidate `number`'s race: by the answers that its order has reached without a gap."""

    def __init__(self, design: RaceDesign, number: int, nodes: Sequence[Rows]) -> None:
        self.number = number
        self._design, self._nodes, self._weights = design, nodes, design.weights
        self._order = design.order(number)
        self.start([])

    def start(self, bars: Sequence[tuple[float, ScoredPrompt]]) -> None:
        """Begin at the first row, with a share of the capital wagered against each of the bars."""
        self.refusal = ""
        self.rows = 0
        self._grades = [[1.0] * size for size in self._design.sizes]
        self._wagers = [(share, grades := _grades_of(bar), self._wager(grades)) for share, bar in bars]

    def _wager(self, incumbent: Grades) -> Wager:
        weighted = [weight * grade for weight, rows in zip(self._weights, incumbent, strict=True) for grade in rows]
        return Wager(weighted, rate=self._design.rate)

    @property
    def bound(self) -> float:
        """The highest value still within reach, by the sums that additive metrics take themselves."""
        return mean([math.fsum(rows) / len(rows) for rows in self._grades], weights=self._design.node_weights)

    @property
    def capital(self) -> float:
        """Of all wagers together, 1 at the start or less."""
        return math.fsum(share * wager.capital for share, _, wager in self._wagers)

    @property
    def raced_out(self) -> bool:
        """Whether the candidate has lost."""
        return self.capital * self._design.rate >= 1

    def go_on(self) -> None:
        """Go on along the order, up to a gap, a refusal, or the row where the race is lost."""
        while self.rows < len(self._order) and not self.refusal and not self.raced_out:
            node, row = self._order[self.rows]
            outcome = self._nodes[node].outcome(row)
            if outcome is None:
                return
            if outcome.grade is None:
                self.refusal = f"{outcome.example.where}: {outcome.reason}"
                return
            self._grades[node][row] = outcome.grade
            self.rows += 1
            if self.rows < len(self._order):  # with the last row the score itself is known
                weight = self._weights[node]
                for _, incumbent, wager in self._wagers:
                    wager.take(weight * outcome.grade, weight * incumbent[node][row])


def _grades_of(scored: ScoredPrompt) -> Grades:
    return [[outcome.grade or 0.0 for outcome in card.outcomes] for card in scored.cards]
