"""What a task's answers are worth: a metric's name, a function, or a judge."""

from collections.abc import Callable
from typing import Annotated, Final, Literal, Self

from pydantic import Discriminator, Field, Tag, field_serializer, field_validator, model_validator

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.functions import importable
from metaspo.engine.tasks.spec_table import IMPORT_PATH, SpecTable

METRIC_NAMES: Final = ("accuracy", "agreement", "exact-match", "macro-f1", "token-f1")
_OF_A_PROGRAM: Final = late_pattern(r"[\w.]+:.*<[a-z]+>.*|__main__:.+|functools:partial")


Scale = Annotated[
    Annotated[int, Field(ge=2, le=100, strict=True), Tag("[number]")] | Annotated[tuple[str, ...], Tag("[words]")],
    Discriminator(lambda value: "[words]" if isinstance(value, list | tuple) else "[number]"),
]


class MetricTable(SpecTable):
    """A `metric` that is a table: a judge, or a function with what it may ask.

    Attributes:
        judge: the rubric that a model grades by, or the name of a text file (.txt, .md) that holds it.
        scale: what a judge's scores are: 5 for 1 to 5, or words from the worst to the best, as evenly spaced.
        against: compares each answer, in both orders, with the data's ("gold") or with that under the first prompts
            ("first"), in place of scoring it for itself.
        shows_gold: whether a judge that scores an answer for itself sees the data's.
        reasons: whether a judge gives its reasons first, which strategies learn from.
        repeats: how many times a judge is asked the same; the mean counts.
        structured: whether the judge's server is sent a JSON schema for its answer.
        function: "package.module:function", or from Python a function.
        max_calls: how many calls the function may make for one answer.
    """

    judge: str | None = Field(default=None, min_length=1)
    scale: Scale = 5
    against: Literal["gold", "first"] | None = None
    shows_gold: bool = True
    reasons: bool = True
    repeats: int = Field(default=1, ge=1, le=100)
    structured: bool = True
    function: str | Callable[..., object] | None = None
    max_calls: int | None = Field(default=None, ge=1, le=10_000)

    @field_validator("function")
    @classmethod
    def _a_function(cls, value: str | Callable[..., object] | None) -> object:
        if isinstance(value, str) and not IMPORT_PATH.fullmatch(value) and not of_a_program(value):
            raise ValueError(f'{value!r} names no function: write "package.module:function"')
        return value

    @field_validator("scale")
    @classmethod
    def _words(cls, value: int | tuple[str, ...]) -> int | tuple[str, ...]:
        if isinstance(value, tuple):
            words = {word.strip().casefold() for word in value}
            if len(words) < max(2, len(value)) or "" in words:
                raise ValueError("must be two different words at least, from the worst to the best")
        return value

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.judge is None) == (self.function is None):
            raise ValueError('give either judge = "RUBRIC" or function = "package.module:function"')
        strange = self.model_fields_set - ({"function", "max_calls"} if self.function else set(_OF_A_JUDGE))
        if strange:
            which = "a function" if self.function else "a judge"
            raise ValueError(f"{min(strange)} does not go with {which}: leave it out")
        if self.against and "scale" in self.model_fields_set:
            raise ValueError("a comparison has no scale: leave out scale or against")
        return self

    @field_serializer("function", when_used="json")
    def _function_path(self, value: str | Callable[..., object] | None) -> str | None:
        return path_of(value) if callable(value) else value


_OF_A_JUDGE: Final = ("judge", "scale", "against", "shows_gold", "reasons", "repeats", "structured")
MetricSpec = Annotated[
    Annotated[str, Tag("[text]")]
    | Annotated[MetricTable, Tag("[table]")]
    | Annotated[Callable[..., object], Tag("[function]")],
    Discriminator(lambda value: "[text]" if isinstance(value, str) else "[function]" if callable(value) else "[table]"),
]
"""A metric's name, a table, or from Python a function."""


def path_of(function: Callable[..., object]) -> str:
    """Where a function is to be found, "package.module:function"; of what is not there, a path `of_a_program`."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    path = f"{getattr(function, '__module__', type(function).__module__)}:{name}"
    return path if importable(function) or of_a_program(path) else path.replace(":", ":<program>.", 1)


def of_a_program(path: str) -> bool:
    """Whether a path names what only the program that wrote it can find: a closure, a lambda, one of its script."""
    return bool(_OF_A_PROGRAM.fullmatch(path))
