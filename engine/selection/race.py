"""One candidate's race: its grades against those of prompts that are known in full, row by row in a random order."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from metaspo.engine.addresses import candidate_address, join, rng_at
from metaspo.engine.evaluation.evaluation import CHUNK
from metaspo.engine.evaluation.scorecard import Outcome, Scorecard
from metaspo.engine.selection.betting import Wager
from metaspo.engine.selection.objective import mean

WAVE_ROWS = 4  # of each node in a wave, about: smaller ones stop sooner, larger ones are asked in better batches

Grades = tuple[tuple[float, ...], ...]  # by node and row


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPrompt:
    """A prompt that was scored in full.

    Attributes:
        place: 0 if it was there before the round, else the candidate's number; equals go by it.
    """

    prompt: str
    score: float
    grades: Grades
    place: int = 0

    @classmethod
    def of(cls, prompt: str, cards: Sequence[Scorecard], *, place: int = 0) -> "ScoredPrompt":
        """The standing of a prompt by its cards, node by node."""
        grades = tuple(tuple(outcome.grade or 0.0 for outcome in card.outcomes) for card in cards)
        return cls(prompt=prompt, score=_score(grades, [card.weight for card in cards]), grades=grades, place=place)


class Rows(Protocol):
    """What a race looks at: a `Evaluation`, or what stands for one."""

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
    """One candidate's race: by the answers that its order has reached without a gap.

    `known` are the grades to beat, each with the share of the capital that is wagered against it.
    """

    def __init__(self, track: RaceDesign, number: int, nodes: Sequence[Rows]) -> None:
        self._track, self._nodes, self._weights = track, nodes, track.weights
        self._order = track.order(number)
        self.start([])

    def start(self, known: Sequence[tuple[float, Grades]]) -> None:
        """Begin at the first row."""
        self.refusal = ""
        self.rows = 0
        self._grades = [[1.0] * size for size in self._track.sizes]
        self._wagers = [(share, grades, self._wager(grades)) for share, grades in known]

    def _wager(self, known: Grades) -> Wager:
        weighted = [weight * grade for weight, rows in zip(self._weights, known, strict=True) for grade in rows]
        return Wager(weighted, rate=self._track.rate)

    @property
    def bound(self) -> float:
        """The best mean still within reach."""
        return _score(self._grades, self._track.node_weights)

    @property
    def capital(self) -> float:
        """Of all wagers together, 1 at the start or less."""
        return math.fsum(share * wager.capital for share, _, wager in self._wagers)

    @property
    def lost(self) -> bool:
        """Whether the candidate is raced out."""
        return self.capital * self._track.rate >= 1

    def go_on(self) -> None:
        """Go on along the order, up to a gap, a refusal, or the row where the race is lost."""
        while self.rows < len(self._order) and not self.refusal and not self.lost:
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
                for _, known, wager in self._wagers:
                    wager.take(weight * outcome.grade, weight * known[node][row])


def _score(grades: Sequence[Sequence[float]], weights: Sequence[float]) -> float:
    """The mean over nodes of additive metrics' scores, by the sums that they take themselves."""
    scores = [math.fsum(rows) / len(rows) for rows in grades]
    return mean(scores, weights=weights if len(scores) > 1 else None)
