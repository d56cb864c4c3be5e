"""Which examples of a task's data a run uses."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from metaspo.backends.counted import counted
from metaspo.engine.tasks.base import Example
from metaspo.engine.tasks.errors import TaskError
from metaspo.engine.tasks.notices import Notice, Notify, Split
from metaspo.engine.tasks.spec import SampleOrder, TaskSpec


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
