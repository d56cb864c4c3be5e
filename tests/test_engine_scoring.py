"""Outcomes: a malformed answer counts as wrong and is counted; a failed call has no grade and never becomes a zero."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from engine_sessions import Runs
from world import World, make_config, make_task

from metaspo import Gateway, Lane, LaneSettings, MemoryStore, optimize
from metaspo.backends import Completion, Request, RequestRejected, Simulated, Usage
from metaspo.engine import Prepared
from metaspo.engine.evaluation.evaluation import CHUNK, Evaluation
from metaspo.engine.evaluation.scorecard import Outcome, Scorecard, Status, grade_answer, score_of_answered
from metaspo.engine.journal.events import Score
from metaspo.engine.prompts import PromptPair
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.selection.objective import Objective
from metaspo.engine.tasks.base import AnswerFormat, is_blocking
from metaspo.engine.tasks.formats.expressions import Math
from metaspo.engine.tasks.formats.tagged import Kind, Tagged
from metaspo.engine.tasks.formats.texts import Text
from metaspo.engine.tasks.formats.unanswerable import OrUnanswerable
from metaspo.engine.tasks.metrics import UserMetric

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
    return Scorecard(
        task="a", pair=PromptPair("s", user), outcomes=found, score=score_of_answered(found, metric=TASK.metric)
    )


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
        Objective().ranked([refused])


def test_ranking_keeps_the_best_and_the_earlier_of_equals() -> None:
    cards = [card(WRONG, user=f"{n}{{question}}") for n in range(2)]
    cards += [card(RIGHT, user=f"{n}{{question}}") for n in range(2, 4)]
    assert [one.pair.user[0] for one in Objective().ranked(cards)[:3]] == ["2", "3", "0"]


def test_of_equals_the_shorter_user_prompt_is_ranked_first() -> None:
    cards = [card(RIGHT, user=f"{words}{{question}}") for words in ("Think. ", "", "Go. ")]
    assert [len(one.pair.user) for one in Objective().ranked(cards)] == [10, 14, 17]
    assert [len(one.pair.user) for one in Objective(ties="earlier").ranked(cards)] == [17, 10, 14]


def test_the_meta_score_is_the_plain_mean_over_nodes() -> None:
    assert Objective().value([card(RIGHT, RIGHT), card(RIGHT, WRONG), card(WRONG, WRONG)]) == 0.5


@pytest.mark.parametrize("early_rejection", [True, False])
async def test_an_answer_is_graded_once(early_rejection: bool) -> None:
    """However often bounds are looked at: no more often than answers came in, from the model, the cache or a twin."""
    graded: list[str | None] = []

    def exact(prediction: str | None, answers: tuple[str, ...]) -> float:
        graded.append(prediction)
        return float(prediction in answers)

    tasks = tuple(replace(make_task(name, train=40), metric=UserMetric("own:exact", exact)) for name in "ab")
    config = make_config({"early_rejection": early_rejection})
    lanes = [Lane(name, [Simulated(World(3).answer)], LaneSettings(concurrency=8)) for name in ("base", "optimizer")]
    async with Gateway(lanes, store=MemoryStore()) as gateway:
        report = await optimize(Prepared(config=config, tasks=tasks, folder=Path()), gateway=gateway)
    use = report.usage.lanes["base"]
    answered = use.calls + use.hits + use.joined
    assert len(graded) <= answered if early_rejection else len(graded) == answered


def test_who_watches_an_evaluation_is_told_long_before_its_last_answer() -> None:
    """Else a pair that cannot win any more would be paid for to its end."""
    task, missing = make_task("a", train=3 * CHUNK), list[int]()

    async def watched(context: RunContext) -> None:
        evaluation = Evaluation(context, PromptPair("s", "{question}"), task, examples=task.train, address="here")
        await evaluation.ask([((0,), range(3 * CHUNK))], on_answers=lambda: missing.append(evaluation.missing))

    Runs(make_config({}), [task], World(1), timing=1, width=CHUNK).do(watched)
    assert missing == [2 * CHUNK, CHUNK, 0]


def test_rows_that_are_asked_for_twice_at_once_keep_no_other_row_from_its_outcome() -> None:
    """Each row's first answer counts; the ones after it in the same batch are taken all the same."""
    task = make_task("a", train=6)

    async def overlapping(context: RunContext) -> Scorecard:
        evaluation = Evaluation(context, PromptPair("s", "{question}"), task, examples=task.train, address="here")
        await asyncio.gather(*(evaluation.ask([((0,), rows)]) for rows in (range(4), range(2, 6), range(1, 6))))
        return evaluation.card()

    card = Runs(make_config({}), [task], World(1), timing=1, width=9).do(overlapping)
    assert card is not None
    assert all(outcome.text for outcome in card.outcomes)


def test_what_an_evaluation_takes_from_the_cache_counts_as_answered_by_it() -> None:
    task = make_task("a", train=6)

    async def again(context: RunContext) -> tuple[int, int]:
        pair = PromptPair("s", "{question}")
        await Evaluation(context, pair, task, examples=task.train, address="here").ask([((0,), range(6))])
        repeated = Evaluation(context, pair, task, examples=task.train, address="there")
        await repeated.recall()
        return repeated.missing, context.account.statistics().total.hits

    assert Runs(make_config({}), [task], World(1), timing=1, width=9).do(again) == (0, 6)


@pytest.mark.parametrize(
    ("refused", "invalid"), [(None, None), (2, "a.train:3: too long")], ids=["answered", "refused"]
)
def test_a_score_is_journaled_with_why_its_pair_cannot_be_selected(refused: int | None, invalid: str | None) -> None:
    """None where it can."""
    task = make_task("a", train=4)

    class Refusing(World):
        def base(self, request: Request) -> str:
            if refused is not None and task.train[refused].question in request.messages[-1].content:
                raise REFUSED
            return super().base(request)

    async def scored(context: RunContext) -> None:
        evaluation = Evaluation(context, PromptPair("s", "{question}"), task, examples=task.train, address="here")
        await evaluation.ask([((0,), range(4))])
        evaluation.card()

    runs = Runs(make_config({}), [task], Refusing(1), timing=1, width=9)
    runs.do(scored)
    told = [event for event in runs.journal.events if isinstance(event, Score)]
    assert [(event.address, event.failed, event.invalid) for event in told] == [
        ("here", int(refused is not None), invalid)
    ]


def test_a_grade_between_wrong_and_right_is_a_failure_to_learn_from() -> None:
    partial, right = (outcomes(RIGHT)[0]._replace(grade=grade) for grade in (0.5, 1.0))
    found = replace(card(RIGHT, RIGHT), outcomes=(partial, right))
    assert [failure.example for failure in found.failures] == [partial.example]


def test_a_refused_card_is_no_selection_however_good_the_answers_that_came() -> None:
    refused, plain = (card(RIGHT), card(RIGHT, REFUSED)), (card(RIGHT), card(RIGHT, WRONG))
    assert Objective().violation(plain) == ""
    assert "too long" in Objective().violation(refused)
    with pytest.raises(AssertionError):
        Objective().scored(1, "s", refused)


class Slow:
    """As the task's own format, but its work may take seconds; notes the threads that do it."""

    blocking = True

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def parse(self, text: str, /) -> str | None:
        """As the other."""
        self.threads.add(threading.get_ident())
        return TASK.answer_format.parse(text)

    def canonical(self, answer: str, /) -> str | None:
        """As the other."""
        return TASK.answer_format.canonical(answer)

    def describe(self) -> str:
        """As the other."""
        return TASK.answer_format.describe()

    @property
    def wanted(self) -> str:
        """Nothing."""
        return ""


def test_an_answer_that_takes_seconds_to_compare_holds_up_no_event_loop() -> None:
    """Another thread compares; what is selected stays the same."""
    slow, world = Slow(), World(3)
    results = [
        Runs(make_config(), [replace(TASK, answer_format=read)], world, timing=1, width=4).session()
        for read in (slow, TASK.answer_format)
    ]
    assert results[0] is not None
    assert results[0] == results[1]
    assert slow.threads
    assert threading.get_ident() not in slow.threads


@pytest.mark.parametrize("wrap", [Tagged, OrUnanswerable])
def test_what_is_around_a_format_that_takes_seconds_takes_them_too(wrap: Callable[[Kind], AnswerFormat]) -> None:
    assert is_blocking(wrap(Slow()))
    assert not is_blocking(wrap(Text()))
    assert is_blocking(Math())
