"""What prompts are compared by: the weighted mean of their scores, rounded so that equal means are ties."""

import math
import operator
from collections.abc import Sequence

from metaspo.engine.evaluation.scorecard import Scorecard


def score_of(card: Scorecard) -> float:
    """The score of a valid card; an invalid one must never get as far as a selection."""
    if card.score is None or card.invalid:
        raise AssertionError(f"a pair of task '{card.task}' without a valid score reached a selection")
    return card.score


def meta_score(cards: Sequence[Scorecard]) -> float:
    """The mean of the cards' scores, each with its task's weight."""
    return mean([score_of(card) for card in cards], weights=[card.weight for card in cards])


def mean(scores: Sequence[float], *, weights: Sequence[float] | None = None) -> float:
    """The weighted mean (plain, if no weights are given) to 12 decimals: equal means are ties, whatever of.

    It grows with each score, rounding included: the mean of bounds is a bound. Equal weights give the plain mean to
    the last bit.
    """
    if weights is None or len(set(weights)) == 1:
        weights = [1.0] * len(scores)
    return round(math.fsum(map(operator.mul, weights, scores)) / math.fsum(weights), 12)


def comparable(card: Scorecard) -> float:
    """The score of a valid card as prompts are ranked by it, rounded as the bounds are that it is held against."""
    return mean([score_of(card)])


def ranked(cards: Sequence[Scorecard], *, keep: int) -> tuple[Scorecard, ...]:
    """The best `keep` by score, best first; ties go to the earlier position."""
    return tuple(sorted(cards, key=comparable, reverse=True)[:keep])
