"""Grading by code: functions of a user's own, those that may ask a model among them, and judges.

async def grade(answer, example, call):
    verdict = await call(f"Is this polite? Answer yes or no.\\n\\n{answer}")
    return Grade(float(verdict.text == "yes"), "it should be polite")
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any, ClassVar, cast

from metaspo.engine.tasks.base import Example, Grade
from metaspo.engine.tasks.errors import MetricError
from metaspo.engine.tasks.own_code import as_score
from metaspo.engine.tasks.programs import CallingCode, is_coroutine_function
from metaspo.engine.tasks.shown import shown
from metaspo.engine.tasks.tally import MeanOfGrades

MetricFunction = Callable[..., object]  # (prediction, answers), (prediction, example) or (prediction, example, call)


class Ungraded(Exception):
    """There is no telling what an answer is worth, and why: its example then has no grade, which is no 0."""


@dataclass(frozen=True, kw_only=True)
class Grader(MeanOfGrades, CallingCode):
    """A metric whose grades take calls, or are to be awaited; the score of a split is the mean.

    Attributes:
        function: takes the prediction (None = malformed), the `Example` and a `Call`, which asks the judge's model, or
            the base model where there is none; returns a score from 0 to 1, or a `Grade`.
        calls: how many a grade takes unless some are answered in another form than asked for; 0 for `max_calls`.
        against_first: the example's accepted answer, as the function gets it, is the one under the first prompts.
    """

    what: ClassVar[str] = "metric"
    key: ClassVar[str] = "metric.max_calls"

    calls: int = 0
    against_first: bool = False

    @property
    def calls_a_grade(self) -> int:
        """See `Calling`."""
        return self.calls or self.max_calls

    def grade(self, prediction: str | None, example: Example, /) -> Grade:
        """Raises `MetricError`: there is no grade without calls."""
        raise MetricError(f"metric {self.name!r} grades with calls to a model, and none can be made here")


def checked_grade(returned: object, *, name: str, prediction: str | None) -> Grade:
    """What a function returned, as a grade. Raises `MetricError` where it is neither a number from 0 to 1 nor such a
    `Grade`."""
    grade = returned if isinstance(returned, Grade) else Grade(returned)  # type: ignore[arg-type]
    score = as_score(grade.score)
    if score is None or not isinstance(grade.feedback, str):
        raise MetricError(
            f"metric {name!r} returned {shown(returned)} for the prediction {shown(prediction)}: "
            'it must return a number from 0 to 1, or Grade(number, "what was wrong")'
        )
    return Grade(score, grade.feedback)


def failed_on(name: str, prediction: str | None, why: object) -> MetricError:
    """The error for a function that raised."""
    return MetricError(f"metric {name!r} failed on the prediction {shown(prediction)}: {why}")


def own_grader(name: str, function: MetricFunction, *, max_calls: int) -> Grader | None:
    """The grader that a function is; None for one that is neither given a call nor awaited."""
    names = parameters_of(function)
    if names[2:3] == ["call"]:
        return Grader(name=name, function=function, max_calls=max_calls)
    if not is_coroutine_function(function):
        return None
    whole = names[1:2] == ["example"]

    async def without_call(prediction: str | None, example: Example, _call: object) -> object:
        awaited = function(prediction, example if whole else example.answers)
        return await cast("Awaitable[object]", awaited)

    return Grader(name=name, function=without_call, max_calls=max_calls)


def parameters_of(function: Callable[..., Any]) -> list[str]:
    """The names of a function's parameters; [] of a builtin or a C function that does not tell."""
    try:
        return list(signature(function).parameters)
    except (TypeError, ValueError):
        return []
