"""Intervals of scores: of one prompt pair on one task, and of the mean over tasks."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, sqrt
from statistics import NormalDist, fmean
from typing import Literal

from metaspo.engine.statistics.interval import TAIL, Interval, percentile_interval
from metaspo.engine.statistics.resampling import Sample, draw_over_examples, draw_over_tasks, macro_f1_of, mean_of

Over = Literal["examples", "tasks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanScore:
    """The mean over tasks.

    Attributes:
        over_examples: what it would be with other examples of these very tasks.
        over_tasks: what it would be with other tasks of this kind, and other examples; None for a single task, which
            says nothing of others. With fewer than about five tasks it is a rough guide.
    """

    tasks: int
    score: float
    over_examples: Interval
    over_tasks: Interval | None


def score_interval(grades: Sequence[float], *, seed: int = 0) -> Interval:
    """The interval of the mean grade of one task's examples.

    Right-or-wrong grades (0 and 1) take Wilson's score interval, others the percentile bootstrap over examples.
    Wilson's needs no resampling, covers well down to a handful of examples, and does not shrink to a point where all
    answers were right (L. D. Brown, T. T. Cai and A. DasGupta, Statistical Science 16, 2001; Clopper and Pearson's
    "exact" interval covers more than 95%, and is wider than it need be).

    Raises:
        ValueError: if there are no grades.
    """
    if grades and all(grade in (0, 1) for grade in grades):
        return wilson_interval(sum(grade == 1 for grade in grades), len(grades))
    return percentile_interval(draw_over_examples([mean_of(grades)], [1.0], seed=seed))


def wilson_interval(right: int, examples: int) -> Interval:
    """Wilson's score interval of a share (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927)."""
    z = NormalDist().inv_cdf(1 - TAIL)
    share, spread = right / examples, z * z / examples
    middle = (share + spread / 2) / (1 + spread)
    reach = sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread)
    low = 0.0 if right == 0 else middle - reach
    return Interval(low, 1.0 if right == examples else middle + reach)


def macro_f1_interval(labels: Sequence[tuple[str, str | None]], *, seed: int = 0) -> Interval:
    """The interval of macro-F1 on one task: resampled through macro-F1 itself, which is no mean over examples.

    Args:
        labels: (right label, predicted label) of each example, None for a malformed answer.

    Raises:
        ValueError: if there are no examples.
    """
    return percentile_interval(draw_over_examples([macro_f1_of(labels)], [1.0], seed=seed))


def mean_interval(
    tasks: Sequence[Sequence[float]], *, over: Over, weights: Sequence[float] | None = None, seed: int = 0
) -> Interval:
    """The interval of the mean over tasks of each task's mean grade: a stratified percentile bootstrap.

    Args:
        over: "examples" takes these tasks as given and draws the examples of each anew; "tasks" draws the tasks anew as
            well, then the examples of each task drawn: what the mean over other tasks of this kind might be. That
            counts the luck of the examples twice over and so errs to the wide side, which makes up for the few tasks
            there mostly are (A. C. Davison and D. V. Hinkley, Bootstrap Methods and their Application, 1997, 3.8).
        weights: of the tasks; all alike if left out.

    Raises:
        ValueError: if there is no task, one has no examples, or the weights do not fit the tasks.
    """
    return _mean_interval([mean_of(grades) for grades in tasks], over, weights, seed)


def mean_score(tasks: Sequence[Sequence[float]], *, weights: Sequence[float] | None = None, seed: int = 0) -> MeanScore:
    """The mean over tasks with both its intervals; arguments and errors as in `mean_interval`."""
    samples = [mean_of(grades) for grades in tasks]
    return MeanScore(
        tasks=len(tasks),
        score=weighted_mean([fmean(grades) for grades in tasks], weights_of(tasks, weights)),
        over_examples=_mean_interval(samples, "examples", weights, seed),
        over_tasks=_mean_interval(samples, "tasks", weights, seed) if len(tasks) > 1 else None,
    )


def weights_of(tasks: Sequence[object], weights: Sequence[float] | None) -> Sequence[float]:
    """The weights, 1 each if there are none. Raises `ValueError` if they do not fit the tasks, or there is no task."""
    if not tasks:
        raise ValueError("there must be at least one task")
    if weights is None:
        return [1.0] * len(tasks)
    if len(weights) != len(tasks) or not all(weight > 0 for weight in weights):
        raise ValueError("there must be one weight above 0 for each task")
    return weights


def weighted_mean(figures: Sequence[float], weights: Sequence[float]) -> float:
    """The mean, each figure with its weight; with weights of 1 it is `statistics.fmean` to the last bit."""
    return fsum(weight * figure for weight, figure in zip(weights, figures, strict=True)) / fsum(weights)


def _mean_interval(samples: Sequence[Sample], over: Over, weights: Sequence[float] | None, seed: int) -> Interval:
    draw = draw_over_tasks if over == "tasks" else draw_over_examples
    return percentile_interval(draw(samples, weights_of(samples, weights), seed=seed))
