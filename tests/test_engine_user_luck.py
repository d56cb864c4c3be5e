"""A result says how much of what user prompts gained on train examples is the luck of having been chosen there."""

from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from engine_sessions import Runs
from rich.console import Console
from world import World, make_config, make_task

from metaspo.engine.optimize.result import RunResult, chosen_sentence
from metaspo.engine.tasks import Task
from metaspo.engine.tasks.metrics import build_metric
from metaspo.tables.runs import print_run_data

TASKS = (make_task("a", train=12), make_task("b", train=12))


def result_of(tasks: Sequence[Task] = TASKS, *, candidates: int = 3) -> RunResult:
    """Of a run that changes user prompts alone."""
    inner, outer = {"candidates": candidates, "keep": 1}, {"candidates": 0}
    runs = Runs(make_config({"inner": inner, "outer": outer}), tuple(tasks), World(5), timing=1, width=4)
    result = runs.session()
    assert result is not None
    return result


def test_it_is_told_where_a_user_prompt_was_chosen_and_is_none_where_all_stay() -> None:
    changed, as_it_was = result_of(), result_of(candidates=0)
    assert {task: kept[0] for task, kept in changed.user_prompts.items()} != changed.first_user_prompts
    assert changed.user_luck
    assert changed.user_luck > 0
    assert as_it_was.user_luck == 0
    assert chosen_sentence(as_it_was.as_json()) == ""


def test_of_a_score_that_is_no_mean_over_examples_nothing_is_told() -> None:
    f1 = build_metric("macro-f1", base_dir=Path())
    assert result_of([TASKS[0], replace(TASKS[1], metric=f1)]).user_luck is None


@pytest.mark.parametrize(
    ("luck", "words"),
    [
        (0.05, "50.0% → 60.0%, of which about 5.0 points are the luck of having been chosen there."),
        (0.12, "50.0% → 60.0%, no more than the luck of having been chosen there brings (about 12.0 points)."),
    ],
)
def test_it_is_printed_with_the_result_but_not_of_one_that_says_nothing_of_it(luck: float, words: str) -> None:
    result = {**result_of().as_json(), "train_before": 0.5, "train_after": 0.6, "user_luck": luck}
    older = {key: value for key, value in result.items() if key != "user_luck"}
    printed = []
    for said in (result, older, {**result, "train_after": 0.5}):
        out = StringIO()
        data = {"name": "x", "result": said, "summary": None, "directory": None, "status": "finished"}
        print_run_data(Console(file=out, width=1_000), data)
        printed.append(words in out.getvalue())
    assert printed == [True, False, False]
