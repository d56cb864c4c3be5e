"""Several labels in one answer: read as a set, however it is listed; scored by F1; in the data a list is one answer."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.engine.tasks import Task, TaskError, TaskSpec
from metaspo.engine.tasks.formats.label_sets import LabelSet
from metaspo.engine.tasks.formats.labels import Label
from metaspo.engine.tasks.load import load_task

LABELS = ("anger", "fear", "joy", "not-safe", "rock and roll")
KIND = LabelSet(LABELS)
subsets = st.lists(st.sampled_from(LABELS), unique=True)


def loaded(folder: Path, *answers: object, answer: object = "labels", **columns: object) -> Task:
    """A task of rows with these answers."""
    rows = [{"question": f"Question {n}", "answer": each} for n, each in enumerate(answers)]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    spec = {"name": "t", "train": "train.jsonl", "answer": answer, "sample": "head", "columns": columns}
    return load_task(TaskSpec.model_validate(spec), base_dir=folder, seed=1)


@given(subsets, st.sampled_from([", ", "; ", " | ", "\n", "\n- ", "，"]))
def test_a_list_of_labels_is_read_as_their_set_in_any_order(labels: list[str], between: str) -> None:
    written = KIND.canonical(", ".join(labels))
    assert written == (", ".join(label for label in LABELS if label in labels) or "none")
    listed = between.join(label.upper() for label in labels)
    for said in (listed, f"[{listed}].", f"**{listed}**"):
        assert KIND.parse(said) == (written if labels else None)
        assert KIND.parse_field(said) == (written if labels else None)


@given(subsets, subsets)
def test_the_score_of_an_answer_is_the_f1_of_its_set(given_labels: list[str], right: list[str]) -> None:
    said, wanted = (KIND.canonical(", ".join(labels)) for labels in (given_labels, right))
    assert said is not None
    assert wanted is not None
    both, every = len(set(given_labels) & set(right)), len(given_labels) + len(right)
    assert KIND.similarity(said, wanted) == (2 * both / every if every else 1.0)


@given(st.sampled_from(LABELS[:3]), st.sampled_from(LABELS[:3]))
def test_a_label_that_is_denied_is_not_read(first: str, second: str) -> None:
    read = KIND.parse(f"It is {first}, but it is not {second}.")
    assert read == (first if first != second else None) or first == second


def test_an_echo_of_the_instruction_is_no_answer() -> None:
    for said in (KIND.wanted, KIND.describe(), f"one or more of: {', '.join(LABELS)}"):
        assert KIND.parse(said) is None


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["joy", "anger"], "anger, joy"),
        ("joy; anger", "anger, joy"),
        ("joy", "joy"),
        ([], "none"),
        ("", "none"),
        (None, "none"),
        ("none", "none"),
    ],
)
def test_a_row_has_one_answer_whatever_form_the_data_have(written: object, read: str, tmp_path: Path) -> None:
    task = loaded(tmp_path, written, ["anger", "joy"])
    assert task.train[0].answers == (read,)


def test_labels_may_have_numbers_for_names_in_the_data(tmp_path: Path) -> None:
    task = loaded(tmp_path, [2, 0], [1], names={"0": "anger", "1": "fear", "2": "joy"})
    assert [example.answers for example in task.train] == [("anger, joy",), ("fear",)]
    assert "anger, fear, joy" in task.user_prompt


def test_answers_are_graded_by_agreement(tmp_path: Path) -> None:
    task = loaded(tmp_path, ["anger", "joy"], ["fear"])
    assert task.metric.name == "agreement"
    grades = [task.metric.grade(said, task.train[0]).score for said in ("anger, joy", "joy", "fear", "none", None)]
    assert grades == [1.0, 2 / 3, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("answer", "data", "said"),
    [
        ({"kind": "labels", "labels": ["anger"]}, ["joy"], "does not fit answer.kind = 'labels'"),
        ({"kind": "labels", "labels": ["a, b", "c"]}, ["c"], "commas, semicolons and bars stand between labels"),
        ({"kind": "labels", "labels": ["none", "c"]}, ["c"], "for no label"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(answer: object, data: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=said):
        loaded(tmp_path, data, answer=answer)


def test_macro_f1_is_of_single_labels() -> None:
    with pytest.raises(ValueError, match="needs a set of labels"):
        TaskSpec.model_validate({"name": "t", "train": "t.jsonl", "answer": "labels", "metric": "macro-f1"})


@pytest.mark.parametrize(
    "labels", [("yes", "no"), ("toxic", "non-toxic"), ("Entailment", "not_entailment"), ("A", "B"), ("İYİ", "kötü")]
)
def test_a_label_as_it_is_written_is_read_as_one_with_space_around_it(labels: tuple[str, ...]) -> None:
    for alone in (False, True):
        kind = Label(labels, alone=alone)
        for label in labels:
            assert kind.parse_field(label) == kind.parse_field(f" {label}\n") == label
