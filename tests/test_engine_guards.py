"""Guards: no system prompt is selected that falls too far on one, and who is refused for it is told."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from engine_sessions import Runs
from hypothesis import given
from hypothesis import strategies as st
from oracle import Oracle
from rich.console import Console
from sizes import rest_is_slow
from test_engine_plan import PAPER, Counting, Prolific, run_of, run_prepared
from world import World, make_config, make_task

from metaspo.backends import Message, Request
from metaspo.engine import ConfigError, Observer, Prepared, RunDirectory, count_calls, selections
from metaspo.engine.config.load import parse_config
from metaspo.engine.evaluation.evaluation import Evaluation, score
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.journal.events import Candidate, Proposal, Racing, Rejected, Score
from metaspo.engine.journal.system_search import SystemSearch
from metaspo.engine.journal.view import RunView
from metaspo.engine.optimize.bilevel import run
from metaspo.engine.optimize.result import GuardScore, RunResult
from metaspo.engine.optimize.round import Round, hold_round
from metaspo.engine.optimize.round_setup import RoundSetup
from metaspo.engine.optimize.state import GuardState, TaskState
from metaspo.engine.prompts import PromptPair
from metaspo.engine.report.run_page import run_page
from metaspo.engine.runs.files import read_json
from metaspo.engine.runs.identity import fingerprint
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.runtime.priorities import initial
from metaspo.engine.selection.objective import Objective
from metaspo.engine.strategies import CallBound, Level, RoundSize, SearchContext, Trial
from metaspo.engine.strategies.proposers import AllAtOnce
from metaspo.engine.tasks import Task
from metaspo.tables.runs import print_run

ROWS = 4


def make_guard(name: str = "guard", *, tolerance: float = 0.0, train: int = 8, test: int = 0) -> Task:
    return replace(make_task(name, role="guard", train=train, test=test), tolerance=tolerance)


class Spoiled(World):
    """A world in which every new system prompt helps, and spoils the guard: all but those that say "brief"."""

    def base(self, request: Request) -> str:
        system, question = request.messages[0].content, request.messages[-1].content
        number = int(question.split("number ")[1].split(" ")[0])
        right, wrong = ("yes", "no") if number % 2 == 0 else ("no", "yes")
        new = system.startswith("You are") and "helpful" not in system
        if "guard" in question:
            return wrong if new and "brief" not in system and number < 3 else right
        skilled = new and ("brief" not in system or number % 4 == 0)
        return right if skilled or number % 3 == 0 else wrong


@dataclass
class Partly:
    """As much of an evaluation as has a bound: some of its rows are answered."""

    task: Task
    grades: Sequence[bool]
    seen: set[int]
    refusal: str = ""

    @property
    def bound(self) -> float:
        return sum(grade or row not in self.seen for row, grade in enumerate(self.grades)) / len(self.grades)


GRADES = st.lists(st.booleans(), min_size=ROWS, max_size=ROWS)


@given(grades=st.lists(GRADES, min_size=1, max_size=3), floors=st.lists(st.floats(-0.5, 1), min_size=3), data=st.data())
def test_who_can_keep_no_floor_any_more_is_below_it_in_the_end_and_nobody_else_is(
    grades: list[list[bool]], floors: list[float], data: st.DataObject
) -> None:
    names = [f"guard{number}" for number in range(len(grades))]
    objective = Objective(floors=dict(zip(names, floors, strict=False)))
    nodes = [
        Partly(make_guard(name), rows, data.draw(st.sets(st.integers(0, ROWS - 1))))
        for name, rows in zip(names, grades, strict=True)
    ]
    out = objective.violation_so_far(cast(list[Evaluation], nodes))
    for node in nodes:
        node.seen = set(range(ROWS))
    below = objective.violation_so_far(cast(list[Evaluation], nodes))
    cards = [
        Scorecard(task=name, pair=PromptPair("s", "{question}"), outcomes=(), score=sum(rows) / ROWS)
        for name, rows in zip(names, grades, strict=True)
    ]
    assert below == objective.violation(cards)
    assert bool(below) == any(sum(rows) / ROWS < floor for rows, floor in zip(grades, floors, strict=False))
    assert not out or below


def test_a_guard_counts_in_no_mean() -> None:
    guard, source = [
        Scorecard(task=name, pair=PromptPair("s", "{question}"), outcomes=(), score=score, weight=2.0)
        for name, score in (("guard", 1.0), ("a", 0.25))
    ]
    objective = Objective(floors={"guard": 0.5})
    assert objective.value([source, guard]) == 0.25
    assert objective.counted([source, guard]) == (source,)
    nodes = [Partly(make_guard(), [True] * ROWS, set()), Partly(make_task("a"), [False] * ROWS, {0, 1})]
    assert objective.bound(cast(list[Evaluation], nodes)) == 0.5


def spoiled_runs(*, tolerance: float, changes: dict[str, Any] | None = None, train: int = 12) -> Runs:
    tasks = (make_task("a", train=train), make_guard(tolerance=tolerance, test=3))
    config = make_config({"inner": {"candidates": 0}, "outer": {"candidates": 6}, **(changes or {})})
    return Runs(config, tasks, Spoiled(3, malformed=0.0), timing=2, width=3)


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("tolerance", [0.0, 0.2, 0.5])
def test_a_better_prompt_is_refused_where_it_falls_too_far_on_a_guard(tolerance: float, early: bool) -> None:
    """3 of 8 are lost: within a tolerance of a half, and of no less."""
    runs = spoiled_runs(tolerance=tolerance, changes={"early_rejection": early})
    result = runs.session()
    assert result is not None
    oracle = Oracle(runs.prepared.config, list(runs.prepared.tasks), runs.world.answer)
    oracle.run()
    assert selections(runs.journal.events) == oracle.selections
    assert ("brief" in result.system_prompt) == (tolerance < 0.375)
    [guard] = result.guards
    assert (guard.task, guard.before, guard.floor) == ("guard", 1.0, 1 - tolerance)
    assert guard.after == (0.625 if tolerance == 0.5 else 1.0) >= guard.floor
    assert [row.stage for row in result.tests if row.role == "guard"] == ["before", "after"]
    assert [gain.role for gain in result.gains] == ["source"]


class Warned(Observer):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.mark.parametrize(("tolerance", "warned"), [(0.5, False), (1.0, True)])
def test_a_guard_that_no_prompt_can_fall_below_is_warned_of(tolerance: float, warned: bool) -> None:
    runs = spoiled_runs(tolerance=tolerance, changes={"iterations": 1})
    observer = Warned()
    result = run_prepared(runs.prepared, runs.world, observer).result
    assert any("guard guard guards nothing" in text for text in observer.warnings) is warned
    assert result.guards[0].floor == 1 - tolerance


def test_a_floor_below_nothing_is_shown_as_nothing() -> None:
    score = GuardScore(task="g", before=0.03, after=0.03, floor=-0.02)
    assert "at least 0.0% was wanted" in score.sentence
    assert GuardState(task=make_guard(tolerance=0.5), first=0.25, card=cast(Scorecard, None)).floor == 0


def test_early_rejection_by_guards_saves_calls_and_selects_the_same() -> None:
    asked = {}
    for early in (True, False):
        runs = spoiled_runs(tolerance=0.0, changes={"early_rejection": early}, train=60)
        assert runs.session() is not None
        asked[early] = (selections(runs.journal.events), len(runs.answered))
    assert asked[True][0] == asked[False][0]
    assert asked[True][1] < asked[False][1]


@pytest.mark.parametrize("early", [True, False])
def test_the_journal_says_whom_a_guard_refused_and_what_it_was_worth(early: bool) -> None:
    runs = spoiled_runs(tolerance=0.2, changes={"early_rejection": early, "iterations": 1})
    assert runs.session() is not None
    search = RunView.of(runs.journal.events).trials.search
    lost = [event for event in runs.journal.events if isinstance(event, Rejected | Candidate) and event.guard]
    assert lost
    assert [(one.address, one.guard, one.floor) for one in search.guarded] == [
        (event.address, "guard", 0.8) for event in lost
    ]
    assert all(one.reach < 0.8 for one in search.guarded)
    assert search.guards_cost.startswith(f"Refused by a guard: {len(lost)} of {search.tried} system prompts tried")
    if not early:
        assert any(one.better and one.complete and one.value == 1.0 for one in search.guarded)
        assert "scored 100.0%, where" in search.guards_cost
        assert "was selected, but 62.5% on guard 'guard', whose floor is 80.0%." in search.guards_cost


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("early", rest_is_slow([False, True]))
def test_a_runs_end_its_page_and_its_files_say_what_became_of_the_guards(tmp_path: Path, early: bool) -> None:
    changes = {"inner": {"candidates": 0}, "outer": {"candidates": 6}, "iterations": 1, "early_rejection": early}
    config = make_config({**changes, "runs": str(tmp_path)})
    tasks = (make_task("a", train=12), make_guard(tolerance=0.2))
    prepared = Prepared(config=config, tasks=tasks, folder=tmp_path)
    report = run_prepared(prepared, Spoiled(3, malformed=0.0), Observer())
    assert report.directory is not None
    run = RunDirectory(report.directory)
    summary, result = read_json(run, part="summary"), read_json(run, part="result")
    cost = summary["system_search"]["guards_cost"]
    told = "Guard guard: 100.0% as before on its train examples (at least 80.0% was wanted)."
    assert result["guards"] == [{"task": "guard", "before": 1.0, "after": 1.0, "floor": 0.8}]
    assert cost.startswith("Refused by a guard: ")
    lost = [one["address"] for one in summary["system_search"]["guarded"]]
    for everything in (False, True):
        out = Console(record=True, width=400)
        print_run(out, run, everything=everything)
        text = out.export_text()
        assert told in text
        assert cost in text
        assert all(f"Refused by a guard: {address}" in text for address in lost) is everything
    page = html.unescape(run_page(run))
    assert told in page
    assert cost in page


def outer_rounds(changes: dict[str, Any], *tasks: Task, objective: Objective) -> tuple[Round, Runs]:
    """One outer round from the first prompts, whatever a config would make its objective."""

    async def hold(context: RunContext) -> Round:
        cards = {}
        for task in (*context.sources, *context.guards):
            pair = PromptPair(context.config.system_prompt, task.user_prompt)
            cards[task.name] = await score(
                context, pair, task, examples=task.train, address=f"init/task={task.name}", priority=initial(0)
            )
        setup = RoundSetup(
            context=context,
            level="system",
            iteration=1,
            address="iter=1/outer",
            system=context.config.system_prompt,
            tasks=tuple(TaskState(task=task, kept=(cards[task.name],)) for task in context.sources),
            guards=tuple(GuardState(task=task, first=1.0, card=cards[task.name]) for task in context.guards),
            candidates=6,
            keep=1,
            objective=objective,
        )
        return await hold_round(setup, context.outer)

    runs = Runs(make_config(changes), tasks, Spoiled(3, malformed=0.0), timing=2, width=3)
    held = runs.do(hold)
    assert held is not None
    return held, runs


def test_what_is_told_of_a_prompt_that_was_not_kept_is_true_whatever_it_is_compared_by() -> None:
    """With a guard it may have been better; with a penalty it may have scored more for being longer."""
    held, runs = outer_rounds({}, make_task("a", train=12), make_guard(), objective=Objective(floors={"guard": 0.9}))
    assert any(isinstance(event, Rejected | Candidate) and event.guard for event in runs.journal.events)
    assert {tried.at_most for tried in held.tried if tried.score is None} == {None}
    world, task, penalty = Spoiled(3, malformed=0.0), make_task("a", train=12), 0.02
    held, _ = outer_rounds({}, task, objective=Objective(penalty=penalty))
    oracle = Oracle(make_config(), [task], world.answer)
    lost = [tried for tried in held.tried if tried.score is None]
    assert lost
    for tried in lost:
        assert tried.at_most is not None
        assert tried.at_most >= oracle.score(task, tried.prompt, task.user_prompt).score
    assert any(tried.at_most != held.best.kept()[0].value for tried in lost)


def test_without_guards_nothing_is_said_of_any() -> None:
    assert SystemSearch(tried=3, outscored=3).guards_cost == ""


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"outer": {"candidates": 4, "under": "first", "keep": 2}},
        {"outer": {"candidates": 0}},
        {"iterations": 0},
        {"inner": {"candidates": 0}},
    ],
)
def test_the_plan_counts_the_calls_of_guards(changes: dict[str, Any]) -> None:
    tasks = [make_task("a", train=5, test=2), make_guard("g", train=7, test=3, tolerance=1.0), make_guard("h", train=3)]
    config, observer = make_config({**PAPER, "iterations": 2, **changes}), Counting()
    report = run_of(config, tasks, Prolific(3), observer)
    calls = count_calls(config, tasks)
    use = report.usage.lanes
    assert use["base"].hits + use["base"].joined + use["base"].calls <= calls.base
    assert observer.done == observer.ahead == calls.base + calls.optimizer
    without = count_calls(config, tasks[:1])
    rounds = config.iterations if config.outer.candidates else 0
    train = 10 * (bool(rounds) + rounds * config.outer.candidates)
    assert calls.base - without.base == train + 3


def test_a_run_that_looks_for_no_system_prompt_asks_a_guard_for_its_test_split_only() -> None:
    runs = spoiled_runs(tolerance=0.0, changes={"outer": {"candidates": 0}, "inner": {"candidates": 2}})
    result = runs.session()
    assert result is not None
    assert result.guards == ()
    assert not any("guard train" in request.messages[-1].content for request in runs.answered)
    assert any("guard test" in request.messages[-1].content for request in runs.answered)


def test_no_candidate_is_asked_a_guard_before_it_has_passed_its_gate() -> None:
    runs = spoiled_runs(tolerance=0.0, changes={"outer": {"candidates": 6, "gate": 4}, "iterations": 1})
    assert runs.session() is not None
    gated = {event.address for event in runs.journal.events if isinstance(event, Rejected) and event.gate is not None}
    asked = {event.address.split("/guard/")[0] for event in runs.journal.events if "/guard/" in event.address}
    assert gated
    assert asked
    assert not gated & asked


def test_what_a_gated_run_counts_does_not_depend_on_what_the_cache_has_of_the_guards() -> None:
    """A guard that is known to be lost counts once the gate is answered: who is at the gate is asked all of it."""

    class Vain(Spoiled):
        def base(self, request: Request) -> str:
            """No new prompt helps."""
            guard = "guard" in request.messages[-1].content
            plain = replace(request, messages=(Message("system", "Help."), request.messages[-1]))
            return Spoiled.base(self, request if guard else plain)

    gated = {"outer": {"candidates": 6, "gate": 4}, "iterations": 1, "train_calls": 200}
    fresh, known = spoiled_runs(tolerance=0.0, changes=gated), spoiled_runs(tolerance=0.0, changes=gated)
    fresh.world = known.world = Vain(3, malformed=0.0)
    result = fresh.session()
    proposed = [event.system for event in fresh.journal.events if isinstance(event, Proposal) and event.system]

    async def ask_guards(context: RunContext) -> None:
        [guard] = context.guards
        for number, system in enumerate(proposed):
            pair, address = PromptPair(system, guard.user_prompt), f"asked/{number}"
            await score(context, pair, guard, examples=guard.train, address=address, priority=initial(0))

    known.do(ask_guards)
    assert known.session() == result


def test_a_round_with_guards_is_left_to_exact_bounds_and_says_so() -> None:
    runs = spoiled_runs(tolerance=0.0, changes={"racing": 0.1, "inner": {"candidates": 1}, "iterations": 1}, train=160)
    assert runs.session() is not None
    told = {event.address: event.off for event in runs.journal.events if isinstance(event, Racing)}
    assert told["iter=1/outer"] == "guard 'guard' is kept by exact bounds"
    assert told["iter=1/inner/task=a"] is None


class Looking:
    """A search that notes what it may see."""

    name = "looking"
    levels: frozenset[Level] = frozenset({"system"})

    def __init__(self) -> None:
        self.first: list[Trial] = []
        self.tasks: set[str] = set()

    def describe(self) -> str:
        return "looks"

    def work(self, _size: RoundSize, /) -> CallBound:
        return CallBound(base=0, optimizer=0)

    async def search(self, context: SearchContext, /) -> list[str]:
        self.first += context.first
        self.tasks |= {task.name for task in context.tasks}
        return ["You are careful."]


def test_a_search_sees_nothing_of_a_guard() -> None:
    looking, runs = Looking(), spoiled_runs(tolerance=1.0, changes={"iterations": 2})

    async def search(context: RunContext) -> RunResult:
        return await run(replace(context, outer=AllAtOnce(looking)))

    assert runs.do(search) is not None
    assert looking.tasks == {"a"}
    assert len(looking.first) == 2
    assert {len(trial.grades) for trial in looking.first} == {12}
    assert {wrong.task for trial in looking.first for wrong in trial.wrong} <= {"a"}


def test_a_guards_scores_are_none_of_the_runs() -> None:
    runs = spoiled_runs(tolerance=1.0)
    result = runs.session()
    assert result is not None
    points = RunView.of(runs.journal.events).history.points({})
    assert points[0].score == pytest.approx(result.train_before)
    assert points[-1].score == pytest.approx(result.train_after)
    assert any(isinstance(event, Score) and event.task == "guard" for event in runs.journal.events)


def test_a_tolerance_is_a_part_of_a_runs_identity_and_no_guard_changes_none() -> None:
    config, task = make_config(), make_task("a")
    names = [fingerprint(config, [task, make_guard(tolerance=tolerance)]) for tolerance in (0.0, 0.1)]
    assert len({*names, fingerprint(config, [task])}) == 3


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"role": "guard"}, "a guard task needs train"),
        ({"role": "guard", "train": "g.jsonl", "weight": 2}, "a guard counts in no mean: leave weight out"),
        ({"train": "g.jsonl", "tolerance": 0.1}, 'tolerance is for a guard: set role = "guard"'),
        ({"role": "guard", "train": "g.jsonl", "tolerance": 5}, "less than or equal to 1"),
    ],
)
def test_what_a_guard_cannot_have_is_said_in_a_sentence(keys: dict[str, Any], said: str) -> None:
    base = {"model": "m", "endpoints": ["http://127.0.0.1:1/v1"]}
    with pytest.raises(ConfigError) as raised:
        parse_config({"base": base, "tasks": [{"name": "a", "train": "a.jsonl"}, {"name": "g", **keys}]})
    assert said in str(raised.value)
    assert "[task 'g']" in str(raised.value)
