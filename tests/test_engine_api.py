"""The Python API: one's own gateway, evaluation, completions alone, several runs over shared lanes."""

import linecache
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
from chat_server import ChatServer
from command_line import write_data
from world import SKILLS, World, make_config, make_task

from metaspo import (
    Account,
    Budget,
    ConfigError,
    Gateway,
    Lane,
    LaneSettings,
    MemoryStore,
    Message,
    Observer,
    PromptPair,
    Request,
    RunReport,
    RunStopped,
    evaluate,
    optimize,
    prepare,
    task,
)
from metaspo.backends import Completion, RequestRejected, Simulated
from metaspo.engine import Prepared, PromptError, optimize_many
from metaspo.engine.exchange.export import export_run
from metaspo.engine.prompts import render
from metaspo.engine.runs.answers import run_answers
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.reopened import read_config
from metaspo.engine.tasks import TaskError

Answer = Callable[[Request], str]


def gateway_of(answer: Answer, *, calls: list[Request] | None = None) -> Gateway:
    """A gateway with lanes "base" and "optimizer" over simulated models."""

    def noted(request: Request) -> str:
        if calls is not None:
            calls.append(request)
        return answer(request)

    lanes = [Lane(name, [Simulated(noted)], LaneSettings(concurrency=4)) for name in ("base", "optimizer")]
    return Gateway(lanes, store=MemoryStore())


def mapping(folder: Path, **changes: object) -> dict[str, Any]:
    """A config as a mapping, with data on file."""
    tasks = []
    for name, role in (("a", "source"), ("b", "source"), ("unseen", "target")):
        write_data(folder, name, train=6, test=4)
        train = {"train": str(folder / f"{name}.train.jsonl")} if role == "source" else {}
        tasks.append(
            {
                "name": name,
                "role": role,
                **train,
                "test": str(folder / f"{name}.test.jsonl"),
                "answer": {"kind": "label", "labels": ["yes", "no"]},
                "user_prompt": f"About {name}: is {{question}} even?",
            }
        )
    model = {"endpoints": ["http://127.0.0.1:1/v1"], "max_tokens": 64}
    return {
        "seed": 7,
        "iterations": 1,
        "cache": "",
        "runs": "",
        "base": {"model": "answerer", **model},
        "optimizer": {"model": "writer", **model},
        "inner": {"candidates": 2, "keep": 2},
        "outer": {"candidates": 2},
        "tasks": tasks,
        **changes,
    }


async def test_a_mapping_and_a_gateway_of_ones_own_are_enough(tmp_path: Path) -> None:
    async with gateway_of(World(1).answer) as gateway:
        report = await optimize(mapping(tmp_path), gateway=gateway)
    assert report.directory is None
    assert set(report.result.user_prompts) == {"a", "b"}
    assert {score.task for score in report.result.tests} == {"a", "b", "unseen"}
    assert report.usage.total.calls > 0
    assert [path for path in os.listdir(tmp_path) if not path.endswith(".jsonl")] == []


def test_a_trio_program_is_told_what_to_do() -> None:
    trio = pytest.importorskip("trio")

    async def opening() -> None:
        async with Gateway([Lane("base", [Simulated(lambda _: "yes")])], store=MemoryStore()):
            pass

    for call in (partial(optimize, {}), partial(evaluate, {}), opening):
        with pytest.raises(RuntimeError, match=r"needs asyncio's event loop.* a metaspo\.Client"):
            trio.run(call)


async def test_an_evaluation_scores_exactly_the_prompts_given(tmp_path: Path) -> None:
    calls: list[Request] = []
    users = {"a": "For a: {question}?"}
    async with gateway_of(World(1).answer, calls=calls) as gateway:
        report = await evaluate(mapping(tmp_path), system_prompt="Be exact.", user_prompts=users, gateway=gateway)
    asked = {(call.messages[0].content, call.messages[1].content) for call in calls}
    expected = set()
    for name, user in (
        ("a", users["a"]),
        ("b", "About b: is {question} even?"),
        ("unseen", "About unseen: is {question} even?"),
    ):
        for number in range(4):
            system, asked_user = render(PromptPair("Be exact.", user), f"{name} test number {number}")
            expected.add((system.content, asked_user.content))
    assert asked == expected
    assert [row.task for row in report.scores] == ["a", "b", "unseen"]
    assert {row.stage for row in report.scores} == {"given"}


async def test_the_train_split_is_evaluated_on_demand(tmp_path: Path) -> None:
    async with gateway_of(World(1).answer) as gateway:
        report = await evaluate(mapping(tmp_path), split="train", gateway=gateway)
    assert [(row.task, row.examples) for row in report.scores] == [("a", 6), ("b", 6)]


class Counting(Observer):
    def __init__(self) -> None:
        self.of, self.answered, self.in_cache = 0, 0, 0

    def found(self, calls: int) -> None:
        self.in_cache = calls

    def planned(self, *, base_calls: int, optimizer_calls: int) -> None:
        self.of += base_calls + optimizer_calls

    def calls_done(self, *, base_calls: int = 0, optimizer_calls: int = 0) -> None:
        self.answered += base_calls + optimizer_calls


@pytest.mark.parametrize("split", ["train", "test"])
async def test_an_evaluation_says_how_far_it_is(tmp_path: Path, split: Literal["train", "test"]) -> None:
    counting = Counting()
    async with gateway_of(World(1).answer) as gateway:
        await evaluate(mapping(tmp_path), split=split, gateway=gateway, observer=counting)
        assert 0 < counting.of == counting.answered
        assert counting.in_cache == 0
        again = Counting()
        await evaluate(mapping(tmp_path), split=split, gateway=gateway, observer=again)
    assert 0 < again.of == again.answered == again.in_cache


@pytest.mark.parametrize(
    ("prompts", "error"),
    [
        ({"system_prompt": ""}, PromptError),
        ({"user_prompts": {"a": "no place"}}, PromptError),
        ({"user_prompts": {"c": "{question}"}}, ConfigError),
    ],
)
async def test_prompts_that_cannot_be_used_are_refused_before_a_call(
    tmp_path: Path, prompts: dict[str, Any], error: type[Exception]
) -> None:
    calls: list[Request] = []
    async with gateway_of(World(1).answer, calls=calls) as gateway:
        with pytest.raises(error):
            await evaluate(mapping(tmp_path), gateway=gateway, **prompts)
    assert calls == []


async def test_an_evaluation_needs_no_optimizers_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with ChatServer(World(1).answer) as server:
        raw = mapping(tmp_path)
        raw["base"]["endpoints"] = [server.url]
        raw["optimizer"] = {**raw["optimizer"], "api_key_env": "NO_SUCH_KEY"}
        assert len((await evaluate(raw)).scores) == 3
        with pytest.raises(ConfigError, match="NO_SUCH_KEY"):
            await optimize(raw)


async def test_completions_alone_are_cached_counted_and_capped() -> None:
    requests = [Request(model="m", messages=(Message("user", f"{n % 5}"),)) for n in range(20)]
    calls: list[Request] = []
    account = Account("mine", budget=Budget(calls=5))
    async with gateway_of(lambda request: request.messages[0].content * 2, calls=calls) as gateway:
        answers = await gateway.complete_many(requests, lane="base", account=account)
        again = await gateway.complete(requests[0], lane="base", account=account)
        with pytest.raises(RunStopped):
            await gateway.complete(Request(model="m", messages=(Message("user", "new"),)), lane="base", account=account)
    texts = [answer.text for answer in answers if isinstance(answer, Completion)]
    assert texts == [f"{n % 5}" * 2 for n in range(20)]
    assert again.text == "00"
    assert len(calls) == account.statistics().total.calls == 5


async def test_a_request_the_server_refuses_comes_back_in_its_place() -> None:
    refused = RequestRejected("too long")
    model = Simulated(lambda request: "fine", faults=lambda request, _: refused if request.draw else None)
    requests = [Request(model="m", messages=(Message("user", "q"),), draw=draw) for draw in (0, 1)]
    async with Gateway([Lane("base", [model])], store=MemoryStore()) as gateway:
        first, second = await gateway.complete_many(requests, lane="base")
    assert isinstance(first, Completion)
    assert isinstance(second, RequestRejected)


async def test_of_several_runs_one_may_stop_and_the_others_finish(tmp_path: Path) -> None:
    with ChatServer(World(1).answer) as server:

        def raw(**changes: object) -> dict[str, Any]:
            made = mapping(tmp_path, **changes)
            for role in ("base", "optimizer"):
                made[role]["endpoints"] = [server.url]
            return made

        configs = [raw(name="poor", budget={"calls": 20}, seed=1), raw(name="rich", seed=2)]
        poor, rich = await optimize_many([prepare(config) for config in configs], observer=lambda _: Observer())
        alone = await optimize(raw(name="rich", seed=2))
    assert isinstance(poor, RunStopped)
    assert "poor" in str(poor)
    assert isinstance(rich, RunReport)
    assert rich.result == alone.result


async def test_of_runs_that_go_on_together_the_first_is_answered_first(tmp_path: Path) -> None:
    """What it waits for then, the others fill; in step, all would wait at once."""
    asked: list[str] = []

    def noted(request: Request) -> str:
        asked.extend(name for name in ("first", "second") if f"You are {name}." in request.messages[0].content)
        return World(1).answer(request)

    with ChatServer(noted) as server:
        runs = []
        for name in ("first", "second"):
            made = mapping(tmp_path, name=name, system_prompt=f"You are {name}.")
            made["base"] |= {"endpoints": [server.url], "concurrency": 1}
            made["optimizer"]["endpoints"] = [server.url]
            runs.append(prepare(made))
        await optimize_many(runs, observer=lambda _: Observer())
    score = 2 * 6  # train examples that its first prompts are scored on
    assert asked[: score + 1].count("first") >= score


async def test_no_runs_are_no_work() -> None:
    assert await optimize_many([], observer=lambda _: Observer()) == []


def test_overrides_reach_into_tables_of_every_kind_of_config(tmp_path: Path) -> None:
    overrides = {"outer.candidates": 5, "budget.calls": 9}
    raw = mapping(tmp_path)
    for given in (raw, prepare(raw).config):
        config = prepare(given, overrides=overrides).config
        assert (config.outer.candidates, config.budget.calls, config.inner.candidates) == (5, 9, 2)
    assert raw["outer"] == {"candidates": 2}


# Variants of a run


async def systems_and_result(changes: dict[str, Any], malformed: float = 0.15) -> tuple[list[Request], RunReport]:
    tasks = (make_task("a", train=20), make_task("b", train=20), make_task("unseen", role="target"))
    calls: list[Request] = []
    async with gateway_of(World(3, malformed=malformed).answer, calls=calls) as gateway:
        prepared = Prepared(config=make_config(changes), tasks=tasks, folder=Path())
        return calls, await optimize(prepared, gateway=gateway)


async def test_merged_roles_send_the_base_model_one_user_message() -> None:
    calls, report = await systems_and_result({"roles": "merged"})
    base = [call for call in calls if call.model == "answerer"]
    assert base
    assert {tuple(message.role for message in call.messages) for call in base} == {("user",)}
    assert any(call.messages[0].content.startswith(f"{report.result.system_prompt}\n\n") for call in base)


async def test_without_an_inner_loop_user_prompts_stay_and_the_system_prompt_may_change() -> None:
    calls, report = await systems_and_result({"inner": {"candidates": 0}}, malformed=0.0)
    prompts = {name: (f"About {name}: is {{question}} even?",) for name in ("a", "b")}
    assert report.result.user_prompts == prompts
    assert report.result.system_prompt != report.result.first_system_prompt
    assert not any("complete new user prompt" in call.messages[-1].content for call in calls)


async def test_without_an_outer_loop_the_system_prompt_stays_and_user_prompts_may_change() -> None:
    calls, report = await systems_and_result({"outer": {"candidates": 0}}, malformed=0.0)
    assert report.result.system_prompt == report.result.first_system_prompt
    assert any(prompts[0].startswith("Be ") for prompts in report.result.user_prompts.values())
    systems = {call.messages[0].content for call in calls if call.model == "answerer"}
    assert systems == {report.result.first_system_prompt}


async def test_a_source_without_a_test_split_is_optimized_on_and_not_tested() -> None:
    tasks = (make_task("a", test=0), make_task("b"), make_task("unseen", role="target"))
    async with gateway_of(World(3).answer) as gateway:
        report = await optimize(Prepared(config=make_config(), tasks=tasks, folder=Path()), gateway=gateway)
    assert "a" in report.result.user_prompts
    assert {row.task for row in report.result.tests} == {"b", "unseen"}
    assert [gain.tasks for gain in report.result.gains] == [1, 1]


async def test_without_a_baseline_there_is_no_gain_to_report() -> None:
    _, report = await systems_and_result({"test": {"baseline": False}})
    assert report.result.gains == ()
    assert {row.stage for row in report.result.tests} == {"after"}


async def test_the_gain_is_the_mean_over_tasks_of_after_minus_before() -> None:
    _, report = await systems_and_result({}, malformed=0.0)
    assert any(skill in report.result.system_prompt for skill in SKILLS)
    scores = {(row.task, row.stage): row.score or 0.0 for row in report.result.tests if row.prompt == 0}
    for gain in report.result.gains:
        names = ("unseen",) if gain.role == "target" else ("a", "b")
        expected = sum(scores[name, "after"] - scores[name, "before"] for name in names) / len(names)
        assert gain.gain == pytest.approx(expected)
        assert gain.interval.low <= gain.gain <= gain.interval.high


async def test_no_outer_round_lowers_the_incumbents_score() -> None:
    for seed in range(5):
        _, report = await systems_and_result({"seed": seed, "inner": {"candidates": 0}})
        assert report.result.train_after >= report.result.train_before


def written(metric: object, **changes: object) -> dict[str, Any]:
    """A config in Python: rows as lists, a function as metric."""
    rows = [{"question": f"number {number}", "answer": "yes" if number % 2 == 0 else "no"} for number in range(6)]
    labels = {"kind": "label", "labels": ["yes", "no"]}
    prompt = "About a: is {question} even?"
    tasks = [
        task("a", train=rows, test=rows[:4], answer=labels, metric=metric, user_prompt=prompt),  # type: ignore[arg-type]
        task("unseen", role="target", test=rows, answer=labels, user_prompt=prompt),
    ]
    base = {"model": "answerer", "endpoints": ["http://127.0.0.1:1/v1"], "max_tokens": 64}
    optimizer = {**base, "model": "writer"}
    return {"seed": 7, "iterations": 1, "base": base, "optimizer": optimizer, "tasks": tasks, **changes}


def lenient(prediction: str | None, answers: tuple[str, ...]) -> float:
    return 1.0 if prediction in answers else 0.25


async def test_a_config_may_be_written_in_python_with_rows_and_a_function_as_metric(tmp_path: Path) -> None:
    config = written(lenient, cache="", runs=str(tmp_path / "runs"))
    async with gateway_of(World(3).answer) as gateway:
        report = await optimize(config, gateway=gateway)
    grades = {grade for test in report.result.tests if test.task == "a" for grade in test.grades}
    assert grades == {0.25, 1.0}
    assert report.directory is not None
    kept = read_config(RunDirectory(report.directory))
    assert kept.tasks[0].metric == f"{lenient.__module__}:lenient"
    assert kept.tasks[0].train is not None
    assert len(kept.tasks[0].train.given or ()) == 6


def above(least: float) -> Callable[..., float]:
    return lambda prediction, answers: float(least < len(prediction or "") and prediction in answers)


def of_main(prediction: str | None, answers: tuple[str, ...]) -> float:
    return lenient(prediction, answers)


of_main.__module__ = "__main__"


@pytest.mark.parametrize("metric", [above(0.5), partial(lenient), of_main], ids=["closure", "partial", "script"])
async def test_a_runs_prompts_can_be_had_by_all_and_its_answers_only_where_its_metric_can(
    tmp_path: Path, metric: Callable[..., float]
) -> None:
    async with gateway_of(World(3).answer) as gateway:
        report = await optimize(written(metric, cache="", runs=str(tmp_path / "runs")), gateway=gateway)
    assert report.directory is not None
    run = RunDirectory(report.directory)
    for tool in ("text", "messages", "ollama"):
        assert await export_run(run, to=tool)
    for reading in (run_answers(run), export_run(run, to="sft")):
        with pytest.raises(TaskError, match=r"was a function of the program that ran this.* \[task 'a'\]"):
            await reading
    assert (await run_answers(run, task="unseen")).tasks


@pytest.mark.parametrize("begun_with_c", [False, True])
def test_functions_of_one_name_and_other_code_are_other_runs(
    tmp_path: Path, begun_with_c: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where Python has another text under the name that all executed ones have, as 3.13 has that of -c."""
    if begun_with_c:
        monkeypatch.setitem(linecache.cache, "<string>", (9, None, ["def score(): pass\n"], "<string>"))

    def named(value: float) -> Callable[..., float]:
        functions: dict[str, Callable[..., float]] = {}
        exec(f"def score(prediction, answers):\n    return {value}", functions)  # noqa: S102 - as in a notebook
        return functions["score"]

    directories = [prepare(written(named(value), runs=str(tmp_path))).directory for value in (0.25, 0.5, 0.25)]
    names = [directory.name for directory in directories if directory]
    assert names[0] == names[2] != names[1]


def by_default(least: float) -> Callable[..., float]:
    def score(_prediction: str | None, _answers: tuple[str, ...], least: float = least) -> float:
        return least

    return score


def scored(_prediction: str | None, _answers: tuple[str, ...], least: float = 0.0) -> float:
    return least


@pytest.mark.parametrize("made", [above, by_default, lambda least: partial(scored, least=least)])
def test_functions_of_one_code_that_carry_other_values_are_other_runs(
    tmp_path: Path, made: Callable[[float], Callable[..., float]]
) -> None:
    directories = [prepare(written(made(value), runs=str(tmp_path))).directory for value in (0.5, 0.9, 0.5)]
    names = [directory.name for directory in directories if directory]
    assert names[0] == names[2] != names[1]


@pytest.mark.parametrize("other", ["LEAST = 0.9", "def least():\n    return 0.9", "LEAST = (0.9,)"])
def test_functions_of_a_notebook_with_other_constants_are_other_runs(tmp_path: Path, other: str) -> None:
    """Or with other functions beside them; what they change as they run tells nothing."""
    score = "def score(said, right):\n    return [SEEN.append(said), LEAST, least(), lambda: LEAST][1]"

    def named(*cells: str) -> Callable[..., float]:
        names: dict[str, Any] = {"SEEN": []}
        for cell in ("LEAST = 0.5", "def least():\n    return 0.5", score, *cells):
            exec(cell, names)  # noqa: S102 - as in a notebook
        function: Callable[..., float] = names["score"]
        return function

    metrics = (named(), named(other), named("UNUSED = 1", "SEEN.append(1)"))
    names = [str(prepare(written(metric, runs=str(tmp_path))).directory) for metric in metrics]
    assert names[0] == names[2] != names[1]


def test_lambdas_of_one_line_are_other_runs(tmp_path: Path) -> None:
    both: list[Callable[..., float]] = [lambda said, right: 0.25, lambda said, right: 0.75]
    names = {str(prepare(written(metric, runs=str(tmp_path))).directory) for metric in both}
    assert len(names) == 2


def test_a_function_that_carries_what_cannot_be_told_apart_is_refused(tmp_path: Path) -> None:
    carried: Any = object()
    for metric in (partial(scored, least=carried), lambda said, right: float(carried in (said, right)), Scorer()):
        with pytest.raises(TaskError, match=r"use a function of a module, or a closure over plain values \[task 'a'\]"):
            prepare(written(metric, runs=str(tmp_path)))
    assert not any(tmp_path.iterdir())


def kept_in(scorer: object) -> Callable[..., float]:
    return lambda prediction, answers: float(prediction in answers and scorer is not None)


decorated = kept_in(object())
decorated.__qualname__ = "decorated"


def test_what_a_function_of_a_module_carries_is_told_by_its_module(tmp_path: Path) -> None:
    assert prepare(written(decorated, runs=str(tmp_path))).directory
    names = {str(prepare(written(metric, runs=str(tmp_path))).directory) for metric in (decorated, lenient)}
    assert len(names) == 2


class Scorer:
    def __call__(self, prediction: str | None, answers: tuple[str, ...]) -> float:
        return float(prediction in answers)


def test_a_function_without_source_has_one_identity_in_every_process() -> None:
    code = (
        "from metaspo.engine.tasks.functions import function_digest\n"
        "def make(words):\n"
        "    def again(left):\n        return left and again(left - 1)\n"
        "    return lambda said, right: [w for w in words if said in {'a', 'b', 'c'}] or again(2) or (lambda: said)()\n"
        "print(function_digest(make({'x': ['a', 1.5, None]})), function_digest(make({'x': {'q', 'r', 's'}})))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    (both,) = said
    assert len(set(both.split())) == 2


def test_a_task_that_cannot_be_is_told_with_its_name() -> None:
    with pytest.raises(TaskError, match=r"metric: 'acuracy' is no metric: .*\[task 'a'\]"):
        task("a", train=[{"question": "q", "answer": "a"}], metric="acuracy")
    with pytest.raises(ConfigError, match=r"tasks.0.answer: 'labl' is no answer format: .*\[task 'a'\]"):
        prepare({"base": {"model": "m", "backend": "local"}, "tasks": [{"name": "a", "train": [{}], "answer": "labl"}]})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train": iter([{"question": "q", "answer": "a"}])}, "train: give a file's path or a list of rows"),
        ({"train": {"question": "q"}}, "train.question: unknown key"),
        ({"train": ["q", "r"]}, "train: a row is a mapping by column, .*; row 1 is a str"),
        (
            {"test": [{"question": "q", "answer": "a"}, ("q", "a")]},
            "test: a row is a mapping by column, .*; row 2 is a tu",
        ),
        ({"metric": 3}, "metric: must be a table"),
        ({"answer": 3}, "answer: must be a table"),
    ],
)
def test_a_task_s_faults_are_told_in_words_for_people(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(TaskError, match=f"^{says}"):
        task("a", **changes)


def test_a_task_s_file_may_be_a_path(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"question": "q", "answer": "a"}\n', encoding="utf-8")
    written = [task("a", train=where, train_size="all") for where in (tmp_path / "t.jsonl", str(tmp_path / "t.jsonl"))]
    assert written[0] == written[1]


@pytest.mark.parametrize("config", [None, 3, []])
async def test_what_is_no_config_is_told(config: Any) -> None:  # noqa: ANN401 - that is the point
    with pytest.raises(ConfigError, match="give a TOML file's path, a mapping or a RunConfig; this is a "):
        await optimize(config)


class Waiting(Observer):
    async def stage(self, name: str) -> None:  # type: ignore[override]
        raise AssertionError(name)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"gateway": "http://127.0.0.1:1/v1"}, "gateway: give a metaspo.Gateway"),
        ({"observer": print}, "observer: give a metaspo.Observer"),
        ({"observer": Waiting()}, "observer: stage is called and not awaited"),
    ],
)
@pytest.mark.parametrize("call", [optimize, evaluate])
async def test_who_is_no_gateway_or_no_observer_is_told_before_anything_is_read(
    call: Any,  # noqa: ANN401 - both take what is wrong here
    given: dict[str, Any],
    says: str,
) -> None:
    with pytest.raises(TypeError, match=f"^{says}"):
        await call("no-such-file.toml", **given)


async def test_a_gateway_that_lacks_a_model_s_lane_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    calls: list[str] = []

    def answer(request: Request) -> str:
        calls.append(request.model)
        return "yes"

    async with Gateway([Lane("base", [Simulated(answer)])], store=MemoryStore()) as gateway:
        with pytest.raises(ConfigError, match=r"gateway: has no lane 'optimizer', .*it has: base"):
            await optimize(mapping(tmp_path), gateway=gateway)
        assert not calls
        await evaluate(mapping(tmp_path), gateway=gateway)
    assert calls
    async with Gateway([Lane("mine", [Simulated(answer)])], store=MemoryStore()) as gateway:
        with pytest.raises(ConfigError, match=r"gateway: has no lane 'base'"):
            await evaluate(mapping(tmp_path), gateway=gateway)
