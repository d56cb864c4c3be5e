"""The `[[tasks]]` tables of a config."""

from collections.abc import Callable
from typing import Any, Final, Literal, Self

from pydantic import Field, ValidationInfo, field_serializer, field_validator, model_validator

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.answer_spec import AnswerSpec
from metaspo.engine.tasks.base import PLACEHOLDER, TaskRole, single_braces
from metaspo.engine.tasks.data_spec import Columns, DataSource
from metaspo.engine.tasks.kinds import require_kind
from metaspo.engine.tasks.metric_spec import METRIC_NAMES, MetricSpec, MetricTable, of_a_program, path_of
from metaspo.engine.tasks.named_prompts import PromptForm, Space
from metaspo.engine.tasks.spec_table import IMPORT_PATH, LARGEST, SpecTable, one_of

SampleOrder = Literal["head", "random"]
_NAME: Final = late_pattern(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST_NAME: Final = 100


class TaskSpec(SpecTable):
    """One `[[tasks]]` table.

    Attributes:
        role: "source" is optimized on, "target" is unseen; on a "guard" no selected system prompt may fall too far.
        train, test: a source or guard task needs `train`, a target task `test`; what has no `test` is not tested.
        train_size, test_size: how many examples at most; "all" takes every one.
        sample: which ones where there are more: the first, or a draw that depends on the run's seed, the task's name
            and the split only. A larger sample holds the smaller one of the same seed.
        max_question_chars: longer questions are left out and counted.
        metric: one of `METRIC_NAMES`, "package.module:function", a `MetricTable` or, from Python, a function; by the
            kind of answer if left out.
        prompts: in place of one user prompt, those that a program names, each with places of its own in {braces}.
        numbers: that a program names beside them: a list to choose from, or a `NumberRange`.
        together: whether a candidate changes all of these, or one in turn.
        user_prompt: the first user prompt, with `{question}` exactly once; the question and one sentence on how to
            answer if left out.
        user_prompts: further first user prompts of a source task, the best of which are kept.
        fixed: parts of the first user prompt that stay in every other one, letter by letter.
        weight: how much the task counts in a mean over tasks: what the outer loop raises, and the gains.
        tolerance: of a guard: how far below the first prompts' score on its train split a system prompt may fall there,
            0 to 1; 0 if left out.
        max_tokens, response_format: of this task's answers, over what `[base]` says.
        program: "package.module:function" that answers an example in place of one call; see `Program`.
        max_calls: how many calls a program may make for one example.
    """

    name: str
    role: TaskRole = "source"
    train: DataSource | None = None
    test: DataSource | None = None
    columns: Columns = Columns()
    train_size: int | None = Field(default=50, ge=1, le=LARGEST)
    test_size: int | None = Field(default=500, ge=1, le=LARGEST)
    sample: SampleOrder = "random"
    max_question_chars: int | None = Field(default=None, ge=1, le=LARGEST)
    answer: AnswerSpec = AnswerSpec()
    metric: MetricSpec | None = None
    prompts: dict[str, str] = Field(default_factory=dict)
    numbers: dict[str, Space] = Field(default_factory=dict)
    together: bool = False
    user_prompt: str | None = Field(default=None, validate_default=True)
    user_prompts: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    max_tokens: int | None = Field(default=None, ge=1, le=10_000_000)
    response_format: dict[str, Any] = Field(default_factory=dict)
    program: str | None = None
    max_calls: int | None = Field(default=None, ge=1, le=10_000)
    tolerance: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if len(value) > _LONGEST_NAME:
            raise ValueError(f"is {len(value)} characters long, at most {_LONGEST_NAME} may it be (it names files)")
        if not _NAME.fullmatch(value):
            raise ValueError(f"{value!r} is no task name: use letters, digits, '.', '_' and '-' (it names files)")
        return value

    @field_validator("train_size", "test_size", mode="before")
    @classmethod
    def _all(cls, value: object) -> object:
        require_kind(value, frozenset({int, "all"}))
        return None if value == "all" else value

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, value: object) -> object:
        if not isinstance(value, str) or value in METRIC_NAMES or IMPORT_PATH.fullmatch(value) or of_a_program(value):
            return value
        raise ValueError(f'{value!r} is no metric: use {one_of(METRIC_NAMES, value)} or "package.module:function"')

    @field_validator("program")
    @classmethod
    def _import_path(cls, value: str | None) -> str | None:
        if value is not None and not IMPORT_PATH.fullmatch(value):
            raise ValueError(f'{value!r} names no function: write "package.module:function"')
        return value

    @field_validator("user_prompt")
    @classmethod
    def _first(cls, value: str | None, info: ValidationInfo) -> str | None:
        """The named prompts and numbers are one, if there are any."""
        if not info.data.get("prompts"):
            return None if value is None else _with_one_placeholder(value)
        form, first = PromptForm.of(info.data["prompts"], info.data.get("numbers", {}))
        return first if value is None else form.checked(value)

    @field_validator("user_prompts")
    @classmethod
    def _further(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        return tuple(filter(None, (cls._first(prompt, info) for prompt in value)))

    @field_validator("fixed")
    @classmethod
    def _some_text(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parts = tuple(single_braces(part).strip() for part in value)
        if not all(parts):
            raise ValueError("must be parts of user_prompt, letter by letter: one of them is empty")
        return parts

    @model_validator(mode="after")
    def _has_data(self) -> Self:
        needed = "test" if self.role == "target" else "train"
        if getattr(self, needed) is None:
            raise ValueError(f'a {self.role} task needs {needed}: add {needed} = "FILE.jsonl"')
        if self.role == "guard" and self.weight != 1:
            raise ValueError("a guard counts in no mean: leave weight out")
        if self.user_prompts and self.role != "source":
            raise ValueError("user_prompts are to be chosen among by optimizing: they are for a source task")
        if self.fixed and self.form is not None:
            raise ValueError("fixed is of one user prompt, and a program names several here: leave it out")
        if self.fixed and self.role != "source":
            raise ValueError("fixed is of user prompts that are optimized: it is for a source task")
        if len({self.user_prompt, *self.user_prompts}) <= len(self.user_prompts):
            raise ValueError("user_prompts are further ones beside user_prompt: a prompt is there twice")
        if self.role != "guard" and self.tolerance is not None:
            raise ValueError('tolerance is for a guard: set role = "guard", or leave it out')
        if self.metric == "macro-f1" and not self.answer.facts.classes:
            raise ValueError('metric = "macro-f1" needs a set of labels: set answer = "label"')
        if self.prompts and self.program is None:
            raise ValueError("prompts are named for a program: add program and max_calls, or write one user_prompt")
        if not self.prompts and (self.numbers or self.together):
            raise ValueError('numbers and together go with prompts: name what is asked, prompts = { answer = "…" }')
        if (self.program is None) != (self.max_calls is None):
            raise ValueError(
                "program and max_calls go together: max_calls = 3 lets it make three calls for one example at most"
            )
        return self

    @field_serializer("metric", when_used="json")
    def _metric_path(self, value: MetricSpec | None) -> object:
        if isinstance(value, MetricTable):
            return value.model_dump(mode="json", exclude_unset=True)
        return path_of(value) if callable(value) else value

    @property
    def form(self) -> PromptForm | None:
        """What its user prompts are made of, where a program names prompts."""
        return PromptForm.of(self.prompts, self.numbers, together=self.together)[0] if self.prompts else None

    def metric_name(self) -> str:
        """The metric as given, or the default for the kind of answer; of a function its import path."""
        if isinstance(self.metric, MetricTable) and self.metric.judge is not None:
            return "judge"
        function = self.metric_function
        return path_of(function) if callable(function) else function or self.answer.facts.metric

    @property
    def metric_function(self) -> str | Callable[..., object] | None:
        """The metric's name or function, however it is given."""
        return self.metric.function if isinstance(self.metric, MetricTable) else self.metric

    @property
    def judge(self) -> MetricTable | None:
        """The judge that its answers are graded by, if any."""
        return self.metric if isinstance(self.metric, MetricTable) and self.metric.judge is not None else None


def _with_one_placeholder(value: str) -> str:
    prompt = single_braces(value)
    if prompt.count(PLACEHOLDER) != 1:
        raise ValueError(f"must hold {PLACEHOLDER} exactly once, holds it {prompt.count(PLACEHOLDER)} times")
    return prompt
