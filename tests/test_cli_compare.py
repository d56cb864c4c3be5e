"""Comparisons from the command line against a real server: tables, files, going on, mistakes."""

import asyncio
import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer
from command_line import draw_nothing, here, task_table, write_project
from sizes import rest_is_slow
from world import World

from metaspo.engine import ConfigError, evaluate
from metaspo.engine.config.baselines import baseline_prompt
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.studies import GridConfig, ablation, prepare_grid
from metaspo.engine.studies.compare import Job
from metaspo.engine.studies.results import CellResult

WORLD = World(3, malformed=0.1)
METHODS = ["default", "cot", "metaspo", "outer-only"]
GRID = """
config = "run.toml"
seeds = [1, 2]
methods = ["default", "metaspo", "outer-only", "file:mine.txt"]

[[method]]
name = "narrow"
like = "metaspo"
set = { "outer.candidates" = 1 }
"""


def write_grid(folder: Path, url: str) -> None:
    """`run.toml`, `grid.toml` and a prompt of one's own."""
    write_project(folder, url, head="")
    (folder / "grid.toml").write_text(GRID, encoding="utf-8")
    (folder / "mine.txt").write_text("You are careful, brief, literal, patient, exact and curious.\n", encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with these; commands run there."""
    write_grid(tmp_path, server.url)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison that was run, which several laws look at."""

    folder: Path
    server: ChatServer
    data: Any  # what it printed


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compared]:
    folder = tmp_path_factory.mktemp("compared")
    with ChatServer(WORLD.answer) as server:
        write_grid(folder, server.url)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            draw_nothing(patch)
            data = here("compare", "grid.toml", "--quiet", "--json").data
        yield Compared(folder, server, data)


@pytest.fixture
def compared(finished: Compared, monkeypatch: pytest.MonkeyPatch) -> Compared:
    """That one; commands run in its folder."""
    monkeypatch.chdir(finished.folder)
    return finished


def with_train_examples_of_the_target(project: Path) -> None:
    text = (project / "run.toml").read_text(encoding="utf-8")
    head, _, target = text.partition('name = "unseen"\n')
    (project / "run.toml").write_text(
        f'{head}name = "unseen"\ntrain = "unseen.train.jsonl"\n{target}', encoding="utf-8"
    )


def scores(data: Any) -> dict[str, float | None]:  # noqa: ANN401 - whatever the command printed
    return {row["method"]: row["mean over tasks"] for row in data["tables"]["scores"]}


def test_cells_of_any_method_and_seed_share_the_rows_that_were_read(project: Path) -> None:
    config = GridConfig.model_validate({"name": "grid", "config": "run.toml", "seeds": [1, 2], "methods": METHODS})
    cells = prepare_grid(config, folder=project).cells
    tasks = [{task.name: task for task in cell.prepared.tasks} for cell in cells]
    assert len(tasks) == 2 * len(METHODS)
    for of_cell in tasks:
        for name in of_cell.keys() & tasks[0].keys():
            assert {id(one) for one in of_cell[name].test} == {id(one) for one in tasks[0][name].test}


def test_a_grid_is_run_and_told_in_tables_files_and_a_page(compared: Compared) -> None:
    ended = here("compare", "grid.toml", "--quiet")
    assert ended.code == 0
    assert "Against default, points" in ended.out
    folder = compared.folder / ".metaspo/studies/grid"
    names = {"tables.md", "scores.csv", "against.csv", "seeds.csv", "results.json", "report.html", "scores.png"}
    assert names <= {path.name for path in folder.iterdir()}
    assert (folder / "scores.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "scores.svg").stat().st_size > 1_000
    assert {path.stem for path in folder.glob("*.tex")} == {path.stem for path in folder.glob("*.csv")}
    with (folder / "scores.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["default", "metaspo", "outer-only", "file:mine.txt", "narrow"]
    assert "You are careful, brief, literal" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("on", [(), ("--on", "ray")])
def test_a_comparison_whose_pictures_cannot_be_drawn_asks_nothing(
    project: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch, on: tuple[str, ...]
) -> None:
    for name in [name for name in sys.modules if name.startswith("metaspo.engine.report")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("metaspo.engine.report", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ended = here("compare", "grid.toml", *on)
    (error,) = ended.errors
    assert ended.code == 2
    assert error.startswith("pictures and pages need 'matplotlib")
    assert server.calls == 0


@pytest.mark.usefixtures("undrawn")
def test_of_two_that_write_the_same_tables_the_second_asks_nothing(compared: Compared) -> None:
    """Each would find runs held by the other, and come to tables of the rest: the last ones to be written stayed."""
    written = compared.folder / ".metaspo/studies/grid/tables.md"
    before, calls = written.stat().st_mtime_ns, compared.server.calls
    with RunDirectory(written.parent).held():
        ended = here("compare", "grid.toml", "--quiet")
    assert (ended.code, len(ended.errors)) == (2, 1)
    assert "studies/grid: a command that writes its tables there is going on already" in ended.errors[0]
    assert (written.stat().st_mtime_ns, compared.server.calls) == (before, calls)


def test_where_tables_cannot_be_written_nothing_is_asked(project: Path, server: ChatServer) -> None:
    ended = here("compare", "grid.toml", "--quiet", "--out", "grid.toml/tables")
    told = "grid.toml/tables: cannot write there: Not a directory; name another folder with --out"
    assert (ended.code, ended.errors, server.calls) == (2, [told], 0)


def test_the_cells_that_need_the_fewest_calls_begin_first(project: Path, server: ChatServer) -> None:
    """Results keep the order of the grid."""
    text = 'config = "run.toml"\nparallel = 1\nmethods = ["metaspo", "default", "file:mine.txt"]\n'
    (project / "grid.toml").write_text(text, encoding="utf-8")
    ended = here("compare", "grid.toml", "--quiet", "--json").data
    assert [cell["method"] for cell in ended["cells"]] == ["metaspo", "default", "file:mine.txt"]
    first = [body for body, _ in zip(server.asked, range(16), strict=False)]
    assert not [body for body in first if "writer" in body]


def test_cells_ask_in_the_order_in_which_they_begin_and_what_they_move_with_them(
    project: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = 'config = "run.toml"\nmethods = ["metaspo", "outer-only", "default"]\n[[transfer]]\nmodel = "other"\n'
    (project / "grid.toml").write_text(f'{text}max_tokens = 64\nendpoints = ["{server.url}"]\n', encoding="utf-8")
    places: dict[str, list[int]] = {}

    async def noted(job: Job, *_: object, **__: object) -> CellResult:
        places[job.cell.method.name] = [names.turn for names in (job.names, *(names for _, names in job.moved))]
        raise ConfigError("seen")

    monkeypatch.setattr(sys.modules["metaspo.engine.studies.compare"], "_run", noted)
    here("compare", "grid.toml", "--quiet")
    assert places == {"default": [0, 0], "outer-only": [1, 1], "metaspo": [2, 2]}


def test_differences_task_by_task_are_those_of_the_scores(compared: Compared) -> None:
    tables = compared.data["tables"]
    scores = {row["task"]: row for row in tables["tasks"]}
    told = {(row["task"], row["method"]): row for row in tables["task-differences"]}
    methods = [name for name in next(iter(scores.values())) if name not in ("task", "default")]
    assert told.keys() == {(task, method) for task in scores for method in methods}
    for (task, method), row in told.items():
        assert row["difference"] == pytest.approx(scores[task][method] - scores[task]["default"], abs=0.02)
        assert row["from"] <= row["difference"] <= row["to"]


def test_a_fixed_prompt_has_the_score_that_evaluating_it_gives(compared: Compared) -> None:
    evaluated = [
        here("evaluate", "run.toml", "--system", "mine.txt", "--set", f"seed={seed}", "--json").data["scores"]
        for seed in (1, 2)
    ]
    targets = [row["score"] for rows in evaluated for row in rows if row["role"] == "target"]
    assert scores(compared.data)["file:mine.txt"] == pytest.approx(100 * sum(targets) / len(targets), abs=0.01)


@pytest.mark.usefixtures("undrawn")
def test_a_method_has_the_score_that_its_own_run_gives(compared: Compared) -> None:
    found = []
    for seed in (1, 2):
        (run,) = here("optimize", "run.toml", "--set", f"seed={seed}", "--json", "--quiet").data
        found += [row["score"] for row in run["result"]["tests"] if (row["role"], row["stage"]) == ("target", "after")]
    assert scores(compared.data)["metaspo"] == pytest.approx(100 * sum(found) / len(found), abs=0.01)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("metric", rest_is_slow(["macro-f1", "accuracy"]))
def test_a_run_and_a_comparison_say_the_same_of_the_same_answers(project: Path, metric: str) -> None:
    """Difference, intervals and p; with a question that stands twice in a test file, and tasks of unequal weight."""
    test = (project / "unseen.test.jsonl").read_text(encoding="utf-8").splitlines()
    (project / "unseen.test.jsonl").write_text("\n".join([*test, test[0], test[0]]) + "\n", encoding="utf-8")
    text = (project / "run.toml").read_text(encoding="utf-8").replace('"accuracy"', f'"{metric}"')
    more = task_table("unseen", role="target").replace('"unseen"', '"further"\nweight = 3').replace("unseen.", "b.")
    (project / "run.toml").write_text(text + more, encoding="utf-8")
    (project / "pair.toml").write_text('config = "run.toml"\nmethods = ["default", "metaspo"]\nseeds = [7]\n')
    (ran,) = here("optimize", "run.toml", "--quiet", "--json").data
    (gain,) = [gain for gain in ran["result"]["gains"] if gain["role"] == "target"]
    tables = here("compare", "pair.toml", "--quiet", "--json").data["tables"]
    (against,) = tables["against"]
    assert gain["tasks"] == len(tables["tasks"]) == 2
    assert against["difference"] == round(100 * (gain["after"] - gain["before"]), 2) != 0
    for head, name in (("95%, other examples", "interval"), ("95%, other tasks", "over_tasks")):
        assert against[head] == f"{100 * gain[name]['low']:+.1f} to {100 * gain[name]['high']:+.1f}"
    assert float(against["p"]) == float(f"{gain['p']:.2g}")
    before, after = (row["mean over tasks"] for row in tables["scores"])
    assert (before, after) == (round(100 * gain["before"], 2), round(100 * gain["after"], 2))


@pytest.mark.usefixtures("undrawn")
def test_run_again_it_asks_nothing_and_says_the_same(compared: Compared) -> None:
    asked = compared.server.answered.total()
    again = here("compare", "grid.toml", "--quiet", "--json").data["tables"]
    assert compared.server.answered.total() == asked
    assert again["scores"] == compared.data["tables"]["scores"]
    assert again["against"] == compared.data["tables"]["against"]


def test_target_tasks_without_train_examples_are_told_before_anything_is_asked(
    project: Path, server: ChatServer
) -> None:
    for command in ("generalize", "adapt"):
        ended = here(command, "run.toml", "--system", "mine.txt")
        assert ended.code == 2
        assert "target task 'unseen' has no train examples" in ended.errors[0]
    assert not server.answered


@pytest.mark.usefixtures("undrawn")
def test_a_prompt_is_generalized_and_adapted_beside_the_default_one(project: Path) -> None:
    text = (project / "run.toml").read_text(encoding="utf-8")
    with_train = text.replace('test = "unseen.test.jsonl"', 'train = "unseen.train.jsonl"\ntest = "unseen.test.jsonl"')
    (project / "run.toml").write_text(with_train, encoding="utf-8")
    data = here("generalize", "run.toml", "--system", "mine.txt", "--prompts", "3", "--quiet", "--json").data
    assert len(data["tables"]["generalize"]) == 2
    assert all(row["mean score"] is not None for row in data["tables"]["generalize"])
    data = here("adapt", "run.toml", "--system", "mine.txt", "--rounds", "1", "--quiet", "--json").data
    assert {row["method"].partition(":")[0] for row in data["tables"]["adapt"]} == {"default", "file"}


@pytest.mark.usefixtures("undrawn")
def test_a_prompt_is_transferred_to_another_model(project: Path) -> None:
    other = (project / "run.toml").read_text(encoding="utf-8").replace('model = "answerer"', 'model = "other"')
    (project / "other.toml").write_text(other, encoding="utf-8")
    data = here("transfer", "run.toml", "--system", "mine.txt", "--to", "other.toml", "--quiet", "--json").data
    assert all(row["other, 64 tokens"] is not None for row in data["tables"]["transfer"])


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("over", "methods"),
    rest_is_slow(
        [
            ("loops", ["metaspo", "no-inner-loop", "no-outer-loop"]),
            ("sources", ["2-source-tasks", "1-source-tasks"]),
            ("roles", ["separate-roles", "merged-roles"]),
            ("tasks", ["all-source-tasks", "without-a", "without-b"]),
        ]
    ),
)
def test_ablations_put_their_variants_side_by_side(project: Path, over: str, methods: list[str]) -> None:
    with_train_examples_of_the_target(project)
    data = here("ablate", "run.toml", "--over", over, "--quiet", "--json").data
    assert list(scores(data)) == methods
    assert ("source-tasks" in data["tables"]) == (over == "tasks")


@pytest.mark.usefixtures("undrawn")
def test_an_ablation_leaves_out_what_nothing_would_be_seen_of(project: Path) -> None:
    """It says so; nobody named that method."""
    ended = here("ablate", "run.toml", "--over", "loops", "--quiet", "--json")
    assert ended.code == 0
    assert list(scores(ended.data)) == ["metaspo", "no-inner-loop"]
    assert "note: run.toml: tasks: method 'no-outer-loop' writes user prompts only" in ended.err


@pytest.mark.usefixtures("undrawn")
def test_a_method_that_writes_user_prompts_only_is_scored_where_it_acts(project: Path, server: ChatServer) -> None:
    """With train examples of the target task it optimizes there; without any that is told before anything is asked."""
    (project / "user.toml").write_text(
        'config = "run.toml"\nseeds = [1]\nmethods = ["default", "inner-only"]\n', encoding="utf-8"
    )
    for options in ([], ["--plan"]):
        ended = here("compare", "user.toml", "--quiet", *options)
        assert ended.code == 2
        assert "'inner-only' writes user prompts only, and target task 'unseen' has no train examples" in ended.err
    assert server.calls == 0
    with_train_examples_of_the_target(project)
    data = here("compare", "user.toml", "--quiet", "--json").data
    (cell,) = [one for one in data["cells"] if one["method"] == "inner-only"]
    assert {(row["task"], row["role"]) for row in cell["tests"]} == {("unseen", "target")}
    assert list(cell["result"]["user_prompts"]) == ["unseen"]
    took = {row["method"]: row for row in data["tables"]["spent"]}
    assert took["inner-only"]["base calls a cell"] > took["default"]["base calls a cell"]
    assert took["inner-only"]["optimizer calls a cell"] > took["default"]["optimizer calls a cell"] == 0


def test_a_loop_less_means_twice_the_iterations() -> None:
    whole, without_inner, _ = ablation("loops", like="metaspo", sources=("a",))
    assert (whole.times, without_inner.times) == (1, 2)


def test_a_plan_asks_nothing(project: Path, server: ChatServer) -> None:
    ended = here("compare", "grid.toml", "--plan")
    assert ended.code == 0
    assert "grid.metaspo.seed1" in ended.out
    assert "at most, as if the cache were empty and every answer of the optimizer could be used" in ended.out
    assert not server.answered


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("command", [("compare", "grid.toml", "--plan"), ("plan", "run.toml", "run.toml")])
def test_plans_of_several_runs_are_added_up(project: Path, command: tuple[str, ...]) -> None:
    plans = here(*command, "--json").data
    calls = sum(lane["calls"] for plan in plans for lane in plan["lanes"].values())
    assert f"Together at most {calls:,} calls, unknown (give prices); what they have" in here(*command).out
    config = (project / "run.toml").read_text(encoding="utf-8")
    priced = config.replace('"]\n', '"]\nprices = {input = 100, output = 100}\n', 2)
    (project / "run.toml").write_text(priced, encoding="utf-8")
    dollars = sum(plan["dollars"] for plan in here(*command, "--json").data)
    assert f"calls, ~${dollars:,.2f}" in here(*command).out


@pytest.mark.usefixtures("undrawn")
def test_a_plan_names_the_caps_that_all_cells_together_may_come_to(project: Path) -> None:
    plans = here("compare", "grid.toml", "--plan", "--json").data
    calls = sum(lane["calls"] for plan in plans for lane in plan["lanes"].values())
    config = (project / "run.toml").read_text(encoding="utf-8")
    assert all(plan["caps"] == [] for plan in plans)
    for cap, names in ((calls, 0), (calls - 1, 1)):
        (project / "run.toml").write_text(f"{config}\n[budget]\ncalls = {cap}\n", encoding="utf-8")
        plans = here("compare", "grid.toml", "--plan", "--json").data
        assert [len(plan["caps"]) for plan in plans] == [names] * len(plans)
        assert here("compare", "grid.toml", "--plan").out.count(f"less than the {calls:,} calls") == names


@pytest.mark.slow
def test_a_run_has_a_page(project: Path) -> None:
    assert here("optimize", "run.toml", "--quiet").code == 0
    ended = here("report", "run", "--figures", "pictures")
    assert ended.code == 0
    (page,) = project.glob(".metaspo/runs/*/report.html")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (project / "pictures" / "score.svg").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('methods = ["default"]', "grid.toml: config: is missing"),
        ('config = "run.toml"\nmethods = ["defalt"]', "did you mean 'default'"),
        ('config = "run.toml"\nmethods = []', "needs methods"),
        ('config = "run.toml"\nmethods = ["default", "default"]', "is there twice"),
        ('config = "run.toml"\nmethods = ["default"]\nagainst = "cot"', "none of the methods"),
        ('config = "nowhere.toml"\nmethods = ["default"]', "no such file"),
        ('config = "run.toml"\nmethods = ["file:nowhere.txt"]', "nowhere.txt: no such file"),
        ('config = "run.toml"\nmethods = ["user:sprig"]', "does not look for user prompts"),
        ('config = "run.toml"\nmethodz = ["default"]', "did you mean 'method'"),
        ('config = "run.toml"\n[[method]]\nname = "x"\nlike = "metaspo"\nwithout = "q"', "no source task 'q'"),
        ('config = "run.toml"\nmethods = ["default", "file:usual.txt"]', "is the very prompt of 'default'"),
        ('config = "run.toml"\nmethods = ["default", "sprig", "system:sprig"]', "is the same run as 'sprig'"),
        (
            'config = "run.toml"\n[[method]]\nname = "x"\nlike = "metaspo"\nset = { iterations = 0 }',
            "writes no prompts",
        ),
        (
            'config = "run.toml"\n[[method]]\nname = "x"\nlike = "inner-only"\nset = { "inner.candidates" = 0 }',
            "writes no",
        ),
        ("config = ", "grid.toml: not valid TOML"),
        ('config = "run.toml"\nmethods = ["cot"]\ndomains = ["medcal"]', "grid.toml: domains: there is no domain"),
        ('config = "run.toml"\nmethods = ["metaspo"]\nequal_calls = 1', "run.toml: equal_calls = 1: the first prompts"),
    ],
)
def test_a_mistake_in_a_grid_is_one_line(project: Path, text: str, told: str) -> None:
    (project / "grid.toml").write_text(text, encoding="utf-8")
    (project / "usual.txt").write_text(baseline_prompt("default") + "\n", encoding="utf-8")
    ended = here("compare", "grid.toml")
    assert ended.code == 2
    assert len(ended.errors) == 1
    assert told in ended.errors[0]


@pytest.mark.usefixtures("undrawn")
def test_a_cell_that_cannot_go_on_is_named_and_the_others_finish(project: Path, server: ChatServer) -> None:
    capped = '[[method]]\nname = "capped"\nlike = "metaspo"\nset = { "budget.calls" = 5, "inner.failures" = 1 }\n'
    grid = f'config = "run.toml"\nseeds = [1]\nmethods = ["default", "metaspo"]\n{capped}'
    (project / "grid.toml").write_text(grid, encoding="utf-8")
    ended = here("compare", "grid.toml", "--quiet", "--json")
    assert ended.code == 3
    assert [line for line in ended.errors if "capped" in line]
    found = scores(ended.data)
    assert found["capped"] is None
    assert found["metaspo"] is not None


def with_target_examples(project: Path) -> None:
    """The target task of `run.toml` gets its train split, too."""
    text = (project / "run.toml").read_text(encoding="utf-8")
    with_train = text.replace('test = "unseen.test.jsonl"', 'train = "unseen.train.jsonl"\ntest = "unseen.test.jsonl"')
    (project / "run.toml").write_text(with_train, encoding="utf-8")


def plans(*command: str) -> dict[str, dict[str, int]]:
    """The planned calls of each run, by its name."""
    return {plan["name"]: plan["calls"] for plan in here(*command, "--plan", "--json").data}


@pytest.mark.usefixtures("undrawn")
def test_methods_whose_names_differ_by_signs_only_are_runs_of_their_own(project: Path) -> None:
    (project / "my prompt [1].txt").write_text("You are exact.\n", encoding="utf-8")
    methods = """
        [[method]]\nname = "x:y"\nlike = "metaspo"\nset = { "outer.candidates" = 1 }
        [[method]]\nname = "x-y"\nlike = "metaspo"\nset = { "outer.candidates" = 2 }
        [[method]]\nname = "x=y"\nlike = "metaspo"\nset = { "outer.candidates" = 4 }
    """
    grid = 'config = "run.toml"\nseeds = [1]\nmethods = ["default", "file:my prompt [1].txt"]\n' + methods
    (project / "grid.toml").write_text(grid, encoding="utf-8")
    assert len(plans("compare", "grid.toml")) == 5
    ended = here("compare", "grid.toml", "--quiet")
    assert (ended.code, ended.errors) == (0, [])
    assert "my prompt [1].txt" in ended.out


@pytest.mark.slow
def test_a_config_in_another_folder_under_a_name_with_spaces(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_target_examples(project)
    text = (project / "run.toml").read_text(encoding="utf-8")
    (project / "my run.toml").write_text(f'name = "run"\n{text}', encoding="utf-8")
    elsewhere = project / "else where"
    elsewhere.mkdir()
    (elsewhere / "my prompt.txt").write_text("You are exact.\n", encoding="utf-8")
    monkeypatch.chdir(elsewhere)
    for command in (
        ("generalize", "../my run.toml", "--system", "my prompt.txt", "--prompts", "1"),
        ("adapt", "../my run.toml", "--system", "my prompt.txt", "--rounds", "0"),
        ("transfer", "../my run.toml", "--system", "my prompt.txt", "--to", "../run.toml"),
        ("ablate", "../my run.toml", "--over", "roles"),
    ):
        ended = here(*command, "--quiet")
        assert (ended.code, ended.errors) == (0, [])
        assert (elsewhere / f".metaspo/studies/my-run-{command[0]}").exists() or command[0] == "ablate"


def test_a_seed_given_twice_is_one_line(project: Path) -> None:
    ended = here("transfer", "run.toml", "--system", "mine.txt", "--to", "run.toml", "--seed", "1", "--seed", "1")
    assert (ended.code, len(ended.errors)) == (2, 1)
    assert "a seed is there twice" in ended.errors[0]


def test_given_user_prompts_that_are_not_there_are_told_before_anything_is_asked(
    project: Path, server: ChatServer
) -> None:
    ended = here("generalize", "run.toml", "--system", "mine.txt", "--given", ".")
    assert (ended.code, len(ended.errors)) == (2, 1)
    assert "no user prompts for 'unseen'" in ended.errors[0]
    assert not server.answered


@pytest.mark.usefixtures("undrawn")
def test_a_plan_counts_what_is_done_with_the_prompts_exactly_where_nothing_is_left_to_chance(
    project: Path, server: ChatServer
) -> None:
    """3 test splits of 4 rows; 2 given user prompts on the target task's; another model on all 12 rows."""
    (project / "unseen.json").write_text('["{question} Even?", "Is it even: {question}"]', encoding="utf-8")
    grid = """
        config = "run.toml"\nseeds = [1]\nmethods = ["default"]
        [generalize]\nprompts = 2\ngiven = "."
        [[transfer]]\nmodel = "other"\nmax_tokens = 64
    """
    (project / "grid.toml").write_text(f'{grid}\nendpoints = ["{server.url}"]\n', encoding="utf-8")
    planned = [calls["test"] for calls in plans("compare", "grid.toml").values()]
    assert planned == [12 + 8, 12]
    spent = here("compare", "grid.toml", "--quiet", "--json").data["tables"]["spent"]
    assert server.answered.total() == sum(planned) == spent[0]["answers"] == spent[0]["of them asked now"]


@pytest.mark.usefixtures("undrawn")
def test_a_plan_is_an_upper_bound_of_inducing_and_adapting(project: Path, server: ChatServer) -> None:
    with_target_examples(project)
    grid = 'config = "run.toml"\nseeds = [1]\nmethods = ["default"]\n'
    more = "[generalize]\nprompts = 3\n[adapt]\nrounds = 1\nkeep = 2\nchildren = 2\nexamples = [3, 6]\n"
    (project / "grid.toml").write_text(grid + more, encoding="utf-8")
    (calls,) = plans("compare", "grid.toml").values()
    # 2 proposals from the first prompt and 4 from two kept ones; kept and so tested: the first, 2 and 2 more.
    stages = {"initial": 9, "inner": 6 * 9, "outer": 0, "test": 12 + 12 + 2 * 5 * 4, "optimizer": 3 + 2 * 6 * 2}
    assert calls == {**stages, "judge": 0}
    assert here("compare", "grid.toml", "--quiet").code == 0
    assert (
        0
        < server.answered.total()
        <= 2 * calls["optimizer"] + sum(calls[part] for part in ("initial", "inner", "test"))
    )


@pytest.mark.slow
def test_user_prompts_are_adapted_by_the_configs_strategy_whatever_the_method(project: Path) -> None:
    """A method whose inner loop searches is adapted to like the others."""
    with_target_examples(project)
    grid = 'config = "run.toml"\nseeds = [1]\nmethods = ["default", "opro"]\n[adapt]\nrounds = 0\n'
    (project / "grid.toml").write_text(grid, encoding="utf-8")
    ended = here("compare", "grid.toml", "--quiet", "--json")
    assert ended.code == 0
    assert [row["method"] for row in ended.data["tables"]["adapt"]] == ["default", "opro"]


@pytest.mark.slow
def test_a_plan_is_an_upper_bound_of_adapting_by_a_search(project: Path, server: ChatServer) -> None:
    with_target_examples(project)
    text = (project / "run.toml").read_text(encoding="utf-8")
    search = '[inner]\nstrategy = "opro"\noptions = { steps = 2, samples = 2 }'
    (project / "run.toml").write_text(text.replace("[inner]", search), encoding="utf-8")
    grid = 'config = "run.toml"\nseeds = [1]\nmethods = ["default"]\n[adapt]\nrounds = 1\nkeep = 2\nchildren = 2\n'
    (project / "grid.toml").write_text(grid, encoding="utf-8")
    (calls,) = plans("compare", "grid.toml").values()
    assert here("compare", "grid.toml", "--quiet").code == 0
    assert 0 < server.answered.total() <= sum(calls[part] for part in ("initial", "inner", "test", "optimizer"))


def test_adapting_by_a_search_that_asks_wants_an_optimizer_before_anything_is_asked(
    project: Path, server: ChatServer
) -> None:
    with_target_examples(project)
    models, _, loops = (project / "run.toml").read_text(encoding="utf-8").partition("[inner]")
    models = models.partition("[optimizer]")[0]
    (project / "run.toml").write_text(f'{models}[inner]\nstrategy = "opro"\n{loops}', encoding="utf-8")
    ended = here("adapt", "run.toml", "--system", "mine.txt")
    assert ended.code == 2
    assert "adapting by the inner strategy 'opro' asks one" in ended.errors[0]
    assert not server.answered


@pytest.mark.usefixtures("undrawn")
def test_with_equal_calls_every_method_that_searches_makes_them_and_no_more(project: Path) -> None:
    """But for what no further prompt fits in; a fixed prompt searches nothing. Where they are too few, it is told."""
    data = here("compare", "grid.toml", "--equal-calls", "60", "--quiet", "--json").data
    calls = {(cell["method"], cell["seed"]): cell["result"]["train_calls"] for cell in data["cells"] if cell["result"]}
    assert {method for method, _ in calls} == {"metaspo", "outer-only", "narrow"}
    assert all(40 < made <= 60 for made in calls.values())
    few = here("compare", "grid.toml", "--equal-calls", "1")
    assert few.code == 2
    assert "equal_calls = 1: the first prompts alone take" in few.errors[0]


@pytest.mark.usefixtures("undrawn")
def test_budgets_that_differ_by_more_than_a_tenth_are_called_unequal(compared: Compared) -> None:
    """Of what is printed beside each score: train calls, base calls, optimizer calls; of methods that search."""
    tell_unequal_budgets(here("compare", "grid.toml", "--quiet", "--json").data, compared.folder)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_budgets_of_equal_calls_are_held_and_told_by_the_same_measure(project: Path) -> None:
    took = tell_unequal_budgets(here("compare", "grid.toml", "--equal-calls", "90", "--quiet", "--json").data, project)
    assert max(took) <= 90


def tell_unequal_budgets(data: Any, folder: Path) -> list[int]:  # noqa: ANN401 - whatever the command printed
    """What is said is what is so; returns the train calls of each method that searches."""
    rows = {row["method"]: row for row in data["tables"]["spent"]}
    assert all(rows.pop(fixed)["train calls a cell"] == 0 for fixed in ("default", "file:mine.txt"))
    written = (folder / ".metaspo/studies/grid/tables.md").read_text(encoding="utf-8")
    for what in ("train calls", "base calls", "optimizer calls"):
        took = {method: row[f"{what} a cell"] for method, row in rows.items()}
        least, most = min(took.values()), max(took.values())
        ends = product(*([method for method in took if took[method] == end] for end in (least, most)))  # any of several
        said = any(f"{what} go from {least:,} ({low}) to {most:,} ({high})" in written for low, high in ends)
        assert said == (most > 1.1 * least)
    return [row["train calls a cell"] for row in rows.values()]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("method", rest_is_slow(["metaspo", "gepa", "textgrad"]))
def test_the_calls_of_a_method_are_those_that_it_makes_with_an_empty_cache(
    project: Path, server: ChatServer, method: str
) -> None:
    """What it looks at twice counts once; the cache has all of it the second time, and the figures are the same.

    Without early rejection: what is out as a candidate is dropped is broken off, and how much that is hangs on timing.
    """
    run = (project / "run.toml").read_text(encoding="utf-8")
    (project / "run.toml").write_text(f"early_rejection = false\n{run}", encoding="utf-8")
    text = f'config = "run.toml"\nmethods = ["{method}"]\nequal_calls = 60\n'
    (project / "grid.toml").write_text(text, encoding="utf-8")
    first, again = (here("compare", "grid.toml", "--quiet", "--json").data["tables"]["spent"][0] for _ in range(2))
    models = [json.loads(body)["model"] for body in server.asked.elements()]
    for row in (first, again):
        assert row["base calls a cell"] == models.count("answerer")
        assert row["optimizer calls a cell"] == models.count("writer")


@pytest.mark.slow
def test_with_equal_calls_scores_are_those_of_as_many_base_calls_on_train_splits(project: Path) -> None:
    """Exactly these are made without early rejection; with it some are spared, and the same is found."""
    scored, made = [], []
    for rejection in ("true", "false"):
        text = (project / "run.toml").read_text(encoding="utf-8")
        (project / "run.toml").write_text(f"early_rejection = {rejection}\n{text}", encoding="utf-8")
        data = here("compare", "grid.toml", "--equal-calls", "60", "--quiet", "--json").data
        (project / "run.toml").write_text(text, encoding="utf-8")
        scored.append(scores(data))
        searched = [cell["result"] and cell for cell in data["cells"] if cell["result"]]
        made.append([cell["answers"] - cell["optimizer_answers"] for cell in searched])
        tested = [
            len({(test["system"], test["user"], test["task"]) for test in cell["result"]["tests"]}) for cell in searched
        ]
        trained = [cell["result"]["train_calls"] for cell in searched]
    assert scored[0] == scored[1]
    assert made[1] == [train + 4 * tests for train, tests in zip(trained, tested, strict=True)]
    assert all(spared <= whole for spared, whole in zip(*made, strict=True))
    said = (project / ".metaspo/studies/grid/tables.md").read_text(encoding="utf-8")
    assert "Each method that searches had 60 train calls to work with." in said


@pytest.mark.usefixtures("undrawn")
def test_overlap_and_repeated_questions_are_told_by_every_command_and_by_the_api(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = (project / "a.train.jsonl").read_text(encoding="utf-8").splitlines()
    test = (project / "a.test.jsonl").read_text(encoding="utf-8").splitlines()
    (project / "a.test.jsonl").write_text("\n".join([*test, test[0], train[0]]) + "\n", encoding="utf-8")
    (project / "one.toml").write_text('config = "run.toml"\nmethods = ["default"]\nseeds = [1, 2]\n', encoding="utf-8")
    said = ("task a: 1 test question stands there before", "task a: 1 test question is a train question too")
    for command in (
        ("plan", "run.toml"),
        ("optimize", "run.toml", "--quiet"),
        ("evaluate", "run.toml"),
        ("compare", "one.toml", "--plan"),
        ("compare", "one.toml", "--quiet"),
    ):
        err = here(*command).err + caplog.text
        assert all(err.count(sentence) == 1 for sentence in said), command
        caplog.clear()
    for planned in (("plan", "run.toml"), ("compare", "one.toml", "--plan")):
        for plan in here(*planned, "--json").data:
            about = {(notice["task"], notice["kind"]): notice for notice in plan["notices"]}
            assert {key: about[key]["count"] for key in about} == {("a", "repeated"): 1, ("a", "in-both-splits"): 1}
            assert all(any(sentence in f"task a: {note['message']}" for note in about.values()) for sentence in said)
    caplog.clear()
    asyncio.run(evaluate(project / "run.toml"))
    assert all(sentence in caplog.text for sentence in said)


@pytest.mark.slow
def test_what_a_cell_would_have_cost_with_an_empty_cache_does_not_hang_on_what_other_cells_asked(project: Path) -> None:
    """Side by side they share calls that are under way; again, they take everything from the cache."""
    text = (project / "run.toml").read_text(encoding="utf-8")
    priced = text.replace("max_tokens = 64\n", "max_tokens = 64\nprices = {input = 1000, output = 1000}\n")
    (project / "run.toml").write_text(priced, encoding="utf-8")
    grid = 'config = "run.toml"\nseeds = [1]\nmethods = ["default", "metaspo", "outer-only", "system:ape"]\n'
    (project / "grid.toml").write_text(grid, encoding="utf-8")
    first, again = (here("compare", "grid.toml", "--quiet", "--json").data["tables"]["spent"] for _ in range(2))
    worth = "dollars, cache empty a cell"
    assert [row["of them asked now"] for row in again] == [0] * 4
    assert any(row["of them asked now"] < row["answers"] for row in first)
    assert [row[worth] for row in first] == [row[worth] for row in again]
