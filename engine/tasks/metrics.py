"""How predictions are scored against accepted answers. A malformed answer (prediction None) is wrong in every one."""

import importlib
import math
import re
import string
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import ClassVar, Final

from metaspo.engine.tasks.base import Graded, Metric
from metaspo.engine.tasks.errors import MetricError, TaskError

MetricFunction = Callable[[str | None, tuple[str, ...]], float]

_PUNCTUATION: Final = str.maketrans("", "", string.punctuation)
_ARTICLE: Final = re.compile(r"\b(?:a|an|the)\b")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The share of predictions that equal an accepted answer, case ignored."""

    name: str = "accuracy"
    additive: ClassVar[bool] = True

    def grade(self, graded: Graded, /) -> float:
        return float(_right(graded))

    def aggregate(self, graded: Sequence[Graded], /) -> float:
        return _mean(self, graded)

    def best_case(self, graded: Sequence[Graded | None], answers: Sequence[tuple[str, ...]], /) -> float:
        return _best_mean(self, graded)


@dataclass(frozen=True, slots=True)
class MacroF1:
    """The plain mean of the F1 of each label, case ignored.

    The labels are those that are the right answer of some example of the split. A malformed answer, or one that is no
    such label, is missed by its right label and a false alarm for none; it adds no class of its own to the mean.
    """

    name: str = "macro-f1"
    additive: ClassVar[bool] = False

    def grade(self, graded: Graded, /) -> float:
        return float(_right(graded))

    def aggregate(self, graded: Sequence[Graded], /) -> float:
        """Raises `ValueError` where there is no example, or one with several accepted answers."""
        if not graded or any(len(one.answers) != 1 for one in graded):
            raise ValueError("macro-F1 needs examples with one accepted answer each")
        gold = [one.answers[0].casefold() for one in graded]
        predicted = ["" if one.prediction is None else one.prediction.casefold() for one in graded]
        golds, predictions = Counter(gold), Counter(predicted)
        hits = Counter(right for right, said in zip(gold, predicted, strict=True) if right == said)
        return fmean(2 * hits[label] / (golds[label] + predictions[label]) for label in sorted(golds))

    def best_case(self, graded: Sequence[Graded | None], answers: Sequence[tuple[str, ...]], /) -> float:
        """Missing predictions taken as right.

        Every label's F1 is 2 TP / (gold + predicted). With its gold count fixed it grows with TP and falls with false
        alarms; a right answer adds the one and none of the other, for its own label and for all others, so that all
        right is best for every label at once.
        """
        return self.aggregate([one or Graded(right[0], right) for one, right in zip(graded, answers, strict=True)])


@dataclass(frozen=True, slots=True)
class ExactMatch:
    """The share of predictions that equal an accepted answer after SQuAD's normalization."""

    name: str = "exact-match"
    additive: ClassVar[bool] = True

    def grade(self, graded: Graded, /) -> float:
        if graded.prediction is None:
            return 0.0
        return float(_comparable(graded.prediction) in map(_comparable, graded.answers))

    def aggregate(self, graded: Sequence[Graded], /) -> float:
        return _mean(self, graded)

    def best_case(self, graded: Sequence[Graded | None], answers: Sequence[tuple[str, ...]], /) -> float:
        return _best_mean(self, graded)


@dataclass(frozen=True, slots=True)
class TokenF1:
    """The mean overlap of words with the accepted answer that fits best, after SQuAD's normalization."""

    name: str = "token-f1"
    additive: ClassVar[bool] = True

    def grade(self, graded: Graded, /) -> float:
        if graded.prediction is None:
            return 0.0
        said = Counter(_comparable(graded.prediction).split())
        return max((_overlap(said, Counter(_comparable(answer).split())) for answer in graded.answers), default=0.0)

    def aggregate(self, graded: Sequence[Graded], /) -> float:
        return _mean(self, graded)

    def best_case(self, graded: Sequence[Graded | None], answers: Sequence[tuple[str, ...]], /) -> float:
        return _best_mean(self, graded)


@dataclass(frozen=True, slots=True)
class UserMetric:
    """A user's own function; the score of a split is the mean.

    The function must depend on its arguments alone, or runs no longer replay. What it raises becomes a `MetricError`.

    Attributes:
        name: its import path.
        function: takes the prediction (None = malformed) and the accepted answers, returns a score from 0 to 1.
    """

    name: str
    function: MetricFunction
    additive: ClassVar[bool] = True

    def grade(self, graded: Graded, /) -> float:
        """Raises `MetricError` where the function fails or returns no number from 0 to 1."""
        try:
            score: object = self.function(graded.prediction, graded.answers)
        except Exception as error:
            why = (
                f"metric {self.name!r} failed on the prediction {graded.prediction!r}: {type(error).__name__}: {error}"
            )
            raise MetricError(why) from error
        if not isinstance(score, int | float) or not 0 <= score <= 1:
            raise MetricError(
                f"metric {self.name!r} returned {score!r} for the prediction {graded.prediction!r}: "
                "it must return a number from 0 to 1"
            )
        return float(score)

    def aggregate(self, graded: Sequence[Graded], /) -> float:
        return _mean(self, graded)

    def best_case(self, graded: Sequence[Graded | None], answers: Sequence[tuple[str, ...]], /) -> float:
        return _best_mean(self, graded)


def build_metric(name: str, *, base_dir: Path) -> Metric:
    """The metric that a config names; a module is also looked for in `base_dir`. Raises `TaskError`."""
    for metric in (Accuracy(), ExactMatch(), MacroF1(), TokenF1()):
        if metric.name == name:
            return metric
    return UserMetric(name, _import(name, base_dir))


def squad_normalize(text: str) -> str:
    """Lower case, no ASCII punctuation, no articles (a, an, the), single spaces: SQuAD 1.1's official rule."""
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", bare).split())


def _comparable(text: str) -> str:
    # "The The" and "A+" would be empty, and equal to any other empty one; SQuAD's own rule has this hole.
    return squad_normalize(text) or " ".join(text.lower().split())


def _right(graded: Graded) -> bool:
    said = graded.prediction
    return said is not None and said.casefold() in (answer.casefold() for answer in graded.answers)


def _overlap(said: Counter[str], right: Counter[str]) -> float:
    common = (said & right).total()
    return 2 * common / (said.total() + right.total()) if common else 0.0


def _mean(metric: Metric, graded: Sequence[Graded]) -> float:
    if not graded:
        raise ValueError(f"{metric.name} needs at least one example")
    return math.fsum(metric.grade(one) for one in graded) / len(graded)


def _best_mean(metric: Metric, graded: Sequence[Graded | None]) -> float:
    """The mean with 1 in every missing place; fsum and the division round monotonically, so it is a bound as floats."""
    return math.fsum(1.0 if one is None else metric.grade(one) for one in graded) / len(graded)


def _import(path: str, base_dir: Path) -> MetricFunction:
    module_name, _, attribute = path.partition(":")
    try:
        with _also_from(base_dir):
            found: object = importlib.import_module(module_name)
    except (ImportError, SyntaxError) as error:
        raise TaskError(
            f"metric: cannot import {module_name!r} ({error}); it must be installed or lie in {base_dir}"
        ) from error
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise TaskError(f"metric: {module_name!r} has no function {attribute!r}; define it as fn(prediction, answers)")
    return found


@contextmanager
def _also_from(folder: Path) -> Iterator[None]:
    # Last, so that a file beside the config never stands in for an installed module.
    entry = str(folder)
    importlib.invalidate_caches()
    sys.path.append(entry)
    try:
        yield
    finally:
        sys.path.remove(entry)
