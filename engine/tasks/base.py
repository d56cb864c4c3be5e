"""What a task is: examples, an answer format, a metric and a first user prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

TaskRole = Literal["source", "target"]
PLACEHOLDER = "{question}"


@dataclass(frozen=True, slots=True)
class Example:
    """A question and its accepted answers.

    Attributes:
        where: file and line it came from, for messages.
    """

    question: str
    answers: tuple[str, ...]
    where: str = ""


class AnswerFormat(Protocol):
    """Reads an answer out of a completion."""

    def parse(self, text: str, /) -> str | None:
        """The prediction in canonical form; None if the text is malformed."""
        ...

    def canonical(self, answer: str, /) -> str | None:
        """An accepted answer of the data in the same canonical form; None if it cannot be one (bad data)."""
        ...

    def describe(self) -> str:
        """One sentence that tells a model how to answer, e.g. for prompts: 'Answer with one of: yes, no.'"""
        ...


@dataclass(frozen=True, slots=True)
class Graded:
    """One example's prediction beside its accepted answers, all canonical; prediction None = malformed."""

    prediction: str | None
    answers: tuple[str, ...]


class Metric(Protocol):
    """Scores predictions; 1 is best."""

    @property
    def name(self) -> str: ...

    @property
    def additive(self) -> bool:
        """Whether `aggregate` is the mean of `grade`, for every split."""
        ...

    def grade(self, graded: Graded, /) -> float:
        """One example, 0 to 1. Below 1 is a failure that a strategy may learn from."""
        ...

    def aggregate(self, graded: Sequence[Graded], /) -> float:
        """A whole split, 0 to 1 (for most metrics the mean of `grade`)."""
        ...

    def best_case(self, graded: Sequence[Graded | None], answers: Sequence[tuple[str, ...]], /) -> float:
        """What `aggregate` can still reach: an upper bound for every way the missing predictions (None) may turn out.

        `answers` are the accepted answers of all examples. The bound is exact to the last bit: no completion of the
        split aggregates to more, rounding included, and with nothing missing it equals `aggregate`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A named set of examples with everything needed to ask and to score them.

    Attributes:
        user_prompt: the first user prompt; holds `{question}` exactly once.
        weight: how much the task counts in a mean over tasks, above 0.
    """

    name: str
    role: TaskRole
    train: tuple[Example, ...]
    test: tuple[Example, ...]
    answer_format: AnswerFormat
    metric: Metric
    user_prompt: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One example answered wrongly: what was shown, what came back, what would have been right."""

    example: Example
    response: str
    prediction: str | None
