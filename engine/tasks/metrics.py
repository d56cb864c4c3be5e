"""How predictions are scored against accepted answers. A malformed answer (prediction None) is wrong in every one."""

import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar, Final

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.base import (
    RIGHT,
    WRONG,
    AnswerFormat,
    Example,
    Grade,
    Metric,
    Tally,
    feedback_of,
    similarity_of,
)
from metaspo.engine.tasks.errors import TaskError
from metaspo.engine.tasks.formats.plain import one_form
from metaspo.engine.tasks.graders import MetricFunction, checked_grade, failed_on, own_grader, parameters_of
from metaspo.engine.tasks.imports import import_object
from metaspo.engine.tasks.own_code import called
from metaspo.engine.tasks.tally import MacroF1Tally, MeanOfGrades

_PUNCTUATION: Final = str.maketrans("", "", string.punctuation)
_ARTICLE: Final = late_pattern(r"\b(?:a|an|the)\b")


@dataclass(frozen=True)
class Accuracy(MeanOfGrades):
    """The share of predictions that equal an accepted answer, case ignored."""

    name: str = "accuracy"

    def grade(self, prediction: str | None, example: Example, /) -> Grade:
        return _right_or_wrong(prediction, example.answers)


@dataclass(frozen=True)
class MacroF1:
    """The plain mean of the F1 of each label, case ignored; an example's grade is whether it is right.

    The labels are those that are the right answer of some example of the split. A malformed answer, or one that is no
    such label, is missed by its right label and a false alarm for none; it adds no class of its own to the mean.
    """

    name: str = "macro-f1"
    additive: ClassVar[bool] = False

    def grade(self, prediction: str | None, example: Example, /) -> Grade:
        return _right_or_wrong(prediction, example.answers)

    def tally(self, answers: Sequence[tuple[str, ...]], /) -> Tally:
        """Raises `ValueError` where there is no example, or one with several accepted answers."""
        return MacroF1Tally(answers)


@dataclass(frozen=True)
class ExactMatch(MeanOfGrades):
    """The share of predictions that equal an accepted answer after SQuAD's normalization."""

    name: str = "exact-match"

    def grade(self, prediction: str | None, example: Example, /) -> Grade:
        right = prediction is not None and _comparable(prediction) in map(_comparable, example.answers)
        return RIGHT if right else WRONG


@dataclass(frozen=True)
class TokenF1(MeanOfGrades):
    """The mean overlap of words with the accepted answer that fits best, after SQuAD's normalization."""

    name: str = "token-f1"

    def grade(self, prediction: str | None, example: Example, /) -> Grade:
        if prediction is None:
            return WRONG
        words = Counter(_comparable(prediction).split())
        overlaps = (_overlap(words, Counter(_comparable(answer).split())) for answer in example.answers)
        return Grade(max(overlaps, default=0.0))


@dataclass(frozen=True)
class Agreement(MeanOfGrades):
    """The mean of what the answer format says a prediction has of the accepted answer that fits best.

    For numbers whether it is within the tolerance, for expressions whether it is equal, for JSON the share of fields,
    for code whether all its calls return what they must.
    """

    answer_format: AnswerFormat
    name: str = "agreement"

    def grade(self, prediction: str | None, example: Example, /) -> Grade:
        if prediction is None:
            return WRONG
        similarity = similarity_of(self.answer_format)
        scores = [similarity(prediction, answer) for answer in example.answers]
        best = max(scores, default=0.0)
        if best >= 1 or not scores:
            return Grade(best)
        return Grade(best, feedback_of(self.answer_format, prediction, example.answers[scores.index(best)]))


@dataclass(frozen=True)
class UserMetric(MeanOfGrades):
    """A user's own function; the score of a split is the mean.

    The function must depend on its arguments alone, or runs no longer replay. What it raises becomes a `MetricError`.
    It may be slow: runs call it in a thread, and never twice at the same time.

    Attributes:
        name: its import path.
        function: takes the prediction (None = malformed) and the accepted answers, or, where its second parameter is
            called `example`, the whole `Example`; returns a score from 0 to 1, or a `Grade`.
    """

    name: str
    function: MetricFunction

    def grade(self, prediction: str | None, example: Example, /) -> Grade:
        """Raises `MetricError` where the function fails, or returns neither a number from 0 to 1 nor such a `Grade`."""
        given = example if self._takes_example else example.answers
        failed = partial(failed_on, self.name, prediction)
        returned = called(self.function, prediction, given, failed=failed)
        return checked_grade(returned, name=self.name, prediction=prediction)

    @cached_property
    def _takes_example(self) -> bool:
        return parameters_of(self.function)[1:2] == ["example"]


def build_metric(name: str, *, base_dir: Path, max_calls: int = 1) -> Metric:
    """The metric that a config names; a module is also looked for in `base_dir`. Raises `TaskError`.

    Args:
        max_calls: that a function which may ask a model makes for one answer.
    """
    for metric in (Accuracy(), ExactMatch(), MacroF1(), TokenF1()):
        if metric.name == name:
            return metric
    function = import_object(name, base_dir=base_dir, key="metric")
    if not callable(function):
        module, _, attribute = name.partition(":")
        raise TaskError(
            f"metric: {module!r} has no function {attribute!r}; define it as fn(prediction, answers), "
            "as fn(prediction, example), or as fn(prediction, example, call)"
        )
    return own_metric(name, function, max_calls=max_calls)


def own_metric(name: str, function: MetricFunction, *, max_calls: int = 1) -> Metric:
    """A function of a user's own as a metric: called in a thread, or with a `Call`, as its parameters say."""
    return own_grader(name, function, max_calls=max_calls) or UserMetric(name, function)


def squad_normalize(text: str) -> str:
    """Lower case, no ASCII punctuation, no articles (a, an, the), single spaces: SQuAD 1.1's official rule."""
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", bare).split())


def _comparable(text: str) -> str:
    # "The The" and "A+" would be empty, and equal to any other empty one; SQuAD's own rule has this hole.
    text = one_form(text)
    return squad_normalize(text) or " ".join(text.lower().split())


def _right_or_wrong(prediction: str | None, answers: tuple[str, ...]) -> Grade:
    if prediction is None:
        return WRONG
    right = prediction in answers or _caseless(prediction) in map(_caseless, answers)
    return RIGHT if right else WRONG


def _caseless(text: str) -> str:
    return one_form(text).casefold()


def _overlap(given: Counter[str], right: Counter[str]) -> float:
    common = (given & right).total()
    return 2 * common / (given.total() + right.total()) if common else 0.0
