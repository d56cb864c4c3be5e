"""Answers on their way to outcomes: by a metric in a thread, and by a grader that asks."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import anyio
from test_evaluation_asking import MODEL, NOW, TASK, Place

from metaspo import Gateway, Lane, MemoryStore
from metaspo.backends import Completion, RequestRejected, Simulated, Usage
from metaspo.engine.evaluation.asking import Answered, Base
from metaspo.engine.evaluation.grading import grading_of, outcomes_of
from metaspo.engine.evaluation.scorecard import Outcome, Status
from metaspo.engine.tasks import Example
from metaspo.engine.tasks.graders import Grader
from metaspo.engine.tasks.metrics import UserMetric
from metaspo.engine.tasks.programs import Call


def completion(text: str) -> Completion:
    return Completion(text=text, finish_reason="stop", usage=Usage(1, 1), latency=0.0)


async def test_who_waits_for_a_slow_metric_no_longer_has_the_rest_not_graded_either() -> None:
    """The answer that is being graded is, but nobody waits for that; a thread cannot be broken off."""
    entered, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    graded: list[tuple[str | None, bool]] = []
    outcomes: dict[int, Outcome] = {}

    def slow(prediction: str | None, answers: object) -> float:
        entered.set()
        graded.append((prediction, go_on.wait(10)))
        return 1.0

    def four() -> Iterator[tuple[int, Completion]]:
        try:
            for row in range(4):
                yield row, completion("yes")
        finally:
            ended.set()

    class Answers(dict[int, Answered]):
        def items(self) -> Any:  # noqa: ANN401 - a view, for all that is asked of it
            return four()

    task = replace(TASK, metric=UserMetric("own:slow", slow))
    async with Gateway([Lane("base", [Simulated(lambda _: "")])], store=MemoryStore()) as gateway:
        grading = grading_of(Base(gateway=gateway, model=MODEL, roles="separate"), task, task.train)
        answers = Answers(four())
        ended.clear()
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(grading.grade, answers, NOW, outcomes.__setitem__)
            await asyncio.to_thread(entered.wait, 30)
            waiting.cancel_scope.cancel()
        go_on.set()
        assert await asyncio.to_thread(ended.wait, 30)
    assert (graded, outcomes) == ([("yes", True)], {})


def test_an_answer_that_could_not_be_had_is_graded_by_nobody() -> None:
    """It has the server's reason; what was answered beside it is graded."""
    graded: list[str | None] = []

    async def judge(prediction: str | None, example: Example, call: Call) -> float:
        graded.append(prediction)
        return 0.5

    task = replace(TASK, metric=Grader(name="own:judge", function=judge, max_calls=1))
    answers: dict[int, Answered] = {0: RequestRejected("too long"), 1: completion("yes")}
    outcomes = Place().do(lambda base: outcomes_of(base, task, task.train, answers, priority=NOW))
    assert {row: (outcome.status, outcome.grade) for row, outcome in outcomes.items()} == {
        0: (Status.FAILED, None),
        1: (Status.SCORED, 0.5),
    }
    assert (outcomes[0].reason, graded) == ("too long", ["yes"])
