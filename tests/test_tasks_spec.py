"""What a `[[tasks]]` table may say, and what it is told when it says something else."""

import pytest
from pydantic import ValidationError

from metaspo.engine.tasks import AnswerSpec, DataSource, TaskSpec

MINIMAL = {"name": "mine", "train": "train.jsonl"}


def _spec(**keys: object) -> TaskSpec:
    return TaskSpec.model_validate({**MINIMAL, **keys})


def test_a_name_and_a_file_are_enough_and_sizes_are_the_papers() -> None:
    spec = _spec()
    assert (spec.role, spec.train_size, spec.test_size, spec.sample) == ("source", 50, 500, "random")
    assert spec.train == DataSource(path="train.jsonl")
    assert (spec.columns.question, spec.columns.answer) == ("question", "answer")


@pytest.mark.parametrize(
    ("answer", "metric"),
    [
        ("letter", "accuracy"),
        ("integer", "accuracy"),
        ("label", "accuracy"),
        ("text", "exact-match"),
        ("tagged", "exact-match"),
    ],
)
def test_the_metric_follows_the_kind_of_answer_unless_given(answer: str, metric: str) -> None:
    assert _spec(answer=answer).metric_name() == metric
    assert _spec(answer=answer, metric="token-f1").metric_name() == "token-f1"


def test_shorthands_are_tables_written_short() -> None:
    assert _spec(answer="tagged").answer == AnswerSpec(kind="text", tag="answer")
    assert _spec(answer={"tag": True}).answer == AnswerSpec(kind="text", tag="answer")
    assert _spec(train_size="all").train_size is None


def test_a_spec_written_out_reads_back_the_same() -> None:
    """A run's resolved config can be run again."""
    spec = _spec(test={"dataset": "squad", "split": "validation"}, answer="tagged", columns={"answer": "answers.text"})
    assert TaskSpec.model_validate(spec.model_dump()) == spec
    assert TaskSpec.model_validate_json(spec.model_dump_json(exclude_none=True)) == spec


@pytest.mark.parametrize(
    ("keys", "where", "hint"),
    [
        ({"answer": "lettr"}, ("answer",), 'did you mean "letter"?'),
        ({"answer": {"kind": "label", "labels": ["a", "A "]}}, ("answer", "labels"), "remove one"),
        ({"answer": {"kind": "label", "labels": ["a", " "]}}, ("answer", "labels"), "remove it"),
        ({"answer": {"kind": "letter", "labels": ["AB"]}}, ("answer",), "single capitals"),
        ({"answer": {"labels": ["a"]}}, ("answer",), 'set kind = "label"'),
        ({"answer": {"kind": "letter", "number_words": True}}, ("answer",), "remove them"),
        ({"answer": {"tag": "<answer>"}}, ("answer", "tag"), "without brackets"),
        ({"answer": {"kind": "text", "tags": "x"}}, ("answer", "tags"), "not permitted"),
        ({"metric": "acuracy"}, ("metric",), 'did you mean "accuracy"?'),
        ({"metric": "macro-f1"}, (), 'set answer = "label"'),
        ({"name": "a/b"}, ("name",), "use letters"),
        ({"name": ""}, ("name",), "use letters"),
        ({"train_size": 0}, ("train_size",), "greater than or equal to 1"),
        ({"train_size": True}, ("train_size",), "whole number"),
        ({"train_size": "al"}, ("train_size",), 'must be a whole number or "all"'),
        ({"user_prompt": "no slot"}, ("user_prompt",), "exactly once"),
        ({"user_prompt": "{question} {question}"}, ("user_prompt",), "2 times"),
        ({"columns": {"question": "{}"}}, ("columns", "question"), "in braces"),
        ({"train": None}, (), 'add train = "FILE.jsonl"'),
        ({"role": "target"}, (), 'add test = "FILE.jsonl"'),
        ({"train": {"dataset": "squad"}}, ("train",), 'add split = "train"'),
        ({"train": {"path": "x.csv", "dataset": "squad"}}, ("train",), "either a file"),
        ({"train": {"path": "x.csv", "split": "train"}}, ("train",), "leave them out"),
        ({"shuffle": True}, ("shuffle",), "not permitted"),
    ],
)
def test_what_is_wrong_is_told_with_its_key_and_what_to_do(
    keys: dict[str, object], where: tuple[str], hint: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        _spec(**keys)
    (error,) = caught.value.errors()
    assert error["loc"] == where
    assert hint in error["msg"]


def test_a_datasets_split_may_be_sliced() -> None:
    spec = _spec(train={"dataset": "squad", "config": "plain", "split": "train[:5]"})
    assert spec.train == DataSource(dataset="squad", config="plain", split="train[:5]")


def test_specs_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        _spec().name = "other"
