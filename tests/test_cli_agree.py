"""`optimize` and `compare` say the same of the same answers, and the tables of a page the same as each other.

The data are as unkind as they come: lines that stand twice in the test files, weights, macro-F1 beside accuracy.
"""

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from chat_server import ChatServer
from command_line import here, task_table, write_data, write_project
from sizes import rest_is_slow
from world import World

from metaspo.engine.studies.table_formats import Table, as_csv, markdown, shown

pytestmark = pytest.mark.usefixtures("undrawn")
WORLD = World(5)
WEIGHTS = {"unseen": 3, "far": 1}


@pytest.fixture
def project(tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `run.toml`, two source tasks and two target ones; commands run there."""
    write_project(tmp_path, server.url)
    write_data(tmp_path, "far", train=6, test=9)
    text = (
        (tmp_path / "run.toml")
        .read_text(encoding="utf-8")
        .replace('name = "unseen"\n', 'name = "unseen"\nweight = 3\n')
    )
    far = task_table("far", role="target").replace('metric = "accuracy"', 'metric = "macro-f1"')
    (tmp_path / "run.toml").write_text(f"{text}\n{far}", encoding="utf-8")
    for name in ("unseen", "far", "a"):
        path = tmp_path / f"{name}.test.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join([*lines, *lines[:2], lines[0]]) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compared(project: Path, *seeds: int) -> dict[str, Any]:
    grid = f'config = "run.toml"\nmethods = ["default", "metaspo", "outer-only"]\nseeds = {list(seeds)}\n'
    (project / "grid.toml").write_text(grid, encoding="utf-8")
    tables: dict[str, Any] = here("compare", "grid.toml", "--quiet", "--json").data["tables"]
    return tables


def by_method(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["method"]: row for row in rows}


@pytest.mark.slow
def test_one_run_and_a_comparison_say_the_same_of_it(project: Path) -> None:
    tables = compared(project, 7)
    (run,) = here("optimize", "run.toml", "--quiet", "--json").data
    (gain,) = [gain for gain in run["summary"]["gains"] if gain["role"] == "target"]
    scores, against = by_method(tables["scores"]), by_method(tables["against"])["metaspo"]
    assert scores["default"]["mean over tasks"] == pytest.approx(100 * gain["before"], abs=0.006)
    assert scores["metaspo"]["mean over tasks"] == pytest.approx(100 * gain["after"], abs=0.006)
    assert against["difference"] == pytest.approx(100 * gain["gain"], abs=0.006)
    low, high = (100 * gain["interval"][end] for end in ("low", "high"))
    assert against["95%, other examples"] == f"{low:+.1f} to {high:+.1f}"
    tasks = {row["task"]: row["metaspo"] for row in tables["tasks"]}
    tested = [
        row for row in run["result"]["tests"] if (row["role"], row["stage"], row["prompt"]) == ("target", "after", 0)
    ]
    assert tasks == {row["task"]: pytest.approx(100 * row["score"], abs=0.006) for row in tested}


@pytest.mark.slow
def test_an_evaluation_says_the_same_of_a_fixed_prompt(project: Path) -> None:
    tables = compared(project, 7)
    evaluated = {row["task"]: row["score"] for row in here("evaluate", "run.toml", "--json").data["scores"]}
    assert {row["task"]: row["default"] for row in tables["tasks"]} == {
        task: pytest.approx(100 * evaluated[task], abs=0.006) for task in WEIGHTS
    }


@pytest.mark.parametrize("seeds", [(7,), pytest.param((7, 8, 9), marks=pytest.mark.slow)])
def test_the_tables_of_a_page_agree(project: Path, seeds: tuple[int, ...]) -> None:
    tables = compared(project, *seeds)
    scores = {method: row["mean over tasks"] for method, row in by_method(tables["scores"]).items()}
    for method, row in by_method(tables["against"]).items():
        assert row["difference"] == pytest.approx(scores[method] - scores["default"], abs=0.011)
    for method, row in by_method(tables.get("seeds", [])).items():
        assert row["mean"] == scores[method]
        assert fmean(row[f"seed {seed}"] for seed in seeds) == pytest.approx(scores[method], abs=0.011)
    for method, score in scores.items():
        of_tasks = {row["task"]: row[method] for row in tables["tasks"]}
        mean = sum(WEIGHTS[task] * of_tasks[task] for task in WEIGHTS) / sum(WEIGHTS.values())
        assert mean == pytest.approx(score, abs=0.011)
    for method, row in by_method(tables["spent"]).items():
        assert row["mean over tasks"] == scores[method]


@pytest.mark.slow
def test_dollars_that_differ_are_told_where_everything_has_a_price(project: Path) -> None:
    compared(project, 7)
    assert "dollars go from" not in here("compare", "grid.toml", "--quiet").out
    text = (project / "run.toml").read_text(encoding="utf-8")
    priced = text.replace("max_tokens = 64\n", "max_tokens = 64\nprices = { input = 1.0, output = 2.0 }\n")
    half = priced.replace("prices = { input = 1.0, output = 2.0 }\n", "", 1)
    (project / "run.toml").write_text(half, encoding="utf-8")
    assert "dollars go from" not in here("compare", "grid.toml", "--quiet").out
    (project / "run.toml").write_text(priced, encoding="utf-8")
    spent = by_method(compared(project, 7)["spent"])
    dearest = max(("metaspo", "outer-only"), key=lambda method: spent[method]["train calls a cell"])
    out = " ".join(here("compare", "grid.toml", "--quiet").out.split())
    assert "dollars go from 0.0" in out
    assert f"({dearest})." in out


def test_a_figure_is_rounded_once() -> None:
    """A score of 59.449% is 59.4, as a run says; by way of 59.45 it would be 59.5. Nothing is "-0.0"."""
    table = Table(name="t", title="", columns=("m", "s"), rows=(("a", 59.449), ("b", -0.001)))
    assert [shown(value) for _, value in table.rows] == ["59.4", "0.0"]
    assert as_csv(table) == "m,s\na,59.45\nb,0.0\n"
    assert [str(row["s"]) for row in table.records()] == ["59.45", "0.0"]
    assert "| 59.4 |" in markdown(table)


@pytest.mark.parametrize("seed", rest_is_slow([1, 2, 3]))
def test_people_read_the_same_score_from_a_run_and_from_a_comparison(project: Path, seed: int) -> None:
    config = (project / "run.toml").read_text(encoding="utf-8").replace("seed = 7", f"seed = {seed}")
    (project / "run.toml").write_text(config, encoding="utf-8")
    (run,) = here("optimize", "run.toml", "--quiet", "--json").data
    (gain,) = [gain for gain in run["summary"]["gains"] if gain["role"] == "target"]
    compared(project, seed)
    lines = (project / ".metaspo/studies/grid/tables.md").read_text(encoding="utf-8").splitlines()
    (row,) = [line.split(" | ") for line in lines if line.startswith("| metaspo | ")][:1]
    assert row[1] == f"{100 * gain['after']:.1f}"
