"""What a plan says is what a run does: the paper's numbers, and calls counted on runs where nothing ends early."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import SKILLS, World, fraction, make_config, make_task

from metaspo.backends import ModelFileUnavailable, Request, Simulated
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.cache import MemoryStore
from metaspo.engine import Calls, Observer, Prepared, RunConfig, RunReport, count_calls, plan_run
from metaspo.engine.api import optimize
from metaspo.engine.tasks import Task
from metaspo.scheduling import Gateway, Lane, LaneSettings

PAPER: dict[str, Any] = {
    "early_rejection": False,
    "iterations": 3,
    "inner": {"candidates": 3, "keep": 3},
    "outer": {"candidates": 9},
    "test": {"source": "kept", "baseline": False},
}


class Prolific(World):
    """Its optimizer never says the same twice, and its base model always leaves something to learn from."""

    def base(self, request: Request) -> str:
        text = "\n".join(message.content for message in request.messages)
        return "yes" if fraction(str(self.seed), text) < 0.5 else "no"

    def optimizer(self, request: Request) -> str:
        text = "\n".join(message.content for message in request.messages)
        mark = hashlib.sha256(f"{text}{request.draw}".encode()).hexdigest()[:12]
        if "between <analysis> and </analysis>" in text:
            return f"<analysis>{mark}</analysis>"
        if "complete new user prompt" in text:
            return f"<user_prompt>{mark} {SKILLS[0]} {{question}}</user_prompt>"
        return f"<system_prompt>{mark}</system_prompt>"


class Counting(Observer):
    """Adds up what an observer is told."""

    def __init__(self) -> None:
        self.ahead = self.done = 0

    def planned(self, *, base_calls: int, optimizer_calls: int) -> None:
        self.ahead = base_calls + optimizer_calls

    def calls_done(self, *, base_calls: int = 0, optimizer_calls: int = 0) -> None:
        self.done += base_calls + optimizer_calls


def run_of(config: RunConfig, tasks: Sequence[Task], world: World, observer: Observer) -> RunReport:
    return run_prepared(Prepared(config=config, tasks=tuple(tasks), folder=Path()), world, observer)


def run_prepared(prepared: Prepared, world: World, observer: Observer) -> RunReport:
    async def main() -> RunReport:
        lanes = [
            Lane(name, [Simulated(world.answer, latency=1.0)], LaneSettings(concurrency=500))
            for name in ("base", "optimizer")
        ]
        async with Gateway(lanes, store=MemoryStore()) as gateway:
            return await optimize(prepared, gateway=gateway, observer=observer)

    return run_virtual(main())


def tasks_of(sources: int, targets: int, *, train: int, test: int) -> list[Task]:
    made = [make_task(f"s{n}", train=train, test=test) for n in range(sources)]
    return made + [make_task(f"t{n}", role="target", train=0, test=test) for n in range(targets)]


def test_the_papers_defaults_take_the_papers_calls() -> None:
    """200 initial + 3 x (600 inner + 5,400 outer) + 12 x 500 test = 24,200 base calls, and 126 of the optimizer."""
    calls = count_calls(make_config(PAPER), tasks_of(4, 0, train=50, test=500))
    assert calls == Calls(initial=200, inner=1_800, outer=16_200, test=6_000, optimizer=126)
    assert calls.base == 24_200


def test_outer_loop_only_takes_the_papers_calls() -> None:
    changes = {**PAPER, "iterations": 6, "inner": {"candidates": 0}}
    calls = count_calls(make_config(changes), tasks_of(4, 0, train=50, test=0))
    assert (calls.base, calls.optimizer) == (11_000, 108)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"iterations": 1},
        {"iterations": 1, "outer": {"candidates": 3, "first_passes": 3}},
        {"iterations": 0},
        {"inner": {"candidates": 0}, "iterations": 3},
        {"outer": {"candidates": 0}},
        {"inner": {"candidates": 1, "keep": 3}, "iterations": 3},
        {"inner": {"candidates": 3, "keep": 1}, "test": {"source": "best"}},
        {"test": {"source": "none"}},
        {"test": {"source": "none", "baseline": False}},
        {"test": {"source": "best", "baseline": False}},
    ],
)
def test_a_run_where_nothing_ends_early_asks_for_exactly_what_was_planned(changes: dict[str, Any]) -> None:
    config, tasks, observer = (
        make_config({"early_rejection": False, **changes}),
        tasks_of(2, 1, train=12, test=5),
        Counting(),
    )
    calls = count_calls(config, tasks)
    report = run_of(config, tasks, Prolific(1), observer)
    lanes = report.usage.lanes
    asked = {name: lane.calls + lane.hits + lane.joined for name, lane in lanes.items()}
    assert asked.get("base", 0) == calls.base
    assert asked.get("optimizer", 0) == calls.optimizer
    assert (observer.ahead, observer.done) == (calls.base + calls.optimizer,) * 2


@pytest.mark.parametrize("malformed", [0.3, 1.0])
def test_progress_reaches_its_end_also_where_candidates_fail(malformed: float) -> None:
    config, tasks, observer = make_config({"redraws": 0}), tasks_of(2, 1, train=6, test=3), Counting()
    run_of(config, tasks, World(4, malformed=malformed), observer)
    assert 0 < observer.done <= observer.ahead


@pytest.mark.slow
def test_a_run_of_the_papers_size_makes_the_papers_calls() -> None:
    config, tasks = make_config(PAPER), tasks_of(4, 0, train=50, test=500)
    lanes = run_of(config, tasks, Prolific(2), Observer()).usage.lanes
    assert (lanes["base"].calls + lanes["base"].hits + lanes["base"].joined, lanes["optimizer"].calls) == (24_200, 126)


def test_dollars_are_tokens_times_prices_and_unknown_without_prices() -> None:
    priced = {"model": "m", "endpoints": ["http://127.0.0.1:1/v1"], "prices": {"input": 2.0, "output": 8.0}}
    tasks = tasks_of(2, 1, train=6, test=3)
    plan = plan_run(make_config({"base": priced, "optimizer": priced}), tasks)
    assert plan.optimizer is not None
    lanes = (plan.base, plan.optimizer)
    expected = sum(2e-6 * lane.prompt_tokens + 8e-6 * lane.completion_tokens for lane in lanes)
    assert plan.dollars == pytest.approx(expected)
    assert plan_run(make_config({"base": priced}), tasks).dollars is None


def test_the_most_dollars_are_for_answers_as_long_as_they_may_be() -> None:
    priced = {"model": "m", "endpoints": ["http://127.0.0.1:1/v1"], "prices": {"input": 2.0, "output": 8.0}}
    tasks = tasks_of(2, 1, train=6, test=3)
    plan = plan_run(
        make_config({"base": {**priced, "max_tokens": 700}, "optimizer": {**priced, "max_tokens": 20}}), tasks
    )
    assert plan.optimizer is not None
    longer = 700 * plan.base.calls - plan.base.completion_tokens
    assert plan.dollars is not None
    assert plan.most_dollars == pytest.approx(plan.dollars + 8e-6 * longer)
    assert plan.optimizer.most_dollars == plan.optimizer.dollars, "of answers that are planned longer than they may be"


def test_limits_set_the_minutes() -> None:
    limited = {"model": "m", "endpoints": ["http://127.0.0.1:1/v1"], "requests_per_minute": 2, "concurrency": 100}
    plan = plan_run(make_config({"base": limited}), tasks_of(2, 1, train=6, test=3))
    assert plan.base.minutes == pytest.approx(plan.base.calls / 2)


def test_a_token_limit_counts_the_answers_too() -> None:
    """All that they may take, as OpenAI does."""
    limited = {"model": "m", "endpoints": ["http://127.0.0.1:1/v1"], "tokens_per_minute": 100, "concurrency": 100}
    base = plan_run(make_config({"base": {**limited, "max_tokens": 700}}), tasks_of(2, 1, train=6, test=3)).base
    assert base.completion_tokens > 0
    assert base.minutes == pytest.approx((base.prompt_tokens + 700 * base.calls) / 100)


def test_a_local_models_minutes_go_by_its_size_its_threads_and_the_tokens() -> None:
    tasks = tasks_of(2, 1, train=6, test=3)

    def minutes(**table: Any) -> float:  # noqa: ANN401 - keys of a config
        return plan_run(make_config({"base": {"backend": "local", "endpoints": [], **table}}), tasks).base.minutes

    one = minutes(model="smollm2", threads=1, concurrency=4)
    assert minutes(model="smollm2", threads=4, concurrency=4) == pytest.approx(one / 4)
    assert minutes(model="smollm2", threads=1, concurrency=1) == one, "side by side they share the same cores"
    assert minutes(model="qwen2.5-coder-0.5b", threads=1) > 1.5 * one
    assert minutes(model="smollm2", threads=1, max_tokens=1) < one
    assert minutes(model="owner/repo:file.gguf", threads=1) > one


@pytest.mark.parametrize("model", ["nonsense", "./nowhere.gguf"])
def test_a_local_model_that_there_is_not_cannot_be_planned(model: str) -> None:
    with pytest.raises(ModelFileUnavailable, match="There is no"):
        plan_run(
            make_config({"base": {"backend": "local", "model": model, "endpoints": []}}),
            tasks_of(1, 0, train=2, test=1),
        )


@given(st.integers(1, 9), st.integers(0, 4))
def test_a_million_iterations_are_planned_without_going_through_them(keep: int, candidates: int) -> None:
    """From where as many prompts are kept as may be, each one takes what the last one took."""
    tasks = [make_task("a"), make_task("unseen", role="target")]

    def calls(iterations: int) -> Calls:
        inner = {"candidates": candidates, "keep": keep}
        return count_calls(make_config({"inner": inner, "iterations": iterations}), tasks)

    few, more, most = calls(20), calls(21), calls(10**6)
    for stage in ("initial", "inner", "outer", "test", "optimizer"):
        each = getattr(more, stage) - getattr(few, stage)
        assert getattr(most, stage) == getattr(few, stage) + (10**6 - 20) * each
