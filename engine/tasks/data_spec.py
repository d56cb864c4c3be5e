"""Where a task's data lie, and which columns of theirs count."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.spec_table import LARGEST, PathText, SpecTable, groups_in

_EITHER: Final = 'give either a file, "train.jsonl", or a dataset, {dataset = "squad", split = "train"}'
_FIELD: Final = late_pattern(r"\{[^{}]+\}")
_PART: Final = late_pattern(r"([0-9]{1,3})-([0-9]{1,3})%")


class DataSource(SpecTable):
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
    rows: int | None = Field(default=None, ge=1, le=LARGEST)
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
            case list() | tuple() if not all(isinstance(row, str) for row in value) or not value:
                return {"given": value}
            case list() | tuple() | int() | float():
                raise ValueError(_EITHER)
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
            raise ValueError(_EITHER)
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


def _or_one(given: object) -> object:
    """A list of columns, or the name of one."""
    return (given,) if isinstance(given, str) else given


class Columns(SpecTable):
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
        history: a column with the turns before the question, a list of messages with `role` and `content`, or its JSON.
        images: columns that name image files, by paths from the folder of the data file on.
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
    history: str = ""
    images: Annotated[tuple[str, ...], BeforeValidator(_or_one)] = ()
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
            groups_in(pattern)
        return value

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.either and (self.choices or len(self.either) < 2):
            raise ValueError("either names at least two columns and goes without choices")
        if self.shuffle and not self.choices:
            raise ValueError("shuffle is for choices: name their columns, or leave it out")
        return self
