"""What figures are made of: the grades of a split, as numbers whose mean is its score."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TaskGrades = Mapping[str, Sequence[float | None]]
"""Grades of the examples of each task, 0 to 1, in the order of the split; None where no answer could be had."""

Labels = tuple[str, str | None]
"""The right label and the predicted one, None for a malformed answer."""

Grade = float | Labels | None
"""A grade; or, where a split's score is its macro-F1, the labels; None where no answer could be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitGrades:
    """A prompt pair on a task's split, in one run.

    Attributes:
        grades: of the split's examples, in its order: all numbers, or all labels.
        questions: what tells questions apart; one that stands twice is one question asked twice. All differ if empty.
        seed: of the run.
        prompt: tells apart several user prompts of the task, over which scores are averaged.
        weight: how much the task counts in a mean over tasks.
    """

    task: str
    grades: Sequence[Grade]
    questions: Sequence[Hashable] = ()
    seed: int = 0
    prompt: int = 0
    weight: float = 1.0


class Values(NamedTuple):
    """Numbers whose mean is a score, and whose spread is that of the score's examples.

    Attributes:
        each: one for each example.
        thinness: how many times as many examples it takes to tell as much of the score as of a share of right answers.
    """

    each: "NDArray[np.float64]"
    thinness: float


def values_of(grades: Sequence[Grade]) -> Values:
    """Numbers as they are, labels as `macro_f1_values`. Raises `ValueError` if there are none."""
    import numpy as np

    if not len(grades):
        raise ValueError("there must be at least one example per task")
    if isinstance(grades[0], tuple):
        return macro_f1_values([labels for labels in grades if isinstance(labels, tuple)])
    return Values(np.asarray(grades, float), 1.0)


def macro_f1_values(labels: Sequence[Labels]) -> Values:
    """The jackknife's pseudo-values of macro-F1, moved so that their mean is macro-F1 itself.

    An example's value is what macro-F1 would lose without it (B. Efron and R. Tibshirani, An Introduction to the
    Bootstrap, 1993, chapter 11): large where its label is rare. Macro-F1 is the mean over the labels that are right
    for some example; what a rare one adds to it rests on few examples, which is what thinness counts.
    """
    import numpy as np

    counted = Counter(
        (right.casefold(), "" if predicted is None else predicted.casefold()) for right, predicted in labels
    )
    cells = sorted(counted)
    counts = np.array([counted[cell] for cell in cells], float)
    whole = _macro_f1(cells, counts)
    examples = len(labels)
    if examples == 1:
        return Values(np.full(1, whole), 1.0)
    values = examples * whole - (examples - 1) * _macro_f1(cells, counts - np.eye(len(cells)))
    values += whole - values @ counts / examples
    by_cell = dict(zip(cells, values, strict=True))
    each = [by_cell[right.casefold(), "" if predicted is None else predicted.casefold()] for right, predicted in labels]
    golds = Counter(right.casefold() for right, _ in labels)
    thinness = examples * sum(1 / count for count in golds.values()) / len(golds) ** 2
    return Values(np.array(each), thinness)


def _macro_f1(cells: Sequence[tuple[str, str]], counts: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Macro-F1 from how many examples have each (right, predicted) pair of labels, along the last axis."""
    import numpy as np

    classes = sorted({right for right, _ in cells})
    right = np.array([[cell[0] == label for label in classes] for cell in cells], float)
    predicted = np.array([[cell[1] == label for label in classes] for cell in cells], float)
    golds, predictions, hits = counts @ right, counts @ predicted, counts @ (right * predicted)
    there = golds > 0
    f1 = 2 * hits / np.maximum(golds + predictions, 1)
    macro: NDArray[np.float64] = (f1 * there).sum(axis=-1) / np.maximum(there.sum(axis=-1), 1)
    return macro
