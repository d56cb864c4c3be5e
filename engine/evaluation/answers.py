"""Answers side by side: what each example was answered before and after, and how that was read."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from metaspo.backends.counted import counted
from metaspo.engine.evaluation.scorecard import Outcome, Status
from metaspo.engine.tasks.base import Example, Task

Change = Literal["worse", "not right", "better", "right", "unknown"]
Wanted = Literal["worse", "better", "wrong", "malformed"]
ORDER: Final[tuple[Change, ...]] = ("worse", "not right", "better", "right", "unknown")
UNREAD: Final = "not in the form asked for"
UNKNOWN: Final = "not in the cache"
OTHER: Final = "(malformed)"
MAX_LABELS: Final = 20  # that a table of confusions is drawn for


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredExample:
    """One example under two prompt pairs; an outcome is None where its answer is not to be had."""

    example: Example
    before: Outcome | None
    after: Outcome | None

    @property
    def change(self) -> Change:
        """What became of it: "worse" and "better" by grade, "not right" where both are equally short of right."""
        before, after = (outcome.grade if outcome else None for outcome in (self.before, self.after))
        if before is None or after is None:
            return "unknown"
        if after < before:
            return "worse"
        if after > before:
            return "better"
        return "right" if after >= 1 else "not right"

    def is_wanted(self, wanted: Wanted | None) -> bool:
        """Whether it is among those: "wrong" and "malformed" are of the answer after."""
        match wanted:
            case None:
                return True
            case "malformed":
                return self.after is not None and self.after.status is Status.MALFORMED
            case "wrong":
                return self.after is not None and self.after.grade is not None and self.after.grade < 1
            case _:
                return self.change == wanted

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **example_data(self.example),
            "before": outcome_data(self.before),
            "after": outcome_data(self.after),
            "change": self.change,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAnswers:
    """A task's split under two prompt pairs, regressions first.

    Attributes:
        labels: the right answers that there are, for a task whose answers are labels; () for another.
    """

    task: str
    role: str
    split: str
    examples: tuple[AnsweredExample, ...]
    labels: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, task: Task, *, split: str, before: Sequence[Outcome | None], after: Sequence[Outcome | None]
    ) -> "TaskAnswers":
        """Of outcomes in the order of the split."""
        examples = task.train if split == "train" else task.test
        answered = [
            AnsweredExample(example=example, before=old, after=new)
            for example, old, new in zip(examples, before, after, strict=True)
        ]
        return cls(
            task=task.name,
            role=task.role,
            split=split,
            examples=tuple(sorted(answered, key=lambda each: ORDER.index(each.change))),
            labels=labels_of(task, examples),
        )

    @property
    def missing(self) -> int:
        """How many answers, before and after, are not to be had."""
        return sum(outcome is None for each in self.examples for outcome in (each.before, each.after))

    def count(self, change: Change) -> int:
        """How many examples went so."""
        return sum(each.change == change for each in self.examples)

    @property
    def sentence(self) -> str:
        """How many went which way."""
        counts = [f"{number} {change}" for change in ORDER if (number := self.count(change))]
        return f"{', '.join(counts)} of {counted(len(self.examples), f'{self.split} example')}"

    def confusion(self, stage: Literal["before", "after"]) -> dict[str, dict[str, int]]:
        """How often each label was read where which was right: right -> read -> times; {} where there are no labels."""
        table: dict[str, Counter[str]] = {label: Counter() for label in self.labels}
        for each in self.examples:
            outcome = each.before if stage == "before" else each.after
            if self.labels and outcome is not None and outcome.status is not Status.FAILED:
                table[each.example.answers[0]][outcome.prediction or OTHER] += 1
        return {right: dict(read) for right, read in table.items()}

    def as_json(self, wanted: Wanted | None = None) -> dict[str, Any]:
        """Plain data, of the examples that are wanted."""
        return {
            "task": self.task,
            "role": self.role,
            "split": self.split,
            "counts": {change: self.count(change) for change in ORDER},
            "missing": self.missing,
            "confusion": {stage: self.confusion(stage) for stage in ("before", "after")} if self.labels else {},
            "examples": [each.as_json() for each in self.examples if each.is_wanted(wanted)],
        }


def labels_of(task: Task, examples: Iterable[Example]) -> tuple[str, ...]:
    """The labels of a task whose answers are labels or letters, in alphabetical order; () for another."""
    kind = orjson.loads(task.grading)["answer"].get("kind") if task.grading else None
    accepted = [example.answers for example in examples]
    if kind not in ("label", "letter") or any(len(answers) != 1 for answers in accepted):
        return ()
    labels = sorted({answers[0] for answers in accepted})
    return tuple(labels) if len(labels) <= MAX_LABELS else ()


def confusion_rows(task: TaskAnswers) -> tuple[list[str], list[list[str]]]:
    """Labels against labels as column heads and rows of texts: a row for each right one, a column for each that was
    read, and how often before and after."""
    before, after = task.confusion("before"), task.confusion("after")
    read = {label for table in (before, after) for row in table.values() for label in row}
    columns = [*task.labels, *sorted(read - set(task.labels))]
    rows = [
        [right, *(_both(before[right].get(column, 0), after[right].get(column, 0)) for column in columns)]
        for right in task.labels
    ]
    return ["right answer", *columns], rows


def _both(before: int, after: int) -> str:
    return f"{before} → {after}" if before or after else "·"


def read_as(outcome: Outcome | None) -> str:
    """How an answer was read, in words."""
    if outcome is None:
        return UNKNOWN
    if outcome.status is Status.FAILED:
        return outcome.reason if outcome.text else f"no answer: {outcome.reason}"
    if outcome.broken:
        return f"no answer: {outcome.feedback}"
    return UNREAD if outcome.prediction is None else outcome.prediction


def example_data(example: Example) -> dict[str, Any]:
    """An example as plain data."""
    return {"where": example.where, "question": example.question, "expected": list(example.answers)}


def outcome_data(outcome: Outcome | None) -> dict[str, Any] | None:
    """An outcome as plain data; `read` is the answer as the task's format reads it."""
    if outcome is None:
        return None
    return {
        "text": outcome.text,
        "read": outcome.prediction,
        "status": str(outcome.status),
        "grade": outcome.grade,
        **({"reason": outcome.reason} if outcome.reason else {}),
        **({"feedback": outcome.feedback} if outcome.feedback else {}),
    }
