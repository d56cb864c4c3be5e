"""Intervals of scores: of one prompt pair on one task, and of the mean over tasks and seeds."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import fsum
from statistics import NormalDist

from metaspo.engine.statistics.crossed import Crossed, Part, Units, crossed
from metaspo.engine.statistics.grades import Grade, SplitGrades, values_of
from metaspo.engine.statistics.interval import TAIL, Interval, wilson
from metaspo.engine.statistics.student import quantile, total


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanScore:
    """The mean over tasks, then over seeds.

    Attributes:
        over_examples: what it would be with other examples of these very tasks, and with other seeds where there are
            several.
        over_tasks: what it would be with other tasks of this kind, too; None for a single task, which says nothing of
            others.
    """

    score: float
    over_examples: Interval
    over_tasks: Interval | None


def score_interval(grades: Sequence[Grade], questions: Sequence[Hashable] = ()) -> Interval:
    """The interval of one task's score: of the mean grade, or of macro-F1 from labels.

    Right-or-wrong grades (0 and 1) take Wilson's score interval, which covers well down to a handful of examples and
    does not shrink to a point where all answers were right (L. D. Brown, T. T. Cai and A. DasGupta, Statistical
    Science 16, 2001); others the same with their own variance.

    Raises:
        ValueError: if nothing was answered.
    """
    answered = [grade for grade in grades if grade is not None]
    if answered and len(set(questions)) == len(questions) and all(grade in (0, 1) for grade in answered):
        return wilson_interval(sum(grade == 1 for grade in answered), len(answered))
    return mean_score([SplitGrades(task="", grades=grades, questions=questions)]).over_examples


def wilson_interval(right: int, examples: int) -> Interval:
    """Wilson's score interval of a share."""
    share = right / examples
    return wilson(share, share * (1 - share) / examples, examples, NormalDist().inv_cdf(1 - TAIL))


def mean_score(rows: Sequence[SplitGrades], *, seeds_matter: bool = True) -> MeanScore:
    """The mean over tasks (by weight) of their scores, then over seeds, with its intervals.

    Args:
        rows: examples without an answer are left out; so is a split that has no answer at all.
        seeds_matter: whether another seed would have found another prompt; a fixed prompt's seeds only draw examples.

    Raises:
        ValueError: if nothing was answered, or weights are not above 0.
    """
    kept = [answered(row) for row in rows if any(grade is not None for grade in row.grades)]
    check(kept)
    table = crossed([(row, values_of(row.grades)) for row in kept])
    seeds = table.seeds if seeds_matter else None
    parts = variance_parts(seeds, table.questions)
    over_examples = _interval(table, total(parts), quantile(parts))
    tasks = len({row.task for row in kept})
    return MeanScore(
        score=table.mean,
        over_examples=over_examples,
        over_tasks=_interval(table, *over_tasks(seeds, table.tasks)).wider(over_examples) if tasks > 1 else None,
    )


def answered(row: SplitGrades) -> SplitGrades:
    """The row without the examples that have no answer."""
    return only(row, [grade is not None for grade in row.grades])


def only(row: SplitGrades, wanted: Sequence[bool]) -> SplitGrades:
    """The row with the examples that are wanted only, under the names that they had."""
    if all(wanted):
        return row
    questions = row.questions or range(len(row.grades))
    return SplitGrades(
        task=row.task,
        grades=[grade for grade, keep in zip(row.grades, wanted, strict=True) if keep],
        questions=[question for question, keep in zip(questions, wanted, strict=True) if keep],
        seed=row.seed,
        prompt=row.prompt,
        weight=row.weight,
    )


def check(rows: Sequence[SplitGrades]) -> None:
    """Raises `ValueError` if there are no rows, or their weights are not above 0."""
    if not rows:
        raise ValueError("there is no answered example")
    if not all(row.weight > 0 for row in rows):
        raise ValueError("a task's weight must be above 0")


def weighted_mean(figures: Sequence[float], weights: Sequence[float]) -> float:
    """The mean, each figure with its weight; with weights of 1 it is `statistics.fmean` to the last bit."""
    return fsum(weight * figure for weight, figure in zip(weights, figures, strict=True)) / fsum(weights)


def variance_parts(seeds: Part | None, units: Units, *, doubt: float = 0.0) -> list[Part]:
    """What seeds and units add up to, each with its degrees of freedom, nothing counted twice.

    Args:
        doubt: what units give at the least.
    """
    if seeds is None:
        return [Part(units.variance + doubt, units.freedom)]
    return [seeds, Part(max(units.variance - units.doubled, 0.0) + doubt, units.freedom)]


def over_tasks(seeds: Part | None, tasks: Units) -> tuple[float, float]:
    """The variance of a mean with other tasks and other seeds, and Student's quantile for it.

    The variance is no less than what makes them the reach of Student's t over the tasks' means alone: what few tasks
    give, less what seeds give already, is often nothing by chance.
    """
    parts = variance_parts(seeds, tasks)
    together = quantile(parts)
    return max(total(parts), tasks.variance * (quantile([Part(1.0, tasks.freedom)]) / together) ** 2), together


def _interval(table: Crossed, variance: float, by: float) -> Interval:
    return wilson(min(max(table.mean, 0.0), 1.0), variance, table.examples, by)
