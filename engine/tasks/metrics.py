"""How predictions are scored against accepted answers. A malformed answer (prediction None) is wrong in every one."""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from metaspo.engine.tasks.base import AnswerFormat, Metric, Tally, similarity_of
from metaspo.engine.tasks.errors import MetricError, TaskError
from metaspo.engine.tasks.imports import import_object
from metaspo.engine.tasks.tally import MacroF1Tally, MeanTally

MetricFunction = Callable[[str | None, tuple[str, ...]], float]

_PUNCTUATION: Final = str.maketrans("", "", string.punctuation)
_ARTICLE: Final = re.compile(r"\b(?:a|an|the)\b")


class MeanOfGrades:
    """A metric whose score of a split is the mean of its grades."""

    additive: ClassVar[bool] = True

    def tally(self, answers: Sequence[tuple[str, ...]], /) -> Tally:
        """Raises `ValueError` where there is no example."""
        return MeanTally(answers)


@dataclass(frozen=True)
class Accuracy(MeanOfGrades):
    """The share of predictions that equal an accepted answer, case ignored."""

    name: str = "accuracy"

    def grade(self, prediction: str | None, answers: tuple[str, ...], /) -> float:
        return float(_is_right(prediction, answers))


@dataclass(frozen=True)
class MacroF1:
    """The plain mean of the F1 of each label, case ignored; an example's grade is whether it is right.

    The labels are those that are the right answer of some example of the split. A malformed answer, or one that is no
    such label, is missed by its right label and a false alarm for none; it adds no class of its own to the mean.
    """

    name: str = "macro-f1"
    additive: ClassVar[bool] = False

    def grade(self, prediction: str | None, answers: tuple[str, ...], /) -> float:
        return float(_is_right(prediction, answers))

    def tally(self, answers: Sequence[tuple[str, ...]], /) -> Tally:
        """Raises `ValueError` where there is no example, or one with several accepted answers."""
        return MacroF1Tally(answers)


@dataclass(frozen=True)
class ExactMatch(MeanOfGrades):
    """The share of predictions that equal an accepted answer after SQuAD's normalization."""

    name: str = "exact-match"

    def grade(self, prediction: str | None, answers: tuple[str, ...], /) -> float:
        return 0.0 if prediction is None else float(_comparable(prediction) in map(_comparable, answers))


@dataclass(frozen=True)
class TokenF1(MeanOfGrades):
    """The mean overlap of words with the accepted answer that fits best, after SQuAD's normalization."""

    name: str = "token-f1"

    def grade(self, prediction: str | None, answers: tuple[str, ...], /) -> float:
        if prediction is None:
            return 0.0
        words = Counter(_comparable(prediction).split())
        return max((_overlap(words, Counter(_comparable(answer).split())) for answer in answers), default=0.0)


@dataclass(frozen=True)
class Agreement(MeanOfGrades):
    """The mean of what the answer format says a prediction has of the accepted answer that fits best.

    For numbers whether it is within the tolerance, for expressions whether it is equal, for JSON the share of fields.
    """

    answer_format: AnswerFormat
    name: str = "agreement"

    def grade(self, prediction: str | None, answers: tuple[str, ...], /) -> float:
        if prediction is None:
            return 0.0
        similarity = similarity_of(self.answer_format)
        return max((similarity(prediction, answer) for answer in answers), default=0.0)


@dataclass(frozen=True)
class UserMetric(MeanOfGrades):
    """A user's own function; the score of a split is the mean.

    The function must depend on its arguments alone, or runs no longer replay. What it raises becomes a `MetricError`.

    Attributes:
        name: its import path.
        function: takes the prediction (None = malformed) and the accepted answers, returns a score from 0 to 1.
    """

    name: str
    function: MetricFunction

    def grade(self, prediction: str | None, answers: tuple[str, ...], /) -> float:
        """Raises `MetricError` where the function fails or returns no number from 0 to 1."""
        try:
            score: object = self.function(prediction, answers)
        except Exception as error:
            why = f"metric {self.name!r} failed on the prediction {prediction!r}: {type(error).__name__}: {error}"
            raise MetricError(why) from error
        if not isinstance(score, int | float) or not 0 <= score <= 1:
            raise MetricError(
                f"metric {self.name!r} returned {score!r} for the prediction {prediction!r}: "
                "it must return a number from 0 to 1"
            )
        return float(score)


def build_metric(name: str, *, base_dir: Path) -> Metric:
    """The metric that a config names; a module is also looked for in `base_dir`. Raises `TaskError`."""
    for metric in (Accuracy(), ExactMatch(), MacroF1(), TokenF1()):
        if metric.name == name:
            return metric
    function = import_object(name, base_dir=base_dir, key="metric")
    if not callable(function):
        module, _, attribute = name.partition(":")
        raise TaskError(f"metric: {module!r} has no function {attribute!r}; define it as fn(prediction, answers)")
    return UserMetric(name, function)


def squad_normalize(text: str) -> str:
    """Lower case, no ASCII punctuation, no articles (a, an, the), single spaces: SQuAD 1.1's official rule."""
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", bare).split())


def _comparable(text: str) -> str:
    # "The The" and "A+" would be empty, and equal to any other empty one; SQuAD's own rule has this hole.
    return squad_normalize(text) or " ".join(text.lower().split())


def _is_right(prediction: str | None, answers: tuple[str, ...]) -> bool:
    return prediction is not None and prediction.casefold() in (answer.casefold() for answer in answers)


def _overlap(said: Counter[str], right: Counter[str]) -> float:
    common = (said & right).total()
    return 2 * common / (said.total() + right.total()) if common else 0.0
