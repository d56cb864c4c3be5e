"""Resampling examples with replacement, by their distinct outcomes.

How often each distinct outcome occurs among `n` examples drawn with replacement is multinomial. Drawing these counts is
the bootstrap over examples, exactly, at a cost that grows with the outcomes (two for right and wrong) in place of the
examples; and it cannot depend on the order in which the examples stand.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.random import Generator
    from numpy.typing import NDArray

RESAMPLES = 4_000

TaskGrades = Mapping[str, Sequence[float | None]]
"""Grades of the examples of each task, 0 to 1, in the order of the split; None where no answer could be had."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The examples of one task.

    Attributes:
        counts: how many examples have each distinct outcome.
        statistic: the figure of samples, from the counts of their outcomes (along the last axis).
    """

    counts: tuple[int, ...]
    statistic: "Callable[[NDArray[np.float64]], NDArray[np.float64]]"

    @property
    def value(self) -> float:
        """The figure of the sample itself."""
        import numpy as np

        return float(self.statistic(np.asarray([self.counts], float))[0])

    def draw(self, rng: "Generator", size: int) -> "NDArray[np.float64]":
        """The figures of `size` resamples of the examples."""
        import numpy as np

        examples = sum(self.counts)
        drawn = rng.multinomial(examples, np.asarray(self.counts) / examples, size=size)
        return self.statistic(drawn.astype(float))


def mean_of(grades: Sequence[float]) -> Sample:
    """A sample whose figure is the mean. Raises `ValueError` if there are no grades."""
    if not grades:
        raise ValueError("there must be at least one grade per task")
    counts = Counter(map(float, grades))
    values = sorted(counts)

    def mean(drawn: "NDArray[np.float64]") -> "NDArray[np.float64]":
        # From the lowest value up, so that values that are all equal give exactly that value.
        above: NDArray[np.float64] = drawn @ [value - values[0] for value in values] / drawn.sum(axis=-1)
        return values[0] + above

    return Sample(tuple(counts[value] for value in values), mean)


def macro_f1_of(labels: Sequence[tuple[str, str | None]]) -> Sample:
    """A sample whose figure is macro-F1, from (right label, predicted label or None) of each example.

    The mean over the labels that are right for some example: of the resample, as the metric does it for a split. Raises
    `ValueError` if there are no examples.
    """
    import numpy as np

    if not labels:
        raise ValueError("there must be at least one example per task")
    counts = Counter((right.casefold(), "" if said is None else said.casefold()) for right, said in labels)
    cells = sorted(counts)
    classes = sorted({right for right, _ in cells})
    right = np.array([[cell[0] == label for label in classes] for cell in cells], float)
    said = np.array([[cell[1] == label for label in classes] for cell in cells], float)

    def macro_f1(drawn: "NDArray[np.float64]") -> "NDArray[np.float64]":
        golds, predictions, hits = drawn @ right, drawn @ said, drawn @ (right * said)
        f1 = 2 * hits / np.maximum(golds + predictions, 1)
        there = golds > 0
        found: NDArray[np.float64] = (f1 * there).sum(axis=-1) / there.sum(axis=-1)
        return found

    return Sample(tuple(counts[cell] for cell in cells), macro_f1)


def draw_over_examples(
    tasks: Sequence[Sample], weights: Sequence[float], *, seed: int, size: int = RESAMPLES
) -> "NDArray[np.float64]":
    """Resampled means over these very tasks: the examples of each are drawn anew, the tasks are as they are."""
    import numpy as np

    rng = np.random.default_rng(seed)
    draws: NDArray[np.float64] = np.average([task.draw(rng, size) for task in tasks], axis=0, weights=weights)
    return draws


def draw_over_tasks(
    tasks: Sequence[Sample], weights: Sequence[float], *, seed: int, size: int = RESAMPLES
) -> "NDArray[np.float64]":
    """Resampled means over tasks of this kind: tasks are drawn anew, then the examples of each task drawn."""
    import numpy as np

    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(tasks), size=(size, len(tasks)))
    figures = np.empty(drawn.shape)
    for position, task in enumerate(tasks):
        there = drawn == position
        figures[there] = task.draw(rng, int(there.sum()))
    weigh = np.asarray(weights, float)[drawn]
    draws: NDArray[np.float64] = (figures * weigh).sum(axis=1) / weigh.sum(axis=1)
    return draws
