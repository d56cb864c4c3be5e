"""A split's score while its answers come in: what is missing is taken as right, so that the score is a bound."""

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from statistics import fmean
from typing import ClassVar


class MeanTally:
    """The mean of the grades. Kept as an exact sum: whatever the order of the answers, the same bound to the bit."""

    def __init__(self, answers: Sequence[tuple[str, ...]]) -> None:
        """Raises `ValueError` where there is no example."""
        if not answers:
            raise ValueError("a mean needs at least one example")
        self._examples = len(answers)
        self._best: int | Fraction = len(answers)

    def add(self, prediction: str | None, answers: tuple[str, ...], grade: float) -> None:
        """One example is answered."""
        self._best += int(grade) - 1 if grade in (0, 1) else Fraction(grade) - 1

    @property
    def bound(self) -> float:
        """The best mean within reach, 0 to 1; the mean itself once every example is answered."""
        return float(self._best) / self._examples


class MeanOfGrades:
    """A metric whose score of a split is the mean of its grades."""

    additive: ClassVar[bool] = True

    def tally(self, answers: Sequence[tuple[str, ...]], /) -> MeanTally:
        """Raises `ValueError` where there is no example."""
        return MeanTally(answers)


class MacroF1Tally:
    """The plain mean of the F1 of each label that is the right answer of some example, case ignored.

    A label's F1 is 2 TP / (right ones + predicted ones). With the right ones fixed it grows with TP and falls with
    false alarms; a right answer adds the one and none of the other, for its own label and for all others, so that all
    right is best for every label at once.
    """

    def __init__(self, answers: Sequence[tuple[str, ...]]) -> None:
        """Raises `ValueError` where there is no example, or one with several accepted answers."""
        if not answers or any(len(accepted) != 1 for accepted in answers):
            raise ValueError("macro-F1 needs examples, with one accepted answer each")
        self._right = Counter(accepted[0].casefold() for accepted in answers)
        self._predicted, self._hits = Counter(self._right), Counter(self._right)

    def add(self, prediction: str | None, answers: tuple[str, ...], grade: float) -> None:
        """One example is answered. A malformed answer adds no class of its own to the mean."""
        label, predicted = answers[0].casefold(), "" if prediction is None else prediction.casefold()
        if predicted != label:
            self._hits[label] -= 1
            self._predicted[label] -= 1
            self._predicted[predicted] += 1

    @property
    def bound(self) -> float:
        """The best macro-F1 within reach, 0 to 1; macro-F1 itself once every example is answered."""
        return fmean(
            2 * self._hits[label] / (self._right[label] + self._predicted[label]) for label in sorted(self._right)
        )
