"""A cap on the calls on train splits: what a run takes of it depends on nothing but what was proposed."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from engine_sessions import Runs, whole_but_own
from hypothesis import given
from hypothesis import strategies as st
from test_engine_plan import Prolific
from test_engine_search import CASES, SMALL, is_base
from world import World, make_config, make_task

from metaspo.backends import Request
from metaspo.engine import ConfigError, Observer, RunConfig, RunResult, selections
from metaspo.engine.config.calls import count_calls
from metaspo.engine.config.checks import check_optimizable
from metaspo.engine.journal import events
from metaspo.engine.optimize.bilevel import BARREN
from metaspo.engine.optimize.train_calls import TrainCalls, TrainCells, split
from metaspo.engine.prompts import PromptPair
from metaspo.engine.runs.identity import fingerprint

TASKS = (make_task("a", train=7), make_task("b", train=5), make_task("unseen", role="target", test=4))


class Tireless(Prolific):
    """Its optimizer also writes a new user prompt whenever a search asks for one."""

    def optimizer(self, request: Request) -> str:
        answer = super().optimizer(request)
        wanted = any("<user_prompt>" in message.content for message in request.messages)
        if wanted and answer.startswith("<system_prompt>"):
            return answer.replace("system_prompt>", "user_prompt>").replace("</", " {question}</")
        return answer


ALONE = {"inner": {"outer": {"candidates": 0}}, "outer": {"inner": {"candidates": 0}}}
CAP = 110


def config_of(name: str, loop: str, cap: int = CAP, **changes: Any) -> RunConfig:  # noqa: ANN401 - a config's tables
    """A single loop by a search (or by MetaSPO's own strategy), as long as calls are left."""
    table = {"strategy": name, "options": SMALL.get(name, {}), "candidates": 3}
    none = {"test": {"source": "none", "baseline": False}}
    return make_config({**ALONE[loop], loop: table, "train_calls": cap, "redraws": 0, **none, **changes})


def runs_of(config: RunConfig, *, timing: int, width: int, world: World | None = None) -> Runs:
    return Runs(config, TASKS, world or World(5, malformed=0.1), timing=timing, width=width)


@cache
def whole(name: str, loop: str) -> tuple[Runs, RunResult]:
    """One undisturbed session in which every candidate is scored to the end."""
    runs = runs_of(config_of(name, loop, early_rejection=False), timing=1, width=1)
    result = runs.session()
    assert result is not None
    return runs, result


ALL = [*CASES, ("metaspo", "inner"), ("metaspo", "outer")]


@pytest.mark.parametrize(("name", "loop"), whole_but_own(ALL))
def test_what_is_counted_is_what_the_base_model_is_asked(name: str, loop: str) -> None:
    runs, result = whole(name, loop)
    tests = sum(len(task.test) for task in TASKS if task.role == "target")
    changed = result.system_prompt != result.first_system_prompt or loop == "inner"
    assert changed, "the test needs a run that finds something"
    assert sum(map(is_base, runs.answered)) == result.train_calls + tests
    assert 12 < result.train_calls <= CAP


@pytest.mark.parametrize(("name", "loop"), whole_but_own(ALL))
def test_neither_concurrency_nor_interruptions_nor_early_rejection_change_what_is_taken(name: str, loop: str) -> None:
    first, result = whole(name, loop)
    disturbed = runs_of(config_of(name, loop), timing=50, width=7)
    for stop_after in (3.0, 9.0, 14.0):
        disturbed.session(stop_after=stop_after)
    assert disturbed.session() == result
    assert selections(disturbed.journal.events) == selections(first.journal.events)
    assert len(disturbed.answered) == len(set(disturbed.answered)), "an answered call was asked again"


@pytest.mark.parametrize(("name", "loop"), whole_but_own(ALL))
def test_less_is_left_than_a_round_of_one_prompt_takes_while_proposals_come(name: str, loop: str) -> None:
    runs = runs_of(config_of(name, loop), timing=2, width=4, world=Tireless(3))
    result = runs.session()
    assert result is not None
    assert CAP - 2 * 12 < result.train_calls <= CAP


def test_both_loops_share_the_cap_in_their_order() -> None:
    config = make_config({"train_calls": 200, "iterations": 1, "redraws": 0, "early_rejection": False})
    result = runs_of(config, timing=1, width=3, world=Prolific(1)).session()
    assert result is not None
    assert 200 - 7 < result.train_calls <= 200


class Told(Observer):
    """Adds up what is said to be planned and settled."""

    plan = settled = most = 0

    def planned(self, *, base_calls: int, optimizer_calls: int) -> None:
        self.plan = base_calls

    def calls_done(self, *, base_calls: int = 0, optimizer_calls: int = 0) -> None:
        self.settled += base_calls
        self.most = max(self.most, self.settled)


def test_what_a_gate_spares_of_a_cap_is_not_settled() -> None:
    told, gate = Told(), {"candidates": 1, "gate": 1, "gate_doubles": True, "under": "first"}
    config = make_config({"train_calls": CAP, "redraws": 0, "inner": {"candidates": 1, "gate": 2}, "outer": gate})
    result = Runs(config, TASKS, Tireless(0), timing=1, width=3, observer=told).session()
    assert result is not None
    in_a_round = 3 * 12  # which are given back when it is over
    assert told.most <= told.plan + in_a_round
    assert told.settled <= told.plan
    assert told.settled >= told.plan - CAP + result.train_calls - in_a_round


def test_a_cap_that_the_iterations_need_is_the_run_without_a_cap() -> None:
    free = make_config({"iterations": 2, "redraws": 0})
    calls = count_calls(free, TASKS)
    cap = calls.initial + calls.inner + calls.outer
    capped = make_config({"iterations": 2, "redraws": 0, "train_calls": cap})
    plain, limited = (runs_of(config, timing=1, width=4, world=Prolific(2)) for config in (free, capped))
    result = plain.session()
    assert result is not None
    assert result.train_calls == cap
    assert limited.session() == result
    assert count_calls(capped, TASKS) == calls


@pytest.mark.parametrize(("name", "loop"), ALL)
@pytest.mark.parametrize("cap", [12, 13, 40, 333])
def test_a_plan_has_the_cap(name: str, loop: str, cap: int) -> None:
    calls = count_calls(config_of(name, loop, cap), TASKS)
    assert calls.initial + calls.inner + calls.outer == cap
    assert (calls.optimizer == 0) == (cap == 12)


def test_a_cap_that_the_first_prompts_exceed_is_told_before_anything_is_asked() -> None:
    with pytest.raises(ConfigError, match="the first prompts alone take 12"):
        check_optimizable(config_of("metaspo", "outer", 11), TASKS, source="run.toml")
    check_optimizable(config_of("metaspo", "outer", 12), TASKS, source="run.toml")


def test_a_cap_makes_another_run_and_none_renames_no_run() -> None:
    names = {fingerprint(make_config({"train_calls": cap}), TASKS) for cap in (None, 100, 200)}
    assert len(names) == 3


@given(
    left=st.integers(0, 300),
    rounds=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 20)), min_size=1, max_size=5),
)
def test_shares_are_whole_prompts_and_leave_less_than_one_that_is_wanted(
    left: int, rounds: list[tuple[int, int]]
) -> None:
    wanted, rows = [prompts * size for prompts, size in rounds], [size for _, size in rounds]
    parts = split(left, wanted, rows)
    assert sum(parts) <= left
    assert all(0 <= part <= want and part % size == 0 for part, want, size in zip(parts, wanted, rows, strict=True))
    over = left - sum(parts)
    lacking = [size for part, want, size in zip(parts, wanted, rows, strict=True) if part < want]
    assert over < sum(rows) or not lacking


def cells_at(pair: PromptPair, rows: Iterable[int]) -> TrainCells:
    cells = TrainCells()
    cells.add(pair, "a", rows)
    return cells


@given(*[st.dictionaries(st.sampled_from("stu"), st.lists(st.integers(0, 70) | st.just(3), max_size=5))] * 2)
def test_cells_are_a_set_of_pairs_and_rows(one: dict[str, list[int]], other: dict[str, list[int]]) -> None:
    def cells(of: dict[str, list[int]]) -> TrainCells:
        every = TrainCells()
        for system, rows in of.items():
            every |= cells_at(PromptPair(system, "{question}"), rows if rows != [3] else range(3))
        return every

    def plain(of: dict[str, list[int]]) -> set[tuple[str, int]]:
        return {(system, row) for system, rows in of.items() for row in (rows if rows != [3] else range(3))}

    both, less = cells(one), cells(one)
    both |= cells(other)
    less -= cells(other)
    assert len(cells(one)) == len(plain(one))
    assert len(both) == len(plain(one) | plain(other))
    assert len(less) == len(cells(one) - cells(other)) == len(plain(one) - plain(other))


def test_an_answer_counts_once_and_a_share_of_the_count_is_of_the_whole() -> None:
    cells = cells_at(PromptPair("s", "{question}"), range(4))
    calls = TrainCalls(6)
    assert (calls.admit(cells), calls.admit(cells), calls.left) == (4, 0, 2)
    (share,) = calls.shares([9], [1])
    assert share.admit(cells_at(PromptPair("t", "{question}"), range(3))) is None
    fewer = cells_at(PromptPair("t", "{question}"), (2, 0))
    assert share.admit(fewer, spare=1) is None
    cells |= fewer
    assert share.admit(cells) == 2
    calls.join([share])
    assert (calls.left, calls.taken) == (0, 6)


@pytest.mark.parametrize(("left", "spare", "shared"), [(100, 30, 70), (100, 100, 0), (100, 101, 100), (100, 0, 100)])
def test_rounds_share_what_is_left_beside_what_is_spared_if_there_is_as_much(
    left: int, spare: int, shared: int
) -> None:
    shares = TrainCalls(left).shares([90, 90], [1, 1], spare=spare)
    assert sum(share.left or 0 for share in shares) == shared


@pytest.mark.parametrize(("reserve", "offered"), [(True, True), (False, False)])
def test_inner_loops_leave_a_system_prompt_its_calls_where_they_are_reserved(reserve: bool, offered: bool) -> None:
    """First prompts take 12, a candidate of each task as much: of 34 less is left then than a system prompt takes."""
    loops = {"inner": {"candidates": 1, "keep": 1}, "outer": {"candidates": 1, "reserve": reserve}}
    config = make_config({**loops, "train_calls": 34, "redraws": 0})
    runs = runs_of(config, timing=1, width=3, world=Prolific(1))
    assert runs.session() is not None
    proposed = {event.address for event in runs.journal.events if isinstance(event, events.Proposal)}
    assert ("iter=1/outer/cand=1" in proposed) is offered
    calls = count_calls(config, TASKS)
    assert calls.initial + calls.inner + calls.outer == 34
    assert (calls.outer >= 12) is offered


class Systemless(Prolific):
    """Its optimizer writes no system prompt."""

    def optimizer(self, request: Request) -> str:
        answer = super().optimizer(request)
        return "None." if answer.startswith("<system_prompt>") else answer


def test_what_is_reserved_goes_to_inner_loops_before_a_run_ends_for_want_of_prompts() -> None:
    """Once they may take no more, the outer loop alone is left, which gets no system prompt."""
    loops = {"inner": {"candidates": 1, "keep": 1}, "outer": {"candidates": 1, "reserve": True}}
    config = make_config({**loops, "train_calls": CAP, "redraws": 0})
    result = runs_of(config, timing=1, width=3, world=Systemless(1)).session()
    assert result is not None
    assert result.train_calls > CAP - 12


class Unwilling(Prolific):
    """Its optimizer gives so many unusable answers first."""

    refusals = 10**9

    def optimizer(self, request: Request) -> str:
        type(self).refusals -= 1
        return "I would rather not." if type(self).refusals >= 0 else super().optimizer(request)


class Warned(Observer):
    """Keeps what it is warned of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def unwilling(refusals: int) -> tuple[Runs, list[str]]:
    """A run whose rounds of three candidates meet an unwilling optimizer, and what is told."""
    told, world = Warned(), type("For", (Unwilling,), {"refusals": refusals})(3)
    return Runs(config_of("metaspo", "outer"), TASKS, world, timing=1, width=4, observer=told), told.warnings


def test_rounds_without_a_usable_proposal_do_not_end_a_run_that_has_calls_left() -> None:
    runs, warnings = unwilling(3 * (BARREN - 1))
    result = runs.session()
    assert result is not None
    assert CAP - 2 * 12 < result.train_calls <= CAP
    assert not warnings


def test_a_run_that_gets_nothing_usable_any_more_ends_and_says_what_is_left() -> None:
    runs, warnings = unwilling(10**9)
    result = runs.session()
    assert result is not None
    assert sum(not is_base(request) for request in runs.answered) == 3 * BARREN
    assert result.train_calls == 12
    assert warnings == [
        f"{BARREN} iterations in a row brought no new prompt that could be used: the run ends with {CAP - 12} "
        f"of its {CAP} train calls left"
    ]


@pytest.mark.parametrize("name", whole_but_own([name for name, loop in ALL if loop == "outer"]))
def test_a_cap_holds_with_guards_and_leaves_every_candidate_of_a_search_room_for_them(name: str) -> None:
    """What a search spends on its way is what is left beside the rows of its candidates, the guards' among them."""
    guard = replace(make_task("guard", role="guard", train=9, test=0), tolerance=1.0)
    for cap in (60, 130):
        config = config_of(name, "outer", cap, early_rejection=False)
        runs = Runs(config, (*TASKS, guard), Tireless(5), timing=1, width=4)
        result = runs.session()
        assert result is not None
        assert sum(map(is_base, runs.answered)) == result.train_calls + len(TASKS[2].test) <= cap + len(TASKS[2].test)
