"""How sure a difference is: paired, stratified bootstrap intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 4_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95% confidence interval, in the unit of the scores."""

    low: float
    high: float


def paired_gain_interval(
    before: Sequence[Sequence[float]], after: Sequence[Sequence[float]], *, seed: int = 0
) -> Interval:
    """Interval of the mean over tasks of (after - before), from grades of the same examples under both prompts.

    Examples are resampled within each task (strata) and stay paired, so that an example's difficulty cancels; tasks
    themselves are taken as given. Percentile bootstrap (`scipy.stats.bootstrap`).

    Args:
        before, after: per task the grades of its examples, 0 to 1, in the same order.
        seed: of the resampling.

    Raises:
        ValueError: if the shapes differ or a task has no examples.
    """
    import numpy as np  # here: scipy.stats takes a second to import, which no other command should wait for
    from scipy.stats import bootstrap

    if [len(task) for task in before] != [len(task) for task in after] or not all(map(len, before)):
        raise ValueError("before and after must hold grades of the same examples, at least one per task")
    differences = [np.asarray(b, float) - np.asarray(a, float) for a, b in zip(before, after, strict=True)]
    if all(np.ptp(task) == 0 for task in differences):
        point = float(np.mean([task.mean() for task in differences]))
        return Interval(point, point)

    # scipy wants at least two observations; one example written twice is resampled to what it is.
    differences = [np.repeat(task, 2) if len(task) == 1 else task for task in differences]

    def mean_of_means(*tasks: "NDArray[np.float64]", axis: int) -> "NDArray[np.float64]":
        means: NDArray[np.float64] = np.mean([task.mean(axis=axis) for task in tasks], axis=0)
        return means

    found = bootstrap(
        differences,
        mean_of_means,
        n_resamples=RESAMPLES,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))
