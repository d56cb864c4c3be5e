"""The demo and the starter: what a newcomer runs first is a config, has unseen tasks, and no limit makes its gain."""

from collections import Counter
from pathlib import Path

import pytest

import metaspo
from metaspo.engine import Prepared
from metaspo.engine.demo import DEMO_FOLDER, demo_config
from metaspo.engine.strategies.components import families

STARTER = Path(metaspo.__file__).parent / "starter" / "metaspo.toml"
PERSON = (DEMO_FOLDER / "person.txt").read_text(encoding="utf-8")


def prepared(which: str) -> Prepared:
    if which == "starter":
        return metaspo.prepare(STARTER)
    return metaspo.prepare(demo_config(small=which == "small"), data_folder=DEMO_FOLDER)


@pytest.mark.parametrize("which", ["demo", "small", "starter"])
def test_unseen_tasks_are_unseen_and_answers_have_room(which: str) -> None:
    run = prepared(which)
    roles = {task.name: task.role for task in run.tasks}
    assert set(roles.values()) == {"source", "target"}
    assert len(roles) == len(run.tasks)
    trained = {example.question for task in run.tasks if task.role == "source" for example in task.train}
    assert all(example.question not in trained for task in run.tasks for example in task.test)
    longest = max(len(label) for spec in run.config.tasks for label in spec.answer.labels)
    assert run.config.base.max_tokens >= 5 * longest  # characters: more room than any sentence with it needs
    assert all(spec.answer.alone for spec in run.config.tasks)


@pytest.mark.parametrize("which", ["demo", "small", "starter"])
def test_what_one_label_always_would_get_is_the_same_for_every_label(which: str) -> None:
    """So that a gain above that share cannot come from a preferred label. Draws of a larger file may be a few off."""
    for task in prepared(which).tasks:
        for split in (task.train, task.test) if which == "starter" else ():
            counts = Counter(example.answers[0] for example in split)
            assert len(set(counts.values())) <= 1, task.name


def test_neither_the_library_nor_a_persons_prompt_knows_a_task() -> None:
    labels = {
        label for which in ("demo", "starter") for spec in prepared(which).config.tasks for label in spec.answer.labels
    }
    words = {
        word.strip(".,:;").lower()
        for text in (PERSON, *(t for f in families() for t in f.components))
        for word in text.split()
    }
    assert labels & words <= {"question", "no"}  # words of any prompt
