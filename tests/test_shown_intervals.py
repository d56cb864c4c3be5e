"""What tables say of how sure scores are; runs kept before scores had intervals are shown all the same."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from test_engine_promises import Server
from world import make_config, make_task

from metaspo import evaluate, optimize
from metaspo.engine import Prepared, TestScore, report_data
from metaspo.engine.evaluation.scorecard import Outcome, Scorecard, Status
from metaspo.engine.prompts import PromptPair
from metaspo.engine.statistics import score_interval
from metaspo.engine.tasks import Example
from metaspo.tables.runs import print_run_data
from metaspo.tables.scores import print_evaluation

TASKS = (make_task("a", train=20), make_task("u", role="target", test=30), make_task("v", role="target", test=30))


def shown(data: dict[str, Any]) -> str:
    out = io.StringIO()
    print_run_data(Console(file=out, width=160), data)
    return out.getvalue()


async def run(folder: Path) -> dict[str, Any]:
    config = make_config({"runs": "runs", "outer": {"candidates": 9}})
    async with Server().gateway() as gateway:
        return report_data(await optimize(Prepared(config=config, tasks=TASKS, folder=folder), gateway=gateway))


async def test_a_run_is_shown_with_its_intervals_and_its_luck(tmp_path: Path) -> None:
    data = await run(tmp_path)
    text = shown(data)
    for row in data["summary"]["scores"]:
        if row["prompt"] == 0:
            low, high = (100 * row["interval"][end] for end in ("low", "high"))
            assert f"{row['score']:.1%} ({low:.0f}–{high:.0f})" in text
    (over_tasks,) = (gain["over_tasks"] for gain in data["summary"]["gains"] if gain["role"] == "target")
    assert f"With other tasks of this kind, not only other examples: {100 * over_tasks['low']:+.1f}" in text
    assert data["summary"]["optimism"] in " ".join(text.split())


async def test_of_other_tasks_nothing_is_said_where_the_interval_leaves_all_open(tmp_path: Path) -> None:
    data = await run(tmp_path)
    for gain in data["summary"]["gains"]:
        gain["over_tasks"] = {"low": -0.3, "high": 1.0}
    text = shown(data)
    assert "Of other tasks of this kind, not only other examples, 2 tasks tell next to nothing." in text
    assert "-30.0 to +100.0" not in text


@pytest.mark.parametrize("tasks", [1, 2])
async def test_one_unseen_task_is_told_to_be_too_few(tmp_path: Path, tasks: int) -> None:
    data = await run(tmp_path)
    for gain in data["summary"]["gains"]:
        gain["tasks"] = tasks
    said = " ".join(shown(data).split())
    assert said.count("One unseen task says nothing of other tasks") == (tasks == 1)


async def test_a_run_from_before_there_were_intervals_is_shown_without(tmp_path: Path) -> None:
    data = await run(tmp_path)
    summary = data["summary"]
    for row in summary["scores"]:
        del row["interval"]
    for gain in summary["gains"]:
        del gain["over_tasks"]
    del summary["optimism"], summary["optimism_estimate"], data["result"]["optimism"]
    text = shown(data)
    assert f"{summary['scores'][0]['score']:.1%}" in text
    assert "other tasks of this kind" not in text


async def test_an_evaluation_is_shown_with_intervals(tmp_path: Path) -> None:
    async with Server().gateway() as gateway:
        report = await evaluate(Prepared(config=make_config(), tasks=TASKS, folder=tmp_path), gateway=gateway)
    out = io.StringIO()
    print_evaluation(Console(file=out, width=160), report)
    for row in report.scores:
        assert row.interval == score_interval([grade for grade in row.grades if grade is not None])
        assert f"({100 * row.interval.low:.0f}–{100 * row.interval.high:.0f})" in out.getvalue()


@pytest.mark.parametrize("metric", ["macro-f1", "accuracy"])
def test_a_scores_interval_is_that_of_its_metric(metric: str) -> None:
    said = ["yes", "no", "yes", None, "yes", "no"]
    outcomes = [
        Outcome(
            example=Example(f"q{place}", ("yes",) if place < 4 else ("no",)),
            status=Status.SCORED if text else Status.MALFORMED,
            prediction=text,
            grade=float(text == ("yes" if place < 4 else "no")),
        )
        for place, text in enumerate(said)
    ]
    failed = Outcome(example=Example("q", ("yes",)), status=Status.FAILED)
    card = Scorecard(task="t", pair=PromptPair("s", "{question}"), outcomes=(*outcomes, failed), score=0.5)
    labels = [(outcome.example.answers[0], outcome.prediction) for outcome in outcomes]
    expected = score_interval(labels if metric == "macro-f1" else [outcome.grade or 0.0 for outcome in outcomes])
    assert TestScore.of(card, role="target", metric=metric, stage="given").interval == expected
    nothing = Scorecard(task="t", pair=card.pair, outcomes=(failed,), score=None)
    assert TestScore.of(nothing, role="target", metric=metric, stage="given").interval is None
