"""What adapting needs to come to the score that another method ends with: rounds and train examples, as shares.

A score's first passage of a level has no formula, but whether one score is at least another has its comparison: the
passage can be no later than the first score that surely is, and no earlier than the first that may be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from metaspo.engine.statistics import SplitGrades, compare, shared
from metaspo.engine.studies.protocol_scores import Curves, curves_by_size
from metaspo.engine.studies.study import Study

EQUAL = 1e-9  # scores that lie less apart are the same, in other words


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """How much it takes to reach the other method's end.

    Attributes:
        count: rounds, or train examples; `inf` where it is not reached.
        of: how many the other method had.
        low, high: 95% of the count, with other examples and other seeds; `inf` where it is not reached.
    """

    count: float
    of: int
    low: float
    high: float

    @property
    def words(self) -> str:
        """The share of what the other had, with its interval, for people."""
        counts = (self.count, self.low, self.high)
        share, low, high = ("–" if count == inf else f"{100 * count / self.of:.0f}%" for count in counts)
        return f"{share} ({low} to {high})"

    def sentence(self, what: str, *, names: tuple[str, str]) -> str:
        """The same in a sentence, about "rounds" or "train examples": whether these are fewer than the other had."""
        if self.count == inf:
            return f"{names[0]} does not come to where {names[1]} ends with any of its {what}."
        told = "fewer" if self.high < self.of else "more" if self.low > self.of else "not surely fewer"
        return (
            f"{names[0]} comes to where {names[1]} ends with {self.count:g} of {self.of} {what}, {told}: {self.words} "
            "of them, with 95% in brackets."
        )


Savings = Mapping[str, tuple[Needed | None, Needed | None]]  # by method: rounds and train examples


def savings(study: Study) -> dict[str, tuple[Needed | None, Needed | None]]:
    """What each method but the one that is compared with needs; nothing where nothing was adapted."""
    if not study.grid.config.adapt:
        return {}
    return {method: needed(study, method) for method in study.methods if method != study.grid.against}


def savings_sentences(saved: Savings, *, against: str) -> list[str]:
    """Every method's."""
    return [
        need.sentence(what, names=(method, against))
        for method, needs in saved.items()
        for need, what in zip(needs, ("rounds", "train examples"), strict=True)
        if need is not None
    ]


def needed(study: Study, method: str) -> tuple[Needed | None, Needed | None]:
    """The rounds, and the train examples, that a method needs to reach the end of the one that the grid names.

    Returns:
        None for rounds where that one has none, for examples where there are no several sizes, for both where the two
        have no answers in common.
    """
    sizes, goal_sizes = curves_by_size(study, method), curves_by_size(study, study.grid.against)
    if not sizes or not goal_sizes:
        return None, None
    largest = goal_sizes[max(goal_sizes)]
    rounds, goal = len(largest[0][1].points) - 1, _rows(largest, -1)
    by_round = {number: _rows(sizes[max(sizes)], number) for number in range(len(sizes[max(sizes)][0][1].points))}
    by_size = {size: _rows(curves, -1) for size, curves in sizes.items()}
    return (
        first_passage(by_round, goal, of=rounds) if rounds else None,
        first_passage(by_size, goal, of=max(goal_sizes)) if len(goal_sizes) > 1 else None,
    )


def first_passage(
    scores: Mapping[int, Sequence[SplitGrades]], goal: Sequence[SplitGrades], *, of: int
) -> Needed | None:
    """The lowest number whose score reaches the goal; None without answers in common.

    The interval's ends are the first number whose score is not surely below the goal, and the first whose score surely
    is not: what `compare` says of each by itself. Of a curve that rises to its passage, each is wrong in 2.5% at most
    but for how many numbers come before it.
    """
    if not all(shared(rows, goal) for rows in scores.values()):
        return None
    compared = [(number, compare(rows, goal)) for number, rows in sorted(scores.items())]
    return Needed(
        count=next((number for number, pair in compared if pair.difference > -EQUAL), inf),
        of=of,
        low=next((number for number, pair in compared if pair.interval.high >= 0), inf),
        high=next((number for number, pair in compared if pair.interval.low >= 0), inf),
    )


def _rows(curves: Curves, number: int) -> list[SplitGrades]:
    """The tests after one round."""
    return [
        replace(curve.points[number].test, prompt=0).split_grades(
            questions=where.questions, task=where.task, seed=where.seed
        )
        for where, curve in curves
    ]
