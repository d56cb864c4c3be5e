"""What a run says of the luck in its train score: the same in every timing, and with early rejection or without."""

from dataclasses import replace
from pathlib import Path

import pytest
from engine_sessions import Runs
from test_engine_promises import Server
from test_engine_scoring import RIGHT, WRONG, card
from world import World, make_config, make_task

from metaspo import optimize
from metaspo.engine import Prepared, RunResult, report_data
from metaspo.engine.selection.optimism import estimate_of, grades_of, optimism_bound
from metaspo.engine.statistics import at_most

TASKS = (make_task("a", train=24), make_task("b", train=12, weight=2.0))


def result_of(*, early: bool = True, timing: int = 1, width: int = 8) -> RunResult:
    config = make_config({"outer": {"candidates": 9}, "early_rejection": early})
    result = Runs(config, TASKS, World(4), timing=timing, width=width).session()
    assert result is not None
    return result


@pytest.mark.slow
def test_the_luck_in_a_result_depends_on_no_timing_and_on_no_early_rejection() -> None:
    first = result_of()
    assert first.optimism is not None
    assert first.optimism.luck > 0
    assert first.optimism.candidates == 9
    others = [
        result_of(timing=timing, width=width, early=early) for timing, width, early in [(7, 2, True), (3, 40, False)]
    ]
    assert others == [first, first]


def test_a_run_that_keeps_its_first_system_prompt_owes_it_to_no_luck() -> None:
    runs = Runs(make_config({"outer": {"candidates": 0}}), TASKS, World(4), timing=1, width=8)
    result = runs.session()
    assert result is not None
    assert result.optimism is None


def test_an_examples_grade_is_the_mean_over_the_tasks_prompts() -> None:
    assert grades_of([card(RIGHT, WRONG), card(RIGHT, RIGHT)]) == {"a": [1.0, 0.5]}


def test_the_bound_weighs_a_task_by_its_prompts() -> None:
    new, old = [card(RIGHT, RIGHT, WRONG), card(RIGHT, WRONG, WRONG)], [card(WRONG, RIGHT, WRONG)] * 2
    expected = at_most(grades_of(new), grades_of(old), candidates=3, score=1.0, weights={"a": 2.0})
    assert optimism_bound(new, old, candidates=3, score=1.0) == expected


def test_tasks_count_in_the_bound_by_their_weights_and_prompts() -> None:
    """Two prompts of one task, and one of another that counts three times as much."""
    rows = [[RIGHT, RIGHT, WRONG], [RIGHT, WRONG, WRONG], [WRONG, RIGHT], [WRONG, RIGHT, WRONG], [RIGHT, WRONG]]
    best, good, other, first, beside = (card(*outcomes * 20) for outcomes in rows)
    new = [best, good, replace(other, task="b", weight=3.0)]
    old = [first, first, replace(beside, task="b", weight=3.0)]
    expected = at_most(grades_of(new), grades_of(old), candidates=3, score=1.0, weights={"a": 2.0, "b": 3.0})
    assert optimism_bound(new, old, candidates=3, score=1.0) == expected
    plain = at_most(grades_of(new), grades_of(old), candidates=3, score=1.0)
    assert plain.luck != pytest.approx(expected.luck)


def test_candidates_that_were_dropped_are_counted_but_not_guessed() -> None:
    old = [card(*[WRONG, RIGHT] * 10)]
    scored = [[card(*[RIGHT, RIGHT] * 10)], None, [card(*[WRONG, WRONG] * 10)]]
    found = estimate_of(scored, old, seed=1)
    assert found is not None
    assert (found.candidates, found.complete, found.score) == (3, 2, 1.0)


@pytest.mark.parametrize("early", [True, False])
async def test_the_summary_says_both_figures_of_luck(tmp_path: Path, early: bool) -> None:
    config = make_config({"runs": "runs", "early_rejection": early, "outer": {"candidates": 9}})
    async with Server().gateway() as gateway:
        report = await optimize(Prepared(config=config, tasks=TASKS, folder=tmp_path), gateway=gateway)
    summary = report_data(report)["summary"]
    assert "at most" in summary["optimism"]
    assert "best of 9" in summary["optimism_estimate"]
    assert ("scored to the end" in summary["optimism_estimate"]) is early
