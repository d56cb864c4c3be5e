"""A session's summary: one record, that files of any version are read into."""

from dataclasses import fields, replace
from pathlib import Path

import orjson
import pytest
from test_engine_promises import Server
from world import make_config, make_task

from metaspo import optimize
from metaspo.engine import Prepared, RunReport, TestScore, report_data
from metaspo.engine.evaluation.test_score import SCORE_COLUMNS, ScoreRow
from metaspo.engine.report.run_page import load_result
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.summary import RunSummary

# What the files held before they said a version: programs may read it.
SUMMARY = {"all_sessions", "barriers", "finished", "gains", "optimism", "optimism_estimate", "proposals", "scores"} | {
    "seconds",
    "stopped",
    "usage",
}
SCORES = {"examples", "failed", "interval", "malformed", "metric", "prompt", "role", "score", "stage", "task"}
GAINS = {"after", "after_interval", "before", "before_interval", "gain", "interval", "over_tasks"} | {
    "role",
    "tasks",
    "verdict",
}
OLD_SESSIONS = {"sessions": 2, "calls": 3, "prompt_tokens": 4, "completion_tokens": 5, "dollars": 0.5, "seconds": 6.0}


async def finished(folder: Path) -> RunReport:
    tasks = (make_task("a", train=20), make_task("u", role="target", test=30))
    async with Server().gateway() as gateway:
        return await optimize(
            Prepared(config=make_config({"runs": "runs"}), tasks=tasks, folder=folder), gateway=gateway
        )


async def test_the_summary_on_file_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    report = await finished(tmp_path)
    assert report.directory is not None
    run = RunDirectory(report.directory)
    on_file = orjson.loads(run.summary.read_bytes())
    summary = RunSummary.read(on_file)
    assert orjson.loads(orjson.dumps(summary.as_json())) == on_file
    assert replace(summary, seconds=0.0) == replace(RunSummary.read(report_data(report)["summary"]), seconds=0.0)
    assert summary.scores == tuple(test.row for test in report.result.tests)
    assert load_result(run) == report.result


async def test_files_say_their_version_and_hold_what_they_always_held(tmp_path: Path) -> None:
    report = await finished(tmp_path)
    assert report.directory is not None
    run = RunDirectory(report.directory)
    result, summary = (orjson.loads(path.read_bytes()) for path in (run.result, run.summary))
    assert result["version"] == summary["version"] == 1
    assert set(summary) >= SUMMARY
    assert all(set(row) >= SCORES for row in summary["scores"])
    assert all(set(gain) >= GAINS for gain in summary["gains"])
    assert set(summary["barriers"]) == {"each", "idle", "share"}
    assert all(set(wait) == {"address", "idle", "seconds", "waited"} for wait in summary["barriers"]["each"])
    assert set(summary["all_sessions"]) >= set(OLD_SESSIONS)
    assert set(summary["proposals"]) == {
        "asked",
        "last_reason",
        "last_unfit",
        "made",
        "refused",
        "sentence",
        "unfit",
        "unusable",
        "warning",
    }


def test_a_summary_of_an_earlier_version_lacks_what_came_later() -> None:
    use = {"calls": 3, "hits": 1, "dollars": 0.5}
    old = {"finished": False, "stopped": "budget", "usage": {"name": "r", "lanes": {"base": use}, "total": use}}
    summary = RunSummary.read({**old, "all_sessions": OLD_SESSIONS, "dropped_since": 1})
    assert (summary.version, summary.stopped, summary.usage.lanes["base"].calls) == (0, "budget", 3)
    assert (summary.all_sessions.sessions, summary.scores, summary.barriers.each) == (2, (), ())


def test_a_summary_that_cannot_be_read_says_where() -> None:
    with pytest.raises(ValueError, match=r"^usage\.lanes\.base\.calls: Input should be a valid integer"):
        RunSummary.read({"usage": {"lanes": {"base": {"calls": "many"}}}})


def test_every_score_has_what_tables_of_scores_show() -> None:
    row = ScoreRow(task="t", role="source", metric="accuracy", stage="after", prompt=0, score=None)
    assert all(isinstance(text(row), str) for text in SCORE_COLUMNS.values())
    assert {field.name for field in fields(ScoreRow)} < {field.name for field in fields(TestScore)}
