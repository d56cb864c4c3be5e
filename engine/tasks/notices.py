"""What the owner of a task's data should know of them, and what is no error."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from metaspo.backends.counted import counted
from metaspo.engine.tasks.base import Example
from metaspo.engine.tasks.choices import AS_LISTS, is_written_list
from metaspo.engine.tasks.formats.label_sets import labels_in
from metaspo.engine.tasks.shown import listed, shown
from metaspo.engine.tasks.spec import TaskSpec

NoticeKind = Literal[
    "too-long", "in-both-splits", "fewer-than-asked", "repeated", "bad-rows", "new-labels", "written-lists"
]
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


def tell_of_data(
    spec: TaskSpec, train: Sequence[Example], test: Sequence[Example], *, pool: Sequence[Example], notify: Notify
) -> None:
    """Tell what there is to know of the examples that a run uses; `pool`: what its train examples are drawn from."""
    splits: tuple[tuple[Split, Sequence[Example]], ...] = (("train", train), ("test", test))
    for split, examples in splits:
        _tell_repeats(spec, split, examples, notify)
        _tell_written_lists(spec, split, examples, notify)
    _tell_overlap(spec, train, test, notify)
    _tell_new_labels(spec, pool, test, notify)


def _tell_repeats(spec: TaskSpec, split: Split, examples: Sequence[Example], notify: Notify) -> None:
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


def _tell_written_lists(spec: TaskSpec, split: Split, examples: Sequence[Example], notify: Notify) -> None:
    """Tell of answers of which most are lists written as text: nobody answers so."""
    lists = [example for example in examples if any(map(is_written_list, example.answers))]
    if len(lists) > len(examples) / 2:
        message = (
            f"{counted(len(lists), f'{split} answer is a list', f'{split} answers are lists')} written as text and "
            f"taken as they stand, such as {shown(lists[0].answers[0])} in {lists[0].where}: {AS_LISTS}"
        )
        notify(Notice(task=spec.name, kind="written-lists", count=len(lists), message=message))


def _tell_new_labels(spec: TaskSpec, train: Sequence[Example], test: Sequence[Example], notify: Notify) -> None:
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


def _tell_overlap(spec: TaskSpec, train: Sequence[Example], test: Sequence[Example], notify: Notify) -> None:
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
