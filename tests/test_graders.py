"""Graders: functions of the user's own that grade an answer, some of them with calls to a model."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar, cast

import pytest
from engine_sessions import Runs
from world import JUDGE, World, judged, make_config, make_task

from metaspo.backends import Completion, Request, RequestRejected, Usage
from metaspo.engine.config.calls import count_calls
from metaspo.engine.config.models import model_of
from metaspo.engine.evaluation.asking import Base
from metaspo.engine.evaluation.evaluation import Evaluation
from metaspo.engine.evaluation.grading import grading_of
from metaspo.engine.evaluation.scorecard import Outcome, Status
from metaspo.engine.optimize.test_splits import score_given
from metaspo.engine.prompts import PromptPair
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.tasks import Example, Grade, MetricError, Task, TaskError
from metaspo.engine.tasks.graders import Ungraded
from metaspo.engine.tasks.metrics import own_metric
from metaspo.engine.tasks.programs import Call, Program
from metaspo.scheduling import Gateway, RunStopped

ONCE = {"iterations": 1, "inner": {"candidates": 1, "keep": 1}, "outer": {"candidates": 1}, "judge": JUDGE}
T = TypeVar("T")


class Echo(World):
    """A judge that says of an answer whether it is right, by the question."""

    def judge(self, request: Request) -> str:
        question, _, answer = request.messages[-1].content.partition(": ")
        return "1" if (int(question.rpartition(" ")[2]) % 2 == 0) == (answer == "yes") else "0"


async def ask(answer: str | None, example: Example, call: Call) -> Grade:
    if answer is None:
        return Grade(0.0)
    said = await call(f"{example.question}: {answer}")
    return Grade(float(said.text), f"the judge says {said.text} of {example.where}")


async def silent(answer: str | None, example: Example, call: Call) -> float:
    return (await ask(answer, example, call)).score


async def once(prompts: PromptPair, example: Example, call: Call) -> Completion:
    return await call(prompts.messages(example.question))


def tasks_with(function: Callable[..., object], *, max_calls: int = 1) -> tuple[Task, ...]:
    metric = own_metric("own:grade", function, max_calls=max_calls)
    return tuple(replace(task, metric=metric) for task in (make_task("a"), make_task("b", role="target")))


def runs_of(function: Callable[..., object], *, max_calls: int = 1, config: dict[str, Any] | None = None) -> Runs:
    tasks = tasks_with(function, max_calls=max_calls)
    return Runs(make_config({**ONCE, **(config or {})}), tasks, Echo(3), timing=1, width=4)


class RealTime(Runs):
    """On the event loop's own time: threads know of no other."""

    def do(self, what: Callable[[RunContext], Coroutine[Any, Any, T]], *, stop_after: float | None = None) -> T | None:
        return asyncio.run(self._session(what, stop_after))


def of_judge(runs: Runs) -> list[Request]:
    return [request for request in runs.answered if request.model == "judge"]


def test_a_grader_that_asks_a_model_comes_to_what_a_metric_that_knows_does() -> None:
    config = make_config({"early_rejection": False, "judge": JUDGE})
    plain = Runs(config, (make_task("a"), make_task("b", role="target")), World(3), timing=1, width=4).session()
    runs = Runs(config, tasks_with(silent), Echo(3), timing=2, width=4)
    result = runs.session()
    assert result is not None
    assert plain is not None
    assert result.system_prompt == plain.system_prompt
    assert [row.grades for row in result.tests] == [row.grades for row in plain.tests]
    assert len(of_judge(runs)) == len(set(of_judge(runs))), "equal answers to a question are graded by one call"


def test_a_finished_run_with_a_grader_makes_no_call_when_it_is_started_again() -> None:
    runs = runs_of(ask)
    runs.session(stop_after=4.0)
    first, calls = runs.session(), len(runs.answered)
    assert first is not None
    assert of_judge(runs)
    assert runs.session() == first
    assert len(runs.answered) == calls


def test_without_a_judge_a_grader_asks_the_base_model() -> None:
    async def base_asked(answer: str | None, example: Example, call: Call) -> float:
        return float((await call(f"Again: {example.question}")).text == answer)

    runs = runs_of(base_asked, config={"judge": None})
    assert runs.session() is not None
    assert any("Again" in request.messages[-1].content for request in runs.answered if request.model == "answerer")


def test_what_a_grader_says_is_shown_to_the_optimizer() -> None:
    runs = runs_of(ask)
    assert runs.session() is not None
    shown = [request.messages[-1].content for request in runs.answered if request.model == "writer"]
    assert any("the judge says 0 of a.train:" in text for text in shown)


def test_no_run_makes_more_calls_for_grades_than_its_plan_says() -> None:
    for seed in range(3):
        config, tasks = make_config({"judge": JUDGE, "early_rejection": False}), tasks_with(ask)
        runs = Runs(config, tasks, Echo(seed), timing=1, width=4)
        assert runs.session() is not None
        assert 0 < len(of_judge(runs)) <= count_calls(config, tasks).judge


def test_a_budget_counts_calls_for_grades() -> None:
    runs = runs_of(ask, config={"budget": {"calls": 24}})
    with pytest.raises(RunStopped):
        runs.session()
    assert len(runs.answered) <= 24
    assert of_judge(runs)


def test_a_grader_that_raises_stops_the_run_with_the_row() -> None:
    async def wrong(answer: str | None, example: Example, call: Call) -> float:
        raise NameError("x")

    with pytest.raises(
        MetricError, match=r"^task '[ab]': [ab]\.\w+:\d: metric 'own:grade' failed on the prediction .*: NameError: x$"
    ):
        runs_of(wrong).session()


def test_a_grader_that_makes_more_calls_than_it_may_stops_the_run() -> None:
    async def greedy(answer: str | None, example: Example, call: Call) -> float:
        await call(f"{example.question}: yes")
        return float((await call(f"{example.question}: no")).text)

    with pytest.raises(TaskError, match=r"makes more than 1 call for one example: raise the task's metric\.max_calls"):
        runs_of(greedy).session()


def test_what_is_no_grade_is_refused() -> None:
    async def nine(answer: str | None, example: Example, call: Call) -> int:
        return 9

    with pytest.raises(MetricError, match=r"returned 9 .* it must return a number from 0 to 1"):
        runs_of(nine).session()


def test_an_answer_that_cannot_be_graded_under_the_first_prompts_stops_the_run_and_names_its_row() -> None:
    async def strict(answer: str | None, example: Example, call: Call) -> float:
        raise Ungraded("nobody knows")

    with pytest.raises(TaskError, match=r"cannot be graded\. task 'a': a\.train:1, .*no grade: nobody knows\. Mend"):
        runs_of(strict).session()


def test_an_answer_whose_grade_the_server_refuses_is_no_wrong_answer() -> None:
    class Strict(Echo):
        def judge(self, request: Request) -> str:
            if "b test number 1" in request.messages[-1].content:
                raise RequestRejected("it is too long")
            return super().judge(request)

    async def given(context: RunContext) -> list[Any]:
        return await score_given(context, "s", {task.name: task.user_prompt for task in context.tasks}, split="test")

    runs = Runs(make_config(ONCE), tasks_with(ask), Strict(3), timing=1, width=4)
    scores = runs.do(given)
    assert scores is not None
    row, card = scores[1]
    assert card.outcomes[1].status is Status.FAILED
    assert card.outcomes[1].reason == "no grade: it is too long"
    assert row.failed == 1
    grades = [grade for grade in row.grades if grade is not None]
    assert row.score == sum(grades) / 3


def test_an_answer_that_could_not_be_had_is_shown_to_no_grader() -> None:
    """It failed for the server's reason, and is no malformed answer."""

    graded: list[str] = []

    async def noting(answer: str | None, example: Example, call: Call) -> Grade:
        graded.append(example.question)
        return await ask(answer, example, call)

    class Refusing(Echo):
        def answer(self, request: Request) -> str:
            if request.model == "answerer" and "b test number 1" in request.messages[-1].content:
                raise RequestRejected("it is too long")
            return super().answer(request)

    async def given(context: RunContext) -> list[Any]:
        return await score_given(context, "s", {task.name: task.user_prompt for task in context.tasks}, split="test")

    runs = Runs(make_config(ONCE), tasks_with(noting), Refusing(3), timing=1, width=4)
    scores = runs.do(given)
    assert scores is not None
    row, card = scores[1]
    assert (card.outcomes[1].status, str(card.outcomes[1].reason)) == (Status.FAILED, "it is too long")
    assert row.failed == 1
    assert graded
    assert not any("b test number 1" in question for question in graded)


def test_a_coroutine_function_may_grade_without_calls() -> None:
    async def told(answer: str | None, answers: tuple[str, ...]) -> float:
        await asyncio.sleep(0)
        return float(answer in answers)

    plain = Runs(
        make_config(ONCE), (make_task("a"), make_task("b", role="target")), World(3), timing=1, width=4
    ).session()
    result = runs_of(told).session()
    assert result is not None
    assert plain is not None
    assert [row.grades for row in result.tests] == [row.grades for row in plain.tests]


def in_threads(answer: str | None, example: Example, call: Callable[..., Completion]) -> float:
    assert threading.current_thread() is not threading.main_thread()
    return 0.0 if answer is None else float(call(f"{example.question}: {answer}").text)


def test_a_grader_without_async_asks_from_a_thread_and_comes_to_the_same() -> None:
    asked = runs_of(silent).session()
    runs = RealTime(make_config(ONCE), tasks_with(in_threads), Echo(3), timing=1, width=4, latency=0.001)
    result = runs.session()
    assert result is not None
    assert asked is not None
    assert [row.grades for row in result.tests] == [row.grades for row in asked.tests]


def test_a_plain_function_never_holds_up_the_event_loop() -> None:
    def exact(answer: str | None, answers: tuple[str, ...]) -> float:
        assert threading.current_thread() is not threading.main_thread()
        return float(answer in answers)

    assert runs_of(exact).session() is not None


class Cache:
    """A gateway that has every answer, and keeps whose it was asked for."""

    def __init__(self) -> None:
        self.looked_up: list[str] = []

    async def lookup_many(self, requests: Sequence[Request], **_options: object) -> dict[int, Completion]:
        self.looked_up += [request.messages[-1].content for request in requests]
        said = Completion(text="yes", finish_reason="stop", usage=Usage(1, 1), latency=0.0)
        return dict.fromkeys(range(len(requests)), said)

    async def complete_many(self, requests: Sequence[Request], **_options: object) -> list[Completion]:
        assert not requests, "all are there"
        return []


def test_a_plain_function_is_never_called_twice_at_once() -> None:
    met: list[str | None] = []
    two = threading.Barrier(2, timeout=0.5)  # broken, and from then on no place to wait at, where nobody else comes

    def exact(answer: str | None, answers: tuple[str, ...]) -> float:
        with suppress(threading.BrokenBarrierError):
            two.wait()
            met.append(answer)
        return float(answer in answers)

    config, (task, _) = make_config(ONCE), tasks_with(exact)
    model = model_of(config.base, lane="base", temperature=0.0)
    base = Base(gateway=cast("Gateway", Cache()), model=model, roles=config.roles)
    said = Completion(text="yes", finish_reason="stop", usage=Usage(1, 1), latency=0.0)
    outcomes: dict[int, Outcome] = {}

    async def at_once() -> None:
        chunks = [grading_of(base, task, task.train).grade({row: said}, (0,), outcomes.__setitem__) for row in range(6)]
        await asyncio.gather(*chunks)

    asyncio.run(at_once())
    assert (met, len(outcomes)) == ([], 6)


@pytest.mark.parametrize("program", [None, Program(name="own:once", function=once, max_calls=1)])
def test_an_answer_under_the_first_prompts_is_recalled_once_however_many_chunks_are_graded(
    program: Program | None,
) -> None:
    config, task, cache = make_config(ONCE), replace(judged(make_task("a"), against="first"), program=program), Cache()
    model = model_of(config.base, lane="base", temperature=0.0)
    base = Base(gateway=cast("Gateway", cache), model=model, roles=config.roles)
    grading = grading_of(base, task, task.train)
    said = Completion(text="yes", finish_reason="stop", usage=Usage(1, 1), latency=0.0)
    outcomes: dict[int, Outcome] = {}

    async def in_chunks() -> None:
        for rows in ((0, 1), (5, 3), (2, 4)):
            await grading.grade(dict.fromkeys(rows, said), (0,), outcomes.__setitem__)

    asyncio.run(in_chunks())
    assert [outcomes[row].grade for row in range(6)] == [0.5] * 6
    assert [text.rpartition("number ")[2][0] for text in cache.looked_up] == [*"015324"]


def test_an_answer_that_is_in_the_cache_without_its_grade_is_graded_and_looked_for_no_more() -> None:
    """Beside one that is asked for now; each is counted once."""
    (task, _) = tasks_with(ask)

    async def twice(context: RunContext) -> list[tuple[int, int, int]]:
        pair, told = PromptPair("s", "{question}"), list[tuple[int, int, int]]()

        def note(missing: int) -> None:
            use = context.account.statistics().lanes["base"]
            told.append((missing, use.calls, use.hits))

        plain = Evaluation(context, pair, make_task("a"), examples=task.train[:4], address="here")
        await plain.ask([((0,), range(4))])
        note(plain.missing)
        graded = Evaluation(context, pair, task, examples=task.train, address="there")
        await graded.recall()
        note(graded.missing)
        await graded.ask([((0,), range(len(task.train)))])
        note(graded.missing)
        return told

    many = len(task.train)
    assert Runs(make_config(ONCE), [task], Echo(1), timing=1, width=9).do(twice) == [
        (0, 4, 0),
        (many, 4, 4),
        (0, many, 4),
    ]
