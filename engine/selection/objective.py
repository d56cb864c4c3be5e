"""What prompts are compared by, what they must hold to be selected at all, and who is kept.

Everybody who selects asks these two: the loops, pruning, races, what searches see of their prompts, adapting. A new
constraint is one that `Objective` knows of; nobody else has to.
"""

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from metaspo.engine.evaluation.evaluation import Evaluation
from metaspo.engine.evaluation.scorecard import Scorecard

Ties = Literal["shorter", "earlier"]
Rank = tuple[float, int, int]
"""What prompts are ordered by, the best first: worth (negative), length where ties go by it, position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPrompt:
    """A prompt that was scored in full and may be selected.

    Attributes:
        position: a candidate's number, from 1; below 1 if the prompt was there before.
        value: by its scores alone, 0 to 1.
        cards: node by node.
        length: where ties go by it; else 0.
        penalty: what its length takes off.
    """

    position: int
    prompt: str
    value: float
    cards: tuple[Scorecard, ...]
    length: int = 0
    penalty: float = 0.0

    @property
    def net_value(self) -> float:
        """What is compared: the value less the penalty."""
        return mean([self.value - self.penalty])

    @property
    def rank(self) -> Rank:
        """What it is kept by."""
        return -self.net_value, self.length, self.position


@dataclass(frozen=True, slots=True, kw_only=True)
class Fall:
    """A guard on which a prompt is below the floor, or cannot but end there.

    Attributes:
        task: the guard's name.
        reach: what the prompt scores there, or could still score at most.
        floor: what it had to.
    """

    task: str
    reach: float
    floor: float

    def __str__(self) -> str:
        return f"guard '{self.task}': {self.reach:.1%} at most, where at least {self.floor:.1%} is wanted"


@dataclass(frozen=True, slots=True)
class Objective:
    """The mean of a prompt's scores, each with its task's weight; no example may have been refused under it, and on no
    guard may it be below the floor.

    Attributes:
        floors: the lowest score that a prompt may have on each guard, by the task's name; guards count in no mean.
        ties: which of equals goes first: the shorter prompt, and the earlier of equals in length, or the earlier.
        penalty: what each character of a prompt takes off its value when it is compared.
    """

    floors: Mapping[str, float] = field(default_factory=dict)
    ties: Ties = "shorter"
    penalty: float = 0.0

    def value(self, cards: Sequence[Scorecard]) -> float:
        """What a prompt that no example was refused under is worth, 0 to 1; raises `AssertionError` for another one."""
        counted = self.counted(cards)
        return mean([score_of(card) for card in counted], weights=[card.weight for card in counted])

    def bound(self, evaluations: Sequence[Evaluation]) -> float:
        """The highest value that is still within a prompt's reach."""
        counted = [evaluation for evaluation in evaluations if evaluation.task.name not in self.floors]
        return mean([each.bound for each in counted], weights=[each.task.weight for each in counted])

    def counted(self, cards: Sequence[Scorecard]) -> tuple[Scorecard, ...]:
        """The cards that a value is made of: all but those of guards."""
        return tuple(card for card in cards if card.task not in self.floors)

    def violation(self, cards: Sequence[Scorecard]) -> str:
        """Why a prompt cannot be selected, whatever its value; "" if it can."""
        return next((card.invalid for card in cards if card.invalid), "") or str(self.fall(cards) or "")

    def violation_so_far(self, evaluations: Sequence[Evaluation]) -> str:
        """Why a prompt cannot be selected, however its missing answers turn out; "" while it can."""
        return refusal_so_far(evaluations) or str(self.fall_so_far(evaluations) or "")

    def fall(self, cards: Sequence[Scorecard]) -> Fall | None:
        """The first guard that a prompt is below the floor on."""
        return self._fall([(card.task, score_of(card)) for card in cards if card.task in self.floors])

    def fall_so_far(self, evaluations: Sequence[Evaluation]) -> Fall | None:
        """The first guard that a prompt can reach the floor on no more."""
        if not self.floors:
            return None
        return self._fall([(each.task.name, each.bound) for each in evaluations if each.task.name in self.floors])

    def _fall(self, guards: Iterable[tuple[str, float]]) -> Fall | None:
        reached = ((task, mean([reach]), self.floors[task]) for task, reach in guards)
        return next(
            (Fall(task=task, reach=reach, floor=floor) for task, reach, floor in reached if reach < floor), None
        )

    def scored(self, position: int, prompt: str, cards: Sequence[Scorecard]) -> ScoredPrompt:
        """A prompt without violation by its cards."""
        return self._valued(position, prompt, self.value(cards), cards)

    def rank(self, position: int, prompt: str, value: float) -> Rank:
        """What a prompt of this value, or of at most this value, is kept by, or by no better."""
        return self._valued(position, prompt, value).rank

    def _valued(self, position: int, prompt: str, value: float, cards: Sequence[Scorecard] = ()) -> ScoredPrompt:
        return ScoredPrompt(
            position=position,
            prompt=prompt,
            value=value,
            cards=tuple(cards),
            length=len(prompt) if self.ties == "shorter" else 0,
            penalty=self.penalty * len(prompt),
        )

    def ranked(self, cards: Iterable[Scorecard]) -> tuple[Scorecard, ...]:
        """Cards of one task, the best user prompt first; a penalty is not for these."""
        plain = Objective(ties=self.ties)
        return tuple(sorted(cards, key=lambda card: plain.rank(0, card.pair.user, self.value([card]))))


class KeepBest:
    """The best `keep` of the prompts added so far, by rank, in whatever order they were.

    A prompt that is added twice counts once, at its earlier position.
    """

    def __init__(self, keep: int, prompts: Iterable[ScoredPrompt] = ()) -> None:
        self._keep = keep
        self._ranking: list[ScoredPrompt] = []
        for scored in prompts:
            self.add(scored)

    def add(self, scored: ScoredPrompt) -> None:
        """A prompt that may be selected has its value."""
        equals = [scored, *(rival for rival in self._ranking if rival.prompt == scored.prompt)]
        others = [rival for rival in self._ranking if rival.prompt != scored.prompt]
        self._ranking = sorted([*others, min(equals, key=lambda equal: equal.position)], key=lambda prompt: prompt.rank)

    def rejects(self, rank: Rank) -> bool:
        """Whether a candidate of this rank at best can be kept no more, whoever is added later."""
        bar = self.bar
        return bar is not None and bar.rank < rank

    @property
    def bar(self) -> ScoredPrompt | None:
        """The last that would be kept; None while all would be."""
        return self._ranking[self._keep - 1] if len(self._ranking) >= self._keep else None

    def kept(self) -> list[ScoredPrompt]:
        """Best first."""
        return self._ranking[: self._keep]


def refusal_so_far(evaluations: Iterable[Evaluation]) -> str:
    """Which example has no answer, and why; "" while none is refused."""
    return next((evaluation.refusal for evaluation in evaluations if evaluation.refusal), "")


def start_of(starts: Sequence[ScoredPrompt], number: int) -> ScoredPrompt:
    """What candidate `number`, from 1, starts from: of several prompts each in turn."""
    return starts[(number - 1) % len(starts)]


def mean(scores: Sequence[float], *, weights: Sequence[float] | None = None) -> float:
    """The weighted mean (plain, if no weights are given) to 12 decimals: equal means are ties, whatever of.

    It grows with each score, rounding included: the mean of bounds is a bound. Equal weights give the plain mean to
    the last bit.
    """
    if weights is None or len(set(weights)) == 1:
        weights = [1.0] * len(scores)
    return round(math.fsum(map(operator.mul, weights, scores)) / math.fsum(weights), 12)


def score_of(card: Scorecard) -> float:
    """The score of a valid card; an invalid one must never get as far as a selection."""
    if card.score is None or card.invalid:
        raise AssertionError(f"a pair of task '{card.task}' without a valid score reached a selection")
    return card.score
