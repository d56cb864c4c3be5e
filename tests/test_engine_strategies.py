"""Strategies: MetaSPO's own shows what it should; an installed package's plugs into either loop by its name."""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest
from world import World, make_config, make_task

from metaspo import Gateway, Lane, MemoryStore, Message, Request, RunReport, optimize, prepare
from metaspo.backends import Simulated
from metaspo.console import MISTAKES
from metaspo.engine import ConfigError, Prepared
from metaspo.engine.runs.execute import ENDS_ONE_RUN
from metaspo.engine.strategies import (
    InnerContext,
    Malformed,
    NoProposal,
    OuterContext,
    StrategyError,
    TaskView,
    UnknownStrategy,
    inner_strategy,
    outer_strategy,
)
from metaspo.engine.strategies.metaspo import FailureAnalysisInner, FailureAnalysisOuter
from metaspo.engine.strategies.own import OwnStrategy
from metaspo.engine.strategies.passes import InPasses
from metaspo.engine.tasks import Example, Failure
from metaspo.scheduling import RunStopped

T = TypeVar("T")

PLUGIN = """
class Inner:
    name = "shouting"
    calls_optimizer = 0

    def describe(self):
        return "writes user prompts in capitals"

    async def propose(self, context):
        return "CANDIDATE " + str(context.candidate) + ": {question}"


class Outer:
    name = "shouting"
    calls_optimizer = 0

    def describe(self):
        return "writes system prompts in capitals"

    async def propose(self, context):
        return "BE CAREFUL BRIEF " + str(context.candidate)


class Careless(Inner):
    async def propose(self, context):
        return "NO PLACE FOR THE QUESTION"


class Silent(Outer):
    async def propose(self, context):
        return " "


class Halved(Outer):
    async def propose(self, context):
        return "BE BRIEF \\ud83d"


class Checking(Outer):
    async def propose(self, context):
        return context.usable(" ")


class Nothing(Outer):
    async def propose(self, context):
        pass


class Hasty(Outer):
    def propose(self, context):
        return "BE BRIEF"


class Broken(Outer):
    async def propose(self, context):
        raise KeyError("oh")


class Leaving(Outer):
    async def propose(self, context):
        import asyncio

        raise asyncio.CancelledError


class Grouped(Outer):
    async def propose(self, context):
        import asyncio

        async with asyncio.TaskGroup() as group:
            group.create_task(Broken().propose(context))


class Helped(Outer):
    def search(self):
        return "BE BRIEF"


class Nameless:
    calls_optimizer = 0


class Uncounted(Outer):
    calls_optimizer = "1"


class Finicky(Outer):
    def __init__(self, needed):
        pass


class Seeking:
    name = "seeking"
    levels = frozenset({"user", "system"})
    found = ["BE CAREFUL"]

    def describe(self):
        return "seeks"

    def work(self, size):
        from metaspo.engine.strategies import CallBound

        return CallBound(base=0, optimizer=0)

    async def search(self, context):
        return self.found


class Losing(Seeking):
    found = "BE CAREFUL"


class Boundless(Seeking):
    def work(self, size):
        pass


class Speechless(Seeking):
    def describe(self):
        raise KeyError("oh")


class Nowhere(Seeking):
    levels = None


class Owing(Outer):
    calls_optimizer = -1
"""
POINTS = """
[metaspo.inner_strategies]
shouting = shouting_strategies:Inner
careless = shouting_strategies:Careless
lost = shouting_strategies:Nobody

[metaspo.outer_strategies]
shouting = shouting_strategies:Outer
silent = shouting_strategies:Silent
gone = no_such_module_anywhere:Outer
halved = shouting_strategies:Halved
checking = shouting_strategies:Checking
nothing = shouting_strategies:Nothing
hasty = shouting_strategies:Hasty
broken = shouting_strategies:Broken
leaving = shouting_strategies:Leaving
grouped = shouting_strategies:Grouped
helped = shouting_strategies:Helped
nameless = shouting_strategies:Nameless
uncounted = shouting_strategies:Uncounted
finicky = shouting_strategies:Finicky
seeking = shouting_strategies:Seeking
losing = shouting_strategies:Losing
boundless = shouting_strategies:Boundless
speechless = shouting_strategies:Speechless
nowhere = shouting_strategies:Nowhere
owing = shouting_strategies:Owing
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that offers strategies, as an installer leaves it."""
    (tmp_path / "shouting_strategies.py").write_text(PLUGIN, encoding="utf-8")
    info = tmp_path / "shouting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(POINTS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


class Optimizer:
    """Answers every question of a strategy, and keeps what it was shown."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, step: str, messages: Sequence[Message], parse: Callable[[str], T], /) -> T:
        self.asked.append((step, messages[-1].content))
        return parse(
            "<analysis>ANALYSIS</analysis><user_prompt>NEW {question}</user_prompt><system_prompt>NEW</system_prompt>"
        )


def view(name: str, failures: int) -> TaskView:
    found = tuple(
        Failure(example=Example(f"{name}-q{n}", (f"{name}-a{n}",)), response=f"{name}-r{n}", prediction=None)
        for n in range(failures)
    )
    return TaskView(
        name=name, user_prompt=f"{name}: {{question}}", score=0.5, train=(), failures=found, answer_rule=f"{name}-rule"
    )


def inner_context(ask: Optimizer, *, failures: int, show: int = 3, seed: int = 1) -> InnerContext:
    return InnerContext(
        address="x", candidate=1, show=show, rng=Random(seed), system_prompt="SYSTEM", task=view("a", failures), ask=ask
    )


def outer_context(ask: Optimizer, *, failures: Sequence[int], seed: int = 1) -> OuterContext:
    tasks = tuple(view(name, count) for name, count in zip("abc", failures, strict=False))
    return OuterContext(
        address="x", candidate=1, show=2, rng=Random(seed), system_prompt="SYSTEM", tasks=tasks, ask=ask
    )


def shown(text: str, *, task: str = "a") -> set[int]:
    """Which of a task's failures a text shows."""
    return {n for n in range(9) if f"{task}-q{n}" in text and f"{task}-a{n}" in text and f"{task}-r{n}" in text}


async def test_an_inner_candidate_takes_one_analysis_and_one_rewrite_of_the_same_failures() -> None:
    ask = Optimizer()
    assert await FailureAnalysisInner().propose(inner_context(ask, failures=8)) == "NEW {question}"
    (first, analysis), (second, rewrite) = ask.asked
    assert (first, second) == ("analyze", "generate")
    assert len(shown(analysis)) == 3
    assert shown(rewrite) == shown(analysis)
    assert "ANALYSIS" in rewrite
    assert "a-rule" in rewrite


async def test_with_fewer_failures_all_of_them_are_shown() -> None:
    ask = Optimizer()
    await FailureAnalysisInner().propose(inner_context(ask, failures=2))
    assert shown(ask.asked[0][1]) == {0, 1}


async def test_other_places_show_other_failures_and_the_same_place_the_same() -> None:
    seen = []
    for seed in (1, 1, 2, 3, 4):
        ask = Optimizer()
        await FailureAnalysisInner().propose(inner_context(ask, failures=9, seed=seed))
        seen.append(ask.asked[0][1])
    assert seen[0] == seen[1]
    assert len(set(seen)) > 1


async def test_an_outer_candidate_sees_failures_of_every_task_and_its_rewrite_only_the_analysis() -> None:
    ask = Optimizer()
    assert await FailureAnalysisOuter().propose(outer_context(ask, failures=(5, 1, 5))) == "NEW"
    (_, analysis), (_, rewrite) = ask.asked
    assert [len(shown(analysis, task=task)) for task in "abc"] == [2, 1, 2]
    assert [len(shown(rewrite, task=task)) for task in "abc"] == [0, 0, 0]
    assert "ANALYSIS" in rewrite
    assert "SYSTEM" in rewrite


async def test_a_first_system_prompt_is_rewritten_as_often_as_asked_and_any_other_once() -> None:
    in_passes = InPasses(FailureAnalysisOuter(), 3)
    assert in_passes.calls_optimizer == 6
    first, later = Optimizer(), Optimizer()
    assert await in_passes.propose(replace(outer_context(first, failures=(5, 1, 5)), is_first=True)) == "NEW"
    steps = [f"{step}{number}" for number in ("", 2, 3) for step in ("analyze", "generate")]
    assert [step for step, _ in first.asked] == steps
    told = [[text.count(mark) for mark in ("\nSYSTEM\n", "\n<answered_under>\nSYSTEM\n")] for _, text in first.asked]
    assert told[1:] == [[1, 0], *[[1, 1]] * 4], "whose answers these are is said wherever they are another's"
    assert all(len(shown(text, task="a")) == 2 for step, text in first.asked if step.startswith("analyze"))
    assert await in_passes.propose(outer_context(later, failures=(5, 1, 5))) == "NEW"
    assert [step for step, _ in later.asked] == steps[:2]


async def test_a_further_rewriting_that_brings_nothing_leaves_what_was_written() -> None:
    class Tiring(Optimizer):
        async def __call__(self, step: str, messages: Sequence[Message], parse: Callable[[str], T], /) -> T:
            if step == self.tired:
                raise NoProposal("tired")
            return await super().__call__(step, messages, parse)

        tired = "generate2"

    ask = Tiring()
    in_passes = InPasses(FailureAnalysisOuter(), 3)
    assert await in_passes.propose(replace(outer_context(ask, failures=(5, 1, 5)), is_first=True)) == "NEW"
    assert [step for step, _ in ask.asked] == ["analyze", "generate", "analyze2"]
    ask.tired = "generate"
    with pytest.raises(NoProposal, match="tired"):
        await in_passes.propose(replace(outer_context(ask, failures=(5, 1, 5)), is_first=True))


async def test_a_further_rewriting_that_cannot_be_used_leaves_what_was_written() -> None:
    """A strategy that has nothing read by `context.usable`, as one that asks nobody, would lose the candidate."""

    class Shortening:
        name, calls_optimizer = "shortening", 0

        def describe(self) -> str:
            return "drops a word"

        async def propose(self, context: OuterContext, /) -> str:
            return context.system_prompt.rpartition(" ")[0]

    def usable(prompt: str) -> str:
        if len(prompt.split()) < 2:
            raise Malformed("too short")
        return prompt

    start = replace(outer_context(Optimizer(), failures=(1,)), system_prompt="a b c d", usable=usable, is_first=True)
    assert [await InPasses(Shortening(), passes).propose(start) for passes in (1, 2, 3, 4)] == ["a b c", *["a b"] * 3]


async def test_no_two_passes_of_a_strategy_ask_at_one_address_whatever_it_calls_its_steps() -> None:
    class Naming:
        name, calls_optimizer = "naming", 6

        def describe(self) -> str:
            return "names its steps as it likes"

        async def propose(self, context: OuterContext, /) -> str:
            for step in ("x", "x2", "x22", "pass=2/x", "pass=1/x2", "pass=1/pass=2/x"):
                await context.ask(step, [Message("user", "?")], str)
            return "NEW"

    ask = Optimizer()
    await InPasses(Naming(), 22).propose(replace(outer_context(ask, failures=(1,)), is_first=True))
    assert len({step for step, _ in ask.asked}) == len(ask.asked) == 22 * 6


def test_searches_of_the_outer_loop_take_no_further_passes_and_say_so() -> None:
    assert outer_strategy("opro", first_passes=2).describe() == outer_strategy("opro").describe()
    assert "2 times" in outer_strategy("metaspo", first_passes=2).describe()


async def test_failures_of_tasks_are_shuffled_together() -> None:
    orders = set()
    for seed in range(12):
        ask = Optimizer()
        await FailureAnalysisOuter().propose(outer_context(ask, failures=(2, 2), seed=seed))
        text = ask.asked[0][1]
        orders.add(tuple(sorted("ab", key=lambda task: text.index(f"{task}-q"))))
    assert orders == {("a", "b"), ("b", "a")}


async def test_no_failures_are_no_question() -> None:
    ask = Optimizer()
    with pytest.raises(NoProposal, match="no failures"):
        await FailureAnalysisInner().propose(inner_context(ask, failures=0))
    with pytest.raises(NoProposal, match="no failures"):
        await FailureAnalysisOuter().propose(outer_context(ask, failures=(0, 0)))
    assert ask.asked == []


@pytest.mark.parametrize("make", [inner_strategy, outer_strategy])
def test_an_unknown_name_lists_the_known_ones(make: Callable[[str], object]) -> None:
    with pytest.raises(UnknownStrategy, match=r"did you mean 'metaspo'.*embedded, .*metaspo"):
        make("metaspoo")


@pytest.mark.usefixtures("installed")
def test_an_installed_strategy_is_found_by_its_name_and_listed() -> None:
    assert inner_strategy("shouting").describe() == "writes user prompts in capitals"
    assert outer_strategy("shouting").describe() == "writes system prompts in capitals"
    with pytest.raises(UnknownStrategy, match=r"careless, embedded, .*lost, metaspo, .*shouting"):
        inner_strategy("whispering")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("loop", "name"), [("inner", "lost"), ("outer", "gone")])
def test_a_strategy_that_cannot_be_loaded_is_named(loop: str, name: str, tmp_path: Path) -> None:
    table = {"model": "m", "endpoints": ["http://127.0.0.1:1/v1"]}
    (tmp_path / "t.jsonl").write_text('{"question": "q", "answer": "yes"}\n', encoding="utf-8")
    tasks = [{"name": "t", "role": "source", "train": str(tmp_path / "t.jsonl")}]
    with pytest.raises(ConfigError, match=f"{loop}.strategy.*'{name}'.*cannot be loaded"):
        prepare({"base": table, "optimizer": table, loop: {"strategy": name}, "tasks": tasks})


async def run_with(changes: dict[str, Any]) -> tuple[list[Request], RunReport]:
    tasks = (make_task("a", train=20), make_task("b", train=20), make_task("unseen", role="target"))
    calls: list[Request] = []

    def answer(request: Request) -> str:
        calls.append(request)
        return World(3, malformed=0.0).answer(request)

    lanes = [Lane(name, [Simulated(answer)]) for name in ("base", "optimizer")]
    async with Gateway(lanes, store=MemoryStore()) as gateway:
        config = make_config({"early_rejection": False, **changes})
        return calls, await optimize(Prepared(config=config, tasks=tasks, folder=Path()), gateway=gateway)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("loop", ["inner", "outer"])
async def test_a_strategy_plugs_into_one_loop_and_leaves_the_other_alone(loop: str) -> None:
    calls, report = await run_with({loop: {"strategy": "shouting", "candidates": 2}})
    users = {call.messages[1].content.split(":")[0] for call in calls if call.model == "answerer"}
    systems = {call.messages[0].content for call in calls if call.model == "answerer"}
    assert ({"CANDIDATE 1", "CANDIDATE 2"} <= users) == (loop == "inner")
    assert ({"BE CAREFUL BRIEF 1", "BE CAREFUL BRIEF 2"} <= systems) == (loop == "outer")
    meta = [call.messages[-1].content for call in calls if call.model == "writer"]
    assert any("complete new user prompt" in text for text in meta) == (loop == "outer")
    assert meta
    assert "capitals" in report.result.strategies[loop]
    assert "capitals" not in report.result.strategies["outer" if loop == "inner" else "inner"]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    "plugged",
    [
        {"inner": {"strategy": "careless"}},
        *({"outer": {"strategy": name}} for name in ("silent", "halved", "checking")),
    ],
)
async def test_a_prompt_that_cannot_be_used_is_never_scored_whoever_proposed_it(plugged: dict[str, Any]) -> None:
    calls, report = await run_with(plugged)
    texts = ["\n".join(message.content for message in call.messages) for call in calls if call.model == "answerer"]
    assert not any("NO PLACE" in text for text in texts)
    assert all(call.messages[0].content.strip() for call in calls)
    assert report.result.system_prompt.strip()


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing", "Nothing) proposed a NoneType, and must propose a text"),
        ("hasty", "Hasty) failed: TypeError: `propose` must be `async def`, and gave a str at once"),
        ("broken", "Broken) failed: KeyError: 'oh'"),
        ("grouped", "Grouped) failed: KeyError: 'oh'"),
        ("leaving", "Leaving) raised a CancelledError, and nobody had cancelled it"),
        ("boundless", "Boundless) gave a NoneType by `work`, not a CallBound"),
        ("speechless", "Speechless) failed: KeyError: 'oh'"),
        ("losing", "Losing) found 'BE CAREFUL', and must return a list of texts"),
    ],
)
async def test_what_an_installed_strategy_does_wrong_is_told_as_its_mistake(name: str, says: str) -> None:
    with pytest.raises(StrategyError, match=re.escape(f"(shouting_strategies:{says}")) as failed:
        await run_with({"outer": {"strategy": name, "candidates": 2}})
    assert ENDS_ONE_RUN[ENDS_ONE_RUN.index(StrategyError)] in MISTAKES, "other runs go on, and no traceback is shown"
    if name == "broken":
        assert isinstance(failed.value.__cause__, KeyError)


@pytest.mark.usefixtures("installed")
def test_a_strategy_that_proposes_may_have_a_method_of_any_name() -> None:
    assert "capitals" in outer_strategy("helped").describe()


@pytest.mark.parametrize("met", [NoProposal("nothing failed"), RunStopped("the budget is used up")])
async def test_what_an_installed_strategy_meets_in_tasks_of_its_own_is_no_mistake_of_it(met: Exception) -> None:
    class Grouped:
        name, calls_optimizer = "grouped", 2

        def describe(self) -> str:
            return "asks twice at once"

        async def propose(self, _context: None, /) -> str:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._asked())
            return "BE BRIEF"

        async def _asked(self) -> None:
            raise met

    with pytest.raises(type(met)) as raised:
        await OwnStrategy(Grouped()).propose(None)
    assert raised.value is met


@pytest.mark.usefixtures("installed")
async def test_an_installed_search_is_a_search() -> None:
    calls, _ = await run_with({"outer": {"strategy": "seeking"}})
    assert any(call.messages[0].content == "BE CAREFUL" for call in calls)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nameless", r"'nameless' \(shouting_strategies:Nameless\) is no strategy: it has no name"),
        ("uncounted", "calls_optimizer must be a whole number from 0 on"),
        ("owing", "calls_optimizer must be a whole number from 0 on"),
        ("nowhere", "levels must be a set of 'user' and 'system'"),
        ("finicky", "cannot be loaded: TypeError: .*missing 1 required positional argument: 'needed'"),
    ],
)
def test_what_cannot_be_a_strategy_is_told_before_a_run(name: str, says: str) -> None:
    with pytest.raises(UnknownStrategy, match=says):
        outer_strategy(name)


@pytest.mark.usefixtures("installed")
async def test_a_run_whose_strategies_ask_nobody_needs_no_optimizer() -> None:
    plugged = {"strategy": "shouting", "candidates": 2}
    calls, _ = await run_with({"inner": plugged, "outer": plugged, "optimizer": None})
    assert {call.model for call in calls} == {"answerer"}
