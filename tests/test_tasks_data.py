"""The 34 real tasks of the paper's five domains load as their table says (not shipped: skipped if absent)."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from world import split_score

from metaspo.engine.tasks import Notice, Tagged, TaskSpec, Text, load_task

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
METRICS = {"accuracy": "accuracy", "macro-F1": "macro-f1", "exact match (token-F1 second)": "exact-match"}


def _manifest() -> list[dict[str, str | int]]:
    if not DATA.is_dir():
        return []
    tasks: list[dict[str, str | int]] = json.loads((DATA / "MANIFEST.json").read_text(encoding="utf-8"))["tasks"]
    return tasks


def _answer(row: Mapping[str, str | int]) -> dict[str, object]:
    """The format that the table names in words."""
    words = str(row["answer"])
    number_words = row["task"] in ("object_counting", "reasoning_colored_objects")
    if "letter" in words:
        return {"kind": "letter", "tag": True}
    if words.startswith("integer"):
        return {"kind": "integer", "tag": True, "number_words": number_words}
    if words.startswith(("list", "string")):
        return {"kind": "text", "tag": True, "number_words": number_words}
    return {"kind": "label", "tag": True}


def _spec(row: Mapping[str, str | int]) -> TaskSpec:
    folder = f"{row['domain']}/{row['task']}"
    return TaskSpec.model_validate(
        {
            "name": row["task"],
            "role": row["role"],
            "train": f"{folder}/train.jsonl",
            "test": f"{folder}/test.jsonl",
            "train_size": "all",
            "test_size": "all",
            "answer": _answer(row),
            "metric": METRICS[str(row["metric"])],
        }
    )


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the task data are not in {DATA}")
def test_all_34_tasks_are_there() -> None:
    assert len(_manifest()) == 34


@pytest.mark.parametrize("row", _manifest(), ids=lambda row: str(row["task"]))
def test_a_task_loads_whole_and_each_gold_answer_scores_one(row: Mapping[str, str | int]) -> None:
    notices: list[Notice] = []
    task = load_task(_spec(row), base_dir=DATA, seed=1, notify=notices.append)
    assert (len(task.train), len(task.test)) == (row["train"], row["test"])
    assert notices == []
    for split in (task.train, task.test):
        for example in split:
            for answer in example.answers:
                said = task.answer_format.parse(f"Let me think.\n<answer>{answer}</answer>")
                assert said == answer, example.where
                assert task.metric.grade(said, example).score == 1.0, example.where
        assert split_score(task.metric, [(example.answers[0], example.answers) for example in split]) == 1.0


@pytest.mark.parametrize(
    "row", [row for row in _manifest() if row["domain"] == "safety"], ids=lambda row: str(row["task"])
)
def test_safety_labels_are_yes_and_no(row: Mapping[str, str | int]) -> None:
    task = load_task(_spec(row), base_dir=DATA, seed=1)
    assert isinstance(task.answer_format, Tagged)
    assert task.answer_format.inner.wanted == "one of: no, yes"


@pytest.mark.parametrize(
    "row", [row for row in _manifest() if row["task"] == "reasoning_colored_objects"], ids=lambda row: str(row["task"])
)
def test_number_words_count_as_digits_in_coloured_objects(row: Mapping[str, str | int]) -> None:
    task = load_task(_spec(row), base_dir=DATA, seed=1)
    assert task.answer_format == Tagged(Text(number_words=True))
    three = next(example for example in task.test if example.answers == ("3",))
    said = task.answer_format.parse("<answer>Three</answer>")
    assert task.metric.grade(said, three).score == 1.0
