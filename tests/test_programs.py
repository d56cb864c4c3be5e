"""Programs: tasks whose examples are answered by code of the user's own, with any number of calls."""

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import anyio
import pytest
from engine_sessions import Runs
from hypothesis import given, settings
from hypothesis import strategies as st
from sizes import examples
from world import LOOK_TWICE, World, make_config, make_task

from metaspo.backends import Completion, Request, RequestRejected
from metaspo.engine import ConfigError, RunResult
from metaspo.engine.config.calls import count_calls
from metaspo.engine.config.checks import check_optimizable
from metaspo.engine.evaluation.calling import Asked, CodeRun, Raised
from metaspo.engine.optimize.bilevel import run
from metaspo.engine.prompts import PromptPair
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.tasks import Example, Task, TaskError, TaskSpec, load_task
from metaspo.engine.tasks.programs import Call, Program
from metaspo.scheduling import RunStopped

ONCE = {"iterations": 1, "inner": {"candidates": 1, "keep": 1}, "outer": {"candidates": 1}}


def tasks_with(function: Callable[..., object], *, max_calls: int = 3) -> tuple[Task, ...]:
    program = Program(name="own:function", function=function, max_calls=max_calls)
    return tuple(replace(task, program=program) for task in (make_task("a"), make_task("b", role="target")))


def runs_of(function: Callable[..., object], *, max_calls: int = 3, config: dict[str, Any] | None = None) -> Runs:
    tasks = tasks_with(function, max_calls=max_calls)
    return Runs(make_config({**ONCE, **(config or {})}), tasks, World(3), timing=1, width=4)


async def once(prompts: PromptPair, example: Example, call: Call) -> str:
    return (await call(prompts.messages(example.question))).text


def test_a_program_that_asks_once_comes_to_what_a_task_without_one_does() -> None:
    config = make_config({"early_rejection": False})
    plain = Runs(config, (make_task("a"), make_task("b", role="target")), World(3), timing=1, width=4)
    runs = Runs(config, tasks_with(once), World(3), timing=2, width=4)
    assert runs.session() == plain.session()
    assert set(runs.answered) == set(plain.answered), "the very same requests, so the same entries of the cache"


@settings(max_examples=examples(3, random=8), deadline=None)
@given(world=st.integers(0, 10**6), candidates=st.integers(0, 3), keep=st.integers(1, 3))
def test_no_run_makes_more_calls_than_its_plan_says(world: int, candidates: int, keep: int) -> None:
    config = make_config({"inner": {"candidates": candidates, "keep": keep}})
    tasks = (replace(make_task("a"), program=LOOK_TWICE), make_task("b"), make_task("c", role="target"))
    runs = Runs(config, tasks, World(world), timing=world, width=4)
    assert runs.session() is not None
    assert sum(request.model == "answerer" for request in runs.answered) <= count_calls(config, tasks).base


def test_what_a_program_raises_on_an_example_is_a_wrong_answer_that_says_why() -> None:
    async def brittle(prompts: PromptPair, example: Example, call: Call) -> str:
        if example.where.endswith(":1"):
            raise LookupError("no such page")
        return await once(prompts, example, call)

    runs = runs_of(brittle)
    result = runs.session()
    assert result is not None
    shown = [request.messages[-1].content for request in runs.answered if request.model == "writer"]
    assert any("no such page" in text for text in shown), "the optimizer is told"


def test_a_program_that_fails_on_every_example_stops_the_run_with_a_sentence() -> None:
    async def wrong(prompts: PromptPair, example: Example, call: Call) -> str:
        raise NameError("x")

    with pytest.raises(
        TaskError, match=r"task 'a': on every train example the program failed: NameError: x \(a\.train"
    ):
        runs_of(wrong).session()


@pytest.mark.parametrize(
    ("reason", "told"), [(SystemExit(3), "SystemExit: 3"), (asyncio.CancelledError(), "Canc.*Error")]
)
@pytest.mark.parametrize("is_async", [True, False])
def test_a_program_that_ends_the_program_or_a_task_of_its_own_has_failed_as_any_other(
    reason: BaseException, told: str, *, is_async: bool
) -> None:
    async def ends(prompts: PromptPair, example: Example, call: Call) -> str:
        raise reason

    def ends_in_thread(prompts: PromptPair, example: Example, call: Call) -> str:
        raise reason

    with pytest.raises(TaskError, match=rf"on every train example the program failed: {told} \(a\.train"):
        runs_of(ends if is_async else ends_in_thread).session()


def test_more_calls_than_it_may_make_stop_the_run_whatever_the_program_catches() -> None:
    async def greedy(prompts: PromptPair, example: Example, call: Call) -> str:
        for number in range(3):
            with suppress(Exception):
                await call(f"{number} {example.question}")
        return "yes"

    runs = runs_of(greedy, max_calls=2)
    with pytest.raises(TaskError, match="makes more than 2 calls for one example: raise the task's max_calls"):
        runs.session()
    asked = [request.messages[-1].content for request in runs.answered]
    assert not any(text.startswith("2 ") for text in asked)


def test_an_answer_that_is_no_text_is_refused() -> None:
    async def number(prompts: PromptPair, example: Example, call: Call) -> int:
        return 4

    with pytest.raises(TaskError, match=r"returned int for a\.\w+:\d: it must return text"):
        runs_of(number).session()


def test_the_end_of_the_budget_ends_the_run_though_the_program_catches_everything() -> None:
    async def stubborn(prompts: PromptPair, example: Example, call: Call) -> str:
        try:
            return await once(prompts, example, call)
        except Exception:  # noqa: BLE001 - the kind of program that this is about
            return "yes"

    runs = runs_of(stubborn, config={"budget": {"calls": 5}})
    with pytest.raises(RunStopped):
        runs.session()
    assert len(runs.answered) <= 5


def test_equal_calls_at_a_temperature_are_different_samples_and_the_same_ones_again() -> None:
    async def vote(prompts: PromptPair, example: Example, call: Call) -> str:
        told = [(await call(prompts.messages(example.question), temperature=1.0)).text for _ in range(3)]
        return max(set(told), key=told.count)

    runs = runs_of(vote)
    first = runs.session()
    asked = [request for request in runs.answered if request.model == "answerer"]
    assert {request.draw for request in asked} == {0, 1, 2}
    assert {request.sampling.temperature for request in asked} == {1.0}
    calls = len(runs.answered)
    assert runs.session() == first
    assert len(runs.answered) == calls


def test_what_a_call_names_goes_into_its_request_and_the_rest_is_as_in_the_config() -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]

    async def rich(prompts: PromptPair, example: Example, call: Call) -> Completion:
        told = [{"role": "system", "content": prompts.system}, {"role": "user", "content": example.question}]
        return await call(told, max_tokens=5, stop=["."], response_format={"type": "json_object"}, tools=tools)

    runs = runs_of(rich)
    assert runs.session() is not None
    request = next(request for request in runs.answered if request.model == "answerer")
    assert (request.sampling.max_tokens, request.sampling.stop, request.sampling.temperature) == (5, (".",), 0.0)
    assert request.response_format == '{"type":"json_object"}'
    assert '"name":"look"' in request.sampling.extra
    assert [message.role for message in request.messages] == ["system", "user"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperature": float("nan")}, "temperature is nan: give a number from 0 to 2"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"top_p": 1.5}, r"top_p is 1\.5: give a number from 0 to 1"),
        ({"max_tokens": "7"}, "max_tokens is '7': give a whole number from 1 on"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"stop": [3]}, r"stop is \[3\]: give texts"),
        ({"tools": "look"}, "tools is 'look': give a list of objects"),
        ({"response_format": "json"}, "response_format is 'json': give the object"),
        ({"extra": {"model": "another"}}, "extra must not hold 'model'"),
        ({"messages": []}, "there is no message"),
    ],
)
def test_what_no_server_can_be_asked_is_the_programs_mistake_in_one_sentence(
    options: dict[str, Any], said: str
) -> None:
    async def careless(prompts: PromptPair, example: Example, call: Call) -> Completion:
        return await call(**{"messages": example.question, **options})

    runs = runs_of(careless)
    with pytest.raises(TaskError, match=rf"on every train example the program failed: ValueError: {said}"):
        runs.session()
    assert not runs.answered


def test_a_stop_text_is_one_and_no_list_of_its_letters() -> None:
    async def stopping(prompts: PromptPair, example: Example, call: Call) -> Completion:
        return await call(example.question, stop="END")

    runs = runs_of(stopping)
    assert runs.session() is not None
    assert {request.sampling.stop for request in runs.answered if request.model == "answerer"} == {("END",)}


def test_a_refusal_that_the_program_catches_is_its_own_affair_and_else_the_example_has_no_answer() -> None:
    class Strict(World):
        def base(self, request: Request) -> str:
            if "number 0" in request.messages[-1].content and request.messages[0].role == "system":
                raise RequestRejected("too long")
            return super().base(request)

    async def careful(prompts: PromptPair, example: Example, call: Call) -> str:
        try:
            return await once(prompts, example, call)
        except RequestRejected:
            return (await call(f"Shorter: {example.question}")).text

    config = make_config(ONCE)
    assert Runs(config, tasks_with(careful), Strict(3), timing=1, width=4).session() is not None
    with pytest.raises(TaskError, match="too long"):
        Runs(config, tasks_with(once), Strict(3), timing=1, width=4).session()


def test_a_refusal_out_of_a_group_of_calls_is_one() -> None:
    class Strict(World):
        def base(self, request: Request) -> str:
            if "number 0" in request.messages[-1].content:
                raise RequestRejected("too long")
            return super().base(request)

    async def grouped(prompts: PromptPair, example: Example, call: Call) -> str:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(call(f"{n} {example.question}")) for n in range(2)]
        return asked[0].result().text

    with pytest.raises(TaskError, match="too long"):
        Runs(make_config(ONCE), tasks_with(grouped), Strict(3), timing=1, width=4).session()


def test_calls_that_a_program_leaves_behind_end_with_it() -> None:
    left: list[asyncio.Task[Completion]] = []

    async def hasty(prompts: PromptPair, example: Example, call: Call) -> str:
        left.append(asyncio.create_task(call(f"never mind {example.question}")))
        answer = await once(prompts, example, call)
        left.append(asyncio.create_task(call(f"too late for {example.question}")))
        await asyncio.sleep(0)
        return answer

    runs = runs_of(hasty)
    assert runs.session() is not None
    assert all(task.done() for task in left)
    assert any(task.cancelled() for task in left)
    ends = [task.exception() for task in left if not task.cancelled()]  # seen, so that nobody logs them later
    assert not any(isinstance(end, RunStopped) for end in ends)


def test_a_call_that_a_program_makes_when_it_has_answered_long_since_is_refused() -> None:
    """Nobody would count it."""
    kept: list[Call] = []

    async def keeps(prompts: PromptPair, example: Example, call: Call) -> str:
        kept.append(call)
        return await once(prompts, example, call)

    runs = runs_of(keeps)
    assert runs.session() is not None
    with pytest.raises(RuntimeError, match="program 'own:function' calls after it has answered"):
        asyncio.run(kept[0]("one more"))


@pytest.mark.parametrize("reason", [KeyboardInterrupt(), GeneratorExit()])
async def test_what_ends_the_process_is_no_wrong_answer(reason: BaseException) -> None:
    async def ended(call: Call) -> str:
        raise reason

    nobody = cast("Asked", None)  # is asked
    with pytest.raises(type(reason)):
        await CodeRun(Program(name="own:ended", function=ended, max_calls=1), nobody).returned()


async def test_who_stops_a_program_is_no_wrong_answer_but_a_task_of_its_own_that_was_stopped_is() -> None:
    """The one ends the call, the other is what the code raised."""
    began = asyncio.Event()

    async def waits(call: Call) -> str:
        began.set()
        await asyncio.Event().wait()
        return ""

    async def stops_its_own(call: Call) -> str:
        task = asyncio.create_task(asyncio.Event().wait())
        await asyncio.sleep(0)
        task.cancel()
        return str(await task)

    nobody = cast("Asked", None)  # is asked
    run = asyncio.create_task(CodeRun(Program(name="own:waits", function=waits, max_calls=1), nobody).returned())
    await began.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    own = CodeRun(Program(name="own:stops", function=stops_its_own, max_calls=1), nobody)
    assert isinstance(await own.returned(), Raised)


def in_threads(prompts: PromptPair, example: Example, call: Callable[..., Completion]) -> str:
    assert threading.current_thread() is not threading.main_thread()
    return call(prompts.messages(example.question)).text


T = TypeVar("T")


class RealTime(Runs):
    """On the event loop's own time: threads know of no other."""

    def do(self, what: Callable[[RunContext], Coroutine[Any, Any, T]], *, stop_after: float | None = None) -> T | None:
        return asyncio.run(self._session(what, stop_after))


def test_a_program_without_async_works_in_threads_and_comes_to_the_same() -> None:
    tasks = (make_task("a"), make_task("b", role="target"))
    plain: RunResult | None = Runs(make_config(ONCE), tasks, World(3), timing=1, width=4).session()
    runs = RealTime(make_config(ONCE), tasks_with(in_threads), World(3), timing=1, width=4, latency=0.001)
    assert runs.session() == plain
    assert set(runs.answered)


def test_a_thread_that_nobody_waits_for_any_more_makes_no_further_call() -> None:
    begun, waits, ended = threading.Event(), threading.Event(), threading.Event()
    said: list[BaseException] = []

    def slow(prompts: PromptPair, example: Example, call: Callable[..., Completion]) -> str:
        begun.set()
        waits.wait()
        try:
            return call(example.question).text
        except BaseException as reason:
            said.append(reason)
            raise
        finally:
            ended.set()

    tasks = tasks_with(slow)
    runs = RealTime(make_config(ONCE), tasks, World(3), timing=1, width=4, latency=0.001)

    async def session() -> None:
        going = asyncio.create_task(runs._session(run, None))
        await asyncio.to_thread(begun.wait)
        going.cancel()
        await asyncio.wait([going])
        waits.set()
        await asyncio.to_thread(ended.wait)

    asyncio.run(session())
    assert said
    assert not runs.answered


async def test_a_thread_is_left_by_who_is_told_to_leave() -> None:
    """A pair that cannot win any more is not waited for."""
    begun, goes_on, ended = threading.Event(), threading.Event(), threading.Event()

    def slow(call: Call) -> str:
        begun.set()
        goes_on.wait(5)
        ended.set()
        return ""

    nobody = cast("Asked", SimpleNamespace(priority=None))  # is asked
    async with anyio.create_task_group() as group:
        group.start_soon(CodeRun(Program(name="own:slow", function=slow, max_calls=1), nobody).returned)
        await asyncio.to_thread(begun.wait)
        group.cancel_scope.cancel()
    assert not ended.is_set()
    goes_on.set()


def spec(changes: dict[str, object] | None = None) -> TaskSpec:
    told = {"name": "a", "train": "a.jsonl", "answer": "text", "program": "own:answer", "max_calls": 2}
    return TaskSpec.model_validate({**told, **(changes or {})})


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("answer = 3", r"program: 'own' has no function 'answer'"),
        ("def answer(", r"program: cannot import 'own'"),
        (None, r"program: cannot import 'own'"),
    ],
)
def test_a_program_that_is_not_there_is_said_with_its_key(tmp_path: Path, code: str | None, why: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    if code is not None:
        (tmp_path / "own.py").write_text(code)
    with pytest.raises(TaskError, match=why):
        load_task(spec(), base_dir=tmp_path, seed=0)


def test_a_file_that_is_called_as_an_installed_module_is_told_so_and_by_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    for name in ("json", "own"):
        (tmp_path / f"{name}.py").write_text("async def answer(prompts, example, call):\n    return ''\n")
    with pytest.raises(
        TaskError, match=r"the installed module 'json' has no 'answer'.*give the 'json' there another name"
    ):
        load_task(spec({"program": "json:answer"}), base_dir=tmp_path, seed=0)
    with pytest.raises(TaskError, match=r"No module named 'own\.py'; 'own' is not a package"):
        load_task(spec({"program": "own.py:answer"}), base_dir=tmp_path, seed=0)
    monkeypatch.syspath_prepend(tmp_path)  # as `python -m metaspo` in that folder does
    with pytest.raises(TaskError, match="'own' has no function 'gone'"):
        load_task(spec({"program": "own:gone"}), base_dir=tmp_path, seed=0)
    del sys.modules["own"]


def test_other_code_of_a_program_is_another_run(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    grading = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jsonl").write_text('{"question": "q", "answer": "a"}\n')
        (tmp_path / name / "own.py").write_text(f"async def answer(prompts, example, call):\n    return {name!r}\n")
        grading.append(load_task(spec(), base_dir=tmp_path / name, seed=0).grading)
    assert grading[0] != grading[1]


@pytest.mark.parametrize("changes", [{"max_calls": None}, {"program": None}, {"max_calls": 0}, {"program": "own"}])
def test_a_program_goes_with_the_calls_it_may_make(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"max_calls|package\.module:function"):
        spec(changes)


def test_a_cap_that_counts_one_call_an_answer_is_refused() -> None:
    config = make_config({"train_calls": 1000})
    with pytest.raises(ConfigError, match="train_calls: counts one call an answer, and task 'a'"):
        check_optimizable(config, tasks_with(once), source="run.toml")
