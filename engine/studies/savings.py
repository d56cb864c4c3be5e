"""What adapting needs to come to the score that another method ends with: rounds and train examples, as shares.

Both are first passages of a curve, for which there is no formula: their intervals are bootstrapped, over seeds and over
the questions of each task, with the same draws for both methods.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from metaspo.engine.statistics import TAIL, Resamples, SplitGrades
from metaspo.engine.studies.protocol_scores import Curves, curves_by_size, examples_needed, mean_curve, rounds_needed
from metaspo.engine.studies.study import Study

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """How much it takes to reach the other method's end.

    Attributes:
        count: rounds, or train examples; None where it is not reached.
        of: how many the other method had.
        low, high: 95% of the count, with other examples and other seeds; `inf` where it is not reached.
    """

    count: int | None
    of: int
    low: float
    high: float

    @property
    def words(self) -> str:
        """The share of what the other had, with its interval, for people."""
        counts = [inf if self.count is None else self.count, self.low, self.high]
        share, low, high = ("–" if count == inf else f"{100 * count / self.of:.0f}%" for count in counts)
        return f"{share} ({low} to {high})"

    def sentence(self, what: str, *, names: tuple[str, str]) -> str:
        """The same in a sentence, about "rounds" or "train examples": whether these are fewer than the other had."""
        if self.count is None:
            return f"{names[0]} does not come to where {names[1]} ends with any of its {what}."
        told = "fewer" if self.high < self.of else "more" if self.low > self.of else "not surely fewer"
        return (
            f"{names[0]} comes to where {names[1]} ends with {self.count} of {self.of} {what}, {told}: {self.words} of "
            "them, with 95% in brackets."
        )


Savings = Mapping[str, tuple[Needed | None, Needed | None]]  # by method: rounds and train examples


def savings(study: Study) -> dict[str, tuple[Needed | None, Needed | None]]:
    """What each method needs; nothing where nothing was adapted. Slow: it is bootstrapped."""
    return {method: needed(study, method) for method in study.methods} if study.grid.config.adapt else {}


def savings_sentences(saved: Savings, *, against: str) -> list[str]:
    """Every method's but that of the one that is compared with."""
    return [
        need.sentence(what, names=(method, against))
        for method, needs in saved.items()
        if method != against
        for need, what in zip(needs, ("rounds", "train examples"), strict=True)
        if need is not None
    ]


def needed(study: Study, method: str) -> tuple[Needed | None, Needed | None]:
    """The rounds, and the train examples, that a method needs to reach the end of the one that the grid names.

    Returns:
        None for rounds where that one has none, for examples where there are no several sizes.
    """
    sizes, goal_sizes = curves_by_size(study, method), curves_by_size(study, study.grid.against)
    if not sizes or not goal_sizes:
        return None, None
    goal_curve = mean_curve(goal_sizes[max(goal_sizes)])
    goal, rounds = goal_curve[-1], len(goal_curve) - 1
    draws = Resamples([row for curves in (sizes, goal_sizes) for size in curves.values() for row in _rows(size, -1)])
    goals = draws.mean(_rows(goal_sizes[max(goal_sizes)], -1))
    by_round = [draws.mean(_rows(sizes[max(sizes)], number)) for number in range(len(mean_curve(sizes[max(sizes)])))]
    by_size = {size: draws.mean(_rows(curves, -1)) for size, curves in sizes.items()}
    ends = {size: mean_curve(curves) for size, curves in sizes.items()}
    return (
        _needed(rounds_needed(ends[max(ends)], goal), rounds, dict(enumerate(by_round)), goals) if rounds else None,
        _needed(examples_needed(ends, goal), max(goal_sizes), by_size, goals) if len(goal_sizes) > 1 else None,
    )


def _rows(curves: Curves, number: int) -> list[SplitGrades]:
    """The tests after one round."""
    return [
        curve.points[number].test.split_grades(questions=task_seed.questions, task=task_seed.task, seed=task_seed.seed)
        for task_seed, curve in curves
    ]


def _needed(
    count: int | None, of: int, scores: "Mapping[int, NDArray[np.float64]]", goals: "NDArray[np.float64]"
) -> Needed:
    """How many it takes, from the scores that each number comes to in every draw."""
    import numpy as np

    counts = np.array(sorted(scores), float)
    reached = np.array([scores[int(number)] >= goals for number in counts])
    first = np.where(reached.any(axis=0), counts[reached.argmax(axis=0)], inf)
    low, high = np.quantile(first, [TAIL, 1 - TAIL], method="inverted_cdf")
    return Needed(count=count, of=of, low=float(low), high=float(high))
