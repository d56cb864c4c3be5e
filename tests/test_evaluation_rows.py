"""Rows of tables: what a scorecard comes to, and a task before and after in one row."""

from dataclasses import replace

import pytest
from world import make_task

from metaspo.backends import Usage
from metaspo.engine.evaluation.scorecard import Outcome, Scorecard, Status
from metaspo.engine.evaluation.task_rows import COLUMNS, SHORT, TaskRow, cost_sentence, task_rows
from metaspo.engine.evaluation.test_score import SCORE_COLUMNS, ScoreRow, TestScore, dollars, percent, unreadable
from metaspo.engine.prompts import PromptPair
from metaspo.engine.statistics import Interval
from metaspo.engine.tasks import Example
from metaspo.scheduling import Prices

EXAMPLES = make_task("a", test=4).test
BEFORE = ScoreRow(
    task="a",
    role="target",
    metric="accuracy",
    stage="before",
    prompt=0,
    score=0.5,
    examples=4,
    malformed=3,
    failed=1,
    interval=Interval(0.2, 0.8),
    prompt_tokens=1000.0,
    answer_tokens=20.0,
    dollars_per_thousand=0.125,
)
AFTER = replace(
    BEFORE,
    stage="after",
    score=0.75,
    malformed=2,
    failed=0,
    interval=Interval(0.3, 0.9),
    prompt_tokens=1500.0,
    answer_tokens=10.0,
    dollars_per_thousand=0.25,
)


def graded(*grades: float | None, stage: str = "before") -> TestScore:
    """A row with these grades."""
    row = BEFORE if stage == "before" else AFTER
    fields = {name: getattr(row, name) for name in ("task", "role", "metric", "stage", "prompt", "score")}
    return TestScore(**fields, system="s", user="{question}", grades=grades)


def card_of(*outcomes: Outcome, prices: Prices | None = None) -> Scorecard:
    """A scorecard of these."""
    return Scorecard(task="a", pair=PromptPair("s", "{question}"), outcomes=outcomes, score=0.5, prices=prices)


def read(example: Example, said: str, usage: Usage | None = None) -> Outcome:
    """An answer that was read so."""
    grade = float(said in example.answers)
    return Outcome(example=example, status=Status.SCORED, prediction=said, grade=grade, usage=usage)


def test_a_task_has_one_row_of_both_its_sides_in_the_order_of_tasks() -> None:
    others = [replace(BEFORE, task="z"), AFTER, BEFORE, replace(BEFORE, prompt=1, score=0.1), replace(AFTER, task="m")]
    z, both, m = task_rows(others)
    assert [z.task, both.task, m.task] == ["z", "a", "m"]
    assert both == TaskRow(
        task="a",
        role="target",
        metric="accuracy",
        before=0.5,
        after=0.75,
        before_interval=Interval(0.2, 0.8),
        after_interval=Interval(0.3, 0.9),
        examples=4,
        malformed=(3, 2),
        failed=(1, 0),
        prompt_tokens=(1000.0, 1500.0),
        answer_tokens=(20.0, 10.0),
        dollars_per_thousand=(0.125, 0.25),
    )
    assert (z.before, z.after, z.before_interval, z.after_interval) == (0.5, None, Interval(0.2, 0.8), None)
    assert (m.before, m.after, m.before_interval, m.after_interval) == (None, 0.75, None, Interval(0.3, 0.9))
    assert (z.prompt_tokens, m.malformed, both.change, z.change, m.change) == ((1000.0,), (2,), 0.25, None, None)
    assert both.as_json()["change"] == 0.25
    assert task_rows([replace(BEFORE, prompt=1)]) == ()


@pytest.mark.parametrize("unknown", ["prompt_tokens", "answer_tokens", "dollars_per_thousand"])
def test_what_is_counted_is_of_the_side_that_knows_it(unknown: str) -> None:
    one, other = replace(BEFORE, **{unknown: None}), replace(AFTER, **{unknown: None})  # type: ignore[arg-type]
    assert [getattr(row, unknown) for row in task_rows([one, AFTER])] == [(getattr(AFTER, unknown),)]
    assert [getattr(row, unknown) for row in task_rows([BEFORE, other])] == [(getattr(BEFORE, unknown),)]
    assert [getattr(row, unknown) for row in task_rows([one, other])] == [()]


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [
        ((1, 1, 0, 0.5), (1, 0.5, 0, 1), (1, 1)),
        ((1, 1, 1, 0), (0, 0, 1, 1), (2, 1)),
        ((None, 1, None), (0, None, 1), (0, 0)),
        ((None, 1), (None, 0), (1, 0)),
        ((1, 0), (1,), (-1, -1)),
    ],
)
def test_worse_and_better_are_counted_of_the_examples_that_both_answered(
    before: tuple[float | None, ...], after: tuple[float | None, ...], moved: tuple[int, int]
) -> None:
    rows = [graded(*before), graded(*after, stage="after")]
    (row,) = task_rows(rows)
    assert (row.worse, row.better) == moved
    for without in ([rows[0].row, rows[1]], [rows[0], rows[1].row], rows[:1], rows[1:]):
        (row,) = task_rows(without)
        assert (row.worse, row.better) == (-1, -1), "nothing is known of grades"


def test_the_texts_of_a_row() -> None:
    (row,) = task_rows([BEFORE, AFTER])
    assert [text(replace(row, worse=0, better=2)) for text in COLUMNS.values()] == [
        *("a", "target", "accuracy", "50.0% (20–80)", "75.0% (30–90)", "+25.0", "0", "2", "3 → 2", "1 → 0"),
        *("1,000 → 1,500", "20 → 10", "$0.125 → $0.250"),
    ]
    bare = TaskRow(task="a", role="target", metric="accuracy")
    assert [text(bare) for text in COLUMNS.values()] == ["a", "target", "accuracy", "–", "–", *[""] * 8]
    assert COLUMNS["change"](replace(bare, before=0.5, after=0.4999)) == "+0.0", "never minus nothing"
    assert set(SHORT) < set(COLUMNS)
    assert [text(replace(AFTER, prompt=2)) for text in SCORE_COLUMNS.values()] == [
        *("a", "target", "accuracy", "after", "3", "75.0% (30–90)", "4", "2", "0", "1,500", "10", "$0.250"),
    ]
    assert (percent(0.5, None), percent(None, None), dollars(None), dollars(1234.5)) == (
        "50.0%",
        "–",
        "–",
        "$1,234.500",
    )


def sides(tokens: tuple[float, ...], prices: tuple[float, ...] = ()) -> TaskRow:
    """A task's row with this cost."""
    return TaskRow(task="a", role="source", metric="accuracy", prompt_tokens=tokens, dollars_per_thousand=prices)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], ""),
        ([sides(())], ""),
        ([sides((5.0,), (0.5,))], ""),
        ([sides((5.0,)), sides((2.0, 4.0))], "has 4 tokens, 2 before: 2,000 tokens more a thousand calls."),
        ([sides((4.0, 2.0))], "has 2 tokens, 4 before: 2,000 tokens less a thousand calls."),
        ([sides((4.0, 4.0))], "has 4 tokens, 4 before."),
        ([sides((0.0, 0.0009))], "has 0 tokens, 0 before."),
        ([sides((0.0, 0.001))], "has 0 tokens, 0 before: 1 token more a thousand calls."),
        ([sides((4.0, 4.0), (0.5, 0.5))], "has 4 tokens, 4 before; a thousand calls cost $0.500, $0.500 before."),
        (
            [sides((4.0, 5.0), (0.5, 0.5))],
            "has 5 tokens, 4 before; a thousand calls cost $0.500, $0.500 before: 1,000 tokens more a thousand calls.",
        ),
        (
            [sides((4.0, 3.0), (0.5, 0.0))],
            "has 3 tokens, 4 before; a thousand calls cost $0.000, $0.500 before: 1,000 tokens less and $0.500 less a "
            "thousand calls.",
        ),
        ([sides((4.0, 4.0), (0.0, 0.0))], "has 4 tokens, 4 before."),
    ],
)
def test_what_the_prompts_after_cost_beside_those_before(rows: list[TaskRow], sentence: str) -> None:
    assert cost_sentence(rows) == (f"A question with its prompts {sentence}" if sentence else "")


def test_a_scorecards_row_counts_its_outcomes_and_means_its_usages() -> None:
    outcomes = (
        read(EXAMPLES[0], "yes", Usage(100, 10)),
        read(EXAMPLES[1], "yes", Usage(200, 20)),
        Outcome(example=EXAMPLES[2], status=Status.MALFORMED, text=" ", grade=0.0, cut=True),
        Outcome(example=EXAMPLES[3], status=Status.FAILED, reason="too long"),
    )
    card = card_of(*outcomes, prices=Prices(input=2.0, cached=1.0, output=10.0))
    row = TestScore.of(replace(card, weight=3.0), role="target", metric="accuracy", stage="given", prompt=2)
    assert row.grades == (1.0, 0.0, 0.0, None)
    assert (row.examples, row.malformed, row.cut, row.empty, row.failed) == (4, 1, 1, 1, 1)
    assert card_of(outcomes[2]._replace(text="Hm.")).empty == card_of(outcomes[2]._replace(broken=True)).empty == 0
    raised = card_of(*outcomes[:2], outcomes[2]._replace(broken=True))
    assert TestScore.of(raised, role="target", metric="accuracy", stage="given").broken == 1
    assert (row.prompt_tokens, row.answer_tokens) == (150, 15)
    assert row.dollars_per_thousand == pytest.approx(0.45)
    assert (row.weight, row.prompt, row.stage, row.labels, row.repeats) == (3.0, 2, "given", (), ())
    assert row.unanswered == "a.test:4: too long"
    assert row.interval is not None
    unpriced = TestScore.of(card_of(*outcomes[:2]), role="target", metric="accuracy", stage="given")
    assert (unpriced.prompt_tokens, unpriced.dollars_per_thousand) == (150, None)
    assert TestScore.of(card_of(*outcomes[2:]), role="target", metric="accuracy", stage="given").prompt_tokens is None
    assert TestScore.of(card_of(outcomes[3]), role="target", metric="accuracy", stage="given").interval is None
    labelled = TestScore.of(card, role="target", metric="macro-f1", stage="given")
    assert labelled.labels == (("yes", "yes"), ("no", "yes"), ("yes", None), None)
    assert labelled.split_grades().grades == labelled.labels
    assert row.split_grades().grades == row.grades


def test_a_question_that_is_asked_again_is_known_by_its_first_place() -> None:
    again = card_of(*(read(EXAMPLES[place], "yes") for place in (0, 1, 0)))
    row = TestScore.of(again, role="target", metric="accuracy", stage="given", prompt=1)
    assert row.repeats == (0, 1, 0)
    figures = row.split_grades(seed=5)
    assert (figures.task, figures.questions, figures.seed, figures.prompt, figures.weight) == (
        "a",
        (0, 1, 0),
        5,
        1,
        1.0,
    )
    named = row.split_grades(questions=("x", "y", "x"), task="t")
    assert (named.task, named.questions) == ("t", ("x", "y", "x"))


@pytest.mark.parametrize(
    ("cut", "examples", "failed", "told"),
    [(0, 0, 0, False), (0, 5, 0, False), (1, 10, 0, True), (1, 11, 0, False), (1, 11, 1, True), (2, 11, 0, True)],
)
def test_answers_that_were_cut_off_are_told_where_they_are_a_tenth(
    cut: int, examples: int, failed: int, told: bool
) -> None:
    sentence = unreadable([replace(BEFORE, malformed=0, cut=cut, examples=examples, failed=failed)])
    answers = f"{cut} of {examples - failed} answers were cut off and are not in the form asked for"
    assert sentence == (f"{answers}: raise [base] max_tokens" if told else "")


@pytest.mark.parametrize(
    ("malformed", "empty", "examples", "failed", "told"),
    [
        (0, 0, 0, 0, ""),
        (0, 0, 3, 3, ""),
        (8, 8, 10, 0, ""),
        (9, 0, 11, 0, ""),
        (9, 0, 10, 0, "9 of 10 answers are not in the form asked for: see to"),
        (9, 9, 12, 2, "9 of 10 answers are not in the form asked for (9 of them empty): see to"),
        (2000, 1, 2000, 0, "2,000 of 2,000 answers are not in the form asked for (1 of them empty): see to"),
    ],
)
def test_answers_of_which_nearly_none_is_in_the_form_asked_for_are_told_with_what_to_see_to(
    malformed: int, empty: int, examples: int, failed: int, told: str
) -> None:
    row = replace(BEFORE, malformed=malformed, empty=empty, examples=examples, failed=failed)
    sentence = unreadable([row])
    assert sentence.startswith(told)
    assert ("chat template" in sentence) is bool(told)


@pytest.mark.parametrize(
    ("malformed", "broken", "told"),
    [(10, 10, ""), (10, 9, "1 of 1 answers are"), (9, 1, ""), (10, 5, "5 of 5 answers are"), (9, 5, "")],
)
def test_what_a_program_raised_on_is_no_answer_in_another_form(malformed: int, broken: int, told: str) -> None:
    assert unreadable([replace(BEFORE, examples=10, failed=0, malformed=malformed, broken=broken)]).startswith(told)
    assert bool(told) is bool(unreadable([replace(BEFORE, examples=10, failed=0, malformed=malformed, broken=broken)]))


def test_a_task_whose_answers_are_in_another_form_is_told_beside_others() -> None:
    """Ten times as many in the right form do not hide it."""
    fine = replace(BEFORE, task="fine", examples=100, failed=0, malformed=0)
    bad = replace(BEFORE, task="bad", examples=10, failed=0, malformed=9)
    assert unreadable([fine, bad]).startswith("9 of 10 answers to bad are not in the form asked for: see to")
    assert unreadable([bad, replace(bad, task="worse")]).startswith("18 of 20 answers are not")


def test_a_user_prompt_that_is_answered_in_another_form_is_not_its_whole_task() -> None:
    """A run scores the user prompts that it kept, each in a row of its own."""
    first, other = (replace(BEFORE, examples=10, failed=0, malformed=malformed) for malformed in (9, 0))
    assert unreadable([first, replace(other, prompt=1)]) == ""
    assert unreadable([first, replace(first, prompt=1)]).startswith("18 of 20 answers are not")
    assert unreadable([first, replace(first, prompt=1), replace(other, task="fine")]).startswith(
        f"18 of 20 answers to {first.task} are not"
    )
