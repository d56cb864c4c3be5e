"""How a task's answers look, and what goes with each kind of them."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.spec_table import IMPORT_PATH, SpecTable, groups_in, one_of

_TAG: Final = late_pattern(r"[A-Za-z][A-Za-z0-9_-]*")


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
    "code": KindOfAnswer(("time_limit", "unconfined"), values="objects"),
}
"""By name. A new one is a row here, a class in `formats/`, and a line of `formats/build`."""

OF_THE_USERS_OWN: Final = KindOfAnswer(("options",), classes=True, values="objects")
ANSWER_KINDS: Final = tuple(KINDS)


class AnswerSpec(SpecTable):
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
        time_limit: seconds of CPU time in which "math" must be shown to be equal, and in which all calls of "code" must
            have returned.
        unconfined: "code" runs also where this system cannot confine it.
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
    units: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]] = Field(default_factory=dict)
    time_limit: float = Field(default=5.0, gt=0, le=600)
    unconfined: bool = False
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
        if value not in ANSWER_KINDS and not IMPORT_PATH.fullmatch(value):
            names = one_of((*ANSWER_KINDS, "tagged"), value)
            raise ValueError(f'{value!r} is no answer format: use {names} or "package.module:Class"')
        return {"kind": value}

    @field_validator("kind")
    @classmethod
    def _a_kind(cls, value: str) -> str:
        if value not in ANSWER_KINDS and not IMPORT_PATH.fullmatch(value):
            raise ValueError(f'{value!r} is no kind: use {one_of(ANSWER_KINDS, value)} or "package.module:Class"')
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
        if (groups := groups_in(value)) > 1:
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
