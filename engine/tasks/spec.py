"""The `[[tasks]]` tables of a config: where a task's data lie and how its answers count."""

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from metaspo.backends.paths import usable_path
from metaspo.engine.tasks.base import PLACEHOLDER, TaskRole, single_braces
from metaspo.engine.tasks.functions import importable

SampleOrder = Literal["head", "random"]
PathText = Annotated[str, AfterValidator(usable_path)]

METRIC_NAMES: Final = ("accuracy", "agreement", "exact-match", "macro-f1", "token-f1")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST_NAME: Final = 100
_LARGEST: Final = 2**63 - 1  # that what a run writes down can hold
_TAG: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_IMPORT_PATH: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_OF_A_PROGRAM: Final = re.compile(r"[\w.]+:.*<[a-z]+>.*|__main__:.+|functools:partial")
_FIELD: Final = re.compile(r"\{[^{}]+\}")
_PART: Final = re.compile(r"([0-9]{1,3})-([0-9]{1,3})%")


class KindOfAnswer(NamedTuple):
    """What goes with a kind of answer.

    Attributes:
        keys: of an `answer` table, beside those that go with every kind.
        metric: what its answers are scored by, unless the task says otherwise.
        classes: whether there are few different answers, as macro-F1 needs.
        values: what a list in the data is: several answers that are each accepted, or one whole; "objects": these may
            be objects.
        labels_of_data: its labels are the data's own answers where the table names none.
    """

    keys: tuple[str, ...] = ()
    metric: str = "agreement"
    classes: bool = False
    values: Literal["several", "objects", "whole"] = "several"
    labels_of_data: bool = False


KINDS: Final[Mapping[str, KindOfAnswer]] = {
    "label": KindOfAnswer(("labels", "number_words", "alone"), "accuracy", classes=True, labels_of_data=True),
    "labels": KindOfAnswer(("labels", "number_words"), values="whole", labels_of_data=True),
    "letter": KindOfAnswer(("labels",), "accuracy", classes=True),
    "integer": KindOfAnswer(("number_words",), "accuracy", classes=True),
    "number": KindOfAnswer(("absolute_tolerance", "relative_tolerance", "units", "number_words")),
    "text": KindOfAnswer(("number_words",), "exact-match"),
    "math": KindOfAnswer(("time_limit",)),
    "json": KindOfAnswer(("json_schema",), values="objects"),
}
"""By name. A new one is a row here, a class in `formats/`, and a line of `formats/build`."""

OF_THE_USERS_OWN: Final = KindOfAnswer(("options",), classes=True, values="objects")
ANSWER_KINDS: Final = tuple(KINDS)


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSource(_Table):
    """Where one split comes from: a file (`"train.jsonl"` for short) or a Hugging Face dataset.

    Attributes:
        path: .jsonl, .csv, .tsv or .parquet, relative to the config file.
        given: the rows themselves, tables with a key for each column; a list in place of the source, for short.
        delimiter: what separates the cells of a .csv or .tsv file, where it is not a comma or a tab.
        bad_rows: "skip" leaves out, and counts, rows that cannot be used; else the first one is a fault.
        dataset: a Hugging Face dataset's name, or a folder that begins with `./`, `../`, `/` or `~`.
        config: the dataset's configuration, where it has several.
        split: the dataset's split, slices such as `train[:200]` included.
        files: with dataset = "json", "csv" or "parquet": the files to read, `hf://datasets/OWNER/NAME/FILE` included.
        rows: how many rows are looked at, from the first on; a dataset is then streamed, the rest is not downloaded.
        where: keeps the rows whose columns hold these values, {subject = "anatomy"} or {subject = ["a", "b"]}.
        part: keeps a share of the rows, "0-30%" beside "30-100%" makes two splits out of one. Drawn by hash.
        group: the column that `part` goes by: rows with one value in it stay together; else the whole row.
    """

    path: PathText | None = None
    given: tuple[dict[str, Any], ...] | None = None
    dataset: PathText | None = None
    config: str | None = None
    split: str | None = None
    files: PathText | None = None
    rows: int | None = Field(default=None, ge=1, le=_LARGEST, strict=True)
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    part: str | None = None
    group: str | None = None
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    bad_rows: Literal["stop", "skip"] = "stop"

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: object) -> object:
        match value:
            case str():
                return {"path": value}
            case list() | tuple():
                return {"given": value}
            case _:
                return value

    @field_validator("where", mode="before")
    @classmethod
    def _single_values(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {column: wanted if isinstance(wanted, list | tuple) else [wanted] for column, wanted in value.items()}

    @field_validator("part")
    @classmethod
    def _a_share(cls, value: str | None) -> str | None:
        if value is not None:
            match = _PART.fullmatch(value)
            if match is None or not int(match[1]) < int(match[2]) <= 100:
                raise ValueError(f'{value!r} is no share of the rows: write "0-30%", from below to')
        return value

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.path, self.dataset, self.given).count(None) != 2:
            raise ValueError('give either a file, "train.jsonl", or a dataset, {dataset = "squad", split = "train"}')
        if self.dataset is not None and self.split is None:
            raise ValueError('a dataset needs a split: add split = "train"')
        if self.dataset is None and (self.config or self.split or self.files):
            raise ValueError("config, split and files belong to a dataset, not to a file: leave them out")
        if self.group is not None and self.part is None:
            raise ValueError('group says how part counts: part = "0-30%", group = "question"')
        if self.delimiter is not None and not (self.path or "").lower().endswith((".csv", ".tsv")):
            raise ValueError("delimiter belongs to a file in CSV: leave it out")
        return self

    def share(self) -> tuple[int, int]:
        """The percentages that `part` keeps: from the first up to, not including, the second."""
        match = _PART.fullmatch(self.part or "")
        return (int(match[1]), int(match[2])) if match else (0, 100)


class Columns(_Table):
    """Which columns hold the question and the answer; "answers.text" reaches into a nested column.

    Attributes:
        question: a column, or a template over columns such as "{context}\\n\\n{query}"; lists become lines there.
        without: regular expressions; what they match is taken out of the question.
        choices: a column with a list of options, or one column for each. They follow the question as lines "(A) …",
            and the answer, given as a letter or as one option's text, becomes the letter.
        shuffle: options in an order drawn from their texts, for data that list the right one first.
        answer: a column of text, numbers, or lists of accepted answers.
        names: what the data's answers are called, {"0" = "no", "1" = "yes"}; then no others may occur.
        metadata: columns that a metric function of one's own sees beside question and answers.
        either: columns with what each answers, {rejected = "yes", chosen = "no"}: of every row one of them, drawn by
            hash, is the question, in place of `question` and `answer`.
    """

    question: str = Field(default="question", min_length=1)
    without: tuple[str, ...] = ()
    choices: str | tuple[str, ...] = ()
    shuffle: bool = False
    answer: str = Field(default="answer", min_length=1)
    names: dict[str, str] = Field(default_factory=dict)
    metadata: tuple[str, ...] = ()
    either: dict[str, str] = Field(default_factory=dict)

    @field_validator("question")
    @classmethod
    def _template(cls, value: str) -> str:
        if ("{" in value or "}" in value) and not _FIELD.search(value):
            raise ValueError('a template names columns in braces, "{context}\\n\\n{query}"')
        return value

    @field_validator("without")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.either and (self.choices or len(self.either) < 2):
            raise ValueError("either names at least two columns and goes without choices")
        if self.shuffle and not self.choices:
            raise ValueError("shuffle is for choices: name their columns, or leave it out")
        return self


class AnswerSpec(_Table):
    """How an answer looks: a kind, or "tagged", for short, or a table.

    Attributes:
        kind: what the answer is: one of `ANSWER_KINDS`, or "package.module:Class", a format of the user's own.
        tag: the answer stands between `<tag>` and `</tag>`; true means "answer". "tagged" is tagged text.
        labels: the label set of kinds "label" and "labels" (the data's own answers if left out); the option letters of
            "letter".
        number_words: "three" counts as 3.
        alone: a "label" has to be all that the answer says; else it is read wherever it stands.
        absolute_tolerance, relative_tolerance: how far off a "number" may be, in its unit or as a share of the answer.
        units: what the units of a "number" are worth, {m = 1, km = 1000}; without, units do not count.
        time_limit: seconds of CPU time in which "math" must be shown to be equal.
        json_schema: what every answer of kind "json" must fit.
        options: what the class of a format of the user's own is called with.
        gold_pattern: a regular expression that finds the answer in the data's answer column: its last match, or the
            group in it.
        unanswerable: a word that stands for "there is no answer", and for an empty answer of the data; true means
            "unanswerable".
    """

    kind: str = "text"
    tag: str | None = None
    labels: tuple[str, ...] = ()
    number_words: bool = False
    alone: bool = False
    absolute_tolerance: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    relative_tolerance: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    units: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    time_limit: float = Field(default=5.0, gt=0, le=600)
    json_schema: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    gold_pattern: str | None = None
    unanswerable: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_shorthand(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value == "tagged":
            return {"kind": "text", "tag": "answer"}
        if value not in ANSWER_KINDS and not _IMPORT_PATH.fullmatch(value):
            names = _one_of((*ANSWER_KINDS, "tagged"), value)
            raise ValueError(f'{value!r} is no answer format: use {names} or "package.module:Class"')
        return {"kind": value}

    @field_validator("kind")
    @classmethod
    def _a_kind(cls, value: str) -> str:
        if value not in ANSWER_KINDS and not _IMPORT_PATH.fullmatch(value):
            raise ValueError(f'{value!r} is no kind: use {_one_of(ANSWER_KINDS, value)} or "package.module:Class"')
        return value

    @field_validator("tag", "unanswerable", mode="before")
    @classmethod
    def _from_flag(cls, value: object, info: ValidationInfo) -> object:
        word = "answer" if info.field_name == "tag" else "unanswerable"
        return (word if value else None) if isinstance(value, bool) else value

    @field_validator("tag")
    @classmethod
    def _tag_name(cls, value: str | None) -> str | None:
        if value is not None and not _TAG.fullmatch(value):
            raise ValueError(f'{value!r} is no tag name: give letters alone, without brackets, as in "answer"')
        return value

    @field_validator("unanswerable")
    @classmethod
    def _a_word(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"\w[\w -]*", value):
            raise ValueError(f'{value!r} is no word to answer with: give one such as "unanswerable"')
        return value

    @field_validator("gold_pattern")
    @classmethod
    def _a_pattern(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from None
        if groups > 1:
            raise ValueError(f"{value!r} has {groups} groups; put one pair of parentheses around the answer")
        return value

    @field_validator("labels")
    @classmethod
    def _clean_labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        labels = tuple(label.strip() for label in value)
        if "" in labels:
            raise ValueError("a label is empty: remove it")
        if len({label.casefold() for label in labels}) < len(labels):
            raise ValueError("a label occurs twice (case does not count): remove one")
        return labels

    @model_validator(mode="after")
    def _fits_kind(self) -> Self:
        if self.kind == "letter" and any(not re.fullmatch("[A-Z]", label) for label in self.labels):
            raise ValueError('the labels of kind = "letter" are single capitals, ["A", "B", "C"]')
        for key in dict.fromkeys(key for kind in (*KINDS.values(), OF_THE_USERS_OWN) for key in kind.keys):
            default = type(self).model_fields[key].get_default(call_default_factory=True)
            if key not in self.facts.keys and getattr(self, key) != default:
                raise ValueError(self._does_not_go(key))
        return self

    def _does_not_go(self, key: str) -> str:
        does, it = ("do", "them") if key in ("labels", "number_words", "options") else ("does", "it")
        kinds = [f'"{name}"' for name, kind in KINDS.items() if key in kind.keys]
        advice = f"remove {it} or set kind = {' or '.join(kinds)}" if kinds else "they are for a class of your own"
        return f'{key} {does} not go with kind = "{self.kind}": {advice}'

    @property
    def facts(self) -> KindOfAnswer:
        """What goes with its kind."""
        return KINDS.get(self.kind, OF_THE_USERS_OWN)


class MetricTable(_Table):
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
    scale: Annotated[int, Field(ge=2, le=100, strict=True)] | tuple[str, ...] = 5
    against: Literal["gold", "first"] | None = None
    shows_gold: bool = True
    reasons: bool = True
    repeats: int = Field(default=1, ge=1, le=100, strict=True)
    structured: bool = True
    function: str | Callable[..., object] | None = None
    max_calls: int | None = Field(default=None, ge=1, le=10_000, strict=True)

    @field_validator("function")
    @classmethod
    def _a_function(cls, value: str | Callable[..., object] | None) -> object:
        if isinstance(value, str) and not _IMPORT_PATH.fullmatch(value) and not of_a_program(value):
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


class TaskSpec(_Table):
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
        user_prompt: the first user prompt, with `{question}` exactly once; the question and one sentence on how to
            answer if left out.
        user_prompts: further first user prompts of a source task, the best of which are kept.
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
    train_size: int | None = Field(default=50, ge=1, le=_LARGEST, strict=True)
    test_size: int | None = Field(default=500, ge=1, le=_LARGEST, strict=True)
    sample: SampleOrder = "random"
    max_question_chars: int | None = Field(default=None, ge=1, le=_LARGEST, strict=True)
    answer: AnswerSpec = AnswerSpec()
    metric: MetricSpec | None = None
    user_prompt: str | None = None
    user_prompts: tuple[str, ...] = ()
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    max_tokens: int | None = Field(default=None, ge=1, le=10_000_000, strict=True)
    response_format: dict[str, Any] = Field(default_factory=dict)
    program: str | None = None
    max_calls: int | None = Field(default=None, ge=1, le=10_000, strict=True)
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
        return None if value == "all" else value

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, value: object) -> object:
        if not isinstance(value, str) or value in METRIC_NAMES or _IMPORT_PATH.fullmatch(value) or of_a_program(value):
            return value
        raise ValueError(f'{value!r} is no metric: use {_one_of(METRIC_NAMES, value)} or "package.module:function"')

    @field_validator("program")
    @classmethod
    def _import_path(cls, value: str | None) -> str | None:
        if value is not None and not _IMPORT_PATH.fullmatch(value):
            raise ValueError(f'{value!r} names no function: write "package.module:function"')
        return value

    @field_validator("user_prompt")
    @classmethod
    def _one_placeholder(cls, value: str | None) -> str | None:
        if value is None:
            return None
        prompt = single_braces(value)
        if prompt.count(PLACEHOLDER) != 1:
            raise ValueError(f"must hold {PLACEHOLDER} exactly once, holds it {prompt.count(PLACEHOLDER)} times")
        return prompt

    @field_validator("user_prompts")
    @classmethod
    def _a_placeholder_each(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(filter(None, map(cls._one_placeholder, value)))

    @model_validator(mode="after")
    def _has_data(self) -> Self:
        needed = "test" if self.role == "target" else "train"
        if getattr(self, needed) is None:
            raise ValueError(f'a {self.role} task needs {needed}: add {needed} = "FILE.jsonl"')
        if self.role == "guard" and self.weight != 1:
            raise ValueError("a guard counts in no mean: leave weight out")
        if self.user_prompts and self.role != "source":
            raise ValueError("user_prompts are to be chosen among by optimizing: they are for a source task")
        if len({self.user_prompt, *self.user_prompts}) <= len(self.user_prompts):
            raise ValueError("user_prompts are further ones beside user_prompt: a prompt is there twice")
        if self.role != "guard" and self.tolerance is not None:
            raise ValueError('tolerance is for a guard: set role = "guard", or leave it out')
        if self.metric == "macro-f1" and not self.answer.facts.classes:
            raise ValueError('metric = "macro-f1" needs a set of labels: set answer = "label"')
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


def path_of(function: Callable[..., object]) -> str:
    """Where a function is to be found, "package.module:function"; of what is not there, a path `of_a_program`."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    path = f"{getattr(function, '__module__', type(function).__module__)}:{name}"
    return path if importable(function) or of_a_program(path) else path.replace(":", ":<program>.", 1)


def of_a_program(path: str) -> bool:
    """Whether a path names what only the program that wrote it can find: a closure, a lambda, one of its script."""
    return bool(_OF_A_PROGRAM.fullmatch(path))


def _one_of(names: tuple[str, ...], given: str) -> str:
    listed = ", ".join(f'"{name}"' for name in names)
    nearest = difflib.get_close_matches(given, names, n=1)
    return f'{listed} (did you mean "{nearest[0]}"?)' if nearest else listed
