"""Figures that no formula gives the variance of, drawn anew: the bootstrap over seeds and over questions.

How often each of `n` questions occurs among `n` drawn with replacement is multinomial. The same draws serve every
figure that is compared with another, so that what they have in common cancels.
"""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from metaspo.engine.statistics.grades import SplitGrades, values_of
from metaspo.engine.statistics.scores import answered

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 2_000


class Resamples:
    """Draws of the seeds, and of each task's questions, that some splits have."""

    def __init__(self, rows: Sequence[SplitGrades], *, size: int = RESAMPLES, seed: int = 0) -> None:
        import numpy as np

        rng = np.random.default_rng(seed)
        seeds = sorted({row.seed for row in rows})
        drawn = rng.multinomial(len(seeds), [1 / len(seeds)] * len(seeds), size=size)
        self._seeds = dict(zip(seeds, drawn.T, strict=True))
        self._columns: dict[str, dict[Hashable, int]] = {}
        for row in sorted(rows, key=lambda row: (row.task, row.seed)):
            columns = self._columns.setdefault(row.task, {})
            for question in _questions(row):
                columns.setdefault(question, len(columns))
        self._drawn = {
            task: rng.multinomial(len(columns), [1 / len(columns)] * len(columns), size=size)
            for task, columns in self._columns.items()
        }

    def mean(self, rows: Sequence[SplitGrades]) -> "NDArray[np.float64]":
        """The mean over some of the splits, each with its task's weight, in every draw; nan where a draw has none."""
        import numpy as np

        sums, weights = 0.0, 0.0
        for row in map(answered, rows):
            columns = self._columns[row.task]
            times = self._drawn[row.task][:, [columns[question] for question in _questions(row)]]
            whole = times.sum(axis=1)
            weight = row.weight * self._seeds[row.seed] * (whole > 0)
            sums = sums + weight * (times @ values_of(row.grades).each) / np.maximum(whole, 1)
            weights = weights + weight
        means: NDArray[np.float64] = sums / np.where(np.asarray(weights) > 0, weights, np.nan)
        return means


def _questions(row: SplitGrades) -> Sequence[Hashable]:
    return row.questions or range(len(row.grades))
