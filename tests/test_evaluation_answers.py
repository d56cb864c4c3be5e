"""Answers side by side: how each was read, what became of it, and which labels were taken for which."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
from world import make_task

from metaspo.engine.evaluation.answers import (
    MAX_LABELS,
    OTHER,
    AnsweredExample,
    TaskAnswers,
    Wanted,
    confusion_rows,
    example_data,
    labels_of,
    outcome_data,
    read_as,
)
from metaspo.engine.evaluation.scorecard import Outcome, Scorecard, Status, require_answers
from metaspo.engine.prompts import PromptPair
from metaspo.engine.tasks import TaskError
from metaspo.engine.tasks.base import Example

TASK = make_task("a", train=3, test=6)  # of the test examples the even ones are "yes"
RIGHT, HALF, WRONG = "right", "half", "wrong"


def outcome(example: Example, kind: str | None) -> Outcome | None:
    """An outcome of that kind; None for an answer that is not to be had."""
    other = "no" if example.answers == ("yes",) else "yes"
    match kind:
        case "right":
            return Outcome(example=example, status=Status.SCORED, prediction=example.answers[0], grade=1.0)
        case "half" | "wrong":
            return Outcome(example=example, status=Status.SCORED, prediction=other, grade=0.5 if kind == HALF else 0.0)
        case "malformed":
            return Outcome(example=example, status=Status.MALFORMED, text="well", grade=0.0)
        case "failed":
            return Outcome(example=example, status=Status.FAILED, reason="too long")
    return None


def answered(before: str | None, after: str | None, example: Example = TASK.test[0]) -> AnsweredExample:
    """One example under two pairs."""
    return AnsweredExample(example=example, before=outcome(example, before), after=outcome(example, after))


def of_task(*sides: tuple[str | None, str | None]) -> TaskAnswers:
    """The first examples of a split under two pairs."""
    before, after = (
        [outcome(example, side[i]) for example, side in zip(TASK.test, sides, strict=True)] for i in (0, 1)
    )
    return TaskAnswers.of(TASK, split="test", before=before, after=after)


SIX: tuple[tuple[str | None, str | None], ...] = (
    ("right", "right"),
    ("wrong", "right"),
    ("malformed", "malformed"),
    ("right", "malformed"),
    (None, "right"),
    ("failed", "wrong"),
)


@pytest.mark.parametrize(
    ("before", "after", "change", "wanted"),
    [
        ("right", "right", "right", ()),
        ("right", "half", "worse", ("worse", "wrong")),
        ("half", "wrong", "worse", ("worse", "wrong")),
        ("right", "malformed", "worse", ("worse", "wrong", "malformed")),
        ("malformed", "malformed", "not right", ("wrong", "malformed")),
        ("malformed", "half", "better", ("better", "wrong")),
        ("half", "right", "better", ("better",)),
        ("half", "half", "not right", ("wrong",)),
        ("right", "failed", "unknown", ()),
        ("failed", "wrong", "unknown", ("wrong",)),
        ("malformed", None, "unknown", ()),
        (None, "malformed", "unknown", ("wrong", "malformed")),
    ],
)
def test_what_became_of_an_answer_and_who_asks_for_it(
    before: str | None, after: str | None, change: str, wanted: tuple[Wanted, ...]
) -> None:
    each = answered(before, after)
    every: tuple[Wanted, ...] = ("worse", "better", "wrong", "malformed")
    assert each.change == change
    assert tuple(one for one in every if each.is_wanted(one)) == wanted
    assert each.is_wanted(None)


def test_a_task_counts_what_became_of_its_answers_regressions_first() -> None:
    task = of_task(*SIX)
    assert [each.change for each in task.examples] == ["worse", "not right", "better", "right", "unknown", "unknown"]
    assert [each.example.where for each in task.examples] == [f"a.test:{n}" for n in (4, 3, 2, 1, 5, 6)]
    assert task.sentence == "1 worse, 1 not right, 1 better, 1 right, 2 unknown of 6 test examples"
    assert of_task(*[("right", "right")] * 6).sentence == "6 right of 6 test examples"
    assert task.missing == 1
    assert of_task(*[(None, None)] * 6).missing == 12


def test_the_examples_are_those_of_the_split() -> None:
    train = TaskAnswers.of(TASK, split="train", before=[None] * 3, after=[None] * 3)
    assert [each.example for each in train.examples] == list(TASK.train)
    assert train.sentence == "3 unknown of 3 train examples"


def test_a_confusion_has_each_answer_once_under_what_was_right() -> None:
    """What there was no answer to is in neither; what could not be read is a column of its own."""
    task = of_task(*SIX)
    assert task.confusion("before") == {"yes": {"yes": 1, OTHER: 1}, "no": {"yes": 1, "no": 1}}
    assert task.confusion("after") == {"yes": {"yes": 2, OTHER: 1}, "no": {"no": 1, "yes": 1, OTHER: 1}}
    assert confusion_rows(task) == (
        ["right answer", "no", "yes", OTHER],
        [["no", "1 → 1", "1 → 1", "0 → 1"], ["yes", "·", "1 → 2", "1 → 1"]],
    )
    data = task.as_json()
    assert data["confusion"] == {stage: task.confusion(stage) for stage in ("before", "after")}
    assert (data["missing"], data["counts"]["unknown"], len(data["examples"])) == (1, 2, 6)
    assert [each["where"] for each in task.as_json("malformed")["examples"]] == ["a.test:4", "a.test:3"]


def test_a_confusion_is_of_few_labels_of_which_one_is_right_each() -> None:
    def labels(*answers: tuple[str, ...]) -> tuple[str, ...]:
        return labels_of(TASK, [Example("q", each) for each in answers])

    assert labels(("b",), ("a",), ("b",)) == ("a", "b")
    assert labels(("b",), ("a", "b")) == ()
    assert labels(("b",), ()) == ()
    many = [(f"{n:02}",) for n in range(MAX_LABELS)]
    assert len(labels(*many)) == MAX_LABELS
    assert labels(*many, ("more",)) == ()
    unlabelled = TaskAnswers(task="t", role="source", split="test", examples=(answered("right", "wrong"),))
    assert unlabelled.confusion("before") == {}
    assert unlabelled.as_json()["confusion"] == {}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (None, "not in the cache"),
        (outcome(TASK.test[0], "right"), "yes"),
        (outcome(TASK.test[0], "malformed"), "not in the form asked for"),
        (outcome(TASK.test[0], "failed"), "no answer: too long"),
        (Outcome(example=TASK.test[0], status=Status.FAILED, text="yes", reason="no grade: none"), "no grade: none"),
        (
            Outcome(example=TASK.test[0], status=Status.MALFORMED, grade=0.0, feedback="it raised", broken=True),
            "no answer: it raised",
        ),
    ],
)
def test_how_an_answer_was_read_in_words(told: Outcome | None, words: str) -> None:
    assert read_as(told) == words


def test_the_plain_data_of_an_answer_say_no_more_than_there_is() -> None:
    assert outcome_data(None) is None
    read = {"text": "", "read": "yes", "status": "scored", "grade": 1.0}
    assert outcome_data(outcome(TASK.test[0], "right")) == read
    failed = {"text": "", "read": None, "status": "failed", "grade": None, "reason": "too long"}
    assert outcome_data(outcome(TASK.test[0], "failed")) == failed
    told = Outcome(example=TASK.test[0], status=Status.SCORED, prediction="yes", grade=1.0, feedback="fine")
    assert outcome_data(told) == {**read, "feedback": "fine"}
    asked = {"where": "a.test:1", "question": "a test number 0", "expected": ["yes"]}
    assert example_data(TASK.test[0]) == asked
    assert answered("right", None).as_json() == {**asked, "before": read, "after": None, "change": "unknown"}


def test_what_is_expected_leaves_out_what_says_nothing() -> None:
    assert Example("q", ("a", "", "b")).expected == "a or b"
    assert Example("q", ("",)).expected == ""


def test_a_program_that_raises_on_every_example_stops_a_run_with_what_it_raised() -> None:
    """On one alone it does not."""
    raised, where = "the program failed: KeyError: x", TASK.train[0].where
    broken = Outcome(example=TASK.train[0], status=Status.MALFORMED, grade=0.0, broken=True, feedback=raised)
    card = Scorecard(task="a", pair=PromptPair("", "{question}"), outcomes=(broken, broken), score=0.0)
    with pytest.raises(TaskError) as stopped:
        require_answers([card])
    assert str(stopped.value) == f"task 'a': on every train example {raised} ({where})"
    require_answers([replace(card, outcomes=(broken, broken._replace(broken=False)))])


@pytest.mark.parametrize(
    ("outcomes", "sentence"),
    [
        pytest.param(("failed", "failed"), "the server refuses every example under", id="every one"),
        pytest.param(("failed", "right"), "the server refuses examples under", id="one of two"),
        pytest.param(("ungraded", "right"), "answers under the first prompts already cannot be graded", id="no grade"),
        pytest.param(("malformed", "wrong"), None, id="none"),
    ],
)
def test_what_is_refused_under_the_first_prompts_says_whose_fault_that_is(
    outcomes: tuple[str, str], sentence: str | None
) -> None:
    no_grade = Outcome(example=TASK.train[0], status=Status.FAILED, text="yes", reason="no grade: too long")
    card = Scorecard(
        task="a",
        pair=PromptPair("", "{question}"),
        outcomes=tuple(outcome(TASK.train[0], kind) or no_grade for kind in outcomes),
        score=None,
    )
    with pytest.raises(TaskError, match=sentence) if sentence else nullcontext():
        require_answers([card])
