"""What a task is: examples, an answer format, a metric and a first user prompt."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Protocol, runtime_checkable

from metaspo.backends import Message
from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.history import told
from metaspo.engine.tasks.images import Image
from metaspo.engine.tasks.named_prompts import PromptForm
from metaspo.engine.tasks.programs import Program

TaskRole = Literal["source", "target", "guard"]
PLACEHOLDER: Final = "{question}"
_DOUBLED: Final = late_pattern(r"\{{2,}\s*question\s*\}{2,}")


def single_braces(prompt: str) -> str:
    """The prompt with its placeholder in single braces: "{{question}}" is the same one, as other templates write it."""
    return _DOUBLED.sub(PLACEHOLDER, prompt) if "{{" in prompt else prompt


@dataclass(frozen=True, slots=True)
class Example:
    """A question and its accepted answers.

    Attributes:
        where: file and line it came from, for messages.
        metadata: the columns of its row that graders see (`columns.metadata`), as plain JSON; no model sees them.
        history: the turns before the question, under the system prompt.
        images: that go with the question.
    """

    question: str
    answers: tuple[str, ...]
    where: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    history: tuple[Message, ...] = ()
    images: tuple[Image, ...] = ()

    @property
    def asked(self) -> str:
        """All that is asked, as one text: the question alone where nothing goes with it."""
        return self._with(image.name for image in self.images)

    @property
    def content(self) -> str:
        """As `asked`, with images by what they hold: equal where a model is shown the same."""
        return self._with(image.digest for image in self.images)

    @property
    def expected(self) -> str:
        """What the data say that an answer should be; "" where they hold none, as of tasks that a judge grades."""
        return " or ".join(filter(None, self.answers))

    def _with(self, images: Iterable[str]) -> str:
        before = f"{told(self.history)}\nuser: " if self.history else ""
        return "\n".join([f"{before}{self.question}", *(f"[image {image}]" for image in images)])


@dataclass(frozen=True, slots=True)
class Grade:
    """What one answer is worth.

    Attributes:
        score: 0 to 1. Below 1 is a failure that a strategy may learn from.
        feedback: what was wrong with it, in words; a strategy shows it to the optimizer model.
    """

    score: float
    feedback: str = ""


WRONG: Final = Grade(0.0)
RIGHT: Final = Grade(1.0)


class AnswerFormat(Protocol):
    """Reads an answer out of a completion."""

    __slots__ = ()

    def parse(self, text: str, /) -> str | None:
        """The prediction in canonical form; None if the text is malformed."""
        ...

    def canonical(self, answer: str, /) -> str | None:
        """An accepted answer of the data in the same canonical form; None if it cannot be one (bad data)."""
        ...

    def describe(self) -> str:
        """One sentence that tells a model how to answer, e.g. for prompts: 'Answer with one of: yes, no.'"""
        ...


@runtime_checkable
class Comparing(Protocol):
    """An answer format that compares two answers in its own way."""

    def similarity(self, prediction: str, answer: str, /) -> float:
        """How far a prediction is the accepted answer, 0 to 1; both are canonical. Depends on the two alone."""
        ...


@runtime_checkable
class Explaining(Protocol):
    """An answer format that can say what is wrong with a prediction."""

    def feedback(self, prediction: str, answer: str, /) -> str:
        """In words, for the optimizer model; "" where there is nothing to say. Both are canonical."""
        ...


@runtime_checkable
class Telling(Protocol):
    """An answer format that can say how it reads an answer."""

    def reading(self) -> str:
        """In a sentence or two, for whoever writes prompts: what in an answer counts, and what does not."""
        ...


def is_blocking(answer_format: object) -> bool:
    """Whether comparing by a format would hold up an event loop: its `blocking` says so.

    Then its comparisons may take seconds, and are safe in other threads.
    """
    return bool(getattr(answer_format, "blocking", False))


def similarity_of(answer_format: AnswerFormat) -> Callable[[str, str], float]:
    """How a format compares a prediction with an accepted answer: in its own way, or 1 where they are equal but for
    case."""
    return answer_format.similarity if isinstance(answer_format, Comparing) else _equal


def feedback_of(answer_format: object, prediction: str, answer: str) -> str:
    """What a format says is wrong with a prediction; "" of one that says nothing."""
    return answer_format.feedback(prediction, answer) if isinstance(answer_format, Explaining) else ""


def reading_of(answer_format: object) -> str:
    """How a format says that it reads an answer; "" of one that says nothing."""
    return answer_format.reading() if isinstance(answer_format, Telling) else ""


def _equal(prediction: str, answer: str) -> float:
    return float(prediction.casefold() == answer.casefold())


@runtime_checkable
class Calling(Protocol):
    """A metric whose grades take calls to a model."""

    @property
    def against_first(self) -> bool:
        """Whether it compares with the answers under the first prompts."""
        ...

    @property
    def calls_a_grade(self) -> int:
        """How many a grade takes at most, if each is answered in the form asked for."""
        ...


class Tally(Protocol):
    """A split's score while its answers come in, each missing one taken as right."""

    def add(self, prediction: str | None, answers: tuple[str, ...], grade: float) -> None:
        """One example is answered: its prediction (None = malformed), accepted answers and grade; each once."""
        ...

    @property
    def bound(self) -> float:
        """An upper bound for every way the missing answers may turn out; the score once none is missing.

        Exact to the last bit: no completion of the split scores more, rounding included.
        """
        ...


class Metric(Protocol):
    """Scores predictions; 1 is best. An answer is graded once; a split's score is made of its grades."""

    @property
    def name(self) -> str: ...

    @property
    def additive(self) -> bool:
        """Whether a split's score is the mean of its grades, for every split."""
        ...

    def grade(self, prediction: str | None, example: Example, /) -> Grade:
        """One answer to an example; None is a malformed one. Depends on the two alone."""
        ...

    def tally(self, answers: Sequence[tuple[str, ...]], /) -> Tally:
        """The score of a split of which nothing is answered yet, by the accepted answers of all its examples."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A named set of examples with everything needed to ask and to score them.

    Attributes:
        user_prompt: the first user prompt; holds `{question}` exactly once, or is of the form.
        form: what user prompts are made of, where a program names several prompts; None for one text.
        user_prompts: further first ones, each other than that.
        fixed: parts of all of these that stay in every other one, letter by letter.
        weight: how much the task counts in a mean over tasks, above 0.
        tolerance: of a guard, how far below the score of the first prompts a selected system prompt may fall on it.
        grading: what tells its answer format, and code of the user's own, from others, as JSON; "" for a task that is
            made by hand, of which the format's description has to do.
        program: what answers an example; None for one call with the question in the user prompt.
        max_tokens, response_format: of its answers, in place of the base model's own; the latter as JSON text.
    """

    name: str
    role: TaskRole
    train: tuple[Example, ...]
    test: tuple[Example, ...]
    answer_format: AnswerFormat
    metric: Metric
    user_prompt: str
    weight: float = 1.0
    grading: str = ""
    program: Program | None = None
    max_tokens: int | None = None
    response_format: str = ""
    tolerance: float = 0.0
    user_prompts: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    form: PromptForm | None = None

    @property
    def shown(self) -> tuple[Example, ...]:
        """The split that a run looks at first: train, but for a target task, which may have none."""
        return self.test if self.role == "target" else self.train

    @property
    def max_calls(self) -> int:
        """How many calls an answer takes at most."""
        return self.program.max_calls if self.program else 1

    @property
    def user_texts(self) -> int:
        """How many texts its user prompt is made of: more than one where a program names several."""
        return len(self.form.slots) if self.form else 1

    @property
    def grade_calls(self) -> int:
        """How many calls the grade of an answer takes at most, if each is answered in the form asked for."""
        return self.metric.calls_a_grade if isinstance(self.metric, Calling) else 0

    @property
    def against_first(self) -> bool:
        """Whether answers are graded beside those under the first prompts."""
        return isinstance(self.metric, Calling) and self.metric.against_first

    def calls(self, examples: Sequence[Example]) -> int:
        """How many calls it takes at most to answer these."""
        return len(examples) * self.max_calls

    def with_train(self, rows: int | None) -> "Task":
        """The same task with only so many train examples, the first ones; all of them for None."""
        return self if rows is None else replace(self, train=self.train[:rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One example answered wrongly: what was shown, what came back, what would have been right.

    Attributes:
        feedback: what its grader says of it, if anything.
    """

    example: Example
    response: str
    prediction: str | None
    feedback: str = ""
