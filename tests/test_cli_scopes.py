"""What a prompt is learned on, and who writes it: one prompt for all domains, fewer source tasks, other optimizers."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from chat_server import ChatServer
from command_line import here, task_table, write_data, write_project
from world import World, make_task

from metaspo.backends import Request
from metaspo.engine import ConfigError
from metaspo.engine.domains import domains
from metaspo.engine.studies import method

SCOPES = ("medical", "safety")
MEDICAL = {task.name for task in domains()["medical"].tasks}


class Examined(World):
    """Its base model answers in a tag, medical questions by letters."""

    def base(self, request: Request) -> str:
        said = super().base(request)
        if any(f"{name} t" in request.messages[-1].content for name in MEDICAL):
            said = {"yes": "A", "no": "B"}.get(said, said)
        return f"<answer>{said}</answer>"


WORLD = Examined(3)
GRID = 'config = "run.toml"\nmethods = ["default", "metaspo", "global:metaspo"]\ndomains = {domains}\nseeds = {seeds}\n'


@pytest.fixture
def project(tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `run.toml`, two source tasks and a target one; commands run there."""
    write_project(tmp_path, server.url)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("METASPO_DATA", raising=False)
    return tmp_path


@pytest.fixture
def scopes(project: Path) -> Path:
    """The same with two domains of the paper in place of its tasks."""
    for domain in SCOPES:
        answers = ("yes", "no") if domain == "safety" else ("A", "B")
        for task in domains()[domain].tasks:
            for split, size in (("train", 4), ("test", 3)):
                path = project / "data" / task.file(split)
                path.parent.mkdir(parents=True, exist_ok=True)
                rows = [{"question": f"{task.name} {split} number {n}", "answer": answers[n % 2]} for n in range(size)]
                path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    text = (project / "run.toml").read_text(encoding="utf-8")
    head, _, _ = text.partition("[[tasks]]")
    (project / "run.toml").write_text(f'domain = "medical"\ndata = "data"\n{head}', encoding="utf-8")
    (project / "grid.toml").write_text(GRID.format(domains=list(SCOPES), seeds="[1]"), encoding="utf-8")
    return project


def with_more_source_tasks(project: Path, *names: str) -> None:
    for name in names:
        write_data(project, name, train=4, test=2)
    with (project / "run.toml").open("a", encoding="utf-8") as file:
        file.write("\n" + "\n".join(map(task_table, names)))


@pytest.mark.slow
def test_a_prompt_for_all_domains_stands_beside_one_for_each_in_one_study(scopes: Path) -> None:
    data = here("compare", "grid.toml", "--quiet", "--json").data
    assert [row["method"] for row in data["tables"]["scores"]] == ["default", "metaspo", "global:metaspo"]
    assert {"medical", "safety", "mean over tasks"} < set(data["tables"]["scores"][0])
    cells = {(cell["method"], cell["domain"]): cell for cell in data["cells"]}
    sources = {name: {task.name for task in domains()[name].tasks if task.role == "source"} for name in SCOPES}
    for domain in SCOPES:
        targets = {task.name for task in domains()[domain].tasks if task.role == "target"}
        for name in ("metaspo", "global:metaspo"):
            tested = {row["task"] for row in cells[name, domain]["tests"] if row["role"] == "target"}
            assert tested == targets
            tested = {row["task"] for row in cells[name, domain]["tests"] if row["role"] == "source"}
            assert tested == sources[domain], "source tasks of other domains are learned on, and tested there"
        assert set(cells["metaspo", domain]["result"]["user_prompts"]) == sources[domain]
        learned = cells["global:metaspo", domain]["result"]
        assert set(learned["user_prompts"]) == sources["medical"] | sources["safety"]
    prompts = {cells["global:metaspo", domain]["system_prompt"] for domain in SCOPES}
    assert len(prompts) == 1, "one prompt, whichever domain it is scored on"
    assert prompts != {cells["default", "safety"]["system_prompt"]}, "the test needs a search that finds something"
    written = (scopes / ".metaspo/studies/grid/tables.md").read_text(encoding="utf-8")
    assert "global:metaspo: one search for all domains" in written


@pytest.mark.slow
def test_what_one_prompt_for_all_domains_takes_is_asked_once(scopes: Path, server: ChatServer) -> None:
    assert here("compare", "grid.toml", "--quiet").code == 0
    asked = [count for body, count in server.answered.items() if '"answerer"' in body]
    assert len(asked) > 200
    assert set(asked) == {1}


@pytest.mark.usefixtures("undrawn")
def test_a_search_for_all_domains_is_counted_once_and_has_the_calls_of_one_for_each(
    scopes: Path, server: ChatServer
) -> None:
    """Each domain's cell counts its share of it; only a search asks the optimizer."""
    grid = GRID.format(domains=list(SCOPES), seeds="[1]").replace('"default", "metaspo", ', "") + "equal_calls = 40\n"
    (scopes / "grid.toml").write_text(grid, encoding="utf-8")
    data = here("compare", "grid.toml", "--quiet", "--json").data
    (took,) = data["tables"]["spent"]
    (whole,) = {cell["result"]["train_calls"] for cell in data["cells"]}
    assert 40 < whole <= 80
    assert took["train calls a cell"] == pytest.approx(whole / 2, abs=1)
    written = sum(count for body, count in server.answered.items() if '"writer"' in body)
    assert sum(cell["optimizer_answers"] for cell in data["cells"]) == pytest.approx(written, abs=1)
    assert sum(cell["answers"] for cell in data["cells"]) == pytest.approx(server.calls, abs=1)


def test_all_domains_are_a_study_of_their_own(scopes: Path) -> None:
    everything = 'config = "run.toml"\nmethods = ["METHOD"]\ndomains = ["all"]\n'
    (scopes / "grid.toml").write_text(everything.replace("METHOD", "global:metaspo"), encoding="utf-8")
    ended = here("compare", "grid.toml", "--plan")
    assert (ended.code, "wants several domains" in ended.errors[0]) == (2, True)
    (scopes / "grid.toml").write_text(everything.replace("METHOD", "metaspo"), encoding="utf-8")
    ended = here("compare", "grid.toml", "--plan")
    assert "review/beauty/train.jsonl" in ended.errors[0], "it looks for the tasks of every domain"


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ('["medical", "medical"]', "a domain is there twice"),
        ('["medical", "all"]', "a domain is there twice ('all' is all of them)"),
        ('["medicine"]', "there is no domain 'medicine'"),
    ],
)
def test_domains_that_make_no_study_are_told(scopes: Path, named: str, told: str) -> None:
    (scopes / "grid.toml").write_text(GRID.format(domains=named, seeds="[1]"), encoding="utf-8")
    ended = here("compare", "grid.toml", "--plan")
    assert ended.code == 2
    assert told in ended.err


@pytest.mark.parametrize("like", ["default", "opro", "inner-only", "file:mine.txt"])
def test_a_method_that_would_be_the_same_for_every_domain_is_refused(tmp_path: Path, like: str) -> None:
    (tmp_path / "mine.txt").write_text("Be brief.", encoding="utf-8")
    with pytest.raises(ConfigError, match="the same everywhere"):
        method(f"global:{like}", folder=tmp_path)


def test_without_several_domains_there_is_nothing_to_learn_one_prompt_for(project: Path) -> None:
    (project / "grid.toml").write_text('config = "run.toml"\nmethods = ["global:metaspo"]\n', encoding="utf-8")
    ended = here("compare", "grid.toml", "--plan")
    assert (ended.code, "wants several domains" in ended.errors[0]) == (2, True)


@pytest.mark.slow
def test_fewer_source_tasks_are_drawn_by_the_seed_and_within_more_of_them(project: Path) -> None:
    with_more_source_tasks(project, "c", "d")
    seeds = [option for seed in range(1, 4) for option in ("--seed", str(seed))]
    data = here("ablate", "run.toml", "--over", "sources", *seeds, "--quiet", "--json").data
    drawn = {(cell["method"], cell["seed"]): set(cell["result"]["user_prompts"]) for cell in data["cells"]}
    for seed in range(1, 4):
        chosen = [drawn[f"{number}-source-tasks", seed] for number in range(1, 5)]
        assert [len(names) for names in chosen] == [1, 2, 3, 4]
        assert all(fewer < more for fewer, more in pairwise(chosen))
    assert len({frozenset(drawn["1-source-tasks", seed]) for seed in range(1, 4)}) > 1, "not always the same one"


def test_at_most_six_source_tasks_are_set_beside_fewer(project: Path) -> None:
    with_more_source_tasks(project, "c", "d", "e", "f", "g", "h")
    plans = here("ablate", "run.toml", "--over", "sources", "--plan", "--json").data
    assert [plan["name"].split(".")[1] for plan in plans] == [f"{number}-source-tasks" for number in range(6, 0, -1)]


def test_every_subset_is_drawn_by_some_seed() -> None:
    tasks = [make_task(name) for name in "abcd"]
    two = method("metaspo")
    drawn = Counter(
        tuple(task.name for task in type(two)(name="two", about="", sources=2, drawn=True).tasks(tasks, seed=seed))
        for seed in range(600)
    )
    assert len(drawn) == 6
    assert min(drawn.values()) > 50, "each about as often"


@pytest.mark.usefixtures("undrawn")
def test_several_optimizer_models_are_set_side_by_side(project: Path, server: ChatServer) -> None:
    text = (project / "run.toml").read_text(encoding="utf-8")
    (project / "other.toml").write_text(text.replace('model = "writer"', 'model = "author"'), encoding="utf-8")
    ended = here("ablate", "run.toml", "--over", "optimizer", "--to", "other.toml", "--quiet", "--json")
    assert ended.code == 0
    assert [row["method"] for row in ended.data["tables"]["scores"]] == ["metaspo-by-writer", "metaspo-by-author"]
    took = {row["method"]: row["optimizer calls a cell"] for row in ended.data["tables"]["spent"]}
    assert min(took.values()) > 0
    asked = {json.loads(body)["model"] for body in server.answered}
    assert asked == {"answerer", "writer", "author"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--over", "optimizer"), "wants further optimizer models"),
        (("--over", "optimizer", "--to", "run.toml"), "wants further optimizer models"),
        (("--over", "optimizer", "--to", "bare.toml"), "bare.toml: optimizer: is missing"),
        (("--over", "optimizer", "--to", "copy.toml"), "two models are called 'writer'"),
        (("--over", "width", "--to", "copy.toml"), "belongs to --over optimizer"),
    ],
)
def test_optimizer_models_that_cannot_be_compared_are_told(project: Path, options: tuple[str, ...], told: str) -> None:
    text = (project / "run.toml").read_text(encoding="utf-8")
    (project / "copy.toml").write_text(text, encoding="utf-8")
    head, _, rest = text.partition("[optimizer]")
    (project / "bare.toml").write_text(head + "[inner]" + rest.partition("[inner]")[2], encoding="utf-8")
    ended = here("ablate", "run.toml", *options, "--plan")
    assert ended.code == 2
    assert told in ended.errors[0]
