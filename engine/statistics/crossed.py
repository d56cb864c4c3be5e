"""Where a mean over tasks and seeds gets its variance from: examples or tasks on one side, seeds on the other.

Every seed answers the same questions (or some of them), so that the two sides are crossed. A mean's variance is then
what the questions give, what the seeds give, less what both have counted: the parts of a two-way analysis of variance,
as in studies where several readers see the same cases (S. L. Hillis, Statistics in Medicine 26, 2007).
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING

from metaspo.engine.statistics.grades import SplitGrades, Values

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ALL_BUT_FEW = 0.9


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a variance, and the degrees of freedom that it is known with."""

    variance: float
    freedom: float


@dataclass(frozen=True, slots=True)
class Units:
    """What questions, or tasks, give to the variance of a mean.

    Attributes:
        variance: as if these were all the seeds there are.
        doubled: how much of it the variance from seed to seed holds, too.
    """

    variance: float
    doubled: float
    freedom: int


@dataclass(frozen=True, slots=True)
class Crossed:
    """A mean over tasks, then over seeds, with where its variance comes from.

    Attributes:
        by_seed: each seed's mean over its tasks, by weight.
        examples: of equal weight that tell as much as the questions do.
        seeds: the variance from seed to seed; None for one seed.
        questions, tasks: the variance by questions of these tasks, and by tasks.
        alike: whether all seeds answered the same questions, all but few.
    """

    mean: float
    by_seed: "NDArray[np.float64]"
    examples: float
    seeds: Part | None
    questions: Units
    tasks: Units
    alike: bool


def crossed(rows: Sequence[tuple[SplitGrades, Values]]) -> Crossed:
    """Take apart the mean of rows of values: over a task's user prompts, then tasks by weight, then seeds."""
    import numpy as np

    seeds = {seed: position for position, seed in enumerate(sorted({row.seed for row, _ in rows}))}
    tasks = {task: position for position, task in enumerate(dict.fromkeys(row.task for row, _ in rows))}
    shares, sums = np.zeros((len(tasks), len(seeds))), np.zeros((len(tasks), len(seeds)))
    by_task: list[list[tuple[SplitGrades, Values, float]]] = [[] for _ in tasks]
    for (row, values), share in zip(rows, _shares(rows), strict=True):
        cell = tasks[row.task], seeds[row.seed]
        shares[cell] += share
        sums[cell] += share * values.each.mean()
        by_task[cell[0]].append((row, values, share))
    means = sums.sum(axis=0)
    tables = [_Table.of(task, seeds) for task in by_task]
    return Crossed(
        mean=float(means.mean()),
        by_seed=means,
        examples=1 / fsum(table.concentration for table in tables),
        seeds=Part(float(means.var(ddof=1)) / len(seeds), len(seeds) - 1) if len(seeds) > 1 else None,
        questions=_units([table.parts for table in tables]),
        tasks=_units([sums - shares * means]),
        alike=fsum(table.answered for table in tables) >= ALL_BUT_FEW * len(tables),
    )


def _shares(rows: Sequence[tuple[SplitGrades, Values]]) -> list[float]:
    """How much each row counts in its seed's mean over tasks: a task's weight is shared out among its user prompts."""
    prompts: dict[tuple[str, int], int] = {}
    for row, _ in rows:
        prompts[row.task, row.seed] = prompts.get((row.task, row.seed), 0) + 1
    each = [row.weight / prompts[row.task, row.seed] for row, _ in rows]
    whole: dict[int, float] = {}
    for (row, _), share in zip(rows, each, strict=True):
        whole[row.seed] = whole.get(row.seed, 0.0) + share
    return [share / whole[row.seed] for (row, _), share in zip(rows, each, strict=True)]


@dataclass(frozen=True, slots=True)
class _Table:
    """One task's questions by seeds.

    Attributes:
        parts: by how much a question moves a seed's mean away from the task's.
        concentration: the sum of the squares of the questions' weights.
        answered: the share of (question, seed) that there is a grade of.
    """

    parts: "NDArray[np.float64]"
    concentration: float
    answered: float

    @classmethod
    def of(cls, rows: Sequence[tuple[SplitGrades, Values, float]], seeds: Mapping[int, int]) -> "_Table":
        import numpy as np

        places = _places([row for row, _, _ in rows])
        shape = (1 + max(int(at.max()) for at in places), len(seeds))
        parts, weights = np.zeros(shape), np.zeros(shape)
        for (row, values, share), at in zip(rows, places, strict=True):
            each = share / len(values.each)
            np.add.at(parts[:, seeds[row.seed]], at, each * (values.each - values.each.mean()))
            np.add.at(weights[:, seeds[row.seed]], at, each)
        thinness = max(values.thinness for _, values, _ in rows)
        return cls(
            parts=parts,
            concentration=float((weights.mean(axis=1) ** 2).sum()) * thinness,
            answered=float((weights > 0).mean()),
        )


def _places(rows: Sequence[SplitGrades]) -> "list[NDArray[np.int64]]":
    """The number of each row's questions among all that there are."""
    import numpy as np

    if not any(row.questions for row in rows):
        return [np.arange(len(row.grades)) for row in rows]
    numbers: dict[Hashable, int] = {}
    return [
        np.array([numbers.setdefault(name, len(numbers)) for name in row.questions or range(len(row.grades))])
        for row in rows
    ]


def _units(strata: "Sequence[NDArray[np.float64]]") -> Units:
    """Variance among the rows of each stratum, whose columns are seeds; in each they sum to nothing."""
    variance = doubled = 0.0
    for parts in strata:
        units, seeds = parts.shape
        larger = units / max(units - 1, 1)
        variance += larger * float((parts.mean(axis=1) ** 2).sum())
        if seeds > 1:
            doubled += larger * float(parts.var(axis=1, ddof=1).sum()) / seeds
    return Units(variance, doubled, sum(len(parts) - 1 for parts in strata))
