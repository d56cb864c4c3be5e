"""Which examples of a task's data a run uses, and what its owner should know of them."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from metaspo.backends.counted import counted
from metaspo.engine.tasks.base import Example
from metaspo.engine.tasks.errors import TaskError
from metaspo.engine.tasks.formats.label_sets import labels_in
from metaspo.engine.tasks.shown import listed, shown
from metaspo.engine.tasks.spec import SampleOrder, TaskSpec

NoticeKind = Literal["too-long", "in-both-splits", "fewer-than-asked", "repeated", "bad-rows", "new-labels"]
Split = Literal["train", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something about a task's data that is no error but that its owner should know.

    Attributes:
        count: how many examples it is about.
        message: one sentence.
    """

    task: str
    kind: NoticeKind
    count: int
    message: str


Notify = Callable[[Notice], None]


def ignore(_notice: Notice, /) -> None:
    """Takes a notice and does nothing with it."""


def sampled(
    spec: TaskSpec, split: Split, examples: Sequence[Example], seed: int, notify: Notify
) -> tuple[Example, ...]:
    """The examples of a split that a run uses, those that are too long left out. Raises `TaskError` for no example."""
    size = spec.train_size if split == "train" else spec.test_size
    limit = spec.max_question_chars
    short = [example for example in examples if limit is None or len(example.question) <= limit]
    if left_out := len(examples) - len(short):
        if not short:
            raise TaskError(f"max_question_chars: every question of {split} is longer than {limit}; raise it")
        one, many = (f"of {len(examples)} {split} questions {be} longer" for be in ("is", "are"))
        message = f"{counted(left_out, one, many)} than {limit} characters and left out"
        notify(Notice(task=spec.name, kind="too-long", count=left_out, message=message))
    if short and size is not None and f"{split}_size" in spec.model_fields_set and len(short) < size:
        message = f"{split}_size asks for {counted(size, 'example')}, the task has {len(short)}"
        notify(Notice(task=spec.name, kind="fewer-than-asked", count=size - len(short), message=message))
    drawn = draw(short, size, order=spec.sample, key=f"{seed}/{spec.name}/{split}")
    return tuple(_with_images(short[index]) for index in drawn)


def _with_images(example: Example) -> Example:
    return replace(example, images=tuple(image.read() for image in example.images)) if example.images else example


def draw(examples: Sequence[Example], size: int | None, *, order: SampleOrder, key: str) -> list[int]:
    """Positions of a sample, ascending; all of them where `size` is None or too large.

    "random" takes the `size` questions whose SHA-256 together with the key is lowest. So a larger sample holds every
    smaller one, and adding, removing or moving lines leaves the rest of the sample as it is: answers already paid for
    stay in use.
    """
    positions = list(range(len(examples)))
    if order == "head" or size is None:
        return positions[:size]
    tickets = [hashlib.sha256(f"{key}\n{example.asked}".encode()).digest() for example in examples]
    return sorted(sorted(positions, key=lambda position: tickets[position])[:size])


def notice_repeats(spec: TaskSpec, split: Split, examples: Sequence[Example], notify: Notify) -> None:
    """Tell of questions of one split that stand there twice, and of those that have another answer the second time."""
    seen: dict[str, Example] = {}
    pairs = [(example, seen.setdefault(example.content.strip(), example)) for example in examples]
    repeats = [(example, before) for example, before in pairs if before is not example]
    if repeats:
        (first, same) = repeats[0]
        message = (
            f"{counted(len(repeats), f'{split} question stands', f'{split} questions stand')} there before, and each "
            f"line counts; the first is {first.where}, equal to {same.where}"
        )
        torn = [(example, before) for example, before in repeats if set(example.answers).isdisjoint(before.answers)]
        if torn:
            (other, before) = torn[0]
            message += (
                f"; {counted(len(torn), 'has', 'have')} another answer, such as {shown(other.answers[0])} in "
                f"{other.where} for {shown(before.answers[0])} in {before.where}"
            )
        notify(Notice(task=spec.name, kind="repeated", count=len(repeats), message=message))


def notice_new_labels(spec: TaskSpec, train: Sequence[Example], test: Sequence[Example], notify: Notify) -> None:
    """Tell of labels that test examples have and none of `train`: nothing can be learned about them."""
    if not (spec.answer.facts.labels_of_data and train):
        return
    sets = spec.answer.facts.values == "whole"
    known = {label for example in train for label in _labels_of(example, sets=sets)}
    lacking = [(example, [label for label in _labels_of(example, sets=sets) if label not in known]) for example in test]
    new = [(example, labels) for example, labels in lacking if len(labels) > (0 if sets else len(example.answers) - 1)]
    if new:
        names = listed(sorted({label for _, labels in new for label in labels}), most=100)
        message = (
            f"{counted(len(new), 'test example has a label', 'test examples have labels')} that no train example has "
            f"({names}), so nothing is learned about it; the first is {new[0][0].where}"
        )
        notify(Notice(task=spec.name, kind="new-labels", count=len(new), message=message))


def _labels_of(example: Example, *, sets: bool) -> list[str]:
    """`sets`: an answer is any number of labels."""
    return [label for answer in example.answers for label in (labels_in(answer) if sets else [answer])]


def notice_overlap(spec: TaskSpec, train: Sequence[Example], test: Sequence[Example], notify: Notify) -> None:
    """Tell of test questions that are train questions, too."""
    seen = {example.content.strip(): example.where for example in reversed(train)}
    shared = [example for example in test if example.content.strip() in seen]
    if shared:
        first = shared[0]
        repeats = counted(len(shared), "test question is a train question", "test questions are train questions")
        message = (
            f"{repeats} too, so the test score flatters; "
            f"the first is {first.where}, equal to {seen[first.content.strip()]}"
        )
        notify(Notice(task=spec.name, kind="in-both-splits", count=len(shared), message=message))
