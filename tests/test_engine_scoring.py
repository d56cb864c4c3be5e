"""Outcomes: a malformed answer counts as wrong and is counted; a failed call has no grade and never becomes a zero."""

import pytest
from world import make_task

from metaspo.backends import Completion, RequestRejected, Usage
from metaspo.engine.evaluation.scorecard import Outcome, Scorecard, Status, grade_answer, total
from metaspo.engine.prompts import PromptPair
from metaspo.engine.selection.objective import meta_score, ranked

TASK = make_task("a", train=4)
RIGHT, WRONG, MALFORMED = "yes", "no", "who knows"
REFUSED = RequestRejected("too long")


def completion(text: str) -> Completion:
    return Completion(text=text, finish_reason="stop", usage=Usage(1, 1), latency=0.0)


def outcomes(*answers: str | RequestRejected) -> tuple[Outcome, ...]:
    example = TASK.train[0]
    assert example.answers == (RIGHT,)
    return tuple(
        grade_answer(
            answer if isinstance(answer, RequestRejected) else completion(answer),
            example,
            answer_format=TASK.answer_format,
            metric=TASK.metric,
        )
        for answer in answers
    )


def card(*answers: str | RequestRejected, user: str = "{question}") -> Scorecard:
    found = outcomes(*answers)
    return Scorecard(task="a", pair=PromptPair("s", user), outcomes=found, score=total(found, metric=TASK.metric))


def test_each_kind_of_answer_has_its_status_and_grade() -> None:
    found = outcomes(RIGHT, WRONG, MALFORMED, REFUSED)
    assert [(outcome.status, outcome.grade) for outcome in found] == [
        (Status.SCORED, 1.0),
        (Status.SCORED, 0.0),
        (Status.MALFORMED, 0.0),
        (Status.FAILED, None),
    ]


def test_a_malformed_answer_is_wrong_and_a_failed_one_is_left_out() -> None:
    assert card(RIGHT, MALFORMED).score == 0.5
    assert card(RIGHT, REFUSED).score == 1.0
    assert card(REFUSED, REFUSED).score is None


def test_malformed_and_failed_are_counted_apart() -> None:
    found = card(RIGHT, MALFORMED, MALFORMED, REFUSED)
    assert (found.malformed, found.failed) == (2, 1)


def test_failures_to_learn_from_are_answered_and_not_right() -> None:
    assert [failure.response for failure in card(RIGHT, WRONG, MALFORMED, REFUSED).failures] == [WRONG, MALFORMED]


def test_a_card_with_a_refused_example_says_which_and_why_and_cannot_be_ranked() -> None:
    refused = card(RIGHT, REFUSED)
    assert refused.invalid == "a.train:1: too long"
    with pytest.raises(AssertionError):
        ranked([refused], keep=1)


def test_ranking_keeps_the_best_and_the_earlier_of_equals() -> None:
    cards = [card(WRONG, user=f"{n}{{question}}") for n in range(2)]
    cards += [card(RIGHT, user=f"{n}{{question}}") for n in range(2, 4)]
    assert [one.pair.user[0] for one in ranked(cards, keep=3)] == ["2", "3", "0"]


def test_the_meta_score_is_the_plain_mean_over_nodes() -> None:
    assert meta_score([card(RIGHT, RIGHT), card(RIGHT, WRONG), card(WRONG, WRONG)]) == 0.5
